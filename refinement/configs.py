"""Configs of the refinement verbs."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from prox.artifact import recorded, require, require_model
from prox.assembly import DocumentGuards
from prox.cluster import ExecutorConfig
from prox.command import CommandConfig
from prox.corpus import CorpusConfig, corpus_inputs, corpus_marks
from prox.dialogue import Dialogue, RefinerConfig, load_dialogue
from prox.engines import EngineConfig
from prox.engines.base import LOCAL_ONLY
from prox.excerpts import Excerpt
from prox.executor import Guards

DEFAULT_THRESHOLD = 0.5


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
    """Most documents a unit holds; a unit is one task of the later steps, and what a kill can cost them."""
    bytes_per_unit: int = 128 << 20
    """Most bytes of text and metadata (UTF-8) a unit holds, beyond its first document."""
    bytes_per_task: int = 64 << 20
    """Consecutive files are read by one task up to so many bytes, as stored; a larger file is a task of its own. A
    corpus with a limit, and one that is no files, is one task."""
    on_broken_file: Literal["keep_going", "stop"] = "keep_going"
    """`keep_going`: what can't be read of a broken file is a reject, and counted; `stop`: it ends the run. A file that
    is not to be had (network, access) ends it in any case, and the same command goes on."""
    max_broken_share: float = 0.1
    """Above this share of broken files the run stops before anything is committed; a single one never stops it."""
    workers: int = 1
    """Tasks worked on at once, each in its own process; executor `local` only."""
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
    """Where tasks are worked on: `local`, `slurm` or `ray`."""

    def problems(self) -> list[str]:
        numbers = _positive(
            documents_per_unit=self.documents_per_unit,
            bytes_per_unit=self.bytes_per_unit,
            bytes_per_task=self.bytes_per_task,
            workers=self.workers,
        )
        numbers += _share("max_broken_share", self.max_broken_share)
        return self.corpus.problems() + numbers + self.executor.problems(self.output)

    def volatile_fields(self) -> frozenset[str]:
        """What is finished stays so under another bound."""
        return super().volatile_fields() | {"max_broken_share"}

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
    """Units worked on at once, each in its own process; executor `local` only."""
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
    """Where units are worked on: `local`, `slurm` or `ray`."""

    def problems(self) -> list[str]:
        found = require(self.documents, "documents", "`python -m refinement ingest`")
        if not found and not any((self.documents / "documents").glob("*.parquet")):
            found = [f"--documents {self.documents} holds no documents/*.parquet: give a documents artefact"]
        return found + _positive(workers=self.workers) + self.executor.problems(self.output)

    def inputs(self) -> list[Path]:
        return [self.documents] if self.documents else []

    def plan(self) -> dict[str, Any]:
        from prox.units import unit_files

        files = unit_files(self.documents) if self.documents else []
        size = sum(file.stat().st_size for file in files)
        return {"units": len(files), "input_bytes": size, "executor": self.executor.describe(len(files), self.workers)}


@dataclass
class RefinerStepConfig(UnitsConfig):
    """What both refining steps share."""

    refiner: RefinerConfig = field(default_factory=RefinerConfig)
    """The checkpoint that writes the programs."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    """How the checkpoint is run."""
    documents_per_batch: int = 512
    """Documents whose prompts go to the engine together; bounds memory."""
    constrained: bool = False
    """Decode under the grammar of the language: an answer can't be anything but a program."""
    max_failed_share: float = 0.05
    """A run ends with an error above this share of documents without an answer, and the same command asks again; below,
    they are kept as they are and counted."""

    def problems(self) -> list[str]:
        found = super().problems() + self.engine.problems() + _positive(documents_per_batch=self.documents_per_batch)
        found += _share("max_failed_share", self.max_failed_share)
        found += [f"--refiner.{problem}" for problem in self.refiner.dialogue.problems()]
        checkpoint = self.refiner.checkpoint
        found += require_model(checkpoint, "refiner.checkpoint", "the step that makes the refiner")
        if self.engine.kind != "local" and self.refiner.kind == "tagger":
            found.append(f"--engine.kind is {self.engine.kind}: {LOCAL_ONLY}")
        if Path(checkpoint).is_dir() and checkpoint and not (Path(checkpoint) / "config.json").is_file():
            found.append(f"--refiner.checkpoint {checkpoint} holds no config.json: give a Hugging Face model folder")
        return found

    def inputs(self) -> list[Path]:
        checkpoint = Path(self.refiner.checkpoint)
        return super().inputs() + ([checkpoint] if self.refiner.checkpoint and checkpoint.exists() else [])

    def volatile_fields(self) -> frozenset[str]:
        """Where and in what batches the checkpoint runs does not decide what it answers."""
        return super().volatile_fields() | {"engine", "documents_per_batch", "max_failed_share", "seed"}

    def input_marks(self) -> list[str]:
        """The engine's settings that do decide it: the weights' number format, and the context that holds prompts."""
        marks = [f"dtype:{self.engine.dtype}", f"max_context:{self.engine.max_context}"]
        return [*marks, f"served_name:{self.engine.served_name}"] if self.engine.kind == "server" else marks

    def plan(self) -> dict[str, Any]:
        return super().plan() | {"refiner": self.refiner.checkpoint, "engine": self.engine.kind}


