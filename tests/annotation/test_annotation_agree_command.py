"""`annotation agree`: what can't be compared, and the command line."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from annotation.__main__ import VERBS
from annotation.agree_inputs import read_annotation
from annotation.agree_lines import compare
from annotation.tables import read_rows
from prox.command import main
from prox.confusion import Counts
from prox.errors import UserError
from tests.annotation.agreements import LETTERS, chunk_row, folder_of, run, run_programs, score_row


def test_other_texts_are_set_aside(tmp_path: Path) -> None:
    first = [chunk_row("d", "a\nb\nc", "keep_chunk()"), chunk_row("e", "a", "keep_chunk()")]
    second = [chunk_row("d", "b\nX\nd", "keep_chunk()", 1), chunk_row("e", "a", "keep_chunk()")]
    found = run_programs(tmp_path, first, second)
    assert found["aside_rows"] == [{"id": "d", "reason": "text_differs: line 2", "annotation": "both"}]
    assert found["aside"] == {"text_differs": 1}
    assert found["programs"]["documents"] == 1
    assert found["coverage"]["programs"] == {"compared": 1, "only_first": 0, "only_second": 0}


def test_a_document_with_another_text_is_compared_in_nothing(tmp_path: Path) -> None:
    def sets(name: str, text: str) -> Path:
        documents = [{"id": i, "text": t, "program": "keep_doc()"} for i, t in (("d", text), ("e", "a"))]
        chunks = [chunk_row("d", "a", "keep_chunk()"), chunk_row("e", "a", "keep_chunk()")]
        return folder_of(tmp_path / name, document_train=documents, chunk_train=chunks)

    found = run(sets("a", "a\nb"), sets("b", "a\nB"))
    assert found["aside_rows"] == [{"id": "d", "reason": "text_differs: the whole document", "annotation": "both"}]
    assert found["decisions"]["documents"] == found["programs"]["documents"] == 1


def test_programs_without_a_common_line_leave_the_decision_compared(tmp_path: Path) -> None:
    def sets(name: str, line: int) -> Path:
        text = LETTERS.split("\n")[line]
        return folder_of(
            tmp_path / name,
            document_train=[{"id": "d", "text": LETTERS, "program": "keep_doc()"}],
            chunk_train=[chunk_row("d", text, "keep_chunk()", line)],
        )

    found = run(sets("a", 2), sets("b", 3))
    assert found["decisions"]["documents"] == 1
    assert found["programs"] is None
    assert found["aside"] == {"no_common_lines": 1}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (chunk_row("d", "a", "remove_lines(1"), "unreadable_program: not valid syntax"),
        (chunk_row("d", "a", "drop_doc()"), "unreadable_program: a call that is not of chunks"),
        (chunk_row("d", "a", ""), "unreadable_program: no call"),
        (chunk_row("d", "a", "keep_chunk()", ambiguous_lines=[1]), "bad_row: ambiguous_lines"),
        (chunk_row("d", "a", "keep_chunk()", -1), "bad_row: first_line"),
        ({"id": "d", "first_line": 0, "program": "keep_chunk()"}, "bad_row: first_line"),
        (chunk_row("d", "a\nb", "keep_chunk()", 4), "two_programs: line 5 in the second"),
    ],
)
def test_bad_rows_cost_their_document_only(tmp_path: Path, row: dict, reason: str) -> None:
    good = [chunk_row("e", "a", "keep_chunk()"), chunk_row("d", LETTERS, "keep_chunk()", 5)]
    found = run_programs(tmp_path, good, [*good, row])
    (aside,) = found["aside_rows"]
    assert aside["id"] == "d"
    assert aside["reason"].startswith(reason)
    assert found["programs"]["documents"] == 1


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([score_row("d", 6, 3, "keep")], "bad_row: edu_score 6"),
        ([score_row("d", 3, 3, "maybe")], "bad_row: decision 'maybe'"),
        ([score_row("d", 3, 3, "keep"), score_row("d", 1, 3, "drop")], "two_decisions"),
    ],
)
def test_bad_decisions_cost_their_document_only(tmp_path: Path, rows: list[dict], reason: str) -> None:
    good = [score_row("e", 3, 3, "keep"), score_row("d", 3, 3, "keep")]
    found = run(folder_of(tmp_path / "a", scores=good), folder_of(tmp_path / "b", scores=[good[0], *rows]))
    (aside,) = found["aside_rows"]
    assert (aside["id"], aside["annotation"]) == ("d", "second")
    assert aside["reason"].startswith(reason)
    assert "scores.jsonl, line" in aside["reason"]
    assert found["coverage"]["decisions"] == {"compared": 1, "only_first": 0, "only_second": 0}


def test_nothing_in_common_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a \(1 ids such as 'd'\) .* \(1 ids such as 'e'\) have no document in common"):
        run_programs(tmp_path, [chunk_row("d", "a", "keep_chunk()")], [chunk_row("e", "a", "keep_chunk()")])


def test_nothing_comparable_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1 are set aside, the first \('d'\) because of text_differs: line 0"):
        run_programs(tmp_path, [chunk_row("d", "a", "keep_chunk()")], [chunk_row("d", "b", "keep_chunk()")])


@pytest.mark.parametrize("content", ['{"id": "d"', '["d"]', '{"id": 7}'])
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, content: str) -> None:
    folder = folder_of(tmp_path / "a", programs=[chunk_row("d", "a", "keep_chunk()")])
    with (folder / "programs.jsonl").open("a") as file:
        file.write(content + "\n")
    with pytest.raises(UserError, match=r"programs\.jsonl, line 2"):
        read_annotation(folder, {"programs"})


def test_line_breaks_of_unicode_are_no_line_breaks(tmp_path: Path) -> None:
    rows = [chunk_row("d", "a\u2028b\x85c\x0cd\ne", "remove_lines(1, 1)")]
    folder = folder_of(tmp_path / "a", programs=rows)
    cover = read_annotation(folder, {"programs"}).covers["d"]
    assert compare(cover, cover).counts == Counts(true_positives=1, true_negatives=1)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two annotations of three documents, both of decisions and programs."""

    def sets(name: str, programs: Sequence[str], decisions: Sequence[str]) -> Path:
        texts = {"p|1": "Menu | Home | `x`\nA sentence.\nFooter", "q": "Words here.\nAd", "r": "ad ad"}
        documents = [{"id": i, "text": t, "program": d} for (i, t), d in zip(texts.items(), decisions, strict=True)]
        chunks = [chunk_row(i, t, p) for (i, t), p in zip(texts.items(), programs, strict=True)]
        folder = folder_of(
            tmp_path / name, document_train=documents[:2], document_valid=documents[2:], chunk_valid=chunks
        )
        (folder / "card.json").write_text(json.dumps({"annotator": name}))
        return folder

    calls = 'normalize("ad", "z")\nnormalize("ad ad")\nnormalize("d a")'
    first = sets("model-a", ["remove_lines(0, 0)", "keep_chunk()", calls], ["keep_doc()"] * 3)
    second = sets(
        "model-b",
        ["remove_lines(0, 0)\nremove_lines(2, 2)", "keep_chunk()", "keep_chunk()"],
        ["keep_doc()", "drop_doc()", "keep_doc()"],
    )
    return first, second


