"""What becomes of a program's text: cut-off answers, document guards, ledger rows."""

import pytest

from prox.chunking import Chunk
from prox.engines import Completion
from refinement.chunk import judge, run_program
from refinement.configs import ChunkConfig, DocumentGuards
from refinement.document import read_answer

CHUNK = Chunk(10, "\n".join(f"Line number {number} of this page" for number in range(10, 20)))
CONFIG = ChunkConfig(output="unused")


def test_program_is_run_with_the_documents_line_numbers() -> None:
    refined = run_program(
        CHUNK, Completion("remove_lines(line_start=10, line_end=12)\nnonsense", 9, "stop"), "calls", CONFIG
    )
    assert refined.execution.text == CHUNK.text.split("\n", 3)[3]
    row = refined.ledger_row("calls")
    assert row["program"] == "remove_lines(line_start=10, line_end=12)\nnonsense"
    assert (row["first_line"], row["num_lines"], row["verdict"], row["cut_off"]) == (10, 10, "edited", False)
    assert row["calls"] == [
        {"call": "remove_lines(line_start=10, line_end=12)", "status": "applied", "count": 3},
        {"call": "nonsense", "status": "fault", "count": 0},
    ]


def test_cut_off_last_line_is_not_run() -> None:
    # Cut after the source string, the replacement would read as a removal.
    refined = run_program(CHUNK, Completion('[010]\n"number 11"', 9, "length"), "compact", CONFIG)
    assert "number 11 of" in refined.execution.text
    assert "number 10 of" not in refined.execution.text
    assert refined.ledger_row("compact")["cut_off"]
    whole = run_program(CHUNK, Completion("[010]\n[011]\n", 9, "length"), "compact", CONFIG)
    assert "number 11 of" not in whole.execution.text
    assert not whole.ledger_row("compact")["cut_off"]


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("one two three", "one two three", ""),  # nine words and no edit: stays, unlike with the authors
        ("word " * 30, "word " * 10, "min_words_left"),
        ("word " * 30, "word " * 11, ""),
        ("word " * 400, "word " * 20, "min_kept_share"),
        ("word " * 30, None, "all_lines_removed"),
        ("植物は光合成によって光を変える", "植物は光合成によって光を", ""),
        ("a b c", "a b c d", ""),
        ("...\n", "...", ""),
    ],
)
def test_document_guards(before: str, after: str | None, reason: str) -> None:
    assert judge(before, after, DocumentGuards()) == reason


@pytest.mark.parametrize(
    ("program", "keep", "readable"),
    [
        ("drop_doc()", False, True),
        ("```python\ndrop_doc()\n```", False, True),
        ("keep_doc()", True, True),
        ("keep_doc()  # a raindrop", True, True),
        ("I would not drop this page", True, False),
        ("keep_doc()\ndrop_doc()", True, False),
        ("", True, False),
    ],
)
def test_document_answers(program: str, keep: bool, readable: bool) -> None:
    answer = read_answer(program)
    assert (answer.keep, answer.readable) == (keep, readable)
