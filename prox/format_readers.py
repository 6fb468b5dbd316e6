"""One reader a file format: the records of a file, each made a document, past whatever is broken in between."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.io import DataFolder
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.readers.warc import process_record
from warcio.archiveiterator import ArchiveIterator

from prox.compressed import BLOCK_BYTES, LONGEST_BYTES, Lines, open_binary, read_blocks
from prox.corpus import CorpusConfig
from prox.corpus_access import BROKEN_FILE, open_file
from prox.corpus_records import DocumentMaker, Faults
from prox.warc_records import read_warc_records

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BATCH_BYTES = 1 << 25
BATCH_ROWS = 1_000


def _parse_line(line: bytes) -> tuple[Any, bool]:
    """(value, whether bytes had to be replaced) of a line of JSON; ``ValueError`` where it is none.

    The second try is Python's own parser, which takes lone surrogates, NaN (as null) and raw control characters.
    """
    try:
        return orjson.loads(line), False
    except orjson.JSONDecodeError as error:
        try:
            text, is_mended = line.decode("utf-8"), False
        except UnicodeDecodeError:
            text, is_mended = line.decode("utf-8", "replace"), True
        try:
            return json.loads(text, strict=False, parse_constant=lambda _: None), is_mended
        except (ValueError, RecursionError):
            raise ValueError(str(error)) from error


def read_jsonl(folder: DataFolder, name: str, maker: DocumentMaker, faults: Faults) -> Iterator[Document]:
    """JSONL by bytes: one bad line costs that line."""
    with open_binary(folder, name) as file:
        lines, index = Lines(file), -1
        try:
            for index, (line, is_whole) in enumerate(lines):
                line = line.removeprefix(BYTE_ORDER_MARK) if index == 0 else line
                if not is_whole:
                    faults.reject(f"{name}/{index}", f"line too long: over {LONGEST_BYTES:,} bytes", line)
                    continue
                if not line.strip():
                    continue
                try:
                    data, is_mended = _parse_line(line)
                    if not isinstance(data, dict):
                        raise ValueError(f"a {type(data).__name__}, not an object")
                except ValueError as error:
                    faults.reject(f"{name}/{index}", f"not a JSON object: {error}", line)
                    continue
                if document := maker(data, name, index, is_mended):
                    yield document
        except BROKEN_FILE as error:
            faults.broken(name, f"{name}/{index + 1}", error, bytes(lines.rest))


def parquet_columns(config: CorpusConfig) -> list[str] | None:
    """Columns that can matter to a config; None: all."""
    if not config.metadata_columns:
        return None
    return [config.text_column, config.id_column or "id", "metadata", *config.metadata_columns]


def _to_read(file: pq.ParquetFile, columns: list[str] | None) -> list[str] | None:
    """Those of the columns that the file has; of a dotted one that it does not have, the part that it has."""
    if columns is None:
        return None
    there = [file.schema.column(index).path for index in range(len(file.schema))]
    found = []
    for name in columns:
        parents = [name] + [name[:index] for index in range(len(name), 0, -1) if name[index - 1 : index] == "."]
        parents = [parent.rstrip(".") for parent in parents]
        found += [one for one in parents if any(path == one or path.startswith(f"{one}.") for path in there)][:1]
    return list(dict.fromkeys(found))


def _as_binary(kind: pa.DataType) -> pa.DataType:
    """The type with bytes in place of strings."""
    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_struct(kind):
        return pa.struct([member.with_type(_as_binary(member.type)) for member in kind])
    if pa.types.is_list(kind):
        return pa.list_(_as_binary(kind.value_type))
    return kind


def _values(column: pa.Array) -> list[Any]:
    """Values of a column: as bytes where a string is no UTF-8, as text where Python has no such date."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        return column.cast(_as_binary(column.type)).to_pylist()
    except (ValueError, OverflowError):
        return column.cast(pa.string()).to_pylist()


