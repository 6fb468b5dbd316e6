"""The document, chunk and rule steps on a tiny random model, through the real command line."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from prox.artifact import SUCCESS
from prox.command import main
from prox.units import LEDGER, iterate_documents, read_rows, source_hash, unit_files
from refinement.__main__ import VERBS

DOCUMENT = ["--max_prompt_tokens", "200"]
CHUNK = ["--window", "200", "--max_new_tokens", "12", "--refiner.dialogue.layout", "plain"]


@pytest.fixture
def units(tmp_path: Path, corpus: Path) -> Path:
    """The corpus in units of 4 documents."""
    output = tmp_path / "ingest"
    arguments = ["ingest", "--corpus.path", str(corpus), "--documents_per_unit", "4", "--output", str(output)]
    assert main("refinement", VERBS, arguments) == 0
    return output


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

    from prox.dialogue import Dialogue

    assert refine("document", units, tiny_checkpoint, tmp_path / "out", *DOCUMENT) == 0
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint).eval()
    keep, drop = (tokenizer.encode(answer, add_special_tokens=False) for answer in ("keep_doc()", "drop_doc()"))
    dialogue = Dialogue()
    for document, row in zip(iterate_documents(units), ledger(tmp_path / "out"), strict=True):
        prompt = dialogue.encode(dialogue.document_text(document.text, tokenizer, 200), tokenizer)
        with torch.inference_mode():
            logits = model(torch.tensor([prompt])).logits[0, -1]
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
    (output / "documents" / "00001.parquet").unlink()
    (output / "documents" / ".00002.parquet.1.tmp").write_bytes(b"half")
    (output / "documents" / "00002.parquet").unlink()  # completed, but lost since
    untouched = (output / "documents" / "00000.parquet").stat().st_mtime_ns
    assert refine("chunk", units, tiny_checkpoint, output, *CHUNK) == 0
    assert contents(output) == before
    assert (output / "documents" / "00000.parquet").stat().st_mtime_ns == untouched


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


def test_window_that_does_not_fit_names_what_would(
    tmp_path: Path, units: Path, tiny_checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert refine("chunk", units, tiny_checkpoint, tmp_path / "out", "--window", "600", "--max_new_tokens", "50") == 1
    error = capfd.readouterr().err
    assert "--window 600" in error
    assert "context of 512: set --window to at most" in error
    assert "Traceback" not in error, "datatrove must not print its own"
    assert not (tmp_path / "out" / SUCCESS).exists()


def test_unusable_inputs_are_all_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["document", "--documents", str(tmp_path / "no"), "--output", str(tmp_path / "out"), "--workers", "0"]
    assert main("refinement", VERBS, [*arguments, "--refiner.checkpoint", "./nothing", "--threshold", "2"]) == 2
    error = capsys.readouterr().err
    for part in ("--documents", "--workers 0", "--refiner.checkpoint ./nothing", "--threshold 2"):
        assert part in error
    assert not (tmp_path / "out").exists()


def rules(units: Path, output: Path, filters: list[dict], *more: str) -> int:
    config = output.with_suffix(".yaml")
    config.write_text(json.dumps({"filters": filters}))
    options = ["--config", str(config), "--documents", str(units), "--output", str(output)]
    return main("refinement", VERBS, ["rules", *options, *more])


def test_rules_drop_with_datatroves_reason(tmp_path: Path, units: Path) -> None:
    filters = [{"name": "gopher_repetition"}, {"name": "gopher_quality", "options": {"min_doc_words": 20}}]
    assert rules(units, tmp_path / "out", filters) == 0
    counts = stats(tmp_path / "out")
    assert counts["documents"] == counts["kept"] + counts["dropped"] == 10
    assert counts["dropped_by_reason"]["gopher_repetition: dup_line_frac"] == 1
    dropped = [row for file in unit_files(tmp_path / "out", "dropped") for row in read_rows(file)]
    assert "filter_reason" not in dropped[0]["metadata"]


def test_two_workers_write_what_one_writes(tmp_path: Path, units: Path) -> None:
    filters = [{"name": "c4_quality", "options": {"min_num_sentences": 1}}]
    assert rules(units, tmp_path / "one", filters) == 0
    assert rules(units, tmp_path / "two", filters, "--workers", "2") == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_rule_with_an_unknown_option(tmp_path: Path, units: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rules(units, tmp_path / "out", [{"name": "c4_quality", "options": {"sentences": 1}}]) == 1
    assert "--filters[0].options of c4_quality" in capsys.readouterr().err


def test_a_rule_that_fails_on_a_document_keeps_it(tmp_path: Path, units: Path) -> None:
    assert rules(units, tmp_path / "out", [{"name": "gopher_quality", "options": {"min_doc_words": "many"}}]) == 0
    assert stats(tmp_path / "out")["kept"] == 10
    assert stats(tmp_path / "out")["kept_because_the_rule_failed"] == {"gopher_quality": 10}


def test_stats_of_the_arms(
    tmp_path: Path, units: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rules(units, tmp_path / "rules", [{"name": "gopher_repetition"}]) == 0
    arguments = ["--arms.rules", str(tmp_path / "rules"), "--arms.raw", str(units), "--tokenizer", str(tiny_checkpoint)]
    assert main("refinement", VERBS, ["stats", *arguments, "--output", str(tmp_path / "out")]) == 0
    found = stats(tmp_path / "out")
    texts = [document.text for document in iterate_documents(units)]
    assert found["arms"]["raw"]["documents"] == 10
    assert found["arms"]["raw"]["bytes"] == sum(len(text.encode()) for text in texts)
    assert found["shares"]["raw"]["tokens"] == 1.0 > found["shares"]["rules"]["tokens"] > 0
    assert "rules" in capsys.readouterr().out


def test_units_read_back_with_datatrove(units: Path) -> None:
    from datatrove.pipeline.readers import ParquetReader

    documents = list(ParquetReader(str(units / "documents")).run())
    assert [document.id for document in documents] == [document.id for document in iterate_documents(units)]
    assert pq.read_schema(unit_files(units)[0]).names == ["id", "text", "metadata"]
    shutil.rmtree(units)
