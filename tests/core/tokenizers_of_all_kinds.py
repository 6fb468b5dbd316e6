"""Tokenizers of the kinds that refiners come with, trained here on a few sentences."""

import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from prox.operations import line_marker
from tests.conftest import PAGES

_SENTENCES = [
    *PAGES,
    *(f"[{number:03d}]The heron number {number} stands in water. [doc]\n[/doc] Home | About\n" for number in range(60)),
    "one two  three\n\nfour\r\nfive.\n\n\n(six)  [seven]\n\n",
] * 3  # fmt: skip
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPECIAL = ["<unk>", "<s>", "</s>"]


def _byte_level(pattern: str | None, markers: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    split = [pre_tokenizers.Split(Regex(pattern), "isolated")] if pattern else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not pattern)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_SENTENCES, trainer)
    if markers:
        tokenizer.add_tokens([AddedToken(line_marker(number), normalized=False) for number in range(20)])
    return tokenizer


def _llama2() -> Tokenizer:
    """Byte-pair encoding of the whole text, no pre-tokenizer; spaces are written as U+2581, rare letters as bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    by_words = Tokenizer(models.BPE(unk_token="<unk>"))
    by_words.normalizer = tokenizer.normalizer
    by_words.pre_tokenizer = pre_tokenizers.Split("\n", "removed")
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[*_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    by_words.train_from_iterator(_SENTENCES, trainer)
    learned = json.loads(by_words.to_str())["model"]
    merges = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in learned["merges"]]
    tokenizer.model = models.BPE(
        vocab=learned["vocab"], merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True
    )
    tokenizer.add_special_tokens(_SPECIAL)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def _unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=_SPECIAL, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(_SENTENCES, trainer)
    return tokenizer


def _word_piece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=_SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(_SENTENCES, trainer)
    return tokenizer


_MAKERS = {
    "bytes": lambda: _byte_level(None),
    "bytes with line markers": lambda: _byte_level(None, markers=True),
    "llama3": lambda: _byte_level(_LLAMA3),
    "bytes joined over lines": lambda: _byte_level(r"[^\n]*\n\[?"),  # a token may hold a line break and what follows
    "llama2": _llama2,
    "unigram": _unigram,
    "word piece": _word_piece,
}
TOKENIZERS = tuple(_MAKERS)


def make_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer of one of the kinds in ``TOKENIZERS``, with BOS, EOS and an unknown token."""
    return PreTrainedTokenizerFast(
        tokenizer_object=_MAKERS[kind](), bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
