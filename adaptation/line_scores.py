"""What a tagger's probabilities say beyond its programs: their calibration, and where they are best cut."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from adaptation.calibration import calibration
from adaptation.examples import Example
from prox.confusion import removed_lines
from prox.dialogue import Dialogue
from prox.tagging import cut_rows

Prediction = dict[str, Any]
HUNDREDTHS = range(5, 96)


def line_decisions(examples: Sequence[Example], predictions: Sequence[Prediction]) -> tuple[list[bool], list[float]]:
    """(is it removed in the reference, its probability of removal) of each line that was judged and counts."""
    removed, probabilities = [], []
    for example, prediction in zip(examples, predictions, strict=True):
        of_lines = prediction.get("line_probabilities", [])
        actual = removed_lines(example.reference, example.first_line, len(of_lines))
        for number, probability in enumerate(of_lines, example.first_line):
            if number not in example.ambiguous_lines:
                removed.append(number in actual)
                probabilities.append(probability)
    return removed, probabilities


def choose_threshold(removed: Sequence[bool], probabilities: Sequence[float]) -> float:
    """The threshold, in hundredths, with the highest F1 of removed lines; of equal ones that nearest 0.5."""
    actual, given = np.array(removed, dtype=bool), np.array(probabilities)

    def f1(hundredths: int) -> float:
        predicted = given >= hundredths / 100
        return 2 * (predicted & actual).sum() / max(1, predicted.sum() + actual.sum())

    return max(sorted(HUNDREDTHS, key=lambda hundredths: abs(hundredths - 50)), key=f1) / 100


def score_lines(
    examples: Sequence[Example], predictions: list[Prediction], dialogue: Dialogue, choose: bool
) -> tuple[list[Prediction], Dialogue, dict[str, Any]]:
    """(predictions, dialogue, calibration); with ``choose`` the former two have the best threshold."""
    removed, probabilities = line_decisions(examples, predictions)
    if choose:
        dialogue = dataclasses.replace(dialogue, remove_threshold=choose_threshold(removed, probabilities))
        predictions = cut_rows(predictions, dialogue.remove_threshold, "predicted")
    return predictions, dialogue, calibration(removed, probabilities)
