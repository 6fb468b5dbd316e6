"""`refinement replay`: the refined text again from source and ledger, under the same guards and under others."""

import json
import shutil
from pathlib import Path

import pytest

from prox.command import main
from prox.dialogue import Dialogue, Prompt
from prox.engines import Completion, Failure
from prox.program import Program
from prox.units import LEDGER, read_rows, unit_files
from refinement.__main__ import VERBS
from refinement.chunk import is_asked
from refinement.refiner import Refiner

KINDS = ("documents", "dropped", "ledger")
GOOD = 'remove_lines(line_start={0}, line_end={0})\nnormalize(source_str="the ", target_str="")'
PROGRAMS = (
    "foo()\n" + GOOD,
    "keep_chunk()",
    GOOD,
    "foo(\nbar(\n" + GOOD,
    GOOD + "\nremove_lines(0, 99999)",
    "remove_lines(all=True)",
)


class Scribe:
    """An engine that answers with one program after another."""

    max_context, dtype = 512, "float32"

    def __init__(self, tokenizer) -> None:
        self.tokenizer = tokenizer

    def generate(self, prompts, max_new_tokens, stop=(), grammar=None, bias=None):
        answers = (PROGRAMS[number % len(PROGRAMS)].format(number % 3) for number, _ in enumerate(prompts))
        completions = [Completion(answer, 9, "stop" if len(answer) % 2 else "length") for answer in answers]
        return [*completions[:-1], Failure("HTTP 500")]


@pytest.fixture
def refined(tmp_path: Path, units: Path, tiny_checkpoint: Path, tiny_tokenizer, monkeypatch) -> Path:
    """A finished chunk step whose programs edit, drop and fail."""
    refiner = Refiner(Scribe(tiny_tokenizer), Dialogue(layout="plain", system=""))
    monkeypatch.setattr("refinement.chunk.load_refiner", lambda config: refiner)
    options = ["--documents", str(units), "--refiner.checkpoint", str(tiny_checkpoint), "--window", "60"]
    options += ["--max_new_tokens", "12", "--document_guards.min_words_left", "3", "--max_failed_share", "1"]
    assert main("refinement", VERBS, ["chunk", *options, "--output", str(tmp_path / "chunk")]) == 0
    return tmp_path / "chunk"


def replay(documents: Path, ledger: Path, output: Path, *more: str) -> int:
    options = ["--documents", str(documents), "--ledger", str(ledger), "--output", str(output)]
    return main("refinement", VERBS, ["replay", *options, *more])


def rows(folder: Path) -> list[dict]:
    return [row for file in unit_files(folder, LEDGER) for row in read_rows(file)]


def contents(folder: Path) -> dict[str, bytes]:
    files = [file for kind in KINDS for file in unit_files(folder, kind)] + [folder / "stats.json"]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def summary(folder: Path) -> dict:
    return json.loads((folder / "_SUCCESS").read_text())["summary"]


def test_the_same_guards_give_the_same_bytes(tmp_path: Path, units: Path, refined: Path) -> None:
    verdicts = {row["verdict"] for row in rows(refined)}
    assert {"edited", "unchanged", "failed"} <= verdicts
    assert replay(units, refined, tmp_path / "again") == 0
    assert contents(tmp_path / "again") == contents(refined)
    assert summary(tmp_path / "again")["otherwise_than_recorded"] == 0
    assert replay(units, refined, tmp_path / "two", "--workers", "2") == 0
    assert contents(tmp_path / "two") == contents(refined)


def test_other_guards_give_other_text_without_a_model(tmp_path: Path, units: Path, refined: Path) -> None:
    assert replay(units, refined, tmp_path / "strict", "--guards.max_bad_calls", "0") == 0
    before, after = rows(refined), rows(tmp_path / "strict")
    differing = sum(old["refined_hash"] != new["refined_hash"] for old, new in zip(before, after, strict=True))
    assert 0 < differing == summary(tmp_path / "strict")["otherwise_than_recorded"]
    assert sum(chunk["reason"] == "max_bad_calls" for row in after for chunk in row["chunks"]) > sum(
        chunk["reason"] == "max_bad_calls" for row in before for chunk in row["chunks"]
    )
    # The guards of the run that are not named stay as they were recorded.
    assert replay(units, refined, tmp_path / "authors", "--document_guards.max_bad_calls", "1") == 0
    assert {row["verdict"] for row in rows(tmp_path / "authors")} >= {"rejected"}
    assert not any(
        row["reason"] == "min_words_left" for row in rows(tmp_path / "authors") if row["verdict"] == "edited"
    )


