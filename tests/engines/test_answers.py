"""From an answer to its program: what the token limit cut in half is not run."""

import pytest

from prox.answers import is_cut_off, program_of
from prox.engines import Completion
from prox.program import Normalize, RemoveLines


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
