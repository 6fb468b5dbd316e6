"""The one place that turns a document or a chunk into the refiner's prompt.

Fine-tuning data and inference both go through here, so that the refiner is asked at scale exactly what it was taught.
A ``Dialogue`` describes the prompts of a refiner, a ``PromptRenderer`` makes them for one tokenizer and length. The
dialogue is stored beside every checkpoint the project makes (``dialogue.json``); a checkpoint without one (such as the
published refiners) is used with the dialogue its config names.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prox import artifact
from prox.chunking import MIN_LINE_CHARACTERS, Chunk, shorten_lines
from prox.errors import UserError
from prox.excerpts import Excerpt, three_parts
from prox.frame import Frame, Prompt
from prox.operations import KeepChunk, Style, render_program

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RefinerKind = Literal["generative", "tagger"]

FILE_NAME = "dialogue.json"
LLAMA2_SYSTEM = "You are a helpful, respectful and honest assistant."


@dataclass(frozen=True)
class Dialogue:
    """How a refiner is asked, and in which style it answers."""

    kind: RefinerKind = "generative"
    """`generative` writes a chunk's program, `tagger` judges each of its lines in one prefill (`prox.tagging`)."""
    layout: Literal["llama2", "plain", "chat"] = "llama2"
    """What stands around the user's text: `llama2` (published refiners), `plain`, or `chat`, the checkpoint's own chat
    template, which also decides about BOS tokens."""
    system: str = LLAMA2_SYSTEM
    """System text; empty for none."""
    chunk_before: str = "[doc]\n"
    """What stands before the numbered lines of a chunk."""
    chunk_after: str = "\n[/doc]"
    """What stands after the numbered lines of a chunk."""
    max_line_characters: int | None = None
    """Lines of a chunk that are longer are shown as their beginning and end (20 or more): fewer tokens to read and more
    lines a chunk, for refiners that remove lines. They can't see every string that `normalize` might replace."""
    style: Style = "calls"
    """Style of the chunk programs: the paper's `calls`, or `compact`."""
    numbering: Literal["document", "chunk"] = "document"
    """Numbers of a chunk's lines in prompt and answer: those of the `document`, as published, or from 0 on in each
    `chunk`, which a model that has read little learns to write much sooner; compact style only."""
    max_prompt_tokens: int | None = None
    """Tokens of the longest prompt that the refiner was taught with; `adaptation export` fills it in, and no longer one
    is made."""
    max_new_tokens: int | None = None
    """Room for answers, in tokens, that the refiner was taught with; filled in likewise, and no longer one is asked."""
    keep_penalty: float = 0.0
    """Taken off the logit of the token that `keep_chunk()` begins with. A refiner in doubt spreads what it gives edits
    over many beginnings, so that greedy decoding edits too little; the valid split says by how much (`validate`)."""
    keep_token: str = "="
    """What a tagger foretells behind a line to keep; one token of the tokenizer."""
    remove_token: str = "-"
    """What a tagger foretells behind a line to remove."""
    remove_threshold: float = 0.5
    """A tagger removes the lines whose probability of removal reaches this; the valid split says which (`validate`)."""
    max_tokens_per_letter: float | None = None
    """A tagger is not asked about documents whose letters take more tokens (`prox.spelling`): they are in a language it
    was not taught. `adaptation export` fills it in from the training pages."""
    min_shown_share: float | None = None
    """Nor about documents of a few lines of whose characters `max_line_characters` shows a smaller share, as of an
    article that is one long line. Filled in likewise; a page's examples stand for the page."""
    extra_bos: bool = False
    """Put a second BOS token in front, as the authors' chunk script does when it hands vLLM a string."""
    bos: bool = True
    """Start with the tokenizer's BOS token where it has one."""
    opening: str | None = None
    """Text before the user's; unset takes the layout's. Stored with a checkpoint, whose chat template may change."""
    closing: str | None = None
    """Text after the user's; unset takes the layout's."""

    def problems(self) -> list[str]:
        """Settings that can't work."""
        found = []
        least_of = {"max_line_characters": MIN_LINE_CHARACTERS, "max_prompt_tokens": 1, "max_new_tokens": 1}
        for name, least in least_of.items():
            value = getattr(self, name)
            if value is not None and value < least:
                found.append(f"dialogue.{name} is {value}: give {least} or more, or leave it unset")
        if self.numbering == "chunk" and self.style != "compact":
            found.append("dialogue.numbering is chunk, but style is calls: only the compact style is renumbered")
        if self.max_tokens_per_letter is not None and self.max_tokens_per_letter <= 0:
            found.append(
                f"dialogue.max_tokens_per_letter is {self.max_tokens_per_letter}: it must be above 0, or unset"
            )
        if self.min_shown_share is not None and not 0 <= self.min_shown_share <= 1:
            found.append(
                f"dialogue.min_shown_share is {self.min_shown_share}: it must lie between 0 and 1, or be unset"
            )
        if not 0 < self.remove_threshold < 1:
            found.append(f"dialogue.remove_threshold is {self.remove_threshold}: it must lie between 0 and 1")
        if self.kind == "tagger" and (self.style, self.numbering, self.keep_penalty) != ("calls", "document", 0):
            found.append(
                "dialogue.kind is tagger, which writes nothing: leave style, numbering and keep_penalty as they are"
            )
        return found

    def first_number(self, first_line: int) -> int:
        """The number that the first line of a chunk has in prompt and answer."""
        return 0 if self.numbering == "chunk" else first_line

    def answer_room(self, max_new_tokens: int) -> int:
        """Tokens an answer may have where a config allows so many; a tagger writes none."""
        if self.kind == "tagger":
            return 0
        return max_new_tokens if self.max_new_tokens is None else min(max_new_tokens, self.max_new_tokens)

    def answer_bias(self, tokenizer: "PreTrainedTokenizerBase") -> dict[int, float]:
        """What is added to the logits of which token ids while a chunk's program is decoded."""
        if not self.keep_penalty:
            return {}
        first = tokenizer.encode(render_program([KeepChunk()], self.style), add_special_tokens=False)[0]
        return {first: -self.keep_penalty}

    def prompt_room(self, max_prompt_tokens: int) -> int:
        """Tokens a prompt may have where a context, or a config, allows so many."""
        return max_prompt_tokens if self.max_prompt_tokens is None else min(max_prompt_tokens, self.max_prompt_tokens)

    def shown(self, text: str) -> str:
        """What a refiner sees of the text of a chunk, or of the document it is cut from; line breaks stay."""
        return text if self.max_line_characters is None else shorten_lines(text, self.max_line_characters)

    def resolved(self, tokenizer: "PreTrainedTokenizerBase") -> "Dialogue":
        """The dialogue with the tokenizer's chat template written out; for other layouts itself.

        Raises ``UserError`` where there is no template, or none that can ask this.
        """
        if self.layout != "chat" or (self.opening is not None and self.closing is not None):
            return self
        opening, closing = chat_frame(tokenizer, self.system)
        # BOS tokens that the template writes are part of the opening.
        return replace(self, opening=opening, closing=closing, bos=False, extra_bos=False)

    def frame(self) -> tuple[str, str]:
        """What stands before and after the user's text, in a resolved dialogue."""
        if self.layout == "llama2":
            # What meta-llama/Llama-2-7b-chat's chat template renders, which the published refiners were trained with.
            opening = f"[INST] <<SYS>>\n{self.system}\n<</SYS>>\n\n" if self.system else "[INST] "
            closing = " [/INST]"
        else:
            opening, closing = f"{self.system}\n" if self.system else "", "\n"
        return (
            opening if self.opening is None else self.opening,
            closing if self.closing is None else self.closing,
        )

    def bos_ids(self, tokenizer: "PreTrainedTokenizerBase") -> list[int]:
        """Token ids in front of every prompt."""
        if not self.bos or tokenizer.bos_token_id is None:
            return []
        return [tokenizer.bos_token_id] * (2 if self.extra_bos else 1)

    def save(self, checkpoint: Path) -> None:
        """Stores the dialogue beside a checkpoint."""
        artifact.write_json(checkpoint / FILE_NAME, self)


