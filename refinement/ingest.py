"""Corpus -> units of a fixed number of documents, so that one giant input file never means one giant task."""

import hashlib
import logging
import shutil
from collections import Counter
from typing import Any

from prox.artifact import write_json
from prox.corpus import Reject, open_corpus
from prox.errors import UserError
from prox.progress import Progress
from prox.units import (
    DOCUMENT_SCHEMA,
    DOCUMENTS,
    DROPPED,
    DROPPED_SCHEMA,
    document_row,
    unit_name,
    write_unit,
)
from refinement.configs import IngestConfig

log = logging.getLogger("prox")


class _UniqueIds:
    """Gives a repeated id a suffix. Holds an 8-byte hash of every id, so memory grows with the number of documents; two
    ids with one hash would only cost a needless suffix."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self.repeated = 0

    def _is_new(self, identity: str) -> bool:
        mark = int.from_bytes(hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=8).digest())
        is_new = mark not in self._seen
        self._seen.add(mark)
        return is_new

    def __call__(self, identity: str) -> str:
        if self._is_new(identity):
            return identity
        self.repeated += 1
        number = 2
        while not self._is_new(f"{identity}#{number}"):
            number += 1
        return f"{identity}#{number}"


class _Units:
    """Rows of one kind, written as units of ``size`` rows."""

    def __init__(self, config: IngestConfig, kind: str) -> None:
        self.folder, self.size = config.output / kind, config.documents_per_unit
        self.schema = DOCUMENT_SCHEMA if kind == DOCUMENTS else DROPPED_SCHEMA
        self.rows: list[dict[str, Any]] = []
        self.written = 0

    def flush(self, at_least: int) -> None:
        """Writes whole units while there are ``at_least`` rows."""
        while len(self.rows) >= at_least and self.rows:
            write_unit(self.folder / unit_name(self.written), self.rows[: self.size], self.schema)
            self.rows = self.rows[self.size :]
            self.written += 1


def ingest(config: IngestConfig) -> dict[str, Any]:
    """Reads the corpus once, in order. A killed run starts over: reading is cheap beside what follows."""
    for kind in (DOCUMENTS, DROPPED):
        shutil.rmtree(config.output / kind, ignore_errors=True)
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    unique = _UniqueIds()
    documents, rejects = _Units(config, DOCUMENTS), _Units(config, DROPPED)

    def set_aside(reject: Reject) -> None:
        reasons[reject.reason.split(":")[0]] += 1
        rejects.rows.append({"id": reject.position, "text": reject.text, "metadata": "{}", "reason": reject.reason})

    with Progress("ingest", None, "documents") as progress:
        for document in open_corpus(config.corpus, set_aside):
            document.id = unique(document.id)
            counts["invalid_utf8"] += bool(document.metadata.get("invalid_utf8"))
            counts["documents"] += 1
            counts["characters"] += len(document.text)
            documents.rows.append(document_row(document))
            documents.flush(config.documents_per_unit)
            rejects.flush(config.documents_per_unit)
            progress.advance()
    if not counts["documents"]:
        found = f"; left out: {dict(reasons)}" if reasons else ""
        source = config.corpus.path or config.corpus.format
        raise UserError(f"the corpus {source} holds no document{found}: check corpus.path and corpus.text_column")
    documents.flush(1)
    rejects.flush(1)
    summary = {
        "documents": counts["documents"],
        "units": documents.written,
        "left_out": sum(reasons.values()),
        "duplicate_ids": unique.repeated,
        "invalid_utf8": counts["invalid_utf8"],
        "characters": counts["characters"],
    }
    write_json(config.output / "stats.json", summary | {"left_out_by_reason": reasons})
    return summary
