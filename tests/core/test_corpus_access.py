"""Files that are not to be had at the moment: tried again, and never taken for damaged."""

import errno
import gzip
import http.server
import io
import json
import lzma
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError, NoCredentialsError
from datatrove.io import get_datafolder

from prox import corpus_access
from prox.compressed import open_binary
from prox.corpus import CorpusConfig, Reject, open_corpus
from prox.corpus_access import open_file, why_unavailable
from prox.corpus_files import CorpusFiles, cut_into_parts, list_files
from prox.errors import UserError
from refinement.configs import IngestConfig
from refinement.ingest import ingest

FILES = 6
ROWS = [{"id": str(row), "text": f"Text {row}."} for row in range(300)]


def packed(name: str) -> bytes:
    rows = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    if name.endswith(".gz"):
        return gzip.compress(rows)
    if name.endswith(".parquet"):
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(ROWS), buffer, row_group_size=100)
        return buffer.getvalue()
    return rows


class Server(http.server.ThreadingHTTPServer):
    """A folder ``/d`` of files whose answers ``status`` decides, by the path and how often it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: Counter[str] = Counter()
        self.status: Callable[[str, int], int] = lambda path, times: 200
        self.names = [f"f{number}.jsonl" for number in range(FILES)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/d"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(200, b"", len(packed(self.path)))

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.server.asked[name] += 1
        status = self.server.status(name, self.server.asked[name])
        if status != 200:
            self._answer(status, b"", 0)
            return
        content = "".join(f'<a href="{one}">x</a>' for one in self.server.names).encode()
        if name in self.server.names:
            content = packed(name)
            if given := self.headers["Range"]:
                first, _, last = given.removeprefix("bytes=").partition("-")
                content, status = content[int(first) : int(last) + 1], 206
        self._answer(status, content, len(content))

    def _answer(self, status: int, content: bytes, size: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(corpus_access, "PAUSES", (0.0, 0.01, 0.02))
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def answered(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://x")
    return httpx.HTTPStatusError("no", request=request, response=httpx.Response(status, request=request))


def of_s3(status: int) -> ClientError:
    return ClientError({"Error": {}, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject")


@pytest.mark.parametrize(
    "error",
    [
        answered(503),
        answered(429),
        answered(401),
        TimeoutError(),
        ConnectionResetError(),
        NoCredentialsError(),
        of_s3(503),
        caused(FileNotFoundError("http://x"), answered(500)),
        *(OSError(number, "no") for number in (errno.EMFILE, errno.EIO, errno.ESTALE, errno.EACCES)),
    ],
    ids=repr,
)
def test_not_to_be_had(error: Exception) -> None:
    assert why_unavailable(error) is not None


@pytest.mark.parametrize(
    "error",
    [
        answered(404),
        of_s3(404),
        caused(FileNotFoundError("s3://x"), of_s3(404)),
        FileNotFoundError(errno.ENOENT, "no"),
        OSError("Invalid data stream"),
        gzip.BadGzipFile("no"),
        lzma.LZMAError("no"),
        EOFError("no"),
        pa.ArrowInvalid("no"),
    ],
    ids=repr,
)
def test_damaged_or_gone(error: Exception) -> None:
    assert why_unavailable(error) is None


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_a_passing_failure_costs_nothing(server: Server, name: str, caplog: pytest.LogCaptureFixture) -> None:
    server.names = [name]
    server.status = lambda path, times: 503 if path == name and times in (1, 2) else 200
    files = CorpusFiles(server.url, [name])
    documents = list(open_corpus(CorpusConfig(name.split(".")[1], server.url), files=files))
    assert [document.id for document in documents] == [row["id"] for row in ROWS]
    assert sum("503" in line and "another try" in line for line in caplog.messages) == 2


def test_a_read_goes_on_where_it_failed(server: Server) -> None:
    server.names = ["a.jsonl"]
    folder = get_datafolder((server.url, {"block_size": 1_000}))
    server.status = lambda path, times: 429 if times % 2 else 200
    with open_file(folder, "a.jsonl") as file:
        assert file.read(100) == packed("a.jsonl")[:100]
        file.seek(50)
        assert file.read() == packed("a.jsonl")[50:]
    with open_binary(folder, "a.jsonl") as file:
        assert file.read() == packed("a.jsonl")


@pytest.mark.parametrize("name", ["f2.jsonl", "f2.jsonl.gz", "f2.parquet"])
def test_a_lasting_failure_is_no_damage(server: Server, name: str) -> None:
    server.names[2] = name
    server.status = lambda path, times: 503 if path == name else 200
    rejects: list[Reject] = []
    files = CorpusFiles(server.url, [name])
    with pytest.raises(UserError, match=f"{name} is not to be had .*503"):
        list(open_corpus(CorpusConfig(name.split(".")[1], server.url), rejects.append, files, keep_going=True))
    assert rejects == []


def test_no_connection_is_no_part_without_a_size(server: Server) -> None:
    files = list_files(CorpusConfig("jsonl", server.url))
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"f0.jsonl is not to be had \(ConnectionRefusedError"):
        cut_into_parts(files, 1)
    with pytest.raises(UserError, match=r"the list of corpus.path .* is not to be had"):
        list_files(CorpusConfig("jsonl", server.url))


def test_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the system's answer is what is played here."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n')
    folder = get_datafolder(str(tmp_path))
    monkeypatch.setattr(type(folder.fs), "open", refuse)
    with pytest.raises(UserError, match=r"a.jsonl is not to be had \(PermissionError"):
        open_file(folder, "a.jsonl")


def test_ingest_commits_nothing_short_and_goes_on(server: Server, tmp_path: Path) -> None:
    from prox.command import main
    from refinement.__main__ import VERBS

    output = tmp_path / "out"
    options = ["--bytes_per_task", "1", "--corpus.format", "jsonl", "--corpus.path", server.url]
    arguments = ["ingest", *options, "--output", str(output)]
    server.status = lambda path, times: 503 if path in ("f2.jsonl", "f4.jsonl") else 200
    assert main("refinement", VERBS, arguments) == 1
    assert not (output / "_SUCCESS").exists()
    assert server.asked["f1.jsonl"] == 1
    server.status = lambda path, times: 200 if path.endswith(".jsonl") else 503  # and no list any more
    assert main("refinement", VERBS, arguments) == 0
    assert json.loads((output / "stats.json").read_text())["documents"] == FILES * len(ROWS)
    assert server.asked["f1.jsonl"] == 1, "what was read is not read again"


def test_the_last_pass_needs_no_source(server: Server, tmp_path: Path) -> None:
    config = IngestConfig(tmp_path, corpus=CorpusConfig("jsonl", server.url), bytes_per_task=1)
    first = ingest(config)
    server.shutdown()
    server.server_close()
    assert ingest(config) == first
