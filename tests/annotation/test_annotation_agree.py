"""Two annotations compared: numbers worked by hand, and what must hold of any two."""

import itertools
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from annotation.agree import agree
from annotation.agree_config import AgreeConfig
from annotation.agree_lines import ranges_of
from annotation.agree_numbers import decision_numbers, intervals, program_numbers
from prox.confusion import Counts
from prox.errors import UserError
from prox.operations import KeepChunk, Normalize, RemoveLines, render_program
from tests.annotation.agreements import LETTERS, chunk_row, folder_of, run, run_programs, score_row


def test_decisions_by_hand(tmp_path: Path) -> None:
    ids = "pqrstu"
    first = [
        score_row(i, e, 3, d) for i, e, d in zip(ids, (3, 4, 5, 1, 0, 3), ("keep",) * 3 + ("drop",) * 3, strict=True)
    ]
    kept = ("keep", "keep", "drop", "drop", "keep", "drop")
    second = [score_row(i, e, 3, d) for i, e, d in zip(ids, (3, 3, 2, 1, 3, 3), kept, strict=True)]
    first.append(score_row("mine", 3, 3, "keep"))
    found = run(folder_of(tmp_path / "a", scores=first), folder_of(tmp_path / "b", scores=second))
    assert found["coverage"]["decisions"] == {"compared": 6, "only_first": 1, "only_second": 0}
    numbers = found["decisions"]
    assert numbers["confusion"] == {"both": 2, "only_first": 1, "only_second": 1, "neither": 2}
    assert numbers["accuracy"] == pytest.approx(4 / 6)
    assert numbers["kappa"] == pytest.approx((4 / 6 - 1 / 2) / (1 / 2))  # both keep half: chance agrees in half
    assert numbers["precision"] == numbers["recall"] == numbers["f1"] == pytest.approx(2 / 3)
    edu = numbers["scores"]["edu_score"]
    assert edu["mean_absolute_difference"] == pytest.approx((0 + 1 + 3 + 0 + 3 + 0) / 6)
    grades = {"labels": list(range(6)), "weights": "quadratic"}
    assert edu["quadratic_kappa"] == pytest.approx(cohen_kappa_score((3, 4, 5, 1, 0, 3), (3, 3, 2, 1, 3, 3), **grades))
    assert (edu["table"][4][3], edu["table"][3][4]) == (1, 0)  # rows are the first's
    assert numbers["scores"]["format_score"]["quadratic_kappa"] is None  # both always say 3
    assert numbers["by_length"] == []  # score writes no text
    assert found["programs"] is None
    assert [row["id"] for row in found["rows"]] == ["r", "t"]
    assert found["rows"][0]["decision"] == {"first": "keep", "second": "drop"}
    assert found["rows"][0]["scores"] == {"edu_score": [5, 2], "format_score": [3, 3]}


def test_lines_by_hand(tmp_path: Path) -> None:
    # Lines 0 to 9 in the first, 2 to 11 in the second; ambiguous 3 (first) and 9 (second): 2, 4, 5, 6, 7, 8 count.
    first = [chunk_row("d", LETTERS, "remove_lines(0, 5)", ambiguous_lines=[3])]
    second = [chunk_row("d", LETTERS[4:] + "\nk\nl", "remove_lines(4, 6)\nremove_lines(9, 11)", 2, ambiguous_lines=[9])]
    found = run_programs(tmp_path, first, second)
    numbers = found["programs"]
    assert numbers["lines"] == {"compared": 6, "only_first": 2, "only_second": 2, "ambiguous": 2}
    assert numbers["confusion"] == {"both": 2, "only_first": 1, "only_second": 1, "neither": 2}
    assert numbers["precision"] == numbers["recall"] == numbers["f1"] == pytest.approx(2 / 3)
    assert numbers["kappa"] == pytest.approx(1 / 3)
    assert numbers["share_removed"] == {"first": 0.5, "second": 0.5}
    (row,) = found["rows"]
    assert row["lines"] == {
        "compared": 6,
        "differing": 2,
        "only_first": [{"line_start": 2, "line_end": 2, "text": "c"}],
        "only_second": [{"line_start": 6, "line_end": 6, "text": "g"}],
    }


