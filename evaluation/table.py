"""``evaluation table``: one row an arm, out of result records and corpus statistics; the same bytes every time."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.configs import TableConfig
from evaluation.records import Metric, Record, check_comparable, read_records, to_json
from prox.artifact import read_json, write_atomically, write_json
from prox.errors import UserError

# The order of the paper's argument; other arms follow by name.
ARM_ORDER = ("raw", "rules", "prox-d", "prox-d+c")
BASELINE_ARM = "raw"
SUITE_ORDER = ("bits_per_byte", "lm_eval", "lighteval")
SUITE_TITLES = {"lm_eval": "lm-eval"}
LOWER_IS_BETTER = frozenset({"bits_per_byte"})
MISSING = "-"


@dataclass(frozen=True, order=True)
class Column:
    """One metric of one task; compares in the tables' order."""

    suite_position: int
    suite: str
    task: str
    metric: str

    @property
    def key(self) -> str:
        """Column name for CSV and JSON."""
        return self.metric if self.suite == self.metric else f"{self.suite}_{self.metric}"


@dataclass(frozen=True)
class Row:
    """One arm: what it kept, and its scores by column."""

    arm: str
    counts: dict[str, int]
    shares: dict[str, float]
    scores: dict[Column, Metric]


def make_table(config: TableConfig) -> dict[str, Any]:
    """Writes ``table.md``, ``table.csv`` and ``table.json``, and prints the Markdown."""
    records = read_records(config.artifacts())
    if not records:
        raise UserError(f"--results {config.results}: the artefacts hold no record: run the evaluation again")
    if not config.allow_mixed:
        check_comparable(records)
    arms = read_arms(config.statistics)
    columns = columns_of(records)
    rows = rows_of(records, arms)
    markdown = render_markdown(rows, columns, footnote(records))
    write_atomically(config.output / "table.md", markdown)
    write_atomically(config.output / "table.csv", render_csv(rows, columns))
    content = {
        "statistics": arms,
        "records": [to_json(r) for r in sorted(records, key=lambda r: (arm_key(r.model), r.suite))],
    }
    write_json(config.output / "table.json", content)
    print(markdown)
    return {"arms": len(rows), "scores": sum(len(row.scores) for row in rows)}


def read_arms(statistics: Path | None) -> dict[str, dict[str, int]]:
    """Counts by arm from `refinement stats`; empty without statistics."""
    if statistics is None:
        return {}
    path = statistics / "stats.json" if statistics.is_dir() else statistics
    arms = read_json(path).get("arms")
    if not isinstance(arms, dict) or not all({"documents", "tokens"} <= set(counts) for counts in arms.values()):
        raise UserError(f"{path} has no `arms` with `documents` and `tokens`: run `refinement stats` again")
    return arms


def arm_key(arm: str) -> tuple[int, str]:
    """Sort key of an arm."""
    return (ARM_ORDER.index(arm) if arm in ARM_ORDER else len(ARM_ORDER), arm)


def columns_of(records: Iterable[Record]) -> list[Column]:
    """All columns that any record fills, in order."""
    found = set()
    for record in records:
        position = SUITE_ORDER.index(record.suite) if record.suite in SUITE_ORDER else len(SUITE_ORDER)
        found |= {Column(position, record.suite, record.task, metric) for metric in record.metrics}
    return sorted(found)


def rows_of(records: Sequence[Record], arms: dict[str, dict[str, int]]) -> list[Row]:
    """One row for every arm that was scored or counted."""
    scores: dict[str, dict[Column, Metric]] = {}
    for record in records:
        for column in columns_of([record]):
            scores.setdefault(record.model, {})[column] = record.metrics[column.metric]
    baseline = arms.get(BASELINE_ARM, {})
    rows = []
    for arm in sorted({*scores, *arms}, key=arm_key):
        counts = {name: arms[arm][name] for name in ("documents", "tokens")} if arm in arms else {}
        shares = {name: count / baseline[name] for name, count in counts.items() if baseline.get(name)}
        rows.append(Row(arm, counts, shares, scores.get(arm, {})))
    return rows


