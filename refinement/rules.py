"""Rule and selection baselines: datatrove's filters (Gopher, C4, FineWeb), a classifier's threshold, a random share."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.utils.batching import batched
from datatrove.utils.word_tokenizers import SpaCyTokenizer, load_word_tokenizer

from prox.artifact import write_json
from prox.errors import UserError
from prox.units import LEDGER, unit_files
from refinement.pipeline import UnitWriter
from refinement.rule_configs import RuleConfig, RulesConfig
from refinement.rule_filters import ClassifierFilter, RandomFilter, Verdict
from refinement.tasks import run_units

FILTERS: dict[str, type[BaseFilter]] = {
    "gopher_quality": GopherQualityFilter,
    "gopher_repetition": GopherRepetitionFilter,
    "c4_quality": C4QualityFilter,
    "fineweb_quality": FineWebQualityFilter,
}
LEDGER_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("rule", pa.string()),
        ("score", pa.float64()),  # the classifier's; rules that give no score write no row
        ("fault", pa.string()),  # why a filter failed on the document, which is then kept
    ]
)
# Documents whose words spaCy remembers together: more save little time and hold more memory.
DOCUMENTS_PER_ZONE = 32


def _as_tuple(value: Any) -> Any:
    """YAML has lists where datatrove expects tuples (``str.endswith`` takes no list)."""
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value


class Rule(BaseFilter):
    """One filter; a document it fails on is kept and recorded, and never stops the corpus."""

    def __init__(self, name: str, inner: BaseFilter, writer: UnitWriter) -> None:
        self.name = name
        super().__init__(exclusion_writer=writer, batch_size=inner.batch_size)
        self.inner, self.writer = inner, writer

    def filter(self, document: Document) -> Verdict:
        """The inner filter's verdict, its reason prefixed with the rule's name."""
        try:
            return self._named(self.inner.filter(document))
        except UserError:
            raise
        except Exception as error:
            fault = f"{type(error).__name__}: {error}"
            self.writer.record({"id": document.id, "rule": self.name, "score": None, "fault": fault})
            return True

    def filter_batch(self, batch: Sequence[Document]) -> list[Verdict]:
        """The same for several documents; a filter that fails on them together is asked about one after another."""
        if len(batch) > 1:
            try:
                return [self._named(verdict) for verdict in self.inner.filter_batch(batch)]
            except Exception as error:
                self.stat_update("batches_taken_apart", f"batches_taken_apart_{type(error).__name__}")
        return [self.filter(document) for document in batch]

    def _named(self, verdict: Verdict) -> Verdict:
        kept, reason = verdict if isinstance(verdict, tuple) else (verdict, "")
        return True if kept else (False, f"{self.name}: {reason}" if reason else self.name)


class WordZones(PipelineStep):
    """Before the filters: lets spaCy, datatrove's word splitter, remember words for a batch of documents.

    datatrove has it forget all words after every text it splits, which for C4's sentences is every line, and learning
    them anew takes a good part of the filters' time (``benchmarks/refinement.py``). Memory stays bounded all the same.
    """

    name, type = "word zones", "FILTER"

    def __init__(self, languages: Sequence[str]) -> None:
        super().__init__()
        self.languages = list(languages)

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Yields every document; the filters that follow see it within the zone."""
        for batch in batched(data, DOCUMENTS_PER_ZONE):
            with contextlib.ExitStack() as zones:
                for language in self.languages:
                    zones.enter_context(_word_zone(language))
                yield from batch


@contextlib.contextmanager
def _word_zone(language: str) -> Iterator[None]:
    """One memory zone around all that datatrove's splitter of this language is asked within."""
    splitter = load_word_tokenizer(language)
    if not isinstance(splitter, SpaCyTokenizer):
        yield
        return
    nlp = splitter.tokenizer
    with nlp.memory_zone():
        nlp.memory_zone = contextlib.nullcontext  # zones can't be nested, and datatrove opens its own
        try:
            yield
        finally:
            del nlp.memory_zone


def build_filter(rule: RuleConfig, config: RulesConfig, writer: UnitWriter) -> BaseFilter:
    """The filter itself. Raises ``TypeError`` for an option it doesn't know."""
    if rule.name == "classifier":
        return ClassifierFilter(config.classifier, writer)
    if rule.name == "random":
        return RandomFilter(config.random_share, config.seed)
    return FILTERS[rule.name](**{key: _as_tuple(value) for key, value in rule.options.items()})


def build_steps(config: RulesConfig, writer: UnitWriter) -> list[PipelineStep]:
    """The filters of the config. Options a filter doesn't know, or a language it can't split, are a ``UserError``."""
    rules: list[Rule] = []
    languages: set[str] = set()
    for number, rule in enumerate(config.filters):
        try:
            rules.append(Rule(rule.name, build_filter(rule, config, writer), writer))
            if rule.name in FILTERS:
                load_word_tokenizer(rules[-1].inner.language)
                languages.add(rules[-1].inner.language)
        except (TypeError, ValueError, ImportError) as error:
            raise UserError(f"--filters[{number}].options of {rule.name}: {error}") from None
    return [WordZones(sorted(languages)), *rules]


def check_faults(config: RulesConfig, counts: dict[str, Any], faults: Counter[str], example: dict[str, str]) -> None:
    """``UserError`` where a filter failed on more than ``max_fault_share`` of the documents it saw, in the whole run.

    ``faults`` counts failures and ``example`` holds one, both by the filter's name.
    """
    dropped: Counter[str] = Counter()
    for reason, count in counts["dropped_by_reason"].items():
        dropped[reason.split(":")[0]] += count
    seen = counts["documents"]
    for name in config.names():
        if faults[name] > config.max_fault_share * seen:
            raise UserError(
                f"{name} failed on {faults[name]} of the {seen} documents it saw ({example[name]}), more than "
                f"--max_fault_share {config.max_fault_share}: correct its options in --filters, or raise the share"
            )
        seen -= dropped[name]


def apply_rules(config: RulesConfig) -> dict[str, Any]:
    """Runs the filters on every unit; a filter that fails again and again is a ``UserError`` at the end."""
    writer = UnitWriter(config.documents, config.output, LEDGER_SCHEMA)
    counts = run_units("refinement rules", config, build_steps(config, writer), writer)
    faults: Counter[str] = Counter()
    example: dict[str, str] = {}
    for file in unit_files(config.output, LEDGER):
        rows = pq.read_table(file, columns=["rule", "fault"])
        for row in rows.filter(pc.is_valid(rows["fault"])).to_pylist():
            faults[row["rule"]] += 1
            example.setdefault(row["rule"], row["fault"])
    write_json(config.output / "stats.json", counts | {"kept_because_the_rule_failed": faults})
    check_faults(config, counts, faults, example)
    return {key: counts[key] for key in ("documents", "kept", "dropped")} | {"faults": sum(faults.values())}
