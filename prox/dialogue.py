"""The one place that turns a document or a chunk into the refiner's prompt.

Fine-tuning data and inference both go through here, so that the refiner is asked at scale exactly what it was taught.
The dialogue is stored beside every checkpoint the project makes (``dialogue.json``); a checkpoint without one (the
published refiners) is used with the dialogue its config names.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prox import artifact
from prox.chunking import Chunk, number_lines
from prox.errors import UserError
from prox.program import Style

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FILE_NAME = "dialogue.json"
LLAMA2_SYSTEM = "You are a helpful, respectful and honest assistant."


@dataclass(frozen=True)
class Layout:
    """The strings around the system text and the user's text; the answer follows and ends with the EOS token."""

    before_system: str
    after_system: str
    before_user: str
    after_user: str


LAYOUTS: dict[str, Layout] = {
    # What meta-llama/Llama-2-7b-chat's chat template renders, which the published refiners were trained with.
    "llama2": Layout("[INST] <<SYS>>\n", "\n<</SYS>>\n\n", "", " [/INST]"),
    "plain": Layout("", "\n", "", "\n"),
}


@dataclass(frozen=True)
class Dialogue:
    """How a refiner is asked, and in which style it answers."""

    layout: Literal["llama2", "plain"] = "llama2"
    """Strings around the user's text: `llama2` (published refiners) or `plain`."""
    system: str = LLAMA2_SYSTEM
    """System text; empty for none."""
    chunk_before: str = "[doc]\n"
    """What stands before the numbered lines of a chunk."""
    chunk_after: str = "\n[/doc]"
    """What stands after the numbered lines of a chunk."""
    style: Style = "calls"
    """Style of the chunk programs: the paper's `calls`, or `compact`."""
    extra_bos: bool = False
    """Put a second BOS token in front, as the authors' chunk script does when it hands vLLM a string."""
    bos: bool = True
    """Start with the tokenizer's BOS token where it has one."""

    def _frame(self) -> tuple[str, str]:
        layout = LAYOUTS[self.layout]
        system = layout.before_system + self.system + layout.after_system if self.system else ""
        opening = system if self.layout != "llama2" or self.system else "[INST] "
        return opening + layout.before_user, layout.after_user

    def bos_ids(self, tokenizer: "PreTrainedTokenizerBase") -> list[int]:
        """Token ids in front of every prompt."""
        if not self.bos or tokenizer.bos_token_id is None:
            return []
        return [tokenizer.bos_token_id] * (2 if self.extra_bos else 1)

    def document_text(self, text: str, tokenizer: "PreTrainedTokenizerBase", max_tokens: int) -> str:
        """The prompt of the document stage as a string; the document is cut so that it has at most ``max_tokens``."""
        return self._fit("", text, "", tokenizer, max_tokens)

    def chunk_text(self, chunk: Chunk, tokenizer: "PreTrainedTokenizerBase", max_tokens: int) -> str:
        """The prompt of the chunk stage as a string, cut like ``document_text``'s where a chunk is over-long."""
        return self._fit(
            self.chunk_before, number_lines(chunk.text, chunk.first_line), self.chunk_after, tokenizer, max_tokens
        )

    def encode(self, prompt: str, tokenizer: "PreTrainedTokenizerBase") -> list[int]:
        """Token ids of a prompt made by this class, BOS included."""
        return self.bos_ids(tokenizer) + tokenizer.encode(prompt, add_special_tokens=False)

    def _fit(self, before: str, body: str, after: str, tokenizer: "PreTrainedTokenizerBase", max_tokens: int) -> str:
        """Joins the prompt; where it is too long the body's end is cut, never the closing."""
        opening, closing = self._frame()
        opening, closing = opening + before, after + closing

        def size(kept: str) -> int:
            return len(self.encode(opening + kept + closing, tokenizer))

        frame = size("")
        if frame >= max_tokens:
            raise UserError(f"a prompt of at most {max_tokens} tokens has no room: its frame alone takes {frame}")
        excess = size(body) - max_tokens
        while excess > 0:
            offsets = tokenizer(body, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
            keep = max(len(offsets) - excess, 0)
            body = body[: offsets[keep][0]] if keep < len(offsets) else body[:-1]
            excess = size(body) - max_tokens
        return opening + body + closing

    def save(self, checkpoint: Path) -> None:
        """Stores the dialogue beside a checkpoint."""
        artifact.write_json(checkpoint / FILE_NAME, self)


def load_dialogue(checkpoint: Path | str, fallback: Dialogue) -> Dialogue:
    """The dialogue stored beside a local checkpoint, else ``fallback`` (hub names, foreign checkpoints)."""
    path = Path(checkpoint) / FILE_NAME
    return Dialogue(**artifact.read_json(path)) if path.is_file() else fallback


@dataclass
class RefinerConfig:
    """A refiner checkpoint and how to ask it."""

    checkpoint: str = ""
    """Local folder or hub name of a causal language model."""
    dialogue: Dialogue = field(default_factory=Dialogue)
    """Used only where the checkpoint brings no `dialogue.json` of its own."""
