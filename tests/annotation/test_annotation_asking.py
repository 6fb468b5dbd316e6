"""From items to rows: order, retries, failures, duplicates; the cache of answers; the meter."""

import json
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation import asking as asking_module
from annotation.annotators import Give, ModelInProcess, Request, Take
from annotation.answer_cache import AnswerCache
from annotation.asking import Asking, Limits, Outcome, Unreadable
from annotation.configs import AnnotatorConfig
from annotation.spending import Meter, SpendingConfig
from annotation.tables import Row
from annotation.templates import Prompt
from prox.engines import Completion, EngineConfig, Failure
from prox.errors import UserError
from prox.progress import Progress

PROMPT = Prompt("p.txt", "0" * 64, "{{ document }}")
REMINDER = Prompt("r.txt", "1" * 64, "again: {{ reason }}")


def request(text: str) -> Request:
    return Request("t", text, PROMPT, ({"role": "user", "content": text},))


class Scripted:
    """An annotator of a test: answers in the order that the test draws, with several requests under way."""

    name, model, sampling = "scripted", "m", {"temperature": 0.0}

    def __init__(self, answers: dict[str, list[str | None]], order: Any = None, width: int = 4) -> None:
        self.answers = {text: list(told) for text, told in answers.items()}
        self.order, self.width = order, width
        self.asked: list[Request] = []

    def work(self, take: Take, give: Give) -> None:
        under_way: list[tuple[str, Request]] = []
        while True:
            while len(under_way) < self.width and (taken := take()) is not None:
                under_way.append(taken)
                self.asked.append(taken[1])
            if not under_way:
                return
            index = self.order.draw(st.integers(0, len(under_way) - 1)) if self.order else 0
            key, asked = under_way.pop(index)
            told = self.answers[asked.text]
            answer = told.pop(0) if len(told) > 1 else told[0]
            give(key, Failure("gone") if answer is None else Completion(answer, 3, "stop"))


class Doubling:
    """An item is a list of texts, one request each; an answer is good when it is a number."""

    def requests(self, item: Sequence[str]) -> list[Request]:
        return [request(text) for text in item]

    def read(self, asked: Request, answer: Completion) -> int:
        if not answer.text.isdigit():
            raise Unreadable(f"no_number: {answer.text}")
        return 2 * int(answer.text)

    def row(self, item: Sequence[str], outcomes: Sequence[Outcome]) -> Row:
        bad = [outcome.reason for outcome in outcomes if outcome.value is None]
        row = {"item": list(item), "values": [outcome.value for outcome in outcomes]}
        return row | ({"reason": bad[0]} if bad else {})


def run(
    annotator: Any,
    items: Sequence[Sequence[str]],
    cache: AnswerCache | None = None,
    num_retries: int = 1,
    meter: Meter | None = None,
    **limits: float,
) -> list[Row]:
    rows: list[Row] = []
    meter = meter or Meter(SpendingConfig(), 10)
    asking = Asking(Doubling(), annotator, REMINDER, num_retries, cache, meter, Limits(**limits))
    with Progress("test", len(items), "items") as progress:
        asking.run(items, rows.append, progress)
        assert progress.count == len(items)
    return rows


@given(data=st.data())
def test_rows_come_in_order_and_every_item_has_one(data: st.DataObject) -> None:
    """However answers come in: good ones, unreadable ones, none; the same text in several items is asked once."""
    texts = [f"t{number}" for number in range(6)]
    answers = data.draw(
        st.fixed_dictionaries({t: st.lists(st.sampled_from(["1", "x", None]), min_size=1, max_size=3) for t in texts})
    )
    items = data.draw(st.lists(st.lists(st.sampled_from(texts), max_size=3, unique=True), max_size=8))
    annotator = Scripted(answers, data, width=data.draw(st.integers(1, 5)))
    rows = run(annotator, items)
    assert [row["item"] for row in rows] == items
    for row in rows:
        assert ("reason" in row) == (None in row["values"])
        if "reason" in row:
            assert row["reason"].startswith(("no_number: x", "request_failed: gone"))


