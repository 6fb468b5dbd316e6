"""Annotators behind one small protocol: a language model through any of the project's engines, or the stand-in.

All of them get the same requests and answer in the same form, so that one parser and one set of checks serve them.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from annotation.templates import Prompt
from prox.engines import Completion, Engine, EngineConfig, Failure, load_engine

if TYPE_CHECKING:
    from annotation.configs import AnnotatorConfig

STAND_IN = "rule-based stand-in"
"""Its name in every row, card and log line: nobody may take it for a language model."""
LANGUAGE_MODEL = "language model"


@dataclass(frozen=True)
class Request:
    """One question: the task (a prompt's name), the text it is about (un-numbered), and the dialogue."""

    task: str
    text: str
    prompt: Prompt
    messages: tuple[dict[str, str], ...]
    first_line: int = 0
    """Number of the text's first line in its document; chunks only."""
    closing: str = ""
    """What the answer's closing line starts with; score tasks only."""

    def key(self, model: str | None, sampling: dict[str, Any] | None) -> str:
        """SHA-256 of all that decides the answer: model, dialogue and sampling settings."""
        content = json.dumps([model, self.messages, sampling], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


Take = Callable[[], tuple[str, Request] | None]
Give = Callable[[str, Completion | Failure], None]


class Annotator(Protocol):
    """Answers requests. ``name``, ``model`` (None for rules) and ``sampling`` go into every row."""

    name: str
    model: str | None
    sampling: dict[str, Any] | None

    def work(self, take: Take, give: Give) -> None:
        """Takes requests with their keys until there are none, and gives each answer back as soon as it is there.

        ``take`` may have nothing now and more after the next answer; ``give`` may raise to end the work.
        """


class ServedModel:
    """A language model behind an OpenAI-compatible server, asked as many things at once as the engine's config says."""

    name = LANGUAGE_MODEL

    def __init__(self, config: "AnnotatorConfig", engine: EngineConfig) -> None:
        self.model: str | None = config.model
        self.sampling = sampling(config)
        self._config, self._engine_config = config, engine

    def work(self, take: Take, give: Give) -> None:
        """See ``Annotator.work``; the server is looked for at the first request, so not where all answers are known."""
        first = take()
        if first is None:
            return
        waiting = [first]

        def conversation() -> tuple[str, Sequence[dict[str, str]]] | None:
            taken = waiting.pop() if waiting else take()
            return None if taken is None else (taken[0], taken[1].messages)

        engine = load_engine(self._engine_config, self._config.model)
        engine.chat_each(conversation, give, self._config.max_new_tokens, self._config.temperature)


class ModelInProcess:
    """A language model in this process (vLLM or transformers), asked batch by batch."""

    name = LANGUAGE_MODEL

    def __init__(self, config: "AnnotatorConfig", engine: EngineConfig, batch_size: int) -> None:
        self.model: str | None = config.model
        self.sampling = sampling(config)
        self._config, self._engine_config, self._batch_size = config, engine, batch_size
        self._engine: Engine | None = None

    def work(self, take: Take, give: Give) -> None:
        """See ``Annotator.work``; the model is loaded at the first request, so not where all answers are known."""
        while batch := self._batch(take):
            self._engine = self._engine or load_engine(self._engine_config, self._config.model)
            answers = self._engine.chat(
                [request.messages for _, request in batch], self._config.max_new_tokens, self._config.temperature
            )
            for (key, _), answer in zip(batch, answers, strict=True):
                give(key, answer)

    def _batch(self, take: Take) -> list[tuple[str, Request]]:
        batch: list[tuple[str, Request]] = []
        while len(batch) < self._batch_size and (taken := take()) is not None:
            batch.append(taken)
        return batch


def load_annotator(config: "AnnotatorConfig", engine: EngineConfig, batch_size: int) -> Annotator:
    """The annotator a config names."""
    if config.kind == "stand_in":
        from annotation.stand_in import StandIn

        return StandIn()
    return ServedModel(config, engine) if engine.kind == "server" else ModelInProcess(config, engine, batch_size)


def sampling(config: "AnnotatorConfig") -> dict[str, Any]:
    """How a language model's answers are sampled."""
    return {"temperature": config.temperature, "max_new_tokens": config.max_new_tokens}
