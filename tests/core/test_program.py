"""The parser: every spelling that means a call, no string that crashes it, and rendering as its inverse."""

import re
import tracemalloc
import warnings

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prox import program as program_module
from prox.program import (
    ALL_LINES,
    MAX_LINE_CHARACTERS,
    DropDoc,
    Fault,
    KeepChunk,
    KeepDoc,
    Normalize,
    Program,
    RemoveLines,
    parse_program,
    render_program,
)
from tests.fuzz import ProgramMaker


@pytest.mark.parametrize(
    ("text", "operations"),
    [
        ("remove_lines(line_start=0, line_end=1)", [RemoveLines(0, 1)]),
        ("remove_lines(start=0, end=1)", [RemoveLines(0, 1)]),
        ("remove_lines(0, 1)", [RemoveLines(0, 1)]),
        ("remove_lines(start=007, end=012)", [RemoveLines(7, 12)]),
        ("remove_lines(0, end=1)", [RemoveLines(0, 1)]),
        ("remove_lines(end=1, start=0)", [RemoveLines(0, 1)]),
        ("remove_lines (0,1,)", [RemoveLines(0, 1)]),
        ("remove_lines(all=True)", [RemoveLines(0, ALL_LINES)]),
        ("remove_lines( all = True )", [RemoveLines(0, ALL_LINES)]),
        ("untouch_doc()", [KeepChunk()]),
        ("keep_doc()", [KeepDoc()]),
        ("drop_doc()", [DropDoc()]),
        ("remove_lines(0, 0); remove_lines(11, 11)", [RemoveLines(0, 0), RemoveLines(11, 11)]),
        ("remove_lines(0, 1);", [RemoveLines(0, 1)]),
        ("```python\n# nav bar\nremove_lines(0, 1)  # top\n```", [RemoveLines(0, 1)]),
        ("~~~ py\nkeep_chunk()\n~~~", [KeepChunk()]),
        ("remove_lines(0, 1)\r\n  keep_chunk()\r\n", [RemoveLines(0, 1), KeepChunk()]),
        ("remove_lines(0, 1)\rkeep_chunk()", [RemoveLines(0, 1), KeepChunk()]),
        ("\ufeffkeep_chunk()", [KeepChunk()]),
        ("\x0c\u3000remove_lines(0,\x0c\t1)\u2028", [RemoveLines(0, 1)]),
        ("remove_lines(0, 1)  # -*- coding: latin-1 -*-; drop_doc()", [RemoveLines(0, 1)]),
        ("remove_lines(-2, -1)", [RemoveLines(-2, -1)]),
        ("remove_lines(0, " + "9" * 4000 + ")", [RemoveLines(0, 10**4000 - 1)]),
        ('normalize("Log in")', [Normalize("Log in")]),
        ('normalize(source_str="Log in")', [Normalize("Log in")]),
        ('normalize(source_str=\'a, (b) = "c"\', target_str="d")', [Normalize('a, (b) = "c"', "d")]),
        (r'normalize(source_str="tab\there \"x\"")', [Normalize('tab\there "x"')]),
        ('normalize(source_str="http://ex.org/a?id=7&x=1")', [Normalize("http://ex.org/a?id=7&x=1")]),
        ('normalize("""say "no"; drop_doc()""", u"b")', [Normalize('say "no"; drop_doc()', "b")]),
        (r'normalize(r"\d", "\N{BULLET} \d")', [Normalize("\\d", "\u2022 \\d")]),
        ('normalize("a\tb\u2028c\x85")', [Normalize("a\tb\u2028c\x85")]),
        ("", []),
    ],
)
def test_spellings(text: str, operations: list) -> None:
    program = parse_program(text)
    assert list(program.operations) == operations
    assert not program.faults


