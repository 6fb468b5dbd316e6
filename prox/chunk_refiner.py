"""A refiner of chunks, of either kind: chunk in, program out. Scores and refinement both ask through here."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from prox.answers import in_document
from prox.chunking import Chunk
from prox.dialogue import Dialogue, Prompt, PromptRenderer
from prox.engines import Completion, Engine, EngineConfig, Failure
from prox.errors import UserError
from prox.precision import multiplies_bf16
from prox.tagging import LinePrompt, LinePromptRenderer, program_of_probabilities, verdict_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from prox.grammar import Grammar

ChunkPrompt = Prompt | LinePrompt
Asked = tuple[Chunk, ChunkPrompt]


class ChunkRenderer(Protocol):
    """Makes the prompts of a refiner's chunks."""

    @property
    def dialogue(self) -> Dialogue:
        """How they are asked, with what the tokenizer decides."""

    @property
    def frame_tokens(self) -> int:
        """Tokens of a prompt beside those of its chunk's lines."""

    def chunk(self, chunk: Chunk) -> ChunkPrompt | None:
        """The prompt of a chunk; where it would be too long, one that is cut, or None."""

    def chunks(self, texts: Sequence[str], window: int) -> list[list[tuple[Chunk, ChunkPrompt | None]]]:
        """Each document in chunks of at most ``window`` tokens, with their prompts; ``skipped`` ones have none."""


class ChunkRefiner(Protocol):
    """An engine and how it is asked about chunks."""

    def ask(self, chunks: Sequence[Asked]) -> list[Completion | Failure]:
        """The program of each chunk, with the line numbers of its document."""


class GenerativeRefiner:
    """Writes programs, as the paper's refiners do; ``bias`` and ``grammar`` as in ``Engine.generate``."""

    def __init__(
        self, engine: Engine, dialogue: Dialogue, max_new_tokens: int, grammar: "Grammar | None" = None
    ) -> None:
        self._engine, self._dialogue = engine, dialogue
        self._max_new_tokens, self._grammar = max_new_tokens, grammar
        self._bias = dialogue.answer_bias(engine.tokenizer)

    def ask(self, chunks: Sequence[Asked]) -> list[Completion | Failure]:
        """See ``ChunkRefiner.ask``."""
        answers = self._engine.generate(
            [prompt.ids for _, prompt in chunks], self._max_new_tokens, grammar=self._grammar, bias=self._bias
        )
        return [
            answer if isinstance(answer, Failure) else in_document(answer, self._dialogue, chunk.first_line)
            for (chunk, _), answer in zip(chunks, answers, strict=True)
        ]


class Tagger:
    """Judges every line in one prefill; its programs are made from the lines' probabilities of removal."""

    def __init__(self, engine: Engine, dialogue: Dialogue) -> None:
        self._engine, self._dialogue = engine, dialogue
        self._verdicts = verdict_tokens(dialogue, engine.tokenizer)

    def ask(self, chunks: Sequence[Asked]) -> list[Completion | Failure]:
        """See ``ChunkRefiner.ask``."""
        answers = self._engine.judge([prompt for _, prompt in chunks], self._verdicts)
        return [
            answer if isinstance(answer, Failure) else self._completion(chunk, prompt, answer)
            for (chunk, prompt), answer in zip(chunks, answers, strict=True)
        ]

    def _completion(self, chunk: Chunk, prompt: ChunkPrompt, probabilities: Sequence[float]) -> Completion:
        program = program_of_probabilities(probabilities, self._dialogue.remove_threshold, chunk.first_line)
        return Completion(program, 0, "stop", len(prompt.ids), tuple(probabilities))


def chunk_renderer(dialogue: Dialogue, tokenizer: "PreTrainedTokenizerBase", max_prompt_tokens: int) -> ChunkRenderer:
    """The renderer of a dialogue's kind; raises ``UserError`` where a prompt has no room for any line."""
    kind = LinePromptRenderer if dialogue.kind == "tagger" else PromptRenderer
    return kind(dialogue, tokenizer, max_prompt_tokens)


def engine_for(config: EngineConfig, dialogue: Dialogue) -> EngineConfig:
    """The engine's config with ``dtype`` settled for a tagger on a CPU: bfloat16 where the hardware multiplies it.

    A tagger's work is one large matrix product after the other, and its verdicts are computed in float32 in any case.
    Raises ``UserError`` where another kind is to be compiled, whose inputs grow by a token at a time.
    """
    if config.compile and dialogue.kind != "tagger":
        raise UserError("engine.compile is for taggers, and this refiner writes: leave it out")
    if dialogue.kind == "generative" or config.kind != "local" or config.dtype != "auto":
        return config
    import torch

    on_cuda = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    return config if on_cuda or not multiplies_bf16("cpu") else replace(config, dtype="bfloat16")


def chunk_refiner(
    engine: Engine, dialogue: Dialogue, max_new_tokens: int, grammar: "Grammar | None" = None
) -> ChunkRefiner:
    """The refiner of a dialogue's kind. A tagger writes nothing: it has no use for a length of answers or a grammar."""
    if dialogue.kind == "tagger":
        return Tagger(engine, dialogue)
    return GenerativeRefiner(engine, dialogue, max_new_tokens, grammar)
