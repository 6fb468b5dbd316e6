"""Scores seed documents (paper, A.1): two prompts, two scores from 0 to 5, Equation 2."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from datatrove.data import Document

from annotation import seeds
from annotation.annotate import annotate, attribution
from annotation.annotators import Annotator, Request, load_annotator
from annotation.asking import Outcome, Unreadable
from annotation.configs import ScoreConfig
from annotation.tables import Row
from prox.engines import Completion
from prox.engines.prompts import BYTES_PER_TOKEN, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SCORES = "scores.jsonl"

_DECORATION = str.maketrans("", "", '*_`"[]<>()')
_NUMBER = re.compile(r"[:=] ?([0-5])(?: ?(?:/|out of) ?5)?(?: points?)? ?\.?", re.IGNORECASE)


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
    """The number on the answer's closing line (``Educational score: 3``, ``**Educational score:** 3/5``).

    Of several lines that hold the closing and a colon the last one counts, whatever it looks like: one that an answer
    quotes from the page before its own does not. Where others say something else it must be the answer's last line,
    since a quotation may also follow. Raises ``Unreadable`` where that line is no whole number from 0 to 5, or does not
    begin with the closing.
    """
    mark = re.compile(rf"{re.escape(closing)}[\s*_`\"]{{0,8}}[:=]", re.IGNORECASE)
    lines = [line.strip() for line in answer.split("\n") if line.strip()]
    claims = [line for line in lines if mark.search(line)]
    if not claims:
        raise Unreadable(f"no_score: no line '{closing}: <number>'")
    scores = [_score_on(line, closing) for line in claims]
    if scores[-1] is None:
        raise Unreadable(f"bad_score: '{claims[-1][:80]}' is not '{closing}: ' and a whole number from 0 to 5")
    if len(set(scores)) > 1 and claims[-1] is not lines[-1]:
        raise Unreadable(f"several_scores: end with one line '{closing}: <number>'")
    return scores[-1]


def _score_on(line: str, closing: str) -> int | None:
    """The number on a closing line; None where it is not one. A quoted line (``>``, quotation marks) is not."""
    begin = re.match(rf"[^\w>\"'\u201c]{{0,20}}_{{0,2}}{re.escape(closing)}", line, re.IGNORECASE)
    if begin is None:
        return None
    rest = re.sub(r"\s+", " ", line[begin.end() : begin.end() + 100].translate(_DECORATION)).strip()
    found = _NUMBER.fullmatch(rest)
    return int(found[1]) if found and len(line) - begin.end() <= 100 else None


def cut(text: str, num_tokens: int, tokenizer: "PreTrainedTokenizerBase | None" = None) -> str:
    """The beginning of a text: so many tokens of the tokenizer, or without one four bytes for each."""
    if tokenizer is None:
        content = text.encode("utf-8", "replace")
        size = num_tokens * BYTES_PER_TOKEN
        return text if len(content) <= size else content[:size].decode("utf-8", "ignore")
    # Eight characters a token are more than any tokenizer needs on average, and spare it the rest of a giant page.
    head = text[: num_tokens * 8]
    offsets = tokenizer(head, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return text if len(head) == len(text) and len(offsets) <= num_tokens else head[: offsets[:num_tokens][-1][1]]


@dataclass(frozen=True)
class Seed:
    """What is scored of a document."""

    id: str
    text: str
    is_cut: bool


class Scorer:
    """Turns documents into rows of ``scores.jsonl``, or rows for ``aside.jsonl`` that carry a ``reason``."""

    def __init__(self, config: ScoreConfig, annotator: Annotator) -> None:
        self.config = config
        self.prompts = config.load_prompts()
        self.closings = {"edu": config.prompts.edu_closing, "format": config.prompts.format_closing}
        self.attribution = attribution(config, annotator, self.prompts)
        self.decisions: Counter[str] = Counter()
        self._tokenizer = load_tokenizer(config.annotator.tokenizer) if config.annotator.tokenizer else None

    def seed(self, document: Document) -> Seed:
        """A document as the annotator sees it."""
        text = cut(document.text, self.config.max_document_tokens, self._tokenizer)
        return Seed(document.id, text, is_cut=text != document.text)

    def requests(self, seed: Seed) -> list[Request]:
        """See ``Job.requests``: both prompts."""
        return [
            Request(task, seed.text, prompt, (prompt.message(seed.text),), closing=self.closings[task])
            for task, prompt in self.prompts.items()
        ]

    @staticmethod
    def read(request: Request, answer: Completion) -> int:
        """See ``Job.read``."""
        if answer.finish_reason == "length":
            raise Unreadable("cut_off: the answer reached the token limit")
        return read_score(answer.text, request.closing)

    def row(self, seed: Seed, outcomes: Sequence[Outcome]) -> Row:
        """See ``Job.row``."""
        edu, format_ = outcomes
        row: Row = {"id": seed.id}
        common = {
            "edu_answer": edu.answer,
            "format_answer": format_.answer,
            "tries": {"edu": edu.tries, "format": format_.tries},
            "cut": seed.is_cut,
            **self.attribution,
        }
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
    scorer = Scorer(config, annotator)
    documents = map(scorer.seed, seeds.chosen_documents(config.documents, ids))
    summary = annotate(config, SCORES, "documents", annotator, scorer, documents, len(ids))
    decisions = {"kept": scorer.decisions["keep"], "dropped": scorer.decisions["drop"]}
    return {"annotator": annotator.name, **decisions, **summary}
