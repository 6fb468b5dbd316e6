"""A loaded refiner (engine, tokenizer and dialogue), and how both refining steps go through their documents."""

import copy
import functools
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from datatrove.data import Document, DocumentsPipeline
from datatrove.utils.batching import batched

from prox.artifact import read_json, write_json
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
"""So many failed documents say nothing of the engine, however many of a unit's first documents they are."""
ASKED = "asked.json"

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


class EngineWatch:
    """Stops a unit whose documents mostly get no answer: then the engine is broken, not the documents."""

    def __init__(self) -> None:
        self.documents = self.failed = 0
        self.first = ""

    def add(self, failure: str | None) -> None:
        """Counts a document, and why it failed if it did."""
        self.documents += 1
        if failure is not None:
            self.first = self.first or failure
            self.failed += 1

    def check(self) -> None:
        """Raises ``UserError`` where more than half failed."""
        if self.failed > max(FEWEST_FAILURES, self.documents / 2):
            raise UserError(
                f"{self.failed} of {self.documents} documents got no answer, the first because: {self.first}. Finished "
                "units are kept: mend the engine and run the same command again"
            )


def check_failed_share(failures: Mapping[Path, Sequence[str]], documents: int, max_share: float) -> None:
    """Raises ``UserError`` where more documents of a run failed than ``max_share`` allows; one always may.

    ``failures`` holds the reasons of the failed documents of each unit of the output's ledger. Such units are then
    taken away, so that the same command asks again.
    """
    reasons = Counter(itertools.chain.from_iterable(failures.values()))
    if reasons.total() <= max(1, max_share * documents):
        return
    for file, of_unit in failures.items():
        if of_unit:
            file.unlink(missing_ok=True)
    (reason, number), *_ = reasons.most_common(1)
    raise UserError(
        f"{reasons.total()} of {documents} documents got no answer, {number} of them because: {reason}. The same "
        f"command asks again for the units they are in; --max_failed_share (now {max_share}) allows more"
    )


def record_asking(output: Path, refiner: Refiner, limits: Mapping[str, int]) -> None:
    """Writes down with what limits and number format the refiner is asked, and its dialogue, in the first unit.

    Raises ``UserError`` where earlier units of this output were asked otherwise, as on another kind of engine.
    """
    asked = {"dtype": refiner.engine.dtype, **limits}
    path = output / ASKED
    if not path.is_file():
        refiner.dialogue.save(output)
        write_json(path, asked)
        return
    before = read_json(path)
    changed = [f"{name} {before.get(name)}, now {value}" for name, value in asked.items() if before.get(name) != value]
    if changed:
        raise UserError(
            f"{output} holds units that were asked with {'; '.join(changed)}: go on with the engine settings of before "
            "(engine.dtype, engine.max_context), or give another --output"
        )


@functools.cache
def log_once(message: str) -> None:
    """Logs a message once a process, however many units it is true of."""
    log.info(message)
