"""Whether two answers to a math problem are the same: as strings, as numbers, part by part, or by algebra.

The order and the tolerances are those of the harness that the paper's scores come from, written anew.
"""

import logging
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isclose
from typing import Any

log = logging.getLogger("prox")

REL_TOL = 1e-4
TIME_LIMIT = 3.0
"""Seconds of algebra on one pair of answers."""
MATRIX = re.compile(r"^\\begin\{[pb]matrix\}(.*)\\end\{[pb]matrix\}$", re.DOTALL)
BRACKETED = re.compile(r"^[\[(](.+)[\])]$", re.DOTALL)


class OutOfTimeError(Exception):
    """The algebra took longer than its limit."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises ``OutOfTimeError`` inside after so many seconds. For the main thread of a process, as signals are."""

    def ring(*_: object) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def to_number(text: str) -> float | None:
    """A number as it is written in an answer (thousands, percent), or None."""
    plain = text.replace(",", "").strip()
    percent = plain.endswith("%")
    plain = plain.removesuffix("%").rstrip("\\")
    try:
        return float(plain) / (100 if percent else 1)
    except ValueError:
        return None


def answers_equal(answer: str, gold: str, seconds: float = TIME_LIMIT) -> bool:
    """True where the two say the same.

    Numbers are the same within ``REL_TOL``, also where one of them is a percentage. Tuples, intervals and matrices are
    compared part by part, equations side by side. What is left goes to algebra, for at most ``seconds``; what takes
    longer counts as different.
    """
    if answer.strip().lower() == gold.strip().lower():
        return True
    numbers = to_number(answer), to_number(gold)
    if numbers[0] is not None and numbers[1] is not None:
        return any(isclose(numbers[0], other, rel_tol=REL_TOL) for other in scaled(numbers[1]))
    if not answer.strip() or not gold.strip():
        return False
    return compare_parts(answer, gold, seconds) or symbolic(answer, gold, seconds)


def scaled(number: float) -> tuple[float, float, float]:
    """The number, and what it would be were it, or the other, a percentage."""
    return (number / 100, number, number * 100)


def compare_parts(answer: str, gold: str, seconds: float) -> bool:
    """Equality of what has parts: brackets aside, entries in order, sides of an equation."""
    plain = [re.sub(r"[{}()\[\]]", "", text).lower() for text in (answer, gold)]
    if BRACKETED.match(answer) is None or BRACKETED.match(gold) is None:
        # A set of brackets around one of them only is a matter of style.
        if any(BRACKETED.match(text) or text.startswith("{") for text in (answer, gold)) and plain[0] == plain[1]:
            return True
    else:
        entries = [text[1:-1].split(",") for text in (answer, gold)]
        if len(entries[0]) == len(entries[1]) and all_equal(entries[0], entries[1], seconds):
            return True
    matrices = [MATRIX.match(text.replace(" ", "")) for text in (answer, gold)]
    if all(matrices):
        rows = [[row.split("&") for row in match[1].split("\\\\") if row] for match in matrices]
        shapes = [[len(row) for row in of_one] for of_one in rows]
        return shapes[0] == shapes[1] and all_equal(*([entry for row in one for entry in row] for one in rows), seconds)
    sides = [text.split("=") for text in (answer, gold)]
    if [len(one) for one in sides] == [2, 2]:
        differences = [f"({left.strip()}) - ({right.strip()})" for left, right in sides]
        return any(symbolic(differences[0], other, seconds) for other in (differences[1], f"-({differences[1]})"))
    for one, other in (sides, sides[::-1]):
        if len(one) == 2 and len(one[0].strip()) <= 2 and len(other) == 1:
            return answers_equal(one[1], other[0], seconds)
    return False


def all_equal(answers: list[str], golds: list[str], seconds: float) -> bool:
    """Whether each entry is equal to the one in its place."""
    return all(answers_equal(one, other, seconds) for one, other in zip(answers, golds, strict=True))


def symbolic(one: str, other: str, seconds: float) -> bool:
    """``equal_by_algebra`` in its time."""
    try:
        with time_limit(seconds):
            return equal_by_algebra(one, other)
    except OutOfTimeError:
        return False


def attempt(work: Callable[[], Any]) -> Any:
    """What ``work`` gives; None where it fails, for readers and expressions raise anything on what is not for them."""
    try:
        return work()
    except OutOfTimeError:
        raise
    except Exception as error:
        log.debug("no algebra: %r", error)
        return None


def parse(text: str) -> Any:
    """An expression, of LaTeX or else of plain notation; the text itself where it is neither."""
    from latex2sympy2_extended import latex2sympy
    from sympy.parsing.sympy_parser import parse_expr

    for read in (latex2sympy, parse_expr):
        for spelling in (text.replace("\\\\", "\\"), text):
            found = attempt(lambda read=read, spelling=spelling: read(spelling))
            if found is not None:
                return found
    return text


def equal_by_algebra(answer: str, gold: str) -> bool:
    """Whether both are the same expression, come to the same number, or are equations or matrices that say the same."""
    from sympy import N, simplify

    one, other = parse(answer), parse(gold)
    checks: list[Callable[[], bool]] = [
        lambda: str(one) == str(other) or one == other,
        lambda: bool(one.equals(other)) or simplify(one - other) == 0,
        lambda: abs(one.lhs - one.rhs).equals(abs(other.lhs - other.rhs)),
        lambda: isclose(float(N(one)), float(N(other)), rel_tol=REL_TOL),
        lambda: one.shape == other.shape and rounded(one).equals(rounded(other)),
    ]
    return any(attempt(check) for check in checks)


def rounded(matrix: Any) -> Any:
    """Each entry to three places."""
    return matrix.applyfunc(lambda entry: round(entry, 3))
