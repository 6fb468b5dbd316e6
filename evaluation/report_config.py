"""Config of ``evaluation report``. Imports no heavy library: a skipped step must start at once."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.records import sha256_of_files
from evaluation.report_sources import LOOKED_FOR, Source, find_sources, parent_of
from prox.command import CommandConfig

RUN_NAME = re.compile(r"\w[\w.+@-]*")
PAGE_PARTS = Path(__file__).parent / "report_page"
# Beyond this many the page takes seconds to open.
MOST_DOCUMENTS = 10_000


@dataclass
class ReportConfig(CommandConfig):
    """Settings of ``evaluation report``."""

    runs: dict[str, Path] = field(default_factory=dict)
    """Folders of runs by the names they get on the page (`--runs.first runs/quickstart --runs.second FOLDER`)."""
    num_documents: int = 500
    """Documents to sample for the browser, all runs together; 0 for none."""
    max_characters: int = 20_000
    """Characters of a document that are shown; less where all documents together would pass `max_page_megabytes`."""
    max_page_megabytes: float = 16.0
    """What the sampled documents may take of the page, in megabytes."""

    def problems(self) -> list[str]:
        found = []
        if not self.runs:
            found.append("--runs is empty: name at least one run, e.g. --runs.quickstart runs/quickstart")
        for name, folder in self.runs.items():
            if not RUN_NAME.fullmatch(name):
                found.append(f"--runs.{name}: use letters, digits, '_', '-', '.', '+' and '@' in a run's name")
            if not folder.is_dir():
                found.append(f"--runs.{name} {folder} is not a folder: give the folder of a run, e.g. runs/quickstart")
            elif not any(source.kinds() for source in find_sources(name, folder)):
                looked_for = "; ".join(LOOKED_FOR.values())
                found.append(f"--runs.{name} {folder} holds nothing to show. Looked for, at any depth: {looked_for}")
        if not 0 <= self.num_documents <= MOST_DOCUMENTS:
            found.append(f"--num_documents {self.num_documents}: give a count from 0 to {MOST_DOCUMENTS:,}")
        if self.max_characters < 200:
            found.append(f"--max_characters {self.max_characters} shows next to nothing: give 200 or more")
        if self.max_page_megabytes <= 0:
            found.append(f"--max_page_megabytes {self.max_page_megabytes}: give a positive number, such as 16")
        return found

    def sources(self) -> dict[str, list[Source]]:
        """What each run holds."""
        return {name: find_sources(name, folder) for name, folder in self.runs.items()}

    def inputs(self) -> list[Path]:
        # The artefacts, not the runs' folders: the report may lie below one of them.
        found: dict[Path, None] = {}
        for sources in self.sources().values():
            for source in sources:
                found[source.folder] = None
                if (parent := parent_of(source, sources)) is not None:
                    found[parent.folder] = None
        return list(found)

    def input_marks(self) -> list[str]:
        """The page's own parts."""
        return [f"page:{sha256_of_files(*sorted(path for path in PAGE_PARTS.iterdir() if path.is_file()))}"]

    def plan(self) -> dict[str, Any]:
        found = {
            f"runs.{name}": ", ".join(sorted({kind for source in sources for kind in source.kinds()}))
            for name, sources in self.sources().items()
        }
        return {**found, "num_documents": self.num_documents, "max_page_megabytes": self.max_page_megabytes}
