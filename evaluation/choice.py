"""``evaluation choice``: the yardstick's multiple-choice task through a published harness."""

import importlib
from pathlib import Path
from typing import Any

from evaluation.configs import ChoiceConfig
from evaluation.models import score_models, step_of, summary_of
from evaluation.offline import quiet_libraries
from evaluation.records import Record, model_and_step, sha256_of_files
from evaluation.yardstick import CHOICE, CHOICE_ITEMS, source_of

TASK = "continuation"


def score_choice(config: ChoiceConfig) -> dict[str, Any]:
    """Scores every model through ``config.harness``; returns accuracy by model."""
    assert config.yardstick is not None  # problems() refuses it
    items = config.yardstick / CHOICE_ITEMS
    num_items = sum(1 for line in items.read_text(encoding="utf-8").splitlines() if line)
    source, data_hash = source_of(config.yardstick), sha256_of_files(items)
    scratch = config.output / "scratch"
    with quiet_libraries(scratch, with_network=config.has_hub_models()):
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
                step=step_of(name, folder),
                details={"dtype": config.dtype},
            )

        return summary_of(score_models(config, config.harness, TASK, measure), "acc_norm")
