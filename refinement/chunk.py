"""Chunk stage: the refiner writes a program for each chunk, the programs are run, the chunks joined again."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

import pyarrow.parquet as pq
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from prox import ledger
from prox.artifact import write_json
from prox.assembly import DocumentGuards
from prox.chunk_refiner import ChunkPrompt, ChunkRefiner, chunk_refiner, chunk_renderer
from prox.chunking import SKIP_REASONS, Chunk
from prox.engines import Failure
from prox.errors import UserError
from prox.executor import Guards
from prox.grammar import program_grammar
from prox.isolation import isolated
from prox.logs import log_once
from prox.program import Style
from prox.units import LEDGER, read_rows, unit_files
from refinement.asking import answered, check_failed_share
from refinement.configs import ChunkConfig
from refinement.pipeline import UnitWriter
from refinement.refiner import Refiner, load_refiner, record_asking
from refinement.tasks import run_units

log = logging.getLogger("prox")

LEDGER_SCHEMA = ledger.SCHEMA
Prompts = list[tuple[Chunk, ChunkPrompt | None]]
"""A document's chunks; those without a prompt are skipped."""
# A shorter window would cut pages into single lines.
SMALLEST_LOWERED_WINDOW = 32


@dataclass(frozen=True)
class Limits:
    """The longest chunk, prompt and answer, in tokens."""

    window: int
    prompt: int
    max_new_tokens: int