def read_parquet(
    folder: DataFolder, name: str, maker: DocumentMaker, faults: Faults, columns: list[str] | None
) -> Iterator[Document]:
    """Parquet by row groups: a broken page costs the rest of its row group."""
    with (
        open_file(folder, name) as file,
        pq.ParquetFile(file, buffer_size=BLOCK_BYTES, pre_buffer=False, page_checksum_verification=True) as parquet,
    ):
        wanted, begin = _to_read(parquet, columns), 0
        for group in range(parquet.num_row_groups):
            facts, row = parquet.metadata.row_group(group), begin
            rows = max(1, min(BATCH_ROWS, BATCH_BYTES * facts.num_rows // max(1, facts.total_byte_size)))
            try:
                with closing(parquet.iter_batches(rows, row_groups=[group], columns=wanted)) as batches:
                    for batch in batches:
                        names = batch.schema.names
                        for values in zip(*map(_values, batch.columns), strict=True):
                            if document := maker(dict(zip(names, values, strict=True)), name, row):
                                yield document
                            row += 1
            except BROKEN_FILE as error:
                faults.broken(name, f"{name}/{row}", error)
            begin += facts.num_rows


def _parse_record(content: bytes) -> tuple[str, dict[str, Any] | None]:
    """(record type, its fields) of a WARC record; the fields are None where it is neither HTML nor plain text."""
    for record in ArchiveIterator(BytesIO(content)):
        if record.rec_type not in ("response", "conversion"):
            return "", None
        return record.rec_type, process_record(record)
    raise ValueError("the block is empty")


def _attempt(step: Callable[[Any], Any], value: Any) -> tuple[Any, str]:
    """(result, fault) of a step of other people's code on a web page: any error it can raise is the page's."""
    try:
        return step(value), ""
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def read_warc(
    folder: DataFolder, name: str, maker: DocumentMaker, faults: Faults, extract_html: bool
) -> Iterator[Document]:
    """WARC and WET: pages that give no text are rejects; requests, headers and the like are no documents at all."""
    extractor = Trafilatura()
    with open_file(folder, name) as file:
        for index, record in enumerate(read_warc_records(file)):
            position = f"{name}/{index}"
            if record.fault:
                faults.broken(name, position, record.fault, record.content)
                continue
            parsed, fault = _attempt(_parse_record, record.content)
            if fault:
                faults.reject(position, f"unreadable record: {fault}", record.content)
                continue
            kind, data = parsed
            if not kind:
                continue
            if data is None:
                faults.reject(position, "neither HTML nor plain text, or in an unknown encoding")
                continue
            if kind == "response" and extract_html:
                html = data["text"]
                data["text"], fault = _attempt(extractor.extract, html)
                if not data["text"]:
                    faults.reject(position, f"no text found in the HTML{fault and ': '}{fault}", html)
                    continue
            if document := maker(data, name, index):
                yield document


def read_text(folder: DataFolder, name: str, maker: DocumentMaker, faults: Faults) -> Iterator[Document]:
    """One document a file; its path is its id."""
    content = bytearray()
    try:
        with open_binary(folder, name) as file:
            for block in read_blocks(file):
                content += block
                if len(content) > LONGEST_BYTES:
                    faults.reject(f"{name}/0", f"text too long: over {LONGEST_BYTES:,} bytes", content)
                    return
    except BROKEN_FILE as error:
        faults.broken(name, f"{name}/0", error, content)
        return
    content = content.removeprefix(BYTE_ORDER_MARK)
    try:
        text, is_mended = content.decode("utf-8"), False
    except UnicodeDecodeError:
        text, is_mended = content.decode("utf-8", "replace"), True
    if document := maker({"id": name, "text": text.replace("\r\n", "\n")}, name, 0, is_mended):
        yield document


READERS: dict[str, Callable[..., Iterator[Document]]] = {
    "jsonl": read_jsonl,
    "parquet": read_parquet,
    "warc": read_warc,
    "text": read_text,
}
