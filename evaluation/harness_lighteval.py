"""Multiple choice through lighteval: the yardstick's continuation task, and the paper's general suite."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lighteval.logging.evaluation_tracker import EvaluationTracker
from lighteval.logging.info_loggers import DetailsLogger
from lighteval.models.abstract_model import LightevalModel
from lighteval.models.transformers.transformers_model import TransformersModel, TransformersModelConfig
from lighteval.pipeline import ParallelismManager, Pipeline, PipelineParameters
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.registry import Registry

from evaluation.answers import Answer, TaskScores, shown
from evaluation.benchmark_data import TaskData
from evaluation.configs import TASK_DEFINITIONS, ChoiceConfig, ModelsConfig
from evaluation.models import fetched, load_model, resolve_device
from evaluation.records import Metric, mean
from evaluation.tasks import general
from evaluation.tasks.continuation import task_config

if TYPE_CHECKING:
    from evaluation.suite_configs import SuiteConfig
    from evaluation.suites import Unit

DEFINITION = TASK_DEFINITIONS / "continuation.py"
METRICS = ("acc", "acc_norm")


@contextmanager
def without_builtin_tasks() -> Iterator[None]:
    """Keeps the registry from importing lighteval's own task modules.

    Importing them takes longer than a nano model's answers, and some download at import (tiny_benchmarks a pickle,
    ifeval nltk's punkt), which fails on a machine without network.
    """
    loaders = ("_load_from_files", "_load_from_subdirs")
    before = {name: Registry.__dict__[name] for name in loaders}
    for name in loaders:
        setattr(Registry, name, staticmethod(lambda *_: {}))
    try:
        yield
    finally:
        for name, loader in before.items():
            setattr(Registry, name, loader)


def load(name: str, place: Path, config: ModelsConfig, scratch: Path) -> LightevalModel:
    """A model in lighteval's hands.

    It goes in loaded and under its short name: lighteval appends `model_name` to its cache folder, and an absolute path
    there would put the cache into the model's own folder.
    """
    model, _ = load_model(place, config.device, config.dtype)
    settings = TransformersModelConfig(
        model_name=name,
        tokenizer=str(fetched(place)),
        device=resolve_device(config.device),
        batch_size=config.batch_size,
        override_chat_template=False,
        cache_dir=str(scratch / "lighteval"),
    )
    wrapped = TransformersModel.from_model(model=model, config=settings)
    # A pipeline throws its model away when it has asked it; ours is asked task by task.
    wrapped.cleanup = lambda: None
    return wrapped


def run(model: LightevalModel, tasks: Sequence[LightevalTaskConfig], scratch: Path) -> Pipeline:
    """Asks a model all questions of the tasks."""
    module = ModuleType("prox_tasks")
    module.TASKS_TABLE = list(tasks)
    with without_builtin_tasks():
        pipeline = Pipeline(
            tasks=",".join(f"{task.name}|0" for task in tasks),
            pipeline_parameters=PipelineParameters(
                launcher_type=ParallelismManager.NONE, custom_tasks_directory=module
            ),
            evaluation_tracker=EvaluationTracker(output_dir=str(scratch / "tracker"), save_details=False),
            model=model,
        )
    pipeline.evaluate()
    return pipeline


def metrics_of(pipeline: Pipeline, task: str) -> dict[str, Metric]:
    """A task's scores, with their standard errors (None where lighteval gives none)."""
    # Keyed "<task>:<few-shot count>" in the final results, "<task>|<few-shot count>" in the request.
    results = pipeline.get_results()["results"][f"{task}:0"]
    return {name: Metric(float(results[name]), finite(results.get(f"{name}_stderr"))) for name in METRICS}


def finite(number: object) -> float | None:
    """The number, where it is one: one question alone has no standard error."""
    return float(number) if isinstance(number, float | int) and math.isfinite(number) else None


def scorer(config: ChoiceConfig, task: str, data: Path, scratch: Path) -> Callable[[str, Path], dict[str, Metric]]:
    """A function from a model's name and folder to its scores on the data set folder ``data``."""

    def score(name: str, folder: Path) -> dict[str, Metric]:
        return metrics_of(run(load(name, folder, config, scratch), [task_config(task, data)], scratch), task)

    return score


def score_task(model: LightevalModel, unit: "Unit", data: TaskData, config: "SuiteConfig") -> TaskScores:
    """A model's scores on one task of the general suite: the plain mean over its subsets (one, or MMLU's 57)."""
    tasks = general.task_configs(unit.task, data.folder, data.subsets)
    pipeline = run(model, tasks, config.output.resolve() / "scratch")
    by_subset = {task.name.split(":")[1]: metrics_of(pipeline, task.name) for task in tasks}
    metrics = {name: mean([scores[name] for scores in by_subset.values()]) for name in METRICS}
    logged = pipeline.evaluation_tracker.details_logger.details
    asked = [(subset, detail) for subset in data.subsets for detail in logged[f"{unit.task}:{subset}|0"]]
    answers = [answer_of(subset, detail) for subset, detail in asked]
    details: dict[str, Any] = {"prompts_cut": sum(is_cut(detail, model.max_length) for _, detail in asked)}
    if len(by_subset) > 1:
        details["subsets"] = {name: round(scores["acc_norm"].value, 4) for name, scores in by_subset.items()}
    first = asked[0][1].doc
    return TaskScores(
        metrics, "acc_norm", answers, details, example=shown(first.query, first.choices, first.gold_index)
    )


def is_cut(detail: DetailsLogger.Detail, context: int) -> bool:
    """Whether a question with its longest choice was longer than the model's context; lighteval cuts its beginning."""
    response = detail.model_response
    return len(response.input_tokens) + max((len(tokens) for tokens in response.output_tokens), default=0) > context


def answer_of(subset: str, detail: DetailsLogger.Detail) -> Answer:
    """One question as lighteval has it; a choice's length is that of its text, without the space before it."""
    document = detail.doc
    lengths = [len(choice.removeprefix(" ")) for choice in document.choices]
    row = document.specific
    likelihoods = list(detail.model_response.logprobs)
    return Answer(subset, row["row"], row["question_digest"], document.gold_index, likelihoods, lengths)
