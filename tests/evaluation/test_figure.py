"""The paper's figures: which points they show, that they are drawn, the same bytes again, clear errors."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from evaluation.figure import draw, render_csv
from evaluation.figure_data import read_drawing
from evaluation.paper_configs import FIGURES, FigureConfig
from evaluation.paper_notes import heading
from evaluation.published import GENERAL, load_table
from prox.artifact import commit, write_snapshot
from tests.evaluation.paper_results import scores, write_results

if TYPE_CHECKING:
    from conftest import Evaluation, Told

COSTS = {"parameters": 1e6, "tokens_per_step": 1e3}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """raw and prox-d at two steps, one of them the paper's; all tasks alike, so that averages are plain to see."""
    records = [
        record
        for model, better in (("raw", 0.0), ("prox-d", 0.05))
        for step, value in ((300, 0.3), (5000, 0.4))
        for record in scores(model, "general", dict.fromkeys(GENERAL, value + better), 0.01, step=step)
    ]
    return write_results(tmp_path / "results", records)


@pytest.fixture
def statistics(tmp_path: Path) -> Path:
    """Lengths as `refinement stats` writes them."""
    folder = tmp_path / "stats"
    folder.mkdir()
    lines = ["arm,measure,low,high,documents,percent,percent_per_doubling"]
    lines += ["raw,tokens,0,1,3,30.0,0.0", "raw,tokens,64,91,7,70.0,137.9", "raw,words,32,45,10,100.0,203.3"]
    (folder / "lengths.csv").write_text("\n".join(lines) + "\n")
    write_snapshot(folder, "refinement stats", {}, "mark")
    commit(folder, "mark", {})
    return folder


