"""Configs of `evaluation table` and `evaluation figure`. Imports no heavy library: skipped steps end at once."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation import published
from evaluation.paper_rows import row_names_of_figure, row_names_of_table
from evaluation.records import sha256_of_files
from evaluation.refiner_configs import RefinersConfig
from prox.artifact import is_committed, require
from prox.command import CommandConfig

REFINER_TABLE, CORPUS_TABLE, SHARES_TABLE = 4, 7, 6
TABLES = (2, 3, REFINER_TABLE, *range(5, 20))
WITHOUT_RECORDS = frozenset({REFINER_TABLE, CORPUS_TABLE, 8, 9})
FIGURES = (1, 4, 5, 6, 7, 8, 13)
LENGTHS_FIGURE = 7
FIGURES_OF_OPTION = {"parameters": (1, 5, 8), "tokens_per_step": (1, 8), "refining_flops": (8,)}


@dataclass
class ResultsConfig(CommandConfig):
    """What tables and figures share: where one's own scores lie, and which published rows they belong to."""

    number: int | None = None
    """Number in the paper; may stand right behind the verb, without `--number`."""
    results: Path | None = None
    """Folder below which committed artefacts with `records/` lie; unset: the paper's numbers alone."""
    statistics: Path | None = None
    """Artefact of `refinement stats` (documents, tokens and lengths by arm)."""
    names: dict[str, str] = field(default_factory=dict)
    """Published rows of one's own models by model (`--names.OWN ROW`); unset: a model fills the row of its own name."""
    allow_mixed: bool = False
    """Put scores side by side although their task, data, settings or harness version differ."""

    def problems(self) -> list[str]:
        found = []
        if self.results is not None:
            found += self.problems_of_results()
        if self.statistics is not None:
            found += require(self.statistics, "statistics", "refinement stats")
        return found

    def problems_of_results(self) -> list[str]:
        """What is wrong with ``results``, which is set."""
        remedy = "run `evaluation general`, `selection`, `math`, `bits_per_byte` or `choice` first"
        if self.results is None or not self.results.is_dir():
            return [f"--results {self.results} is not a folder: {remedy}"]
        if not self.artifacts():
            return [f"--results {self.results} holds no committed artefact with records/: {remedy}"]
        return []

    def problems_of_names(self, rows: list[str], place: str) -> list[str]:
        """``names`` whose values are no rows of ``place``, or the same row twice."""
        found = [
            f"--names.{own} {row} is no row of {place}: choose one of {', '.join(rows) or '(it takes no names)'}"
            for own, row in self.names.items()
            if row not in rows
        ]
        for row in sorted({row for row in self.names.values() if list(self.names.values()).count(row) > 1}):
            owns = ", ".join(own for own, other in self.names.items() if other == row)
            found.append(f"--names gives {owns} the same row {row}: keep one of them")
        return found

    def artifacts(self) -> list[Path]:
        """Committed artefacts with records below ``results``; not those set aside by a later run."""
        if self.results is None or not self.results.is_dir():
            return []
        folders = (records.parent for records in sorted(self.results.rglob("records")))
        return [
            folder
            for folder in folders
            if is_committed(folder) and not any(".previous-" in part for part in folder.parts)
        ]

    def inputs(self) -> list[Path]:
        # The artefacts, not `results` itself: the output may lie below it.
        return [*self.artifacts(), *([] if self.statistics is None else [self.statistics])]

    def input_marks(self) -> list[str]:
        """The published numbers."""
        return [] if self.number is None else [f"published:{sha256_of_files(*published.files())}"]

    def plan(self) -> dict[str, Any]:
        return {"number": self.number or "one's own arms", "artifacts": len(self.artifacts())}