def test_document_ledgers_replay_by_another_threshold(tmp_path: Path, units: Path, tiny_checkpoint: Path) -> None:
    options = ["--documents", str(units), "--refiner.checkpoint", str(tiny_checkpoint), "--max_prompt_tokens", "200"]
    assert main("refinement", VERBS, ["document", *options, "--output", str(tmp_path / "all")]) == 0
    assert replay(units, tmp_path / "all", tmp_path / "again") == 0
    assert contents(tmp_path / "again") == contents(tmp_path / "all")
    before = rows(tmp_path / "all")
    threshold = sorted(row["p_keep"] for row in before)[5]
    middle = str(threshold)
    assert replay(units, tmp_path / "all", tmp_path / "half", "--threshold", middle) == 0
    run = ["document", *options, "--threshold", middle, "--output", str(tmp_path / "run")]
    assert main("refinement", VERBS, run) == 0
    assert contents(tmp_path / "half") == contents(tmp_path / "run")
    differing = sum((row["p_keep"] >= threshold) != (row["decision"] == "keep") for row in before)
    assert 0 < differing == summary(tmp_path / "half")["otherwise_than_recorded"]


def test_a_threshold_needs_probabilities(
    tmp_path: Path, units: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--documents", str(units), "--refiner.checkpoint", str(tiny_checkpoint), "--decision", "generate"]
    assert main("refinement", VERBS, ["document", *options, "--output", str(tmp_path / "said")]) == 0
    assert replay(units, tmp_path / "said", tmp_path / "out", "--threshold", "0.4") == 2
    assert "had decision generate and knows no p_keep" in capsys.readouterr().err


def test_a_replay_that_should_be_the_same_and_is_not_is_an_error(
    tmp_path: Path, units: Path, refined: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    # As if the parser had learned otherwise since the ledger was written.
    monkeypatch.setattr("prox.ledger.read_program", lambda answer, style, cut_off: Program())
    assert replay(units, refined, tmp_path / "out") == 1
    assert "come out otherwise than recorded" in capsys.readouterr().err


def test_a_chunk_whose_prompt_is_cut_is_not_asked_about() -> None:
    assert not is_asked(None)
    assert not is_asked(Prompt("text", [1], cut=True))
    assert not is_asked(Failure("no answer"))
    assert is_asked(Prompt("text", [1]))


def test_a_ledger_of_other_documents_is_refused(
    tmp_path: Path, units: Path, refined: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(refined, refined, tmp_path / "out") == 1
    assert "was not written for document" in capsys.readouterr().err
    assert not (tmp_path / "out" / "_SUCCESS").exists()


def test_what_cannot_be_replayed_is_said_before_work_starts(
    tmp_path: Path, units: Path, refined: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ["--guards.max_fault", "1", "--document_guards.min_kept_share", "2", "--threshold", "0.5"]
    changes += ["--document_guards.min_words_left", "few"]
    assert replay(units, refined, tmp_path / "out", *changes) == 2
    error = capsys.readouterr().err
    for part in (
        "--guards.max_fault: unknown, choose from max_bad_calls",
        "min_words_left 'few': must be a whole",
        "no p_keep",
    ):
        assert part in error
    assert replay(units, units, tmp_path / "out") == 2
    assert "was made by `python -m refinement ingest`" in capsys.readouterr().err
    assert replay(units, refined, tmp_path / "out", "--document_guards.min_kept_share", "2") == 2
    assert "--document_guards.min_kept_share 2: must lie between 0 and 1" in capsys.readouterr().err
    assert replay(units, refined, tmp_path / "fine", "--document_guards.max_bad_calls", "null") == 0
    shutil.rmtree(refined / "ledger")
    assert replay(units, refined, tmp_path / "out") == 2
    assert "has 3 units, --ledger" in capsys.readouterr().err
