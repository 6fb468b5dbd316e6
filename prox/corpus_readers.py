"""datatrove's readers, with nothing lost in silence.

datatrove skips records without text after one warning for the whole run, drops the rest of a JSONL file at the first
invalid byte, and ends a cut-off zstd file early without an error. Here each such record is a ``Reject``, and a file
that can't be read to its end is a ``UserError``.
"""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from datatrove.data import Document
from datatrove.io import get_datafolder
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.readers import HuggingFaceDatasetReader, JsonlReader, ParquetReader, WarcReader
from datatrove.pipeline.readers.base import BaseDiskReader, BaseReader
from datatrove.pipeline.readers.warc import process_record
from fsspec.core import url_to_fs
from loguru import logger as datatrove_log
from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed

from prox.compressed import open_binary
from prox.corpus import SUFFIXES, CorpusConfig, Reject, is_remote, local_files
from prox.errors import UserError
from prox.package_pages import read_package_pages
from prox.units import source_hash

OnReject = Callable[[Reject], None]

BROKEN_FILE = (EOFError, OSError, zlib.error, zstandard.ZstdError, pa.ArrowException, ArchiveLoadFailed)
REJECT_CHARACTERS = 2_000


@contextmanager
def _readable(file: str) -> Iterator[None]:
    """Turns a broken file's exceptions into one message that names it."""
    try:
        yield
    except BROKEN_FILE as error:
        raise UserError(
            f"{file} can't be read to its end ({type(error).__name__}: {error}): fetch the file again or remove it"
        ) from error


class _Adapter:
    """Turns a source's record into datatrove's fields, in place of datatrove's default adapter.

    A record without usable text is rejected; datatrove then skips it, since its text is empty.
    """

    def __init__(self, config: CorpusConfig, on_reject: OnReject) -> None:
        self.config, self.on_reject = config, on_reject
        self.column = "text" if config.format in ("warc", "text") else config.text_column

    def __call__(self, _: BaseReader, data: dict[str, Any], path: str, index: int | str) -> dict[str, Any]:
        position = f"{path}/{index}"
        has_column = self.column in data
        text = data.pop(self.column, None)
        if not isinstance(text, str) or not text.strip():
            self.on_reject(Reject(position, _text_fault(text, has_column, self.column)))
            return {"text": "", "id": position}
        given = data.pop(self.config.id_column or "id", None)
        metadata = _flat_metadata(data)
        if wanted := self.config.metadata_columns:
            metadata = {key: metadata[key] for key in wanted if key in metadata}
        return {
            "text": text,
            "id": str(given) if given not in (None, "") else source_hash(f"{position}\0{text}"),
            "metadata": metadata,
        }


def _text_fault(text: Any, has_column: bool, column: str) -> str:
    if not has_column:
        return f"no {column!r} in the record"
    if text is None or isinstance(text, str):
        return "empty text"
    return f"{column!r} holds a {type(text).__name__}, not a string"


def _flat_metadata(data: dict[str, Any]) -> dict[str, Any]:
    """A source's own ``metadata`` object is merged in, so that a refined corpus read again does not nest deeper."""
    nested = data.pop("metadata", None)
    if isinstance(nested, str):
        try:
            nested = orjson.loads(nested)
        except orjson.JSONDecodeError:
            nested = {"metadata": nested}
    if nested is not None and not isinstance(nested, dict):
        nested = {"metadata": nested}
    return (nested or {}) | data


class _LineReader(JsonlReader):
    """JSONL by bytes: one bad line costs that line."""

    on_reject: OnReject

    def read_file(self, filepath: str) -> Iterator[Document]:
        with open_binary(self.data_folder, filepath) as file:
            for index, line in enumerate(file):
                line = line.removeprefix(b"\xef\xbb\xbf") if index == 0 else line
                if not line.strip():
                    continue
                try:
                    data = orjson.loads(line)
                    if not isinstance(data, dict):
                        raise ValueError(f"a {type(data).__name__}, not an object")
                except ValueError as error:
                    excerpt = line[:REJECT_CHARACTERS].decode("utf-8", "replace")
                    self.on_reject(Reject(f"{filepath}/{index}", f"not a JSON object: {error}", excerpt))
                    continue
                if document := self.get_document_from_dict(data, filepath, index):
                    yield document


class _WarcReader(WarcReader):
    """WARC and WET: pages that give no text are rejects; requests, headers and the like are no documents at all."""

    on_reject: OnReject
    extract_html: bool

    def read_file(self, filepath: str) -> Iterator[Document]:
        extractor = Trafilatura()
        with open_binary(self.data_folder, filepath) as file:
            for index, record in enumerate(ArchiveIterator(file)):
                if record.rec_type not in ("response", "conversion"):
                    continue
                is_page, position = record.rec_type == "response", f"{filepath}/{index}"
                data = process_record(record)
                if data is None:
                    self.on_reject(Reject(position, "neither HTML nor plain text, or in an unknown encoding"))
                    continue
                if is_page and self.extract_html:
                    html, data["text"] = data["text"], extractor.extract(data["text"])
                    if not data["text"]:
                        self.on_reject(Reject(position, "no text found in the HTML", html[:REJECT_CHARACTERS]))
                        continue
                if document := self.get_document_from_dict(data, filepath, index):
                    yield document