@dataclass
class TableConfig(ResultsConfig):
    """Settings of ``evaluation table``: with a number, that table of the paper; without, one row for each own arm."""

    refiners: dict[str, Path] = field(default_factory=dict)
    """Table 4: refiners' artefacts, as for `evaluation refiners`; unset: the paper's statements alone."""
    arm: str = "prox-d+c"
    """Table 4: the arm in the refiners' statistics that a refiner made."""

    def problems(self) -> list[str]:
        found = super().problems()
        if self.number is None:
            if self.results is None:
                found.append("--results is not set: give the folder below which the evaluation artefacts lie")
            if self.names:
                found.append("--names needs a number: name the table, e.g. `evaluation table 2`")
        elif self.number not in TABLES:
            found.append(f"there is no table {self.number} here: choose one of {', '.join(map(str, TABLES))}")
        else:
            rows = row_names_of_table(self.number) if self.number != REFINER_TABLE else []
            found += self.problems_of_names(rows, f"table {self.number}")
            found += self.problems_of_number()
        if self.refiners and self.number != REFINER_TABLE:
            found.append(f"--refiners belongs to table {REFINER_TABLE}: run `evaluation table {REFINER_TABLE}`")
        return found

    def problems_of_number(self) -> list[str]:
        """Inputs that the table has no place for, which would otherwise be ignored in silence."""
        found = []
        if self.results is not None and self.number in WITHOUT_RECORDS:
            found.append(f"--results {self.results}: table {self.number} shows no scores of models: leave it out")
        if self.statistics is not None and self.number not in (CORPUS_TABLE, SHARES_TABLE):
            found.append(
                f"--statistics {self.statistics}: table {self.number} shows no counts: leave it out, or ask for "
                f"table {SHARES_TABLE} or {CORPUS_TABLE}"
            )
        has_own = self.results is not None or (self.statistics is not None and self.number == CORPUS_TABLE)
        if self.names and not has_own:
            option = "--statistics" if self.number == CORPUS_TABLE else "--results"
            found.append(f"--names is given without {option}: give the folder in which these names occur")
        if self.refiners and self.number == REFINER_TABLE:
            found += self.refiners_config().problems()
        return found

    def refiners_config(self) -> RefinersConfig:
        """Table 4's part, as the verb `refiners` takes it."""
        return RefinersConfig(output=self.output, seed=self.seed, refiners=self.refiners, arm=self.arm)

    def inputs(self) -> list[Path]:
        return [*super().inputs(), *(self.refiners_config().inputs() if self.refiners else [])]


@dataclass
class FigureConfig(ResultsConfig):
    """Settings of ``evaluation figure``."""

    parameters: dict[str, float] = field(default_factory=dict)
    """Figures 1, 5 and 8: own models' parameters without the embedding, by model."""
    tokens_per_step: dict[str, float] = field(default_factory=dict)
    """Figures 1 and 8: own models' tokens in one optimizer step, by model."""
    refining_flops: dict[str, float] = field(default_factory=dict)
    """Figure 8: FLOPs of refining that a run's whole corpus took, by model; a model without is an unrefined run."""

    def problems(self) -> list[str]:
        found = super().problems()
        if self.number not in FIGURES:
            asked = "no figure is named" if self.number is None else f"there is no figure {self.number} here"
            return [*found, f"{asked}: choose one of {', '.join(map(str, FIGURES))}"]
        place = f"figure {self.number}"
        found += self.problems_of_names(row_names_of_figure(self.number), place)
        if self.names and self.results is None:
            found.append("--names is given without --results: give the folder in which these models occur")
        if self.number == LENGTHS_FIGURE and self.statistics is None:
            found.append(
                f"--statistics is not set: {place} draws lengths; give the folder that refinement stats writes"
            )
        if self.number == LENGTHS_FIGURE and self.results is not None:
            found.append(f"--results {self.results}: {place} draws no scores: leave it out, and give --statistics")
        if self.number != LENGTHS_FIGURE and self.statistics is not None:
            found.append(f"--statistics {self.statistics}: {place} draws no lengths: leave it out")
        for option, figures in FIGURES_OF_OPTION.items():
            values: dict[str, float] = getattr(self, option)
            if values and self.number not in figures:
                found.append(f"--{option} is for figures {', '.join(map(str, figures))}: leave it out for {place}")
            found += [
                f"--{option}.{model} {value:g} is not above 0: give a count"
                for model, value in values.items()
                if not value > 0
            ]
        return found
