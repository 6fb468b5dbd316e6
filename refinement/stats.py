"""Sizes of the arms: what each method left of the corpus."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from datatrove.utils.batching import batched

from prox.artifact import write_json
from prox.engines.local import load_tokenizer
from prox.executor import count_words
from prox.progress import track
from prox.units import iterate_documents
from refinement.configs import StatsConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNITS = ("documents", "tokens", "words", "bytes")
BATCH = 256


def size_of(artifact: Path, tokenizer: "PreTrainedTokenizerBase", name: str) -> dict[str, int]:
    """Documents, tokens (without special ones), words and UTF-8 bytes of one documents artefact."""
    size = dict.fromkeys(UNITS, 0)
    for documents in batched(track(iterate_documents(artifact), f"stats {name}", None, "documents"), BATCH):
        texts = [document.text for document in documents]
        encoded = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
        size["documents"] += len(texts)
        size["tokens"] += sum(len(ids) for ids in encoded["input_ids"])
        size["words"] += sum(count_words(text) for text in texts)
        size["bytes"] += sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    return size


def table(arms: dict[str, dict[str, int]], shares: dict[str, dict[str, float]]) -> str:
    """The arms as plain text, one a line."""
    width = max(len("arm"), *(len(name) for name in arms))
    lines = [f"{'arm':<{width}}  " + "  ".join(f"{unit:>20}" for unit in UNITS)]
    for name, size in arms.items():
        cells = (f"{size[unit]:,} ({shares[name][unit]:.1%})" for unit in UNITS)
        lines.append(f"{name:<{width}}  " + "  ".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


def measure(config: StatsConfig) -> dict[str, Any]:
    """Counts every arm, writes ``stats.json`` and prints the table."""
    tokenizer = load_tokenizer(str(config.tokenizer))
    arms = {name: size_of(path, tokenizer, name) for name, path in config.arms.items()}
    base = arms.get("raw") or next(iter(arms.values()))
    shares = {
        name: {unit: size[unit] / base[unit] if base[unit] else 0.0 for unit in UNITS} for name, size in arms.items()
    }
    write_json(config.output / "stats.json", {"arms": arms, "shares": shares})
    print(table(arms, shares))
    return {name: f"{shares[name]['tokens']:.1%} of tokens" for name in arms}
