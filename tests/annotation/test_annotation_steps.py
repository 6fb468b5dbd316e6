"""Two annotators, drawn chunks, what makes work stale, and who else may be at work."""

import dataclasses
import multiprocessing
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from annotation import tables
from annotation.configs import ScoreConfig, ScorePrompts
from annotation.score import cut
from annotation.spending import SpendingConfig
from annotation.templates import FOLDER
from prox import artifact
from prox.command import settings_of
from prox.engines.prompts import load_tokenizer
from prox.exclusive import alone_in
from tests.annotation.conftest import (
    SCORED,
    Answer,
    ChatServer,
    closing_of,
    run,
    usage_of,
)


def test_a_second_annotator_adds_head_and_tail(
    chat_server: ChatServer, make_documents: Callable, tmp_path: Path, repository: Path
) -> None:
    lines = ["Menu", "Title", "Text one.", "Advert", "Text two.", "Imprint"]
    documents = make_documents({"long": "\n".join(line for line in lines for _ in range(2)), "short": "\n".join(lines)})
    scores, first, second = tmp_path / "scores", tmp_path / "first", tmp_path / "second"
    scores.mkdir()
    tables.write_rows(scores / "scores.jsonl", [{"id": name, "decision": "keep"} for name in ("long", "short")])
    artifact.commit(scores, "0", {}, {})
    window = ["--window", "7"]  # words: a chunk holds the pages' lines in several
    chat_server.respond = lambda messages, number: (200, {}, "```python\nkeep_chunk()\n```")
    assert run("program", documents, first, chat_server.base_url, "--scores", str(scores), *window) == 0
    rows = tables.read_rows(first / "programs.jsonl")

    def greedy(messages: list[dict[str, str]], number: int) -> Answer:
        numbers = re.findall(r"^\[(\d+)\](?:Menu|Advert|Imprint)", messages[0]["content"].split("Text:\n")[-1], re.M)
        return 200, {}, "\n".join(f"remove_lines({int(n)}, {int(n)})" for n in numbers) or "keep_chunk()"

    chat_server.respond = greedy
    asked_before = len(chat_server.requests)
    command = ["--merge_into", str(first), "--annotator.model", "m2", "--max_removed_share", "1", "--edge_gap", "0"]
    shipped = repository / "configs/annotation/program_second.yaml"
    assert run("program", documents, second, chat_server.base_url, "--config", str(shipped), *command) == 0
    merged = tables.read_rows(second / "programs.jsonl")
    assert [(row["id"], row["first_line"]) for row in merged] == [(row["id"], row["first_line"]) for row in rows]
    by_page: dict[str, str] = {}
    for row in merged:
        by_page[row["id"]] = by_page.get(row["id"], "") + row["program"].replace("keep_chunk()", "")
    assert by_page == {
        "long": "remove_lines(line_start=0, line_end=1)remove_lines(line_start=10, line_end=11)",
        "short": "remove_lines(line_start=0, line_end=0)remove_lines(line_start=5, line_end=5)",
    }
    edges = [row for row in merged if "second" in row]
    assert len(chat_server.requests) - asked_before == len(edges) < len(merged)
    assert all(row["model"] == "m" and row["second"]["model"] == "m2" for row in edges)


def kept_scores(folder: Path, ids: Iterable[str]) -> Path:
    """An artefact of `score` that keeps all of them."""
    folder.mkdir()
    tables.write_rows(folder / "scores.jsonl", ({"id": name, "decision": "keep"} for name in ids))
    artifact.commit(folder, "0", {}, {})
    return folder


def test_a_second_annotator_of_no_use_leaves_the_first_one_alone(
    chat_server: ChatServer, make_documents: Callable, tmp_path: Path, repository: Path
) -> None:
    """Unreadable, too greedy, or about a chunk that the first one set aside; what each cost is on the card."""
    texts = {name: f"Menu of {name}\nSome words that stay.\nImprint" for name in ("good", "mumbled", "greedy", "aside")}
    documents = make_documents(texts)
    scores = kept_scores(tmp_path / "scores", texts)
    first, second = tmp_path / "first", tmp_path / "second"
    prices = ["--spending.input_price", "1", "--spending.output_price", "1", "--annotator.num_retries", "0"]

    def respond(messages: list[dict[str, str]], number: int) -> Answer:
        return 200, {}, "mumble" if "Menu of aside" in messages[0]["content"] else "remove_lines(2, 2)"

    chat_server.respond = respond
    assert run("program", documents, first, chat_server.base_url, "--scores", str(scores), *prices) == 0
    assert [row["id"] for row in tables.read_rows(first / "aside.jsonl")] == ["aside"]
    asked = len(chat_server.requests)

    def respond_second(messages: list[dict[str, str]], number: int) -> Answer:
        prompt = messages[0]["content"]
        calls = {"good": "remove_lines(0, 0)", "mumbled": "well, well", "greedy": "remove_lines(0, 2)"}
        return 200, {}, next(call for name, call in calls.items() if f"Menu of {name}" in prompt)

    chat_server.respond = respond_second
    shipped = repository / "configs/annotation/program_second.yaml"
    command = ["--config", str(shipped), "--merge_into", str(first), "--annotator.model", "m2", *prices]
    assert run("program", documents, second, chat_server.base_url, *command) == 0
    assert len(chat_server.requests) - asked == 3
    rows = {row["id"]: row for row in tables.read_rows(second / "programs.jsonl")}
    footer = "remove_lines(line_start=2, line_end=2)"
    assert {name: row["program"] for name, row in rows.items()} == {
        "good": f"remove_lines(line_start=0, line_end=0)\n{footer}",
        "mumbled": footer,
        "greedy": footer,
    }
    reasons = {name: row["second"].get("reason", "").split(":")[0] for name, row in rows.items()}
    assert reasons == {"good": "", "mumbled": "fault", "greedy": "max_removed_share"}
    assert [row["id"] for row in tables.read_rows(second / "aside.jsonl")] == ["aside"]
    assert usage_of(second)["answers"] == 3
    assert usage_of(second)["first"] == usage_of(first)


