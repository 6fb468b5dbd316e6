"""Plans before anything is spent: what they say is what is then asked, tokens and money included."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from annotation import tables
from annotation.__main__ import VERBS
from prox import artifact
from prox.command import main
from tests.annotation.conftest import ChatServer

PRICES = ["--spending.input_price", "0.5", "--spending.output_price", "2"]
TEXTS = {f"d{n}": f"Menu {n}\n" + f"Some words of page {n} and more. " * (n % 5 + 1) + "\nImprint" for n in range(30)}
NOWHERE = "http://127.0.0.1:1/v1"


def plan(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, str]:
    assert main("annotation", VERBS, [*map(str, arguments), "--dry_run", "true"]) == 0
    lines = [line.strip().split(": ", 1) for line in capsys.readouterr().out.splitlines()[1:]]
    return {name: value for name, value in lines if name not in ("output", "input")}


def number(value: str) -> float:
    return float(re.match(r"[\d.,]+", value)[0].replace(",", ""))


def test_a_plan_of_scores_is_what_is_then_asked(
    chat_server: ChatServer, make_documents: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score = ["score", "--documents", make_documents(TEXTS), "--output", tmp_path / "out", *PRICES]
    score += ["--engine.base_url", chat_server.base_url, "--num_documents", 20, "--annotator.max_new_tokens", 200]
    planned = plan(capsys, *score, "--engine.requests_per_minute", 10)
    assert chat_server.requests == []
    assert planned["documents"] == "20 of 30"
    assert planned["requests"] == "40"
    assert planned["answer tokens, estimated"] == "6,000 (at most 8,000)"
    assert planned["hours at the limits a minute, at least"] == "0.1"
    chat_server.respond = lambda messages, n: (
        200,
        {},
        re.findall(r'closing line "(.*?):', messages[0]["content"])[-1] + ": 3",
    )
    assert main("annotation", VERBS, [str(argument) for argument in score]) == 0
    asked = sum(len(messages[0]["content"].encode()) // 4 for messages in chat_server.requests)
    assert number(planned["prompt tokens, estimated"]) == pytest.approx(asked, rel=0.02)
    likely = (number(planned["prompt tokens, estimated"]) * 0.5 + 6000 * 2) / 1e6
    assert number(planned["cost, estimated"]) == pytest.approx(likely, abs=0.01)
    by_tokens = plan(capsys, *score, "--output", tmp_path / "t", "--engine.tokens_per_minute", 1000)
    hours = (number(planned["prompt tokens, estimated"]) + 8000) / 1000 / 60
    assert number(by_tokens["hours at the limits a minute, at least"]) == pytest.approx(hours, abs=0.06)
    # Of all thirty the twenty are answered.
    again = plan(capsys, *score, "--num_documents", 30, "--output", tmp_path / "more")
    assert again["answered already"] == "67% of a sample of 60 requests"


def test_more_documents_than_there_are_are_extrapolated(
    make_documents: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str], repository: Path
) -> None:
    """The paper's 51K and 57K, planned on thirty documents."""
    configs = repository / "configs/annotation"
    common = ["--documents", make_documents(TEXTS), "--output", tmp_path / "out", "--engine.base_url", NOWHERE, *PRICES]
    planned = plan(capsys, "score", "--config", configs / "score.yaml", *common)
    assert planned["documents"] == "30 of 30"
    wanted = "if there were 51,000 documents, "
    assert planned[f"{wanted}requests"] == "102,000"
    tokens = [number(planned[f"{part}prompt tokens, estimated"]) for part in ("", wanted)]
    assert tokens[1] == pytest.approx(tokens[0] * 51_000 / 30, rel=0.001)
    planned = plan(capsys, "program", "--config", configs / "program.yaml", *common)
    assert planned["documents kept"] == "8 (28% of 30 assumed: not scored yet)"
    assert planned["requests"] == "24"
    assert planned["if all documents were kept, requests"] == "90"
    assert planned["if there were 57,000 chunks, requests"] == "171,000"


