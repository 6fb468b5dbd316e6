"""Configs of the adaptation verbs. Imports nothing heavy: a skipped step must start at once."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from prox import artifact
from prox.command import VOLATILE_FIELDS, CommandConfig
from prox.dialogue import FILE_NAME as DIALOGUE
from prox.dialogue import Dialogue, load_dialogue
from prox.engines import EngineConfig
from prox.tracking import TrackingConfig

Task = Literal["document", "chunk"]
SPLITS = ("train", "valid")
REPORT = "report.json"


def split_file(examples: Path, task: Task, split: str) -> Path:
    """A file of `annotation split` or `pairs`: ``document_train.jsonl``, ``chunk_valid.jsonl``, ..."""
    return examples / f"{task}_{split}.jsonl"


def as_inputs(*values: Path | str | None) -> list[Path]:
    """Those of ``values`` that lie on this disk; a hub name is a setting, not an input file."""
    return [Path(value) for value in values if value and Path(value).exists()]


def base_problems(base: str) -> list[str]:
    """Problems with a base model given as a folder or a hub name."""
    if not base:
        return ["--base is not set: give the Hugging Face folder of the base model (pretraining export), or a hub name"]
    if Path(base).is_dir():
        found = artifact.require(Path(base), "base", "pretraining export")
        if not found and not (Path(base) / "config.json").is_file():
            found.append(f"--base {base} holds no config.json: give a Hugging Face model folder (pretraining export)")
        return found
    if artifact.means_path(base):
        return [f"--base {base} does not exist: run pretraining export first, or correct the path"]
    return []


def at_least(value: float, minimum: float, name: str) -> list[str]:
    """The problem of a number below its minimum, if it is."""
    return [] if value >= minimum else [f"{name} is {value}: it must be at least {minimum}"]


@dataclass
class ExportConfig(CommandConfig):
    """Config of `adaptation export`."""

    examples: Path | None = None
    """Artefact of `annotation split` or `pairs`."""
    task: Task = "chunk"
    """Which refiner the files are for: `document` or `chunk`."""
    base: str = ""
    """Base model whose tokenizer counts and cuts: Hugging Face folder or hub name."""
    dialogue: Dialogue = field(default_factory=Dialogue)
    """How the refiner is asked and in which style it answers; stored beside every checkpoint trained on the files. A
    base that brings a `dialogue.json`, a refiner adapted further (3.4), is asked as it was taught."""
    context: int | None = None
    """Longest training sequence, prompt and answer, in tokens; lowered where the base model's own is shorter, which is
    taken where this is unset."""
    teach_normalize: bool = True
    """Teach `normalize` calls; without them an example keeps its line removals (a tiny model can't copy URLs)."""
    max_new_tokens: int = 256
    """Room for the answer, in tokens with its EOS; the prompt gets the rest of the context."""
    write_documents: bool = False
    """Also write the training chunks with a verdict behind each line to `documents.jsonl`: a corpus on which a small
    base can be pre-trained (through `refinement ingest`). `base` may then be a tokenizer, if `context` is set."""

    def problems(self) -> list[str]:
        found = artifact.require(self.examples, "examples", "`annotation split` or `pairs`")
        if self.write_documents and self.context is not None and (Path(self.base) / "tokenizer.json").is_file():
            found += artifact.require(Path(self.base), "base", "`pretraining tokenizer`")
        else:
            found += base_problems(self.base)
        found += at_least(self.max_new_tokens, 1, "max_new_tokens") + self.dialogue.problems()
        if self.dialogue.max_prompt_tokens is not None or self.dialogue.max_new_tokens is not None:
            found.append("dialogue.max_prompt_tokens and max_new_tokens are filled in by the export: leave them unset")
        if self.write_documents and self.task == "document":
            found.append("write_documents is for chunks, whose lines have verdicts: leave it out for task document")
        writes = load_dialogue(self.base, self.dialogue).kind == "generative"
        if writes and self.context is not None and self.context <= self.max_new_tokens:
            found.append(f"context is {self.context}: it must exceed max_new_tokens ({self.max_new_tokens})")
        if not found and self.examples is not None:
            missing = [path for path in self._files() if not path.is_file()]
            found += [f"--examples lacks {path}: run `annotation split` or `pairs` first" for path in missing]
        return found

    def _files(self) -> list[Path]:
        return [split_file(self.examples, self.task, split) for split in SPLITS] if self.examples else []

    def inputs(self) -> list[Path]:
        return as_inputs(self.examples, self.base)

    def plan(self) -> dict[str, Any]:
        sizes = {path.name: path.stat().st_size for path in self._files() if path.is_file()}
        return {"task": self.task, "answer_style": self.dialogue.style, "bytes_to_read": sizes}


@dataclass
class TrainConfig(CommandConfig):
    """Config of `adaptation train`."""

    data: Path | None = None
    """Artefact of `adaptation export`."""
    base: str = ""
    """Base model to fine-tune: Hugging Face folder or hub name, with the tokenizer the export was made with."""
    learning_rate: float = 1e-5
    """Peak learning rate of the cosine schedule."""
    min_learning_rate: float = 1e-6
    """Learning rate at the end of the cosine schedule."""
    num_epochs: int = 4
    """Passes over the training examples; one checkpoint each."""
    global_batch_size: int = 64
    """Examples an optimizer step, over all devices and accumulation steps."""
    micro_batch_size: int = 8
    """Examples a forward pass on one device."""
    warmup_ratio: float = 0.03
    """Share of the optimizer steps in which the learning rate rises linearly."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = 1.0
    """Gradient norm above which gradients are scaled down."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Number format of the computation: `auto` is bfloat16 where the hardware multiplies it (CUDA; CPUs with AMX), else
    float32; weights stay float32."""
    group_by_length: bool = True
    """Put examples of like length into one batch, which saves padding."""
    lm_weight: float = 0.0
    """Of a tagger: weight of the loss of the chunks' own text, which it goes on to foretell, beside the verdicts'; 0
    leaves it out."""
    teacher_weight: float = 0.0
    """Of a tagger: how much a teacher's probabilities count (`annotation pairs --teacher_column`), beside labels (0 to
    1); above 0, a line that the labels leave open is learned from the teacher alone."""
    dropout: float = 0.0
    """Of a tagger: share of the embeddings, and of what each layer adds, that is dropped while training."""
    shift_chunks: bool = False
    """Of a tagger: begin a chunk up to half its length earlier or later in its page, elsewhere each time it is read."""
    line_dropout: float = 0.0
    """Of a tagger: mean share of a chunk's lines that are left out, others each time it is read."""
    token_noise: float = 0.0
    """Of a tagger: share of the text's tokens in whose place a random one is read."""
    gradient_checkpointing: bool = False
    """Compute activations twice to hold fewer of them: less memory, about a third slower."""
    devices: int = 1
    """Processes on this machine, one a GPU, that share each batch."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """With several devices: `ddp` holds the whole model on each, `fsdp` shards weights and optimizer (GPUs only)."""
    log_every: int = 10
    """Optimizer steps between two lines of `metrics.jsonl`; every epoch ends with one too, and every checkpoint."""
    save_every: int = 500
    """Optimizer steps between two checkpoints that a killed training goes on from, within an epoch. One takes twelve
    bytes a parameter; the newest is kept, beside the weights of every epoch's end. 0: only epochs end with one."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """Where `metrics.jsonl` is mirrored to."""

    def problems(self) -> list[str]:
        found = artifact.require(self.data, "data", "adaptation export") + base_problems(self.base)
        if not found and self.data is not None:
            found += self._data_problems(self.data) or self._teacher_problems(self.data)
        counts: list[str] = []
        for name in ("num_epochs", "global_batch_size", "micro_batch_size", "devices", "log_every"):
            counts += at_least(getattr(self, name), 1, name)
        found += counts + at_least(self.save_every, 0, "save_every")
        if not counts and self.global_batch_size % (self.micro_batch_size * self.devices):
            found.append(
                f"global_batch_size {self.global_batch_size} is no multiple of micro_batch_size x devices "
                f"({self.micro_batch_size} x {self.devices}): change one of them"
            )
        if self.strategy == "fsdp" and self.devices == 1:
            found.append("strategy is fsdp, but devices is 1: there is nothing to shard over, use ddp")
        if not 0 <= self.min_learning_rate <= self.learning_rate:
            found.append(
                f"min_learning_rate {self.min_learning_rate} must lie between 0 and learning_rate {self.learning_rate}"
            )
        found += at_least(self.lm_weight, 0, "lm_weight") + self._tagger_problems()
        if not 0 <= self.warmup_ratio < 1:
            found.append(f"warmup_ratio is {self.warmup_ratio}: it must be at least 0 and below 1")
        return found

    def _tagger_problems(self) -> list[str]:
        """Settings of taggers that are out of range, or set for another kind."""
        shares = {name: getattr(self, name) for name in ("dropout", "line_dropout", "token_noise")}
        found = [
            f"{name} is {share}: it must be at least 0 and below {limit}"
            for (name, share), limit in zip(shares.items(), (1, 0.5, 1), strict=True)
            if not 0 <= share < limit
        ]
        if not 0 <= self.teacher_weight <= 1:
            found.append(f"teacher_weight is {self.teacher_weight}: it must be between 0 and 1")
        settings = {name: getattr(self, name) for name in ("lm_weight", "teacher_weight", "shift_chunks")} | shares
        given = [f"{name} is {value}" for name, value in settings.items() if value]
        if given and self.data is not None and load_dialogue(self.data, Dialogue()).kind != "tagger":
            found.append(f"{', '.join(given)}: that is for taggers, and the data teach to write; leave it out")
        return found

    def _teacher_problems(self, data: Path) -> list[str]:
        """A weight of what is not in the data, or none of what is."""
        train = artifact.read_json(data / REPORT)["splits"]["train"]
        if self.teacher_weight and not train.get("num_with_teacher"):
            return [
                f"teacher_weight is {self.teacher_weight}, and no example of --data {data} has a teacher: leave "
                "it out, or export sets of annotation pairs --teacher_column"
            ]
        if not self.teacher_weight and train.get("num_without_labels"):
            return [
                f"{train['num_without_labels']} examples of --data {data} have no labels, only a teacher's word: "
                "give --teacher_weight"
            ]
        return []

    @staticmethod
    def _data_problems(data: Path) -> list[str]:
        """What is wrong with the files of an export before a model is looked at."""
        if not (data / REPORT).is_file():
            return [f"--data {data} has no {REPORT}: give the folder that adaptation export writes"]
        for name, what in ((DIALOGUE, "the template of its prompts"), (f"{SPLITS[0]}.jsonl", "its training examples")):
            if not (data / name).is_file():
                return [f"--data {data} has no {name}, {what}: run adaptation export again"]
        if not artifact.read_json(data / REPORT)["splits"]["valid"]["num_examples"]:
            return [
                f"--data {data} has no valid example, without which no checkpoint can be chosen: export examples whose "
                "valid split holds some"
            ]
        return []

    def inputs(self) -> list[Path]:
        return as_inputs(self.data, self.base)

    def volatile_fields(self) -> frozenset[str]:
        """Both change which lines `metrics.jsonl` has, not the weights."""
        return VOLATILE_FIELDS | {"log_every", "save_every"}

    @property
    def accumulation_steps(self) -> int:
        """Forward passes an optimizer step on each device."""
        return self.global_batch_size // (self.micro_batch_size * self.devices)

    def num_steps(self, num_examples: int) -> int:
        """Optimizer steps of the whole run (an epoch's last step may hold fewer examples)."""
        batches = math.ceil(num_examples / (self.micro_batch_size * self.devices))
        return math.ceil(batches / self.accumulation_steps) * self.num_epochs

    def plan(self) -> dict[str, Any]:
        if self.data is None or not (self.data / REPORT).is_file():
            return {"steps": "unknown: the export is not there yet"}
        train = artifact.read_json(self.data / REPORT)["splits"]["train"]
        return {
            "training_examples": train["num_examples"],
            "training_tokens": train["num_tokens"] * self.num_epochs,
            "optimizer_steps": self.num_steps(train["num_examples"]),
        }


