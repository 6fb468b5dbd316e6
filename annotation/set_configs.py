"""Configs of the verbs that make train and valid sets; importing them loads no library that is slow to start."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from annotation.chunk_config import ChunkConfig, at_least_one
from prox import artifact
from prox.chunking import MIN_LINE_CHARACTERS
from prox.command import CommandConfig
from prox.dialogue import RefinerKind

Balance = Literal["natural", "balanced"]


@dataclass
class SetsConfig(CommandConfig):
    """What `split` and `pairs` share: who is on which side, and how many examples the sets hold."""

    documents: Path | None = None
    """Artefact with the documents (`refinement ingest`)."""
    valid_share: float = 0.1
    """Share of the documents held out for validation (0 to 1); a document's chunks go with it."""
    num_valid: int = -1
    """Documents held out for validation, in place of `valid_share`; -1 leaves it to the share."""
    max_valid_chunks: int = -1
    """Most examples of `chunk_valid`, drawn at random from the held-out documents; -1 for all."""
    max_train_documents: int = -1
    """Most examples of `document_train`, drawn at random; -1 for all."""
    max_train_chunks: int = -1
    """Most examples of `chunk_train`, drawn at random; -1 for all."""
    split_by: Literal["document", "domain"] = "document"
    """What is never on both sides: a `document`, or all documents of a registrable `domain` (`valid_share` is then a
    share of the domains, and `num_valid` is filled with whole domains, as far as they fit)."""
    url_column: str = "url"
    """Metadata key that holds a document's address; a document without one is a domain of its own."""
    document_balance: Balance = "natural"
    """Train set of the document task: `natural`, or `balanced` (as many `keep_doc` as `drop_doc`)."""
    chunk_balance: Balance = "natural"
    """Train set of the chunk task: `natural`, or `balanced` (as many `keep_chunk` as edited chunks)."""

    def two_class_sets(self) -> tuple[str, ...]:
        """Training sets that must have examples of both classes to teach anything."""
        return ("document_train", "chunk_train")

    def problems(self) -> list[str]:
        """See ``CommandConfig.problems``."""
        found = artifact.require(self.documents, "documents", "`refinement ingest`")
        if self.num_valid < 1 and self.num_valid != -1:
            found.append(f"--num_valid is {self.num_valid}: give 1 or more, or -1 to use --valid_share")
        if self.num_valid == -1 and not 0 < self.valid_share < 1:
            found.append(f"--valid_share is {self.valid_share}: it must be above 0 and below 1")
        return found + at_least_one(self, "max_valid_chunks", "max_train_documents", "max_train_chunks")

    def held_out(self) -> str:
        """What is held out, for plans."""
        unit = "documents" if self.split_by == "document" else "domains"
        share = f"{self.valid_share:.0%} of the {unit}"
        return share if self.num_valid == -1 else f"{self.num_valid:,} documents, by {self.split_by}"


@dataclass
class SplitConfig(SetsConfig):
    """Config of `annotation split`."""

    scores: Path | None = None
    """Artefact of `annotation score`."""
    programs: Path | None = None
    """Artefact of `annotation program`."""

    def problems(self) -> list[str]:
        """See ``CommandConfig.problems``."""
        found = super().problems() + artifact.require(self.scores, "scores", "`annotation score`")
        return found + artifact.require(self.programs, "programs", "`annotation program`")

    def inputs(self) -> list[Path]:
        """See ``CommandConfig.inputs``."""
        return [path for path in (self.documents, self.scores, self.programs) if path]

    def plan(self) -> dict[str, Any]:
        """See ``CommandConfig.plan``."""
        summaries = {
            name: artifact.read_json(path / artifact.SUCCESS)["summary"]
            for name, path in (("scores", self.scores), ("programs", self.programs))
            if path and artifact.is_committed(path)
        }
        return {**summaries, "valid": self.held_out()}


