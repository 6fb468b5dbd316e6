"""How well predicted programs agree with reference programs (paper, A.3). Pure functions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from prox.confusion import Counts, count_decisions, count_matches, macro_f1, ratio, removed_lines
from prox.lengths import by_length
from prox.program import Normalize, Program


def document_metrics(
    reference: Sequence[bool], predicted: Sequence[bool], num_words: Sequence[int] | None = None
) -> dict[str, Any]:
    """F1 of keeping documents (Equations 3 and 4), beside what a constant answer reaches on the same references.

    With ``num_words``, the documents' lengths, also by length.
    """
    pairs = list(zip(reference, predicted, strict=True))
    lengths = by_length(zip(num_words, pairs, strict=True)) if num_words is not None else []
    return {
        **count_decisions(reference, predicted).scores(),
        "num_examples": len(reference),
        "share_kept_reference": ratio(sum(reference), len(reference)),
        "share_kept_predicted": ratio(sum(predicted), len(predicted)),
        "baselines": {
            "keep_all": count_decisions(reference, [True] * len(reference)).scores(),
            "drop_all": count_decisions(reference, [False] * len(reference)).scores(),
        },
        "by_length": [
            {"words": name, "num_examples": len(members), **count_decisions(*zip(*members, strict=True)).scores()}
            for name, members in lengths
        ],
    }


def is_unparsable(program: Program) -> bool:
    """True where part of an answer is no call of the language, or there is no call at all."""
    return bool(program.faults) or not program.operations


@dataclass(frozen=True)
class ChunkPair:
    """One chunk with its reference and its predicted program.

    ``ambiguous_lines`` are numbers of lines of the chunk that the reference leaves open: they count for nothing.
    """

    id: str
    first_line: int
    num_lines: int
    reference: Program
    predicted: Program
    ambiguous_lines: frozenset[int] = frozenset()
    num_words: int = 0

    def counts(self, predicted: frozenset[int] | None = None) -> Counts:
        """Lines in Equations 5 to 7, with the kept lines beside; ``predicted`` replaces the prediction's lines."""
        actual = removed_lines(self.reference, self.first_line, self.num_lines) - self.ambiguous_lines
        if predicted is None:
            predicted = removed_lines(self.predicted, self.first_line, self.num_lines)
        predicted = predicted - self.ambiguous_lines
        return Counts(
            true_positives=len(predicted & actual),
            false_positives=len(predicted - actual),
            false_negatives=len(actual - predicted),
            true_negatives=self.num_lines - len(self.ambiguous_lines) - len(predicted | actual),
        )


def chunk_metrics(pairs: Sequence[ChunkPair]) -> dict[str, Any]:
    """Line-wise F1 (Equations 5 to 7): over all lines (micro, the ``f1``), and the mean over documents (macro).

    A document in which neither program removes a line counts as 1 in the mean: both agree. Lines that an example leaves
    open are in none of these counts. ``share_exact`` are chunks with the very edits of the reference, and no fault.
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
        "share_unparsable": ratio(sum(is_unparsable(pair.predicted) for pair in pairs), len(pairs)),
        "share_exact": ratio(sum(map(_is_exact, pairs, counts)), len(pairs)),
        "baselines": {
            name: {**sum(rows, Counts()).scores(), "f1_macro_documents": _macro(pairs, rows)}
            for name, rows in baselines.items()
        },
        "by_call": _by_call(pairs, counts),
        "by_length": [
            {"words": name, "num_examples": len(members), **sum(members, Counts()).scores()}
            for name, members in by_length((pair.num_words, count) for pair, count in zip(pairs, counts, strict=True))
        ],
    }


def _by_call(pairs: Sequence[ChunkPair], counts: Sequence[Counts]) -> dict[str, dict[str, float]]:
    """Lines removed; replacements with the same source and target in the same chunk; chunks left as they are."""
    replaced = [[_replacements(program) for program in (pair.predicted, pair.reference)] for pair in pairs]
    normalize = count_matches((ours for ours, _ in replaced), (theirs for _, theirs in replaced))
    untouched = [
        (
            not (count.true_positives + count.false_negatives or theirs),
            not (count.true_positives + count.false_positives or ours),
        )
        for count, (ours, theirs) in zip(counts, replaced, strict=True)
    ]
    kept = count_decisions([reference for reference, _ in untouched], [predicted for _, predicted in untouched])
    tables = {"remove_lines": sum(counts, Counts()), "normalize": normalize, "keep_chunk": kept}
    return {
        call: {
            "num_reference": table.true_positives + table.false_negatives,
            "num_predicted": table.true_positives + table.false_positives,
            **{name: getattr(table, name) for name in ("f1", "precision", "recall")},
        }
        for call, table in tables.items()
    }


def _is_exact(pair: ChunkPair, counts: Counts) -> bool:
    same_lines = not counts.false_positives and not counts.false_negatives
    return (
        same_lines
        and not is_unparsable(pair.predicted)
        and _replacements(pair.predicted) == _replacements(pair.reference)
    )


def _replacements(program: Program) -> frozenset[Normalize]:
    return frozenset(call for call in program.operations if isinstance(call, Normalize))


def _macro(pairs: Iterable[ChunkPair], counts: Iterable[Counts]) -> float:
    documents: dict[str, Counts] = {}
    for pair, count in zip(pairs, counts, strict=True):
        documents[pair.id] = documents.get(pair.id, Counts()) + count
    return macro_f1(documents.values())
