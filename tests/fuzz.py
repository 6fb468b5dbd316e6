"""Parses and executes random and mutated programs; any program on any text must end, and end well.

    python -m tests.fuzz --programs 1000000 --seed 0

Exits with 1, the seed and the program where an invariant fails, or where memory grew by more than 64 MB.
"""

import argparse
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prox import Execution, Guards, Program, execute, parse_program
from prox.program import KeepChunk, Normalize, Operation, RemoveLines, Style, render_program
from prox.words import count_words

MAX_GROWTH = 64 * 2**20
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


class Broken(Exception):
    """An invariant that does not hold."""


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


def check(program_text: str, style: Style, text: str, first_line: int, guards: Guards) -> tuple[Program, Execution]:
    """Parses and executes twice; raises ``Broken`` where an invariant fails."""
    program = parse_program(program_text, style)
    execution = execute(program, text, first_line, guards)
    if execute(parse_program(program_text, style), text, first_line, guards) != execution:
        raise Broken("replay gives another result")
    if len(execution.calls) != len(program.operations) + len(program.faults):
        raise Broken("the calls reported are not operations + faults")
    if parse_program(render_program(program.operations, style), style) != Program(program.operations):
        raise Broken("the rendered program is read as another")
    _check_text(text, first_line, execution)
    _check_guards(text, execution, guards)
    return program, execution


def _as_reported(text: str, first_line: int, execution: Execution) -> list[str]:
    """The lines that the calls reported as done leave of ``text``, line by line and call by call."""
    done = [call.operation for call in execution.calls if call.status in ("applied", "clipped")]
    lines = []
    for number, line in enumerate(text.split("\n"), first_line):
        if any(isinstance(one, RemoveLines) and one.line_start <= number <= one.line_end for one in done):
            continue
        for one in done:
            if isinstance(one, Normalize):
                line = line.replace(one.source_str, one.target_str)
        lines.append(line)
    return lines


def _check_text(text: str, first_line: int, execution: Execution) -> None:
    refined, verdict = execution.text, execution.verdict
    reported = "\n".join(_as_reported(text, first_line, execution))
    if verdict in ("unchanged", "rejected"):
        if refined != text:
            raise Broken(f"verdict {verdict}, but the text changed")
        if verdict == "unchanged" and reported != text:
            raise Broken("verdict unchanged, but calls are reported as done")
    elif verdict == "removed":
        if refined or reported.strip():
            raise Broken("verdict removed, but text is left")
    elif verdict != "edited" or refined == text:
        raise Broken(f"verdict {verdict}, but the text is the same")
    elif refined != reported:
        raise Broken("the output is not what the reported calls make of the text")


def _check_guards(text: str, execution: Execution, guards: Guards) -> None:
    if execution.verdict in ("unchanged", "rejected"):
        return
    if sum(call.status in guards.bad_statuses for call in execution.calls) > guards.max_bad_calls:
        raise Broken("more bad calls than max_bad_calls")
    if len(execution.text) > len(text) + guards.max_added_characters:
        raise Broken("the text grew by more than max_added_characters")
    if any(
        call.status == "applied" and call.count > guards.max_replacements
        for call in execution.calls
        if isinstance(call.operation, Normalize)
    ):
        raise Broken("a call replaced more than max_replacements")
    before, after = count_words(text), count_words(execution.text)
    if after < before * (1 - guards.max_removed_share) - 1e-9:
        raise Broken("more words were removed than max_removed_share")
    if execution.verdict == "edited" and after < min(before, guards.min_words_left):
        raise Broken("fewer words are left than min_words_left")


@dataclass
class Summary:
    """What a run did. Memory is the resident set in bytes, after the first tenth and at the end."""

    programs: int = 0
    seconds: float = 0.0
    operations: int = 0
    faults: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    memory_start: int = 0
    memory_end: int = 0
    failure: str = ""

    def lines(self) -> list[str]:
        """The summary as text, one fact a line."""
        start, end = self.memory_start / 2**20, self.memory_end / 2**20
        return [
            f"programs    {self.programs:,} in {self.seconds:.1f} s: {self.programs / max(self.seconds, 1e-9):,.0f}/s",
            f"operations  {self.operations:,}, faults {self.faults:,}",
            f"statuses    {_counts(self.statuses)}",
            f"verdicts    {_counts(self.verdicts)}",
            f"memory      {start:.1f} MB after the first tenth, {end:.1f} MB at the end: {end - start:+.1f} MB",
        ]


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counter.most_common())


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def fuzz(num_programs: int, seed: int, report: Callable[[Summary], None] = lambda summary: None) -> Summary:
    """Runs ``num_programs``; stops at the first failure. ``report`` is called after each twentieth."""
    maker, chance, texts = ProgramMaker(seed), random.Random(seed + 1), make_texts(seed)
    summary, began = Summary(), time.perf_counter()
    for number in range(1, num_programs + 1):
        style: Style = "compact" if chance.random() < 0.3 else "calls"
        program_text, text = maker.program(style), texts[int(chance.random() * len(texts))]
        first_line, guards = chance.choice((0, 0, 0, 5, 1000)), make_guards(chance)
        try:
            program, execution = check(program_text, style, text, first_line, guards)
        except Exception as error:
            summary.failure = (
                f"seed {seed}, program {number}: {type(error).__name__}: {error}\n"
                f"parse_program({program_text!r}, {style!r})\ntext {text[:2000]!r}\nfirst_line {first_line}, {guards}"
            )
            break
        _count(summary, program, execution)
        if number == max(num_programs // 10, 1):
            summary.memory_start = _resident_bytes()
        if number % max(num_programs // 20, 1) == 0:
            summary.seconds, summary.memory_end = time.perf_counter() - began, _resident_bytes()
            report(summary)
    summary.seconds, summary.memory_end = time.perf_counter() - began, _resident_bytes()
    if not summary.failure and summary.memory_end - summary.memory_start > MAX_GROWTH:
        summary.failure = f"seed {seed}: memory grew by more than {MAX_GROWTH >> 20} MB after the first tenth"
    return summary


def _count(summary: Summary, program: Program, execution: Execution) -> None:
    summary.programs += 1
    summary.operations += len(program.operations)
    summary.faults += len(program.faults)
    summary.verdicts[execution.verdict] += 1
    for call in execution.calls:
        summary.statuses[call.status] += 1


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=1_000_000, help="number of programs")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same programs and texts")
    options = parser.parse_args(arguments)
    if options.programs < 1:
        parser.error(f"--programs {options.programs}: must be at least 1")

    def report(summary: Summary) -> None:
        print(
            f"{summary.programs:>12,} programs  {summary.seconds:7.1f} s  {summary.faults:,} faults  "
            f"{summary.memory_end / 2**20:.1f} MB",
            flush=True,
        )

    summary = fuzz(options.programs, options.seed, report)
    print("\n".join(summary.lines()))
    if summary.failure:
        print(summary.failure.encode("utf-8", "backslashreplace").decode("utf-8"), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
