"""The document and chunk steps on a tiny random model, through the real command line."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from prox.artifact import SUCCESS
from prox.command import main, settings_of
from prox.engines import EngineConfig
from prox.units import LEDGER, iterate_documents, read_rows, source_hash, unit_files
from refinement.__main__ import VERBS
from refinement.configs import ChunkConfig

DOCUMENT = ["--max_prompt_tokens", "200"]
CHUNK = ["--window", "200", "--max_new_tokens", "12", "--refiner.dialogue.layout", "plain"]


def contents(folder: Path) -> dict[str, bytes]:
    kinds = ("documents", "dropped", "ledger")
    files = [file for kind in kinds for file in unit_files(folder, kind)] + [folder / "stats.json"]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def refine(verb: str, units: Path, checkpoint: Path, output: Path, *more: str) -> int:
    options = ["--documents", str(units), "--refiner.checkpoint", str(checkpoint), "--output", str(output)]
    return main("refinement", VERBS, [verb, *options, *more])


def ledger(output: Path) -> list[dict]:
    return [row for file in unit_files(output, LEDGER) for row in read_rows(file)]


def stats(output: Path) -> dict:
    return json.loads((output / "stats.json").read_text())


def test_document_stage_keeps_by_probability(tmp_path: Path, units: Path, tiny_checkpoint: Path) -> None:
    assert refine("document", units, tiny_checkpoint, tmp_path / "out", *DOCUMENT) == 0
    rows = ledger(tmp_path / "out")
    source = {document.id: document.text for document in iterate_documents(units)}
    assert [row["id"] for row in rows] == list(source)
    assert all(row["source_hash"] == source_hash(source[row["id"]]) for row in rows)
    assert all(row["decision"] == ("keep" if row["p_keep"] >= 0.5 else "drop") for row in rows)
    assert [row["id"] for row in rows if row["truncated"]] == ["d8", "d9"]
    kept = [document.id for document in iterate_documents(tmp_path / "out")]
    assert kept == [row["id"] for row in rows if row["decision"] == "keep"]
    middle = str(sorted(row["p_keep"] for row in rows)[5])
    assert refine("document", units, tiny_checkpoint, tmp_path / "half", *DOCUMENT, "--threshold", middle) == 0
    assert stats(tmp_path / "half")["kept"] == 5
    assert stats(tmp_path / "half")["dropped_by_reason"] == {"drop_doc": 5}
    dropped = [row["id"] for file in unit_files(tmp_path / "half", "dropped") for row in read_rows(file)]
    assert sorted([*dropped, *(document.id for document in iterate_documents(tmp_path / "half"))]) == sorted(source)


def test_document_probability_is_the_models_own(tmp_path: Path, units: Path, tiny_checkpoint: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from prox.dialogue import Dialogue, PromptRenderer

    assert refine("document", units, tiny_checkpoint, tmp_path / "out", *DOCUMENT) == 0
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint).eval()
    keep, drop = (tokenizer.encode(answer, add_special_tokens=False) for answer in ("keep_doc()", "drop_doc()"))
    renderer = PromptRenderer(Dialogue(), tokenizer, 200)
    for document, row in zip(iterate_documents(units), ledger(tmp_path / "out"), strict=True):
        (prompt,) = renderer.documents([document.text])
        with torch.inference_mode():
            logits = model(torch.tensor([prompt.ids])).logits[0, -1]
        assert row["p_keep"] == pytest.approx(float(logits[[keep[0], drop[0]]].softmax(0)[0]), abs=1e-5)


def test_unreadable_answers_keep_the_document(tmp_path: Path, units: Path, tiny_checkpoint: Path) -> None:
    assert refine("document", units, tiny_checkpoint, tmp_path / "out", *DOCUMENT, "--decision", "generate") == 0
    assert stats(tmp_path / "out")["kept"] == stats(tmp_path / "out")["unreadable"] == 10
    assert all(row["p_keep"] is None and not row["readable"] for row in ledger(tmp_path / "out"))


def test_chunk_stage_records_every_chunk(tmp_path: Path, units: Path, tiny_checkpoint: Path) -> None:
    assert refine("chunk", units, tiny_checkpoint, tmp_path / "out", *CHUNK) == 0
    rows = {row["id"]: row for row in ledger(tmp_path / "out")}
    source = {document.id: document.text for document in iterate_documents(units)}
    for identity, row in rows.items():
        lines = source[identity].split("\n")
        spans = [(chunk["first_line"], chunk["num_lines"]) for chunk in row["chunks"]]
        assert sum(count for _, count in spans) == len(lines)
        assert [first for first, _ in spans] == [sum(count for _, count in spans[:n]) for n in range(len(spans))]
    assert len(rows["d8"]["chunks"]) > 1
    assert rows["d9"]["chunks"][0]["skipped"]
    assert rows["d9"]["chunks"][0]["reason"] == "longer_than_window"
    # A random model writes no programs: every document comes out as it went in.
    assert {document.id: document.text for document in iterate_documents(tmp_path / "out")} == source
    assert stats(tmp_path / "out")["ledger"]["documents"] == {"unchanged": 10}


def test_a_lost_unit_is_made_again_and_nothing_else(tmp_path: Path, units: Path, tiny_checkpoint: Path) -> None:
    output = tmp_path / "out"
    assert refine("chunk", units, tiny_checkpoint, output, *CHUNK) == 0
    before = contents(output)
    (output / SUCCESS).unlink()
    (output / "tasks" / "completions" / "00001").unlink()  # killed within unit 1: the ledger is written, the rest not
    (output / "documents" / "00000-000001.parquet").unlink()
    (output / "documents" / ".00000-000002.parquet.1.tmp").write_bytes(b"half")
    (output / "documents" / "00000-000002.parquet").unlink()  # completed, but lost since
    untouched = (output / "documents" / "00000-000000.parquet").stat().st_mtime_ns
    assert refine("chunk", units, tiny_checkpoint, output, *CHUNK) == 0
    assert contents(output) == before
    assert not list(output.glob("*/.*.tmp"))
    assert (output / "documents" / "00000-000000.parquet").stat().st_mtime_ns == untouched


def test_killed_run_ends_with_the_same_bytes(
    tmp_path: Path, units: Path, tiny_checkpoint: Path, repository: Path
) -> None:
    options = ["--documents", str(units), "--refiner.checkpoint", str(tiny_checkpoint), "--max_new_tokens", "120"]
    command = ["chunk", *options, *CHUNK[:2], *CHUNK[4:], "--documents_per_batch", "1"]
    arguments = [sys.executable, "-m", "refinement", *command, "--output", str(tmp_path / "out")]
    process = subprocess.Popen(
        arguments, cwd=repository, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    while not unit_files(tmp_path / "out") and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / SUCCESS).exists()
    assert main("refinement", VERBS, [*command, "--output", str(tmp_path / "out")]) == 0
    assert main("refinement", VERBS, [*command, "--output", str(tmp_path / "undisturbed")]) == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")


def test_window_that_does_not_fit_is_lowered(
    tmp_path: Path, units: Path, tiny_checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = ["--refiner.dialogue.layout", "plain", "--refiner.dialogue.system", ""]
    asked = [*options, "--window", "1500", "--max_new_tokens", "256"]
    assert refine("chunk", units, tiny_checkpoint, tmp_path / "asked", *asked) == 0
    (line,) = [record.message for record in caplog.records if "is lowered to" in record.message]  # of three units
    used = re.fullmatch(
        r"refinement chunk: --window 1500 is lowered to (\d+), --max_new_tokens 256 is lowered to 128: "
        "the refiner's context is 512",
        line,
    )
    assert used
    assert 330 < int(used[1]) < 512 - 128
    fitting = [*options, "--window", used[1], "--max_new_tokens", "128"]
    assert refine("chunk", units, tiny_checkpoint, tmp_path / "used", *fitting) == 0
    assert contents(tmp_path / "asked") == contents(tmp_path / "used")


def test_a_short_answer_is_not_lowered_with_the_window(
    tmp_path: Path, units: Path, tiny_checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = ["--window", "600", "--max_new_tokens", "3", "--refiner.dialogue.layout", "plain"]
    assert refine("chunk", units, tiny_checkpoint, tmp_path / "out", *options) == 0
    assert "max_new_tokens" not in caplog.text
    assert "--window 600 is lowered to" in caplog.text


def test_a_frame_that_leaves_no_window_is_refused(
    tmp_path: Path, units: Path, tiny_checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # The context holds the frame and an answer of a quarter of it, and a few tokens more.
    system = ["--refiner.dialogue.layout", "plain", "--refiner.dialogue.system", "Q" * 370]
    assert refine("chunk", units, tiny_checkpoint, tmp_path / "out", *system) == 1
    error = capfd.readouterr().err
    assert "context of 512 tokens has no room for chunks" in error
    assert "Traceback" not in error, "datatrove must not print its own"
    assert not (tmp_path / "out" / SUCCESS).exists()


def test_a_prompt_length_that_does_not_fit_is_lowered_and_said_once(
    tmp_path: Path, units: Path, tiny_checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert refine("document", units, tiny_checkpoint, tmp_path / "out", "--max_prompt_tokens", "1999") == 0
    assert caplog.text.count("--max_prompt_tokens 1999 is lowered to 511: the refiner's context is 512") == 1


def test_unusable_inputs_are_all_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["document", "--documents", str(tmp_path / "no"), "--output", str(tmp_path / "out"), "--workers", "0"]
    assert main("refinement", VERBS, [*arguments, "--refiner.checkpoint", "./nothing", "--threshold", "2"]) == 2
    error = capsys.readouterr().err
    for part in ("--documents", "--workers 0", "--refiner.checkpoint ./nothing", "--threshold 2"):
        assert part in error
    assert not (tmp_path / "out").exists()


def test_units_read_back_with_datatrove(units: Path) -> None:
    from datatrove.pipeline.readers import ParquetReader

    documents = list(ParquetReader(str(units / "documents")).run())
    assert [document.id for document in documents] == [document.id for document in iterate_documents(units)]
    assert pq.read_schema(unit_files(units)[0]).names == ["id", "text", "metadata"]
    shutil.rmtree(units)


def test_how_the_engine_runs_leaves_work_valid() -> None:
    before = ChunkConfig(output=Path("x"))
    elsewhere = ChunkConfig(
        output=Path("x"),
        engine=EngineConfig(kind="vllm", device="cuda", batch_size=3),
        documents_per_batch=7,
        workers=2,
    )
    assert (settings_of(elsewhere), elsewhere.input_marks()) == (settings_of(before), before.input_marks())
    for engine in (EngineConfig(dtype="bfloat16"), EngineConfig(max_context=256)):
        assert ChunkConfig(output=Path("x"), engine=engine).input_marks() != before.input_marks()
    assert settings_of(ChunkConfig(output=Path("x"), window=7)) != settings_of(before)
