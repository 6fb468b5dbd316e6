"""Opening files that may be compressed, such that a cut-off one is an error and not a shorter file."""

import io
from typing import Any, BinaryIO

import zstandard
from datatrove.io import DataFolder

BLOCK_BYTES = 1 << 17


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
            block = rest or self._raw.read(BLOCK_BYTES)
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
        return io.BufferedReader(_ZstdFile(folder.open(name, "rb", compression=None)), BLOCK_BYTES)
    return folder.open(name, "rb", compression="infer")
