"""The numbers of the paper's result tables, to stand beside one's own: one CSV a table, and a list of what is odd.

The CSVs hold what the paper prints, as far as our copy of its text (recognised from the PDF) can be read. Scores are
percent. Exceptions name every cell that was mended or left empty, and every printed number that contradicts others.
Table 4's figures are not in that text: `table_4.yaml` has what the paper says about them.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from prox.errors import UserError

FOLDER = Path(__file__).parent
EXCEPTIONS = FOLDER / "exceptions.csv"
EVERY_COLUMN = "*"
SHARED = ("arc_challenge", "arc_easy", "hellaswag", "openbookqa", "piqa", "winogrande", "sciq")
GENERAL = (*SHARED, "commonsense_qa", "mmlu", "social_iqa")
SELECTION = (*SHARED, "logiqa")
MATH = ("gsm8k", "math", "svamp", "asdiv", "mawps", "tabmwp", "mathqa", "mmlu_stem", "sat_math")
TASKS = frozenset((*GENERAL, *SELECTION, *MATH))

RUN = ("model", "method")
REFINED = (*RUN, "refiner", "step")
SCALED = ("model", "corpus", "method", "step")
TRAINED = ("group", "model", "size", "method")
# Title and the columns whose values together name a row.
TABLES: dict[int, tuple[str, tuple[str, ...]]] = {
    2: ("TLM-s on RedPajama-V2: raw, rules and ProX on ten tasks, zero-shot", RUN),
    3: ("Data selection on C4: averages over eight tasks, 0 and 2 shots", RUN),
    5: ("Continual pre-training on OpenWebMath: nine math tasks, few-shot", TRAINED),
    6: ("FineWeb-Edu against ProX on FineWeb, TLM-s, ten tasks, zero-shot", RUN),
    7: ("Corpora of the experiments: sizes, tokens trained on, epochs", ("experiment", "corpus", "method", "refiner")),
    8: ("Shapes of the models", ("model",)),
    9: ("Training hyper-parameters", ("model",)),
    10: ("Table 2's runs at five steps", (*RUN, "step")),
    11: ("Table 3's runs task by task", ("model", "shots", "method")),
    12: ("TLM-xs on RedPajama-V2 as refined by each size of refiner, at five steps", REFINED),
    13: ("TLM-s on RedPajama-V2 as refined by each size of refiner, at five steps", REFINED),
    14: ("TLM-m on RedPajama-V2 as refined by each size of refiner, at five steps", REFINED),
    15: ("TLM-m on 50 B tokens of RedPajama-V2, raw and refined, at ten steps", SCALED),
    16: ("TLM-m on 50 B tokens of C4, raw and refined, at ten steps", SCALED),
    17: ("TLM-m on 50 B tokens of FineWeb, raw and refined, at ten steps", SCALED),
    18: ("Models of other groups on the ten tasks, zero-shot", ("model", "training")),
    19: ("Table 5 with ProX's document-level stage alone", TRAINED),
}

Cell = str | float | None
Row = dict[str, Cell]


@dataclass(frozen=True)
class PublishedTable:
    """One of the paper's tables."""

    number: int
    """Its number in the paper."""
    title: str
    """What it is about, in this project's words."""
    keys: tuple[str, ...]
    """The columns whose values together name a row."""
    tasks: tuple[str, ...]
    """The columns of single tasks, in the table's order: accuracy in percent. Empty where the table has none."""
    rows: tuple[Row, ...]
    """The paper's rows in its order, each by column. Numbers are floats; None where the paper (or the text of it that
    could be read) has none. `avg` is the mean of a row's tasks in percent, as printed; `wins` the number of tasks on
    which a row is best; `gain` the points of `avg` above the base model; `tokens_kept` percent of a corpus's tokens;
    columns ending in `_billion` are billions of tokens."""

    def row_name(self, row: Row) -> str:
        """How exceptions name a row: its keys' values, without empty ones, as in ``TLM-s / raw / 12500``."""
        values = (row[key] for key in self.keys)
        return " / ".join(f"{value:g}" if isinstance(value, float) else value for value in values if value is not None)


@dataclass(frozen=True)
class PublishedException:
    """A number to be careful with."""

    table: int
    """Number of the table."""
    row: str
    """Name of the row (`PublishedTable.row_name`)."""
    column: str
    """The column, or `*` for all of the row's numbers."""
    kind: str
    """`average`, `gain`, `epochs`: the printed number doesn't follow from the others. `twin`: another table prints
    the same thing otherwise. `corrected`: misread in our copy, mended. `unreadable`: misread, left empty. `doubtful`:
    kept as printed, may be wrong. `note`: right, but not comparable with its neighbours."""
    printed: str
    """What our copy of the paper's text has."""
    value: Cell
    """What the table here has."""
    reason: str
    """How we know."""


def _cell(text: str) -> Cell:
    try:
        return float(text)
    except ValueError:
        return text or None


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def files() -> list[Path]:
    """The files that all of this is read from, in a fixed order."""
    return sorted(path for path in FOLDER.iterdir() if path.suffix in (".csv", ".yaml"))


def table_numbers() -> list[int]:
    """Numbers of the paper's tables that are here, ascending."""
    return sorted(TABLES)


def load_table(number: int) -> PublishedTable:
    """The paper's table of that number."""
    if number not in TABLES:
        known = ", ".join(map(str, table_numbers()))
        raise UserError(f"there is no table {number} of the paper's here: choose one of {known}")
    title, keys = TABLES[number]
    rows = tuple({name: _cell(text) for name, text in row.items()} for row in _read(FOLDER / f"table{number:02d}.csv"))
    tasks = tuple(name for name in rows[0] if name in TASKS)
    return PublishedTable(number=number, title=title, keys=keys, tasks=tasks, rows=rows)


def load_exceptions(number: int | None = None) -> list[PublishedException]:
    """What to be careful with in one table, or in all of them."""
    found = [
        PublishedException(**row | {"table": int(row["table"]), "value": _cell(row["value"])})
        for row in _read(EXCEPTIONS)
    ]
    return [entry for entry in found if number is None or entry.table == number]
