"""``kill -9`` at random moments of a step with two workers, run after run: the end is that of an undisturbed run."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prox.artifact import SUCCESS
from prox.units import unit_files
from tests.refinement.test_rules import DOCUMENTS, write_units

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
FILTERS = [{"name": "random"}, {"name": "gopher_repetition"}, {"name": "gopher_quality"}]
# `all`: every process of the command; `command`: its first process only; `worker`: one worker.
TARGETS = ("all", "command", "worker")
# How far a run comes before the random time begins: most of it passes with imports.
PHASES = ("start", "begun", "complete", "complete", "complete")


class Run:
    """One call of a verb in a session of its own."""

    def __init__(self, repository: Path, arguments: list[str], output: Path, workers: int) -> None:
        command = [sys.executable, "-m", "refinement", *arguments, "--output", str(output), "--workers", str(workers)]
        self.output = output
        self.begin = time.time()
        self.process = subprocess.Popen(
            command,
            cwd=repository,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def is_over(self) -> bool:
        return self.process.poll() is not None

    def has_come_to(self, phase: str) -> bool:
        """True when a task has begun, which opens its log, or is complete, and from the beginning on for `start`."""
        marks = {"begun": "tasks/logs/*", "complete": "tasks/completions/*"}
        return phase == "start" or any(mark.stat().st_mtime > self.begin for mark in self.output.glob(marks[phase]))

    def workers(self) -> list[int]:
        listing = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
        rows = [line.split(None, 2) for line in listing.splitlines()[1:]]
        servers = [pid for pid, parent, name in rows if parent == str(self.process.pid) and "forkserver" in name]
        return [int(pid) for pid, parent, _ in rows if parent in servers]

    def kill(self, target: str, choice: random.Random) -> str:
        """Kills; returns what was killed, for there may be no worker yet."""
        workers = self.workers() if target == "worker" else []
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(choice.choice(workers), signal.SIGKILL)
            log = self.process.communicate()[1]
            if not (self.output / SUCCESS).exists():
                assert self.process.returncode == 1, log
                assert "a worker process was killed" in log
                assert "Traceback" not in log
            return target
        if target == "command":
            self.process.kill()
        else:
            os.killpg(self.process.pid, signal.SIGKILL)
            target = "all"
        self.process.wait()
        return target

    def finish(self) -> None:
        log = self.process.communicate()[1]
        assert self.process.returncode == 0, log


def contents(folder: Path) -> dict[str, bytes]:
    files = [file for kind in ("documents", "dropped", "ledger") for file in unit_files(folder, kind)]
    return {str(file.relative_to(folder)): file.read_bytes() for file in [*files, folder / "stats.json"]}


def state(output: Path) -> str:
    """What stands there after a kill."""
    written = {kind: len(unit_files(output, kind)) for kind in ("dropped", "ledger", "documents")}
    half = len(list(output.glob("*/.*.tmp")))
    return f"{len(list(output.glob('tasks/completions/*')))} complete, written {written}, half-written {half}"


def kill_at_random(repository: Path, arguments: list[str], folder: Path, kills: int, seconds: float) -> int:
    """Kills ``kills`` runs of a verb, each at most ``seconds`` after it came to a phase; returns how many were killed
    when some units were complete and others not.
    """
    choice = random.Random(5)
    undisturbed, output = folder / "undisturbed", folder / "out"
    Run(repository, arguments, undisturbed, workers=1).finish()
    expected = contents(undisturbed)
    units = len(unit_files(undisturbed))
    halfway = number = 0
    while number < kills:
        run = Run(repository, arguments, output, workers=2)
        phase, target = choice.choice(PHASES), choice.choice(TARGETS)
        while not (run.has_come_to(phase) or run.is_over()):
            time.sleep(0.005)
        moment = time.monotonic() + choice.uniform(0, seconds)
        while time.monotonic() < moment and not run.is_over():
            time.sleep(0.005)
        if run.is_over():
            run.finish()
        else:
            killed = run.kill(target, choice)
        if (output / SUCCESS).exists():  # it got through in between
            assert contents(output) == expected
            shutil.rmtree(output)
            print("     finished; begun anew")
            continue
        number += 1
        complete = len(list(output.glob("tasks/completions/*")))
        halfway += 0 < complete < units
        print(f"{number:3}. after {time.time() - run.begin:5.2f} s, {killed:7}: of {units} units {state(output)}")
    Run(repository, arguments, output, workers=2).finish()
    assert contents(output) == expected
    assert not list(output.glob("*/.*.tmp"))
    return halfway


def test_rules_killed_twenty_times(repository: Path, tmp_path: Path) -> None:
    texts = {f"{n}-{name}": f"{text}\nNumber {n}. " * 4 for n in range(700) for name, text in DOCUMENTS.items()}
    units = write_units(tmp_path / "units", texts, size=90)
    options = ["--documents", str(units), "--filters", json.dumps(FILTERS), "--random_share", "0.7"]
    assert kill_at_random(repository, ["rules", *options], tmp_path, kills=20, seconds=1.5) >= 3


def test_chunk_killed_five_times(repository: Path, tmp_path: Path, units: Path, tiny_checkpoint: Path) -> None:
    options = ["--documents", str(units), "--refiner.checkpoint", str(tiny_checkpoint), "--documents_per_batch", "1"]
    options += ["--window", "200", "--max_new_tokens", "120"]
    kill_at_random(repository, ["chunk", *options], tmp_path, kills=5, seconds=1.0)
