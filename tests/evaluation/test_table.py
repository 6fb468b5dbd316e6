"""Records and the table made from them."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from evaluation.records import Metric, Record, check_comparable, read_record, write_record
from prox.artifact import commit, write_json, write_snapshot
from prox.errors import UserError

if TYPE_CHECKING:
    from conftest import Evaluation

ARMS = {
    "raw": {"documents": 1000, "tokens": 500_000},
    "prox-d+c": {"documents": 400, "tokens": 150_000},
    "prox-d": {"documents": 400, "tokens": 250_000},
    "rules": {"documents": 300, "tokens": 125_000},
}


def make_record(model: str, suite: str, value: float, date: str = "2026-01-01T00:00:00+00:00") -> Record:
    metrics = {"bits_per_byte": Metric(value, 0.01)}
    if suite != "bits_per_byte":
        metrics = {"acc": Metric(value, 0.025), "acc_norm": Metric(value + 0.02, 0.026)}
    return Record(
        model=model,
        suite=suite,
        suite_version="1",
        task="yardstick" if suite == "bits_per_byte" else "continuation",
        metrics=metrics,
        num_samples=40,
        stderr_method="some",
        task_hash="t" * 64,
        data="test text",
        data_hash="d" * 64,
        model_path="/somewhere",
        details={"num_bytes": 1234},
        date=date,
    )


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Committed artefacts of two suites, their arms in no order, and statistics beside them."""
    folder = tmp_path / "results"
    scores = {"zeta": 2.5, "prox-d+c": 2.1, "rules": 2.4, "raw": 2.3, "alpha": 2.2, "prox-d": 2.25}
    for suite, factor in (("bits_per_byte", 1.0), ("lm_eval", 0.1)):
        for model, score in scores.items():
            write_record(folder / suite, make_record(model, suite, score * factor))
        write_snapshot(folder / suite, suite, {}, suite)
        commit(folder / suite, suite, {})
    (tmp_path / "stats").mkdir()
    write_json(tmp_path / "stats/stats.json", {"arms": ARMS})
    return folder


def run(evaluation: "Evaluation", results: Path, output: Path, *more: str) -> int:
    return evaluation(
        "table", "--results", results, "--statistics", results.parent / "stats", "--output", output, *more
    )


def test_rows_columns_and_best(
    evaluation: "Evaluation", results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(evaluation, results, tmp_path / "table") == 0
    markdown = (tmp_path / "table/table.md").read_text()
    assert markdown in capsys.readouterr().out
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line.startswith("|")
    ]
    assert lines[0] == ["arm", "documents kept", "tokens kept", "bits per byte", "lm-eval acc", "lm-eval acc_norm"]
    assert [line[0] for line in lines[2:]] == ["raw", "alpha", "rules", "zeta", "prox-d", "prox-d+c"]
    assert lines[2][1:] == ["1,000 (100.0%)", "500,000 (100.0%)", "2.300 ± 0.010", "23.0 ± 2.5", "25.0 ± 2.6"]
    assert lines[7][2:4] == ["150,000 (30.0%)", "**2.100** ± 0.010"]
    assert lines[5][1:] == ["-", "-", "2.500 ± 0.010", "**25.0** ± 2.5", "**27.0** ± 2.6"]
    assert "40 documents, 1,234 bytes of test text; lm-eval 1: continuation, n = 40, 0-shot" in markdown


def test_csv_and_json_hold_full_numbers(evaluation: "Evaluation", results: Path, tmp_path: Path) -> None:
    assert run(evaluation, results, tmp_path / "table") == 0
    with (tmp_path / "table/table.csv").open(newline="") as file:
        rows = {row["arm"]: row for row in csv.DictReader(file)}
    assert float(rows["prox-d"]["tokens_share"]) == 0.5
    assert float(rows["prox-d"]["lm_eval_acc_norm"]) == 0.1 * 2.25 + 0.02
    assert rows["zeta"]["documents"] == ""
    records = json.loads((tmp_path / "table/table.json").read_text())["records"]
    assert len(records) == 12
    assert all("date" not in record for record in records)


