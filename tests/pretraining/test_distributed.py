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
from prox.ranks import process_rank

LAUNCH = [sys.executable, "-m", "pretraining"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
SHARDED = ["--devices=2", "--strategy=fsdp"]
KILLED_AT = """
import os, signal
import pretraining.train as training
from pretraining.__main__ import VERBS
from prox.command import main

save = training.save_checkpoint
def save_and_die(*arguments):
    save(*arguments)
    if arguments[4]["step"] == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
training.save_checkpoint = save_and_die
main("pretraining", VERBS)
"""
FULL_DISK = """
import sys, torch
from pretraining.__main__ import VERBS
from prox.command import main

torch_save = torch.save
torch.save = lambda content, file: torch_save(content, open("/dev/full", "wb"))
sys.exit(main("pretraining", VERBS))
"""


def run(launch: list[str], arguments: list[str], repository: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(repository)}
    return subprocess.run(
        [*launch, *arguments], cwd=repository, env=environment, capture_output=True, text=True, check=False, timeout=110
    )


def losses(output: Path, name: str = "loss") -> list[float]:
    records = map(json.loads, (output / "metrics.jsonl").read_text().splitlines())
    return [record[name] for record in records if name in record]


def weights(output: Path) -> dict[str, torch.Tensor]:
    return torch.load(output / "model" / "lit_model.pth", weights_only=True)["model"]


@pytest.fixture(scope="module")
def arguments(train_arguments: list[str], tokens: Path) -> list[str]:
    """In float32, where sums in another order are all that differs."""
    validation = [f"--validation={tokens}", "--validation_interval=6", "--validation_sequences=9"]
    return [*train_arguments, *validation, "--accelerator=cpu", "--precision=32-true"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, arguments: list[str]) -> Path:
    """The same training in one process."""
    output = tmp_path_factory.mktemp("alone") / "train"
    assert main("pretraining", VERBS, [*arguments, f"--output={output}"]) == 0
    return output


@pytest.mark.parametrize(
    ("launch", "options"),
    [
        pytest.param(LAUNCH, ["--devices=2", "--micro_batch_size=2"], marks=pytest.mark.slow, id="ddp"),
        pytest.param(
            [*TORCHRUN, "-m", "pretraining"],
            [*SHARDED, "--micro_batch_size=2", "--activation_checkpointing=true"],
            id="fsdp",
        ),
    ],
)
def test_two_processes_train_as_one(
    launch: list[str], options: list[str], alone: Path, arguments: list[str], tmp_path: Path, repository: Path
) -> None:
    output = tmp_path / "two"
    command = [*arguments, *options, f"--output={output}"]
    done = run(launch, command, repository)
    assert done.returncode == 0, done.stderr
    assert losses(output) == pytest.approx(losses(alone), rel=1e-5)
    assert losses(output, "validation_loss") == pytest.approx(losses(alone, "validation_loss"), rel=1e-5)
    one, two = weights(alone), weights(output)
    assert list(one) == list(two)
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=1e-4, rtol=1e-3)
    assert done.stderr.count("pretraining train: done in") == 1
    again = run(launch, command, repository)
    assert (again.returncode, again.stderr.count("skipped")) == (0, 1)


@pytest.mark.slow
def test_two_sharded_processes_compute_in_bfloat16_as_one_does(
    train_arguments: list[str], tmp_path: Path, repository: Path
) -> None:
    command = [*train_arguments, "--accelerator=cpu", "--precision=bf16-mixed"]
    assert main("pretraining", VERBS, [*command, f"--output={tmp_path / 'one'}"]) == 0
    launch = [*TORCHRUN, "-m", "pretraining"]
    hybrid = [*SHARDED, "--sharding=hybrid"]  # on one node: parts as with `full`, on a mesh of two dimensions
    done = run(launch, [*command, *hybrid, f"--output={tmp_path / 'two'}"], repository)
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_devices(
    alone: Path, arguments: list[str], tmp_path: Path, repository: Path
) -> None:
    output, script = tmp_path / "moved", tmp_path / "killed.py"
    command = [*arguments, f"--output={output}"]
    script.write_text(KILLED_AT.format(step=6))
    assert run([*TORCHRUN, str(script)], [*command, *SHARDED], repository).returncode != 0
    script.write_text(KILLED_AT.format(step=9))
    assert run([sys.executable, str(script)], command, repository).returncode == -9
    assert len(losses(output)) == 9
    done = run(LAUNCH, [*command, *SHARDED], repository)
    assert done.returncode == 0, done.stderr
    assert "continuing after step 9" in done.stderr
    assert losses(output) == pytest.approx(losses(alone), rel=1e-5)


@pytest.mark.slow
def test_a_full_disk_ends_all_processes(arguments: list[str], tmp_path: Path, repository: Path) -> None:
    script = tmp_path / "full.py"
    script.write_text(FULL_DISK)
    command = [*arguments, "--devices=2", f"--output={tmp_path / 'full'}"]
    done = run([sys.executable, str(script)], command, repository)
    assert done.returncode != 0
    assert "no space left" in done.stderr
    assert not list((tmp_path / "full/checkpoints").iterdir())


@pytest.mark.slow
def test_a_launcher_at_odds_with_the_config_is_one_clear_error(
    arguments: list[str], tmp_path: Path, repository: Path
) -> None:
    done = run([*TORCHRUN, "-m", "pretraining"], [*arguments, f"--output={tmp_path / 'one'}"], repository)
    assert done.returncode != 0
    assert "2 processes were launched, but --devices 1 times --num_nodes 1" in done.stderr


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({}, 0),
        ({"RANK": "3", "LOCAL_RANK": "0"}, 3),
        ({"SLURM_PROCID": "2"}, 2),
        ({"LOCAL_RANK": "1"}, 1),
        ({"NODE_RANK": "1"}, 1),
        ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, 1),
        ({"NODE_RANK": "0", "LOCAL_RANK": "0"}, 0),
    ],
)
def test_ranks_are_known_before_any_library_is_told(
    environment: dict[str, str], rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert process_rank() == rank


def test_a_batch_that_does_not_divide_is_one_clear_error(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("pretraining", VERBS, [*arguments, "--devices=3", f"--output={tmp_path / 'three'}"]) == 1
    assert "must be a multiple of --micro_batch_size 4 times the 3 devices" in capsys.readouterr().err
