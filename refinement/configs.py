"""Configs of the refinement verbs."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from prox.artifact import require
from prox.command import VOLATILE_FIELDS, CommandConfig
from prox.corpus import CorpusConfig, corpus_inputs, corpus_marks
from prox.dialogue import RefinerConfig
from prox.engines import EngineConfig
from prox.executor import Guards


def _positive(**numbers: float) -> list[str]:
    return [f"--{name} {value}: must be at least 1" for name, value in numbers.items() if value < 1]


def _share(name: str, value: float) -> list[str]:
    return [] if 0.0 <= value <= 1.0 else [f"--{name} {value}: must lie between 0 and 1"]


@dataclass
class IngestConfig(CommandConfig):
    """Corpus -> units."""

    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    """Where the documents come from."""
    documents_per_unit: int = 10_000
    """Documents a unit holds; a unit is one task of the later steps, and what a kill can cost."""

    def problems(self) -> list[str]:
        return self.corpus.problems() + _positive(documents_per_unit=self.documents_per_unit)

    def inputs(self) -> list[Path]:
        return corpus_inputs(self.corpus)

    def input_marks(self) -> list[str]:
        return corpus_marks(self.corpus)

    def plan(self) -> dict[str, Any]:
        files = corpus_inputs(self.corpus)
        return {
            "corpus": f"{self.corpus.format} {self.corpus.path}".strip(),
            "files": len(files),
            "input_bytes": sum(file.stat().st_size for file in files if file.is_file()),
        }


@dataclass
class UnitsConfig(CommandConfig):
    """What every verb has that turns units into units."""

    documents: Path | None = None
    """Documents artefact to read (of `refinement ingest` or a later refinement step)."""
    workers: int = 1
    """Units worked on at once, each in its own process."""

    def problems(self) -> list[str]:
        found = require(self.documents, "documents", "`python -m refinement ingest`")
        if not found and not any((self.documents / "documents").glob("*.parquet")):
            found = [f"--documents {self.documents} holds no documents/*.parquet: give a documents artefact"]
        return found + _positive(workers=self.workers)

    def inputs(self) -> list[Path]:
        return [self.documents] if self.documents else []

    def plan(self) -> dict[str, Any]:
        from prox.units import unit_files

        files = unit_files(self.documents) if self.documents else []
        return {"units": len(files), "input_bytes": sum(file.stat().st_size for file in files)}


@dataclass
class RefinerStepConfig(UnitsConfig):
    """What both refining steps share."""

    refiner: RefinerConfig = field(default_factory=RefinerConfig)
    """The checkpoint that writes the programs."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    """How the checkpoint is run."""
    documents_per_batch: int = 512
    """Documents whose prompts go to the engine together; bounds memory."""

    def problems(self) -> list[str]:
        found = super().problems() + self.engine.problems() + _positive(documents_per_batch=self.documents_per_batch)
        checkpoint = self.refiner.checkpoint
        if not checkpoint:
            found.append("--refiner.checkpoint is not set: give a local folder or a hub name")
        elif Path(checkpoint).exists():
            found += require(Path(checkpoint), "refiner.checkpoint", "the step that makes the refiner")
            if not (Path(checkpoint) / "config.json").is_file():
                found.append(
                    f"--refiner.checkpoint {checkpoint} holds no config.json: give a Hugging Face model folder"
                )
        elif checkpoint.startswith((".", "/", "~")) or checkpoint.count("/") > 1:
            found.append(f"--refiner.checkpoint {checkpoint} does not exist: correct the path, or give a hub name")
        if self.engine.kind == "server":
            found.append("--engine.kind server: a refiner is read token by token; use local or vllm")
        return found

    def inputs(self) -> list[Path]:
        checkpoint = Path(self.refiner.checkpoint)
        return super().inputs() + ([checkpoint] if self.refiner.checkpoint and checkpoint.exists() else [])

    def volatile_fields(self) -> frozenset[str]:
        """Where and in what batches the checkpoint runs does not decide what it answers."""
        return VOLATILE_FIELDS | {"engine", "documents_per_batch"}

    def input_marks(self) -> list[str]:
        """The engine's settings that do decide it: the weights' number format, and the context that holds prompts."""
        return [f"dtype:{self.engine.dtype}", f"max_context:{self.engine.max_context}"]

    def plan(self) -> dict[str, Any]:
        return super().plan() | {"refiner": self.refiner.checkpoint, "engine": self.engine.kind}


@dataclass
class DocumentConfig(RefinerStepConfig):
    """Document stage: keep or drop."""

    decision: Literal["logits", "generate"] = "logits"
    """`logits`: read the answer off the next-token probabilities of one prefill, which gives `p_keep`; `generate`:
    decode it, as the paper did."""
    threshold: float = 0.5
    """Lowest `p_keep` that keeps a document; `logits` only."""
    max_prompt_tokens: int = 2_000
    """Longest prompt in tokens, lowered where the refiner's context is shorter; the document's end is cut."""
    max_new_tokens: int = 16
    """Longest answer in tokens; `generate` only."""

    def problems(self) -> list[str]:
        numbers = _positive(max_prompt_tokens=self.max_prompt_tokens, max_new_tokens=self.max_new_tokens)
        return super().problems() + _share("threshold", self.threshold) + numbers


@dataclass(frozen=True)
class DocumentGuards:
    """When an edited document is dropped; a document no program changed always stays."""

    min_words_left: int = 11
    """Fewest words an edited document keeps (the authors drop at 10 or fewer)."""
    min_kept_share: float = 0.05
    """An edited document that keeps this share of its words or less is dropped."""


@dataclass
class ChunkConfig(RefinerStepConfig):
    """Chunk stage: lines removed, strings replaced."""

    window: int = 1_500
    """Longest chunk in tokens, line numbers included; lowered where the refiner's context is too short for it."""
    max_new_tokens: int = 256
    """Longest program in tokens; the cut-off last line of a longer one is not run. Where window, prompt and program
    exceed the refiner's context, at most a quarter of it."""
    guards: Guards = field(default_factory=Guards)
    """When a chunk's program is not trusted."""
    document_guards: DocumentGuards = field(default_factory=DocumentGuards)
    """When an edited document is dropped."""

    def problems(self) -> list[str]:
        found = super().problems() + _positive(window=self.window, max_new_tokens=self.max_new_tokens)
        found += _share("document_guards.min_kept_share", self.document_guards.min_kept_share)
        return found + _share("guards.max_removed_share", self.guards.max_removed_share)


