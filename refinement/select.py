"""`refinement select`: of what a document step read, the best documents within a budget ("the best 30 % of tokens").

The first pass over the units takes down each document's `p_keep` and size, the second writes what is kept. In between
the documents are put in order, which takes about 90 bytes of memory each (10 million measured); texts are streamed.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document, DocumentsPipeline
from datatrove.utils.batching import batched

from prox import ledger
from prox.decision import DROP_ANSWER, KEEP_ANSWER
from prox.errors import UserError
from prox.tasks import make_executor
from prox.units import read_documents, unit_files, write_unit
from prox.words import count_words
from refinement import document as document_stage
from refinement.pipeline import UnitWriter
from refinement.replay import ReplayStep
from refinement.rule_configs import SelectConfig
from refinement.rule_filters import draw
from refinement.tasks import run_units

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from refinement.counting import Sizer

SIZES = "sizes"
SIZES_SCHEMA = pa.schema(
    [
        ("p_keep", pa.float64()),  # null: the recorded decision stands
        ("draw", pa.uint64()),  # orders documents of equal p_keep
        ("size", pa.int64()),
        ("keep", pa.bool_()),  # as recorded
    ]
)
BATCH = 256
OVER_BUDGET = "over_budget"
DECISIONS = {True: "keep", False: "drop"}


@dataclass(frozen=True)
class Cut:
    """Where the budget ends: at this `p_keep`, and of the documents that share it at this draw. None keeps nothing."""

    p_keep: float | None
    draw: int = 0

    def keeps(self, p_keep: float, drawn: int) -> bool:
        """True for a document that comes before the cut, or is the last one before it."""
        if self.p_keep is None:
            return False
        return p_keep > self.p_keep or (p_keep == self.p_keep and drawn <= self.draw)


def cut_at(p_keep: np.ndarray, draws: np.ndarray, sizes: np.ndarray, budget: int) -> Cut:
    """The cut behind the longest run of documents, from the highest ``p_keep`` down, that fits into ``budget``.

    The arrays [documents] hold floats, uint64 and int64. Documents equal in both ``p_keep`` and draw stay together.
    """
    order = np.lexsort((draws, -p_keep))
    number = int(np.searchsorted(np.cumsum(sizes[order]), budget, side="right"))

    def is_like_next(position: int) -> bool:
        last, following = order[position], order[position + 1]
        return p_keep[last] == p_keep[following] and draws[last] == draws[following]

    while 0 < number < len(order) and is_like_next(number - 1):
        number -= 1
    if number == 0:
        return Cut(None)
    last = order[number - 1]
    return Cut(float(p_keep[last]), int(draws[last]))


@functools.lru_cache(1)
def _tokenizer(checkpoint: str) -> "PreTrainedTokenizerBase":
    from prox.engines.local import load_tokenizer  # imports torch, which only counting tokens needs

    return load_tokenizer(checkpoint)


def _new_sizer(tokenizer: str) -> "Sizer":
    from refinement.counting import Sizer

    return Sizer(_tokenizer(tokenizer))


class SizeStep(ReplayStep):
    """First pass: writes ``sizes/<unit>.parquet``, a row a document."""

    name, type = "sizes", "STATS"

    def __init__(self, config: SelectConfig, writer: UnitWriter) -> None:
        super().__init__(config.replay_config(), writer)
        self.select = config

    def path(self, rank: int) -> Path:
        """Where the sizes of a unit go."""
        return self.select.output / SIZES / self.writer.units.name(rank)

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Ignores ``data``, and yields nothing."""
        pairs = self._pairs(read_documents(self.writer.units.path(rank)), self.ledger_path(rank))
        write_unit(self.path(rank), self._rows(pairs), SIZES_SCHEMA)
        yield from ()

    def _rows(self, pairs: Iterator[tuple[Document, ledger.Row]]) -> Iterator[dict[str, Any]]:
        sizer = _new_sizer(self.select.tokenizer) if self.select.share_of == "tokens" else None
        for batch in batched(pairs, BATCH):
            sizes = self._sizes([document.text for document, _ in batch], sizer)
            for (_, row), size in zip(batch, sizes, strict=True):
                drawn = draw(self.select.seed, row["id"])
                yield {"p_keep": row["p_keep"], "draw": drawn, "size": size, "keep": row["decision"] == "keep"}

    def _sizes(self, texts: Sequence[str], sizer: "Sizer | None") -> list[int]:
        if sizer is not None:
            return sizer.tokens(texts)
        if self.select.share_of == "words":
            return [count_words(text) for text in texts]
        if self.select.share_of == "bytes":
            return [len(text.encode("utf-8", "surrogatepass")) for text in texts]
        return [1] * len(texts)


