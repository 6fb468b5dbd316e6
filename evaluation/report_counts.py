"""What steps kept and dropped, and what programs did: counts of `evaluation report` over units and ledgers.

All is counted column by column in Arrow; only the lengths of documents, where `refinement stats` did not measure them,
need the texts themselves.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evaluation.report_sources import Source
from prox.units import DOCUMENTS, DROPPED, LEDGER

ROWS_PER_BATCH = 2_048
P_KEEP_BINS = 20
UNREADABLE = "unreadable"
# Two bins to each doubling, as `refinement stats` has them; the first holds empty documents.
EDGES = np.array([0, *sorted({round(2 ** (half / 2)) for half in range(61)})])


def batches(
    paths: Sequence[Path], columns: Sequence[str], problems: list[str], optional: Sequence[str] = ()
) -> Iterator[pa.RecordBatch]:
    """Columns of units in small batches; a unit that can't be read, or lacks a column, is a sentence in ``problems``.

    Columns of ``optional`` are read where a unit has them: earlier versions did not write all.
    """
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                wanted = [*columns, *(name for name in optional if name in file.schema_arrow.names)]
                yield from file.iter_batches(batch_size=ROWS_PER_BATCH, columns=wanted)
        except (pa.ArrowException, OSError, KeyError) as error:
            problems.append(f"{path} can't be read and is left out of the counts ({str(error).splitlines()[0]})")


def num_rows(paths: Sequence[Path], problems: list[str]) -> int:
    """Rows of units, by their footers."""
    total = 0
    for path in paths:
        try:
            total += pq.read_metadata(path).num_rows
        except (pa.ArrowException, OSError) as error:
            problems.append(f"{path} can't be read and is left out of the counts ({str(error).splitlines()[0]})")
    return total


def _values(array: pa.Array) -> Counter[str]:
    return Counter({(row["values"] or ""): row["counts"] for row in pc.value_counts(array).to_pylist()})


def _pairs(first: pa.Array, second: pa.Array) -> Counter[tuple[str, str]]:
    table = pa.table({"first": first, "second": second}).group_by(["first", "second"]).aggregate([([], "count_all")])
    return Counter({(row["first"] or "", row["second"] or ""): row["count_all"] for row in table.to_pylist()})


def dropped_by_reason(source: Source, problems: list[str]) -> Counter[str]:
    """Documents a step dropped. Of ingestion only the reason's kind, for the rest is the error's own words."""
    found: Counter[str] = Counter()
    for batch in batches(source.units(DROPPED), ["reason"], problems):
        for reason, count in _values(batch.column("reason")).items():
            kind = reason.split(":")[0] if source.command == "refinement ingest" else reason
            found[kind or "no reason given"] += count
    return found


def ledger_kind(source: Source, problems: list[str]) -> str | None:
    """``document`` or ``chunk`` by the columns of its ledger; None for other ledgers, and where none can be read, which
    is a sentence in ``problems``."""
    unread = []
    for path in source.units(LEDGER):
        try:
            names = pq.read_schema(path).names
        except (pa.ArrowException, OSError) as error:
            unread.append(f"{path} can't be read, nor another part of its ledger ({str(error).splitlines()[0]})")
            continue
        return "chunk" if "chunks" in names else "document" if "decision" in names else None
    problems += unread[:1]
    return None


def count_document_ledger(source: Source, problems: list[str]) -> dict[str, Any]:
    """Decisions, their flags, and a histogram of ``p_keep``."""
    decisions: Counter[str] = Counter()
    flags: Counter[str] = Counter()
    histogram = np.zeros(P_KEEP_BINS, dtype=np.int64)
    for batch in batches(source.units(LEDGER), ["decision", "readable", "truncated", "failure", "p_keep"], problems):
        decisions.update(_values(batch.column("decision")))
        flags["seen only in part"] += pc.sum(batch.column("truncated")).as_py() or 0
        flags["answer unreadable"] += pc.sum(pc.invert(batch.column("readable"))).as_py() or 0
        flags["no answer"] += batch.num_rows - batch.column("failure").null_count
        known = batch.column("p_keep").drop_null().to_numpy(zero_copy_only=False)
        histogram += np.histogram(known, bins=P_KEEP_BINS, range=(0, 1))[0]
    return {
        "kind": "document",
        "decisions": ranked(decisions),
        "flags": ranked(+flags),
        "p_keep": histogram.tolist() if histogram.any() else None,
        "threshold": source.config.get("threshold"),
    }


def count_chunk_ledger(source: Source, problems: list[str]) -> dict[str, Any]:
    """Documents and chunks by verdict and reason, calls by kind and status."""
    documents: Counter[tuple[str, str]] = Counter()
    chunks: Counter[tuple[str, str]] = Counter()
    calls: Counter[tuple[str, str]] = Counter()
    for batch in batches(source.units(LEDGER), ["verdict", "reason", "chunks"], problems):
        documents += _pairs(batch.column("verdict"), batch.column("reason"))
        rows = batch.column("chunks").flatten()
        chunks += _pairs(rows.field("verdict"), rows.field("reason"))
        made = rows.field("calls").flatten()
        status = made.field("status")
        # Of a fault the call's name is what is wrong with it, in so many words.
        name = pc.if_else(pc.equal(status, "fault"), UNREADABLE, made.field("call"))
        calls += _pairs(name, status)
    return {
        "kind": "chunk",
        "documents": [[*pair, count] for pair, count in ranked(documents)],
        "chunks": [[*pair, count] for pair, count in ranked(chunks)],
        "calls": [[*pair, count] for pair, count in ranked(calls)],
    }


def ranked(counter: Counter[Any]) -> list[tuple[Any, int]]:
    """Items by count, most frequent first, equal ones by name."""
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))


LEDGERS: dict[str, Callable[[Source, list[str]], dict[str, Any]]] = {
    "document": count_document_ledger,
    "chunk": count_chunk_ledger,
}


def count_step(source: Source, arm: str, problems: list[str]) -> dict[str, Any]:
    """What one step kept, dropped and why, and what its ledger says."""
    kind = ledger_kind(source, problems)
    return {
        "run": source.run,
        "arm": arm,
        "command": source.command,
        "finished": source.finished,
        "kept": num_rows(source.units(DOCUMENTS), problems),
        "dropped": ranked(dropped_by_reason(source, problems)),
        "ledger": LEDGERS[kind](source, problems) if kind else None,
    }


def count_lengths(source: Source, problems: list[str]) -> list[list[float]]:
    """Documents of a step by their length in characters: ``[low, high, documents, percent per doubling]`` a bin."""
    counts = np.zeros(len(EDGES), dtype=np.int64)
    for batch in batches(source.units(DOCUMENTS), ["text"], problems):
        found = pc.utf8_length(batch.column("text")).fill_null(0).to_numpy(zero_copy_only=False)
        counts += np.bincount(np.searchsorted(EDGES, found, side="right") - 1, minlength=len(EDGES))
    total = int(counts.sum())
    filled = np.flatnonzero(counts)
    if not total:
        return []
    bins = []
    for number in range(max(int(filled[0]), 1), min(int(filled[-1]) + 1, len(EDGES) - 1)):
        low, high = int(EDGES[number]), int(EDGES[number + 1])
        density = 100 * int(counts[number]) / total / float(np.log2(high / low))
        bins.append([low, high, int(counts[number]), round(density, 4)])
    return bins