@pytest.mark.parametrize(
    ("text", "operations"),
    [
        ('normalize(\n  source_str="a",\n  target_str="b",\n)', [Normalize("a", "b")]),
        ('normalize(\n  source_str="a; (",  # why ")"\n\n  target_str="b")  # so', [Normalize("a; (", "b")]),
        ('normalize(\n  "use remove_lines(0, 1)"\n)', [Normalize("use remove_lines(0, 1)")]),
        ("remove_lines(0, \\\n1)\nkeep_chunk()", [RemoveLines(0, 1), KeepChunk()]),
        ("remove_lines(0,\n1); remove_lines(4,\n5)\nkeep_chunk()", [RemoveLines(0, 1), RemoveLines(4, 5), KeepChunk()]),
    ],
)
def test_a_call_may_be_spread_over_lines(text: str, operations: list) -> None:
    assert parse_program(text) == Program(tuple(operations))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("remove_lines(start=0, end=11", "not valid syntax"),
        ("remove_lines", "not a call"),
        ("remove_lines_please(start=0, end=1)", "unknown function"),
        ("Remove_lines(0, 1)", "unknown function"),
        ('normalize_text(source_str="Log in")', "unknown function"),
        ('remove_lines(start=0, end="one")', "literal int"),
        ("remove_lines(start=True, end=1)", "literal int"),
        ("remove_lines(1.0, 2)", "literal int"),
        ("remove_lines(+1, 2)", "literal int"),
        ("remove_lines(0, --1)", "literal int"),
        ("remove_lines(1_0, 12)", "decimal digits"),
        ("remove_lines(0x10, 17)", "decimal digits"),
        ("remove_lines(007, 008)", "not valid syntax"),
        ("remove_lines(start=\uff10, end=1)", "not valid syntax"),
        ("remove_lines(0, " + "9" * 5000 + ")", "not valid syntax"),
        ("remove_lines(start=0)", "lacks an argument"),
        ("remove_lines(0, start=0)", "given twice"),
        ("remove_lines(start=0, start=0, end=1)", "given twice"),
        ("remove_lines(start=0, line_start=0, end=1)", "given twice"),
        ("remove_lines(0, 1, 2)", "at most 2"),
        ("keep_chunk(None)", "at most 0"),
        ("remove_lines(first=0, end=1)", "no argument"),
        ("remove_lines(all=True, start=1)", "no argument"),
        ("remove_lines(all=1)", "no argument"),
        ("remove_lines(all=False)", "no argument"),
        ("remove_lines(0, all=True)", "no argument"),
        ('remove_lines(**{"start": 0, "end": 1})', "no argument"),
        ("remove_lines(*[0, 1])", "literal int"),
        ("remove_lines(line_start:=0, line_end:=1)", "literal int"),
        ("remove_lines(0, remove_lines(5, 6))", "literal int"),
        ("remove_lines(start=__import__('os').getpid(), end=3)", "literal int"),
        ("__import__('os').system('echo hi')", "not a call"),
        ("lambda: remove_lines(0, 1)", "not a call"),
        ("x = remove_lines(0, 1)", "not a call"),
        ("remove_lines(0, 1),", "not a call"),
        ("remove_lines(0, 1) if 1 else 2", "not a call"),
        ("if True: remove_lines(0, 1)", "not a call"),
        ("(remove_lines(0, 1))", "not a call"),
        ("(remove_lines)(0, 1)", "not a call"),
        ("remove_lines(0, 1)(2)", "not a call"),
        ("- remove_lines(0, 1)", "not a call"),
        ("1. remove_lines(0, 1)", "not valid syntax"),
        ("`remove_lines(0, 1)`", "not valid syntax"),
        ("```remove_lines(0, 1)```", "not valid syntax"),
        ("remove_lines(0, 1) remove_lines(2, 3)", "not valid syntax"),
        ("remove_lines(0, 1) \\", "not valid syntax"),
        ("remove_lines(0,\u00a01)", "not valid syntax"),
        ("\u200bremove_lines(0, 1)", "not valid syntax"),
        ("keep_chunk()\ufeff", "not valid syntax"),
        ("\uff52emove_lines(0, 1)", "unknown function"),
        ("remove_lines(\uff53tart=0, end=1)", "no argument"),
        ("remove_lines(\uff41ll=True)", "no argument"),
        ("remove_lines(0, # 1)", "not valid syntax"),
        ("The page is clean; nothing to remove.", "not valid syntax"),
        ("normalize(source_str='\\ud800')", "surrogate"),
        ("normalize('\\ud83d\\ude00')", "surrogate"),
        ('normalize("\ud800")', "surrogate"),
        ("normalize(f'{x}')", "literal str"),
        ("normalize(b'abc')", "literal str"),
        ("normalize('abc', None)", "literal str"),
        ("normalize(-'abc')", "literal str"),
        ("normalize('abc' 'def')", "one piece"),
        ("normalize('abc'\n'def')", "one piece"),
        ('normalize("""abc\ndef""")', "one piece"),
        (r"normalize('\N{NO SUCH NAME}')", "not valid syntax"),
        (r"normalize('\x4')", "not valid syntax"),
        ('normalize(target_str="a")', "lacks an argument"),
        ('normalize(source_str="a\nb", target_str="")', "not valid syntax"),
        ("(" * 5000, ""),
        ("remove_lines(line_start=" + "-" * 330 + "1, line_end=3)", "literal int"),
        ("remove_lines(line_start=" + "-" * 9000 + "1, line_end=3)", ""),
        ("normalize(" + "+".join(['"a"'] * 900) + ")", "literal str"),
        ("f" + "()" * 3000, ""),
        ("a" + ".a" * 3000, ""),
        ("a b;" * 2500, ""),
        ("x" * 10_001, "10001 characters"),
        ("normalize(\n" + "\n" * 9990 + ")", "10002 characters"),
        ("a\x00b", "not valid syntax"),
        ("keep_chunk()\x00", "not valid syntax"),
    ],
)
def test_what_is_no_call_is_one_fault_with_its_reason(text: str, reason: str) -> None:
    program = parse_program(text)
    assert not program.operations
    assert len(program.faults) == 1
    assert reason in program.faults[0].reason


