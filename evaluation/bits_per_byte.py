"""``evaluation bits_per_byte``: how many bits a model needs for a byte of clean text. Comparable across tokenizers.

A document is one sequence: the token that begins documents for this model, then the text's tokens. Windows of the
model's context slide over it; a token is scored in the first window that reaches it, so every token is scored exactly
once, and all but a document's first ones have at least ``1 - stride`` of a window before them.
"""

import hashlib
import json
import logging
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.configs import DEFINITION_VERSION, BitsPerByteConfig
from evaluation.models import context_length, load_model, score_models, step_of, summary_of
from evaluation.records import Metric, Record, model_and_step, sha256_of_files
from evaluation.yardstick import TEXT, read_texts, source_of
from prox.errors import UserError
from prox.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger("prox")

SUITE = "bits_per_byte"
TASK = "yardstick"
IGNORED = -100


@dataclass(frozen=True)
class Window:
    """Inputs ``begin..end-1`` of a sequence; they predict the tokens ``begin+1..end``, of which the last
    ``num_scored`` count."""

    begin: int
    end: int
    num_scored: int


def windows(num_tokens: int, context: int, stride: int) -> list[Window]:
    """Windows over a sequence whose tokens 1 .. ``num_tokens - 1`` are to be scored, each in exactly one window."""
    found: list[Window] = []
    scored_until = 0
    begin = 0
    while scored_until < num_tokens - 1:
        end = min(begin + context, num_tokens - 1)
        found.append(Window(begin, end, end - scored_until))
        scored_until = end
        begin += stride
    return found


def score_sequences(
    model: "PreTrainedModel", sequences: Sequence[Sequence[int]], context: int, stride: int, batch_size: int
) -> list[float]:
    """Negative log-likelihood (natural log) of each sequence's tokens after the first."""
    import torch

    # Longest first: little padding, and memory is at its highest at once.
    jobs = [(index, window) for index, ids in enumerate(sequences) for window in windows(len(ids), context, stride)]
    jobs.sort(key=lambda job: job[1].begin - job[1].end)
    totals = [0.0] * len(sequences)
    with torch.inference_mode(), Progress("bits per byte", len(jobs), "windows") as progress:
        for start in range(0, len(jobs), batch_size):
            batch = jobs[start : start + batch_size]
            width = batch[0][1].end - batch[0][1].begin
            inputs = torch.zeros(len(batch), width, dtype=torch.long)
            targets = torch.full((len(batch), width), IGNORED, dtype=torch.long)
            for row, (index, window) in enumerate(batch):
                size = window.end - window.begin
                ids = torch.tensor(sequences[index][window.begin : window.end + 1])
                inputs[row, :size] = ids[:-1]
                targets[row, size - window.num_scored : size] = ids[1:][size - window.num_scored :]
            # Padding is on the right, where causal attention never looks, so no mask is needed.
            logits = model(input_ids=inputs.to(model.device), use_cache=False).logits
            losses = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1).float(), targets.to(model.device).flatten(), ignore_index=IGNORED, reduction="none"
            )
            for (index, _), loss in zip(batch, losses.view(len(batch), width).double().sum(1).tolist(), strict=True):
                totals[index] += loss
            progress.advance(len(batch))
    return totals


def ratio_with_stderr(bits: Sequence[float], sizes: Sequence[int]) -> Metric:
    """Total bits over total bytes; standard error of the ratio estimator over documents (Cochran, Sampling
    Techniques, section 6.4), None for one document."""
    total = sum(sizes)
    ratio = math.fsum(bits) / total
    count = len(bits)
    if count < 2:
        return Metric(ratio, None)
    squares = math.fsum((bit - ratio * size) ** 2 for bit, size in zip(bits, sizes, strict=True))
    return Metric(ratio, math.sqrt(squares * count / (count - 1)) / total)


def sample_documents(texts: dict[str, str], max_bytes: int, seed: int) -> dict[str, str]:
    """Whole documents in a seeded order while they fit into ``max_bytes``; all of them for 0."""
    if max_bytes == 0:
        return texts
    order = sorted(texts)
    random.Random(seed).shuffle(order)
    chosen: dict[str, str] = {}
    left = max_bytes
    for key in order:
        size = len(texts[key].encode())
        if size <= left:
            chosen[key] = texts[key]
            left -= size
    if not chosen:
        smallest = min(len(text.encode()) for text in texts.values())
        raise UserError(f"--max_bytes {max_bytes} fits no document of the yardstick (smallest {smallest}): raise it")
    return chosen


def document_prefix(tokenizer: "PreTrainedTokenizerBase") -> int:
    """The token a document's first token is conditioned on.

    BOS for a tokenizer that puts it before every text (Llama). Others were trained on documents separated by EOS, as
    this project's models are: their BOS, if there is one, may have never been seen and would shift every score.
    """
    added = tokenizer("")["input_ids"]
    if added and added[0] == tokenizer.bos_token_id:
        return added[0]
    for token in (tokenizer.eos_token_id, tokenizer.bos_token_id):
        if token is not None:
            return token
    raise UserError("the tokenizer has neither a BOS nor an EOS token to condition a document's first token on")


def encode(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, after the prefix token."""
    prefix = document_prefix(tokenizer)
    return [[prefix, *ids] for ids in tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]]


def score_bits_per_byte(config: BitsPerByteConfig) -> dict[str, Any]:
    """Scores every model on the same documents; returns bits per byte by model."""
    assert config.yardstick is not None  # problems() refuses it
    file = config.yardstick / TEXT
    texts = sample_documents(read_texts(file), config.max_bytes, config.seed)
    sizes = [len(text.encode()) for text in texts.values()]
    source, data_hash = source_of(config.yardstick), sha256_of_files(file)
    log.info("bits per byte: %d documents, %s bytes of %s", len(texts), f"{sum(sizes):,}", source)
    settings = {
        "definition": DEFINITION_VERSION,
        "dtype": config.dtype,
        "max_bytes": config.max_bytes,
        "max_context": config.max_context,
        "sample_seed": config.seed if config.max_bytes else None,
        "stride": config.stride,
    }

    def measure(name: str, folder: Path) -> Record:
        model, tokenizer = load_model(folder, config.device, config.dtype)
        context = min(config.max_context, context_length(model) or config.max_context)
        sequences = encode(tokenizer, list(texts.values()))
        stride = max(1, round(context * config.stride))
        nats = score_sequences(model, sequences, context, stride, config.batch_size)
        return Record(
            model=model_and_step(name)[0],
            suite=SUITE,
            suite_version=DEFINITION_VERSION,
            task=TASK,
            metrics={SUITE: ratio_with_stderr([value / math.log(2) for value in nats], sizes)},
            num_samples=len(texts),
            stderr_method="ratio estimator over documents",
            task_hash=hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest(),
            data=source,
            data_hash=data_hash,
            model_path=str(folder),
            step=step_of(name, folder),
            details={
                **settings,
                "context": context,
                "document_prefix": tokenizer.convert_ids_to_tokens(document_prefix(tokenizer)),
                "num_bytes": sum(sizes),
                "num_tokens": sum(len(ids) - 1 for ids in sequences),
            },
        )

    return summary_of(score_models(config, SUITE, TASK, measure), SUITE)
