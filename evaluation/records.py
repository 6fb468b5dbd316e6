"""Result records: one JSON file for each (model, suite, task); tables and figures read these and nothing else."""

import dataclasses
import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prox.artifact import read_json, write_json
from prox.errors import UserError


@dataclass(frozen=True)
class Metric:
    """A score and its standard error (None where there is none to give, e.g. for one sample)."""

    value: float
    stderr: float | None


def mean(metrics: Sequence[Metric]) -> Metric:
    """Plain mean of independent scores; its standard error is the root of the summed squares over their number."""
    errors = [metric.stderr for metric in metrics]
    value = math.fsum(metric.value for metric in metrics) / len(metrics)
    known = [error for error in errors if error is not None]
    error = math.hypot(*known) / len(metrics) if len(known) == len(errors) else None
    return Metric(value, error)


@dataclass(frozen=True)
class Record:
    """What one model scored on one task of one suite, and all that is needed to know whether two scores compare."""

    model: str
    """Name of the model (an arm's name in the tables)."""
    suite: str
    """`general`, `selection` or `math` (the paper's); `bits_per_byte`, `lm_eval` or `lighteval` (the yardstick's)."""
    suite_version: str
    """Version of the harness; of this project's own measure, its definition's version."""
    task: str
    metrics: dict[str, Metric]
    num_samples: int
    """Documents (bits per byte) or items (multiple choice) behind the score."""
    stderr_method: str
    task_hash: str
    """SHA-256 of what defines the task: its files, or its settings."""
    data: str
    """What the data are, in words."""
    data_hash: str
    """SHA-256 of the data file."""
    model_path: str
    headline: str = ""
    """Name of the metric that the paper's tables show; empty where they show none of this task."""
    num_fewshot: int = 0
    step: int | None = None
    """Training step of the checkpoint, where the model's folder tells it."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What else decides a score, and must be the same for scores to compare: number format, longest answer, seeds."""
    details: dict[str, Any] = field(default_factory=dict)
    """Counts that explain the score."""
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    """When it was measured (UTC); never in a table, which must not change when nothing else did."""


def model_and_step(name: str) -> tuple[str, int | None]:
    """`raw@2500`, as the command line names a model at one of its steps, as `raw` and 2500; `raw` alone has no step."""
    model, _, step = name.partition("@")
    return model, int(step) if step else None


def path_of(folder: Path, name: str, suite: str, task: str, num_fewshot: int = 0) -> Path:
    """Where the record of a model, as the command line names it, lies in an artefact."""
    shots = f".{num_fewshot}-shot" if num_fewshot else ""
    return folder / "records" / f"{name}.{suite}.{task}{shots}.json"


def write_record(folder: Path, record: Record, name: str | None = None) -> Path:
    """Writes ``record`` into the artefact ``folder``, atomically.

    ``name`` is the model's name on the command line, where that tells the step too.
    """
    path = path_of(folder, name or record.model, record.suite, record.task, record.num_fewshot)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)
    return path


def read_record(path: Path) -> Record:
    """Reads one record; ``UserError`` when the file is not one."""
    content = read_json(path)
    try:
        metrics = {name: Metric(**metric) for name, metric in content.pop("metrics").items()}
        return Record(metrics=metrics, **content)
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a result record ({error}): delete it and run its evaluation again") from None


def read_records(folders: Iterable[Path]) -> list[Record]:
    """All records of the artefacts; ``UserError`` when two tell of the same model, step, suite, task and shots."""
    seen: dict[tuple[str, int | None, str, str, int], Path] = {}
    records = []
    for path in (path for folder in folders for path in sorted((folder / "records").glob("*.json"))):
        record = read_record(path)
        key = (record.model, record.step, record.suite, record.task, record.num_fewshot)
        if key in seen:
            raise UserError(
                f"{path} and {seen[key]} both hold the score of {record.model} on {record.suite} {record.task}: "
                "remove one, or give a narrower --results"
            )
        seen[key] = path
        records.append(record)
    return records


def check_comparable(records: Iterable[Record]) -> None:
    """``UserError`` when scores of one task were measured in different ways, naming who differs in what."""
    groups: dict[tuple[str, str, int | None], list[Record]] = defaultdict(list)
    for record in records:
        # Table 3 shows the selection suite at several numbers of worked examples; elsewhere that is one number.
        shots = record.num_fewshot if record.suite == "selection" else None
        groups[record.suite, record.task, shots].append(record)
    differences = []
    for (suite, task, _), members in groups.items():
        for name in ("task_hash", "data_hash", "suite_version", "num_fewshot", "settings"):
            models_by_value: dict[str, list[str]] = defaultdict(list)
            for record in members:
                value = getattr(record, name)
                models_by_value[str(value)[:12] if name.endswith("hash") else str(value)].append(record.model)
            if len(models_by_value) > 1:
                values = "; ".join(f"{value} for {', '.join(models)}" for value, models in models_by_value.items())
                differences.append(f"{suite} {task}: {name} is {values}")
    if differences:
        raise UserError(
            "scores that don't compare: "
            + " | ".join(differences)
            + ". Run the evaluation again for all models, or pass --allow_mixed true"
        )


def sha256_of_files(*paths: Path) -> str:
    """SHA-256 over the contents of ``paths``, in that order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def to_json(record: Record) -> dict[str, Any]:
    """The record as plain data without its date, for outputs that must be the same bytes on every run."""
    content = dataclasses.asdict(record)
    del content["date"]
    return content
