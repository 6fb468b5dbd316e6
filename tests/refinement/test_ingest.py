"""Cutting a corpus into units."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prox.command import main
from prox.units import iterate_documents, read_rows, unit_files
from refinement.__main__ import VERBS


def ingest(source: Path, output: Path, *more: str) -> int:
    return main("refinement", VERBS, ["ingest", "--corpus.path", str(source), "--output", str(output), *more])


def contents(folder: Path) -> dict[str, bytes]:
    """The data files of an artefact, without the logs of the run."""
    kinds = ("documents", "dropped", "ledger")
    files = [file for kind in kinds for file in unit_files(folder, kind)] + [folder / "stats.json"]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_units_have_a_fixed_size_and_the_same_bytes_every_time(tmp_path: Path, corpus: Path) -> None:
    assert ingest(corpus, tmp_path / "a", "--documents_per_unit", "4") == 0
    assert ingest(corpus, tmp_path / "b", "--documents_per_unit", "4") == 0
    assert [len(list(read_rows(file))) for file in unit_files(tmp_path / "a")] == [4, 4, 2]
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert [document.id for document in iterate_documents(tmp_path / "a")] == [f"d{n}" for n in range(10)]


def test_repeated_ids_and_bad_records(tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    ids = ["x", "x", "x#2", "x"]
    source.write_text("".join(json.dumps({"id": name, "text": "t"}) + "\n" for name in ids) + "broken\n{}\n")
    assert ingest(source, tmp_path / "out") == 0
    assert [document.id for document in iterate_documents(tmp_path / "out")] == ["x", "x#2", "x#2#2", "x#3"]
    (dropped,) = unit_files(tmp_path / "out", "dropped")
    assert [row["id"] for row in read_rows(dropped)] == ["a.jsonl/4", "a.jsonl/5"]
    stats = json.loads((tmp_path / "out" / "stats.json").read_text())
    assert (stats["documents"], stats["duplicate_ids"], stats["left_out"]) == (4, 3, 2)
    assert stats["left_out_by_reason"] == {"not a JSON object": 1, "no 'text' in the record": 1}


def test_empty_corpus_is_not_committed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "a.jsonl"
    source.write_text('{"text": ""}\n')
    assert ingest(source, tmp_path / "out") == 1
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    assert "holds no document; left out: {'empty text': 1}" in capsys.readouterr().err


def test_wrong_column_exits_with_2_before_anything_is_written(tmp_path: Path, corpus: Path) -> None:
    assert ingest(corpus, tmp_path / "out", "--corpus.text_column", "body") == 2
    assert not (tmp_path / "out").exists()


def test_full_disk_leaves_no_unit(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow.parquet as pq

    class FullDisk(pq.ParquetWriter):
        def __init__(self, _: Path, *arguments: object, **options: object) -> None:
            super().__init__(full, *arguments, **options)

    full = tmp_path / "full"
    full.symlink_to("/dev/full")  # a link, because pyarrow deletes what it could not write
    with monkeypatch.context() as patch:
        patch.setattr(pq, "ParquetWriter", FullDisk)
        assert ingest(corpus, tmp_path / "out") == 1
    assert "no space left" in capsys.readouterr().err
    assert unit_files(tmp_path / "out") == []
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    assert ingest(corpus, tmp_path / "out") == 0


def test_killed_ingest_ends_with_the_same_bytes(tmp_path: Path, repository: Path) -> None:
    source = tmp_path / "a.jsonl"
    source.write_text("".join(json.dumps({"text": f"Document number {n}. " * 20}) + "\n" for n in range(20_000)))
    arguments = ["ingest", "--corpus.path", str(source), "--documents_per_unit", "50"]
    command = [sys.executable, "-m", "refinement", *arguments, "--output", str(tmp_path / "out")]
    process = subprocess.Popen(
        command, cwd=repository, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    while not unit_files(tmp_path / "out") and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    assert main("refinement", VERBS, [*arguments, "--output", str(tmp_path / "out")]) == 0
    assert main("refinement", VERBS, [*arguments, "--output", str(tmp_path / "undisturbed")]) == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")
    shutil.rmtree(tmp_path)


def test_files_that_are_not_read_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "pages.jsonl").write_text(json.dumps({"text": "A page."}) + "\n")
    (folder / "notes.txt").write_text("A note.")
    options = ["ingest", "--corpus.path", str(folder), "--output", str(tmp_path / "out")]
    assert main("refinement", VERBS, options) == 0
    assert "1 files of" in caplog.text
    assert "are not read as jsonl: notes.txt" in caplog.text


def test_a_record_without_text_keeps_what_it_held(tmp_path: Path) -> None:
    corpus = tmp_path / "pages.jsonl"
    corpus.write_text('{"text": "A page."}\n{"id": "x", "body": "hello"}\n{"text": 5, "id": "y"}\n')
    assert main("refinement", VERBS, ["ingest", "--corpus.path", str(corpus), "--output", str(tmp_path / "out")]) == 0
    left = [json.loads(row["text"]) for file in unit_files(tmp_path / "out", "dropped") for row in read_rows(file)]
    assert left == [{"id": "x", "body": "hello"}, {"text": 5, "id": "y"}]
