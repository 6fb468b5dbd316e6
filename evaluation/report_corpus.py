"""Retention and document lengths of `evaluation report`: from `refinement stats` where it was run, else by counting."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from evaluation.report_counts import count_lengths, count_step, num_rows
from evaluation.report_sources import STATISTICS, Source, arm_names, way_to
from prox.artifact import read_json
from prox.errors import UserError

LENGTHS = "lengths.csv"
UNITS = ("documents", "tokens", "words", "bytes")


def collect_corpus(sources: Sequence[Source]) -> tuple[dict[str, Any], list[str]]:
    """One run's retention by arm, lengths by measure and arm, and its steps; and what could not be read."""
    problems: list[str] = []
    names = arm_names(sources)
    steps = [count_step(source, names[source.folder.resolve()], problems) for source in sources if source.is_step()]
    retention: list[dict[str, Any]] = []
    lengths: dict[str, list[dict[str, Any]]] = defaultdict(list)
    statistics = [source for source in sources if source.is_statistics()]
    for source in statistics:
        place = f", {source.name}" if len(statistics) > 1 else ""
        retention += _measured(source, place, problems)
        _read_lengths(source, place, lengths, problems)
    if not retention:
        roots = [way_to(source, sources)[0] for source in sources if source.is_step()]
        retention = _counted(steps, [num_rows(root.units(), []) for root in roots])
    if not lengths:
        for source in sources:
            bins = count_lengths(source, problems) if source.units() else []
            if bins:
                arm = names[source.folder.resolve()]
                lengths["characters"].append({"run": source.run, "name": arm, "bins": bins})
    return {"retention": retention, "lengths": dict(lengths), "steps": steps}, problems


def _measured(source: Source, place: str, problems: list[str]) -> list[dict[str, Any]]:
    """Arms as `refinement stats` measured them."""
    path = source.folder / STATISTICS
    try:
        content = read_json(path)
        arms, shares = content["arms"], content["shares"]
        return [
            {
                "run": source.run,
                "arm": arm + place,
                "sizes": {unit: int(sizes[unit]) for unit in UNITS},
                "shares": {unit: float(shares[arm][unit]) for unit in UNITS},
            }
            for arm, sizes in sorted(arms.items(), key=lambda item: (item[0] != "raw", -item[1]["tokens"], item[0]))
        ]
    except (UserError, KeyError, TypeError, ValueError, AttributeError) as error:
        problems.append(f"{path} can't be shown ({type(error).__name__}: {error}): run `refinement stats` again")
        return []


def _counted(steps: Sequence[dict[str, Any]], corpora: Sequence[int]) -> list[dict[str, Any]]:
    """Steps by the documents they kept, where nobody measured tokens; shares are of the corpus each began with."""
    sized = zip(steps, corpora, strict=True)
    return [
        {
            "run": step["run"],
            "arm": step["arm"],
            "sizes": {"documents": step["kept"]},
            "shares": {"documents": step["kept"] / whole},
        }
        for step, whole in sorted(sized, key=lambda one: (-one[0]["kept"], one[0]["arm"]))
        if step["kept"]
    ]


def _read_lengths(source: Source, place: str, lengths: dict[str, list[dict[str, Any]]], problems: list[str]) -> None:
    path = source.folder / LENGTHS
    found: dict[tuple[str, str], list[list[float]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                bins = found.setdefault((row["measure"], row["arm"]), [])
                density = round(float(row["percent_per_doubling"]), 4)
                if int(row["low"]):  # empty documents have no place on a logarithmic axis
                    bins.append([int(row["low"]), int(row["high"]), int(row["documents"]), density])
    except (OSError, KeyError, TypeError, ValueError) as error:
        problems.append(f"{path} can't be shown ({type(error).__name__}: {error}): run `refinement stats` again")
        return
    for (measure, arm), bins in found.items():
        lengths[measure].append({"run": source.run, "name": arm + place, "bins": bins})
