"""``evaluation refiners``: one row a refiner, laid out as the paper's Table 4; the same bytes every time."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from evaluation.refiner_artifacts import REFINER_SCORES, read_metrics, read_tokens_kept
from evaluation.refiner_configs import PAPER_REFINERS, STATISTICS, RefinersConfig
from prox.artifact import write_atomically, write_json
from prox.confusion import best_checkpoint
from prox.errors import UserError

# Columns by the scores' names; a task's own are named after it.
COLUMNS = {
    "document_f1": "document F1",
    "chunk_f1": "chunk F1 (micro)",
    "chunk_f1_macro_documents": "chunk F1 (mean over documents)",
    "chunk_precision": "chunk precision",
    "chunk_recall": "chunk recall",
    "chunk_share_unparsable": "unparsable",
    "tokens_kept": "tokens kept",
}
SHARES = frozenset({"chunk_share_unparsable", "tokens_kept"})
MEASURED, PAPER = "measured", "paper"
NO_ANNOTATOR = "an annotator that was not recorded"
MISSING = "-"
LEGEND = (
    "F1, precision and recall in %. An F1 is agreement with the annotator of its examples, named below by row, "
    "and with nobody else"
)


@dataclass(frozen=True)
class Validated:
    """The best checkpoint of one task, and what it was scored on."""

    checkpoint: str
    num_examples: int
    annotator: str | None


@dataclass(frozen=True)
class Row:
    """One refiner; a score that nobody gave is in no dictionary."""

    refiner: str
    source: str
    """`measured` or `paper`."""
    parameters: dict[str, int | None]
    """By task, or by model where a row of the paper is about several; None where the weights are not here."""
    scores: dict[str, float]
    about: list[str] = field(default_factory=list)
    """Scores that are stated as round numbers only."""
    validated: dict[str, Validated] = field(default_factory=dict)
    """By task."""


def make_refiner_table(config: RefinersConfig) -> dict[str, Any]:
    """Writes ``table.md``, ``table.csv`` and ``table.json``, and prints the Markdown."""
    measured = [read_row(name, parts, config.arm) for name, parts in config.parts().items()]
    published = yaml.safe_load(PAPER_REFINERS.read_text(encoding="utf-8"))
    rows = [*measured, *(Row(source=PAPER, **row) for row in published["refiners"])]
    markdown = render_markdown(rows, config.arm, published["source"])
    write_atomically(config.output / "table.md", markdown)
    write_atomically(config.output / "table.csv", render_csv(rows))
    content = {"arm": config.arm, "paper": published["source"], "rows": [asdict(row) for row in rows]}
    write_json(config.output / "table.json", content)
    print(markdown)
    return {"refiners": len(measured), "scores": sum(len(row.scores) for row in measured)}


def read_row(name: str, parts: Mapping[str, Path], arm: str) -> Row:
    """One refiner out of its artefacts."""
    parameters: dict[str, int | None] = {}
    scores: dict[str, float] = {}
    validated = {}
    for task, wanted in REFINER_SCORES.items():
        if task not in parts:
            continue
        metrics = read_metrics(parts[task], f"refiners.{name}.{task}", task)
        best = best_checkpoint(metrics["checkpoints"])
        parameters[task] = count_parameters(Path(best["checkpoint"]))
        scores |= {f"{task}_{score}": best[score] for score in wanted}
        annotator = (metrics.get("annotation") or {}).get("annotator")
        validated[task] = Validated(best["name"], best["num_examples"], annotator)
    if STATISTICS in parts:
        scores["tokens_kept"] = read_tokens_kept(parts[STATISTICS], f"refiners.{name}.{STATISTICS}", arm)
    return Row(name, MEASURED, parameters, scores, validated=validated)


def count_parameters(checkpoint: Path) -> int | None:
    """Parameters by the headers of the weights' files, tied matrices once; None where there are no such files."""
    from safetensors import SafetensorError, safe_open

    # Not every *.safetensors: some models' folders hold their weights a second time, as consolidated.safetensors.
    files = sorted(checkpoint.glob("model*.safetensors"))
    number = 0
    for file in files:
        try:
            with safe_open(file, framework="np") as tensors:
                number += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"the size of {checkpoint} can't be read from {file.name} ({error}): copy the checkpoint again, or "
                "move its folder away to have no size in the table"
            ) from None
    return number if files else None


def render_size(parameters: Mapping[str, int | None]) -> str:
    """A number of parameters; several with whose they are, where they differ."""
    if not any(parameters.values()):
        return MISSING
    sizes = {owner: MISSING if number is None else f"{number:,}" for owner, number in parameters.items()}
    if len(set(sizes.values())) == 1:
        return next(iter(sizes.values()))
    return ", ".join(f"{size} ({owner})" for owner, size in sizes.items())


def render_score(row: Row, column: str) -> str:
    """Per cent with one digit; what the paper gives as a round number without any."""
    if column not in row.scores:
        return MISSING
    percent = row.scores[column] * 100
    text = f"about {percent:.0f}" if column in row.about else f"{percent:.1f}"
    return f"{text}%" if column in SHARES else text


def render_markdown(rows: Sequence[Row], arm: str, paper: str) -> str:
    """The table in Markdown, padded so that it reads well on a terminal too; each row has the number of its note."""
    notes = [describe(row) for row in rows if row.source == MEASURED] + [f"{paper}."]
    cells = [["refiner", "parameters", *COLUMNS.values()]]
    for number, row in enumerate(rows, start=1):
        # The paper's rows share the last note.
        label = f"{row.refiner} (paper)" if row.source == PAPER else row.refiner
        scores = [render_score(row, column) for column in COLUMNS]
        cells.append([f"{label} [{min(number, len(notes))}]", render_size(row.parameters), *scores])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for line in cells:
        padded = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        lines.append("| " + " | ".join([line[0].ljust(widths[0]), *padded]) + " |")
    lines.insert(1, "| " + " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]) + " |")
    legend = f"{LEGEND}. Tokens kept by the arm {arm}, of those of the raw corpus."
    numbered = [f"- [{number}] {note}" for number, note in enumerate(notes, start=1)]
    return "\n".join([*lines, "", legend, "", *numbered]) + "\n"


def describe(row: Row) -> str:
    """A measured row's note: how many examples, whose they are, and which checkpoint is the best."""
    if not row.validated:
        return f"{row.refiner}: not validated."
    parts = [
        f"{task} F1 on {one.num_examples:,} examples annotated by {one.annotator or NO_ANNOTATOR} ({one.checkpoint})"
        for task, one in row.validated.items()
    ]
    return f"{row.refiner}: {'; '.join(parts)}."


def render_csv(rows: Sequence[Row]) -> str:
    """Full-precision numbers, empty where there is none; ``about`` names those that are round statements."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    facts = [(task, fact) for task in REFINER_SCORES for fact in ("num_examples", "annotator", "checkpoint")]
    names = [f"{task}_{fact}" for task, fact in facts]
    writer.writerow(["refiner", "source", "parameters", *COLUMNS, "about", *names])
    for row in rows:
        sizes = set(row.parameters.values())
        size = sizes.pop() if len(sizes) == 1 else "; ".join(f"{owner} {n}" for owner, n in row.parameters.items() if n)
        line = [row.refiner, row.source, size, *(row.scores.get(column) for column in COLUMNS), " ".join(row.about)]
        writer.writerow([*line, *(getattr(row.validated.get(task), fact, None) for task, fact in facts)])
    return output.getvalue()
