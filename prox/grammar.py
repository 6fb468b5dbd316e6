"""The one definition of how programs are written, for parsing and for constrained decoding.

A small node tree is built from ``prox.operations.SIGNATURES`` and the forms of the compact style. It is printed as EBNF
(the GBNF dialect of xgrammar and vLLM's structured outputs) or as a regular expression without look-around: exactly
what ``render_program`` writes. The parser prints the same nodes for *reading*: with groups around the values, and with
the other spellings that are accepted.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import get_args

from prox.operations import KEEP_MARK, MAX_LINE_DIGITS, SIGNATURES, Argument, Signature, Stage, Style


@dataclass(frozen=True)
class Text:
    """These characters."""

    text: str


@dataclass(frozen=True)
class Characters:
    """One character of the ranges (first, last), or with ``negated`` one outside of them."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool = False


@dataclass(frozen=True)
class Chain:
    """The nodes one after another."""

    nodes: tuple["Node", ...]


@dataclass(frozen=True)
class Choice:
    """One of the nodes."""

    nodes: tuple["Node", ...]


@dataclass(frozen=True)
class Repeat:
    """The node ``least`` to ``most`` times; without ``most``, any number of times."""

    node: "Node"
    least: int = 0
    most: int | None = None


@dataclass(frozen=True)
class Rule:
    """A node with a name: a rule of its own in EBNF."""

    name: str
    node: "Node"


@dataclass(frozen=True)
class Value:
    """The node is a value of the call: a group of the regular expression for reading."""

    node: "Node"


@dataclass(frozen=True)
class Lenient:
    """Written as one node, read as another that accepts more."""

    written: "Node"
    read: "Node"


Node = Text | Characters | Chain | Choice | Repeat | Rule | Value | Lenient


@dataclass(frozen=True)
class Grammar:
    """What a program of one stage and style may look like; a whole answer must match."""

    root: Node

    def ebnf(self) -> str:
        """In GBNF: one rule a line, the first is ``root``."""
        rules = {"root": self.root}
        rules |= {rule.name: rule.node for rule in _rules(self.root)}
        return "".join(f"{name} ::= {_ebnf(node)}\n" for name, node in rules.items())

    def regex(self) -> str:
        """As a regular expression for a full match."""
        return regex(self.root)


@cache
def program_grammar(stage: Stage, style: Style = "calls", max_calls: int | None = None) -> Grammar:
    """The grammar of whole programs, of at most ``max_calls`` calls, as ``render_program`` writes them.

    A document program is one call. A chunk program is one ``keep_chunk()`` or any number of edits, one a line. Raises
    ``ValueError`` for the document stage in the compact style, which has no document calls.
    """
    if stage not in get_args(Stage):
        raise ValueError(f"stage {stage!r} is none: give one of {', '.join(get_args(Stage))}")
    if max_calls is not None and max_calls < 1:
        raise ValueError(f"max_calls {max_calls} leaves no program: it must be 1 or more, or None")
    if style == "compact":
        if stage == "document":
            raise ValueError("document programs are written as calls: the compact style has none of them")
        return Grammar(Choice((KEEP, _lines(Choice((RANGE, REPLACEMENT)), max_calls))))
    signatures = [signature for signature in SIGNATURES if signature.stage == stage]
    alone = [_call(signature) for signature in signatures if signature.alone]
    edits = [_call(signature) for signature in signatures if not signature.alone]
    return Grammar(Choice((*alone, *([_lines(Choice(tuple(edits)), max_calls)] if edits else []))))


def _lines(node: Node, most: int | None) -> Node:
    return Chain((node, Repeat(Chain((Text("\n"), node)), 0, None if most is None else most - 1)))


_DIGIT = Characters((("0", "9"),))
_NOT_ZERO = Characters((("1", "9"),))
_NUMBER = Rule("number", Choice((Text("0"), Chain((_NOT_ZERO, Repeat(_DIGIT, 0, MAX_LINE_DIGITS - 1))))))
# Line markers have leading zeros, so models write them in calls too.
_READ_NUMBER = Lenient(_NUMBER, Repeat(_DIGIT, 1, MAX_LINE_DIGITS))

# Strings are JSON strings: a JSON string that json.dumps writes is also a Python literal of the same value. Of the
# escapes only those that it writes are in the grammar, as `\/` and surrogate pairs mean something else in Python.
_PLAIN = Repeat(Characters((('"', '"'), ("\\", "\\"), ("\x00", "\x1f")), negated=True))
_CONTROL = Chain((Text("u00"), Characters((("0", "1"),)), Characters((("0", "9"), ("a", "f")))))
_ESCAPE = Chain((Text("\\"), Choice((Characters(tuple((mark, mark) for mark in '"\\bfnrt')), _CONTROL))))
_ANY_ESCAPE = Chain((Text("\\"), Characters((("\n", "\n"),), negated=True)))


def _string(escape: Node) -> Node:
    return Chain((Text('"'), Value(Chain((_PLAIN, Repeat(Chain((escape, _PLAIN)))))), Text('"')))


_STRING = Rule("string", _string(_ESCAPE))


