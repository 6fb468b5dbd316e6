"""Engines, a real vLLM server, and a small OpenAI-compatible server whose faults a test decides."""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from prox.engines import EngineConfig

if TYPE_CHECKING:
    from prox.engines.local import LocalEngine
    from prox.engines.server import ServerEngine


@dataclass(frozen=True)
class Fault:
    """What a server says in place of an answer: a status and a body, or nothing at all."""

    status: int = 200
    body: str = '{"error": {"message": "scripted"}}'
    headers: tuple[tuple[str, str], ...] = ()
    close: bool = False
    """Close the connection without a word."""
    hang: bool = False
    """Keep the connection open without a word."""


@dataclass(frozen=True)
class Ebnf:
    """A grammar that is text already, as it comes over the wire."""

    text: str

    def ebnf(self) -> str:
        return self.text


class _Listener(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that give up are no news."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class ScriptedServer:
    """Answers /v1/models, /v1/completions and /v1/chat/completions out of a local engine, or with a test's faults."""

    def __init__(self, engine: "LocalEngine", name: str) -> None:
        self.engine, self.name = engine, name
        self.fault: Callable[[str, dict[str, Any], int], Fault | None] = lambda path, body, number: None
        """(path, request, how often this prompt was asked before) -> what to say in place of the answer."""
        self.fields = {"structured_outputs", "logprob_token_ids"}
        """Fields beyond OpenAI's that it knows; like real ones it ignores the others."""
        self.requests: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Listener(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply({})

            def do_POST(self) -> None:
                self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _reply(self, body: dict[str, Any]) -> None:
                fault, answer = server.answer(self.path.removeprefix("/v1"), body)
                if fault and fault.hang:
                    server._closing.wait()
                if fault and (fault.close or fault.hang):
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                data = (fault.body if fault else json.dumps(answer)).encode()
                self.send_response(fault.status if fault else 200)
                for name, value in (("Content-Type", "application/json"), *(fault.headers if fault else ())):
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Keeps the test's output clean."""

        return Handler

    def answer(self, path: str, body: dict[str, Any]) -> tuple[Fault | None, dict[str, Any]]:
        with self._lock:
            number = sum(body == earlier for earlier in self.requests)
            self.requests.append(body)
            fault = self.fault(path, body, number)
            if fault:
                return fault, {}
            if path == "/models":
                return None, {"object": "list", "data": [{"id": self.name, "max_model_len": self.engine.max_context}]}
            answer = self._chat(body) if "messages" in body else self._complete(body)
        return None, {"id": "1", "object": "completion", "created": 0, "model": self.name, **answer}

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        from prox.engines.local import BiasProcessor

        prompt, number = body["prompt"], body["max_tokens"]
        logprobs: dict[str, Any] | None = None
        if body.get("echo"):
            value = self.engine.choose([prompt[:-1]], [prompt[-1]])[0][0]
            logprobs = {"token_logprobs": [*[None] * (len(prompt) - 1), value, -1.0]}
        elif body.get("logprobs"):
            wanted = body["logprob_token_ids"] if "logprob_token_ids" in self.fields else [7]
            values = self.engine.choose([prompt], wanted)[0]
            logprobs = {"top_logprobs": [{f"token_id:{token}": v for token, v in zip(wanted, values, strict=True)}]}
        known = {name: body[name] for name in self.fields & body.keys() if name != "logprob_token_ids"}
        ebnf = known.get("guided_grammar") or known.get("structured_outputs", {}).get("grammar")
        grammar = Ebnf(ebnf) if ebnf else None
        bias = {int(token): value for token, value in body.get("logit_bias", {}).items()}
        processors = [BiasProcessor(bias)] if bias else []
        answer = self.engine._decode([prompt], number, body.get("stop", ()), grammar, processors)[0]
        choice = {"index": 0, "text": answer.text, "finish_reason": answer.finish_reason, "logprobs": logprobs}
        return {"choices": [choice], "usage": {"completion_tokens": answer.num_tokens}}

    def _chat(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.engine.chat([body["messages"]], body["max_tokens"])[0]
        message = {"role": "assistant", "content": answer.text}
        choice = {"index": 0, "message": message, "finish_reason": answer.finish_reason}
        return {"choices": [choice], "usage": {"completion_tokens": answer.num_tokens}}

    def stop(self) -> None:
        """From now on nothing listens at the address."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="session")
def reference(tiny_checkpoint: Path) -> "LocalEngine":
    """The local engine with one prompt a batch: nothing is padded."""
    from prox.engines.local import LocalEngine

    return LocalEngine(EngineConfig(batch_size=1), str(tiny_checkpoint))


@pytest.fixture
def scripted_server(reference: "LocalEngine", tiny_checkpoint: Path) -> Iterator[ScriptedServer]:
    server = ScriptedServer(reference, str(tiny_checkpoint))
    yield server
    server.stop()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were asked for; none is made, but the clock goes on by it."""
    from prox.engines import endpoint as endpoint_module

    asked: list[float] = []
    sleep = endpoint_module.asyncio.sleep

    async def note(seconds: float) -> None:
        asked.append(seconds)
        await sleep(0)

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(asked), time=time.time)
    monkeypatch.setattr(endpoint_module, "time", clock)
    monkeypatch.setattr(endpoint_module.asyncio, "sleep", note)
    return asked


@pytest.fixture
def prompts(reference: "LocalEngine") -> list[list[int]]:
    return [reference.tokenizer.encode(text) for text in ("A river", "Start", "x", "It happens", "License")]


def connect(server: ScriptedServer, **settings: Any) -> "ServerEngine":
    """The engine on a server that tries each request three times."""
    from prox.engines.server import ServerEngine

    config = EngineConfig(kind="server", base_url=server.base_url, **{"max_retries": 2, **settings})
    return ServerEngine(config, server.name)


def on_generation(fault: Fault, times: int, prompt: list[int] | None = None) -> Any:
    """Answers the first ``times`` tries of each prompt (or of one) with a fault."""

    def find(path: str, body: dict[str, Any], number: int) -> Fault | None:
        return fault if path != "/models" and number < times and prompt in (None, body.get("prompt")) else None

    return find
