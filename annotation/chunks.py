"""Which chunks of a document become examples, and how their length is counted."""

from collections.abc import Iterable
from pathlib import Path

from annotation import seeds
from prox.chunking import Chunk, Counter, count_by_tokens, count_by_words
from prox.dialogue import RefinerKind
from prox.tagging import count_with_places


def line_counter(tokenizer: Path | None, kind: RefinerKind = "generative") -> Counter:
    """Counts a line's length in the tokens of a tokenizer (local folder or hub name); in words without one.

    Of a tagger, the place where it judges the line is counted too.
    """
    if tokenizer is None:
        return count_by_words
    from prox.engines.prompts import load_tokenizer

    count = count_with_places if kind == "tagger" else count_by_tokens
    return count(load_tokenizer(str(tokenizer)))


def draw_of_document(document_id: str, chunks: Iterable[Chunk], count: int, seed: int) -> dict[str, Chunk]:
    """``count`` of a document's chunks at random (-1: all), in order, by their keys; skipped ones are never drawn."""
    by_key = {seeds.key_of(document_id, chunk.first_line): chunk for chunk in chunks if not chunk.skipped}
    drawn = seeds.draw(by_key, count, seed, "chunks")
    return {key: chunk for key, chunk in by_key.items() if key in drawn}
