"""The documents that `evaluation report` shows: a seeded sample of each chain, each with what every step made of it.

Row numbers are drawn from the units' footers, and only row groups with a drawn row are read: a report of a large corpus
reads the ids of its ledgers and little more. Memory holds the sample, and one row group.
"""

import logging
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evaluation.report_chains import Chain, Step
from evaluation.report_counts import num_rows
from evaluation.report_item import describe_document, fit_items, trim_item
from evaluation.report_marks import BrokenRow
from prox.units import DOCUMENTS, DROPPED, LEDGER

log = logging.getLogger("prox")

UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError, KeyError)
Row = dict[str, Any]


@dataclass
class Sample:
    """Items of the page, and what could not be shown."""

    items: list[dict[str, Any]] = field(default_factory=list)
    num_documents: int = 0
    """Documents of the corpora they were drawn from."""
    broken: Counter[str] = field(default_factory=Counter)
    """Documents left out, by why."""
    problems: list[str] = field(default_factory=list)


def draw_rows(units: Sequence[Path], number: int, seed: int, sample: Sample) -> dict[Path, list[int]]:
    """Row numbers of ``number`` documents by their unit, each document as likely as any other; counts them all."""
    sizes = []
    for path in units:
        try:
            sizes.append(pq.read_metadata(path).num_rows)
        except UNREADABLE as error:
            sizes.append(0)
            sample.problems.append(f"{path} can't be read: none of its documents is shown ({_first_line(error)})")
    total = sum(sizes)
    sample.num_documents += total
    drawn = np.array(sorted(random.Random(seed).sample(range(total), min(number, total))), dtype=np.int64)
    ends = list(accumulate(sizes))
    found = {}
    for path, size, end in zip(units, sizes, ends, strict=True):
        rows = drawn[(drawn >= end - size) & (drawn < end)] - (end - size)
        if len(rows):
            found[path] = rows.tolist()
    return found


def read_some(path: Path, rows: Sequence[int], broken: Counter[str]) -> Iterator[Row]:
    """The rows of these ascending numbers; reads only row groups that hold one. Broken rows are counted."""
    with pq.ParquetFile(path) as file:
        first = 0
        for group in range(file.num_row_groups):
            end = first + file.metadata.row_group(group).num_rows
            wanted = [row - first for row in rows if first <= row < end]
            table = file.read_row_group(group) if wanted else None
            for row in wanted:
                try:
                    yield table.slice(row, 1).to_pylist()[0]
                except UnicodeDecodeError:
                    broken["its row can't be read"] += 1
            first = end


def rows_by_id(path: Path, ids: set[str], sample: Sample, columns: Sequence[str] | None = None) -> dict[str, Row]:
    """Rows of a unit with these ids; none of a unit that isn't there, or can't be read."""
    if not path.is_file():
        return {}
    try:
        if columns:
            table = pq.read_table(path, columns=["id", *columns])
            rows = table.filter(pc.is_in(table["id"], pa.array(sorted(ids), pa.string()))).to_pylist()
        else:
            known = pq.read_table(path, columns=["id"])["id"]
            places = np.flatnonzero(pc.is_in(known, pa.array(sorted(ids), pa.string())).to_numpy())
            rows = list(read_some(path, places.tolist(), sample.broken))
        return {row["id"]: row for row in rows}
    except UNREADABLE as error:
        sample.problems.append(f"{path} can't be read: its documents are shown without it ({_first_line(error)})")
        return {}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@dataclass(frozen=True)
class StepRows:
    """What a step says of the sampled documents of one unit."""

    step: Step
    ledger: dict[str, Row]
    dropped: dict[str, Row]
    reached: bool
    """False where the step has not come to this unit yet."""


def _step_rows(step: Step, unit: str, ids: set[str], sample: Sample) -> StepRows:
    folder = step.source.folder
    ledger = rows_by_id(folder / LEDGER / unit, ids, sample) if step.kind else {}
    dropped = rows_by_id(folder / DROPPED / unit, ids, sample, ["reason"])
    return StepRows(step, ledger, dropped, (folder / DOCUMENTS / unit).is_file())


def sample_chain(chain: Chain, number: int, seed: int, max_characters: int, sample: Sample) -> None:
    """Adds ``number`` documents of a chain to the sample, in the corpus's order."""
    drawn = draw_rows(chain.root.units(), number, seed, sample)
    for path, numbers in drawn.items():
        try:
            rows = list(read_some(path, numbers, sample.broken))
        except UNREADABLE as error:
            sample.problems.append(f"{path} can't be read: none of its documents is shown ({_first_line(error)})")
            continue
        ids = {row["id"] for row in rows if row.get("id") is not None}
        steps = [_step_rows(step, path.name, ids, sample) for step in chain.steps]
        beside = [_step_rows(step, path.name, ids, sample) for step in chain.beside]
        for row in rows:
            if row.get("id") is None or row.get("text") is None:
                sample.broken["it has no id or no text"] += 1
                continue
            try:
                item = describe_document(row, steps, beside)
            except BrokenRow as error:
                sample.broken[str(error)] += 1
                continue
            except (KeyError, TypeError, ValueError) as error:
                # A ledger of another making: a field is missing, or holds what it should not.
                sample.broken[f"its ledger row can't be read ({type(error).__name__}: {error})"] += 1
                continue
            sample.items.append(trim_item({"run": chain.run, "arm": chain.arm, **item}, max_characters))


def even_shares(sizes: Sequence[int], number: int) -> list[int]:
    """``number`` divided among chains of these sizes: as evenly as they can, and all of it where they have so much."""
    shares = [0] * len(sizes)
    # The smallest first: what it can't give is left to the others.
    for place, chain in enumerate(sorted(range(len(sizes)), key=lambda one: sizes[one])):
        fair = -(-(number - sum(shares)) // (len(sizes) - place))
        shares[chain] = min(sizes[chain], fair)
    return shares


def _num_documents(chain: Chain) -> int:
    return num_rows(chain.root.units(), [])


def sample_documents(
    chains: Sequence[Chain], number: int, seed: int, max_characters: int, max_bytes: int
) -> dict[str, Any]:
    """``number`` documents, shared evenly among the chains, as the page holds them."""
    sample = Sample()
    for chain, share in zip(chains, even_shares([_num_documents(chain) for chain in chains], number), strict=True):
        sample_chain(chain, share, seed, max_characters, sample)
    if fit_items(sample.items, max_bytes):
        log.info("evaluation report: documents are shown shortened, to keep the page below --max_page_megabytes")
    return {
        "items": sample.items,
        "num_documents": sample.num_documents,
        "broken": sorted(sample.broken.items()),
        "problems": sample.problems,
    }
