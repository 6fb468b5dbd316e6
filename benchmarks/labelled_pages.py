"""Pages whose lines people have labelled as noise or content, as the benchmarks of line removal read them."""

import gzip
import json
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prox.confusion import Counts
from prox.errors import UserError
from prox.words import count_words


@dataclass(frozen=True)
class Page:
    """A labelled page; lines that are in neither set are content."""

    id: str
    text: str
    noise: frozenset[int]
    ambiguous: frozenset[int]
    group: str = ""
    """What kind of page it is, or where it came from; scores may be broken down by it."""

    @property
    def lines(self) -> list[str]:
        """As the labels count them."""
        return self.text.split("\n")

    @property
    def counted(self) -> list[int]:
        """Numbers of the lines that have a label."""
        return [number for number in range(len(self.lines)) if number not in self.ambiguous]

    def words(self, numbers: Set[int]) -> int:
        """Words on these lines."""
        lines = self.lines
        return sum(count_words(lines[number]) for number in numbers)

    def counts(self, removed: Set[int]) -> Counts:
        """Lines in Equations 5 to 7."""
        removed = removed - self.ambiguous
        return Counts(
            true_positives=len(removed & self.noise),
            false_positives=len(removed - self.noise),
            false_negatives=len(self.noise - removed),
            true_negatives=len(self.counted) - len(removed | self.noise),
        )


def read_rows(path: Path, *fields: str) -> Iterator[dict[str, Any]]:
    """Objects of a JSON-lines file, .gz or plain; one that can't be read or lacks a field is a ``UserError``."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: give a JSON-lines file, .gz or plain")
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                row = json.loads(line)
                if not isinstance(row, dict) or not row.keys() >= set(fields):
                    raise UserError(f"{path}, line {number}: a row must be an object with {', '.join(fields)}")
                yield row
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path} can't be read after line {max(0, number - 1)} ({error}): get it again") from None


def read_labelled(path: Path, group: str = "") -> list[Page]:
    """The labelled pages of a file, with the value of their field ``group``; labels that fit no line, and an id that
    comes twice, are a ``UserError``."""
    pages: dict[str, Page] = {}
    for row in read_rows(path, "id", "text", "noise_lines", "ambiguous_lines", *([group] if group else [])):
        numbers = range(row["text"].count("\n") + 1)
        for name in ("noise_lines", "ambiguous_lines"):
            if not isinstance(row[name], list) or not all(type(one) is int and one in numbers for one in row[name]):
                raise UserError(f"{path}: {name} of {row['id']!r} must be a list of numbers below {numbers.stop}")
        noise, ambiguous = frozenset(row["noise_lines"]), frozenset(row["ambiguous_lines"])
        if row["id"] in pages or noise & ambiguous:
            fault = "comes twice" if row["id"] in pages else f"has line {min(noise & ambiguous)} as noise and ambiguous"
            raise UserError(f"{path}: {row['id']!r} {fault}: mend the file")
        pages[row["id"]] = Page(row["id"], row["text"], noise, ambiguous, str(row[group]) if group else "")
    if not any(page.counted for page in pages.values()):
        raise UserError(f"{path} has no labelled line: give a file with pages")
    return list(pages.values())
