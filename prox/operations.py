"""The operations of the refiner's language (paper, Table 1), as data how a call of each is spelled, and the renderer.

Parser, renderer and grammar read ``SIGNATURES``, so that they can't disagree about the spelling of a call.
"""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Style = Literal["calls", "compact"]
Stage = Literal["document", "chunk"]

ALL_LINES = sys.maxsize
"""``line_end`` of a range that ends with the text: ``remove_lines(all=True)`` is ``RemoveLines(0, ALL_LINES)``."""
MAX_LINE_DIGITS = 9
"""Digits of the largest line number in the grammar and in the compact style."""
KEEP_MARK = "="
"""``keep_chunk()`` in the compact style."""


@dataclass(frozen=True, slots=True)
class DropDoc:
    """Delete the whole document."""


@dataclass(frozen=True, slots=True)
class KeepDoc:
    """Keep the whole document."""


@dataclass(frozen=True, slots=True)
class RemoveLines:
    """Delete lines ``line_start`` to ``line_end`` (0-based, inclusive, numbered through the document)."""

    line_start: int
    line_end: int


@dataclass(frozen=True, slots=True)
class Normalize:
    """Replace ``source_str`` by ``target_str`` wherever it stands in the chunk."""

    source_str: str
    target_str: str = ""


@dataclass(frozen=True, slots=True)
class KeepChunk:
    """Leave the chunk as it is."""


Operation = DropDoc | KeepDoc | RemoveLines | Normalize | KeepChunk


@dataclass(frozen=True, slots=True)
class Fault:
    """A piece of program text that is no call of the language: its 0-based line, its beginning and the reason."""

    line: int
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Program:
    """What a refiner's answer says: the operations in order, and the faults."""

    operations: tuple[Operation, ...] = ()
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Argument:
    """An argument of a call: its names, the first being the field of the operation, and the type of its literal."""

    names: tuple[str, ...]
    kind: type[int] | type[str]
    required: bool = True


@dataclass(frozen=True)
class Signature:
    """How the call of an operation is spelled.

    The first of ``names`` is written, all are read. ``flags`` are arguments that, given alone as ``True``, stand for
    one particular operation. A call that is ``alone`` is a whole program of its stage.
    """

    names: tuple[str, ...]
    operation: type[Operation]
    stage: Stage
    arguments: tuple[Argument, ...] = ()
    flags: tuple[tuple[str, Operation], ...] = ()
    alone: bool = False


# Besides Table 1 these are the spellings of the published refiners: untouch_doc(), start=, end=, all=True.
SIGNATURES = (
    Signature(("drop_doc",), DropDoc, "document", alone=True),
    Signature(("keep_doc",), KeepDoc, "document", alone=True),
    Signature(("keep_chunk", "untouch_doc"), KeepChunk, "chunk", alone=True),
    Signature(
        ("remove_lines",),
        RemoveLines,
        "chunk",
        (Argument(("line_start", "start"), int), Argument(("line_end", "end"), int)),
        flags=(("all", RemoveLines(0, ALL_LINES)),),
    ),
    Signature(
        ("normalize",),
        Normalize,
        "chunk",
        (Argument(("source_str",), str), Argument(("target_str",), str, required=False)),
    ),
)


def line_marker(number: int) -> str:
    """The mark of a line in a refiner's prompt: ``[007]``; from line 1000 on with four digits, as the authors do."""
    return f"[{number:03d}]"


def remove_numbers(numbers: Iterable[int]) -> list[RemoveLines]:
    """The calls that remove the lines of these distinct, ascending numbers, neighbours joined."""
    ranges: list[RemoveLines] = []
    for number in numbers:
        if ranges and ranges[-1].line_end == number - 1:
            ranges[-1] = RemoveLines(ranges[-1].line_start, number)
        else:
            ranges.append(RemoveLines(number, number))
    return ranges


_COMPACT_RANGE = re.compile(r"(?m)^([ \t]*)\[(\d+)\](?:(-)\[(\d+)\])?(?=[ \t\r]*$)")


def shift_lines(answer: str, offset: int) -> str:
    """An answer in the compact style with ``offset`` added to its line numbers; whatever is no range stays as it is."""

    def shifted(match: re.Match[str]) -> str:
        indent, start, dash, end = match.groups()
        numbers = [line_marker(int(number) + offset) for number in (start, end) if number]
        return indent + (dash or "").join(numbers)

    return _COMPACT_RANGE.sub(shifted, answer) if offset else answer


def render_program(operations: Sequence[Operation], style: Style = "calls") -> str:
    """Writes operations one a line, such that ``parse_program`` reads the same operations back.

    Raises ``ValueError`` for what a style can't write: lone surrogates in both; in ``compact``, document calls and line
    numbers that are negative or have more than nine digits (``ALL_LINES`` too).
    """
    render = _render_compact if style == "compact" else _render_call
    return "\n".join(render(operation) for operation in operations)


def _literal(value: int | str) -> str:
    if isinstance(value, int):
        return str(value)
    literal = json.dumps(value, ensure_ascii=False)  # a Python literal with the same value, too
    literal.encode("utf-8")  # a ValueError for lone surrogates
    return literal


def _render_call(operation: Operation) -> str:
    signature = next((one for one in SIGNATURES if one.operation is type(operation)), None)
    if signature is None:
        raise ValueError(f"{operation!r} is no operation of the language")
    arguments = [f"{flag}=True" for flag, fixed in signature.flags if operation == fixed] or [
        f"{argument.names[0]}={_literal(getattr(operation, argument.names[0]))}" for argument in signature.arguments
    ]
    return f"{signature.names[0]}({', '.join(arguments)})"


def _render_compact(operation: Operation) -> str:
    match operation:
        case RemoveLines(start, end):
            largest = 10**MAX_LINE_DIGITS - 1
            if not (0 <= start <= largest and 0 <= end <= largest):
                raise ValueError(
                    f"the compact style writes lines 0 to {largest}, not {operation!r}: "
                    "name the lines of the chunk, or use the calls style"
                )
            return line_marker(start) if start == end else f"{line_marker(start)}-{line_marker(end)}"
        case Normalize(source, target):
            return _literal(source) + (f" -> {_literal(target)}" if target else "")
        case KeepChunk():
            return KEEP_MARK
        case _:
            raise ValueError(f"the compact style writes chunk programs only, not {operation!r}")