class SelectStep(ReplayStep):
    """Second pass: a replay that keeps what comes before the cut."""

    name = "select"

    def __init__(self, config: SelectConfig, writer: UnitWriter, cut: Cut) -> None:
        super().__init__(config.replay_config(), writer)
        self.seed, self.cut = config.seed, cut

    def _decide(self, pairs: Iterator[tuple[Document, ledger.Row]]) -> DocumentsPipeline:
        for document, row in pairs:
            if row["p_keep"] is None:
                if document_stage.finish_document(document, row, document_stage.recorded_answer(row), self.writer):
                    yield document
                continue
            keep = self.cut.keeps(row["p_keep"], draw(self.seed, row["id"]))
            self.writer.record({**row, "program": KEEP_ANSWER if keep else DROP_ANSWER, "decision": DECISIONS[keep]})
            if keep:
                yield document
            else:
                self.writer.drop(document, OVER_BUDGET)


def measure_sizes(config: SelectConfig, writer: UnitWriter) -> dict[str, np.ndarray]:
    """The first pass, and its result: an array [documents] for each column, with NaN where there is no ``p_keep``."""
    step = SizeStep(config, writer)
    documents = [pq.read_metadata(file).num_rows for file in unit_files(config.documents)]
    label, folder = "refinement select, sizes", config.output / SIZES / "tasks"
    executor = make_executor(config.executor, label, [step], documents, folder, config.workers)
    executor.tidy(lambda rank: [step.path(rank)], [config.output / SIZES])
    executor.run()
    table = pa.concat_tables(pq.read_table(step.path(rank)) for rank in range(len(documents)))
    return {name: table[name].to_numpy() for name in SIZES_SCHEMA.names}


def find_cut(config: SelectConfig, found: dict[str, np.ndarray]) -> tuple[Cut, dict[str, Any]]:
    """The cut, and the budget in numbers. Documents without `p_keep` that were kept come out of the budget first.

    Raises ``UserError`` where no document has a `p_keep`.
    """
    p_keep, draws, sizes = found["p_keep"], found["draw"], found["size"]
    undecided = np.isnan(p_keep)
    if undecided.all():
        raise UserError(
            f"--ledger {config.ledger} holds no p_keep: its answers were decoded, or none came. Give the output of "
            "`refinement document --decision logits`"
        )
    total, kept_anyway = int(sizes.sum()), int(sizes[undecided & found["keep"]].sum())
    # As a fraction of decimal digits, or 0.29 of 100 documents would be 28.
    budget = int(Fraction(str(config.keep_share)) * total)
    ranked = slice(None) if not undecided.any() else ~undecided  # a slice copies nothing
    cut = cut_at(p_keep[ranked], draws[ranked], sizes[ranked], budget - kept_anyway)
    if cut.p_keep is None:
        before = tied = np.zeros_like(undecided)
    else:
        tied = p_keep == cut.p_keep
        before = (p_keep > cut.p_keep) | (tied & (draws <= cut.draw))
    kept = int(sizes[before].sum()) + kept_anyway
    facts = {"share_of": config.share_of, "total": total, "budget": budget, "kept": kept, "threshold": cut.p_keep}
    facts["kept_share"] = kept / total if total else 0.0
    facts["documents_at_threshold"] = {"kept": int((tied & before).sum()), "dropped": int((tied & ~before).sum())}
    facts["documents_without_p_keep"] = int(undecided.sum())
    return cut, facts


def select(config: SelectConfig) -> dict[str, Any]:
    """Both passes; ``stats.json`` also says what threshold the budget came to."""
    writer = UnitWriter(config.documents, config.output, document_stage.LEDGER_SCHEMA)
    cut, facts = find_cut(config, measure_sizes(config, writer))
    counts = run_units("refinement select", config, [SelectStep(config, writer, cut)], writer)
    summary = document_stage.write_statistics(config.output, counts | {"selection": facts})
    return summary | {name: facts[name] for name in ("threshold", "kept_share")}
