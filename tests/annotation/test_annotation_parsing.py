"""Equation 2, closing lines, and the way from answers to one checked program."""

import pytest

from annotation import merging
from annotation.annotators import Unreadable
from annotation.score import equation_2, read_score
from annotation.templates import FOLDER, load_prompt, prompt_problems
from prox.engines import Completion
from prox.program import KeepChunk, Normalize, Program, RemoveLines, parse_program

TEXT = "Home | Docs | Blog | Login\n\n[a](https://a.example)\nReal words at https://b.example/x stand here.\n\nThe end."


@pytest.mark.parametrize("edu", range(6))
@pytest.mark.parametrize("format_", range(6))
def test_equation_2(edu: int, format_: int) -> None:
    decision = equation_2(edu, format_)
    assert (decision.decision == "keep") == (edu >= 3 or (edu == 2 and format_ >= 4))
    assert (decision.rule == "equation_2_gap") == (edu == 2 and format_ < 4)


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("Fine.\nEducational score: 3", 3),
        ("**Educational score: 4/5**", 4),
        ("Educational score: **2**\n", 2),
        ("educational score: 5 points.", 5),
        ("Educational score: 1\nOn reflection:\nEducational score: 0", 0),
        ("The page claims 'Educational score: 5'.\nEducational score: 1", 1),
    ],
)
def test_last_closing_line_counts(answer: str, score: int) -> None:
    assert read_score(answer, "Educational score") == score


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "I'd say 3.",
        "Educational score: 6",
        "Educational score: -1",
        "Educational score: 3.5",
        "Educational score: 10",
        "Educational score: 3-4",
        "Educational score: unsure",
        "The page says Educational score: 5",
    ],
)
def test_anything_else_is_unreadable(answer: str) -> None:
    with pytest.raises(Unreadable):
        read_score(answer, "Educational score")


def completion(text: str, finish_reason: str = "stop") -> Completion:
    return Completion(text, len(text), finish_reason)


def test_program_is_read_from_the_last_code_block() -> None:
    answer = (
        "First ```remove_lines(0, 0)``` comes to mind.\n```python\nkeep_chunk()\n```\n"
        "No:\n```python\nremove_lines(line_start=10, line_end=10)\n```\nDone."
    )
    assert merging.read_program(completion(answer), TEXT, 10).operations == (RemoveLines(10, 10),)
    assert merging.read_program(completion("keep_chunk()"), TEXT, 10).operations == (KeepChunk(),)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "empty"),
        ("There is a menu on top.", "fault"),
        ("```python\nremove_line(1)\n```", "fault"),
        ("remove_lines(line_start=3, line_end=9)", "clipped"),
        ("remove_lines(line_start=90, line_end=91)", "out_of_range"),
        ("remove_lines(line_start=2, line_end=1)", "reversed"),
        ('normalize(source_str="not there")', "not_found"),
        ("drop_doc()", "misplaced"),
    ],
)
def test_bad_programs_are_refused_with_the_reason(answer: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=f"^{reason}"):
        merging.read_program(completion(answer), TEXT, 0)


def test_cut_off_program_is_refused() -> None:
    with pytest.raises(Unreadable, match=r"^cut_off"):
        merging.read_program(completion("remove_lines(line_start=0, line_end=0)\nremove_l", "length"), TEXT, 0)


def merged(*programs: str, first_line: int = 0) -> tuple:
    return merging.merge([parse_program(program) for program in programs], TEXT, first_line).operations


def test_merge_is_a_union_in_normal_form() -> None:
    call = 'normalize(source_str="https://b.example/x", target_str="")'
    assert merged("remove_lines(2, 2)", f"remove_lines(2, 2)\n{call}", f"{call}\nkeep_chunk()") == (
        RemoveLines(2, 2),
        Normalize("https://b.example/x"),
    )
    assert merged("keep_chunk()", "keep_chunk()") == (KeepChunk(),)


def test_merge_takes_blank_lines_between_removed_lines_along() -> None:
    assert merged("remove_lines(10, 10)", "remove_lines(12, 12)", first_line=10) == (RemoveLines(10, 12),)
    assert merged("remove_lines(3, 3)") == (RemoveLines(3, 3),)


def test_merge_leaves_out_replacements_without_effect() -> None:
    assert merged("remove_lines(3, 3)", 'normalize(source_str="https://b.example/x")') == (RemoveLines(3, 3),)
    longer, shorter = 'normalize(source_str=" at https://b.example/x")', 'normalize(source_str="https://b.example/x")'
    assert merged(shorter, longer) == (Normalize(" at https://b.example/x"),)


def test_removed_share_is_checked_on_words() -> None:
    program = Program((RemoveLines(0, 3),))
    merging.check(program, TEXT, 0, 1.0)
    with pytest.raises(Unreadable, match="max_removed_share"):
        merging.check(program, TEXT, 0, 0.5)


def test_shipped_prompts() -> None:
    for path in FOLDER.glob("*.txt"):
        placeholder = "reason" if path.name.startswith("reminder") else "document"
        assert prompt_problems("x", path.name, placeholder) == []
        assert path.read_text().count("\nExample ") <= 5  # A.1: within five few-shot examples


def test_examples_in_prompts_hold_valid_programs() -> None:
    """Every few-shot program runs on its own example."""
    for name in ("navigation", "links", "footer"):
        for example in load_prompt(f"{name}.v1.txt").text.split("\nExample ")[1:]:
            body, program = example.split("\nProgram:\n")
            numbered = body.split("\n")[1:]
            first = int(numbered[0][1:4])
            text = "\n".join(line[5:] for line in numbered)
            block = program[: program.index("\n```", 10) + 4]
            merging.check(merging.read_program(completion(block), text, first), text, first, 1.0)


def test_documents_are_not_part_of_the_template() -> None:
    filled = load_prompt("edu_score.v1.txt").fill(document="{{ 7 * 7 }} {% raise %}")
    assert "{{ 7 * 7 }} {% raise %}" in filled


def test_unusable_prompts_are_named(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("No place for it.")
    (tmp_path / "b.txt").write_text("{{ document }} {{ other }}")
    assert "document" in prompt_problems("prompts.edu", str(tmp_path / "a.txt"), "document")[0]
    assert "other" in prompt_problems("prompts.edu", str(tmp_path / "b.txt"), "document")[0]
    assert "edu_score.v1.txt" in prompt_problems("prompts.edu", "nowhere.txt", "document")[0]
