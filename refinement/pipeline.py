"""The two ends of every refining pipeline: ``ReadUnit -> step(s) -> UnitWriter``, datatrove steps for one unit."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.typeshelper import StatHints

from prox.units import (
    DOCUMENT_SCHEMA,
    DOCUMENTS,
    DROPPED,
    DROPPED_SCHEMA,
    LEDGER,
    UnitFile,
    document_row,
    read_documents,
    unit_files,
)


class Units:
    """An artefact's units, listed once for all tasks; copies of a pipeline share it."""

    def __init__(self, artifact: Path) -> None:
        self.artifact = artifact
        self._names = [file.name for file in unit_files(artifact)]

    def name(self, rank: int) -> str:
        """File name of unit number ``rank``."""
        return self._names[rank]

    def path(self, rank: int) -> Path:
        """Where unit number ``rank`` lies."""
        return self.artifact / DOCUMENTS / self.name(rank)

    def __deepcopy__(self, _: dict[int, Any]) -> "Units":
        return self

    def __str__(self) -> str:
        return f"{len(self._names)} units of {self.artifact}"  # all that executor.json holds of them


class ReadUnit(PipelineStep):
    """The documents of unit number ``rank``."""

    name, type = "unit", "READER"

    def __init__(self, units: Units) -> None:
        super().__init__()
        self.units = units

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Ignores ``data``: this is a pipeline's first step."""
        for document in read_documents(self.units.path(rank)):
            self.stat_update(StatHints.total)
            self.update_doc_stats(document)
            yield document


class UnitWriter(PipelineStep):
    """Last step: writes what was kept, dropped and recorded of a unit, each file whole.

    Earlier steps hold it too, to ``drop`` documents and ``record`` ledger rows; it also is an ``exclusion_writer`` for
    datatrove's filters.
    """

    name, type = "unit", "WRITER"

    def __init__(self, source: Path, output: Path, ledger_schema: pa.Schema) -> None:
        super().__init__()
        self.units, self.output, self.ledger_schema = Units(source), output, ledger_schema
        self._files: dict[str, UnitFile] = {}

    def drop(self, document: Document, reason: str) -> None:
        """Keeps a dropped document aside."""
        self._files[DROPPED].add(document_row(document) | {"reason": reason})
        self.stat_update(StatHints.dropped)

    def record(self, row: Mapping[str, Any]) -> None:
        """Adds a row to the ledger."""
        self._files[LEDGER].add(row)

    def __enter__(self) -> "UnitWriter":
        return self

    def __exit__(self, *_: object) -> None:
        pass  # the unit is written when the pipeline has run dry, not when one filter has

    def write(self, document: Document, rank: int) -> None:
        """A datatrove filter drops a document."""
        self.drop(document, document.metadata.pop("filter_reason", "no reason given"))

    def files(self, rank: int) -> dict[str, Path]:
        """The files of one unit, by kind."""
        name = self.units.name(rank)
        return {kind: self.output / kind / name for kind in (DROPPED, LEDGER, DOCUMENTS)}

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Yields nothing. The earlier steps fill the other two files while this one draws documents from them."""
        schemas = {DROPPED: DROPPED_SCHEMA, LEDGER: self.ledger_schema, DOCUMENTS: DOCUMENT_SCHEMA}
        with ExitStack() as stack:
            paths = self.files(rank)
            self._files = {kind: stack.enter_context(UnitFile(path, schemas[kind])) for kind, path in paths.items()}
            for document in data:
                self._files[DOCUMENTS].add(document_row(document))
                self.stat_update(StatHints.forwarded)
            for file in self._files.values():
                file.commit()
        self._files = {}
        yield from ()
