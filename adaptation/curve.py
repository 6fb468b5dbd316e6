"""The learning curve of a training: loss of the steps, F1 of the checkpoints; as CSV and as a picture."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adaptation.checkpoints import step_of
from prox.artifact import write_atomically

CSV_FILE = "learning_curve.csv"
PICTURE = "learning_curve.svg"
# Okabe and Ito's colours, which differ for the colour-blind too.
SCORES = (("f1", "#D55E00", "o-"), ("precision", "#0072B2", "s--"), ("recall", "#009E73", "^:"))


def curve_rows(metrics: Path, scores: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows by step: the loss where one was logged, the F1 where a checkpoint was scored.

    ``metrics`` is the training's `metrics.jsonl`; ``scores`` are `validate`'s of its checkpoints.
    """
    rows: dict[int, dict[str, Any]] = {}
    if metrics.is_file():
        for line in metrics.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            rows[row["step"]] = {name: row.get(name, "") for name in ("step", "epoch", "loss", "learning_rate")}
    for score in scores:
        step = step_of(Path(score["checkpoint"]))
        row = rows.setdefault(step, {"step": step})
        if score["f1"] > row.get("f1", -1):  # of several ways to ask a checkpoint, the best
            row.update({name: score[name] for name in ("f1", "precision", "recall")})
    return [rows[step] for step in sorted(rows)]


def write_curve(folder: Path, rows: Sequence[dict[str, Any]], title: str) -> None:
    """Writes the CSV and the picture; the same rows give the same bytes."""
    out = io.StringIO()
    names = ("step", "epoch", "loss", "learning_rate", "f1", "precision", "recall")
    table = csv.DictWriter(out, names, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_atomically(folder / CSV_FILE, out.getvalue())
    _draw(folder / PICTURE, rows, title)


def _draw(path: Path, rows: Sequence[dict[str, Any]], title: str) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": path.name, "svg.fonttype": "none"}):
        figure = Figure(figsize=(6.4, 4), layout="constrained")
        loss = figure.subplots()
        losses = [(row["step"], row["loss"]) for row in rows if "loss" in row]
        if losses:
            loss.plot(*zip(*losses, strict=True), color="#999999", label="training loss")
        loss.set(xlabel="optimizer step", ylabel="training loss (nats a token)", title=title)
        f1 = loss.twinx()
        for name, colour, style in SCORES:
            points = [(row["step"], row[name]) for row in rows if name in row]
            f1.plot(*zip(*points, strict=True), style, color=colour, label=name)
        f1.set(ylabel="valid split", ylim=(0, 1))
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
        figure.savefig(path, metadata={"Date": None})
