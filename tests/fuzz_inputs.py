"""Random programs, texts and guards for the fuzz run: the same for the same seed."""

import random
from collections.abc import Callable

from prox import Guards
from prox.program import KeepChunk, Normalize, Operation, RemoveLines, Style, render_program

NUM_TEXTS = 400

WORDS = (
    "Home | About",
    "Log in",
    "Click here",
    "a",
    " ",
    "",
    "the",
    "light",
    "(green organelles)",
    "a, b",
    'She said "no"',
    "it's",
    "back\\slash",
    "tab\there",
    "http://ex.org/a?id=7&x=1",
    "[...]",
    "[003]",
    "remove_lines(0, 9)",
    "drop_doc()",
    "café —",
    "光合作用",
    "\U0001f600",
    "two\nlines",
    "\u2028",
    "\x00",
    "# note",
    ";",
    "->",
)
CALLS = (
    "keep_chunk()",
    "untouch_doc()",
    "keep_doc()",
    "drop_doc()",
    "remove_lines(all=True)",
    "remove_lines({a}, {b})",
    "remove_lines(start={a}, end={b})",
    "remove_lines({a}, end={b})",
    "remove_lines(line_start={a},line_end={b})  # why",
    "remove_lines(\n  line_start={a},\n  line_end={b},\n)",
    "normalize({s})",
    "normalize({s}, {t})",
    "normalize(source_str={s})",
    "normalize(\n    source_str={s},\n    target_str={t},\n)",
    "normalize_text({s})",
    "1. remove_lines({a}, {b})",
    "remove_lines({a}, {b}); remove_lines({b}, {b})",
    "```python",
    "```",
    "# {a}",
    "The page is clean; nothing to do.",
    "",
)
FORMS = (
    "=",
    "[{a:03d}]",
    "[{a:03d}]-[{b:03d}]",
    "{s}",
    "{s} -> {t}",
    "{s}->{t}",
    "# note",
    "```",
    "[{a}]",
    "lines {a}",
)
PIECES = (
    *"()[]{}\"'\\,;:=#`-_ \t\n\r\x0b\x0c\x00\x1c\x7f\x85\xa0",
    *"\u200b\u2028\u202e\u3000\ufeff\ud800\uff52\uff10é光\U0001f600",
    *(
        "\r\n",
        '"""',
        "'''",
        "```",
        "all=True",
        "*",
        "**",
        "lambda:",
        "f'{",
        "0x",
        "1_0",
        "9" * 20,
        "9" * 5000,
        "\\N{",
        "->",
    ),
)


