"""Keep or drop, read off one prefill: the document stage's answer is one of two programs, so nothing is decoded."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from prox.dialogue import Dialogue, PromptRenderer
from prox.engines import Engine, Failure
from prox.errors import UserError
from prox.program import DropDoc, KeepDoc, render_program

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

KEEP_ANSWER = render_program([KeepDoc()])
DROP_ANSWER = render_program([DropDoc()])


def decision_tokens(tokenizer: "PreTrainedTokenizerBase") -> tuple[list[int], int, int]:
    """Where the two answers part: the token ids they share, then keep's next token id and drop's."""
    keep = tokenizer.encode(KEEP_ANSWER, add_special_tokens=False)
    drop = tokenizer.encode(DROP_ANSWER, add_special_tokens=False)
    for position, (keep_id, drop_id) in enumerate(zip(keep, drop, strict=False)):
        if keep_id != drop_id:
            return keep[:position], keep_id, drop_id
    raise UserError(
        f"the tokenizer can't tell {KEEP_ANSWER!r} from {DROP_ANSWER!r}: the refiner needs another tokenizer"
    )


def keep_probability(
    engine: Engine, dialogue: Dialogue, texts: Sequence[str], max_prompt_tokens: int
) -> list[float | Failure]:
    """Probability of `keep_doc()` against `drop_doc()` for each document (softmax over the two, 0 to 1).

    Documents are cut so that the prompt has at most ``max_prompt_tokens``. Raises ``UserError`` where that, with the
    answers' common beginning, exceeds the engine's context.
    """
    needed = max_prompt_tokens + answer_tokens(engine)
    if needed > engine.max_context:
        raise UserError(
            f"max_prompt_tokens {max_prompt_tokens} needs a context of {needed} tokens; the model's is "
            f"{engine.max_context}: set at most {engine.max_context - answer_tokens(engine)}"
        )
    prompts = PromptRenderer(dialogue, engine.tokenizer, max_prompt_tokens).documents(texts)
    return keep_probability_of_prompts(engine, [prompt.ids for prompt in prompts])


def keep_probability_of_prompts(engine: Engine, prompts: Sequence[list[int]]) -> list[float | Failure]:
    """The same for prompts that are rendered and encoded already."""
    shared, keep_id, drop_id = decision_tokens(engine.tokenizer)
    answers = engine.choose([prompt + shared for prompt in prompts], [keep_id, drop_id])
    return [answer if isinstance(answer, Failure) else _two_way(*answer) for answer in answers]


def answer_tokens(engine: Engine) -> int:
    """Tokens of the context that the decision needs behind the prompt."""
    return len(decision_tokens(engine.tokenizer)[0]) + 1


def _two_way(keep: float, drop: float) -> float | Failure:
    """exp(keep) / (exp(keep) + exp(drop)) without overflow, for log-probabilities."""
    if math.isnan(keep - drop):  # of either, or of two that are minus infinity
        return Failure(f"the log-probabilities of keep and drop are {keep} and {drop}")
    if keep >= drop:
        return 1.0 / (1.0 + math.exp(drop - keep))
    return 1.0 - 1.0 / (1.0 + math.exp(keep - drop))
