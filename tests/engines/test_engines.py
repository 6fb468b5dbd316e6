"""One conformance test for every engine: same order, same answers, same probabilities."""

import math
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from prox.engines import Completion, Engine, EngineConfig, load_engine
from prox.errors import UserError

TEXTS = ["A river is", "Start | Catalogue | Help", "It happens in the chloroplasts of", "x"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def vllm_server(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a real vLLM server on loopback with the tiny model."""
    pytest.importorskip("vllm")
    port = free_port()
    log = tmp_path_factory.mktemp("server") / "server.log"
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--max-model-len", "512"]
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(tiny_checkpoint), *arguments]
    with log.open("w") as output:
        process = subprocess.Popen([*command, "--enforce-eager"], stdout=output, stderr=output, env=environment)
    try:
        deadline = time.monotonic() + 300
        while True:
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(params=["local", *(pytest.param(kind, marks=pytest.mark.vllm) for kind in ("vllm", "server"))])
def engine(request: pytest.FixtureRequest, tiny_checkpoint: Path) -> Engine:
    base_url = request.getfixturevalue("vllm_server") if request.param == "server" else ""
    config = EngineConfig(kind=request.param, batch_size=2, max_context=512, base_url=base_url)
    return load_engine(config, str(tiny_checkpoint))


@pytest.fixture
def reference(tiny_checkpoint: Path) -> Engine:
    """The local engine with one prompt a batch: nothing is padded."""
    return load_engine(EngineConfig(kind="local", batch_size=1), str(tiny_checkpoint))


@pytest.mark.timeout(400)
def test_every_engine_generates_the_same_in_the_order_asked(engine: Engine, reference: Engine) -> None:
    prompts = [reference.tokenizer.encode(text) for text in TEXTS]
    answers, expected = engine.generate(prompts, max_new_tokens=12), reference.generate(prompts, 12)
    # vLLM holds back the bytes of a character that the token limit cut in two.
    assert [answer.text.rstrip("\ufffd") for answer in answers] == [answer.text.rstrip("\ufffd") for answer in expected]
    assert all(answer.num_tokens <= 12 for answer in answers)


@pytest.mark.timeout(400)
def test_every_engine_gives_the_same_probabilities(engine: Engine, reference: Engine) -> None:
    prompts = [reference.tokenizer.encode(text) for text in TEXTS]
    candidates = [5, 300, 17]
    found, expected = engine.choose(prompts, candidates), reference.choose(prompts, candidates)
    assert [[pytest.approx(value, abs=1e-3) for value in row] for row in expected] == found


@pytest.mark.timeout(400)
def test_every_engine_stops_before_the_stop_string(engine: Engine, reference: Engine) -> None:
    prompt = reference.tokenizer.encode(TEXTS[0])
    whole = reference.generate([prompt], 12)[0].text
    mark = whole[4:6]
    answer = engine.generate([prompt], 12, stop=[mark])[0]
    assert answer.text == whole[: whole.index(mark)]
    assert answer.finish_reason == "stop"


@pytest.mark.timeout(400)
def test_every_engine_chats(engine: Engine) -> None:
    answers = engine.chat([[{"role": "user", "content": "score this"}]] * 2, max_new_tokens=5)
    assert all(isinstance(answer, Completion) and answer.num_tokens <= 5 for answer in answers)


def test_probabilities_are_normalised_over_the_whole_vocabulary(reference: Engine) -> None:
    vocabulary = list(range(len(reference.tokenizer)))
    row = reference.choose([reference.tokenizer.encode("A river")], vocabulary)[0]
    assert sum(math.exp(value) for value in row) == pytest.approx(1.0, abs=1e-4)


def test_over_long_prompts_are_refused_before_any_work(reference: Engine) -> None:
    with pytest.raises(ValueError, match="exceed the context of 512"):
        reference.generate([[5] * 510], max_new_tokens=10)


@pytest.mark.parametrize("kind", ["local", "server"])
def test_a_missing_checkpoint_is_named(kind: str, tmp_path: Path) -> None:
    config = EngineConfig(kind=kind, base_url="http://127.0.0.1:9/v1")
    with pytest.raises(UserError, match="no-such-model"):
        _ = load_engine(config, str(tmp_path / "no-such-model")).tokenizer
