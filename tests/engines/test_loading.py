"""Configs that can't work, and the loader: one engine of a kind, closed before the next."""

import subprocess
import sys
from pathlib import Path

import pytest

from prox.engines import EngineConfig, VllmConfig, close_engines, load_engine
from prox.errors import UserError


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (EngineConfig(kind="server"), "engine.base_url ''"),
        (EngineConfig(kind="server", base_url="localhost:8000/v1"), "engine.base_url 'localhost"),
        (EngineConfig(kind="server", base_url="http://h/v1", dtype="bfloat16"), "engine.dtype is bfloat16"),
        (EngineConfig(batch_size=0), "engine.batch_size is 0"),
        (EngineConfig(max_batch_tokens=0), "engine.max_batch_tokens is 0"),
        (EngineConfig(max_context=1), "engine.max_context is 1"),
        (EngineConfig(concurrency=0), "engine.concurrency is 0"),
        (EngineConfig(max_retries=-1), "engine.max_retries is -1"),
        (EngineConfig(timeout=0), "engine.timeout is 0"),
        (EngineConfig(vllm=VllmConfig(max_num_seqs=0)), "engine.vllm.max_num_seqs is 0"),
        (EngineConfig(vllm=VllmConfig(max_num_batched_tokens=-5)), "engine.vllm.max_num_batched_tokens is -5"),
        (EngineConfig(vllm=VllmConfig(tensor_parallel_size=0)), "engine.vllm.tensor_parallel_size is 0"),
        (EngineConfig(vllm=VllmConfig(cpu_kv_cache_gib=0)), "engine.vllm.cpu_kv_cache_gib is 0"),
        (EngineConfig(vllm=VllmConfig(gpu_memory_utilization=0.0)), "engine.vllm.gpu_memory_utilization is 0.0"),
        (EngineConfig(vllm=VllmConfig(gpu_memory_utilization=90)), "engine.vllm.gpu_memory_utilization is 90"),
        (EngineConfig(vllm=VllmConfig(max_num_seqs=64, max_num_batched_tokens=32)), "fewer than max_num_seqs 64"),
    ],
)
def test_what_can_not_work_is_named(config: EngineConfig, problem: str) -> None:
    assert [problem in found for found in config.problems()] == [True]


def test_the_defaults_can_work() -> None:
    for kind in ("local", "vllm"):
        assert EngineConfig(kind=kind).problems() == []
    assert EngineConfig(kind="server", base_url="https://host/v1").problems() == []


def test_an_engine_stays_until_another_of_its_kind_is_asked_for(tiny_checkpoint: Path) -> None:
    first = load_engine(EngineConfig(device="cpu"), str(tiny_checkpoint))
    assert load_engine(EngineConfig(device="cpu"), str(tiny_checkpoint)) is first
    second = load_engine(EngineConfig(device="cpu", batch_size=1), str(tiny_checkpoint))
    assert first.model is None
    close_engines()
    assert second.model is None
    assert load_engine(EngineConfig(device="cpu", batch_size=1), str(tiny_checkpoint)) is not second


def test_no_checkpoint_is_named() -> None:
    with pytest.raises(UserError, match="no checkpoint"):
        load_engine(EngineConfig(), "")


def test_configs_load_no_engine() -> None:
    code = "import sys, prox.engines; print(sorted({'torch', 'transformers', 'openai', 'vllm'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
