"""Ids of lines are spliced where the tokenizer allows it, encoded once, and are those of the whole prompt."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

import prox.frame
import prox.piece_ids
from prox.dialogue import Dialogue, PromptRenderer
from prox.line_ids import LineIds, line_ids
from prox.token_cuts import CONTROLS, find_cuts
from tests.core.tokenizers_of_all_kinds import make_tokenizer

PLAIN = Dialogue(layout="plain", system="")
WORDS = [
    "Home",
    "About",
    "stands.",
    "the",
    "heron",
    "(first)",
    "[x]",
    "]",
    "don't",
    "1,234.5",
    "a/b",
    "é",
    "水は",
    "🙂",
    "'s",
    "-",
]
ODD = [
    "\r",
    "\t",
    "\u2028",
    "\u00a0",
    "  ",
    " ",
    "\u0301",
    "\x00",
    *CONTROLS[:2],
    "\u2581",
    "[003]",
    "</s>",
    "<|end|>",
    "[12]",
]

Spec = dict[str, Any]


def make_page(draw: random.Random, odd_share: float) -> str:
    """Lines of known words between single spaces; a share of the words comes with something odd."""
    lines = []
    for _ in range(draw.choice([1, 3, 40])):
        words = draw.choices(WORDS, k=draw.choice([0, 1, 2, 12]))
        lines.append(" ".join(word + draw.choice(ODD) * (draw.random() < odd_share) for word in words))
    return "\n".join(lines)


def edited(kind: str, edit: Callable[[Spec], object]) -> PreTrainedTokenizerFast:
    """A tokenizer of a kind with a change in what its `tokenizer.json` says."""
    spec = json.loads(make_tokenizer(kind).backend_tokenizer.to_str())
    edit(spec)
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(spec)), bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def add_token(content: str, **settings: bool) -> Callable[[Spec], None]:
    """The change that adds a token."""

    def edit(spec: Spec) -> None:
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False) | settings
        used = [token["id"] for token in spec["added_tokens"]] + list(spec["model"]["vocab"].values())
        spec["added_tokens"].append({"id": max(used) + 1, "content": content, **flags})

    return edit


def byte_level(**settings: bool) -> Spec:
    """A byte-level pre-tokenizer."""
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True, **settings}


def metaspace(scheme: str) -> Callable[[Spec], None]:
    """The change that makes a Llama-2 tokenizer what transformers 5 makes of it."""
    part = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": False}
    return lambda spec: spec.update(normalizer=None, pre_tokenizer=part)


LOOK_BEHIND = {"type": "Split", "pattern": {"Regex": r"(?<=\n)\[|\w+"}, "behavior": "Isolated", "invert": False}
# The change, and whether lines (and words) can still be cut.
EDITS: dict[str, tuple[str, Callable[[Spec], object], bool]] = {
    "nothing": ("bytes", lambda spec: None, True),
    "line markers": ("bytes with line markers", lambda spec: None, True),
    "llama3": ("llama3", lambda spec: None, True),
    "llama2": ("llama2", lambda spec: None, True),
    "composed": ("llama3", lambda spec: spec.update(normalizer={"type": "NFC"}), True),
    "prefix space": ("bytes", lambda spec: spec.update(pre_tokenizer=byte_level(add_prefix_space=True)), True),
    "markers and prefix space": (
        "bytes with line markers",
        lambda spec: spec.update(pre_tokenizer=byte_level(add_prefix_space=True)),
        True,
    ),
    "no pre-tokenizer": ("bytes", lambda spec: spec.update(pre_tokenizer=byte_level(use_regex=False)), True),
    "metaspace first": ("llama2", metaspace("first"), True),
    "metaspace always": ("llama2", metaspace("always"), True),
    "token that eats spaces": ("bytes", add_token("<|end|>", rstrip=True, lstrip=True), True),
    "token of a word": ("llama2", add_token("heron", single_word=True), True),
    "token of a line break": ("bytes", add_token("\n"), False),
    "token of a bracket": ("bytes", add_token("["), False),
    "unknown characters joined": ("llama2", lambda spec: spec["model"].update(byte_fallback=False), False),
    "look-behind": (
        "bytes",
        lambda spec: spec.update(
            pre_tokenizer={"type": "Sequence", "pretokenizers": [LOOK_BEHIND, byte_level(use_regex=False)]}
        ),
        False,
    ),
    "tokens across lines": ("bytes joined over lines", lambda spec: None, False),
    "unigram": ("unigram", lambda spec: None, False),
    "word piece": ("word piece", lambda spec: None, False),
}


@pytest.fixture(scope="module", params=EDITS)
def case(request: pytest.FixtureRequest) -> tuple[PreTrainedTokenizerFast, bool]:
    kind, edit, cuts = EDITS[request.param]
    return edited(kind, edit), cuts


@pytest.mark.parametrize("odd_share", [0.0, 0.02, 0.3])
def test_spliced_ids_are_those_of_the_whole_prompt(case, odd_share: float) -> None:
    tokenizer, _ = case
    renderer = PromptRenderer(PLAIN, tokenizer, 2_000)
    draw = random.Random(0)
    for _ in range(15):
        pages = [make_page(draw, odd_share) for _ in range(4)]
        for page, chunks in zip(pages, renderer.chunks(pages, draw.choice([30, 1_000])), strict=True):
            assert "\n".join(chunk.text for chunk, _ in chunks) == page
            for chunk, prompt in chunks:
                assert (prompt is None) == chunk.skipped
                if prompt:
                    bos = renderer.dialogue.bos_ids(tokenizer)
                    assert prompt.ids == bos + tokenizer.encode(prompt.text, add_special_tokens=False)


TRICKY = [
    "Home \r\nAbout\r\n\r\nthe heron  \n stands.\n\t\nend\t",
    "a\n\n\nb.\n\n(c)\n]\n'd\n7\n\n",
    "\n".join(["the heron stands.", "", "1,234.5", "[1]", "- \u00a0 é", " ", "\u0301x", "水は"] * 4),
]


@pytest.mark.parametrize("frame", [{}, {"chunk_before": "[doc] \n"}, {"chunk_before": "\n", "chunk_after": "\n\nEnd"}])
def test_every_line_can_begin_and_end_a_chunk(case, frame: dict[str, str]) -> None:
    tokenizer, _ = case
    renderer = PromptRenderer(Dialogue(layout="plain", bos=False, **frame), tokenizer, 400)
    for window in (8, 12, 16, 24, 40):
        for page in TRICKY:
            for _, prompt in renderer.chunks([page], window)[0]:
                assert prompt is None or prompt.ids == tokenizer.encode(prompt.text, add_special_tokens=False)


@pytest.mark.parametrize("kind", ["bytes", "unigram"])
def test_a_window_longer_than_the_prompt_cuts_chunks(kind: str) -> None:
    renderer = PromptRenderer(PLAIN, make_tokenizer(kind), 100)
    (chunks,) = renderer.chunks(["the heron stands.\n" * 200], 500)
    for _, prompt in chunks[:-1]:
        assert prompt.cut
        assert 95 <= len(prompt.ids) <= 100
        assert prompt.text.endswith("\n[/doc]\n")


def test_ids_are_cut_where_it_is_safe(case) -> None:
    tokenizer, cuts = case
    assert (find_cuts(tokenizer) is not None) == cuts
    if cuts:
        (ids,) = LineIds(tokenizer, find_cuts(tokenizer))(["Home | About\n\nthe stork stands.\n"])
        assert ids is not None
        assert len(ids.ends) == 4


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is encoded, in order."""
    texts: list[str] = []

    for module in (prox.frame, prox.piece_ids):

        def record(tokenizer, batch: Sequence[str], offsets: bool = False, encode=module.encode_batch):
            texts.extend(batch)
            return encode(tokenizer, batch, offsets)

        monkeypatch.setattr(module, "encode_batch", record)
    return texts


