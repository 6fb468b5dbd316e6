"""Several processes train as one does, and a run may go on with another number of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pretraining.__main__ import VERBS
from prox.command import main

LAUNCH = [sys.executable, "-m", "pretraining"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "pretraining"]


def run(launch: list[str], arguments: list[str], repository: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*launch, *arguments], cwd=repository, env=environment, capture_output=True, text=True, check=False, timeout=110
    )


def losses(output: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (output / "metrics.jsonl").read_text().splitlines()]


def weights(output: Path) -> dict[str, torch.Tensor]:
    return torch.load(output / "model" / "lit_model.pth", weights_only=True)["model"]


@pytest.fixture(scope="module")
def arguments(train_arguments: list[str]) -> list[str]:
    """In float32, where sums in another order are all that differs."""
    return [*train_arguments, "--accelerator=cpu", "--precision=32-true"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, arguments: list[str]) -> Path:
    """The same training in one process."""
    output = tmp_path_factory.mktemp("alone") / "train"
    assert main("pretraining", VERBS, [*arguments, f"--output={output}"]) == 0
    return output


@pytest.mark.parametrize(
    ("launch", "strategy"),
    [
        pytest.param(LAUNCH, ["--strategy=ddp"], marks=pytest.mark.slow),
        (TORCHRUN, ["--strategy=fsdp", "--activation_checkpointing=true"]),
    ],
    ids=["ddp", "fsdp"],
)
def test_two_processes_train_as_one(
    launch: list[str],
    strategy: list[str],
    alone: Path,
    arguments: list[str],
    tmp_path: Path,
    repository: Path,
) -> None:
    output = tmp_path / "two"
    command = [*arguments, "--devices=2", *strategy, f"--output={output}"]
    done = run(launch, command, repository)
    assert done.returncode == 0, done.stderr
    assert losses(output) == pytest.approx(losses(alone), rel=1e-5)
    one, two = weights(alone), weights(output)
    assert list(one) == list(two)
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=1e-4, rtol=1e-3)
    assert done.stderr.count("pretraining train: done in") == 1
    again = run(launch, command, repository)
    assert (again.returncode, again.stderr.count("skipped")) == (0, 1)


def test_a_run_goes_on_with_another_number_of_devices(
    alone: Path, arguments: list[str], tmp_path: Path, repository: Path
) -> None:
    output = tmp_path / "moved"
    command = [*arguments, f"--output={output}"]
    script = tmp_path / "killed.py"
    script.write_text(
        "import os, signal, sys\n"
        "import pretraining.train as training\n"
        "from pretraining.__main__ import VERBS\n"
        "from prox.command import main\n"
        "save = training.save_checkpoint\n"
        "def save_and_die(*arguments):\n"
        "    save(*arguments)\n"
        "    if arguments[4]['step'] == 6:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "training.save_checkpoint = save_and_die\n"
        "sys.exit(main('pretraining', VERBS))\n"
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    killed = run(launch, [*command, "--devices=2", "--strategy=fsdp"], repository)
    assert killed.returncode != 0
    assert len(losses(output)) == 6
    done = run(LAUNCH, command, repository)
    assert done.returncode == 0, done.stderr
    assert "continuing after step 6" in done.stderr
    assert losses(output) == pytest.approx(losses(alone), rel=1e-5)


def test_a_batch_that_does_not_divide_is_one_clear_error(
    arguments: list[str], tmp_path: Path, repository: Path
) -> None:
    command = [*arguments, "--devices=3", f"--output={tmp_path / 'three'}"]
    done = run(LAUNCH, command, repository)
    assert done.returncode == 1
    assert "must be a multiple of --micro_batch_size 4 times the 3 devices" in done.stderr
