"""Document stage: each document is kept or dropped by the refiner's document program."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from prox import ledger
from prox.artifact import write_json
from prox.decision import DROP_ANSWER, KEEP_ANSWER, answer_tokens, keep_probability_of_prompts
from prox.dialogue import Prompt, PromptRenderer
from prox.engines import Completion, Failure
from prox.grammar import program_grammar
from prox.isolation import isolated
from prox.logs import log_once
from prox.program import DropDoc, KeepDoc, parse_program
from prox.units import LEDGER, source_hash, unit_files
from refinement.asking import answered, check_failed_share
from refinement.configs import DocumentConfig
from refinement.pipeline import UnitWriter
from refinement.refiner import Refiner, load_refiner, record_asking
from refinement.tasks import run_units

LEDGER_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source_hash", pa.string()),
        ("p_keep", pa.float64()),  # null when the answer was decoded
        ("program", pa.string()),  # as generated; with logits the program that was chosen
        ("decision", pa.string()),  # keep | drop
        ("readable", pa.bool_()),  # false: no program of the document stage, so the document is kept
        ("truncated", pa.bool_()),  # the refiner saw only a part of the document
        ("failure", pa.string()),  # why the refiner gave no answer; the document is kept
        ("prompt_tokens", pa.int64()),  # of the refiner's tokenizer, as read and generated
        ("answer_tokens", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Answer:
    """What the refiner said of one document."""

    program: str
    keep: bool
    readable: bool = True
    p_keep: float | None = None
    failure: str | None = None
    tokens: int = 0
    """Tokens generated."""


def read_answer(program: str) -> Answer:
    """Reads a decoded answer. Unless it says one thing only it is unreadable, and the document is kept."""
    parsed = parse_program(program)
    said = {type(operation) for operation in parsed.operations}
    if len(said) != 1 or parsed.faults or not said <= {DropDoc, KeepDoc}:
        return Answer(program, keep=True, readable=False)
    return Answer(program, keep=said == {KeepDoc})


def by_probability(p_keep: float, threshold: float) -> Answer:
    """The answer that a probability stands for."""
    keep = p_keep >= threshold
    return Answer(KEEP_ANSWER if keep else DROP_ANSWER, keep, p_keep=p_keep)


def recorded_answer(row: ledger.Row) -> Answer:
    """The answer that a ledger row holds."""
    keep = row["decision"] == "keep"
    return Answer(row["program"], keep, row["readable"], row["p_keep"], row["failure"], row["answer_tokens"])


class DocumentStep(PipelineStep):
    """Asks the refiner about the documents of one unit."""

    name, type = "document programs", "REFINER"

    def __init__(self, config: DocumentConfig, writer: UnitWriter) -> None:
        super().__init__()
        self.config, self.writer = config, writer

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Yields the documents to keep."""
        refiner = load_refiner(self.config)
        longest = self._prompt_limit(refiner)
        record_asking(self.config.output, refiner, {"max_prompt_tokens": longest})
        renderer = PromptRenderer(refiner.dialogue, refiner.prompt_tokenizer, longest)
        # With logits the answers' common beginning is read too.
        more = answer_tokens(refiner.engine) - 1 if self.config.decision == "logits" else 0

        def render(documents: Sequence[Document]) -> list[Prompt]:
            return renderer.documents([document.text for document in documents], self.config.excerpt)

        def ask(_: Sequence[Document], prompts: Sequence[Prompt | Failure]) -> list[Answer]:
            return self._ask(prompts, refiner)

        found = answered(data, self.config.documents_per_batch, render, ask, lambda answer: answer.failure)
        for document, prompt, answer in found:
            if finish_document(document, source_row(document, prompt, more), answer, self.writer):
                yield document

    def _prompt_limit(self, refiner: Refiner) -> int:
        """Longest prompt, in tokens, that leaves the answer room in the refiner's context."""
        by_logits = self.config.decision == "logits"
        room = answer_tokens(refiner.engine) if by_logits else self.config.max_new_tokens
        context = refiner.engine.max_context
        longest = refiner.dialogue.prompt_room(min(self.config.max_prompt_tokens, context - room))
        if longest < self.config.max_prompt_tokens:
            log_once(
                f"refinement document: --max_prompt_tokens {self.config.max_prompt_tokens} is lowered to {longest}: "
                f"the refiner's context is {context}{refiner.taught_with()}"
            )
        return longest

    def _ask(self, prompts: Sequence[Prompt | Failure], refiner: Refiner) -> list[Answer]:
        """An answer to each prompt; all go to the engine in one call."""
        asked = [prompt.ids for prompt in prompts if isinstance(prompt, Prompt)]
        grammar = program_grammar("document") if self.config.constrained else None

        def ask(ids: Sequence[list[int]]) -> Sequence[float | Completion | Failure]:
            if self.config.decision == "logits":
                return keep_probability_of_prompts(refiner.engine, ids)
            return refiner.engine.generate(ids, self.config.max_new_tokens, grammar=grammar)

        answers = iter(isolated(ask, asked, lambda prompt: f"a document's prompt of {len(prompt)} tokens"))
        return [self._read(next(answers) if isinstance(prompt, Prompt) else prompt) for prompt in prompts]

    def _read(self, said: float | Completion | Failure) -> Answer:
        if isinstance(said, Failure):
            return Answer("", keep=True, failure=said.reason)
        if isinstance(said, Completion):
            return dataclasses.replace(read_answer(said.text), tokens=said.num_tokens)
        return by_probability(said, self.config.threshold)