def points_of(output: Path, source: str) -> list[dict[str, str]]:
    with (output / "figure.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["source"] == source]


def read_points(number: int, **settings: object) -> list[dict[str, str]]:
    """A figure's points without drawing it."""
    _, drawing = read_drawing(FigureConfig(output=Path("unused"), number=number, **settings))
    return list(csv.DictReader(render_csv(drawing).splitlines()))


@pytest.mark.parametrize("number", [number for number in FIGURES if number != 13])
def test_every_figure_is_drawn_without_results(
    number: int, evaluation: "Evaluation", statistics: Path, tmp_path: Path
) -> None:
    options = ("--statistics", statistics) if number == 7 else ()
    assert evaluation("figure", str(number), *options, "--output", tmp_path / "figure") == 0
    text = " ".join(ElementTree.parse(tmp_path / "figure/figure.svg").getroot().itertext())
    assert f"Figure {number}: " in text
    assert "(paper)" in text or number == 6
    assert (tmp_path / "figure/figure.png").read_bytes().startswith(b"\x89PNG")
    assert points_of(tmp_path / "figure", "paper")
    assert bool(points_of(tmp_path / "figure", "own")) == (number == 7)


def test_own_points_stand_beside_the_papers_and_the_bytes_stay(
    evaluation: "Evaluation", results: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        assert evaluation("figure", "4", "--results", results, "--output", tmp_path / name) == 0
    for suffix in ("svg", "png", "csv"):
        first, second = ((tmp_path / name / f"figure.{suffix}").read_bytes() for name in ("one", "two"))
        assert first == second
    own = [(row["series"], row["x"], round(float(row["y"]), 6)) for row in points_of(tmp_path / "one", "own")]
    assert own == [("prox-d", "300.0", 35), ("prox-d", "5000.0", 45), ("raw", "300.0", 30), ("raw", "5000.0", 40)]
    assert float(points_of(tmp_path / "one", "own")[0]["stderr"]) == pytest.approx(10**0.5 / 10)
    text = (tmp_path / "one/figure.svg").read_text()
    assert "raw (own)" in text
    assert "raw (paper)" in text
    assert "training step" in text


def test_figure_4_shows_table_10_as_far_as_it_can_be_read() -> None:
    found = {(row["series"], float(row["x"])): float(row["y"]) for row in read_points(4)}
    rows = [row for row in load_table(10).rows if row["method"] in ("raw", "fineweb", "prox-d", "prox-d+c")]
    assert found == {(row["method"], row["step"]): row["avg"] for row in rows if row["avg"] is not None}


def test_figure_13_has_a_panel_for_each_task() -> None:
    """Laid out, but not saved, which takes seconds with ten panels."""
    _, drawing = read_drawing(FigureConfig(output=Path("unused"), number=13))
    figure = draw("Figure 13", drawing)
    assert [axes.get_title() for axes in figure.axes] == [heading(task) for task in GENERAL]
    assert all(len(axes.lines) >= 4 and axes.get_xlabel() == "training step" for axes in figure.axes)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()][:2] == ["raw (paper)", "fineweb (paper)"]


def test_figure_5_shows_last_steps_by_size(results: Path) -> None:
    points = read_points(5, results=results, names={"raw": "TLM-s_raw"}, parameters={"prox-d": 5e8})
    paper = {(row["series"], row["x"]): row["y"] for row in points if row["source"] == "paper"}
    assert len(paper) == 12
    assert paper["refined by TLM-s", "0.709830144"] == "44.6"
    own = {row["series"]: (row["x"], round(float(row["y"]), 6)) for row in points if row["source"] == "own"}
    assert own == {"raw": ("0.709830144", 40), "prox-d": ("0.5", 45)}


def test_figure_6_shows_corpora_and_other_models(results: Path) -> None:
    points = read_points(6, results=results, names={"raw": "c4_raw"})
    assert {(row["panel"], row["x"], row["y"]) for row in points} >= {
        ("c4", "TLM-m raw", "45.5"),
        ("fineweb", "TLM-m prox-d+c", "49.8"),
        ("redpajama_v2", "S-Llama", "50.3"),
    }
    assert {(row["panel"], row["x"]) for row in points if row["source"] == "own"} == {
        ("c4", "TLM-m raw"),
        ("own", "prox-d"),
    }


def test_figure_1_shows_flops(results: Path) -> None:
    costs = {option: dict.fromkeys(("raw", "prox-d"), value) for option, value in COSTS.items()}
    points = read_points(1, results=results, **costs)
    own = {(row["series"], float(row["x"])) for row in points if row["source"] == "own"}
    assert ("raw", 6 * 1e6 * 300 * 1e3) in own
    tinyllama = next(row for row in points if row["series"].startswith("TinyLlama"))
    assert float(tinyllama["x"]) == pytest.approx(6 * 1_034_512_384 * 3e12)
    assert tinyllama["y"] == "50.1"


def test_figure_8_compares_own_runs_of_one_size(results: Path) -> None:
    costs = {option: dict.fromkeys(("raw", "prox-d"), value) for option, value in COSTS.items()}
    points = read_points(8, results=results, refining_flops={"prox-d": 1e12}, **costs)
    own = [(row["panel"], row["x"], row["series"], float(row["y"])) for row in points if row["source"] == "own"]
    # Both first reach 40 at step 5,000, which is the whole run.
    panel = "prox-d, raw (average 40.0)"
    assert own == [
        (panel, "raw", "training", 3e13),
        (panel, "raw", "refining", 0.0),
        (panel, "prox-d", "training", 3e13),
        (panel, "prox-d", "refining", 1e12),
    ]


def test_figure_7_shows_tokens_of_filled_documents(statistics: Path) -> None:
    own = [row for row in read_points(7, statistics=statistics) if row["source"] == "own"]
    assert [(row["series"], row["x"], row["x_end"], row["y"]) for row in own] == [("raw", "64.0", "91.0", "137.9")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "no figure is named: choose one of 1, 4, 5"),
        (("2",), "there is no figure 2 here"),
        (("7",), "--statistics is not set: figure 7 draws lengths"),
        (("4", "--parameters.raw", "5"), "--parameters is for figures 1, 5, 8"),
        (("1", "--parameters.raw", "0"), "--parameters.raw 0 is not above 0"),
        (("4", "--results", "nowhere"), "--results nowhere is not a folder"),
        (("4", "--results", "RESULTS", "--names.raw", "c5"), "--names.raw c5 is no row of figure 4: choose one of raw"),
        (("4", "--names.raw", "c4"), "--names is given without --results"),
    ],
)
def test_unusable_options_are_named(options: tuple[str, ...], message: str, told: "Told", results: Path) -> None:
    status, words = told("figure", *(results if option == "RESULTS" else option for option in options))
    assert (status, message in words) == (2, True), words


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("1",), "what prox-d cost is not known: give --parameters.prox-d NUMBER and --tokens_per_step.prox-d NUMBER"),
        (("5",), "prox-d stands for no run of the paper's, so that its size is not known"),
        (("8",), "figure 8 compares refined runs with unrefined ones of their size"),
        (("4", "--names.other", "raw"), "--names speaks of other"),
    ],
)
def test_results_that_do_not_fit_are_told(options: tuple[str, ...], message: str, told: "Told", results: Path) -> None:
    status, words = told("figure", *options, "--results", results)
    assert (status, message in words) == (1, True), words


def test_incomplete_models_have_no_average(
    evaluation: "Evaluation", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = write_results(tmp_path / "results", scores("raw", "general", {"piqa": 0.5}, step=300))
    assert evaluation("figure", "4", "--results", results, "--output", tmp_path / "figure") == 1
    assert "no model has all ten tasks" in capsys.readouterr().err


def test_a_broken_histogram_is_told(
    evaluation: "Evaluation", statistics: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (statistics / "lengths.csv").write_text("arm,measure\nraw,tokens\n")
    assert evaluation("figure", "7", "--statistics", statistics, "--output", tmp_path / "figure") == 1
    assert "is no histogram of lengths (KeyError" in capsys.readouterr().err
