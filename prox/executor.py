"""Runs a program on the chunk it was written for: program + text -> refined text + what each call did.

Differences from the authors' executor are listed in ``docs/deviations.md``. A program can only touch the lines of its
own chunk; line removal costs O(lines) whatever numbers the call holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Literal, get_args

from prox.program import ALL_LINES, Fault, KeepChunk, Normalize, Operation, Program, RemoveLines
from prox.words import count_unspaced, count_words

Status = Literal[
    "applied",  # done as asked, be it on lines that another call removes
    "clipped",  # a range reached past its chunk; the part inside was removed
    "kept",  # keep_chunk()
    "out_of_range",  # no line of the range is in this chunk
    "reversed",  # line_start > line_end, or a negative number
    "not_found",  # the source string is not in the chunk
    "source_too_short",  # below Guards.min_source_characters
    "too_many_matches",  # above Guards.max_replacements
    "adds_too_much",  # would make the chunk longer than Guards.max_added_characters allow
    "multiline",  # source or target holds a line break, which would shift line numbers
    "misplaced",  # a document call in a chunk program
    "fault",  # not a call of the language
]
Verdict = Literal["edited", "unchanged", "removed", "rejected"]


@dataclass(frozen=True)
class Guards:
    """When a chunk's program is not trusted. Words are counted by ``count_words``."""

    max_bad_calls: int = 1
    """More bad calls than this reject the program (the authors' `error_op` of 2). A program with any bad call is also
    rejected (`bad_calls_remove_all`) where it would leave nothing."""
    bad_statuses: tuple[Status, ...] = ("fault",)
    """Statuses that count as bad calls: `fault`; the authors count `clipped` and `out_of_range` too."""
    max_removed_share: float = 1.0
    """A program that removes more than this share of the chunk's words is rejected (1.0: it may remove them all)."""
    min_words_left: int = 0
    """An edit that leaves fewer words than this in the chunk, but not none, is rejected."""
    min_source_characters: int = 3
    """Shortest source string of `normalize`, in characters without surrounding white space; a character of a script
    written without spaces counts as two."""
    max_replacements: int = 200
    """A `normalize` call that matches more often than this in one chunk does nothing."""
    max_added_characters: int = 1_000
    """A `normalize` call that would make the chunk longer by more than this, all calls together, does nothing."""

    def problems(self) -> list[str]:
        """Settings that can't be meant, as ``<field> <value>: <remedy>``."""
        found = []
        if not 0.0 <= self.max_removed_share <= 1.0:
            found.append(f"max_removed_share {self.max_removed_share}: must lie between 0 and 1")
        for name in (
            "max_bad_calls",
            "min_words_left",
            "min_source_characters",
            "max_replacements",
            "max_added_characters",
        ):
            if getattr(self, name) < 0:
                found.append(f"{name} {getattr(self, name)}: must be at least 0")
        unknown = [status for status in self.bad_statuses if status not in get_args(Status)]
        return found + [f"bad_statuses {name}: must be of {', '.join(get_args(Status))}" for name in unknown]


DEFAULT_GUARDS = Guards()


@dataclass(frozen=True, slots=True)
class CallResult:
    """One call and what became of it; ``count`` is the number of lines removed or of replacements made.

    Of ``too_many_matches`` and ``adds_too_much`` it is the number of matches.
    """

    operation: Operation | Fault
    status: Status
    count: int = 0


@dataclass(frozen=True, slots=True)
class Execution:
    """The refined chunk, the verdict with what decided it (empty for plain edits), and every call's result.

    ``reason`` names the guard of a ``rejected`` program, and of a ``removed`` chunk what is left of it:
    ``all_lines_removed`` or ``nothing_but_white_space``.
    """

    text: str
    verdict: Verdict
    reason: str
    calls: tuple[CallResult, ...]


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def count_bad_calls(calls: Sequence[CallResult], guards: Guards) -> int:
    """Number of calls whose status the guards name as bad."""
    return sum(call.status in guards.bad_statuses for call in calls)


