"""A small corpus for the refining steps."""

import json
from pathlib import Path

import pytest


@pytest.fixture
def corpus(tmp_path: Path, pages: list[str]) -> Path:
    """JSONL of 10 documents: the shared pages, one of them also in a long version, and one longer than any window."""
    texts = [page + f"\nPage number {number}." for number in range(2) for page in pages]
    texts += ["\n".join(pages[0] for _ in range(10)), "word " * 2_000]
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"id": f"d{n}", "text": text}) + "\n" for n, text in enumerate(texts)))
    return path
