"""Chunk stage: the refiner writes a program for each chunk, the programs are run, the chunks joined again."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.batching import batched

from prox.answers import is_cut_off, program_of
from prox.artifact import write_json
from prox.chunking import Chunk, count_by_tokens, split_into_chunks
from prox.engines import Completion
from prox.errors import UserError
from prox.executor import CallResult, Execution, count_words, execute, join_chunks
from prox.program import Fault, Style, render_program
from prox.units import LEDGER, source_hash, unit_files
from refinement.configs import ChunkConfig, DocumentGuards
from refinement.pipeline import UnitWriter
from refinement.refiner import Refiner, load_refiner, log_once
from refinement.tasks import run_units

# A shorter window would cut pages into single lines.
SMALLEST_LOWERED_WINDOW = 32

_CALL = pa.struct([("call", pa.string()), ("status", pa.string()), ("count", pa.int64())])
_CHUNK = pa.struct(
    [
        ("first_line", pa.int64()),
        ("num_lines", pa.int64()),
        ("skipped", pa.bool_()),  # longer than the window: no refiner saw it
        ("program", pa.string()),  # as generated
        ("cut_off", pa.bool_()),  # the answer reached max_new_tokens: its last line is not run
        ("verdict", pa.string()),
        ("reason", pa.string()),  # the guard that decided
        ("calls", pa.list_(_CALL)),
    ]
)
LEDGER_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source_hash", pa.string()),
        ("verdict", pa.string()),  # unchanged | edited | dropped
        ("reason", pa.string()),
        ("chunks", pa.list_(_CHUNK)),
    ]
)


@dataclass(frozen=True)
class RefinedChunk:
    """A chunk with its program (None: skipped) and what running it did."""

    chunk: Chunk
    completion: Completion | None
    execution: Execution

    def ledger_row(self, style: Style) -> dict[str, Any]:
        """The chunk as the ledger keeps it."""
        return {
            "first_line": self.chunk.first_line,
            "num_lines": self.chunk.text.count("\n") + 1,
            "skipped": self.completion is None,
            "program": self.completion.text if self.completion else "",
            "cut_off": self.completion is not None and is_cut_off(self.completion),
            "verdict": self.execution.verdict,
            "reason": self.execution.reason,
            "calls": [_call_row(call, style) for call in self.execution.calls],
        }


def _call_row(result: CallResult, style: Style) -> dict[str, Any]:
    operation = result.operation
    call = operation.text if isinstance(operation, Fault) else render_program([operation], style)
    return {"call": call, "status": result.status, "count": result.count}


@dataclass(frozen=True)
class Limits:
    """The longest chunk, prompt and answer, in tokens."""

    window: int
    prompt: int
    max_new_tokens: int


def fit_limits(config: ChunkConfig, refiner: Refiner) -> Limits:
    """The config's window and answer length, lowered where the refiner's context can't hold both and the frame.

    Raises ``UserError`` where no usable window would be left.
    """
    context = refiner.engine.max_context
    empty = refiner.dialogue.chunk_text(Chunk(0, ""), refiner.tokenizer, context)
    frame = len(refiner.dialogue.encode(empty, refiner.tokenizer))
    window, max_new_tokens = config.window, config.max_new_tokens
    if window + frame + max_new_tokens > context:
        max_new_tokens = min(max_new_tokens, context // 4)
        window = min(window, context - frame - max_new_tokens)
    if window < min(config.window, SMALLEST_LOWERED_WINDOW):
        raise UserError(
            f"the refiner's context of {context} tokens has no room for chunks beside the prompt's frame of {frame} "
            f"and an answer of {max_new_tokens}: use a refiner with a longer context, or a shorter dialogue"
        )
    settings = (("window", config.window, window), ("max_new_tokens", config.max_new_tokens, max_new_tokens))
    lowered = [f"--{name} {asked} is lowered to {used}" for name, asked, used in settings if used < asked]
    if lowered:
        log_once(f"refinement chunk: {', '.join(lowered)}: the refiner's context is {context}")
    return Limits(window, context - max_new_tokens, max_new_tokens)


def run_program(chunk: Chunk, completion: Completion, style: Style, config: ChunkConfig) -> RefinedChunk:
    """Parses and runs one answer."""
    execution = execute(program_of(completion, style), chunk.text, chunk.first_line, config.guards)
    return RefinedChunk(chunk, completion, execution)


def judge(before: str, after: str | None, guards: DocumentGuards) -> str:
    """Why an edited document is dropped; empty when it is kept."""
    if after is None:
        return "all_lines_removed"
    if after == before:
        return ""
    words_before, words_after = count_words(before), count_words(after)
    if words_before and words_after / words_before <= guards.min_kept_share:
        return "min_kept_share"
    return "min_words_left" if words_after < min(guards.min_words_left, words_before) else ""


class ChunkStep(PipelineStep):
    """Refines the documents of one unit."""

    name, type = "chunk programs", "REFINER"

    def __init__(self, config: ChunkConfig, writer: UnitWriter) -> None:
        super().__init__()
        self.config, self.writer = config, writer

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Yields the documents that are left, refined."""
        refiner = load_refiner(self.config)
        limits = fit_limits(self.config, refiner)
        for batch in batched(data, self.config.documents_per_batch):
            documents = list(batch)
            for document, chunks in zip(documents, self._refine(documents, refiner, limits), strict=True):
                yield from self._finish(document, chunks, refiner.dialogue.style)

    def _refine(self, documents: list[Document], refiner: Refiner, limits: Limits) -> list[list[RefinedChunk]]:
        """The refined chunks of each document; all prompts go to the engine in one call, which sorts them by length."""
        count = count_by_tokens(refiner.tokenizer)
        chunks = [split_into_chunks(document.text, limits.window, count) for document in documents]
        asked = [chunk for of_document in chunks for chunk in of_document if not chunk.skipped]
        tokenizer = refiner.tokenizer
        prompts = [
            refiner.dialogue.encode(refiner.dialogue.chunk_text(chunk, tokenizer, limits.prompt), tokenizer)
            for chunk in asked
        ]
        answers = iter(refiner.engine.generate(prompts, limits.max_new_tokens) if prompts else [])
        style = refiner.dialogue.style
        return [
            [
                RefinedChunk(chunk, None, Execution(chunk.text, "unchanged", "longer_than_window", ()))
                if chunk.skipped
                else run_program(chunk, next(answers), style, self.config)
                for chunk in of_document
            ]
            for of_document in chunks
        ]

    def _finish(self, document: Document, chunks: list[RefinedChunk], style: Style) -> DocumentsPipeline:
        """Joins the chunks, records the document and yields it unless it is dropped."""
        refined = join_chunks([chunk.execution for chunk in chunks])
        reason = judge(document.text, refined, self.config.document_guards)
        unchanged = refined == document.text
        self.writer.record(
            {
                "id": document.id,
                "source_hash": source_hash(document.text),
                "verdict": "dropped" if reason else "unchanged" if unchanged else "edited",
                "reason": reason,
                "chunks": [chunk.ledger_row(style) for chunk in chunks],
            }
        )
        if reason:
            self.writer.drop(document, reason)
            return
        document.text = refined
        yield document


