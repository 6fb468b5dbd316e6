"""``evaluation table``: one row an arm, out of result records and corpus statistics; the same bytes every time.

With a number it is the paper's table of that number (`evaluation.paper_table`).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.paper_configs import TableConfig
from evaluation.paper_corpora import BASELINE_ARM, read_arms
from evaluation.paper_table import make_paper_table
from evaluation.records import Metric, Record, check_comparable, read_records, to_json
from evaluation.render import MISSING, pad_markdown, to_csv
from prox.artifact import write_atomically, write_json
from prox.errors import UserError

# The order of the paper's argument: the corpus, other ways by name, the paper's own.
FIRST_ARM, LAST_ARMS = "raw", ("prox-d", "prox-d+c")
SUITE_ORDER = ("bits_per_byte", "lm_eval", "lighteval", "general", "selection", "math")
SUITE_TITLES = {"lm_eval": "lm-eval"}
LOWER_IS_BETTER = frozenset({"bits_per_byte"})


@dataclass(frozen=True, order=True)
class Column:
    """One metric of one task; compares in the tables' order."""

    suite_position: int
    suite: str
    task: str
    shots: int
    metric: str

    @property
    def key(self) -> str:
        """Column name for CSV and JSON."""
        return self.metric if self.suite == self.metric else f"{self.suite}_{self.metric}"

    def shots_if_several(self, columns: Iterable["Column"]) -> str:
        """`2-shot` where the task was asked with several numbers of worked examples, else nothing."""
        shots = {other.shots for other in columns if (other.suite, other.task) == (self.suite, self.task)}
        return f"{self.shots}-shot" if len(shots) > 1 else ""


@dataclass(frozen=True)
class Row:
    """One arm: what it kept, and its scores by column."""

    arm: str
    """With its step (`raw@2500`) where it was scored at several."""
    counts: dict[str, int]
    shares: dict[str, float]
    scores: dict[Column, Metric]


def make_table(config: TableConfig) -> dict[str, Any]:
    """Writes ``table.md``, ``table.csv`` and ``table.json``, and prints the Markdown."""
    if config.number is not None:
        return make_paper_table(config)
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


def arm_key(arm: str) -> tuple[int, str]:
    """Sort key of an arm."""
    return (-1 if arm == FIRST_ARM else LAST_ARMS.index(arm) + 1 if arm in LAST_ARMS else 0, arm)


def shown_metrics(record: Record) -> list[str]:
    """Of a suite that says which score its tables show that one, else all."""
    return [record.headline] if record.headline in record.metrics else list(record.metrics)


def columns_of(records: Iterable[Record]) -> list[Column]:
    """All columns that any record fills, in order."""
    found = set()
    for record in records:
        position = SUITE_ORDER.index(record.suite) if record.suite in SUITE_ORDER else len(SUITE_ORDER)
        found |= {
            Column(position, record.suite, record.task, record.num_fewshot, metric) for metric in shown_metrics(record)
        }
    return sorted(found)


def labels_of(records: Sequence[Record]) -> dict[tuple[str, int | None], str]:
    """What to call a model at a step: its name, with the step where it was scored at several."""
    runs = {(record.model, record.step) for record in records}
    several = {model for model, count in Counter(model for model, _ in runs).items() if count > 1}
    return {
        (model, step): f"{model}@{step}" if model in several and step is not None else model for model, step in runs
    }


def rows_of(records: Sequence[Record], arms: dict[str, dict[str, int]]) -> list[Row]:
    """One row for every arm that was scored, at each of its steps, or counted."""
    scores: dict[tuple[str, int | None], dict[Column, Metric]] = {}
    for record in records:
        for column in columns_of([record]):
            scores.setdefault((record.model, record.step), {})[column] = record.metrics[column.metric]
    labels = labels_of(records)
    unscored = {(arm, None) for arm in arms if arm not in {model for model, _ in scores}}
    baseline = arms.get(BASELINE_ARM, {})
    rows = []
    for arm, step in sorted({*scores, *unscored}, key=lambda run: (arm_key(run[0]), -1 if run[1] is None else run[1])):
        counts = {name: arms[arm][name] for name in ("documents", "tokens")} if arm in arms else {}
        shares = {name: count / baseline[name] for name, count in counts.items() if baseline.get(name)}
        rows.append(Row(labels.get((arm, step), arm), counts, shares, scores.get((arm, step), {})))
    return rows


def title(column: Column, columns: Sequence[Column]) -> str:
    """Heading of a column; names the task only where a suite has several."""
    words = [column.metric if column.suite != column.metric else column.metric.replace("_", " ")]
    if column.suite != column.metric:
        words.insert(0, SUITE_TITLES.get(column.suite, column.suite))
    if len({other.task for other in columns if other.suite == column.suite}) > 1:
        words.insert(1, column.task)
    return " ".join(word for word in (*words, column.shots_if_several(columns)) if word)


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
    return f"{pad_markdown(cells)}\n\n{note}\n"


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
    shots = [column.shots_if_several(columns) for column in columns]
    names = [f"{name}_{number}" if number else name for name, number in zip(names, shots, strict=True)]
    counted = ("documents", "tokens")
    header = [heading for name in counted for heading in (name, f"{name}_share")]
    headings = ["arm", *header, *(heading for name in names for heading in (name, f"{name}_stderr"))]
    lines = []
    for row in rows:
        line: list[Any] = [row.arm]
        for name in counted:
            line += [row.counts.get(name), row.shares.get(name)]
        for column in columns:
            metric = row.scores.get(column)
            line += [None, None] if metric is None else [metric.value, metric.stderr]
        lines.append(line)
    return to_csv(headings, lines)
