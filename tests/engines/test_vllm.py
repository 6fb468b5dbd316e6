"""vLLM in process: its own settings arrive, and it leaves nothing behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from prox.engines import EngineConfig, VllmConfig, close_engines, load_engine
from prox.errors import UserError

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(400)]

SCRIPT = """
import sys
from pathlib import Path
from prox.engines import EngineConfig, VllmConfig, load_engine

settings = VllmConfig(max_num_seqs=7, max_num_batched_tokens=100, enable_prefix_caching=False)
engine = load_engine(EngineConfig(kind="vllm", batch_size=3, vllm=settings), sys.argv[1])
config = engine._engine.llm_engine.vllm_config
print(config.scheduler_config.max_num_seqs, config.scheduler_config.max_num_batched_tokens)
print(config.cache_config.enable_prefix_caching, engine.max_context)
print(len(engine.generate([[5] * 200] * 9, 3)))
children = [name for task in Path("/proc/self/task").iterdir() for name in (task / "children").read_text().split()]
print(children)
"""


def test_settings_arrive_and_the_process_ends_quietly(tiny_checkpoint: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", SCRIPT, str(tiny_checkpoint)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["7 100", "False 512", "9", "[]"]
    assert result.stderr == ""


def test_the_batch_size_of_the_local_engine_does_not_hold_vllm_back(tiny_checkpoint: Path) -> None:
    engine = load_engine(EngineConfig(kind="vllm", batch_size=2), str(tiny_checkpoint))
    assert engine._engine.llm_engine.vllm_config.scheduler_config.max_num_seqs >= 128


def test_an_engine_gives_way_to_the_next(tiny_checkpoint: Path) -> None:
    first = load_engine(EngineConfig(kind="vllm", max_context=400), str(tiny_checkpoint))
    second = load_engine(EngineConfig(kind="vllm", max_context=300), str(tiny_checkpoint))
    assert first._engine is None
    assert second.max_context == 300
    assert len(second.generate([[5]], 2)) == 1
    close_engines()
    assert second._engine is None


def test_what_vllm_refuses_is_a_users_error(tiny_checkpoint: Path) -> None:
    with pytest.raises(UserError, match="vLLM can't load it"):
        load_engine(EngineConfig(kind="vllm", max_context=4096), str(tiny_checkpoint))


def test_prefix_caching_does_not_change_probabilities(tiny_checkpoint: Path) -> None:
    prompts = [[*range(5, 100), last] for last in range(100, 120)]
    rows = [
        load_engine(EngineConfig(kind="vllm", vllm=VllmConfig(enable_prefix_caching=on)), str(tiny_checkpoint)).choose(
            prompts, [5, 300]
        )
        for on in (True, False)
    ]
    assert rows[0] == [[pytest.approx(value, abs=1e-4) for value in row] for row in rows[1]]
