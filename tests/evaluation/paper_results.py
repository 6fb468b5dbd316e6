"""Committed artefacts of made-up scores for the tests of the paper's tables and figures."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from evaluation.records import Metric, Record, write_record
from prox.artifact import commit, write_snapshot


def make_record(
    model: str,
    suite: str,
    task: str,
    value: float,
    stderr: float | None = 0.01,
    *,
    shots: int = 0,
    step: int | None = None,
) -> Record:
    """A record whose headline score is ``value``, a share; its other score is no one's to show."""
    return Record(
        model=model,
        suite=suite,
        suite_version="1.2",
        task=task,
        metrics={"acc": Metric(0.99, 0.5), "acc_norm": Metric(value, stderr)},
        num_samples=1000,
        stderr_method="some",
        task_hash=task,
        data="made up",
        data_hash=task,
        model_path="/somewhere",
        headline="acc_norm",
        num_fewshot=shots,
        step=step,
        date="2026-01-01T00:00:00+00:00",
    )


def write_results(folder: Path, records: Iterable[Record]) -> Path:
    """A folder with one committed artefact."""
    artefact = folder / "scored"
    for record in records:
        step = "" if record.step is None else f"@{record.step}"
        write_record(artefact, record, f"{record.model}{step}")
    write_snapshot(artefact, "scored", {}, "mark")
    commit(artefact, "mark", {})
    return folder


def scores(
    model: str,
    suite: str,
    values: Mapping[str, float],
    stderr: float | None = 0.01,
    *,
    shots: int = 0,
    step: int | None = None,
) -> list[Record]:
    """Records of one model on several tasks."""
    return [make_record(model, suite, task, value, stderr, shots=shots, step=step) for task, value in values.items()]
