"""A tagger's prompts: places at the ends of their lines, one for each; programs from probabilities."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from prox.chunking import Chunk
from prox.confusion import removed_lines
from prox.dialogue import Dialogue
from prox.errors import UserError
from prox.program import parse_program
from prox.tagging import LinePrompt, LinePromptRenderer, encode_lines, program_of_probabilities, verdict_tokens

TAGGER = Dialogue(kind="tagger", layout="plain", system="", chunk_before="", chunk_after="", bos=False)
TEXTS = st.text(alphabet=st.sampled_from("ab Ω水.|\n"), max_size=80)


def render(tokenizer: PreTrainedTokenizerBase, max_tokens: int = 512, **settings: object) -> LinePromptRenderer:
    return LinePromptRenderer(dataclasses.replace(TAGGER, **settings), tokenizer, max_tokens)


@given(text=TEXTS)
def test_every_line_has_a_place_where_it_ends(tiny_tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    prompt = render(tiny_tokenizer).chunk(Chunk(0, text))
    lines = text.split("\n")
    assert prompt is not None
    assert prompt.num_lines == len(lines)
    begin = len(prompt.ids) - prompt.num_lines
    assert prompt.ids[begin:] == [tiny_tokenizer.eos_token_id] * len(lines)
    assert prompt.positions[:begin] == list(range(begin))
    ends = prompt.positions[begin:]
    read = [tiny_tokenizer.decode(prompt.ids[: end + 1]) for end in ends]
    assert read == ["\n".join(lines[: number + 1]) + "\n" for number in range(len(lines))]


@given(texts=st.lists(TEXTS, max_size=4), window=st.integers(8, 60))
def test_chunks_are_asked_as_they_are_taught(
    tiny_tokenizer: PreTrainedTokenizerBase, texts: list[str], window: int
) -> None:
    """A document's chunks have the prompts that each has by itself, and together they are the document."""
    renderer = render(tiny_tokenizer, chunk_before="[doc]\n", chunk_after="[/doc]")
    for text, chunks in zip(texts, renderer.chunks(texts, window), strict=True):
        assert "\n".join(chunk.text for chunk, _ in chunks) == text
        for chunk, prompt in chunks:
            assert chunk.skipped == (prompt is None)
            if prompt is not None:
                assert prompt == renderer.chunk(chunk)
                assert len(prompt.ids) <= window + renderer.frame_tokens


