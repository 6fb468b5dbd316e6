"""Which of one's own scores belongs to which row of a published table.

A published row's own name is made of its key columns that vary within the table, without step and shots: `prox-d` in
Table 2, `prox-d+c_TLM-s` in Table 12. A model of that name fills the row; other models get rows of their own.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from evaluation.published import Cell, PublishedTable, Row, load_table
from evaluation.records import Metric, Record
from prox.errors import UserError

SUITE_OF_TABLE = {number: "general" for number in (2, 6, 10, *range(12, 19))}
SUITE_OF_TABLE |= {3: "selection", 11: "selection", 5: "math", 19: "math"}
SHOTS_OF_SUITE: dict[str, tuple[int, ...]] = {"general": (0,), "selection": (0, 2)}
"""Numbers of worked examples that a suite's tables show; the math tasks have each their own."""
TABLES_OF_FIGURE = {1: (15, 16, 17), 4: (10,), 5: (12, 13, 14), 6: (15, 16, 17), 8: (12, 13, 14), 13: (10,)}
"""Published tables whose rows a figure draws as runs; Figures 1 and 6 draw models of Table 18 too."""
AVERAGES_TABLE, OTHER_MODELS_TABLE = 3, 18
UNNAMED_KEYS = frozenset({"step", "shots"})


@dataclass(frozen=True)
class Run:
    """One own model at one step, and what it scored on a suite."""

    model: str
    step: int | None
    shots: int | None
    """Worked examples, where the table has a row for each number of them; else None."""
    scores: Mapping[str, Metric]
    """In percent, by the published columns' names; in Table 3 by task and shots (`piqa_2_shot`)."""

    @property
    def label(self) -> str:
        """What to call it in a row of its own."""
        return self.model if self.step is None else f"{self.model}@{self.step}"


def row_names(rows: Sequence[Row], keys: Sequence[str]) -> list[str]:
    """Each row's own name. Rows that differ in nothing but step or shots share theirs."""
    varying = [key for key in keys if key not in UNNAMED_KEYS and len({row[key] for row in rows}) > 1]
    return ["_".join(_slug(row[key]) for key in varying if row[key] is not None) for row in rows]


def _slug(value: Cell) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return re.sub(r"[^\w+-]+", "-", text).strip("-")


def names_in_order(table: PublishedTable) -> list[str]:
    """The own name of each row of a table."""
    if table.number == OTHER_MODELS_TABLE:
        # How a model was trained names it only where the table has it twice.
        count = Counter(row["model"] for row in table.rows)
        rows = [row if count[row["model"]] > 1 else row | {"training": None} for row in table.rows]
        return row_names(rows, table.keys)
    return row_names(table.rows, table.keys)


def row_names_of_table(number: int) -> list[str]:
    """The own names that a table's rows have, each once, in the table's order."""
    return list(dict.fromkeys(names_in_order(load_table(number))))


def rows_of_figure(number: int) -> list[tuple[str, Row]]:
    """The published runs that a figure draws, with their own names; a name has one row a step."""
    tables = [load_table(table) for table in TABLES_OF_FIGURE.get(number, ())]
    rows = [row for table in tables for row in table.rows]
    return list(zip(row_names(rows, tables[0].keys), rows, strict=True)) if tables else []


def row_names_of_figure(number: int) -> list[str]:
    """The own names of the runs that a figure draws."""
    return list(dict.fromkeys(name for name, _ in rows_of_figure(number)))


def records_of_suite(records: Iterable[Record], suite: str, tasks: Sequence[str]) -> list[Record]:
    """The records that a table or figure shows: of its suite, its tasks and its numbers of worked examples."""
    shots = SHOTS_OF_SUITE.get(suite)
    return [
        record
        for record in records
        if record.suite == suite and record.task in tasks and (shots is None or record.num_fewshot in shots)
    ]


