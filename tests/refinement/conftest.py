"""A small corpus for the refining steps."""

import json
from pathlib import Path

import pytest

from prox.command import main
from refinement.__main__ import VERBS


@pytest.fixture
def corpus(tmp_path: Path, pages: list[str]) -> Path:
    """JSONL of 10 documents: the shared pages, one of them also in a long version, and one longer than any window."""
    texts = [page + f"\nPage number {number}." for number in range(2) for page in pages]
    texts += ["\n".join(pages[0] for _ in range(10)), "word " * 2_000]
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"id": f"d{n}", "text": text}) + "\n" for n, text in enumerate(texts)))
    return path


@pytest.fixture
def units(tmp_path: Path, corpus: Path) -> Path:
    """The corpus in units of 4 documents."""
    output = tmp_path / "ingest"
    arguments = ["ingest", "--corpus.path", str(corpus), "--documents_per_unit", "4", "--output", str(output)]
    assert main("refinement", VERBS, arguments) == 0
    return output
