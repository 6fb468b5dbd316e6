"""`pairs`: labels checked, programs that give the cleaned page, copies, sides, sizes, the card."""

import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from datatrove.data import Document
from hypothesis import given
from hypothesis import strategies as st

from annotation import tables
from annotation.__main__ import VERBS
from annotation.labels import Cleaning, Unusable, chunk_programs, clean_by_lines, clean_by_pair
from annotation.pairs import pairs
from annotation.set_configs import PairsConfig
from prox import units
from prox.assembly import join_chunks
from prox.chunking import number_lines, split_into_chunks
from prox.command import main
from prox.errors import UserError
from prox.executor import execute
from prox.program import KeepChunk, Normalize, RemoveLines, parse_program, render_program

PROSE = "The library reads the file and keeps what it needs, because memory is short on small machines."
DEFAULTS = PairsConfig(output=Path("unused"), clean_column="clean")
ANY_PAIR = dataclasses.replace(DEFAULTS, min_recall=0, max_extra_share=1, max_missing_share=1)


def page(number: int, **metadata: Any) -> tuple[str, str, dict[str, Any]]:
    """A page of seven lines, of which 0, 1 and 6 are noise; every third one is clean."""
    site = f"https://www.site{number // 2}.example/{number}"
    if number % 3 == 0:
        return f"p{number}", "\n".join([f"Page {number}", PROSE, PROSE]), {"noise": [], "url": site} | metadata
    lines = ["Home | About", "Sign in", f"Page {number}", PROSE, PROSE, PROSE, "All rights reserved"]
    return f"p{number}", "\n".join(lines), {"noise": [0, 1, 6], "open": [2], "url": site} | metadata


def run_pairs(output: Path, **options: Any) -> dict[str, list[tables.Row]]:
    output.mkdir(exist_ok=True)
    settings = {"noise_lines_column": "noise", "min_clean_words": 5, "window": 40, "valid_share": 0.3} | options
    pairs(PairsConfig(output=output, **settings))
    return {path.stem: tables.read_rows(path) for path in sorted(output.glob("*.jsonl"))}


def ids(sets: dict[str, list[tables.Row]], side: str) -> set[str]:
    return {row["id"] for task in ("document", "chunk") for row in sets[f"{task}_{side}"]}


def written(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


# Texts with blank lines, repeats, scripts without spaces, odd white space and quotes.
LINES = st.lists(
    st.one_of(
        st.sampled_from(
            ["", " ", "Home | About", "Home | About", PROSE, 'say "no" \\n twice', "植物は光合成", "a\r", "x y z"]
        ),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=12),
    ),
    min_size=1,
    max_size=14,
)


def check_programs(text: str, cleaning: Cleaning, window: int) -> str:
    """Runs the rendered programs on all chunks as the refiner's executor would; returns the text they leave."""
    chunks = split_into_chunks(text, window)
    programs = [parse_program(render_program(program.operations)) for program in chunk_programs(cleaning, chunks)]
    executions = []
    for chunk, program in zip(chunks, programs, strict=True):
        execution = execute(program, chunk.text, chunk.first_line)
        assert not program.faults
        assert {call.status for call in execution.calls} <= {"applied", "kept"}
        assert execution.reason in ("", "all_lines_removed")
        assert (execution.verdict == "unchanged") == (program.operations == (KeepChunk(),))
        executions.append(execution)
    return join_chunks(executions) or ""


@given(LINES, st.data(), st.integers(1, 60))
def test_programs_of_labelled_lines_give_the_page_without_them(lines, data, window) -> None:
    numbers = st.sets(st.integers(0, len(lines) - 1))
    noise = data.draw(numbers, "noise")
    ambiguous = data.draw(numbers, "ambiguous") - noise
    document = Document("\n".join(lines), "x", metadata={"noise": list(noise), "open": list(ambiguous)})
    cleaning = clean_by_lines(document, "noise", "open")
    kept = [line for number, line in enumerate(lines) if number not in noise]
    assert written(check_programs(document.text, cleaning, window)) == written("\n".join(kept))
    if all(line.strip() for line in kept):
        assert check_programs(document.text, cleaning, window) == "\n".join(kept)
    assert cleaning.ambiguous == ambiguous


