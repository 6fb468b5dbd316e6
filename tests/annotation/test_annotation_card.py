"""The card's numbers, by hand; and what may not pass unnoticed on the way to the sets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from annotation import card, labels, pairs, tables
from annotation.set_configs import PairsConfig, SplitConfig
from annotation.split import split
from prox import artifact, units
from prox.errors import UserError
from prox.program import KeepChunk, Program

SAID = {"annotator": "language model", "model": "m", "prompts": {"edu": {"file": "e.txt", "sha256": "ab" * 32}}}
WORDS = " ".join(f"word{n}" for n in range(60))


def score_row(identity: str) -> tables.Row:
    scores = {"edu_score": 3, "format_score": 4, "decision": "keep", "rule": "edu_at_least_3"}
    return {"id": identity, **scores, **SAID}


def program_row(identity: str, **more: Any) -> tables.Row:
    return {"id": identity, "first_line": 0, "text": f"Menu\n{identity} {WORDS}", "program": "remove_lines(0, 0)"} | (
        SAID | more
    )


@pytest.fixture
def annotated(make_documents: Callable, tmp_path: Path) -> dict[str, Path]:
    """Ten documents, one of them twice under two ids, two more that were scored but are not there."""
    texts = {f"d{n}": f"Menu\nd{n} {WORDS}" for n in range(10)} | {"copy": f"Menu\nd0 {WORDS}"}
    folders = {"documents": make_documents(texts), "scores": tmp_path / "scores", "programs": tmp_path / "programs"}
    for name in ("scores", "programs"):
        folders[name].mkdir()
    tables.write_rows(folders["scores"] / "scores.jsonl", map(score_row, [*texts, "gone", "lost"]))
    tables.write_rows(folders["scores"] / "aside.jsonl", [{"id": "x", "reason": "no_score: no line"}])
    second = {"annotator": "language model", "model": "m2", "prompts": {}}
    rows = [program_row("d0", merged={"lines_of_several": 2, "contradictions": 1})]
    rows += [program_row("d1", second=second | {"merged": {"lines_of_several": 3}})]
    rows += [program_row("d2", second=second | {"reason": "fault: x"})]
    rows += [program_row(f"d{n}") for n in range(3, 10)]
    tables.write_rows(folders["programs"] / "programs.jsonl", rows)
    aside = [{"id": "d9", "reason": reason} for reason in ("clipped: a", "clipped: b", "refused: c")]
    tables.write_rows(folders["programs"] / "aside.jsonl", aside)
    usage = {"answers": 10, "prompt_tokens": 100, "answer_tokens": 5, "cost": 1.5}
    artifact.write_json(folders["scores"] / "usage.json", usage)
    artifact.write_json(folders["programs"] / "usage.json", usage | {"answers": 30, "first": usage})
    return folders


def test_the_card_says_who_and_what_and_how_much(annotated: dict[str, Path], tmp_path: Path) -> None:
    output = tmp_path / "split"
    output.mkdir()
    split(SplitConfig(output=output, num_valid=2, **annotated))
    facts = artifact.read_json(output / "card.json")
    assert facts["annotator"] == "m (language model) and m2 (language model)"
    assert facts["prompts"] == {"e.txt": "ab" * 32}
    documents, chunks = facts["documents"], facts["chunks"]
    assert (documents["scored"], documents["left_out_as_copies"]) == (13, 1)
    assert documents["left_out_as_not_among_the_documents"] == 2
    assert documents["aside_share"] == pytest.approx(1 / 14, abs=1e-4)
    assert (chunks["aside"], chunks["aside_share"]) == (3, pytest.approx(3 / 13, abs=1e-4))
    assert chunks["aside_by_reason"]["clipped"] == {"count": 2, "share": pytest.approx(2 / 13, abs=1e-4)}
    assert (chunks["second_annotator_asked"], chunks["second_annotator_unusable"]) == (2, 1)
    assert (chunks["resolved_lines_of_several"], chunks["resolved_contradictions"]) == (5, 1)
    assert chunks["removed_word_share"] == pytest.approx(1 / 62, abs=1e-4)
    assert set(facts["spending"]) == {"scores", "programs"}
    text = (output / "card.md").read_text()
    assert "scores 10 answers, 105 tokens, cost 1.50; programs 10 answers" in text
    assert "then 30 answers" in text


def test_shares_of_nothing_are_zero() -> None:
    assert card.rejected({}, 0) == {"aside": 0, "aside_share": 0.0, "aside_by_reason": {}}


def labelled(folder: Path, **metadata: Any) -> Path:
    rows = [
        {"id": f"p{n}", "text": f"Menu\n{WORDS} {n}\nImprint", "metadata": json.dumps({"noise": [0], **metadata})}
        for n in range(20)
    ]
    units.write_unit(folder / units.DOCUMENTS / units.unit_name(0), rows, units.DOCUMENT_SCHEMA)
    return folder


def test_a_program_that_does_something_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of each document's programs, against a mistake in how they are cut to chunks."""
    config = PairsConfig(output=tmp_path / "out", documents=labelled(tmp_path / "in"), noise_lines_column="noise")
    config.output.mkdir()
    right = labels.restrict

    def forgetful(removals: Any, replacements: Any, text: str, first_line: int) -> Program:
        return Program((KeepChunk(),)) if " 7\n" in text else right(removals, replacements, text, first_line)

    monkeypatch.setattr(labels, "restrict", forgetful)
    assert pairs.pairs(config)["aside"] == 1
    (row,) = tables.read_rows(config.output / "aside.jsonl")
    assert row["id"] == "p7"
    assert row["reason"] == "programs_differ: the chunks together are not the cleaned document"


def test_a_column_of_open_lines_that_no_document_has_is_an_error(tmp_path: Path) -> None:
    documents = labelled(tmp_path / "in")
    options = {"documents": documents, "noise_lines_column": "noise", "ambiguous_lines_column": "ambi"}
    config = PairsConfig(output=tmp_path / "out", **options)
    config.output.mkdir()
    with pytest.raises(UserError, match="--ambiguous_lines_column 'ambi': no document"):
        pairs.pairs(config)


def test_rows_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b'{"id": "a"}\n{"id": "\xff"}\n')
    with pytest.raises(UserError, match=r"t\.jsonl, line 2: not valid JSON"):
        tables.read_rows(tmp_path / "t.jsonl")
