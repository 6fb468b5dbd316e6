"""Writes chunk programs for kept documents (paper, A.1): three prompts a chunk, merged, checked."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from annotation import journal, merging, seeds, tables
from annotation.annotators import Annotator, Outcome, Request, Unreadable, ask, load_annotator, sampling
from annotation.configs import ProgramConfig
from annotation.score import SCORES
from annotation.templates import load_prompt
from prox.chunking import (
    Chunk,
    count_by_tokens,
    count_by_words,
    number_lines,
    split_into_chunks,
)
from prox.engines import Completion
from prox.errors import UserError
from prox.program import Program, render_program
from prox.progress import Progress

PROGRAMS = "programs.jsonl"
TASKS: tuple[Literal["navigation", "links", "footer"], ...] = ("navigation", "links", "footer")


@dataclass(frozen=True)
class DocumentChunk:
    """A chunk and the document it is from."""

    document_id: str
    chunk: Chunk


class Programmer:
    """Turns chunks into rows of ``programs.jsonl``, or rows for ``aside.jsonl`` that carry a ``reason``."""

    def __init__(self, config: ProgramConfig, annotator: Annotator) -> None:
        self.config, self.annotator = config, annotator
        names = config.prompt_names()
        self.prompts = {task: load_prompt(names[task]) for task in TASKS}
        self.reminder = load_prompt(config.prompts.reminder)

    def __call__(self, chunks: Sequence[DocumentChunk]) -> list[tables.Row]:
        requests = [request for item in chunks for request in self._requests(item.chunk)]
        outcomes = ask(self.annotator, requests, self._read, self.config.annotator.num_retries, self.reminder)
        width = len(TASKS)
        groups = [outcomes[begin : begin + width] for begin in range(0, len(outcomes), width)]
        return [self._row(item, group) for item, group in zip(chunks, groups, strict=True)]

    def _requests(self, chunk: Chunk) -> list[Request]:
        numbered = number_lines(chunk.text, chunk.first_line)
        return [
            Request(
                task,
                chunk.text,
                ({"role": "user", "content": self.prompts[task].fill(document=numbered)},),
                first_line=chunk.first_line,
            )
            for task in TASKS
        ]

    @staticmethod
    def _read(request: Request, completion: Completion) -> Program:
        return merging.read_program(completion, request.text, request.first_line)

    def _row(self, item: DocumentChunk, outcomes: Sequence[Outcome[Program]]) -> tables.Row:
        chunk = item.chunk
        row: tables.Row = {"id": item.document_id, "first_line": chunk.first_line, "text": chunk.text}
        common = {
            "answers": {task: outcome.answer for task, outcome in zip(TASKS, outcomes, strict=True)},
            "annotator": self.annotator.name,
            "model": self.annotator.model,
            "prompts": {task: {"file": prompt.name, "sha256": prompt.sha256} for task, prompt in self.prompts.items()},
            "sampling": sampling(self.config.annotator),
        }
        for task, outcome in zip(TASKS, outcomes, strict=True):
            if outcome.value is None:
                failed = {"failed": True} if outcome.failed else {}
                return row | {"reason": outcome.reason, "task": task} | failed | common
        program = merging.merge([outcome.value for outcome in outcomes if outcome.value], chunk.text, chunk.first_line)
        rendered = {"program": render_program(program.operations)}
        try:
            merging.check(program, chunk.text, chunk.first_line, self.config.max_removed_share)
        except Unreadable as reason:
            return row | {"reason": str(reason), "task": "merged"} | rendered | common
        return row | rendered | common


def program(config: ProgramConfig) -> dict[str, Any]:
    """Writes programs for the chunks of kept documents; returns counts."""
    annotator = load_annotator(config.annotator, config.engine)
    path = config.output / PROGRAMS
    # The final file replaces the journal: where it stands, an earlier run was killed after its last request.
    if not path.is_file():
        scores = tables.read_rows(config.scores / SCORES)
        kept = {row["id"] for row in scores if row["decision"] == "keep"}
        if not kept:
            raise UserError(
                f"{config.scores / SCORES} keeps none of {len(scores)} documents: there is nothing to clean"
            )
        with Progress(f"programs by the {annotator.name}", None, "chunks") as progress:
            rows = journal.work_off(
                config.output,
                _items(config, kept),
                Programmer(config, annotator),
                config.batch_size,
                progress,
                config.max_failed_share,
            )
        journal.finish(config.output, PROGRAMS, rows)
    return _summary(config, annotator)


def _items(config: ProgramConfig, kept: set[str]) -> Iterator[tuple[str, DocumentChunk]]:
    count = count_by_words
    if config.tokenizer is not None:
        from prox.engines.local import load_tokenizer

        count = count_by_tokens(load_tokenizer(str(config.tokenizer)))
    for document in seeds.chosen_documents(config.documents, kept):
        chunks = [chunk for chunk in split_into_chunks(document.text, config.window, count) if not chunk.skipped]
        by_key = {journal.key_of(document.id, chunk.first_line): chunk for chunk in chunks}
        drawn = seeds.draw(by_key, config.max_chunks_per_document, config.seed, "chunks")
        for key, chunk in by_key.items():
            if key in drawn:
                yield key, DocumentChunk(document.id, chunk)


def _summary(config: ProgramConfig, annotator: Annotator) -> dict[str, Any]:
    rows = tables.read_rows(config.output / PROGRAMS)
    untouched = Counter(row["program"] == "keep_chunk()" for row in rows)
    aside = len(tables.read_rows(config.output / tables.ASIDE))
    return {"annotator": annotator.name, "edited": untouched[False], "untouched": untouched[True], "aside": aside}