_SPACES = Repeat(Characters(((" ", " "), ("\t", "\t"))))
_COMMA = Lenient(Text(", "), Chain((Text(","), _SPACES)))
_ARROW = Lenient(Text(" -> "), Chain((_SPACES, Text("->"), _SPACES)))


def _argument(argument: Argument) -> Node:
    written, *others = (Text(f"{name}=") for name in argument.names)
    name = Lenient(written, Choice((written, *others))) if others else written
    return Chain((name, Value(_READ_NUMBER) if argument.kind is int else _STRING))


def arguments_node(signature: Signature) -> Node:
    """The arguments of a call by name and in order, as they are written; what has a default may be left out."""
    first, *others = signature.arguments
    nodes = [_argument(first)]
    for argument in others:
        node = Chain((_COMMA, _argument(argument)))
        nodes.append(node if argument.required else Lenient(node, Repeat(node, 0, 1)))
    return Chain(tuple(nodes))


def _call(signature: Signature) -> Node:
    name = signature.names[0]
    rule = name.replace("_", "-")
    if not signature.arguments:
        return Rule(rule, Text(f"{name}()"))
    insides = (arguments_node(signature), *(Text(f"{flag}=True") for flag, _ in signature.flags))
    return Rule(rule, Chain((Text(f"{name}("), Choice(insides) if signature.flags else insides[0], Text(")"))))


# The compact style: [003]-[007] removes a range, [003] one line, "a" -> "b" replaces, "a" deletes, = keeps the chunk.
_MARKED = Choice((Repeat(_DIGIT, 3, 3), Chain((_NOT_ZERO, Repeat(_DIGIT, 3, MAX_LINE_DIGITS - 1)))))
_MARKER = Rule("marker", Chain((Text("["), Value(Lenient(_MARKED, Repeat(_DIGIT, 1, MAX_LINE_DIGITS))), Text("]"))))
_COMPACT_STRING = Lenient(_STRING, _string(_ANY_ESCAPE))
RANGE = Rule("range", Chain((_MARKER, Repeat(Chain((Text("-"), _MARKER)), 0, 1))))
REPLACEMENT = Rule("replacement", Chain((_COMPACT_STRING, Repeat(Chain((_ARROW, _COMPACT_STRING)), 0, 1))))
KEEP = Text(KEEP_MARK)


def regex(node: Node, reading: bool = False) -> str:
    """The node as a regular expression; for ``reading``, with groups for the values and all accepted spellings.

    For reading, repeats are possessive (Python 3.11): what follows one can't begin like it, and without the way back a
    string of a million escapes takes no gigabyte.
    """
    match node:
        case Text(text):
            return "".join(_quote(character, "\\.^$|?*+()[]{}") for character in text)
        case Characters():
            return _characters(node)
        case Chain(nodes):
            return "".join(regex(part, reading) for part in nodes)
        case Choice(nodes):
            return f"(?:{'|'.join(regex(part, reading) for part in nodes)})"
        case Repeat(repeated):
            inner = regex(repeated, reading)
            group = inner if isinstance(repeated, Characters) else f"(?:{inner})"
            return group + _times(node) + ("+" if reading else "")
        case Rule(_, inner):
            return regex(inner, reading)
        case Value(inner):
            return f"({regex(inner, reading)})" if reading else regex(inner)
        case Lenient(written, read):
            return regex(read if reading else written, reading)


def _ebnf(node: Node) -> str:
    match node:
        case Text(text):
            return '"' + "".join(_quote(character, '"\\') for character in text) + '"'
        case Characters():
            return _characters(node)
        case Chain(nodes):
            return " ".join(_ebnf(part) for part in nodes)
        case Choice(nodes):
            return f"({' | '.join(_ebnf(part) for part in nodes)})"
        case Repeat(repeated):
            inner = _ebnf(repeated)
            return (inner if isinstance(repeated, Characters) else f"({inner})") + _times(node)
        case Rule(name, _):
            return name
        case Value(inner) | Lenient(inner, _):
            return _ebnf(inner)


def _rules(node: Node) -> Iterator[Rule]:
    parts: Iterable[Node] = ()
    match node:
        case Chain(nodes) | Choice(nodes):
            parts = nodes
        case Rule(_, inner):
            yield node
            parts = (inner,)
        case Repeat(inner) | Value(inner) | Lenient(inner, _):
            parts = (inner,)
    for part in parts:
        yield from _rules(part)


def _characters(node: Characters) -> str:
    ranges = (
        _quote(first, "\\]^-[") + (f"-{_quote(last, chr(92) + ']^-[')}" if last != first else "")
        for first, last in node.ranges
    )
    return f"[{'^' if node.negated else ''}{''.join(ranges)}]"


def _quote(character: str, special: str) -> str:
    if character == "\n":
        return "\\n"
    if character < " ":
        return f"\\x{ord(character):02x}"
    return f"\\{character}" if character in special else character


def _times(node: Repeat) -> str:
    match node.least, node.most:
        case 0, None:
            return "*"
        case 0, 1:
            return "?"
        case least, None:
            return f"{{{least},}}"
        case least, most:
            return f"{{{least}}}" if least == most else f"{{{least},{most}}}"