def fit_limits(config: ChunkConfig, refiner: Refiner) -> Limits:
    """The config's window and answer length, lowered to what the refiner was taught with, and where its context can't
    hold both and the frame.

    Raises ``UserError`` where no usable window would be left.
    """
    context = refiner.engine.max_context
    frame = chunk_renderer(refiner.dialogue, refiner.tokenizer, context).frame_tokens
    window, max_new_tokens = config.window, refiner.dialogue.answer_room(config.max_new_tokens)
    if window + frame + max_new_tokens > context:
        max_new_tokens = min(max_new_tokens, context // 4)
    window = min(window, refiner.dialogue.prompt_room(context - max_new_tokens) - frame)
    if window < min(config.window, SMALLEST_LOWERED_WINDOW):
        raise UserError(
            f"the refiner's context of {context} tokens has no room for chunks beside the prompt's frame of {frame} "
            f"and an answer of {max_new_tokens}: use a refiner with a longer context, or a shorter dialogue"
        )
    settings = [("window", config.window, window), ("max_new_tokens", config.max_new_tokens, max_new_tokens)]
    if refiner.dialogue.kind == "tagger":
        settings.pop()  # it writes nothing
    lowered = [f"--{name} {asked} is lowered to {used}" for name, asked, used in settings if used < asked]
    if lowered:
        log_once(f"refinement chunk: {', '.join(lowered)}: the refiner's context is {context}{refiner.taught_with()}")
    # Tokens may join otherwise than where the window counted them: no chunk is left out for one more than was taught.
    return Limits(window, context - max_new_tokens, max_new_tokens)


class ChunkStep(PipelineStep):
    """Refines the documents of one unit."""

    name, type = "chunk programs", "REFINER"

    def __init__(self, config: ChunkConfig, writer: UnitWriter) -> None:
        super().__init__()
        self.config, self.writer = config, writer

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Yields the documents that are left, refined."""
        refiner = load_refiner(self.config)
        if self.config.remove_threshold is not None:
            dialogue = replace(refiner.dialogue, remove_threshold=self.config.remove_threshold)
            refiner = replace(refiner, dialogue=dialogue)
        limits = fit_limits(self.config, refiner)
        record_asking(self.config.output, refiner, asdict(limits))
        renderer = chunk_renderer(refiner.dialogue, refiner.prompt_tokenizer, limits.prompt)
        grammar = None
        if self.config.constrained:
            grammar = program_grammar("chunk", refiner.dialogue.style, self.config.max_calls)
        asker = chunk_refiner(refiner.engine, refiner.dialogue, limits.max_new_tokens, grammar)
        guards = (self.config.guards, self.config.document_guards)

        def render(documents: Sequence[Document]) -> list[Prompts]:
            return renderer.chunks([document.text for document in documents], limits.window)

        def ask(documents: Sequence[Document], prompts: Sequence[Prompts | Failure]) -> Iterator[list[ledger.Row]]:
            return ask_about(documents, prompts, asker)

        for document, _, rows in answered(data, self.config.documents_per_batch, render, ask, first_failure):
            if finish_document(document, refiner.dialogue.style, rows, guards, self.writer):
                yield document


def ask_about(
    documents: Sequence[Document], prompts: Sequence[Prompts | Failure], refiner: ChunkRefiner
) -> Iterator[list[ledger.Row]]:
    """The ledger's chunks of each document, with the answers; all prompts go to the engine in one call."""
    # A document that could not be rendered is one chunk.
    chunks = [
        [(Chunk(0, document.text), found)] if isinstance(found, Failure) else found
        for document, found in zip(documents, prompts, strict=True)
    ]
    asked = [(chunk, prompt) for of_document in chunks for chunk, prompt in of_document if is_asked(prompt)]
    answers = iter(isolated(refiner.ask, asked, lambda one: f"a chunk of {len(one[1].ids)} tokens") if asked else [])
    for of_document in chunks:
        yield [
            ledger.chunk_row(chunk, next(answers), len(prompt.ids))
            if is_asked(prompt)
            else ledger.chunk_row(chunk, prompt if isinstance(prompt, Failure) else None)
            for chunk, prompt in of_document
        ]


def first_failure(rows: Sequence[ledger.Row]) -> str | None:
    """Why a document failed, of its chunks."""
    return next((row["failure"] for row in rows if row["failure"] is not None), None)


def is_asked(prompt: ChunkPrompt | Failure | None) -> TypeGuard[ChunkPrompt]:
    """False for a chunk that no refiner is asked about: a line longer than the window, or lines that the prompt cuts
    (tokens may join otherwise there than where they were counted). No program may touch what it was not written for.
    """
    return prompt is not None and not isinstance(prompt, Failure) and not prompt.cut


def finish_document(
    document: Document,
    style: Style,
    chunks: Sequence[ledger.Row],
    guards: tuple[Guards, DocumentGuards],
    writer: UnitWriter,
) -> bool:
    """Runs a document's programs, records it, and drops or refines it in place; False when it is dropped."""
    refined = ledger.replay(document.text, style, chunks, *guards)
    writer.record(ledger.document_row(document.id, document.text, style, chunks, refined))
    if refined.verdict == "dropped":
        writer.drop(document, refined.reason)
        return False
    document.text = refined.text
    return True


def failures_by_unit(output: Path) -> dict[Path, list[str]]:
    """Why documents failed, of each unit of the ledger."""
    tables = {file: pq.read_table(file, columns=["verdict", "reason"]) for file in unit_files(output, LEDGER)}
    return {
        file: [row["reason"] for row in table.to_pylist() if row["verdict"] == "failed"]
        for file, table in tables.items()
    }


def write_statistics(output: Path, counts: dict[str, Any]) -> dict[str, Any]:
    """Writes ``stats.json`` of a chunk ledger's artefact; returns the summary."""
    rows = (row for file in unit_files(output, LEDGER) for row in read_rows(file))
    found = ledger.count_rows(rows)
    write_json(output / "stats.json", counts | {"ledger": found})
    verdicts = found["documents"]
    summary = {key: counts[key] for key in ("documents", "kept", "dropped")}
    summary |= {key: verdicts.get(key, 0) for key in ("edited", "failed")}
    chunks, skipped = sum(found["chunks"].values()), found["programs"].get("skipped", 0)
    if skipped > chunks / 2:
        log.warning(
            "refinement chunk: %d of %d chunks were not shown to the refiner, and stay as they are (%s)",
            skipped,
            chunks,
            ", ".join(f"{name} {found['guards'][name]}" for name in SKIP_REASONS if name in found["guards"]),
        )
    return summary | {"chunks": chunks, "skipped": skipped}


def refine_chunks(config: ChunkConfig) -> dict[str, Any]:
    """Runs the chunk stage on every unit."""
    writer = UnitWriter(config.documents, config.output, LEDGER_SCHEMA)
    counts = run_units("refinement chunk", config, [ChunkStep(config, writer)], writer)
    check_failed_share(failures_by_unit(config.output), counts["documents"], config.max_failed_share)
    return write_statistics(config.output, counts)
