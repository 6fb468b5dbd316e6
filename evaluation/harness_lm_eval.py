"""The continuation task through lm-eval."""

from collections.abc import Callable
from pathlib import Path

import yaml
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from evaluation.configs import TASK_DEFINITIONS, ChoiceConfig
from evaluation.models import load_model
from evaluation.records import Metric

DEFINITION = TASK_DEFINITIONS / "continuation.yaml"


def scorer(config: ChoiceConfig, task: str, data: Path, scratch: Path) -> Callable[[str, Path], dict[str, Metric]]:
    """A function from a model's name and folder to its scores on the data set folder ``data``."""
    definition = {**yaml.safe_load(DEFINITION.read_text(encoding="utf-8")), "task": task, "dataset_path": str(data)}
    # lm-eval's own thousands of tasks are left out: indexing them takes longer than a nano model's answers.
    manager = TaskManager(include_defaults=False)

    def score(name: str, folder: Path) -> dict[str, Metric]:
        model, tokenizer = load_model(folder, config.device, config.dtype)
        wrapped = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=config.batch_size)
        # Not simple_evaluate: it also collects the machine's state through pip and lscpu, seconds a call.
        results = evaluate(wrapped, manager.load([definition]), log_samples=False)["results"][task]
        return {name: Metric(results[f"{name},none"], results[f"{name}_stderr,none"]) for name in ("acc", "acc_norm")}

    return score