CUT_OFF = "not valid syntax (cut off, or no call)"


@pytest.mark.parametrize(
    ("text", "operations", "faults"),
    [
        ("remove_lines(0, 1)\nfoo(\nremove_lines(5, 6)", [RemoveLines(0, 1), RemoveLines(5, 6)], [(1, "foo(")]),
        ("normalize(\n  source_str='Click he", [], [(0, "normalize(\n  source_str='Click he")]),
        ("normalize(\n  'a',\nkeep_chunk()", [KeepChunk()], [(0, "normalize(\n  'a',")]),
        ("normalize('a\nfoo(); remove_lines(0, 1)", [RemoveLines(0, 1)], [(0, "normalize('a"), (1, "foo()")]),
        ("normalize(\n  'a',\nx; remove_lines(0, 1)", [RemoveLines(0, 1)], [(0, "normalize(\n  'a',"), (2, "x")]),
        ("normalize('a)\nb)')\nkeep_chunk()", [KeepChunk()], [(0, "normalize('a)\nb)')")]),
        ("normalize(\n'a',\n)\nfoo", [Normalize("a")], [(3, "foo")]),
        ("normalize(\n'a'\n```\nfoo", [], [(0, "normalize(\n'a'"), (3, "foo")]),
        ("foo(\nbar(\nkeep_chunk()", [KeepChunk()], [(0, "foo("), (1, "bar(")]),
        ("normalize('a\nb')\nremove_lines(0, 1)", [RemoveLines(0, 1)], [(0, "normalize('a\nb')")]),
        ("remove_lines(0,\n```\nkeep_chunk()", [KeepChunk()], [(0, "remove_lines(0,")]),
        ("remove_lines \\\n(0, 1)", [], [(0, "remove_lines \\"), (1, "(0, 1)")]),
        ("foo(); remove_lines(5, 6); bar()", [RemoveLines(5, 6)], [(0, "foo()"), (0, "bar()")]),
        ("keep_chunk(); remove_lines(5", [KeepChunk()], [(0, "remove_lines(5")]),
        ("a; remove_lines(0, 1); remove_lines(5", [], [(0, "a; remove_lines(0, 1); remove_lines(5")]),
        # A stray quote may have begun anywhere on the line: nothing of it is run.
        ('normalize("abc"); drop_doc()")', [], [(0, 'normalize("abc"); drop_doc()")')]),
        ("keep_chunk(); normalize('ab", [], [(0, "keep_chunk(); normalize('ab")]),
    ],
)
def test_a_broken_call_costs_only_itself(text: str, operations: list, faults: list) -> None:
    program = parse_program(text)
    assert list(program.operations) == operations
    assert [(fault.line, fault.text) for fault in program.faults] == faults


