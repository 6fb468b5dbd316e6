"""Turns documents into token shards with datatrove's tokenizer step, one task per shard.

A shard is a flat file of token ids, documents in order, each followed by the end-of-sequence token (as the authors
pack; no beginning-of-sequence token), with an index of the documents' ends. Shuffling is the loader's work.
"""

import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.tokens import DocumentTokenizer
from pyarrow import compute, parquet
from tokenizers import Tokenizer

from pretraining.configs import STATS, TokenizeConfig
from prox.artifact import read_json, write_atomically, write_json
from prox.errors import UserError
from prox.tasks import make_executor
from prox.units import DOCUMENTS, unit_files

SHARDS = "shards"
LOGS = "logs"
UNIT_LIST = "units.txt"
INDEX_ENTRY = np.dtype("<u8")


def end_of_sequence(tokenizer: Path) -> str:
    """The tokenizer's end-of-sequence token."""
    token = read_json(tokenizer / "tokenizer_config.json").get("eos_token")
    if isinstance(token, dict):
        token = token.get("content")
    if not token:
        raise UserError(f"--tokenizer {tokenizer} names no eos_token in tokenizer_config.json: documents need an end")
    return token


def tokenizer_mark(file: Path) -> str:
    """Tells tokenizers apart by what their ids mean, however the file is written."""
    vocabulary = Tokenizer.from_file(str(file)).get_vocab()
    ordered = sorted(vocabulary.items(), key=lambda item: item[1])
    return hashlib.sha256(json.dumps(ordered).encode()).hexdigest()[:16]


def shard_statistics(shards: Path, item_size: int) -> list[dict[str, Any]]:
    """Name, tokens and documents of each shard, in order."""
    return [
        {
            "file": path.name,
            "tokens": path.stat().st_size // item_size,
            "documents": path.with_name(path.name + ".index").stat().st_size // INDEX_ENTRY.itemsize,
        }
        for path in sorted(shards.glob("*.ds"))
    ]


def text_bytes(units: Iterable[Path]) -> int:
    """Bytes of UTF-8 of all texts: what bits per byte are counted over."""
    total = 0
    for unit in units:
        for group in parquet.ParquetFile(unit).iter_batches(columns=["text"]):
            total += compute.sum(compute.binary_length(group.column("text"))).as_py() or 0
    return total


def tokenize(config: TokenizeConfig) -> dict[str, Any]:
    """Writes ``shards/*.ds`` and ``stats.json``; finished shards of an interrupted run are kept.

    Raises:
        UserError: no document has text, or the tokenizer can't mark a document's end.
    """
    units = unit_files(config.documents)
    if not units:
        raise UserError(f"--documents {config.documents} holds no units of documents: the corpus is empty")
    tokenizer_file = config.tokenizer / "tokenizer.json"
    vocab_size = Tokenizer.from_file(str(tokenizer_file)).get_vocab_size()
    step = DocumentTokenizer(
        output_folder=str(config.output / SHARDS),
        tokenizer_name_or_path=str(tokenizer_file),
        eos_token=end_of_sequence(config.tokenizer),
        shuffle_documents=False,
        save_final_metadata=False,  # it holds the tokenizer's path, which would make equal shards differ
        batch_size=1_000,
    )
    rows = [parquet.read_metadata(unit).num_rows for unit in units]
    num_tasks = math.ceil(len(units) / math.ceil(len(units) / config.max_shards))
    # Left to itself the reader would also take hidden files, such as the half-written ones a kill leaves; its
    # glob_pattern fails in a folder whose own name holds brackets.
    unit_list = config.output / LOGS / UNIT_LIST
    unit_list.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(unit_list, "".join(f"{unit.name}\n" for unit in units))
    reader = ParquetReader(str(config.documents / DOCUMENTS), paths_file=str(unit_list), read_metadata=False)
    make_executor(
        config.executor,
        "pretraining tokenize",
        [reader, step],
        sizes=[sum(rows[task::num_tasks]) for task in range(num_tasks)],  # datatrove deals files out in turn
        folder=config.output / LOGS,
        workers=config.workers,
    ).run()
    shards = shard_statistics(config.output / SHARDS, step.token_size)
    documents = sum(shard["documents"] for shard in shards)
    statistics = {
        "documents": documents,
        "documents_without_text": sum(rows) - documents,
        "tokens": sum(shard["tokens"] for shard in shards),
        "text_bytes": text_bytes(units),
        "vocab_size": vocab_size,
        "tokenizer": tokenizer_mark(tokenizer_file),
        "dtype": "uint16" if step.token_size == 2 else "uint32",
        "shards": shards,
    }
    if not statistics["tokens"]:
        raise UserError(
            f"--documents {config.documents} holds no text, every document was dropped before: its "
            "dropped/ folder says why. Give more documents (a few hundred at least), or settings that keep some"
        )
    write_json(config.output / STATS, statistics)
    return {name: statistics[name] for name in ("documents", "documents_without_text", "tokens")}
