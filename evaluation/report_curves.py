"""Training curves of `evaluation report`: the ``metrics.jsonl`` of every training below a run."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.report_sources import Source
from prox.tracking import METRICS

# Drawn where any training of a group logged them, in this order.
MEASURES = (
    "loss",
    "validation_loss",
    "validation_bits_per_byte",
    "learning_rate",
    "tokens_per_second",
)
X_AXES = ("step", "tokens", "epoch")
# More points than this are thinned: a curve is no wider than a screen.
MOST_POINTS = 1_000


def read_metrics(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The rows of a ``metrics.jsonl`` that have a step, and the number of lines that can't be read."""
    rows, broken = [], 0
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict) and _number(row.get("step")) is not None:
                rows.append(row)
            else:
                broken += 1
    return rows, broken


def _number(value: Any) -> float | int | None:
    """A finite number, else None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None


def thin(rows: Sequence[dict[str, Any]], most: int = MOST_POINTS) -> list[dict[str, Any]]:
    """At most about ``most`` rows, evenly, with the first and the last."""
    stride = math.ceil(len(rows) / most)
    return list(rows) if stride <= 1 else [*rows[:-1:stride], rows[-1]]


def series_name(name: str) -> str:
    """A training's name in a legend: its place below the run without the words that all have."""
    parts = [part for part in name.split("/") if part not in ("pretraining", "adaptation", "train")]
    return "/".join(parts) or name


def collect_curves(sources: Sequence[Source]) -> tuple[list[dict[str, Any]], list[str]]:
    """Groups of curves by the command that trained, and sentences about what could not be read."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    problems = []
    for source in sources:
        if not source.has_metrics():
            continue
        rows, broken = read_metrics(source.folder / METRICS)
        place = f"{source.run}: {source.name}/{METRICS}"
        if broken:
            problems.append(f"{place}: {broken} lines can't be read and are left out")
        if not rows:
            problems.append(f"{place} holds no step yet")
            continue
        rows.sort(key=lambda row: row["step"])
        shown = thin(rows)
        columns = {name: [_number(row.get(name)) for row in shown] for name in (*X_AXES, *MEASURES)}
        groups[source.command or "other trainings"].append(
            {
                "run": source.run,
                "name": series_name(source.name),
                "place": source.name,
                "finished": source.finished,
                "num_points": len(rows),
                "columns": {
                    name: values for name, values in columns.items() if any(value is not None for value in values)
                },
            }
        )
    for group in groups.values():
        told = Counter((one["run"], one["name"]) for one in group)
        for one in group:
            # Two curves of one name could not be told apart.
            one["name"] = one["name"] if told[one["run"], one["name"]] == 1 else one["place"]
    order = sorted(groups, key=lambda command: (not command.startswith("pretraining"), command))
    return [{"command": command, "series": groups[command]} for command in order], problems
