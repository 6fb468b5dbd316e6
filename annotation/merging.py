"""From an annotator's answers about one chunk to one checked program."""

import re
from collections.abc import Sequence

from annotation.annotators import Unreadable
from prox.engines import Completion
from prox.executor import Guards, execute
from prox.program import Fault, KeepChunk, Normalize, Operation, Program, RemoveLines, parse_program

_FENCE = re.compile(r"^[ \t]*```[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)


def read_program(completion: Completion, text: str, first_line: int) -> Program:
    """The program of an answer: its last code block, or all of it where it has none.

    Raises ``Unreadable`` for an answer that was cut off, a line that is no call of the language, a line number outside
    the chunk, or a source string that does not occur in it.
    """
    if completion.finish_reason == "length":
        raise Unreadable("cut_off: the answer reached the token limit")
    blocks = _FENCE.findall(completion.text)
    program = parse_program(blocks[-1] if blocks else completion.text)
    if not program.operations and not program.faults:
        raise Unreadable("empty: the answer holds no call")
    for call in execute(program, text, first_line, Guards(max_bad_calls=len(program.faults))).calls:
        if isinstance(call.operation, Fault):
            raise Unreadable(f"fault: {call.operation.reason}: {call.operation.text[:80]}")
        if call.status not in ("applied", "kept") and not _already_replaced(call.operation, text):
            raise Unreadable(f"{call.status}: {call.operation}")
    return program


def merge(programs: Sequence[Program], text: str, first_line: int) -> Program:
    """One program that does what all of them do, in a normal form: ranges joined and ascending, then replacements.

    Blank lines between removed lines go with them. Replacements follow the text; one that has nothing left to
    replace after the calls before it is left out. Nothing to do is ``keep_chunk()``.
    """
    operations = [operation for program in programs for operation in program.operations]
    lines = text.split("\n")
    removed = _with_blank_lines(lines, _removed_lines(operations, first_line, len(lines)))
    kept = [line for number, line in enumerate(lines) if number not in removed]
    merged: list[Operation] = []
    for number in sorted(removed):
        last = merged[-1] if merged else None
        if isinstance(last, RemoveLines) and last.line_end == first_line + number - 1:
            merged[-1] = RemoveLines(last.line_start, first_line + number)
        else:
            merged.append(RemoveLines(first_line + number, first_line + number))
    for operation in _in_order([operation for operation in operations if isinstance(operation, Normalize)], text):
        if any(operation.source_str in line for line in kept):
            kept = [line.replace(operation.source_str, operation.target_str) for line in kept]
            merged.append(operation)
    return Program(tuple(merged) or (KeepChunk(),))


def check(program: Program, text: str, first_line: int, max_removed_share: float) -> None:
    """Raises ``Unreadable`` when a merged program has a call without effect, or removes too many of the words."""
    execution = execute(program, text, first_line, Guards(max_bad_calls=0, max_removed_share=max_removed_share))
    if execution.verdict == "rejected":
        raise Unreadable(execution.reason)
    for call in execution.calls:
        if call.status not in ("applied", "kept"):
            raise Unreadable(f"{call.status}: {call.operation}")


def _in_order(calls: Sequence[Normalize], text: str) -> list[Normalize]:
    """Distinct replacements in the order of the text, but one whose source contains another's before that other."""
    distinct = list(dict.fromkeys(calls))

    def rank(call: Normalize) -> tuple[int, int]:
        contained = sum(other.source_str in call.source_str for other in distinct)
        return -contained, text.find(call.source_str)

    return sorted(distinct, key=rank)


def _removed_lines(operations: Sequence[Operation], first_line: int, num_lines: int) -> set[int]:
    """Removed lines of a chunk, counted from its first."""
    ranges = [operation for operation in operations if isinstance(operation, RemoveLines)]
    return {
        number
        for call in ranges
        for number in range(max(call.line_start - first_line, 0), min(call.line_end - first_line + 1, num_lines))
    }


def _with_blank_lines(lines: Sequence[str], removed: set[int]) -> set[int]:
    """``removed`` and the blank lines that have nothing but blank and removed lines between two removed ones."""
    result, blanks, after_removed = set(removed), [], False
    for number, line in enumerate(lines):
        if number in removed:
            result.update(blanks)
            blanks, after_removed = [], True
        elif line.strip():
            blanks, after_removed = [], False
        elif after_removed:
            blanks.append(number)
    return result


def _already_replaced(operation: Operation | Fault, text: str) -> bool:
    """True for a replacement whose source was in the chunk until an earlier call of the same program took it."""
    return isinstance(operation, Normalize) and len(operation.source_str.strip()) >= 3 and operation.source_str in text
