"""Chunks give the document back; prompts fit, close properly and are told by the checkpoint."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prox.chunking import Chunk, count_by_tokens, number_lines, split_into_chunks
from prox.dialogue import Dialogue, load_dialogue
from prox.errors import UserError


@given(st.text(), st.integers(1, 12))
def test_joining_chunks_gives_the_document_back(text: str, window: int) -> None:
    chunks = split_into_chunks(text, window)
    assert "\n".join(chunk.text for chunk in chunks) == text
    number = 0
    for chunk in chunks:
        assert chunk.first_line == number
        number += chunk.text.count("\n") + 1


def test_algorithm_1_by_hand() -> None:
    chunks = split_into_chunks("one two\nthree\nfour five six seven\neight", 3)
    assert chunks == [
        Chunk(0, "one two\nthree"),
        Chunk(2, "four five six seven", skipped=True),
        Chunk(3, "eight"),
    ]


def test_windows_hold_in_tokens(tiny_checkpoint: Path, pages: list[str]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    for chunk in split_into_chunks("\n".join(pages), 60, count_by_tokens(tokenizer)):
        assert chunk.skipped or len(tokenizer.encode(number_lines(chunk.text, chunk.first_line))) <= 60


def test_numbering_is_the_published_one() -> None:
    assert number_lines("a\nb", 999) == "[999]a\n[1000]b"


def test_llama2_layout_is_the_published_one(tiny_checkpoint: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    assert Dialogue().chunk_text(Chunk(0, "Hi"), tokenizer, 500) == (
        "[INST] <<SYS>>\nYou are a helpful, respectful and honest assistant.\n<</SYS>>\n\n"
        "[doc]\n[000]Hi\n[/doc] [/INST]"
    )
    ids = Dialogue(extra_bos=True).encode("x", tokenizer)
    assert ids[:2] == [tokenizer.bos_token_id] * 2


@given(st.text(max_size=600), st.integers(60, 200), st.sampled_from(["llama2", "plain"]))
def test_prompts_never_exceed_their_limit_and_always_close(tiny_tokenizer, text: str, limit: int, layout: str) -> None:
    dialogue = Dialogue(layout=layout, system="")
    prompt = dialogue.chunk_text(Chunk(0, text), tiny_tokenizer, limit)
    assert len(dialogue.encode(prompt, tiny_tokenizer)) <= limit
    assert prompt.endswith("\n[/doc] [/INST]" if layout == "llama2" else "\n[/doc]\n")


def test_a_prompt_without_room_for_the_document_is_refused(tiny_tokenizer) -> None:
    with pytest.raises(UserError, match="no room"):
        Dialogue().document_text("text", tiny_tokenizer, 8)


def test_a_checkpoint_brings_its_dialogue(tmp_path: Path) -> None:
    fallback = Dialogue()
    assert load_dialogue(tmp_path, fallback) == fallback
    own = Dialogue(layout="plain", system="", style="compact")
    own.save(tmp_path)
    assert load_dialogue(tmp_path, fallback) == own
