"""A tagger's prompt and its answer: the lines of a chunk, and behind them a place for each at which it is judged.

Writing a program takes a forward pass a token, and a small model writes line numbers badly. A tagger writes nothing. In
its prompt one more token follows for each line, and what a causal language model foretells behind that token, of two
tokens that stand for keeping and removing, is its verdict: all lines of a chunk are judged in one prefill, each by a
place that has read the whole chunk.

Which line a place is about is said by its *position*: it has that of the line's last token, next to which rotary
embeddings then put it. So lines need no numbers, which cost up to six tokens each, and nothing has to be looked up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from prox.chunking import LANGUAGE_NOT_TAUGHT, LONGER_THAN_WINDOW, MOSTLY_NOT_SHOWN, Chunk, Counter, pack_lines
from prox.errors import UserError
from prox.operations import KeepChunk, Style, remove_numbers, render_program
from prox.spelling import Spelling, speller_of
from prox.token_cuts import encode_batch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from prox.dialogue import Dialogue


FEW_LINES = 10
"""Three of 1,579 labelled pages have fewer; texts that came without their line breaks have one, or a title and one."""


@dataclass(frozen=True)
class LinePrompt:
    """A chunk as a tagger reads it; the last ``num_lines`` tokens are the places where its lines are judged."""

    ids: list[int]
    positions: list[int]
    """Of each token, as rotary embeddings count."""
    num_lines: int
    cut: bool = False
    """Never: a chunk that would be too long has no prompt."""


def verdict_tokens(dialogue: "Dialogue", tokenizer: "PreTrainedTokenizerBase") -> tuple[int, int]:
    """Ids of the tokens that stand for keeping and removing a line.

    Raises ``UserError`` where the tokenizer has no such two tokens.
    """
    found = []
    for name in ("keep_token", "remove_token"):
        text = getattr(dialogue, name)
        ids = tokenizer.encode(text, add_special_tokens=False)
        if len(ids) != 1:
            raise UserError(f"dialogue.{name} is {text!r}, {len(ids)} tokens of this tokenizer: choose one that is one")
        found += ids
    if found[0] == found[1]:
        raise UserError(f"dialogue.keep_token and remove_token are both {dialogue.keep_token!r}: choose two")
    return found[0], found[1]


def program_of_probabilities(
    probabilities: Sequence[float], threshold: float, first_line: int, style: Style = "calls"
) -> str:
    """The program that removes those lines, from ``first_line`` on, whose probability reaches the threshold."""
    numbers = [number for number, one in enumerate(probabilities, first_line) if one >= threshold]
    return render_program(remove_numbers(numbers) or [KeepChunk()], style)


def cut_rows(rows: Sequence[Mapping[str, Any]], threshold: float, field: str) -> list[dict[str, Any]]:
    """Rows of chunks with the programs of another threshold in their ``field``; what no tagger judged stays."""
    return [
        {**row, field: program_of_probabilities(row["line_probabilities"], threshold, row["first_line"])}
        if row.get("line_probabilities") is not None
        else dict(row)
        for row in rows
    ]


def are_probabilities(value: Any, num_lines: int) -> bool:
    """Whether a value out of a file is a list of one probability a line."""
    if not isinstance(value, list) or len(value) != num_lines:
        return False
    return all(isinstance(one, int | float) and 0 <= one <= 1 for one in value)


def shown_share(lines: Sequence[str], shown: Sequence[str]) -> float:
    """How much of a page's characters is shown; 1 of an empty one."""
    total = sum(map(len, lines))
    return sum(map(len, shown)) / total if total else 1.0


def encode_lines(tokenizer: "PreTrainedTokenizerBase", lines: Sequence[str]) -> list[list[int]]:
    """The ids of each line with its line break, by itself."""
    return [encoding.ids for encoding in encode_batch(tokenizer, [line + "\n" for line in lines])]


def count_with_places(tokenizer: "PreTrainedTokenizerBase") -> Counter:
    """A counter of a line's tokens in a tagger's prompt: its own, and the place where it is judged."""
    return lambda lines: [len(ids) + 1 for ids in encode_lines(tokenizer, lines)]


