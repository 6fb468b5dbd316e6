"""One part of a corpus -> its units, rejects and counts: what a task of `refinement ingest` does."""

import json
import logging
from collections import Counter
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from datatrove.data import DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.typeshelper import StatHints

from prox.artifact import write_json
from prox.corpus import Reject, open_corpus
from prox.corpus_files import CorpusFiles
from prox.progress import track
from prox.units import DOCUMENT_SCHEMA, DOCUMENTS, DROPPED, DROPPED_SCHEMA, UnitFile, document_row
from refinement.configs import IngestConfig

log = logging.getLogger("prox")

PARTS = "parts"


class UnitSeries:
    """Rows of one kind, written as units ``<part>-<number>.parquet``; use as a context, and ``finish``."""

    def __init__(self, config: IngestConfig, kind: str, schema: pa.Schema, prefix: str) -> None:
        self.config, self.folder, self.schema, self.prefix = config, config.output / kind, schema, prefix
        self.names: list[str] = []
        self._file: UnitFile | None = None
        self._rows = self._bytes = 0
        self._open = ExitStack()

    def add(self, row: dict[str, str]) -> None:
        """Adds a row, to a new unit where the one being written is full."""
        size = sum(len(value.encode()) for value in row.values())
        if self._rows >= self.config.documents_per_unit or self._bytes + size > self.config.bytes_per_unit:
            self.finish()
        if self._file is None:
            # Six digits: a corpus that is read as one part has many units.
            self.names.append(f"{self.prefix}-{len(self.names):06d}.parquet")
            self._file = self._open.enter_context(UnitFile(self.folder / self.names[-1], self.schema))
        self._file.add(row)
        self._rows, self._bytes = self._rows + 1, self._bytes + size

    def finish(self) -> None:
        """Ends the unit being written, if there is one."""
        if self._file is not None:
            self._file.commit()
            self._open.close()
        self._file, self._rows, self._bytes = None, 0, 0

    def __enter__(self) -> "UnitSeries":
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)


class IngestPart(PipelineStep):
    """Reads part number ``rank`` of the corpus, as ``plan`` lists it: a line of JSON with the folder, then one a part,
    names of files or null for the corpus as a whole.
    """

    name, type = "corpus part", "READER"

    def __init__(self, config: IngestConfig, folder: str, plan: Path, parts: int) -> None:
        super().__init__()
        self.config, self.folder, self.plan, self.parts = config, folder, plan, parts

    def prefix(self, rank: int) -> str:
        """Begin of the part's file names; sorting them gives the corpus' order."""
        return f"{rank:0{max(5, len(str(self.parts - 1)))}d}"

    def counts_path(self, rank: int) -> Path:
        """What the part held; written when everything else is."""
        return self.config.output / PARTS / f"{self.prefix(rank)}.json"

    def files(self, rank: int) -> list[Path]:
        """Every file of a finished part."""
        path = self.counts_path(rank)
        if not path.is_file():
            return [path]
        units = json.loads(path.read_text(encoding="utf-8"))["units"]
        return [path, *(self.config.output / kind / name for kind, names in units.items() for name in names)]

    def _corpus_files(self, rank: int) -> CorpusFiles | None:
        with self.plan.open(encoding="utf-8") as lines:
            names = json.loads(next(islice(lines, rank + 1, None)))
        return None if names is None else CorpusFiles(self.folder, names)

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Ignores ``data``, and yields nothing."""
        prefix = self.prefix(rank)
        for kind in (DOCUMENTS, DROPPED):  # of a run that was killed: a source may have changed since
            for path in (self.config.output / kind).glob(f"{prefix}-*.parquet"):
                path.unlink()
        counts: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        broken: dict[str, None] = {}
        files = self._corpus_files(rank)
        of_files = len(files.names) if files else 1

        def set_aside(reject: Reject) -> None:
            nonlocal of_files
            reasons[reject.reason.split(":")[0]] += 1
            rejects.add({"id": reject.position, "text": reject.text, "metadata": "{}", "reason": reject.reason})
            if reject.broken_file and reject.broken_file not in broken:
                broken[reject.broken_file], of_files = None, reject.of_files
                log.warning("%s/%s: %s (at %s)", self.folder, reject.broken_file, reject.reason, reject.position)

        keep_going = self.config.on_broken_file == "keep_going"
        with (
            UnitSeries(self.config, DOCUMENTS, DOCUMENT_SCHEMA, prefix) as documents,
            UnitSeries(self.config, DROPPED, DROPPED_SCHEMA, prefix) as rejects,
        ):
            source = open_corpus(self.config.corpus, set_aside, files, keep_going)
            if self.config.workers == 1:  # of several, each would draw its own bar
                source = track(source, f"ingest, part {rank + 1} of {self.parts}", None, "documents")
            for document in source:
                documents.add(document_row(document))
                counts["documents"] += 1
                counts["characters"] += len(document.text)
                counts["nul_characters"] += "\0" in document.text
                for mark in ("invalid_utf8", "lone_surrogates"):
                    counts[mark] += bool(document.metadata.get(mark))
            documents.finish()
            rejects.finish()
        self.stat_update(StatHints.forwarded, value=counts["documents"])
        units = {DOCUMENTS: documents.names, DROPPED: rejects.names}
        found = {"counts": counts, "reasons": reasons, "files": of_files, "broken_files": list(broken), "units": units}
        write_json(self.counts_path(rank), found)
        yield from ()
