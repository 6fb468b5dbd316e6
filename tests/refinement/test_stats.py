"""`refinement stats`: sizes by step and reason, lengths, removed lines, cost and cards, against values made by hand."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import yaml

from prox import Guards, ledger
from prox.artifact import commit, to_plain, write_snapshot
from prox.assembly import DocumentGuards
from prox.chunking import Chunk
from prox.command import main
from prox.dialogue import Dialogue
from prox.engines import Completion
from prox.units import (
    DOCUMENT_SCHEMA,
    DROPPED_SCHEMA,
    iterate_documents,
    source_hash,
    unit_files,
    unit_name,
    write_unit,
)
from refinement.__main__ import VERBS
from refinement.document import LEDGER_SCHEMA

GUARDS, DOCUMENT_GUARDS = Guards(), DocumentGuards(min_words_left=0, min_kept_share=0.0)
TEXTS = {
    "a": "Home About\nRivers carry water to the sea\nCopyright 2020 Example",  # 11 words and tokens, 63 bytes
    "b": "buy now",  # 2
    "c": "Home About\nA b c d e\nHome About\n\nf",  # 10
    "d": "",  # 0
    "e": "Menu\nMenu",  # 2
}
# Chunks of the documents the document stage keeps: their lines and the program.
PROGRAMS = {
    "a": [(0, 3, 'remove_lines(0, 0)\nremove_lines(2, 9)\nnormalize(source_str="water", target_str="rain")')],
    "c": [(0, 2, "remove_lines(0, 0)\nnonsense"), (2, 3, "remove_lines(1, 3)\nfly(2)")],
    "d": [(0, 1, "keep_chunk()")],
    "e": [(0, 2, "remove_lines(all=True)")],
}
P_KEEP = {"a": 0.9, "b": 0.1, "c": 0.8, "d": 0.7, "e": 0.6}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer whose tokens are the words between white space."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("words") / "tokenizer"
    plain = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="?").save_pretrained(folder)
    return folder


def artefact(folder: Path, command: str, config: dict, seconds: float | None, **kinds) -> Path:
    """A finished step's folder: ``kinds`` maps ``documents``, ``dropped`` and ``ledger`` to (schema, units of rows)."""
    for kind, (schema, units) in kinds.items():
        for number, rows in enumerate(units):
            write_unit(folder / kind / unit_name(number), rows, schema)
    write_snapshot(folder, command, config, mark=folder.name)
    commit(folder, folder.name, {}, None if seconds is None else {"seconds": seconds, "resumed": False})
    return folder


def rows(names: str, texts: dict[str, str] = TEXTS, **more: str) -> list[dict]:
    return [{"id": name, "text": texts[name], "metadata": "{}", **more} for name in names]


def refined(name: str) -> tuple[ledger.RefinedDocument, dict]:
    lines = TEXTS[name].split("\n")
    chunks = [
        ledger.chunk_row(
            Chunk(first, "\n".join(lines[first : first + count])),
            Completion(program, len(program.split()) + 1, "stop"),
            prompt_tokens=100,
        )
        for first, count, program in PROGRAMS[name]
    ]
    result = ledger.replay(TEXTS[name], "calls", chunks, GUARDS, DOCUMENT_GUARDS)
    return result, ledger.document_row(name, TEXTS[name], "calls", chunks, result)


