"""Config of ``evaluation agreement``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prox.artifact import require
from prox.command import CommandConfig


@dataclass
class AgreementConfig(CommandConfig):
    """Settings of ``evaluation agreement``."""

    first: Path | None = None
    """Artefact of `evaluation general` or `selection`."""
    second: Path | None = None
    """Another one, of the same models."""

    def problems(self) -> list[str]:
        verb = "evaluation general` or `evaluation selection"
        found = require(self.first, "first", verb) + require(self.second, "second", verb)
        if not found and not self.pairs():
            found.append(
                f"--first {self.first} and --second {self.second} have no model and multiple-choice task in common: "
                "evaluate the same model, under the same name, in both"
            )
        return found

    def inputs(self) -> list[Path]:
        return [path for path in (self.first, self.second) if path is not None]

    def pairs(self) -> list[tuple[Path, Path, str, str]]:
        """Files of answers of one model to one task, in both artefacts, with the names of the two; zero-shot."""
        assert self.first is not None
        assert self.second is not None
        ones, others = self.files(self.first), self.files(self.second)
        return [(ones[key], others[key], *key) for key in sorted(ones.keys() & others.keys())]

    @staticmethod
    def files(folder: Path) -> dict[tuple[str, str], Path]:
        """The files of zero-shot answers by model and task (`MODEL.SUITE.TASK.jsonl`)."""
        names = {path: path.name.split(".") for path in (folder / "answers").glob("*.jsonl")}
        return {(parts[0], parts[2]): path for path, parts in names.items() if len(parts) == 4 and parts[1] != "math"}

    def plan(self) -> dict[str, Any]:
        return {"pairs": ", ".join(f"{model} {task}" for _, _, model, task in self.pairs())}

    def first_label(self) -> str:
        """The first artefact in words."""
        return self.label(self.first)

    def second_label(self) -> str:
        """The second artefact in words."""
        return self.label(self.second)

    @staticmethod
    def label(folder: Path | None) -> str:
        """Suite and folder of an artefact."""
        assert folder is not None
        suites = sorted({path.name.split(".")[1] for path in (folder / "answers").glob("*.jsonl")})
        return f"{', '.join(suites)} ({folder.name})"
