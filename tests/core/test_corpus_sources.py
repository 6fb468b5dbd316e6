"""Columns behind dots, samples of files, parts, and sources that are no local files."""

import gzip
import http.server
import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from prox.corpus import CorpusConfig, Reject, local_files, open_corpus
from prox.corpus_files import CorpusFiles, cut_into_parts, list_files
from prox.errors import UserError

ROWS = [
    {"meta": {"body": f"Text {number}.", "url": f"http://x/{number}", "in": {"id": f"k{number}"}}, "score": number / 2}
    for number in range(4)
]
DOTTED = {"text_column": "meta.body", "id_column": "meta.in.id", "metadata_columns": ["meta.url", "score"]}


def read(config: CorpusConfig, keep_going: bool = False) -> tuple[list, list[Reject]]:
    rejects: list[Reject] = []
    assert config.problems() == []
    return list(open_corpus(config, rejects.append, keep_going=keep_going)), rejects


def write_rows(folder: Path, format: str) -> Path:
    folder.mkdir()
    if format == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), folder / "a.parquet")
    else:
        rows = [row | {"meta": json.dumps(row["meta"])} for row in ROWS] if format == "strings" else ROWS
        (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.parametrize("format", ["parquet", "jsonl", "strings"])
@pytest.mark.parametrize("by_datasets", [False, True])
def test_dotted_columns(tmp_path: Path, format: str, by_datasets: bool) -> None:
    folder = write_rows(tmp_path / "set", format)
    config = CorpusConfig("huggingface" if by_datasets else "auto", str(folder), **DOTTED)
    documents, rejects = read(config)
    assert rejects == []
    assert [(document.id, document.text) for document in documents] == [(f"k{n}", f"Text {n}.") for n in range(4)]
    kept = {key: value for key, value in documents[3].metadata.items() if key != "dataset"}
    assert kept == {"meta.url": "http://x/3", "score": 1.5}


def test_a_dotted_text_is_not_stored_twice(tmp_path: Path) -> None:
    folder = write_rows(tmp_path / "set", "jsonl")
    documents, _ = read(CorpusConfig("jsonl", str(folder), text_column="meta.body"))
    assert documents[0].metadata == {"meta": {"url": "http://x/0", "in": {"id": "k0"}}, "score": 0.0}


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
def test_dotted_column_that_is_not_there(tmp_path: Path, format: str) -> None:
    folder = write_rows(tmp_path / "set", format)
    (problem,) = CorpusConfig("auto", str(folder), text_column="meta.text").problems()
    assert "'meta.text' is not in" in problem
    assert "meta.body, meta.url, meta.in, meta.in.id, score" in problem.replace("meta.in, meta.in.id, meta.url", "")
    assert CorpusConfig("auto", str(folder), text_column="score.deeper").problems() == [], "score may hold JSON"


def test_a_broken_shard_of_a_data_set(tmp_path: Path) -> None:
    for number in range(3):
        rows = [{"text": f"{number} {row}", "id": f"{number}-{row}"} for row in range(50)]
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        packed = gzip.compress(content)
        (tmp_path / f"{number}.jsonl.gz").write_bytes(packed[:-40] if number == 1 else packed)
    config = CorpusConfig("huggingface", str(tmp_path))
    documents, (broken,) = read(config, keep_going=True)
    ids = [document.id for document in documents]
    assert {f"{number}-{row}" for number in (0, 2) for row in range(50)} <= set(ids)
    assert broken.broken_file == "00001"
    assert broken.reason.startswith("broken file: ")
    with pytest.raises(UserError, match="00001 can't be read to its end"):
        list(open_corpus(config))


def test_data_set_that_can_not_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "notes.bin").write_bytes(b"?")
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=r"data set .* can't be read: .*check corpus.path"):
            list(open_corpus(CorpusConfig("huggingface", str(path))))