@dataclass
class DocumentConfig(RefinerStepConfig):
    """Document stage: keep or drop."""

    decision: Literal["logits", "generate"] = "logits"
    """`logits`: read the answer off the next-token probabilities of one prefill, which gives `p_keep`; `generate`:
    decode it, as the paper did."""
    threshold: float = DEFAULT_THRESHOLD
    """Lowest `p_keep` that keeps a document; `logits` only."""
    max_prompt_tokens: int = 2_000
    """Longest prompt in tokens, lowered where the refiner's context is shorter; longer documents are cut."""
    excerpt: Excerpt = "head"
    """What a refiner sees of a longer document: its beginning, as published, or beginning, middle and end."""
    max_new_tokens: int = 16
    """Longest answer in tokens; `generate` only."""

    def problems(self) -> list[str]:
        numbers = _positive(max_prompt_tokens=self.max_prompt_tokens, max_new_tokens=self.max_new_tokens)
        found = super().problems() + _share("threshold", self.threshold) + numbers
        if self.refiner.kind == "tagger":
            found.append(f"--refiner.checkpoint {self.refiner.checkpoint} is a tagger: it has no say of documents")
        if self.constrained and self.decision == "logits":
            found.append("--constrained true: with --decision logits nothing is decoded; leave it out")
        if self.decision == "generate" and self.threshold != DEFAULT_THRESHOLD:
            found.append(f"--threshold {self.threshold}: with --decision generate there is no p_keep; leave it out")
        return found

    def volatile_fields(self) -> frozenset[str]:
        """What the other way of deciding reads makes no difference."""
        unread = "max_new_tokens" if self.decision == "logits" else "threshold"
        return super().volatile_fields() | {unread}


@dataclass
class ChunkConfig(RefinerStepConfig):
    """Chunk stage: lines removed, strings replaced."""

    window: int = 1_500
    """Longest chunk in tokens, line numbers included; lowered where the refiner's context is too short for it."""
    max_new_tokens: int = 256
    """Longest program in tokens; the cut-off last line of a longer one is not run. Where window, prompt and program
    exceed the refiner's context, at most a quarter of it."""
    max_calls: int | None = None
    """Most calls of a program; `constrained` only."""
    remove_threshold: float | None = None
    """Of a tagger: lowest probability of removal that removes a line; unset takes the refiner's own."""
    guards: Guards = field(default_factory=Guards)
    """When a chunk's program is not trusted."""
    document_guards: DocumentGuards = field(default_factory=DocumentGuards)
    """When an edited document is dropped."""

    def problems(self) -> list[str]:
        found = super().problems() + _positive(window=self.window, max_new_tokens=self.max_new_tokens)
        if self.max_calls is not None:
            found += _positive(max_calls=self.max_calls)
            if not self.constrained:
                found.append(f"--max_calls {self.max_calls} has no effect: it needs --constrained true")
        if self.remove_threshold is not None:
            if not 0 < self.remove_threshold < 1:
                found.append(f"--remove_threshold is {self.remove_threshold}: it must lie above 0 and below 1")
            if self.refiner.kind != "tagger":
                found.append("--remove_threshold: the refiner is no tagger and gives no probabilities; leave it out")
        if self.constrained and self.refiner.kind == "tagger":
            found.append("--constrained true: the refiner is a tagger, which writes nothing; leave it out")
        found += [f"--guards.{problem}" for problem in self.guards.problems()]
        return found + [f"--document_guards.{problem}" for problem in self.document_guards.problems()]


