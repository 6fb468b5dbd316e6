"""Scores seed documents (paper, A.1): two prompts, two scores from 0 to 5, Equation 2."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from datatrove.data import Document

from annotation import journal, seeds, tables
from annotation.annotators import Annotator, Outcome, Request, Unreadable, ask, load_annotator, sampling
from annotation.configs import ScoreConfig
from annotation.templates import Prompt, load_prompt
from prox.engines import Completion
from prox.progress import Progress

SCORES = "scores.jsonl"

_AFTER_SCORE = re.compile(r"[\s*_.\"]*(?:(?:/|out of)\s*5)?[\s*_.\"]*(?:points?)?[\s*_.\"]*")


@dataclass(frozen=True)
class Decision:
    """Whether a document is kept, and the case of Equation 2 that decided it."""

    decision: Literal["keep", "drop"]
    rule: str


def equation_2(edu_score: int, format_score: int) -> Decision:
    """The paper's filtering criteria; the case they leave open (2 with a format score below 4) drops."""
    if edu_score >= 3:
        return Decision("keep", "edu_at_least_3")
    if edu_score == 2:
        return Decision("keep", "edu_2_format_at_least_4") if format_score >= 4 else Decision("drop", "equation_2_gap")
    return Decision("drop", "edu_below_2")


def read_score(answer: str, closing: str) -> int:
    """The number on the answer's last closing line (``Educational score: 3``, ``**Educational score: 3/5**``).

    The closing must stand at the start of a line. Raises ``Unreadable`` where there is none, or none from 0 to 5.
    """
    start, gap = r"^(?:[^\w\n]|_)*", r"[ \t*_]*"
    pattern = rf"{start}{re.escape(closing)}{gap}:{gap}(-?\d+(?:\.\d+)?)(.*)$"
    lines = re.findall(pattern, answer, re.IGNORECASE | re.MULTILINE)
    if not lines:
        raise Unreadable(f"no line '{closing}: <number>'")
    number, rest = lines[-1]
    if not re.fullmatch(r"[0-5]", number) or not _AFTER_SCORE.fullmatch(rest):
        raise Unreadable(f"'{closing}: {number}{rest[:40]}' is no whole number from 0 to 5")
    return int(number)


class Scorer:
    """Turns documents into rows of ``scores.jsonl``, or rows for ``aside.jsonl`` that carry a ``reason``."""

    def __init__(self, config: ScoreConfig, annotator: Annotator) -> None:
        self.config, self.annotator = config, annotator
        self.edu, self.format = load_prompt(config.prompts.edu), load_prompt(config.prompts.format)
        self.reminder = load_prompt(config.prompts.reminder)

    def __call__(self, documents: Sequence[Document]) -> list[tables.Row]:
        requests = [request for document in documents for request in self._requests(document.text)]
        outcomes = ask(self.annotator, requests, self._read, self.config.annotator.num_retries, self.reminder)
        pairs = zip(outcomes[::2], outcomes[1::2], strict=True)
        return [self._row(document.id, edu, format_) for document, (edu, format_) in zip(documents, pairs, strict=True)]

    def _requests(self, text: str) -> list[Request]:
        text = text[: self.config.max_document_characters]
        names = self.config.prompts

        def request(task: Literal["edu", "format"], prompt: Prompt, closing: str) -> Request:
            message = {"role": "user", "content": prompt.fill(document=text)}
            return Request(task, text, (message,), closing=closing)

        return [request("edu", self.edu, names.edu_closing), request("format", self.format, names.format_closing)]

    @staticmethod
    def _read(request: Request, completion: Completion) -> int:
        return read_score(completion.text, request.closing)

    def _row(self, document_id: str, edu: Outcome[int], format_: Outcome[int]) -> tables.Row:
        row: tables.Row = {"id": document_id}
        common = {
            "edu_answer": edu.answer,
            "format_answer": format_.answer,
            "annotator": self.annotator.name,
            "model": self.annotator.model,
            "prompts": {
                "edu": {"file": self.edu.name, "sha256": self.edu.sha256},
                "format": {"file": self.format.name, "sha256": self.format.sha256},
            },
            "sampling": sampling(self.config.annotator),
        }
        for task, outcome in (("edu", edu), ("format", format_)):
            if outcome.value is None:
                failed = {"failed": True} if outcome.failed else {}
                return row | {"reason": outcome.reason, "task": task} | failed | common
        decision = equation_2(edu.value, format_.value)
        scores = {"edu_score": edu.value, "format_score": format_.value}
        return row | scores | {"decision": decision.decision, "rule": decision.rule} | common


def score(config: ScoreConfig) -> dict[str, Any]:
    """Scores a random sample of the documents; returns counts."""
    annotator = load_annotator(config.annotator, config.engine)
    path = config.output / SCORES
    # The final file replaces the journal: where it stands, an earlier run was killed after its last request.
    if not path.is_file():
        seeds.require_documents(config.documents)
        ids = seeds.draw(seeds.document_ids(config.documents), config.num_documents, config.seed, "seed documents")
        with Progress(f"scoring by the {annotator.name}", len(ids), "documents") as progress:
            rows = journal.work_off(
                config.output,
                _items(config, ids),
                Scorer(config, annotator),
                config.batch_size,
                progress,
                config.max_failed_share,
            )
        journal.finish(config.output, SCORES, rows)
    return _summary(config, annotator)


def _items(config: ScoreConfig, ids: set[str]) -> Iterator[tuple[str, Document]]:
    for document in seeds.chosen_documents(config.documents, ids):
        yield journal.key_of(document.id), document


def _summary(config: ScoreConfig, annotator: Annotator) -> dict[str, Any]:
    decisions = Counter(row["decision"] for row in tables.read_rows(config.output / SCORES))
    aside = len(tables.read_rows(config.output / tables.ASIDE))
    return {"annotator": annotator.name, "kept": decisions["keep"], "dropped": decisions["drop"], "aside": aside}
