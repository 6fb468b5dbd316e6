"""How documents are cut into examples of the chunk task, for the configs of the verbs that do it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prox import artifact


@dataclass
class ChunkConfig:
    """Fields of a verb's config."""

    tokenizer: Path | None = None
    """The refiner's tokenizer (local folder or hub name); unset counts white-space words instead."""
    window: int = 1500
    """Longest chunk with its line numbers, in tokens of `tokenizer` (or words); must equal the refiner's."""
    max_chunks_per_document: int = -1
    """Chunks of one document that become examples, drawn at random, so that no giant page rules the set; -1 for all."""

    def chunk_problems(self) -> list[str]:
        """Settings that can't work."""
        found = at_least_one(self, "max_chunks_per_document")
        if self.window < 1:
            found.append(f"--window is {self.window}: it must be at least 1")
        if self.tokenizer is not None:
            found += artifact.require_model(str(self.tokenizer), "tokenizer", "the step that makes the tokenizer")
        return found

    def local_tokenizer(self) -> list[Path]:
        """The tokenizer as an input; a hub name is a setting, not a file."""
        return [self.tokenizer] if self.tokenizer and self.tokenizer.exists() else []


def at_least_one(config: Any, *names: str) -> list[str]:
    """Problems of numbers that must be 1 or more, or -1 for all."""
    values = {name: getattr(config, name) for name in names}
    return [
        f"--{name} is {value}: give 1 or more, or -1 for all"
        for name, value in values.items()
        if value < 1 and value != -1
    ]
