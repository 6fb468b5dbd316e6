"""The rule-based stand-in: answers in an annotator's place where no language model is at hand.

It is made to be learned by a very small refiner: scores come from a few counts over the text it is shown, programs from
decisions about single lines (``line_rules``). It judges form, not meaning.
"""

import re
from typing import Any

from annotation.annotators import STAND_IN, Give, Request, Take
from annotation.line_rules import Noise, inline_noise, is_prose, noise_of, symbol_share
from prox.engines import Completion
from prox.program import KeepChunk, Normalize, Operation, remove_numbers, render_program

_EXPLAINING = re.compile(
    r"\b(?:allows?|also|although|and|because|but|by default|can|example|explains?|for instance|if|instead|means|note|"
    r"should|since|so that|such as|that|therefore|this|to use|used|uses|when|where|which|while|you)\b",
    re.IGNORECASE,
)


class StandIn:
    """An annotator made of rules; see the module."""

    name = STAND_IN
    model: str | None = None
    sampling: dict[str, Any] | None = None

    def work(self, take: Take, give: Give) -> None:
        """See ``Annotator.work``; every answer says what gave it."""
        while (taken := take()) is not None:
            key, request = taken
            give(key, self.answer(request))

    @staticmethod
    def answer(request: Request) -> Completion:
        """The answer to a request."""
        match request.task:
            case "edu":
                text = _score_answer(*educational_score(request.text), request.closing)
            case "format":
                text = _score_answer(*format_score(request.text), request.closing)
            case "navigation" | "links" | "footer":
                program = render_program(program_of(request.text, request.first_line, request.task))
                text = f"By the {STAND_IN}.\n```python\n{program}\n```"
            case other:
                raise ValueError(f"the {STAND_IN} knows no task {other!r}")
        return Completion(text, len(text.split()), "stop")


def educational_score(text: str) -> tuple[int, str]:
    """(score from 0 to 5, reason) from how much of the text is prose, and how much of the prose explains."""
    words = len(text.split())
    prose = [line for line in text.split("\n") if is_prose(line)]
    prose_words = sum(len(line.split()) for line in prose)
    share = prose_words / words if words else 0.0
    explaining = len(_EXPLAINING.findall(" ".join(prose)))
    points = [
        prose_words >= 15,
        prose_words >= 35,
        prose_words >= 60 and share >= 0.3,
        share >= 0.5 and explaining >= 4,
        share >= 0.65 and prose_words >= 120 and explaining >= 8,
    ]
    score = points.index(False) if False in points else len(points)
    return score, f"{prose_words} of {words} words in prose, {explaining} explaining words"


def format_score(text: str) -> tuple[int, str]:
    """(score from 0 to 5, reason) from the shares of noise lines and of symbols."""
    lines = [line for line in text.split("\n") if line.strip()]
    noise = sum(noise_of(line) is not None for line in lines) / len(lines) if lines else 1.0
    symbols = symbol_share(text)
    points = [noise < 0.8, noise < 0.5, noise < 0.3 and symbols < 0.35, noise < 0.15 and symbols < 0.25]
    points.append(noise < 0.04 and symbols < 0.18)
    score = points.index(False) if False in points else len(points)
    return score, f"{noise:.0%} of the lines are noise, {symbols:.0%} of the characters are symbols"


def program_of(text: str, first_line: int, pattern: Noise) -> list[Operation]:
    """The calls that clean a chunk of one pattern of noise; ``links`` also takes inline addresses and badges."""
    lines = text.split("\n")
    noise = (number for number, line in enumerate(lines, first_line) if noise_of(line) == pattern)
    operations: list[Operation] = [*remove_numbers(noise)]
    if pattern == "links":
        sources = dict.fromkeys(source for line in lines for source in inline_noise(line))
        operations += [Normalize(source) for source in sources]
    return operations or [KeepChunk()]


def _score_answer(score: int, reason: str, closing: str) -> str:
    return f"By the {STAND_IN}: {reason}.\n{closing}: {score}"
