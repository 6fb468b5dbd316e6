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
from prox.program import Normalize, RemoveLines, Style, render_program
from prox.words import count_words
from tests.fuzz_inputs import ProgramMaker, make_guards, make_texts

MAX_GROWTH = 64 * 2**20


class Broken(Exception):
    """An invariant that does not hold."""


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