def test_lines_are_shortened_in_the_prompt_and_whole_in_the_chunk(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    text = "short\n" + "word " * 3_000 + "\nend"
    renderer = render(tiny_tokenizer, max_line_characters=40)
    ((chunk, prompt),) = renderer.chunks([text], 200)[0]
    assert chunk.text == text
    assert isinstance(prompt, LinePrompt)
    assert " ... " in tiny_tokenizer.decode(prompt.ids)


def test_a_page_of_thousands_of_lines(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    text = "\n".join(f"Menu {number}" for number in range(3_000))
    chunks = render(tiny_tokenizer).chunks([text], 300)[0]
    assert sum(prompt.num_lines for _, prompt in chunks if prompt) == 3_000
    assert chunks[-1][0].end_line == 3_000


def test_a_chunk_that_is_too_long_has_no_prompt(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    assert render(tiny_tokenizer, max_tokens=20).chunk(Chunk(0, "many words " * 30)) is None
    with pytest.raises(UserError, match="at most 3 tokens has no room"):
        render(tiny_tokenizer, max_tokens=3, chunk_before="[doc]\n")


@given(
    probabilities=st.lists(st.floats(0, 1), min_size=1, max_size=40),
    threshold=st.floats(0.01, 0.99),
    first_line=st.integers(0, 5_000),
)
def test_programs_remove_what_reaches_the_threshold(
    probabilities: list[float], threshold: float, first_line: int
) -> None:
    program = parse_program(program_of_probabilities(probabilities, threshold, first_line))
    assert not program.faults
    assert removed_lines(program, first_line, len(probabilities)) == {
        first_line + number for number, one in enumerate(probabilities) if one >= threshold
    }


def test_verdicts_are_two_single_tokens(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    keep, remove = verdict_tokens(TAGGER, tiny_tokenizer)
    assert tiny_tokenizer.decode([keep, remove]) == "=-"
    with pytest.raises(UserError, match="remove_token is 'qqqqq', 5 tokens"):
        verdict_tokens(dataclasses.replace(TAGGER, remove_token="qqqqq"), tiny_tokenizer)
    with pytest.raises(UserError, match="are both '='"):
        verdict_tokens(dataclasses.replace(TAGGER, remove_token="="), tiny_tokenizer)


def test_settings_of_writing_are_no_tagger_s() -> None:
    assert not TAGGER.problems()
    faulty = dataclasses.replace(TAGGER, style="compact", remove_threshold=1.0)
    assert [problem.split(" is ")[0] for problem in faulty.problems()] == ["dialogue.remove_threshold", "dialogue.kind"]
    (problem,) = dataclasses.replace(TAGGER, min_shown_share=1.5).problems()
    assert "dialogue.min_shown_share is 1.5" in problem


def test_languages_that_were_not_taught_are_kept_and_flagged(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    english, russian = "Rivers are fed by rain.\n" * 20, "Реки питаются дождями.\n" * 20
    per_letter = render(tiny_tokenizer).spelling([english], encode_lines(tiny_tokenizer, [english])).tokens_per_letter
    assert per_letter < 1
    renderer = render(tiny_tokenizer, max_tokens_per_letter=per_letter + 0.01)
    pages = renderer.chunks([english, russian, english * 9 + russian], 200)
    # A page of another language is left alone, and of a page's part in another script that part.
    assert not any(chunk.skipped for chunk, _ in pages[0])
    assert {chunk.skip_reason for chunk, _ in pages[1]} == {"language_not_taught"}
    assert renderer.chunk(Chunk(0, russian)) is None
    mixed = render(tiny_tokenizer, max_tokens_per_letter=1.0).chunks([english * 9 + russian], 200)[0]
    assert [chunk.skipped for chunk, _ in mixed][:5] == [False] * 5
    assert any(chunk.skipped and chunk.skip_reason == "language_not_taught" for chunk, _ in mixed[5:])
    assert all(chunk.skipped == (prompt is None) for chunks in pages for chunk, prompt in chunks)
    assert "".join(chunk.text + "\n" for chunk, _ in pages[1]) == russian + "\n"


def test_a_cousin_language_is_known_by_the_whole_page(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    other = "Zxq vwkj qzx."
    renderer = render(tiny_tokenizer, max_tokens_per_letter=0.8)
    spelled = renderer.spelling([other], encode_lines(tiny_tokenizer, [other])).tokens_per_letter
    assert 0.8 < spelled <= 1  # no more than ASCII can take: a chunk by itself would be asked about
    long, short = renderer.chunks(["\n".join([other] * 40), other], 100)
    assert {chunk.skip_reason for chunk, _ in long} == {"language_not_taught"}
    assert not short[0][0].skipped
    assert renderer.chunk(Chunk(0, other)) is not None


def test_a_page_that_is_hardly_shown_is_left_alone(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    """An article that came as one line: a refiner that reads its first words only would take it for a title."""
    sentence = "Rivers are fed by rain and by melting snow. "
    pages = [sentence * 50, "\n".join([sentence] * 50), "\n".join([*["Home"] * 10, sentence * 50]), "", "\n\n"]
    renderer = render(tiny_tokenizer, max_line_characters=60, min_shown_share=0.1)
    flat, lines, *empty = renderer.chunks(pages, 400)
    assert [(chunk.skip_reason, chunk.text, prompt) for chunk, prompt in flat] == [("mostly_not_shown", pages[0], None)]
    assert not any(chunk.skipped for chunk, _ in [*lines, *(one for page in empty for one in page)])
    other = render(tiny_tokenizer, max_line_characters=60).chunks(pages, 400)
    assert not any(chunk.skipped for page in other for chunk, _ in page)


def test_a_chunk_that_is_too_long_is_called_so(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    chunks = render(tiny_tokenizer, max_tokens=20).chunks(["many words " * 30], 400)[0]
    assert [(chunk.skip_reason, prompt) for chunk, prompt in chunks] == [("longer_than_window", None)]
