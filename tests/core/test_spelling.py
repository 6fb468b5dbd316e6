"""Tokens a letter: what tells languages and scripts apart for a tokenizer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from prox.spelling import LEAST_LETTERS, Speller, Spelling
from prox.tagging import encode_lines


@pytest.fixture(scope="module")
def speller(tiny_tokenizer: PreTrainedTokenizerBase) -> Speller:
    return Speller(tiny_tokenizer)


def spelling(speller: Speller, tokenizer: PreTrainedTokenizerBase, text: str) -> Spelling:
    lines = text.split("\n")
    return speller.count(zip(lines, encode_lines(tokenizer, lines), strict=True))


@given(text=st.text(st.characters(max_codepoint=127)))
def test_ascii_takes_a_token_a_letter_at_most(
    text: str, speller: Speller, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    found = spelling(speller, tiny_tokenizer, text)
    assert found.letters == sum(one.isascii() and one.isalpha() for one in text)
    assert found.tokens <= found.letters
    assert not found.is_spelled_in_bytes(0.01)


def test_numbers_and_marks_say_nothing(speller: Speller, tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    assert spelling(speller, tiny_tokenizer, "12.5 | 13 -- (7)\n\n42") == Spelling(0, 0)
    assert Spelling(0, 0).tokens_per_letter == 0
    words = spelling(speller, tiny_tokenizer, "1 rivers are fed by rain")
    assert words.letters == 18
    assert spelling(speller, tiny_tokenizer, "7 rivers -- are fed\n 100 by rain.") == words


@pytest.mark.parametrize("text", ["🎉🎂🎁 “5” — £7 » ½ ∀∈⊂ ★★★★☆ │─┼", "…", "12 € ⚠️"])
def test_symbols_are_no_letters(text: str, speller: Speller, tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    assert spelling(speller, tiny_tokenizer, text) == Spelling(0, 0)
    words = spelling(speller, tiny_tokenizer, "7 rivers are fed by rain")
    assert spelling(speller, tiny_tokenizer, f"{text} rivers are fed by rain") == words


@pytest.mark.parametrize(
    "text",
    [
        "Реки питаются дождями и снегом.",
        "水は低きに流れる。川は山から海へと流れていく。",
        "τα ποτάμια της χώρας πηγάζουν",
    ],
)
def test_other_scripts_are_spelled_in_bytes(
    text: str, speller: Speller, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    found = spelling(speller, tiny_tokenizer, text)
    assert found.tokens_per_letter > 1.5
    assert found.is_spelled_in_bytes(0.4)
    assert not found.is_spelled_in_bytes(3.0)  # taught on such pages, it reads them
    assert not spelling(speller, tiny_tokenizer, "∀Ж∈Ω").is_spelled_in_bytes(0.4)


def test_a_few_letters_say_nothing_of_a_language() -> None:
    assert Spelling(LEAST_LETTERS, LEAST_LETTERS).is_foreign(0.9)
    assert not Spelling(LEAST_LETTERS, LEAST_LETTERS).is_foreign(1.0)
    assert not Spelling(LEAST_LETTERS - 1, LEAST_LETTERS - 1).is_foreign(0.9)
    assert Spelling(1, 2) + Spelling(3, 4) == Spelling(4, 6)
