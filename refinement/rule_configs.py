"""Configs of what keeps or drops documents without a refiner: rules, and a budget applied to answers it gave."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from prox.artifact import recorded, require, require_model
from prox.command import VOLATILE_FIELDS
from refinement.configs import ReplayConfig, UnitsConfig

RuleName = Literal[
    "gopher_quality", "gopher_repetition", "c4_quality", "fineweb_quality", "classifier", "random"
]  # the last two are ours, the others datatrove's


@dataclass
class RuleConfig:
    """One filter."""

    name: RuleName
    """The filter: one of datatrove's, `classifier` (by a classifier's score), or `random`."""
    options: dict[str, Any] = field(default_factory=dict)
    """Arguments of a datatrove filter where they differ from its defaults, which are the published thresholds."""


@dataclass(frozen=True)
class ClassifierConfig:
    """The filter `classifier`: a sequence-classification model scores each document."""

    model: str = "HuggingFaceFW/fineweb-edu-classifier"
    """Local folder or hub name."""
    threshold: float = 3.0
    """Lowest score that keeps a document."""
    rounded: bool = True
    """Round scores to whole numbers before they are compared, as FineWeb-Edu does: with threshold 3 all above 2.5 are
    kept."""
    label: str = ""
    """Label whose probability (0 to 1) is the score; empty for a regression model, which has a single output."""
    max_tokens: int | None = None
    """Tokens of a document that are read, from its beginning; unset: as many as the model can."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Weights' number format: `auto` is bfloat16 on CUDA and float32 on CPU."""
    device: str = "auto"
    """`auto` (CUDA where there is one), `cpu` or `cuda`."""
    batch_size: int = 64
    """Documents a forward pass."""

    def problems(self) -> list[str]:
        """Reasons why it can't be used, as far as they show before it is loaded."""
        found = require_model(self.model, "classifier.model", "the step that makes the classifier")
        if self.label and (self.rounded or not 0.0 <= self.threshold <= 1.0):
            found.append(
                f"--classifier.label {self.label} makes the score a probability: set --classifier.rounded false and a "
                f"--classifier.threshold between 0 and 1 (it is {self.threshold})"
            )
        for name, value in (("batch_size", self.batch_size), ("max_tokens", self.max_tokens)):
            if value is not None and value < 1:
                found.append(f"--classifier.{name} {value}: must be at least 1")
        return found

    def marks(self) -> list[str]:
        """What decides the scores and what is kept by them, besides the model's own files."""
        names = ("threshold", "rounded", "label", "max_tokens", "dtype")
        local = [] if Path(self.model).exists() else [f"classifier.model:{self.model}"]
        return local + [f"classifier.{name}:{getattr(self, name)}" for name in names]


@dataclass
class RulesConfig(UnitsConfig):
    """Rule and selection baselines."""

    filters: list[RuleConfig] = field(default_factory=list)
    """Filters in the order they are applied; a later one sees only what the earlier ones left."""
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    """Used by the filter `classifier`."""
    random_share: float | None = None
    """Share of the documents that the filter `random` keeps (0 to 1); `seed` and a document's id decide which."""
    max_fault_share: float = 0.05
    """Stop unfinished when a filter failed on more than this share of the documents it saw (0 to 1); they are kept."""

    def names(self) -> list[str]:
        """The filters' names, each once."""
        return list(dict.fromkeys(rule.name for rule in self.filters))

    def volatile_fields(self) -> frozenset[str]:
        """How many faults are borne does not decide what the filters leave; ``input_marks`` has what two others do."""
        return VOLATILE_FIELDS | {"max_fault_share", "classifier", "random_share", "seed"}

    def input_marks(self) -> list[str]:
        """Settings of the filters that are used; a change in another's leaves finished work valid."""
        marks = self.classifier.marks() if "classifier" in self.names() else []
        return marks + ([f"random:{self.random_share}:{self.seed}"] if "random" in self.names() else [])

    def problems(self) -> list[str]:
        found = super().problems()
        if not self.filters:
            found.append("--filters is empty: name at least one filter")
        for number, rule in enumerate(self.filters):
            if rule.name in ("classifier", "random") and rule.options:
                found.append(f"--filters[{number}].options: {rule.name} takes none; set --classifier.*, --random_share")
        if "classifier" in self.names():
            found += self.classifier.problems()
        if "random" in self.names() and (self.random_share is None or not 0.0 <= self.random_share <= 1.0):
            found.append(f"--random_share {self.random_share}: must lie between 0 and 1")
        if not 0.0 <= self.max_fault_share <= 1.0:
            found.append(f"--max_fault_share {self.max_fault_share}: must lie between 0 and 1")
        return found

    def inputs(self) -> list[Path]:
        model = Path(self.classifier.model)
        return super().inputs() + ([model] if "classifier" in self.names() and model.exists() else [])

    def plan(self) -> dict[str, Any]:
        return super().plan() | {"filters": ", ".join(self.names())}


@dataclass
class SelectConfig(UnitsConfig):
    """A document step's ledger -> the best documents within a budget, without a model."""

    ledger: Path | None = None
    """Output of `refinement document --decision logits`; `documents` is what that step read."""
    keep_share: float | None = None
    """Budget: the share (0 to 1) of all documents, tokens, words or bytes that is kept at most, by falling `p_keep`.
    (`refinement replay --threshold` keeps by a plain threshold.)"""
    share_of: Literal["documents", "tokens", "words", "bytes"] = "tokens"
    """What the budget counts; tokens without special ones."""
    tokenizer: str = ""
    """Folder or hub name of the tokenizer that counts tokens."""

    def problems(self) -> list[str]:
        if self.ledger is None:
            found = UnitsConfig.problems(self) + require(None, "ledger", "`refinement document`")
        else:
            found = self.replay_config().problems()
            command = recorded(self.ledger).get("command")
            if not found and command != "refinement document":
                found.append(f"--ledger {self.ledger} was made by `python -m {command}`: give a `refinement document`")
        if self.keep_share is None or not 0.0 <= self.keep_share <= 1.0:
            found.append(f"--keep_share {self.keep_share}: must lie between 0 and 1")
        if self.share_of == "tokens":
            found += require_model(self.tokenizer, "tokenizer", "`python -m pretraining tokenizer`")
        return found

    def replay_config(self) -> ReplayConfig:
        """The replay that this is, but for which documents it keeps."""
        return ReplayConfig(
            self.output, documents=self.documents, workers=self.workers, executor=self.executor, ledger=self.ledger
        )

    def inputs(self) -> list[Path]:
        return self.replay_config().inputs() + ([Path(self.tokenizer)] if self._reads_tokenizer() else [])

    def _reads_tokenizer(self) -> bool:
        return self.share_of == "tokens" and bool(self.tokenizer) and Path(self.tokenizer).exists()
