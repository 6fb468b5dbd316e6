"""WARC records as bytes, one by one, with what is broken left out and everything after it found again.

warcio ends at the first broken record. Here the next record is looked for: in a gzip file at the next member, elsewhere
at the next version line. Content-Length is believed only where it leads to a record's end.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from prox.compressed import BLOCK_BYTES, EXCERPT_BYTES, LONGEST_BYTES
from prox.corpus_access import BROKEN_FILE

_GZIP_MAGIC = b"\x1f\x8b\x08"
_GZIP_FORMAT = 31  # zlib's window bits for a gzip header and trailer
_KEPT_BYTES = 1 << 24  # of a gzip member, to look for the next one in when it is broken
_HEADER_BYTES = 1 << 18
_BEGIN = b"WARC/"
_VERSION_LINE = re.compile(rb"WARC/\d\.\d+\r?\n")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"^content-length:[ \t]*(\d+)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class WarcRecord:
    """A record's bytes, header and block; with a ``fault``, the beginning of what could not be read as one."""

    content: bytes
    fault: str = ""


class _BadRecordError(Exception):
    pass


class _PlainSource:
    def __init__(self, file: BinaryIO, begin: bytes) -> None:
        self._file, self._begin = file, begin

    def read(self) -> bytes:
        begin, self._begin = self._begin, b""
        return begin or self._file.read(BLOCK_BYTES)

    def resume(self) -> bool:
        """False: what an uncompressed file can't give is lost."""
        return False


class _GzipSource:
    """The decompressed members of a gzip file; after an error ``resume`` goes to what looks like another member."""

    def __init__(self, file: BinaryIO, begin: bytes) -> None:
        self._file, self._input = file, begin
        self._member, self._inflate = bytearray(), None

    def read(self) -> bytes:
        while True:
            if self._inflate is None:
                self._input = self._input.lstrip(b"\0")  # padding between members
            self._input = self._input or self._file.read(BLOCK_BYTES)
            if not self._input:
                if self._inflate is None:
                    return b""
                self._inflate = None
                raise EOFError("the gzip data ends before its end marker")
            if output := self._unfold():
                return output

    def _unfold(self) -> bytes:
        self._inflate = self._inflate or zlib.decompressobj(_GZIP_FORMAT)
        fed = self._input
        is_kept = len(self._member) < _KEPT_BYTES
        if is_kept:
            self._member += fed
            self._input = b""
        output = self._inflate.decompress(fed, BLOCK_BYTES)
        self._input = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
        if is_kept and self._input:
            del self._member[-len(self._input) :]
        if self._inflate.eof:
            self._inflate, self._member = None, bytearray()
        return output

    def resume(self) -> bool:
        """True where another member may begin, which need not hold a record."""
        data, begin = bytes(self._member) + self._input, 1
        self._inflate, self._member, self._input = None, bytearray(), b""
        while (at := data.find(_GZIP_MAGIC, begin)) < 0:
            block = self._file.read(BLOCK_BYTES)
            if not block:
                return False
            data, begin = data[-len(_GZIP_MAGIC) + 1 :] + block, 0
        self._input = data[at:]
        return True


class _Splitter:
    """Cuts a source into records."""

    def __init__(self, source: _PlainSource | _GzipSource) -> None:
        self._source, self._buffer = source, bytearray()
        self._error: BaseException | None = None  # of the source; what was read before it comes first

    def _has(self, size: int) -> bool:
        while len(self._buffer) < size and self._error is None:
            try:
                piece = self._source.read()
            except BROKEN_FILE as error:
                self._error = error
                break
            if not piece:
                break
            self._buffer += piece
        return len(self._buffer) >= size

    def __iter__(self) -> Iterator[WarcRecord]:
        while True:
            try:
                content = self._next()
            except _BadRecordError as fault:
                said = str(fault) if self._error is None else f"{type(self._error).__name__}: {self._error}"
                yield WarcRecord(bytes(self._buffer[:EXCERPT_BYTES]), said)
                if not self._find_next():
                    return
                continue
            if content is None:
                return
            yield WarcRecord(content)

    def _next(self) -> bytes | None:
        """The next record, or None at the end."""
        while self._has(1) and self._buffer[:1].isspace():
            self._buffer = self._buffer.lstrip()
        if not self._buffer and self._error is None:
            return None
        if not self._has(len(_BEGIN)) or not self._buffer.startswith(_BEGIN):
            raise _BadRecordError("no WARC header")
        begin = self._header_end()
        length = _LENGTH.search(self._buffer, 0, begin)
        if length is None:
            raise _BadRecordError("no Content-Length in the header")
        size = begin + int(length[1])
        if size > LONGEST_BYTES:
            raise _BadRecordError(f"a record of {size:,} bytes; the longest that is read has {LONGEST_BYTES:,}")
        if not self._has(size):
            raise _BadRecordError(f"only {len(self._buffer) - begin:,} of {size - begin:,} bytes are there")
        self._has(size + 4 + len(_BEGIN))
        following = bytes(self._buffer[size : size + 4 + len(_BEGIN)])
        is_ended = following.startswith((b"\r\n\r\n", b"\n\n"))
        if not is_ended and not _BEGIN.startswith(following.lstrip(b"\r\n")[: len(_BEGIN)]):
            raise _BadRecordError(f"Content-Length {size - begin:,} is not where the record ends")
        content = bytes(self._buffer[:size])
        del self._buffer[:size]
        return content

    def _header_end(self) -> int:
        size = 1 << 12
        while not (end := _HEADER_END.search(self._buffer)):
            if len(self._buffer) > _HEADER_BYTES or not self._has(len(self._buffer) + 1):
                raise _BadRecordError(f"the header does not end within {len(self._buffer):,} bytes")
            self._has(size)
            size *= 2
        return end.end()

    def _find_next(self) -> bool:
        """Goes to the next record's beginning; False where there is none."""
        del self._buffer[:1]
        while True:
            if begin := _VERSION_LINE.search(self._buffer):
                del self._buffer[: begin.start()]
                return True
            del self._buffer[:-16]  # a version line may be cut in two
            if self._has(len(self._buffer) + 1):
                continue
            if self._error is None:
                return False
            self._error = None
            try:
                if not self._source.resume():
                    return False
            except BROKEN_FILE:
                return False
            self._buffer.clear()


def read_warc_records(file: BinaryIO) -> Iterator[WarcRecord]:
    """Records of a WARC file opened as it lies on disk, gzipped or not; what the file holds raises nothing."""
    begin = file.read(len(_GZIP_MAGIC))
    source = _GzipSource if begin == _GZIP_MAGIC else _PlainSource
    return iter(_Splitter(source(file, begin)))
