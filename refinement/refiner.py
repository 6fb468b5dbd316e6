"""A loaded refiner (engine, tokenizer and dialogue), and how both refining steps go through their documents."""

import copy
import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from datatrove.data import Document, DocumentsPipeline
from datatrove.utils.batching import batched

from prox.dialogue import Dialogue, load_dialogue
from prox.engines import Engine, Failure, load_engine
from prox.errors import UserError
from prox.isolation import isolated
from prox.overlap import one_ahead
from refinement.configs import RefinerStepConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger("prox")

FEWEST_FAILURES = 10
"""So many failed documents never stop a unit: in a small one they say nothing of the engine."""

Rendered = TypeVar("Rendered")


@dataclass(frozen=True)
class Refiner:
    """What a refining step asks."""

    engine: Engine
    dialogue: Dialogue

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The checkpoint's tokenizer."""
        return self.engine.tokenizer

    @property
    def prompt_tokenizer(self) -> "PreTrainedTokenizerBase":
        """A copy for rendering prompts in a thread of its own: the engine's can't be used by two at once."""
        return _copy_of(self.engine.tokenizer)


def load_refiner(config: RefinerStepConfig) -> Refiner:
    """Loads the checkpoint, once a process; a ``dialogue.json`` beside it wins over the config's dialogue."""
    checkpoint = config.refiner.checkpoint
    engine = load_engine(config.engine, checkpoint)
    return Refiner(engine, load_dialogue(checkpoint, config.refiner.dialogue).resolved(engine.tokenizer))


@functools.lru_cache(maxsize=1)
def _copy_of(tokenizer: "PreTrainedTokenizerBase") -> "PreTrainedTokenizerBase":
    """The same copy in every unit, since what is remembered of a tokenizer's words goes with it."""
    return copy.deepcopy(tokenizer)


def rendered(
    data: DocumentsPipeline, batch_size: int, render: Callable[[Sequence[Document]], Sequence[Rendered]]
) -> Iterator[tuple[list[Document], list[Rendered | Failure]]]:
    """Batches of documents with what ``render`` makes of each, one batch ahead of the caller in a thread.

    A document on which ``render`` raises gets a ``Failure``.
    """

    def batches() -> Iterator[tuple[list[Document], list[Rendered | Failure]]]:
        for batch in batched(data, batch_size):
            documents = list(batch)
            yield documents, isolated(render, documents, lambda document: f"document {document.id!r}")

    return one_ahead(batches())


class FailureLimit:
    """Stops a unit where too many documents get no answer: rather the engine is broken than the documents."""

    def __init__(self, label: str, max_share: float) -> None:
        self.label, self.max_share = label, max_share
        self.documents = self.failed = 0
        self.first = ""

    def add(self, failure: str | None) -> None:
        """Counts a document, and why it failed if it did."""
        self.documents += 1
        if failure is not None:
            self.first = self.first or failure
            self.failed += 1

    def check(self) -> None:
        """Raises ``UserError`` above the share."""
        if self.failed > max(FEWEST_FAILURES, self.max_share * self.documents):
            raise UserError(
                f"{self.label}: {self.failed} of {self.documents} documents got no answer, the first because: "
                f"{self.first}. Finished units are kept: mend the engine and run the command again, or allow more with "
                f"--max_failed_share (now {self.max_share})"
            )


@functools.cache
def log_once(message: str) -> None:
    """Logs a message once a process, however many units it is true of."""
    log.info(message)
