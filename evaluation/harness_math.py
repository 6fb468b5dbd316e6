"""The math suite through lm-eval: it asks, the project reads and compares the answers."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from evaluation import harness_lm_eval
from evaluation.answers import TaskScores
from evaluation.benchmark_data import EVALUATION, TaskData
from evaluation.math_answers import extract_answer
from evaluation.math_equality import answers_equal
from evaluation.math_questions import TASKS
from evaluation.models import fetched
from prox.engines import Engine, EngineConfig, Failure, load_engine
from prox.errors import UserError

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


class EngineModel(LM):
    """One of the project's engines in lm-eval's hands, for generation alone.

    lm-eval's own class for vLLM looks for a distribution of that name, which its CPU build does not have.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self.max_length = engine.max_context

    def tok_encode(self, text: str) -> list[int]:
        """The tokens of a prompt, with those that the tokenizer puts around it."""
        return self.engine.tokenizer(text)["input_ids"]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Greedy continuations up to a stop string; a prompt that is too long loses its beginning."""
        options = requests[0].args[1]
        room = self.max_length - options["max_gen_toks"]
        prompts = [self.tok_encode(request.args[0])[-room:] for request in requests]
        # The paper's harness lets an answer repeat itself to the end.
        answers = self.engine.generate(prompts, options["max_gen_toks"], options["until"], stop_loops=False)
        failed = [answer.reason for answer in answers if isinstance(answer, Failure)]
        if failed:
            raise UserError(f"{len(failed)} of {len(answers)} problems got no answer, the first for: {failed[0]}")
        return [answer.text for answer in answers if not isinstance(answer, Failure)]

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise NotImplementedError

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        raise NotImplementedError


def load(_name: str, place: Path, config: "MathConfig", _scratch: Path) -> LM:
    """A model in an engine (which stays loaded until another is asked for), in lm-eval's hands."""
    engine = EngineConfig(
        kind="vllm" if config.engine == "vllm" else "local",
        device=config.device,
        dtype=config.dtype,
        batch_size=config.batch_size,
        vllm=config.vllm,
    )
    return EngineModel(load_engine(engine, str(fetched(place))))


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
    metrics = harness_lm_eval.metrics_of(results, unit.task)
    # Beside the longest answer, what decides whether two expressions are equal.
    settings = {"max_new_tokens": new_tokens, **{name: version(name) for name in ("sympy", "latex2sympy2_extended")}}
    return TaskScores(metrics, "acc", answers, {"prompts_cut": cut}, settings, prompts[0])


def graded(task: str, document: dict[str, Any], completion: str) -> MathAnswer:
    """A completion, read and compared with the right answer."""
    answer = extract_answer(completion, TASKS[task].rules or task)
    return MathAnswer(document["row"], document["gold"], completion, answer, answers_equal(answer, document["gold"]))
