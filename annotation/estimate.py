"""What an annotation will ask and cost, before anything is spent: measured on a sample, by the very prompts.

Only the documents' tokens are estimated (four bytes each) and the answers' lengths assumed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotation import seeds
from annotation.annotators import Request, sampling
from annotation.answer_cache import AnswerCache
from annotation.chunks import line_counter
from annotation.configs import AnnotateConfig, ProgramConfig, ScoreConfig
from prox.engines.prompts import estimate_tokens

if TYPE_CHECKING:
    from datatrove.data import Document

SAMPLE = 200
"""Documents looked at."""
ANSWER_TOKENS = 150
"""Assumed of an answer: a justification of up to 100 words and the closing line, or a remark and a program."""
TRIES, BUDGET = "tries of an answer that can't be read", "the budget"
KEPT_SHARE = 0.28
"""Assumed of documents that are not scored yet: A.1 gives 23 to 28 %."""


@dataclass
class Sample:
    """Requests of some documents: their number, tokens, and how many are answered already."""

    documents: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    answered: int = 0

    def add(self, requests: Iterable[Request], config: AnnotateConfig, cache: AnswerCache) -> None:
        """Counts the requests of one document."""
        self.documents += 1
        for request in requests:
            self.requests += 1
            self.prompt_tokens += estimate_tokens(request.messages)
            self.answered += request.key(config.annotator.model, sampling(config.annotator)) in cache

    def scaled(self, part: int, whole: int) -> tuple[int, int]:
        """(requests, prompt tokens) of ``part`` where this sample holds ``whole``."""
        return round(self.requests * part / whole), round(self.prompt_tokens * part / whole)


def plan_scores(config: ScoreConfig) -> dict[str, Any]:
    """The plan of `annotation score`."""
    from annotation.score import Scorer

    available, _ = seeds.count_documents(config.documents)
    wanted = available if config.num_documents == -1 else config.num_documents
    job, sample, cache = Scorer(config, _Nobody()), Sample(), AnswerCache(config.cache_folder())
    for document in _spread(config.documents, None):
        sample.add(job.requests(job.seed(document)), config, cache)
    facts = {"annotator": config.annotator.describe(config.engine)}
    facts["documents"] = f"{min(wanted, available):,} of {available:,}"
    if not sample.documents:
        return facts
    facts |= _costs(config, sample, *sample.scaled(min(wanted, available), sample.documents))
    if wanted > available:
        more = _costs(config, sample, *sample.scaled(wanted, sample.documents))
        facts |= _in_brief(f"if there were {wanted:,} documents", more)
    return facts


def plan_programs(config: ProgramConfig) -> dict[str, Any]:
    """The plan of `annotation program`."""
    from annotation.program import Programmer

    facts = {"annotator": config.annotator.describe(config.engine)}
    job, cache = Programmer(config, _Nobody()), AnswerCache(config.cache_folder())
    if config.merge_into is not None:
        return facts | _plan_of_edges(config, cache)
    from annotation.program import DocumentChunk, chunks_of, kept_documents

    available, _ = seeds.count_documents(config.documents)
    kept = kept_documents(config) if config.scores is not None else None
    num_kept = round(KEPT_SHARE * available) if kept is None else len(kept)
    sample, num_chunks, count = Sample(), 0, line_counter(config.tokenizer)
    for document in _spread(config.documents, kept):
        chunks = chunks_of(config, document, count)[0].values()
        num_chunks += len(chunks)
        items = [DocumentChunk(document.id, chunk) for chunk in chunks]
        sample.add((request for item in items for request in job.requests(item)), config, cache)
    assumed = f" ({KEPT_SHARE:.0%} of {available:,} assumed: not scored yet)" if kept is None else ""
    facts["documents kept"] = f"{num_kept:,}{assumed}"
    if not num_chunks:
        return facts
    estimated = round(num_chunks * num_kept / sample.documents)
    wanted = estimated if config.num_chunks == -1 else config.num_chunks
    facts["chunks, estimated"] = f"{min(wanted, estimated):,} of {estimated:,}"
    facts |= _costs(config, sample, *sample.scaled(min(wanted, estimated), num_chunks))
    if wanted > estimated:
        more = _costs(config, sample, *sample.scaled(wanted, num_chunks))
        facts |= _in_brief(f"if there were {wanted:,} chunks", more)
    if kept is None:
        per_document = num_chunks / sample.documents
        limit = round(per_document * available) if config.num_chunks == -1 else config.num_chunks
        most = _costs(config, sample, *sample.scaled(min(limit, round(per_document * available)), num_chunks))
        facts |= _in_brief("if all documents were kept", most)
    return facts


def _plan_of_edges(config: ProgramConfig, cache: AnswerCache) -> dict[str, Any]:
    from annotation.second import EdgeChunks, SecondProgrammer

    job, sample, num_edges = SecondProgrammer(config, _Nobody()), Sample(), 0
    edges = EdgeChunks(config)
    for item in edges:
        requests = job.requests(item)
        num_edges += bool(requests)
        sample.add(requests, config, cache)
    facts = {"chunks": f"{edges.num_rows:,}", "at a document's beginning or end": f"{num_edges:,}"}
    return facts | _costs(config, sample, sample.requests, sample.prompt_tokens)


class _Nobody:
    """Who annotates in a plan."""

    name, model, sampling = "", None, None


def _spread(documents: Path | None, ids: set[str] | None) -> Iterator["Document"]:
    """Up to ``SAMPLE`` documents (of those in ``ids``) from the beginnings of files all over the corpus."""
    from prox import units

    files = units.unit_files(documents) if documents else []
    chosen = files[:: max(len(files) // 8, 1)]
    for number, path in enumerate(chosen):
        left = SAMPLE * (number + 1) // len(chosen) - SAMPLE * number // len(chosen)
        for document in units.read_documents(path):
            if left == 0:
                break
            if ids is None or document.id in ids:
                left -= 1
                yield document


def _costs(config: AnnotateConfig, sample: Sample, requests: int, prompt_tokens: int) -> dict[str, Any]:
    """Requests, tokens, and money and minutes where they are known."""
    facts: dict[str, Any] = {"requests": f"{requests:,}"}
    if config.annotator.kind == "stand_in":
        return facts
    most = requests * config.annotator.max_new_tokens
    likely = min(requests * ANSWER_TOKENS, most)
    facts |= {
        "prompt tokens, estimated": f"{prompt_tokens:,}",
        "answer tokens, estimated": f"{likely:,} (at most {most:,})",
    }
    if config.spending.has_prices:
        costs = [config.spending.cost(prompt_tokens, answers) for answers in (likely, most)]
        budget = config.spending.budget
        tries = config.annotator.num_retries + 1
        facts["cost, estimated"] = f"{costs[0]:,.2f} (at most {costs[1]:,.2f} where every first answer can be read)"
        facts[TRIES] = f"{tries}, each longer by the last answer"
        if budget is not None:
            share = min(budget / costs[0], 1.0) if costs[0] else 1.0
            facts[BUDGET] = f"{budget:,.2f}" + (f" covers about {share:.0%}" if share < 1 else "")
    minutes = _minutes(config, requests, prompt_tokens + most)
    if minutes:
        facts["hours at the limits a minute, at least"] = f"{minutes / 60:,.1f}"
    if sample.answered:
        facts["answered already"] = (
            f"{sample.answered / sample.requests:.0%} of a sample of {sample.requests:,} requests"
        )
    return facts


def _in_brief(case: str, facts: dict[str, Any]) -> dict[str, Any]:
    return {f"{case}, {name}": value for name, value in facts.items() if name not in (TRIES, BUDGET)}


def _minutes(config: AnnotateConfig, requests: int, tokens: int) -> float:
    limits = ((requests, config.engine.requests_per_minute), (tokens, config.engine.tokens_per_minute))
    return max((amount / limit for amount, limit in limits if limit), default=0.0)
