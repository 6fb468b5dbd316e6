"""Which words of a cleaned text are which words of the raw text it was made from.

Anchors first, in the way of patience diff: stretches of words that occur once in each text, in an order that most of
them agree on. What lies between two anchors is aligned exactly: the chain of matches that is worth most, where every
word counts and every jump costs, most in the middle of a line. So a repeated short line ("Home" in the menu and as a
heading) goes where its neighbours are. Time and memory grow about linearly with the texts, whatever they hold.
"""

import re
import unicodedata
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from math import inf

import numpy as np

from prox.words import UNSPACED

# Marks that \w lacks: without them decomposed letters and Indic vowels would break their words.
_MARKS = "\u0300-\u036f\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0966-\u0dff\u200c\u200d"
_TOKEN = re.compile(rf"(?P<word>[{UNSPACED}]|(?:[^\W{UNSPACED}][{_MARKS}]*)+)|(?P<symbol>[^\w\s])(?P=symbol)*")
_FOLD = str.maketrans("‘’‛′“”„″«»‐‑‒–—―−", '\'\'\'\'""""""-------')  # noqa: RUF001

# A matched word is worth 1. Halved or doubled, each of these moves F1 on 400 labelled pages by less than 0.001.
_SYMBOL_WORTH = 0.3
_LINE_COST = 0.25  # of going on at the beginning of another line
_MID_LINE_COST = 0.5  # of breaking off, or going on, within a line

_ANCHOR_SIZES = (8, 4, 2, 1)  # tokens; the next size is tried in gaps with too many matches
_MOVED_SIZE = 5  # tokens
_MAX_MATCHES = 10_000  # in a gap that is aligned exactly, or 10 a token if that is more
_WINDOW = 20  # tokens of each text, where a gap has too many matches and no anchors

Match = tuple[int, int]
"""A token of the raw text and one of the clean text, by number."""
_Score = tuple[float, int]  # value of a chain, the cell it ends in
_NO_CHAIN: _Score = (-inf, -1)


class Tokens:
    """A text as words (characters in scripts without spaces) and runs of one symbol, in normal form."""

    def __init__(self, text: str, vocabulary: dict[str, int]) -> None:
        self.text = text
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.keys: list[int] = []
        self.worth: list[float] = []
        for match in _TOKEN.finditer(text):
            start, end = match.span()
            self.starts.append(start)
            self.ends.append(end)
            form = _normal_form(match[match.lastindex])
            self.keys.append(vocabulary.setdefault(form, len(vocabulary)))
            self.worth.append(1.0 if match.lastindex == 1 else _SYMBOL_WORTH)
        self.breaks = [match.start() for match in re.finditer("\n", text)]
        self.lines: list[int] = np.searchsorted(self.breaks, self.starts).tolist()
        # One more at the end: the places behind the last token and (as index -1) before the first are line borders.
        changes = [self.lines[i] != self.lines[i - 1] for i in range(1, len(self.lines))]
        self.begins_line = [True, *changes, True] if self.lines else [True]
        self.ends_line = [*self.begins_line[1:], True]
        self.opening = [_LINE_COST if begins else _MID_LINE_COST for begins in self.begins_line]
        self.closing = [0.0 if ends else _MID_LINE_COST for ends in self.ends_line]

    def __len__(self) -> int:
        return len(self.keys)

    def line_span(self, line: int) -> tuple[int, int]:
        """First character of a line and the one behind its last, a carriage return left out."""
        start = self.breaks[line - 1] + 1 if line else 0
        end = self.breaks[line] if line < len(self.breaks) else len(self.text)
        return start, end - (end > start and self.text[end - 1] == "\r")

    def covered_lines(self, partners: Sequence[int], share: float) -> set[int]:
        """Lines of which more than ``share`` has a partner; words count one each, symbols less."""
        total, covered = Counter[int](), Counter[int]()
        for line, worth, partner in zip(self.lines, self.worth, partners, strict=True):
            total[line] += worth
            covered[line] += worth if partner >= 0 else 0.0
        return {line for line, worth in total.items() if covered[line] > share * worth}


def count_words_by_form(text: str) -> Counter[str]:
    """How often each word occurs, in normal form."""
    counts = Counter[str]()
    for word, count in Counter(word for word, _ in _TOKEN.findall(text)).items():
        if word:
            counts[_normal_form(word)] += count
    return counts


def _normal_form(token: str) -> str:
    return token if token.isascii() else unicodedata.normalize("NFKC", token).translate(_FOLD)


