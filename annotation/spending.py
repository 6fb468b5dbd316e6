"""What an annotation costs: prices, a budget, and the count of what was spent.

Counted are answers that came. What a provider bills for those that were lost on the way (time-outs, broken connections)
is not seen.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prox.engines.prompts import BYTES_PER_TOKEN, estimate_text_tokens

if TYPE_CHECKING:
    from prox.engines import Completion

TOKENS_PER_PRICE = 1_000_000
FRAME_TOKENS = 200
"""Most that a chat template adds to a prompt."""


@dataclass
class SpendingConfig:
    """Prices in any one currency."""

    input_price: float | None = None
    """Price of a million prompt tokens."""
    output_price: float | None = None
    """Price of a million answer tokens."""
    budget: float | None = None
    """Most that this annotation may cost, the answers that it takes from earlier runs included. Nothing more is asked
    where the answers under way could exceed it; the same command under a larger budget goes on. Unset: no limit."""

    def problems(self) -> list[str]:
        """Settings that can't work."""
        found = [
            f"--spending.{name} is {value}: it must be at least 0"
            for name, value in (("input_price", self.input_price), ("output_price", self.output_price))
            if value is not None and value < 0
        ]
        if self.budget is not None and self.budget <= 0:
            found.append(f"--spending.budget is {self.budget}: it must be above 0, or unset for no limit")
        if (self.input_price is None) != (self.output_price is None):
            found.append("--spending.input_price and --spending.output_price: give both or none (0 is a price)")
        elif self.budget is not None and self.input_price is None:
            found.append("--spending.budget needs --spending.input_price and --spending.output_price")
        return found

    @property
    def has_prices(self) -> bool:
        """Whether costs are known."""
        return self.input_price is not None

    def cost(self, num_prompt_tokens: float, num_answer_tokens: float) -> float:
        """The price of so many tokens."""
        prompts, answers = num_prompt_tokens * (self.input_price or 0.0), num_answer_tokens * (self.output_price or 0.0)
        return (prompts + answers) / TOKENS_PER_PRICE


class Meter:
    """Counts answers, tokens and money, and holds back what a request under way may cost at most."""

    def __init__(self, config: SpendingConfig, max_new_tokens: int) -> None:
        self.config, self.max_new_tokens = config, max_new_tokens
        self.asked = self.from_cache = self.prompt_tokens = self.answer_tokens = 0
        self.spent = 0.0
        self._held: dict[str, float] = {}

    def hold(self, key: str, num_prompt_tokens: int) -> bool:
        """Holds back the most that a request may cost, whose prompt has so many tokens by estimate; False where the
        budget does not allow it. No tokenizer in use makes more than one token of a byte.
        """
        cost = self.config.cost(num_prompt_tokens * BYTES_PER_TOKEN + FRAME_TOKENS, self.max_new_tokens)
        if self.config.budget is not None and self.spent + sum(self._held.values()) + cost > self.config.budget:
            return False
        self._held[key] = cost
        return True

    def release(self, key: str) -> None:
        """A request held for has got no answer."""
        del self._held[key]

    def add(self, answer: "Completion", num_prompt_tokens: int, key: str | None = None) -> None:
        """Counts an answer: of the request held for under ``key``, else one of an earlier run.

        ``num_prompt_tokens`` is the estimate that stands in where the engine does not say; answers then count at four
        bytes a token.
        """
        if key is None:
            self.from_cache += 1
        else:
            self.asked += 1
            self.release(key)
        prompt_tokens = answer.num_prompt_tokens or num_prompt_tokens
        answer_tokens = answer.num_tokens or estimate_text_tokens(answer.text)
        self.prompt_tokens += prompt_tokens
        self.answer_tokens += answer_tokens
        self.spent += self.config.cost(prompt_tokens, answer_tokens)

    def note(self) -> str:
        """For progress lines: tokens, and money where prices are known."""
        tokens = f"{self.prompt_tokens + self.answer_tokens:,} tokens"
        if not self.config.has_prices:
            return tokens
        return f"{tokens}, {self.spent:,.2f} spent"

    def facts(self) -> dict[str, Any]:
        """Totals of the annotation, whichever run paid for them."""
        cost = {"cost": round(self.spent, 6)} if self.config.has_prices else {}
        counts = {"answers": self.asked + self.from_cache, "prompt_tokens": self.prompt_tokens}
        return counts | {"answer_tokens": self.answer_tokens} | cost
