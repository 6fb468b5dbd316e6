"""Ids made unique over a whole corpus: a pass over the id columns, and a rewrite of the units that repeat an id.

An id that occurred before gets a suffix (``x#2``, ``x#3``, ...) that no id before it has. That is decided from the
first document to the last, so a run that was killed while units were rewritten, and begins again, ends with the same
ids.

Memory: 9 bytes a document, for a hash of its id; where ids are repeated, about 30 bytes a document and 200 a repeated
one. Two ids with one hash would only cost a needless suffix.
"""

import hashlib
import heapq
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from prox.artifact import read_json, write_json
from prox.units import DOCUMENT_SCHEMA, UnitFile, read_rows, unit_files

REPEATED = "repeated_ids.json"
Renames = dict[int, str]


def _hash(identity: str) -> int:
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8).digest())


def _ids(unit: Path) -> list[str]:
    return pq.read_table(unit, columns=["id"])["id"].to_pylist()


class _Positions:
    """Where each id's hash occurs; a document's position is its number in the corpus."""

    def __init__(self, hashes: np.ndarray) -> None:
        self._order = np.argsort(hashes, kind="stable")
        self._sorted = hashes[self._order]

    def first(self, mark: int) -> int | None:
        """The first position of a hash; None where it does not occur."""
        index = int(np.searchsorted(self._sorted, np.uint64(mark)))
        is_there = index < len(self._sorted) and int(self._sorted[index]) == mark
        return int(self._order[index]) if is_there else None

    def repeats(self) -> list[int]:
        """Every position whose hash occurs before it, in order."""
        later = self._order[1:][self._sorted[1:] == self._sorted[:-1]]
        return np.sort(later).tolist()


def _hashes(units: list[Path], rows: list[int]) -> np.ndarray:
    """Hashes of all ids: uint64 [documents]."""
    hashes = np.empty(sum(rows), dtype=np.uint64)
    begin = 0
    for unit, number in zip(units, rows, strict=True):
        hashes[begin : begin + number] = [_hash(identity) for identity in _ids(unit)]
        begin += number
    return hashes


def _is_any_repeated(hashes: np.ndarray) -> bool:
    hashes.sort()  # in place
    return bool((hashes[1:] == hashes[:-1]).any())


def _renames(units: list[Path], rows: list[int], positions: _Positions) -> Iterator[tuple[Path, Renames]]:
    """(unit, new ids by row) of the units that repeat an id, in order."""
    left = positions.repeats()  # sorted, so a heap
    given: set[int] = set()
    next_number: dict[int, int] = {}
    ends = np.cumsum(rows)
    while left:
        index = int(np.searchsorted(ends, left[0], side="right"))
        unit, begin = units[index], int(ends[index]) - rows[index]
        ids, renames = _ids(unit), {}
        while left and left[0] < ends[index]:
            position = heapq.heappop(left)
            identity = ids[position - begin]
            mark = _hash(identity)
            number = next_number.get(mark, 2)
            while True:
                new = _hash(f"{identity}#{number}")
                first = positions.first(new)
                if new not in given and (first is None or first > position):
                    break
                number += 1
            given.add(new)
            next_number[mark] = number + 1
            renames[position - begin] = f"{identity}#{number}"
            if first is not None:  # the document that has this id of its own now repeats one
                heapq.heappush(left, first)
        yield unit, renames


def _rewrite(unit: Path, renames: Renames) -> None:
    with UnitFile(unit, DOCUMENT_SCHEMA) as file:
        for number, row in enumerate(read_rows(unit)):
            file.add(row | {"id": renames[number]} if number in renames else row)
        file.commit()


def make_ids_unique(artifact: Path, notes: Path) -> int:
    """Gives repeated ids of an artefact's documents a suffix; returns how many there were.

    The number is kept in ``notes`` before the first unit is changed, since a later run would find fewer.
    """
    units = unit_files(artifact)
    rows = [pq.read_metadata(unit).num_rows for unit in units]
    kept = notes / REPEATED
    if _is_any_repeated(_hashes(units, rows)):
        positions = _Positions(_hashes(units, rows))
        if not kept.is_file():
            repeated = sum(len(renames) for _, renames in _renames(units, rows, positions))
            write_json(kept, {"repeated": repeated})
        for unit, renames in _renames(units, rows, positions):
            _rewrite(unit, renames)
    return read_json(kept)["repeated"] if kept.is_file() else 0
