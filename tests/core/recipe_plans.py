"""What a recipe of a table or figure plans, for tests to look at: no step is run."""

import functools
import importlib.util
import itertools
import shutil
from pathlib import Path
from types import ModuleType

from prox.command import CommandConfig
from tests.core.conftest import Rehearsal

REPOSITORY = Path(__file__).resolve().parents[2]

SCRIPTS = sorted(path for kind in ("table", "figure") for path in (REPOSITORY / "scripts").glob(f"run_{kind}*.sh"))


@functools.cache
def library(name: str) -> ModuleType:
    """A Python file of `scripts/lib/`."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / f"scripts/lib/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def planner() -> ModuleType:
    """`plan.py`, which parses no two commands alike twice."""
    return library("plan")


class Planner:
    """A checkout whose Python is never started: a dry run ends with the commands it recorded."""

    def __init__(self, folder: Path) -> None:
        for name in ("scripts", "configs"):
            shutil.copytree(REPOSITORY / name, folder / name)
        (folder / "scripts/setup.sh").write_text("#!/bin/sh\n")
        python = folder / ".venv/bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\ncp "$2" {folder}/record\n')
        python.chmod(0o755)
        self.rehearsal = Rehearsal(folder)
        self.folder = folder

    @functools.cache  # noqa: B019 (one object, which lives as long as the tests)
    def record(self, name: str, **environment: str) -> list:
        """The steps of a recipe (`table2`)."""
        done = self.rehearsal.run(f"scripts/run_{name}.sh --dry_run", **environment)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        assert not done.stderr
        return planner().read_steps(self.folder / "record")

    @functools.cache  # noqa: B019
    def plan(self, name: str, **environment: str):
        """Its plan; at paper scale with the paper's corpora."""
        steps = self.record(name, **environment)
        return planner().Plan(
            steps, self.folder / f"runs/paper_{environment.get('SCALE', 'nano')}", environment.get("SCALE") == "paper"
        )


def options_of(step, name: str) -> dict[str, str]:
    """Values of the options `--NAME.KEY VALUE` by key."""
    words = itertools.pairwise(step.arguments)
    return {word.removeprefix(f"--{name}."): value for word, value in words if word.startswith(f"--{name}.")}


def outputs(plan, name: str) -> dict[str, CommandConfig]:
    """Configs of a command's steps by place in the run."""
    return {plan.place(step.output): plan.configs[step.output] for step in plan.steps if step.name == name}
