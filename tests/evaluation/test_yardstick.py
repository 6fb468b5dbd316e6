"""The yardstick: what it is made of, and that its multiple-choice items give nothing away."""

import json
from collections import Counter
from pathlib import Path
from pydoc_data.topics import topics
from typing import TYPE_CHECKING

import pytest

from evaluation.configs import YardstickConfig
from evaluation.continuation import baselines, make_items
from evaluation.sentences import is_prose, prose_runs, split_sentences
from evaluation.yardstick import standard_library_topics

if TYPE_CHECKING:
    from conftest import ReadRows


@pytest.fixture(scope="module")
def items() -> list[dict]:
    return make_items(standard_library_topics(), YardstickConfig(output=Path("unused")))


def test_text_is_every_topic_unchanged(yardstick: Path, read_rows: "ReadRows") -> None:
    rows = read_rows(yardstick / "text.jsonl")
    assert {row["id"]: row["text"] for row in rows} == topics
    card = json.loads((yardstick / "card.json").read_text())
    assert card["num_bytes"] == sum(len(text.encode()) for text in topics.values())


def test_items_ask_for_the_true_next_sentence(items: list[dict]) -> None:
    assert len(items) == 250
    squeezed = {name: " ".join(text.split()) for name, text in topics.items()}
    for item in items:
        text = squeezed[item["id"].rsplit(".", 1)[0]]
        right = item["choices"][item["answer"]]
        last = split_sentences(item["context"])[-1]
        assert f"{last} {right}" in text
        assert len(item["context"]) <= 400
        assert all(choice not in text for choice in item["choices"] if choice != right)


def test_items_are_distinct_and_balanced(items: list[dict]) -> None:
    assert len({item["id"] for item in items}) == len({item["choices"][item["answer"]] for item in items}) == 250
    assert all(len(set(item["choices"])) == 4 for item in items)
    counts = Counter(item["answer"] for item in items)
    assert max(counts.values()) - min(counts.values()) <= 1
    for name, accuracy in baselines(items).items():
        assert accuracy == pytest.approx(0.25, abs=0.01), name


def test_other_seed_other_items_same_seed_same_items(items: list[dict]) -> None:
    config = YardstickConfig(output=Path("unused"))
    assert make_items(standard_library_topics(), config) == items
    config.seed = 1
    assert make_items(standard_library_topics(), config) != items


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("The objects need not have the same type.", True),
        ('It returns "None" when there is nothing to return.', True),
        ("x = foo(a, b) and then the result is returned.", False),
        ("See https://example.org for more details about this.", False),
        ("The statement a == b is true for all of these.", False),
        ("Only four words here.", False),
        ("This sentence never comes to any proper end", False),
    ],
)
def test_what_counts_as_prose(sentence: str, expected: bool) -> None:
    assert is_prose(sentence) is expected


def test_runs_end_at_lists_code_and_headings() -> None:
    text = (
        "Heading\n*******\n\nThe first sentence has enough words. The second one follows e.g. The\nfirst without "
        "a gap.\n\n"
        "   >>> print(1)\n\nAfter the code a new run of sentences starts.\n\n* An item in a list is no prose for us.\n"
    )
    assert prose_runs(text) == [
        ["The first sentence has enough words.", "The second one follows e.g. The first without a gap."],
        ["After the code a new run of sentences starts."],
    ]


def test_the_choice_folder_is_a_data_set(yardstick: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    data = load_dataset(str(yardstick / "choice"), cache_dir=str(tmp_path))
    assert list(data) == ["validation"]
    assert data["validation"].column_names == ["id", "context", "choices", "answer"]
    assert len(data["validation"]) == 24
