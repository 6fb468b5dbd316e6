"""From an annotator's answers about one chunk to one checked program."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from annotation.asking import Unreadable
from prox.confusion import removed_lines
from prox.engines import Completion
from prox.executor import Guards, execute
from prox.program import Fault, KeepChunk, Normalize, Operation, Program, parse_program, remove_numbers


@dataclass(frozen=True)
class Merged:
    """Several programs as one, and what had to be resolved."""

    program: Program
    num_lines_of_several: int
    """Lines that more than one of the programs removes."""
    num_calls_without_effect: int
    """Replacements left out: in removed lines only, or of what an earlier replacement took."""
    num_contradictions: int
    """Replacements left out because an earlier program gives the same source another target."""

    def facts(self) -> dict[str, int]:
        """For a row: what was resolved, zeros left out."""
        facts = {
            "lines_of_several": self.num_lines_of_several,
            "calls_without_effect": self.num_calls_without_effect,
            "contradictions": self.num_contradictions,
        }
        return {name: count for name, count in facts.items() if count}


_FENCE = re.compile(r"^[ \t]*```[^\n]*\n(.*?)(?:```[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)


def read_program(completion: Completion, text: str, first_line: int) -> Program:
    """The program of an answer: its code block, or all of it where it has none.

    Raises ``Unreadable`` for an answer that was cut off, several blocks that are not the same (one may be the page's),
    a line that is no call of the language, a line number outside the chunk, or a source string that is not in it.
    """
    if completion.finish_reason == "length":
        raise Unreadable("cut_off: the answer reached the token limit")
    blocks = _FENCE.findall(completion.text)
    program, *others = map(parse_program, blocks or [completion.text])
    if any(other != program for other in others):
        raise Unreadable("several_programs: the answer holds code blocks that differ, give one")
    if not program.operations and not program.faults:
        raise Unreadable("empty: the answer holds no call")
    for call in execute(program, text, first_line, Guards(max_bad_calls=len(program.faults))).calls:
        if isinstance(call.operation, Fault):
            raise Unreadable(f"fault: {call.operation.reason}: {call.operation.text[:80]}")
        if call.status == "not_found" and _already_replaced(call.operation, text):
            continue
        if call.status not in ("applied", "kept"):
            raise Unreadable(f"{call.status}: {call.operation}")
    return program


def merge(programs: Sequence[Program], text: str, first_line: int) -> Merged:
    """One program that does what all of them do, in a normal form: ranges joined and ascending, then replacements.

    The rule for calls that overlap or contradict each other: a line that any program removes is removed, and with it
    go the blank lines between removed lines, and every replacement inside; where two replace the same source by
    different targets the earlier program holds; a replacement whose source contains another's source runs before it,
    the others in the order of the text, but where that would change what one of the programs does all run as they were
    given; one that has nothing left to replace is left out. ``keep_chunk()`` says only that one prompt found nothing,
    so it never outweighs a call. Nothing to do is ``keep_chunk()``.
    """
    lines = text.split("\n")
    removals = [_removed_lines(program, first_line, len(lines)) for program in programs]
    removed = _with_blank_lines(lines, set().union(*removals))
    kept = [line for number, line in enumerate(lines) if number not in removed]
    merged: list[Operation] = [*remove_numbers(first_line + number for number in sorted(removed))]
    calls, num_contradictions = _one_target_a_source(programs)
    num_effective = 0
    for call in _in_order(programs, calls, kept, text):
        if any(call.source_str in line for line in kept):
            kept = _replaced(kept, [call])
            merged.append(call)
            num_effective += 1
    times = Counter(number for lines_of_one in removals for number in lines_of_one)
    return Merged(
        Program(tuple(merged) or (KeepChunk(),)),
        num_lines_of_several=sum(count > 1 for count in times.values()),
        num_calls_without_effect=len(calls) - num_effective,
        num_contradictions=num_contradictions,
    )


def head_and_tail(program: Program, text: str, first_line: int, gap: int, *, head: bool, tail: bool) -> Program:
    """The removals of a program that belong to the beginning (``head``) or the end (``tail``) of its document.

    A removed line counts where at most ``gap`` kept lines of text stand between it and the document's edge.
    Replacements don't count.
    """
    lines = text.split("\n")
    removed = _removed_lines(program, first_line, len(lines))
    numbers = range(len(lines))
    chosen: set[int] = set()
    for inwards in ([numbers] if head else []) + ([reversed(numbers)] if tail else []):
        num_kept = 0
        for number in inwards:
            if number in removed:
                chosen.add(number)
            elif lines[number].strip():
                num_kept += 1
                if num_kept > gap:
                    break
    return Program(tuple(remove_numbers(first_line + number for number in sorted(chosen))))


def check(program: Program, text: str, first_line: int, max_removed_share: float) -> None:
    """Raises ``Unreadable`` when a merged program has a call without effect, or removes too many of the words."""
    execution = execute(program, text, first_line, Guards(max_bad_calls=0, max_removed_share=max_removed_share))
    if execution.verdict == "rejected":
        raise Unreadable(execution.reason)
    for call in execution.calls:
        if call.status not in ("applied", "kept"):
            raise Unreadable(f"{call.status}: {call.operation}")


def _one_target_a_source(programs: Sequence[Program]) -> tuple[list[Normalize], int]:
    """(distinct replacements, how many were left out because an earlier one has the same source, another target)."""
    found: dict[str, Normalize] = {}
    num_contradictions = 0
    for call in (operation for program in programs for operation in program.operations):
        if isinstance(call, Normalize):
            num_contradictions += found.setdefault(call.source_str, call) != call
    return list(found.values()), num_contradictions


def _in_order(
    programs: Sequence[Program], calls: Sequence[Normalize], lines: Sequence[str], text: str
) -> list[Normalize]:
    """The order in which distinct replacements run: see ``merge``."""

    def normal(some: Sequence[Normalize]) -> list[Normalize]:
        def rank(call: Normalize) -> tuple[int, int]:
            contained = sum(other.source_str in call.source_str for other in some)
            return -contained, text.find(call.source_str)

        return sorted(some, key=rank)

    for program in programs:
        own = [call for call in program.operations if isinstance(call, Normalize)]
        if _replaced(lines, own) != _replaced(lines, normal(own)):
            return list(calls)
    return normal(calls)


def _replaced(lines: Sequence[str], calls: Sequence[Normalize]) -> list[str]:
    for call in calls:
        lines = [line.replace(call.source_str, call.target_str) for line in lines]
    return list(lines)


def _removed_lines(program: Program, first_line: int, num_lines: int) -> set[int]:
    """Removed lines of a chunk, counted from its first."""
    return {number - first_line for number in removed_lines(program, first_line, num_lines)}


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
    return isinstance(operation, Normalize) and operation.source_str in text
