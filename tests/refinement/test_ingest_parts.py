"""Ingesting a corpus of many files: any number of workers, kills, broken files, bounded units."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prox.units import iterate_documents, read_rows, unit_files
from tests.refinement.test_ingest import contents, ingest

SMALL = ("--max_broken_share", "0.2", "--bytes_per_task", "2000", "--documents_per_unit", "7")


@pytest.fixture
def pages_folder(tmp_path: Path) -> Path:
    """Ten files: two formats' worth of trouble in three of them, and ids that repeat within files and across."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(10):
        rows = [
            {"id": f"{row % 17}" if row % 5 == 0 else f"{number}-{row}", "text": f"Text {row}."} for row in range(20)
        ]
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        (folder / f"{number}.jsonl").write_bytes(content + (b"broken\n" if number == 3 else b""))
    (folder / "4.jsonl.gz").write_bytes(gzip.compress(content * 9)[:-30])
    (folder / "6.jsonl").unlink()
    (folder / "6.jsonl").symlink_to(folder / "nowhere")
    return folder


def stats_of(output: Path) -> dict:
    return json.loads((output / "stats.json").read_text())


def test_any_number_of_workers_gives_the_same_bytes(tmp_path: Path, pages_folder: Path) -> None:
    assert ingest(pages_folder, tmp_path / "a", *SMALL) == 0
    assert ingest(pages_folder, tmp_path / "b", *SMALL, "--workers", "3") == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    names = [file.name for file in unit_files(tmp_path / "a")]
    assert len({name.split("-")[0] for name in names}) > 4, "several parts"
    assert names == sorted(names)
    assert all(len(list(read_rows(file))) <= 7 for file in unit_files(tmp_path / "a"))
    documents = list(iterate_documents(tmp_path / "a"))
    assert len({document.id for document in documents}) == len(documents) > 9 * 20
    whole = (*SMALL[:2], "--bytes_per_task", "10000000", "--documents_per_unit", "1000")
    assert ingest(pages_folder, tmp_path / "c", *whole) == 0
    assert [document.id for document in iterate_documents(tmp_path / "c")] == [document.id for document in documents]
    names = [file.name for file in unit_files(tmp_path / "c")]
    assert names == ["00000-000000.parquet", "00002-000000.parquet"], "what has no size is a part of its own"


