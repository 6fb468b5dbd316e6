"""What a run's folder holds that `evaluation report` can show: artefacts of any stage, found by what lies in them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from prox.artifact import SNAPSHOT, is_committed
from prox.tracking import METRICS

# As in prox.units, which a command line that only skips its work must not import.
DOCUMENTS, DROPPED, LEDGER = "documents", "dropped", "ledger"
RECORDS, TABLE, STATISTICS = "records", "table.md", "stats.json"
LOOKED_FOR = {
    "result records": f"{RECORDS}/*.json of `evaluation bits_per_byte`, `choice` and others",
    "tables": f"{TABLE} of `evaluation table` and others",
    "training curves": f"{METRICS} of `pretraining train` and `adaptation train`",
    "statistics": f"{STATISTICS} of `refinement stats`",
    "programs": f"{LEDGER}/*.parquet of `refinement document` and `chunk`, or {DROPPED}/*.parquet of any step",
}
# Set aside by a later run with other settings.
ASIDE = ".previous-"


@dataclass(frozen=True)
class Source:
    """A folder of a run that holds something to show."""

    run: str
    folder: Path
    name: str
    """Its place below the run's folder."""
    snapshot: dict[str, Any] = field(default_factory=dict)
    """Its `config.yaml`; empty for a foreign folder."""

    @property
    def command(self) -> str:
        """What made it, e.g. `refinement chunk`; empty for a foreign folder."""
        return str(self.snapshot.get("command") or "")

    @property
    def config(self) -> dict[str, Any]:
        """The config it was made with; empty for a foreign folder."""
        return self.snapshot.get("config") or {}

    @property
    def finished(self) -> bool:
        """Whether its step has ended; what an unfinished one holds is shown all the same."""
        return is_committed(self.folder)

    def has_table(self) -> bool:
        """True for a finished table."""
        return (self.folder / TABLE).is_file() and self.finished

    def has_metrics(self) -> bool:
        """True for a training, under way or done."""
        return (self.folder / METRICS).is_file()

    def record_files(self) -> list[Path]:
        """Its result records."""
        return sorted((self.folder / RECORDS).glob("*.json"))

    def is_statistics(self) -> bool:
        """True for what `refinement stats` finished."""
        return self.command == "refinement stats" and (self.folder / STATISTICS).is_file() and self.finished

    def units(self, kind: str = DOCUMENTS) -> list[Path]:
        """Its Parquet units of one kind; none for other steps' folders."""
        return sorted((self.folder / kind).glob("*.parquet"))

    def is_step(self) -> bool:
        """True for a step that corpora pass through."""
        return any(self.units(kind) for kind in (DOCUMENTS, DROPPED, LEDGER))

    def kinds(self) -> list[str]:
        """Which of ``LOOKED_FOR`` it holds."""
        held = {
            "result records": bool(self.record_files()),
            "tables": self.has_table(),
            "training curves": self.has_metrics(),
            "statistics": self.is_statistics(),
            "programs": bool(self.units(LEDGER) or self.units(DROPPED)),
        }
        return [name for name, found in held.items() if found]


def read_snapshot(folder: Path) -> dict[str, Any]:
    """A folder's `config.yaml`, of an unfinished step too; empty where there is none that can be read."""
    try:
        content = yaml.safe_load((folder / SNAPSHOT).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def find_sources(run: str, folder: Path) -> list[Source]:
    """All that can be shown of a run, by name; not what a later run set aside, nor what is inside an artefact."""
    return sorted(_walk(run, folder), key=lambda source: source.name)


def _walk(run: str, top: Path) -> Iterator[Source]:
    for place, folders, files in os.walk(top):
        folder = Path(place)
        source = Source(run, folder, folder.relative_to(top).as_posix(), read_snapshot(folder))
        folders[:] = sorted(one for one in folders if not one.startswith(".") and ASIDE not in one)
        if SNAPSHOT in files and source.command:
            # Artefacts don't nest, and may hold very many files.
            folders.clear()
        else:
            folders[:] = [one for one in folders if one not in (DOCUMENTS, DROPPED, LEDGER, RECORDS)]
        if source.kinds() or source.units():
            yield source


def source_at(sources: Sequence[Source], recorded: str | None) -> Source | None:
    """The source that a config names by its path; where the run was moved, the one that ends in the same folders."""
    if not recorded:
        return None
    path = Path(recorded)
    here = {source.folder.resolve(): source for source in sources}
    if path.resolve() in here:
        return here[path.resolve()]
    if path.exists():
        return None
    by_name = {source.name: source for source in sources}
    tails = ("/".join(path.parts[first:]) for first in range(1, len(path.parts)))
    return next((by_name[tail] for tail in tails if tail in by_name), None)


def parent_of(source: Source, sources: Sequence[Source]) -> Source | None:
    """The step whose documents this one read, inside the run or elsewhere; None where they are not there any more."""
    recorded = source.config.get("documents")
    found = source_at(sources, recorded)
    if found is None and recorded:
        found = Source(source.run, Path(recorded), str(recorded), read_snapshot(Path(recorded)))
    return found if found is not None and found.units() else None


def way_to(source: Source, sources: Sequence[Source]) -> list[Source]:
    """The steps from the corpus to this one, as far back as they are there."""
    way = [source]
    while (parent := parent_of(way[0], sources)) is not None and parent not in way:
        way.insert(0, parent)
    return way


def arm_names(sources: Sequence[Source]) -> dict[Path, str]:
    """Names of steps by their folders: those `refinement stats` was given, else the folders' own."""
    names = {source.folder.resolve(): source.name for source in sources}
    for statistics in sources:
        arms = statistics.config.get("arms") if statistics.is_statistics() else None
        for arm, recorded in (arms or {}).items():
            if found := source_at(sources, recorded):
                names[found.folder.resolve()] = arm
    return names