@dataclass
class ReplayConfig(UnitsConfig):
    """Source and ledger -> refined text again, under the same guards or others, without a model."""

    ledger: Path | None = None
    """Output of `refinement document` or `refinement chunk`; `documents` is what that step read."""
    threshold: float | None = None
    """Lowest `p_keep` that keeps a document, of a document step's ledger; unset keeps what was kept."""
    remove_threshold: float | None = None
    """Lowest probability of removal that removes a line, of a chunk step's ledger that a tagger wrote; unset leaves the
    programs as they were."""
    guards: dict[str, Any] = field(default_factory=dict)
    """Guards of `refinement chunk` to change, by name; the others are as they were recorded."""
    document_guards: dict[str, Any] = field(default_factory=dict)
    """Document guards of `refinement chunk` to change, by name; the others are as they were recorded."""

    def problems(self) -> list[str]:
        found = super().problems() + require(self.ledger, "ledger", "`refinement document` or `refinement chunk`")
        if found:
            return found
        documents, ledger = (
            {file.name for file in (folder / kind).glob("*.parquet")}
            for folder, kind in ((self.documents, "documents"), (self.ledger, "ledger"))
        )
        if documents != ledger:
            found.append(
                f"--documents {self.documents} has {len(documents)} units, --ledger {self.ledger} {len(ledger)}, and "
                "not the same: give the documents that the ledger's run read"
            )
        if self.threshold is not None:
            found += _share("threshold", self.threshold)
        command = recorded(self.ledger).get("command")
        if command == "refinement document" and self.threshold is not None:
            decision = recorded(self.ledger)["config"].get("decision")
            if decision == "generate":
                found.append("--threshold: the ledger's run had decision generate and knows no p_keep")
        if self.remove_threshold is not None:
            if not 0 < self.remove_threshold < 1:
                found.append(f"--remove_threshold is {self.remove_threshold}: it must lie above 0 and below 1")
            if command != "refinement chunk" or load_dialogue(self.ledger, Dialogue()).kind != "tagger":
                found.append("--remove_threshold: only a ledger that a tagger wrote holds the lines' probabilities")
        if command == "refinement document":
            changed = [name for name in ("guards", "document_guards") if getattr(self, name)]
            return found + [f"--{name}: the ledger of `refinement document` knows no guards" for name in changed]
        if command != "refinement chunk":
            made_by = f"`python -m {command}`" if command else "no command of this project"
            return [*found, f"--ledger {self.ledger} was made by {made_by}: give the run that asked the refiner"]
        if self.threshold is not None:
            found.append("--threshold: the ledger of `refinement chunk` holds no p_keep; replay the document step's")
        return found + self.guards_of_run()[2]

    def guards_of_run(self) -> tuple[Guards, DocumentGuards, list[str]]:
        """The recorded guards with this config's changes, and what is wrong with the changes."""
        config = recorded(self.ledger)["config"]
        guards, first = _changed(Guards, config["guards"], self.guards, "guards")
        document_guards, second = _changed(
            DocumentGuards, config["document_guards"], self.document_guards, "document_guards"
        )
        return guards, document_guards, first + second

    @property
    def changes_nothing(self) -> bool:
        """True when the replay must give what the run gave."""
        unset = self.threshold is None and self.remove_threshold is None
        return unset and not self.guards and not self.document_guards

    def inputs(self) -> list[Path]:
        return super().inputs() + ([self.ledger] if self.ledger else [])


def _changed(kind: type, old: dict[str, Any], changes: dict[str, Any], option: str) -> tuple[Any, list[str]]:
    """Guards of a run with the changes, or the defaults and why they can't be made."""
    types = {member.name: member.type for member in fields(kind)}
    unknown = sorted(set(old) - set(types))
    if unknown:
        return kind(), [f"--ledger was written by an earlier version, with {option} {', '.join(unknown)}: run it again"]
    found = [f"--{option}.{name}: unknown, choose from {', '.join(types)}" for name in changes if name not in types]
    for name in sorted(set(changes) & set(types)):
        value, wanted = changes[name], types[name]
        fits = {
            int: type(value) is int,
            float: type(value) in (int, float),
            int | None: value is None or type(value) is int,
        }.get(wanted, isinstance(value, list | tuple))
        if not fits:
            says = {int: "a whole number", float: "a number", int | None: "a whole number or null"}.get(
                wanted, "a list"
            )
            found.append(f"--{option}.{name} {value!r}: must be {says}")
    if found:
        return kind(), found
    new = kind(**(old | changes))
    return new, [f"--{option}.{problem}" for problem in new.problems()]
