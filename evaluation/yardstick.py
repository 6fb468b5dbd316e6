"""``evaluation yardstick``: clean text that no training corpus holds, and a multiple-choice set made from it."""

import json
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from evaluation.configs import YardstickConfig
from evaluation.continuation import baselines, make_items
from evaluation.records import sha256_of_files
from prox.artifact import read_json, write_atomically, write_json
from prox.errors import UserError

TEXT = "text.jsonl"
CHOICE = "choice"
CHOICE_ITEMS = "choice/validation.jsonl"
CARD = "card.json"

# Makes `datasets.load_dataset(folder)` find the split; both harnesses load their data that way.
CHOICE_README = """---
configs:
- config_name: default
  data_files:
  - split: validation
    path: validation.jsonl
---
Which sentence comes next? Made by `python -m evaluation yardstick` from {source}: {num_items} items of a context, four
sentences and the index of the true next one.
"""


def build_yardstick(config: YardstickConfig) -> dict[str, Any]:
    """Writes ``text.jsonl``, ``choice/`` and ``card.json``; returns their sizes."""
    texts = standard_library_topics() if config.text is None else read_texts(config.text)
    source = f"Python {platform.python_version()} documentation topics" if config.text is None else config.text.name
    write_jsonl(config.output / TEXT, ({"id": key, "text": text} for key, text in texts.items()))
    items = make_items(texts, config) if config.num_items else []
    if config.num_items and not items:
        raise UserError(
            f"no multiple-choice item could be made from {source}: it needs prose sentences of "
            f"{config.min_sentence_chars} to {config.max_sentence_chars} characters in several documents; "
            "pass --num_items 0 to do without"
        )
    if items:
        (config.output / CHOICE).mkdir(exist_ok=True)
        write_jsonl(config.output / CHOICE_ITEMS, items)
        write_atomically(
            config.output / CHOICE / "README.md", CHOICE_README.format(source=source, num_items=len(items))
        )
    card = {
        "source": source,
        "num_documents": len(texts),
        "num_bytes": sum(len(text.encode()) for text in texts.values()),
        "text_sha256": sha256_of_files(config.output / TEXT),
        "num_items": len(items),
        "baselines": baselines(items),
    }
    write_json(config.output / CARD, card)
    return {"documents": card["num_documents"], "bytes": card["num_bytes"], "items": card["num_items"]}


def standard_library_topics() -> dict[str, str]:
    """The language reference as ``help()`` prints it: reviewed, plain reStructuredText, part of every Python."""
    from pydoc_data.topics import topics

    return {name: topics[name] for name in sorted(topics)}


def read_texts(path: Path) -> dict[str, str]:
    """Documents by id from a JSONL file; ``UserError`` names the line that has no id, no text, or a known id."""
    texts: dict[str, str] = {}
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                key, text = str(row["id"]), row["text"]
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise UserError(f"{path} line {number}: {error!r}; every line must be a JSON {{id, text}}") from None
            if key in texts or not isinstance(text, str) or not text:
                raise UserError(f"{path} line {number}: id {key!r} is there twice, or its text is empty or no string")
            texts[key] = text
    if not texts:
        raise UserError(f"{path} holds no document: give a JSONL file of {{id, text}} rows")
    return texts


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes one JSON object a line, atomically."""
    write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def source_of(yardstick: Path) -> str:
    """What the yardstick is made of, in words."""
    return read_json(yardstick / CARD)["source"]