@given(LINES, st.data(), st.integers(1, 60))
def test_programs_of_a_pair_give_what_its_cleaning_gives(lines, data, window) -> None:
    text = "\n".join(lines)
    kept = [line for line in lines if data.draw(st.booleans())]
    clean = "\n".join(kept).replace(data.draw(st.sampled_from(["About", "the ", "光", "\\n"])), "")
    cleaning = clean_by_pair(Document(text, "x", metadata={"clean": clean}), ANY_PAIR)
    result = check_programs(text, cleaning, window)
    assert written(result) == written(cleaning.text)
    if cleaning.is_exact:
        assert written(result) == written(clean)


def test_calls_are_cut_to_their_chunk() -> None:
    lines = ["Menu", "Menu", "read more here", PROSE, "read more there", "Menu", "Foot"]
    text = "\n".join(lines)
    removals = (RemoveLines(0, 1), RemoveLines(5, 6))
    cleaning = Cleaning(removals, f"here\n{PROSE}\nthere", 0, (Normalize("read more "),))
    chunks = split_into_chunks(text, 19)
    assert [chunk.first_line for chunk in chunks] == [0, 3, 4]
    programs = [render_program(program.operations) for program in chunk_programs(cleaning, chunks)]
    assert programs == [
        'remove_lines(line_start=0, line_end=1)\nnormalize(source_str="read more ", target_str="")',
        "keep_chunk()",
        'remove_lines(line_start=5, line_end=6)\nnormalize(source_str="read more ", target_str="")',
    ]


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, "labels_missing"),
        ({"noise": None}, "labels_missing"),
        ({"noise": "1, 2"}, "labels_unreadable: 'noise' holds a str"),
        ({"noise": [1.5]}, "labels_unreadable: 'noise' holds '1.5'"),
        ({"noise": ["1"]}, "labels_unreadable: 'noise' holds '1'"),
        ({"noise": [True]}, "labels_unreadable: 'noise' holds 'True'"),
        ({"noise": [None]}, "labels_unreadable"),
        ({"noise": [0, 3]}, "labels_out_of_range: 'noise' holds 3, the lines are 0 to 2"),
        ({"noise": [-1]}, "labels_out_of_range: 'noise' holds -1"),
        ({"noise": [1], "open": [7]}, "labels_out_of_range: 'open' holds 7"),
        ({"noise": [0, 1], "open": [1]}, "labels_contradict: line 1"),
    ],
)
def test_bad_labels_go_aside_with_their_reason(artefact, tmp_path, metadata, reason) -> None:
    bad = ("bad", f"a\nb\n{PROSE}", metadata)
    documents = artefact("in", *map(page, range(24)), bad)
    sets = run_pairs(tmp_path / "out", documents=documents, ambiguous_lines_column="open")
    (row,) = sets["aside"]
    assert (row["id"], row["source"]) == ("bad", "documents")
    assert row["reason"].startswith(reason)
    card = json.loads((tmp_path / "out/card.json").read_text())
    assert card["documents"]["aside_by_reason"] == {reason.split(":")[0]: {"count": 1, "share": 0.04}}


def test_whole_floats_are_line_numbers() -> None:
    document = Document("a\nb\nc", "x", metadata={"noise": [2.0, 0.0, 2.0]})
    assert clean_by_lines(document, "noise").removals == (RemoveLines(0, 0), RemoveLines(2, 2))


@pytest.mark.parametrize(
    ("clean", "reason"),
    [
        (None, "clean_missing"),
        (["a"], "clean_unreadable: 'clean' holds a list"),
        ("Something else was written here, on quite another day and of other matters.", "low_recall"),
    ],
)
def test_pairs_that_are_none_go_aside(clean, reason) -> None:
    with pytest.raises(Unusable, match=f"^{reason}"):
        clean_by_pair(Document(page(1)[1], "x", metadata={"clean": clean}), DEFAULTS)


