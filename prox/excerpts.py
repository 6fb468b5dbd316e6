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
    middle = max((len(text) - size) // 2, 0)
    parts = [text[:size], text[middle : middle + size], text[-size:]]
    kept = []
    for number, (part, encoding) in enumerate(zip(parts, encode_batch(tokenizer, parts, offsets=True), strict=True)):
        spare = max(len(encoding) - of_each, 0)
        first = (0, spare // 2, spare)[number]  # what is spare is cut at the end, at both ends, at the beginning
        last = min(first + of_each, len(encoding)) - 1
        begin = encoding.token_to_chars(first)[0] if first else 0
        kept.append(part[begin : encoding.token_to_chars(last)[1]])
    return GAP.join(kept)