def source_row(document: Document, prompt: Prompt | Failure, more_tokens: int) -> dict[str, Any]:
    """What the ledger says of a document and its prompt, which was read with so many tokens more."""
    row = {"id": document.id, "source_hash": source_hash(document.text)}
    if isinstance(prompt, Failure):
        return row | {"truncated": False, "prompt_tokens": 0}
    return row | {"truncated": prompt.cut, "prompt_tokens": len(prompt.ids) + more_tokens}


def finish_document(document: Document, row: dict[str, Any], answer: Answer, writer: UnitWriter) -> bool:
    """Records a document, ``row`` with the answer, and drops it where the answer says so; False when it is dropped."""
    said = {
        "p_keep": answer.p_keep,
        "program": answer.program,
        "decision": "keep" if answer.keep else "drop",
        "readable": answer.readable,
        "failure": answer.failure,
        "answer_tokens": answer.tokens,
    }
    writer.record({**row, **said})
    if not answer.keep:
        writer.drop(document, "drop_doc")
    return answer.keep


def failures_by_unit(output: Path) -> dict[Path, list[str]]:
    """Why documents failed, of each unit of the ledger."""
    columns = {file: pq.read_table(file, columns=["failure"])["failure"] for file in unit_files(output, LEDGER)}
    return {file: column.drop_null().to_pylist() for file, column in columns.items()}


def write_statistics(output: Path, counts: dict[str, Any]) -> dict[str, Any]:
    """Writes ``stats.json`` of a document ledger's artefact; returns the summary."""
    flags: Counter[str] = Counter(unreadable=0, truncated=0)
    for file in unit_files(output, LEDGER):
        columns = pq.read_table(file, columns=["readable", "truncated"])
        flags["unreadable"] += columns["readable"].to_pylist().count(False)
        flags["truncated"] += columns["truncated"].to_pylist().count(True)
    flags["failed"] = sum(map(len, failures_by_unit(output).values()))
    write_json(output / "stats.json", counts | flags)
    return {key: counts[key] for key in ("documents", "kept", "dropped")} | flags


def refine_documents(config: DocumentConfig) -> dict[str, Any]:
    """Runs the document stage on every unit."""
    writer = UnitWriter(config.documents, config.output, LEDGER_SCHEMA)
    counts = run_units("refinement document", config, [DocumentStep(config, writer)], writer)
    check_failed_share(failures_by_unit(config.output), counts["documents"], config.max_failed_share)
    return write_statistics(config.output, counts)
