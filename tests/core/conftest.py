"""A copy of the scripts and configs whose Python only writes down what it is asked to run."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.core.recipe_plans import Planner


@dataclass
class Rehearsal:
    """A checkout in which recipes run through, but every command is only recorded."""

    folder: Path

    def run(self, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a shell command in the checkout."""
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", "PROX_COMMANDS": str(self._record), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def _record(self) -> Path:
        return self.folder / "commands"

    def commands(self) -> list[list[str]]:
        """The Python commands asked for since the last call: ``[module, arguments...]`` each."""
        lines = self._record.read_text(encoding="utf-8").splitlines() if self._record.exists() else []
        self._record.unlink(missing_ok=True)
        return [line.split("\x1f")[1:] for line in lines]


@pytest.fixture
def rehearsal(tmp_path: Path, repository: Path) -> Rehearsal:
    """A fresh rehearsal checkout with a finished quickstart's table and refiners in place."""
    folder = tmp_path / "checkout"
    shutil.copytree(repository / "scripts", folder / "scripts")
    shutil.copytree(repository / "configs", folder / "configs")
    (folder / "scripts/setup.sh").write_text("#!/bin/sh\n")
    python = folder / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    # A script of the recipes' own is run, a module only written down.
    run_script = f'case $1 in *.py) exec {sys.executable} "$@" ;; esac'
    python.write_text(f'#!/bin/sh\n{run_script}\nshift\nprintf "%s\\n" "$(printf "\\037%s" "$@")" >>"$PROX_COMMANDS"\n')
    python.chmod(0o755)
    for name in ("quickstart", "my_annotator", "my_corpus"):
        table = folder / "runs" / name / "evaluation/table/table.md"
        table.parent.mkdir(parents=True)
        table.write_text("the table\n")
    for task in ("document", "chunk"):
        refiner = folder / "runs/quickstart/adaptation" / task / "refiner"
        refiner.mkdir(parents=True)
        (refiner / "_SUCCESS").write_text("{}")
    card = folder / "annotated/split/card.md"
    card.parent.mkdir(parents=True)
    card.write_text("the card\n")
    return Rehearsal(folder)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> "Planner":
    """A checkout that plans recipes; what it has planned it remembers."""
    from tests.core.recipe_plans import Planner

    return Planner(tmp_path_factory.mktemp("plans") / "checkout")
