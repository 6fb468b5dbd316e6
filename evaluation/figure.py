"""``evaluation figure N``: the paper's Figure N as picture and as points; the same bytes every time.

The paper's points come from its tables, as no numbers are printed in its figures. With results, one's own are drawn
solid over the paper's, which are dashed and faint.
"""

import csv
import io
from typing import TYPE_CHECKING, Any

from evaluation.figure_data import read_drawing
from evaluation.figure_points import OWN, PAPER, Drawing, Point
from evaluation.paper_configs import FigureConfig
from prox.artifact import name_aside, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, then some of Tol's: they differ for the colour-blind too. Markers tell apart the rest.
COLOURS = ("#000000", "#E69F00", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#882255", "#999933", "#777777")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
FAINT = 0.45
MOST_TICKS = 6
LARGEST_WRITTEN = 1e6
ROOM_ABOVE = 1.15
"""Of the highest bar, for its number."""
PANEL_INCHES = (4.2, 3.6)
LONE_PANEL_INCHES = (8.0, 5.0)
LEGEND_COLUMNS, LONE_LEGEND_COLUMNS = 4, 2


def make_figure(config: FigureConfig) -> dict[str, Any]:
    """Writes ``figure.svg``, ``figure.png`` and ``figure.csv``."""
    title, drawing = read_drawing(config)
    write_atomically(config.output / "figure.csv", render_csv(drawing))
    save(draw(f"Figure {config.number}: {title}", drawing), config.output / "figure")
    counts = {source: sum(point.source == source for point in drawing.points) for source in (PAPER, OWN)}
    print(f"{config.output / 'figure.svg'}: {counts[PAPER]} points of the paper's, {counts[OWN]} own")
    return {"paper_points": counts[PAPER], "own_points": counts[OWN]}


def render_csv(drawing: Drawing) -> str:
    """Every plotted point, with full precision."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(["panel", "series", "source", "x", "y", "stderr", "x_end"])
    for point in drawing.points:
        writer.writerow([point.panel, point.series, point.source, point.x, point.y, point.stderr, point.x_end])
    return output.getvalue()


def save(figure: "Figure", path: "Path") -> None:
    """Writes ``<path>.svg`` and ``<path>.png``, atomically; the same figure gives the same bytes."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": path.name, "svg.fonttype": "none"}):
        # Both files have the same layout, which takes longer to find than the rest.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for suffix, options in ((".svg", {"metadata": {"Date": None}}), (".png", {"dpi": 150})):
            aside = name_aside(path.with_suffix(suffix))
            try:
                figure.savefig(aside, format=suffix[1:], **options)
                aside.replace(path.with_suffix(suffix))
            finally:
                aside.unlink(missing_ok=True)


def draw(title: str, drawing: Drawing) -> "Figure":
    """The figure, one legend for all panels."""
    from matplotlib.figure import Figure

    panels = [panel for panel in drawing.panels() if drawing.kind != "lengths" or not panel]
    columns = min(drawing.num_columns, len(panels))
    rows = -(-len(panels) // columns)
    width, height = LONE_PANEL_INCHES if len(panels) == 1 else (PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows + 1)
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize=14)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=drawing.kind == "bars")
    painter = PAINTERS[drawing.kind]
    for index, axes in enumerate(grid.flat):
        if index >= len(panels):
            axes.set_visible(False)
            continue
        painter(axes, drawing, [point for point in drawing.points if point.panel == panels[index]])
        finish(axes, drawing, panels[index])
    figure.supylabel(drawing.y_label, fontsize=12)
    add_legend(figure, LEGEND_COLUMNS if columns > 1 else LONE_LEGEND_COLUMNS)
    return figure


def finish(axes: "Axes", drawing: Drawing, panel: str) -> None:
    """What all panels share."""
    if panel:
        axes.set_title(panel, fontsize=12)
    axes.set_xlabel(drawing.x_label, fontsize=12)
    if drawing.kind == "lines":
        axes.locator_params(nbins=MOST_TICKS)
    if drawing.log_x:
        label_logarithms(axes)
    axes.tick_params(labelsize=11)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)


