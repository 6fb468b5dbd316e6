"""Head, middle and tail of documents too long for a prompt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prox.dialogue import Dialogue, PromptRenderer
from prox.excerpts import GAP
from tests.core.tokenizers_of_all_kinds import TOKENIZERS, make_tokenizer

LONG = " ".join(f"word{number}" for number in range(3_000))


@pytest.fixture(scope="module", params=TOKENIZERS)
def renderer(request: pytest.FixtureRequest) -> PromptRenderer:
    return PromptRenderer(Dialogue(layout="plain", system="", bos=False), make_tokenizer(request.param), 120)


def test_a_long_document_is_seen_at_both_ends_and_in_the_middle(renderer: PromptRenderer) -> None:
    (prompt,) = renderer.documents([LONG], "head_middle_tail")
    assert prompt.cut
    head, middle, tail = prompt.text.removesuffix("\n").split(GAP)
    assert LONG.startswith(head)
    assert LONG.endswith(tail)
    assert 0.45 < LONG.index(middle) / len(LONG) < 0.55
    assert min(map(len, (head, middle, tail))) > max(map(len, (head, middle, tail))) / 4
    assert 90 < len(prompt.ids) <= 120


def test_a_short_document_is_seen_whole(renderer: PromptRenderer) -> None:
    assert renderer.documents(["A short one."], "head_middle_tail") == renderer.documents(["A short one."])


@given(st.text(), st.integers(8, 60))
def test_any_text_fits(tiny_tokenizer, text: str, limit: int) -> None:
    renderer = PromptRenderer(Dialogue(layout="plain", system=""), tiny_tokenizer, limit)
    (prompt,) = renderer.documents([text * 9], "head_middle_tail")
    assert len(prompt.ids) <= limit
    assert prompt.text.endswith(renderer.dialogue.frame()[1])
    assert prompt.cut == renderer.documents([text * 9])[0].cut