@dataclass
class ValidateConfig(CommandConfig):
    """Config of `adaptation validate`."""

    checkpoints: Path | None = None
    """Artefact of `adaptation train`; every checkpoint of it is scored."""
    checkpoint: str = ""
    """Instead of `checkpoints`, one refiner: Hugging Face folder or hub name."""
    examples: Path | None = None
    """Artefact of `annotation split` or `pairs`; its valid split is the reference."""
    task: Task = "chunk"
    """Which programs are scored: `document` (Equations 3 and 4) or `chunk` (Equations 5 to 7)."""
    dialogue: Dialogue = field(default_factory=Dialogue)
    """Used only where the checkpoint brings no `dialogue.json` of its own."""
    dialogues: dict[str, Dialogue] = field(default_factory=dict)
    """Instead: several ways to ask, by name. Every checkpoint is scored in each of them, whatever it brings, and
    `select` stores the best one with the refiner."""
    keep_penalties: list[float] = field(default_factory=list)
    """Score every checkpoint of a chunk refiner with each of these as its dialogue's `keep_penalty`; `select` stores
    the best one. Empty takes the dialogue's own. A tagger has none: see `choose_threshold`."""
    choose_threshold: bool = False
    """Cut a tagger's probabilities at the threshold with the highest F1 on these examples, not at its dialogue's;
    `select` stores it."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    """What runs the checkpoints."""
    max_new_tokens: int = 256
    """Room for the answer, in tokens; the prompt gets the rest of the context. A refiner that was taught shorter
    answers only gets less (its `dialogue.json` says so)."""
    keep_threshold: float = 0.5
    """A document is predicted as kept from this probability of `keep_doc()` on."""
    max_examples: int | None = None
    """Score only the first so many examples; unset scores all."""

    def problems(self) -> list[str]:
        found = artifact.require(self.examples, "examples", "`annotation split` or `pairs`") + self.engine.problems()
        if bool(self.checkpoint) == (self.checkpoints is not None):
            found.append("give either --checkpoints (an adaptation train artefact) or --checkpoint (one refiner)")
        elif self.checkpoints is not None:
            found += artifact.require(self.checkpoints, "checkpoints", "adaptation train")
        found += at_least(self.max_new_tokens, 1, "max_new_tokens") + self.dialogue.problems()
        if self.keep_penalties and (self.dialogues or self.task == "document"):
            found.append("keep_penalties are for chunk refiners, and not together with dialogues: leave them out")
        found += [f"dialogues.{name}: {one}" for name, way in self.dialogues.items() for one in way.problems()]
        found += [
            f"dialogues has the name {name!r}: use letters, digits, - and _"
            for name in self.dialogues
            if not re.fullmatch(r"[\w-]+", name)
        ]
        if self.max_examples is not None:
            found += at_least(self.max_examples, 1, "max_examples")
        if not 0 < self.keep_threshold < 1:
            found.append(f"keep_threshold is {self.keep_threshold}: it must lie between 0 and 1")
        if not found and self.examples is not None and not split_file(self.examples, self.task, "valid").is_file():
            found.append(f"--examples has no {self.task}_valid.jsonl: run `annotation split` or `pairs` first")
        return found

    def inputs(self) -> list[Path]:
        return as_inputs(self.checkpoints, self.checkpoint, self.examples)

    def volatile_fields(self) -> frozenset[str]:
        """Where and in what batches the checkpoints run does not decide what they answer."""
        return VOLATILE_FIELDS | {"engine"}

    def input_marks(self) -> list[str]:
        """The engine's settings that do decide it: the weights' number format, and the context that holds prompts."""
        return [f"dtype:{self.engine.dtype}", f"max_context:{self.engine.max_context}"]


@dataclass
class SelectConfig(CommandConfig):
    """Config of `adaptation select`."""

    metrics: Path | None = None
    """Artefact of `adaptation validate`."""
    dtype: Literal["as_trained", "bfloat16"] = "as_trained"
    """Number format in which the weights are stored: bfloat16 takes half the bytes of those trained in float32."""

    def problems(self) -> list[str]:
        found = artifact.require(self.metrics, "metrics", "adaptation validate")
        if not found and self.metrics is not None and not (self.metrics / "metrics.json").is_file():
            found.append(f"--metrics {self.metrics} has no metrics.json: give the folder adaptation validate writes")
        return found

    def inputs(self) -> list[Path]:
        return as_inputs(self.metrics)