class _TextReader(BaseDiskReader):
    """One document a file; its path is its id."""

    name = "Text"

    def read_file(self, filepath: str) -> Iterator[Document]:
        with open_binary(self.data_folder, filepath) as file:
            content = file.read().removeprefix(b"\xef\xbb\xbf")
        data: dict[str, Any] = {"id": filepath, "text": content.decode("utf-8", "replace").replace("\r\n", "\n")}
        try:
            content.decode("utf-8")
        except UnicodeDecodeError:
            data["invalid_utf8"] = True
        if document := self.get_document_from_dict(data, filepath, 0):
            yield document


def _files(config: CorpusConfig) -> tuple[str, list[str]]:
    """(folder, names in it) of a file corpus, sorted."""
    if not is_remote(config.path):
        files = local_files(config)
        path = Path(config.path.removeprefix("file://"))
        folder = path if path.is_dir() else Path(*_common(files))
        return str(folder), [str(file.relative_to(folder)) for file in files]
    system, path = url_to_fs(config.path)
    if system.isfile(path):
        folder, _, name = config.path.rpartition("/")
        return folder, [name]
    names = get_datafolder(config.path).list_files(glob_pattern=config.glob or None)
    return config.path, [name for name in names if config.glob or name.endswith(SUFFIXES[config.format])]


def _common(files: list[Path]) -> tuple[str, ...]:
    parents = [file.parent.parts for file in files]
    depth = 0
    while all(len(parts) > depth for parts in parents) and len({parts[depth] for parts in parents}) == 1:
        depth += 1
    return parents[0][:depth] if parents else ()


def _file_reader(config: CorpusConfig, folder: str, on_reject: OnReject) -> BaseDiskReader:
    """The format's reader. datatrove binds an adapter as a method, so it must be a plain function."""
    adapter = _Adapter(config, on_reject)

    def adapt(reader: BaseReader, data: dict[str, Any], path: str, index: int | str) -> dict[str, Any]:
        return adapter(reader, data, path, index)

    match config.format:
        case "parquet":
            reader = ParquetReader(folder, adapter=adapt)
        case "jsonl":
            reader = _LineReader(folder, adapter=adapt)
            reader.on_reject = on_reject
        case "warc":
            reader = _WarcReader(folder, adapter=adapt)
            reader.on_reject, reader.extract_html = on_reject, config.extract_html
        case _:
            reader = _TextReader(folder, adapter=adapt)
    reader.add_file_path = False  # an absolute path would make the same corpus differ from machine to machine
    return reader


def _read_files(config: CorpusConfig, on_reject: OnReject) -> Iterator[Document]:
    folder, names = _files(config)
    if not names:
        raise UserError(f"corpus.path {config.path} holds no {config.format} file: correct it or corpus.glob")
    reader = _file_reader(config, folder, on_reject)
    for name in names:
        with _readable(f"{folder}/{name}"):
            yield from reader.read_files_shard([name])


def _read_hub(config: CorpusConfig, on_reject: OnReject) -> Iterator[Document]:
    options = {"split": config.split, "name": config.subset or None, "revision": config.revision or None}
    adapter = _Adapter(config, on_reject)

    def adapt(reader: BaseReader, data: dict[str, Any], path: str, index: int | str) -> dict[str, Any]:
        if config.text_column not in data:
            raise UserError(f"corpus.text_column {config.text_column!r} is not in {path}, which has: {', '.join(data)}")
        return adapter(reader, data, path, index)

    reader = HuggingFaceDatasetReader(config.path, options, streaming=True, adapter=adapt)
    try:
        yield from reader.run()
    except (OSError, ValueError) as error:  # not found, no network, unknown split or subset
        raise UserError(
            f"data set {config.path} (subset {config.subset or 'default'}, split {config.split}) can't be read: "
            f"{error}; check corpus.path, corpus.subset and corpus.split, and the network or HF_HUB_OFFLINE"
        ) from error


def read_corpus(config: CorpusConfig, on_reject: OnReject) -> Iterator[Document]:
    """Documents of the corpus, at most ``config.limit``."""
    datatrove_log.disable("datatrove.pipeline.readers")  # a line a file; what matters of them is in the rejects
    match config.format:
        case "package_pages":
            documents = read_package_pages(on_reject)
        case "huggingface":
            documents = _read_hub(config, on_reject)
        case _:
            documents = _read_files(config, on_reject)
    return islice(documents, None if config.limit < 0 else config.limit)


def first_columns(format: str, file: Path) -> tuple[list[str], str]:
    """(column names, fault) by the Parquet schema, or by the first JSON object of the first 100 lines."""
    try:
        if format == "parquet":
            return list(pq.read_schema(file).names), ""
        folder = get_datafolder(str(file.parent))
        with open_binary(folder, file.name) as lines:
            for line in islice(lines, 100):
                try:
                    record = orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
                except orjson.JSONDecodeError:
                    continue
                if isinstance(record, dict):
                    return list(record), ""
    except BROKEN_FILE as error:
        return [], f"{type(error).__name__}: {error}"
    return [], "no JSON object in its first 100 lines"
