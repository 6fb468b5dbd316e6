"""Configs of the annotation stage; importing them loads no library that is slow to start."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from annotation.templates import find_prompt, load_prompt, prompt_problems
from prox import artifact
from prox.command import VOLATILE_FIELDS, CommandConfig
from prox.engines import EngineConfig

CHARACTERS_PER_TOKEN = 4
"""For estimates in plans only."""


@dataclass
class AnnotatorConfig:
    """Who annotates, and how it is asked. Which server serves it is the `engine`'s business."""

    kind: Literal["stand_in", "server"] = "server"
    """`server` (OpenAI-compatible) or `stand_in`, rules where no language model is at hand."""
    model: str = "meta-llama/Meta-Llama-3-70B-Instruct"
    """Name of the model on the server."""
    temperature: float = 0.0
    """Sampling temperature; 0 is greedy."""
    max_new_tokens: int = 1024
    """Longest answer, in tokens."""
    num_retries: int = 2
    """Times an answer that can't be read is asked for again, with the reason; after that it is kept aside."""

    def problems(self) -> list[str]:
        """Settings that can't work."""
        found = []
        if self.max_new_tokens < 1:
            found.append(f"--annotator.max_new_tokens is {self.max_new_tokens}: it must be at least 1")
        if self.num_retries < 0:
            found.append(f"--annotator.num_retries is {self.num_retries}: it must be at least 0")
        if self.kind == "server" and not self.model:
            found.append("--annotator.model is empty: give the name of a model on the server")
        return found


@dataclass
class AnnotateConfig(CommandConfig):
    """What `score` and `program` share."""

    documents: Path | None = None
    """Artefact with the documents (`refinement ingest`)."""
    annotator: AnnotatorConfig = field(default_factory=AnnotatorConfig)
    """Who annotates."""
    engine: EngineConfig = field(default_factory=lambda: EngineConfig(kind="server"))
    """The server's address and limits; moving it to another address does not make finished answers stale."""
    batch_size: int = 64
    """Documents or chunks sent together; finished answers are on disk after every batch."""
    max_failed_share: float = 0.05
    """Stop unfinished when more than this share of requests got no answer from the server (0 to 1)."""

    def volatile_fields(self) -> frozenset[str]:
        """How the server is reached does not decide what it answers."""
        return VOLATILE_FIELDS | {"engine", "batch_size", "max_failed_share"}

    def prompt_names(self) -> dict[str, str]:
        """Names of the prompt files by task."""
        raise NotImplementedError

    def problems(self) -> list[str]:
        """See ``CommandConfig.problems``."""
        found = artifact.require(self.documents, "documents", "`refinement ingest`") + self.annotator.problems()
        if self.annotator.kind == "server":
            found += self.engine.problems()
            if self.engine.kind != "server":
                found.append(f"--engine.kind is {self.engine.kind!r}: an annotator of kind `server` needs `server`")
        if self.batch_size < 1:
            found.append(f"--batch_size is {self.batch_size}: it must be at least 1")
        if not 0 <= self.max_failed_share <= 1:
            found.append(f"--max_failed_share is {self.max_failed_share}: it must be between 0 and 1")
        for option, name in self.prompt_names().items():
            found += prompt_problems(f"prompts.{option}", name, "reason" if option == "reminder" else "document")
        return found

    def inputs(self) -> list[Path]:
        """See ``CommandConfig.inputs``."""
        return [self.documents] if self.documents else []

    def input_marks(self) -> list[str]:
        """The prompts' content: it decides the answers, wherever the files lie."""
        return [f"{option}:{load_prompt(name).sha256}" for option, name in self.prompt_names().items()]

    def prompt_tokens(self) -> int:
        """Estimated tokens of one document's (or chunk's) prompts, the document itself left out."""
        files = [find_prompt(name) for option, name in self.prompt_names().items() if option != "reminder"]
        return sum(file.stat().st_size for file in files if file) // CHARACTERS_PER_TOKEN


@dataclass
class ScorePrompts:
    """Prompt files: a name in `annotation/prompts`, or a path."""

    edu: str = "edu_score.v1.txt"
    """Asks for the educational score."""
    format: str = "format_score.v1.txt"
    """Asks for the format score."""
    reminder: str = "reminder.v1.txt"
    """Asks again after an answer that can't be read."""
    edu_closing: str = "Educational score"
    """What stands before the number on the answer's closing line."""
    format_closing: str = "Format score"
    """What stands before the number on the answer's closing line (the published prompt: `Extraction Quality Score`)."""