class LinePromptRenderer:
    """Makes a tagger's prompts for one tokenizer, none longer than ``max_tokens``.

    A line is encoded by itself, with its line break, so that it has the same ids in every chunk. Raises ``UserError``
    where a prompt has no room for any line.
    """

    def __init__(self, dialogue: "Dialogue", tokenizer: "PreTrainedTokenizerBase", max_tokens: int) -> None:
        if problems := dialogue.problems():  # of a file that a checkpoint brings
            raise UserError("; ".join(problems))
        if tokenizer.eos_token_id is None:
            raise UserError(
                "the tokenizer has no EOS token, with which a tagger's prompt marks the places of its lines"
            )
        self.dialogue, self.tokenizer = dialogue.resolved(tokenizer), tokenizer
        opening, closing = self.dialogue.frame()
        before, after = encode_batch(tokenizer, [opening + dialogue.chunk_before, dialogue.chunk_after + closing])
        self._before, self._after = [*self.dialogue.bos_ids(tokenizer), *before.ids], after.ids
        self._place = tokenizer.eos_token_id
        self._max_tokens = max_tokens
        if self.frame_tokens + 2 > max_tokens:
            raise UserError(
                f"a prompt of at most {max_tokens} tokens has no room: its frame alone takes {self.frame_tokens}"
            )

    @property
    def frame_tokens(self) -> int:
        """Tokens of a prompt beside those of its lines and their places."""
        return len(self._before) + len(self._after)

    def chunk(self, chunk: Chunk) -> LinePrompt | None:
        """The prompt of a chunk; None where it would be too long, or is unlike what was taught."""
        lines = self.dialogue.shown(chunk.text).split("\n")
        return self.prompt(lines, encode_lines(self.tokenizer, lines))

    def chunks(self, texts: Sequence[str], window: int) -> list[list[tuple[Chunk, LinePrompt | None]]]:
        """Each document in chunks of at most ``window`` tokens, places included, with their prompts.

        What has no prompt, a line longer than the window or a chunk unlike what was taught, is ``skipped``.
        """
        documents = [text.split("\n") for text in texts]
        shown = [self.dialogue.shown(text).split("\n") for text in texts]
        # Pages of a site, and sites, have many lines in common.
        distinct = list(dict.fromkeys(line for lines in shown for line in lines))
        ids_of = dict(zip(distinct, encode_lines(self.tokenizer, distinct), strict=True))
        found = []
        for lines, short in zip(documents, shown, strict=True):
            ids = [ids_of[line] for line in short]
            chunks = pack_lines(lines, [len(of_line) + 1 for of_line in ids], window)
            refusal = self.refusal_of_page(lines, short, ids)
            found.append([self._asked(chunk, short, ids, refusal) for chunk in chunks])
        return found

    def _asked(
        self, chunk: Chunk, shown: Sequence[str], lines: Sequence[list[int]], of_page: str | None
    ) -> tuple[Chunk, LinePrompt | None]:
        """A chunk of a document (its lines as they are shown, and their ids) with its prompt, or ``skipped``."""
        if chunk.skipped:
            return chunk, None
        span = slice(chunk.first_line, chunk.end_line)
        reason = of_page or self._refusal(shown[span], lines[span])
        if reason:
            return replace(chunk, skipped=True, skip_reason=reason), None
        return chunk, self._make(lines[span])

    def refusal_of_page(self, lines: Sequence[str], shown: Sequence[str], ids: Sequence[list[int]]) -> str | None:
        """Why nothing of a page is asked about, if so: its lines, whole and as they are shown, and the latter's ids."""
        most, least = self.dialogue.max_tokens_per_letter, self.dialogue.min_shown_share
        if most is not None and self.spelling(shown, ids).is_foreign(most):
            return LANGUAGE_NOT_TAUGHT
        # On a page of many lines those that are read tell what the long ones are.
        is_flat = least is not None and sum(map(bool, lines)) < FEW_LINES and shown_share(lines, shown) < least
        return MOSTLY_NOT_SHOWN if is_flat else None

    def spelling(self, shown: Sequence[str], lines: Sequence[list[int]]) -> Spelling:
        """How lines, with their ids, are spelled."""
        return speller_of(self.tokenizer).count(zip(shown, lines, strict=True))

    def prompt(self, shown: Sequence[str], lines: Sequence[list[int]]) -> LinePrompt | None:
        """The prompt of lines as they are shown, with their ids; None as ``chunk`` says."""
        return None if self._refusal(shown, lines) else self._make(lines)

    def _refusal(self, shown: Sequence[str], lines: Sequence[list[int]]) -> str | None:
        """Why these lines can't be asked about."""
        limit = self.dialogue.max_tokens_per_letter
        if limit is not None and self.spelling(shown, lines).is_spelled_in_bytes(limit):
            return LANGUAGE_NOT_TAUGHT
        num_tokens = self.frame_tokens + sum(map(len, lines)) + len(lines)
        return LONGER_THAN_WINDOW if num_tokens > self._max_tokens else None

    def _make(self, lines: Sequence[list[int]]) -> LinePrompt:
        ends = list(accumulate(map(len, lines), initial=len(self._before)))[1:]
        num_tokens = ends[-1] + len(self._after)
        ids = [*self._before, *(one for line in lines for one in line), *self._after, *[self._place] * len(lines)]
        positions = [*range(num_tokens), *(max(end - 1, 0) for end in ends)]
        return LinePrompt(ids, positions, len(lines))
