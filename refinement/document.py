"""Document stage: each document is kept or dropped by the refiner's document program."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.batching import batched

from prox.artifact import write_json
from prox.decision import DROP_ANSWER, KEEP_ANSWER, answer_tokens, keep_probability_of_prompts
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
    said = {type(operation) for operation in parse_program(program).operations}
    if said == {DropDoc}:
        return Answer(program, keep=False)
    return Answer(program, keep=True, readable=said == {KeepDoc})


class DocumentStep(PipelineStep):
    """Asks the refiner about the documents of one unit."""

    name, type = "document programs", "REFINER"

    def __init__(self, config: DocumentConfig, writer: UnitWriter) -> None:
        super().__init__()
        self.config, self.writer = config, writer

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Yields the documents to keep."""
        refiner = load_refiner(self.config)
        for documents in batched(data, self.config.documents_per_batch):
            yield from self._decide(list(documents), refiner)

    def _decide(self, documents: list[Document], refiner: Refiner) -> DocumentsPipeline:
        by_logits = self.config.decision == "logits"
        room = answer_tokens(refiner.engine) if by_logits else self.config.max_new_tokens
        context = refiner.engine.max_context
        longest = min(self.config.max_prompt_tokens, context - room)
        if longest < self.config.max_prompt_tokens:
            log_once(
                f"refinement document: --max_prompt_tokens {self.config.max_prompt_tokens} is lowered to {longest}: "
                f"the refiner's context is {context}"
            )
        texts = [refiner.dialogue.document_text(document.text, refiner.tokenizer, longest) for document in documents]
        prompts = [refiner.dialogue.encode(text, refiner.tokenizer) for text in texts]
        if by_logits:
            answers = [self._by_probability(p_keep) for p_keep in keep_probability_of_prompts(refiner.engine, prompts)]
        else:
            completions = refiner.engine.generate(prompts, self.config.max_new_tokens)
            answers = [read_answer(completion.text) for completion in completions]
        for document, text, answer in zip(documents, texts, answers, strict=True):
            self.writer.record(
                {
                    "id": document.id,
                    "source_hash": source_hash(document.text),
                    "p_keep": answer.p_keep,
                    "program": answer.program,
                    "decision": "keep" if answer.keep else "drop",
                    "readable": answer.readable,
                    "truncated": document.text not in text,
                }
            )
            if answer.keep:
                yield document
            else:
                self.writer.drop(document, "drop_doc")

    def _by_probability(self, p_keep: float) -> Answer:
        keep = p_keep >= self.config.threshold
        return Answer(KEEP_ANSWER if keep else DROP_ANSWER, keep, p_keep=p_keep)


def refine_documents(config: DocumentConfig) -> dict[str, Any]:
    """Runs the document stage on every unit."""
    writer = UnitWriter(config.documents, config.output, LEDGER_SCHEMA)
    counts = run_units("refinement document", config, [DocumentStep(config, writer)], writer)
    flags: Counter[str] = Counter(unreadable=0, truncated=0)
    for file in unit_files(config.output, LEDGER):
        columns = pq.read_table(file, columns=["readable", "truncated"])
        flags["unreadable"] += columns["readable"].to_pylist().count(False)
        flags["truncated"] += columns["truncated"].to_pylist().count(True)
    write_json(config.output / "stats.json", counts | flags)
    return {key: counts[key] for key in ("documents", "kept", "dropped")} | flags
