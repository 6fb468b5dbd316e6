"""A training that is killed on the way, for tests of resuming."""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from adaptation.checkpoints import is_readable, list_checkpoints, step_of

SECONDS_TO_NOTICE = 2
"""Until the launcher has noticed that `train` is gone, and has ended by itself."""


def kill_training(arguments: Sequence[object], output: Path, step: int) -> int:
    """Runs `adaptation train`, kills it once it has a checkpoint of this step or a later one; returns the newest's."""
    process = subprocess.Popen([sys.executable, "-m", "adaptation", "train", *map(str, arguments)])
    while not any((path / "dialogue.json").is_file() for path in reached(output, step)):
        assert process.poll() is None, (output / "train.log").read_text()[-2000:]
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(SECONDS_TO_NOTICE)
    assert not (output / "_SUCCESS").exists()
    return max(step_of(path) for path in reached(output, step) if is_readable(path))


def reached(output: Path, step: int) -> list[Path]:
    return [path for path in list_checkpoints(output / "checkpoints") if step_of(path) >= step]
