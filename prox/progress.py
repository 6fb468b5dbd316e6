"""Progress of long work: a bar on a terminal, plain lines (rate and time left) in a log."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from prox.ranks import is_main_process

log = logging.getLogger("prox")

Item = TypeVar("Item")
LOG_INTERVAL_SECONDS = 15.0


def shows_bars() -> bool:
    """True on a terminal, in the one process that speaks."""
    return sys.stderr.isatty() and is_main_process()


class Progress:
    """Counts towards ``total`` (None when unknown); use as a context manager and call ``advance``.

    ``initial`` is what an earlier run had done: it counts as done, but not in the rate.
    """

    def __init__(self, label: str, total: int | None, unit: str, initial: int = 0) -> None:
        self.label, self.total, self.unit, self.initial = label, total, unit, initial
        self.count = initial
        self._bar = tqdm(total=total, initial=initial, desc=label, unit=unit) if shows_bars() else None
        self._begin = self._last = time.monotonic()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, amount: int = 1, note: str = "", counts: bool = True) -> None:
        """Adds ``amount``; a line is logged at most every 15 seconds.

        What does not count was done by an earlier run, as ``initial`` was: it is left out of the rate.
        """
        self.count += amount
        if not counts:
            self.initial += amount
        if self._bar is not None:
            self._bar.initial = self.initial
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(amount)
            return
        now = time.monotonic()
        if now - self._last >= LOG_INTERVAL_SECONDS:
            self._last = now
            log.info("%s", self.line(now - self._begin, note))

    def line(self, seconds: float, note: str = "") -> str:
        """The plain line: done, share, rate, time left."""
        rate = (self.count - self.initial) / seconds if seconds > 0 else 0.0
        parts = [f"{self.label}: {self.count:,}"]
        if self.total:
            parts[0] += f"/{self.total:,} {self.unit} ({self.count / self.total:.0%})"
        else:
            parts[0] += f" {self.unit}"
        parts.append(f"{rate:,.1f} {self.unit}/s")
        if self.total and rate > 0:
            parts.append(f"ETA {(self.total - self.count) / rate:.0f} s")
        if note:
            parts.append(note)
        return ", ".join(parts)


def track(items: Iterable[Item], label: str, total: int | None, unit: str) -> Iterator[Item]:
    """Yields ``items`` while reporting progress."""
    with Progress(label, total, unit) as progress:
        for item in items:
            yield item
            progress.advance()
