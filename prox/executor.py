"""Runs a program on the chunk it was written for: program + text -> refined text + what each call did.

Differences from the authors' executor are listed in ``docs/deviations.md``. A program can only touch the lines of its
own chunk; line removal costs O(lines) whatever numbers the call holds.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prox.program import Fault, KeepChunk, Normalize, Operation, Program, RemoveLines

Status = Literal[
    "applied",  # the text changed as asked
    "clipped",  # a range reached past the chunk; the part inside was removed
    "kept",  # keep_chunk()
    "out_of_range",  # no line of the range is in this chunk
    "reversed",  # line_start > line_end, or a negative number
    "not_found",  # the source string is not in the chunk
    "source_too_short",  # below Guards.min_source_characters
    "too_many_matches",  # above Guards.max_replacements
    "multiline",  # source or target holds a line break, which would shift line numbers
    "misplaced",  # a document call in a chunk program
    "fault",  # not a call of the language
]
Verdict = Literal["edited", "unchanged", "removed", "rejected"]

# A run of letters or digits is a word, except in scripts written without spaces, where every character counts as one.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002ffff"
)
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


@dataclass(frozen=True)
class Guards:
    """When a chunk's program is not trusted."""

    max_faults: int = 1
    """More unreadable calls than this reject the program (the authors' `error_op` of 2)."""
    max_removed_share: float = 1.0
    """A program that removes more than this share of the chunk's words is rejected (1.0: it may remove them all)."""
    min_words_left: int = 0
    """An edit that leaves fewer words than this in the chunk, but not none, is rejected."""
    min_source_characters: int = 3
    """Shortest source string of `normalize`, in characters without surrounding white space."""
    max_replacements: int = 200
    """A `normalize` call that matches more often than this in one chunk does nothing."""


@dataclass(frozen=True)
class CallResult:
    """One call, as text would be too long: the operation (or the fault) and what became of it.

    ``count`` is the number of lines removed or of replacements made.
    """

    operation: Operation | Fault
    status: Status
    count: int = 0


@dataclass(frozen=True)
class Execution:
    """The refined chunk, the verdict with the guard that decided it (empty when none did), and every call's result."""

    text: str
    verdict: Verdict
    reason: str
    calls: tuple[CallResult, ...]


def count_words(text: str) -> int:
    """Number of words; characters of scripts without spaces (Chinese, Japanese, Thai, ...) count one each."""
    return sum(1 for _ in _WORD.finditer(text))


def _replace(lines: list[str], operation: Normalize, guards: Guards) -> CallResult:
    source, target = operation.source_str, operation.target_str
    if any(mark in source or mark in target for mark in "\n\r"):
        return CallResult(operation, "multiline")
    if len(source.strip()) < guards.min_source_characters:
        return CallResult(operation, "source_too_short")
    count = sum(line.count(source) for line in lines)
    if count == 0:
        return CallResult(operation, "not_found")
    if count > guards.max_replacements:
        return CallResult(operation, "too_many_matches", count)
    lines[:] = [line.replace(source, target) for line in lines]
    return CallResult(operation, "applied", count)


def _mark_removed(removed: bytearray, operation: RemoveLines, first_line: int) -> CallResult:
    start, end = operation.line_start, operation.line_end
    if start < 0 or end < start:
        return CallResult(operation, "reversed")
    low, high = max(start - first_line, 0), min(end - first_line, len(removed) - 1)
    if low > high:
        return CallResult(operation, "out_of_range")
    count = high - low + 1
    removed[low : high + 1] = b"\x01" * count
    return CallResult(operation, "applied" if count == end - start + 1 else "clipped", count)


def _guard(before: str, after: str | None, program: Program, guards: Guards) -> str:
    """Name of the guard that rejects this edit, or an empty string; ``after`` is None when every line is removed."""
    if len(program.faults) > guards.max_faults:
        return "max_faults"
    if after is None and program.faults:
        return "faulty_program_removes_all"
    words_before, words_after = count_words(before), count_words(after or "")
    if words_before and 1 - words_after / words_before > guards.max_removed_share:
        return "max_removed_share"
    if after is not None and words_after < min(guards.min_words_left, words_before):
        return "min_words_left"
    return ""


def execute(program: Program, text: str, first_line: int = 0, guards: Guards | None = None) -> Execution:
    """Runs ``program`` on ``text``, a chunk whose first line has the number ``first_line`` in its document.

    Replacements see the chunk as it was before any line is removed, in program order, so that line numbers stay valid
    throughout. The verdict is ``removed`` when no line is left.
    """
    guards = guards or Guards()
    lines = text.split("\n")
    removed = bytearray(len(lines))
    results: list[CallResult] = []
    for operation in program.operations:
        match operation:
            case RemoveLines():
                results.append(_mark_removed(removed, operation, first_line))
            case Normalize():
                results.append(_replace(lines, operation, guards))
            case KeepChunk():
                results.append(CallResult(operation, "kept"))
            case _:
                results.append(CallResult(operation, "misplaced"))
    results.extend(CallResult(fault, "fault") for fault in program.faults)
    calls = tuple(results)
    kept = [line for line, is_removed in zip(lines, removed, strict=True) if not is_removed]
    refined = "\n".join(kept) if kept else None
    if refined == text:
        return Execution(text, "unchanged", "", calls)
    if reason := _guard(text, refined, program, guards):
        return Execution(text, "rejected", reason, calls)
    if refined is None:
        return Execution("", "removed", "all_lines_removed", calls)
    return Execution(refined, "edited", "", calls)


def join_chunks(executions: Sequence[Execution]) -> str | None:
    """The document's refined text, its chunks in order; None when every chunk was removed."""
    kept = [execution.text for execution in executions if execution.verdict != "removed"]
    return "\n".join(kept) if kept else None
