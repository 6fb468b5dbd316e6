"""Kappa against scikit-learn, and the cases in which it is not defined."""

import math
import random
import warnings

import pytest
from sklearn.metrics import cohen_kappa_score

from prox.confusion import Counts, cohen_kappa, count_decisions, macro_f1, quadratic_kappa


def table_of(first: list[int], second: list[int], classes: int) -> list[list[int]]:
    table = [[0] * classes for _ in range(classes)]
    for row, column in zip(first, second, strict=True):
        table[row][column] += 1
    return table


@pytest.mark.parametrize("seed", range(20))
def test_kappas_are_scikit_learns(seed: int) -> None:
    draw = random.Random(seed)
    classes = 6
    first = [draw.randrange(classes) for _ in range(draw.randrange(2, 200))]
    # Some raters follow the first, some don't; a few never use part of the scale.
    used = range(draw.randrange(1, classes + 1))
    second = [score if draw.random() < seed / 20 else draw.choice(used) for score in first]
    table = table_of(first, second, classes)
    assert cohen_kappa(table) == pytest.approx(cohen_kappa_score(first, second))
    quadratic = cohen_kappa_score(first, second, labels=list(range(classes)), weights="quadratic")
    assert quadratic_kappa(table) == pytest.approx(quadratic)
    flipped = [list(column) for column in zip(*table, strict=True)]
    assert cohen_kappa(flipped) == pytest.approx(cohen_kappa(table))
    assert quadratic_kappa(flipped) == pytest.approx(quadratic_kappa(table))


@pytest.mark.parametrize("seed", range(10))
def test_kappa_of_a_confusion_table(seed: int) -> None:
    draw = random.Random(seed)
    reference = [draw.random() < 0.4 for _ in range(50)]
    predicted = [draw.random() < 0.6 for _ in range(50)]
    assert count_decisions(reference, predicted).kappa == pytest.approx(cohen_kappa_score(reference, predicted))


def test_kappa_by_hand() -> None:
    # Agreement 12 / 20; by chance 10 / 20 * 12 / 20 + 10 / 20 * 8 / 20 = 1 / 2.
    assert cohen_kappa([[7, 3], [5, 5]]) == pytest.approx((0.6 - 0.5) / (1 - 0.5))
    # Distances 1 once and 5 once of four; by chance (each pair of the 4 x 4) the rows 0, 0, 5, 1 meet 0, 5, 5, 0.
    table = table_of([0, 0, 5, 1], [0, 5, 5, 0], 6)
    expected = sum((a - b) ** 2 for a in (0, 0, 5, 1) for b in (0, 5, 5, 0)) / 4
    assert quadratic_kappa(table) == pytest.approx(1 - (25 + 1) / expected)


def test_total_agreement_is_1_and_total_disagreement_of_even_raters_is_minus_1() -> None:
    assert cohen_kappa([[4, 0], [0, 9]]) == 1.0
    assert cohen_kappa([[0, 5], [5, 0]]) == -1.0


@pytest.mark.parametrize("table", [[[7, 0], [0, 0]], [[0, 0], [0, 7]], [[0, 0], [0, 0]], [[3]], []])
def test_kappa_is_undefined_where_chance_always_agrees(table: list[list[int]]) -> None:
    assert cohen_kappa(table) is None
    assert quadratic_kappa(table) is None


def test_scikit_learn_has_no_number_for_one_class_either() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert math.isnan(cohen_kappa_score([1, 1, 1], [1, 1, 1]))


def test_one_constant_rater_agrees_no_more_than_chance() -> None:
    assert cohen_kappa([[3, 4], [0, 0]]) == 0.0
    assert Counts(true_positives=3, false_positives=4).kappa == 0.0


def test_documents_without_a_counted_line_are_left_out_of_the_mean() -> None:
    both_keep, half = Counts(true_negatives=3), Counts(1, 1, 1, 0)
    assert macro_f1([both_keep, half]) == pytest.approx(0.75)
    assert macro_f1([both_keep, half, Counts()]) == pytest.approx(0.75)
    assert macro_f1([]) == 0.0
    assert (half.total, half.errors) == (3, 2)
