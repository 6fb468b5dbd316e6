"""The refiner's language (paper, Table 1): the parser, which accepts any string.

Programs are parsed with Python's own ``ast`` and never evaluated. What can't be read as a call of the language becomes
a fault with its line and reason; it never becomes a different edit. Two styles mean the same programs: ``calls`` is the
paper's, ``compact`` writes ranges of line markers (``[003]-[007]``), which small models learn and decode faster.
Operations, their spellings and the renderer are in ``prox.operations``, the grammar in ``prox.grammar``; all of the
language but the grammar is imported from here.
"""

import ast
import contextlib
import functools
import json
import math
import operator
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from prox import grammar
from prox.operations import (
    ALL_LINES,
    SIGNATURES,
    Argument,
    DropDoc,
    Fault,
    KeepChunk,
    KeepDoc,
    Normalize,
    Operation,
    Program,
    RemoveLines,
    Signature,
    Stage,
    Style,
    line_marker,
    remove_numbers,
    render_program,
)

__all__ = [
    "ALL_LINES",
    "MAX_LINE_CHARACTERS",
    "SIGNATURES",
    "DropDoc",
    "Fault",
    "KeepChunk",
    "KeepDoc",
    "Normalize",
    "Operation",
    "Program",
    "RemoveLines",
    "Signature",
    "Stage",
    "Style",
    "line_marker",
    "parse_program",
    "remove_numbers",
    "render_program",
]

MAX_LINE_CHARACTERS = 10_000
"""Longest call that is given to ``ast``. Calls as ``render_program`` writes them are read at any length."""

_FENCE = re.compile(r"(?:`{3,}|~{3,})\s*[\w+#.-]*")
_CALL_START = re.compile(r"[^\W\d]\w*\s*\(")
# Possessive repeats (*+) take no memory for a way back, which can't succeed here.
_QUOTED = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|' + r"'[^'\\]*+(?:\\.[^'\\]*+)*+'"
_NAMES = "|".join(name for signature in SIGNATURES for name in signature.names)
_LEXEME = re.compile(rf"{_QUOTED}|#.*|(?P<call>\b(?:{_NAMES})\s*\()|[\"'()\[\]{{}}]")
_THREE_QUOTES = r'"""(?:[^"\\]|\\.|"(?!""))*+"""|' + r"'''(?:[^'\\]|\\.|'(?!''))*+'''"
_ONE_LITERAL = re.compile(rf"[rRuU]?(?:{_THREE_QUOTES}|{_QUOTED})")

_SURROGATE = "a lone surrogate is no character"


class _Unreadable(Exception):
    """A call that is not of the language; carries the reason."""


