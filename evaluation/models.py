"""Loads Hugging Face models for scoring, and runs one evaluation over any number of them."""

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.configs import ModelsConfig, hub_model, training_step
from evaluation.records import Record, model_and_step, path_of, read_record, write_record
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


@cache
def fetched(place: Path) -> Path:
    """The folder of a model; one of the hub is fetched into the hub's cache, once a process."""
    hub = hub_model(place)
    if hub is None:
        return place.resolve()
    from huggingface_hub import snapshot_download

    log.info("fetching %s from the hub", hub[0])
    # Other frameworks' weights are not for transformers on PyTorch.
    return Path(snapshot_download(hub[0], revision=hub[1], ignore_patterns=["*.msgpack", "*.h5", "*.onnx", "*.gguf"]))


def commit_of(place: Path) -> str | None:
    """The commit of a hub's model that was fetched; None for a folder."""
    return None if hub_model(place) is None else fetched(place).name


def step_of(name: str, place: Path) -> int | None:
    """A model's training step: as its name tells it (`raw@2500`), else as the step that exported it did."""
    step = model_and_step(name)[1]
    return training_step(place) if step is None else step


def load_model(folder: Path, device: str, dtype: str) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The model, in evaluation mode on ``device``, and its tokenizer; asks the network for models of the hub only."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    place = fetched(folder)
    model = AutoModelForCausalLM.from_pretrained(place, dtype=getattr(torch, dtype), local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True)
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
