"""The parser: every spelling that means a call, no string that crashes it, and rendering as its inverse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prox.program import (
    ALL_LINES,
    DropDoc,
    Fault,
    KeepChunk,
    KeepDoc,
    Normalize,
    RemoveLines,
    parse_program,
    render_program,
)


@pytest.mark.parametrize(
    ("text", "operations"),
    [
        ("remove_lines(line_start=0, line_end=1)", [RemoveLines(0, 1)]),
        ("remove_lines(start=0, end=1)", [RemoveLines(0, 1)]),
        ("remove_lines(0, 1)", [RemoveLines(0, 1)]),
        ("remove_lines(all=True)", [RemoveLines(0, ALL_LINES)]),
        ("untouch_doc()", [KeepChunk()]),
        ("keep_doc()", [KeepDoc()]),
        ("drop_doc()", [DropDoc()]),
        ("remove_lines(0, 0); remove_lines(11, 11)", [RemoveLines(0, 0), RemoveLines(11, 11)]),
        ("```python\n# nav bar\nremove_lines(0, 1)  # top\n```", [RemoveLines(0, 1)]),
        ("remove_lines(0, 1)\r\n  keep_chunk()\r\n", [RemoveLines(0, 1), KeepChunk()]),
        ('normalize("Log in")', [Normalize("Log in")]),
        ('normalize(source_str=\'a, (b) = "c"\', target_str="d")', [Normalize('a, (b) = "c"', "d")]),
        (r'normalize(source_str="tab\there \"x\"")', [Normalize('tab\there "x"')]),
        ('normalize(source_str="http://ex.org/a?id=7&x=1")', [Normalize("http://ex.org/a?id=7&x=1")]),
        ("", []),
    ],
)
def test_spellings(text: str, operations: list) -> None:
    program = parse_program(text)
    assert list(program.operations) == operations
    assert not program.faults


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("remove_lines(start=0, end=11", "not valid syntax"),
        ("remove_lines", "not a call"),
        ("remove_lines_please(start=0, end=1)", "unknown function"),
        ('normalize_text(source_str="Log in")', "unknown function"),
        ('remove_lines(start=0, end="one")', "literal int"),
        ("remove_lines(start=True, end=1)", "literal int"),
        ("remove_lines(start=0)", "lacks an argument"),
        ("remove_lines(0, start=0)", "given twice"),
        ("remove_lines(0, 1, 2)", "at most 2"),
        ("remove_lines(first=0, end=1)", "no argument"),
        ("remove_lines(start=__import__('os').getpid(), end=3)", "literal int"),
        ("__import__('os').system('echo hi')", "not a call"),
        ("The page is clean; nothing to remove.", "not valid syntax"),
        ("normalize(source_str='\\ud800')", "surrogate"),
        ("normalize(f'{x}')", "literal str"),
        ("(" * 5000, ""),
        ("remove_lines(line_start=" + "-" * 330 + "1, line_end=3)", "literal int"),
        ("remove_lines(line_start=" + "-" * 9000 + "1, line_end=3)", ""),
        ("normalize(" + "+".join(['"a"'] * 900) + ")", "literal str"),
        ("f" + "()" * 3000, ""),
        ("a" + ".a" * 3000, ""),
        ("x" * 10_001, "10001 characters"),
        ("a\x00b", "not valid syntax"),
    ],
)
def test_what_is_no_call_is_one_fault_with_its_reason(text: str, reason: str) -> None:
    program = parse_program(text)
    assert not program.operations
    assert len(program.faults) == 1
    assert reason in program.faults[0].reason


def test_a_broken_line_costs_only_itself() -> None:
    program = parse_program("remove_lines(0, 1)\nfoo(\nremove_lines(5, 6)")
    assert program.operations == (RemoveLines(0, 1), RemoveLines(5, 6))
    assert program.faults == (Fault(1, "foo(", "not valid syntax (cut off, or no call)"),)


def test_compact_style() -> None:
    program = parse_program('[003]-[007]\n[012]\n"a \\"b\\"" -> "c"\n"gone"\n[1', "compact")
    assert program.operations == (RemoveLines(3, 7), RemoveLines(12, 12), Normalize('a "b"', "c"), Normalize("gone"))
    assert [fault.line for fault in program.faults] == [4]
    assert parse_program("=", "compact").operations == (KeepChunk(),)
    # The compact style is not read where calls are expected: a model that echoes its prompt edits nothing.
    assert not parse_program("[003]-[007]").operations


lines = st.integers(min_value=0, max_value=10**6)
words = st.text(st.characters(codec="utf-8"), max_size=40)
chunk_operations = st.one_of(
    st.builds(RemoveLines, lines, lines), st.builds(Normalize, words, words), st.just(KeepChunk())
)


@given(st.text())
def test_any_string_gives_a_program(text: str) -> None:
    for style in ("calls", "compact"):
        program = parse_program(text, style)
        assert len(program.faults) <= text.count("\n") + 1


@given(st.lists(chunk_operations, max_size=8), st.sampled_from(["calls", "compact"]))
def test_rendered_programs_are_read_back(operations: list, style: str) -> None:
    program = parse_program(render_program(operations, style), style)
    assert list(program.operations) == operations
    assert not program.faults


@given(st.lists(chunk_operations, min_size=1, max_size=4), st.data())
def test_a_cut_off_answer_never_becomes_another_edit(operations: list, data: st.DataObject) -> None:
    text = render_program(operations)
    cut = text[: data.draw(st.integers(0, len(text)))]
    assert list(parse_program(cut).operations) == operations[: len(parse_program(cut).operations)]
