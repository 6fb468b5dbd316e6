"""Configs of the verbs that ask an annotator; importing them loads no library that is slow to start."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from annotation.chunk_config import ChunkConfig, at_least_one
from annotation.spending import SpendingConfig
from annotation.templates import Prompt, load_prompt, prompt_problems
from prox import artifact
from prox.command import VOLATILE_FIELDS, CommandConfig
from prox.engines import EngineConfig

STAND_IN_TASKS = ("navigation", "links", "footer")
"""The chunk prompts that the rule-based stand-in can answer."""


@dataclass
class AnnotatorConfig:
    """Who annotates, and how it is asked. What runs or serves the model is the `engine`'s business."""

    kind: Literal["model", "stand_in"] = "model"
    """`model` (a language model through the `engine`), or `stand_in`, rules where no language model is at hand."""
    model: str = "meta-llama/Meta-Llama-3-70B-Instruct"
    """Name of the model on the server; for an engine in process a local folder or a hub name."""
    temperature: float = 0.0
    """Sampling temperature; 0 is greedy."""
    max_new_tokens: int = 1024
    """Longest answer, in tokens."""
    tokenizer: str = ""
    """The model's tokenizer (local folder or hub name), by which documents are cut; unset: four bytes are a token."""
    num_retries: int = 2
    """Times an answer that can't be read is asked for again, with the reason; after that it is kept aside."""

    def problems(self) -> list[str]:
        """Settings that can't work."""
        found = []
        if self.max_new_tokens < 1:
            found.append(f"--annotator.max_new_tokens is {self.max_new_tokens}: it must be at least 1")
        if self.num_retries < 0:
            found.append(f"--annotator.num_retries is {self.num_retries}: it must be at least 0")
        if self.temperature < 0:
            found.append(f"--annotator.temperature is {self.temperature}: it must be at least 0")
        if self.kind == "model" and not self.model:
            found.append("--annotator.model is empty: give the name of a model")
        return found

    def describe(self, engine: EngineConfig) -> str:
        """The annotator's name for plans and logs."""
        if self.kind == "stand_in":
            from annotation.annotators import STAND_IN

            return STAND_IN
        return f"{self.model} ({engine.base_url if engine.kind == 'server' else engine.kind})"


@dataclass
class AnnotateConfig(CommandConfig):
    """What `score` and `program` share."""

    documents: Path | None = None
    """Artefact with the documents (`refinement ingest`)."""
    annotator: AnnotatorConfig = field(default_factory=AnnotatorConfig)
    """Who annotates."""
    engine: EngineConfig = field(default_factory=lambda: EngineConfig(kind="server"))
    """How the model is reached (address, requests at once, limits a minute, time-out) or run; moving it elsewhere does
    not make finished answers stale."""
    spending: SpendingConfig = field(default_factory=SpendingConfig)
    """Prices and the budget."""
    cache: Path | None = None
    """Folder of the answers, by the content of their requests, which any number of steps and runs may share (a step
    sees what was there when it began); unset: the folder `answers` beside the output."""
    ask_again: int = 0
    """Raise it to ask once more where an answer of an earlier run can't be read, as after a fault of the server's."""
    batch_size: int = 256
    """Requests handed over together to an engine in process; a server gets `engine.concurrency` at once."""
    max_failed_share: float = 0.05
    """Stop unfinished when more than this share of the items got no answer from the server (0 to 1)."""
    max_aside_share: float = 0.5
    """Stop unfinished when more than this share of the items was set aside because answers can't be used (0 to 1), and
    at once when the first fifty were: a broken annotator costs as much as a good one."""
    reminder: str = "reminder.v1.txt"
    """Prompt file that asks again after an answer that can't be read."""
    prompt_marker: str = ""
    """What stands for the document in prompt files that are no Jinja2 templates, `<EXAMPLE>` in the published wording;
    a file without it is one, with `{{ document }}`."""

    def volatile_fields(self) -> frozenset[str]:
        """How the model is reached, and what it may cost, do not decide what it answers."""
        return VOLATILE_FIELDS | {"engine", "spending", "cache", "batch_size", "max_failed_share", "max_aside_share"}

    def prompt_names(self) -> dict[str, str]:
        """Names of the prompt files by task, the reminder left out."""
        raise NotImplementedError

    def load_prompts(self) -> dict[str, Prompt]:
        """The prompts by task."""
        return {task: load_prompt(name, self.prompt_marker) for task, name in self.prompt_names().items()}

    def cache_folder(self) -> Path:
        """Where the answers are kept."""
        return self.cache or self.output.resolve().parent / "answers"

    def problems(self) -> list[str]:
        """See ``CommandConfig.problems``."""
        found = artifact.require(self.documents, "documents", "`refinement ingest`") + self.annotator.problems()
        if self.annotator.kind == "model":
            found += self.engine.problems() + self.spending.problems()
            if self.engine.served_name:
                found.append(
                    f"--engine.served_name {self.engine.served_name!r} has no effect: give the model's name on the "
                    "server as --annotator.model"
                )
            if self.annotator.tokenizer:
                tokenizer = self.annotator.tokenizer
                found += artifact.require_model(tokenizer, "annotator.tokenizer", "the model's maker")
            if self.engine.kind != "server":
                found += artifact.require_model(self.annotator.model, "annotator.model", "an instruct model")
        if self.batch_size < 1:
            found.append(f"--batch_size is {self.batch_size}: it must be at least 1")
        for name in ("max_failed_share", "max_aside_share"):
            if not 0 <= getattr(self, name) <= 1:
                found.append(f"--{name} is {getattr(self, name)}: it must be between 0 and 1")
        if self.ask_again < 0:
            found.append(f"--ask_again is {self.ask_again}: it must be at least 0")
        for task, name in self.prompt_names().items():
            found += prompt_problems(f"prompts.{task}", name, "document", self.prompt_marker)
        return found + prompt_problems("reminder", self.reminder, "reason")

    def inputs(self) -> list[Path]:
        """See ``CommandConfig.inputs``."""
        return [self.documents] if self.documents else []

    def input_marks(self) -> list[str]:
        """The prompts' content: it decides the answers, wherever the files lie."""
        marks = [f"{task}:{prompt.sha256}" for task, prompt in self.load_prompts().items()]
        return [*marks, f"reminder:{load_prompt(self.reminder).sha256}"]


