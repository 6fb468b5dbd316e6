"""Multiple choice through lm-eval: the yardstick's continuation task, and the paper's selection suite."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from lm_eval.api.model import LM
from lm_eval.api.task import Task
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from evaluation.answers import Answer, TaskScores, shown
from evaluation.benchmark_data import EVALUATION, FEWSHOT, TaskData
from evaluation.configs import TASK_DEFINITIONS, ChoiceConfig, ModelsConfig
from evaluation.models import load_model
from evaluation.records import Metric

if TYPE_CHECKING:
    from evaluation.suite_configs import SelectionConfig
    from evaluation.suites import Unit

DEFINITION = TASK_DEFINITIONS / "continuation.yaml"
METRICS = ("acc", "acc_norm")


def load(_name: str, place: Path, config: ModelsConfig, _scratch: Path) -> LM:
    """A model in lm-eval's hands."""
    model, tokenizer = load_model(place, config.device, config.dtype)
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=config.batch_size)


def run(model: LM, definition: dict[str, Any], fewshot_seed: int | None = None) -> tuple[Task, dict[str, Any]]:
    """Asks a model all questions of a task; lm-eval's task, and its results with every sample."""
    # lm-eval's own thousands of tasks are left out: indexing them takes longer than a nano model's answers.
    tasks = TaskManager(include_defaults=False).load([definition])
    task = tasks["tasks"][definition["task"]]
    task.set_fewshot_seed(fewshot_seed)
    # Not simple_evaluate: it also collects the machine's state through pip and lscpu, seconds a call.
    return task, evaluate(model, tasks)


def metrics_of(results: dict[str, Any], task: str) -> dict[str, Metric]:
    """A task's scores, with their standard errors (None where lm-eval gives none)."""
    scores = results["results"][task]
    errors = {name: scores.get(f"{name}_stderr,none") for name in METRICS}
    return {
        name: Metric(scores[f"{name},none"], error if isinstance(error, float) else None)
        for name, error in errors.items()
        if f"{name},none" in scores
    }


def scorer(config: ChoiceConfig, task: str, data: Path, scratch: Path) -> Callable[[str, Path], dict[str, Metric]]:
    """A function from a model's name and folder to its scores on the data set folder ``data``."""
    definition = {**yaml.safe_load(DEFINITION.read_text(encoding="utf-8")), "task": task, "dataset_path": str(data)}

    def score(name: str, folder: Path) -> dict[str, Metric]:
        return metrics_of(run(load(name, folder, config, scratch), definition)[1], task)

    return score


def score_task(model: LM, unit: "Unit", data: TaskData, config: "SelectionConfig") -> TaskScores:
    """A model's scores on one task of the selection suite; `acc_norm` where the task has it, else `acc`."""
    definition = {
        **yaml.safe_load(unit.definition.read_text(encoding="utf-8")),
        "dataset_path": str(data.folder),
        "dataset_name": next(iter(data.subsets)),
        "test_split": EVALUATION,
        "fewshot_split": FEWSHOT if "fewshot_pool" in data.details else None,
        "num_fewshot": unit.num_fewshot,
    }
    task, results = run(model, definition, config.fewshot_seed)
    metrics = metrics_of(results, unit.task)
    headline = "acc_norm" if "acc_norm" in metrics else "acc"
    answers = [answer_of(task, sample, headline) for sample in results["samples"][unit.task]]
    samples = results["samples"][unit.task]
    example = shown_sample(samples[0], answers[0].gold)
    return TaskScores(metrics, headline, answers, {"prompts_cut": count_cut(model, samples)}, example=example)


def shown_sample(sample: dict[str, Any], gold: int) -> str:
    """A question as text; where the choices come first (WinoGrande), each is shown with what follows it."""
    pairs = [sample["arguments"][number] for number in range(len(sample["arguments"]))]
    if len({prompt for prompt, _ in pairs}) == 1:
        return shown(pairs[0][0], (choice for _, choice in pairs), gold)
    return shown("", (f"{prompt}|{choice}" for prompt, choice in pairs), gold)


def count_cut(model: LM, samples: list[dict[str, Any]]) -> int:
    """How many questions, each with its longest choice, are longer than the model's context; lm-eval cuts their
    beginning."""
    longest = [max((text + choice for text, choice in sample["arguments"]), key=len) for sample in samples]
    return sum(len(model.tok_encode(text)) > model.max_length for text in longest)


def answer_of(task: Task, sample: dict[str, Any], headline: str) -> Answer:
    """One question as lm-eval has it."""
    # Where the choices come first (WinoGrande), lm-eval's "text" of a question is the number of the right one.
    gold = task.doc_to_text(sample["doc"]) if task.multiple_input else task.doc_to_target(sample["doc"])
    pairs = sample["filtered_resps"]
    # Each request is a context and what follows it: the delimiter and the choice.
    texts = [sample["arguments"][number][1].removeprefix(" ") for number in range(len(pairs))]
    lengths = [len(text) if headline == "acc_norm" else 1 for text in texts]
    row = sample["doc"]
    return Answer("all", row["row"], row["question_digest"], int(gold), [pair[0] for pair in pairs], lengths)