@pytest.fixture
def steps(tmp_path: Path, tiny_checkpoint: Path) -> dict[str, Path]:
    """Ingest, document and chunk stage of five documents in two units."""
    ingest = artefact(
        tmp_path / "ingest",
        "refinement ingest",
        {"corpus": {"format": "jsonl", "path": "pages.jsonl"}, "documents_per_unit": 3},
        None,
        documents=(DOCUMENT_SCHEMA, [rows("abc"), rows("de")]),
        dropped=(DROPPED_SCHEMA, [[{"id": "x", "text": None, "metadata": "{}", "reason": "no JSON: line 1"}], []]),
    )
    (ingest / "stats.json").write_text(json.dumps({"left_out": 1, "duplicate_ids": 0}))
    refiner = {"checkpoint": str(tiny_checkpoint), "dialogue": to_plain(Dialogue(layout="plain"))}
    decided = [
        {"id": name, "source_hash": source_hash(TEXTS[name]), "p_keep": p_keep, "program": "", "readable": True}
        | {"decision": "keep" if p_keep > 0.5 else "drop", "truncated": name == "a"}
        | {"prompt_tokens": 10, "answer_tokens": 0}
        for name, p_keep in P_KEEP.items()
    ]
    document = artefact(
        tmp_path / "document",
        "refinement document",
        {"documents": str(ingest), "refiner": refiner, "max_prompt_tokens": 10, "workers": 1, "threshold": 0.5},
        4.0,
        documents=(DOCUMENT_SCHEMA, [rows("ac"), rows("de")]),
        dropped=(DROPPED_SCHEMA, [rows("b", reason="drop_doc"), []]),
        ledger=(LEDGER_SCHEMA, [decided[:3], decided[3:]]),
    )
    texts = {name: refined(name)[0].text for name in PROGRAMS}
    chunk = artefact(
        tmp_path / "chunk",
        "refinement chunk",
        {"documents": str(document), "refiner": refiner, "workers": 2, "window": 99}
        | {"guards": to_plain(GUARDS), "document_guards": to_plain(DOCUMENT_GUARDS)},
        2.0,
        documents=(DOCUMENT_SCHEMA, [rows("ac", texts), rows("d", texts)]),
        dropped=(DROPPED_SCHEMA, [[], rows("e", reason="all_lines_removed")]),
        ledger=(ledger.SCHEMA, [[refined(name)[1] for name in unit] for unit in ("ac", "de")]),
    )
    return {"raw": ingest, "prox-d": document, "prox-d+c": chunk}


def stats(arms: dict[str, Path], tokenizer: Path, output: Path, *more: str) -> int:
    options = [option for arm, folder in arms.items() for option in (f"--arms.{arm}", str(folder))]
    return main("refinement", VERBS, ["stats", *options, "--tokenizer", str(tokenizer), "--output", str(output), *more])


def read(output: Path, name: str = "stats.json") -> dict:
    return json.loads((output / name).read_text())


def size(documents: int, tokens: int, words: int, size_in_bytes: int) -> dict[str, int]:
    return {"documents": documents, "tokens": tokens, "words": words, "bytes": size_in_bytes}


def results(output: Path) -> dict[str, bytes]:
    """All that an undisturbed run and a disturbed one must agree on."""
    files = [output / name for name in ("stats.json", "frequent.json", "lengths.csv", "lengths.svg", "lengths.png")]
    return {str(file.relative_to(output)): file.read_bytes() for file in [*files, *sorted(output.glob("cards/*/*"))]}


def test_sizes_by_arm_step_and_reason(tmp_path: Path, steps: dict[str, Path], words: Path, capsys) -> None:
    assert stats(steps, words, tmp_path / "out") == 0
    found = read(tmp_path / "out")
    assert found["arms"]["raw"] == size(5, 25, 25, 63 + 7 + 34 + 0 + 9)
    assert found["arms"]["prox-d"] == size(4, 23, 23, 106)
    # a: "Rivers carry rain to the sea", c: "A b c d e\n\nf" less its removed line, d: nothing
    assert refined("c")[0].text == "A b c d e\nf"
    assert found["arms"]["prox-d+c"] == size(3, 6 + 6, 12, 28 + 11)
    assert found["shares"]["prox-d"]["tokens"] == 23 / 25
    raw, document, chunk = found["steps"]
    assert (raw["name"], raw["input"], raw["in"]) == ("raw", None, None)
    assert raw["dropped_by_reason"] == {"no JSON": size(1, 0, 0, 0)}
    assert (document["in"], document["dropped"]) == (raw["kept"], size(1, 2, 2, 7))
    assert document["edited_away"] == {"tokens": 0, "words": 0, "bytes": 0}
    assert document["dropped_by_reason"] == {"drop_doc": document["dropped"]}
    assert chunk["input"] == "prox-d"
    assert chunk["dropped_by_reason"] == {"all_lines_removed": size(1, 2, 2, 9)}
    assert chunk["edited_away"] == {"tokens": 23 - 2 - 12, "words": 23 - 2 - 12, "bytes": 106 - 9 - 39}
    assert "prox-d+c" in capsys.readouterr().out