@pytest.mark.parametrize(
    ("text", "clean", "reason"),
    [
        (PROSE, f"{PROSE} It was never in the page.", "low_recall"),
        (PROSE, f"{PROSE} It was never in the page.", "too_much_missing"),
        (
            "\n".join(["The word is advert"] * 300),
            "\n".join(["The word is"] * 300),
            "too_much_extra",
        ),  # no call has 300 places
    ],
)
def test_each_threshold_decides_what_a_pair_is(text, clean, reason) -> None:
    option = {"low_recall": "min_recall", "too_much_missing": "max_missing_share", "too_much_extra": "max_extra_share"}
    document = Document(text, "x", metadata={"clean": clean})
    strict = dataclasses.replace(ANY_PAIR, **{option[reason]: getattr(DEFAULTS, option[reason])})
    with pytest.raises(Unusable, match=f"^{reason}: 0"):
        clean_by_pair(document, strict)
    assert clean_by_pair(document, ANY_PAIR).text == text


def test_rows_name_open_lines_and_keep_them(artefact, tmp_path) -> None:
    documents = artefact("in", *map(page, range(24)))
    sets = run_pairs(tmp_path / "out", documents=documents, ambiguous_lines_column="open")
    rows = [row for row in sets["chunk_train"] if row["first_line"] == 0 and row["program"] != "keep_chunk()"]
    assert rows
    for row in rows:
        assert row["ambiguous_lines"] == [2]
        assert row["text"].split("\n")[2] in execute(parse_program(row["program"]), row["text"]).text
    assert any("ambiguous_lines" not in row for row in sets["chunk_train"])


def test_short_and_dropped_documents_are_dropped_without_chunks(artefact, tmp_path) -> None:
    short = ("short", f"three clean words\n{PROSE}", {"noise": [1]})
    drops = artefact("drops", ("d0", "Not found", {}), ("d1", "Access denied", {}))
    documents = artefact("in", *map(page, range(24)), short)
    sets = run_pairs(tmp_path / "out", documents=documents, drop_documents=drops)
    programs = {row["id"]: row["program"] for row in sets["document_train"] + sets["document_valid"]}
    assert {key for key, program in programs.items() if program == "drop_doc()"} == {"short", "d0", "d1"}
    assert not {"short", "d0", "d1"} & {row["id"] for row in sets["chunk_train"] + sets["chunk_valid"]}
    assert set(programs.values()) == {"keep_doc()", "drop_doc()"}


def test_a_valid_page_leaves_train_and_copies_go(artefact, tmp_path) -> None:
    valid = artefact("valid", page(1), page(2))
    moved = ("elsewhere", *page(1)[1:])
    same_id = ("p2", *page(40)[1:])
    bad_first = [("bad", page(50)[1], {}), ("good", *page(50)[1:])]
    documents = artefact("in", *map(page, range(3, 20)), moved, same_id, ("again", *page(4)[1:]), *bad_first)
    drops = artefact("drops", ("d0", page(5)[1], {}))
    sets = run_pairs(tmp_path / "out", documents=documents, valid_documents=valid, drop_documents=drops)
    assert ids(sets, "valid") == {"p1", "p2"}
    assert ids(sets, "train") == {*(f"p{number}" for number in range(3, 20)), "p2#2", "good"}
    card = json.loads((tmp_path / "out/card.json").read_text())
    assert card["documents"]["left_out_as_copies"] == 3
    assert card["documents"]["aside_by_reason"]["labels_missing"]["count"] == 1
    texts = {
        row["id"]: row["text"] for rows in sets.values() for row in rows if "first_line" not in row and "text" in row
    }
    assert texts["p2#2"] == page(40)[1]


