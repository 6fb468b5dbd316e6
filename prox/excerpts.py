"""Head, middle and tail of a long document, for a refiner that shall not judge it by its beginning alone."""

from typing import TYPE_CHECKING, Literal

from prox.token_cuts import encode_batch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Excerpt = Literal["head", "head_middle_tail"]

GAP = "\n[...]\n"
"""Stands where a part of the document was left out."""
CHARACTERS_PER_TOKEN = 8
"""Characters encoded for each token of a part; where they make fewer tokens, the part is that much shorter."""


def three_parts(text: str, num_tokens: int, tokenizer: "PreTrainedTokenizerBase") -> str:
    """Beginning, middle and end of a text, about ``num_tokens`` in all, with ``GAP`` between them."""
    (gap,) = encode_batch(tokenizer, [GAP])
    of_each = max((num_tokens - 2 * len(gap)) // 3, 1)
    size = of_each * CHARACTERS_PER_TOKEN
    head = _part(text[:size], of_each, 0.0, tokenizer)
    tail = _part(text[len(head) :][-size:], of_each, 1.0, tokenizer)
    between = text[len(head) : len(text) - len(tail)]
    begin = max((len(between) - size) // 2, 0)
    return GAP.join([head, _part(between[begin : begin + size], of_each, 0.5, tokenizer), tail])


def _part(text: str, num_tokens: int, place: float, tokenizer: "PreTrainedTokenizerBase") -> str:
    """At most so many tokens of a text, from its beginning (``place`` 0), its middle (0.5) or its end (1)."""
    (encoding,) = encode_batch(tokenizer, [text], offsets=True)
    spare = len(encoding) - num_tokens
    if spare <= 0:
        return text
    first = int(spare * place)
    begin = encoding.token_to_chars(first)[0] if first else 0
    last = first + num_tokens - 1
    return text[begin : len(text) if last == len(encoding) - 1 else encoding.token_to_chars(last)[1]]
