"""Every corpus format, read through the one config type; nothing is lost in silence."""

import gzip
import json
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from prox.corpus import CorpusConfig, Reject, corpus_inputs, corpus_marks, open_corpus
from prox.errors import UserError

TEXTS = ["The first page.\nIt has two lines.", "Straße, 植物", "A third one."]


def jsonl(texts: list[str]) -> bytes:
    return "".join(
        json.dumps({"text": text, "id": f"d{number}", "url": "http://x"}) + "\n" for number, text in enumerate(texts)
    ).encode()


def read(config: CorpusConfig) -> tuple[list, list[Reject]]:
    rejects: list[Reject] = []
    assert config.problems() == []
    return list(open_corpus(config, rejects.append)), rejects


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_jsonl(tmp_path: Path, name: str) -> None:
    content = jsonl(TEXTS)
    packed = {"gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress}.get(name.rpartition(".")[2], bytes)
    (tmp_path / name).write_bytes(packed(content))
    config = CorpusConfig(format="jsonl", path=str(tmp_path))
    documents, rejects = read(config)
    assert [document.text for document in documents] == TEXTS
    assert [document.id for document in documents] == ["d0", "d1", "d2"]
    assert documents[0].metadata == {"url": "http://x"}
    assert rejects == []
    assert corpus_inputs(config) == [tmp_path / name]


def test_zst_of_several_frames_is_read_whole(tmp_path: Path) -> None:
    compress = zstandard.ZstdCompressor().compress
    (tmp_path / "a.jsonl.zst").write_bytes(compress(jsonl(TEXTS[:2])) + compress(jsonl(TEXTS[2:])))
    documents, _ = read(CorpusConfig(format="jsonl", path=str(tmp_path / "a.jsonl.zst")))
    assert [document.text for document in documents] == TEXTS


@pytest.mark.parametrize("name", ["cut.jsonl.gz", "cut.jsonl.zst"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_cut_off_archive_is_an_error(tmp_path: Path, name: str, share: float) -> None:
    content = b"".join(b'{"text": "line %d", "id": "%d"}\n' % (i, i * 7919) for i in range(20_000))
    packed = gzip.compress(content) if name.endswith("gz") else zstandard.ZstdCompressor().compress(content)
    (tmp_path / name).write_bytes(packed[: int(len(packed) * share)])
    with pytest.raises(UserError, match=rf"{name} can't be read to its end"):
        list(open_corpus(CorpusConfig(format="jsonl", path=str(tmp_path / name))))


def test_archive_that_is_none_is_named_up_front(tmp_path: Path) -> None:
    for name, format in (("a.jsonl.gz", "jsonl"), ("a.jsonl.zst", "jsonl"), ("a.parquet", "parquet")):
        (tmp_path / name).write_bytes(b"no archive at all")
        (problem,) = CorpusConfig(format=format, path=str(tmp_path / name)).problems()
        assert str(tmp_path / name) in problem
        assert "replace or remove the file" in problem


def test_bad_records_are_set_aside_with_their_reason(tmp_path: Path) -> None:
    lines = [
        b'\xef\xbb\xbf{"text": "good"}',
        b'{"text": "cut off',
        b'{"text": "\xff\xfe"}',
        b"[1, 2]",
        b"",
        b'{"text": "  "}',
        b'{"other": 1}',
        b'{"text": 5}',
        b'{"text": "good"}',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    documents, rejects = read(CorpusConfig(format="jsonl", path=str(tmp_path)))
    assert [document.text for document in documents] == ["good", "\ufffd\ufffd", "good"]
    assert [document.metadata for document in documents] == [{}, {"invalid_utf8": True}, {}]
    assert len({document.id for document in documents}) == 3, "the same text at two places has two ids"
    assert [reject.position for reject in rejects] == [f"a.jsonl/{line}" for line in (1, 3, 5, 6, 7)]
    reasons = [reject.reason.split(":")[0] for reject in rejects]
    assert reasons == ["not a JSON object"] * 2 + [
        "empty text",
        "no 'text' in the record",
        "'text' holds a int, not a string",
    ]
    assert rejects[0].text == '{"text": "cut off'


def test_parquet_and_ids(tmp_path: Path) -> None:
    table = pa.table({"body": [*TEXTS, "", None], "key": [1, 2, None, 4, 5], "lang": ["en"] * 5, "n": range(5)})
    pq.write_table(table, tmp_path / "a.parquet")
    config = CorpusConfig(
        format="parquet", path=str(tmp_path), text_column="body", id_column="key", metadata_columns=["lang"]
    )
    documents, rejects = read(config)
    assert [document.text for document in documents] == TEXTS
    assert [document.id for document in documents][:2] == ["1", "2"]
    assert len(documents[2].id) == 16
    assert documents[0].metadata == {"lang": "en"}
    assert [reject.reason for reject in rejects] == ["empty text"] * 2
    assert [document.id for document in read(config)[0]] == [document.id for document in documents]


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
def test_wrong_column_lists_those_there_are(tmp_path: Path, format: str) -> None:
    rows = [{"content": "x", "url": "y"}]
    path = tmp_path / f"a.{format}"
    if format == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows[0]))
    (problem,) = CorpusConfig(format=format, path=str(path)).problems()
    assert "corpus.text_column 'text'" in problem
    assert "content, url" in problem


def test_paths_that_can_not_work(tmp_path: Path) -> None:
    assert "does not exist" in CorpusConfig(path=str(tmp_path / "no")).problems()[0]
    assert "holds no file for format jsonl" in CorpusConfig("jsonl", str(tmp_path)).problems()[0]
    assert "corpus.path is not set" in CorpusConfig(format="huggingface").problems()[0]
    assert "leave the path out" in CorpusConfig(format="package_pages", path="x").problems()[0]


def test_text_folder_glob_and_limit(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a.md").write_bytes(b"# One\r\ntwo")
    (tmp_path / "b" / "c.txt").write_bytes(b"caf\xe9")
    (tmp_path / "b" / "d.rst").write_text("")
    (tmp_path / "b" / "e.bin").write_text("not text")
    documents, rejects = read(CorpusConfig(format="text", path=str(tmp_path)))
    assert [(document.id, document.text) for document in documents] == [
        ("a.md", "# One\ntwo"),
        ("b/c.txt", "caf\ufffd"),
    ]
    assert documents[1].metadata == {"invalid_utf8": True}
    assert [reject.position for reject in rejects] == ["b/d.rst/0"]
    assert [document.id for document in read(CorpusConfig(format="text", path=str(tmp_path / "*" / "*.txt")))[0]] == [
        "c.txt"
    ]
    assert len(read(CorpusConfig(format="text", path=str(tmp_path), limit=1))[0]) == 1


def test_warc_and_wet(tmp_path: Path) -> None:
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    page = "<html><body><article><p>" + "A river is a natural stream of water. " * 20 + "</p></article></body></html>"
    with (tmp_path / "a.warc.gz").open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        http = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.0")
        headers = {"WARC-Identified-Payload-Type": "text/html"}
        for body in (page.encode(), b"<html></html>"):
            record = writer.create_warc_record(
                "http://x.org", "response", payload=BytesIO(body), http_headers=http, warc_headers_dict=headers
            )
            writer.write_record(record)
        plain = {"WARC-Identified-Payload-Type": "text/plain"}
        writer.write_record(
            writer.create_warc_record("http://y.org", "conversion", payload=BytesIO(b"Text."), warc_headers_dict=plain)
        )
        writer.write_record(writer.create_warc_record("http://y.org", "metadata", payload=BytesIO(b"nothing")))
    documents, rejects = read(CorpusConfig(format="warc", path=str(tmp_path)))
    assert [document.metadata["url"] for document in documents] == ["http://x.org", "http://y.org"]
    assert documents[0].text.startswith("A river is")
    assert "<" not in documents[0].text
    assert [reject.reason for reject in rejects] == ["no text found in the HTML"]


def test_hugging_face_folder(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_bytes(jsonl(TEXTS))
    config = CorpusConfig(format="huggingface", path=str(tmp_path / "set"))
    documents, _ = read(config)
    assert [document.text for document in documents] == TEXTS
    with pytest.raises(UserError, match=r"text_column 'body' is not in .* which has: .*text"):
        list(open_corpus(CorpusConfig(format="huggingface", path=str(tmp_path / "set"), text_column="body")))
    with pytest.raises(UserError, match=r"split nosuch"):
        list(open_corpus(CorpusConfig(format="huggingface", path=str(tmp_path / "set"), split="nosuch")))


def test_package_pages() -> None:
    config = CorpusConfig(format="package_pages")
    documents, rejects = read(config)
    ids = [document.id for document in documents]
    assert len(ids) > 100
    assert ids == sorted(ids, key=lambda name: name.split("==")[0])
    assert set(ids) | {reject.position for reject in rejects} == set(corpus_marks(config))
    assert not any(name.startswith("prox==") for name in ids)
    torch = next(document for document in documents if document.metadata["name"] == "torch")
    assert "PyTorch" in torch.text
    assert torch.metadata["url"].startswith("http")


def test_auto_goes_by_the_names_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A page\n")
    config = CorpusConfig(path=str(tmp_path))
    assert config.problems() == []
    assert [document.text for document in open_corpus(config)] == ["# A page\n"]
    (tmp_path / "b.jsonl").write_text('{"text": "b"}\n')
    assert [document.text for document in open_corpus(config)] == ["b"]  # the page beside it is a README
    (tmp_path / "c.parquet").write_bytes(b"")
    assert "several formats (parquet, jsonl)" in config.problems()[0]
    assert "no file of a known format" in CorpusConfig(path=str(tmp_path), glob="*.docx").problems()[0]
    assert CorpusConfig(path=str(tmp_path / "b.jsonl"), text_column="body").problems()
    assert "does not exist" in CorpusConfig(path=str(tmp_path / "c")).problems()[0]


WITHOUT_EFFECT = [
    ("huggingface", {"sample_files": 3}),
    ("huggingface", {"glob": "*.parquet"}),
    ("package_pages", {"sample_files": 3}),
    ("package_pages", {"text_column": "body"}),
    ("package_pages", {"metadata_columns": ["url"]}),
    ("jsonl", {"split": "test"}),
    ("parquet", {"subset": "en"}),
    ("text", {"revision": "abc"}),
    ("text", {"text_column": "body"}),
    ("text", {"id_column": "url"}),
    ("warc", {"text_column": "body"}),
    ("jsonl", {"extract_html": False}),
]


@pytest.mark.parametrize(("format", "options"), WITHOUT_EFFECT)
def test_settings_of_another_format_are_refused(tmp_path: Path, format: str, options: dict) -> None:
    path = "" if format == "package_pages" else str(tmp_path)
    ((option, value),) = options.items()
    wanted = f"corpus.{option} {value!r} has no effect with format {format}: leave it out"
    assert wanted in CorpusConfig(format, path, **options).problems()
    assert not any("no effect" in problem for problem in CorpusConfig(format, path).problems())


def test_settings_of_another_format_are_refused_where_it_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("page")
    assert CorpusConfig(path=str(tmp_path), text_column="body").problems() == [
        "corpus.text_column 'body' has no effect with format text: leave it out"
    ]


def test_a_choice_among_files_where_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x"}\n')
    for config, option, what in (
        (CorpusConfig(path=str(path), sample_files=2), "sample_files 2", "one file"),
        (CorpusConfig("jsonl", f"file://{path}", glob="*"), "glob '*'", "one file"),
        (CorpusConfig("jsonl", str(tmp_path / "*.jsonl"), glob="b*"), "glob 'b*'", "a pattern itself"),
        (CorpusConfig("jsonl", "s3://pages/*.jsonl", glob="b*"), "glob 'b*'", "a pattern itself"),
    ):
        (problem,) = config.problems()
        assert problem.startswith(f"corpus.{option} has no effect: corpus.path ")
        assert what in problem
    assert CorpusConfig("jsonl", str(tmp_path / "*.jsonl"), sample_files=1).problems() == []


def test_a_warc_record_can_be_known_by_its_address(tmp_path: Path) -> None:
    body = b"Text."
    header = b"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Record-ID: <urn:1>\r\nWARC-Target-URI: http://x\r\n"
    header += b"WARC-Date: 2020-01-01T00:00:00Z\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n"
    (tmp_path / "a.warc").write_bytes(header + body + b"\r\n\r\n")
    documents, _ = read(CorpusConfig("warc", str(tmp_path), id_column="url"))
    assert [document.id for document in documents] == ["http://x"]
