"""A tagger's training pages, and how they differ each time they are read.

A few thousand pages are soon known by heart. Cut elsewhere, with some lines and tokens missing, a page is another one
whose verdicts are the same. What a reading looks like follows from (seed, epoch, chunk), so a training that was stopped
reads on as if it had not been.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from adaptation.answer_logits import IGNORED
from adaptation.line_examples import LineExample
from prox.errors import UserError
from prox.tagging import LinePrompt, LinePromptRenderer, encode_lines


@dataclass(frozen=True)
class Variation:
    """How a reading of a chunk differs from the chunk."""

    shift_chunks: bool = False
    """Begin up to half a chunk earlier or later in the page."""
    line_dropout: float = 0.0
    """Mean share of the lines that are left out; between none and twice as many."""
    token_noise: float = 0.0
    """Share of the text's tokens in whose place another one stands."""


@dataclass
class Page:
    """A run of lines of one document that its chunks cover without a gap."""

    id: str
    first_line: int
    shown: list[str] = field(default_factory=list)
    lines: list[list[int]] = field(default_factory=list)
    """Token ids of each line, line break included."""
    targets: list[float] = field(default_factory=list)
    """How likely each line is to be removed; ``IGNORED`` where nothing is taught."""

    @property
    def end_line(self) -> int:
        """One past its last line."""
        return self.first_line + len(self.lines)


@dataclass(frozen=True)
class Reading:
    """A prompt, the targets of its lines, and the text's own tokens where noise has replaced them."""

    prompt: LinePrompt
    targets: list[float]
    """How likely each line is to be removed; ``IGNORED`` where nothing is taught."""
    text: list[int]


def gather(
    examples: Iterator[LineExample], renderer: LinePromptRenderer, teacher_weight: float
) -> list[tuple[Page, int, int]]:
    """Of each chunk, in order, its page and its first and last but one line there."""
    pages: dict[tuple[str, int], Page] = {}
    found = []
    for example in sorted(examples, key=lambda one: (one.id, one.chunk.first_line)):
        key = (example.id, example.chunk.first_line)
        page = pages.pop(key, None) or Page(*key)
        begin = len(page.lines)
        shown = renderer.dialogue.shown(example.chunk.text).split("\n")
        page.shown += shown
        page.lines += encode_lines(renderer.tokenizer, shown)
        page.targets += [IGNORED if target is None else target for target in example.targets(teacher_weight)]
        pages[page.id, page.end_line] = page
        found.append((page, begin, len(page.lines)))
    return found


class PageReader:
    """Reads the chunks of an export as prompts, varied if asked for.

    Raises:
        UserError: a chunk is longer than the export allowed.
    """

    def __init__(
        self,
        examples: Iterator[LineExample],
        renderer: LinePromptRenderer,
        variation: Variation,
        seed: int,
        teacher_weight: float = 0.0,
    ) -> None:
        self._renderer, self._variation, self._seed = renderer, variation, seed
        self._chunks = gather(examples, renderer, teacher_weight)
        self.lengths = [
            len(self._render(page, range(begin, end), page.lines[begin:end]).ids) for page, begin, end in self._chunks
        ]
        self._longest = max(self.lengths, default=0)
        self._vocabulary = np.unique([one for page, *_ in self._chunks for line in page.lines for one in line])

    def __len__(self) -> int:
        return len(self._chunks)

    def read(self, index: int, epoch: int) -> Reading:
        """The chunk as it is read in that epoch."""
        page, begin, end = self._chunks[index]
        generator = np.random.default_rng((self._seed, epoch, index))
        numbers: Sequence[int] = range(begin, end)
        if self._variation.shift_chunks:
            numbers = self._shifted(page, begin, end, generator)
        if self._variation.line_dropout:
            share = generator.uniform(0, 2 * self._variation.line_dropout)
            numbers = [number for number in numbers if generator.random() >= share] or [numbers[0]]
        lines = [page.lines[number] for number in numbers]
        prompt = self._render(page, numbers, lines)
        text = prompt.ids
        if self._variation.token_noise:
            prompt = self._render(page, numbers, [self._noisy(line, generator) for line in lines])
        return Reading(prompt, [page.targets[number] for number in numbers], text)

    def _render(self, page: Page, numbers: Sequence[int], lines: Sequence[list[int]]) -> LinePrompt:
        prompt = self._renderer.prompt([page.shown[number] for number in numbers], lines)
        if prompt is None:
            raise UserError(
                f"a chunk of {page.id!r} has more tokens than the export allowed: export the examples again"
            )
        return prompt

    def _shifted(self, page: Page, begin: int, end: int, generator: np.random.Generator) -> range:
        """As many lines as the longest chunk has room for, from another line on."""
        reach = (end - begin) // 2
        begin = min(max(0, begin + int(generator.integers(-reach, reach + 1))), len(page.lines) - 1)
        room = self._longest - self._renderer.frame_tokens
        last = begin
        while last < len(page.lines) and (last == begin or room > len(page.lines[last])):
            room -= len(page.lines[last]) + 1
            last += 1
        return range(begin, last)

    def _noisy(self, line: list[int], generator: np.random.Generator) -> list[int]:
        ids = np.array(line)
        struck = generator.random(len(ids)) < self._variation.token_noise
        ids[struck] = generator.choice(self._vocabulary, int(struck.sum()))
        return ids.tolist()
