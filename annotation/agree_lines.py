"""Two annotations' programs for one document, compared on the lines that both cover.

The two may have cut the document into other chunks: line numbers are the document's, so lines are what is compared.
"""

from dataclasses import dataclass

import numpy as np

from annotation.agree_inputs import BadRow, Cover
from prox.confusion import Counts
from prox.operations import Normalize, remove_numbers

NO_COMMON_LINES = "no_common_lines"
"""Reason that leaves a document's programs out, but not its decision: nothing is wrong with it."""

Range = tuple[int, int]
"""First and last number of consecutive lines."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What both say of one document; the positives of ``counts`` are removed lines, its reference is the second.

    ``counts`` is over the lines in both that neither leaves open; ``num_ambiguous`` are the others in both, and
    ``num_words`` the words of all lines in both. Replacements are those that act in a line that counts.
    """

    counts: Counts
    num_only_first: int
    num_only_second: int
    num_ambiguous: int
    num_words: int
    removed_only_first: tuple[Range, ...]
    removed_only_second: tuple[Range, ...]
    calls_first: frozenset[Normalize]
    calls_second: frozenset[Normalize]

    @property
    def touched(self) -> tuple[bool, bool]:
        """Whether the first and the second change the lines that count."""
        counts = self.counts
        return (
            bool(counts.true_positives + counts.false_positives or self.calls_first),
            bool(counts.true_positives + counts.false_negatives or self.calls_second),
        )

    @property
    def differs(self) -> bool:
        """True where they remove other lines or make other replacements."""
        return bool(self.counts.errors) or self.calls_first != self.calls_second


def compare(first: Cover, second: Cover) -> Comparison:
    """Raises ``BadRow`` where the texts differ, no line counts, or an annotation has two programs for a line."""
    a, b = _lines(first, "first"), _lines(second, "second")
    numbers, in_first, in_second = np.intersect1d(a["number"], b["number"], assume_unique=True, return_indices=True)
    only_first, only_second = len(a) - len(numbers), len(b) - len(numbers)
    a, b = a[in_first], b[in_second]
    if (other := np.flatnonzero(a["hash"] != b["hash"])).size:
        raise BadRow(f"text_differs: line {numbers[other[0]]}")
    counted = ~(a["ambiguous"] | b["ambiguous"])
    if not counted.any():
        raise BadRow(f"{NO_COMMON_LINES}: {len(numbers)} in both, of which none is unambiguous")
    removed_first, removed_second = a["removed"] & counted, b["removed"] & counted
    alone_first, alone_second = removed_first & ~removed_second, removed_second & ~removed_first
    both, num_first, num_second = (
        int(np.count_nonzero(lines)) for lines in (removed_first & removed_second, alone_first, alone_second)
    )
    num_counted = int(np.count_nonzero(counted))
    lines = frozenset(numbers[counted].tolist()) if first.replacements or second.replacements else frozenset()
    return Comparison(
        counts=Counts(both, num_first, num_second, num_counted - both - num_first - num_second),
        num_only_first=only_first,
        num_only_second=only_second,
        num_ambiguous=len(numbers) - num_counted,
        num_words=int(a["words"].sum()),
        removed_only_first=ranges_of(numbers[alone_first].tolist()),
        removed_only_second=ranges_of(numbers[alone_second].tolist()),
        calls_first=_calls_in(first, lines),
        calls_second=_calls_in(second, lines),
    )


def _lines(cover: Cover, side: str) -> np.ndarray:
    try:
        return cover.lines()
    except BadRow as reason:
        raise BadRow(f"{reason} in the {side}") from None


def _calls_in(cover: Cover, lines: frozenset[int]) -> frozenset[Normalize]:
    return frozenset(call for call, places in cover.replacements.items() if not lines.isdisjoint(places))


def ranges_of(numbers: list[int]) -> tuple[Range, ...]:
    """Ascending numbers as ranges of consecutive ones."""
    return tuple((call.line_start, call.line_end) for call in remove_numbers(numbers))
