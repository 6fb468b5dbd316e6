"""The math suite: questions, prompts and right answers of nine tasks, and their way through lm-eval."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from evaluation.math_questions import CHOOSE, TASKS, examples_in, prompt_for, question_file, read_questions
from evaluation.published import MATH
from evaluation.records import read_records
from prox.errors import UserError
from tests.evaluation.suites import Oracle, lm_eval_model

if TYPE_CHECKING:
    from conftest import Evaluation

TABLE = {"table_title": "Boats", "table": "Day | Boats\nMonday | 3", "choices": None, "ans_type": "integer_number"}
OPTIONS = "a ) 3 , b ) 4 , c ) 5 , d ) 6 , e ) 7"
ROWS: dict[str, list[dict[str, Any]]] = {
    "gsm8k": [{"question": "How many?", "answer": "1 + 2 = 3\n#### 1,203"}],
    "math_oai": [{"problem": "Find $x$.", "answer": r"\dfrac12", "solution": ""}],
    "svamp": [{"Body": "There were 3 boats", "Question": " How many were left?", "Answer": 2.0}],
    "asdiv": [{"body": "Two boats.", "question": "How many?", "answer": "2 (boats)"}],
    "mawps": [{"input": "How many ?", "target": 43.0}],
    "tabmwp": [
        {**TABLE, "question": "How many boats?", "answer": "3"},
        {**TABLE, "question": "Enough?", "answer": "yes", "choices": ["yes", "no"], "ans_type": "boolean_text"},
        {**TABLE, "question": "Half?", "answer": "1/2", "ans_type": "decimal_number", "table_title": None},
    ],
    "mathqa": [{"problem": "how many ?", "options": OPTIONS, "correct": "b"}],
    "mmlu_stem": [{"question": "Which?", "choices": ["w", "x", "y", "z"], "answer": 2}],
    "sat_math": [{"question": "Which?", "options": "A) 1 B) 2 C) 3 D) 4", "Answer": "D"}],
}
EXPECTED = {
    "gsm8k": ("How many?", "1203"),
    "math": ("Find $x$.", r"\frac{1}{2}"),
    "svamp": ("There were 3 boats. How many were left?", "2"),
    "asdiv": ("Two boats. How many?", "2"),
    "mawps": ("How many ?", "43"),
    "tabmwp": (
        'Read the following table regarding "Boats" and answer a question:\nDay | Boats\nMonday | 3\nHow many boats?',
        "3",
    ),
    "mathqa": (
        f"How many ?\n{CHOOSE}\n(A) 3, (B) 4, (C) 5, (D) 6, (E) 7",
        "B",
    ),
    "mmlu_stem": (
        f"Which?\n{CHOOSE}\n(A) w, (B) x, (C) y, (D) z",
        "C",
    ),
    "sat_math": (
        f"Which?\n{CHOOSE}\n(A) 1 (B) 2 (C) 3 (D) 4",
        "D",
    ),
}


@pytest.fixture(scope="module")
def harness_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Questions as the harness lays them out, and files of worked examples."""
    folder = tmp_path_factory.mktemp("math")
    for name, rows in ROWS.items():
        (folder / "data" / name).mkdir(parents=True)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "data" / name / "test.jsonl").write_text(text, encoding="utf-8")
    (folder / "cot").mkdir()
    for task in TASKS.values():
        before, behind = task.style
        example = (
            f"{before}What is one and one?\n{behind} One and one are {'so to say ' * 9}two. The answer is 2.\n\n\n"
        )
        (folder / "cot" / f"{task.prompt}.md").write_text(example * task.shots, encoding="utf-8")
    return folder / "data", folder / "cot"


@pytest.mark.parametrize("task", MATH)
def test_question_and_right_answer(task: str, harness_files: tuple[Path, Path]) -> None:
    path = question_file(task, harness_files[0])
    assert path is not None
    assert TASKS[task].read(read_questions(path)[0]) == EXPECTED[task]


def test_tables_with_choices_fractions_and_without_a_title() -> None:
    read = TASKS["tabmwp"].read
    question, answer = read(ROWS["tabmwp"][1])
    assert (question.endswith("options: ['yes', 'no'] (Yes or No)"), answer) == (True, "yes")
    question, answer = read(ROWS["tabmwp"][2])
    assert (question.startswith("Read the following table and answer"), answer) == (True, "0.5")


