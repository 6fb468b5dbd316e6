"""Points of a figure, and how they are meant to be drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

OWN, PAPER = "own", "paper"


@dataclass(frozen=True)
class Point:
    """One plotted value."""

    panel: str
    """The small picture it is in; empty where there is one only."""
    series: str
    source: str
    """`own` or `paper`."""
    x: float | str
    """A number on the horizontal axis, or the name of a bar."""
    y: float
    stderr: float | None = None
    """Standard error of ``y``."""
    x_end: float | None = None
    """Where a histogram's bin ends, which begins at ``x``."""


@dataclass(frozen=True)
class Drawing:
    """A figure."""

    kind: Literal["lines", "bars", "stack", "lengths"]
    points: Sequence[Point]
    x_label: str
    y_label: str
    log_x: bool = False
    num_columns: int = 1
    """Panels side by side."""

    def panels(self) -> list[str]:
        """Names of the panels, in order."""
        return list(dict.fromkeys(point.panel for point in self.points))

    def series(self) -> list[str]:
        """Names of the series, in order."""
        return list(dict.fromkeys(point.series for point in self.points))

    def has_own(self) -> bool:
        """Whether anything of one's own is in it."""
        return any(point.source == OWN for point in self.points)
