"""Answers to math problems: what is taken out of a completion, and when two are the same."""

import gzip
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.math_answers import NO_CHOICE, extract_answer, normalise
from evaluation.math_equality import answers_equal


@pytest.mark.parametrize(
    ("completion", "task", "answer"),
    [
        ("3 + 4 = 7. The answer is 7.", "gsm8k", "7"),
        ("So she pays 1,234 dollars", "gsm8k", "1234"),
        ("The answer is 5.\nThe answer is 6.", "gsm8k", "6"),
        ("First 12, then -3.5", "svamp", "-3.5"),
        ("nothing to see", "gsm8k", ""),
        (r"Thus $x=\boxed{\frac{1}{2}}$, not 3.", "minerva_math", r"\frac{1}{2}"),
        (r"a \boxed{1} and a \boxed{\sqrt{2}}", "math", r"\sqrt{2}"),
        (r"so \boxed 9$.", "math", "9"),
        ("Final Answer: The final answer is $(1,2]$. I hope it is correct.", "minerva_math", "(1,2]"),
        (r"The answer is 40\%.", "gsm8k", "40"),
        ("The answer is $18 per hour", "gsm8k", "18per"),
        ("the choice is (b), I think. Problem: the choice is c", "mathqa", "B"),
        ("it may be e", "mathqa", NO_CHOICE),
        ("The answer is D", "mmlu_stem", "D"),
    ],
)
def test_the_strongest_mark_is_read(completion: str, task: str, answer: str) -> None:
    assert extract_answer(completion, task) == answer


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("3/4", r"\frac{3}{4}"),
        (r"\dfrac12", r"\frac{1}{2}"),
        (r"\frac1{72}", r"\frac{1}{72}"),
        (r"\sqrt3/2", r"\frac{\sqrt{3}}{2}"),
        ("5.00", "5"),
        (".5", "0.5"),
        ("12 cm", "12"),
        (r"30^\circ", "30"),
        (r"10\text{ inches}", "10"),
        ("k=7", "7"),
        ("twelve", "12"),
        (r"\begin{bmatrix} 1 \\ 2 \end{bmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        (r"(-\infty, 2) \cup (3, \infty)", r"(-\infty,2)\cup(3,\infty)"),
    ],
)
def test_what_does_not_change_a_value_is_left_out(text: str, normal: str) -> None:
    assert normalise(text) == normal


@pytest.mark.parametrize(
    ("answer", "gold", "equal"),
    [
        ("7", "7.0", True),
        ("7", "8", False),
        ("0.3333", r"\frac{1}{3}", True),
        ("0.33", r"\frac{1}{3}", False),
        ("50", "0.5", True),  # one of them may be a percentage
        ("1,000", "1000", True),
        (r"\frac{\sqrt{8}}{2}", r"\sqrt{2}", True),
        ("(1, 2)", "(1,2.0)", True),
        ("(1,2)", "(2,1)", False),
        ("{3}", "3", True),
        (r"\begin{pmatrix}1\\0.5\end{pmatrix}", r"\begin{pmatrix}1\\\frac{1}{2}\end{pmatrix}", True),
        (r"\begin{pmatrix}1\\0.5\end{pmatrix}", r"\begin{pmatrix}0.5\\1\end{pmatrix}", False),
        ("x+y=3", "3=x+y", True),
        ("x+y=3", "x+y=4", False),
        ("k=5", "5", True),
        ("(a+b)^2", "a^2+2ab+b^2", True),
        ("", "3", False),
        ("B", "b", True),
        ("east", "west", False),
    ],
)
def test_the_same_answer_in_another_form(answer: str, gold: str, equal: bool) -> None:
    assert answers_equal(answer, gold) is equal


def test_algebra_has_its_time() -> None:
    begin = time.monotonic()
    assert not answers_equal("9**9**9**9**9", r"\frac{1}{3}+x", seconds=0.5)
    assert time.monotonic() - begin < 5


@given(st.text(max_size=80), st.sampled_from(["gsm8k", "mathqa", "minerva_math"]))
def test_any_text_has_an_answer(completion: str, task: str) -> None:
    assert isinstance(extract_answer(completion, task), str)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
def test_a_number_is_itself(number: float) -> None:
    assert answers_equal(str(number), repr(number))
    assert extract_answer(f"The answer is {number:.4f}.", "gsm8k") == normalise(f"{number:.4f}")


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_verdicts_agree_with_the_published_harness(shared: Path) -> None:
    path = shared / "data/math/conformance_cases.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        cases = [case for case in map(json.loads, lines) if not case.get("timeout")]
    assert len(cases) == 3_848
    answers = [extract_answer(case["completion"], case["data_name"]) for case in cases]
    same = sum(answer == (case["pred"] or "") for answer, case in zip(answers, cases, strict=True))
    assert same / len(cases) > 0.99
    agreed = sum(
        answers_equal(answer, case["gold"]) == case["correct"] for answer, case in zip(answers, cases, strict=True)
    )
    assert agreed / len(cases) > 0.985
