"""Cells of the paper's tables: numbers to text, one's own before the paper's, and to CSV and JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.paper_notes import Marks
from evaluation.paper_scores import GAIN, TOKENS_KEPT, WINS, TableRow, averaged, contests
from evaluation.published import EVERY_COLUMN, Cell, PublishedTable
from evaluation.records import Record, to_json
from evaluation.render import MISSING, Pieces, Text, plain, to_csv

SIGNED = frozenset({GAIN})
TENTHS = frozenset({TOKENS_KEPT, GAIN})
EPOCHS = "epochs"
SMALL = 0.001
"""Learning rates, which the paper prints as powers of ten."""


def columns_of(table: PublishedTable, rows: Sequence[TableRow]) -> list[str]:
    """The table's columns behind those that name its rows, then those of which only one's own rows have numbers."""
    own = dict.fromkeys(column for row in rows for column in row.ours)
    return list(dict.fromkeys([*(column for column in table.rows[0] if column not in table.keys), *own]))


def compared(table: PublishedTable) -> frozenset[str]:
    """Columns in which ours and the paper's stand beside each other."""
    return frozenset({*table.tasks, *averaged(table), WINS, GAIN, TOKENS_KEPT})


def format_number(table: PublishedTable, column: str, value: Cell) -> str:
    """A value as its column shows it: scores to a tenth, counts with commas, wins of how many."""
    if value is None:
        return MISSING
    if isinstance(value, str):
        return value
    if column == WINS:
        return f"{value:.0f}/{len(contests(table))}"
    if column in SIGNED:
        return f"{value:+.1f}"
    if column in TENTHS or column in table.tasks or column in averaged(table):
        return f"{value:.1f}"
    if column == EPOCHS:
        return f"{value:.2f}"
    if 0 < value <= SMALL:
        mantissa, exponent = f"{value:e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def label_cells(table: PublishedTable, row: TableRow, marks: Marks) -> list[Pieces]:
    """The cells that name a row; notes on all of its numbers stand at the first."""
    name = table.row_name(row.paper) if row.paper else ""
    cells: list[Pieces] = []
    for index, (key, value) in enumerate(zip(table.keys, row.labels, strict=True)):
        text = "" if value is None else f"{value:,.0f}" if isinstance(value, float) else value
        numbers = marks.get((name, key), ()) + (marks.get((name, EVERY_COLUMN), ()) if index == 0 else ())
        cells.append((Text(text, marks=numbers),))
    return cells


def paper_piece(table: PublishedTable, row: TableRow, column: str, marks: Marks) -> Text:
    """The paper's number, with its notes."""
    numbers = marks.get((table.row_name(row.paper), column), ())
    text = format_number(table, column, row.paper.get(column))
    return Text(text, (column, False) in row.best, numbers)


def score_cell(table: PublishedTable, row: TableRow, column: str, marks: Marks, has_own: bool) -> Pieces:
    """One cell: ours with its standard error, then the paper's and the difference in brackets."""
    ours = own_pieces(table, row, column)
    if not row.paper:
        return ours or plain(MISSING)
    paper = paper_piece(table, row, column, marks)
    if not has_own or column not in compared(table):
        return ours or (paper,)
    if row.paper.get(column) is None and not paper.marks:
        return ours or plain(MISSING)
    difference = row.difference(column)
    end = ")" if difference is None else f", {difference:+.1f})"
    return (*ours, Text(f"{' ' if ours else ''}(paper "), paper, Text(end))


def own_pieces(table: PublishedTable, row: TableRow, column: str) -> Pieces:
    """Our part of a cell; empty where there is none."""
    if column in row.texts:
        return plain(row.texts[column])
    if column not in row.ours:
        return ()
    metric = row.ours[column]
    if column == WINS:
        return plain(f"{metric.value:.0f}/{row.contests}")
    number = Text(format_number(table, column, metric.value), (column, True) in row.best)
    return (number,) if metric.stderr is None else (number, Text(f" ± {metric.stderr:.1f}"))


def rounded(value: float | None) -> float | None:
    """``value`` without the noise of binary fractions behind the sixth decimal."""
    return None if value is None else round(value, 6)


def render_csv(table: PublishedTable, rows: Sequence[TableRow], marks: Marks) -> str:
    """One line a row: ours, its standard error, the paper's and the difference in columns of their own.

    `row` is the row's own name, `model` and `own_step` are the run in it; `notes` are the numbers of the notes on the
    paper's numbers, by column.
    """
    columns, both = columns_of(table, rows), compared(table)
    headings = ["row", *(f"key_{key}" for key in table.keys), "own_model", "own_step"]
    for column in columns:
        headings += (
            [column, f"{column}_stderr", f"{column}_paper", f"{column}_difference"] if column in both else [column]
        )
    lines = []
    for row in rows:
        run = row.run
        labels = [int(value) if isinstance(value, float) else value for value in row.labels]
        line: list[Any] = [row.name, *labels, run and run.model, run and run.step]
        for column in columns:
            line += csv_cells(row, column, column in both)
        lines.append([*line, notes_of(table, row, marks)])
    return to_csv([*headings, "notes"], lines)


def csv_cells(row: TableRow, column: str, both: bool) -> list[Any]:
    """A column's values: four where ours and the paper's compare, else whichever there is."""
    metric = row.ours.get(column)
    value = row.texts.get(column) if metric is None else rounded(metric.value)
    paper = row.paper.get(column)
    if not both:
        return [paper if value is None else value]
    stderr = None if metric is None else rounded(metric.stderr)
    return [value, stderr, rounded(paper) if isinstance(paper, float) else paper, rounded(row.difference(column))]


def notes_of(table: PublishedTable, row: TableRow, marks: Marks) -> str:
    """The numbers of the notes on a row's numbers, by column."""
    name = table.row_name(row.paper) if row.paper else ""
    found = [(column, numbers) for (place, column), numbers in marks.items() if place == name]
    return "; ".join(f"{column}: {' '.join(map(str, numbers))}" for column, numbers in found)


def to_content(
    table: PublishedTable, rows: Sequence[TableRow], notes: Sequence[str], records: Sequence[Record]
) -> Mapping[str, Any]:
    """The table as plain data, with the records behind it."""
    return {
        "number": table.number,
        "title": table.title,
        "notes": list(notes),
        "rows": [
            {
                "row": row.name,
                "labels": dict(zip(table.keys, row.labels, strict=True)),
                "own_model": row.run and row.run.model,
                "own_step": row.run and row.run.step,
                "paper": {key: value for key, value in row.paper.items() if key not in table.keys},
                "ours": {
                    column: {
                        "value": rounded(metric.value),
                        "stderr": rounded(metric.stderr),
                        "difference": rounded(row.difference(column)),
                    }
                    for column, metric in row.ours.items()
                },
                "texts": row.texts,
            }
            for row in rows
        ],
        "records": [to_json(record) for record in records],
    }
