"""Training texts with a verdict behind each line, ranges over lines left open, and what a refiner that sees lines
shortened is taught."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptation.__main__ import VERBS
from adaptation.configs import ExportConfig
from adaptation.example_writer import ExampleWriter, join_over
from adaptation.examples import Example
from adaptation.export import export_examples
from adaptation.verdicts import with_verdicts, write_verdicts
from prox.command import main
from prox.confusion import removed_lines
from prox.dialogue import Dialogue, PromptRenderer
from prox.errors import UserError
from prox.operations import remove_numbers
from prox.program import Normalize, Program, RemoveLines, render_program

PLAIN = Dialogue(layout="plain", system="")


def test_verdicts_by_hand() -> None:
    example = Example("a", "Home\nA river.\nShare\nEnd", "remove_lines(4, 4)", 4, frozenset({6}))
    assert with_verdicts(example, PLAIN) == "[doc]\n[004]Home\n-[005]A river.\n=[006]Share\n[007]End\n="


def test_a_program_that_cannot_be_read_says_nothing_of_its_lines(tmp_path: Path) -> None:
    examples = [Example("a", "Home", "rm everything"), Example("b", "Home", "keep_chunk()")]
    write_verdicts(examples, PLAIN, tmp_path / "documents.jsonl")
    assert (tmp_path / "documents.jsonl").read_text() == '{"text": "[doc]\\n[000]Home\\n="}\n'


def test_lines_of_chunks_numbered_from_zero() -> None:
    example = Example("a", "Home\nA river.", "remove_lines(7, 7)", 7)
    dialogue = Dialogue(layout="plain", system="", style="compact", numbering="chunk")
    assert with_verdicts(example, dialogue) == "[doc]\n[000]Home\n-[001]A river.\n="


def test_lines_without_numbers_have_verdicts_of_their_own_line() -> None:
    example = Example("a", "Home\nA river.\nShare", "remove_lines(4, 4)", 4, frozenset({6}))
    dialogue = Dialogue(kind="tagger", layout="plain", system="", chunk_before="", remove_token="x")
    assert with_verdicts(example, dialogue) == "Home\nx\nA river.\n=\nShare\n"


def test_verdicts_of_lines_shown_shortened() -> None:
    example = Example("a", "x" * 50 + "y" * 50, "keep_chunk()")
    dialogue = Dialogue(layout="plain", system="", max_line_characters=20)
    assert with_verdicts(example, dialogue) == "[doc]\n[000]" + "x" * 10 + " ... " + "y" * 5 + "\n="


def test_a_base_can_be_pretrained_on_them(split: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """The tokenizer alone is enough of a base, so that the base can be trained on what is written."""
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tokenizer / name).write_bytes((tiny_checkpoint / name).read_bytes())
    options = ["--base", tokenizer, "--context", 400, "--max_new_tokens", 48, "--write_documents", "true"]
    arguments = ["export", "--examples", split, "--output", tmp_path / "out", "--dialogue.system", "", *options]
    assert main("adaptation", VERBS, [str(argument) for argument in arguments]) == 0
    rows = [json.loads(line)["text"] for line in (tmp_path / "out/documents.jsonl").read_text().splitlines()]
    assert len(rows) == 24
    assert rows[1].startswith("[INST] [doc]\n[003]Start | Catalogue | Help\n-[004]")
    with_weights = ExportConfig(output=tmp_path / "x", examples=split, base=str(tokenizer), max_new_tokens=48)
    assert "holds no config.json" in " ".join(with_weights.problems())


def test_ranges_are_joined_over_lines_left_open() -> None:
    calls = [RemoveLines(0, 1), RemoveLines(3, 3), RemoveLines(6, 7)]
    assert join_over(calls, frozenset({2, 4})) == [RemoveLines(0, 3), RemoveLines(6, 7)]
    assert join_over(calls, frozenset({2, 4, 5})) == [RemoveLines(0, 7)]
    assert join_over(calls, frozenset({5, 8})) == calls
    with_string = [calls[0], Normalize("(c)"), calls[1]]
    assert join_over(with_string, frozenset({2})) == [RemoveLines(0, 3), Normalize("(c)")]


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_joining_moves_no_line_that_is_scored(noise: set[int], open_lines: set[int]) -> None:
    calls = remove_numbers(sorted(noise - open_lines))
    joined = join_over(calls, frozenset(open_lines))
    removed = removed_lines(Program(tuple(joined)), 0, 31)
    assert removed - open_lines == noise - open_lines
    assert len(joined) <= len(calls)


@pytest.mark.parametrize(("characters", "taught"), [(None, 2), (20, 1)])
def test_strings_that_are_not_shown_are_not_taught(characters: int | None, taught: int, tiny_tokenizer) -> None:
    dialogue = Dialogue(layout="plain", system="", style="compact", max_line_characters=characters)
    writer = ExampleWriter("chunk", PromptRenderer(dialogue, tiny_tokenizer, 400), 200)
    text = "(c) 2020" + " and so on" * 10 + " hidden " + "and so on " * 10
    program = 'normalize(source_str="(c) 2020")\nnormalize(source_str=" hidden ")'
    row = writer.row(Example("a", text, program))
    assert row["conversations"][1]["value"].count("\n") + 1 == taught


def test_an_open_line_is_taught_with_the_range_around_it(tiny_tokenizer) -> None:
    writer = ExampleWriter("chunk", PromptRenderer(PLAIN, tiny_tokenizer, 400), 200)
    program = render_program([RemoveLines(0, 0), RemoveLines(2, 2)])
    row = writer.row(Example("a", "Home\nBy A. Writer\nShare\nThe river.", program, 0, frozenset({1})))
    assert row["conversations"][1]["value"] == "remove_lines(line_start=0, line_end=2)"


def test_a_chunk_numbered_from_zero_is_taught_so(tiny_tokenizer) -> None:
    dialogue = Dialogue(layout="plain", system="", style="compact", numbering="chunk")
    writer = ExampleWriter("chunk", PromptRenderer(dialogue, tiny_tokenizer, 400), 200)
    row = writer.row(Example("a", "Home\nThe river.\nShare", "remove_lines(40, 40)\nremove_lines(42, 42)", 40))
    assert [turn["value"] for turn in row["conversations"]] == [
        "[doc]\n[000]Home\n[001]The river.\n[002]Share\n[/doc]\n",
        "[000]\n[002]",
    ]


def test_chunks_cut_by_other_lines_than_shown_are_refused(split: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    (split / "card.json").write_text('{"annotator": "line labels", "chunks": {"max_line_characters": 60}}')
    config = ExportConfig(output=tmp_path, examples=split, base=str(tiny_checkpoint), max_new_tokens=48)
    with pytest.raises(UserError, match="cut with max_line_characters 60, but the dialogue has unset"):
        export_examples(config)
