"""Configs of the verbs around training: tokenizer, shards, conversion. Imports nothing heavy: a finished step must be
skipped within a second."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from prox.artifact import require, require_model
from prox.cluster import ExecutorConfig
from prox.command import CommandConfig

STATS = "stats.json"
SPECIAL_TOKENS = ("<s>", "</s>", "<pad>")
BYTES = 256


def require_file(folder: Path | None, name: str, option: str, made_by: str) -> list[str]:
    """Problems with an input artefact that must hold a file called ``name``."""
    problems = require(folder, option, made_by)
    if not problems and not (folder / name).exists():
        problems.append(f"--{option} {folder} has no {name}: give a folder that {made_by} wrote")
    return problems


@dataclass
class TokenizerConfig(CommandConfig):
    """Trains a byte-level BPE tokenizer on a documents artefact."""

    documents: Path | None = None
    """Documents artefact to train on."""
    vocab_size: int = 32_000
    """Number of tokens, special tokens and line markers included."""
    line_markers: int = 0
    """Number of single tokens `[000]`, `[001]`, ... for a refiner's line numbers, counted inside `vocab_size`."""
    model_max_length: int = 2_048
    """Context of the models that will use it, in tokens."""

    def problems(self) -> list[str]:
        found = require_file(self.documents, "documents", "documents", "`refinement ingest`")
        smallest = BYTES + len(SPECIAL_TOKENS) + max(self.line_markers, 0)
        if not 0 <= self.line_markers <= 1_000:
            found.append(f"--line_markers {self.line_markers}: must be between 0 and 1000 (three digits)")
        if self.vocab_size < smallest:
            found.append(
                f"--vocab_size {self.vocab_size}: must be at least {smallest} ({BYTES} bytes, {len(SPECIAL_TOKENS)} "
                f"special tokens, {self.line_markers} line markers)"
            )
        if self.model_max_length < 1:
            found.append(f"--model_max_length {self.model_max_length}: must be at least 1 token")
        return found

    def inputs(self) -> list[Path]:
        return [self.documents] if self.documents else []


@dataclass
class TokenizeConfig(CommandConfig):
    """Turns a documents artefact into token shards: each document's tokens, then the end-of-sequence token."""

    documents: Path | None = None
    """Documents artefact to tokenise."""
    tokenizer: Path | None = None
    """Tokenizer folder with a `tokenizer.json`; its end-of-sequence token ends every document."""
    max_shards: int = 512
    """Most shard files; each is one datatrove task over one or more units of documents."""
    workers: int = 1
    """Shards worked on at once, each in its own process; executor `local` only."""
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
    """Where the shards are worked on."""

    def problems(self) -> list[str]:
        found = require_file(self.documents, "documents", "documents", "`refinement ingest`")
        found += require_file(self.tokenizer, "tokenizer.json", "tokenizer", "`pretraining tokenizer`")
        for name in ("max_shards", "workers"):
            if getattr(self, name) < 1:
                found.append(f"--{name} {getattr(self, name)}: must be at least 1")
        return found + self.executor.problems(self.output)

    def inputs(self) -> list[Path]:
        return [path for path in (self.documents, self.tokenizer) if path]


@dataclass
class ExportConfig(CommandConfig):
    """Writes a trained model as a Hugging Face Llama folder, and checks that it computes the same logits."""

    checkpoint: Path | None = None
    """Output of `pretraining train`."""
    tokenizer: Path | None = None
    """Tokenizer folder, copied next to the model; its special tokens become the model's."""
    step: int | None = None
    """Export the checkpoint of this step, of a training that may still be running; null: the final model."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the exported weights."""

    def problems(self) -> list[str]:
        if self.step is None:
            found = require_file(self.checkpoint, "model", "checkpoint", "`pretraining train`")
            found = [problem.replace("to finish it", "to finish it, or give --step") for problem in found]
        else:
            found = self._step_problems(self.step)
        return found + require_file(self.tokenizer, "tokenizer.json", "tokenizer", "`pretraining tokenizer`")

    def _step_problems(self, step: int) -> list[str]:
        """A checkpoint that is not there; of a training that is not finished it may be."""
        if self.checkpoint is None:
            return ["--checkpoint is not set: give the folder that `pretraining train` writes"]
        there = sorted(path.name for path in self.checkpoint.glob("checkpoints/step-*"))
        if f"step-{step:08d}" in there:
            return []
        return [f"--checkpoint {self.checkpoint} has no step {step}; there are: {', '.join(there) or 'none'}"]

    def inputs(self) -> list[Path]:
        return [path for path in (self.checkpoint, self.tokenizer) if path]


@dataclass
class ImportConfig(CommandConfig):
    """Reads a Hugging Face model (Llama, Mistral, GPT-NeoX) into the folder that `train --init_from` continues from."""

    checkpoint: str = ""
    """Hugging Face folder or hub name."""
    revision: str | None = None
    """Branch, tag or commit of a hub name; null: its main branch."""
    check_logits: bool = True
    """Compare both models' logits in fp32, which takes twelve bytes of memory a parameter instead of the stored type's
    four."""

    def problems(self) -> list[str]:
        return require_model(self.checkpoint, "checkpoint", "`pretraining export`")

    def inputs(self) -> list[Path]:
        return [Path(self.checkpoint)] if Path(self.checkpoint).exists() else []
