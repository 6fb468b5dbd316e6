"""From a raw text and a cleaned version of it to the program that turns one into the other.

So any human-cleaned corpus becomes training data. As in RefineX the program is read off an alignment and above all
deletes: whole lines first, then strings within the kept lines. A string becomes a call only where the call, which the
executor applies to every occurrence, changes nothing else.
"""

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from prox.alignment import Tokens, align, count_words_by_form
from prox.executor import DEFAULT_GUARDS, Guards, execute
from prox.program import KeepChunk, Normalize, Operation, Program, parse_program, remove_numbers, render_program

_MAX_PLACES = 32  # tried for a line that recurs
_MAX_CELLS = 1_000_000  # of the table of places: fewer are tried in very long texts
_CONTEXTS = ((0, 0), (0, 1), (1, 0), (1, 1), (2, 2), (4, 4), (8, 8))  # words before and behind
_MAX_CONTEXT_CHARACTERS = 200
_MAX_SCANNED_CHARACTERS = 1_000_000_000  # about a second; strings not settled by then are left out
_LINE_CHARACTERS = 50  # a line costs about this to look at even if it is short

_Edits = dict[int, tuple[int, str]]  # of one line, in order: start of a span -> its end, what comes in its place


@dataclass(frozen=True)
class PairProgram:
    """The program of a pair, and what is needed to judge whether the pair is worth learning from."""

    operations: tuple[Operation, ...]
    """`RemoveLines` in line order, then `Normalize` in the order they must run; or one `KeepChunk`."""
    recall: float
    """Share of the clean text's words (symbols count less) that were found in the raw text, in the same order or in
    long stretches; low: the one is no cleaning of the other."""
    extra_share: float
    """Share of the words left by the program that the clean text lacks."""
    missing_share: float
    """Share of the clean text's words that are not among those left by the program."""
    is_exact: bool
    """Whether executing the program gives the clean text, character by character."""
    num_left_out: int
    """Strings that should go, for which no call was found that does this and nothing else."""

    @property
    def program(self) -> Program:
        """The operations as ``execute`` takes them."""
        return Program(self.operations)


def program_from_pair(
    raw: str, clean: str, first_line: int = 0, guards: Guards = DEFAULT_GUARDS, keep_share: float = 0.5
) -> PairProgram:
    """The program that makes ``clean`` out of ``raw``, whose first line has the number ``first_line``.

    Lines of which more than ``keep_share`` (by words) is found in the clean text are kept. Where ``clean`` is ``raw``
    with whole lines taken out, the result is exact; a blank ``clean`` removes every line. Other white space and other
    Unicode forms of the same word are no edits; words that only the clean text has are not put in, but where they stand
    for words of the raw text. Every operation is one that the executor applies under ``guards``, yet guards that judge
    a whole program may reject it: the shares then are those of the raw text. Takes any two strings.
    """
    if raw == clean:
        return PairProgram((KeepChunk(),), 1.0, 0.0, 0.0, True, 0)
    lines = raw.split("\n")
    recall, num_left_out = 1.0, 0
    replacements: list[Operation] = []
    kept: set[int] = set()
    if not clean or (clean.isspace() and not raw.isspace()):
        pass
    elif selection := _select_lines(lines, clean.split("\n")):
        kept.update(selection)
    else:
        pair = _AlignedPair(raw, clean, keep_share)
        kept, recall = pair.kept, pair.recall
        edits, num_unclear = pair.edits()
        replacements, num_unsafe = _Replacer(lines, kept, edits, guards).run()
        num_left_out = num_unclear + num_unsafe
    removals = remove_numbers(first_line + number for number in range(len(lines)) if number not in kept)
    operations = (*removals, *replacements) or (KeepChunk(),)
    refined = execute(Program(operations), raw, first_line, guards).text
    extra, missing = _differences(refined, clean)
    return PairProgram(operations, recall, extra, missing, refined == clean, num_left_out)