def test_sample_of_files(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number:02d}.jsonl").write_text(json.dumps({"text": f"{number}"}))

    def names(**options: float) -> list[str]:
        return [file.name for file in local_files(CorpusConfig("jsonl", str(tmp_path), **options))]

    few, more = names(sample_files=4), names(sample_files=9)
    assert len(few) == 4
    assert len(more) == 9
    assert set(few) < set(more)
    assert more == sorted(more)
    assert names(sample_files=4, sample_seed=1) != few
    by_pattern = CorpusConfig("jsonl", str(tmp_path / "*.jsonl"), sample_files=4)
    assert [file.name for file in local_files(by_pattern)] == few
    assert len(read(CorpusConfig("jsonl", str(tmp_path), sample_files=4))[0]) == 4
    assert len(names(sample_files=99)) == 20
    assert names(sample_share=0.2) == few
    assert len(names(sample_share=0.001)) == 1
    assert CorpusConfig("jsonl", str(tmp_path), sample_share=0.2).problems() == []
    assert "corpus.sample_share 0" in CorpusConfig("jsonl", str(tmp_path), sample_share=0).problems()[0]
    both = CorpusConfig("jsonl", str(tmp_path), sample_share=0.5, sample_files=3)
    assert "sample_share 0.5 and sample_files 3: leave one of them out" in both.problems()[0]
    assert "corpus.sample_files 0" in CorpusConfig("jsonl", str(tmp_path), sample_files=0).problems()[0]


def test_parts_are_files_in_order(tmp_path: Path) -> None:
    for name, size in (("a", 40), ("b", 60), ("c", 10), ("d", 500), ("e", 0), ("f", 10)):
        (tmp_path / f"{name}.txt").write_text("x" * size)
    (tmp_path / "g.txt").symlink_to(tmp_path / "nowhere")
    files = list_files(CorpusConfig("text", str(tmp_path)))
    parts = cut_into_parts(files, 100)
    assert parts == [["a.txt", "b.txt"], ["c.txt"], ["d.txt"], ["e.txt", "f.txt"], ["g.txt"]]
    config = CorpusConfig("text", str(tmp_path))
    some = list(open_corpus(config, lambda _: None, CorpusFiles(files.folder, parts[1])))
    assert [document.id for document in some] == ["c.txt"]


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    handler = partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def fill(folder: Path) -> None:
    for number, (suffix, pack) in enumerate({"gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress}.items()):
        rows = [{"id": f"{number}-{row}", "text": f"Text {row}."} for row in range(30)]
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        (folder / f"{number}.jsonl.{suffix}").write_bytes(pack(content))


def test_file_and_memory_urls(tmp_path: Path) -> None:
    fill(tmp_path)
    memory = fsspec.filesystem("memory")
    for file in tmp_path.iterdir():
        memory.pipe(f"/pages/sub/{file.name}", file.read_bytes())
    memory.pipe("/pages/README.md", b"no document")
    ids = [f"{number}-{row}" for number in range(2) for row in range(30)]
    for path, options in (
        (f"file://{tmp_path}", {}),
        ("memory://pages", {}),
        ("memory://pages/", {"glob": "**/*.jsonl.*"}),
        ("memory://pages/*/?.jsonl.*", {}),
    ):
        documents, rejects = read(CorpusConfig("jsonl", path, **options))
        assert [document.id for document in documents] == ids, path
        assert rejects == []
    parts = cut_into_parts(list_files(CorpusConfig("jsonl", "memory://pages")), 1)
    assert parts == [["sub/0.jsonl.gz"], ["sub/1.jsonl.zst"]]
    memory.rm("/pages", recursive=True)
    with pytest.raises(UserError, match=r"holds no jsonl file|can't be listed"):
        list(open_corpus(CorpusConfig("jsonl", "memory://pages")))


def test_http(tmp_path: Path, served: str) -> None:
    fill(tmp_path)
    for path in (f"{served}/0.jsonl.gz", f"{served}/1.jsonl.zst"):
        documents, _ = read(CorpusConfig("auto", path))
        assert len(documents) == 30
    assert len(read(CorpusConfig("jsonl", f"{served}/"))[0]) == 60
    with pytest.raises(UserError, match=r"holds no jsonl file|can't be listed"):
        list(open_corpus(CorpusConfig("jsonl", f"{served}/nowhere.jsonl")))
    files = CorpusFiles(served, ["nowhere.jsonl", "0.jsonl.gz"])
    rejects: list[Reject] = []
    documents = list(open_corpus(CorpusConfig("jsonl", served), rejects.append, files, keep_going=True))
    assert len(documents) == 30
    assert [reject.broken_file for reject in rejects] == ["nowhere.jsonl"]


@pytest.mark.parametrize("options", [{"sample_files": 2}, {"sample_share": 0.5}, {"glob": "*.gz"}])
def test_a_choice_among_files_where_the_address_is_one(tmp_path: Path, served: str, options: dict) -> None:
    fill(tmp_path)
    with pytest.raises(UserError, match=f"corpus.{next(iter(options))}: .* is one file"):
        list_files(CorpusConfig("jsonl", f"{served}/0.jsonl.gz", **options))
