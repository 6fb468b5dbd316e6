"""Config of `annotation agree`; importing it loads no library that is slow to start."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prox import artifact
from prox.command import CommandConfig

MADE_BY = "`annotation score`, `program`, `split` or `pairs`"
DECISION_FILES = ("scores.jsonl", "document_*.jsonl")
"""Files that hold keep/drop of documents: the answers of `score`, or the document sets made of them."""
PROGRAM_FILES = ("programs.jsonl", "chunk_*.jsonl")
"""Files that hold chunk programs: those of `program`, or the chunk sets made of them."""


def files_of(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    """The files of one kind in an artefact, by name."""
    return sorted(path for pattern in patterns for path in folder.glob(pattern))


def kinds_of(folder: Path) -> dict[str, list[Path]]:
    """What an artefact holds: the files with decisions, and those with programs, where there are any."""
    found = {"decisions": files_of(folder, DECISION_FILES), "programs": files_of(folder, PROGRAM_FILES)}
    return {kind: files for kind, files in found.items() if files}


@dataclass
class AgreeConfig(CommandConfig):
    """Config of `annotation agree`."""

    first: Path | None = None
    """Annotation to compare: artefact of `score`, `program`, `split` or `pairs`."""
    second: Path | None = None
    """Annotation to compare it with, of the same documents; the reference of precision and recall."""
    num_examples: int = 20
    """Documents that differ most, shown in `agreement.md`; `differences.jsonl` has all."""
    num_draws: int = 1000
    """Draws of documents for the 95% intervals (bootstrap); 0 leaves the intervals out."""

    def problems(self) -> list[str]:
        """See ``CommandConfig.problems``."""
        found, kinds = [], []
        for option, folder in (("first", self.first), ("second", self.second)):
            wrong = artifact.require(folder, option, MADE_BY)
            held = kinds_of(folder) if folder and not wrong else {}
            if not wrong and not held:
                names = ", ".join(DECISION_FILES + PROGRAM_FILES)
                wrong = [f"--{option} {folder} holds none of {names}: give the folder of {MADE_BY}"]
            found += wrong
            kinds.append(held)
        if all(kinds) and not kinds[0].keys() & kinds[1].keys():
            found.append(
                f"--first {self.first} holds {' and '.join(kinds[0])}, --second {self.second} holds "
                f"{' and '.join(kinds[1])}: give two annotations with decisions, or two with programs"
            )
        for name in ("num_examples", "num_draws"):
            if getattr(self, name) < 0:
                found.append(f"--{name} is {getattr(self, name)}: it must be at least 0")
        return found

    def inputs(self) -> list[Path]:
        """See ``CommandConfig.inputs``."""
        return [path for path in (self.first, self.second) if path]

    def plan(self) -> dict[str, Any]:
        """See ``CommandConfig.plan``."""
        first, second = (kinds_of(path) if path else {} for path in (self.first, self.second))
        compared = [kind for kind in first if kind in second]
        return {
            "compared": " and ".join(compared),
            "bytes to read": f"{sum(path.stat().st_size for k in compared for path in first[k] + second[k]):,}",
        }