def _replace(text: str, operation: Normalize, guards: Guards, longest: int) -> tuple[str, CallResult]:
    source, target = operation.source_str, operation.target_str
    if "\n" in source or "\r" in source or "\n" in target or "\r" in target:
        return text, CallResult(operation, "multiline")
    needed, bare = guards.min_source_characters, source.strip()
    # Characters of scripts without spaces say more each: two make a word, which is as long as a source must be.
    if not bare or (len(bare) < needed and len(bare) + count_unspaced(bare) < needed):
        return text, CallResult(operation, "source_too_short")
    # No line break is in the source, so that matches in the text are matches in its lines.
    count = text.count(source)
    if count == 0:
        return text, CallResult(operation, "not_found")
    if count > guards.max_replacements:
        return text, CallResult(operation, "too_many_matches", count)
    growth = count * (len(target) - len(source))
    if growth > 0 and len(text) + growth > longest:
        return text, CallResult(operation, "adds_too_much", count)
    return text.replace(source, target), CallResult(operation, "applied", count)


def _mark_kept(kept: bytearray, operation: RemoveLines, first_line: int) -> CallResult:
    """Clears the marks of the lines that the call removes."""
    start, end = operation.line_start, operation.line_end
    if start < 0 or end < start:
        return CallResult(operation, "reversed")
    low, high = max(start - first_line, 0), min(end - first_line, len(kept) - 1)
    if low > high:
        return CallResult(operation, "out_of_range")
    count = high - low + 1
    kept[low : high + 1] = bytes(count)
    is_whole = count == end - start + 1 or (end == ALL_LINES and start <= first_line)
    return CallResult(operation, "applied" if is_whole else "clipped", count)


def _guard(before: str, after: str, nothing_left: bool, calls: Sequence[CallResult], guards: Guards) -> str:
    """Name of the guard that rejects this edit, or an empty string."""
    bad_calls = count_bad_calls(calls, guards)
    if bad_calls > guards.max_bad_calls:
        return "max_bad_calls"
    if nothing_left and bad_calls:
        return "bad_calls_remove_all"
    if guards.max_removed_share >= 1.0 and guards.min_words_left <= 0:
        return ""
    words_before, words_after = count_words(before), count_words(after)
    if words_before and 1 - words_after / words_before > guards.max_removed_share:
        return "max_removed_share"
    if not nothing_left and words_after < min(guards.min_words_left, words_before):
        return "min_words_left"
    return ""


def execute(program: Program, text: str, first_line: int = 0, guards: Guards = DEFAULT_GUARDS) -> Execution:
    """Runs ``program`` on ``text``, a chunk whose first line has the number ``first_line`` in its document.

    Replacements see the chunk as it was before any line is removed, in program order, so that line numbers stay valid
    throughout. The verdict is ``removed`` when no line, or nothing but white space, is left; ``rejected`` when a guard
    refused the edits: the text then comes back as it was. Never raises, whatever the program and the text.
    """
    replaced = text
    kept: bytearray | None = None  # one byte a line: 1 while it is kept; made for the first removal only
    calls: list[CallResult] = []
    for operation in program.operations:
        match operation:
            case RemoveLines():
                if kept is None:
                    kept = bytearray(b"\x01") * (text.count("\n") + 1)
                calls.append(_mark_kept(kept, operation, first_line))
            case Normalize():
                replaced, result = _replace(replaced, operation, guards, len(text) + guards.max_added_characters)
                calls.append(result)
            case KeepChunk():
                calls.append(CallResult(operation, "kept"))
            case _:
                calls.append(CallResult(operation, "misplaced"))
    calls.extend(CallResult(fault, "fault") for fault in program.faults)
    results = tuple(calls)
    all_removed = kept is not None and not any(kept)
    refined = replaced if kept is None else "\n".join(compress(replaced.split("\n"), kept))
    if refined == text and not all_removed:
        return Execution(text, "unchanged", "", results)
    nothing_left = all_removed or (_is_blank(refined) and not _is_blank(text))
    if reason := _guard(text, refined, nothing_left, results, guards):
        return Execution(text, "rejected", reason, results)
    if nothing_left:
        return Execution("", "removed", "all_lines_removed" if all_removed else "nothing_but_white_space", results)
    return Execution(refined, "edited", "", results)