def title(column: Column, columns: Sequence[Column]) -> str:
    """Heading of a column; names the task only where a suite has several."""
    words = [column.metric if column.suite != column.metric else column.metric.replace("_", " ")]
    if column.suite != column.metric:
        words.insert(0, SUITE_TITLES.get(column.suite, column.suite))
    if len({other.task for other in columns if other.suite == column.suite}) > 1:
        words.insert(1, column.task)
    return " ".join(words)


def best_values(rows: Sequence[Row], columns: Sequence[Column]) -> dict[Column, float]:
    """Each column's best value; none where there is nothing to compare."""
    best = {}
    for column in columns:
        values = [row.scores[column].value for row in rows if column in row.scores]
        if len(values) > 1:
            best[column] = min(values) if column.metric in LOWER_IS_BETTER else max(values)
    return best


def render_score(metric: Metric | None, column: Column, best: float | None) -> str:
    """``value ± standard error``, accuracies in percent, the best in bold."""
    if metric is None:
        return MISSING
    scale, digits = (1, 3) if column.metric in LOWER_IS_BETTER else (100, 1)
    value = f"{metric.value * scale:.{digits}f}"
    error = "" if metric.stderr is None else f" ± {metric.stderr * scale:.{digits}f}"
    return (f"**{value}**" if metric.value == best else value) + error


def render_count(row: Row, name: str) -> str:
    """A count and its share of the raw arm's."""
    if name not in row.counts:
        return MISSING
    share = f" ({row.shares[name]:.1%})" if name in row.shares else ""
    return f"{row.counts[name]:,}{share}"


def render_markdown(rows: Sequence[Row], columns: Sequence[Column], note: str) -> str:
    """The table in Markdown, padded so that it reads well on a terminal too."""
    counted = ["documents", "tokens"] if any(row.counts for row in rows) else []
    best = best_values(rows, columns)
    cells = [["arm", *(f"{name} kept" for name in counted), *(title(column, columns) for column in columns)]]
    for row in rows:
        scores = [render_score(row.scores.get(column), column, best.get(column)) for column in columns]
        cells.append([row.arm, *(render_count(row, name) for name in counted), *scores])
    widths = [max(len(line[index]) for line in cells) for index in range(len(cells[0]))]
    lines = []
    for line in cells:
        padded = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        lines.append("| " + " | ".join([line[0].ljust(widths[0]), *padded]) + " |")
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines.insert(1, "| " + " | ".join(rule) + " |")
    return "\n".join(lines) + f"\n\n{note}\n"


def footnote(records: Iterable[Record]) -> str:
    """One line: data, sizes, versions."""
    parts = set()
    for record in records:
        suite = SUITE_TITLES.get(record.suite, record.suite)
        if record.suite == "bits_per_byte":
            size = f"{record.num_samples} documents, {record.details['num_bytes']:,} bytes"
            parts.add((0, f"bits per byte: {size} of {record.data}"))
        else:
            size = f"n = {record.num_samples}, {record.num_fewshot}-shot"
            parts.add((1, f"{suite} {record.suite_version}: {record.task}, {size}, from {record.data}"))
    text = "; ".join(text for _, text in sorted(parts))
    return f"{text}. Accuracies in %; ± is one standard error; best in bold, which is no claim of significance."


def render_csv(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """Full-precision numbers, empty where there is none."""
    several = len({(column.suite, column.task) for column in columns}) > len({column.suite for column in columns})
    names = [f"{column.task}_{column.key}" if several else column.key for column in columns]
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    counted = ("documents", "tokens")
    header = [heading for name in counted for heading in (name, f"{name}_share")]
    writer.writerow(["arm", *header, *(heading for name in names for heading in (name, f"{name}_stderr"))])
    for row in rows:
        line: list[Any] = [row.arm]
        for name in counted:
            line += [row.counts.get(name), row.shares.get(name)]
        for column in columns:
            metric = row.scores.get(column)
            line += [None, None] if metric is None else [metric.value, metric.stderr]
        writer.writerow(line)
    return output.getvalue()