def parse_program(text: str, style: Style = "calls") -> Program:
    """Reads a program from any string; never raises and never evaluates.

    A cut-off or broken call is one fault and costs only itself: a call whose brackets are open at the end of its line
    goes on until they close, or until the next line that starts like a call or holds a call of the language. Accepted
    around the calls: code fences, comments, indentation, any line ends, several calls on a line separated by ``;``.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")  # as ast does
    text = text.removeprefix("\ufeff")
    match_line, forms = _COMPACT if style == "compact" else _CALLS
    operations: list[Operation] = []
    faults: list[Fault] = []
    begin, number = 0, 0
    while begin < len(text):
        if match := match_line(text, begin):
            first, last, make = forms[match.lastindex]
            try:
                operations.append(make(*match.groups("")[first:last]))
            except _Unreadable as reason:
                faults.append(Fault(number, match[0].strip()[:200], str(reason)))
            begin, number = match.end(), number + 1
            continue
        end = _end_of_line(text, begin)
        line = text[begin:end].strip()
        if line and line[0] != "#" and not _FENCE.fullmatch(line):
            if style == "compact":
                faults.append(Fault(number, line[:200], "neither a line marker, a range, a replacement nor '='"))
            else:
                end = _end_of_call(text, begin, end)
                for item in _read_calls(text[begin:end].strip(), number):
                    (faults if isinstance(item, Fault) else operations).append(item)
        begin, number = end + 1, number + 1 + text.count("\n", begin, end)
    return Program(tuple(operations), tuple(faults))


# Lines as render_program writes them, which is nearly all that a refiner says, are read by one regular expression.

_Make = Callable[..., Operation]


def _encodable(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise _Unreadable(_SURROGATE) from None
    return text


def _string(body: str) -> str:
    """The value of a JSON string without its quotes."""
    if "\\" in body:
        try:
            body = json.loads(f'"{body}"')
        except json.JSONDecodeError:
            raise _Unreadable("not a valid string literal") from None
    return body if body.isascii() else _encodable(body)


def _call_maker(signature: Signature) -> _Make:
    operation = signature.operation
    if all(argument.kind is int for argument in signature.arguments):
        # Most ranges of a corpus are among the first lines, so that the same few come again and again.
        return functools.lru_cache(4096)(lambda *texts: operation(*map(int, texts)))
    values = [int if argument.kind is int else _string for argument in signature.arguments]
    return lambda *texts: operation(*map(operator.call, values, texts))  # a text that is left out is ""


def _call_forms() -> Iterator[tuple[grammar.Node, _Make]]:
    for signature in SIGNATURES:
        fixed = [(f"{flag}=True", operation) for flag, operation in signature.flags]
        if not signature.arguments:
            fixed.append(("", signature.operation()))
        for name in signature.names:
            for inside, operation in fixed:
                yield grammar.Value(grammar.Text(f"{name}({inside})")), lambda _, operation=operation: operation
            if signature.arguments:
                arguments = grammar.arguments_node(signature)
                yield grammar.Chain((grammar.Text(f"{name}("), arguments, grammar.Text(")"))), _call_maker(signature)


def _compact_forms() -> Iterator[tuple[grammar.Node, _Make]]:
    yield grammar.RANGE, lambda start, end: RemoveLines(int(start), int(end or start))
    yield grammar.REPLACEMENT, lambda source, target: Normalize(_string(source), _string(target))
    yield grammar.Value(grammar.KEEP), lambda _: KeepChunk()


class _Lines(NamedTuple):
    """How lines of a style are read: ``match`` one at a position; its last group says which of the forms it is."""

    match: Callable[[str, int], re.Match[str] | None]
    forms: dict[int | None, tuple[int, int, _Make]]


def _line_reader(forms: Iterable[tuple[grammar.Node, _Make]]) -> _Lines:
    patterns, by_group, first = [], {}, 0
    for node, make in forms:
        patterns.append(grammar.regex(node, reading=True))
        last = first + re.compile(patterns[-1]).groups
        by_group |= {group: (first, last, make) for group in range(first + 1, last + 1)}
        first = last
    return _Lines(re.compile(rf"[ \t]*(?:{'|'.join(patterns)})[ \t]*(?:\n|\Z)").match, by_group)


_CALLS = _line_reader(_call_forms())
_COMPACT = _line_reader(_compact_forms())


# Every other spelling is read by Python's ast.


def _open_brackets(line: str, depth: float) -> float | None:
    """Brackets open after the line, for ``depth`` open before it; infinite where a string is left open.

    None where a call of the language begins while brackets of a line before it are open.
    """
    goes_on = depth > 0
    for match in _LEXEME.finditer(line):
        lexeme = match[0]
        if match["call"] and goes_on and depth > 0:
            return None
        if lexeme in "([{" or match["call"]:
            depth += 1
        elif lexeme in ")]}":
            depth -= 1
        elif lexeme in "\"'":
            return math.inf
    return depth


def _end_of_line(text: str, begin: int) -> int:
    end = text.find("\n", begin)
    return len(text) if end < 0 else end


def _end_of_call(text: str, begin: int, end: int) -> int:
    """Where the last line of the call ends whose first is ``text[begin:end]``; see ``parse_program``."""
    line = text[begin:end].strip()
    depth = _open_brackets(line, 0) if _CALL_START.match(line) else None
    while depth is not None and depth > 0 and end < len(text):
        next_end = _end_of_line(text, end + 1)
        line = text[end + 1 : next_end].strip()
        depth = None if _FENCE.fullmatch(line) or _CALL_START.match(line) else _open_brackets(line, depth)
        end = end if depth is None else next_end
    return end


class _Source:
    """Program text that ``ast`` has read: what was written for a node (ast counts columns in UTF-8 bytes)."""

    def __init__(self, text: str) -> None:
        self.lines = text.encode("utf-8").split(b"\n")

    def written(self, node: ast.expr | ast.stmt) -> str:
        """Text of the node, empty where it is spread over lines."""
        if node.lineno != node.end_lineno:
            return ""
        return self.lines[node.lineno - 1][node.col_offset : node.end_col_offset].decode("utf-8")

    def is_named(self, keyword: ast.keyword) -> bool:
        """Whether the argument's name is written as ``ast`` gives it: look-alikes are taken for it too (NFKC)."""
        name = (keyword.arg or "").encode("utf-8")
        return self.lines[keyword.lineno - 1].startswith(name, keyword.col_offset)


