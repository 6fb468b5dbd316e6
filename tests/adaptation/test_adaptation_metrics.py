"""The metrics of A.3 on cases worked by hand."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, brier_score_loss, f1_score, precision_score, recall_score

from adaptation.calibration import calibration
from adaptation.examples import read_examples
from adaptation.metrics import ChunkPair, chunk_metrics, document_metrics
from adaptation.validate import chunk_scores
from prox.confusion import Counts, removed_lines
from prox.errors import UserError
from prox.operations import remove_numbers
from prox.program import Program, parse_program


def pair(identity: str, reference: str, predicted: str, first_line: int = 0, num_lines: int = 10) -> ChunkPair:
    return ChunkPair(identity, first_line, num_lines, parse_program(reference), parse_program(predicted))


@pytest.mark.parametrize(
    ("reference", "predicted"),
    [
        ([True, True, False, False, True], [True, False, True, False, True]),
        ([True, False, True], [False, False, False]),
        ([False, False], [False, True]),
        ([False, False], [False, False]),
    ],
)
def test_document_scores_are_scikit_learns(reference: list[bool], predicted: list[bool]) -> None:
    scores = document_metrics(reference, predicted)
    assert scores["f1"] == pytest.approx(f1_score(reference, predicted, zero_division=0))
    assert scores["precision"] == pytest.approx(precision_score(reference, predicted, zero_division=0))
    assert scores["recall"] == pytest.approx(recall_score(reference, predicted, zero_division=0))
    assert scores["accuracy"] == pytest.approx(accuracy_score(reference, predicted))


def test_document_baselines() -> None:
    scores = document_metrics([True, True, True, False], [True, True, False, False])
    assert scores["baselines"]["keep_all"]["f1"] == pytest.approx(6 / 7)  # precision 3/4, recall 1
    assert scores["baselines"]["drop_all"] == {"f1": 0.0, "precision": 0.0, "recall": 0.0, "accuracy": 0.25}


def test_line_counts_by_hand() -> None:
    # reference {0, 1, 2, 7}, predicted {1, 2, 3}: TP {1, 2}, FP {3}, FN {0, 7}; lines 4, 5, 6, 8, 9 kept by both.
    example = pair("a", "remove_lines(0, 2)\nremove_lines(line_start=7, line_end=7)", "remove_lines(start=1, end=3)")
    counts = example.counts()
    assert counts == Counts(2, 1, 2, 5)
    assert counts.f1 == pytest.approx(4 / 7)
    assert counts.precision == pytest.approx(2 / 3)
    assert counts.recall == pytest.approx(1 / 2)


def test_exact_programs_make_the_same_edits() -> None:
    """However they are written, and whatever they do to lines left open."""
    reference = 'remove_lines(0, 0)\nremove_lines(2, 2)\nnormalize("a")'
    same = pair("a", reference, 'normalize("a")\nremove_lines(0, 2)', num_lines=4)
    joined = dataclasses.replace(same, ambiguous_lines=frozenset({1}))
    without = pair("a", reference, "remove_lines(0, 0)\nremove_lines(2, 2)", num_lines=4)
    faulty = pair("a", "keep_chunk()", "keep_chunk()\nsure!", num_lines=4)
    shares = [chunk_metrics([one])["share_exact"] for one in (same, joined, without, faulty)]
    assert shares == [0, 1, 0, 0]


LABELS = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=12)


@given(st.lists(st.tuples(st.sampled_from("abc"), LABELS, st.integers(0, 500)), min_size=1, max_size=6))
def test_line_scores_are_scikit_learns(chunks: list[tuple[str, list[tuple[bool, bool, bool]], int]]) -> None:
    """Each line is (removed by the reference, removed by the refiner, left open)."""
    pairs, scored, by_document = [], [], {}
    for identity, lines, first_line in chunks:
        numbered = list(enumerate(lines, first_line))
        reference = remove_numbers(number for number, (actual, _, _) in numbered if actual)
        predicted = remove_numbers(number for number, (_, found, _) in numbered if found)
        ambiguous = frozenset(number for number, (_, _, is_open) in numbered if is_open)
        programs = Program(tuple(reference)), Program(tuple(predicted))
        pairs.append(ChunkPair(identity, first_line, len(lines), *programs, ambiguous_lines=ambiguous))
        labels = [(actual, found) for actual, found, is_open in lines if not is_open]
        scored += labels
        by_document.setdefault(identity, []).extend(labels)
    scores = chunk_metrics(pairs)
    if scored:
        actual, found = zip(*scored, strict=True)
        assert scores["f1"] == pytest.approx(f1_score(actual, found, zero_division=0))
        assert scores["precision"] == pytest.approx(precision_score(actual, found, zero_division=0))
        assert scores["recall"] == pytest.approx(recall_score(actual, found, zero_division=0))
    # By the definition, a document that neither side edits is agreed on.
    means = [f1_score(*zip(*labels, strict=True), zero_division=1) for labels in by_document.values() if labels]
    assert scores["f1_macro_documents"] == pytest.approx(sum(means) / len(means) if means else 0)


def test_lines_outside_the_chunk_count_for_nothing() -> None:
    program = parse_program("remove_lines(all=True)\nremove_lines(3, 1)\nremove_lines(-4, 900000000)")
    assert removed_lines(program, first_line=20, num_lines=3) == {20, 21, 22}
    assert removed_lines(parse_program("remove_lines(0, 5)"), 20, 3) == frozenset()


def test_overlapping_ranges_count_a_line_once() -> None:
    assert pair("a", "remove_lines(0, 3)", "remove_lines(0, 2)\nremove_lines(1, 3)").counts() == Counts(4, 0, 0, 6)


def test_micro_and_macro_differ() -> None:
    pairs = [
        pair("long", "remove_lines(0, 7)", "remove_lines(0, 7)"),  # 8 TP
        pair("short", "remove_lines(0, 0)", "remove_lines(1, 1)"),  # 1 FP, 1 FN
        pair("clean", "keep_chunk()", "keep_chunk()"),  # both remove nothing: 1 in the mean
    ]
    scores = chunk_metrics(pairs)
    assert scores["f1"] == pytest.approx(16 / 18)
    assert scores["f1_macro_documents"] == pytest.approx((1 + 0 + 1) / 3)
    assert scores["accuracy"] == pytest.approx(28 / 30)
    assert scores["share_exact"] == pytest.approx(2 / 3)


def test_chunks_of_one_document_are_one_document() -> None:
    pairs = [
        pair("a", "remove_lines(0, 0)", "remove_lines(0, 0)"),
        pair("a", "remove_lines(10, 11)", "keep_chunk()", first_line=10),
    ]
    scores = chunk_metrics(pairs)
    assert scores["num_documents"] == 1
    assert scores["f1_macro_documents"] == pytest.approx(2 / 4)


def test_chunk_baselines_by_hand() -> None:
    pairs = [pair("a", "remove_lines(0, 1)", "keep_chunk()"), pair("b", "keep_chunk()", "keep_chunk()")]
    baselines = chunk_metrics(pairs)["baselines"]
    assert baselines["remove_nothing"]["f1"] == 0
    assert baselines["remove_nothing"]["accuracy"] == pytest.approx(18 / 20)
    assert baselines["remove_nothing"]["f1_macro_documents"] == pytest.approx(1 / 2)
    assert baselines["remove_all"]["f1"] == pytest.approx(2 * 2 / (2 * 2 + 18))


def test_unparsable_programs_are_counted_and_their_readable_lines_still_score() -> None:
    pairs = [
        pair("a", "remove_lines(0, 0)", "remove_lines(0, 0)\nremove_lines(line_start=4, line_"),
        pair("b", "keep_chunk()", ""),
        pair("c", "keep_chunk()", "I would keep this."),
        pair("d", "keep_chunk()", "keep_chunk()"),
    ]
    scores = chunk_metrics(pairs)
    assert scores["share_unparsable"] == pytest.approx(3 / 4)
    assert scores["f1"] == 1.0


def ambiguous_pair(identity: str, ambiguous: set[int]) -> ChunkPair:
    """Lines 20 to 29: reference {20, 21, 22, 27}, predicted {21, 22, 23, 28}."""
    reference = parse_program("remove_lines(20, 22)\nremove_lines(27, 27)")
    predicted = parse_program("remove_lines(21, 23)\nremove_lines(28, 28)")
    return ChunkPair(identity, 20, 10, reference, predicted, frozenset(ambiguous))


def test_ambiguous_lines_are_in_no_count() -> None:
    assert ambiguous_pair("a", set()).counts() == Counts(2, 2, 2, 4)
    # 21 leaves the hits, 23 the false alarms, 27 the misses, 29 the lines that both keep.
    example = ambiguous_pair("a", {21, 23, 27, 29})
    assert example.counts() == Counts(1, 1, 1, 3)
    scores = chunk_metrics([example])
    assert scores["f1"] == pytest.approx(1 / 2)
    assert scores["accuracy"] == pytest.approx(4 / 6)
    # Of the six lines that count the reference removes two (20, 22).
    assert scores["baselines"]["remove_nothing"]["accuracy"] == pytest.approx(4 / 6)
    assert scores["baselines"]["remove_all"]["precision"] == pytest.approx(2 / 6)
    assert scores["baselines"]["remove_all"]["recall"] == 1.0


def test_a_document_of_ambiguous_lines_only_is_left_out_of_the_mean() -> None:
    open_one = ambiguous_pair("open", set(range(20, 30)))
    assert open_one.counts() == Counts()
    scores = chunk_metrics([ambiguous_pair("a", set()), open_one])
    assert scores["f1_macro_documents"] == scores["f1"] == pytest.approx(4 / 8)
    assert scores["baselines"]["remove_nothing"]["f1_macro_documents"] == 0.0


def test_without_ambiguous_lines_nothing_changes() -> None:
    plain = pair("a", "remove_lines(0, 2)", "remove_lines(1, 3)")
    assert chunk_metrics([plain]) == chunk_metrics([ChunkPair(**{**vars(plain), "ambiguous_lines": frozenset()})])
    assert plain.counts() == Counts(2, 1, 1, 6)


def write_example(path: Path, **fields: object) -> Path:
    row = {"id": "a", "first_line": 4, "text": "one\ntwo\nthree", "program": "remove_lines(4, 4)", **fields}
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return path


def test_examples_carry_their_ambiguous_lines_to_the_scores(tmp_path: Path) -> None:
    (example,) = read_examples(write_example(tmp_path / "x.jsonl", ambiguous_lines=[4, 6]))
    assert example.ambiguous_lines == {4, 6}
    answer = {"predicted": "remove_lines(6, 6)", "style": "calls", "num_tokens": 1, "finish_reason": "stop"}
    scores = chunk_scores([example], [answer | {"prompt_cut": False}])
    assert (scores["f1"], scores["accuracy"]) == (0.0, 1.0)  # line 5 alone counts, and both keep it
    (plain,) = read_examples(write_example(tmp_path / "x.jsonl"))
    assert plain.ambiguous_lines == frozenset()


@pytest.mark.parametrize("value", [[3], [7], [-1], [True], ["4"], [4.0], "4", 4, None, {"4": 1}])
def test_ambiguous_lines_that_are_no_lines_of_the_example_are_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(UserError, match=r"x\.jsonl line 1: ambiguous_lines .* lines, 4 to 6"):
        list(read_examples(write_example(tmp_path / "x.jsonl", ambiguous_lines=value)))


def test_scores_by_call_by_hand() -> None:
    url, menu = 'normalize(source_str="http://a.b")', 'normalize(source_str="Menu", target_str="")'
    pairs = [
        pair("a", f"remove_lines(0, 1)\n{url}", f"remove_lines(0, 0)\n{url}\n{menu}"),
        pair("b", f"keep_chunk()\n{menu}", 'normalize(source_str="Menu", target_str="menu")'),
        pair("c", "keep_chunk()", "remove_lines(50, 60)"),  # lines outside: nothing happens
        pair("d", "keep_chunk()", "remove_lines(2, 2)"),
    ]
    calls = chunk_metrics(pairs)["by_call"]
    assert calls["remove_lines"] == {
        "num_reference": 2,
        "num_predicted": 2,
        "f1": 0.5,
        "precision": 0.5,
        "recall": 0.5,
    }
    assert (calls["normalize"]["num_reference"], calls["normalize"]["num_predicted"]) == (2, 3)
    assert calls["normalize"]["precision"] == pytest.approx(1 / 3)
    assert calls["normalize"]["recall"] == pytest.approx(1 / 2)
    # Left as they are: c and d by the reference, c by the prediction.
    assert (calls["keep_chunk"]["precision"], calls["keep_chunk"]["recall"]) == (1.0, 0.5)


def test_scores_by_length() -> None:
    pairs = [
        dataclasses.replace(pair("a", "remove_lines(0, 3)", "remove_lines(0, 1)"), num_words=99),
        dataclasses.replace(pair("b", "remove_lines(0, 3)", "remove_lines(0, 3)"), num_words=100),
        dataclasses.replace(pair("c", "remove_lines(0, 3)", "keep_chunk()"), num_words=299),
        dataclasses.replace(pair("d", "remove_lines(0, 3)", "remove_lines(0, 3)"), num_words=9999),
    ]
    rows = {row["words"]: (row["num_examples"], row["f1"]) for row in chunk_metrics(pairs)["by_length"]}
    assert rows == {
        "0-99": (1, pytest.approx(4 / 6)),
        "100-299": (2, pytest.approx(8 / 12)),
        "3,000 or more": (1, 1.0),
    }
    rows = document_metrics([True, False, True], [True, True, True], [5, 5, 500])["by_length"]
    assert [(row["words"], row["num_examples"], row["precision"]) for row in rows] == [
        ("0-99", 2, 0.5),
        ("300-999", 1, 1.0),
    ]


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=60))
def test_calibration_is_scikit_learns(rows: list[tuple[bool, float]]) -> None:
    reference, p_keep = [kept for kept, _ in rows], [probability for _, probability in rows]
    found = calibration(reference, p_keep)
    assert found["brier_score"] == pytest.approx(np.mean((np.array(p_keep) - np.array(reference)) ** 2))
    if len(set(reference)) == 2:
        assert found["brier_score"] == pytest.approx(brier_score_loss(reference, p_keep))
    assert sum(row["examples"] for row in found["bins"]) == len(rows)
    assert 0 <= found["expected_calibration_error"] <= 1
    # No threshold gives a higher F1, and no lower one the same.
    best = found["best_threshold"]
    scores = {t: f1_score(reference, [p >= t for p in p_keep], zero_division=0) for t in p_keep}
    assert best["f1"] == pytest.approx(max(scores.values()))
    assert best["f1"] == pytest.approx(scores[best["threshold"]])
    assert all(score < best["f1"] - 1e-12 for t, score in scores.items() if t < best["threshold"])


def test_calibration_by_hand() -> None:
    found = calibration([True, True, False, False], [0.95, 0.85, 0.85, 0.05])
    rows = [(row["from"], row["examples"], row["mean_probability"], row["share_true"]) for row in found["bins"]]
    assert rows == [
        (0.0, 1, pytest.approx(0.05), 0.0),
        (0.8, 2, pytest.approx(0.85), 0.5),
        (0.9, 1, pytest.approx(0.95), 1.0),
    ]
    assert found["expected_calibration_error"] == pytest.approx((0.05 + 2 * 0.35 + 0.05) / 4)
    assert found["best_threshold"]["threshold"] == 0.85
    assert found["best_threshold"]["f1"] == pytest.approx(4 / 5)
