"""The three verbs with the stand-in, through the shipped configs: determinism, split, balance, card."""

import json
import re
import statistics
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from annotation import seeds, sets, tables
from annotation.__main__ import VERBS
from annotation.annotators import STAND_IN
from annotation.configs import ScoreConfig
from annotation.set_configs import SplitConfig
from annotation.split import split
from prox import units
from prox.command import main, parse, settings_of
from prox.engines import EngineConfig
from prox.errors import UserError
from prox.executor import execute
from prox.program import parse_program


def configs(repository: Path, verb: str) -> list[str]:
    return [
        "--config",
        str(repository / f"configs/annotation/{verb}.yaml"),
        "--config",
        str(repository / f"configs/scales/nano/annotation_{verb}.yaml"),
    ]


@pytest.fixture
def annotated(make_documents, corpus, tmp_path, repository) -> dict[str, Path]:
    """Documents, scores and programs, made by the command line at nano scale (windows in words)."""
    paths = {"documents": make_documents(corpus), "scores": tmp_path / "scores", "programs": tmp_path / "programs"}
    score = ["score", *configs(repository, "score"), "--documents", str(paths["documents"])]
    program = ["program", *configs(repository, "program"), "--documents", str(paths["documents"]), "--window", "60"]
    assert main("annotation", VERBS, [*score, "--output", str(paths["scores"])]) == 0
    program += ["--scores", str(paths["scores"]), "--output", str(paths["programs"])]
    assert main("annotation", VERBS, program) == 0
    return paths


def run_split(annotated: dict[str, Path], output: Path, **options) -> dict:
    output.mkdir()
    split(SplitConfig(output=output, **annotated, **options))
    return {path.stem: tables.read_rows(path) for path in sorted(output.glob("*.jsonl"))}


def test_shipped_configs_parse(repository) -> None:
    for verb, entry in VERBS.items():
        both = configs(repository, verb)
        for files in (both[:2], both if Path(both[3]).is_file() else both[:2]):
            assert isinstance(parse("annotation", VERBS, [verb, *files, "--output", "x"])[1], entry.config)


def test_all_problems_are_reported_at_once(tmp_path, capsys) -> None:
    arguments = ["score", "--output", str(tmp_path / "o"), "--documents", str(tmp_path / "none"), "--batch_size", "0"]
    assert main("annotation", VERBS, [*arguments, "--prompts.edu", str(tmp_path / "no.txt")]) == 2
    message = capsys.readouterr().err
    for part in ("none does not exist", "--batch_size is 0", "engine.base_url ''", "no.txt"):
        assert part in message
    assert not (tmp_path / "o").exists()


def test_dry_run_plans_requests(make_documents, corpus, tmp_path, capsys, repository) -> None:
    arguments = ["score", "--output", str(tmp_path / "o"), "--documents", str(make_documents(corpus))]
    arguments += ["--engine.base_url", "http://127.0.0.1:1/v1"]
    assert main("annotation", VERBS, [*arguments, "--num_documents", "10", "--dry_run", "true"]) == 0
    plan = capsys.readouterr().out
    assert "documents: 10 of 60" in plan
    assert "requests: 20" in plan


def test_stand_in_is_named_everywhere(annotated, tmp_path, caplog) -> None:
    for name in ("scores/scores.jsonl", "programs/programs.jsonl"):
        rows = tables.read_rows(tmp_path / name)
        assert rows
        assert all(row["annotator"] == STAND_IN and row["model"] is None for row in rows)
    run_split(annotated, tmp_path / "split")
    assert STAND_IN in (tmp_path / "split" / "card.md").read_text()
    assert json.loads((tmp_path / "split" / "card.json").read_text())["annotator"] == STAND_IN


def test_same_seed_same_bytes(annotated, tmp_path, repository) -> None:
    first = run_split(annotated, tmp_path / "a", seed=3)
    assert run_split(annotated, tmp_path / "b", seed=3) == first
    assert run_split(annotated, tmp_path / "c", seed=4) != first
    again = ["score", *configs(repository, "score"), "--documents", str(annotated["documents"])]
    assert main("annotation", VERBS, [*again, "--output", str(tmp_path / "again"), "--batch_size", "7"]) == 0
    scores = (annotated["scores"] / "scores.jsonl").read_bytes()
    assert (tmp_path / "again" / "scores.jsonl").read_bytes() == scores


def test_no_page_is_on_both_sides(annotated, tmp_path) -> None:
    sets = run_split(annotated, tmp_path / "split", valid_share=0.3)
    train = {row["id"] for name in ("document_train", "chunk_train") for row in sets[name]}
    valid = {row["id"] for name in ("document_valid", "chunk_valid") for row in sets[name]}
    assert train
    assert valid
    assert not train & valid
    train_texts = {row["text"] for row in sets["document_train"]}
    assert not train_texts & {row["text"] for row in sets["document_valid"]}


