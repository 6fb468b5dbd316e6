"""A corpus' files, opened patiently: what is damaged or gone is told from what is only not to be had at the moment.

Damage costs what it has damaged, and the reading goes on. A server that is down or a password that has expired says
nothing about the files: after a few tries that ends the run, so that nothing is committed without them.
"""

import errno
import io
import logging
import lzma
import time
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

import httpx
import pyarrow as pa
import zstandard
from aiohttp import ClientError
from botocore.exceptions import BotoCoreError
from botocore.exceptions import ClientError as BotoClientError
from datatrove.io import DataFolder

from prox.errors import UserError

log = logging.getLogger("prox")

Result = TypeVar("Result")

PAUSES = (1.0, 4.0, 16.0)
"""Seconds between the tries; file systems of clouds have shorter ones of their own."""
BUFFER_BYTES = 1 << 17

# What libraries raise for a file that is damaged, cut off, gone, or not to be had.
BROKEN_FILE = (
    EOFError,
    OSError,
    UnicodeDecodeError,
    lzma.LZMAError,
    zlib.error,
    zstandard.ZstdError,
    pa.ArrowException,
    ClientError,
    httpx.HTTPError,
    BotoCoreError,
    BotoClientError,
)
_NETWORK = (ConnectionError, TimeoutError, PermissionError, ClientError, httpx.HTTPError, BotoCoreError)
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
_GONE_STATUS = {404, 410}


def _causes(error: BaseException) -> list[BaseException]:
    """The error and those it was raised from, the first cause first: fsspec says of any failed request that the file is
    not found.
    """
    found = [error]
    while found[0].__cause__ is not None:
        found.insert(0, found[0].__cause__)
    return found


def _status(error: BaseException) -> int | None:
    """The HTTP status an error carries: aiohttp's, httpx's or botocore's way."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    found = getattr(error, "status", None) or getattr(response, "status_code", None)
    return found if isinstance(found, int) else None


def why_unavailable(error: BaseException) -> BaseException | None:
    """The cause where the file may be whole: no connection, no access, too many open files, a disk that does not
    answer. None: it is damaged or gone.
    """
    for cause in _causes(error):
        status = _status(cause)
        if status is not None:
            return None if status in _GONE_STATUS else cause
        # Decompressors raise OSError too, without a number.
        if isinstance(cause, _NETWORK) or (isinstance(cause, OSError) and cause.errno not in (None, *_GONE)):
            return cause
    return None


def unavailable(what: str, cause: BaseException) -> UserError:
    """The error that ends a run for want of ``what``."""
    return UserError(
        f"{what} is not to be had ({type(cause).__name__}: {cause}): check the network, the disk and your access, then "
        "run the same command again; what is finished is kept"
    )


def patiently(call: Callable[[], Result], what: str) -> Result:
    """What ``call`` gives, tried again while it finds ``what`` unavailable; after the last try a ``UserError``.

    Damage is raised as it is.
    """
    for pause in (*PAUSES, None):
        try:
            return call()
        except BROKEN_FILE as error:
            cause = why_unavailable(error)
            if cause is None:
                raise
            if pause is None or isinstance(cause, PermissionError):
                raise unavailable(what, cause) from error
            log.warning("%s is not to be had (%s: %s): another try in %g s", what, type(cause).__name__, cause, pause)
        time.sleep(pause)
    raise AssertionError("the last try returns or raises")


class _PatientFile(io.RawIOBase):
    """A file that is opened again, at the same place, where a read of it fails."""

    def __init__(self, folder: DataFolder, name: str) -> None:
        self._folder, self._name, self._place = folder, name, 0
        self._what = folder.resolve_paths(name)
        self._file: Any = None
        patiently(self._reach, self._what)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._reach().seek(offset, whence)
        self._place = self._file.tell()
        return self._place

    def readinto(self, buffer: Any) -> int:
        content = patiently(lambda: self._read(len(buffer)), self._what)
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)

    def close(self) -> None:
        self._drop()
        super().close()

    def _reach(self) -> Any:
        """The file underneath, open at the place."""
        if self._file is None:
            self._file = self._folder.open(self._name, "rb", compression=None)
            if self._place:
                self._file.seek(self._place)
        return self._file

    def _read(self, size: int) -> bytes:
        try:
            return self._reach().read(size)
        except BROKEN_FILE:
            self._drop()
            raise

    def _drop(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def open_file(folder: DataFolder, name: str) -> BinaryIO:
    """Opens a file of the folder as it is stored. What it can't give for now is a ``UserError``, after a few tries."""
    return io.BufferedReader(_PatientFile(folder, name), BUFFER_BYTES)
