"""Text generation behind one small protocol: transformers or vLLM in process, or an OpenAI-compatible server."""

from prox.engines.base import Completion, Engine, EngineConfig, Failure, VllmConfig, close_engines, load_engine

__all__ = ["Completion", "Engine", "EngineConfig", "Failure", "VllmConfig", "close_engines", "load_engine"]
