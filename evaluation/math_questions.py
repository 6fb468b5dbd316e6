"""The questions of the nine math tasks, their right answers, and the worked examples before them (section C.2).

Read from the files of the harness that the paper's scores come from, so that questions, answers and prompts are the
same.
"""

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.benchmark_data import TaskData, sample, write_data
from evaluation.math_answers import boxed, normalise
from prox.errors import UserError

Row = dict[str, Any]
CHOOSE = "What of the following is the right choice? Explain your answer."
OPTION = re.compile(r"([a-e])\s?\)\s?(?:\(?\s?\1\s?\)\s?)?")


@dataclass(frozen=True)
class MathTask:
    """One of the nine tasks."""

    file: str
    """Name of its file, without ending."""
    read: Callable[[Row], tuple[str, str]]
    """Question and right answer of a row."""
    prompt: str
    """Name of the file of worked examples, without ending."""
    shots: int
    """The paper's number of worked examples; a folder of others may hold another."""
    rules: str = ""
    """Task whose rules take the answer out of a completion, where it is not the task itself."""

    @property
    def style(self) -> tuple[str, str]:
        """What stands before a question, and before its answer."""
        return ("Question: ", "Answer:") if self.prompt == "gsm8k" else ("Problem:\n", "Solution:")


def plain(number: str) -> str:
    """A number without thousands' commas and without a fraction of zero."""
    return normalise(number.replace(",", ""))


def gsm8k(row: Row) -> tuple[str, str]:
    """GSM8K: the answer stands behind four signs."""
    return row["question"], plain(row["answer"].split("####")[-1].strip())


def svamp(row: Row) -> tuple[str, str]:
    """SVAMP: body and question; numbers are written as floats."""
    body = row["Body"].strip()
    return f"{body if body.endswith('.') else body + '.'} {row['Question'].strip()}", plain(str(row["Answer"]))


def asdiv(row: Row) -> tuple[str, str]:
    """ASDiv: the answer's unit stands in brackets."""
    return f"{row['body'].strip()} {row['question'].strip()}", plain(re.sub(r"\(.*?\)", "", row["answer"]))


def mawps(row: Row) -> tuple[str, str]:
    """MAWPS."""
    return row["input"], plain(str(row["target"]))


def tabmwp(row: Row) -> tuple[str, str]:
    """TabMWP: the table first, with its title where it has one, and the choices where there are any."""
    title = f'regarding "{row["table_title"]}" ' if row["table_title"] else ""
    question = f"Read the following table {title}and answer a question:\n{row['table']}\n{row['question']}"
    if row["choices"]:
        question += f" Please select from the following options: {row['choices']}"
        if {choice.lower() for choice in row["choices"]} == {"yes", "no"}:
            question += " (Yes or No)"
    answer = row["answer"]
    if row["ans_type"] in ("integer_number", "decimal_number"):
        answer = str(fraction(answer) if "/" in answer else float(answer.replace(",", "")))
    return question, plain(answer)


def fraction(text: str) -> float:
    """The value of ``1/2``."""
    upper, lower = text.split("/")
    return int(upper) / int(lower)


def mathqa(row: Row) -> tuple[str, str]:
    """MathQA: options as ``a ) 12 , b ) 16``."""
    options = OPTION.sub(lambda match: f"({match[1].upper()}) ", row["options"].replace(" ,", ",").strip())
    problem = row["problem"][:1].upper() + row["problem"][1:]
    return f"{problem}\n{CHOOSE}\n{options}", row["correct"].upper()


def mmlu_stem(row: Row) -> tuple[str, str]:
    """The STEM subjects of MMLU."""
    options = ", ".join(f"({letter}) {choice}" for letter, choice in zip("ABCD", row["choices"], strict=True))
    return f"{row['question']}\n{CHOOSE}\n{options}", "ABCD"[row["answer"]]


def sat_math(row: Row) -> tuple[str, str]:
    """SAT math: options as ``A) 1 B) 2``."""
    options = "(" + re.sub(r" ([B-D])\) ", r" (\1) ", row["options"].strip().removeprefix("("))
    return f"{row['question'].strip()}\n{CHOOSE}\n{options}", row["Answer"]


def math(row: Row) -> tuple[str, str]:
    """MATH: the answer stands in the solution's last box."""
    return row["problem"], normalise(row["answer"] if "answer" in row else boxed(row["solution"]))


TASKS: dict[str, MathTask] = {
    "gsm8k": MathTask("gsm8k", gsm8k, "gsm8k", 8),
    "math": MathTask("math_oai", math, "minerva_math", 4, rules="minerva_math"),
    "svamp": MathTask("svamp", svamp, "gsm8k", 8),
    "asdiv": MathTask("asdiv", asdiv, "gsm8k", 8),
    "mawps": MathTask("mawps", mawps, "gsm8k", 8),
    "tabmwp": MathTask("tabmwp", tabmwp, "gsm8k", 8),
    "mathqa": MathTask("mathqa", mathqa, "mathqa", 4),
    "mmlu_stem": MathTask("mmlu_stem", mmlu_stem, "mmlu_stem", 4),
    "sat_math": MathTask("sat_math", sat_math, "mmlu_stem", 4),
}


def question_file(task: str, folder: Path) -> Path | None:
    """The file of a task's questions: ``NAME/test.jsonl`` as the harness has it, or ``NAME.test.jsonl.gz``; or None."""
    name = TASKS[task].file
    places = [f"{name}/test.jsonl", f"{name}/test.json", f"{name}.test.jsonl.gz", f"{name}.test.jsonl"]
    return next((folder / place for place in places if (folder / place).is_file()), None)


def read_questions(path: Path) -> list[Row]:
    """The rows of a file of questions; ``UserError`` names the line that is no JSON object."""
    opener = gzip.open if path.suffix == ".gz" else open
    rows = []
    with opener(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path} line {number} is no JSON ({error}): take the harness's file anew") from None
            rows.append(row)
    return rows


def examples_in(path: Path) -> int:
    """Number of worked examples in a file of them."""
    return len(re.findall(r"^(?:Question|Problem):", path.read_text(encoding="utf-8"), re.MULTILINE))


def examples_file(task: str, prompts: Path) -> Path:
    """The file of a task's worked examples in a folder of them."""
    return prompts / f"{TASKS[task].prompt}.md"


def lay_down_math(task: str, source: Path, prompts: Path, limit: int, folder: Path) -> TaskData:
    """Writes a task's prompts and right answers to ``folder``, as `benchmark_data.lay_down` does.

    Args:
        task: name of the task.
        source: file of its questions.
        prompts: folder of the worked examples.
        limit: most questions; 0 for all.
        folder: new folder for the files.
    """
    from datasets import Dataset

    examples = examples_file(task, prompts).read_text(encoding="utf-8")
    rows = read_questions(source)
    laid_down = []
    for number in sample(len(rows), limit):
        question, gold = TASKS[task].read(rows[number])
        laid_down.append({"row": number, "prompt": prompt_for(task, examples, question), "gold": gold})
    return write_data(Dataset.from_list(laid_down), None, folder, f"{source.name} of the math harness", {})


def prompt_for(task: str, examples: str, question: str) -> str:
    """The whole prompt: worked examples, then the question."""
    before, behind = TASKS[task].style
    return f"{examples.strip()}\n\n\n{before}{question}\n{behind}"
