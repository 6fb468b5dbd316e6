"""The continuation task through lighteval."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from lighteval.logging.evaluation_tracker import EvaluationTracker
from lighteval.models.transformers.transformers_model import TransformersModelConfig
from lighteval.pipeline import ParallelismManager, Pipeline, PipelineParameters
from lighteval.tasks.registry import Registry

from evaluation.configs import TASK_DEFINITIONS, ChoiceConfig
from evaluation.models import load_model, resolve_device
from evaluation.records import Metric
from evaluation.tasks.continuation import task_config

DEFINITION = TASK_DEFINITIONS / "continuation.py"
# lighteval's names of the metrics, by lm-eval's, under which both are recorded.
METRICS = {"acc": "acc", "acc_norm": "acc_norm"}


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


def scorer(config: ChoiceConfig, task: str, data: Path, scratch: Path) -> Callable[[str, Path], dict[str, Metric]]:
    """A function from a model's name and folder to its scores on the data set folder ``data``."""
    tasks = ModuleType("prox_tasks")
    tasks.TASKS_TABLE = [task_config(task, data)]
    parameters = PipelineParameters(launcher_type=ParallelismManager.NONE, custom_tasks_directory=tasks)

    def score(name: str, folder: Path) -> dict[str, Metric]:
        model, _ = load_model(folder, config.device, config.dtype)
        # The model goes in loaded and under its short name: lighteval appends `model_name` to its cache folder, and
        # an absolute path there would put the cache into the model's own folder.
        settings = TransformersModelConfig(
            model_name=name,
            tokenizer=str(folder.resolve()),
            device=resolve_device(config.device),
            batch_size=config.batch_size,
            override_chat_template=False,
            cache_dir=str(scratch / "lighteval"),
        )
        with without_builtin_tasks():
            pipeline = Pipeline(
                tasks=f"{task}|0",
                pipeline_parameters=parameters,
                evaluation_tracker=EvaluationTracker(output_dir=str(scratch / "tracker"), save_details=False),
                model=model,
                model_config=settings,
            )
        pipeline.evaluate()
        # Keyed "<task>:<few-shot count>" in the final results, "<task>|<few-shot count>" in the request.
        results = pipeline.get_results()["results"][f"{task}:0"]
        return {name: Metric(float(results[key]), float(results[f"{key}_stderr"])) for name, key in METRICS.items()}

    return score
