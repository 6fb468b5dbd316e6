"""Documents as an artefact, and a loopback server that speaks /v1/chat/completions."""

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from annotation.__main__ import VERBS
from prox import units
from prox.command import main

Artefact = Callable[..., Path]


@pytest.fixture
def artefact(tmp_path: Path) -> Artefact:
    """Writes documents (id, text, metadata) as a finished artefact with a name."""

    def make(name: str, *documents: tuple[str, str, dict[str, Any]]) -> Path:
        rows = [{"id": key, "text": text, "metadata": json.dumps(metadata)} for key, text, metadata in documents]
        units.write_unit(tmp_path / name / units.DOCUMENTS / units.unit_name(0), rows, units.DOCUMENT_SCHEMA)
        (tmp_path / name / "_SUCCESS").write_text('{"fingerprint": "", "summary": {}}')
        return tmp_path / name

    return make


@dataclass(frozen=True)
class Misbehaviour:
    """What a server does in place of a proper answer."""

    body: bytes | None = None
    """Sent with status 200; None closes the connection without a word."""
    seconds: float = 0.0
    """How long it keeps the client waiting first."""


Answer = tuple[int, dict[str, str], str] | Misbehaviour
"""(HTTP status, headers, the assistant's text or the error's)."""


def prompt_tokens(messages: list[dict[str, str]]) -> int:
    """How many tokens the server says that a prompt has: a third more than four bytes each would make."""
    return sum(len(message["content"]) for message in messages) // 3


class ChatServer:
    """A real HTTP server whose answers a test decides; ``requests`` holds the dialogues it received."""

    def __init__(self) -> None:
        self.requests: list[list[dict[str, str]]] = []
        self.respond: Callable[[list[dict[str, str]], int], Answer] = lambda messages, number: (200, {}, "")
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server._lock:
                    number = len(server.requests)
                    server.requests.append(body["messages"])
                    answer = server.respond(body["messages"], number)
                if not isinstance(answer, Misbehaviour):
                    self.reply(body["messages"], *answer)
                    return
                time.sleep(answer.seconds)
                if answer.body is None:
                    self.close_connection = True
                    return
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client has given up
                    self.wfile.write(answer.body)

            def reply(self, messages: list[dict[str, str]], status: int, headers: dict[str, str], text: str) -> None:
                content: dict[str, Any] = {"error": {"message": text}}
                if status == 200:
                    message = {"role": "assistant", "content": text}
                    choice = {"index": 0, "message": message, "finish_reason": "stop"}
                    usage = {
                        "prompt_tokens": prompt_tokens(messages),
                        "completion_tokens": len(text.split()),
                        "total_tokens": 0,
                    }
                    content = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
                    content["usage"] = usage
                data = json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Keeps the test's output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the pauses between tries; that they are made is tested with the engines."""
    monkeypatch.setattr("prox.engines.endpoint.FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr("prox.engines.endpoint.CHECK_PAUSES", (0.1, 0.1))


@pytest.fixture
def chat_server() -> Iterator[ChatServer]:
    server = ChatServer()
    yield server
    server.close()


@pytest.fixture
def make_documents(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """Writes documents (id -> text) as an artefact of two units."""

    def make(texts: dict[str, str]) -> Path:
        folder = tmp_path / "ingest"
        rows = [{"id": key, "text": text, "metadata": "{}"} for key, text in texts.items()]
        half = len(rows) // 2
        for number, part in enumerate((rows[:half], rows[half:])):
            units.write_unit(folder / units.DOCUMENTS / units.unit_name(number), part, units.DOCUMENT_SCHEMA)
        return folder

    return make


PROSE = "The library reads the file and keeps what it needs, because memory is short on small machines.\n"


@pytest.fixture
def corpus() -> dict[str, str]:
    """Sixty small pages: two in three are prose with a badge and a licence line, the others link lists."""
    texts = {}
    for number in range(60):
        badge = f"[![b](https://b.example/{number}.svg)](https://b.example/{number})\n\n"
        page = f"# Page {number}\n\n{badge}{PROSE * (5 + number % 4)}\nLicensed under the MIT license.\n"
        links = "".join(f"- [item {n}](https://l.example/{number}/{n})\n" for n in range(12))
        texts[f"page-{number:02d}"] = page if number % 3 else f"# Links {number}\n{links}"
    return texts


SCORED = "It is fine.\n{}: {}"
PROGRAM = "A remark.\n```python\nkeep_chunk()\n```"


def closing_of(messages: list[dict[str, str]]) -> str:
    return re.findall(r'closing line "(.*?):', messages[0]["content"])[-1]


def arguments(verb: str, documents: Path, output: Path, base_url: str, *extra: str) -> list[str]:
    fixed = ["--annotator.kind", "model", "--annotator.model", "m", "--engine.base_url", base_url]
    return [verb, "--documents", str(documents), "--output", str(output), *fixed, *extra]


def run(verb: str, *rest: object) -> int:
    return main("annotation", VERBS, arguments(verb, *rest))  # type: ignore[arg-type]


def usage_of(folder: Path) -> dict[str, float]:
    return json.loads((folder / "usage.json").read_text())
