"""The math suite through lm-eval: it asks, the project reads and compares the answers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from lm_eval.api.model import LM

from evaluation import harness_lm_eval
from evaluation.answers import TaskScores
from evaluation.benchmark_data import EVALUATION, TaskData
from evaluation.configs import hub_model
from evaluation.math_answers import extract_answer
from evaluation.math_equality import answers_equal
from evaluation.math_questions import TASKS

if TYPE_CHECKING:
    from evaluation.suite_configs import MathConfig
    from evaluation.suites import Unit


@dataclass(frozen=True)
class MathAnswer:
    """One problem and what the model wrote under it."""

    row: int
    """Number of the problem in its file."""
    gold: str
    completion: str
    answer: str
    """What was read out of the completion."""
    correct: bool


@contextmanager
def opened(_name: str, place: Path, config: "MathConfig", _scratch: Path) -> Iterator[Callable[[], LM]]:
    """A function that gives the model in lm-eval's hands, loading it when first called; released afterwards."""
    loaded: list[LM] = []

    def model() -> LM:
        if not loaded:
            loaded.append(load_vllm(place, config) if config.engine == "vllm" else harness_lm_eval.load(place, config))
        return loaded[0]

    yield model
    loaded.clear()


def load_vllm(place: Path, config: "MathConfig") -> LM:
    """A model in vLLM, in lm-eval's hands."""
    from lm_eval.models.vllm_causallms import VLLM

    repo, revision = hub_model(place) or (str(place.resolve()), None)
    options: dict[str, Any] = {} if revision is None else {"revision": revision}
    return VLLM(pretrained=repo, dtype=config.dtype, seed=config.seed, **options)


def score_task(model: LM, unit: "Unit", data: TaskData, config: "MathConfig") -> TaskScores:
    """A model's share of problems solved in one task."""
    definition = yaml.safe_load(unit.definition.read_text(encoding="utf-8"))
    room = model.max_length // 2
    new_tokens = min(config.max_new_tokens, room)
    answers: list[MathAnswer] = []

    def grade(document: dict[str, Any], completions: list[str]) -> dict[str, float]:
        answers.append(graded(unit.task, document, completions[0]))
        return {"acc": float(answers[-1].correct)}

    definition |= {
        "task": unit.task,
        "dataset_path": str(data.folder),
        "dataset_name": next(iter(data.subsets)),
        "test_split": EVALUATION,
        "process_results": grade,
        "generation_kwargs": {**definition["generation_kwargs"], "max_gen_toks": new_tokens},
    }
    _, results = harness_lm_eval.run(model, definition)
    longest = model.max_length - new_tokens
    prompts = [sample["arguments"][0][0] for sample in results["samples"][unit.task]]
    cut = sum(len(model.tok_encode(prompt)) > longest for prompt in prompts)
    details = {"max_new_tokens": new_tokens, "prompts_cut": cut, "engine": config.engine}
    return TaskScores(harness_lm_eval.metrics_of(results, unit.task), "acc", answers, details)


def graded(task: str, document: dict[str, Any], completion: str) -> MathAnswer:
    """A completion, read and compared with the right answer."""
    answer = extract_answer(completion, TASKS[task].rules or task)
    return MathAnswer(document["row"], document["gold"], completion, answer, answers_equal(answer, document["gold"]))
