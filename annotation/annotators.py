"""Annotators behind one small protocol, and the loop that asks again when an answer can't be read.

Both kinds get the same requests and answer in the same form, so that one command, one parser and one set of checks
serve both.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from annotation.templates import Prompt
from prox.engines import Completion, EngineConfig, Failure, load_engine

if TYPE_CHECKING:
    from annotation.configs import AnnotatorConfig

Task = Literal["edu", "format", "navigation", "links", "footer"]
Value = TypeVar("Value")

STAND_IN = "rule-based stand-in"
"""Its name in every row, card and log line: nobody may take it for a language model."""


@dataclass(frozen=True)
class Request:
    """One question: the task, the text it is about (un-numbered, starting at ``first_line``), and the dialogue."""

    task: Task
    text: str
    messages: tuple[dict[str, str], ...]
    first_line: int = 0
    closing: str = ""
    """What the answer's closing line starts with; score tasks only."""


class Annotator(Protocol):
    """Answers requests, in order. ``name`` and ``model`` (None for rules) go into every row."""

    name: str
    model: str | None

    def answer(self, requests: Sequence[Request]) -> list[Completion | Failure]:
        """One answer a request, as free text; a request that got none is a ``Failure``."""


class ServerAnnotator:
    """A language model behind an OpenAI-compatible server."""

    name = "server"

    def __init__(self, config: "AnnotatorConfig", engine: EngineConfig) -> None:
        self.model: str | None = config.model
        self._config = config
        self._engine = load_engine(engine, config.model)

    def answer(self, requests: Sequence[Request]) -> list[Completion | Failure]:
        """See ``Annotator.answer``."""
        conversations = [list(request.messages) for request in requests]
        return self._engine.chat(conversations, self._config.max_new_tokens, self._config.temperature)


def load_annotator(config: "AnnotatorConfig", engine: EngineConfig) -> Annotator:
    """The annotator a config names."""
    if config.kind == "stand_in":
        from annotation.stand_in import StandIn

        return StandIn()
    return ServerAnnotator(config, engine)


def sampling(config: "AnnotatorConfig") -> dict[str, Any] | None:
    """How answers are sampled, for the rows; None for the stand-in, which samples nothing."""
    if config.kind == "stand_in":
        return None
    return {"temperature": config.temperature, "max_new_tokens": config.max_new_tokens}


class Unreadable(Exception):
    """An answer that can't be used; carries the reason, which the annotator is told when asked again."""


@dataclass(frozen=True)
class Outcome(Generic[Value]):
    """What became of a request: the value read from the answer, or the reason why there is none.

    ``failed`` marks a request that the server never answered.
    """

    value: Value | None
    answer: str
    reason: str = ""
    failed: bool = False


def ask(
    annotator: Annotator,
    requests: Sequence[Request],
    read: Callable[[Request, Completion], Value],
    num_retries: int,
    reminder: Prompt,
) -> list[Outcome[Value]]:
    """Asks every request, and asks again (with the answer and the reason in the dialogue) where ``read`` refuses.

    A bare repetition would bring the same answer at temperature 0.
    """
    outcomes: list[Outcome[Value]] = [Outcome(None, "")] * len(requests)
    waiting = dict(enumerate(requests))
    for _ in range(num_retries + 1):
        numbers = list(waiting)
        if not numbers:
            break
        for number, answer in zip(numbers, annotator.answer([waiting[n] for n in numbers]), strict=True):
            request = waiting.pop(number)
            if isinstance(answer, Failure):
                outcomes[number] = Outcome(None, "", f"request_failed: {answer.reason}", failed=True)
                continue
            # A JSON escape can smuggle in half a surrogate pair, which no file could hold.
            text = answer.text.encode("utf-8", "replace").decode()
            answer = dataclasses.replace(answer, text=text)
            try:
                outcomes[number] = Outcome(read(request, answer), text)
            except Unreadable as reason:
                outcomes[number] = Outcome(None, text, str(reason))
                waiting[number] = _again(request, requests[number], text, reminder.fill(reason=str(reason)))
    return outcomes


def _again(request: Request, original: Request, answer: str, reminder: str) -> Request:
    """The original request followed by its last answer and the reminder; earlier tries are left out."""
    turns = ({"role": "assistant", "content": answer}, {"role": "user", "content": reminder})
    return dataclasses.replace(request, messages=original.messages + turns)
