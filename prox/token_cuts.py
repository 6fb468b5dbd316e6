"""Where a tokenizer's ids can be cut, such that the ids of a text are the ids of its pieces, one after the other.

Byte-pair encoding merges neighbours only into tokens of its vocabulary. So where no token holds, say, a line break with
a ``[`` behind it, nothing is ever merged across that place, whatever stands around it: the ids left of it and right of
it don't know of each other. ``find_cuts`` looks for four such places in a refiner's prompt. What it can't be sure of
(other models than byte-pair encoding, unusual normalizers) it does not cut.
"""

import json
import re
import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase

BATCH_CHARACTERS = 1_000_000
"""Characters encoded in one call: an encoding takes over a hundred bytes a token until its ids are read."""

PUNCTUATION = string.punctuation.replace("'", "")
"""ASCII punctuation without the apostrophe, which some tokenizers join with the letters before it."""

CONTROLS = "\x01\x02\x03\x04\x05\x06"
"""Characters that ``LineIds`` uses as its own signs; no text that holds one is cut."""

_NORMALIZERS = {"NFC", "Prepend", "Replace"}
_PRE_TOKENIZERS = {"ByteLevel", "Digits", "Metaspace", "Punctuation", "Split"}
_MARKER = re.compile(r"\[(\d{3}|[1-9]\d{3,})\]")
# Added tokens that could match across the end of a line's marker, or within it.
_MEDDLING = re.compile(r"[\d\[\]]*|.?|.*(\n|\d\]|\][^$]).*|\[\d.*", re.DOTALL)
_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class Cuts:
    """What is needed to cut ids: sets of token ids by how the token begins or ends, and the texts not to be cut.

    A numbered line can always be cut off after its line break, where the next line's ``[`` follows.
    """

    words: bool
    """Lines can be cut before ``]`` (in front of a line's text) and before a space between two other characters."""
    tails: bool
    """Words can be cut between an ASCII letter or digit and the ASCII ``PUNCTUATION`` or line break that ends them."""
    line_ends: frozenset[int]
    """Tokens that end with a line break."""
    word_starts: frozenset[int]
    """Tokens that begin with a space."""
    brackets: frozenset[int]
    """Tokens that begin with ``]``."""
    markers: frozenset[int]
    """Line numbers whose markers are tokens of their own."""
    hints: tuple[str, ...]
    """A text without any of these strings can be cut."""
    forbidden: re.Pattern[str]
    """A text with a match can't be cut: an added token in it would also change what follows."""

    def allow(self, text: str) -> bool:
        """True when the ids of this document's lines can be cut."""
        return not any(hint in text for hint in self.hints) or not self.forbidden.search(text)


def encode_batch(
    tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], offsets: bool = False
) -> Iterator["Encoding"]:
    """Encodings of ``texts`` without special tokens, as ``tokenizer.encode(text, add_special_tokens=False)`` has them.

    In parallel where ``TOKENIZERS_PARALLELISM`` is not ``false``. ``offsets`` keeps each token's place in the text.
    """
    backend = tokenizer.backend_tokenizer
    # What an earlier call through transformers may have left behind.
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = tokenizer.split_special_tokens
    encode = backend.encode_batch if offsets else backend.encode_batch_fast
    for batch in batches(texts):
        yield from encode(batch, add_special_tokens=False)


def batches(texts: Iterable[str], characters: int = BATCH_CHARACTERS) -> Iterator[list[str]]:
    """Groups of consecutive texts with about so many characters; a longer text is a group of its own."""
    group: list[str] = []
    size = 0
    for text in texts:
        if group and size + len(text) > characters:
            yield group
            group, size = [], 0
        group.append(text)
        size += len(text)
    if group:
        yield group


