"""`trees`: what boosted trees say of lines, and what `pairs` makes of it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datatrove.data import Document

from annotation import tables
from annotation.__main__ import VERBS
from annotation.labels import Unusable, clean_by_teacher
from annotation.line_trees import FOLDS, LineTrees, folds_of, page_features
from annotation.set_configs import TreesConfig
from prox import units
from prox.command import main
from prox.errors import UserError
from tests.annotation.conftest import Artefact

PROSE = "The library reads the file, and keeps in memory what it needs, since machines are small."


def pages(count: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Pages with a menu before and a footer behind their text; of one, the labels can't be read."""
    for number in range(count):
        lines = ["Home", "About us", f"Story {number}", *[f"{PROSE} {number}"] * 4, "Share", "© all rights reserved"]
        noise: Any = [0, 1, 7, 8] if number != 3 else "none"
        yield f"p{number}", "\n".join(lines), {"noise": noise, "open": [2], "url": f"https://site{number}.example/"}


def run(*arguments: object) -> int:
    return main("annotation", VERBS, [str(argument) for argument in arguments])


@pytest.fixture
def judged(artefact: Artefact, tmp_path: Path) -> Path:
    """Twenty labelled pages, one that can't be used, and one without labels, judged."""
    labelled = artefact("labelled", *pages(21))
    raw = artefact("raw", ("r", f"About us\n{PROSE}\nShare", {"url": "https://raw.example/"}))
    options = ["--noise_lines_column", "noise", "--ambiguous_lines_column", "open", "--unlabelled_documents", raw]
    assert run("trees", "--documents", labelled, *options, "--output", tmp_path / "trees") == 0
    return tmp_path / "trees"


def test_trees_judge_labelled_and_unlabelled_pages(judged: Path) -> None:
    documents = {document.id: document for document in units.iterate_documents(judged)}
    assert len(documents) == 21
    (aside,) = tables.read_rows(judged / tables.ASIDE)
    assert (aside["id"], aside["reason"].partition(":")[0]) == ("p3", "labels_unreadable")
    for document in documents.values():
        teacher = document.metadata["teacher"]
        lines = document.text.split("\n")
        assert len(teacher) == len(lines)
        said = [probability > 0.5 for line, probability in zip(lines, teacher, strict=True) if "Story" not in line]
        assert said == [PROSE not in line for line in lines if "Story" not in line]