def test_split_by_domain_keeps_sites_together(artefact, tmp_path) -> None:
    documents = artefact("in", *map(page, range(40)), ("bare", page(41)[1], {"noise": [0]}))
    sets = run_pairs(tmp_path / "out", documents=documents, split_by="domain")
    sites = {side: {int(key[1:]) // 2 for key in ids(sets, side) - {"bare"}} for side in ("train", "valid")}
    assert not sites["train"] & sites["valid"]
    assert min(map(len, sites.values())) > 3
    card = json.loads((tmp_path / "out/card.json").read_text())
    assert card["sides"]["domains_on_both_sides"] == 0
    assert card["sides"]["train_domains"] == len(sites["train"])
    by_page = run_pairs(tmp_path / "pages", documents=documents)
    assert json.loads((tmp_path / "pages/card.json").read_text())["sides"]["domains_on_both_sides"] > 0
    assert ids(by_page, "train") | ids(by_page, "valid") == ids(sets, "train") | ids(sets, "valid")


def test_a_site_of_the_valid_documents_leaves_train(artefact, tmp_path) -> None:
    valid = artefact("valid", page(1), page(2))
    documents = artefact(
        "in", *map(page, range(3, 20)), ("same-site", page(60)[1], {"noise": [], "url": page(0)[2]["url"]})
    )
    drops = artefact(
        "drops", ("d0", "Not found", {"url": page(1)[2]["url"]}), ("d1", "Gone", {"url": page(9)[2]["url"]})
    )
    sets = run_pairs(
        tmp_path / "out", documents=documents, valid_documents=valid, drop_documents=drops, split_by="domain"
    )
    assert ids(sets, "valid") == {"p1", "p2", "d0"}
    assert ids(sets, "train") == {*(f"p{number}" for number in range(4, 20)), "d1"}  # p3 is of p2's site
    card = json.loads((tmp_path / "out/card.json").read_text())
    assert card["documents"]["left_out_with_a_domain_of_the_valid_side"] == 2


def test_over_long_lines_and_drawn_chunks_are_counted(artefact, tmp_path) -> None:
    long = ("long", "\n".join([PROSE, "word " * 60, PROSE, PROSE, PROSE, PROSE, PROSE]), {"noise": [1, 4]})
    documents = artefact("in", *map(page, range(24)), long)
    everything = run_pairs(tmp_path / "all", documents=documents)
    rows = [row for name in ("chunk_train", "chunk_valid") for row in everything[name] if row["id"] == "long"]
    assert [row["first_line"] for row in rows] == [0, 2, 4, 6]
    assert all("word word" not in row["text"] for row in rows)
    some = run_pairs(tmp_path / "some", documents=documents, max_chunks_per_document=1)
    kept = [row for name in ("chunk_train", "chunk_valid") for row in some[name]]
    assert len(kept) == len({row["id"] for row in kept}) == 25
    total = len(everything["chunk_train"]) + len(everything["chunk_valid"])
    card = json.loads((tmp_path / "some/card.json").read_text())
    assert card["chunks"]["skipped_as_longer_than_the_window"] == 1
    assert card["chunks"]["left_out_by_max_chunks_per_document"] == total - 25


def test_chunks_fit_the_window_in_tokens(artefact, tmp_path, tiny_checkpoint) -> None:
    from transformers import AutoTokenizer

    documents = artefact("in", *map(page, range(24)))
    options = {"documents": documents, "tokenizer": tiny_checkpoint, "window": 120}
    sets = run_pairs(tmp_path / "out", **options)
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    rows = sets["chunk_train"] + sets["chunk_valid"]
    numbered = [number_lines(row["text"], row["first_line"]) for row in rows]
    lengths = [len(tokenizer.encode(text, add_special_tokens=False)) for text in numbered]
    assert 60 < max(lengths) <= 120
    in_words = run_pairs(tmp_path / "words", **options | {"tokenizer": None})
    assert len(rows) > len(in_words["chunk_train"] + in_words["chunk_valid"])


def test_the_same_inputs_give_the_same_bytes_and_nothing_else_stays(artefact, tmp_path) -> None:
    documents = artefact("in", *map(page, range(24)))
    options = {"chunk_balance": "balanced", "max_train_chunks": 10}
    run_pairs(tmp_path / "a", documents=documents, **options)
    (tmp_path / "b/work").mkdir(parents=True)  # of a run that was killed
    (tmp_path / "b/work/chunks.jsonl").write_text('{"id": "p1", "first_li')
    run_pairs(tmp_path / "b", documents=documents, **options)
    names = {f"{task}_{side}.jsonl" for task in ("document", "chunk") for side in ("train", "valid")}
    assert {path.name for path in (tmp_path / "a").iterdir()} == {*names, "aside.jsonl", "card.json", "card.md"}
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()
    }
    rows = tables.read_rows(tmp_path / "a/chunk_train.jsonl")
    assert sorted(row["program"] == "keep_chunk()" for row in rows) == [False] * 5 + [True] * 5


@pytest.mark.parametrize(
    ("column", "name"), [("noise_lines_column", "line labels"), ("clean_column", "before/after pairs")]
)
def test_the_card_says_that_no_model_took_part(artefact, tmp_path, column, name) -> None:
    clean = {"clean": "\n".join([PROSE, PROSE])}
    documents = artefact("in", *(page(number, **clean) for number in range(24)))
    options = {"noise_lines_column": "", "clean_column": ""} | {column: "noise" if "noise" in column else "clean"}
    run_pairs(tmp_path / "out", documents=documents, max_extra_share=1, **options)
    assert json.loads((tmp_path / "out/card.json").read_text())["annotator"] == name
    card = (tmp_path / "out/card.md").read_text()
    assert f"Annotator: **{name}**" in card
    assert "No language model took part" in card
    assert "None" not in card
    assert "{" not in card


def test_a_column_that_nothing_has_is_an_error_with_the_reasons(artefact, tmp_path) -> None:
    documents = artefact("in", *map(page, range(5)))
    drops = artefact("drops", ("d0", "Not found", {}), ("d1", "Access denied", {}))
    with pytest.raises(UserError, match=r"\(labels_missing 5\)"):
        run_pairs(tmp_path / "out", documents=documents, drop_documents=drops, noise_lines_column="nois")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"aside.jsonl"}
    with pytest.raises(UserError, match="--url_column"):
        run_pairs(tmp_path / "other", documents=documents, split_by="domain", url_column="address")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "name exactly one of them"),
        (["--clean_column", "a", "--noise_lines_column", "b"], "name exactly one of them"),
        (["--clean_column", "a", "--ambiguous_lines_column", "b"], "--noise_lines_column is not set"),
        (["--clean_column", "a", "--min_recall", "2"], "--min_recall is 2"),
        (["--clean_column", "a", "--window", "0", "--max_valid_chunks", "0"], "--max_valid_chunks is 0"),
        (["--clean_column", "a", "--tokenizer", "/no/tokenizer"], "--tokenizer /no/tokenizer does not exist"),
        (["--clean_column", "a", "--valid_documents", "{in}", "--num_valid", "3"], "leave one of them out"),
    ],
)
def test_unusable_settings_are_named(artefact, tmp_path, capsys, options, message) -> None:
    folder = artefact("in", page(1))
    options = [str(folder) if option == "{in}" else option for option in options]
    arguments = ["pairs", "--documents", str(folder), "--output", str(tmp_path / "o"), *options]
    assert main("annotation", VERBS, arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_labels_of_real_pages_are_reproduced(shared, tmp_path) -> None:
    source = shared / "data/web/weblines_valid.jsonl.gz"
    if not source.is_file():
        pytest.skip(f"no {source}")
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        pages = [json.loads(line) for line, _ in zip(lines, range(40), strict=False)]
    rows = [{"id": row["id"], "text": row["text"], "metadata": json.dumps(row)} for row in pages]
    units.write_unit(tmp_path / "in" / units.DOCUMENTS / units.unit_name(0), rows, units.DOCUMENT_SCHEMA)
    options = {"noise_lines_column": "noise_lines", "ambiguous_lines_column": "ambiguous_lines"}
    sets = run_pairs(tmp_path / "out", documents=tmp_path / "in", window=300, split_by="domain", **options)
    labels = {row["id"]: row for row in pages}
    chunks = sets["chunk_train"] + sets["chunk_valid"]
    assert {row["id"] for row in chunks} == set(labels)
    for row in chunks:
        calls = parse_program(row["program"]).operations
        removed = {line for call in calls if isinstance(call, RemoveLines) for line in lines_of(call)}
        seen = range(row["first_line"], row["first_line"] + row["text"].count("\n") + 1)
        assert removed == set(labels[row["id"]]["noise_lines"]).intersection(seen)
        assert row.get("ambiguous_lines", []) == sorted(set(labels[row["id"]]["ambiguous_lines"]).intersection(seen))


def lines_of(call: RemoveLines) -> range:
    return range(call.line_start, call.line_end + 1)
