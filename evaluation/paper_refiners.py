"""`evaluation table 4`: what the verb `refiners` makes, as LaTeX too."""

from typing import Any

import yaml

from evaluation.refiner_configs import PAPER_REFINERS, RefinersConfig
from evaluation.refiner_table import (
    COLUMNS,
    LEGEND,
    MEASURED,
    PAPER,
    Row,
    describe,
    make_refiner_table,
    read_row,
    render_score,
    render_size,
)
from evaluation.render import Text, TextTable, plain, to_latex
from prox.artifact import write_atomically

TITLE = "Table 4 of the paper: refiners of several sizes on held-out examples, and the tokens they keep"


def make_table_of_refiners(config: RefinersConfig) -> dict[str, Any]:
    """Writes ``table.md``, ``table.tex``, ``table.csv`` and ``table.json``; without refiners the paper's statements."""
    summary = make_refiner_table(config)
    published = yaml.safe_load(PAPER_REFINERS.read_text(encoding="utf-8"))
    rows = [read_row(name, parts, config.arm) for name, parts in config.parts().items()]
    rows += [Row(source=PAPER, **row) for row in published["refiners"]]
    notes = [describe(row) for row in rows if row.source == MEASURED] + [f"{published['source']}."]
    cells = []
    for number, row in enumerate(rows, start=1):
        label = f"{row.refiner} (paper)" if row.source == PAPER else row.refiner
        scores = [plain(render_score(row, column)) for column in COLUMNS]
        cells.append([(Text(label, marks=(min(number, len(notes)),)),), plain(render_size(row.parameters)), *scores])
    table = TextTable(
        title=TITLE,
        headings=["refiner", "parameters", *COLUMNS.values()],
        labels=1,
        rows=cells,
        rules=frozenset({len(config.parts())}),
        legend=f"{LEGEND}. Tokens kept by the arm {config.arm}, of those of the raw corpus.",
        notes=notes,
    )
    write_atomically(config.output / "table.tex", to_latex(table))
    return summary
