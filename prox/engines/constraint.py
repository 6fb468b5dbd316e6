"""Constrained decoding for the local engine: xgrammar's masks over transformers' logits."""

from typing import TYPE_CHECKING, Any

import torch
from transformers import LogitsProcessor

from prox.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from prox.grammar import Grammar


class Constrainer:
    """Compiles grammars for one tokenizer; xgrammar caches what it has compiled."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", vocab_size: int, eos_ids: list[int]) -> None:
        """``vocab_size`` is the model's. Raises ``UserError`` where xgrammar, or an EOS token, is missing."""
        try:
            import xgrammar
        except ImportError as error:
            raise UserError(
                f"constrained decoding needs xgrammar ({error}): run scripts/setup.sh, or turn the grammar off"
            ) from error
        if not eos_ids:
            raise UserError("the model has no EOS token, so a constrained answer could not end: turn the grammar off")
        self._xgrammar = xgrammar
        info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocab_size, stop_token_ids=eos_ids)
        self._compiler = xgrammar.GrammarCompiler(info)
        self._vocab_size = vocab_size

    def processor(self, grammar: "Grammar") -> LogitsProcessor:
        """The processor of one ``generate`` call; it can't be used for another."""
        compiled = self._compiler.compile_grammar(grammar.ebnf())
        return _MaskingProcessor(self._xgrammar, compiled, self._vocab_size)


class _MaskingProcessor(LogitsProcessor):
    """Like ``xgrammar.contrib.hf.LogitsProcessor``, but bears rows that end elsewhere than the grammar does.

    A row that a stop string or a loop has ended is filled with padding, which the grammar does not know.
    """

    def __init__(self, xgrammar: Any, compiled: Any, vocab_size: int) -> None:
        self._xgrammar, self._compiled, self._vocab_size = xgrammar, compiled, vocab_size
        self._rows: list[Any] = []  # a matcher for each row; None once it has ended
        self._mask: torch.Tensor | None = None

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Masks the scores ``[rows, vocabulary]`` of the tokens that can't come next."""
        if self._mask is None:
            self._rows = [self._xgrammar.GrammarMatcher(self._compiled) for _ in range(len(input_ids))]
            self._mask = self._xgrammar.allocate_token_bitmask(len(input_ids), self._vocab_size)
        else:
            for number, (row, token) in enumerate(zip(self._rows, input_ids[:, -1].tolist(), strict=True)):
                if row is not None and (not row.accept_token(token) or row.is_terminated()):
                    self._rows[number] = None
        self._xgrammar.reset_token_bitmask(self._mask)
        for number, row in enumerate(self._rows):
            if row is not None:
                row.fill_next_token_bitmask(self._mask, number)
        self._xgrammar.apply_token_bitmask_inplace(scores, self._mask.to(scores.device))
        return scores