def test_documents_weigh_the_same_in_the_mean(tmp_path: Path) -> None:
    first = [
        chunk_row("long", LETTERS, "remove_lines(0, 7)"),
        chunk_row("short", "a\nb", "remove_lines(0, 0)"),
        chunk_row("clean", "a\nb", "keep_chunk()"),
    ]
    second = [
        chunk_row("long", LETTERS, "remove_lines(0, 7)"),
        chunk_row("short", "a\nb", "remove_lines(1, 1)"),
        chunk_row("clean", "a\nb", "keep_chunk()"),
    ]
    numbers = run_programs(tmp_path, first, second)["programs"]
    assert numbers["f1"] == pytest.approx(16 / 18)
    assert numbers["f1_macro_documents"] == pytest.approx((1 + 0 + 1) / 3)
    assert numbers["share_same_lines"] == pytest.approx(2 / 3)
    assert numbers["by_call"]["remove_lines"]["documents"] == {"first": 2, "second": 2}
    untouched = numbers["by_call"]["keep_chunk"]
    assert (untouched["kappa"], untouched["confusion"]["both"], untouched["confusion"]["neither"]) == (1.0, 1, 2)


def test_replacements_by_hand(tmp_path: Path) -> None:
    text = "one ad\ntwo ad\nthree spam\nfour"
    first = [
        # "spam" acts in line 2 alone, which the second leaves open: it doesn't count.
        chunk_row("d", text, 'normalize("ad")\nnormalize("spam")\nnormalize("four", "4")\nnormalize("one", "1")'),
        chunk_row("e", "ad", 'normalize("ad")'),
    ]
    second = [
        chunk_row("d", "one ad\ntwo ad", 'normalize("ad")\nnormalize("one", "I")'),
        chunk_row("d", "three spam\nfour", 'normalize("four", "4")\nnormalize("three")', 2, ambiguous_lines=[2]),
        chunk_row("e", "ad", "keep_chunk()"),
    ]
    found = run_programs(tmp_path, first, second)
    calls = found["programs"]["by_call"]["normalize"]
    # d: (ad), (four, 4) in both; (one, 1) and (one, I) share their source. e: (ad) in the first only.
    assert (calls["both"], calls["only_first"], calls["only_second"]) == (2, 2, 1)
    assert calls["f1"] == pytest.approx(4 / 7)
    sources = calls["sources"]
    assert (sources["both"], sources["only_first"], sources["only_second"]) == (3, 1, 0)
    assert (sources["precision"], sources["recall"]) == (0.75, 1.0)
    assert calls["documents"] == {"first": 2, "second": 1}
    untouched = found["programs"]["by_call"]["keep_chunk"]
    assert untouched["confusion"] == {"both": 0, "only_first": 0, "only_second": 1, "neither": 1}
    assert found["programs"]["share_same_lines"] == 1.0
    assert found["programs"]["share_same_edits"] == 0.0
    assert found["programs"]["f1"] is None  # neither removes a line
    rows = {row["id"]: row["normalize"] for row in found["rows"]}
    assert rows["d"]["only_first"] == [{"source_str": "one", "target_str": "1"}]
    assert rows["d"]["only_second"] == [{"source_str": "one", "target_str": "I"}]
    assert rows["e"]["only_first"] == [{"source_str": "ad", "target_str": ""}]


def test_a_source_that_an_earlier_call_makes_counts_with_its_chunk(tmp_path: Path) -> None:
    program = 'normalize("aa", "bb")\nnormalize("bbb")'
    found = run_programs(tmp_path, [chunk_row("d", "aab\nx", program)], [chunk_row("d", "aab\nx", program)])
    assert found["programs"]["by_call"]["normalize"]["both"] == 2


def test_lengths_are_of_the_lines_in_both(tmp_path: Path) -> None:
    sizes = {"a": 99, "b": 100, "c": 2999, "d": 3000, "e": 20}
    rows = [chunk_row(i, "word " * size + "\nend !", "remove_lines(1, 1)") for i, size in sizes.items()]
    other = [row | {"program": "keep_chunk()"} if row["id"] == "d" else row for row in rows]
    lengths = run_programs(tmp_path, rows, other)["programs"]["by_length"]
    # Each document has one word more, in its last line.
    assert [(row["words"], row["documents"], row["f1"]) for row in lengths] == [
        ("0-99", 1, 1.0),
        ("100-299", 2, 1.0),
        ("3,000 or more", 2, pytest.approx(2 / 3)),
    ]


def test_length_of_decisions_comes_from_either_side(tmp_path: Path) -> None:
    texts = {"p": "word " * 50, "q": "word " * 500}
    sets = [{"id": i, "text": text, "program": "keep_doc()"} for i, text in texts.items()]
    first = folder_of(tmp_path / "a", scores=[score_row("p", 3, 3, "keep"), score_row("q", 0, 3, "drop")])
    second = folder_of(tmp_path / "b", document_train=sets[:1], document_valid=sets[1:])
    (second / "card.json").write_text('{"annotator": "rules"}')
    found = run(first, second)
    assert [(row["words"], row["accuracy"]) for row in found["decisions"]["by_length"]] == [
        ("0-99", 1.0),
        ("300-999", 0.0),
    ]
    assert (found["first"]["annotator"], found["second"]["annotator"]) == ("big (server)", "rules")
    assert found["decisions"]["scores"] == {"edu_score": None, "format_score": None}


