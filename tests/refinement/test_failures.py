"""Documents that can't be rendered, and requests that get no answer: kept as they are, flagged, counted."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from prox.command import main
from prox.dialogue import Dialogue, PromptRenderer, refuse_dialogue_on_hub
from prox.engines import Completion, Engine, EngineConfig, Failure, load_engine
from prox.errors import UserError
from prox.units import LEDGER, iterate_documents, read_rows, unit_files
from refinement.__main__ import VERBS
from refinement.asking import FEWEST_FAILURES, EngineWatch, check_failed_share
from refinement.configs import ChunkConfig
from refinement.refiner import Refiner, engine_as_before, load_refiner

SETTINGS = {
    "document": ["--max_prompt_tokens", "200"],
    "chunk": ["--window", "60", "--max_new_tokens", "12", "--document_guards.min_words_left", "0"],
}


class Unsteady:
    """An engine that gives no answer to every ``period``-th prompt."""

    max_context, dtype = 512, "float32"

    def __init__(self, tokenizer, period: int) -> None:
        self.tokenizer, self.period = tokenizer, period

    def _each(self, prompts, answer):
        return [Failure("HTTP 500") if not number % self.period else answer for number, _ in enumerate(prompts, 1)]

    def generate(self, prompts, max_new_tokens, stop=(), grammar=None, bias=None):
        return self._each(prompts, Completion("remove_lines(line_start=0, line_end=0)", 5, "stop"))

    def choose(self, prompts, candidates):
        return self._each(prompts, [-9.0, -0.1])


def refine(verb: str, units: Path, checkpoint: Path, output: Path, *more: str) -> int:
    options = ["--documents", str(units), "--refiner.checkpoint", str(checkpoint), "--output", str(output)]
    return main("refinement", VERBS, [verb, *options, *SETTINGS[verb], *more])


def rows(output: Path) -> list[dict]:
    return [row for file in unit_files(output, LEDGER) for row in read_rows(file)]


def stats(output: Path) -> dict:
    return json.loads((output / "stats.json").read_text())


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, tiny_tokenizer):
    def use(period: int, layout: str = "plain") -> None:
        refiner = Refiner(Unsteady(tiny_tokenizer, period), Dialogue(layout=layout, system=""))
        for verb in SETTINGS:
            monkeypatch.setattr(f"refinement.{verb}.load_refiner", lambda config: refiner)

    return use


def test_a_document_without_an_answer_is_kept(tmp_path: Path, units: Path, tiny_checkpoint: Path, ask) -> None:
    ask(4)
    assert refine("document", units, tiny_checkpoint, tmp_path / "out", "--max_failed_share", "0.5") == 0
    found = rows(tmp_path / "out")
    failed = [row for row in found if row["failure"]]
    assert {row["failure"] for row in failed} == {"HTTP 500"}
    assert [row["id"] for row in found if row["decision"] == "keep"] == [row["id"] for row in failed]
    assert stats(tmp_path / "out")["failed"] == len(failed) > 0
    assert all(row["p_keep"] is None and row["answer_tokens"] == 0 for row in failed)
    assert all(row["prompt_tokens"] > 0 for row in found)


def test_a_document_with_a_chunk_without_an_answer_stays_whole(
    tmp_path: Path, units: Path, tiny_checkpoint: Path, ask
) -> None:
    ask(4)
    assert refine("chunk", units, tiny_checkpoint, tmp_path / "out", "--max_failed_share", "1") == 0
    source = {document.id: document.text for document in iterate_documents(units)}
    left = {document.id: document.text for document in iterate_documents(tmp_path / "out")}
    failed = [row["id"] for row in rows(tmp_path / "out") if row["verdict"] == "failed"]
    assert 0 < len(failed) < len(source)
    assert all(left[name] == source[name] for name in failed)
    assert stats(tmp_path / "out")["ledger"]["documents"]["failed"] == len(failed)
    assert stats(tmp_path / "out")["ledger"]["programs"]["failed"] >= len(failed)
    assert stats(tmp_path / "out")["ledger"]["documents"]["edited"] > 0


@pytest.mark.parametrize("verb", SETTINGS)
def test_a_document_that_cannot_be_rendered_costs_itself(
    tmp_path: Path, units: Path, tiny_checkpoint: Path, ask, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    ask(10**6)
    method = {"document": "documents", "chunk": "chunks"}[verb]
    render = getattr(PromptRenderer, method)
    poisoned = next(iterate_documents(units))

    def raise_at_poison(self, texts, *settings):
        if poisoned.text in texts:
            raise OverflowError("poison")
        return render(self, texts, *settings)

    monkeypatch.setattr(PromptRenderer, method, raise_at_poison)
    assert refine(verb, units, tiny_checkpoint, tmp_path / "out") == 0
    found = rows(tmp_path / "out")
    (failed,) = [row for row in found if row.get("failure") or row.get("verdict") == "failed"]
    assert failed["id"] == poisoned.id
    assert "OverflowError: poison" in (failed.get("failure") or failed["reason"])
    assert next(iterate_documents(tmp_path / "out")).text == poisoned.text
    assert len(found) == sum(1 for _ in iterate_documents(units))


def test_an_engine_that_answers_nobody_stops_the_run(
    tmp_path: Path, tiny_checkpoint: Path, ask, pages: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    corpus, many_units = tmp_path / "corpus.jsonl", tmp_path / "many"
    corpus.write_text("".join(json.dumps({"text": f"{pages[0]}\n{number}"}) + "\n" for number in range(30)))
    assert main("refinement", VERBS, ["ingest", "--corpus.path", str(corpus), "--output", str(many_units)]) == 0
    ask(1)
    assert refine("chunk", many_units, tiny_checkpoint, tmp_path / "out") == 1
    assert "documents got no answer, the first because: HTTP 500" in capsys.readouterr().err
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    ask(10**6)
    assert refine("chunk", many_units, tiny_checkpoint, tmp_path / "out") == 0
    assert "failed" not in stats(tmp_path / "out")["ledger"]["documents"]


def test_a_run_of_which_too_much_failed_is_not_committed_and_asked_again(
    tmp_path: Path, units: Path, tiny_checkpoint: Path, ask, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in SETTINGS:
        ask(2)
        assert refine(verb, units, tiny_checkpoint, tmp_path / verb) == 1
        assert re.search(
            r"error: refinement \w+: \d+ of 10 documents got no answer, .*: HTTP 500", capsys.readouterr().err
        )
        ask(10**6)
        assert refine(verb, units, tiny_checkpoint, tmp_path / verb) == 0
        assert not [row for row in rows(tmp_path / verb) if row.get("failure") or row.get("verdict") == "failed"]


def test_few_failures_never_stop_a_unit() -> None:
    watch = EngineWatch()
    for _ in range(FEWEST_FAILURES):
        watch.add("no")
        watch.check()
    watch.add("no")
    with pytest.raises(UserError, match="11 of 11 documents"):
        watch.check()


def test_one_failed_document_is_always_allowed(tmp_path: Path) -> None:
    unit = tmp_path / "unit"
    unit.touch()
    check_failed_share({unit: ["no"]}, 10, 0.0)
    check_failed_share({unit: ["no"] * 50}, 1_000, 0.05)
    assert unit.exists()
    with pytest.raises(UserError, match="51 of 1000 documents got no answer, 50 of them because: no"):
        check_failed_share({unit: ["no"] * 50 + ["odd"], tmp_path / "other": []}, 1_000, 0.05)
    assert not unit.exists()


def test_an_engine_that_raises_on_one_prompt_costs_its_document(
    tmp_path: Path, units: Path, tiny_checkpoint: Path, ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(10**6)
    longest = []
    generate = Unsteady.generate

    def raise_at_the_longest(self, prompts, *settings, **more):
        longest.append(max(map(len, prompts)))
        if longest[0] in map(len, prompts):
            raise RuntimeError("out of memory")
        return generate(self, prompts, *settings, **more)

    monkeypatch.setattr(Unsteady, "generate", raise_at_the_longest)
    more = ["--decision", "generate", "--max_failed_share", "1", "--documents_per_batch", "10"]
    assert refine("document", units, tiny_checkpoint, tmp_path / "out", *more) == 0
    failed = [row for row in rows(tmp_path / "out") if row["failure"]]
    assert 0 < len(failed) < 10
    assert all("out of memory" in row["failure"] for row in failed)


def test_units_are_not_asked_with_different_limits(
    tmp_path: Path, units: Path, tiny_checkpoint: Path, ask, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(10**6)
    assert refine("chunk", units, tiny_checkpoint, tmp_path / "out") == 0
    (tmp_path / "out" / "_SUCCESS").unlink()
    (tmp_path / "out" / "tasks" / "completions" / "00001").unlink()
    asked = tmp_path / "out" / "asked.json"
    asked.write_text(asked.read_text().replace("float32", "bfloat16"))
    assert refine("chunk", units, tiny_checkpoint, tmp_path / "out") == 1
    assert "asked with dtype bfloat16, now float32" in capsys.readouterr().err


def test_auto_goes_on_in_the_number_format_of_before(tmp_path: Path) -> None:
    """Another machine of a cluster would choose another."""
    config = ChunkConfig(output=tmp_path)
    assert engine_as_before(config) == config.engine
    begun = ChunkConfig(output=tmp_path / "begun")
    begun.output.mkdir()
    (begun.output / "asked.json").write_text('{"dtype": "bfloat16"}')
    assert engine_as_before(begun).dtype == "bfloat16"
    server = ChunkConfig(output=tmp_path / "server")
    server.output.mkdir()
    (server.output / "asked.json").write_text(json.dumps({"dtype": "the server's"}))
    assert engine_as_before(server).dtype == "auto"  # what differs is refused when it is known
    begun.engine = replace(begun.engine, dtype="float32")  # asked for in so many words: refused later, if it differs
    assert engine_as_before(begun).dtype == "float32"


def test_a_dialogue_on_the_hub_is_not_passed_over(monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path) -> None:
    found = {"someone/tagger": "/cache/dialogue.json", "someone/published": None}

    def look(name: str, file: str, **_: bool) -> str | None:
        if name not in found:
            raise OSError("404")
        return found[name]

    monkeypatch.setattr("transformers.utils.cached_file", look)
    for name in (str(tiny_checkpoint), "someone/published", "someone/misspelt", "no/such/path"):
        refuse_dialogue_on_hub(name)
    config = ChunkConfig(output=Path("unused"))
    config.refiner.checkpoint = "someone/tagger"
    with pytest.raises(UserError, match="hf download someone/tagger --local-dir"):
        load_refiner(config)


def test_a_constrained_refiner_writes_programs_only(tmp_path: Path, units: Path, tiny_checkpoint: Path) -> None:
    """The tiny checkpoint's weights are random: unconstrained it writes nothing readable."""
    more = ["--refiner.dialogue.layout", "plain", "--max_new_tokens", "40"]
    assert refine("chunk", units, tiny_checkpoint, tmp_path / "free", *more) == 0
    assert not stats(tmp_path / "free")["ledger"]["calls"]
    limits = ["--constrained", "true", "--max_calls", "1"]
    assert refine("chunk", units, tiny_checkpoint, tmp_path / "bound", *more, *limits) == 0
    chunks = [chunk for row in rows(tmp_path / "bound") for chunk in row["chunks"] if not chunk["skipped"]]
    assert chunks
    assert all(len(chunk["calls"]) <= 1 for chunk in chunks)
    assert all(call["status"] != "fault" or chunk["cut_off"] for chunk in chunks for call in chunk["calls"])


def test_token_counts_in_the_ledger_are_the_engines(tmp_path: Path, units: Path, tiny_checkpoint: Path) -> None:
    engine: Engine = load_engine(EngineConfig(), str(tiny_checkpoint))
    asked = ["--decision", "generate", "--refiner.dialogue.layout", "plain", "--max_new_tokens", "6"]
    assert refine("document", units, tiny_checkpoint, tmp_path / "out", *asked) == 0
    renderer = PromptRenderer(Dialogue(layout="plain"), engine.tokenizer, 200)
    prompts = renderer.documents([document.text for document in iterate_documents(units)])
    found = rows(tmp_path / "out")
    assert [row["prompt_tokens"] for row in found] == [len(prompt.ids) for prompt in prompts]
    answers = engine.generate([prompt.ids for prompt in prompts], 6)
    assert [row["answer_tokens"] for row in found] == [answer.num_tokens for answer in answers]