def test_calls_and_removed_lines(tmp_path: Path, steps: dict[str, Path], words: Path) -> None:
    assert stats(steps, words, tmp_path / "out") == 0
    of_document, of_chunk = (row["ledger"] for row in read(tmp_path / "out")["steps"][1:])
    assert of_document["documents"] == {"keep": 4, "drop": 1}
    assert of_document["programs"] == {"unreadable": 0, "truncated": 1, "failed": 0}
    assert of_chunk["documents"] == {"edited": 2, "unchanged": 1, "dropped": 1}
    assert of_chunk["calls_by_status"] == {
        "remove_lines": {"applied": 3, "clipped": 2},
        "normalize": {"applied": 1},
        "keep_chunk": {"kept": 1},
        "unreadable": {"fault": 2},
    }
    edits = {"lines_removed_of_edited_documents": 5, "lines_removed_of_dropped_documents": 2}
    assert of_chunk["edits"] == edits | {"blank_lines_removed": 1, "strings_replaced": 1}
    found = read(tmp_path / "out", "frequent.json")["prox-d+c"]
    assert found["removed_lines"] == {
        "total": 6,
        "error": 0,
        "distinct": 3,
        "items": [
            {"text": "Home About", "count": 3, "document": "a"},
            {"text": "Menu", "count": 2, "document": "e"},
            {"text": "Copyright 2020 Example", "count": 1, "document": "a"},
        ],
    }
    assert found["replaced_strings"]["items"] == [{"text": '"water" -> "rain"', "count": 1, "document": "a"}]
    calls = [item["text"] for item in found["unreadable_calls"]["items"]]
    assert calls == ["not a call", "unknown function 'fly'"]


def test_rejected_edits_removed_nothing(tmp_path: Path, steps: dict[str, Path], words: Path) -> None:
    chunks = [ledger.chunk_row(Chunk(0, TEXTS["a"]), Completion("remove_lines(0, 0)\nfoo(\nbar(", 9, "stop"))]
    result = ledger.replay(TEXTS["a"], "calls", chunks, GUARDS, DOCUMENT_GUARDS)
    assert result.executions[0].verdict == "rejected"
    row = ledger.document_row("a", TEXTS["a"], "calls", chunks, result)
    write_unit(steps["prox-d+c"] / "ledger" / unit_name(0), [row, refined("c")[1]], ledger.SCHEMA)
    assert stats(steps, words, tmp_path / "out") == 0
    assert read(tmp_path / "out")["steps"][2]["ledger"]["edits"]["lines_removed_of_edited_documents"] == 3
    assert read(tmp_path / "out", "frequent.json")["prox-d+c"]["removed_lines"]["items"][0]["count"] == 2


def test_lengths_of_the_arms(tmp_path: Path, steps: dict[str, Path], words: Path) -> None:
    assert stats(steps, words, tmp_path / "out") == 0
    with (tmp_path / "out" / "lengths.csv").open(newline="") as file:
        bins = list(csv.DictReader(file))
    filled = [
        (row["arm"], int(row["low"]), int(row["high"]), int(row["documents"]))
        for row in bins
        if row["measure"] == "tokens" and row["documents"] != "0"
    ]
    assert [one[1:] for one in filled if one[0] == "raw"] == [(0, 1, 1), (2, 3, 2), (8, 11, 1), (11, 16, 1)]
    assert [one[1:] for one in filled if one[0] == "prox-d+c"] == [(0, 1, 1), (6, 8, 2)]


def test_cost_by_the_papers_equations(tmp_path: Path, steps: dict[str, Path], words: Path) -> None:
    assert stats(steps, words, tmp_path / "out", "--trained_models.big", "1000") == 0
    found = read(tmp_path / "out", "cost.json")
    layer = 64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 64 + 2 * 64
    embedding = 512 * 64
    n = embedding + 2 * layer + 64  # the output matrix counts, the input embedding does not
    document, chunk = found["stages"]
    assert (document["parameters"], document["parameters_without_embedding"]) == (n + embedding, n)
    assert (document["tokens_in"], document["tokens_generated"], document["flops"]) == (25, 0, 2 * n * 25)
    assert document["tokens_read"] == 5 * 10
    assert (document["seconds"], document["documents_per_second"], document["workers"]) == (4.0, 5 / 4, 1)
    # Words of the programs, and an end for each: 6 + 1, 3 + 1, 3 + 1, 1 + 1, 1 + 1.
    assert (chunk["tokens_in"], chunk["tokens_read"], chunk["tokens_generated"]) == (23, 500, 19)
    assert chunk["flops_of_read_and_generated"] == 2 * n * (500 + 19)
    assert (chunk["tokens_in_per_second"], chunk["workers"]) == (23 / 2, 2)
    arm = found["arms"]["prox-d+c"]
    assert arm["flops"] == 2 * n * (25 + 23)
    assert arm["training"]["big"]["flops_of_one_pass"] == 6 * 1000 * 12
    assert arm["training"]["big"]["tokens_of_the_same_flops"] == 2 * n * 48 // 6000
    assert "raw" not in found["arms"]