def require_some(records: Sequence[Record], found: Sequence[Record], suite: str, names: Sequence[str]) -> None:
    """``UserError`` when no record is of use: what there is, and what was looked for."""
    if found:
        return
    there = sorted({f"{record.model} ({record.suite}, {record.num_fewshot}-shot)" for record in records})
    shots = SHOTS_OF_SUITE.get(suite)
    asked = "" if shots is None else f" with {' or '.join(map(str, shots))} shots"
    raise UserError(
        f"--results has no score of the suite {suite}{asked}; found {', '.join(there) or 'no record'}; looked for "
        f"models named {', '.join(names)}: run the evaluation of that suite, or leave --results out"
    )


def percent_of(record: Record) -> Metric:
    """The score that the paper's tables show, in percent; ``UserError`` where the record doesn't say which it is."""
    if record.headline not in record.metrics:
        raise UserError(
            f"the record of {record.model} on {record.suite} {record.task} names no score to show (headline "
            f"{record.headline!r}, scores {', '.join(record.metrics)}): run its evaluation again"
        )
    metric = record.metrics[record.headline]
    return Metric(100 * metric.value, None if metric.stderr is None else 100 * metric.stderr)


def runs_of(records: Iterable[Record], number: int | None = None) -> list[Run]:
    """One run for each model and step, by name and step; of ``number``, Table 11 has one for each number of shots."""
    scores: dict[tuple[str, int | None, int | None], dict[str, Metric]] = {}
    for record in records:
        splits = record.suite == "selection"
        shots = record.num_fewshot if splits and number != AVERAGES_TABLE else None
        column = f"{record.task}_{record.num_fewshot}_shot" if splits and shots is None else record.task
        found = scores.setdefault((record.model, record.step, shots), {})
        if column in found:
            raise UserError(
                f"{record.model} has two scores on {record.suite} {record.task}, of different numbers of worked "
                "examples: give a narrower --results"
            )
        found[column] = percent_of(record)
    order = sorted(scores, key=lambda key: (key[0], -1 if key[1] is None else key[1], key[2] or 0))
    return [Run(*key, scores[key]) for key in order]


def last_steps(runs: Sequence[Run]) -> list[Run]:
    """The runs at their models' largest steps."""
    last: dict[str, int] = {}
    for run in runs:
        last[run.model] = max(last.get(run.model, -1), -1 if run.step is None else run.step)
    return [run for run in runs if (-1 if run.step is None else run.step) == last[run.model]]


def rename(model: str, names: Mapping[str, str]) -> str:
    """The published row's name that a model stands for, if there is one of that name."""
    return names.get(model, model)


def check_names(names: Mapping[str, str], models: Iterable[str]) -> None:
    """``UserError`` when ``names`` speaks of models that are not there, or two models claim one row."""
    known = sorted(set(models))
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise UserError(f"--names speaks of {', '.join(unknown)}, which has no score here: found {', '.join(known)}")
    claims = Counter(rename(model, names) for model in known)
    for name, count in claims.items():
        if count > 1:
            rivals = ", ".join(model for model in known if rename(model, names) == name)
            raise UserError(f"{rivals} all stand for the row {name}: change --names so that one does")


def assign(table: PublishedTable, runs: Sequence[Run], names: Mapping[str, str]) -> tuple[dict[int, Run], list[Run]]:
    """Runs by the index of the row that they fill, and those that fill none.

    In tables with steps a row takes the run of its own step; in others a model's last run.
    """
    if "step" not in table.keys:
        runs = last_steps(runs)
    places = {
        (name, row.get("step"), row.get("shots")): index
        for index, (name, row) in enumerate(zip(names_in_order(table), table.rows, strict=True))
    }
    filled: dict[int, Run] = {}
    others = []
    for run in runs:
        step = run.step if "step" in table.keys else None
        index = places.get((rename(run.model, names), step, run.shots))
        if index is None:
            others.append(run)
        else:
            filled[index] = run
    return filled, others