def test_a_fault_says_where_and_why() -> None:
    assert parse_program("keep_chunk()\nfoo(").faults == (Fault(1, "foo(", CUT_OFF),)
    assert len(parse_program("é" * 5000).faults[0].text) == 200


def test_nothing_is_written_to_stderr() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse_program(r"normalize('\d')").operations == (Normalize("\\d"),)
        assert parse_program("1if 2else 3").faults


def test_compact_style() -> None:
    program = parse_program('[003]-[007]\n[012]\n"a \\"b\\"" -> "c"\n"gone"\n[1', "compact")
    assert program.operations == (RemoveLines(3, 7), RemoveLines(12, 12), Normalize('a "b"', "c"), Normalize("gone"))
    assert [fault.line for fault in program.faults] == [4]
    assert parse_program("=", "compact").operations == (KeepChunk(),)
    # The compact style is not read where calls are expected: a model that echoes its prompt edits nothing.
    assert not parse_program("[003]-[007]").operations


@pytest.mark.parametrize(
    ("text", "operation"),
    [
        ("[1000]-[1234567]", RemoveLines(1000, 1234567)),
        ("[7]", RemoveLines(7, 7)),
        ("[007]-[003]", RemoveLines(7, 3)),
        ('  "a"->"b"\r', Normalize("a", "b")),
        (r'"\ud83d\ude00" -> "a\/b"', Normalize("\U0001f600", "a/b")),
    ],
)
def test_compact_spellings(text: str, operation: RemoveLines | Normalize) -> None:
    assert parse_program(text, "compact") == Program((operation,))


@pytest.mark.parametrize(
    "text",
    [
        "[-01]",
        "[1234567890]",
        "[\u0660\u0661\u0662]",
        "[003] - [007]",
        "[003] [007]",
        "[003]-",
        "003",
        "==",
        '"a" -> ',
        '"a" "b"',
        "'a'",
        '"a\tb"',
        r'"\d"',
        r'"\ud800"',
        '"\ud800"',
        "keep_chunk()",
        '"' + '"' * 20_000,
    ],
)
def test_what_is_no_compact_form_is_a_fault(text: str) -> None:
    program = parse_program(text, "compact")
    assert not program.operations
    assert len(program.faults) == 1


@pytest.mark.parametrize(
    ("operation", "style"),
    [
        (RemoveLines(0, ALL_LINES), "compact"),
        (RemoveLines(0, 10**9), "compact"),
        (RemoveLines(-1, 0), "compact"),
        (DropDoc(), "compact"),
        (KeepDoc(), "compact"),
        (Normalize("\ud800"), "compact"),
        (Normalize("a", "\ud800"), "calls"),
        ("keep_chunk()", "calls"),
    ],
)
def test_what_a_style_can_not_write_is_refused(operation: object, style: str) -> None:
    with pytest.raises(ValueError, match=r"compact style|surrogates not allowed|no operation"):
        render_program([operation], style)


