"""What programs did to a document, as marks on its lines: removed ranges, and strings replaced within lines.

Nothing is decided anew: calls count as their ledger row says, so no guard's setting is needed, and the refined text is
checked against the ledger's hash.
"""

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from prox.answers import read_program
from prox.operations import Normalize, Program, RemoveLines, render_program
from prox.units import source_hash

# Statuses of calls that changed the text.
DONE = ("applied", "clipped")
Piece = tuple[str, str]
"""A stretch of text before and after; alike where nothing was replaced."""
Line = str | list[str | list[str]]
"""A line as it was, or its parts: text that stayed, and pairs ``[before, after]``."""


class BrokenRow(Exception):
    """A ledger row that can't be shown on its document; the message says why."""


@dataclass
class MarkedText:
    """A document's lines before, with what became of them."""

    lines: list[Line] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    """Numbers of the removed lines."""
    refined: str = ""
    """The text after; empty where the document was dropped."""


def _take(pieces: deque[Piece], length: int) -> list[Piece]:
    """The pieces that begin a text, as many as give ``length`` characters after; what is cut keeps its rest."""
    taken = []
    while length > 0:
        before, after = pieces.popleft()
        if len(after) > length:
            # A replaced stretch is cut in what it became: all of what it was goes with the first part.
            cut = length if before == after else len(before)
            pieces.appendleft((before[cut:], after[length:]))
            before, after = before[:cut], after[:length]
        length -= len(after)
        taken.append((before, after))
    return taken


def replace_pieces(pieces: Sequence[Piece], source: str, target: str) -> list[Piece]:
    """``str.replace`` on what the pieces became, keeping what they were."""
    whole = "".join(after for _, after in pieces)
    rest, done, position = deque(pieces), [], 0
    for match in re.finditer(re.escape(source), whole):
        done += _take(rest, match.start() - position)
        while not rest[0][1]:  # what was deleted just before stays a mark of its own
            done.append(rest.popleft())
        done.append(("".join(before for before, _ in _take(rest, len(source))), target))
        position = match.end()
    return [*done, *rest]


def lines_of(pieces: Iterable[Piece]) -> list[list[Piece]]:
    """The pieces of each line; replaced stretches hold no line break."""
    lines: list[list[Piece]] = [[]]
    for before, after in pieces:
        if before != after:
            lines[-1].append((before, after))
            continue
        for number, part in enumerate(before.split("\n")):
            if number:
                lines.append([])
            if part:
                lines[-1].append((part, part))
    return lines


def _shown(line: Sequence[Piece]) -> Line:
    if all(before == after for before, after in line):
        return "".join(before for before, _ in line)
    return [before if before == after else [before, after] for before, after in line]


def program_of(row: Mapping[str, Any], chunk: Mapping[str, Any]) -> Program:
    """The program of a ledger's chunk; ``BrokenRow`` where its calls are not those that the ledger counted."""
    program = read_program(chunk["program"] or "", row["style"], bool(chunk["cut_off"]))
    if len(chunk["calls"]) != len(program.operations) + len(program.faults):
        raise BrokenRow("its calls are not those of its program: another version of the language wrote the ledger")
    return program


def _mark_chunk(text: str, chunk: Mapping[str, Any], program: Program) -> tuple[list[list[Piece]], set[int]]:
    """The chunk's lines in pieces, and the numbers (in the chunk) of those that are gone."""
    first, count = chunk["first_line"], chunk["num_lines"]
    if chunk["verdict"] not in ("edited", "removed"):
        return lines_of([(text, text)]), set()
    pieces: list[Piece] = [(text, text)]
    removed = set(range(count)) if chunk["verdict"] == "removed" else set()
    for operation, call in zip(program.operations, chunk["calls"], strict=False):  # faults stand last
        if call["status"] not in DONE:
            continue
        if isinstance(operation, RemoveLines):
            removed.update(range(max(operation.line_start - first, 0), min(operation.line_end - first + 1, count)))
        elif isinstance(operation, Normalize):
            pieces = replace_pieces(pieces, operation.source_str, operation.target_str)
    return lines_of(pieces), removed


def mark_document(text: str, row: Mapping[str, Any]) -> MarkedText:
    """Puts a chunk ledger's row on its document.

    Raises ``BrokenRow`` where the row was written for another text, or what comes out is not what was recorded.
    """
    if row["source_hash"] != source_hash(text):
        raise BrokenRow("the ledger was written for another text")
    source = text.split("\n")
    marked, kept, position = MarkedText(), [], 0
    # What a document's guard took back is no edit; what led to dropping it is.
    plain = row["verdict"] in ("unchanged", "rejected", "failed")
    for chunk in row["chunks"]:
        end = position + chunk["num_lines"]
        if chunk["first_line"] != position or end > len(source):
            break
        lines, removed = _mark_chunk("\n".join(source[position:end]), chunk, program_of(row, chunk))
        left = [line for number, line in enumerate(lines) if number not in removed]
        if chunk["verdict"] != "removed":
            kept.append("\n".join("".join(after for _, after in line) for line in left))
        marked.lines += [] if plain else map(_shown, lines)
        marked.removed += [] if plain else [position + number for number in sorted(removed)]
        position = end
    if position != len(source):
        raise BrokenRow(f"the ledger's chunks span {position} of the document's {len(source)} lines")
    if plain:
        marked.lines += source
    if row["verdict"] != "dropped":
        marked.refined = text if plain else "\n".join(kept)
        if row["refined_hash"] != source_hash(marked.refined):
            raise BrokenRow("what its programs give is not the text that was recorded")
    return marked


def ranges(numbers: Sequence[int]) -> list[list[int]]:
    """Ascending numbers as ``[first, last]`` ranges."""
    starts = [number for before, number in pairwise([-2, *numbers]) if number != before + 1]
    ends = [number for number, after in pairwise([*numbers, -2]) if after != number + 1]
    return [list(pair) for pair in zip(starts, ends, strict=True)]


def described_calls(row: Mapping[str, Any], chunk: Mapping[str, Any]) -> list[list[Any]]:
    """``[text, call, status, count]`` of each call: as generated where every line is one call, else as it was read."""
    program = program_of(row, chunk)
    faults = {fault.line: fault for fault in program.faults}
    written = [(number, line.strip()) for number, line in enumerate((chunk["program"] or "").splitlines())]
    written = [(number, line) for number, line in written if line and line[0] not in "#`~"]
    results = chunk["calls"]
    num_operations = len(program.operations)
    if len(written) == len(results) and len(faults) == len(program.faults):
        order, operation, fault = [], 0, num_operations
        for number, line in written:
            is_fault = number in faults
            order.append((line, fault if is_fault else operation))
            fault, operation = fault + is_fault, operation + (not is_fault)
        if operation == num_operations and fault == len(results):
            return [[line, *_result(results[place])] for line, place in order]
    texts = [render_program([operation]) for operation in program.operations]
    texts += [fault.text for fault in program.faults]
    return [[text, *_result(result)] for text, result in zip(texts, results, strict=True)]


def _result(call: Mapping[str, Any]) -> tuple[str, str, int]:
    return call["call"], call["status"], call["count"]
