"""Document stage: each document is kept or dropped by the refiner's document program."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.batching import batched

from prox.artifact import write_json
from prox.decision import DROP_ANSWER, KEEP_ANSWER, answer_tokens, keep_probability_of_prompts
from prox.dialogue import PromptRenderer
from prox.program import DropDoc, KeepDoc, parse_program
from prox.units import LEDGER, source_hash, unit_files
from refinement.configs import DocumentConfig
from refinement.pipeline import UnitWriter
from refinement.refiner import Refiner, load_refiner, log_once
from refinement.tasks import run_units

LEDGER_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source_hash", pa.string()),
        ("p_keep", pa.float64()),  # null when the answer was decoded
        ("program", pa.string()),  # as generated; with logits the program that was chosen
        ("decision", pa.string()),  # keep | drop
        ("readable", pa.bool_()),  # false: no program of the document stage, so the document is kept
        ("truncated", pa.bool_()),  # the refiner saw only the document's beginning
    ]
)


@dataclass(frozen=True)
class Answer:
    """What the refiner said of one document."""

    program: str
    keep: bool
    readable: bool = True
    p_keep: float | None = None


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


class DocumentStep(PipelineStep):
    """Asks the refiner about the documents of one unit."""

    name, type = "document programs", "REFINER"

    def __init__(self, config: DocumentConfig, writer: UnitWriter) -> None:
        super().__init__()
        self.config, self.writer = config, writer

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Yields the documents to keep."""
        refiner = load_refiner(self.config)
        refiner.dialogue.save(self.config.output)
        renderer = PromptRenderer(refiner.dialogue, refiner.tokenizer, self._prompt_limit(refiner))
        for documents in batched(data, self.config.documents_per_batch):
            yield from self._decide(list(documents), refiner, renderer)

    def _prompt_limit(self, refiner: Refiner) -> int:
        """Longest prompt, in tokens, that leaves the answer room in the refiner's context."""
        by_logits = self.config.decision == "logits"
        room = answer_tokens(refiner.engine) if by_logits else self.config.max_new_tokens
        context = refiner.engine.max_context
        longest = min(self.config.max_prompt_tokens, context - room)
        if longest < self.config.max_prompt_tokens:
            log_once(
                f"refinement document: --max_prompt_tokens {self.config.max_prompt_tokens} is lowered to {longest}: "
                f"the refiner's context is {context}"
            )
        return longest

    def _decide(self, documents: list[Document], refiner: Refiner, renderer: PromptRenderer) -> DocumentsPipeline:
        prompts = renderer.documents([document.text for document in documents])
        ids = [prompt.ids for prompt in prompts]
        if self.config.decision == "logits":
            probabilities = keep_probability_of_prompts(refiner.engine, ids)
            answers = [by_probability(p_keep, self.config.threshold) for p_keep in probabilities]
        else:
            completions = refiner.engine.generate(ids, self.config.max_new_tokens)
            answers = [read_answer(completion.text) for completion in completions]
        for document, prompt, answer in zip(documents, prompts, answers, strict=True):
            row = {"id": document.id, "source_hash": source_hash(document.text), "truncated": prompt.cut}
            if finish_document(document, row, answer, self.writer):
                yield document


def finish_document(document: Document, row: dict[str, Any], answer: Answer, writer: UnitWriter) -> bool:
    """Records a document, ``row`` with the answer, and drops it where the answer says so; False when it is dropped."""
    decision = "keep" if answer.keep else "drop"
    said = {"p_keep": answer.p_keep, "program": answer.program, "decision": decision, "readable": answer.readable}
    writer.record({**row, **said})
    if not answer.keep:
        writer.drop(document, "drop_doc")
    return answer.keep


def write_statistics(output: Path, counts: dict[str, Any]) -> dict[str, Any]:
    """Writes ``stats.json`` of a document ledger's artefact; returns the summary."""
    flags: Counter[str] = Counter(unreadable=0, truncated=0)
    for file in unit_files(output, LEDGER):
        columns = pq.read_table(file, columns=["readable", "truncated"])
        flags["unreadable"] += columns["readable"].to_pylist().count(False)
        flags["truncated"] += columns["truncated"].to_pylist().count(True)
    write_json(output / "stats.json", counts | flags)
    return {key: counts[key] for key in ("documents", "kept", "dropped")} | flags


def refine_documents(config: DocumentConfig) -> dict[str, Any]:
    """Runs the document stage on every unit."""
    writer = UnitWriter(config.documents, config.output, LEDGER_SCHEMA)
    counts = run_units("refinement document", config, [DocumentStep(config, writer)], writer)
    return write_statistics(config.output, counts)
