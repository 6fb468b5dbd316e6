"""Algorithm 1: chunks fit their window and give the document back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prox import split_into_chunks
from prox.chunking import Chunk, count_by_tokens, number_lines, shorten_lines


@given(st.text(), st.integers(1, 12))
def test_joining_chunks_gives_the_document_back(text: str, window: int) -> None:
    chunks = split_into_chunks(text, window)
    assert "\n".join(chunk.text for chunk in chunks) == text
    number = 0
    for chunk in chunks:
        assert chunk.first_line == number
        number = chunk.end_line
    assert number == text.count("\n") + 1


def test_algorithm_1_by_hand() -> None:
    chunks = split_into_chunks("one two\nthree\nfour five six seven\neight", 3)
    assert chunks == [
        Chunk(0, "one two\nthree"),
        Chunk(2, "four five six seven", skipped=True),
        Chunk(3, "eight"),
    ]


def test_chunks_are_as_long_as_fits() -> None:
    text = "\n".join(["one two"] * 10)
    assert [chunk.text.count("\n") + 1 for chunk in split_into_chunks(text, 7)] == [3, 3, 3, 1]


def test_windows_hold_in_tokens(tiny_tokenizer, pages: list[str]) -> None:
    chunks = split_into_chunks("\n".join(pages), 60, count_by_tokens(tiny_tokenizer))
    assert len(chunks) > 3
    for chunk in chunks:
        assert chunk.skipped or len(tiny_tokenizer.encode(number_lines(chunk.text, chunk.first_line))) <= 60


def test_numbering_is_the_published_one() -> None:
    assert number_lines("a\nb", 999) == "[999]a\n[1000]b"


def test_a_window_of_nothing_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="at least 1, is 0"):
        split_into_chunks("text", 0)


@given(st.text(alphabet="ab \n", max_size=200), st.integers(20, 40))
def test_shortened_lines_keep_their_numbers(text: str, limit: int) -> None:
    lines, shown = text.split("\n"), shorten_lines(text, limit).split("\n")
    assert len(lines) == len(shown)
    for line, short in zip(lines, shown, strict=True):
        assert short == line if len(line) <= limit else len(short) == limit and " ... " in short


def test_a_long_line_is_shown_as_its_beginning_and_end() -> None:
    assert shorten_lines("a\n" + "b" * 20 + "c" * 20, 20) == "a\n" + "b" * 10 + " ... " + "c" * 5


def test_chunks_are_measured_as_they_are_shown(tiny_tokenizer) -> None:
    text = "\n".join(f"line {number} " + "and so on " * 30 for number in range(12))
    count = count_by_tokens(tiny_tokenizer)
    whole, shown = split_into_chunks(text, 300, count), split_into_chunks(text, 300, count, 40)
    assert len(shown) < len(whole)
    assert "\n".join(chunk.text for chunk in shown) == text
