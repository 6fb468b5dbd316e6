"""Lines of the log that would come again with every unit or document."""

import functools
import logging

log = logging.getLogger("prox")


@functools.cache
def log_once(message: str, level: int = logging.INFO) -> None:
    """Logs a message once a process, however many units it is true of."""
    log.log(level, message)
