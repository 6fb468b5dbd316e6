"""The grammar: all that the renderer writes, nothing that the parser would not read, in every form it is exported."""

import re
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prox.grammar import program_grammar
from prox.operations import ALL_LINES, SIGNATURES, DropDoc, KeepChunk, KeepDoc, Normalize, RemoveLines
from prox.program import parse_program, render_program

KINDS = [("document", "calls"), ("chunk", "calls"), ("chunk", "compact")]
BROKEN = {
    ("document", "calls"): ["", "keep_chunk()", "keep_doc", "keep_doc()\n", "keep_doc()\ndrop_doc()", " drop_doc()"],
    ("chunk", "calls"): [
        "",
        "keep_doc()",
        "untouch_doc()",
        "keep_chunk()\nkeep_chunk()",
        "keep_chunk()\nremove_lines(line_start=0, line_end=1)",
        "remove_lines(0, 1)",
        "remove_lines(start=0, end=1)",
        "remove_lines(line_start=-1, line_end=1)",
        "remove_lines(line_start=01, line_end=1)",
        "remove_lines(line_start=0, line_end=1",
        "remove_lines(line_start=0, line_end=1)\n",
        "remove_lines(line_start=0, line_end=1); remove_lines(line_start=0, line_end=1)",
        "remove_lines(line_start=0, line_end=1234567890)",
        "remove_lines(all=False)",
        "normalize(source_str='a', target_str='')",
        'normalize(source_str="a")',
        'normalize(source_str="a"b", target_str="")',
        'normalize(source_str="a\nb", target_str="")',
        'normalize(source_str="a\x00", target_str="")',
        'normalize(source_str="\\x41", target_str="")',
        'normalize(source_str="\\ud83d\\ude00", target_str="")',
        'normalize(source_str="\\/", target_str="")',
        'normalize(source_str="a\\", target_str="")',
    ],
    ("chunk", "compact"): [
        "",
        "==",
        "=\n[003]",
        "[3]",
        "[0003]",
        "[1234567890]",
        "[003]-",
        "[003] - [007]",
        "[003]\n",
        "[003]\n\n[004]",
        "'a'",
        '"a"->"b"',
        '"a" -> ',
        '"a\tb"',
        "keep_chunk()",
    ],
}

strings = st.text(
    st.characters(codec="utf-8") | st.sampled_from('"\\/\n\r\t\x00\x1f\x7f\x85\u2028\U0001f600'), max_size=20
)
lines = st.integers(0, 10**9 - 1) | st.integers(0, 1100)
edits = st.builds(RemoveLines, lines, lines) | st.builds(Normalize, strings, strings)
all_lines = st.just(RemoveLines(0, ALL_LINES))


def programs(stage: str, style: str, max_calls: int = 6) -> st.SearchStrategy[list]:
    if stage == "document":
        return st.sampled_from([[KeepDoc()], [DropDoc()]])
    calls = edits if style == "compact" else edits | all_lines
    return st.just([KeepChunk()]) | st.lists(calls, min_size=1, max_size=max_calls)


@pytest.fixture(params=KINDS, ids="-".join, scope="module")
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param


def matches(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text) is not None


@given(st.data())
def test_all_that_is_rendered_matches(kind: tuple[str, str], data: st.DataObject) -> None:
    operations = data.draw(programs(*kind))
    assert matches(program_grammar(*kind).regex(), render_program(operations, kind[1]))


@given(st.data())
def test_all_that_matches_is_read_without_faults(kind: tuple[str, str], data: st.DataObject) -> None:
    text = data.draw(st.from_regex(program_grammar(*kind, max_calls=3).regex(), fullmatch=True))
    program = parse_program(text, kind[1])
    assert not program.faults
    assert len(program.operations) == text.count("\n") + 1
    stages = {signature.operation: signature.stage for signature in SIGNATURES}
    assert {stages[type(operation)] for operation in program.operations} == {kind[0]}


