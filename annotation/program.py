"""Writes chunk programs for kept documents (paper, A.1): one prompt a kind of noise, merged, checked."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from datatrove.data import Document

from annotation import chunks, merging, seeds, tables
from annotation.annotate import annotate, attribution
from annotation.annotators import Annotator, Request, load_annotator
from annotation.asking import Outcome, Unreadable
from annotation.configs import ProgramConfig
from annotation.score import SCORES
from annotation.tables import Row
from annotation.templates import Prompt
from prox import chunking
from prox.chunking import Chunk
from prox.engines import Completion
from prox.errors import UserError
from prox.program import Program, render_program
from prox.progress import track

PROGRAMS = "programs.jsonl"


@dataclass(frozen=True)
class DocumentChunk:
    """A chunk and the document it is from."""

    document_id: str
    chunk: Chunk


def chunk_requests(prompts: dict[str, Prompt], text: str, first_line: int) -> list[Request]:
    """What is asked about a chunk: every prompt, with the numbered lines."""
    numbered = chunking.number_lines(text, first_line)
    return [
        Request(task, text, prompt, (prompt.message(numbered),), first_line=first_line)
        for task, prompt in prompts.items()
    ]


class Programmer:
    """Turns chunks into rows of ``programs.jsonl``, or rows for ``aside.jsonl`` that carry a ``reason``."""

    def __init__(self, config: ProgramConfig, annotator: Annotator) -> None:
        self.config = config
        self.prompts = config.load_prompts()
        self.attribution = attribution(config, annotator, self.prompts)
        self.counts: Counter[str] = Counter()

    def requests(self, item: DocumentChunk) -> list[Request]:
        """See ``Job.requests``."""
        return chunk_requests(self.prompts, item.chunk.text, item.chunk.first_line)

    @staticmethod
    def read(request: Request, answer: Completion) -> Program:
        """See ``Job.read``."""
        return merging.read_program(answer, request.text, request.first_line)

    def row(self, item: DocumentChunk, outcomes: Sequence[Outcome]) -> Row:
        """See ``Job.row``."""
        chunk, max_removed_share = item.chunk, self.config.max_removed_share
        row: Row = {"id": item.document_id, "first_line": chunk.first_line, "text": chunk.text}
        answers = {task: outcome.answer for task, outcome in zip(self.prompts, outcomes, strict=True)}
        tries = {task: outcome.tries for task, outcome in zip(self.prompts, outcomes, strict=True)}
        common = {"answers": answers, "tries": tries, **self.attribution}
        for task, outcome in zip(self.prompts, outcomes, strict=True):
            if outcome.value is None:
                return row | {"reason": outcome.reason, "task": task} | common
        merged = merging.merge([outcome.value for outcome in outcomes], chunk.text, chunk.first_line)
        rendered = {"program": render_program(merged.program.operations), "merged": merged.facts()}
        try:
            merging.check(merged.program, chunk.text, chunk.first_line, max_removed_share)
        except Unreadable as reason:
            return row | {"reason": str(reason), "task": "merged"} | rendered | common
        self.counts["untouched" if rendered["program"] == tables.KEEP_CHUNK else "edited"] += 1
        return row | rendered | common


def program(config: ProgramConfig) -> dict[str, Any]:
    """Writes programs for the chunks of kept documents; returns counts."""
    if config.merge_into is not None:
        from annotation.second import merge_edges

        return merge_edges(config)
    kept = kept_documents(config)
    annotator = load_annotator(config.annotator, config.engine, config.batch_size)
    programmer = Programmer(config, annotator)
    chosen = Chosen(config, kept)
    summary = annotate(config, PROGRAMS, "chunks", annotator, programmer, chosen.chunks(), len(chosen.keys))
    counts = {"edited": programmer.counts["edited"], "untouched": programmer.counts["untouched"]}
    return {"annotator": annotator.name, **counts, **summary, "skipped_long_lines": chosen.num_skipped}


def kept_documents(config: ProgramConfig) -> set[str]:
    """Ids of the documents that the scores keep; none is a ``UserError``."""
    decisions = {row["id"]: row["decision"] for row in tables.iterate_rows(config.scores / SCORES)}
    kept = {identity for identity, decision in decisions.items() if decision == "keep"}
    if not kept:
        raise UserError(f"{config.scores / SCORES} keeps none of {len(decisions)} documents: there is nothing to clean")
    return kept


def chunks_of(config: ProgramConfig, document: Document, count: chunking.Counter) -> tuple[dict[str, Chunk], int]:
    """(the chunks that may be annotated, by their keys; how many lines were too long for any chunk)."""
    parts = chunking.split_into_chunks(document.text, config.window, count)
    drawn = chunks.draw_of_document(document.id, parts, config.max_chunks_per_document, config.seed)
    return drawn, sum(chunk.skipped for chunk in parts)


class Chosen:
    """Which chunks are annotated: found in one pass over the documents, so that their number is known beforehand."""

    def __init__(self, config: ProgramConfig, kept: set[str]) -> None:
        self.config, self.kept = config, kept
        self.num_skipped = 0
        self._count = chunks.line_counter(config.tokenizer)
        keys: list[str] = []
        self._documents: set[str] = set()
        for document in track(seeds.chosen_documents(config.documents, kept), "chunking", len(kept), "documents"):
            found, num_skipped = chunks_of(config, document, self._count)
            keys.extend(found)
            self.num_skipped += num_skipped
        self.keys = seeds.draw(keys, config.num_chunks, config.seed, "chosen chunks")

    def chunks(self) -> Iterator[DocumentChunk]:
        """The chosen chunks, in corpus order."""
        for document in seeds.chosen_documents(self.config.documents, self.kept):
            for key, chunk in chunks_of(self.config, document, self._count)[0].items():
                if key in self.keys:
                    yield DocumentChunk(document.id, chunk)
