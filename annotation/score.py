"""Scores seed documents (paper, A.1): two prompts, two scores from 0 to 5, Equation 2."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from datatrove.data import Document

from annotation import seeds
from annotation.annotate import annotate, attribution
from annotation.annotators import Annotator, Request, load_annotator
from annotation.asking import Outcome, Unreadable
from annotation.configs import ScoreConfig
from annotation.tables import Row
from prox.engines import Completion
from prox.engines.prompts import BYTES_PER_TOKEN

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

    The closing must stand at the start of a line. Only the last such line counts, so one that the answer quotes from
    the document does not. Raises ``Unreadable`` where there is none, or none from 0 to 5.
    """
    start, gap = r"^(?:[^\w\n]|_)*", r"[ \t*_]*"
    pattern = rf"{start}{re.escape(closing)}{gap}:{gap}(-?\d+(?:\.\d+)?)(.*)$"
    lines = re.findall(pattern, answer, re.IGNORECASE | re.MULTILINE)
    if not lines:
        raise Unreadable(f"no_score: no line '{closing}: <number>'")
    number, rest = lines[-1]
    if not re.fullmatch(r"[0-5]", number) or not _AFTER_SCORE.fullmatch(rest):
        raise Unreadable(f"bad_score: '{closing}: {number}{rest[:40]}' is no whole number from 0 to 5")
    return int(number)


def cut(text: str, num_tokens: int) -> str:
    """The beginning of a text, at four bytes a token."""
    content = text.encode("utf-8", "replace")
    size = num_tokens * BYTES_PER_TOKEN
    return text if len(content) <= size else content[:size].decode("utf-8", "ignore")


class Scorer:
    """Turns documents into rows of ``scores.jsonl``, or rows for ``aside.jsonl`` that carry a ``reason``."""

    def __init__(self, config: ScoreConfig, annotator: Annotator) -> None:
        self.config = config
        self.prompts = config.load_prompts()
        self.closings = {"edu": config.prompts.edu_closing, "format": config.prompts.format_closing}
        self.attribution = attribution(annotator, self.prompts)
        self.decisions: Counter[str] = Counter()

    def requests(self, document: Document) -> list[Request]:
        """See ``Job.requests``: both prompts."""
        text = cut(document.text, self.config.max_document_tokens)
        return [
            Request(task, text, prompt, (prompt.message(text),), closing=self.closings[task])
            for task, prompt in self.prompts.items()
        ]

    @staticmethod
    def read(request: Request, answer: Completion) -> int:
        """See ``Job.read``."""
        return read_score(answer.text, request.closing)

    def row(self, document: Document, outcomes: Sequence[Outcome]) -> Row:
        """See ``Job.row``."""
        edu, format_ = outcomes
        row: Row = {"id": document.id}
        is_cut = cut(document.text, self.config.max_document_tokens) != document.text
        common = {"edu_answer": edu.answer, "format_answer": format_.answer, "cut": is_cut, **self.attribution}
        for task, outcome in (("edu", edu), ("format", format_)):
            if outcome.value is None:
                return row | {"reason": outcome.reason, "task": task} | common
        decision = equation_2(edu.value, format_.value)
        self.decisions[decision.decision] += 1
        scores = {"edu_score": edu.value, "format_score": format_.value}
        return row | scores | {"decision": decision.decision, "rule": decision.rule} | common


def score(config: ScoreConfig) -> dict[str, Any]:
    """Scores a random sample of the documents; returns counts."""
    seeds.require_documents(config.documents)
    annotator = load_annotator(config.annotator, config.engine, config.batch_size)
    ids = seeds.draw(seeds.document_ids(config.documents), config.num_documents, config.seed, "seed documents")
    documents = seeds.chosen_documents(config.documents, ids)
    scorer = Scorer(config, annotator)
    summary = annotate(config, SCORES, "documents", annotator, scorer, documents, len(ids))
    decisions = {"kept": scorer.decisions["keep"], "dropped": scorer.decisions["drop"]}
    return {"annotator": annotator.name, **decisions, **summary}
