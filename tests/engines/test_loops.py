"""Loops: what is one, where it is established, and that it makes no difference when one looks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prox.engines import Completion
from prox.engines.loops import repeats, stop_at_loop

LINE = "remove_lines(line_start={0}, line_end={0})\n"


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("[000]\n" * 40, "[000]\n" * 4),
        ("[000]\n" * 3 + "[000]", None),  # the last line may go on
        ("[004]\n[000]\n[000]\n[000]\n[001]\n[000]\n", None),
        ("[002]-[003]\n" + "[002]\n" * 30, "[002]-[003]\n" + "[002]\n" * 4),
        ("a\nb\nc\n" * 9, "a\nb\nc\n" * 4),
        ("\n" * 9, "\n" * 4),
        ("".join(LINE.format(n) for n in range(0, 300, 3)), "".join(LINE.format(n) for n in range(0, 192, 3))),
        ("".join(LINE.format(n) for n in range(0, 180, 3)), None),  # every third line of a page of links
        ("".join(LINE.format(n * n) for n in range(200)), None),
        ('[001]\nnormalize(source_str="' + "latest/" * 200, '[001]\nnormalize(source_str="' + ("latest/" * 37)[:256]),
        ('normalize(source_str="' + "=" * 200 + '")', None),
        ("x" * 2_000, "x" * 256),
        ("keep_chunk()", None),
        ("", None),
    ],
)
def test_a_loop_ends_where_it_is_established(text: str, loop: str | None) -> None:
    end = repeats(text)
    assert (None if end is None else text[:end]) == loop


def test_eight_lines_may_recur_in_other_places() -> None:
    block = "".join(f"[{n:03d}]\n" for n in (3, 9, 1, 4, 8, 6, 2, 5))
    assert repeats(block * 3 + "[007]\n" + block) is None
    assert repeats(block * 4) == len(block) * 4


def test_numbers_of_any_length_are_counted() -> None:
    assert repeats(("9" * 5_000 + "\n") * 3) == 256
    assert repeats("".join(f"{n}\n" for n in range(10**20, 10**20 + 70))) == 64 * 22


LOOPING = st.builds(
    lambda before, unit, times, after: before + unit * times + after,
    st.text("ab1\n", max_size=8),
    st.text("ab1\n", min_size=1, max_size=9),
    st.integers(1, 300),
    st.text("ab1\n", max_size=8),
)


@given(LOOPING, st.data())
def test_what_follows_does_not_change_where_a_loop_is_established(text: str, data: st.DataObject) -> None:
    """So engines that look while they decode, and engines that look afterwards, cut at the same place."""
    end = repeats(text)
    cut = data.draw(st.integers(0, len(text)))
    assert repeats(text[:cut]) == (end if end is not None and cut >= end else None)


@given(st.text("ab\n", min_size=1, max_size=9), st.integers(4, 9))
def test_whole_lines_that_repeat_are_found(lines: str, times: int) -> None:
    block = lines.rstrip("\n") + "\n"
    end = repeats(block * times)
    assert end is not None
    assert end <= 4 * len(block)


def test_a_looping_completion_is_cut_and_marked() -> None:
    assert stop_at_loop(Completion("a\n" * 9, 18, "length")) == Completion("a\n" * 4, 18, "loop")
    assert stop_at_loop(Completion("a\nb", 3, "length")) == Completion("a\nb", 3, "length")
