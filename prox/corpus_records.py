"""A source's record -> a document, or a ``Reject`` that says why it is none."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

from datatrove.data import Document

from prox.compressed import LONGEST_BYTES
from prox.corpus import CorpusConfig, Reject
from prox.corpus_columns import MISSING, parse_object, take
from prox.errors import UserError
from prox.units import source_hash

REJECT_CHARACTERS = 2_000
_SURROGATES = re.compile("[\ud800-\udfff]")


class Faults:
    """Passes on what is no document; ``place`` is the folder or data set the positions are in, ``files`` the number of
    files (or shards) that are read of it.
    """

    def __init__(self, on_reject: Callable[[Reject], None], keep_going: bool, place: str) -> None:
        self.on_reject, self.keep_going, self.place = on_reject, keep_going, place
        self.files = 1

    def reject(self, position: str, reason: str, text: str | bytes = "") -> None:
        """A record that is no document."""
        self.on_reject(Reject(_clean(position), _clean(reason), _excerpt(text)))

    def broken(self, file: str, position: str, what: str | BaseException, text: str | bytes = "") -> None:
        """Damage to a file: a ``UserError`` naming it, unless the reading is to go on."""
        what = _clean(what if isinstance(what, str) else f"{type(what).__name__}: {what}")
        file, position = _clean(file), _clean(position)  # names that are no UTF-8
        if not self.keep_going:
            raise UserError(
                f"{self.place}/{file} can't be read to its end ({what}; at {position}): fetch it again or remove it"
            )
        self.on_reject(Reject(position, f"broken file: {what}", _excerpt(text), broken_file=file, of_files=self.files))


def _clean(text: str) -> str:
    return _SURROGATES.sub("\ufffd", text)


def _excerpt(text: str | bytes) -> str:
    if isinstance(text, bytes | bytearray):
        text = bytes(text[: 4 * REJECT_CHARACTERS]).decode("utf-8", "replace")
    return _clean(text[:REJECT_CHARACTERS])


def _as_json(record: dict[str, Any]) -> str:
    known = {name: value for name, value in record.items() if value is not MISSING}
    return json.dumps(known, ensure_ascii=False, default=str)


def _mended(value: Any, marks: set[str]) -> Any:
    """The value with bytes decoded and everything replaced that UTF-8 can't hold; ``marks`` says which there was."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            marks.add("lone_surrogates")
            return _clean(value)
        return value
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            marks.add("invalid_utf8")
            return value.decode("utf-8", "replace")
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON, as which metadata are stored, has no NaN
    if isinstance(value, dict):
        return {_mended(str(key), marks): _mended(item, marks) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mended(item, marks) for item in value]
    return value


class DocumentMaker:
    """Turns a source's record into a document, or rejects it and gives None."""

    def __init__(self, config: CorpusConfig, faults: Faults) -> None:
        self.config, self.faults = config, faults
        self.column = "text" if config.format in ("warc", "text") else config.text_column

    def __call__(self, data: dict[str, Any], path: str, index: int | str, is_mended: bool = False) -> Document | None:
        """``is_mended`` where the reader itself had to replace bytes that are no UTF-8."""
        position = f"{path}/{index}"
        marks = {"invalid_utf8"} if is_mended else set()
        try:
            text = _mended(take(data, self.column), marks)
            given = _mended(take(data, self.config.id_column or "id"), marks)
            metadata = _mended(self._metadata(data), marks)
        except RecursionError:
            self.faults.reject(position, "nested too deeply")
            return None
        if fault := self._fault(text):
            left = text if isinstance(text, str) and text else {self.column: text, "id": given, **metadata}
            self.faults.reject(position, fault, left if isinstance(left, str) else _as_json(left))
            return None
        identity = source_hash(f"{position}\0{text}") if given in (MISSING, None, "") else str(given)
        return Document(text=text, id=identity, metadata=metadata | dict.fromkeys(sorted(marks), True))

    def _fault(self, text: Any) -> str:
        if text is MISSING:
            return f"no {self.column!r} in the record"
        if text is None or (isinstance(text, str) and not text.strip()):
            return "empty text"
        if not isinstance(text, str):
            return f"{self.column!r} holds a {type(text).__name__}, not a string"
        if len(text) > LONGEST_BYTES // 4 and len(text.encode()) > LONGEST_BYTES:
            return f"text too long: over {LONGEST_BYTES:,} bytes"
        return ""

    def _metadata(self, data: dict[str, Any]) -> dict[str, Any]:
        """A source's own ``metadata`` object is merged in, so that a refined corpus read again does not nest deeper."""
        wanted = self.config.metadata_columns
        found = {name: take(data, name) for name in wanted if "." in name}
        nested = data.pop("metadata", None)
        inner = parse_object(nested)
        if inner is None:
            inner = {} if nested is None else {"metadata": nested}
        data = inner | data
        if not wanted:
            return data
        found |= {name: data[name] for name in wanted if name in data}
        return {name: value for name, value in found.items() if value is not MISSING}
