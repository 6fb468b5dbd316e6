"""The refiner's language (paper, Table 1): operations, a parser that accepts any string, and a renderer.

Programs are parsed with Python's own ``ast`` and never evaluated. What can't be read as a call of the language becomes
a fault with its line and reason; it never becomes a different edit. Two styles mean the same programs: ``calls`` is the
paper's, ``compact`` writes ranges of line markers (``[003]-[007]``), which small models learn and decode faster.
"""

import ast
import json
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

Style = Literal["calls", "compact"]

ALL_LINES = sys.maxsize
MAX_LINE_CHARACTERS = 10_000


@dataclass(frozen=True)
class DropDoc:
    """Delete the whole document."""


@dataclass(frozen=True)
class KeepDoc:
    """Keep the whole document."""


@dataclass(frozen=True)
class RemoveLines:
    """Delete lines ``line_start`` to ``line_end`` (0-based, inclusive, numbered through the document)."""

    line_start: int
    line_end: int


@dataclass(frozen=True)
class Normalize:
    """Replace ``source_str`` by ``target_str`` wherever it stands in the chunk."""

    source_str: str
    target_str: str = ""


@dataclass(frozen=True)
class KeepChunk:
    """Leave the chunk as it is."""


Operation = DropDoc | KeepDoc | RemoveLines | Normalize | KeepChunk


@dataclass(frozen=True)
class Fault:
    """A piece of program text that is no call of the language: its 0-based line, the text and the reason."""

    line: int
    text: str
    reason: str


@dataclass(frozen=True)
class Program:
    """What a refiner's answer says: the operations in order, and the faults."""

    operations: tuple[Operation, ...] = ()
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Signature:
    """How one call is written: operation type and, for each of its fields, the accepted argument names."""

    operation: type
    arguments: tuple[tuple[str, ...], ...] = ()


# Besides Table 1 these are the spellings of the published refiners: untouch_doc(), start=, end=.
SIGNATURES: dict[str, Signature] = {
    "drop_doc": Signature(DropDoc),
    "keep_doc": Signature(KeepDoc),
    "keep_chunk": Signature(KeepChunk),
    "untouch_doc": Signature(KeepChunk),
    "remove_lines": Signature(RemoveLines, (("line_start", "start"), ("line_end", "end"))),
    "normalize": Signature(Normalize, (("source_str",), ("target_str",))),
}

_COMPACT_RANGE = re.compile(r"\[(\d{1,9})\](?:-\[(\d{1,9})\])?")
_COMPACT_REPLACE = re.compile(r'("(?:[^"\\]|\\.)*")(?:\s*->\s*("(?:[^"\\]|\\.)*"))?')
_COMPACT_KEEP = "="


class _Unreadable(Exception):
    """A call that is not of the language; carries the reason."""


def _constant(node: ast.expr, kind: type) -> int | str:
    negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    value = node.operand if negative else node
    if not isinstance(value, ast.Constant) or type(value.value) is not kind or (negative and kind is str):
        raise _Unreadable(f"expected a literal {kind.__name__}")
    if kind is str and not _encodable(value.value):
        raise _Unreadable("the string holds a lone surrogate")
    return -value.value if negative else value.value


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _operation(node: ast.stmt) -> Operation:
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name)):
        raise _Unreadable("not a call")
    call = node.value
    signature = SIGNATURES.get(call.func.id)
    if signature is None:
        raise _Unreadable(f"unknown function {call.func.id[:40]!r}")
    removes_all = signature.operation is RemoveLines and not call.args and [key.arg for key in call.keywords] == ["all"]
    if removes_all and isinstance(call.keywords[0].value, ast.Constant) and call.keywords[0].value.value is True:
        return RemoveLines(0, ALL_LINES)
    if len(call.args) > len(signature.arguments):
        raise _Unreadable(f"{call.func.id} takes at most {len(signature.arguments)} arguments, found {len(call.args)}")
    members = fields(signature.operation)
    values = {member.name: _constant(node, member.type) for member, node in zip(members, call.args, strict=False)}
    for keyword in call.keywords:
        matches = [member for member, names in zip(members, signature.arguments, strict=True) if keyword.arg in names]
        if not matches:
            raise _Unreadable(f"{call.func.id} has no argument {str(keyword.arg)[:40]!r}")
        if matches[0].name in values:
            raise _Unreadable(f"argument {keyword.arg!r} is given twice")
        values[matches[0].name] = _constant(keyword.value, matches[0].type)
    try:
        return signature.operation(**values)
    except TypeError:
        raise _Unreadable(f"{call.func.id} lacks an argument") from None