def test_a_number_of_chunks_is_drawn(chat_server: ChatServer, make_documents: Callable, tmp_path: Path) -> None:
    chat_server.respond = lambda messages, number: (200, {}, "keep_chunk()")
    texts = {f"d{n}": "\n".join(f"Line {k} of page {n}" for k in range(6)) for n in range(5)}
    documents, scores = make_documents(texts), kept_scores(tmp_path / "scores", texts)
    command = ["--scores", str(scores), "--window", "12", "--num_chunks", "4"]
    assert run("program", documents, tmp_path / "out", chat_server.base_url, *command) == 0
    rows = tables.read_rows(tmp_path / "out" / "programs.jsonl")
    assert len(rows) == 4
    assert len(chat_server.requests) == 12
    command[-1] = "7"
    assert run("program", documents, tmp_path / "more", chat_server.base_url, *command) == 0
    more = tables.read_rows(tmp_path / "more" / "programs.jsonl")
    places = [{(row["id"], row["first_line"]) for row in found} for found in (rows, more)]
    assert len(more) == 7
    assert places[0] < places[1]  # and what was asked is not asked again
    assert len(chat_server.requests) == 21


def test_what_decides_the_answers_makes_work_stale(make_documents: Callable, tmp_path: Path) -> None:
    documents = make_documents({"a": "x", "b": "y"})
    base = ScoreConfig(output=tmp_path / "o", documents=documents)
    marks = base.input_marks()
    for name in ("edu_score", "reminder"):
        own = tmp_path / f"{name}.txt"
        own.write_text((FOLDER / f"{name}.v1.txt").read_text() + "!")
        prompts = {"prompts": ScorePrompts(edu=str(own))} if name == "edu_score" else {"reminder": str(own)}
        changed = dataclasses.replace(base, **prompts)
        assert len(set(marks) - set(changed.input_marks())) == 1
    spending = SpendingConfig(1.0, 1.0, 5.0)
    how = {"cache": tmp_path, "spending": spending, "max_failed_share": 0.5, "max_aside_share": 0.1, "batch_size": 3}
    assert settings_of(dataclasses.replace(base, **how)) == settings_of(base)
    for what in ({"ask_again": 1}, {"max_document_tokens": 7}, {"prompt_marker": "<X>"}):
        assert settings_of(dataclasses.replace(base, **what)) != settings_of(base)


def test_a_rerun_with_all_answers_needs_no_server(
    chat_server: ChatServer, make_documents: Callable, tmp_path: Path
) -> None:
    chat_server.respond = lambda messages, number: (200, {}, SCORED.format(closing_of(messages), 3))
    documents = make_documents({"a": "one", "b": "two"})
    assert run("score", documents, tmp_path / "out", chat_server.base_url) == 0
    nowhere = "http://127.0.0.1:1/v1"
    assert run("score", documents, tmp_path / "again", nowhere) == 0
    assert (tmp_path / "again/scores.jsonl").read_bytes() == (tmp_path / "out/scores.jsonl").read_bytes()


def test_documents_are_cut_by_the_annotators_tokenizer(tiny_checkpoint: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_checkpoint))
    text = "A river is a natural stream of water. " * 20
    for num_tokens in (1, 7, 50):
        short = cut(text, num_tokens, tokenizer)
        assert text.startswith(short)
        assert len(tokenizer.encode(short, add_special_tokens=False)) == num_tokens
    assert cut(text, 10_000, tokenizer) == text
    assert cut("\u690d\u7269\u306f" * 10, 5) == "\u690d\u7269\u306f" * 2  # four bytes a token


def _hold(folder: Path, seconds: float) -> None:
    with alone_in(folder):
        (folder / "held").touch()
        time.sleep(seconds)


def test_one_process_at_a_time_in_an_output(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_hold, args=(tmp_path, 1.0))
    process.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    with alone_in(tmp_path):
        process.join(0.5)
        assert not process.is_alive()
    with alone_in(tmp_path):
        pass