def test_copies_under_other_ids_are_left_out(make_documents, corpus, tmp_path, repository) -> None:
    texts = {**corpus, **{f"copy-{key}": text for key, text in corpus.items()}}
    documents = make_documents(texts)
    for verb, extra in (("score", []), ("program", ["--scores", str(tmp_path / "score"), "--window", "60"])):
        arguments = [verb, *configs(repository, verb), "--documents", str(documents), *extra]
        assert main("annotation", VERBS, [*arguments, "--output", str(tmp_path / verb)]) == 0
    paths = {"documents": documents, "scores": tmp_path / "score", "programs": tmp_path / "program"}
    sets = run_split(paths, tmp_path / "split")
    ids = {row["id"] for rows in sets.values() for row in rows}
    assert len(ids) == len(corpus)
    assert not any(key.startswith("copy-") for key in ids)


def test_programs_run_on_their_chunks(annotated, tmp_path) -> None:
    sets = run_split(annotated, tmp_path / "split")
    chunks = sets["chunk_train"] + sets["chunk_valid"]
    assert {tuple(sorted(row)) for row in chunks} == {("first_line", "id", "program", "text")}
    executions = [execute(parse_program(row["program"]), row["text"], row["first_line"]) for row in chunks]
    assert {call.status for execution in executions for call in execution.calls} <= {"applied", "kept"}
    assert {execution.verdict for execution in executions} >= {"edited", "unchanged"}
    assert not any("badge" in execution.text or "MIT license" in execution.text for execution in executions)


def test_balance_and_num_valid(annotated, tmp_path) -> None:
    sets = run_split(annotated, tmp_path / "s", num_valid=9, document_balance="balanced", chunk_balance="balanced")
    assert len(sets["document_valid"]) == 9
    for name, keep in (("document_train", "keep_doc()"), ("chunk_train", "keep_chunk()")):
        kept = sum(row["program"] == keep for row in sets[name])
        assert 2 * kept == len(sets[name]) > 0


def test_sizes_are_bounds(annotated, tmp_path) -> None:
    everything = run_split(annotated, tmp_path / "all", num_valid=20)
    sizes = {"max_train_documents": 15, "max_train_chunks": 12, "max_valid_chunks": 5}
    sets = run_split(annotated, tmp_path / "some", num_valid=20, **sizes)
    assert {name: len(rows) for name, rows in sets.items()} == {
        "document_train": 15,
        "document_valid": 20,
        "chunk_train": 12,
        "chunk_valid": 5,
    }
    for name, rows in sets.items():
        order = [everything[name].index(row) for row in rows]
        assert order == sorted(set(order))  # a part of all, in their order
    balanced = {"document_balance": "balanced", "chunk_balance": "balanced"}
    sets = run_split(annotated, tmp_path / "balanced", num_valid=20, **sizes, **balanced)
    assert sorted(row["program"] for row in sets["document_train"]) == ["drop_doc()"] * 7 + ["keep_doc()"] * 7
    assert len(sets["chunk_train"]) in (2, 4, 6, 8, 10, 12)


SITES = st.lists(st.sampled_from(["", "a.example", "b.example", "c.example", "d.example"]), min_size=2, max_size=40)


@given(SITES.filter(any), st.integers(1, 50), st.integers(0, 5))
def test_no_site_is_on_both_sides(domains, num_valid, seed) -> None:
    pages = [sets.Page(f"{number}", "keep_doc()", domain) for number, domain in enumerate(domains)]
    config = SplitConfig(output=Path("unused"), split_by="domain", num_valid=num_valid, seed=seed)
    if num_valid >= len(pages):
        with pytest.raises(UserError, match=f"--num_valid {num_valid} leaves none"):
            sets.assign_sides(config, pages)
        return
    sides = sets.assign_sides(config, pages)
    assert sides.keys() == {page.id for page in pages}
    by_site = {(page.domain or page.id, sides[page.id]) for page in pages}
    assert len(by_site) == len({site for site, _ in by_site})
    num_held_out = sum(side == "valid" for side in sides.values())
    alone = domains.count("")
    assert min(num_valid, alone) <= num_held_out <= num_valid  # pages without a site always fit


@pytest.mark.parametrize(
    ("url", "domain"),
    [
        ("https://www.Shop.co.uk/a?b#c", "shop.co.uk"),
        ("http://user@a.b.example.org:8080/", "example.org"),
        ("me.github.io", "github.io"),
        ("http://deep.wiki.intranet/x", "wiki.intranet"),
        ("http://localhost:3000", "localhost"),
        ("http://10.0.0.1/x", "10.0.0.1"),
        ("", ""),
        (None, ""),
        (["https://a.example"], ""),
    ],
)
def test_registrable_domains(url, domain) -> None:
    assert sets.domain_of(url) == domain


