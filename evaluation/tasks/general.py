"""The paper's ten general tasks for lighteval (section C.1): zero-shot, by the likelihood of each answer's text.

Frozen here: lighteval's own tasks of these names changed their prompts and metrics between releases, several to
generated letters. A change of this file changes the hash in every record made with it.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lighteval.metrics.dynamic_metrics import LogLikelihoodAccMetric
from lighteval.metrics.normalizations import LogProbCharNorm
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc

Row = dict[str, Any]
Question = tuple[str, list[str], int]
"""A prompt, the texts of its answers, and the index of the right one."""


def arc(row: Row) -> Question:
    """ARC-Easy and ARC-Challenge."""
    choices = row["choices"]
    return f"Question: {row['question']}\nAnswer:", choices["text"], choices["label"].index(row["answerKey"].strip())


def commonsense_qa(row: Row) -> Question:
    """CommonsenseQA: the question alone, without its concept."""
    choices = row["choices"]
    return row["question"], choices["text"], choices["label"].index(row["answerKey"].strip())


def without_artifacts(text: str) -> str:
    """A HellaSwag text without what its how-to pages left behind."""
    return re.sub(r"\[.*?\]", "", text.replace(" [title]", ". ")).replace("  ", " ")


def hellaswag(row: Row) -> Question:
    """HellaSwag: activity and context; the endings go on."""
    query = f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"
    return without_artifacts(query).rstrip(), [without_artifacts(text) for text in row["endings"]], int(row["label"])


def mmlu(row: Row) -> Question:
    """MMLU without letters: a small model knows an answer's text before it knows to name its letter."""
    query = (
        f"The following are questions about {row['subject'].replace('_', ' ')}.\nQuestion: {row['question']}\nAnswer:"
    )
    return query, row["choices"], row["answer"]


def openbookqa(row: Row) -> Question:
    """OpenBookQA: the stem alone."""
    choices = row["choices"]
    return row["question_stem"], choices["text"], choices["label"].index(row["answerKey"].strip())


def piqa(row: Row) -> Question:
    """PIQA."""
    return f"Question: {row['goal']}\nAnswer:", [row["sol1"], row["sol2"]], int(row["label"])


def sciq(row: Row) -> Question:
    """SciQ: the passage first, where there is one."""
    answers = [row["distractor1"], row["distractor2"], row["distractor3"], row["correct_answer"]]
    return f"{row['support']}\nQuestion: {row['question']}\nAnswer:".strip(), answers, 3


def social_iqa(row: Row) -> Question:
    """SocialIQA: context and question in one line."""
    return (
        f"{row['context']} {row['question']}",
        [row["answerA"], row["answerB"], row["answerC"]],
        int(row["label"]) - 1,
    )


def winogrande(row: Row) -> Question:
    """WinoGrande: the sentence up to its gap; each option with the sentence's rest."""
    start, end = row["sentence"].split("_", 1)
    return start.rstrip(), [f"{row[name]} {end.strip()}" for name in ("option1", "option2")], int(row["answer"]) - 1


QUESTIONS: dict[str, Callable[[Row], Question]] = {
    "arc_challenge": arc,
    "arc_easy": arc,
    "commonsense_qa": commonsense_qa,
    "hellaswag": hellaswag,
    "mmlu": mmlu,
    "openbookqa": openbookqa,
    "piqa": piqa,
    "social_iqa": social_iqa,
    "winogrande": winogrande,
    "sciq": sciq,
}


def prompt_function(task: str) -> Callable[[Row, str], Doc]:
    """lighteval's view of a task's question: answers follow after one space."""

    def prompt(row: Row, task_name: str) -> Doc:
        query, answers, gold = QUESTIONS[task](row)
        choices = [f" {answer}" for answer in answers]
        return Doc(task_name=task_name, query=query, choices=choices, gold_index=gold, specific=row)

    return prompt


def task_configs(task: str, data: Path, subsets: Iterable[str]) -> list[LightevalTaskConfig]:
    """One lighteval task for each subset of the data folder ``data``, named ``<task>:<subset>``."""
    return [
        LightevalTaskConfig(
            name=f"{task}:{subset}",
            prompt_function=prompt_function(task),
            hf_repo=str(data),
            hf_subset=subset,
            # One split only: lighteval numbers documents per split and its cache confuses two splits' documents.
            hf_avail_splits=["evaluation"],
            evaluation_splits=["evaluation"],
            metrics=[
                LogLikelihoodAccMetric(),
                # By characters, without the space before an answer, as lm-eval's acc_norm.
                LogLikelihoodAccMetric(normalization=LogProbCharNorm(ignore_first_space=True)),
            ],
            version=1,
        )
        for subset in subsets
    ]
