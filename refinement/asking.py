"""How both refining steps go through their documents: rendered one batch ahead, asked, stopped by too many failures."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from datatrove.data import Document, DocumentsPipeline
from datatrove.utils.batching import batched

from prox.engines import Failure
from prox.errors import UserError
from prox.isolation import isolated
from prox.overlap import one_ahead

FEWEST_FAILURES = 10
"""So many failed documents say nothing of the engine, however many of a unit's first documents they are."""

Rendered = TypeVar("Rendered")
Answered = TypeVar("Answered")


def answered(
    data: DocumentsPipeline,
    batch_size: int,
    render: Callable[[Sequence[Document]], Sequence[Rendered]],
    ask: Callable[[Sequence[Document], Sequence[Rendered | Failure]], Iterable[Answered]],
    failure_of: Callable[[Answered], str | None],
) -> Iterator[tuple[Document, Rendered | Failure, Answered]]:
    """Each document with what ``render`` made of it and what ``ask`` answered.

    ``failure_of`` says of an answer why there is none. ``render`` works one batch ahead in a thread; a document
    on which it raises has a ``Failure`` in its place. Raises ``UserError`` where the engine seems broken.
    """

    def batches() -> Iterator[tuple[list[Document], list[Rendered | Failure]]]:
        for batch in batched(data, batch_size):
            documents = list(batch)
            yield documents, isolated(render, documents, lambda document: f"document {document.id!r}")

    watch = EngineWatch()
    for documents, prompts in one_ahead(batches()):
        for document, prompt, answer in zip(documents, prompts, ask(documents, prompts), strict=True):
            watch.add(failure_of(answer))
            yield document, prompt, answer
        watch.check()


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