def test_all_tasks_go_through_the_harness(
    harness_files: tuple[Path, Path],
    evaluation: "Evaluation",
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import evaluation.harness_math as harness

    data, prompts = harness_files
    monkeypatch.setattr(harness, "load", lambda *_: lm_eval_model(Oracle()))
    output = tmp_path / "scores"
    command = ("math", "--output", output, "--data", data, "--prompts", prompts, "--models.known", tiny_checkpoint)
    assert evaluation(*command) == 0
    records = {record.task: record for record in read_records([output])}
    assert set(records) == set(MATH)
    assert {record.metrics["acc"].value for record in records.values()} == {1.0}
    assert (records["gsm8k"].num_fewshot, records["sat_math"].num_fewshot) == (8, 4)
    answer = json.loads((output / "answers/known.math.mathqa.4-shot.jsonl").read_text())
    assert answer == {
        "row": 0,
        "gold": "B",
        "completion": "So it is.\nThe answer is B.",
        "answer": "B",
        "correct": True,
    }


def test_a_real_model_generates(
    harness_files: tuple[Path, Path], evaluation: "Evaluation", tiny_checkpoint: Path, tmp_path: Path
) -> None:
    data, prompts = harness_files
    command = ("math", "--output", tmp_path / "scores", "--data", data, "--prompts", prompts)
    options = ("--models.tiny", tiny_checkpoint, "--max_new_tokens", "4", "--tasks", "[gsm8k,tabmwp]", "--limit", "2")
    assert evaluation(*command, *options) == 0
    records = {record.task: record for record in read_records([tmp_path / "scores"])}
    assert (records["gsm8k"].num_samples, records["tabmwp"].num_samples) == (1, 2)
    assert records["gsm8k"].settings["max_new_tokens"] == 4
    # Eight worked examples are longer than the tiny model's context of 512 tokens in its byte-level vocabulary.
    assert records["gsm8k"].details["prompts_cut"] == 1


@pytest.mark.vllm
@pytest.mark.timeout(400)
def test_vllm_answers_as_transformers_does(
    harness_files: tuple[Path, Path], evaluation: "Evaluation", tiny_checkpoint: Path, tmp_path: Path
) -> None:
    data, prompts = harness_files
    answers = []
    for engine in ("vllm", "transformers"):
        command = ("math", "--output", tmp_path / engine, "--data", data, "--prompts", prompts, "--engine", engine)
        options = ("--models.tiny", tiny_checkpoint, "--max_new_tokens", "8", "--tasks", "[gsm8k,tabmwp]")
        assert evaluation(*command, *options) == 0
        lines = [line for path in sorted((tmp_path / engine / "answers").iterdir()) for line in path.open()]
        # Half a character at the end is shown by one of them only.
        answers.append([json.loads(line)["completion"].rstrip("\ufffd") for line in lines])
    assert answers[0] == answers[1]


def test_what_is_missing_is_said_before_the_start(
    evaluation: "Evaluation",
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ("math", "--output", tmp_path / "scores", "--models.tiny", tiny_checkpoint)
    assert evaluation(*command) == 2
    message = capsys.readouterr().err
    assert "--data is not set" in message
    assert "--prompts is not set" in message
    (tmp_path / "few").mkdir()
    (tmp_path / "few/gsm8k.md").write_text("Nothing here.", encoding="utf-8")
    few = (*command, "--data", tmp_path / "few", "--prompts", tmp_path / "few", "--tasks", "[gsm8k]")
    assert evaluation(*few) == 2
    message = capsys.readouterr().err
    assert "has no gsm8k/test.jsonl for gsm8k" in message
    assert "gsm8k.md has no worked example for gsm8k" in message


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text('{"question": "a"}\n{"question"', encoding="utf-8")
    with pytest.raises(UserError, match=r"test.jsonl line 2 is no JSON"):
        read_questions(tmp_path / "test.jsonl")


def test_questions_and_prompts_are_the_harness_s(shared: Path) -> None:
    folder = shared / "data/math"
    tasks = {task.file: name for name, task in TASKS.items()}
    rows = {name: read_questions(path) for name in TASKS if (path := question_file(name, folder)) is not None}
    examples = {name: (folder / f"prompts_cot/{task.prompt}.md") for name, task in TASKS.items()}
    assert all(examples_in(examples[name]) == TASKS[name].shots for name in TASKS)
    prompts, golds, count = 0, 0, 0
    with gzip.open(folder / "conformance_parsed.jsonl.gz", "rt", encoding="utf-8") as file:
        for case in map(json.loads, file):
            name = tasks.get(case["file"].split(".")[0])
            if name is None:
                continue
            question, gold = TASKS[name].read(rows[name][case["row"]])
            prompt = prompt_for(name, examples[name].read_text(encoding="utf-8"), question)
            prompts += hashlib.sha256(prompt.encode()).hexdigest() == case["prompt_sha256"]
            golds += gold == case["gold"]
            count += 1
    # Two MathQA rows have options written in a way of their own. Four right answers are read better here than there:
    # a thousands' comma, an apostrophe, a plus-minus sign, and a word that the harness takes for a unit.
    assert (count, count - prompts, count - golds) == (992, 2, 4)
