"""lighteval's definition of the continuation task; ``continuation.yaml`` is lm-eval's, with the same prompt.

lighteval 0.13's own multiple-choice tasks are mostly generative by now, hence the explicit likelihood metrics.
"""

from pathlib import Path
from typing import Any

from lighteval.metrics.dynamic_metrics import LogLikelihoodAccMetric
from lighteval.metrics.normalizations import LogProbCharNorm
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc


def prompt(row: dict[str, Any], task_name: str) -> Doc:
    """The context as it is; a choice follows after one space."""
    return Doc(
        task_name=task_name,
        query=row["context"],
        choices=[f" {choice}" for choice in row["choices"]],
        gold_index=row["answer"],
    )


def task_config(name: str, data: Path) -> LightevalTaskConfig:
    """The task over the data set folder ``data``."""
    return LightevalTaskConfig(
        name=name,
        prompt_function=prompt,
        hf_repo=str(data),
        hf_subset="default",
        # One split only: lighteval numbers documents per split and its cache confuses two splits' documents.
        hf_avail_splits=["validation"],
        evaluation_splits=["validation"],
        metrics=[
            LogLikelihoodAccMetric(),
            # lm-eval's acc_norm divides by the choice's length without the delimiting space.
            LogLikelihoodAccMetric(normalization=LogProbCharNorm(ignore_first_space=True)),
        ],
        version=1,
    )
