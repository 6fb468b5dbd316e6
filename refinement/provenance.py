"""How an arm came to be: the artefacts it went through, as their ``config.yaml`` files record them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prox.artifact import read_json, recorded
from prox.dialogue import FILE_NAME
from prox.units import DOCUMENTS, unit_files


@dataclass(frozen=True)
class Step:
    """A documents artefact of the chain.

    ``source`` is the name of the step whose documents it read: None at the beginning of the chain, and where that
    artefact is no longer at the recorded place. ``record`` is its ``config.yaml``, empty for a foreign folder.
    """

    name: str
    folder: Path
    source: str | None
    record: dict[str, Any]

    @property
    def command(self) -> str:
        """What made it; empty for a foreign folder."""
        return self.record.get("command", "")

    def asked(self) -> "Step":
        """The run whose refiner's answers this step holds: itself, or for a replay the run that wrote its ledger."""
        ledger = self.record.get("config", {}).get("ledger")
        record = recorded(Path(ledger)) if ledger else {}
        return Step(self.name, Path(ledger), None, record).asked() if record else self

    def refiner(self) -> str:
        """The checkpoint that was asked; empty where none was."""
        return (self.asked().record.get("config", {}).get("refiner") or {}).get("checkpoint", "")

    def dialogue(self) -> dict[str, Any]:
        """How the refiner was asked: as kept beside the documents, else beside the checkpoint, else as configured; with
        the threshold of this step, where it has one of its own.
        """
        asked = self.asked()
        threshold = self.record.get("config", {}).get("remove_threshold")
        own = {} if threshold is None else {"remove_threshold": threshold}
        for folder in (asked.folder, Path(self.refiner())):
            if (folder / FILE_NAME).is_file():
                return read_json(folder / FILE_NAME) | own
        return (asked.record.get("config", {}).get("refiner") or {}).get("dialogue", {}) | own

    def summary(self) -> dict[str, Any]:
        """The step's own ``stats.json``; empty for a foreign folder."""
        return read_json(self.folder / "stats.json") if self.record and (self.folder / "stats.json").is_file() else {}


def trace(arms: Mapping[str, Path]) -> tuple[list[Step], dict[str, str]]:
    """All artefacts behind the arms, each once and after the one it was made from, and each arm's last step by name.

    A step is called as its arm, else as its folder.
    """
    names: dict[Path, str] = {}
    for arm, folder in arms.items():
        names.setdefault(folder.resolve(), arm)
    steps: dict[Path, Step] = {}
    for folder in arms.values():
        _add(folder.resolve(), names, steps)
    return list(steps.values()), {arm: names[folder.resolve()] for arm, folder in arms.items()}


def _add(folder: Path, names: dict[Path, str], steps: dict[Path, Step]) -> None:
    """Adds an artefact after those it came from."""
    if folder in steps:
        return
    record = recorded(folder)
    source = record.get("config", {}).get("documents")
    read = Path(source).resolve() if source else None
    if read is not None and not unit_files(read, DOCUMENTS):
        read = None
    if read is not None:
        _add(read, names, steps)
    if folder not in names:
        number = sum(name.partition("#")[0] == folder.name for name in names.values())
        names[folder] = f"{folder.name}#{number + 1}" if number else folder.name
    steps[folder] = Step(names[folder], folder, read and names[read], record)


def chain(steps: list[Step], last: str) -> list[Step]:
    """The steps that lead to the one called ``last``, in order."""
    by_name = {step.name: step for step in steps}
    found: list[Step] = []
    name: str | None = last
    while name is not None:
        found.append(by_name[name])
        name = found[-1].source
    return found[::-1]