def test_differences_are_sorted_and_excerpts_cut(tmp_path: Path) -> None:
    long = "\n".join(["x" * 150] * 4)
    exact = "y" * 150 + "\n" + "y" * 49
    more = exact + "\nz"
    first = [
        chunk_row(i, t, "remove_lines(0, 9)")
        for i, t in (("b", "1\n2"), ("a", "1\n2"), ("m", long), ("e", exact), ("f", more))
    ]
    second = [row | {"program": "keep_chunk()"} for row in first]
    rows = run_programs(tmp_path, first, second)["rows"]
    assert [row["id"] for row in rows] == ["m", "f", "a", "b", "e"]
    texts = {row["id"]: row["lines"]["only_first"][0]["text"] for row in rows}
    assert texts == {
        "m": "x" * 150 + "\n" + "x" * 48 + "…",
        "a": "1\n2",
        "b": "1\n2",
        "e": exact,
        "f": exact[:-1] + "…",
    }


def test_excerpts_go_on_over_chunks(tmp_path: Path) -> None:
    lines = ["x" * 30 for _ in range(12)]
    first = [chunk_row("d", "\n".join(lines[n : n + 3]), "remove_lines(all=True)", n) for n in range(0, 12, 3)]
    second = [chunk_row("d", "\n".join(lines), "keep_chunk()")]
    (row,) = run_programs(tmp_path, first, second)["rows"]
    assert row["lines"]["only_first"] == [
        {"line_start": 0, "line_end": 11, "text": "\n".join(lines)[:199] + "…"},
    ]


def test_intervals() -> None:
    same = [Counts(2, 1, 1, 2)] * 7
    assert intervals(same, 50, 0) == {"f1": pytest.approx([2 / 3] * 2), "kappa": pytest.approx([1 / 3] * 2)}
    mixed = [Counts(1, 0, 0, 1)] * 50 + [Counts(0, 1, 1, 0)] * 50
    found = intervals(mixed, 400, 0)
    assert found == intervals(mixed, 400, 0) != intervals(mixed, 400, 1)
    # F1 is the share of agreeing documents, so its draws are binomial (100, 0.5): 40 and 60 are the 95% quantiles.
    assert intervals(mixed, 4000, 0)["f1"] == pytest.approx([0.40, 0.60], abs=0.011)
    assert intervals(mixed, 4000, 0)["kappa"] == pytest.approx([-0.20, 0.20], abs=0.022)
    assert intervals(mixed, 0, 0) is None
    # Without a removed line F1 is defined in no draw; with one document that has some, in those that drew it.
    assert intervals([Counts(true_negatives=3)] * 2, 20, 0) == {"f1": None, "kappa": None}
    assert intervals([Counts(true_negatives=3), Counts(1, 0, 0, 1)], 20, 0)["f1"] == [1.0, 1.0]


def test_ranges() -> None:
    assert ranges_of([1, 2, 3, 5, 8, 9]) == ((1, 3), (5, 5), (8, 9))
    assert ranges_of([]) == ()


def test_numbers_without_texts_or_programs() -> None:
    assert decision_numbers([], 10, 0)["kappa"] is None
    assert program_numbers([], 10, 0)["f1"] is None


LINES = st.lists(st.sampled_from(["", "ad", "an ad ad", "word", "word ad", "漢字 x"]), min_size=1, max_size=8)
SOURCES = ("ad", "word", "none")


@st.composite
def edits(draw: st.DrawFn, lines: Sequence[str]) -> dict[str, Any]:
    numbers = st.sets(st.integers(0, len(lines) - 1))
    calls = st.sets(st.builds(Normalize, st.sampled_from(SOURCES), st.sampled_from(["", "z"])), max_size=3)
    return {"removed": draw(numbers), "ambiguous": draw(numbers), "calls": sorted(draw(calls), key=str)}