@dataclass
class ScorePrompts:
    """Prompt files: a name in `annotation/prompts`, or a path."""

    edu: str = "edu_score.v1.txt"
    """Asks for the educational score."""
    format: str = "format_score.v1.txt"
    """Asks for the format score."""
    edu_closing: str = "Educational score"
    """What stands before the number on the answer's closing line."""
    format_closing: str = "Format score"
    """What stands before the number on the answer's closing line (the published prompt: `Extraction Quality Score`)."""


@dataclass
class ScoreConfig(AnnotateConfig):
    """Config of `annotation score`."""

    num_documents: int = 51_000
    """Seed documents drawn at random; -1 for all."""
    max_document_tokens: int = 5_000
    """A longer document is cut to this for the prompt, in tokens of `annotator.tokenizer`, so that prompt and answer
    fit the annotator's context."""
    prompts: ScorePrompts = field(default_factory=ScorePrompts)
    """The prompts."""

    def prompt_names(self) -> dict[str, str]:
        """See ``AnnotateConfig.prompt_names``."""
        return {"edu": self.prompts.edu, "format": self.prompts.format}

    def problems(self) -> list[str]:
        """See ``CommandConfig.problems``."""
        found = super().problems()
        found += at_least_one(self, "num_documents")
        if self.max_document_tokens < 1:
            found.append(f"--max_document_tokens is {self.max_document_tokens}: it must be at least 1")
        for name in ("edu_closing", "format_closing"):
            if not getattr(self.prompts, name).strip():
                found.append(f"--prompts.{name} is empty: give the words before the number that the prompt asks for")
        return found

    def plan(self) -> dict[str, Any]:
        """See ``CommandConfig.plan``."""
        from annotation.estimate import plan_scores

        return plan_scores(self)


@dataclass
class ProgramConfig(ChunkConfig, AnnotateConfig):
    """Config of `annotation program`."""

    scores: Path | None = None
    """Artefact of `annotation score`; documents it keeps get programs."""
    merge_into: Path | None = None
    """Artefact of an earlier `annotation program`, in place of `scores`: its chunks at a document's beginning and end
    are given to this annotator, and of its programs the head and tail part only is merged into the earlier ones (A.1).
    Which chunks there are is settled then: `window`, `tokenizer` and the numbers of chunks have no effect."""
    edge_gap: int = 1
    """`merge_into` only: kept lines of text that may stand between the document's edge and a removed line for this one
    to count as head or tail; 1 lets a title stand above a menu."""
    num_chunks: int = -1
    """Chunks annotated in all, drawn at random among those; -1 for all."""
    max_removed_share: float = 0.8
    """A program that removes more than this share of a chunk's words is kept aside (0 to 1; 1 may remove it all)."""
    prompts: dict[str, str] = field(
        default_factory=lambda: {"navigation": "navigation.v1.txt", "links": "links.v1.txt", "footer": "footer.v1.txt"}
    )
    """Prompt files, by the kind of noise that each is about: a name in `annotation/prompts`, or a path. Their programs
    are merged; of contradicting replacements that of the earlier prompt holds."""

    def prompt_names(self) -> dict[str, str]:
        """See ``AnnotateConfig.prompt_names``."""
        return self.prompts

    def problems(self) -> list[str]:
        """See ``CommandConfig.problems``."""
        found = super().problems() + self._problems_of_sources()
        if not self.prompts:
            found.append("--prompts is empty: give at least one prompt file")
        unknown = [task for task in self.prompts if task not in STAND_IN_TASKS]
        if self.annotator.kind == "stand_in" and unknown:
            found.append(f"--prompts.{unknown[0]}: the {self.annotator.kind} only knows {', '.join(STAND_IN_TASKS)}")
        found += self.chunk_problems() + at_least_one(self, "num_chunks")
        if not 0 < self.max_removed_share <= 1:
            found.append(f"--max_removed_share is {self.max_removed_share}: it must be above 0 and at most 1")
        if self.edge_gap < 0:
            found.append(f"--edge_gap is {self.edge_gap}: it must be at least 0")
        return found

    def _problems_of_sources(self) -> list[str]:
        if self.merge_into is None:
            # A plan before anything is spent assumes how many documents will be kept.
            is_early_plan = self.dry_run and self.scores is None
            return [] if is_early_plan else artifact.require(self.scores, "scores", "`annotation score`")
        found = artifact.require(self.merge_into, "merge_into", "`annotation program`")
        if self.scores is not None:
            found.append(f"--scores {self.scores} and --merge_into {self.merge_into}: give one of them")
        return found

    def inputs(self) -> list[Path]:
        """See ``CommandConfig.inputs``."""
        sources = (self.documents, self.scores, self.merge_into)
        return [path for path in sources if path] + self.local_tokenizer()

    def plan(self) -> dict[str, Any]:
        """See ``CommandConfig.plan``."""
        from annotation.estimate import plan_programs

        return plan_programs(self)