def test_a_refiner_that_is_gone_costs_an_unknown_amount(tmp_path: Path, steps: dict[str, Path], words: Path) -> None:
    snapshot = yaml.safe_load((steps["prox-d"] / "config.yaml").read_text())
    snapshot["config"]["refiner"]["checkpoint"] = str(tmp_path / "gone")
    (steps["prox-d"] / "config.yaml").write_text(yaml.safe_dump(snapshot))
    assert stats(steps, words, tmp_path / "out", "--trained_models.big", "1000") == 0
    found = read(tmp_path / "out", "cost.json")
    assert [stage["flops"] is None for stage in found["stages"]] == [True, False]
    assert found["arms"]["prox-d+c"]["flops"] is None
    assert "costs as much as refining" not in (tmp_path / "out/cards/prox-d+c/README.md").read_text()


def test_a_resumed_run_has_a_time_but_no_rate(tmp_path: Path, steps: dict[str, Path], words: Path) -> None:
    commit(steps["prox-d"], "document", {}, {"seconds": 4.0, "resumed": True})
    assert stats(steps, words, tmp_path / "out") == 0
    document, chunk = read(tmp_path / "out", "cost.json")["stages"]
    assert (document["seconds"], document["resumed"], document["documents_per_second"]) == (4.0, True, None)
    assert chunk["documents_per_second"] == 2.0


def test_one_arm_is_enough_to_find_the_steps_behind_it(tmp_path: Path, steps: dict[str, Path], words: Path) -> None:
    assert stats({"clean": steps["prox-d+c"]}, words, tmp_path / "out") == 0
    found = read(tmp_path / "out")
    assert [(row["name"], row["input"]) for row in found["steps"]] == [
        ("ingest", None),
        ("document", "ingest"),
        ("clean", "document"),
    ]
    assert list(found["arms"]) == ["clean"]
    shutil.rmtree(steps["prox-d"])
    assert stats({"clean": steps["prox-d+c"]}, words, tmp_path / "alone", "--seed", "1") == 0
    (row,) = read(tmp_path / "alone")["steps"]
    assert (row["in"], row["edited_away"], row["kept"]) == (None, None, found["steps"][2]["kept"])
    assert "removed_lines" not in read(tmp_path / "alone", "frequent.json")["clean"]  # the ledger holds no text


def test_a_step_whose_input_was_made_anew_is_refused(
    tmp_path: Path, steps: dict[str, Path], words: Path, capsys
) -> None:
    write_unit(steps["raw"] / "documents" / unit_name(1), rows("d"), DOCUMENT_SCHEMA)
    assert stats(steps, words, tmp_path / "out") == 1
    assert "holds 5 documents, kept and dropped, but `raw`, which it was made from, has 4" in capsys.readouterr().err
    write_unit(steps["raw"] / "documents" / unit_name(1), rows("de"), DOCUMENT_SCHEMA)
    write_unit(steps["prox-d"] / "documents" / unit_name(1), rows("de", TEXTS | {"d": "new"}), DOCUMENT_SCHEMA)
    assert stats(steps, words, tmp_path / "other", "--seed", "1") == 1
    assert "was not written for the documents now in" in capsys.readouterr().err


