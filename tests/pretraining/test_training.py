"""Training: exact resume after a kill, and configs that can't work."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pretraining.__main__ import VERBS
from prox.command import main

KILLED_RUN = """
import os, signal, sys
import pretraining.train as training
from pretraining.__main__ import VERBS
from prox.command import main

steps, original = 0, training.optimizer_step
def step_or_die(*arguments):
    global steps
    steps += 1
    if steps > {survive}:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)
training.optimizer_step = step_or_die
sys.exit(main("pretraining", VERBS, sys.argv[1:]))
"""


def run(*arguments: object) -> int:
    return main("pretraining", VERBS, [str(argument) for argument in arguments])


def losses(output: Path) -> list[tuple[int, float]]:
    records = map(json.loads, (output / "metrics.jsonl").read_text().splitlines())
    return [(record["step"], record["loss"]) for record in records]


def weights(output: Path) -> dict[str, torch.Tensor]:
    return torch.load(output / "model" / "lit_model.pth", weights_only=True)["model"]


def test_loss_starts_at_ignorance_and_falls(trained: Path) -> None:
    curve = losses(trained)
    assert [step for step, _ in curve] == list(range(1, 13))
    assert curve[0][1] == pytest.approx(math.log(512), abs=0.4)
    assert curve[-1][1] < curve[0][1] - 0.5
    assert (trained / "model" / "model_config.yaml").is_file()


def test_killed_run_ends_with_the_same_losses_and_weights(
    trained: Path, train_arguments: list[str], tmp_path: Path, repository: Path
) -> None:
    output = tmp_path / "killed"
    command = [*train_arguments, f"--output={output}"]
    killed = subprocess.run([sys.executable, "-c", KILLED_RUN.format(survive=8), *command], cwd=repository, check=False)
    assert killed.returncode == -9
    assert [step for step, _ in losses(output)] == list(range(1, 9))
    assert [path.name for path in (output / "checkpoints").glob("step-*")] == ["step-00000006"]
    (output / "checkpoints" / ".step-00000009.tmp").mkdir()  # what a kill in the middle of saving leaves
    subprocess.run([sys.executable, "-m", "pretraining", *command], cwd=repository, check=True)
    assert losses(output) == losses(trained)
    undisturbed, resumed = weights(trained), weights(output)
    assert all(torch.equal(undisturbed[name], resumed[name]) for name in undisturbed)


def test_init_from_continues_with_the_earlier_weights(
    trained: Path, train_arguments: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "continued"
    assert run(*train_arguments, f"--init_from={trained}", f"--output={output}") == 0
    assert losses(output)[0][1] == pytest.approx(losses(trained)[-1][1], abs=0.5)


def test_init_from_another_architecture_is_one_clear_error(
    trained: Path, train_arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = ["--shape.n_layer=1", "--shape.n_head=2", "--shape.rope_base=500"]  # the last two fit every weight
    command = [*train_arguments, *others, f"--init_from={trained}", f"--output={tmp_path / 'other'}"]
    assert run(*command) == 1
    message = capsys.readouterr().err
    assert "another architecture" in message
    assert all(part in message for part in ("n_layer is 2, not 1", "n_head is 4, not 2", "rope_base is 10000, not 500"))


def test_every_fault_of_a_config_is_reported_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faulty = ["train", "--model=tlm-xl", "--micro_batch_size=0", f"--tokens={tmp_path / 'absent'}"]
    assert run(*faulty, f"--output={tmp_path / 'out'}") == 2
    message = capsys.readouterr().err
    assert "tlm-xl" in message
    assert "tlm-nano, tlm-mini, tlm-xs" in message
    assert "--micro_batch_size 0" in message
    assert "absent" in message
    assert not (tmp_path / "out").exists()


def test_vocabulary_and_length_are_checked_against_the_shards(
    train_arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*train_arguments, "--shape.vocab_size=400", "--shape.context=100000", f"--output={tmp_path / 'a'}") == 2
    message = capsys.readouterr().err
    assert "tokenizer of 512 tokens" in message
    assert "not one sequence of 100000" in message


def test_several_cpu_devices_are_refused(
    train_arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*train_arguments, "--accelerator=cpu", "--devices=2", f"--output={tmp_path / 'a'}") == 2
    assert "--devices 2 needs CUDA" in capsys.readouterr().err


def test_dry_run_prints_the_plan_and_runs_nothing(
    train_arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*train_arguments, "--dry_run=true", f"--output={tmp_path / 'a'}") == 0
    plan = capsys.readouterr().out
    assert "tokens to train on: 3,072" in plan
    assert "estimated FLOPs" in plan
    assert not (tmp_path / "a").exists()


def test_throughput_measures_the_same_model(train_arguments: list[str], tmp_path: Path) -> None:
    arguments = [part for part in train_arguments[1:] if not part.startswith("--tokens=")]
    assert run("throughput", *arguments, "--measured_steps=2", f"--output={tmp_path / 'speed'}") == 0
    result = json.loads((tmp_path / "speed" / "throughput.json").read_text())
    assert result["tokens_per_second"] > 0
    assert 0 < result["share_of_ceiling"] < 1