@st.composite
def documents(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for number in range(draw(st.integers(1, 4))):
        lines = draw(LINES)
        cuts = st.sets(st.integers(1, len(lines)))
        a, b = draw(edits(lines)), draw(edits(lines))
        found.append({"id": f"d{number}", "lines": lines, "a": a, "b": b, "cuts": (draw(cuts), draw(cuts))})
    return found


def rows_of(found: list[dict[str, Any]], side: str, cut: int | None) -> list[dict]:
    """Chunk rows of one side, cut at the places of the first or second draw, or not at all."""
    rows = []
    for document in found:
        lines, edit = document["lines"], document[side]
        places = document["cuts"][cut] if cut is not None else set()
        bounds = sorted({0, len(lines), *places})
        for begin, end in itertools.pairwise(bounds):
            text = "\n".join(lines[begin:end])
            operations: list = [RemoveLines(n, n) for n in sorted(edit["removed"]) if begin <= n < end]
            operations += [call for call in edit["calls"] if call.source_str in text]
            ambiguous = [number for number in sorted(edit["ambiguous"]) if begin <= number < end]
            extra = {"ambiguous_lines": ambiguous} if ambiguous else {}
            rows.append(chunk_row(document["id"], text, render_program(operations or [KeepChunk()]), begin, **extra))
    return rows


def numbers_of(first: list[dict], second: list[dict]) -> dict[str, Any] | None:
    """All numbers of programs; None where no document has a line that counts."""
    with tempfile.TemporaryDirectory() as name:
        a, b = folder_of(Path(name) / "a", programs=first), folder_of(Path(name) / "b", programs=second)
        output = Path(name) / "out"
        output.mkdir()
        try:
            agree(AgreeConfig(output=output, first=a, second=b, num_draws=5))
        except UserError as error:
            if "no_common_lines" in str(error):
                return None
            raise
        return json.loads((output / "agreement.json").read_text())["programs"]


@settings(max_examples=60)
@given(documents())
def test_an_annotation_agrees_with_itself(found: list[dict[str, Any]]) -> None:
    rows = rows_of(found, "a", 0)
    numbers = numbers_of(rows, rows)
    if numbers is None:
        return
    removed = numbers["confusion"]["both"]
    assert numbers["confusion"]["only_first"] == numbers["confusion"]["only_second"] == 0
    assert numbers["f1"] == numbers["precision"] == numbers["recall"] == (1.0 if removed else None)
    assert numbers["kappa"] == (1.0 if removed and numbers["confusion"]["neither"] else None)
    assert numbers["f1_macro_documents"] == numbers["share_same_lines"] == numbers["share_same_edits"] == 1.0
    assert numbers["by_call"]["normalize"]["only_first"] == numbers["by_call"]["normalize"]["only_second"] == 0


@settings(max_examples=60)
@given(documents())
def test_changing_places_changes_precision_and_recall_only(found: list[dict[str, Any]]) -> None:
    first, second = rows_of(found, "a", 0), rows_of(found, "b", 1)
    there, back = numbers_of(first, second), numbers_of(second, first)
    if there is None or back is None:
        assert there == back
        return
    assert (there["precision"], there["recall"]) == (back["recall"], back["precision"])
    for name in ("f1", "kappa", "accuracy", "f1_macro_documents", "share_same_lines", "share_same_edits"):
        assert there[name] == pytest.approx(back[name])
    for call in ("normalize", "keep_chunk", "remove_lines"):
        assert there["by_call"][call]["precision"] == back["by_call"][call]["recall"]
        assert there["by_call"][call]["f1"] == pytest.approx(back["by_call"][call]["f1"])
    assert there["intervals"]["f1"] == pytest.approx(back["intervals"]["f1"])
    lengths = [[(row["words"], row["documents"]) for row in side["by_length"]] for side in (there, back)]
    assert lengths[0] == lengths[1]


@settings(max_examples=60)
@given(documents())
def test_chunks_and_their_order_don_t_matter(found: list[dict[str, Any]]) -> None:
    cut = numbers_of(rows_of(found, "a", 0), rows_of(found, "b", 1))
    assert cut == numbers_of(rows_of(found, "a", None), rows_of(found, "b", None))
    assert cut == numbers_of(rows_of(found, "a", 1)[::-1], rows_of(found, "b", None))


@settings(max_examples=60)
@given(documents())
def test_lines_are_counted_as_sets_say(found: list[dict[str, Any]]) -> None:
    numbers = numbers_of(rows_of(found, "a", 0), rows_of(found, "b", 1))
    cells = [0, 0, 0, 0]
    for document in found:
        for line in set(range(len(document["lines"]))) - document["a"]["ambiguous"] - document["b"]["ambiguous"]:
            a, b = line in document["a"]["removed"], line in document["b"]["removed"]
            cells[(not a) * 2 + (not b)] += 1
    expected = dict(zip(("both", "only_first", "only_second", "neither"), cells, strict=True))
    assert (numbers["confusion"] if numbers else dict.fromkeys(expected, 0)) == expected