@pytest.mark.parametrize("kind", ["bytes", "bytes with line markers", "llama3"])
def test_documents_are_encoded_once(kind: str, encoded: list[str]) -> None:
    renderer = PromptRenderer(PLAIN, make_tokenizer(kind), 2_000)
    renderer.chunks(["Home"], 100)
    encoded.clear()
    page = "\n".join(f"the heron number {number} stands, as ever." for number in range(1_200))
    (chunks,) = renderer.chunks([page], 500)
    # Only what is new is encoded: a few words, the numbers, and the line markers.
    assert sum(map(len, encoded)) < 0.6 * len(page)
    encoded.clear()
    assert renderer.chunks([page], 500) == [chunks]
    assert encoded == []


def test_lines_with_other_white_space_are_cut_as_well() -> None:
    tokenizer = make_tokenizer("bytes")
    page = "def f(x):\r\n    return x  # why\n\t\nend of it \n the heron"
    (ids,) = LineIds(tokenizer, find_cuts(tokenizer))([page])
    assert ids is not None
    assert len(ids.sizes()) == 5


def test_only_short_words_are_remembered() -> None:
    tokenizer = make_tokenizer("bytes")
    encoder = LineIds(tokenizer, find_cuts(tokenizer))
    encoder(["x" * 10_000 + " the  heron\n\tindented"])
    assert max(map(len, encoder._look_up._memory)) < 20