def test_unusable_settings_are_all_named(tmp_path: Path, steps: dict[str, Path], words: Path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    more = ("--workers", "0", "--capacity", "0", "--trained_models.big", "0")
    assert stats(steps | {"hollow": tmp_path / "empty"}, words, tmp_path / "out", *more) == 2
    error = capsys.readouterr().err
    for part in ("empty holds no documents/*.parquet", "--workers 0", "--capacity 0", "--trained_models.big 0"):
        assert part in error


@pytest.mark.slow
def test_disturbed_runs_end_with_the_same_bytes(tmp_path: Path, steps: dict[str, Path], words: Path) -> None:
    assert stats(steps, words, tmp_path / "out") == 0
    before = results(tmp_path / "out")
    assert len(before) == 5 + 3
    assert stats(steps, words, tmp_path / "two", "--workers", "2") == 0
    assert results(tmp_path / "two") == before
    (tmp_path / "out" / "_SUCCESS").unlink()
    (tmp_path / "out" / "counts" / "00001.json.gz").unlink()  # its task is complete, but the file is lost
    (tmp_path / "out" / "tasks" / "completions" / "00000").unlink()  # killed before its task was marked
    (tmp_path / "out" / "counts" / ".00000.json.gz.1.tmp").write_bytes(b"half")
    (tmp_path / "out" / "stats.json").write_text("{half")
    assert stats(steps, words, tmp_path / "out") == 0
    assert results(tmp_path / "out") == before
    assert not list((tmp_path / "out" / "counts").glob(".*"))


def card(output: Path, arm: str) -> str:
    return (output / "cards" / arm / "README.md").read_text()


def test_the_card_is_the_hubs_and_loads_the_corpus(tmp_path: Path, steps: dict[str, Path], words: Path) -> None:
    from datasets import load_dataset
    from huggingface_hub import DatasetCard

    assert stats(steps, words, tmp_path / "out") == 0
    metadata = DatasetCard(card(tmp_path / "out", "prox-d+c")).data.to_dict()
    assert metadata["size_categories"] == ["n<1K"]
    assert "license" not in metadata
    corpus = steps["prox-d+c"]
    shutil.copy(tmp_path / "out/cards/prox-d+c/README.md", corpus)
    loaded = load_dataset(str(corpus), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["text"] == [document.text for document in iterate_documents(corpus)]  # and nothing that was dropped


def test_the_card_says_what_was_recorded(tmp_path: Path, steps: dict[str, Path], words: Path) -> None:
    assert stats(steps, words, tmp_path / "out") == 0
    text = card(tmp_path / "out", "prox-d+c")
    for part in (
        "| source (`raw`) | 5 | 25 |",
        "| `prox-d` | refinement document | 5 | 4 | 1 | 25 | 2 | 0 | 23 | 92.0% |",
        "| `prox-d+c` | refinement chunk | 4 | 3 | 1 | 23 | 2 | 9 | 12 | 48.0% |",
        "| `prox-d` | `drop_doc` | 1 | 2 |",
        "| `Home About` | 3 | `a` |",
        "`raw` left out 1 records of the source",
        "In `prox-d+c` 2 calls could not be read",
        "path: pages.jsonl",
        "refiner:\n  checkpoint: /",
        "layout: plain",
        "max_bad_calls: 1",
        "transformers: ",
    ):
        assert part in text, part
    assert str(tmp_path / "chunk") not in text, "where the run lies is no fact of the corpus"
    assert "Edits of" not in card(tmp_path / "out", "prox-d")


def test_a_replay_keeps_its_refiner_and_its_cost(tmp_path: Path, steps: dict[str, Path], words: Path) -> None:
    options = ["--documents", str(steps["raw"]), "--ledger", str(steps["prox-d"]), "--threshold", "0.75"]
    assert main("refinement", VERBS, ["replay", *options, "--output", str(tmp_path / "strict")]) == 0
    assert stats({"raw": steps["raw"], "strict": tmp_path / "strict"}, words, tmp_path / "out") == 0
    (stage,) = read(tmp_path / "out", "cost.json")["stages"]
    assert (stage["step"], stage["command"], stage["seconds"]) == ("strict", "refinement document", 4.0)
    assert stage["tokens_read"] == 50
    text = card(tmp_path / "out", "strict")
    assert "the run whose answers `strict` holds" in text
    assert "threshold: 0.75" in text
    assert "threshold: 0.5" in text


def test_arms_of_the_rules_verb_and_foreign_folders(tmp_path: Path, units: Path, tiny_checkpoint: Path) -> None:
    config = tmp_path / "rules.yaml"
    config.write_text(yaml.safe_dump({"filters": [{"name": "gopher_repetition"}]}))
    options = ["--config", str(config), "--documents", str(units), "--output", str(tmp_path / "rules")]
    assert main("refinement", VERBS, ["rules", *options]) == 0
    foreign = tmp_path / "foreign"
    shutil.copytree(units / "documents", foreign / "documents")
    arms = {"rules": tmp_path / "rules", "raw": units, "foreign": foreign}
    assert stats(arms, tiny_checkpoint, tmp_path / "out") == 0
    found = read(tmp_path / "out")
    texts = [document.text for document in iterate_documents(units)]
    assert found["arms"]["raw"]["documents"] == found["arms"]["foreign"]["documents"] == 10
    assert found["arms"]["raw"]["bytes"] == sum(len(text.encode()) for text in texts)
    assert found["shares"]["raw"]["tokens"] == 1.0 > found["shares"]["rules"]["tokens"] > 0
    (rules,) = (row for row in found["steps"] if row["name"] == "rules")
    assert sum(one["documents"] for one in rules["dropped_by_reason"].values()) == 10 - rules["kept"]["documents"]
    assert "| `foreign` | not made by this project |" in card(tmp_path / "out", "foreign")
    assert len(unit_files(units)) == len(list((tmp_path / "out/counts").iterdir())) == 3
