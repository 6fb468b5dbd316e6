"""Lengths of documents before and after (paper, Figure 7): as a histogram, as CSV and as a picture."""

import csv
import io
import itertools
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prox.artifact import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASURES = ("tokens", "words")
# Two bins to each doubling, as far as whole numbers allow; the first holds empty documents.
EDGES = (0, *sorted({round(2 ** (half / 2)) for half in range(2 * 40 + 1)}))
# Okabe and Ito's colours, which differ for the colour-blind too; line styles tell apart what comes after them.
COLOURS = ("#000000", "#E69F00", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
STYLES = ("-", "--", "-.", ":")


def bin_of(length: int) -> int:
    """The bin's lower edge: it holds the lengths from there to below the next edge."""
    return EDGES[bisect_right(EDGES, length) - 1]


@dataclass(frozen=True)
class Bin:
    """Documents of one arm with ``low <= length < high``.

    ``per_doubling`` is their share of the arm in percent over the bin's width in doublings of the length, so that bins
    of unlike width compare; 0 for empty documents, which have no place on a logarithmic axis.
    """

    arm: str
    measure: str
    low: int
    high: int
    documents: int
    percent: float
    per_doubling: float


def histogram(arms: Mapping[str, Mapping[str, Mapping[int, int]]]) -> list[Bin]:
    """Bins of all arms over the range any arm fills; ``arms`` maps arm, measure and lower edge to documents."""
    bins = []
    for measure in MEASURES:
        filled = [low for counts in arms.values() for low in counts[measure]]
        for arm, counts in arms.items():
            total = sum(counts[measure].values())
            for low, high in itertools.pairwise(EDGES):
                if filled and min(filled) <= low <= max(filled):
                    documents = counts[measure].get(low, 0)
                    percent = 100 * documents / total if total else 0.0
                    density = percent / math.log2(high / low) if low else 0.0
                    bins.append(Bin(arm, measure, low, high, documents, percent, density))
    return bins


def write_csv(path: Path, bins: Sequence[Bin]) -> None:
    """The histogram with full precision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["arm", "measure", "low", "high", "documents", "percent", "percent_per_doubling"])
    for one in bins:
        writer.writerow([one.arm, one.measure, one.low, one.high, one.documents, one.percent, one.per_doubling])
    write_atomically(path, text.getvalue())


def draw(bins: Sequence[Bin], means: Mapping[str, Mapping[str, float]]) -> "Figure":
    """One panel a measure, one outline an arm, the first one filled; a triangle at each ``means[arm][measure]``."""
    from matplotlib.figure import Figure

    arms = list(dict.fromkeys(one.arm for one in bins))
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    panels = figure.subplots(1, len(MEASURES), sharey=True)
    for axes, measure in zip(panels, MEASURES, strict=True):
        for number, arm in enumerate(arms):
            colour, style = COLOURS[number % len(COLOURS)], STYLES[number // len(COLOURS) % len(STYLES)]
            drawn = [one for one in bins if (one.arm, one.measure) == (arm, measure) and one.low]
            if not drawn:  # nothing but empty documents, or none
                continue
            heights, edges = [one.per_doubling for one in drawn], [one.low for one in drawn] + [drawn[-1].high]
            width = max(4.0 - number, 1.2)  # an arm that lies on another still shows it at its sides
            axes.stairs(heights, edges, color=colour, linestyle=style, lw=width, label=arm)
            if number == 0:
                axes.stairs(heights, edges, color=colour, alpha=0.12, fill=True)
            axes.plot(means[arm][measure], 0, "^", color=colour, ms=9, mec="white", clip_on=False, zorder=9)
        axes.set_xlabel(f"document length ({measure})", fontsize=12)
        _label_lengths(axes)
    panels[0].set_ylim(0, 1.05 * max((one.per_doubling for one in bins), default=0.0) or 1.0)
    panels[0].set_ylabel("documents per doubling of\nthe length (% of the arm)", fontsize=12)
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        title = "a triangle marks an arm's mean length"
        figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 4), fontsize=12, title=title)
    return figure


def _label_lengths(axes: "Axes") -> None:
    from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(base=10))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.tick_params(labelsize=11)
    axes.grid(alpha=0.3)


def save(figure: "Figure", path: Path) -> None:
    """Writes ``<path>.svg`` and ``<path>.png``; the same figure gives the same bytes."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": path.name, "svg.fonttype": "none"}):
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
        figure.savefig(path.with_suffix(".png"), dpi=150)