@pytest.mark.parametrize("word", ["</s>", "[003]", CONTROLS[0]])
def test_documents_that_hold_a_token_of_their_own_are_not_cut(word: str) -> None:
    tokenizer = make_tokenizer("bytes with line markers")
    found = LineIds(tokenizer, find_cuts(tokenizer))(["Home", f"see {word} there", "About"])
    assert [ids is None for ids in found] == [False, True, False]


def test_memory_is_bounded_and_forgetting_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make_tokenizer("bytes")
    pages = [" ".join(f"word{number}" for number in range(begin, begin + 50)) for begin in range(0, 2_000, 50)]
    expected = [ids.ids.tolist() for ids in LineIds(tokenizer, find_cuts(tokenizer))(pages)]
    monkeypatch.setattr(prox.piece_ids, "MEMORY", 100)
    encoder = LineIds(tokenizer, find_cuts(tokenizer))
    for _ in range(2):
        assert [encoder([page])[0].ids.tolist() for page in pages] == expected
        assert len(encoder._look_up._memory) + len(encoder._look_up._earlier) < 400


def test_what_was_learned_serves_every_renderer_of_a_tokenizer() -> None:
    tokenizer = make_tokenizer("bytes")
    assert line_ids(tokenizer) is line_ids(tokenizer)
    before = line_ids(tokenizer)
    tokenizer.add_tokens(["heron"])
    assert line_ids(tokenizer) is not before


@pytest.mark.parametrize("kind", ["bytes", "unigram"])
def test_a_line_that_cannot_fit_is_not_encoded(kind: str, encoded: list[str]) -> None:
    renderer = PromptRenderer(PLAIN, make_tokenizer(kind), 200)
    (chunks,) = renderer.chunks(["Home\n" + "x" * 1_000_000 + "\nAbout"], 50)
    assert [(chunk.first_line, chunk.skipped, prompt is None) for chunk, prompt in chunks] == [
        (0, False, False),
        (1, True, True),
        (2, False, False),
    ]
    assert max(map(len, encoded)) < 10_000


@pytest.mark.parametrize("kind", ["bytes", "llama2", "unigram"])
def test_a_giant_document_is_cut_before_it_is_encoded(kind: str, encoded: list[str]) -> None:
    renderer = PromptRenderer(PLAIN, make_tokenizer(kind), 500)
    encoded.clear()
    (prompt,) = renderer.documents(["The heron stands in shallow water. " * 150_000])
    assert prompt.cut
    assert len(prompt.ids) > 490
    assert len(encoded) <= 4
    assert sum(map(len, encoded)) < 30_000