def test_what_is_broken_does_not_match(kind: tuple[str, str]) -> None:
    assert [text for text in BROKEN[kind] if matches(program_grammar(*kind).regex(), text)] == []


@pytest.mark.parametrize("max_calls", [1, 2, 5])
@pytest.mark.parametrize("style", ["calls", "compact"])
def test_no_more_calls_than_allowed(style: str, max_calls: int) -> None:
    grammar = program_grammar("chunk", style, max_calls)
    for count in (1, 2, 5, 6):
        text = render_program([RemoveLines(1, 2)] * count, style)
        assert matches(grammar.regex(), text) == (count <= max_calls)
        assert matches(program_grammar("chunk", style).regex(), text)


def test_what_has_no_grammar_is_refused() -> None:
    with pytest.raises(ValueError, match="max_calls 0"):
        program_grammar("chunk", "calls", 0)
    with pytest.raises(ValueError, match="written as calls"):
        program_grammar("document", "compact")


def test_every_operation_is_in_the_grammar_of_its_stage() -> None:
    for signature in SIGNATURES:
        assert f'"{signature.names[0]}(' in program_grammar(signature.stage).ebnf()


def test_ebnf_is_one_rule_a_line() -> None:
    assert program_grammar("chunk", "compact", 8).ebnf() == (
        'root ::= ("=" | (range | replacement) ("\\n" (range | replacement)){0,7})\n'
        'range ::= marker ("-" marker)?\n'
        'marker ::= "[" ([0-9]{3} | [1-9] [0-9]{3,8}) "]"\n'
        'replacement ::= string (" -> " string)?\n'
        'string ::= "\\"" [^"\\\\\\x00-\\x1f]* '
        '("\\\\" (["\\\\bfnrt] | "u00" [0-1] [0-9a-f]) [^"\\\\\\x00-\\x1f]*)* "\\""\n'
    )


@cache
def xgrammar_matcher(kind: tuple[str, str], form: str):
    xgrammar = pytest.importorskip("xgrammar", reason="xgrammar comes with vLLM")
    grammar = program_grammar(*kind)
    made = (
        xgrammar.Grammar.from_ebnf(grammar.ebnf()) if form == "ebnf" else xgrammar.Grammar.from_regex(grammar.regex())
    )
    compiler = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo([]), cache_enabled=False)
    return xgrammar.GrammarMatcher(compiler.compile_grammar(made), terminate_without_stop_token=True)


def accepted(matcher, text: str) -> bool:
    """Whether xgrammar lets a model write the text and end there."""
    matcher.reset()
    return matcher.accept_string(text.encode("utf-8")) and matcher.is_completed()


@pytest.mark.parametrize("form", ["ebnf", "regex"])
def test_xgrammar_refuses_what_is_broken(kind: tuple[str, str], form: str) -> None:
    matcher = xgrammar_matcher(kind, form)
    assert [text for text in BROKEN[kind] if accepted(matcher, text)] == []


@pytest.mark.parametrize("form", ["ebnf", "regex"])
@given(data=st.data())
def test_xgrammar_accepts_what_is_rendered(kind: tuple[str, str], form: str, data: st.DataObject) -> None:
    text = render_program(data.draw(programs(*kind)), kind[1])
    assert accepted(xgrammar_matcher(kind, form), text)


@given(data=st.data())
def test_ebnf_and_regex_say_the_same(kind: tuple[str, str], data: st.DataObject) -> None:
    text = render_program(data.draw(programs(*kind, max_calls=2)), kind[1])
    place = data.draw(st.integers(0, len(text)))
    text = text[:place] + data.draw(st.sampled_from(["", *'"\\,=()[]-> \n\t019u'])) + text[place + 1 :]
    assert accepted(xgrammar_matcher(kind, "ebnf"), text) == matches(program_grammar(*kind).regex(), text)


def test_an_unknown_stage_is_no_empty_grammar() -> None:
    with pytest.raises(ValueError, match="'chunks' is none: give one of document, chunk"):
        program_grammar("chunks")