words = st.text(st.characters(codec="utf-8"), max_size=40)
# What a program could break on: quotes, escapes, controls, other line ends, characters outside the basic plane.
strings = words | st.text(st.sampled_from(list("\"'\\/;#()[]{}=\n\r\t\x00\x0c\x1f\x7f\x85\u2028\ufeff\U0001f600a1")))
documents = st.sampled_from([KeepDoc(), DropDoc()])
edits = st.builds(Normalize, strings, strings) | st.just(KeepChunk())


def ranges(smallest: int, largest: int) -> st.SearchStrategy[RemoveLines]:
    lines = st.integers(smallest, largest) | st.integers(0, 1100)
    return st.builds(RemoveLines, lines, lines)


operations_of = {
    "calls": edits | documents | ranges(-(10**30), 10**30) | st.just(RemoveLines(0, ALL_LINES)),
    "compact": edits | ranges(0, 10**9 - 1),
}


@given(st.text() | strings)
@example("0\r0")
@example("0;0")
def test_any_string_gives_a_program(text: str) -> None:
    for style in ("calls", "compact"):
        program = parse_program(text, style)
        assert len(program.faults) <= len(re.findall("[\n\r;]", text)) + 1


@given(st.sampled_from(["calls", "compact"]), st.data())
@settings(max_examples=300)
def test_rendered_programs_are_read_back(style: str, data: st.DataObject) -> None:
    operations = data.draw(st.lists(operations_of[style], max_size=8))
    assert parse_program(render_program(operations, style), style) == Program(tuple(operations))


def test_rendered_programs_of_any_length_are_read_back() -> None:
    operations = (Normalize('"\n' * MAX_LINE_CHARACTERS, "b" * MAX_LINE_CHARACTERS),)
    for style in ("calls", "compact"):
        assert parse_program(render_program(operations, style), style).operations == operations


@pytest.mark.parametrize("style", ["calls", "compact"])
@pytest.mark.parametrize("end", ["", "x"])
def test_long_strings_take_little_memory(style: str, end: str) -> None:
    text = render_program([Normalize('"\n' * 50_000)], style) + end
    tracemalloc.start()
    parse_program(text, style)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * len(text)


@given(st.lists(operations_of["calls"], min_size=1, max_size=4), st.data())
def test_a_cut_off_answer_never_becomes_another_edit(operations: list, data: st.DataObject) -> None:
    text = render_program(operations)
    cut = text[: data.draw(st.integers(0, len(text)))]
    program = parse_program(cut)
    assert list(program.operations) == operations[: len(program.operations)]
    assert len(program.faults) <= 1


@given(st.lists(operations_of["calls"], min_size=2, max_size=5), st.data())
def test_a_call_that_lost_its_end_changes_no_other(operations: list, data: st.DataObject) -> None:
    lines = render_program(operations).split("\n")
    broken = data.draw(st.integers(0, len(lines) - 1))
    lines[broken] = lines[broken][: data.draw(st.integers(1, len(lines[broken]) - 1))]
    program = parse_program("\n".join(lines))
    assert list(program.operations) == operations[:broken] + operations[broken + 1 :]
    assert [fault.line for fault in program.faults] == [broken]


NEVER = re.compile(r"(?!)").match


@given(st.integers(0, 2**32), st.sampled_from([0, 1, 2]))
@settings(max_examples=400)
def test_calls_as_written_mean_the_same_to_ast(seed: int, num_mutations: int) -> None:
    """The short cut around ``ast`` for the renderer's spelling may change nothing but the time."""
    text = ProgramMaker(seed).program("calls", num_mutations)
    program = parse_program(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program_module, "_CALLS", (NEVER, {}))
        assert parse_program(text) == program


@given(st.lists(operations_of["calls"], max_size=5))
def test_rendered_calls_mean_the_same_to_ast(operations: list) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program_module, "_CALLS", (NEVER, {}))
        assert parse_program(render_program(operations)) == Program(tuple(operations))