def _code_lines(text: str) -> list[tuple[int, str]]:
    """(0-based line number, stripped line) of the lines that may hold code: no blanks, fences or comments."""
    lines = [(number, line.strip()) for number, line in enumerate(text.replace("\r\n", "\n").split("\n"))]
    return [(number, line) for number, line in lines if line and not line.startswith(("```", "#"))]


def parse_program(text: str, style: Style = "calls") -> Program:
    """Reads a program from any string; never raises and never evaluates.

    Every line is read by itself, so a cut-off or broken call is one fault and costs only its own line. Accepted around
    the calls: code fences, comments, indentation, CRLF, several calls on a line separated by ``;``.
    """
    operations: list[Operation] = []
    faults: list[Fault] = []
    for number, line in _code_lines(text):
        try:
            operations.extend(_read_compact(line) if style == "compact" else _read_calls(line))
        except _Unreadable as reason:
            faults.append(Fault(number, line[:200], str(reason)))
    return Program(tuple(operations), tuple(faults))


def _read_calls(line: str) -> list[Operation]:
    if len(line) > MAX_LINE_CHARACTERS:
        raise _Unreadable(f"the line has {len(line)} characters, more than {MAX_LINE_CHARACTERS}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an unknown escape such as \d is no reason to write to stderr
            statements = ast.parse(line).body
        return [_operation(statement) for statement in statements]
    except (SyntaxError, ValueError):
        raise _Unreadable("not valid syntax (cut off, or no call)") from None
    except (RecursionError, MemoryError):
        raise _Unreadable("nested too deeply") from None


def _read_compact(line: str) -> list[Operation]:
    if line == _COMPACT_KEEP:
        return [KeepChunk()]
    if match := _COMPACT_RANGE.fullmatch(line):
        start = int(match[1])
        return [RemoveLines(start, int(match[2]) if match[2] else start)]
    if match := _COMPACT_REPLACE.fullmatch(line[: MAX_LINE_CHARACTERS + 1]):
        try:
            source, target = json.loads(match[1]), json.loads(match[2]) if match[2] else ""
        except json.JSONDecodeError:
            raise _Unreadable("not a valid string literal") from None
        if not _encodable(source + target):
            raise _Unreadable("the string holds a lone surrogate")
        return [Normalize(source, target)]
    raise _Unreadable("neither a line marker, a range, a replacement nor '='")


def _literal(text: str) -> str:
    # A JSON string is also a Python string literal with the same value.
    return json.dumps(text, ensure_ascii=False)


def _render_call(operation: Operation) -> str:
    match operation:
        case RemoveLines(0, end) if end == ALL_LINES:
            return "remove_lines(all=True)"
        case RemoveLines(start, end):
            return f"remove_lines(line_start={start}, line_end={end})"
        case Normalize(source, target):
            return f"normalize(source_str={_literal(source)}, target_str={_literal(target)})"
        case KeepChunk():
            return "keep_chunk()"
        case KeepDoc():
            return "keep_doc()"
        case DropDoc():
            return "drop_doc()"


def _render_compact(operation: Operation) -> str:
    match operation:
        case RemoveLines(start, end):
            return line_marker(start) if start == end else f"{line_marker(start)}-{line_marker(end)}"
        case Normalize(source, target):
            return _literal(source) + (f" -> {_literal(target)}" if target else "")
        case KeepChunk():
            return _COMPACT_KEEP
        case _:
            raise ValueError(f"the compact style writes chunk programs only, not {operation!r}")


def render_program(operations: Sequence[Operation], style: Style = "calls") -> str:
    """Writes operations one a line, such that ``parse_program`` reads the same operations back."""
    render = _render_compact if style == "compact" else _render_call
    return "\n".join(render(operation) for operation in operations)


def line_marker(number: int) -> str:
    """The mark of a line in a refiner's prompt: ``[007]``; from line 1000 on with four digits, as the authors do."""
    return f"[{number:03d}]"
