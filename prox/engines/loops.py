"""When a decoding has gone into a loop. One pure function decides it for all engines.

What counts was set by real programs: no valid one writes a call twice in a row, but one of a page of links may well
remove every third line. In the programs that remove the labelled noise of 2,137 web pages, the longest run of calls
that count in constant steps is 38.
"""

import dataclasses
import re

from prox.engines.base import Completion

MAX_BLOCK_LINES = 8
"""Longest repeated block of lines that is looked for."""
MIN_BLOCK_REPEATS = 4
"""Times a block must stand in a row, unchanged."""
MIN_COUNTED_LINES = 64
"""Lines in a row that differ by the same steps of their numbers only."""
MAX_UNIT_CHARACTERS = 32
"""Longest repeated unit within a line that is looked for."""
MIN_UNIT_CHARACTERS = 256
"""Characters that the repeats of a unit within a line must fill; rules like `=====` are shorter."""

_NUMBER = re.compile("[0-9]{1,18}")


def repeats(text: str) -> int | None:
    """Where a loop is established: the offset behind what settled it; None for a text without one.

    A loop is one block of 1 to 8 lines four times in a row, 64 lines that count in constant steps, or 256 characters of
    a line that repeat a unit of up to 32. A line counts when its line break is there. What follows can't change the
    answer: ``repeats(text[:n])`` is None or ``repeats(text)``, so it makes no difference when it is asked.
    """
    lines: list[str] = []
    equal_lines = [0] * (MAX_BLOCK_LINES + 1)  # by period: lines in a row that equal the one a period before
    counted = 1
    step: list[int] | None = None
    offset = 0
    while offset < len(text):
        end = text.find("\n", offset)
        line = text[offset:] if end < 0 else text[offset:end]
        within = _repeats_within(line)
        if within is not None:
            return offset + within
        if end < 0:
            return None
        offset = end + 1
        for period in range(1, min(MAX_BLOCK_LINES, len(lines)) + 1):
            equal_lines[period] = equal_lines[period] + 1 if lines[-period] == line else 0
            if equal_lines[period] == period * (MIN_BLOCK_REPEATS - 1):
                return offset
        last_step, step = step, _step(lines[-1], line) if lines else None
        counted = 1 if step is None else counted + 1 if step == last_step else 2
        if counted == MIN_COUNTED_LINES:
            return offset
        lines.append(line)
    return None


def stop_at_loop(completion: Completion) -> Completion:
    """The completion, cut where a loop is established and marked ``loop``."""
    end = repeats(completion.text)
    if end is None:
        return completion
    return dataclasses.replace(completion, text=completion.text[:end], finish_reason="loop")


def _step(before: str, line: str) -> list[int] | None:
    """The differences of two lines' numbers; None where something else differs."""
    if _NUMBER.sub("0", before) != _NUMBER.sub("0", line):
        return None
    return [int(b) - int(a) for a, b in zip(_NUMBER.findall(before), _NUMBER.findall(line), strict=True)]


def _repeats_within(line: str) -> int | None:
    if len(line) < MIN_UNIT_CHARACTERS:
        return None
    ends = []
    for period in range(1, MAX_UNIT_CHARACTERS + 1):
        run = period
        for position in range(period, ends[-1] if ends else len(line)):
            run = run + 1 if line[position] == line[position - period] else period
            if run == MIN_UNIT_CHARACTERS:
                ends.append(position + 1)
                break
    return ends[-1] if ends else None
