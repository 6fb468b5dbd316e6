"""The published executor's malformed and adversarial cases, each with what a sane executor does.

The programs and the authors' results are facts recorded in ``official_cases.md`` of the shared folder; the document and
the expectations here are this project's. Every row of that file must have its expectation.
"""

import re
from pathlib import Path

import pytest

from prox import Execution, execute, parse_program
from prox.assembly import refine_document
from prox.chunking import Chunk
from refinement.document import read_answer

TEXT = """\
Home | Products | About Us | Contact
Log in
Bees turn the nectar of flowers into honey and store it in wax cells.
They live in hives (wooden boxes), as http://bees.example/a?id=7&x=1 explains.
Workers fly out by day, and the queen stays inside.
He said "hello, bees" and left the café — it was noon.
Honey is a by-product of a cold winter.
Read on [...] Click here
Wasps, ants and bees all belong to one order.
The sum is 6A2 + 6B2 = C6D12 + 6E2 overall.
Posted by someone in Science, Biology
Copyright 2020 (c) Nobody Ltd."""
LINES = TEXT.split("\n")


def run(program: str) -> Execution:
    return execute(parse_program(program), TEXT)


def without(*removed: int, replace: tuple[str, str] | None = None) -> str:
    lines = [line for number, line in enumerate(LINES) if number not in removed]
    return "\n".join(line.replace(*replace) for line in lines) if replace else "\n".join(lines)


FENCED = "```python\n# nav bar\nremove_lines(start=0, end=1)  # top\n```"
ALL_BAD = "foo\nremove_lines(1,2)\nremove_lines(3,4)\nremove_lines(all=True)"
VALID = """\
remove_lines(start=0, end=1)
normalize(source_str="Click here", target_str="")
remove_lines(start=11, end=11)"""
URL = "http://bees.example/a?id=7&x=1"

# name of the case: program, text afterwards (None: all is removed), statuses of the calls
CASES: dict[str, tuple[str, str | None, str]] = {
    "valid baseline": (VALID, without(0, 1, 11, replace=("Click here", "")), "applied applied applied"),
    "paper's argument names": ("remove_lines(line_start=0, line_end=1)", without(0, 1), "applied"),
    "positional integers": ("remove_lines(0, 1)", without(0, 1), "applied"),
    "reversed range": ("remove_lines(start=5, end=2)", TEXT, "reversed"),
    "reversed, positional": ("remove_lines(5,2)", TEXT, "reversed"),
    "end past last line": ("remove_lines(start=10, end=99)", without(10, 11), "clipped"),
    "start past last line": ("remove_lines(start=50, end=60)", TEXT, "out_of_range"),
    "two clipped calls": (
        "remove_lines(start=10, end=99)\nremove_lines(start=0, end=0)\nremove_lines(start=40, end=41)",
        without(0, 10, 11),
        "clipped applied out_of_range",
    ),
    "two disjoint out-of-range + one valid": (
        "remove_lines(start=50, end=51)\nremove_lines(start=60, end=61)\nremove_lines(start=0, end=1)",
        without(0, 1),
        "out_of_range out_of_range applied",
    ),
    "negative numbers": ("remove_lines(start=-2, end=-1)", TEXT, "reversed"),
    "overlapping ranges": (
        "remove_lines(start=0, end=1)\nremove_lines(start=1, end=1)\nremove_lines(start=10, end=11)",
        without(0, 1, 10, 11),
        "applied applied applied",
    ),
    "missing bracket, 1 digit": ("remove_lines(start=0, end=1", TEXT, "fault"),
    "missing bracket, 2 digits (token cut-off)": ("remove_lines(start=0, end=11", TEXT, "fault"),
    "no brackets at all": ("remove_lines", TEXT, "fault"),
    "non-integer": ('remove_lines(start=0, end="one")', TEXT, "fault"),
    "huge range 0..2e6": ("remove_lines(start=0, end=2000000)", None, "clipped"),
    "all=True": ("remove_lines(all=True)", None, "applied"),
    "leading spaces on 2nd line": ("keep_chunk()\n  remove_lines(start=0, end=1)", without(0, 1), "kept applied"),
    "two calls on one line": (
        "remove_lines(start=0, end=0); remove_lines(start=11, end=11)",
        without(0, 11),
        "applied applied",
    ),
    "code fence + comments": (FENCED, without(0, 1), "applied"),
    "CRLF line ends": (
        "remove_lines(start=0, end=1)\r\nremove_lines(start=11, end=11)\r\n",
        without(0, 1, 11),
        "applied applied",
    ),
    "normalize one positional arg": ('normalize("Log in")', without(replace=("Log in", "")), "applied"),
    "normalize target omitted": ('normalize(source_str="Click here")', without(replace=("Click here", "")), "applied"),
    "normalize not found": ('normalize(source_str="absent text", target_str="")', TEXT, "not_found"),
    "normalize many matches": (
        'normalize(source_str="the", target_str="THE")',
        without(replace=("the", "THE")),
        "applied",
    ),
    "normalize URL with '='": (f'normalize(source_str="{URL}", target_str="")', without(replace=(URL, "")), "applied"),
    "normalize source with ')'": (
        'normalize(source_str="(wooden boxes)", target_str="")',
        without(replace=("(wooden boxes)", "")),
        "applied",
    ),
    "normalize source with ','": (
        'normalize(source_str="Science, Biology", target_str="")',
        without(replace=("Science, Biology", "")),
        "applied",
    ),
    "normalize target with ','": (
        'normalize(source_str="Log in", target_str="a, b")',
        without(replace=("Log in", "a, b")),
        "applied",
    ),
    "normalize single quotes": (
        "normalize(source_str='Click here', target_str='')",
        without(replace=("Click here", "")),
        "applied",
    ),
    "nested/escaped quotes": (
        r'normalize(source_str="He said \"hello", target_str="")',
        without(replace=('He said "hello', "")),
        "applied",
    ),
    r"escape sequence \n": (r'normalize(source_str="Log in\nBees", target_str=" ")', TEXT, "multiline"),
    "normalize source one space, one arg": ('normalize(source_str=" ")', TEXT, "source_too_short"),
    "normalize empty source": ('normalize(source_str="", target_str="X")', TEXT, "source_too_short"),
    "single letter source": ('normalize(source_str="e", target_str="")', TEXT, "source_too_short"),
    "order: normalize after remove": (
        'remove_lines(start=7, end=7)\nnormalize(source_str="Wasps", target_str="All wasps")',
        without(7, replace=("Wasps", "All wasps")),
        "applied applied",
    ),
    "normalize injects a newline-free call": (
        'normalize(source_str="Log in", target_str="remove_lines(start=0, end=9)")',
        without(replace=("Log in", "remove_lines(start=0, end=9)")),
        "applied",
    ),
    "unicode source": (
        'normalize(source_str="café —", target_str="cafe -")',
        without(replace=("café —", "cafe -")),
        "applied",
    ),
    "unknown function": ("delete_everything()\nremove_lines(start=0, end=1)", without(0, 1), "applied fault"),
    "python injection": ("__import__('os').system('echo hi')", TEXT, "fault"),
    "injection in argument": ("remove_lines(start=__import__('os').getpid(), end=3)", TEXT, "fault"),
    "drop_doc() in chunk stage": ("drop_doc()", TEXT, "misplaced"),
    "keep + remove contradiction": ("keep_chunk()\nremove_lines(start=0, end=1)", without(0, 1), "kept applied"),
    "untouch_doc()": ("untouch_doc()", TEXT, "kept"),
    "empty program": ("", TEXT, ""),
    "free text": ("The page is clean; nothing to remove_lines here.", TEXT, "fault"),
    "prefix look-alike": ("remove_lines_please(start=0, end=1)", TEXT, "fault"),
    "prefix look-alike normalize": ('normalize_text(source_str="Log in", target_str="")', TEXT, "fault"),
    "10,000 valid calls": (
        "\n".join(f"remove_lines(start={n % 2}, end={n % 2})" for n in range(10_000)),
        without(0, 1),
        " ".join(["applied"] * 10_000),
    ),
    "10,000 normalize calls": (
        "\n".join(f'normalize(source_str="zz{n}", target_str="y")' for n in range(10_000)),
        TEXT,
        " ".join(["not_found"] * 10_000),
    ),
    "remove everything but 1 short line": (
        "remove_lines(start=0, end=5)\nremove_lines(start=7, end=11)",
        LINES[6],
        "applied applied",
    ),
    "2 bad calls + remove all": (ALL_BAD, TEXT, "applied applied applied fault"),
}