def _differences(refined: str, clean: str) -> tuple[float, float]:
    """Share of the refined text's words that the clean text lacks, and the other way round; repeats count."""
    if refined == clean:
        return 0.0, 0.0
    left, wanted = count_words_by_form(refined), count_words_by_form(clean)
    return (left - wanted).total() / max(left.total(), 1), (wanted - left).total() / max(wanted.total(), 1)


def _earliest_places(lines: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    places: list[int] = []
    for number, line in enumerate(lines):
        if len(places) < len(wanted) and line == wanted[len(places)]:
            places.append(number)
    return places if len(places) == len(wanted) else None


def _select_lines(lines: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    """Numbers of the ``wanted`` lines, in order and in as few runs as there can be; None if they aren't all there.

    Of a line that recurs very often only the first and the last possible places are tried: the time is linear.
    """
    earliest, mirrored = _earliest_places(lines, wanted), _earliest_places(lines[::-1], wanted[::-1])
    if earliest is None or mirrored is None:
        return None
    numbers = defaultdict(list)
    for number, line in enumerate(lines):
        numbers[line].append(number)
    max_places = max(min(_MAX_PLACES, _MAX_CELLS // len(wanted)), 2)
    table = [[(-1, 0, 0)]]  # a row for each wanted line: place, how often two places are neighbours, cell above
    for line, first, last in zip(wanted, earliest, reversed(mirrored), strict=True):
        places = numbers[line]
        low, high = bisect_left(places, first), bisect_right(places, len(lines) - 1 - last)
        if high - low > max_places:
            candidates = places[low : low + max_places // 2] + places[high - max_places // 2 : high]
        else:
            candidates = places[low:high]
        table.append(_next_row(table[-1], candidates))
    at = max(range(len(table[-1])), key=lambda at: table[-1][at][1] + (table[-1][at][0] == len(lines) - 1))
    selection = []
    for row in reversed(table[1:]):
        selection.append(row[at][0])
        at = row[at][2]
    return selection[::-1]


def _next_row(row: Sequence[tuple[int, int, int]], candidates: Sequence[int]) -> list[tuple[int, int, int]]:
    """The cells of the next line; each of its candidates lies behind some place of the row."""
    cells = []
    at, best, best_at = 0, -1, -1
    for place in candidates:
        while at < len(row) and row[at][0] < place:
            if row[at][1] > best:
                best, best_at = row[at][1], at
            at += 1
        joined = row[at - 1][1] + 1 if row[at - 1][0] == place - 1 else -1
        cells.append((place, joined, at - 1) if joined > best else (place, best, best_at))
    return cells


class _AlignedPair:
    """Which lines of the raw text are kept, and what has to change within them."""

    def __init__(self, raw: str, clean: str, keep_share: float) -> None:
        vocabulary: dict[str, int] = {}
        self.raw, self.clean = Tokens(raw, vocabulary), Tokens(clean, vocabulary)
        partners = align(self.raw, self.clean, keep_share)
        found = sum(self.clean.worth[partner] for partner in partners if partner >= 0)
        self.recall = min(found / max(sum(self.clean.worth), 1e-9), 1.0)
        self.kept = self.raw.covered_lines(partners, keep_share)
        self.partners = [
            partner if line in self.kept else -1 for line, partner in zip(self.raw.lines, partners, strict=True)
        ]
        self.is_used = bytearray(len(self.clean))
        for partner in self.partners:
            if partner >= 0:
                self.is_used[partner] = 1
        self._keep_blank_lines()

    def _keep_blank_lines(self) -> None:
        """Between two kept lines as many blank lines stay as the clean text has there."""
        ends: dict[int, tuple[int, int]] = {}
        for line, partner in zip(self.raw.lines, self.partners, strict=True):
            if partner >= 0:
                ends[line] = (ends.get(line, (self.clean.lines[partner], 0))[0], self.clean.lines[partner])
        blank = sorted(set(range(len(self.clean.breaks) + 1)) - set(self.clean.lines))
        with_tokens = set(self.raw.lines)
        num_lines = len(self.raw.breaks) + 1
        borders = [(-1, (-1, -1)), *sorted(ends.items()), (num_lines, (len(self.clean.breaks) + 1, 0))]
        for (before, (_, clean_before)), (behind, (clean_behind, _)) in pairwise(borders):
            free = [number for number in range(before + 1, behind) if number not in with_tokens]
            wanted = bisect_left(blank, clean_behind) - bisect_left(blank, clean_before)
            self.kept.update(free[: max(wanted, 0)])

    def edits(self) -> tuple[dict[int, _Edits], int]:
        """What has to change in each kept line, and the number of changes that can't be told."""
        edits: dict[int, _Edits] = {}
        num_unclear = 0
        for line, group in groupby(range(len(self.raw)), key=self.raw.lines.__getitem__):
            if line not in self.kept:
                continue
            tokens = list(group)
            line_start, line_end = self.raw.line_span(line)
            matched = [token for token in tokens if self.partners[token] >= 0]
            for before, behind in pairwise([tokens[0] - 1, *matched, tokens[-1] + 1]):
                if behind == before + 1:
                    continue
                start = self.raw.ends[before] if before >= tokens[0] else line_start
                end = self.raw.starts[behind] if behind <= tokens[-1] else line_end
                target = self._in_place_of(
                    self.partners[before] if before >= tokens[0] else None,
                    self.partners[behind] if behind <= tokens[-1] else None,
                    2 * (behind - before),
                )
                if target is None:
                    num_unclear += 1
                    continue
                start, end, target = _without_common_space(self.raw.text, start, end, target)
                if "".join(self.raw.text[start:end].split()) != "".join(target.split()):
                    edits.setdefault(line, {})[start - line_start] = (end - line_start, target)
        return edits, num_unclear

    def _in_place_of(self, before: int | None, behind: int | None, limit: int) -> str | None:
        """The clean text between two of its tokens (None: the line's border), or None where their order is reversed.

        More than ``limit`` tokens stand for something else, that the raw text lacks; they aren't put in.
        """
        clean, is_used = self.clean, self.is_used
        if before is None:
            first = behind
            while not clean.begins_line[first] and not is_used[first - 1] and behind - first <= limit:
                first -= 1
            begin = clean.line_span(clean.lines[first])[0] if clean.begins_line[first] else clean.starts[first]
            end, between = clean.starts[behind], range(first, behind)
        elif behind is None:
            last = before
            while not clean.ends_line[last] and not is_used[last + 1] and last - before <= limit:
                last += 1
            end = clean.line_span(clean.lines[last])[1] if clean.ends_line[last] else clean.ends[last]
            begin, between = clean.ends[before], range(before + 1, last + 1)
        elif behind < before:
            return None
        else:
            begin, end, between = clean.ends[before], clean.starts[behind], range(before + 1, behind)
        if len(between) > limit or any(is_used[token] for token in between):
            return "" if before is None or behind is None else " "
        for token in between:
            is_used[token] = 1
        text = clean.text[begin:end]
        return text if not re.search(r"[\n\r]", text) else re.sub(r"\s+", " ", text)


def _without_common_space(text: str, start: int, end: int, target: str) -> tuple[int, int, str]:
    """The span and its replacement without the white space that both end or begin with."""
    while target and end > start and target[-1] == text[end - 1] and target[-1].isspace():
        end, target = end - 1, target[:-1]
    while target and end > start and target[0] == text[start] and target[0].isspace():
        start, target = start + 1, target[1:]
    return start, end, target


class _Replacer:
    """Finds `normalize` calls by running them: after each the text is what the executor would have at that point."""

    def __init__(self, lines: Sequence[str], kept: set[int], edits: dict[int, _Edits], guards: Guards) -> None:
        self.lines, self.kept, self.edits, self.guards = list(lines), kept, edits, guards
        self.text = "\n".join(lines)
        self.num_scanned = 0

    def run(self) -> tuple[list[Operation], int]:
        """The calls in order, and the number of edits that none could be found for."""
        operations: list[Operation] = []
        num_unsafe = 0
        for number in list(self.edits):
            while self.edits[number]:
                start = next(iter(self.edits[number]))
                if operation := self._settle(number, start):
                    operations.append(operation)
                else:
                    del self.edits[number][start]
                    num_unsafe += 1
        return operations, num_unsafe

    def _settle(self, number: int, start: int) -> Normalize | None:
        """The call for an edit, which is made, with every other edit that it makes too."""
        line = self.lines[number]
        end, target = self.edits[number][start]
        for left, right in _contexts(line, start, end):
            if self.num_scanned > _MAX_SCANNED_CHARACTERS:
                return None
            operation = Normalize(line[left:right], line[left:start] + target + line[end:right])
            if not self._is_accepted(operation):
                continue
            places = self._places(operation.source_str, number, left)
            if self._are_edits(places, start - left, end - left, target):
                self._apply(operation, places, start - left)
                return operation
        return None

    def _is_accepted(self, operation: Normalize) -> bool:
        """Whether the executor applies it to its own source, and the parser reads it back."""
        program = Program((operation,))
        if execute(program, operation.source_str, guards=self.guards).calls[0].status != "applied":
            return False
        try:
            return parse_program(render_program(program.operations)) == program
        except ValueError:  # it holds a lone surrogate, which no program text can
            return False

    def _places(self, source: str, number: int, left: int) -> dict[int, list[int]]:
        """Where ``source``, known to be at ``left`` of line ``number``, would be replaced; empty if too often."""
        self.num_scanned += len(self.text)
        count = self.text.count(source)
        if count > self.guards.max_replacements:
            return {}
        if count == 1:
            return {number: [left]}
        self.num_scanned += len(self.text) + _LINE_CHARACTERS * len(self.lines)
        return {number: list(_occurrences(line, source)) for number, line in enumerate(self.lines) if source in line}

    def _are_edits(self, places: dict[int, list[int]], start: int, end: int, target: str) -> bool:
        """Whether what a call does at each of its places in a kept line is an edit that is asked for."""
        for number in self.kept & places.keys():
            edits = self.edits.get(number, {})
            if any(edits.get(place + start) != (place + end, target) for place in places[number]):
                return False
        return bool(places)

    def _apply(self, operation: Normalize, places: dict[int, list[int]], start: int) -> None:
        """Runs a call; strikes off the edits it makes, ``start`` characters into its source, and moves the others."""
        self.text = self.text.replace(operation.source_str, operation.target_str)
        growth = len(operation.target_str) - len(operation.source_str)
        for number, found in places.items():
            self.lines[number] = self.lines[number].replace(operation.source_str, operation.target_str)
            if number in self.kept:
                done = {place + start for place in found}
                order = sorted(done)
                self.edits[number] = {
                    at + growth * bisect_left(order, at): (end + growth * bisect_left(order, at), target)
                    for at, (end, target) in self.edits[number].items()
                    if at not in done
                }


def _contexts(line: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Wider and wider spans around an edit, by words."""
    window = max(start - _MAX_CONTEXT_CHARACTERS, 0)
    lefts = [start, *reversed([window + word.start() for word in re.finditer(r"\S+", line[window:start])])]
    rights = [end, *(end + word.end() for word in re.finditer(r"\S+", line[end : end + _MAX_CONTEXT_CHARACTERS]))]
    spans = ((lefts[min(left, len(lefts) - 1)], rights[min(right, len(rights) - 1)]) for left, right in _CONTEXTS)
    return iter(dict.fromkeys(spans))


def _occurrences(line: str, source: str) -> Iterator[int]:
    """Where ``str.replace`` would replace."""
    place = line.find(source)
    while place >= 0:
        yield place
        place = line.find(source, place + len(source))
