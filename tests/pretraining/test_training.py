"""Training: exact resume after a kill, and configs that can't work."""

import errno
import json
import math
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from litgpt import Config

import pretraining.train as training
from pretraining.__main__ import VERBS
from pretraining.loader import TokenStream
from pretraining.models import LanguageModel, language_model_loss
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


@pytest.mark.slow
def test_three_kills_change_nothing(train_arguments: list[str], tmp_path: Path, repository: Path) -> None:
    undisturbed, output = tmp_path / "undisturbed", tmp_path / "killed"
    arguments = [*train_arguments, "--max_steps=200", "--save_interval=10"]
    assert run(*arguments, f"--output={undisturbed}") == 0
    kills = random.Random(0)
    for _ in range(3):
        script = KILLED_RUN.format(survive=kills.randint(1, 60))
        command = [sys.executable, "-c", script, *arguments, f"--output={output}"]
        assert subprocess.run(command, cwd=repository, check=False).returncode == -9
    assert 0 < losses(output)[-1][0] < 200
    subprocess.run([sys.executable, "-m", "pretraining", *arguments, f"--output={output}"], cwd=repository, check=True)
    assert losses(output) == losses(undisturbed)
    expected, found = weights(undisturbed), weights(output)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


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
    faulty += ["--beta1=1.5", "--learning_rate=.inf", "--seed=-1"]
    assert run(*faulty, f"--output={tmp_path / 'out'}") == 2
    message = capsys.readouterr().err
    assert "tlm-xl" in message
    assert "tlm-nano, tlm-mini, tlm-xs" in message
    assert "--micro_batch_size 0: must be at least 1" in message
    assert "--beta1 1.5: must be at least 0 and below 1" in message
    assert "--learning_rate inf" in message
    assert "--seed -1" in message
    assert "absent" in message
    assert not (tmp_path / "out").exists()


def test_vocabulary_and_length_are_checked_against_the_shards(
    train_arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*train_arguments, "--shape.vocab_size=400", "--shape.context=100000", f"--output={tmp_path / 'a'}") == 2
    message = capsys.readouterr().err
    assert "tokenizer of 512 tokens" in message
    assert "not one sequence of 100000" in message


def test_validation_and_an_early_stop(
    trained: Path, tokens: Path, train_arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "early"
    options = [f"--validation={tokens}", "--validation_interval=3", "--validation_sequences=5", "--early_stop_step=7"]
    assert run(*train_arguments, *options, "--peak_flops=1e12", f"--output={output}") == 0
    records = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert [record["loss"] for record in records] == [
        loss for _, loss in losses(trained)[:7]
    ]  # the schedule is that of 12
    measured = {record["step"]: record for record in records if "validation_loss" in record}
    assert list(measured) == [3, 6, 7]
    statistics = json.loads((tokens / "stats.json").read_text())
    bytes_per_token = statistics["text_bytes"] / statistics["tokens"]
    model = LanguageModel(Config.from_file(output / "model" / "model_config.yaml"))
    model.load_state_dict(weights(output))
    stream = TokenStream(tokens)
    batch = torch.stack([torch.from_numpy(stream.read(32 * number, 33)) for number in range(5)])
    with torch.no_grad():
        expected = language_model_loss(model, batch).item()
    assert measured[7]["validation_loss"] == pytest.approx(
        expected, rel=1e-2
    )  # measured in bfloat16 where trained in it
    assert measured[7]["validation_bits_per_byte"] == pytest.approx(
        measured[7]["validation_loss"] / math.log(2) / bytes_per_token
    )
    assert 0 < records[-1]["mfu"] < 1
    assert records[-1]["peak_memory_gib"] > 0


def test_a_mixture_trains(tokens: Path, train_arguments: list[str], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tokens, other)
    config = tmp_path / "mixture.yaml"
    config.write_text(f"mixture:\n  - {{tokens: {tokens}, weight: 3}}\n  - {{tokens: {other}}}\n")
    arguments = [argument for argument in train_arguments[1:] if not argument.startswith("--tokens=")]
    assert run("train", "--config", config, *arguments, f"--output={tmp_path / 'out'}") == 0
    last = json.loads((tmp_path / "out" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["epoch"] == pytest.approx(3 * last["epoch_1"], rel=0.1)


def test_a_full_disk_leaves_the_earlier_checkpoint(
    train_arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    output, torch_save, saved = tmp_path / "full", torch.save, []

    def save(content: object, file: object) -> None:
        saved.append(file)
        if len(saved) < 2:
            torch_save(content, file)
        else:
            with Path("/dev/full").open("wb") as full:
                torch_save(content, full)

    monkeypatch.setattr(torch, "save", save)
    assert run(*train_arguments, f"--output={output}") == 1
    assert "no space left" in capsys.readouterr().err
    assert [path.name for path in (output / "checkpoints").iterdir()] == ["step-00000003"]
    monkeypatch.undo()
    caplog.set_level("INFO")
    assert run(*train_arguments, f"--output={output}") == 0
    assert "continuing after step 3" in caplog.text


def test_a_disk_full_at_the_end_costs_no_training(
    trained: Path, train_arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "full"

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "model")

    monkeypatch.setattr(training, "save_model", fail)
    assert run(*train_arguments, f"--output={output}") == 1
    monkeypatch.undo()
    monkeypatch.setattr(training, "optimizer_step", fail)  # nothing is trained again
    assert run(*train_arguments, f"--output={output}") == 0
    assert losses(output) == losses(trained)
    expected, found = weights(trained), weights(output)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    summary = json.loads((output / "_SUCCESS").read_text())["summary"]
    assert (summary["step"], summary["tokens"]) == (12, 3_072)


@pytest.mark.parametrize(
    ("name", "parameters", "steps", "billions"),
    [
        ("tlm_xs", "354,284,800", "12,500", 26.214),
        ("tlm_s", "758,982,144", "12,500", 26.214),
        ("tlm_m", "1,741,785,088", "12,500", 26.214),
        ("pythia_410m", "405,334,016", "50,200", 26.319),
        ("pythia_1b", "1,011,781,632", "50,200", 26.319),
        ("tinyllama_1b", "1,100,048,384", "7,500", 15.729),
        ("llama2_7b", "6,738,415,616", "10,000 of 15,000", 10.486),
        ("codellama_7b", "6,738,546,688", "2,500 of 3,750", 10.486),
        ("mistral_7b", "7,241,732,096", "10,000 of 15,000", 10.486),
    ],
)
def test_plans_of_the_papers_runs_need_no_data(
    name: str,
    parameters: str,
    steps: str,
    billions: float,
    repository: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["train", "--config", repository / f"configs/pretraining/{name}.yaml", "--dry_run=true"]
    assert run(*command, f"--tokens={tmp_path / 'corpus'}", f"--output={tmp_path / 'out'}") == 0
    plan = capsys.readouterr().out
    assert f"parameters: {parameters}\n" in plan
    assert f"steps: {steps}\n" in plan
    tokens = int(re.search(r"tokens to train on: ([\d,]+)", plan)[1].replace(",", ""))
    assert tokens / 1e9 == pytest.approx(billions, abs=1e-3)  # Table 7
    assert "H100" in plan


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
