"""From an answer to its program: what the token limit cut in half is not run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prox.answers import in_document, is_cut_off, program_of
from prox.dialogue import Dialogue
from prox.engines import Completion
from prox.operations import shift_lines
from prox.program import Normalize, RemoveLines, parse_program, render_program


@pytest.mark.parametrize(
    ("text", "finish_reason", "cut_off"),
    [
        ("[003]", "length", True),
        ("[003]\n", "length", False),
        ('"latest/latest/', "loop", True),
        ("[003]\n[003]\n", "loop", False),
        ("[003]", "stop", False),
        ("", "stop", False),
    ],
)
def test_an_answer_is_cut_off_within_a_line_only(text: str, finish_reason: str, cut_off: bool) -> None:
    assert is_cut_off(Completion(text, 1, finish_reason)) == cut_off


def test_a_range_cut_to_its_first_line_removes_nothing() -> None:
    assert program_of(Completion("[003]", 1, "length"), "compact").operations == ()
    assert program_of(Completion("[001]\n[003]", 3, "length"), "compact").operations == (RemoveLines(1, 1),)
    assert program_of(Completion("[003]-[007]", 3, "stop"), "compact").operations == (RemoveLines(3, 7),)


def test_a_replacement_cut_after_its_source_removes_nothing() -> None:
    assert program_of(Completion('[000]\n"a b"', 4, "length"), "compact").operations == (RemoveLines(0, 0),)
    whole = Completion('"a b" -> "c"\n', 4, "length")
    assert program_of(whole, "compact").operations == (Normalize("a b", "c"),)


def test_the_style_decides_how_an_answer_is_read() -> None:
    answer = Completion("remove_lines(line_start=0, line_end=1)", 9, "stop")
    assert program_of(answer, "calls").operations == (RemoveLines(0, 1),)
    assert program_of(answer, "compact").operations == ()


def test_an_answer_about_a_chunk_gets_the_documents_numbers() -> None:
    dialogue = Dialogue(style="compact", numbering="chunk")
    answer = Completion('[000]\n[002]-[011]\n"[003]" -> "[004]"\n=\nsee [005]\n  [006]-[007', 20, "length")
    moved = in_document(answer, dialogue, 995)
    assert moved.text == '[995]\n[997]-[1006]\n"[003]" -> "[004]"\n=\nsee [005]\n  [006]-[007'
    assert (moved.num_tokens, moved.finish_reason) == (20, "length")
    assert in_document(answer, dialogue, 0) == answer
    assert in_document(answer, Dialogue(style="compact"), 995) == answer


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 2000)), max_size=6), st.integers(0, 500))
def test_moving_an_answer_moves_its_operations(ranges: list[tuple[int, int]], offset: int) -> None:
    answer = render_program([RemoveLines(*one) for one in ranges], "compact")
    moved = parse_program(shift_lines(answer, offset), "compact")
    assert moved.operations == tuple(RemoveLines(start + offset, end + offset) for start, end in ranges)
    assert shift_lines(shift_lines(answer, offset), -offset) == answer
