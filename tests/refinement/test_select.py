"""`refinement select`: the best documents within a budget, from a document step's ledger."""

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prox.artifact import commit, write_snapshot
from prox.command import main
from prox.decision import DROP_ANSWER, KEEP_ANSWER
from prox.units import DOCUMENT_SCHEMA, LEDGER, iterate_documents, read_rows, source_hash, unit_files, unit_name
from prox.units import write_unit as write
from prox.words import count_words
from refinement.__main__ import VERBS
from refinement.document import LEDGER_SCHEMA
from refinement.rule_filters import draw
from refinement.select import Cut, cut_at


def text_of(number: int) -> str:
    """Between 1 and 30 words, not in the order of ``p_of``."""
    return " ".join(f"word{number}x{position}" for position in range(1 + number * 7 % 30))


def p_of(number: int) -> float:
    """Many documents share one `p_keep`, as with weights of 16 bits."""
    return number * 13 % 8 / 8


def document_run(
    folder: Path, numbers: list[int], size: int, undecided: tuple[int, ...] = (), command: str = "refinement document"
) -> tuple[Path, Path]:
    """Documents in units of ``size``, and the ledger of a document step with threshold 0.5, as if made by commands.

    ``undecided`` documents have no `p_keep`: the first of them was kept, the others dropped.
    """
    units, run = folder / "units", folder / "run"
    for begin in range(0, len(numbers), size):
        name, part = unit_name(begin // size), numbers[begin : begin + size]
        write(units / "documents" / name, [row(n) for n in part], DOCUMENT_SCHEMA)
        write(run / "ledger" / name, [ledger_row(n, undecided) for n in part], LEDGER_SCHEMA)
    write_snapshot(run, command, {"guards": {}, "document_guards": {}}, "mark")
    commit(run, "mark", {})
    return units, run


def row(number: int) -> dict:
    return {"id": f"d{number}", "text": text_of(number), "metadata": "{}"}


def ledger_row(number: int, undecided: tuple[int, ...]) -> dict:
    keep = number == undecided[0] if number in undecided else p_of(number) >= 0.5
    return {
        "id": f"d{number}",
        "source_hash": source_hash(text_of(number)),
        "p_keep": None if number in undecided else p_of(number),
        "program": KEEP_ANSWER if keep else DROP_ANSWER,
        "decision": "keep" if keep else "drop",
        "readable": True,
        "truncated": False,
    }


def select(units: Path, ledger: Path, output: Path, share: float, of: str, *options: str) -> int:
    arguments = ["--documents", str(units), "--ledger", str(ledger), "--output", str(output)]
    return main("refinement", VERBS, ["select", *arguments, "--keep_share", str(share), "--share_of", of, *options])


def kept(output: Path) -> list[str]:
    return [document.id for document in iterate_documents(output)]


def stats(output: Path) -> dict:
    return json.loads((output / "stats.json").read_text())


def contents(folder: Path) -> dict[str, bytes]:
    files = [file for kind in ("documents", "dropped", "ledger") for file in unit_files(folder, kind)]
    return {str(file.relative_to(folder)): file.read_bytes() for file in [*files, folder / "stats.json"]}


SIZES = {
    "documents": lambda text: 1,
    "words": count_words,
    "bytes": lambda text: len(text.encode()),
}


def best(numbers: list[int], share: float, size_of, seed: int = 0) -> set[str]:
    """The same by plain sorting."""
    order = sorted(numbers, key=lambda number: (-p_of(number), draw(seed, f"d{number}")))
    left = int(Fraction(str(share)) * sum(size_of(text_of(number)) for number in numbers))
    found = set()
    for number in order:
        left -= size_of(text_of(number))
        if left < 0:
            break
        found.add(f"d{number}")
    return found


@pytest.mark.parametrize("of", ["documents", "tokens", "words", "bytes"])
def test_the_best_are_kept_up_to_the_budget(of: str, tmp_path: Path, tiny_checkpoint: Path, tiny_tokenizer) -> None:
    numbers = list(range(100))
    units, run = document_run(tmp_path, numbers, 30)
    size_of = SIZES.get(of, lambda text: len(tiny_tokenizer.encode(text, add_special_tokens=False)))
    for share in (0.0, 0.07, 0.29, 1.0):
        output = tmp_path / str(share)
        assert select(units, run, output, share, of, "--tokenizer", str(tiny_checkpoint)) == 0
        expected = best(numbers, share, size_of)
        assert set(kept(output)) == expected
        facts = stats(output)["selection"]
        assert facts["total"] == sum(size_of(text_of(number)) for number in numbers)
        assert facts["kept"] == sum(size_of(text_of(int(name[1:]))) for name in expected) <= facts["budget"]
        assert facts["budget"] <= Fraction(str(share)) * facts["total"] < facts["budget"] + 1
        assert facts["threshold"] == (min(p_of(int(name[1:])) for name in expected) if expected else None)
        assert stats(output)["kept"] == len(expected)
    assert len(best(numbers, 0.29, SIZES["documents"])) == 29  # in floating point 0.29 of 100 is less


def test_what_is_dropped_says_why_and_the_ledger_what_was_decided(tmp_path: Path) -> None:
    units, run = document_run(tmp_path, list(range(40)), 16)
    assert select(units, run, tmp_path / "out", 0.3, "documents") == 0
    dropped = [one for file in unit_files(tmp_path / "out", "dropped") for one in read_rows(file)]
    assert {one["reason"] for one in dropped} == {"over_budget"}
    assert len(dropped) == 28
    assert {one["id"]: one["text"] for one in dropped}["d0"] == text_of(0)
    rows = [one for file in unit_files(tmp_path / "out", LEDGER) for one in read_rows(file)]
    assert [one["id"] for one in rows if one["decision"] == "keep"] == kept(tmp_path / "out")
    assert all(one["program"] == (KEEP_ANSWER if one["decision"] == "keep" else DROP_ANSWER) for one in rows)
    assert [one["p_keep"] for one in rows] == [p_of(number) for number in range(40)]


def test_documents_of_equal_probability_are_parted_by_seed_and_id(tmp_path: Path) -> None:
    numbers = list(range(100))
    units, run = document_run(tmp_path, numbers, 30)
    found = []
    for seed in ("0", "1"):
        assert select(units, run, tmp_path / seed, 0.3, "documents", "--seed", seed) == 0
        found.append(set(kept(tmp_path / seed)))
        ties = stats(tmp_path / seed)["selection"]["documents_at_threshold"]
        assert min(ties.values()) > 0
    assert found[0] == best(numbers, 0.3, SIZES["documents"], 0)
    assert found[1] == best(numbers, 0.3, SIZES["documents"], 1) != found[0]


def test_how_the_documents_lie_in_units_does_not_matter(tmp_path: Path) -> None:
    numbers = list(range(100))
    for name, order, size, options in (
        ("one", numbers, 100, []),
        ("many", numbers, 7, ["--workers", "2"]),
        ("reverse", numbers[::-1], 33, []),
    ):
        units, run = document_run(tmp_path / name, order, size)
        assert select(units, run, tmp_path / name / "out", 0.4, "words", *options) == 0
    found = [set(kept(tmp_path / name / "out")) for name in ("one", "many", "reverse")]
    assert found[0] == found[1] == found[2] != set()
    selections = [stats(tmp_path / name / "out")["selection"] for name in ("one", "many", "reverse")]
    assert selections[0] == selections[1] == selections[2]


def test_without_p_keep_the_recorded_decision_stands(tmp_path: Path) -> None:
    numbers = list(range(50))
    units, run = document_run(tmp_path, numbers, 20, undecided=(0, 13, 26))  # 0 has the lowest p_of, and was kept
    assert select(units, run, tmp_path / "out", 0.2, "documents") == 0
    others = [number for number in numbers if number not in (0, 13, 26)]
    assert set(kept(tmp_path / "out")) == {"d0"} | best(others, 9 / len(others) + 1e-9, SIZES["documents"])
    assert len(kept(tmp_path / "out")) == 10
    assert stats(tmp_path / "out")["dropped_by_reason"] == {"drop_doc": 2, "over_budget": 38}
    assert stats(tmp_path / "out")["selection"]["documents_without_p_keep"] == 3


def test_decoded_answers_alone_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    units, run = document_run(tmp_path, [1, 2, 3], 2, undecided=(1, 2, 3))
    assert select(units, run, tmp_path / "out", 0.5, "documents") == 1
    assert "holds no p_keep: its answers were decoded, or none came" in capsys.readouterr().err
    assert not (tmp_path / "out" / "_SUCCESS").exists()


def test_a_ledger_of_other_documents_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    units, _ = document_run(tmp_path / "a", [1, 2, 3], 3)
    _, run = document_run(tmp_path / "b", [1, 2, 4], 3)
    assert select(units, run, tmp_path / "out", 0.5, "words") == 1
    assert "was not written for document 'd3'" in capsys.readouterr().err


def test_unusable_settings_are_all_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    units, run = document_run(tmp_path, [1, 2, 3], 3, command="refinement ingest")
    assert select(units, run, tmp_path / "out", 1.5, "tokens") == 2
    error = capsys.readouterr().err
    for part in ("made by `python -m refinement ingest`", "--keep_share 1.5", "--tokenizer is not set"):
        assert part in error
    assert main("refinement", VERBS, ["select", "--documents", str(units), "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "--ledger is not set" in error
    assert "--keep_share None" in error


def test_killed_run_ends_with_the_same_bytes(tmp_path: Path, repository: Path) -> None:
    units, run = document_run(tmp_path, list(range(4_000)), 40)
    arguments = [
        "select",
        "--documents",
        str(units),
        "--ledger",
        str(run),
        "--keep_share",
        "0.3",
        "--share_of",
        "words",
    ]
    assert main("refinement", VERBS, [*arguments, "--output", str(tmp_path / "undisturbed")]) == 0
    for kind in ("sizes", "documents"):  # within the first pass, and within the second
        output = tmp_path / kind
        process = subprocess.Popen(
            [sys.executable, "-m", "refinement", *arguments, "--output", str(output)],
            cwd=repository,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        while not unit_files(output, kind) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (output / "_SUCCESS").exists()
        assert main("refinement", VERBS, [*arguments, "--output", str(output)]) == 0
        assert contents(output) == contents(tmp_path / "undisturbed")


def test_lost_sizes_are_counted_again(tmp_path: Path) -> None:
    units, run = document_run(tmp_path, list(range(60)), 20)
    assert select(units, run, tmp_path / "out", 0.3, "words") == 0
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "_SUCCESS").unlink()
    (tmp_path / "out" / "sizes" / unit_name(1)).unlink()
    assert select(units, run, tmp_path / "out", 0.3, "words") == 0
    assert contents(tmp_path / "out") == before


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.25, 1.0]), st.integers(0, 2), st.integers(0, 9)), max_size=12),
    st.integers(-5, 60),
)
def test_the_cut_never_exceeds_the_budget_and_could_not_be_lower(
    documents: list[tuple[float, int, int]], budget: int
) -> None:
    arrays = (np.array([one[part] for one in documents]) for part in range(3))
    p_keep, draws, sizes = (
        array.astype(kind) for array, kind in zip(arrays, (float, np.uint64, np.int64), strict=True)
    )
    cut = cut_at(p_keep, draws, sizes, budget)
    inside = [document for document in documents if cut.keeps(*document[:2])]
    assert sum(size for *_, size in inside) <= max(budget, 0)
    outside = [document for document in documents if not cut.keeps(*document[:2])]
    if outside and budget >= 0:
        following = max(outside, key=lambda document: (document[0], -document[1]))
        lower = Cut(following[0], following[1])
        assert sum(size for p, drawn, size in documents if lower.keeps(p, drawn)) > budget
