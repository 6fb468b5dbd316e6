"""Configs of the verbs that make train and valid sets; importing them loads no library that is slow to start."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prox import artifact
from prox.command import CommandConfig

Balance = Literal["natural", "balanced"]


@dataclass
class SplitConfig(CommandConfig):
    """Config of `annotation split`."""

    documents: Path | None = None
    """Artefact with the documents that were annotated."""
    scores: Path | None = None
    """Artefact of `annotation score`."""
    programs: Path | None = None
    """Artefact of `annotation program`."""
    valid_share: float = 0.1
    """Share of the documents held out for validation (0 to 1); a document's chunks go with it."""
    num_valid: int = -1
    """Documents held out for validation, in place of `valid_share`; -1 leaves it to the share."""
    document_balance: Balance = "natural"
    """Train set of the document task: `natural`, or `balanced` (as many `keep_doc` as `drop_doc`)."""
    chunk_balance: Balance = "natural"
    """Train set of the chunk task: `natural`, or `balanced` (as many `keep_chunk` as edited chunks)."""

    def problems(self) -> list[str]:
        """See ``CommandConfig.problems``."""
        found = artifact.require(self.documents, "documents", "`refinement ingest`")
        found += artifact.require(self.scores, "scores", "`annotation score`")
        found += artifact.require(self.programs, "programs", "`annotation program`")
        if self.num_valid < 1 and self.num_valid != -1:
            found.append(f"--num_valid is {self.num_valid}: give 1 or more, or -1 to use --valid_share")
        if self.num_valid == -1 and not 0 < self.valid_share < 1:
            found.append(f"--valid_share is {self.valid_share}: it must be above 0 and below 1")
        return found

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
        share = f"{self.valid_share:.0%} of the documents" if self.num_valid == -1 else f"{self.num_valid:,} documents"
        return {**summaries, "valid": share}
