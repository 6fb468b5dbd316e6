"""From items to rows: asks what an item needs, asks again where an answer can't be read, and loses nothing.

An item is a document or a chunk. Requests of many items are under way at once, in no order; rows come out in the order
of the items.
"""

import dataclasses
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from annotation.annotators import Annotator, Request
from annotation.answer_cache import AnswerCache
from annotation.spending import Meter
from annotation.tables import Row
from annotation.templates import Prompt
from prox.engines import Completion, Failure
from prox.engines.prompts import estimate_tokens
from prox.errors import UserError
from prox.progress import Progress

log = logging.getLogger("prox")

Item = TypeVar("Item")
OPEN_ITEMS = 1024
"""Items under way at once: one slow answer holds up the rows of so many others, which wait in memory."""
MAX_FAILURES_IN_A_ROW = 50
"""Requests without an answer, one after the other, after which the server is taken to be out of order."""


class Unreadable(Exception):
    """An answer that can't be used; carries the reason, which the annotator is told when asked again."""


@dataclass(frozen=True)
class Outcome:
    """What became of a request: the value read from the answer, or the reason why there is none."""

    value: Any
    answer: str
    reason: str = ""
    failed: bool = False
    """The server never answered."""


class Job(Protocol[Item]):
    """What a verb does with an item."""

    def requests(self, item: Item) -> list[Request]:
        """What is asked about it; nothing at all is possible."""

    def read(self, request: Request, answer: Completion) -> Any:
        """The value of an answer; raises ``Unreadable``."""

    def row(self, item: Item, outcomes: Sequence[Outcome]) -> Row:
        """The item's row, an outcome a request; with a ``reason`` where it is set aside."""


@dataclass(eq=False)
class _OpenItem(Generic[Item]):
    number: int
    item: Item
    outcomes: list[Outcome | None]
    asked: bool = False


@dataclass(eq=False)
class _Question:
    owner: _OpenItem[Any]
    slot: int
    request: Request
    original: Request
    tries: int = 0


@dataclass
class Asking(Generic[Item]):
    """One run over items; ``run`` does it all. ``cache`` None (the stand-in) keeps nothing."""

    job: Job[Item]
    annotator: Annotator
    reminder: Prompt
    num_retries: int
    cache: AnswerCache | None
    meter: Meter
    max_failed_share: float
    num_failed: int = 0
    _items: Iterator[Item] = field(default_factory=lambda: iter(()))
    _questions: deque[_Question] = field(default_factory=deque)
    _under_way: dict[str, list[_Question]] = field(default_factory=dict)
    _rows: dict[int, Row] = field(default_factory=dict)
    _num_opened: int = 0
    _num_written: int = 0
    _failures_in_a_row: int = 0
    _last_failure: str = ""

    def run(self, items: Iterable[Item], write: Callable[[Row], None], progress: Progress) -> None:
        """Writes a row an item, in order.

        Raises ``UserError`` when the budget is spent, when more than ``max_failed_share`` of the items got no answer
        from the server, and early where it is out of order. Every answer that came is in the cache.
        """
        self._items, self._write, self._progress = iter(items), write, progress
        self.annotator.work(self._take, self._give)
        if self._questions:
            raise UserError(
                f"the budget of {self.meter.config.budget:,.2f} is spent ({self.meter.note()}): {self._num_written:,} "
                "items are done; raise --spending.budget and run the same command, no answer is paid for twice"
            )
        if self.num_failed > self.max_failed_share * self._num_written:
            raise UserError(self._out_of_order(f"{self.num_failed} of {self._num_written} items"))

    def _take(self) -> tuple[str, Request] | None:
        while (question := self._next_question()) is not None:
            key = question.request.key(self.annotator.model, self.annotator.sampling)
            if key in self._under_way:  # the same text twice in a corpus
                self._under_way[key].append(question)
                continue
            num_tokens = estimate_tokens(question.request.messages)
            known = self.cache.get(key) if self.cache is not None else None
            if known is not None:
                self.meter.add(known, num_tokens)
                self._read(question, known)
                continue
            if not self.meter.hold(key, num_tokens):
                self._questions.appendleft(question)
                return None
            question.owner.asked = True
            self._under_way[key] = [question]
            return key, question.request
        return None

    def _next_question(self) -> _Question | None:
        while not self._questions:
            if self._num_opened - self._num_written >= OPEN_ITEMS:
                return None
            item = next(self._items, None)
            if item is None:
                return None
            requests = self.job.requests(item)
            owner = _OpenItem(self._num_opened, item, [None] * len(requests))
            self._num_opened += 1
            self._questions.extend(_Question(owner, slot, request, request) for slot, request in enumerate(requests))
            self._close_if_done(owner)
        return self._questions.popleft()

    def _give(self, key: str, answer: Completion | Failure) -> None:
        questions = self._under_way.pop(key)
        request = questions[0].request
        if isinstance(answer, Failure):
            self.meter.release(key)
            for question in questions:
                self._settle(question, Outcome(None, "", f"request_failed: {answer.reason}", failed=True))
            self._failures_in_a_row, self._last_failure = self._failures_in_a_row + 1, answer.reason
            if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
                raise UserError(self._out_of_order(f"{self._failures_in_a_row} requests in a row"))
            return
        self._failures_in_a_row = 0
        # A JSON escape can smuggle in half a surrogate pair, which no file could hold.
        answer = dataclasses.replace(answer, text=answer.text.encode("utf-8", "replace").decode())
        if self.cache is not None:
            self.cache.put(key, request, self.annotator, answer)
        self.meter.add(answer, estimate_tokens(request.messages), key)
        for question in questions:
            self._read(question, answer)

    def _read(self, question: _Question, answer: Completion) -> None:
        try:
            outcome = Outcome(self.job.read(question.request, answer), answer.text)
        except Unreadable as reason:
            if question.tries < self.num_retries:
                self._questions.append(self._again(question, answer.text, str(reason)))
                return
            outcome = Outcome(None, answer.text, str(reason))
        self._settle(question, outcome)

    def _again(self, question: _Question, answer: str, reason: str) -> _Question:
        """The original request, its last answer and the reminder; a bare repetition would bring the same answer."""
        reminder = self.reminder.fill(reason=reason)
        turns = ({"role": "assistant", "content": answer}, {"role": "user", "content": reminder})
        request = dataclasses.replace(question.original, messages=question.original.messages + turns)
        return dataclasses.replace(question, request=request, tries=question.tries + 1)

    def _settle(self, question: _Question, outcome: Outcome) -> None:
        question.owner.outcomes[question.slot] = outcome
        self._close_if_done(question.owner)

    def _close_if_done(self, owner: _OpenItem[Item]) -> None:
        outcomes = [outcome for outcome in owner.outcomes if outcome is not None]
        if len(outcomes) < len(owner.outcomes):
            return
        self.num_failed += any(outcome.failed for outcome in outcomes)
        self._rows[owner.number] = self.job.row(owner.item, outcomes)
        self._progress.advance(1, self.meter.note(), counts=owner.asked)
        while self._num_written in self._rows:
            self._write(self._rows.pop(self._num_written))
            self._num_written += 1

    def _out_of_order(self, what: str) -> str:
        return (
            f"{what} got no answer ({self._last_failure[:300]}): check that the server is up, then run the same "
            "command again; answers that came are kept"
        )
