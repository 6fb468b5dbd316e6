"""Prompts: their tokens are those of their text for any tokenizer, they fit, close, and checkpoints bring their own."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prox.chunking import Chunk
from prox.dialogue import FILE_NAME, Dialogue, PromptRenderer, load_dialogue
from prox.errors import UserError
from tests.core.tokenizers_of_all_kinds import TOKENIZERS, make_tokenizer

PLAIN = Dialogue(layout="plain", system="")
PIECES = [
    "\n", "\n\n", "\r\n", " ", "  ", "\t", " \n", "\n ", "Home", " | ", "the heron", "stands.", "[003]", "[",
    "[/doc]", "[INST]", "</s>", "<s>", "水は", "é", "e\u0301", "🙂", "\u2028", "\x00", "don't", "1,234.5", "...", "]",
]  # fmt: skip
TEXTS = st.one_of(st.lists(st.sampled_from(PIECES), max_size=60).map("".join), st.text(max_size=200))


@pytest.fixture(scope="module", params=TOKENIZERS)
def any_tokenizer(request: pytest.FixtureRequest):
    return make_tokenizer(request.param)


def ids_of(renderer: PromptRenderer, text: str) -> list[int]:
    bos = renderer.dialogue.bos_ids(renderer.tokenizer)
    return bos + renderer.tokenizer.encode(text, add_special_tokens=False)


@given(
    st.lists(TEXTS, min_size=1, max_size=3),
    st.sampled_from([40, 400]),
    st.sampled_from(["llama2", "plain"]),
    st.sampled_from([{}, {"max_line_characters": 20}, {"numbering": "chunk", "style": "compact"}]),
)
def test_the_tokens_of_a_chunks_prompt_are_those_of_its_text(
    any_tokenizer, texts, window: int, layout: str, settings: dict
) -> None:
    dialogue = Dialogue(layout=layout, **settings)
    renderer = PromptRenderer(dialogue, any_tokenizer, 600)
    for text, chunks in zip(texts, renderer.chunks(texts, window), strict=True):
        assert "\n".join(chunk.text for chunk, _ in chunks) == text
        for chunk, prompt in chunks:
            if prompt is None:
                assert chunk.skipped
                continue
            assert prompt.ids == ids_of(renderer, prompt.text)
            assert len(prompt.ids) <= 600
            if not prompt.cut:
                assert prompt.text == renderer.chunk(chunk).text


@given(TEXTS, st.integers(0, 60))
def test_the_tokens_of_a_documents_prompt_are_those_of_its_text(any_tokenizer, text: str, room: int) -> None:
    frame = len(ids_of(PromptRenderer(PLAIN, any_tokenizer, 500), "\n"))
    renderer = PromptRenderer(
        Dialogue(layout="plain", system="", chunk_before="", chunk_after=""), any_tokenizer, frame + 1 + room
    )
    (prompt,) = renderer.documents([text])
    assert prompt.ids == ids_of(renderer, prompt.text)
    assert len(prompt.ids) <= frame + 1 + room
    assert prompt.text.endswith("\n")
    assert text.startswith(prompt.text[:-1])
    assert prompt.cut == (prompt.text[:-1] != text)


@given(st.text(max_size=600), st.integers(60, 200), st.sampled_from(["llama2", "plain"]))
def test_prompts_never_exceed_their_limit_and_always_close(tiny_tokenizer, text: str, limit: int, layout: str) -> None:
    renderer = PromptRenderer(Dialogue(layout=layout, system=""), tiny_tokenizer, limit)
    prompt = renderer.chunk(Chunk(0, text))
    assert len(prompt.ids) <= limit
    assert prompt.text.endswith("\n[/doc] [/INST]" if layout == "llama2" else "\n[/doc]\n")


def test_a_document_is_cut_as_late_as_possible(tiny_tokenizer) -> None:
    text = "The heron stands in shallow water. " * 400
    (prompt,) = PromptRenderer(PLAIN, tiny_tokenizer, 100).documents([text])
    assert prompt.cut
    assert 96 <= len(prompt.ids) <= 100


def test_tokens_longer_than_expected_still_fill_the_prompt(tiny_tokenizer) -> None:
    renderer = PromptRenderer(PLAIN, tiny_tokenizer, 60)
    (prompt,) = renderer.documents(["word " * 3 + "[000]" * 500])  # a line marker is one token of five characters
    assert len(prompt.ids) >= 58


def test_llama2_layout_is_the_published_one(tiny_tokenizer) -> None:
    renderer = PromptRenderer(Dialogue(extra_bos=True), tiny_tokenizer, 500)
    prompt = renderer.chunk(Chunk(0, "Hi"))
    assert prompt.text == (
        "[INST] <<SYS>>\nYou are a helpful, respectful and honest assistant.\n<</SYS>>\n\n"
        "[doc]\n[000]Hi\n[/doc] [/INST]"
    )
    assert prompt.ids[:2] == [tiny_tokenizer.bos_token_id] * 2


def test_a_prompt_without_room_for_the_document_is_refused(tiny_tokenizer) -> None:
    with pytest.raises(UserError, match="no room: its frame alone takes"):
        PromptRenderer(Dialogue(), tiny_tokenizer, 8)


def test_windows_hold_in_tokens(tiny_tokenizer, pages: list[str]) -> None:
    renderer = PromptRenderer(PLAIN, tiny_tokenizer, 500)
    frame = renderer.frame_tokens
    (chunks,) = renderer.chunks(["\n".join(pages)], 60)
    assert len(chunks) > 3
    for _, prompt in chunks:
        assert prompt is None or len(prompt.ids) <= 60 + frame


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def chatting():
    tokenizer = make_tokenizer("bytes")
    tokenizer.chat_template = "{{ bos_token }}" + CHATML
    return tokenizer


def test_the_checkpoints_own_chat_template(chatting, tmp_path: Path) -> None:
    renderer = PromptRenderer(Dialogue(layout="chat", system="Be brief."), chatting, 300)
    (prompt,) = renderer.documents(["A page"])
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A page"}]
    assert prompt.ids == chatting.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert prompt.ids.count(chatting.bos_token_id) == 1
    # What is stored with the checkpoint needs no template any more, and can't change with the tokenizer.
    renderer.dialogue.save(tmp_path)
    chatting.chat_template = None
    again = PromptRenderer(load_dialogue(tmp_path, Dialogue()), chatting, 300)
    assert again.documents(["A page"]) == [prompt]


def test_a_chat_template_without_bos_gets_none(chatting) -> None:
    chatting.chat_template = CHATML
    (prompt,) = PromptRenderer(Dialogue(layout="chat", system=""), chatting, 300).documents(["A page"])
    assert chatting.bos_token_id not in prompt.ids
    assert prompt.text.startswith("<|im_start|>user\nA page<|im_end|>")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "has no chat template: use llama2 or plain"),
        ("{{ raise_exception('no system role') }}", "refuses the messages .no system role.: try an empty"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "closes no user's turn"),
        ("fixed", "closes no user's turn"),
    ],
)
def test_chat_templates_that_cannot_be_used(chatting, template: str | None, message: str) -> None:
    chatting.chat_template = template
    with pytest.raises(UserError, match=message):
        PromptRenderer(Dialogue(layout="chat"), chatting, 300)


def test_a_checkpoint_brings_its_dialogue(tmp_path: Path) -> None:
    fallback = Dialogue()
    assert load_dialogue(tmp_path, fallback) == fallback
    own = Dialogue(layout="plain", system="", style="compact")
    own.save(tmp_path)
    assert load_dialogue(tmp_path, fallback) == own
    stored = json.loads((tmp_path / FILE_NAME).read_text())
    for name in ("opening", "closing"):  # files of before layout chat
        del stored[name]
    (tmp_path / FILE_NAME).write_text(json.dumps(stored))
    assert load_dialogue(tmp_path, fallback) == own


def test_settings_that_cannot_work_are_refused(tiny_tokenizer) -> None:
    dialogue = Dialogue(max_line_characters=5, max_new_tokens=0)
    with pytest.raises(UserError, match=r"max_line_characters is 5: give 20 or more.*max_new_tokens is 0: give 1"):
        PromptRenderer(dialogue, tiny_tokenizer, 400)


def test_lines_of_a_chunk_are_numbered_from_zero(any_tokenizer) -> None:
    dialogue = Dialogue(layout="plain", system="", style="compact", numbering="chunk")
    renderer = PromptRenderer(dialogue, any_tokenizer, 600)
    (chunks,) = renderer.chunks(["\n".join(f"the heron stands {number}" for number in range(60))], 100)
    assert len(chunks) > 3
    for chunk, prompt in chunks:
        numbers = [f"[{number:03d}]" for number in range(chunk.text.count("\n") + 1)]
        assert re.findall(r"\[\d{3}\]", prompt.text) == numbers
        assert prompt.ids == ids_of(renderer, prompt.text)


def test_numbers_of_a_chunk_are_for_the_compact_style(tiny_tokenizer) -> None:
    with pytest.raises(UserError, match="numbering is chunk, but style is calls"):
        PromptRenderer(Dialogue(numbering="chunk"), tiny_tokenizer, 400)