def label_logarithms(axes: "Axes") -> None:
    """A logarithmic axis; numbers that read well are written out."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    if high < LARGEST_WRITTEN:
        subs = (1.0, 2.0, 3.0, 5.0, 7.0) if high / low < 100 else (1.0,)
        axes.xaxis.set_major_locator(LogLocator(base=10, subs=subs))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def add_legend(figure: "Figure", num_columns: int) -> None:
    """One entry for each label of any panel."""
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        entries |= {label: handle for label, handle in zip(labels, handles, strict=True) if label not in entries}
    if entries:
        columns = min(num_columns, len(entries))
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns, fontsize=11)


def look(drawing: Drawing, series: str) -> tuple[str, str]:
    """A series' colour and marker, the same for ours and the paper's."""
    index = drawing.series().index(series)
    return COLOURS[index % len(COLOURS)], MARKERS[(index // len(COLOURS) + index) % len(MARKERS)]


def strength(drawing: Drawing, source: str) -> float:
    """Opacity: the paper's numbers stand back where there are own ones."""
    return FAINT if source == PAPER and drawing.has_own() else 1.0


def split(points: list[Point]) -> dict[tuple[str, str], list[Point]]:
    """Points by series and source, each in the order of its axis where that is of numbers."""
    found: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        found.setdefault((point.series, point.source), []).append(point)
    return found


def draw_lines(axes: "Axes", drawing: Drawing, points: list[Point]) -> None:
    """A line for each series and source; standard errors as bars."""
    for (series, source), members in split(points).items():
        members = sorted(members, key=lambda point: point.x)
        colour, marker = look(drawing, series)
        own = source == OWN
        axes.errorbar(
            [point.x for point in members],
            [point.y for point in members],
            yerr=[point.stderr or 0.0 for point in members] if own else None,
            color=colour,
            marker=marker,
            markersize=7 if own else 6,
            markerfacecolor=colour if own else "white",
            linestyle="-" if own else "--",
            linewidth=2.2 if own else 1.6,
            capsize=3,
            alpha=strength(drawing, source),
            label=f"{series} ({source})",
        )


def draw_bars(axes: "Axes", drawing: Drawing, points: list[Point]) -> None:
    """A bar for each name and source; values above them."""
    names = list(dict.fromkeys(str(point.x) for point in points))
    sources = [source for source in (PAPER, OWN) if any(point.source == source for point in points)]
    width = 0.8 / len(sources)
    for point in points:
        own = point.source == OWN
        place = names.index(str(point.x)) + (sources.index(point.source) - (len(sources) - 1) / 2) * width
        bars = axes.bar(
            place,
            point.y,
            width,
            yerr=point.stderr,
            capsize=3,
            facecolor=COLOURS[2] if own else "#dddddd",
            edgecolor="black",
            linestyle="-" if own else "--",
            hatch="" if own else "//",
            alpha=strength(drawing, point.source),
            label=point.source,
        )
        axes.bar_label(bars, fmt="%.1f", fontsize=10, padding=2)
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right", fontsize=10)
    axes.set_ylim(0, ROOM_ABOVE * max(point.y for point in drawing.points))


def draw_stack(axes: "Axes", drawing: Drawing, points: list[Point]) -> None:
    """A stacked bar for each name; totals above them."""
    names = list(dict.fromkeys(str(point.x) for point in points))
    heights = dict.fromkeys(names, 0.0)
    for point in points:
        name, own = str(point.x), point.source == OWN
        colour, _ = look(drawing, point.series)
        axes.bar(
            names.index(name),
            point.y,
            0.6,
            bottom=heights[name],
            color=COLOURS[2] if colour == COLOURS[0] else colour,
            edgecolor="black",
            linestyle="-" if own else "--",
            alpha=strength(drawing, point.source),
            label=f"{point.series} ({point.source})",
        )
        heights[name] += point.y
    for name, height in heights.items():
        axes.annotate(
            f"{height:.1e}".replace("e+", "e"), (names.index(name), height), ha="center", va="bottom", fontsize=11
        )
    axes.set_xticks(range(len(names)), names, fontsize=11)
    axes.set_ylim(0, ROOM_ABOVE * max(heights.values()))


def draw_lengths(axes: "Axes", drawing: Drawing, points: list[Point]) -> None:
    """An outline for each arm; the means that the paper states as dashed lines."""
    for index, ((series, _), members) in enumerate(split(points).items()):
        colour, _ = look(drawing, series)
        edges = [point.x for point in members] + [members[-1].x_end]
        width = max(4.0 - index, 1.2)  # an arm that lies on another still shows it at its sides
        axes.stairs([point.y for point in members], edges, color=colour, linewidth=width, label=f"{series} ({OWN})")
    for point in drawing.points:
        if point.source == PAPER:
            colour = look(drawing, point.series)[0]
            label = f"{point.panel} {point.x:,.0f}, RedPajama-V2 {point.series} ({PAPER})"
            axes.axvline(point.x, color=colour, linestyle="--", linewidth=1.6, alpha=FAINT, label=label)


PAINTERS = {"lines": draw_lines, "bars": draw_bars, "stack": draw_stack, "lengths": draw_lengths}
