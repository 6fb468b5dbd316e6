"""The benchmarks run, on few documents; what they say of speed is not judged here."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from benchmarks import fine_tuning, language, refiners
from prox.dialogue import Dialogue
from prox.engines import EngineConfig, load_engine
from tests.conftest import REPOSITORY


def test_the_benchmark_of_the_language_gives_a_row_for_each_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = tmp_path / "pages.jsonl"
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    pages.write_text("".join(json.dumps({"text": text[begin:]}) + "\n" for begin in (0, 500, 1_000)), encoding="utf-8")
    options = ["--pages", str(pages), "--vocabulary", "400", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", ["language.py", *options])
    language.main()
    rows = re.findall(r"^\| (.+), \S+ \| ([\d,]+) \| (.+): ([\d,]+) \| ([\d.]+) \|$", capsys.readouterr().out, re.M)
    assert [(row[0], row[2]) for row in rows] == [
        ("chunking by tokens", "line by line"),
        ("chunking and prompt ids", "line by line, then prompts"),
        ("parse + execute", "split and replace"),
    ]


def test_the_benchmark_of_the_document_stage_compares_three_ways(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = tmp_path / "pages.jsonl"
    pages.write_text("".join(json.dumps({"text": "words " * number}) + "\n" for number in (3, 30, 900)))
    options = ["--pages", str(pages), "--refiner", str(tiny_checkpoint), "--engine", "local", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", ["refiners.py", "document", *options])
    refiners.main()
    rows = re.findall(r"^\| (\w+) \| [\d.,]+ \| [\d.,]+ \| [\d.]+ \| \d/3 \|$", capsys.readouterr().out, re.M)
    assert rows == ["decoded", "published"]


def test_the_benchmark_of_kinds_reads_the_same_pages(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pages, tagger = tmp_path / "pages.jsonl", tmp_path / "tagger"
    pages.write_text("".join(json.dumps({"text": "Home\nThe river. " * number}) + "\n" for number in (1, 2, 30)))
    shutil.copytree(tiny_checkpoint, tagger)
    Dialogue(kind="tagger", layout="plain", system="").save(tagger)
    options = ["--pages", str(pages), "--refiner", str(tiny_checkpoint), "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", ["refiners.py", "kinds", *options, "--tagger", str(tagger)])
    refiners.main()
    rows = re.findall(r"^\| (\w+) \|.*\| ([\d.]+) \| (-|\d+%) \|$", capsys.readouterr().out, re.M)
    assert [(kind, share == "-") for kind, _, share in rows] == [("generative", True), ("tagger", False)]
    assert rows[0][1] == "1.00"


def test_the_benchmark_of_fine_tuning_compares_equal_losses(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--base", str(tiny_checkpoint), "--context", "64", "--batch", "2", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", ["fine_tuning.py", *options])
    fine_tuning.main()
    assert re.search(r"^\| answers alone \| [\d,]+ \| [\d,]+ \| [\d.]+ \|$", capsys.readouterr().out, re.M)


@pytest.mark.vllm
@pytest.mark.timeout(400)
def test_the_benchmark_of_engines_compares_their_programs(
    tmp_path: Path,
    tiny_checkpoint: Path,
    vllm_server: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],  # vLLM wants a standard output with a file descriptor
) -> None:
    pages = tmp_path / "pages.jsonl"
    pages.write_text("".join(json.dumps({"text": "Home\nThe river. " * number}) + "\n" for number in (1, 2, 3)))
    options = ["--pages", str(pages), "--refiner", str(tiny_checkpoint), "--repeats", "1", "--chunks", "2"]
    monkeypatch.setattr(sys, "argv", ["refiners.py", "engines", *options, "--server", vllm_server])
    refiners.main()
    out = capfd.readouterr().out
    assert "3 documents, 2 chunks" in out
    rows = re.findall(r"^\| (\w+) \| [\d.,]+ \| [\d.,]+ \| [\d.]+ \| (\d)/2 \| (-|[\d.]+) \|$", out, re.M)
    assert [row[0] for row in rows] == ["vllm", "server"]
    # Random weights write what no tokenizer would encode so: how wide a margin is says nothing here.
    assert all((same == "2") == (margin == "-") for _, same, margin in rows)


def test_the_margin_of_two_answers_is_that_of_their_first_difference(tiny_checkpoint: Path) -> None:
    engine = load_engine(EngineConfig(), str(tiny_checkpoint))
    prompt = engine.tokenizer.encode("A river is")
    end, one, other = (engine.tokenizer.encode(text, add_special_tokens=False) for text in ("remove", "remove x", "y"))
    longer = engine.choose([prompt + end], [engine.tokenizer.eos_token_id, one[len(end)]])[0]
    assert refiners.margin_of(engine, prompt, "remove", "remove x") == pytest.approx(abs(longer[0] - longer[1]))
    first = engine.choose([prompt], [end[0], other[0]])[0]
    assert refiners.margin_of(engine, prompt, "remove", "y") == pytest.approx(abs(first[0] - first[1]))
