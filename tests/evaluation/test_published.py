"""The paper's numbers against their own arithmetic, against each other, and against the list of exceptions."""

import math
import re
from collections.abc import Callable, Iterable

import pytest

from evaluation.published import (
    EVERY_COLUMN,
    TABLES,
    PublishedTable,
    Row,
    load_exceptions,
    load_table,
    table_numbers,
)
from pretraining.shapes import SHAPES
from prox.errors import UserError

ROUNDING = 0.05 + 0.051
"""Scores and average are rounded to a tenth each: half a tenth each, and a hair for floating point."""
NUM_ROWS = {2: 7, 3: 9, 5: 24, 6: 2, 7: 22, 8: 9, 9: 9, 10: 35, 11: 18}
NUM_ROWS |= {12: 20, 13: 20, 14: 20, 15: 20, 16: 20, 17: 20, 18: 8, 19: 28}
WITH_AVERAGE = [number for number in NUM_ROWS if number not in (3, 7, 8, 9)]
NUM_TASKS = {number: 10 for number in WITH_AVERAGE} | {5: 9, 11: 8, 19: 9}
BASE_OF = {"Llemma": "CodeLlama", "InternLM2-Math": "InternLM2-Base"}
NO_AVERAGE_IN_THE_PAPER = {
    "reference / DeepSeek-LLM / 1.3B / base",
    "reference / DeepSeek-LLM / 1.3B / raw",
    "refinement / TinyLlama / 1.1B / rho-1",
}
Place = tuple[int, str, str]


def by_name(table: PublishedTable) -> dict[str, Row]:
    return {table.row_name(row): row for row in table.rows}


def mean_of_tasks(table: PublishedTable, row: Row) -> float | None:
    scores = [row[task] for task in table.tasks]
    return None if None in scores else math.fsum(scores) / len(scores)


def listed(*kinds: str) -> set[Place]:
    return {(entry.table, entry.row, entry.column) for entry in load_exceptions() if entry.kind in kinds}


def rows_where(number: int, **values: str | float) -> list[Row]:
    return [row for row in load_table(number).rows if all(row[key] == value for key, value in values.items())]


def places(number: int, found: Iterable[tuple[Row, str]]) -> set[Place]:
    table = load_table(number)
    return {(number, table.row_name(row), column) for row, column in found}


def test_every_table_has_the_papers_rows_and_a_name_for_each() -> None:
    assert table_numbers() == sorted(NUM_ROWS) == sorted(TABLES)
    for number, num_rows in NUM_ROWS.items():
        table = load_table(number)
        assert len(table.rows) == len(by_name(table)) == num_rows
        assert set(table.keys) <= set(table.rows[0])
        assert len(table.tasks) == NUM_TASKS.get(number, 0)


def test_scores_are_percentages_to_a_tenth() -> None:
    for number in WITH_AVERAGE:
        table = load_table(number)
        for row in table.rows:
            for column in (*table.tasks, "avg"):
                score = row[column]
                assert score is None or (0 < score < 100 and score == round(score, 1)), (number, row, column)


def test_an_average_is_the_mean_of_its_tasks_except_where_listed() -> None:
    off: set[Place] = set()
    for number in WITH_AVERAGE:
        table = load_table(number)
        for row in table.rows:
            mean = mean_of_tasks(table, row)
            if mean is not None and row["avg"] is not None and abs(mean - row["avg"]) > ROUNDING:
                off |= places(number, [(row, "avg")])
    assert off == listed("average")


def test_a_gain_is_the_average_above_the_bases_except_where_listed() -> None:
    off: set[Place] = set()
    for number in (5, 19):
        bases = {(row["model"], row["size"]): row["avg"] for row in rows_where(number, method="base")}
        for row in load_table(number).rows:
            if row["gain"] is not None:
                base = bases[BASE_OF.get(row["model"], row["model"]), row["size"]]
                if abs(row["avg"] - base - row["gain"]) > 0.001:
                    off |= places(number, [(row, "gain")])
    assert off == listed("gain")


def test_epochs_are_tokens_trained_over_tokens_there_are_except_where_listed() -> None:
    off: list[tuple[Row, str]] = []
    for row in load_table(7).rows:
        trained, unique = row["train_tokens_billion"], row["unique_tokens_billion"]
        least, most = (trained - 0.05) / (unique + 0.05), (trained + 0.05) / (unique - 0.05)
        if not least - 0.005 <= row["epochs"] <= most + 0.005:
            off.append((row, "epochs"))
    assert places(7, off) == listed("epochs")


@pytest.mark.parametrize("number", [2, 6])
def test_wins_count_the_tasks_on_which_a_row_is_best(number: int) -> None:
    table = load_table(number)
    best = {task: max(row[task] for row in table.rows) for task in table.tasks}
    for row in table.rows:
        assert row["wins"] == sum(row[task] == best[task] for task in table.tasks), table.row_name(row)


def test_wins_of_table_3_follow_from_both_numbers_of_shots_in_table_11() -> None:
    tasks = load_table(11).tasks
    for model in ("Pythia-410M", "Pythia-1B"):
        totals = {
            row["method"]: {
                task: round(sum(one[task] for one in rows_where(11, model=model, method=row["method"])), 1)
                for task in tasks
            }
            for row in rows_where(3, model=model)
        }
        best = {task: max(scores[task] for scores in totals.values()) for task in tasks}
        for row in rows_where(3, model=model):
            assert row["wins"] == sum(totals[row["method"]][task] == best[task] for task in tasks), row