@dataclass
class PairsConfig(ChunkConfig, SetsConfig):
    """Config of `annotation pairs`. The metadata of `documents` hold what a person has cleaned: either the cleaned text
    (`clean_column`) or the numbers of the lines to remove (`noise_lines_column`)."""

    clean_column: str = ""
    """Metadata key of the cleaned text; the document's own text is the one before."""
    noise_lines_column: str = ""
    """Metadata key of the lines to remove: a list of 0-based numbers into the text cut at its line feeds."""
    ambiguous_lines_column: str = ""
    """Metadata key of the lines that were left open, as such a list: programs keep them, the rows name them. A document
    without it has none."""
    teacher_column: str = ""
    """Of a tagger: metadata key of a teacher's probabilities that the lines are to be removed, one a line (`annotation
    trees`). The rows carry them for `adaptation train --teacher_weight`; of `documents`, those without labels become
    training chunks that are taught by them alone."""
    valid_documents: Path | None = None
    """Documents for the valid sets, with the same metadata; all of `documents` is then for the train sets."""
    drop_documents: Path | None = None
    """Documents that all become `drop_doc()` examples, with no chunks; they are split by `valid_share` or `num_valid`.
    """
    kind: RefinerKind = "generative"
    """What kind of refiner reads the chunks: lines count with their numbers, or with a tagger's places for them."""
    max_line_characters: int | None = None
    """Count a longer line as the refiner is shown it, by its beginning and end: as its dialogue has it."""
    min_clean_words: int = 50
    """A document whose clean text has fewer words becomes a `drop_doc()` example with no chunks."""
    min_recall: float = 0.8
    """A pair is set aside where less than this share of the clean text is found in the document (0 to 1)."""
    max_extra_share: float = 0.2
    """A pair is set aside where more than this share of the words its program leaves is not in the clean text."""
    max_missing_share: float = 0.2
    """A pair is set aside where more than this share of the clean text's words is not left by its program."""

    def problems(self) -> list[str]:
        """See ``CommandConfig.problems``."""
        found = super().problems() + self._column_problems()
        for name in ("valid_documents", "drop_documents"):
            if getattr(self, name) is not None:
                found += artifact.require(getattr(self, name), name, "`refinement ingest`")
        if self.valid_documents is not None and self.num_valid != -1:
            found.append(
                f"--num_valid is {self.num_valid}, but --valid_documents {self.valid_documents} are the valid ones: "
                "leave one of them out"
            )
        for name in ("min_recall", "max_extra_share", "max_missing_share"):
            if not 0 <= getattr(self, name) <= 1:
                found.append(f"--{name} is {getattr(self, name)}: it must be between 0 and 1")
        if self.min_clean_words < 0:
            found.append(f"--min_clean_words is {self.min_clean_words}: it must be at least 0")
        if self.max_line_characters is not None and self.max_line_characters < MIN_LINE_CHARACTERS:
            found.append(
                f"--max_line_characters is {self.max_line_characters}: give {MIN_LINE_CHARACTERS} or more, or leave it "
                "unset"
            )
        return found + self.chunk_problems()

    def two_class_sets(self) -> tuple[str, ...]:
        """Of a tagger none: it learns of lines, and that each chunk has some to remove is common."""
        return () if self.kind == "tagger" else super().two_class_sets()

    def _column_problems(self) -> list[str]:
        if bool(self.clean_column) == bool(self.noise_lines_column):
            given = f"--clean_column is {self.clean_column!r} and --noise_lines_column {self.noise_lines_column!r}"
            return [f"{given}: name exactly one of them"]
        if self.teacher_column and (self.kind != "tagger" or self.clean_column):
            return [
                f"--teacher_column is {self.teacher_column!r}, which says something of lines: it goes with --kind "
                "tagger and --noise_lines_column, else leave it out"
            ]
        if self.ambiguous_lines_column and not self.noise_lines_column:
            return [
                f"--ambiguous_lines_column is {self.ambiguous_lines_column!r}, but --noise_lines_column is not set: a "
                "pair of texts leaves no line open; leave it out"
            ]
        return []

    def inputs(self) -> list[Path]:
        """See ``CommandConfig.inputs``."""
        sources = (self.documents, self.valid_documents, self.drop_documents)
        return [path for path in sources if path] + self.local_tokenizer()

    def plan(self) -> dict[str, Any]:
        """See ``CommandConfig.plan``."""
        from annotation.seeds import count_documents

        sources = ("documents", "valid_documents", "drop_documents")
        counts = {name: f"{count_documents(path)[0]:,}" for name in sources if (path := getattr(self, name))}
        held_out = "valid_documents" if self.valid_documents else self.held_out()
        return {"annotator": self.annotator(), **counts, "valid": held_out}

    def annotator(self) -> str:
        """What stands in an annotator's place on the card: nobody may take it for a language model."""
        if self.clean_column:
            return "before/after pairs"
        return "line labels and a teacher" if self.teacher_column else "line labels"


@dataclass
class TreesConfig(CommandConfig):
    """Config of `annotation trees`."""

    documents: Path | None = None
    """Artefact with labelled documents (`refinement ingest`)."""
    noise_lines_column: str = "noise_lines"
    """Metadata key of the lines to remove: a list of 0-based numbers into the text cut at its line feeds."""
    ambiguous_lines_column: str = ""
    """Metadata key of the lines that were left open, as such a list; nothing is learned of them."""
    unlabelled_documents: Path | None = None
    """Documents without labels, whose lines are judged too."""
    teacher_column: str = "teacher"
    """Metadata key that the probabilities are written to, for `pairs`."""
    url_column: str = "url"
    """Metadata key that holds a document's address: a site's pages are held out together."""

    def problems(self) -> list[str]:
        """See ``CommandConfig.problems``."""
        found = artifact.require(self.documents, "documents", "`refinement ingest`")
        if self.unlabelled_documents is not None:
            found += artifact.require(self.unlabelled_documents, "unlabelled_documents", "`refinement ingest`")
        if self.teacher_column and self.teacher_column in (self.noise_lines_column, self.ambiguous_lines_column):
            found.append(f"--teacher_column is {self.teacher_column!r}, where the labels are: name another key")
        return found + [
            f"--{name} is empty: name a metadata key"
            for name in ("noise_lines_column", "teacher_column")
            if not getattr(self, name)
        ]

    def inputs(self) -> list[Path]:
        """See ``CommandConfig.inputs``."""
        return [path for path in (self.documents, self.unlabelled_documents) if path]
