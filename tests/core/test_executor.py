"""The executor: what each call does, what guards reject, and that output lines are input lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prox import Guards, execute, parse_program
from prox.program import Normalize, Program, RemoveLines
from prox.words import count_words

TEXT = "\n".join(f"line {number} of the text" for number in range(12))


def run(program: str, text: str = TEXT, **options):
    return execute(parse_program(program), text, **options)


@pytest.mark.parametrize(
    ("program", "removed", "status"),
    [
        ("remove_lines(0, 1)", {0, 1}, "applied"),
        ("remove_lines(10, 99)", {10, 11}, "clipped"),
        ("remove_lines(50, 60)", set(), "out_of_range"),
        ("remove_lines(5, 2)", set(), "reversed"),
        ("remove_lines(-2, -1)", set(), "reversed"),
        ("remove_lines(start=0, end=9999999999999)", set(range(12)), "clipped"),
        ('normalize("")', set(), "source_too_short"),
        ('normalize(" ")', set(), "source_too_short"),
        ('normalize("e", "")', set(), "source_too_short"),
        ('normalize("absent text")', set(), "not_found"),
        (r'normalize("line 0 of the text\nline", "x")', set(), "multiline"),
        ("keep_chunk()", set(), "kept"),
        ("drop_doc()", set(), "misplaced"),
        ("foo()", set(), "fault"),
    ],
)
def test_each_call_has_a_status(program: str, removed: set[int], status: str) -> None:
    result = run(program)
    assert [call.status for call in result.calls] == [status]
    kept = [line for number, line in enumerate(TEXT.split("\n")) if number not in removed]
    assert result.text == "\n".join(kept)


def test_a_two_line_text_with_a_good_program_comes_back_edited() -> None:
    result = run("remove_lines(0, 0)", "Home | About\nA sentence.")
    assert (result.text, result.verdict) == ("A sentence.", "edited")


def test_line_numbers_are_those_of_the_document() -> None:
    assert run("remove_lines(101, 101)", "a\nb\nc", first_line=100).text == "a\nc"
    assert run("remove_lines(0, 1)", "a\nb\nc", first_line=100).verdict == "unchanged"


def test_replacements_come_before_removals_and_keep_numbers_valid() -> None:
    assert run('remove_lines(0, 0)\nnormalize("keep me", "kept")', "x\nkeep me").text == "kept"


def test_removing_every_line_is_a_verdict_of_its_own_unless_the_program_is_faulty() -> None:
    assert run("remove_lines(all=True)").verdict == "removed"
    result = run("foo\nremove_lines(1,2)\nremove_lines(3,4)\nremove_lines(all=True)")
    assert (result.verdict, result.reason, result.text) == ("rejected", "bad_calls_remove_all", TEXT)


def test_guards_name_themselves() -> None:
    assert run("foo(\nbar(\nremove_lines(0, 1)").reason == "max_bad_calls"
    assert run("remove_lines(0, 8)", guards=Guards(max_removed_share=0.5)).reason == "max_removed_share"
    assert run("remove_lines(1, 11)", guards=Guards(min_words_left=10)).reason == "min_words_left"
    many = run('normalize("line", "x")', guards=Guards(max_replacements=3))
    assert (many.calls[0].status, many.calls[0].count, many.text) == ("too_many_matches", 12, TEXT)


def test_scripts_without_spaces_are_counted_by_character() -> None:
    assert count_words("植物は光合成をする。") == 9
    assert count_words("Rivers are fed by rain, don't they?") == 8
    assert count_words(" \n\t") == 0


def test_what_counts_as_a_bad_call_is_a_setting() -> None:
    program = "remove_lines(0, 0)\nremove_lines(11, 12)\nremove_lines(50, 60)"
    assert run(program).verdict == "edited"
    strict = Guards(bad_statuses=("fault", "clipped", "out_of_range"))
    assert (run(program, guards=strict).verdict, run(program, guards=strict).reason) == ("rejected", "max_bad_calls")


def test_replacing_everything_by_nothing_removes_the_chunk() -> None:
    result = run('normalize("only this")', "only this\n\n")
    assert (result.verdict, result.reason, result.text) == ("removed", "nothing_but_white_space", "")
    assert run("remove_lines(0, 0)", " \n  ").text == "  ", "a blank text has nothing to lose"


def test_two_characters_of_a_script_without_spaces_are_a_word() -> None:
    assert run('normalize("广告")', "广告\n植物进行光合作用。").text == "\n植物进行光合作用。"
    assert run('normalize("的")', "植物的光").calls[0].status == "source_too_short"
    assert run('normalize("ab")', "cabs").calls[0].status == "source_too_short"


def test_replacements_stay_within_a_line_and_see_earlier_ones() -> None:
    assert run('normalize("one")\nnormalize("two", "three")', "one two\ntwo one").text == " three\nthree "
    assert run('normalize("b\\nc")', "ab\ncd").calls[0].status == "multiline"
    assert run('normalize("cr\\r")', "cr\r\ncd").calls[0].status == "multiline"


def test_all_lines_are_applied_whatever_their_number() -> None:
    assert run("remove_lines(all=True)", "a\nb", first_line=7).calls[0].status == "applied"
    strict = Guards(max_bad_calls=0, bad_statuses=("fault", "clipped", "out_of_range"))
    assert run("remove_lines(all=True)", "a\nb", first_line=7, guards=strict).verdict == "removed"


def test_a_chunk_cannot_be_blown_up() -> None:
    program = f'normalize("line", "{"x" * 900}")\nnormalize("text", "texts")'
    result = run(program)
    assert [call.status for call in result.calls] == ["adds_too_much", "applied"]
    assert len(result.text) == len(TEXT) + 12
    twice = run(
        'normalize("line", "a long line")\nnormalize("text", "a long text")', guards=Guards(max_added_characters=90)
    )
    assert [call.status for call in twice.calls] == ["applied", "adds_too_much"]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_removed_share": 1.5}, "max_removed_share 1.5"),
        ({"max_bad_calls": -1}, "max_bad_calls -1"),
        ({"bad_statuses": ("fault", "fautl")}, "bad_statuses fautl: must be of applied, clipped"),
    ],
)
def test_guards_that_cannot_be_meant(settings: dict, named: str) -> None:
    (problem,) = Guards(**settings).problems()
    assert problem.startswith(named)


numbers = st.integers(-5, 30)
operations = st.lists(
    st.one_of(st.builds(RemoveLines, numbers, numbers), st.builds(Normalize, st.text(max_size=5), st.text(max_size=5)))
)


@given(operations, st.text(), st.integers(0, 20))
def test_any_program_on_any_text_only_removes_lines_or_reports_replacements(ops: list, text: str, first: int) -> None:
    result = execute(Program(tuple(ops)), text, first_line=first)
    assert len(result.calls) == len(ops)
    if not any(isinstance(call.operation, Normalize) and call.status == "applied" for call in result.calls):
        source = iter(text.split("\n"))
        assert result.verdict == "removed" or all(line in source for line in result.text.split("\n"))
    assert execute(Program(tuple(ops)), text, first_line=first) == result


@given(st.text())
def test_the_empty_program_changes_nothing(text: str) -> None:
    result = execute(Program(), text)
    assert (result.text, result.verdict) == (text, "unchanged")
