"""``evaluation table N``: the paper's Table N beside one's own scores; the same bytes every time.

Table 4 comes from the code of the verb `refiners`; Tables 7 to 9 show no scores.
"""

from collections.abc import Sequence
from typing import Any

from evaluation.paper_cells import columns_of, label_cells, render_csv, score_cell, to_content
from evaluation.paper_configs import CORPUS_TABLE, REFINER_TABLE, TableConfig
from evaluation.paper_corpora import add_corpora, add_tokens_kept
from evaluation.paper_notes import exception_notes, heading, measured
from evaluation.paper_refiners import make_table_of_refiners
from evaluation.paper_rows import (
    AVERAGES_TABLE,
    SUITE_OF_TABLE,
    check_names,
    records_of_suite,
    require_some,
    row_names_of_table,
    runs_of,
)
from evaluation.paper_scores import TableRow, averaged, rows_of
from evaluation.published import SELECTION, PublishedTable, load_table
from evaluation.records import Record, check_comparable, read_records
from evaluation.render import TextTable, to_latex, to_markdown
from prox.artifact import write_atomically, write_json

PAPER_ONLY = "The paper's numbers"
BOTH = "Own numbers with ± one standard error; in brackets the paper's, and by how much ours lie above it"
SCORES = "scores in %; best in bold, ties all, which is no claim of significance"


def make_paper_table(config: TableConfig) -> dict[str, Any]:
    """Writes ``table.md``, ``table.tex``, ``table.csv`` and ``table.json``, and prints the Markdown."""
    if config.number == REFINER_TABLE:
        return make_table_of_refiners(config.refiners_config())
    table = load_table(config.number or 0)
    records = own_records(config, table)
    rows = rows_of(table, runs_of(records, table.number), config.names)
    if config.statistics is not None:
        add = add_corpora if table.number == CORPUS_TABLE else add_tokens_kept
        add(table, rows, config.statistics, config.names)
    notes, marks = exception_notes(table)
    has_own = any(row.ours or row.texts for row in rows)
    columns = columns_of(table, rows)
    text = TextTable(
        title=f"Table {table.number} of the paper: {table.title}",
        headings=[*map(heading, table.keys), *map(heading, columns)],
        labels=len(table.keys),
        rows=[
            [*label_cells(table, row, marks), *(score_cell(table, row, column, marks, has_own) for column in columns)]
            for row in rows
        ],
        rules=rules_of(rows),
        legend=legend_of(table, rows, records, has_own),
        notes=notes,
    )
    markdown = to_markdown(text)
    write_atomically(config.output / "table.md", markdown)
    write_atomically(config.output / "table.tex", to_latex(text))
    write_atomically(config.output / "table.csv", render_csv(table, rows, marks))
    write_json(config.output / "table.json", to_content(table, rows, notes, records))
    print(markdown)
    both = sum(bool(row.ours) and bool(row.paper) for row in rows)
    return {"rows": len(rows), "own_rows": sum(bool(row.ours) for row in rows), "rows_with_both": both}


def own_records(config: TableConfig, table: PublishedTable) -> list[Record]:
    """The records that the table shows; ``UserError`` where none fits, names are wrong, or scores don't compare."""
    if config.results is None:
        return []
    every = read_records(config.artifacts())
    suite = SUITE_OF_TABLE[table.number]
    records = records_of_suite(every, suite, tasks_of(table))
    require_some(every, records, suite, row_names_of_table(table.number))
    check_names(config.names, (record.model for record in records))
    if not config.allow_mixed:
        check_comparable(records)
    return records


def tasks_of(table: PublishedTable) -> Sequence[str]:
    """The tasks behind a table's scores."""
    return SELECTION if table.number == AVERAGES_TABLE else table.tasks


def rules_of(rows: Sequence[TableRow]) -> frozenset[int]:
    """The rows that begin something new: another run where a run has several rows, else another group, or own rows."""
    with_steps = len({row.name for row in rows}) < len(rows)
    starts = [(bool(row.paper), row.name if with_steps and row.paper else row.group) for row in rows]
    return frozenset(index for index in range(1, len(rows)) if starts[index] != starts[index - 1])


def legend_of(table: PublishedTable, rows: Sequence[TableRow], records: Sequence[Record], has_own: bool) -> str:
    """One paragraph: whose numbers these are, how ours were measured, and which models fill no row of the paper's."""
    parts = [f"{BOTH if has_own else PAPER_ONLY}{f'; {SCORES}' if averaged(table) else ''}"]
    if table.number == CORPUS_TABLE and has_own:
        parts.append(
            "Documents and tokens are own, by `refinement stats`; what a step left compares by its share alone"
        )
    if records:
        parts.append(f"Ours: {measured(records, tasks_of(table))}")
    if any(row.run is not None and row.paper for row in rows) and "step" not in table.keys:
        parts.append("A row of the paper's takes its model's last step")
    others = dict.fromkeys(row.run.label for row in rows if row.run is not None and not row.paper)
    if others:
        there = ", ".join(row_names_of_table(table.number))
        parts.append(f"Without a row of the paper's: {', '.join(others)} (rows are named {there}; see --names)")
    return ". ".join(parts) + "."
