"""The documents on which two annotations differ, with the text of the lines they differ on."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from annotation.agree_config import kinds_of
from annotation.agree_inputs import Judgement, chunk_text
from annotation.agree_lines import Comparison, Range
from annotation.agree_numbers import SCORES
from annotation.tables import Row, iterate_rows
from prox.operations import Normalize
from prox.progress import track

EXCERPT_CHARACTERS = 200

Decisions = Mapping[str, tuple[Judgement, Judgement]]
Texts = dict[str, dict[int, str]]


def differing(decisions: Decisions, programs: Mapping[str, Comparison]) -> list[str]:
    """Ids of the documents whose decisions, removed lines or replacements differ: most lines first, then by id.

    Scores alone don't make a difference: they are compared in the tables.
    """
    found = {identity for identity, (first, second) in decisions.items() if first.keep != second.keep}
    found.update(identity for identity, document in programs.items() if document.differs)
    return sorted(found, key=lambda identity: (-_num_lines(programs.get(identity)), identity))


def rows(ids: Iterable[str], decisions: Decisions, programs: Mapping[str, Comparison], folder: Path) -> Iterator[Row]:
    """Rows of ``differences.jsonl``; texts come from the programs in ``folder``, which cover all compared lines."""
    wanted = {identity: programs[identity] for identity in ids if identity in programs}
    texts = line_texts(folder, wanted) if any(document.counts.errors for document in wanted.values()) else {}
    for identity in ids:
        row: Row = {"id": identity, "decision": None, "scores": None, "lines": None, "normalize": None}
        if identity in decisions:
            first, second = decisions[identity]
            row["decision"] = {"first": _word(first.keep), "second": _word(second.keep)}
            row["scores"] = {name: [getattr(first, name), getattr(second, name)] for name in SCORES}
        if document := programs.get(identity):
            lines = texts.get(identity, {})
            row["lines"] = {
                "compared": document.counts.total,
                "differing": document.counts.errors,
                "only_first": [_excerpt(part, lines) for part in document.removed_only_first],
                "only_second": [_excerpt(part, lines) for part in document.removed_only_second],
            }
            row["normalize"] = {
                "only_first": _calls(document.calls_first - document.calls_second),
                "only_second": _calls(document.calls_second - document.calls_first),
            }
        yield row


def line_texts(folder: Path, documents: Mapping[str, Comparison]) -> Texts:
    """Texts of the lines that excerpts need, by document and number: of each range and chunk as many as fit in one."""
    texts: Texts = {}
    for path in kinds_of(folder)["programs"]:
        for row in track(iterate_rows(path), f"texts of {path}", None, "rows"):
            if document := documents.get(row["id"]):
                first_line, text = chunk_text(row)
                lines = text.split("\n")
                for begin, end in document.removed_only_first + document.removed_only_second:
                    low, high = max(begin - first_line, 0), min(end - first_line, len(lines) - 1)
                    room = EXCERPT_CHARACTERS + 2  # one more than it holds, and the last line break
                    for number in range(low, high + 1):
                        texts.setdefault(row["id"], {})[first_line + number] = lines[number][:room]
                        room -= len(lines[number]) + 1
                        if room <= 0:
                            break
    return texts


def _num_lines(document: Comparison | None) -> int:
    return document.counts.errors if document else 0


def _word(keep: bool) -> str:
    return "keep" if keep else "drop"


def _excerpt(part: Range, lines: Mapping[int, str]) -> dict[str, Any]:
    begin, end = part
    # The first line that is missing is beyond what an excerpt holds.
    text = "\n".join(itertools.takewhile(lambda line: line is not None, map(lines.get, range(begin, end + 1))))
    if len(text) > EXCERPT_CHARACTERS:
        text = text[: EXCERPT_CHARACTERS - 1] + "…"
    return {"line_start": begin, "line_end": end, "text": text}


def _calls(calls: Iterable[Normalize]) -> list[dict[str, str]]:
    ordered = sorted(calls, key=lambda call: (call.source_str, call.target_str))
    return [{"source_str": call.source_str, "target_str": call.target_str} for call in ordered]
