"""How well predicted programs agree with reference programs (paper, A.3). Pure functions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from prox.program import Program, RemoveLines


@dataclass(frozen=True)
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
    def precision(self) -> float:
        """Equation 4, left."""
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Equation 4, right."""
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """Equation 3, in the form 2 TP / (2 TP + FP + FN)."""
        return _ratio(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)

    @property
    def accuracy(self) -> float:
        """Share of right decisions."""
        right = self.true_positives + self.true_negatives
        return _ratio(right, right + self.false_positives + self.false_negatives)

    def scores(self) -> dict[str, float]:
        """All four ratios, for a metrics file."""
        return {"f1": self.f1, "precision": self.precision, "recall": self.recall, "accuracy": self.accuracy}


def _ratio(part: float, whole: float) -> float:
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


def document_metrics(reference: Sequence[bool], predicted: Sequence[bool]) -> dict[str, Any]:
    """F1 of keeping documents (Equations 3 and 4), beside what a constant answer reaches on the same references."""
    return {
        **count_decisions(reference, predicted).scores(),
        "num_examples": len(reference),
        "share_kept_reference": _ratio(sum(reference), len(reference)),
        "share_kept_predicted": _ratio(sum(predicted), len(predicted)),
        "baselines": {
            "keep_all": count_decisions(reference, [True] * len(reference)).scores(),
            "drop_all": count_decisions(reference, [False] * len(reference)).scores(),
        },
    }


def removed_lines(program: Program, first_line: int, num_lines: int) -> frozenset[int]:
    """Numbers of the chunk's lines that ``program`` removes; whatever lies outside the chunk counts for nothing."""
    removed: set[int] = set()
    for operation in program.operations:
        if isinstance(operation, RemoveLines) and 0 <= operation.line_start <= operation.line_end:
            low = max(operation.line_start, first_line)
            high = min(operation.line_end, first_line + num_lines - 1)
            removed.update(range(low, high + 1))
    return frozenset(removed)


def is_unparsable(program: Program) -> bool:
    """True where part of an answer is no call of the language, or there is no call at all."""
    return bool(program.faults) or not program.operations


@dataclass(frozen=True)
class ChunkPair:
    """One chunk with its reference and its predicted program."""

    id: str
    first_line: int
    num_lines: int
    reference: Program
    predicted: Program

    def counts(self, predicted: frozenset[int] | None = None) -> Counts:
        """Lines in Equations 5 to 7, with the kept lines beside; ``predicted`` replaces the prediction's lines."""
        actual = removed_lines(self.reference, self.first_line, self.num_lines)
        if predicted is None:
            predicted = removed_lines(self.predicted, self.first_line, self.num_lines)
        return Counts(
            true_positives=len(predicted & actual),
            false_positives=len(predicted - actual),
            false_negatives=len(actual - predicted),
            true_negatives=self.num_lines - len(predicted | actual),
        )


def chunk_metrics(pairs: Sequence[ChunkPair]) -> dict[str, Any]:
    """Line-wise F1 (Equations 5 to 7): over all lines (micro, the ``f1``), and the mean over documents (macro).

    A document in which neither program removes a line counts as 1 in the mean: both agree.
    """
    counts = [pair.counts() for pair in pairs]
    nothing = [pair.counts(frozenset()) for pair in pairs]
    everything = [pair.counts(frozenset(range(pair.first_line, pair.first_line + pair.num_lines))) for pair in pairs]
    baselines = {"remove_nothing": nothing, "remove_all": everything}
    return {
        **sum(counts, Counts()).scores(),
        "f1_macro_documents": _macro(pairs, counts),
        "num_examples": len(pairs),
        "num_documents": len({pair.id for pair in pairs}),
        "share_unparsable": _ratio(sum(is_unparsable(pair.predicted) for pair in pairs), len(pairs)),
        "share_exact": _ratio(sum(pair.reference == pair.predicted for pair in pairs), len(pairs)),
        "baselines": {
            name: {**sum(rows, Counts()).scores(), "f1_macro_documents": _macro(pairs, rows)}
            for name, rows in baselines.items()
        },
    }


def _macro(pairs: Iterable[ChunkPair], counts: Iterable[Counts]) -> float:
    documents: dict[str, Counts] = {}
    for pair, count in zip(pairs, counts, strict=True):
        documents[pair.id] = documents.get(pair.id, Counts()) + count
    scores = [
        count.f1 if count.true_positives + count.false_positives + count.false_negatives else 1.0
        for count in documents.values()
    ]
    return _ratio(sum(scores), len(scores))
