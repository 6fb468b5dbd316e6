"""Work done ahead in a thread, so that reading and tokenising go on while the engine answers."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")

_END = object()


def one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """``items`` in order; while the caller works on one, the next is made in a thread. Two exist at a time.

    An error in making an item is raised where that item was due.
    """
    source = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="one-ahead") as pool:

        def make() -> "Future[object]":
            return pool.submit(next, source, _END)

        coming = make()
        while (item := coming.result()) is not _END:
            coming = make()
            yield item
