"""Configs of the evaluation verbs. Imports no heavy library: a skipped step must start at once."""

import importlib.metadata
import platform
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from evaluation.records import model_and_step, sha256_of_files
from prox.artifact import SUCCESS, is_committed, read_json, require
from prox.command import VOLATILE_FIELDS, CommandConfig

# A model's name is part of its records' file names.
MODEL_NAME = re.compile(r"\w[\w+-]*(@\d+)?")

# Version of bits per byte. Raise it when the measure changes, so that old and new scores refuse to share a table.
DEFINITION_VERSION = "1"
# Distributions of the harnesses, whose versions decide scores.
HARNESSES = {"lm_eval": "lm-eval", "lighteval": "lighteval"}
TASK_DEFINITIONS = Path(__file__).parent / "tasks"
HUB = "hub:"


def hub_model(place: Path) -> tuple[str, str | None] | None:
    """Repository and revision of a model of the hub, out of ``hub:OWNER/NAME[@REVISION]``; None for a folder."""
    text = str(place)
    if not text.startswith(HUB):
        return None
    repo, _, revision = text.removeprefix(HUB).partition("@")
    return repo, revision or None


def training_step(folder: Path) -> int | None:
    """The checkpoint's training step, where the step that exported the model told it."""
    return read_json(folder / SUCCESS)["summary"].get("step") if is_committed(folder) else None


def installed_version(harness: str) -> str | None:
    """The installed version of a harness; None where it is not installed."""
    try:
        return importlib.metadata.version(HARNESSES[harness])
    except importlib.metadata.PackageNotFoundError:
        return None


@dataclass
class YardstickConfig(CommandConfig):
    """Settings of ``evaluation yardstick``."""

    text: Path | None = None
    """JSONL file of clean documents, {id, text} a line; unset: the documentation topics of this Python."""
    num_items: int = 250
    """Multiple-choice items to make (fewer when the text has fewer); 0 for none, e.g. when it has no prose."""
    min_sentence_chars: int = 40
    """Shortest sentence used as a choice, in characters."""
    max_sentence_chars: int = 160
    """Longest sentence used as a choice, in characters."""
    max_context_chars: int = 400
    """Longest context, in characters (about 4 make a token)."""
    length_tolerance: float = 0.2
    """How far the lengths of an item's choices may lie from the one drawn first, as a share of its length."""

    def problems(self) -> list[str]:
        found = []
        if self.text is not None and not self.text.is_file():
            found.append(f"--text {self.text} is not a file: give a JSONL file of {{id, text}} rows, or leave it unset")
        if self.num_items < 0:
            found.append(f"--num_items {self.num_items} is negative: give a count, or 0 for no multiple-choice set")
        if not 0 < self.min_sentence_chars < self.max_sentence_chars:
            found.append(
                f"--min_sentence_chars {self.min_sentence_chars} and --max_sentence_chars {self.max_sentence_chars}: "
                "give 0 < minimum < maximum"
            )
        if self.max_context_chars < self.min_sentence_chars:
            found.append(
                f"--max_context_chars {self.max_context_chars} has no room for one sentence of "
                f"--min_sentence_chars {self.min_sentence_chars}: raise it"
            )
        if not 0 < self.length_tolerance < 1:
            found.append(f"--length_tolerance {self.length_tolerance} is outside (0, 1): 0.2 is a good value")
        return found

    def inputs(self) -> list[Path]:
        return [] if self.text is None else [self.text]

    def input_marks(self) -> list[str]:
        # The topics are part of the interpreter, not a file a user passes.
        return [] if self.text is not None else [f"python {platform.python_version()}"]

    def plan(self) -> dict[str, Any]:
        return {
            "text": self.text or f"documentation topics of Python {platform.python_version()}",
            "num_items": self.num_items,
        }


