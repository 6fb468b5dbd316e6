"""Whether a probability means what it says, and which threshold it should be cut at. Pure functions.

It is a document's of being kept (`p_keep`), or a line's of being removed.
"""

from collections.abc import Sequence
from typing import Any

from prox.confusion import Counts, count_decisions, ratio

NUM_BINS = 10


def calibration(reference: Sequence[bool], probabilities: Sequence[float]) -> dict[str, Any]:
    """Brier score, expected calibration error and reliability table of the probabilities; best threshold.

    The bins are of equal width; the error is the mean distance between probability and share of the true ones over
    bins, weighted by their examples: documents, or lines. Of thresholds with equal F1 the lowest is the best. On the
    examples that chose it, a threshold looks better than it is.
    """
    bins: list[list[tuple[bool, float]]] = [[] for _ in range(NUM_BINS)]
    for true, probability in zip(reference, probabilities, strict=True):
        bins[min(int(probability * NUM_BINS), NUM_BINS - 1)].append((true, probability))
    rows = [
        {
            "from": number / NUM_BINS,
            "to": (number + 1) / NUM_BINS,
            "examples": len(members),
            "mean_probability": ratio(sum(probability for _, probability in members), len(members)),
            "share_true": ratio(sum(true for true, _ in members), len(members)),
        }
        for number, members in enumerate(bins)
        if members
    ]
    distance = sum(row["examples"] * abs(row["mean_probability"] - row["share_true"]) for row in rows)
    squares = sum((probability - true) ** 2 for true, probability in zip(reference, probabilities, strict=True))
    threshold, counts = best_threshold(reference, probabilities)
    return {
        "brier_score": ratio(squares, len(reference)),
        "expected_calibration_error": ratio(distance, len(reference)),
        "bins": rows,
        "best_threshold": {"threshold": threshold, **counts.scores()},
    }


def best_threshold(reference: Sequence[bool], probabilities: Sequence[float]) -> tuple[float, Counts]:
    """(lowest probability that is to count as true for the highest F1, what it gives)."""
    if not probabilities:
        return 0.5, Counts()
    ranked = sorted(zip(probabilities, reference, strict=True), reverse=True)
    num_true = sum(reference)
    true_positives, best_f1, best = 0, -1.0, ranked[0][0]
    for rank, (probability, true) in enumerate(ranked, 1):
        true_positives += true
        is_last_of_equals = rank == len(ranked) or ranked[rank][0] != probability
        f1 = ratio(2 * true_positives, rank + num_true)
        if is_last_of_equals and f1 >= best_f1:
            best_f1, best = f1, probability
    return best, count_decisions(reference, [probability >= best for probability in probabilities])