def load_dialogue(checkpoint: Path | str, fallback: Dialogue) -> Dialogue:
    """The dialogue stored beside a local checkpoint, else ``fallback`` (hub names, foreign checkpoints)."""
    path = Path(checkpoint) / FILE_NAME
    if not path.is_file():
        return fallback
    try:
        return Dialogue(**artifact.read_json(path))
    except TypeError as error:
        raise UserError(f"{path} is of another version of this project ({error}): make the checkpoint anew") from None


@functools.cache
def refuse_dialogue_on_hub(checkpoint: str) -> None:
    """Raises ``UserError`` for a hub name whose repository brings a dialogue: configs look for it on this disk, before
    anything is downloaded, and would have the refiner asked otherwise than it was taught.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError
    from transformers.utils import cached_file

    if Path(checkpoint).exists():
        return
    try:
        found = try_to_load_from_cache(checkpoint, FILE_NAME)
        if found is None:  # not known to be missing, either
            found = cached_file(
                checkpoint,
                FILE_NAME,
                _raise_exceptions_for_gated_repo=False,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
            )
    except (OSError, HFValidationError):
        return  # no such repository: whoever loads it says so
    if isinstance(found, str):
        raise UserError(
            f"checkpoint {checkpoint!r} brings a {FILE_NAME}, which is read from folders only: download it (hf "
            f"download {checkpoint} --local-dir FOLDER) and give the folder"
        )


def chat_frame(tokenizer: "PreTrainedTokenizerBase", system: str) -> tuple[str, str]:
    """What the tokenizer's chat template writes before and after the text of a user's only message.

    A template that trims its messages may trim this one: prompts keep the white space of their documents.
    """
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise UserError("layout is chat, but the checkpoint has no chat template: use llama2 or plain")
    text = "The text of the user's message."
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": text})
    try:
        rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        remedy = "try an empty system text, or use llama2 or plain" if system else "use llama2 or plain"
        raise UserError(f"layout is chat, but the chat template refuses the messages ({error}): {remedy}") from None
    opening, found, closing = rendered.partition(text)
    if not found or not closing or text in closing:
        raise UserError("layout is chat, but the chat template closes no user's turn: use llama2 or plain")
    if system.strip() not in opening:
        raise UserError("layout is chat, but the chat template leaves the system text out: use an empty one")
    return opening, closing


@dataclass
class RefinerConfig:
    """A refiner checkpoint and how to ask it."""

    checkpoint: str = ""
    """Local folder or hub name of a causal language model."""
    dialogue: Dialogue = field(default_factory=Dialogue)
    """Used only where the checkpoint brings no `dialogue.json` of its own."""

    @property
    def kind(self) -> RefinerKind:
        """The kind of the dialogue that is used."""
        return (load_dialogue(self.checkpoint, self.dialogue) if self.checkpoint else self.dialogue).kind


class PromptRenderer:
    """Makes the prompts of a dialogue for a tokenizer, none longer than ``max_tokens``, each with its closing.

    Raises ``UserError`` where a prompt has no room for any text.
    """

    def __init__(self, dialogue: Dialogue, tokenizer: "PreTrainedTokenizerBase", max_tokens: int) -> None:
        if problems := dialogue.problems():  # of a file that a checkpoint brings
            raise UserError("; ".join(problems))
        self.dialogue, self.tokenizer = dialogue.resolved(tokenizer), tokenizer
        opening, closing = self.dialogue.frame()
        before, after = self.dialogue.chunk_before, self.dialogue.chunk_after
        bos = self.dialogue.bos_ids(tokenizer)
        self._max_tokens = max_tokens
        self._document = Frame(opening, closing, tokenizer, bos, max_tokens)
        from_zero = self.dialogue.numbering == "chunk"
        self._chunk = Frame(opening + before, after + closing, tokenizer, bos, max_tokens, from_zero)
        self._document.check()

    @property
    def frame_tokens(self) -> int:
        """Tokens of a chunk's prompt beside those of its numbered lines."""
        return self._chunk.num_tokens

    def documents(self, texts: Sequence[str], excerpt: Excerpt = "head") -> list[Prompt]:
        """Prompts of the document stage; where a document is too long, its end is cut, or all but three parts of it."""
        prompts = self._document.prompts(texts)
        if excerpt == "head":
            return prompts
        return [
            self._of_three_parts(text) if prompt.cut else prompt for text, prompt in zip(texts, prompts, strict=True)
        ]

    def _of_three_parts(self, text: str) -> Prompt:
        room = self._max_tokens - self._document.num_tokens
        prompt = self._document.prompts([three_parts(text, room, self.tokenizer)])[0]
        while prompt.cut and room > 3:  # tokens join otherwise between the parts than within each
            room = max(room - room // 16 - 1, 3)
            prompt = self._document.prompts([three_parts(text, room, self.tokenizer)])[0]
        return replace(prompt, cut=True)

    def chunk(self, chunk: Chunk) -> Prompt:
        """The prompt of the chunk stage, cut like a document's where the chunk is too long."""
        return self._chunk.prompts([self._chunk.numbered(replace(chunk, text=self.dialogue.shown(chunk.text)))])[0]

    def chunks(self, texts: Sequence[str], window: int) -> list[list[tuple[Chunk, Prompt | None]]]:
        """Each document in chunks of at most ``window`` tokens, line numbers and breaks included, with their prompts.

        The window counts the lines as they are shown. Documents are encoded once, and best many in one call. Chunks
        that are ``skipped`` have no prompt.
        """
        shown = [self.dialogue.shown(text) for text in texts]
        return [
            chunks if short is text else _with_text(chunks, text)
            for text, short, chunks in zip(texts, shown, self._chunk.chunks(shown, window), strict=True)
        ]


def _with_text(chunks: list[tuple[Chunk, Prompt | None]], text: str) -> list[tuple[Chunk, Prompt | None]]:
    """Chunks of a document that was shown with shorter lines, holding its own."""
    lines = text.split("\n")
    return [
        (replace(chunk, text="\n".join(lines[chunk.first_line : chunk.end_line])), prompt) for chunk, prompt in chunks
    ]
