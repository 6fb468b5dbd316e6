"""Answers by the content of their requests, on disk: no request is paid for twice, whatever is run again or changed.

The folder lies outside of the artefacts, which are set aside when a setting changes. Each process writes one file of
its own, so that several may share a folder, on a network file system too; what others add is seen at the next start.
"""

import json
import os
import re
import secrets
import socket
import time
from pathlib import Path
from typing import Any, TextIO

from annotation.annotators import Annotator, Request
from prox.engines import Completion
from prox.errors import UserError

_BEGIN = re.compile(rb'\{"key": "([0-9a-f]{64})", "round": (\d+), ')
SECONDS_BETWEEN_SYNCS = 5.0
"""What a machine that fails may lose; a process that is killed loses nothing."""


class AnswerCache:
    """Looks answers up by ``Request.key`` and keeps new ones; use as a context manager.

    Memory: one key and one offset an answer; texts are read when they are asked for.
    """

    def __init__(self, folder: Path) -> None:
        """Reads the keys of all files there; the last line of a file is left out where a kill cut it."""
        self.folder = folder
        self._places: dict[str, tuple[int, Path, int]] = {}
        self._file: TextIO | None = None
        self._last_sync = time.monotonic()
        for path in sorted(folder.glob("answers-*.jsonl")) if folder.is_dir() else []:
            self._read_keys(path)

    def __enter__(self) -> "AnswerCache":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._sync()
            self._file.close()
            self._file = None

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def get(self, key: str) -> tuple[Completion, int] | None:
        """(the answer kept under a key, the round in which it was asked for); of several the latest."""
        if key not in self._places:
            return None
        round_, path, offset = self._places[key]
        with path.open("rb") as file:
            file.seek(offset)
            line = file.readline()
        try:
            row = json.loads(line)
            answer = Completion(row["answer"], row["answer_tokens"], row["finish_reason"], row["prompt_tokens"])
            return answer, round_
        except (ValueError, KeyError) as error:
            raise UserError(f"{path}, byte {offset}: no answer of ours ({error}); move the file away") from None

    def put(
        self, key: str, request: Request, annotator: Annotator, answer: Completion, tries: int = 1, round_: int = 0
    ) -> None:
        """Keeps an answer, with what decided it; it is with the operating system when this returns."""
        file = self._open()
        row: dict[str, Any] = {
            "key": key,
            "round": round_,
            "task": request.task,
            "model": annotator.model,
            "prompt": request.prompt.mark,
            "sampling": annotator.sampling,
            "tries": tries,
            "answer": answer.text,
            "finish_reason": answer.finish_reason,
            "prompt_tokens": answer.num_prompt_tokens,
            "answer_tokens": answer.num_tokens,
            "answered": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        self._places[key] = (round_, Path(file.name), file.tell())
        file.write(json.dumps(row) + "\n")
        file.flush()
        if time.monotonic() - self._last_sync > SECONDS_BETWEEN_SYNCS:
            self._sync()

    def _open(self) -> TextIO:
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
            name = f"answers-{moment}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}.jsonl"
            self._file = (self.folder / name).open("x", encoding="utf-8", newline="\n")
        return self._file

    def _sync(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._last_sync = time.monotonic()

    def _read_keys(self, path: Path) -> None:
        offset = 0
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                found = _BEGIN.match(line)
                if found is None:
                    raise UserError(f"{path}, byte {offset}: no answer of ours; move the file away")
                key, round_ = found[1].decode(), int(found[2])
                if key not in self._places or self._places[key][0] <= round_:
                    self._places[key] = (round_, path, offset)
                offset += len(line)
