"""What the paper's figures show, as points: the paper's out of its tables, one's own out of records."""

import csv
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from evaluation import figure_flops
from evaluation.figure_points import OWN, PAPER, Drawing, Point
from evaluation.flops import tokens_at
from evaluation.paper_configs import FigureConfig
from evaluation.paper_notes import heading
from evaluation.paper_rows import (
    Run,
    check_names,
    last_steps,
    records_of_suite,
    rename,
    require_some,
    row_names_of_figure,
    rows_of_figure,
    runs_of,
)
from evaluation.paper_scores import mean
from evaluation.published import GENERAL, Row, load_table
from evaluation.records import Metric, check_comparable, read_records
from prox.errors import UserError
from prox.flops import training_flops

log = logging.getLogger("prox")

SHOWN_METHODS = ("raw", "fineweb", "prox-d", "prox-d+c")
"""Figures 4 and 13: raw, the best rule (FineWeb's, by Figure 4's caption), and both of ProX's stages."""
OTHER_MODELS = {
    ("TinyLlama-1.1B", "3T tokens"): "TinyLlama",
    ("ShearedLlama-1.3B", "pruned, then 50B tokens"): "S-Llama",
    ("InstructLM-1.3B", "LLM data synthesis"): "Inst-LM",
    ("Cosmo-1.8B", "LLM data synthesis"): "Cosmo",
}
"""Figure 6's other models, by their rows in Table 18 and their names in the figure."""
AVERAGE_LABEL = "average of ten tasks (%)"
STEP_LABEL = "training step"
Scored = list[tuple[str, Run, Metric]]


def own_runs(config: FigureConfig) -> list[Run]:
    """One's own runs on the ten tasks; ``UserError`` where there is none, or scores don't compare."""
    if config.results is None:
        return []
    every = read_records(config.artifacts())
    records = records_of_suite(every, "general", GENERAL)
    require_some(every, records, "general", row_names_of_figure(config.number or 0))
    check_names(config.names, (record.model for record in records))
    if not config.allow_mixed:
        check_comparable(records)
    return runs_of(records)


def averages(config: FigureConfig, runs: Iterable[Run]) -> Scored:
    """Row names, runs and averages of the runs that have all ten tasks; a warning names the others."""
    complete: Scored = []
    for run in runs:
        if len(run.scores) == len(GENERAL):
            complete.append((rename(run.model, config.names), run, mean([run.scores[task] for task in GENERAL])))
        else:
            log.warning("%s is left out: it has %d of %d tasks", run.label, len(run.scores), len(GENERAL))
    if config.results is not None and not complete:
        raise UserError(
            f"--results {config.results}: no model has all ten tasks, which the average takes: run `evaluation "
            "general` for the rest, or look at figure 13, which draws tasks"
        )
    return complete


def step_of(run: Run) -> float:
    """A run's step; ``UserError`` where its records don't tell."""
    if run.step is None:
        raise UserError(
            f"the records of {run.model} tell no training step, which this figure draws: name models with their step "
            f"when they are scored, e.g. `--models.{run.model}@2500 FOLDER`"
        )
    return float(run.step)


def number_of(row: Row, column: str) -> float | None:
    """A published number; None where our copy of the paper has none."""
    value = row[column]
    return value if isinstance(value, float) else None


def steps_figure(config: FigureConfig) -> Drawing:
    """Figure 4: averages by step, from Table 10."""
    points = [
        Point("", name, PAPER, float(row["step"] or 0), value)
        for name, row in rows_of_figure(4)
        if name in SHOWN_METHODS and (value := number_of(row, "avg")) is not None
    ]
    scored = averages(config, own_runs(config))
    points += [Point("", name, OWN, step_of(run), metric.value, metric.stderr) for name, run, metric in scored]
    return Drawing("lines", points, STEP_LABEL, AVERAGE_LABEL)


def tasks_figure(config: FigureConfig) -> Drawing:
    """Figure 13: each task by step, from Table 10."""
    points = []
    runs = own_runs(config)
    for task in GENERAL:
        panel = heading(task)
        points += [
            Point(panel, name, PAPER, float(row["step"] or 0), value)
            for name, row in rows_of_figure(13)
            if name in SHOWN_METHODS and (value := number_of(row, task)) is not None
        ]
        for run in runs:
            if task in run.scores:
                name, score = rename(run.model, config.names), run.scores[task]
                points.append(Point(panel, name, OWN, step_of(run), score.value, score.stderr))
    return Drawing("lines", points, STEP_LABEL, "accuracy (%)", num_columns=5)


def sizes_figure(config: FigureConfig) -> Drawing:
    """Figure 5: averages at the last step by size of model, one line for each refiner, from Tables 12 to 14."""
    rows = rows_of_figure(5)
    last = max(row["step"] for _, row in rows)
    sizes = figure_flops.published_parameters()
    places: dict[str, tuple[str, float]] = {}
    points = []
    for name, row in rows:
        series = "raw" if row["refiner"] is None else f"refined by {row['refiner']}"
        places[name] = (series, sizes[str(row["model"])] / 1e9)
        if row["step"] == last and (value := number_of(row, "avg")) is not None:
            points.append(Point("", *_place(places[name]), value))
    for name, run, metric in averages(config, last_steps(own_runs(config))):
        series, size = places.get(name, (name, 0.0))
        size = config.parameters.get(run.model, size * 1e9) / 1e9
        if not size:
            raise UserError(
                f"{run.model} stands for no run of the paper's, so that its size is not known: give "
                f"--parameters.{run.model} NUMBER, or --names.{run.model} ROW"
            )
        points.append(Point("", series, OWN, size, metric.value, metric.stderr))
    return Drawing("lines", points, "parameters without embedding (billions)", AVERAGE_LABEL, log_x=True)


