"""`refinement replay`: source + ledger -> the refined text again, without a model; under other guards if asked to."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from prox import ledger
from prox.artifact import recorded
from prox.errors import UserError
from prox.tagging import cut_rows
from prox.units import LEDGER, check_columns, read_rows, source_hash, unit_files
from refinement import chunk as chunk_stage
from refinement import document as document_stage
from refinement.configs import ReplayConfig
from refinement.document import by_probability, recorded_answer
from refinement.pipeline import UnitWriter
from refinement.tasks import run_units

# What tells of a row whether its document came out the same.
OUTCOME = {"refinement document": "decision", "refinement chunk": "refined_hash"}


class ReplayStep(PipelineStep):
    """Puts each document of a unit together with its ledger row."""

    name, type = "replay", "REFINER"

    def __init__(self, config: ReplayConfig, writer: UnitWriter) -> None:
        super().__init__()
        self.config, self.writer = config, writer

    def ledger_path(self, rank: int) -> Path:
        """The ledger's unit number ``rank``; it has the name of the documents'."""
        return self.config.ledger / LEDGER / self.writer.units.name(rank)

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Yields the documents that are left."""
        pairs = self._pairs(data, self.ledger_path(rank))
        if recorded(self.config.ledger)["command"] == "refinement document":
            yield from self._decide(pairs)
            return
        guards, document_guards, _ = self.config.guards_of_run()
        threshold = self.config.remove_threshold
        for document, row in pairs:
            chunks = row["chunks"] if threshold is None else cut_rows(row["chunks"], threshold, "program")
            if chunk_stage.finish_document(document, row["style"], chunks, (guards, document_guards), self.writer):
                yield document

    def _decide(self, pairs: Iterator[tuple[Document, ledger.Row]]) -> DocumentsPipeline:
        threshold = self.config.threshold
        for document, row in pairs:
            if threshold is None or row["p_keep"] is None:
                answer = recorded_answer(row)
            else:
                answer = by_probability(row["p_keep"], threshold)
            if document_stage.finish_document(document, row, answer, self.writer):
                yield document

    def _pairs(self, data: DocumentsPipeline, file: Path) -> Iterator[tuple[Document, ledger.Row]]:
        """Documents with their rows; ``UserError`` at the first that don't belong together."""
        rows = read_rows(file)
        for document in data:
            row = next(rows, None)
            if row is None or row["id"] != document.id or row["source_hash"] != source_hash(document.text):
                raise UserError(
                    f"{file} was not written for document {document.id!r} of --documents {self.config.documents}: "
                    f"give the documents that {self.config.ledger} read"
                )
            yield document, row
        if next(rows, None) is not None:
            raise UserError(f"{file} has more rows than --documents {self.config.documents} has documents")


def replay_ledger(config: ReplayConfig) -> dict[str, Any]:
    """Replays every unit; the summary says how many documents come out otherwise than in the run itself."""
    command = recorded(config.ledger)["command"]
    stage = document_stage if command == "refinement document" else chunk_stage
    for file in unit_files(config.ledger, LEDGER):
        check_columns(file, stage.LEDGER_SCHEMA)
    writer = UnitWriter(config.documents, config.output, stage.LEDGER_SCHEMA)
    counts = run_units("refinement replay", config, [ReplayStep(config, writer)], writer)
    summary = stage.write_statistics(config.output, counts)
    differing = sum(
        old != new
        for before, after in zip(unit_files(config.ledger, LEDGER), unit_files(config.output, LEDGER), strict=True)
        for old, new in zip(*(_column(file, OUTCOME[command]) for file in (before, after)), strict=True)
    )
    if differing and config.changes_nothing:
        raise UserError(
            f"{differing} documents come out otherwise than recorded in {config.ledger}, though nothing was changed: "
            f"other code wrote the ledger (commit {recorded(config.ledger).get('commit')})"
        )
    return summary | {"otherwise_than_recorded": differing}


def _column(file: Path, name: str) -> list[Any]:
    return pq.read_table(file, columns=[name])[name].to_pylist()