def count_ledger(config: ChunkConfig) -> dict[str, dict[str, int]]:
    """Counts over the ledger: documents and chunks by verdict, calls by status, and the guards that decided."""
    counts: dict[str, Counter[str]] = {
        name: Counter() for name in ("documents", "chunks", "guards", "calls", "programs")
    }
    for file in unit_files(config.output, LEDGER):
        for row in pq.read_table(file, columns=["verdict", "chunks"]).to_pylist():
            counts["documents"][row["verdict"]] += 1
            for chunk in row["chunks"]:
                counts["chunks"][chunk["verdict"]] += 1
                counts["guards"][chunk["reason"]] += bool(chunk["reason"])
                counts["calls"].update(call["status"] for call in chunk["calls"])
                counts["programs"].update(flag for flag in ("skipped", "cut_off") if chunk[flag])
                # Neither a call nor a fault, for example nothing but line breaks: not the same as keep_chunk().
                counts["programs"]["empty"] += not chunk["calls"] and not chunk["skipped"]
    return {name: dict(+counter) for name, counter in counts.items()}


def refine_chunks(config: ChunkConfig) -> dict[str, Any]:
    """Runs the chunk stage on every unit."""
    writer = UnitWriter(config.documents, config.output, LEDGER_SCHEMA)
    counts = run_units("refinement chunk", config, [ChunkStep(config, writer)], writer)
    ledger = count_ledger(config)
    write_json(config.output / "stats.json", counts | {"ledger": ledger})
    summary = {key: counts[key] for key in ("documents", "kept", "dropped")}
    return summary | {"edited": ledger["documents"].get("edited", 0), "chunks": sum(ledger["chunks"].values())}
