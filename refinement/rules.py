"""Rule baseline: datatrove's filters (Gopher, C4, FineWeb), as the paper's "rule" arms have them."""

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.filters.base_filter import BaseFilter

from prox.artifact import write_json
from prox.errors import UserError
from prox.units import LEDGER, unit_files
from refinement.configs import RulesConfig
from refinement.pipeline import UnitWriter
from refinement.tasks import run_units

FILTERS: dict[str, type[BaseFilter]] = {
    "gopher_quality": GopherQualityFilter,
    "gopher_repetition": GopherRepetitionFilter,
    "c4_quality": C4QualityFilter,
    "fineweb_quality": FineWebQualityFilter,
}
# A rule's ledger holds only what went wrong: a filter that failed on a document, which is then kept.
LEDGER_SCHEMA = pa.schema([("id", pa.string()), ("rule", pa.string()), ("fault", pa.string())])


def _as_tuple(value: Any) -> Any:
    """YAML has lists where datatrove expects tuples (``str.endswith`` takes no list)."""
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value


class Rule(BaseFilter):
    """One filter; a document it fails on is kept and recorded, and never stops the corpus."""

    def __init__(self, name: str, inner: BaseFilter, writer: UnitWriter) -> None:
        self.name = name
        super().__init__(exclusion_writer=writer)
        self.inner, self.writer = inner, writer

    def filter(self, document: Document) -> bool | tuple[bool, str]:
        """The inner filter's verdict, its reason prefixed with the rule's name."""
        try:
            verdict = self.inner.filter(document)
        except Exception as error:
            self.writer.record({"id": document.id, "rule": self.name, "fault": f"{type(error).__name__}: {error}"})
            return True
        kept, reason = verdict if isinstance(verdict, tuple) else (verdict, "")
        return True if kept else (False, f"{self.name}: {reason}" if reason else self.name)


def build_rules(config: RulesConfig, writer: UnitWriter) -> list[Rule]:
    """The filters of the config; options a filter doesn't know are a ``UserError``."""
    rules = []
    for number, rule in enumerate(config.filters):
        options = {key: _as_tuple(value) for key, value in rule.options.items()}
        try:
            rules.append(Rule(rule.name, FILTERS[rule.name](**options), writer))
        except TypeError as error:
            raise UserError(f"--filters[{number}].options of {rule.name}: {error}") from None
    return rules


def check_faults(config: RulesConfig, counts: dict[str, Any], faults: Counter[str], example: dict[str, str]) -> None:
    """``UserError`` where a filter failed on more than ``max_fault_share`` of the documents it saw, in the whole run.

    ``faults`` counts failures and ``example`` holds one, both by the filter's name.
    """
    dropped: Counter[str] = Counter()
    for reason, count in counts["dropped_by_reason"].items():
        dropped[reason.split(":")[0]] += count
    seen = counts["documents"]
    for name in dict.fromkeys(rule.name for rule in config.filters):
        if faults[name] > config.max_fault_share * seen:
            raise UserError(
                f"{name} failed on {faults[name]} of the {seen} documents it saw ({example[name]}), more than "
                f"--max_fault_share {config.max_fault_share}: correct its options in --filters, or raise the share"
            )
        seen -= dropped[name]


def apply_rules(config: RulesConfig) -> dict[str, Any]:
    """Runs the filters on every unit; a filter that fails again and again is a ``UserError`` at the end."""
    writer = UnitWriter(config.documents, config.output, LEDGER_SCHEMA)
    counts = run_units("refinement rules", config, build_rules(config, writer), writer)
    faults: Counter[str] = Counter()
    example: dict[str, str] = {}
    for file in unit_files(config.output, LEDGER):
        for row in pq.read_table(file, columns=["rule", "fault"]).to_pylist():
            faults[row["rule"]] += 1
            example.setdefault(row["rule"], row["fault"])
    write_json(config.output / "stats.json", counts | {"kept_because_the_rule_failed": faults})
    check_faults(config, counts, faults, example)
    return {key: counts[key] for key in ("documents", "kept", "dropped")} | {"faults": sum(faults.values())}
