"""The core every stage shares: the language of refinement, corpora, engines, configs. It knows no stage."""

from prox.chunking import Chunk, split_into_chunks
from prox.executor import Execution, Guards, execute
from prox.program import Program, parse_program

__all__ = ["Chunk", "Execution", "Guards", "Program", "execute", "parse_program", "split_into_chunks"]