def differences(number: int, other: int, row: Row, twin: Row) -> set[Place]:
    """Cells of a row that its twin in the other table has otherwise; empty ones say nothing."""
    columns = (*load_table(number).tasks, "avg")
    assert set(load_table(other).tasks) == set(load_table(number).tasks)
    unlike = [name for name in columns if None not in (row[name], twin[name]) and row[name] != twin[name]]
    return places(number, [(row, name) for name in unlike])


def twins_of_table_2() -> set[Place]:
    last = {row["method"]: row for row in rows_where(10, step=12_500)}
    return set().union(*(differences(10, 2, last[row["method"]], row) for row in load_table(2).rows))


def twins_of_table_3() -> set[Place]:
    off: list[tuple[Row, str]] = []
    for row in load_table(3).rows:
        for shots in (0, 2):
            (twin,) = rows_where(11, model=row["model"], method=row["method"], shots=shots)
            if row[f"avg_{shots}_shot"] != twin["avg"]:
                off.append((row, f"avg_{shots}_shot"))
    return places(3, off)


def twins_of_table_5() -> set[Place]:
    longer = by_name(load_table(19))
    table = load_table(5)
    assert {row["method"] for name, row in longer.items() if name not in by_name(table)} == {"prox-d"}
    pairs = [(row, longer[name]) for name, row in by_name(table).items()]
    return places(5, [(row, column) for row, twin in pairs for column in row if row[column] != twin[column]])


def twins_of_table_10() -> set[Place]:
    """TLM-s as its own refiner is Table 10's last block, and the raw run is the same."""
    pairs = [
        *zip(rows_where(10, method="raw"), rows_where(13, method="raw"), strict=True),
        *zip(rows_where(10, method="prox-d+c"), rows_where(13, refiner="TLM-s"), strict=True),
    ]
    assert all(row["step"] == twin["step"] for row, twin in pairs)
    return set().union(*(differences(10, 13, row, twin) for row, twin in pairs))


@pytest.mark.parametrize(
    ("numbers", "compare"),
    [((2, 10), twins_of_table_2), ((3,), twins_of_table_3), ((5,), twins_of_table_5), ((10, 13), twins_of_table_10)],
)
def test_tables_that_print_the_same_run_agree_except_where_listed(
    numbers: tuple[int, ...], compare: Callable[[], set[Place]]
) -> None:
    found = compare()
    assert found <= listed("twin")
    if numbers != (10, 13):
        assert found == {place for place in listed("twin") if place[0] in numbers}


def test_steps_and_runs_are_complete() -> None:
    for number in (10, 12, 13, 14, 15, 16, 17):
        last = 12_500 if number <= 14 else 25_000
        steps = [float(step) for step in range(2_500, last + 1, 2_500)]
        found = [row["step"] for row in load_table(number).rows]
        assert found == steps * (len(found) // len(steps))


def test_shapes_are_consistent_and_those_of_the_model_zoo() -> None:
    for row in load_table(8).rows:
        assert row["parameters"] - row["parameters_without_embedding"] == row["vocab_size"] * row["hidden_size"]
        shape = SHAPES[row["model"].lower()]
        assert (row["hidden_size"], row["intermediate_size"]) == (shape.n_embd, shape.intermediate_size)
        assert (row["heads"], row["layers"]) == (shape.n_head, shape.n_layer)
        assert row["kv_heads"] in (None, shape.n_query_groups)
        assert (row["vocab_size"], row["context"]) == (shape.vocab_size, shape.context)
        assert row["parameters"] == shape.num_parameters()
    assert {row["model"] for row in load_table(8).rows} == {row["model"] for row in load_table(9).rows}


def test_every_exception_names_a_cell_that_has_its_value() -> None:
    for entry in load_exceptions():
        table = load_table(entry.table)
        row = by_name(table)[entry.row]
        columns = (*table.tasks, "avg") if entry.column == EVERY_COLUMN else (entry.column,)
        assert [row[column] for column in columns] == [entry.value] * len(columns), entry
        assert entry.reason


def same_number(printed: str, value: float | str | None) -> bool:
    """Whether what is printed is the value, footnote marks, units and thousands commas aside."""
    plain = re.sub(r"(?<=\d),(?=\d{3}\b)|[†*B]| \(GPT-NeoX\)", "", printed)
    return re.fullmatch(r"\d+(\.\d+)?(e-\d)?", plain) is not None and float(plain) == value


def test_exceptions_say_what_was_mended_and_what_was_kept() -> None:
    for entry in load_exceptions():
        assert same_number(entry.printed, entry.value) == (entry.kind not in ("corrected", "unreadable")), entry
        assert (entry.kind == "unreadable") == (entry.value is None), entry
    names = [(entry.table, entry.row, entry.column) for entry in load_exceptions()]
    assert len(set(names)) == len(names)


def test_scores_are_missing_only_where_the_paper_has_none_or_our_copy_is_unreadable() -> None:
    unreadable = listed("unreadable")
    for number in WITH_AVERAGE:
        table = load_table(number)
        for name, row in by_name(table).items():
            if name in NO_AVERAGE_IN_THE_PAPER:
                assert row["avg"] is None
                continue
            missing = {column for column in (*table.tasks, "avg") if row[column] is None}
            expected = {column for place_number, place, column in unreadable if (place_number, place) == (number, name)}
            assert missing == (set((*table.tasks, "avg")) if EVERY_COLUMN in expected else expected), name


def test_exceptions_of_one_table() -> None:
    assert {entry.table for entry in load_exceptions(5)} == {5}
    assert load_exceptions(12) == []


def test_an_unknown_table_is_an_error_that_names_the_tables() -> None:
    with pytest.raises(UserError, match=r"no table 4 .* 2, 3, 5, .*, 19"):
        load_table(4)