def test_the_date_changes_no_byte(evaluation: "Evaluation", results: Path, tmp_path: Path) -> None:
    assert run(evaluation, results, tmp_path / "one") == 0
    for path in results.rglob("records/*.json"):
        write_record(path.parent.parent, replace(read_record(path), date="2030-12-31T00:00:00+00:00"))
    assert run(evaluation, results, tmp_path / "two") == 0
    for name in ("table.md", "table.csv", "table.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_table_inside_the_results_is_skipped_the_second_time(
    evaluation: "Evaluation", results: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(evaluation, results, results / "table") == 0
    caplog.set_level("INFO", logger="prox")
    assert run(evaluation, results, results / "table") == 0
    assert "skipped" in caplog.text


def test_only_committed_artefacts_count(evaluation: "Evaluation", results: Path, tmp_path: Path) -> None:
    shutil.copytree(results / "lm_eval", results / "lm_eval.previous-1")
    (results / "lm_eval/_SUCCESS").unlink()
    assert run(evaluation, results, tmp_path / "table") == 0
    assert "lm-eval" not in (tmp_path / "table/table.md").read_text()


def test_two_scores_of_the_same_thing_are_refused(
    evaluation: "Evaluation", results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(results / "lm_eval", results / "again")
    assert run(evaluation, results, tmp_path / "table") == 1
    assert "both hold the score of alpha on lm_eval continuation" in capsys.readouterr().err


@pytest.mark.parametrize("field", ["task_hash", "data_hash", "suite_version"])
def test_scores_measured_differently_are_refused_unless_told(
    field: str, evaluation: "Evaluation", results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = replace(make_record("rules", "lm_eval", 0.3), **{field: "other"})
    write_record(results / "lm_eval", other)
    assert run(evaluation, results, tmp_path / "table") == 1
    message = capsys.readouterr().err
    assert f"lm_eval continuation: {field} is" in message
    assert "other for rules" in message
    assert run(evaluation, results, tmp_path / "mixed", "--allow_mixed", "true") == 0


def test_records_survive_writing_and_reading(tmp_path: Path) -> None:
    record = make_record("prox-d+c", "lighteval", 0.25)
    path = write_record(tmp_path, record)
    assert path.name == "prox-d+c.lighteval.continuation.json"
    assert read_record(path) == record
    check_comparable([record, replace(record, model="raw")])
    path.write_text('{"model": "raw"}')
    with pytest.raises(UserError, match="is not a result record"):
        read_record(path)


def test_missing_results_are_told(evaluation: "Evaluation", tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluation("table", "--output", tmp_path / "table", "--results", tmp_path / "none") == 2
    assert "is not a folder" in capsys.readouterr().err
    assert evaluation("table", "--output", tmp_path / "table", "--results", tmp_path) == 2
    assert "no committed artefact" in capsys.readouterr().err


def score_suites(folder: Path) -> Path:
    """One model at two steps and another at one, on two tasks of a paper's suite, one of them at 0 and 2 shots."""
    records = []
    for model, step, value in (("raw", 300, 0.2), ("raw", 2500, 0.3), ("prox-d", 2500, 0.25)):
        for task, shots in (("piqa", 0), ("piqa", 2), ("sciq", 0)):
            record = replace(make_record(model, "selection", value), task=task, num_fewshot=shots, step=step)
            records.append(replace(record, headline="acc_norm"))
    for record in records:
        write_record(folder / "selection", record, f"{record.model}@{record.step}")
    write_snapshot(folder / "selection", "selection", {}, "selection")
    commit(folder / "selection", "selection", {})
    return folder


def test_a_model_at_several_steps_has_a_row_for_each(evaluation: "Evaluation", tmp_path: Path) -> None:
    results = score_suites(tmp_path / "results")
    assert evaluation("table", "--results", results, "--output", tmp_path / "table") == 0
    with (tmp_path / "table/table.csv").open(newline="") as file:
        rows = {row["arm"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["raw@300", "raw@2500", "prox-d"]
    assert [float(row["piqa_selection_acc_norm_2-shot"]) for row in rows.values()] == [0.22, 0.32, 0.27]
    assert "sciq_selection_acc_norm" in rows["prox-d"]
    assert not any(name.endswith("selection_acc") for name in rows["prox-d"])
    heading = (tmp_path / "table/table.md").read_text().splitlines()[0]
    assert "selection piqa acc_norm 0-shot" in heading
    assert "selection sciq acc_norm |" in heading
