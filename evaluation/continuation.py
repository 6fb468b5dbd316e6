"""The multiple-choice task: which of four sentences comes next. Made from clean text, without a model or labels.

An item is drawn as four sentences of similar length from four unrelated documents, each a true next sentence where it
stands; only then is it drawn which of them is asked for. So nothing about a choice by itself (length in characters or
tokens, style, frequency) tells whether it is right. The right one's place, and its rank in length, are balanced.
"""

import random
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evaluation.configs import YardstickConfig
from evaluation.sentences import prose_runs

NUM_CHOICES = 4


@dataclass(frozen=True)
class Continuation:
    """A sentence, and the text that leads to it."""

    id: str
    context: str
    sentence: str


def context_before(run: list[str], position: int, max_chars: int) -> str:
    """As many whole sentences before ``position`` as fit into ``max_chars``; empty when not even one does."""
    begin, size = position, -1
    while begin > 0 and size + 1 + len(run[begin - 1]) <= max_chars:
        begin -= 1
        size += 1 + len(run[begin])
    return " ".join(run[begin:position])


def continuations(document: str, runs: list[list[str]], config: YardstickConfig) -> Iterator[Continuation]:
    """Every sentence of one document that can be asked for."""
    number = 0
    for run in runs:
        for position in range(1, len(run)):
            context = context_before(run, position, config.max_context_chars)
            if context and config.min_sentence_chars <= len(run[position]) <= config.max_sentence_chars:
                yield Continuation(f"{document}.{number}", context, run[position])
                number += 1


def make_items(texts: Mapping[str, str], config: YardstickConfig) -> list[dict[str, Any]]:
    """Items ``{id, context, choices, answer}`` from documents by id; at most ``config.num_items``, none twice."""
    homes: dict[str, set[str]] = defaultdict(set)
    pool: dict[str, Continuation] = {}
    for document, text in texts.items():
        runs = prose_runs(text)
        for sentence in (sentence for run in runs for sentence in run):
            homes[sentence].add(document)
        for candidate in continuations(document, runs, config):
            pool.setdefault(candidate.sentence, candidate)

    rng = random.Random(config.seed)
    by_length = sorted(pool, key=lambda sentence: (len(sentence), sentence))
    anchors = list(pool)
    rng.shuffle(anchors)
    ranks, answers = (_balanced(config.num_items, rng) for _ in range(2))
    items: list[dict[str, Any]] = []
    asked: set[str] = set()
    for anchor in anchors:
        if len(items) == config.num_items:
            break
        if anchor in asked:
            continue
        group = _similar_sentences(anchor, by_length, homes, asked, config.length_tolerance, rng)
        if len(group) == NUM_CHOICES:
            right = sorted(group, key=len)[ranks[len(items)]]
            asked.add(right)
            wrong = [sentence for sentence in group if sentence != right]
            rng.shuffle(wrong)
            answer = answers[len(items)]
            choices = [*wrong[:answer], right, *wrong[answer:]]
            items.append({"id": pool[right].id, "context": pool[right].context, "choices": choices, "answer": answer})
    return items


def _balanced(count: int, rng: random.Random) -> list[int]:
    """0 .. NUM_CHOICES-1, each equally often in every stretch of NUM_CHOICES, in random order."""
    numbers: list[int] = []
    while len(numbers) < count:
        numbers += rng.sample(range(NUM_CHOICES), NUM_CHOICES)
    return numbers[:count]


def _similar_sentences(
    anchor: str,
    by_length: list[str],
    homes: Mapping[str, set[str]],
    asked: set[str],
    tolerance: float,
    rng: random.Random,
) -> list[str]:
    """Up to NUM_CHOICES sentences not asked for yet, ``anchor`` among them, of different but similar lengths.

    Documents that share a sentence are parts of each other, and a sentence of one could be right in the other; so all
    the documents in which one choice stands are closed to the others.
    """
    low, high = (len(anchor) * (1 + sign * tolerance) for sign in (-1, 1))
    near = by_length[bisect_left(by_length, low, key=len) : bisect_right(by_length, high, key=len)]
    group: list[str] = []
    closed: set[str] = set()
    for sentence in [anchor, *rng.sample(near, len(near))]:
        new_length = len(sentence) not in {len(other) for other in group}
        if sentence not in asked and new_length and closed.isdisjoint(homes[sentence]):
            group.append(sentence)
            closed |= homes[sentence]
            if len(group) == NUM_CHOICES:
                break
    return group


def baselines(items: list[dict[str, Any]]) -> dict[str, float]:
    """Accuracy of choosing without reading: by chance, the longest, the shortest, always the first."""
    total = max(len(items), 1)

    def share(pick: Any) -> float:
        return sum(item["choices"].index(pick(item["choices"], key=len)) == item["answer"] for item in items) / total

    first = sum(item["answer"] == 0 for item in items) / total
    return {"chance": 1 / NUM_CHOICES, "longest": share(max), "shortest": share(min), "first": first}
