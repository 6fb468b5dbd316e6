"""Refiners out of labelled pages alone, at the smallest scale: run, run again, and asked about pages."""

import json
import random
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from prox.confusion import removed_lines
from prox.program import parse_program

pytestmark = [pytest.mark.chain, pytest.mark.timeout(1500)]
MENU = ["Home", "About us", "Log in", "Share this page", "© 2020 Example", "Next >"]
PROSE = [
    "Rivers are fed by rain, springs and melting snow, and many of them end in a sea.",
    "Photosynthesis converts the energy of light into chemical energy that a plant can store.",
    "Basalt is a dark rock that cools from lava, and covers most of the floor of the oceans.",
]


def write_pages(path: Path, number: int, seed: int) -> None:
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8") as out:
        for page in range(number):
            head, body, foot = draw.choices(MENU, k=6), draw.choices(PROSE, k=8), draw.choices(MENU, k=4)
            lines = [*head, *(f"{line} ({draw.randrange(10**6)})" for line in body), *foot]
            noise = [*range(6), *range(14, 18)]
            row = {"id": f"{path.stem}-{page}", "text": "\n".join(lines), "noise_lines": noise, "open_lines": [6]}
            out.write(json.dumps(row) + "\n")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    for seed, (name, number) in enumerate({"train": 40, "valid": 8, "test": 6, "raw": 12, "drop": 20}.items()):
        write_pages(folder / f"{name}.jsonl", number, seed)
    return folder


def run(
    repository: Path,
    pages: Path,
    output: Path,
    kind: str,
    names: Sequence[str],
    training: Sequence[str] = (),
    teacher: Sequence[str | Path] = (),
) -> str:
    command = [repository / "scripts/run_from_labels.sh", "--output", output, "--ambiguous_lines_column", "open_lines"]
    command += ["--kind", kind, *teacher]
    for name in names:
        command += [f"--{name}", pages / f"{name}.jsonl"]
    command += ["--", *training]
    done = subprocess.run(
        command, env={"SCALE": "labels_pico", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


ALL = ("train", "valid", "test", "raw", "drop")


def test_a_tagger_out_of_labelled_pages(repository: Path, pages: Path, tmp_path: Path) -> None:
    training = ["--num_epochs", "12", "--learning_rate", "1e-2", "--min_learning_rate", "1e-3"]
    teacher = ["--teacher", "trees", "--unlabelled", pages / "raw.jsonl"]
    run(repository, pages, tmp_path / "out", "tagger", ALL[:3], training, teacher)
    chunk = tmp_path / "out/adaptation/chunk"
    taught = [json.loads(line) for line in (chunk / "examples/train.jsonl").read_text().splitlines()]
    assert all(len(row["teacher"]) == len(row["verdicts"]) for row in taught)
    # Of the pages for the teacher alone the file has labels, too, which count where they are there.
    assert {row["id"].partition("-")[0] for row in taught} == {"train", "raw"}
    dialogue = json.loads((chunk / "refiner/dialogue.json").read_text())
    assert (dialogue["kind"], dialogue["max_line_characters"]) == ("tagger", 60)
    metrics = json.loads((chunk / "test/metrics.json").read_text())["checkpoints"][0]
    assert metrics["dialogue"]["remove_threshold"] == dialogue["remove_threshold"]  # chosen on the valid pages
    assert metrics["f1"] > 0.9 > metrics["baselines"]["remove_all"]["f1"]  # menus and prose are soon told apart


def test_refiners_out_of_labelled_pages(repository: Path, pages: Path, tmp_path: Path) -> None:
    first = run(repository, pages, tmp_path / "out", "generative", ALL)
    chunk, document = (tmp_path / "out/adaptation" / task for task in ("chunk", "document"))
    dialogue = json.loads((chunk / "refiner/dialogue.json").read_text())
    assert (dialogue["numbering"], dialogue["max_line_characters"]) == ("chunk", 60)
    assert dialogue["max_prompt_tokens"] < 768 - dialogue["max_new_tokens"]
    assert "line labels" in (chunk / "refiner/README.md").read_text()
    assert (document / "refiner/model.safetensors").is_file()

    metrics = json.loads((chunk / "test/metrics.json").read_text())["checkpoints"][0]
    assert metrics["num_documents"] == 6
    predictions = [json.loads(line) for line in (chunk / "test/checkpoint/predictions.jsonl").read_text().splitlines()]
    references = [(row["first_line"], parse_program(row["reference"])) for row in predictions]
    assert sum(len(removed_lines(program, first_line, 18)) for first_line, program in references) == 6 * 10

    verdicts = [json.loads(line)["text"] for line in (chunk / "examples/documents.jsonl").read_text().splitlines()]
    assert all(re.match(r"\[doc\]\n\[000\]", text) for text in verdicts)

    again = run(repository, pages, tmp_path / "out", "generative", ALL)
    assert len(re.findall("skipped", again)) == len(re.findall("^== ", first, re.MULTILINE)) > 20