@dataclass
class ScoreConfig(AnnotateConfig):
    """Config of `annotation score`."""

    num_documents: int = 51_000
    """Seed documents drawn at random; -1 for all."""
    max_document_characters: int = 12_000
    """A longer document is cut to this for the prompt, so that prompt and answer fit the annotator's context."""
    prompts: ScorePrompts = field(default_factory=ScorePrompts)
    """The prompts."""

    def prompt_names(self) -> dict[str, str]:
        """See ``AnnotateConfig.prompt_names``."""
        return {"edu": self.prompts.edu, "format": self.prompts.format, "reminder": self.prompts.reminder}

    def problems(self) -> list[str]:
        """See ``CommandConfig.problems``."""
        found = super().problems()
        if self.num_documents < 1 and self.num_documents != -1:
            found.append(f"--num_documents is {self.num_documents}: give a number above 0, or -1 for all")
        if self.max_document_characters < 1:
            found.append(f"--max_document_characters is {self.max_document_characters}: it must be at least 1")
        return found

    def plan(self) -> dict[str, Any]:
        """See ``CommandConfig.plan``."""
        from annotation.seeds import count_documents

        available, mean_characters = count_documents(self.documents)
        documents = available if self.num_documents == -1 else min(self.num_documents, available)
        body = min(self.max_document_characters, mean_characters) // CHARACTERS_PER_TOKEN
        return {
            "annotator": describe(self.annotator),
            "documents": f"{documents:,} of {available:,}",
            "requests": f"{2 * documents:,}",
            "estimated prompt tokens": f"{documents * (self.prompt_tokens() + 2 * body):,}",
            "answer tokens at most": f"{2 * documents * self.annotator.max_new_tokens:,}",
        }


@dataclass
class ProgramPrompts:
    """Prompt files: a name in `annotation/prompts`, or a path."""

    navigation: str = "navigation.v1.txt"
    """Menus and navigation bars at the top."""
    links: str = "links.v1.txt"
    """Buttons, HTML elements, links and URLs."""
    footer: str = "footer.v1.txt"
    """Footers."""
    reminder: str = "reminder.v1.txt"
    """Asks again after an answer that can't be read."""


@dataclass
class ProgramConfig(AnnotateConfig):
    """Config of `annotation program`."""

    scores: Path | None = None
    """Artefact of `annotation score`; documents it keeps get programs."""
    tokenizer: Path | None = None
    """The refiner's tokenizer (local folder or hub name); unset counts white-space words instead."""
    window: int = 1500
    """Longest chunk with its line numbers, in tokens of `tokenizer` (or words); must equal the refiner's."""
    max_chunks_per_document: int = -1
    """Chunks of one document that are annotated, drawn at random, so that no giant page rules the set; -1 for all."""
    max_removed_share: float = 0.8
    """A program that removes more than this share of a chunk's words is kept aside (0 to 1; 1 may remove it all)."""
    prompts: ProgramPrompts = field(default_factory=ProgramPrompts)
    """The prompts."""

    def prompt_names(self) -> dict[str, str]:
        """See ``AnnotateConfig.prompt_names``."""
        prompts = self.prompts
        return {
            "navigation": prompts.navigation,
            "links": prompts.links,
            "footer": prompts.footer,
            "reminder": prompts.reminder,
        }

    def problems(self) -> list[str]:
        """See ``CommandConfig.problems``."""
        found = super().problems() + artifact.require(self.scores, "scores", "`annotation score`")
        if self.window < 1:
            found.append(f"--window is {self.window}: it must be at least 1")
        if self.max_chunks_per_document < 1 and self.max_chunks_per_document != -1:
            found.append(f"--max_chunks_per_document is {self.max_chunks_per_document}: give 1 or more, or -1 for all")
        if not 0 < self.max_removed_share <= 1:
            found.append(f"--max_removed_share is {self.max_removed_share}: it must be above 0 and at most 1")
        return found

    def inputs(self) -> list[Path]:
        """See ``CommandConfig.inputs``."""
        local = [self.tokenizer] if self.tokenizer and self.tokenizer.exists() else []
        return [path for path in (self.documents, self.scores) if path] + local

    def plan(self) -> dict[str, Any]:
        """See ``CommandConfig.plan``."""
        from annotation.seeds import count_documents

        available, mean_characters = count_documents(self.documents)
        kept = available
        if self.scores and artifact.is_committed(self.scores):
            kept = artifact.read_json(self.scores / artifact.SUCCESS)["summary"]["kept"]
        tokens = kept * mean_characters // CHARACTERS_PER_TOKEN
        chunks = max(kept, tokens // self.window)
        return {
            "annotator": describe(self.annotator),
            "documents": f"{kept:,}",
            "estimated requests": f"{3 * chunks:,}",
            "estimated prompt tokens": f"{chunks * self.prompt_tokens() + 3 * tokens:,}",
            "answer tokens at most": f"{3 * chunks * self.annotator.max_new_tokens:,}",
        }


def describe(annotator: AnnotatorConfig) -> str:
    """The annotator's name for plans and logs."""
    from annotation.annotators import STAND_IN

    return STAND_IN if annotator.kind == "stand_in" else f"{annotator.model} on a server"
