"""One bad item costs itself: a batch that raises is halved, and what raises alone is a ``Failure``."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from prox.engines import Failure
from prox.errors import UserError

log = logging.getLogger("prox")

Item = TypeVar("Item")
Result = TypeVar("Result")


def isolated(
    work: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item], name: Callable[[Item], str]
) -> list[Result | Failure]:
    """``work(items)``, one result an item, in order; ``name`` says in the log which item raised.

    ``UserError`` is about the settings, not about an item, and passes.
    """
    try:
        return list(work(items))
    except UserError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        log.debug("a batch of %d: %s", len(items), reason, exc_info=True)
        if len(items) > 1:
            middle = len(items) // 2
            return isolated(work, items[:middle], name) + isolated(work, items[middle:], name)
        log.warning("%s is left as it is: %s", name(items[0]), reason)
        return [Failure(reason)]