# Whole documents: text, program, and what becomes of it.
DOCUMENTS: dict[str, tuple[str, str]] = {
    "whitespace-only document": (" \n\t\n", "keep_chunk()"),
    "empty document": ("", "keep_chunk()"),
    "9-word document, keep": ("Bees make honey from the nectar of many flowers", "keep_chunk()"),
    "CJK document (no spaces), keep": ("蜜蜂采集花蜜。\n它们住在蜂巢里。", "untouch_doc()"),
    "9-word document, 2 bad calls": (
        "Bees make honey from\nthe nectar of many flowers",
        "remove_lines(1,1\nremove_lines(2,2",
    ),
}

ANSWERS = {
    "drop_doc()": "drop",
    "keep_doc()": "keep",
    "": "unreadable",
    "garbage": "unreadable",
    "DROP_DOC()": "unreadable",
    "I would not drop this page": "unreadable",
    "keep_doc()  # a raindrop": "keep",
    "keep_doc()\ndrop_doc()": "unreadable",
    "drop": "unreadable",
    "```python\ndrop_doc()\n```": "drop",
    "remove_doc()": "unreadable",
}


@pytest.mark.parametrize("name", CASES)
def test_a_program_does_what_a_sane_executor_would(name: str) -> None:
    program, text, statuses = CASES[name]
    result = run(program)
    assert [call.status for call in result.calls] == statuses.split()
    if text is None:
        assert (result.verdict, result.reason) == ("removed", "all_lines_removed")
    else:
        assert result.text == text


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_without_a_good_edit_stays(name: str) -> None:
    text, program = DOCUMENTS[name]
    result = refine_document(text, [(Chunk(0, text), parse_program(program))])
    assert (result.verdict, result.text) == ("unchanged", text)


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_of_the_document_stage(answer: str) -> None:
    decision = read_answer(answer)
    said = "unreadable" if not decision.readable else "keep" if decision.keep else "drop"
    assert said == ANSWERS[answer]
    assert decision.keep or said == "drop", "what can't be read keeps the document"


def test_every_published_case_has_its_expectation(shared: Path) -> None:
    programs, _, answers = (shared / "official_cases.md").read_text(encoding="utf-8").partition("## doc stage")
    rows = [re.split(r"(?<!\\)\|", line)[1].strip() for line in programs.splitlines() if line.startswith("| ")]
    assert set(rows) - {"case"} == set(CASES) | set(DOCUMENTS)
    said = re.findall(r"^\| (`+)(.*?)\1 \|", answers, re.MULTILINE)
    assert {text.strip("`").replace("⏎", "\n") for _, text in said} <= {answer.strip("`") for answer in ANSWERS}
    assert len(said) == len(ANSWERS)