def arguments(two: tuple[Path, Path], output: Path, repository: Path) -> list[str]:
    options = ["--first", str(two[0]), "--second", str(two[1]), "--output", str(output)]
    return ["agree", "--config", str(repository / "configs/annotation/agree.yaml"), *options]


def test_command_line(two, tmp_path: Path, repository: Path, capsys, caplog) -> None:
    command = arguments(two, tmp_path / "out", repository)
    assert main("annotation", VERBS, [*command, "--dry_run", "true"]) == 0
    plan = capsys.readouterr().out
    assert "compared: decisions and programs" in plan
    size = sum(path.stat().st_size for folder in two for path in folder.glob("*.jsonl"))
    assert f"bytes to read: {size:,}" in plan
    assert not (tmp_path / "out").exists()
    assert main("annotation", VERBS, command) == 0
    assert "decision_kappa 0.0" in caplog.text
    report = (tmp_path / "out/agreement.md").read_text()
    for part in (
        "| annotator | model-a | model-b |",
        "| first keeps | 2 | 1 |",
        "| first removes | 1 | 0 |",
        "| first keeps | 1 | 4 |",
        "| `p¦1` | 1 of 3 |  | 2 `Footer` |",  # neither ids nor texts break the table
        "normalize `ad` and 2 more",
        "| `q` | keep | drop |",
        "| 0-99 | 3 | 6 | 0.667 |",
    ):
        assert part in report
    for line in report.splitlines():
        assert "None" not in line
    caplog.clear()
    assert main("annotation", VERBS, command) == 0
    assert "skipped" in caplog.text


def test_few_examples_and_no_draws(two, tmp_path: Path, repository: Path) -> None:
    command = arguments(two, tmp_path / "out", repository)
    assert main("annotation", VERBS, [*command, "--num_examples", "0", "--num_draws", "0"]) == 0
    report = (tmp_path / "out/agreement.md").read_text()
    assert "3 documents differ" in report
    assert "Footer" not in report
    assert " to " not in report.split("## Keep or drop")[1].split("## Programs")[0]
    assert len(read_rows(tmp_path / "out/differences.jsonl")) == 3


def test_same_bytes_in_every_process(two, tmp_path: Path, repository: Path) -> None:
    # Lines are compared by Python's hash, which differs from process to process.
    outputs = []
    for seed in ("1", "2"):
        output = tmp_path / f"out-{seed}"
        command = [sys.executable, "-m", "annotation", *arguments(two, output, repository)]
        subprocess.run(command, check=True, cwd=repository, env={**os.environ, "PYTHONHASHSEED": seed})
        names = ("agreement.json", "agreement.md", "differences.jsonl", "aside.jsonl")
        outputs.append([(output / name).read_bytes() for name in names])
    assert outputs[0] == outputs[1]


def test_problems_are_reported_at_once(two, tmp_path: Path, capsys) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    command = ["agree", "--first", str(tmp_path / "none"), "--second", str(empty), "--output", str(tmp_path / "out")]
    assert main("annotation", VERBS, [*command, "--num_draws", "-1", "--num_examples", "-2"]) == 2
    message = capsys.readouterr().err
    for part in (
        "none does not exist",
        "empty holds none of scores.jsonl",
        "--num_draws is -1",
        "--num_examples is -2",
    ):
        assert part in message
    scores = folder_of(tmp_path / "s", scores=[score_row("d", 3, 3, "keep")])
    programs = folder_of(tmp_path / "p", programs=[chunk_row("d", "a", "keep_chunk()")])
    command = ["agree", "--first", str(scores), "--second", str(programs), "--output", str(tmp_path / "out")]
    assert main("annotation", VERBS, command) == 2
    assert "holds decisions, --second" in capsys.readouterr().err
    assert main("annotation", VERBS, ["agree", "--output", str(tmp_path / "out")]) == 2
    assert "--first is not set" in capsys.readouterr().err