@dataclass
class ModelsConfig(CommandConfig):
    """What the scoring verbs share: any number of models a process, so that slow imports are paid once."""

    models: dict[str, Path] = field(default_factory=dict)
    """Hugging Face model folders by name (`--models.raw FOLDER --models.prox-d FOLDER`); names are table rows.
    `raw@2500` is the model `raw` at step 2,500. `hub:OWNER/NAME` or `hub:OWNER/NAME@REVISION` instead of a folder is a
    model of the Hugging Face hub."""
    device: str = "auto"
    """torch device; `auto` takes the GPU when there is one."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the weights while scoring."""
    batch_size: int = 16
    """Sequences in a forward pass; changes speed and memory, and scores by rounding alone."""

    def problems(self) -> list[str]:
        found = []
        if not self.models:
            found.append("--models is empty: name at least one model, e.g. --models.raw FOLDER")
        for name, folder in self.models.items():
            given, step = model_and_step(name)[1], training_step(folder)
            if given is not None and step not in (None, given):
                found.append(
                    f"--models.{name} {folder} was exported at step {step}: name it {name.partition('@')[0]}@{step}"
                )
            if not MODEL_NAME.fullmatch(name):
                found.append(
                    f"--models.{name}: use letters, digits, '_', '-' and '+' in a model's name, "
                    "and '@' before a step at its end"
                )
            if hub_model(folder) is not None:
                continue
            missing = require(folder, f"models.{name}", "pretraining export")
            found += missing
            if not missing and not (folder / "config.json").is_file():
                found.append(f"--models.{name} {folder} has no config.json: give a Hugging Face model folder")
        if self.batch_size < 1:
            found.append(f"--batch_size {self.batch_size} is below 1: give a positive count")
        return found

    def inputs(self) -> list[Path]:
        return [folder for folder in self.models.values() if hub_model(folder) is None]

    def has_hub_models(self) -> bool:
        """Whether a model must be fetched."""
        return any(hub_model(place) is not None for place in self.models.values())

    def volatile_fields(self) -> frozenset[str]:
        """Where and in what batches a model is scored does not decide its score, up to rounding."""
        return VOLATILE_FIELDS | {"device", "batch_size"}

    def plan(self) -> dict[str, Any]:
        return {"models": ", ".join(self.models), "device": self.device, "dtype": self.dtype}


@dataclass
class YardstickModelsConfig(ModelsConfig):
    """Models, and the project's own yardstick to hold against them."""

    yardstick: Path | None = None
    """Artefact of `evaluation yardstick`."""

    def problems(self) -> list[str]:
        return require(self.yardstick, "yardstick", "evaluation yardstick") + super().problems()

    def inputs(self) -> list[Path]:
        return [*super().inputs(), *([] if self.yardstick is None else [self.yardstick])]


@dataclass
class BitsPerByteConfig(YardstickModelsConfig):
    """Settings of ``evaluation bits_per_byte``."""

    max_bytes: int = 0
    """Bytes of UTF-8 text to score, as a seeded sample of whole documents; 0 for all."""
    max_context: int = 2048
    """Longest window, in tokens; a model's own context where that is shorter."""
    stride: float = 0.5
    """Step from window to window, as a share of the window: 1 is fastest, less gives every token more context."""

    def problems(self) -> list[str]:
        found = super().problems()
        if self.max_bytes < 0:
            found.append(f"--max_bytes {self.max_bytes} is negative: give a number of bytes, or 0 for all")
        if self.max_context < 2:
            found.append(f"--max_context {self.max_context} is below 2 tokens: raise it")
        if not 0 < self.stride <= 1:
            found.append(f"--stride {self.stride} is outside (0, 1]: 0.5 gives every token half a window of context")
        return found

    def input_marks(self) -> list[str]:
        return [f"definition:{DEFINITION_VERSION}"]

    def plan(self) -> dict[str, Any]:
        return {**super().plan(), "max_bytes": self.max_bytes or "all", "max_context_tokens": self.max_context}


@dataclass
class ChoiceConfig(YardstickModelsConfig):
    """Settings of ``evaluation choice``."""

    harness: Literal["lm_eval", "lighteval"] = "lm_eval"
    """The evaluation harness that asks the questions."""

    def problems(self) -> list[str]:
        found = super().problems()
        if self.yardstick is not None and is_committed(self.yardstick) and not (self.yardstick / "choice").is_dir():
            found.append(
                f"--yardstick {self.yardstick} has no multiple-choice set: make it with `evaluation yardstick "
                "--num_items` above 0"
            )
        if self.harness_version() is None:
            found.append(f"--harness {self.harness}: {HARNESSES[self.harness]} is not installed: run scripts/setup.sh")
        return found

    def harness_version(self) -> str | None:
        """The installed version of the harness; None where it is not installed."""
        return installed_version(self.harness)

    def input_marks(self) -> list[str]:
        """The task's definitions and the harness's version."""
        files = sorted(path for path in TASK_DEFINITIONS.iterdir() if path.suffix in (".py", ".yaml"))
        return [f"tasks:{sha256_of_files(*files)}", f"harness:{self.harness_version()}"]

    def plan(self) -> dict[str, Any]:
        return {**super().plan(), "harness": self.harness}