class ProgramMaker:
    """Random program texts: valid ones, valid ones with mutations, and noise; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.previous = ""
        self.mutations: tuple[Callable[[str], str], ...] = (
            self._cut_off,
            self._duplicate,
            self._splice,
            self._swap,
            self._drop_mark,
            self._enlarge,
            self._insert,
            self._nest,
        )

    def program(self, style: Style, num_mutations: int | None = None) -> str:
        """One program text; without ``num_mutations`` a third each is valid, mutated once, mutated up to 4 times."""
        chance = self.random
        if num_mutations is None:
            num_mutations = chance.choice((0, 1, chance.randint(2, 4)))
            if chance.random() < 0.02:
                return self._noise()
        text = "\n".join(self._call(style) for _ in range(int(chance.random() ** 2 * 8)))
        for _ in range(num_mutations):
            text = chance.choice(self.mutations)(text)
        self.previous = text
        return text

    def _call(self, style: Style) -> str:
        chance = self.random
        if chance.random() < 0.5:
            return render_program([self._operation()], style)
        shape = chance.choice(FORMS if style == "compact" else CALLS)
        if "{" not in shape:
            return shape
        quote = repr if style == "calls" else _json_string
        source, target = quote(chance.choice(WORDS)), quote(chance.choice(WORDS))
        return shape.format(a=self._number(), b=self._number(), s=source, t=target)

    def _operation(self) -> Operation:
        kind = self.random.random()
        if kind < 0.55:
            start = self._number()
            return RemoveLines(start, start + self.random.choice((0, 0, 1, 3, 20)))
        if kind < 0.95:
            return Normalize(self.random.choice(WORDS), self.random.choice(("", "", *WORDS)))
        return KeepChunk()

    def _number(self) -> int:
        return (
            int(self.random.random() ** 3 * 40) if self.random.random() < 0.9 else self.random.choice((130, 999, 10**6))
        )

    def _noise(self) -> str:
        pieces = (*PIECES, *WORDS, "remove_lines", "normalize", "keep_chunk()", "0", "1")
        text = "".join(self.random.choices(pieces, k=self.random.randint(1, 30)))
        return text * (self.random.choice((1, 1, 1, 100)) if len(text) < 300 else 1)

    def _place(self, text: str) -> int:
        return int(self.random.random() * (len(text) + 1))

    def _cut_off(self, text: str) -> str:
        return text[: self._place(text)]

    def _duplicate(self, text: str) -> str:
        begin = self._place(text)
        end = begin + self.random.randint(1, 40)
        return text[:end] + text[begin:end] * self.random.choice((1, 1, 3)) + text[end:]

    def _splice(self, text: str) -> str:
        """The beginning of this program and the end of the one before it."""
        return text[: self._place(text)] + self.previous[self._place(self.previous) :][:1000]

    def _swap(self, text: str) -> str:
        place = self._place(text)
        return text[:place] + text[place : place + 2][::-1] + text[place + 2 :]

    def _drop_mark(self, text: str) -> str:
        """Without one quote, bracket, comma or line end."""
        mark = self.random.choice("\"'()[],;=\n\\")
        place = text.find(mark, self._place(text))
        return text if place < 0 else text[:place] + text[place + 1 :]

    def _enlarge(self, text: str) -> str:
        digits = [place for place, character in enumerate(text) if character.isdigit()]
        if not digits:
            return text
        place = self.random.choice(digits)
        return text[:place] + "9" * self.random.choice((1, 3, 12, 30)) + text[place:]

    def _insert(self, text: str) -> str:
        place = self._place(text)
        return text[:place] + self.random.choice(PIECES) + text[place:]

    def _nest(self, text: str) -> str:
        place, depth = self._place(text), self.random.choice((1, 2, 10, 300))
        bracket = self.random.choice(("()", "[]", "{}", ("remove_lines(", ")"), ("-", ""), ("f(", "")))
        return text[:place] + bracket[0] * depth + text[place:] + bracket[1] * depth


def _json_string(text: str) -> str:
    return render_program([Normalize(text)], "compact")


def make_texts(seed: int) -> list[str]:
    """Texts to run programs on: empty, blank, one line, CRLF, Chinese, over-long lines, pages."""
    chance = random.Random(seed)
    texts = ["", " ", "\n", "\n\n \n\t\n", "\r\n", "a", "光合作用", "a" * 20_000, "\u2028\n\x85\n\x0c"]
    texts += [" ".join(WORDS) * 201, "\n".join(WORDS) * 201]  # more matches than one call may replace
    while len(texts) < NUM_TEXTS:
        ends = chance.choice(("\n", "\n", "\n", "\r\n", "\n\n", "\r"))
        lines = [" ".join(chance.choices(WORDS, k=chance.choice((0, 1, 3, 8)))) for _ in range(chance.randint(1, 40))]
        texts.append(ends.join(lines) * chance.choice((1, 1, 1, 4)))
    return texts


def make_guards(chance: random.Random) -> Guards:
    """The default guards half of the time, else each one loose, tight or as it is."""
    if chance.random() < 0.5:
        return Guards()
    return Guards(
        max_bad_calls=chance.choice((0, 1, 3, 100)),
        bad_statuses=chance.choice((("fault",), (), ("fault", "clipped", "out_of_range", "misplaced"))),
        max_removed_share=chance.choice((0.0, 0.3, 0.9, 1.0)),
        min_words_left=chance.choice((0, 1, 20)),
        min_source_characters=chance.choice((0, 1, 3, 8)),
        max_replacements=chance.choice((0, 1, 5, 200)),
        max_added_characters=chance.choice((0, 10, 1000)),
    )