def test_what_is_broken_is_counted_and_named(
    tmp_path: Path, pages_folder: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ingest(pages_folder, tmp_path / "out", *SMALL) == 0
    stats = stats_of(tmp_path / "out")
    assert stats["broken_files"] == 2
    assert stats["left_out_by_reason"] == {"broken file": 2, "not a JSON object": 1}
    rejects = {row["id"]: row["reason"] for file in unit_files(tmp_path / "out", "dropped") for row in read_rows(file)}
    assert sorted(position.split("/")[0] for position in rejects) == ["3.jsonl", "4.jsonl.gz", "6.jsonl"]
    assert rejects["6.jsonl"].startswith("broken file: FileNotFoundError")
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert sum("4.jsonl.gz" in line for line in warnings) == 1
    assert "2 files could not be read to their end" in warnings[-1]
    assert ingest(pages_folder, tmp_path / "stopped", *SMALL, "--on_broken_file", "stop") == 1
    assert "4.jsonl.gz can't be read to its end" in capsys.readouterr().err
    assert not (tmp_path / "stopped" / "_SUCCESS").exists()


def test_killed_at_any_time(tmp_path: Path, pages_folder: Path, repository: Path) -> None:
    assert ingest(pages_folder, tmp_path / "undisturbed", *SMALL) == 0
    arguments = ["ingest", "--corpus.path", str(pages_folder), *SMALL, "--output", str(tmp_path / "out")]
    command = [sys.executable, "-m", "refinement", *arguments, "--workers", "2"]
    for wanted in (1, 12):
        process = subprocess.Popen(
            command, cwd=repository, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        while len(unit_files(tmp_path / "out")) < wanted and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    time.sleep(1.5)  # workers notice within a second that nobody waits for them
    (tmp_path / "out" / "documents" / ".00000-000000.parquet.1.tmp").write_bytes(b"half a unit")
    assert ingest(pages_folder, tmp_path / "out", *SMALL) == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_finished_parts_are_not_read_again_and_lost_units_are(tmp_path: Path, pages_folder: Path) -> None:
    output = tmp_path / "out"
    assert ingest(pages_folder, output, *SMALL) == 0
    before, times = contents(output), {file: file.stat().st_mtime_ns for file in unit_files(output)}
    (output / "_SUCCESS").unlink()
    lost = unit_files(output)[-1]
    lost.unlink()
    assert ingest(pages_folder, output, *SMALL, "--workers", "2") == 0
    assert contents(output) == before
    part = lost.name.split("-")[0]
    again = {file.name.split("-")[0] for file, time in times.items() if file.stat().st_mtime_ns != time}
    assert again == {part}


def test_a_mended_corpus_is_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.txt").symlink_to(tmp_path / "page")
    assert ingest(folder, tmp_path / "out") == 1
    assert "holds no document; left out: {'broken file': 1}" in capsys.readouterr().err
    (tmp_path / "page").write_text("Now there is a page.")
    assert ingest(folder, tmp_path / "out") == 0
    assert stats_of(tmp_path / "out")["documents"] == 1


def test_one_broken_file_is_an_early_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(b"no archive")
    assert ingest(tmp_path / "a.jsonl.gz", tmp_path / "out") == 2
    assert "a.jsonl.gz can't be read as jsonl" in capsys.readouterr().err


def test_units_are_bounded_in_bytes(tmp_path: Path) -> None:
    texts = ["x" * 40_000, "é" * 40_000, "y" * 300_000, "z", "z"]
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    assert ingest(tmp_path / "a.parquet", tmp_path / "out", "--bytes_per_unit", "150000") == 0
    held = [[len(row["text"]) for row in read_rows(file)] for file in unit_files(tmp_path / "out")]
    assert held == [[40_000, 40_000], [300_000], [1, 1]]


def test_a_limit_counts_over_all_files(tmp_path: Path, pages_folder: Path) -> None:
    assert ingest(pages_folder, tmp_path / "out", *SMALL, "--corpus.limit", "30") == 0
    assert stats_of(tmp_path / "out")["documents"] == 30
    assert {file.name.split("-")[0] for file in unit_files(tmp_path / "out")} == {"00000"}


def test_odd_characters_are_counted(tmp_path: Path) -> None:
    lines = [rb'{"text": "a \u0000"}', rb'{"text": "b \ud800"}', b'{"text": "c \xff"}', b'{"text": "d"}']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    assert ingest(tmp_path / "a.jsonl", tmp_path / "out") == 0
    stats = stats_of(tmp_path / "out")
    assert [stats[name] for name in ("nul_characters", "lone_surrogates", "invalid_utf8", "documents")] == [1, 1, 1, 4]
    assert [document.text for document in iterate_documents(tmp_path / "out")] == ["a \0", "b \ufffd", "c \ufffd", "d"]


def test_bounds_must_be_positive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--workers", "0", "--bytes_per_task", "0", "--bytes_per_unit", "-1")
    assert ingest(tmp_path, tmp_path / "out", *options) == 2
    error = capsys.readouterr().err
    assert all(f"{name} {value}: must be at least 1" in error for name, value in zip(options[::2], options[1::2], strict=True))  # fmt: skip # noqa: E501


def test_many_broken_files_stop_before_the_commit(
    tmp_path: Path, pages_folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    output, small = tmp_path / "out", SMALL[2:]
    assert ingest(pages_folder, output, *small) == 1
    error = capsys.readouterr().err
    assert f"2 of 11 files could not be read to their end, the first is {pages_folder}/4.jsonl.gz" in error
    assert "--max_broken_share 0.1" in error
    assert not (output / "_SUCCESS").exists()
    assert ingest(pages_folder, output, *small, "--max_broken_share", "0.2") == 0
    assert stats_of(output)["broken_files"] == 2
    assert any("4 of 6 tasks are complete" in line for line in caplog.messages), "those without a broken file"
    assert ingest(pages_folder, tmp_path / "bad", *small, "--max_broken_share", "2") == 2


def test_one_broken_file_of_two_does_not_stop(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"text": "whole"}\n')
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(b'{"text": "cut off"}\n' * 100)[:-20])
    assert ingest(folder, tmp_path / "out", "--max_broken_share", "0") == 0
    assert stats_of(tmp_path / "out")["broken_files"] == 1


def test_shards_of_a_data_set_are_counted_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(4):
        content = gzip.compress(b"".join(b'{"text": "line %d"}\n' % line for line in range(100)))
        (tmp_path / f"{number}.jsonl.gz").write_bytes(content[: -40 if number > 1 else None])
    output = tmp_path.parent / f"{tmp_path.name}-out"
    assert ingest(tmp_path, output, "--corpus.format", "huggingface") == 1
    assert "2 of 4 files could not be read to their end" in capsys.readouterr().err


def test_an_empty_corpus_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n')
    assert ingest(tmp_path / "a.jsonl", tmp_path / "out") == 1
    assert not (tmp_path / "out" / "dropped").exists()


def test_spaces_in_the_output_under_slurm(tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ingest(corpus, tmp_path / "o u t", "--executor.kind", "slurm") == 2
    assert "holds spaces" in capsys.readouterr().err