def _unique_grams(keys: Sequence[int], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the stretches of ``size`` tokens that occur once, and where they begin."""
    count = max(len(keys) - size + 1, 0)
    values = np.asarray(keys, dtype=np.int64).astype(np.uint64) + np.uint64(1)
    hashes = np.zeros(count, dtype=np.uint64)
    for offset in range(size):
        hashes *= np.uint64(0x9E3779B97F4A7C15)
        hashes ^= values[offset : offset + count] * np.uint64(0xBF58476D1CE4E5B9)
        hashes ^= hashes >> np.uint64(29)
    hashes, places, counts = np.unique(hashes, return_index=True, return_counts=True)
    return hashes[counts == 1], places[counts == 1]


def _seeds(raw: Sequence[int], clean: Sequence[int], size: int) -> list[Match]:
    """Beginnings of the stretches of ``size`` tokens that occur once in each text, in the order of the raw text."""
    raw_hashes, raw_places = _unique_grams(raw, size)
    clean_hashes, clean_places = _unique_grams(clean, size)
    _, at_raw, at_clean = np.intersect1d(raw_hashes, clean_hashes, assume_unique=True, return_indices=True)
    seeds = sorted(zip(raw_places[at_raw].tolist(), clean_places[at_clean].tolist(), strict=True))
    return [(i, j) for i, j in seeds if raw[i : i + size] == clean[j : j + size]]


def _longest_chain(matches: Sequence[Match]) -> list[Match]:
    """Most of the matches that are in the same order in both texts (patience sorting)."""
    tails: list[int] = []
    tops: list[int] = []
    previous: list[int] = []
    for number, (_, j) in enumerate(matches):
        pile = bisect_left(tails, j)
        previous.append(tops[pile - 1] if pile else -1)
        tails[pile : pile + 1] = [j]
        tops[pile : pile + 1] = [number]
    chain = []
    number = tops[-1] if tops else -1
    while number >= 0:
        chain.append(matches[number])
        number = previous[number]
    return chain[::-1]


class _Gap:
    """Best chain of matching tokens in a box between two anchors: exact, in O(matches * log) time."""

    def __init__(self, raw: Tokens, clean: Tokens, box: tuple[int, int, int, int]) -> None:
        self.raw, self.clean = raw, clean
        self.num_raw, self.num_clean = len(raw), len(clean)
        self.raw_start, self.raw_end, self.clean_start, self.clean_end = box
        # A cell is a match: raw token, clean token, value of the best chain that ends with it, the cell before.
        self.cells: list[tuple[int, int, float, int]] = [(self.raw_start - 1, self.clean_start - 1, 0.0, -1)]
        # Best chains by the clean token they end with, both sides paid: a Fenwick tree of prefix maxima.
        self.tree = [_NO_CHAIN] * (self.clean_end - self.clean_start + 3)
        self.columns: dict[int, _Score] = {}  # by the same, only the raw side paid
        self.row_columns: list[int] = []  # of the last row: clean tokens, cells, and the best so far, clean side paid
        self.row_cells: list[int] = []
        self.row_best: list[_Score] = []
        self._leave([0])

    def path(self) -> list[Match]:
        """The matches of the best chain, anchors not counted."""
        places = defaultdict(list)
        for j in range(self.clean_start, self.clean_end):
            places[self.clean.keys[j]].append(j)
        for i in range(self.raw_start, self.raw_end):
            columns = places.get(self.raw.keys[i], ())
            row = [self._enter(i, j, self.raw.worth[i]) for j in columns if self._is_supported(i, j)]
            if row:
                self._leave(row)
        cell = self.cells[self._enter(self.raw_end, self.clean_end, 0.0)][3]
        path = []
        while cell > 0:
            i, j, _, previous = self.cells[cell]
            path.append((i, j))
            cell = previous
        return path[::-1]

    def _is_supported(self, i: int, j: int) -> bool:
        """A lone common word is chance, unless a token next to it matches too, or both begin or end a line.

        A token that is a whole line in one text may stand in the middle of one in the other.
        """
        raw, clean = self.raw, self.clean
        if i and j and raw.keys[i - 1] == clean.keys[j - 1]:
            return True
        if i + 1 < self.num_raw and j + 1 < self.num_clean and raw.keys[i + 1] == clean.keys[j + 1]:
            return True
        if (raw.begins_line[i] and clean.begins_line[j]) or (raw.ends_line[i] and clean.ends_line[j]):
            return True
        return (raw.begins_line[i] and raw.ends_line[i]) or (clean.begins_line[j] and clean.ends_line[j])

    def _enter(self, i: int, j: int, worth: float) -> int:
        """Makes the cell of a match; of equal chains the one that ends first stays."""
        raw_cost, clean_cost = self.raw.opening[i], self.clean.opening[j]
        options = []
        if self.cells[self.row_cells[0]][0] == i - 1:
            at = bisect_left(self.row_columns, j - 1)
            if at < len(self.row_columns) and self.row_columns[at] == j - 1:
                options.append((self.cells[self.row_cells[at]][2], self.row_cells[at]))
            if at:
                options.append((self.row_best[at - 1][0] - clean_cost, self.row_best[at - 1][1]))
        if j - 1 in self.columns:
            options.append((self.columns[j - 1][0] - raw_cost, self.columns[j - 1][1]))
        best, node = _NO_CHAIN, j - self.clean_start + 1
        while node:
            best = self.tree[node] if self.tree[node][0] > best[0] else best
            node &= node - 1
        options.append((best[0] - raw_cost - clean_cost, best[1]))
        value, previous = max(options, key=lambda option: option[0])
        self.cells.append((i, j, value + worth, previous))
        return len(self.cells) - 1

    def _leave(self, row: list[int]) -> None:
        """Offers the chains that end in a finished row of cells to later ones."""
        self.row_cells, self.row_columns, self.row_best = row, [], []
        best = _NO_CHAIN
        for cell in row:
            i, j, value, _ = self.cells[cell]
            raw_paid, clean_cost = value - self.raw.closing[i], self.clean.closing[j]
            best = max(best, (value - clean_cost, cell), key=lambda score: score[0])
            self.row_columns.append(j)
            self.row_best.append(best)
            if raw_paid > self.columns.get(j, _NO_CHAIN)[0]:
                self.columns[j] = (raw_paid, cell)
            node = j - self.clean_start + 2
            while node < len(self.tree):
                if raw_paid - clean_cost > self.tree[node][0]:
                    self.tree[node] = (raw_paid - clean_cost, cell)
                node += node & -node


class _Aligner:
    def __init__(self, raw: Tokens, clean: Tokens) -> None:
        self.raw, self.clean = raw, clean
        self.partners = [-1] * len(raw)

    def fill(self, box: tuple[int, int, int, int], sizes: Sequence[int]) -> None:
        """Aligns raw tokens ``box[0]`` to ``box[1]`` (exclusive) with clean tokens ``box[2]`` to ``box[3]``."""
        raw_start, raw_end, clean_start, clean_end = box
        raw, clean = self.raw.keys[raw_start:raw_end], self.clean.keys[clean_start:clean_end]
        if not raw or not clean:
            return
        counts = Counter(clean)
        num_matches = sum(number * counts[key] for key, number in Counter(raw).items() if key in counts)
        if num_matches <= max(_MAX_MATCHES, 10 * (len(raw) + len(clean))):
            self._pair(_Gap(self.raw, self.clean, box).path())
        elif not sizes:
            self._fill_by_windows(box)
        else:
            chain = _longest_chain(_seeds(raw, clean, sizes[0]))
            anchors = [(raw_start + i, clean_start + j) for i, j in chain]
            self._pair(anchors)
            borders = [(raw_start - 1, clean_start - 1), *anchors, (raw_end, clean_end)]
            for (before, clean_before), (behind, clean_behind) in pairwise(borders):
                if behind - before > 1 and clean_behind - clean_before > 1:
                    self.fill((before + 1, behind, clean_before + 1, clean_behind), sizes[1:])

    def _pair(self, matches: Sequence[Match]) -> None:
        for i, j in matches:
            self.partners[i] = j

    def _fill_by_windows(self, box: tuple[int, int, int, int]) -> None:
        """For text that only repeats itself: a few tokens at a time, each time from where the last match ended."""
        raw_start, raw_end, clean_start, clean_end = box
        for start in range(raw_start, raw_end, _WINDOW):
            window = (start, min(start + _WINDOW, raw_end), clean_start, min(clean_start + _WINDOW, clean_end))
            path = _Gap(self.raw, self.clean, window).path()
            self._pair(path)
            clean_start = path[-1][1] + 1 if path else clean_start

    def add_moved(self, keep_share: float) -> None:
        """Pairs stretches that stand in another place in the clean text, of lines that would be lost otherwise."""
        is_kept = self.raw.covered_lines(self.partners, keep_share)
        used = set(self.partners)
        # Tokens that are spoken for become keys that no other token has.
        raw = [
            -1 - 2 * i if self.partners[i] >= 0 or self.raw.lines[i] in is_kept else key
            for i, key in enumerate(self.raw.keys)
        ]
        clean = [-2 - 2 * j if j in used else key for j, key in enumerate(self.clean.keys)]
        for i, j in _seeds(raw, clean, _MOVED_SIZE):
            for offset in range(_MOVED_SIZE):
                if self.partners[i + offset] < 0 and j + offset not in used:
                    self.partners[i + offset] = j + offset
                    used.add(j + offset)


def align(raw: Tokens, clean: Tokens, keep_share: float) -> list[int]:
    """For every token of ``raw`` the token of ``clean`` that it became, or -1; each clean token is given once.

    The numbers rise but for stretches of 5 tokens and more that stand in another order, which are looked for only in
    lines of which otherwise no more than ``keep_share`` would be kept. Both texts must share their vocabulary.
    """
    aligner = _Aligner(raw, clean)
    aligner.fill((0, len(raw), 0, len(clean)), _ANCHOR_SIZES)
    aligner.add_moved(keep_share)
    return aligner.partners
