"""The stage against real engines with a tiny random model: its answers are nonsense, and are set aside as such."""

from collections.abc import Callable
from pathlib import Path

import pytest

from annotation import tables
from annotation.__main__ import VERBS
from prox import artifact
from prox.command import main

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(400)]

TEXTS = {f"d{number}": f"Home | Login\nPage number {number} about rivers.\nCopyright" for number in range(6)}


@pytest.fixture
def short_prompts(tmp_path: Path) -> Path:
    """Prompts that leave room in a context of 512 tokens of one or two characters."""
    folder = tmp_path / "prompts"
    folder.mkdir()
    for name in ("edu", "format", "navigation"):
        (folder / f"{name}.txt").write_text(f"{name} score of: {{{{ document }}}}")
    return folder


def nothing_is_lost(folder: Path, table: str, ids: list[str]) -> None:
    """Every document is in one of the two tables, once; none of the answers was lost on the way."""
    rows, aside = tables.read_rows(folder / table), tables.read_rows(folder / "aside.jsonl")
    assert sorted(row["id"] for row in rows + aside) == ids
    assert len(aside) >= len(ids) - 1  # a random model may stumble on a score
    assert all(row["reason"] and not row["reason"].startswith("request_failed") for row in aside)
    assert all(row.get("edu_answer") or row.get("answers", {}).get("navigation") for row in aside)


def annotate(documents: Path, folder: Path, prompts: Path, annotator: list[str]) -> None:
    options = ["--documents", str(documents), "--annotator.max_new_tokens", "20", "--annotator.num_retries", "1"]
    options += ["--max_aside_share", "1"]
    options += annotator
    scores, programs = folder / "score", folder / "program"
    asked = [*options, "--prompts.edu", str(prompts / "edu.txt"), "--prompts.format", str(prompts / "format.txt")]
    assert main("annotation", VERBS, ["score", *asked, "--output", str(scores)]) == 0
    nothing_is_lost(scores, "scores.jsonl", sorted(TEXTS))
    kept = folder / "kept"
    kept.mkdir()
    tables.write_rows(kept / "scores.jsonl", ({"id": name, "decision": "keep"} for name in TEXTS))
    artifact.commit(kept, "0", {}, {})
    asked = [*options, "--scores", str(kept), "--prompts", f"{{navigation: {prompts / 'navigation.txt'}}}"]
    assert main("annotation", VERBS, ["program", *asked, "--output", str(programs)]) == 0
    nothing_is_lost(programs, "programs.jsonl", sorted(TEXTS))
    usage = artifact.read_json(programs / "usage.json")
    assert usage["answers"] >= len(TEXTS)
    assert usage["prompt_tokens"] > 20 * usage["answers"]
    assert usage["answer_tokens"] > usage["answers"]


def test_a_vllm_server(
    vllm_server: str,
    tiny_checkpoint: Path,
    make_documents: Callable,
    short_prompts: Path,
    tmp_path: Path,
) -> None:
    engine = ["--engine.base_url", vllm_server, "--annotator.model", str(tiny_checkpoint)]
    annotate(make_documents(TEXTS), tmp_path / "a", short_prompts, engine)


def test_vllm_in_process(
    tiny_checkpoint: Path,
    make_documents: Callable,
    short_prompts: Path,
    tmp_path: Path,
) -> None:
    engine = ["--engine.kind", "vllm", "--annotator.model", str(tiny_checkpoint), "--batch_size", "4"]
    annotate(make_documents(TEXTS), tmp_path / "a", short_prompts, engine)