def test_pairs_carry_what_the_trees_say(judged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = ["--noise_lines_column", "noise", "--ambiguous_lines_column", "open", "--teacher_column", "teacher"]
    options = ["pairs", "--documents", judged, *columns, "--min_clean_words", 5]
    assert run(*options, "--kind", "tagger", "--output", tmp_path / "sets") == 0
    rows = {
        row["id"]: row for side in ("train", "valid") for row in tables.read_rows(tmp_path / f"sets/chunk_{side}.jsonl")
    }
    assert len(rows) == 21
    assert all(len(row["teacher"]) == row["text"].count("\n") + 1 for row in rows.values())
    assert rows["r"]["ambiguous_lines"] == [0, 1, 2]  # no label at all
    assert rows["r"]["program"] == "remove_lines(line_start=0, line_end=0)\nremove_lines(line_start=2, line_end=2)"
    assert rows["p0"]["ambiguous_lines"] == [2]
    assert "r" in {row["id"] for row in tables.read_rows(tmp_path / "sets/chunk_train.jsonl")}
    card = json.loads((tmp_path / "sets/card.json").read_text())["documents"]
    assert (card["judged_by_a_teacher"], card["taught_by_the_teacher_alone"], card["without_labels"]) == (21, 1, 1)

    assert run(*options, "--output", tmp_path / "generative") == 2
    assert run(*options, "--kind", "tagger", "--teacher_column", "trees", "--output", tmp_path / "none") == 1
    said = capsys.readouterr().err
    assert "it goes with --kind tagger and --noise_lines_column" in said
    assert "--teacher_column 'trees': no document of" in said


def test_pages_without_labels_are_counted_apart(artefact: Artefact, tmp_path: Path) -> None:
    teacher = {"teacher": [1, 1, 0.5, 0, 0, 0, 0, 1, 1]}
    rows = [(key, text, metadata | teacher) for key, text, metadata in pages(20) if key != "p3"]
    raw = [(f"r{key}", f"{text} {key}", teacher) for key, text, _ in pages(6)]
    raw[0] = (raw[0][0], raw[0][1], {"teacher": [2]})
    raw[1] = (raw[1][0], "Home\nAbout", {"teacher": [1, 1]})
    columns = ["--noise_lines_column", "noise", "--teacher_column", "teacher", "--kind", "tagger"]
    cards = {}
    for name, documents in {"without": rows, "with": [*rows, *raw]}.items():
        options = ["--documents", artefact(name, *documents), *columns, "--min_clean_words", 5]
        assert run("pairs", *options, "--output", tmp_path / "out" / name) == 0
        cards[name] = json.loads((tmp_path / "out" / name / "card.json").read_text())["documents"]
    apart = {name: value for name, value in cards["with"].items() if cards["without"].get(name) != value}
    assert apart == {
        "read_from_documents": 25,
        "judged_by_a_teacher": 24,
        "taught_by_the_teacher_alone": 4,
        "without_labels": 6,
        "without_labels_and_set_aside": 1,
        "without_labels_and_dropped_for_fewer_words": 1,
    }
    (aside,) = tables.read_rows(tmp_path / "out/with" / tables.ASIDE)
    assert aside["id"] == "rp0"


def test_chunks_have_their_own_part_of_it(judged: Path, tmp_path: Path) -> None:
    columns = ["--noise_lines_column", "noise", "--teacher_column", "teacher", "--kind", "tagger"]
    options = ["--documents", judged, *columns, "--min_clean_words", 5, "--window", 40, "--output", tmp_path / "sets"]
    assert run("pairs", *options) == 0
    teacher = {document.id: document.metadata["teacher"] for document in units.iterate_documents(judged)}
    rows = tables.read_rows(tmp_path / "sets/chunk_train.jsonl")
    assert any(row["first_line"] for row in rows)
    for row in rows:
        last = row["first_line"] + row["text"].count("\n") + 1
        assert row["teacher"] == teacher[row["id"]][row["first_line"] : last]


@pytest.mark.parametrize("teacher", [[0.5], [0.5, 1.5], [0.5, None], "high"])
def test_a_teacher_that_is_none_sets_the_page_aside(teacher: object) -> None:
    document = Document("a\nb", "x", metadata={"noise": [], "teacher": teacher})
    with pytest.raises(Unusable, match="teacher_unreadable: 'teacher' holds"):
        clean_by_teacher(document, "teacher", "noise")


def test_a_page_that_no_teacher_saw_has_its_labels() -> None:
    document = Document("a\nb", "x", metadata={"noise": [1]})
    cleaning = clean_by_teacher(document, "teacher", "noise")
    assert (cleaning.text, cleaning.teacher) == ("a", ())
    with pytest.raises(Unusable, match="labels_missing"):
        clean_by_teacher(Document("a\nb", "x"), "teacher", "noise")


def test_too_few_labels_are_refused(artefact: Artefact, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = artefact("few", *pages(FOLDS))  # one of which can't be read
    assert run("trees", "--documents", few, "--noise_lines_column", "noise", "--output", tmp_path / "trees") == 1
    assert "holds 4 documents whose labels can be read (set aside: {'labels_unreadable': 1})" in capsys.readouterr().err


def labelled(number: int, site: int, is_contrary: bool) -> "Labelled":
    lines = ("Home", f"{PROSE} {number}", "Share this", f"{PROSE} {number + 1}", f"{PROSE} {number + 2}")
    noise = {0, 2} if not is_contrary else {1, 3, 4}
    return Labelled(lines, frozenset(noise), site)


@dataclass(frozen=True)
class Labelled:
    """A page as `LineTrees` reads it, and its site."""

    lines: tuple[str, ...]
    noise: frozenset[int]
    site: int
    ambiguous: frozenset[int] = frozenset()


def test_no_page_is_judged_by_trees_that_know_its_site() -> None:
    """On one of forty sites prose is noise: trees that have seen it there know that, the others can't."""
    pages = [labelled(number, site=number, is_contrary=False) for number in range(39)]
    contrary = [labelled(100 + number, site=99, is_contrary=True) for number in range(30)]
    trees = LineTrees([*pages, *contrary], seed=0, sites=[page.site for page in [*pages, *contrary]])
    judged = trees.probabilities_out_of_fold()
    assert all((judged[number] > 0.5).tolist() == [True, False, True, False, False] for number in range(39, 69))
    # Had its site been in several folds, its own labels would have been known.
    alone = LineTrees([*pages, *contrary], seed=0).probabilities_out_of_fold()
    assert any(alone[number][1] > 0.5 for number in range(39, 69))


def test_pages_of_few_sites_are_held_out_one_by_one() -> None:
    pages = [labelled(number, site=0, is_contrary=False) for number in range(12)]
    judged = LineTrees(pages, seed=0, sites=[0] * 12).probabilities_out_of_fold()
    assert len(judged) == 12


def test_labels_of_one_kind_but_for_one_site_are_refused() -> None:
    pages = [Labelled(("a line", "another"), frozenset({0} if site == 5 else ()), site) for site in range(6)]
    with pytest.raises(UserError, match="need pages of more sites with lines of both kinds"):
        LineTrees(pages, seed=0, sites=list(range(6)))


def test_pages_shorter_than_the_neighbourhood() -> None:
    pages = [Labelled(("Home", f"{PROSE} {number}"), frozenset({0}), number) for number in range(200)]
    trees = LineTrees(pages, seed=0)
    assert (trees.probabilities(["Home", PROSE]) > 0.5).tolist() == [True, False]
    assert trees.probabilities(["Home"] * 30).shape == (30,)


def test_some_pages_shorter_than_the_neighbourhood() -> None:
    """One long page, whose fold's trees are fitted without it."""
    short = [Labelled(("Home", f"{PROSE} {number}", "Share"), frozenset({0, 2}), number) for number in range(40)]
    long = Labelled(("Home", *[f"{PROSE} {number}" for number in range(30)]), frozenset({0}), 99)
    judged = LineTrees([*short, long], seed=0).probabilities_out_of_fold()
    assert len(judged[-1]) == 31
    # What is left open teaches nothing, so its neighbours don't count either.
    open_page = Labelled(long.lines, frozenset(), 99, ambiguous=frozenset(range(31)))
    trees = LineTrees([*short, open_page], seed=0)
    assert (trees.probabilities(["Home", PROSE, "Share"]) > 0.5).tolist() == [True, False, True]


def test_units_without_labels_follow_one_by_one(artefact: Artefact, tmp_path: Path) -> None:
    labelled, raw, output = artefact("labelled", *pages(21)), tmp_path / "raw", tmp_path / "trees"
    text = f"About us\n{PROSE}\nShare"
    for unit, ids in enumerate([("p1", "a"), ("b", "c")]):
        rows = [{"id": key, "text": text, "metadata": "{}"} for key in ids]
        units.write_unit(raw / units.DOCUMENTS / units.unit_name(unit), rows, units.DOCUMENT_SCHEMA)
    (raw / "_SUCCESS").write_text('{"fingerprint": "", "summary": {}}')
    options = ["trees", "--documents", labelled, "--noise_lines_column", "noise", "--unlabelled_documents", raw]
    assert run(*options, "--output", output) == 0
    files = units.unit_files(output)
    assert [[document.id for document in units.read_documents(path)] for path in files[1:]] == [
        ["p1#2", "a"],
        ["b", "c"],
    ]
    # Killed before its last unit, it goes on with that.
    written = [path.read_bytes() for path in files]
    times = [path.stat().st_mtime_ns for path in files]
    files[-1].unlink()
    (output / "_SUCCESS").unlink()
    assert run(*options, "--output", output) == 0
    assert [path.read_bytes() for path in files] == written
    assert [path.stat().st_mtime_ns for path in files[:-1]] == times[:-1]


def test_a_column_that_is_there_is_replaced_aloud(
    artefact: Artefact, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    documents = [(key, text, metadata | {"teacher": "?"}) for key, text, metadata in pages(21)]
    options = ["--documents", artefact("labelled", *documents), "--noise_lines_column", "noise"]
    with caplog.at_level("WARNING", logger="prox"):
        assert run("trees", *options, "--output", tmp_path / "trees") == 0
    assert "what the documents have under 'teacher' is replaced" in caplog.text


def test_the_teacher_s_key_is_not_that_of_the_labels() -> None:
    problems = TreesConfig(output=Path("x"), teacher_column="noise_lines").problems()
    assert any("where the labels are: name another key" in problem for problem in problems)
    problems = TreesConfig(output=Path("x"), teacher_column="").problems()
    assert not any("where the labels are" in problem for problem in problems)


def test_unlabelled_pages_move_no_other_page(artefact: Artefact, tmp_path: Path) -> None:
    """Of 30 sites some are held out whole; an unlabelled page of a held-out one is left out, others teach."""
    teacher = {"teacher": [1, 1, 0.5, 0, 0, 0, 0, 1, 1]}
    rows = [(key, text, metadata | teacher) for key, text, metadata in pages(30) if key != "p3"]
    raw = [(f"r{key}", f"{text} {key}", {"url": metadata["url"]} | teacher) for key, text, metadata in pages(30)]
    columns = ["--noise_lines_column", "noise", "--teacher_column", "teacher"]
    columns += ["--kind", "tagger", "--min_clean_words", 5]
    ids = {}
    for name, documents in {"without": rows, "with": [*rows, *raw]}.items():
        options = ["--documents", artefact(name, *documents), *columns, "--split_by", "domain", "--valid_share", 0.3]
        assert run("pairs", *options, "--output", tmp_path / "out" / name) == 0
        for kind in ("document_train", "document_valid", "chunk_train", "chunk_valid"):
            ids[name, kind] = {row["id"] for row in tables.read_rows(tmp_path / "out" / name / f"{kind}.jsonl")}
    for kind in ("document_train", "document_valid", "chunk_valid"):
        assert ids["with", kind] == ids["without", kind]
    held_out = ids["without", "document_valid"]
    assert held_out
    card = json.loads((tmp_path / "out/with/card.json").read_text())["documents"]
    assert (
        card["without_labels_and_left_out_with_a_domain_of_the_valid_side"] == 30 - card["taught_by_the_teacher_alone"]
    )
    assert ids["with", "chunk_train"] - ids["without", "chunk_train"] == {
        f"rp{number}" for number in range(30) if f"p{number}" not in held_out
    }


def test_a_site_is_held_out_whole() -> None:
    sites = [f"site{number % 17}" for number in range(60)]
    folds = folds_of(sites, seed=0)
    assert set(folds) == set(range(FOLDS))
    for site in sites:
        assert len({fold for of, fold in zip(sites, folds, strict=True) if of == site}) == 1


def test_features_beyond_the_page_are_missing() -> None:
    features = page_features(["one line", "another"], np.array([0.5, -0.5]))
    assert features.shape[0] == 2
    assert np.isnan(features[0]).any()
    np.testing.assert_array_equal(features[:, :4], [[0, 0, 1, 2], [1, 0.5, 0, 2]])
