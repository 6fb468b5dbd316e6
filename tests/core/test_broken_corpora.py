"""Damaged files and odd records: what can be read is read, and the rest is a reject that says why."""

import bz2
import gzip
import io
import json
import lzma
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from prox import compressed, corpus_access, format_readers
from prox.compressed import Lines
from prox.corpus import CorpusConfig, Reject, open_corpus
from prox.errors import UserError
from prox.warc_records import read_warc_records


def noise(seed: int, size: int = 40) -> str:
    return random.Random(seed).randbytes(size).hex()


LINES = [b'{"text": "line %d %s", "id": "%d"}\n' % (n, noise(n).encode(), n) for n in range(20_000)]
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstandard.ZstdCompressor().compress,
    "bz2": bz2.compress,
    "xz": lambda content: lzma.compress(content, preset=0),
}


def read(config: CorpusConfig) -> tuple[list, list[Reject]]:
    rejects: list[Reject] = []
    return list(open_corpus(config, rejects.append, keep_going=True)), rejects


@pytest.mark.parametrize("suffix", PACK)
def test_cut_off_archive_is_read_to_the_break(tmp_path: Path, suffix: str) -> None:
    content = b"".join(LINES)
    packed = PACK[suffix](content)
    (tmp_path / f"a.jsonl.{suffix}").write_bytes(packed[: len(packed) * 9 // 10])
    (tmp_path / "b.jsonl").write_bytes(LINES[0])
    documents, (broken,) = read(CorpusConfig("jsonl", str(tmp_path)))
    number = len(documents) - 1
    assert number > 10_000
    assert [document.id for document in documents] == [*map(str, range(number)), "0"]
    assert broken.broken_file == f"a.jsonl.{suffix}"
    assert broken.position == f"a.jsonl.{suffix}/{number}"
    assert broken.reason.startswith("broken file: EOFError")
    assert LINES[number].decode().startswith(broken.text), "what is there of the line that was cut"
    with pytest.raises(UserError, match=f"a.jsonl.{suffix} can't be read to its end"):
        list(open_corpus(CorpusConfig("jsonl", str(tmp_path))))


@pytest.mark.parametrize("suffix", PACK)
def test_damaged_archive_is_read_to_the_damage(tmp_path: Path, suffix: str) -> None:
    packed = bytearray(PACK[suffix](b"".join(LINES)))
    packed[len(packed) * 3 // 4 : len(packed) * 3 // 4 + 200] = bytes(200)
    (tmp_path / f"a.jsonl.{suffix}").write_bytes(packed)
    documents, rejects = read(CorpusConfig("jsonl", str(tmp_path)))
    good = [document for document in documents if document.id.isdigit()]
    assert len(good) > 1_000 or suffix in ("bz2", "zst"), "both unpack whole blocks"
    assert rejects[-1].broken_file == f"a.jsonl.{suffix}"


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.warc", "a.txt"])
def test_file_that_is_gone_or_refuses(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_access, "PAUSES", (0.0,))
    (tmp_path / name).symlink_to(tmp_path / "nowhere")
    config = CorpusConfig({"a.txt": "text"}.get(name, Path(name).suffix[1:]), str(tmp_path))
    documents, (gone,) = read(config)
    assert documents == []
    assert (gone.broken_file, gone.of_files) == (name, 1)
    (tmp_path / f"refuses_{name}").symlink_to("/proc/self/mem")  # is there, and can't be read
    with pytest.raises(UserError, match=f"refuses_{name} is not to be had"):
        read(config)


def test_odd_json(tmp_path: Path) -> None:
    lines = [
        rb'{"text": "lone \ud800 surrogate", "id": "s\udfff"}',
        rb'{"text": "pair \ud83d\ude00", "key\ud800": ["\udc00"]}',
        b'{"text": "raw \x00 and tab\t", "score": NaN}',
        rb'{"text": "escaped \u0000"}',
        b'{"text": "bad \xff bytes", "url": "x"}',
        b"\x00" * 50,
        b'{"text": ["a", "list"]}',
        b'{"text": null}',
        b'"just a string"',
        b"[" * 100_000,
        b'{"text": "deep", "x": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"text": "deep", "metadata": "{\\"x\\": ' + b"[" * 900 + b"]" * 900 + b'}"}',
        b'{"text": "huge", "n": 1' + b"0" * 5_000 + b"}",
        b'{"text": "last", "big": 123456789012345678901234567890}',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    documents, rejects = read(CorpusConfig("jsonl", str(tmp_path)))
    texts = ["lone \ufffd surrogate", "pair \U0001f600", "raw \0 and tab\t", "escaped \0", "bad \ufffd bytes"]
    assert [document.text for document in documents][:5] == texts
    assert documents[-1].text == "last"
    assert documents[0].id == "s\ufffd"
    assert documents[0].metadata == {"lone_surrogates": True}
    assert documents[1].metadata == {"key\ufffd": ["\ufffd"], "lone_surrogates": True}
    assert documents[2].metadata == {"score": None}
    assert documents[4].metadata == {"url": "x", "invalid_utf8": True}
    assert {int(reject.position.split("/")[1]) for reject in rejects} >= {5, 6, 7, 8, 9, 10, 11}
    assert len(documents) + len(rejects) == len(lines)
    assert not any(reject.broken_file for reject in rejects)
    assert all(len(reject.text) <= 2_000 for reject in rejects)


def test_a_line_of_50_mb_is_one_document(tmp_path: Path) -> None:
    text = "words and more words " * 2_500_000
    with gzip.open(tmp_path / "a.jsonl.gz", "wt", compresslevel=1) as file:
        file.writelines(json.dumps({"text": one}) + "\n" for one in ("before", text, "after"))
    documents, rejects = read(CorpusConfig("jsonl", str(tmp_path)))
    assert [len(document.text) for document in documents] == [6, len(text), 5]
    assert rejects == []


def test_lines_longer_than_can_be_held_are_rejects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"short\n" + b"x" * 400_000 + b"\nafter\n" + b"y" * 400_000
    lines = list(Lines(io.BytesIO(content), longest=300_000))
    assert [(line[:10], whole) for line, whole in lines] == [
        (b"short", True),
        (b"x" * 10, False),
        (b"after", True),
        (b"y" * 10, False),
    ]
    assert len(lines[1][0]) == compressed.EXCERPT_BYTES
    monkeypatch.setattr(format_readers, "LONGEST_BYTES", 1_000)
    (tmp_path / "a.txt").write_text("word " * 500)
    _, (reject,) = read(CorpusConfig("text", str(tmp_path)))
    assert reject.reason == "text too long: over 1,000 bytes"


@pytest.mark.parametrize("options", [{"compression": "zstd"}, {"compression": "none", "write_page_checksum": True}])
def test_bad_parquet_page_costs_its_row_group(tmp_path: Path, options: dict) -> None:
    rows = [{"id": str(number), "text": f"{number} {noise(number)}"} for number in range(500)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100, use_dictionary=False, **options)
    column = pq.read_metadata(path).row_group(2).column(1)
    content = bytearray(path.read_bytes())
    middle = column.data_page_offset + column.total_compressed_size // 2
    content[middle : middle + 500] = bytes(500)
    path.write_bytes(content)
    documents, (broken,) = read(CorpusConfig("parquet", str(tmp_path)))
    ids = [int(document.id) for document in documents]
    assert ids == [*range(200), *range(300, 500)]
    assert (broken.broken_file, broken.position) == ("a.parquet", "a.parquet/200")


def test_parquet_without_footer_and_strings_that_are_none(tmp_path: Path) -> None:
    good = pa.array([b"fine", b"bad \xff", None, b"also fine"]).view(pa.string())
    nested = pa.StructArray.from_arrays([good], ["title"])
    dates = pa.array([0, 10**18, None, 0], pa.timestamp("us"))
    table = pa.table({"text": good, "meta": nested, "tag": good.dictionary_encode(), "when": dates})
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-20])
    (tmp_path / "c.parquet").write_bytes(b"")
    documents, rejects = read(CorpusConfig("parquet", str(tmp_path)))
    assert [document.text for document in documents] == ["fine", "bad \ufffd", "also fine"]
    assert documents[1].metadata["meta"] == {"title": "bad \ufffd"}
    assert [document.metadata.get("invalid_utf8") for document in documents] == [None, True, None]
    assert [reject.broken_file for reject in rejects] == ["", "b.parquet", "c.parquet"]


def record(number: int, body: bytes = b"", length: int | None = None) -> bytes:
    body = body or b"Page %d has some text. " % number * 40
    header = b"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Record-ID: <urn:%d>\r\nWARC-Target-URI: http://x/%d\r\n"
    header += b"WARC-Date: 2020-01-01T00:00:00Z\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
    return header % (number, number, len(body) if length is None else length) + body + b"\r\n\r\n"


BROKEN_RECORDS = {
    "too short": record(2, length=100),
    "into the next": record(2, length=1_500),
    "beyond the end": record(2, length=10**6),
    "beyond all bounds": record(2, length=10**13),
    "no number": record(2).replace(b"Content-Length: ", b"Content-Length: x"),
    "no version": b"X" + record(2)[1:],
    "endless header": record(2).replace(b"\r\n\r\n", b"\r\n ", 1),
}


@pytest.mark.parametrize("fault", BROKEN_RECORDS)
@pytest.mark.parametrize("suffix", ["warc.wet", "warc.wet.gz"])
def test_a_broken_record_costs_itself(tmp_path: Path, suffix: str, fault: str) -> None:
    records = [record(0), record(1), BROKEN_RECORDS[fault], record(3), record(4)]
    if suffix.endswith("gz"):
        records = [gzip.compress(one) for one in records]
    (tmp_path / f"a.{suffix}").write_bytes(b"".join(records))
    config = CorpusConfig("warc", str(tmp_path))
    documents, rejects = read(config)
    assert config.problems() == []
    urls = [document.metadata["url"] for document in documents]
    assert urls == [f"http://x/{number}" for number in (0, 1, 3, 4)]
    assert {reject.broken_file for reject in rejects} == {f"a.{suffix}"}
    with pytest.raises(UserError, match="can't be read to its end"):
        list(open_corpus(config))


def test_damaged_gzip_members() -> None:
    bodies = [random.Random(number).randbytes(200_000) for number in range(5)]
    members = [gzip.compress(record(number, body)) for number, body in enumerate(bodies)]

    def good(content: bytes) -> list[int]:
        found = read_warc_records(io.BytesIO(content))
        return [int(one.content.split(b"urn:")[1].split(b">")[0]) for one in found if not one.fault]

    damaged = bytearray(members[2])
    damaged[1_000:1_100] = bytes(100)
    assert good(b"".join(members)) == [0, 1, 2, 3, 4]
    assert good(b"".join([*members[:2], members[2][:999], *members[3:]])) == [0, 1, 3, 4]
    assert good(b"".join([*members[:2], bytes(damaged), *members[3:]])) == [0, 1, 3, 4]
    assert good(b"".join([*members[:2], b"rubbish" * 9, *members[2:]])) == [0, 1, 2, 3, 4]
    assert good(b"".join(members)[:-500]) == [0, 1, 2, 3]
    assert good(gzip.compress(b"".join(map(record, range(3))))) == [0, 1, 2], "one member for all"
    assert [bool(one.fault) for one in read_warc_records(io.BytesIO(b"no archive at all"))] == [True]


def test_problems_look_on_for_a_file_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(b"no archive at all")
    (tmp_path / "b.jsonl.gz").symlink_to(tmp_path / "nowhere")
    config = CorpusConfig("jsonl", str(tmp_path))
    (problem,) = config.problems()
    assert "a.jsonl.gz can't be read as jsonl" in problem
    assert "nor can any of 1 others" in problem
    (tmp_path / "c.jsonl").write_bytes(b'{"text": "good"}\n')
    assert config.problems() == []
    config.text_column = "body"
    assert "c.jsonl, which has: text" in config.problems()[0]


def test_package_whose_metadata_is_no_utf8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, page in (("odd-1.dist-info", b"caf\xe9"), ("fine-1.dist-info", b"A page.")):
        (tmp_path / name).mkdir()
        header = f"Metadata-Version: 2.1\nName: aaa-{name[:-12]}\nVersion: 1\n\n".encode()
        (tmp_path / name / "METADATA").write_bytes(header + page)
    monkeypatch.syspath_prepend(tmp_path)
    documents, _ = read(CorpusConfig("package_pages", limit=1))
    assert [document.id for document in documents] == ["aaa-fine==1"]
    assert "a package's METADATA can't be read" in caplog.text
