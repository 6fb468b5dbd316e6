"""One process at a time in an output folder."""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger("prox")


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Waits until no other process of this machine is in ``alone_in`` of the folder, and keeps others out meanwhile.

    The lock ends with the process, however it ends. On file systems that can't lock a folder there is none.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another process that writes to %s", folder)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            log.debug("%s can't be locked: %s", folder, error)
        yield
    finally:
        os.close(descriptor)
