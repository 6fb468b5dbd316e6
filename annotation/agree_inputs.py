"""What an annotation says of each document, read for a comparison: decisions, and line by line what programs remove.

Texts are not kept: a line is 18 bytes, its hash and all that is said of it, so that tens of thousands of documents fit.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from annotation.agree_config import kinds_of
from annotation.tables import Row, annotator_of, numbered_rows
from prox import artifact
from prox.confusion import removed_lines
from prox.operations import DropDoc, KeepChunk, KeepDoc, Normalize, RemoveLines
from prox.program import Program, parse_program
from prox.progress import track
from prox.words import count_words

LINE = np.dtype([("number", "i4"), ("hash", "i8"), ("words", "i4"), ("removed", "?"), ("ambiguous", "?")])
"""A line of a chunk: number in the document, hash of its text, number of words, and what the annotation says of it."""


class BadRow(Exception):
    """A row that can't be compared; carries the reason."""


@dataclass(slots=True)
class Judgement:
    """Keep or drop of a document; scores, and the text's hash and words, where the artefact holds them."""

    keep: bool
    edu_score: int | None = None
    format_score: int | None = None
    text_hash: int | None = None
    num_words: int | None = None


@dataclass(slots=True)
class Cover:
    """The lines of a document that have programs (arrays of ``LINE``), and its replacements.

    A replacement's value is the lines in which it acts: those that hold its source, else all of its chunk.
    """

    pieces: list[np.ndarray] = field(default_factory=list)
    replacements: dict[Normalize, list[int]] = field(default_factory=dict)

    def lines(self) -> np.ndarray:
        """All lines by number; two programs for one line are a ``BadRow``."""
        lines = np.concatenate(self.pieces)
        lines = lines[np.argsort(lines["number"], kind="stable")]
        if (repeated := np.flatnonzero(np.diff(lines["number"]) == 0)).size:
            raise BadRow(f"two_programs: line {lines['number'][repeated[0]]}")
        return lines


@dataclass
class Annotation:
    """One side of a comparison. ``aside`` holds the reason for each document that can't be compared."""

    folder: Path
    names: set[str] = field(default_factory=set)
    decisions: dict[str, Judgement] = field(default_factory=dict)
    covers: dict[str, Cover] = field(default_factory=dict)
    num_programs: int = 0
    aside: dict[str, str] = field(default_factory=dict)

    def annotators(self) -> str:
        """Who annotated: as the rows say, else the artefact's card."""
        return " and ".join(sorted(self.names)) or _name_on_card(self.folder) or "not named"


def read_annotation(folder: Path, kinds: set[str]) -> Annotation:
    """Reads the kinds asked for; a bad row sets its document aside. A file that is no JSON lines is a ``UserError``."""
    annotation = Annotation(folder)
    for kind, add in (("decisions", _add_decision), ("programs", _add_program)):
        for path in kinds_of(folder).get(kind, []) if kind in kinds else []:
            for number, row in track(numbered_rows(path), f"reading {path}", None, "rows"):
                try:
                    add(annotation, row)
                    if "annotator" in row:
                        annotation.names.add(annotator_of(row))
                except BadRow as reason:
                    annotation.aside.setdefault(row["id"], f"{reason} ({path.name}, line {number})")
    for identity in annotation.aside:
        annotation.decisions.pop(identity, None)
        annotation.covers.pop(identity, None)
    return annotation


def hash_line(line: str) -> int:
    """64 bits that stand for a text within this process."""
    return hash(line)


def chunk_text(row: Row) -> tuple[int, str]:
    """(number of its first line, text) of a chunk's row."""
    first_line, text = row.get("first_line", 0), row.get("text")
    if type(first_line) is not int or not 0 <= first_line < 2**30 or not isinstance(text, str):
        raise BadRow("bad_row: first_line must be a number from 0 on, and text a string")
    return first_line, text


def _add_decision(annotation: Annotation, row: Row) -> None:
    if row["id"] in annotation.decisions:
        raise BadRow("two_decisions")
    judgement = Judgement(_is_kept(row), _score(row, "edu_score"), _score(row, "format_score"))
    if isinstance(row.get("text"), str):
        judgement.text_hash = hash_line(row["text"])
        judgement.num_words = count_words(row["text"])
    annotation.decisions[row["id"]] = judgement


def _is_kept(row: Row) -> bool:
    if "decision" in row:
        if row["decision"] not in ("keep", "drop"):
            raise BadRow(f"bad_row: decision {str(row['decision'])[:40]!r} is neither keep nor drop")
        return row["decision"] == "keep"
    operations = _program(row).operations
    if operations not in ((KeepDoc(),), (DropDoc(),)):
        raise BadRow("unreadable_program: neither keep_doc() nor drop_doc()")
    return operations == (KeepDoc(),)


def _score(row: Row, name: str) -> int | None:
    value = row.get(name)
    if value is not None and (type(value) is not int or not 0 <= value <= 5):
        raise BadRow(f"bad_row: {name} {str(value)[:40]} is no whole number from 0 to 5")
    return value


def _program(row: Row) -> Program:
    program = parse_program(row["program"]) if isinstance(row.get("program"), str) else Program()
    if program.faults or not program.operations:
        raise BadRow("unreadable_program: " + (program.faults[0].reason if program.faults else "no call"))
    return program


def _add_program(annotation: Annotation, row: Row) -> None:
    first_line, text = chunk_text(row)
    program = _program(row)
    if not all(isinstance(call, RemoveLines | Normalize | KeepChunk) for call in program.operations):
        raise BadRow("unreadable_program: a call that is not of chunks")
    lines = text.split("\n")
    piece = np.zeros(len(lines), LINE)
    piece["number"] = np.arange(first_line, first_line + len(lines))
    piece["hash"] = np.fromiter(map(hash_line, lines), "i8", len(lines))
    piece["words"] = np.fromiter(map(count_words, lines), "i4", len(lines))
    for number in removed_lines(program, first_line, len(lines)):
        piece["removed"][number - first_line] = True
    for number in _ambiguous_lines(row, first_line, len(lines)):
        piece["ambiguous"][number - first_line] = True
    cover = annotation.covers.setdefault(row["id"], Cover())
    cover.pieces.append(piece)
    annotation.num_programs += 1
    for call in program.operations:
        if isinstance(call, Normalize):
            places = [number for number, line in enumerate(lines, first_line) if call.source_str in line]
            # A source that an earlier replacement made is in no line yet.
            cover.replacements.setdefault(call, []).extend(places or piece["number"].tolist())


def _ambiguous_lines(row: Row, first_line: int, num_lines: int) -> list[int]:
    numbers: Any = row.get("ambiguous_lines", [])
    lines = range(first_line, first_line + num_lines)
    if not isinstance(numbers, list) or not all(type(number) is int and number in lines for number in numbers):
        raise BadRow("bad_row: ambiguous_lines must be a list of the chunk's line numbers")
    return numbers


def _name_on_card(folder: Path) -> str:
    card = artifact.read_json(folder / "card.json") if (folder / "card.json").is_file() else {}
    name = card.get("annotator") if isinstance(card, dict) else None
    return name if isinstance(name, str) else ""
