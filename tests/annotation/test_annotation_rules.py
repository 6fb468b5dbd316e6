"""The stand-in's rules, line by line, and its answers."""

import time

import pytest

from annotation.annotators import STAND_IN, Request
from annotation.line_rules import MAX_CHARACTERS, inline_noise, is_prose, noise_of
from annotation.stand_in import StandIn, educational_score, format_score, program_of
from annotation.templates import Prompt
from prox.program import KeepChunk, Normalize, RemoveLines

NOISE = {
    "[![PyPI](https://img.example/a.svg)](https://pypi.example/p/a/)": "links",
    "[![Versions][versions-image]][versions-url]": "links",
    "[versions-image]: https://img.example/v": "links",
    "# [![logo](logo.png)](https://a.example)": "links",
    ".. image:: https://badge.example/p.svg": "links",
    "   :target: https://ci.example": "links",
    ".. _issue tracker: https://t.example/issues": "links",
    ".. |CI| image:: https://ci.example/badge.svg": "links",
    "|PyPI| |CI Build Status| |coverage|": "links",
    '<p align="center">': "links",
    '  <a href="https://x.example"><img src="a.svg"></a>': "links",
    "https://www.example.org/page?x=1": "links",
    "- [Documentation](https://docs.example)": "links",
    "[Docs](https://docs.example) | [Blog](https://blog.example)": "links",
    "* Repository: https://r.example/a.git": "links",
    "- [Installation](#installation)": "navigation",
    ".. contents:: **pkg**": "navigation",
    "## Table of Contents": "navigation",
    "Start | Catalogue | Help | Imprint": "navigation",
    "Copyright (c) 2004-2025, The Authors": "footer",
    "© 2020 Example Inc. All rights reserved.": "footer",
    "This project is licensed under the MIT License.": "footer",
}
CONTENT = [
    "",
    "   ",
    "Rivers are fed by rain, springs and melting snow.",
    "# Introduction",
    "# [Thinc](https://thinc.example)",
    "============",
    "| Mode | Action | Compression | Since |",
    "|---|---|---|---|",
    "x: int | str | None | bytes = None",
    "    url: https://example.org",
    "    proxy_pass http://localhost:8000;",
    "pip install https://example.org/a.whl",
    "Copyright law protects the form of a work.",
    "<Response [200]>",
    ">>> url = URL('https://www.example.org')",
    "See [the guide](https://g.example) for details.",
    "[discussion board](https://d.example).",
    "`Babel <https://babel.example>`_",
]


@pytest.mark.parametrize(("line", "kind"), NOISE.items())
def test_noise_lines(line: str, kind: str) -> None:
    assert noise_of(line) == kind
    assert inline_noise(line) == []
    assert not is_prose(line)


@pytest.mark.parametrize("line", CONTENT)
def test_content_is_left_alone(line: str) -> None:
    assert noise_of(line) is None


def test_inline_noise() -> None:
    assert inline_noise("Released on PyPI <https://pypi.example>, as ever.") == [" <https://pypi.example>"]
    assert inline_noise("More is at https://a.example/x. Read it.") == ["https://a.example/x"]
    assert inline_noise("# Title [![b](i.svg)](https://b.example)") == ["[![b](i.svg)](https://b.example)"]
    assert inline_noise("curl https://a.example/x | sh; echo (done)") == []
    assert inline_noise("A [link](https://a.example) in running text stays.") == []


@pytest.mark.parametrize("unit", ["[![", "[a](", "<a ", "<!--", "`a <b", "|a", "https://", "a: "])
def test_hostile_lines_take_bounded_time(unit: str) -> None:
    line = (unit * MAX_CHARACTERS)[:MAX_CHARACTERS]
    begin = time.perf_counter()
    noise_of(line), inline_noise(line), noise_of(unit * 100_000)
    assert time.perf_counter() - begin < 2.0


def test_program_uses_the_documents_line_numbers() -> None:
    text = "- [a](https://a.example)\n- [b](https://b.example)\nSome words <https://c.example> here.\nhttps://d.example"
    assert program_of(text, 40, "links") == [
        RemoveLines(40, 41),
        RemoveLines(43, 43),
        Normalize(" <https://c.example>"),
    ]
    assert program_of(text, 40, "footer") == [KeepChunk()]


def test_scores_separate_prose_from_links(corpus: dict[str, str]) -> None:
    prose, links = corpus["page-01"], corpus["page-00"]
    assert educational_score(prose)[0] >= 3 > educational_score(links)[0] + 1
    assert format_score(prose)[0] > format_score(links)[0]
    assert (educational_score("")[0], format_score("")[0]) == (0, 0)


def test_answers_are_deterministic_and_say_who_gave_them(corpus: dict[str, str]) -> None:
    prompt = Prompt("p", "0", "{{ document }}")
    requests = [
        Request(task, text, prompt, (), closing="Score")
        for text in corpus.values()
        for task in ("edu", "format", "links")
    ]
    first = [StandIn.answer(request).text for request in requests]
    noise_of.cache_clear()
    assert [StandIn.answer(request).text for request in requests] == first
    assert all(STAND_IN in text for text in first)