def test_an_unreadable_answer_is_asked_again_with_the_reason_then_set_aside() -> None:
    annotator = Scripted({"a": ["what?", "7"], "b": ["no", "never", "1"]})
    rows = run(annotator, [["a"], ["b"]])
    assert rows == [
        {"item": ["a"], "values": [14]},
        {"item": ["b"], "values": [None], "reason": "no_number: never"},
    ]
    again = [asked.messages for asked in annotator.asked if len(asked.messages) > 1]
    assert again[0] == (
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "what?"},
        {"role": "user", "content": "again: no_number: what?"},
    )
    assert len(annotator.asked) == 4


def test_items_under_way_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request that is never answered before the others holds up rows, which wait in memory: not without end."""
    monkeypatch.setattr(asking_module, "OPEN_ITEMS", 5)

    class LastInFirstOut(Scripted):
        most = 0

        def work(self, take: Take, give: Give) -> None:
            under_way: list[tuple[str, Request]] = []
            while True:
                while (taken := take()) is not None:
                    under_way.append(taken)
                self.most = max(self.most, len(under_way))
                if not under_way:
                    return
                key, _ = under_way.pop()
                give(key, Completion("1", 1, "stop"))

    annotator = LastInFirstOut({})
    rows = run(annotator, [[str(number)] for number in range(40)])
    assert [row["item"] for row in rows] == [[str(number)] for number in range(40)]
    assert annotator.most == 5


def test_a_server_out_of_order_ends_the_run() -> None:
    annotator = Scripted({f"t{n}": [None] for n in range(200)}, width=1)
    with pytest.raises(UserError, match="50 requests in a row got no answer \\(gone\\)"):
        run(annotator, [[f"t{n}"] for n in range(200)])
    assert len(annotator.asked) == asking_module.MAX_FAILURES_IN_A_ROW


def test_too_many_failed_items_leave_the_run_unfinished(tmp_path: Path) -> None:
    answers: dict[str, list[str | None]] = {f"t{n}": ["1"] for n in range(8)} | {"u": [None], "v": [None]}
    items = [[text] for text in answers]
    assert sum("reason" in row for row in run(Scripted(answers), items, max_failed_share=0.2)) == 2
    with AnswerCache(tmp_path) as cache:
        with pytest.raises(UserError, match="2 of 10 items got no answer"):
            run(Scripted(answers), items, cache, max_failed_share=0.19)
        later = Scripted(answers | {"u": ["2"], "v": ["3"]})
        rows = run(later, items, cache, max_failed_share=0.0)
    assert [row["values"] for row in rows] == [[2]] * 8 + [[4], [6]]
    assert [asked.text for asked in later.asked] == ["u", "v"]


def test_retries_come_from_the_cache_too(tmp_path: Path) -> None:
    answers: dict[str, list[str | None]] = {"a": ["x", "y", "5"], "b": ["x", "y", "z"]}
    with AnswerCache(tmp_path) as cache:
        rows = run(Scripted(answers), [["a"], ["b"]], cache, num_retries=2)
    silent = Scripted({})
    with AnswerCache(tmp_path) as cache:
        assert run(silent, [["a"], ["b"]], cache, num_retries=2) == rows
    assert silent.asked == []


@given(answers=st.lists(st.text(), min_size=1, max_size=5))
def test_the_cache_gives_back_what_it_was_given(answers: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("cache")
    kept = {}
    with AnswerCache(folder) as cache:
        for number, answer in enumerate(answers):
            asked = request(f"{number}{answer}")
            key = asked.key("m", None)
            kept[key] = Completion(answer, number, "length" if number % 2 else "stop", number + 1)
            cache.put(key, asked, Scripted({}), kept[key])
            assert cache.get(key) == (kept[key], 0)
    reopened = AnswerCache(folder)
    assert len(reopened) == len(kept)
    assert {key: reopened.get(key) for key in kept} == {key: (answer, 0) for key, answer in kept.items()}
    assert reopened.get("0" * 64) is None


def test_keys_change_with_all_that_decides_an_answer() -> None:
    base = request("a").key("m", {"temperature": 0.0})
    others = [
        request("b").key("m", {"temperature": 0.0}),
        request("a").key("n", {"temperature": 0.0}),
        request("a").key("m", {"temperature": 0.5}),
        Request("t", "a", PROMPT, ({"role": "system", "content": "a"},)).key("m", {"temperature": 0.0}),
    ]
    assert len({base, *others}) == 5
    assert Request("u", "other", REMINDER, request("a").messages).key("m", {"temperature": 0.0}) == base


def _keep(folder: Path, begin: int) -> None:
    with AnswerCache(folder) as cache:
        for number in range(begin, begin + 50):
            asked = request(str(number))
            cache.put(asked.key("m", None), asked, Scripted({}), Completion(str(number), 1, "stop"))


def test_processes_share_a_cache(tmp_path: Path) -> None:
    processes = [multiprocessing.get_context("fork").Process(target=_keep, args=(tmp_path, 50 * n)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    cache = AnswerCache(tmp_path)
    assert len(cache) == 150
    assert all(cache.get(request(str(n)).key("m", None)) == (Completion(str(n), 1, "stop"), 0) for n in range(150))
    assert len(list(tmp_path.iterdir())) == 3


def test_a_cut_line_is_no_answer_and_a_foreign_one_is_named(tmp_path: Path) -> None:
    _keep(tmp_path, 0)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    assert len(AnswerCache(tmp_path)) == 49
    key = request("3").key("m", None)
    begin = f'"{key}", "round": 0, '.encode()
    path.write_bytes(content.replace(begin + b'"task"', begin + b"task"))
    with pytest.raises(UserError, match=path.name):
        AnswerCache(tmp_path).get(key)
    path.write_bytes(content + b'{"another": "file"}\n')
    with pytest.raises(UserError, match=path.name):
        AnswerCache(tmp_path)


def test_the_meter_holds_back_what_requests_may_cost() -> None:
    meter = Meter(SpendingConfig(input_price=1e6, output_price=1e6, budget=1000.0), max_new_tokens=100)
    assert meter.hold("a", 25)  # 4 * 25 + 200 + 100
    assert meter.hold("b", 25)
    assert not meter.hold("c", 25)
    meter.add(Completion("x", 5, "stop", num_prompt_tokens=295), 25, "a")
    assert meter.spent == 300
    assert not meter.hold("c", 1)
    assert meter.hold("c", 0)  # 300 + 400 + 300
    meter.release("b")
    assert meter.hold("d", 25)
    meter.add(Completion("x" * 40, 0, "stop"), 20)  # an engine that does not say: four bytes a token
    assert meter.facts() == {"answers": 2, "prompt_tokens": 315, "answer_tokens": 15, "cost": 330.0}
    assert meter.note() == "330 tokens, 330.00 spent"
    assert Meter(SpendingConfig(), 10).note() == "0 tokens"


def test_twins_are_counted_once_whenever_they_come(tmp_path: Path) -> None:
    """While the first is under way, after it, and from an earlier run: what it costs does not depend on when."""
    facts = []
    for width in (1, 8, 8):
        meter = Meter(SpendingConfig(), 10)
        with AnswerCache(tmp_path / ("a" if width == 1 else "b")) as cache:
            run(Scripted({"a": ["1"], "b": ["x", "2"]}, width=width), [["a"], ["b"]] * 6, cache, meter=meter)
        facts.append(meter.facts())
    assert facts[0] == facts[1] == facts[2]
    assert facts[0]["answers"] == 3


def test_every_retry_is_asked_and_sees_what_was_said(tmp_path: Path) -> None:
    """Also where the model says the same again."""
    annotator = Scripted({"a": ["x"]})
    with AnswerCache(tmp_path) as cache:
        (row,) = run(annotator, [["a"]], cache, num_retries=3)
    assert row["reason"] == "no_number: x"
    assert [len(asked.messages) for asked in annotator.asked] == [1, 3, 5, 7]


def test_half_a_surrogate_pair_does_no_harm(tmp_path: Path) -> None:
    with AnswerCache(tmp_path) as cache:
        (row,) = run(Scripted({"a": ["\ud83d!"]}), [["a"]], cache, num_retries=0)
    assert row["reason"] == "no_number: ?!"


def test_failures_in_a_row_are_what_counts() -> None:
    """A tenth of failures all over a corpus is no outage."""
    answers: dict[str, list[str | None]] = {f"t{n}": ["1" if n % 10 else None] for n in range(900)}
    assert len(run(Scripted(answers, width=1), [[text] for text in answers])) == 900


def test_an_annotator_that_can_not_be_used_is_stopped(tmp_path: Path) -> None:
    answers: dict[str, list[str | None]] = {f"t{n}": ["x"] for n in range(200)}
    items, annotator = [[text] for text in answers], Scripted(answers, width=1)
    with (
        AnswerCache(tmp_path / "a") as cache,
        pytest.raises(UserError, match="the first 50 items were set aside") as told,
    ):
        run(annotator, items, cache, max_aside_share=0.5)
    assert len(annotator.asked) == 100
    assert "--ask_again" in str(told.value)
    assert len(run(Scripted(answers), items, max_aside_share=1.0)) == 200
    answers["t0"] = ["1"]
    with pytest.raises(UserError, match="199 of 200 items were set aside"):
        run(Scripted(answers, width=1), items, max_aside_share=0.5)


def test_answers_of_no_use_are_asked_again_on_request(tmp_path: Path) -> None:
    """Only chains that ended so; and a rerun of the same round asks nothing."""
    items = [["good"], ["second try"], ["bad"]]
    answers: dict[str, list[str | None]] = {"good": ["1"], "second try": ["x", "2"], "bad": ["x", "y"]}
    with AnswerCache(tmp_path) as cache:
        assert "reason" in run(Scripted(answers), items, cache)[2]
    mended = Scripted({"bad": ["z", "3"]})
    with AnswerCache(tmp_path) as cache:
        assert [row["values"] for row in run(mended, items, cache, round=1)] == [[2], [4], [6]]
    assert [asked.text for asked in mended.asked] == ["bad", "bad"]
    with AnswerCache(tmp_path) as cache:
        assert [row["values"] for row in run(Scripted({}), items, cache, round=1)] == [[2], [4], [6]]


def test_what_the_cache_knows_is_left_out_of_the_rate(tmp_path: Path) -> None:
    counted: list[bool] = []

    class Watched(Progress):
        def advance(self, amount: int = 1, note: str = "", counts: bool = True) -> None:
            counted.append(counts)
            super().advance(amount, note, counts)

    with AnswerCache(tmp_path) as cache:
        run(Scripted({"a": ["1"]}), [["a"]], cache)
        asking = Asking(Doubling(), Scripted({"b": ["1"]}), REMINDER, 1, cache, Meter(SpendingConfig(), 10), Limits())
        progress = Watched("test", 2, "items")
        asking.run([["a"], ["b"]], lambda row: None, progress)
    assert counted == [False, True]
    assert (progress.count, progress.initial) == (2, 1)


def test_an_engine_in_process_is_asked_in_batches_and_loaded_late(monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []

    class Engine:
        def chat(self, conversations: Sequence[Any], max_new_tokens: int, temperature: float) -> list[Completion]:
            batches.append(len(conversations))
            return [Completion(json.dumps(len(messages[0]["content"])), 1, "stop") for messages in conversations]

    loaded: list[str] = []

    def load(config: EngineConfig, checkpoint: str) -> Engine:
        loaded.append(checkpoint)
        return Engine()

    monkeypatch.setattr("annotation.annotators.load_engine", load)
    annotator = ModelInProcess(AnnotatorConfig(model="m"), EngineConfig(kind="vllm"), batch_size=4)
    assert run(annotator, []) == []
    assert loaded == []
    rows = run(annotator, [["a" * n] for n in range(10)])
    assert [row["values"] for row in rows] == [[2 * n] for n in range(10)]
    assert loaded == ["m"]
    assert batches == [4, 4, 2]
