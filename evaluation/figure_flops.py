"""Figures 1 and 8: what runs cost in FLOPs (Equations 9 to 14), of the paper's and one's own."""

from collections.abc import Mapping, Sequence

from evaluation.figure_points import OWN, PAPER, Point
from evaluation.flops import refining_flops_of_one_size, tokens_at
from evaluation.paper_configs import FigureConfig
from evaluation.published import load_table
from prox.errors import UserError
from prox.flops import training_flops

TRAINING, REFINING = "training", "refining"
REFINER = "TLM-xs"
"""The refiner whose cost the paper counts (section 4.2: "if we utilize ProX-xs for both")."""
TABLE_OF_MODEL = {"TLM-xs": 12, "TLM-s": 13, "TLM-m": 14}
COMPARABLE = {"TLM-xs": 40.5, "TLM-s": 41.6, "TLM-m": 42.9}
"""Averages that Figure 8's caption compares at, in percent."""
SIZES = {"TLM-xs": "0.3B", "TLM-s": "0.7B", "TLM-m": "1.7B"}
TOLERANCE = 0.1
"""How far below a run's average may lie and still be comparable: the caption's 42.9 is 42.8 in Table 14."""
Curve = Sequence[tuple[float, float]]


def published_parameters() -> dict[str, float]:
    """Parameters without the embedding, by model (Table 8)."""
    return {str(row["model"]): float(row["parameters_without_embedding"] or 0) for row in load_table(8).rows}


def first_step(curve: Curve, average: float) -> float | None:
    """The first step at which a run reaches a comparable average; None where it never does."""
    return min((step for step, value in curve if value >= average - TOLERANCE - 1e-9), default=None)


def refining_share(total: float, trained: float, whole: float) -> float:
    """The part of a corpus's refining that a checkpoint answers for: of the run's steps those that it took.

    The paper doesn't say how it charges a checkpoint. With the whole refining (5.1e19) its 0.7B model would need
    9.6e19 FLOPs, and the text says 6.3e19; shared out over the run it needs 6.5e19.
    """
    return total * trained / whole


def whole_refining() -> float:
    """FLOPs of refining RedPajama-V2's dump with the smallest refiner in both stages (Equation 14; Tables 7 and 8)."""
    sizes = {
        row["method"]: float(row["unique_tokens_billion"] or 0) * 1e9
        for row in load_table(7).rows
        if row["experiment"] == "Table 2, Figure 4"
    }
    return refining_flops_of_one_size(sizes["raw"], sizes["prox-d"], published_parameters()[REFINER])


def published_costs() -> list[Point]:
    """Figure 8's bars, computed; the figure prints no numbers that our copy of the paper has."""
    points = []
    for model, average in COMPARABLE.items():
        parameters = published_parameters()[model]
        for label, refiner in (("raw", None), ("prox-d+c", REFINER)):
            curve = [
                (float(row["step"] or 0), float(row["avg"] or 0))
                for row in load_table(TABLE_OF_MODEL[model]).rows
                if row["refiner"] == refiner
            ]
            step = first_step(curve, average)
            if step is None:
                raise ValueError(f"{model} {label} never reaches {average}")
            refining = refining_share(whole_refining(), step, curve[-1][0]) if refiner else 0.0
            panel = f"{SIZES[model]} (average {average})"
            points.append(Point(panel, TRAINING, PAPER, label, training_flops(parameters, tokens_at(step))))
            points.append(Point(panel, REFINING, PAPER, label, refining))
    return points


def flops_of_run(config: FigureConfig, model: str, step: float) -> float:
    """Training FLOPs of an own run; ``UserError`` where its size or its tokens a step are not given."""
    missing = [
        f"--{option}.{model} NUMBER"
        for option in ("parameters", "tokens_per_step")
        if model not in getattr(config, option)
    ]
    if missing:
        raise UserError(f"what {model} cost is not known: give {' and '.join(missing)}")
    return training_flops(config.parameters[model], tokens_at(step, config.tokens_per_step[model]))


def own_costs(config: FigureConfig, scored: Sequence[tuple[str, float, float]]) -> list[Point]:
    """Bars of own pairs: a refined run (one with `refining_flops`) and the unrefined runs of its size.

    Both at the first step at which they reach the lower of their best averages.
    """
    curves: dict[str, list[tuple[float, float]]] = {}
    for model, step, average in scored:
        curves.setdefault(model, []).append((step, average))
    unknown = sorted(set(config.refining_flops) - set(curves))
    pairs = [
        (plain, refined)
        for refined in config.refining_flops
        for plain in curves
        if plain not in config.refining_flops and config.parameters.get(plain) == config.parameters.get(refined)
    ]
    if unknown or not pairs:
        raise UserError(
            f"figure 8 compares refined runs with unrefined ones of their size: give --refining_flops.MODEL, "
            f"--parameters.MODEL and --tokens_per_step.MODEL; found the models {', '.join(sorted(curves))}"
            + (f", but none named {', '.join(unknown)}" if unknown else "")
        )
    points = []
    for plain, refined in pairs:
        average = min(max(value for _, value in curves[model]) for model in (plain, refined))
        for model in (plain, refined):
            panel = f"{refined}, {plain} (average {average:.1f})"
            points += bars_of_run(config, model, curves[model], average, panel)
    return points


def bars_of_run(config: FigureConfig, model: str, curve: Curve, average: float, panel: str) -> list[Point]:
    """The two parts of an own run's bar."""
    step = first_step(curve, average) or 0.0
    whole = max(step for step, _ in curve)
    refining: Mapping[str, float] = config.refining_flops
    share = refining_share(refining.get(model, 0.0), step, whole)
    return [
        Point(panel, TRAINING, OWN, model, flops_of_run(config, model, step)),
        Point(panel, REFINING, OWN, model, share),
    ]
