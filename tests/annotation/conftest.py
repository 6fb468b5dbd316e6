"""Documents as an artefact, and a loopback server that speaks /v1/chat/completions."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from prox import units

Answer = tuple[int, dict[str, str], str]
"""(HTTP status, headers, the assistant's text or the error's)."""


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
                    status, headers, text = server.respond(body["messages"], number)
                self.reply(status, headers, text)

            def reply(self, status: int, headers: dict[str, str], text: str) -> None:
                content: dict[str, Any] = {"error": {"message": text}}
                if status == 200:
                    message = {"role": "assistant", "content": text}
                    choice = {"index": 0, "message": message, "finish_reason": "stop"}
                    content = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
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
