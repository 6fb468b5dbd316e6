"""How well two sets of decisions agree: confusion tables, F1 (paper, A.3), kappa. Pure functions.

A checkpoint is scored against an annotation with these numbers, and one annotation against another.
"""

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Any

from prox.program import Program, RemoveLines


@dataclass(frozen=True, slots=True)
class Counts:
    """A confusion table; ratios without a denominator are 0, as scikit-learn's ``zero_division=0``."""

    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0
    true_negatives: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
            self.true_negatives + other.true_negatives,
        )

    @property
    def total(self) -> int:
        """Number of decisions."""
        return self.true_positives + self.true_negatives + self.errors

    @property
    def errors(self) -> int:
        """Decisions that differ."""
        return self.false_positives + self.false_negatives

    @property
    def precision(self) -> float:
        """Equation 4, left."""
        return ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Equation 4, right."""
        return ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """Equation 3, in the form 2 TP / (2 TP + FP + FN)."""
        return ratio(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)

    @property
    def accuracy(self) -> float:
        """Share of right decisions."""
        right = self.true_positives + self.true_negatives
        return ratio(right, right + self.false_positives + self.false_negatives)

    @property
    def kappa(self) -> float | None:
        """See ``cohen_kappa``."""
        return cohen_kappa(
            [[self.true_positives, self.false_negatives], [self.false_positives, self.true_negatives]],
        )

    def scores(self) -> dict[str, float]:
        """All four ratios, for a metrics file."""
        return {"f1": self.f1, "precision": self.precision, "recall": self.recall, "accuracy": self.accuracy}


def ratio(part: float, whole: float) -> float:
    """``part / whole``, and 0 where there is no whole."""
    return part / whole if whole else 0.0


def count_decisions(reference: Sequence[bool], predicted: Sequence[bool]) -> Counts:
    """Confusion table of keep (positive) against drop."""
    pairs = list(zip(reference, predicted, strict=True))
    return Counts(
        true_positives=pairs.count((True, True)),
        false_positives=pairs.count((False, True)),
        false_negatives=pairs.count((True, False)),
        true_negatives=pairs.count((False, False)),
    )


def count_matches(predicted: Iterable[Set[Any]], reference: Iterable[Set[Any]]) -> Counts:
    """Counts over the members of sets that are to be equal, pair by pair; there are no true negatives."""
    pairs = list(zip(predicted, reference, strict=True))
    return Counts(
        true_positives=sum(len(ours & theirs) for ours, theirs in pairs),
        false_positives=sum(len(ours - theirs) for ours, theirs in pairs),
        false_negatives=sum(len(theirs - ours) for ours, theirs in pairs),
    )


def removed_lines(program: Program, first_line: int, num_lines: int) -> frozenset[int]:
    """Numbers of the chunk's lines that ``program`` removes; whatever lies outside the chunk counts for nothing."""
    removed: set[int] = set()
    for operation in program.operations:
        if isinstance(operation, RemoveLines) and 0 <= operation.line_start <= operation.line_end:
            low = max(operation.line_start, first_line)
            high = min(operation.line_end, first_line + num_lines - 1)
            removed.update(range(low, high + 1))
    return frozenset(removed)


def macro_f1(documents: Iterable[Counts]) -> float:
    """Mean F1 over documents, each given by its lines' counts; 0 without any.

    A document in which neither side removes a line counts as 1: both agree. One without a counted line is left out.
    """
    scores = [count.f1 if count.true_positives + count.errors else 1.0 for count in documents if count.total]
    return ratio(sum(scores), len(scores))


def cohen_kappa(table: Sequence[Sequence[int]]) -> float | None:
    """Cohen's kappa of two raters from their square confusion table: agreement beyond chance, 1 at most.

    None where it is not defined: the table is empty, or both raters gave everything the same class. Chance alone then
    agrees always, and there is nothing to exceed; 1 would hide that the raters were never put to the test.
    """
    return _kappa(table, lambda row, column: float(row != column))


def quadratic_kappa(table: Sequence[Sequence[int]]) -> float | None:
    """Cohen's kappa for ordered classes: a disagreement weighs the square of its distance. None as in ``cohen_kappa``.

    Rows and columns must be the scale's classes in order, those that nobody gave included: distances are counted in
    them.
    """
    return _kappa(table, lambda row, column: float((row - column) ** 2))


def _kappa(table: Sequence[Sequence[int]], weight: Callable[[int, int], float]) -> float | None:
    """1 - observed / expected disagreement."""
    rows = [sum(row) for row in table]
    columns = [sum(column) for column in zip(*table, strict=True)]
    cells = [(row, column) for row in range(len(rows)) for column in range(len(columns))]
    observed = sum(weight(row, column) * table[row][column] for row, column in cells)
    expected = sum(weight(row, column) * rows[row] * columns[column] for row, column in cells)
    return 1.0 - observed * sum(rows) / expected if expected else None


def best_checkpoint(scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The highest F1; of equals the first, which is the earliest and was trained least."""
    return max(scores, key=lambda row: row["f1"])
