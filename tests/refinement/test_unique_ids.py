"""Ids made unique over units, against the plain way of doing it, and after interruptions at every unit."""

import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from prox.units import DOCUMENT_SCHEMA, DOCUMENTS, iterate_documents, unit_files, unit_name, write_unit
from refinement import unique_ids
from refinement.unique_ids import make_ids_unique


def plain(ids: list[str]) -> list[str]:
    """One document after the other, with all ids in memory."""
    seen: set[str] = set()
    for index, identity in enumerate(ids):
        name, number = identity, 2
        while name in seen:
            name, number = f"{identity}#{number}", number + 1
        seen.add(name)
        ids[index] = name
    return ids


def write(folder: Path, ids: list[str], size: int) -> list[Path]:
    for begin in range(0, len(ids), size):
        rows = [{"id": name, "text": f"text {begin}", "metadata": "{}"} for name in ids[begin : begin + size]]
        write_unit(folder / DOCUMENTS / unit_name(begin // size), rows, DOCUMENT_SCHEMA)
    return unit_files(folder)


def ids_of(folder: Path) -> list[str]:
    return [document.id for document in iterate_documents(folder)]


@pytest.mark.parametrize("seed", range(20))
def test_same_as_the_plain_way(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    names = ["a", "b", "a#2", "a#2#2", "a#3", "b#2", *(f"c{number}" for number in range(draw.choice((2, 40))))]
    ids = [draw.choice(names) for _ in range(60)]
    write(tmp_path, ids, draw.choice((1, 7, 60)))
    changed = sum(new != old for new, old in zip(plain(list(ids)), ids, strict=True))
    assert make_ids_unique(tmp_path, tmp_path) == changed
    assert ids_of(tmp_path) == plain(ids)
    assert make_ids_unique(tmp_path, tmp_path) == changed
    assert ids_of(tmp_path) == plain(ids)


@pytest.mark.parametrize("order", ["forwards", "any"])
def test_interrupted_at_every_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    ids = ["x", "x", "x#2", "x", "y", "x#2", "y", "x#3", "z", "y"]
    units = write(tmp_path, ids, 2)
    before = {unit: unit.read_bytes() for unit in units}
    rewrite, done = unique_ids._rewrite, []

    def rewrite_one(unit: Path, renames: dict[int, str]) -> None:
        if done:
            raise KeyboardInterrupt
        done.append(unit)
        rewrite(unit, renames)

    monkeypatch.setattr(unique_ids, "_rewrite", rewrite_one)
    for _ in range(len(units) - 1):
        done.clear()
        try:
            make_ids_unique(tmp_path, tmp_path)
        except KeyboardInterrupt:
            if order == "any" and len(done) == 1:  # a task that lost its unit was run again meanwhile
                units[1].write_bytes(before[units[1]])
    monkeypatch.undo()
    assert make_ids_unique(tmp_path, tmp_path) == 7
    assert ids_of(tmp_path) == plain(ids)
    assert len(set(ids_of(tmp_path))) == len(ids)


def test_only_units_with_repeats_are_written(tmp_path: Path) -> None:
    units = write(tmp_path, ["a", "b", "c", "d", "a", "e", "f", "g"], 2)
    times = [unit.stat().st_mtime_ns for unit in units]
    assert make_ids_unique(tmp_path, tmp_path) == 1
    assert [unit.stat().st_mtime_ns == time for unit, time in zip(units, times, strict=True)] == [
        True,
        True,
        False,
        True,
    ]
    assert pq.read_schema(units[2]) == DOCUMENT_SCHEMA


def test_one_id_for_all(tmp_path: Path) -> None:
    write(tmp_path, ["same"] * 30_000, 10_000)
    assert make_ids_unique(tmp_path, tmp_path) == 29_999
    assert ids_of(tmp_path)[-1] == "same#30000"
