"""The numbers of an agreement, out of the documents' comparisons: overall, by call, by length, with 95% intervals.

Everywhere the second annotation is the reference. F1 and kappa don't change when the two change places; precision and
recall do, with each other.
"""

from collections.abc import Iterable, Sequence, Set
from typing import Any

import numpy as np

from annotation.agree_inputs import Judgement
from annotation.agree_lines import Comparison
from prox.confusion import Counts, count_matches, macro_f1, quadratic_kappa, ratio
from prox.lengths import by_length

SCORES = ("edu_score", "format_score")
NUM_GRADES = 6
"""Scores run from 0 to 5."""


def decision_numbers(pairs: Sequence[tuple[Judgement, Judgement]], num_draws: int, seed: int) -> dict[str, Any]:
    """Keep/drop of the documents that both decided, and their scores where both have them."""
    counts = [_decision_counts(first.keep, second.keep) for first, second in pairs]
    whole = sum(counts, Counts())
    words = [first.num_words if first.num_words is not None else second.num_words for first, second in pairs]
    known = [(number, count) for number, count in zip(words, counts, strict=True) if number is not None]
    return {
        "documents": len(pairs),
        "share_kept": _shares(whole),
        **_agreement(whole),
        "intervals": intervals(counts, num_draws, seed),
        "scores": {name: _score_numbers(pairs, name) for name in SCORES},
        "by_length": [
            {"words": name, "documents": len(members), **_agreement(sum(members, Counts()))}
            for name, members in by_length(known)
        ],
    }


def program_numbers(documents: Sequence[Comparison], num_draws: int, seed: int) -> dict[str, Any]:
    """Lines that programs remove, calls, and documents left alone, on the lines that both cover."""
    counts = [document.counts for document in documents]
    lengths = by_length([(document.num_words, document) for document in documents])
    whole = sum(counts, Counts())
    return {
        "documents": len(documents),
        "lines": {
            "compared": whole.total,
            "only_first": sum(document.num_only_first for document in documents),
            "only_second": sum(document.num_only_second for document in documents),
            "ambiguous": sum(document.num_ambiguous for document in documents),
        },
        "share_removed": _shares(whole),
        **_line_numbers(documents),
        "share_same_edits": ratio(sum(not document.differs for document in documents), len(documents)),
        "intervals": intervals(counts, num_draws, seed),
        "by_call": {
            "remove_lines": _removals(counts),
            "normalize": _replacements(documents),
            "keep_chunk": _untouched(documents),
        },
        "by_length": [{"words": name, **_line_numbers(members)} for name, members in lengths],
    }


def intervals(documents: Sequence[Counts], num_draws: int, seed: int) -> dict[str, list[float] | None] | None:
    """95% intervals of kappa and F1: percentiles over draws of as many documents with replacement; None for no draws.

    A draw in which one of them is not defined is left out of its interval.
    """
    if not num_draws or not documents:
        return None
    table = np.array(
        [[d.true_positives, d.false_positives, d.false_negatives, d.true_negatives] for d in documents], dtype=np.int64
    )
    rng = np.random.default_rng(seed)
    sums = (table[rng.integers(len(table), size=len(table))].sum(axis=0).tolist() for _ in range(num_draws))
    draws = [Counts(*sum_) for sum_ in sums]
    return {
        "f1": _percentiles(_yes_scores(draw)["f1"] for draw in draws),
        "kappa": _percentiles(draw.kappa for draw in draws),
    }


def _percentiles(values: Iterable[float | None]) -> list[float] | None:
    defined = [value for value in values if value is not None]
    return np.percentile(defined, [2.5, 97.5]).tolist() if defined else None


def _agreement(counts: Counts) -> dict[str, Any]:
    """All of a confusion table, its cells named by who says yes: keep the document, or remove the line."""
    cells = {
        "both": counts.true_positives,
        "only_first": counts.false_positives,
        "only_second": counts.false_negatives,
        "neither": counts.true_negatives,
    }
    return {"confusion": cells, "kappa": counts.kappa, "accuracy": counts.accuracy, **_yes_scores(counts)}


def _yes_scores(counts: Counts) -> dict[str, float | None]:
    """F1, precision and recall; None where neither says yes: 0 would read as disagreement, and nobody disagrees."""
    any_yes = counts.true_positives + counts.errors
    return {name: getattr(counts, name) if any_yes else None for name in ("f1", "precision", "recall")}


def _shares(counts: Counts) -> dict[str, float]:
    return {
        "first": ratio(counts.true_positives + counts.false_positives, counts.total),
        "second": ratio(counts.true_positives + counts.false_negatives, counts.total),
    }


def _decision_counts(first: bool, second: bool) -> Counts:
    return Counts(int(first and second), int(first and not second), int(second and not first), int(not first | second))


def _score_numbers(pairs: Sequence[tuple[Judgement, Judgement]], name: str) -> dict[str, Any] | None:
    """Table (rows: first, columns: second), weighted kappa and mean distance of a score; None where it is missing."""
    scores = [(getattr(first, name), getattr(second, name)) for first, second in pairs]
    scores = [pair for pair in scores if None not in pair]
    if not scores:
        return None
    table = [[0] * NUM_GRADES for _ in range(NUM_GRADES)]
    for first, second in scores:
        table[first][second] += 1
    return {
        "documents": len(scores),
        "quadratic_kappa": quadratic_kappa(table),
        "mean_absolute_difference": sum(abs(first - second) for first, second in scores) / len(scores),
        "mean": {
            "first": sum(first for first, _ in scores) / len(scores),
            "second": sum(second for _, second in scores) / len(scores),
        },
        "table": table,
    }


def _line_numbers(documents: Sequence[Comparison]) -> dict[str, Any]:
    counts = [document.counts for document in documents]
    return {
        "documents": len(documents),
        **_agreement(sum(counts, Counts())),
        "f1_macro_documents": macro_f1(counts),
        "share_same_lines": ratio(sum(not count.errors for count in counts), len(counts)),
    }


def _removals(counts: Sequence[Counts]) -> dict[str, Any]:
    """Lines, and the documents in which each removes any."""
    first = [bool(count.true_positives + count.false_positives) for count in counts]
    second = [bool(count.true_positives + count.false_negatives) for count in counts]
    return {"documents": {"first": sum(first), "second": sum(second)}, **_agreement(sum(counts, Counts()))}


def _replacements(documents: Sequence[Comparison]) -> dict[str, Any]:
    """Distinct replacements a document: the whole call, and its source alone."""
    calls = [(document.calls_first, document.calls_second) for document in documents]
    sources = [tuple({call.source_str for call in side} for side in pair) for pair in calls]
    return {
        "documents": {"first": sum(bool(a) for a, _ in calls), "second": sum(bool(b) for _, b in calls)},
        **_matches(calls),
        "sources": _matches(sources),
    }


def _matches(sets: Sequence[tuple[Set[Any], Set[Any]]]) -> dict[str, Any]:
    counts = count_matches((first for first, _ in sets), (second for _, second in sets))
    found = {"both": counts.true_positives, "only_first": counts.false_positives, "only_second": counts.false_negatives}
    return {**found, **_yes_scores(counts)}


def _untouched(documents: Sequence[Comparison]) -> dict[str, Any]:
    """Documents that a side leaves as they are (``keep_chunk()`` on all that counts) against those it changes."""
    counts = [_decision_counts(not first, not second) for first, second in (d.touched for d in documents)]
    return _agreement(sum(counts, Counts()))
