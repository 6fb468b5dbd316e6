"""From items to rows: asks what an item needs, asks again where an answer can't be read, and loses nothing.

An item is a document or a chunk. Requests of many items are under way at once, in no order; rows come out in the order
of the items.
"""

import dataclasses
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
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
FIRST_ITEMS = 50
"""Items at the beginning which, if all are set aside, show that something is wrong with the annotator."""
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
    tries: int = 1
    """How often it was asked; requests repeated for the sake of the connection are not counted."""
    failed: bool = False
    """The server never answered, or refused."""


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
    tries: int = 1


@dataclass(frozen=True)
class Limits:
    """When a run ends unfinished, and which kept answers it asks for again."""

    max_failed_share: float = 1.0
    max_aside_share: float = 1.0
    round: int = 0
    """Kept answers of earlier rounds are asked for again where they can't be read."""


class Asking(Generic[Item]):
    """One run over items; ``run`` does it all. ``cache`` None (the stand-in) keeps nothing."""

    def __init__(
        self,
        job: Job[Item],
        annotator: Annotator,
        reminder: Prompt,
        num_retries: int,
        cache: AnswerCache | None,
        meter: Meter,
        limits: Limits,
    ) -> None:
        self.job, self.annotator, self.reminder, self.num_retries = job, annotator, reminder, num_retries
        self.cache, self.meter, self.limits = cache, meter, limits
        self.num_failed = self.num_aside = 0
        self._items: Iterator[Item] = iter(())
        self._questions: deque[_Question] = deque()
        self._under_way: dict[str, list[_Question]] = {}
        self._counted: set[str] = set()
        self._rows: dict[int, Row] = {}
        self._num_opened = self._num_closed = self._num_written = self._failures_in_a_row = 0
        self._write: Callable[[Row], None] = lambda row: None
        self._progress: Progress | None = None
        self._last_reason = ""
        self._last_failure: Failure | None = None

    def run(self, items: Iterable[Item], write: Callable[[Row], None], progress: Progress) -> None:
        """Writes a row an item, in order.

        Raises ``UserError`` when the budget is spent, when more items than ``limits`` allow got no answer from the
        server or none that can be used, and early where server or model is out of order. Every answer that came is in
        the cache.
        """
        self._items, self._write, self._progress = iter(items), write, progress
        self.annotator.work(self._take, self._give)
        if self._questions:
            raise UserError(
                f"the budget of {self.meter.config.budget:,.2f} is spent ({self.meter.note()}): {self._num_written:,} "
                "items are done; raise --spending.budget and run the same command, no answer is paid for twice"
            )
        if self.num_failed > self.limits.max_failed_share * self._num_written:
            raise UserError(self._out_of_order(f"{self.num_failed} of {self._num_written} items"))
        if self.num_aside > self.limits.max_aside_share * self._num_written:
            raise UserError(self._unusable(f"{self.num_aside} of {self._num_written} items"))

    def _take(self) -> tuple[str, Request] | None:
        while (question := self._next_question()) is not None:
            key = self._key(question)
            if key in self._under_way:  # the same text twice in a corpus
                self._under_way[key].append(question)
                continue
            num_tokens = estimate_tokens(question.request.messages)
            known = self.cache.get(key) if self.cache is not None else None
            if known is not None and not self._is_outdated(question, *known):
                if key not in self._counted:  # a twin costs nothing
                    self._counted.add(key)
                    self.meter.add(known[0], num_tokens)
                self._read(question, known[0])
                continue
            if not self.meter.hold(key, num_tokens):
                self._questions.appendleft(question)
                return None
            question.owner.asked = True
            self._under_way[key] = [question]
            return key, question.request
        return None

    def _is_outdated(self, question: _Question, answer: Completion, round_: int) -> bool:
        """Whether the answers kept for a question end, after all tries, with one of an earlier round to ask again."""
        while round_ < self.limits.round:
            try:
                self.job.read(question.request, answer)
                return False
            except Unreadable as reason:
                if question.tries > self.num_retries:
                    return True
                question = self._again(question, answer.text, str(reason))
            known = self.cache.get(self._key(question)) if self.cache else None
            if known is None:
                return False  # interrupted: it goes on from there
            answer, round_ = known
        return False

    def _key(self, question: _Question) -> str:
        return question.request.key(self.annotator.model, self.annotator.sampling)

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
            self._questions.extend(_Question(owner, slot, request) for slot, request in enumerate(requests))
            self._close_if_done(owner)
        return self._questions.popleft()

    def _give(self, key: str, answer: Completion | Failure) -> None:
        questions = self._under_way.pop(key)
        request = questions[0].request
        if isinstance(answer, Failure):
            self.meter.release(key)
            kind = "refused" if answer.is_refusal else "request_failed"
            self._failures_in_a_row, self._last_failure = self._failures_in_a_row + 1, answer
            for question in questions:
                outcome = Outcome(None, "", f"{kind}: {answer.reason}", question.tries, failed=True)
                self._settle(question, outcome)
            if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
                raise UserError(self._out_of_order(f"{self._failures_in_a_row} requests in a row"))
            return
        self._failures_in_a_row = 0
        self._counted.add(key)
        # A JSON escape can smuggle in half a surrogate pair, which no file could hold.
        answer = dataclasses.replace(answer, text=answer.text.encode("utf-8", "replace").decode())
        if self.cache is not None:
            self.cache.put(key, request, self.annotator, answer, questions[0].tries, self.limits.round)
        self.meter.add(answer, estimate_tokens(request.messages), key)
        for question in questions:
            self._read(question, answer)

    def _read(self, question: _Question, answer: Completion) -> None:
        try:
            outcome = Outcome(self.job.read(question.request, answer), answer.text, tries=question.tries)
        except Unreadable as reason:
            if question.tries <= self.num_retries:
                self._questions.append(self._again(question, answer.text, str(reason)))
                return
            outcome = Outcome(None, answer.text, str(reason), question.tries)
        self._settle(question, outcome)

    def _again(self, question: _Question, answer: str, reason: str) -> _Question:
        """The dialogue so far, the answer and the reminder; a bare repetition would bring the same answer."""
        reminder = self.reminder.fill(reason=reason)
        turns = ({"role": "assistant", "content": answer}, {"role": "user", "content": reminder})
        request = dataclasses.replace(question.request, messages=question.request.messages + turns)
        return dataclasses.replace(question, request=request, tries=question.tries + 1)

    def _settle(self, question: _Question, outcome: Outcome) -> None:
        question.owner.outcomes[question.slot] = outcome
        self._close_if_done(question.owner)

    def _close_if_done(self, owner: _OpenItem[Item]) -> None:
        outcomes = [outcome for outcome in owner.outcomes if outcome is not None]
        if len(outcomes) < len(owner.outcomes):
            return
        row = self._rows[owner.number] = self.job.row(owner.item, outcomes)
        self._num_closed += 1
        failed = any(outcome.failed for outcome in outcomes)
        self.num_failed += failed
        if "reason" in row and not failed and outcomes:
            self.num_aside += 1
            self._last_reason = row["reason"]
        self._progress.advance(1, self.meter.note(), counts=owner.asked)
        while self._num_written in self._rows:
            self._write(self._rows.pop(self._num_written))
            self._num_written += 1
        if self.num_aside == self._num_closed == FIRST_ITEMS and self.limits.max_aside_share < 1:
            raise UserError(self._unusable(f"the first {FIRST_ITEMS} items"))

    def _unusable(self, what: str) -> str:
        return (
            f"{what} were set aside, the last one because of {self._last_reason[:200]}: look at the answers in "
            f"{self.cache.folder if self.cache else 'the log'}, mend the server, the model or the prompts, and run the "
            "command again with --ask_again raised by one; or accept it with --max_aside_share"
        )

    def _out_of_order(self, what: str) -> str:
        failure = self._last_failure or Failure("")
        if failure.is_refusal:
            return (
                f"{what} were refused ({failure.reason[:300]}): correct the settings that the server refuses (a text "
                "that is too long: --max_document_tokens or --window), or accept it with --max_failed_share; answers "
                "that came are kept"
            )
        return (
            f"{what} got no answer ({failure.reason[:300]}): check that the server is up, then run the same command "
            "again; answers that came are kept"
        )
