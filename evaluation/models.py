"""Loads Hugging Face models for scoring, and runs one evaluation over any number of them."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.configs import ModelsConfig, hub_model
from evaluation.records import Record, path_of, read_record, write_record
from prox.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger("prox")


def resolve_device(device: str) -> str:
    """``auto`` as the device at hand."""
    import torch

    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_model(folder: Path, device: str, dtype: str) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The model, in evaluation mode on ``device``, and its tokenizer; asks the network for models of the hub only."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    repo, revision = hub_model(folder) or (folder, None)
    origin = {"local_files_only": repo is folder, **({"revision": revision} if revision else {})}
    model = AutoModelForCausalLM.from_pretrained(repo, dtype=getattr(torch, dtype), **origin)
    tokenizer = AutoTokenizer.from_pretrained(repo, **origin)
    return model.eval().to(resolve_device(device)), tokenizer


def context_length(model: "PreTrainedModel") -> int | None:
    """The model's context in tokens, under the names architectures use; None for one without a limit."""
    text_config = model.config.get_text_config()
    return getattr(text_config, "max_position_embeddings", None) or getattr(text_config, "n_positions", None)


def score_models(
    config: ModelsConfig, suite: str, task: str, measure: Callable[[str, Path], Record]
) -> dict[str, Record]:
    """Measures every model that has no record yet and writes each record as soon as it is there.

    A model that fails does not stop the others; ``UserError`` at the end names all that failed, and leaves the
    artefact uncommitted, so that a rerun measures only those.
    """
    records: dict[str, Record] = {}
    failures: list[str] = []
    for name, folder in config.models.items():
        path = path_of(config.output, name, suite, task)
        if path.is_file():
            log.info("%s %s: %s is there already", suite, task, path.name)
            records[name] = read_record(path)
            continue
        try:
            records[name] = measure(name, folder)
        except Exception as error:
            # Whatever a library raises for one model (a corrupt file, an unknown architecture, out of memory).
            log.exception("%s %s: %s failed", suite, task, name)
            failures.append(f"{name} ({folder}): {type(error).__name__}: {error}")
            continue
        write_record(config.output, records[name], name)
        log.info("%s %s: %s %s", suite, task, name, describe(records[name]))
    if failures:
        raise UserError(
            f"{len(failures)} of {len(config.models)} models could not be scored: "
            + "; ".join(failures)
            + ". The others' records are kept; mend these and run the same command again"
        )
    return records


def describe(record: Record) -> str:
    """The scores in one line."""
    parts = []
    for name, metric in record.metrics.items():
        error = "" if metric.stderr is None else f" ± {metric.stderr:.4f}"
        parts.append(f"{name} {metric.value:.4f}{error}")
    return ", ".join(parts)


def summary_of(records: dict[str, Record], metric: str) -> dict[str, Any]:
    """One metric by model, for the step's closing line."""
    return {name: round(record.metrics[metric].value, 4) for name, record in records.items()}
