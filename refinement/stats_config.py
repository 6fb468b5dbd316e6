"""Config of `refinement stats`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prox.artifact import require, require_model
from prox.command import CommandConfig


@dataclass
class StatsConfig(CommandConfig):
    """Sizes, lengths, edits and cost of the arms."""

    arms: dict[str, Path] = field(default_factory=dict)
    """Documents artefact of each arm, by the arm's name; shares are taken of `raw`, else of the first arm. What an arm
    was made from is found by what it records, and counted too."""
    tokenizer: str = ""
    """Folder or hub name of the tokenizer that counts tokens."""
    workers: int = 1
    """Units counted at once, each in its own process."""
    top: int = 50
    """Most frequent removed lines, replaced strings and unreadable calls that are listed of each step."""
    capacity: int = 20_000
    """Distinct lines (strings, calls) that are kept while counting; up to so many the counts are exact, beyond they
    have a stated error."""
    trained_models: dict[str, int] = field(default_factory=dict)
    """Parameters without embedding of models to train, by name: what refining costs is also given in their training
    tokens."""

    def problems(self) -> list[str]:
        found = [] if self.arms else ["--arms is empty: give at least --arms.raw <documents artefact>"]
        for name, path in self.arms.items():
            unusable = require(path, f"arms.{name}", "the refinement step of this arm")
            if not unusable and not any((path / "documents").glob("*.parquet")):
                unusable = [f"--arms.{name} {path} holds no documents/*.parquet: give a documents artefact"]
            found += unusable
        for name, number in {"workers": self.workers, "top": self.top, "capacity": self.capacity}.items():
            if number < 1:
                found.append(f"--{name} {number}: must be at least 1")
        for name, number in self.trained_models.items():
            if number < 1:
                found.append(f"--trained_models.{name} {number}: must be at least 1 (parameters without embedding)")
        return found + require_model(self.tokenizer, "tokenizer", "`python -m pretraining tokenizer`")

    def inputs(self) -> list[Path]:
        folder = Path(self.tokenizer)
        return [*self.arms.values(), *([folder] if self.tokenizer and folder.exists() else [])]

    def plan(self) -> dict[str, Any]:
        from refinement.provenance import trace
        from refinement.stats import KINDS, unit_names

        steps, _ = trace(self.arms)
        files = [file for step in steps for kind in KINDS for file in (step.folder / kind).glob("*.parquet")]
        return {
            "steps": ", ".join(f"{step.name} ({step.command or 'not made here'})" for step in steps),
            "units": len(unit_names(steps)),
            "input_bytes": sum(file.stat().st_size for file in files),
        }
