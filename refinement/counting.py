"""What `refinement stats` counts of one unit: sizes by step and reason, lengths, and what programs did.

A unit's counts are nested dicts of whole numbers, which add up over units (``add_counts``), and summaries of the most
frequent items, which merge. So units can be counted anywhere, in any number of processes.
"""

import functools
import gzip
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from datatrove.data import DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from prox.artifact import name_aside
from prox.engines.local import load_tokenizer
from prox.units import DOCUMENTS, DROPPED, LEDGER, read_rows, source_hash
from prox.words import count_words
from refinement import ledger_counts
from refinement.frequent import Frequent
from refinement.lengths import bin_of
from refinement.provenance import Step
from refinement.stats_config import StatsConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

COUNTS = "counts"
SIZE = ("documents", "tokens", "words", "bytes")
Counts = dict[str, Any]

# A batch ends at the first of these, so that neither many short documents nor a few huge ones fill the memory.
BATCH_DOCUMENTS = 256
BATCH_CHARACTERS = 2_000_000
# Texts of a unit whose sizes are remembered; a unit has 10,000 documents, a foreign file may have any number.
REMEMBERED_TEXTS = 200_000


def add_counts(total: Counts, more: Counts) -> None:
    """Adds nested counts in place."""
    for key, value in more.items():
        if isinstance(value, dict):
            add_counts(total.setdefault(key, {}), value)
        else:
            total[key] = total.get(key, 0) + value


class Sizer:
    """Tokens (without special ones), words and UTF-8 bytes of texts.

    Steps keep most documents as they were: a text that was seen before, under whatever step, is not counted again.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self._known: dict[str, tuple[int, int, int]] = {}

    def sizes(self, texts: Sequence[str]) -> list[tuple[int, int, int]]:
        """``(tokens, words, bytes)`` of each text."""
        marks = [source_hash(text) for text in texts]
        new = {mark: text for mark, text in zip(marks, texts, strict=True) if mark not in self._known}
        encoded = self._backend.encode_batch_fast(list(new.values()), add_special_tokens=False)
        found = {
            mark: (len(tokens), count_words(text), len(text.encode("utf-8", "surrogatepass")))
            for (mark, text), tokens in zip(new.items(), encoded, strict=True)
        }
        sizes = [found[mark] if mark in found else self._known[mark] for mark in marks]
        if len(self._known) < REMEMBERED_TEXTS:
            self._known.update(found)
        return sizes

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return [tokens for tokens, _, _ in self.sizes(texts)]


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += len(row["text"] or "")
        if len(batch) >= BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def count_documents(step: Step, unit: str, sizer: Sizer) -> Counts:
    """Sizes of what a step kept and, by reason, of what it dropped; lengths of what it kept."""
    kept: Counter[str] = Counter()
    dropped: dict[str, Counter[str]] = {}
    lengths: dict[str, Counter[str]] = {"tokens": Counter(), "words": Counter()}
    for kind in (DOCUMENTS, DROPPED):
        path = step.folder / kind / unit
        for batch in _batches(read_rows(path) if path.is_file() else ()):
            sizes = sizer.sizes([row["text"] or "" for row in batch])
            for row, size in zip(batch, sizes, strict=True):
                if kind == DOCUMENTS:
                    kept.update(dict(zip(SIZE, (1, *size), strict=True)))
                    lengths["tokens"][str(bin_of(size[0]))] += 1
                    lengths["words"][str(bin_of(size[1]))] += 1
                else:
                    reason = _reason(step, row["reason"])
                    dropped.setdefault(reason, Counter()).update(dict(zip(SIZE, (1, *size), strict=True)))
    counts: Counts = {"kept": dict(kept), "dropped": {reason: dict(size) for reason, size in dropped.items()}}
    counts["lengths"] = {name: dict(bins) for name, bins in lengths.items()}
    return counts


def _reason(step: Step, reason: str | None) -> str:
    # What ingest left out carries the error's own words after a colon, which may differ every time.
    text = reason or "no reason given"
    return text.split(":")[0] if step.command == "refinement ingest" else text


class CountUnit(PipelineStep):
    """Counts unit number ``rank`` of every step and writes ``counts/<unit>.json.gz``."""

    name, type = "unit's counts", "STATS"

    def __init__(self, config: StatsConfig, steps: Sequence[Step], units: Sequence[str]) -> None:
        super().__init__()
        self.config, self.steps, self.units = config, steps, units

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Yields nothing."""
        unit = self.units[rank]
        sizer = Sizer(_tokenizer(self.config.tokenizer))
        folders = {step.name: step.folder for step in self.steps}
        found: dict[str, Counts] = {}
        for step in self.steps:
            counts = count_documents(step, unit, sizer)
            path = step.folder / LEDGER / unit
            frequent: dict[str, Frequent] = {}
            if path.is_file():
                source = folders[step.source] / DOCUMENTS / unit if step.source else None
                frequent = {name: Frequent(self.config.capacity) for name in ledger_counts.FREQUENT}
                counts["ledger"] = ledger_counts.count_ledger(path, source, frequent)
            items = {name: one.to_json() for name, one in frequent.items() if one.total}
            found[step.name] = {"counts": counts, "frequent": items}
        write_counts(self.path(rank), found)
        yield from ()

    def path(self, rank: int) -> Path:
        """Where the counts of a unit go."""
        return self.config.output / COUNTS / f"{Path(self.units[rank]).stem}.json.gz"

    def size(self, rank: int) -> int:
        """Documents to be read for a unit, dropped ones included."""
        files = (step.folder / kind / self.units[rank] for step in self.steps for kind in (DOCUMENTS, DROPPED))
        return sum(pq.read_metadata(file).num_rows for file in files if file.is_file())


@functools.lru_cache(1)
def _tokenizer(name: str) -> "PreTrainedTokenizerBase":
    return load_tokenizer(name)


def write_counts(path: Path, counts: dict[str, Counts]) -> None:
    """Writes a unit's counts aside and renames them; the same counts give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = name_aside(path)
    try:
        aside.write_bytes(gzip.compress(json.dumps(counts, sort_keys=True).encode(), compresslevel=6, mtime=0))
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def read_counts(path: Path) -> dict[str, Counts]:
    """What ``write_counts`` wrote."""
    return json.loads(gzip.decompress(path.read_bytes()))