def find_cuts(tokenizer: "PreTrainedTokenizerBase") -> Cuts | None:
    """Where ``tokenizer``'s ids can be cut; None where not even lines can. Reads the whole vocabulary (once, < 1 s)."""
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    normalizers = _parts(spec["normalizer"], "normalizers")
    pre_tokenizers = _parts(spec["pre_tokenizer"], "pretokenizers")
    if not _merges_locally(spec["model"], normalizers, pre_tokenizers):
        return None
    markers = _added_markers(spec["added_tokens"], any(part["type"] == "NFC" for part in normalizers))
    if markers is None:
        return None
    contents = {token["content"] for token in spec["added_tokens"]}
    space = _space_sign(normalizers, pre_tokenizers)
    written = _written(spec["model"], any(part["type"] == "ByteLevel" for part in pre_tokenizers), space, contents)
    everything = _SEPARATOR.join(written)
    if "\n[" in everything:
        return None
    words = not re.search(r"\d\]|\S ", everything)
    others = sorted(content for content in contents if not _MARKER.fullmatch(content))
    signs = [*CONTROLS, *({space} - {" "})]
    return Cuts(
        words=words,
        tails=words and not re.search(rf"[A-Za-z0-9][{re.escape(PUNCTUATION)}\n]", everything),
        line_ends=frozenset(number for number, text in enumerate(written) if text.endswith("\n")),
        word_starts=frozenset(number for number, text in enumerate(written) if text.startswith(" ")),
        brackets=frozenset(number for number, text in enumerate(written) if text.startswith("]")),
        markers=markers,
        hints=tuple(sorted({*signs, *(content[:2] for content in others), *(["["] if markers else [])})),
        forbidden=re.compile("|".join([*map(re.escape, signs + others), *([r"\[\d{3,}\]"] if markers else [])])),
    )


def _parts(component: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    """A normalizer's or pre-tokenizer's steps."""
    if component is None:
        return []
    return [part for inner in component[name] for part in _parts(inner, name)] if name in component else [component]


def _merges_locally(model: dict[str, Any], normalizers: list[dict], pre_tokenizers: list[dict]) -> bool:
    """Byte-pair encoding, behind steps that look at one character after the current piece at most."""
    if model["type"] != "BPE" or model["dropout"] or model["continuing_subword_prefix"] or model["end_of_word_suffix"]:
        return False
    all_bytes = model["byte_fallback"] and all(f"<0x{byte:02X}>" in model["vocab"] for byte in range(256))
    if model["fuse_unk"] and model["unk_token"] is not None and not all_bytes:
        return False  # unknown characters on both sides of a cut would become one token
    if {part["type"] for part in normalizers} - _NORMALIZERS:
        return False
    if any(part["type"] == "Replace" and part["pattern"] != {"String": " "} for part in normalizers):
        return False
    # A look-behind would make a piece depend on the one before it.
    return all(part["type"] in _PRE_TOKENIZERS and "(?<" not in json.dumps(part) for part in pre_tokenizers)


def _added_markers(added_tokens: list[dict[str, Any]], composed: bool) -> frozenset[int] | None:
    """Line numbers whose markers are added tokens; None where an added token could match around a marker's ends."""
    markers = set()
    for token in added_tokens:
        if composed and token["normalized"]:
            return None  # would be looked for in the composed text
        if match := _MARKER.fullmatch(token["content"]):
            if token["single_word"] or token["lstrip"] or token["rstrip"]:
                return None
            markers.add(int(match[1]))
        elif _MEDDLING.fullmatch(token["content"]):
            return None
    return frozenset(markers)


def _space_sign(normalizers: list[dict[str, Any]], pre_tokenizers: list[dict[str, Any]]) -> str:
    """What stands for a space in the vocabulary, byte-level ones aside."""
    signs = [part["content"] for part in normalizers if part["type"] == "Replace"]
    signs += [part["replacement"] for part in pre_tokenizers if part["type"] == "Metaspace"]
    return signs[0] if signs else " "


def _written(model: dict[str, Any], byte_level: bool, space: str, added: set[str]) -> list[str]:
    """What each token id of the model writes, nothing for added tokens; half characters are replaced."""
    from tokenizers.decoders import ByteLevel

    decode = ByteLevel().decode
    single_bytes = {f"<0x{byte:02X}>": chr(byte) if byte < 128 else "\ufffd" for byte in range(256)}
    texts = [""] * (max(model["vocab"].values(), default=-1) + 1)
    for token, number in model["vocab"].items():
        if model["byte_fallback"] and token in single_bytes:
            texts[number] = single_bytes[token]
        elif token not in added:
            texts[number] = decode([token]) if byte_level else token.replace(space, " ")
    return texts
