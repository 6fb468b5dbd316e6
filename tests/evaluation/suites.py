"""Models whose answers are known, and a small mirror of questions written for this project."""

import math
import random
from pathlib import Path
from typing import Any

from evaluation.benchmark_data import sources

LETTERS = ["A", "B", "C", "D"]
COUNT = 8


RIGHT: dict[tuple[str, str], str] = {}
"""A word of the right answer, by task and day of the question; written down where the question is made up."""


def make_row(task: str, split: str, number: int, draw: random.Random) -> dict[str, Any]:
    """A question in the schema that the hub's repository has."""
    things = draw.sample(["a red lamp", "rain", "seven boats", "the old mill", "salt", "two long roads"], 5)
    day = f"day {number} of {split}"
    gold, asked = draw.randrange(4), f"Which of these was seen on {day}?"
    places = {"piqa": gold % 2, "sciq": 3, "social_iqa": gold % 3}
    RIGHT[task, day] = things[places.get(task, gold)] if task != "winogrande" else ("boat", "mill")[gold % 2]
    listed = {"text": things[:4], "label": LETTERS}
    return {
        "arc_challenge": {"id": f"c{number}", "question": asked, "choices": listed, "answerKey": LETTERS[gold]},
        "arc_easy": {"id": f"e{number}", "question": asked, "choices": listed, "answerKey": LETTERS[gold]},
        "commonsense_qa": {
            "question": asked,
            "choices": {"text": things, "label": [*LETTERS, "E"]},
            "answerKey": LETTERS[gold],
        },
        "hellaswag": {
            "activity_label": "Walking",
            "ctx_a": f"On {day} she went out [header] and saw",
            "ctx_b": "there",
            "endings": [f"{thing} [substeps] at noon." for thing in things[:4]],
            "label": str(gold),
        },
        "logiqa": {"label": "abcd"[gold], "context": "It rained.", "question": asked, "options": things[:4]},
        "mmlu": {
            "question": asked,
            "subject": "world_religions" if number % 2 else "anatomy",
            "choices": things[:4],
            "answer": gold,
        },
        "openbookqa": {"question_stem": f"On {day} we saw", "choices": listed, "answerKey": LETTERS[gold]},
        "piqa": {"goal": asked, "sol1": things[0], "sol2": things[1], "label": gold % 2},
        "sciq": {
            "question": asked,
            "distractor1": things[0],
            "distractor2": things[1],
            "distractor3": things[2],
            "correct_answer": things[3],
            "support": "" if number % 2 else "It was a long day.",
        },
        "social_iqa": {
            "context": f"On {day} Kim left.",
            "question": "What did Kim see?",
            "answerA": things[0],
            "answerB": things[1],
            "answerC": things[2],
            "label": str(gold % 3 + 1),
        },
        "winogrande": {
            "sentence": f"On {day} the _ was seen first.",
            "option1": "boat",
            "option2": "mill",
            "answer": str(gold % 2 + 1),
        },
    }[task]


def write_mirror(folder: Path) -> Path:
    """A mirror folder with a few questions of every task."""
    from datasets import Dataset

    draw = random.Random(7)
    for task, source in sources().items():
        for split in sorted({source.evaluation_split("general"), source.evaluation_split("selection")}):
            rows = [make_row(task, split, number, draw) for number in range(COUNT)]
            path = source.places(folder)[0] / f"{split}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            Dataset.from_list(rows).to_parquet(str(path))
    return folder


class Oracle:
    """Says how likely each choice of a question is."""

    def loglikelihoods(self, task: str, prompt: str, texts: list[str]) -> list[float]:
        """Of the choices of a question of the mirror: the one with the right word is preferred."""
        words = f"{prompt} ".replace("?", " ")
        (right,) = [word for (name, day), word in RIGHT.items() if name == task and f"{day} " in words]
        return [-0.01 * len(text) if right in text else -9.0 * len(text) for text in texts]


class Lots(Oracle):
    """Draws lots: no choice is likelier by its length."""

    def __init__(self) -> None:
        self.draw = random.Random(1)

    def loglikelihoods(self, task: str, prompt: str, texts: list[str]) -> list[float]:
        return [-len(text) * (1 + self.draw.random()) for text in texts]


class Uniform(Oracle):
    """A model whose logits are uniform: every token costs the same."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def loglikelihoods(self, task: str, prompt: str, texts: list[str]) -> list[float]:
        counts = [len(self.tokenizer(f" {text}", add_special_tokens=False)["input_ids"]) for text in texts]
        return [-math.log(self.tokenizer.vocab_size) * count for count in counts]


def lighteval_model(oracle: Oracle) -> Any:
    """A model in lighteval's hands that asks the oracle."""
    from lighteval.models.abstract_model import LightevalModel, ModelConfig
    from lighteval.models.model_output import ModelResponse
    from lighteval.tasks.requests import Doc

    class Known(LightevalModel):
        def __init__(self) -> None:
            self.config = ModelConfig(model_name="known")
            self._cache = type("NoCache", (), {"_init_registry": lambda *_: None})()

        tokenizer = property(lambda _: None)
        add_special_tokens = property(lambda _: False)
        max_length = property(lambda _: 512)

        def loglikelihood(self, docs: list[Doc]) -> list[ModelResponse]:
            return [ModelResponse(logprobs=self.ask(doc), input_tokens=[0], output_tokens=[[0]]) for doc in docs]

        def ask(self, doc: Doc) -> list[float]:
            texts = [choice.removeprefix(" ") for choice in doc.choices]
            return oracle.loglikelihoods(doc.task_name.split(":")[0], doc.query, texts)

        def greedy_until(self, docs: list[Doc]) -> list[ModelResponse]:
            raise NotImplementedError

        def loglikelihood_rolling(self, docs: list[Doc]) -> list[ModelResponse]:
            raise NotImplementedError

    return Known()


def lm_eval_model(oracle: Oracle) -> Any:
    """A model in lm-eval's hands that asks the oracle."""
    from lm_eval.api.model import LM

    class Known(LM):
        max_length = 512

        def tok_encode(self, text: str) -> list[str]:
            return text.split()

        def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
            by_question: dict[int, list[Any]] = {}
            for request in requests:
                by_question.setdefault(request.doc_id, []).append(request)
            found: dict[int, float] = {}
            for members in by_question.values():
                task, prompt = members[0].task_name, members[0].args[0].rpartition("\n\n")[2]
                # WinoGrande's choices are what its sentence's end follows.
                texts = [member.args[task != "winogrande"].rpartition("\n\n")[2].strip() for member in members]
                for member, value in zip(members, oracle.loglikelihoods(task, prompt, texts), strict=True):
                    found[id(member)] = value
            return [(found[id(request)], False) for request in requests]

        def generate_until(self, requests: list[Any]) -> list[str]:
            return [f"So it is.\nThe answer is {request.doc['gold']}." for request in requests]

        def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
            raise NotImplementedError

    return Known()