@dataclass
class RuleConfig:
    """One of datatrove's filters."""

    name: Literal["gopher_quality", "gopher_repetition", "c4_quality", "fineweb_quality"]
    """The filter."""
    options: dict[str, Any] = field(default_factory=dict)
    """Its arguments where they differ from datatrove's defaults, which are the published thresholds."""


@dataclass
class RulesConfig(UnitsConfig):
    """Rule baseline."""

    filters: list[RuleConfig] = field(default_factory=list)
    """Filters in the order they are applied; a later one sees only what the earlier ones left."""
    max_fault_share: float = 0.05
    """Stop unfinished when a filter failed on more than this share of the documents it saw (0 to 1); they are kept."""

    def volatile_fields(self) -> frozenset[str]:
        """How many faults are borne does not decide what the filters leave."""
        return VOLATILE_FIELDS | {"max_fault_share"}

    def problems(self) -> list[str]:
        unset = [] if self.filters else ["--filters is empty: name at least one filter"]
        return super().problems() + unset + _share("max_fault_share", self.max_fault_share)


@dataclass
class StatsConfig(CommandConfig):
    """Sizes of the arms."""

    arms: dict[str, Path] = field(default_factory=dict)
    """Documents artefact of each arm, by the arm's name; shares are taken of `raw`, else of the first arm."""
    tokenizer: Path | None = None
    """Folder of the tokenizer that counts tokens."""

    def problems(self) -> list[str]:
        found = [] if self.arms else ["--arms is empty: give at least --arms.raw <documents artefact>"]
        for name, path in self.arms.items():
            found += require(path, f"arms.{name}", "the refinement step of this arm")
        return found + require(self.tokenizer, "tokenizer", "`python -m pretraining tokenizer`")

    def inputs(self) -> list[Path]:
        return [*self.arms.values(), *([self.tokenizer] if self.tokenizer else [])]