def _place(place: tuple[str, float]) -> tuple[str, str, float]:
    return place[0], PAPER, place[1]


def corpora_figure(config: FigureConfig) -> Drawing:
    """Figure 6: averages at the last step for each corpus, from Tables 15 to 17, and other models from Table 18."""
    rows = rows_of_figure(6)
    last = max(row["step"] for _, row in rows)
    places = {name: (str(row["corpus"]), f"TLM-m {row['method']}") for name, row in rows}
    points = [
        Point(*places[name], PAPER, places[name][1], value)
        for name, row in rows
        if row["step"] == last and (value := number_of(row, "avg")) is not None
    ]
    for corpus in dict.fromkeys(corpus for corpus, _ in places.values()):
        for row in load_table(18).rows:
            name, value = OTHER_MODELS.get((str(row["model"]), str(row["training"]))), number_of(row, "avg")
            if name is not None and value is not None:
                points.append(Point(corpus, name, PAPER, name, value))
    for name, _, metric in averages(config, last_steps(own_runs(config))):
        corpus, series = places.get(name, ("own", name))
        points.append(Point(corpus, series, OWN, series, metric.value, metric.stderr))
    return Drawing("bars", points, "", AVERAGE_LABEL, num_columns=4)


def training_figure(config: FigureConfig) -> Drawing:
    """Figure 1: averages by FLOPs of training (Equation 9), from Tables 8, 15 to 17, and TinyLlama from Table 18."""
    sizes = figure_flops.published_parameters()
    points = [
        Point("", name, PAPER, training_flops(sizes[str(row["model"])], tokens_at(float(row["step"] or 0))), value)
        for name, row in rows_of_figure(1)
        if (value := number_of(row, "avg")) is not None
    ]
    model, tokens = "TinyLlama-1.1B", 3e12
    (row,) = (row for row in load_table(18).rows if row["model"] == model)
    points.append(Point("", f"{model}, 3T tokens", PAPER, training_flops(sizes[model], tokens), float(row["avg"] or 0)))
    for name, run, metric in averages(config, own_runs(config)):
        flops = figure_flops.flops_of_run(config, run.model, step_of(run))
        points.append(Point("", name, OWN, flops, metric.value, metric.stderr))
    return Drawing("lines", points, "training FLOPs", AVERAGE_LABEL, log_x=True)


def cost_figure(config: FigureConfig) -> Drawing:
    """Figure 8: FLOPs of training and refining up to a comparable average, without ProX and with it."""
    points = figure_flops.published_costs()
    if config.results is not None:
        scored = averages(config, own_runs(config))
        points += figure_flops.own_costs(config, [(run.model, step_of(run), metric.value) for _, run, metric in scored])
    return Drawing("stack", points, "", "FLOPs", num_columns=4)


@dataclass(frozen=True)
class Mean:
    """A mean length that section 4.1 states, in tokens."""

    arm: str
    words: str
    tokens: float


PAPER_MEANS = (Mean("raw", "mean", 1217), Mean("prox-d+c", "mean over", 2000))
"""RedPajama-V2's tokens a document before and after; of the latter only that they are more than 2,000."""


def lengths_figure(config: FigureConfig) -> Drawing:
    """Figure 7: own arms' lengths of documents in tokens, out of `refinement stats`; of the paper's only the means."""
    path = (config.statistics or Path()) / "lengths.csv"
    points = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                low, high = float(row["low"]), float(row["high"])
                # Empty documents have no place on a logarithmic axis.
                if row["measure"] == "tokens" and low:
                    height = float(row["percent_per_doubling"])
                    points.append(Point("", row["arm"], OWN, low, height, x_end=high))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: give the folder that `refinement stats` writes") from None
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is no histogram of lengths ({type(error).__name__}: {error}): run `refinement stats` again"
        ) from None
    if not points:
        raise UserError(
            f"{path} has no lengths in tokens: run `refinement stats` again on documents that are not empty"
        )
    points += [Point(mean.words, mean.arm, PAPER, mean.tokens, 0.0) for mean in PAPER_MEANS]
    return Drawing(
        "lengths", points, "document length (tokens)", "documents per doubling of the length (%)", log_x=True
    )


FIGURES: dict[int, tuple[str, Callable[[FigureConfig], Drawing]]] = {
    1: ("Training FLOPs and average of ten tasks", training_figure),
    4: ("Average of ten tasks by training step, TLM-s on RedPajama-V2", steps_figure),
    5: ("Average of ten tasks by size of model and of refiner, RedPajama-V2", sizes_figure),
    6: ("Average of ten tasks by corpus, TLM-m on 50 B tokens, beside other models", corpora_figure),
    7: ("Lengths of documents by arm", lengths_figure),
    8: ("FLOPs for a comparable average, refining shared out over a run's steps", cost_figure),
    13: ("Ten tasks by training step, TLM-s on RedPajama-V2", tasks_figure),
}


def read_drawing(config: FigureConfig) -> tuple[str, Drawing]:
    """The figure's title and points."""
    title, collect = FIGURES[config.number or 0]
    return title, collect(config)
