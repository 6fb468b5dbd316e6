"""Reading files that may be compressed, broken, or one endless line: a cut-off file is an error and not a shorter file,
and memory stays bounded whatever a file holds.
"""

import io
from collections.abc import Iterator
from typing import Any, BinaryIO

import zstandard
from datatrove.io import DataFolder
from fsspec.compression import compr
from fsspec.utils import infer_compression

from prox.corpus_access import open_file

BLOCK_BYTES = 1 << 17
FEED_BYTES = 1 << 13  # a few bytes of zstd can unfold to 128 KiB, and a whole piece is unfolded at once
LONGEST_BYTES = 1 << 28  # of a line, a record, a text: it is held in memory several times over
EXCERPT_BYTES = 8_000


class _ZstdFile(io.RawIOBase):
    """A zstd file of one or more frames; unlike zstandard's own stream it notices a missing end."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw, self._frame, self._ready = raw, zstandard.ZstdDecompressor().decompressobj(), b""

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._raw.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        rest, begun = b"", True
        while not self._ready:
            if self._frame.eof:
                rest, begun = self._frame.unused_data, False
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            block = rest or self._raw.read(FEED_BYTES)
            rest = b""
            if not block:
                if begun:
                    raise EOFError("the zstd data ends before its end marker")
                return 0
            begun = True
            self._ready = self._frame.decompress(block)
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


def open_binary(folder: DataFolder, name: str) -> BinaryIO:
    """Opens a file of the folder for reading; gz, zst, bz2 and xz are decompressed by its name."""
    if name.endswith((".zst", ".zstd")):
        return io.BufferedReader(_ZstdFile(open_file(folder, name)), BLOCK_BYTES)
    return compr[infer_compression(name)](open_file(folder, name), mode="r")


def read_blocks(file: BinaryIO) -> Iterator[bytes]:
    """A file in pieces, each as soon as it is there: an error costs nothing of what came before it."""
    read = getattr(file, "read1", file.read)  # `read` fills its block first, and an error in between loses it
    while block := read(BLOCK_BYTES):
        yield block


class Lines:
    """Lines of a file, without their ends, and whether each is whole: of one longer than ``longest`` bytes there is
    only the beginning. ``rest`` is what was read of a line that is not ended, which matters after an error.
    """

    def __init__(self, file: BinaryIO, longest: int = LONGEST_BYTES) -> None:
        self._file, self._longest = file, longest
        self.rest, self._is_whole = bytearray(), True

    def _add(self, piece: bytes) -> None:
        if self._is_whole:
            self.rest += piece
            if len(self.rest) > self._longest:
                self._is_whole = False
                del self.rest[EXCERPT_BYTES:]

    def _take(self) -> tuple[bytes, bool]:
        line = bytes(self.rest), self._is_whole
        self.rest, self._is_whole = bytearray(), True
        return line

    def __iter__(self) -> Iterator[tuple[bytes, bool]]:
        for block in read_blocks(self._file):
            first, *others = block.split(b"\n")
            self._add(first)
            if others:
                yield self._take()
                for line in others[:-1]:
                    yield line, True
                self._add(others[-1])
        if self.rest:
            yield self._take()
