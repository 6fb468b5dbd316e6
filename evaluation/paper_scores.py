"""Averages, wins, best values and differences: one's own, by the rules that the paper's own numbers follow."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evaluation.paper_rows import AVERAGES_TABLE, Run, assign, names_in_order
from evaluation.published import SELECTION, Cell, PublishedTable, Row
from evaluation.records import Metric, mean

AVERAGE, WINS, GAIN, TOKENS_KEPT = "avg", "wins", "gain", "tokens_kept"
MATH_TABLES = frozenset({5, 19})
MODEL_TABLES = frozenset({3, 11})
REFINEMENT = "refinement"
Group = tuple[Cell, ...] | None


@dataclass
class TableRow:
    """One row: the paper's numbers, one's own, or both."""

    labels: list[Cell]
    """Values of the table's key columns; of an own row the model's name and its step or shots."""
    name: str
    """The row's own name; of an own row the model's."""
    group: Group
    """Rows of one group are compared with each other; None: with nothing."""
    paper: Row
    """Empty for an own row."""
    run: Run | None = None
    ours: dict[str, Metric] = field(default_factory=dict)
    """In percent, by column."""
    texts: dict[str, str] = field(default_factory=dict)
    """What stands in place of a number of ours, by column (`7 of 10`)."""
    contests: int = 0
    """Of how many tasks the own `wins` are."""
    best: set[tuple[str, bool]] = field(default_factory=set)
    """Columns in which a number is its group's best; True with those of ours, False with the paper's."""

    def difference(self, column: str) -> float | None:
        """Ours minus the paper's, in points; its standard error is that of ours, as the paper gives none.

        None for wins: they depend on what else is in a table.
        """
        theirs = None if column == WINS else self.paper.get(column)
        return self.ours[column].value - theirs if column in self.ours and isinstance(theirs, float) else None


def averaged(table: PublishedTable) -> dict[str, tuple[str, ...]]:
    """The scores that each average is made of: the table's tasks, MMLU once; in Table 3 eight tasks at 0 or 2 shots."""
    if table.number == AVERAGES_TABLE:
        return {f"avg_{shots}_shot": tuple(f"{task}_{shots}_shot" for task in SELECTION) for shots in (0, 2)}
    return {AVERAGE: table.tasks} if AVERAGE in table.rows[0] else {}


def contests(table: PublishedTable) -> list[tuple[str, ...]]:
    """What a row can win, each as the scores that are summed: a task; in Table 3 a task at both numbers of shots."""
    if table.number == AVERAGES_TABLE:
        return [(f"{task}_0_shot", f"{task}_2_shot") for task in SELECTION]
    return [(task,) for task in table.tasks]


def minus(one: Metric, other: Metric) -> Metric:
    """Difference of independent scores."""
    error = None if None in (one.stderr, other.stderr) else math.hypot(one.stderr, other.stderr)
    return Metric(one.value - other.value, error)


def group_of(table: PublishedTable, row: Row) -> Group:
    """Which rows compare: of one base model in Tables 3, 5, 11 and 19 (captions), of one step where there are several.

    Models that Tables 5 and 19 give for reference stand outside the comparison.
    """
    if table.number in MATH_TABLES:
        return (row["group"], row["model"], row["size"]) if row["group"] == REFINEMENT else None
    keys = (("model",) if table.number in MODEL_TABLES else ()) + ("shots", "step")
    return tuple(row[key] for key in keys if key in table.keys)


def own_row(table: PublishedTable, run: Run) -> TableRow:
    """A row for a run that fills none of the paper's."""
    labels: list[Cell] = [None] * len(table.keys)
    labels[0] = run.model
    for key, value in (("step", run.step), ("shots", run.shots)):
        if key in table.keys and value is not None:
            labels[table.keys.index(key)] = float(value)
    if "step" not in table.keys:
        labels[0] = run.label
    values = {"model": "", "shots": run.shots, "step": run.step}
    if table.number in MATH_TABLES:
        group: Group = ("",)
    else:
        group = group_of(table, {key: values.get(key) for key in table.keys})
    return TableRow(labels, run.model, group, {}, run)


def rows_of(table: PublishedTable, runs: Sequence[Run], names: Mapping[str, str]) -> list[TableRow]:
    """The paper's rows with one's own scores in them, then the runs that fill none."""
    filled, others = assign(table, runs, names)
    rows = [
        TableRow([row[key] for key in table.keys], name, group_of(table, row), row, filled.get(index))
        for index, (name, row) in enumerate(zip(names_in_order(table), table.rows, strict=True))
    ]
    rows += [own_row(table, run) for run in others]
    for row in rows:
        if row.run is not None:
            add_scores(table, row, row.run)
    add_gains(table, rows)
    mark_best(table, rows)
    if WINS in table.rows[0]:
        add_wins(table, rows)
    return rows


def add_scores(table: PublishedTable, row: TableRow, run: Run) -> None:
    """Puts a run's scores and averages into its row."""
    row.ours = {task: run.scores[task] for task in table.tasks if task in run.scores}
    for column, parts in averaged(table).items():
        there = [run.scores[part] for part in parts if part in run.scores]
        if len(there) == len(parts):
            row.ours[column] = mean(there)
        elif there:
            row.texts[column] = f"{len(there)} of {len(parts)}"


def add_gains(table: PublishedTable, rows: Sequence[TableRow]) -> None:
    """Own averages above the own base model's, where both are there (Tables 5 and 19)."""
    if GAIN not in table.rows[0]:
        return
    bases = {row.group: row for row in rows if row.paper.get("method") == "base" and row.group}
    for row in rows:
        base = bases.get(row.group)
        if base is not None and base is not row and AVERAGE in row.ours and AVERAGE in base.ours:
            row.ours[GAIN] = minus(row.ours[AVERAGE], base.ours[AVERAGE])


def mark_best(table: PublishedTable, rows: Sequence[TableRow]) -> None:
    """Marks each group's best score in each column, ties at the printed tenth all; none where there is but one."""
    for column in (*table.tasks, *averaged(table)):
        for ours in (True, False):
            groups: dict[Group, list[tuple[float, TableRow]]] = {}
            for row in rows:
                value = row.ours[column].value if ours and column in row.ours else None
                theirs = row.paper.get(column)
                if not ours and isinstance(theirs, float):
                    value = theirs
                if value is not None and row.group is not None:
                    groups.setdefault(row.group, []).append((round(value, 1), row))
            for members in groups.values():
                best = max(value for value, _ in members)
                for value, row in members:
                    if len(members) > 1 and value == best:
                        row.best.add((column, ours))


def add_wins(table: PublishedTable, rows: Sequence[TableRow]) -> None:
    """Counts the tasks on which an own run is its group's best, of those that another was scored on too.

    Scores count as printed, and a tie for all who share it: only so do the paper's own counts follow.
    """
    groups: dict[Group, list[TableRow]] = {}
    for row in rows:
        if row.run is not None:
            groups.setdefault(row.group, []).append(row)
    for members in groups.values():
        wins, held = dict.fromkeys(range(len(members)), 0), 0
        for parts in contests(table):
            totals = {
                index: round(sum(round(row.run.scores[part].value, 1) for part in parts), 1)
                for index, row in enumerate(members)
                if row.run is not None and all(part in row.run.scores for part in parts)
            }
            if len(totals) > 1:
                held += 1
                for index, total in totals.items():
                    wins[index] += total == max(totals.values())
        for index, row in enumerate(members):
            if held:
                row.ours[WINS], row.contests = Metric(wins[index], None), held