def test_a_plan_of_programs_looks_at_kept_documents(
    make_documents: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = tmp_path / "scores"
    scores.mkdir()
    kept = [f"d{n}" for n in range(0, 30, 5)]  # the shortest pages
    tables.write_rows(
        scores / "scores.jsonl", ({"id": name, "decision": "keep" if name in kept else "drop"} for name in TEXTS)
    )
    artifact.commit(scores, "0", {}, {})
    documents = make_documents(TEXTS)
    common = ["--documents", documents, "--output", tmp_path / "out", "--engine.base_url", NOWHERE, "--window", 12]
    planned = plan(capsys, "program", *common, "--scores", scores)
    assert planned["documents kept"] == "6"
    assert planned["chunks, estimated"] == "6 of 6"
    assert planned["requests"] == "18"
    assert "cost, estimated" not in planned
    assert plan(capsys, "program", *common, "--scores", scores, "--num_chunks", 4)["requests"] == "12"
    everything = plan(capsys, "program", *common, "--annotator.kind", "stand_in")
    assert number(everything["requests"]) > 18
    assert "prompt tokens, estimated" not in everything


def test_a_plan_of_a_second_annotator_counts_edges_only(
    make_documents: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documents, first = make_documents({"a": "1\n2\n3\n4", "b": "5"}), tmp_path / "first"
    first.mkdir()
    rows = [{"id": "a", "first_line": n, "text": str(n + 1), "program": "keep_chunk()"} for n in range(4)]
    rows.append({"id": "b", "first_line": 0, "text": "5", "program": "keep_chunk()"})
    (first / "programs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tables.write_rows(first / "aside.jsonl", [])
    artifact.commit(first, "0", {}, {})
    options = ["--documents", documents, "--output", tmp_path / "out", "--merge_into", first]
    planned = plan(capsys, "program", *options, "--engine.base_url", NOWHERE)
    assert (planned["chunks"], planned["requests"]) == ("5", "9")
    assert planned["at a document's beginning or end"] == "3"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--spending.budget", "5"], "--spending.budget needs --spending.input_price and --spending.output_price"),
        (["--spending.budget", "0", *PRICES], "--spending.budget is 0"),
        (["--spending.input_price", "-1"], "--spending.input_price is -1"),
        (["--annotator.temperature", "-1"], "--annotator.temperature is -1"),
        (["--engine.requests_per_minute", "0"], "engine.requests_per_minute is 0"),
        (["--max_document_tokens", "0"], "--max_document_tokens is 0"),
        (["--prompts.edu_closing", ""], "--prompts.edu_closing is empty"),
        (["--spending.input_price", "1"], "give both or none"),
        (["--engine.served_name", "m"], "--annotator.model"),
        (["--max_aside_share", "2"], "--max_aside_share is 2"),
        (["--ask_again", "-1"], "--ask_again is -1"),
        (["--annotator.tokenizer", "./no/such"], "annotator.tokenizer ./no/such does not exist"),
        (["--engine.kind", "vllm", "--annotator.model", "./no/such"], "annotator.model ./no/such does not exist"),
    ],
)
def test_settings_that_can_not_work_are_named(
    options: list[str], said: str, make_documents: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["score", "--documents", str(make_documents({"a": "x", "b": "y"})), "--output", str(tmp_path / "o")]
    assert main("annotation", VERBS, [*arguments, "--engine.base_url", NOWHERE, *options]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_the_stand_in_knows_its_own_prompts_only(
    make_documents: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str], repository: Path
) -> None:
    arguments = ["program", "--documents", str(make_documents({"a": "x", "b": "y"})), "--output", str(tmp_path / "o")]
    arguments += ["--annotator.kind", "stand_in", "--prompts", "{adverts: footer.v1.txt}"]
    assert main("annotation", VERBS, arguments) == 2
    said = capsys.readouterr().err
    assert "--prompts.adverts: the stand_in only knows navigation, links, footer" in said
    assert "--scores is not set" in said
