"""Surroundings in which harnesses run: quiet, their caches out of the way, off the network where none is needed."""

import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path


@contextmanager
def quiet_libraries(scratch: Path, with_network: bool = False) -> Iterator[None]:
    """Quiet libraries, their caches in ``scratch``, which is gone afterwards, and no network unless it is asked for.

    To be entered before a harness is imported: huggingface_hub reads its environment once, at import.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if not with_network:
        os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
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