def test_split_by_domain_reads_the_documents_addresses(annotated, tmp_path) -> None:
    folder = annotated["documents"]
    for number, path in enumerate(units.unit_files(folder)):
        rows = list(units.read_rows(path))
        for index, row in enumerate(rows):
            row["metadata"] = json.dumps({"address": f"https://page.site{number}{index // 5}.com/{row['id']}"})
        units.write_unit(path, rows, units.DOCUMENT_SCHEMA)
    run_split(annotated, tmp_path / "out", split_by="domain", url_column="address", valid_share=0.3)
    sides = json.loads((tmp_path / "out/card.json").read_text())["sides"]
    assert sides["domains_on_both_sides"] == 0
    assert sides["train_domains"] + sides["valid_domains"] == 12
    with pytest.raises(UserError, match="no document has an address in its metadata 'url'"):
        run_split(annotated, tmp_path / "wrong", split_by="domain")


def test_the_card_counts_what_the_files_hold(annotated, tmp_path) -> None:
    aside = [{"id": "x", "reason": "no line 'Educational score'"}, {"id": "y", "reason": "cut_off: at the limit"}]
    tables.write_rows(annotated["scores"] / "aside.jsonl", aside)
    tables.write_rows(annotated["programs"] / "aside.jsonl", aside[1:])
    files = run_split(annotated, tmp_path / "out")
    card = json.loads((tmp_path / "out/card.json").read_text())
    for name, rows in files.items():
        facts = card["sets"][name]
        assert facts["examples"] == len(rows) == sum(row["count"] for row in facts["classes"].values())
        assert facts["documents"] == len({row["id"] for row in rows})
        lengths = [len(re.findall(r"[^\W]+", row["text"])) for row in rows]
        assert facts["words_mean"] == pytest.approx(statistics.fmean(lengths), abs=0.06)
        assert facts["words_median"] == statistics.median(lengths)
    scores = tables.read_rows(annotated["scores"] / "scores.jsonl")
    for name, field in (("educational_scores", "edu_score"), ("format_scores", "format_score")):
        found = {score: row["count"] for score, row in card["documents"][name].items() if row["count"]}
        assert found == Counter(str(row[field]) for row in scores)
    assert card["documents"]["aside_by_reason"]["cut_off"] == {"count": 1, "share": round(1 / 62, 4)}
    assert card["chunks"]["aside_by_reason"] == {
        "cut_off": {"count": 1, "share": round(1 / (1 + card["chunks"]["programs"]), 4)}
    }
    text = (tmp_path / "out/card.md").read_text()
    assert "| cut_off | 1 | 1.6% |" in text
    assert "{" not in text


def test_growing_the_corpus_moves_no_page_to_the_other_side() -> None:
    ranks = {key: seeds.random_rank(0, "valid", key) for key in map(str, range(1000))}
    assert 60 < sum(rank < 0.1 * 2**64 for rank in ranks.values()) < 140
    assert seeds.draw(map(str, range(1000)), 50, 0, "x") < seeds.draw(map(str, range(1000)), 80, 0, "x")


def test_nano_and_paper_differ_in_configs_only(repository) -> None:
    paper = yaml.safe_load((repository / "configs/annotation/score.yaml").read_text())
    assert (paper["num_documents"], paper["annotator"]["model"]) == (51000, "meta-llama/Meta-Llama-3-70B-Instruct")
    sizes = yaml.safe_load((repository / "configs/annotation/split.yaml").read_text())
    assert sizes["num_valid"] + sizes["max_train_documents"] == paper["num_documents"]
    assert (sizes["max_valid_chunks"], sizes["max_valid_chunks"] + sizes["max_train_chunks"]) == (5000, 57000)


@pytest.mark.parametrize(
    ("options", "empty", "remedy"),
    [
        ({"valid_share": 1e-9}, "document_valid 0", "change --valid_share 1e-09"),
        ({"valid_share": 1 - 1e-9}, "document_train 0", "change --valid_share 0.999999999"),
        ({"num_valid": 1}, "chunk_valid 0", "change --num_valid 1"),
    ],
)
def test_an_empty_set_is_refused_with_its_remedy(annotated, tmp_path, options, empty, remedy) -> None:
    if "num_valid" in options:  # a dropped page alone has no chunk
        programs = tables.read_rows(annotated["programs"] / "programs.jsonl")
        tables.write_rows(annotated["programs"] / "programs.jsonl", programs[:1])
    with pytest.raises(UserError, match="a set is empty") as error:
        run_split(annotated, tmp_path / "split", **options)
    assert empty in str(error.value)
    assert remedy in str(error.value)
    assert not list((tmp_path / "split").iterdir())


@pytest.mark.parametrize("option", [["--num_valid", "0"], ["--valid_share", "0"]])
def test_no_valid_set_at_all_is_refused_at_once(annotated, tmp_path, capsys, option) -> None:
    inputs = [part for name, path in annotated.items() for part in (f"--{name}", str(path))]
    assert main("annotation", VERBS, ["split", *inputs, *option, "--output", str(tmp_path / "o")]) == 2
    assert option[0] in capsys.readouterr().err


def test_where_the_annotator_is_reached_leaves_work_valid() -> None:
    before = ScoreConfig(output=Path("x"))
    after = ScoreConfig(output=Path("x"), engine=EngineConfig(kind="server", base_url="http://h/v1"), batch_size=3)
    assert settings_of(before) == settings_of(after)
