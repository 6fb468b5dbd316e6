"""``evaluation choice``: the yardstick's multiple-choice task through a published harness."""

import importlib
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from evaluation.configs import ChoiceConfig
from evaluation.models import score_models, summary_of, training_step
from evaluation.records import Record, model_and_step, sha256_of_files
from evaluation.yardstick import CHOICE, CHOICE_ITEMS, source_of

TASK = "continuation"


@contextmanager
def offline(scratch: Path) -> Iterator[None]:
    """No network, quiet libraries, and their caches in ``scratch``, which is gone afterwards.

    To be entered before a harness is imported: huggingface_hub reads its environment once, at import.
    """
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    import datasets
    import torch

    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    cache_before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = scratch / "datasets"
    datasets.disable_progress_bars()
    # Their warnings are about defaults we set on purpose (batch size, no few-shot split, a loaded model).
    for name in ("lighteval", "lm_eval"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        # lighteval switches gradients off for the whole process; no_grad restores them. Progress bars are for
        # terminals; in a log they are noise (our own log lines go to the handler's stream and stay).
        with (
            torch.no_grad(),
            (scratch / "stderr.txt").open("w") as stream,
            redirect_stderr(sys.stderr if sys.stderr.isatty() else stream),
        ):
            yield
    finally:
        datasets.config.HF_DATASETS_CACHE = cache_before
        shutil.rmtree(scratch, ignore_errors=True)


def score_choice(config: ChoiceConfig) -> dict[str, Any]:
    """Scores every model through ``config.harness``; returns accuracy by model."""
    assert config.yardstick is not None  # problems() refuses it
    items = config.yardstick / CHOICE_ITEMS
    num_items = sum(1 for line in items.read_text(encoding="utf-8").splitlines() if line)
    source, data_hash = source_of(config.yardstick), sha256_of_files(items)
    scratch = config.output / "scratch"
    with offline(scratch):
        harness = importlib.import_module(f"evaluation.harness_{config.harness}")
        score = harness.scorer(config, TASK, (config.yardstick / CHOICE).resolve(), scratch.resolve())

        def measure(name: str, folder: Path) -> Record:
            return Record(
                model=model_and_step(name)[0],
                suite=config.harness,
                suite_version=config.harness_version() or "",
                task=TASK,
                metrics=score(name, folder),
                num_samples=num_items,
                stderr_method="standard error of the mean over items",
                task_hash=sha256_of_files(harness.DEFINITION),
                data=source,
                data_hash=data_hash,
                model_path=str(folder),
                step=training_step(folder),
                details={"dtype": config.dtype},
            )

        return summary_of(score_models(config, config.harness, TASK, measure), "acc_norm")