def _statements(text: str) -> list[ast.stmt]:
    if len(text) > MAX_LINE_CHARACTERS:
        raise _Unreadable(f"the call has {len(text)} characters, more than {MAX_LINE_CHARACTERS}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an unknown escape such as \d is no reason to write to stderr
            return ast.parse(text).body
    except UnicodeEncodeError:
        raise _Unreadable(_SURROGATE) from None
    except (SyntaxError, ValueError):
        raise _Unreadable("not valid syntax (cut off, or no call)") from None
    except (RecursionError, MemoryError):
        raise _Unreadable("nested too deeply") from None


def _read_calls(text: str, line: int) -> list[Operation | Fault]:
    """The calls of one line, or of one call's lines; ``line`` is the number of the first."""
    try:
        return _items(text, line)
    except _Unreadable as reason:
        # Where strings end is unknown in text that is not valid, so all of it is one fault. Only a last call without
        # any quote can't have changed the meaning of complete calls before it.
        head, _, tail = text.rpartition(";")
        before: list[Operation | Fault] = []
        if head and not any(mark in tail for mark in "\"'#"):
            with contextlib.suppress(_Unreadable):
                before = _items(head, line)
        if before and not any(isinstance(item, Fault) for item in before):
            return [*before, Fault(line, tail.strip()[:200], str(reason))]
        return [Fault(line, text[:200], str(reason))]


def _items(text: str, line: int) -> list[Operation | Fault]:
    """The statements of the text; raises ``_Unreadable`` where it can't be parsed."""
    statements, source = _statements(text), _Source(text)
    items: list[Operation | Fault] = []
    for statement in statements:
        try:
            items.append(_operation(statement, source))
        except _Unreadable as reason:
            written = text if len(statements) == 1 else source.written(statement) or text
            items.append(Fault(line, written[:200], str(reason)))
    return items


_BY_NAME = {name: signature for signature in SIGNATURES for name in signature.names}


def _operation(statement: ast.stmt, source: _Source) -> Operation:
    call = statement.value if isinstance(statement, ast.Expr) else None
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        raise _Unreadable("not a call")
    if (statement.lineno, statement.col_offset) != (call.func.lineno, call.func.col_offset):
        raise _Unreadable("not a call: it must begin with its name")
    name = call.func.id
    signature = _BY_NAME.get(name)
    if signature is None or source.written(call.func) != name:
        raise _Unreadable(f"unknown function {source.written(call.func)[:40]!r}")
    if (flagged := _flagged(call, signature, source)) is not None:
        return flagged
    if len(call.args) > len(signature.arguments):
        raise _Unreadable(f"{name} takes at most {len(signature.arguments)} arguments, found {len(call.args)}")
    values = {
        argument.names[0]: _constant(node, argument, source)
        for argument, node in zip(signature.arguments, call.args, strict=False)
    }
    for keyword in call.keywords:
        argument = next((one for one in signature.arguments if keyword.arg in one.names), None)
        if argument is None or not source.is_named(keyword):
            raise _Unreadable(f"{name} has no argument {(keyword.arg or '**')[:40]!r}")
        if argument.names[0] in values:
            raise _Unreadable(f"argument {keyword.arg!r} is given twice")
        values[argument.names[0]] = _constant(keyword.value, argument, source)
    for argument in signature.arguments:
        if argument.required and argument.names[0] not in values:
            raise _Unreadable(f"{name} lacks an argument: {argument.names[0]}")
    return signature.operation(**values)


def _flagged(call: ast.Call, signature: Signature, source: _Source) -> Operation | None:
    """The operation that a call such as ``remove_lines(all=True)`` stands for."""
    if call.args or len(call.keywords) != 1 or not source.is_named(call.keywords[0]):
        return None
    value = call.keywords[0].value
    is_true = isinstance(value, ast.Constant) and value.value is True
    return dict(signature.flags).get(call.keywords[0].arg) if is_true else None


def _constant(node: ast.expr, argument: Argument, source: _Source) -> int | str:
    negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and argument.kind is int
    literal = node.operand if negative else node
    if not isinstance(literal, ast.Constant) or type(literal.value) is not argument.kind:
        raise _Unreadable(f"expected a literal {argument.kind.__name__}")
    written = source.written(literal)
    if argument.kind is int:
        if not (written.isascii() and written.isdecimal()):
            raise _Unreadable("expected a literal int in decimal digits")
        return -literal.value if negative else literal.value
    if not _ONE_LITERAL.fullmatch(written):
        # "a" "b" is one string to Python, but it may as well be two arguments that lost their comma.
        raise _Unreadable("expected a literal str in one piece")
    return _encodable(literal.value)
