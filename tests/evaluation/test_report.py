"""The report: what its page holds of a run, what broken files do to it, and what it refuses."""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import prox.units
from evaluation.records import Metric, Record, write_record
from evaluation.report_config import PAGE_PARTS
from evaluation.report_curves import thin
from evaluation.report_documents import even_shares
from evaluation.report_html import embed
from evaluation.report_marks import ranges, replace_pieces
from evaluation.report_sources import DOCUMENTS, DROPPED, LEDGER
from evaluation.report_tables import parse_markdown
from prox import ledger
from prox.artifact import commit, write_json, write_snapshot
from prox.assembly import DocumentGuards
from prox.chunking import Chunk
from prox.engines import Completion
from prox.executor import Guards
from prox.units import DOCUMENT_SCHEMA, DROPPED_SCHEMA, source_hash, write_unit
from refinement.document import LEDGER_SCHEMA as DOCUMENT_LEDGER

if TYPE_CHECKING:
    from tests.evaluation.conftest import Evaluation

PROSE = "Herons wait in the shallow water of the river for fish, and leave it when the winter comes."
HOSTILE = (
    "<script>document.title='broken'</script>\n</script><img src=x onerror=\"document.title='broken'\">\n"
    f"<!-- <script> -->\u2028\u2029 &lt; \x00 \u202e {PROSE}"
)


@dataclass(frozen=True)
class Example:
    """A document with the programs of its chunks, of two lines each; None where the document stage drops it."""

    id: str
    text: str
    programs: Sequence[str] | None
    url: str = "https://www.example.org/page"


EXAMPLES = (
    Example("removed", f"Home | About\n{PROSE}\n{PROSE}\nShare this", ["remove_lines(0, 0)", "remove_lines(3, 3)"]),
    Example("normal", f"{PROSE} [1] [edit]\nA line.", ['normalize(source_str=" [1]")\nnormalize(" [edit]", " (e)")']),
    Example("dropped", "Buy now\nBuy now", None, "https://shop.example/buy"),
    Example("hostile", HOSTILE, ["keep_chunk()", "keep_chunk()"], "https://evil.example/<script>"),
    Example("rejected", f"{PROSE}\n{PROSE}", ["remove_lines(0, 0)\nfoo bar\nno call"]),
    Example("emptied", f"{PROSE}\nLogin", ["remove_lines(all=True)"]),
    Example("untouched", PROSE, ["keep_chunk()\nnormalize('nowhere in it', '')"], "no address: at all ["),
)


def write_step(folder: Path, command: str, config: dict[str, Any], units: dict[str, Any]) -> Path:
    """A committed step; ``units`` holds rows and schema by the kind of unit."""
    for kind, (rows, schema) in units.items():
        write_unit(folder / kind / "00000-000000.parquet", rows, schema)
    write_snapshot(folder, command, config, folder.name)
    commit(folder, folder.name, {}, {"seconds": 1.5})
    return folder


def document_ledger(example: Example) -> dict[str, Any]:
    keep = example.programs is not None
    row = {"id": example.id, "source_hash": source_hash(example.text), "p_keep": 0.9 if keep else 0.123}
    row |= {"program": "keep_doc()" if keep else "drop_doc()", "decision": "keep" if keep else "drop"}
    return row | {"readable": True, "truncated": False, "failure": None, "prompt_tokens": 9, "answer_tokens": 0}


def chunk_ledger(example: Example) -> tuple[dict[str, Any], ledger.RefinedDocument]:
    """The row that the chunk stage would write, and what comes out."""
    lines = example.text.split("\n")
    rows = []
    for number, program in enumerate(example.programs or ()):
        end = 2 * number + 2 if number + 1 < len(example.programs or ()) else len(lines)
        chunk = Chunk(2 * number, "\n".join(lines[2 * number : end]))
        rows.append(ledger.chunk_row(chunk, Completion(program, 3, "stop"), 9))
    refined = ledger.replay(example.text, "calls", rows, Guards(), DocumentGuards())
    return ledger.document_row(example.id, example.text, "calls", rows, refined), refined


def make_corpus(run: Path, examples: Sequence[Example]) -> None:
    """Ingestion, rules, document and chunk stage of a run."""
    rows = {one.id: {"id": one.id, "text": one.text, "metadata": json.dumps({"url": one.url})} for one in examples}
    kept = [one for one in examples if one.programs is not None]
    chunks = {one.id: chunk_ledger(one) for one in kept}
    left = {key: row["verdict"] != "dropped" for key, (row, _) in chunks.items()}
    refined = [{**rows[key], "text": chunks[key][1].text} for key, stays in left.items() if stays]
    gone = [{**rows[key], "reason": chunks[key][0]["reason"]} for key, stays in left.items() if not stays]
    steps = run / "refinement"
    write_step(steps / "ingest", "refinement ingest", {}, {"documents": (rows.values(), DOCUMENT_SCHEMA)})
    config = {"documents": str(steps / "ingest"), "threshold": 0.5}
    units: dict[str, Any] = {"documents": ([rows[one.id] for one in kept], DOCUMENT_SCHEMA)}
    dropped = [{**rows[one.id], "reason": "drop_doc"} for one in examples if one.programs is None]
    units |= {"dropped": (dropped, DROPPED_SCHEMA), "ledger": (map(document_ledger, examples), DOCUMENT_LEDGER)}
    write_step(steps / "document", "refinement document", config, units)
    config = {"documents": str(steps / "document")}
    units = {"documents": (refined, DOCUMENT_SCHEMA), "dropped": (gone, DROPPED_SCHEMA)}
    units["ledger"] = ([row for row, _ in chunks.values()], ledger.SCHEMA)
    write_step(steps / "chunk", "refinement chunk", config, units)
    first, *others = rows.values()
    units = {"documents": (others, DOCUMENT_SCHEMA), "dropped": ([{**first, "reason": "short"}], DROPPED_SCHEMA)}
    write_step(steps / "rules", "refinement rules", {"documents": str(steps / "ingest")}, units)


def make_run(run: Path, examples: Sequence[Example] = EXAMPLES) -> Path:
    """A run with a corpus, two trainings, result records and a table."""
    make_corpus(run, examples)
    for number, arm in enumerate(("raw", "prox-d+c")):
        rows = [{"step": s, "loss": 3 / s + number, "learning_rate": 1e-3, "tokens": 10 * s} for s in range(1, 40)]
        folder = run / "pretraining" / arm / "train"
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        write_snapshot(folder, "pretraining train", {}, "t")
        record = Record(
            arm, "lm_eval", "1", "arc", {"acc": Metric(0.25 + number / 10, 0.01)}, 40, "", "t", "", "d", "/m"
        )
        write_record(run / "evaluation/lm_eval", record)
    table = run / "evaluation/table"
    table.mkdir()
    (table / "table.md").write_text("| arm | acc |\n| --- | --: |\n| raw | **25.0** ± 1.0 |\n\nA <b>note</b>.\n")
    write_snapshot(table, "evaluation table", {}, "t")
    commit(table, "t", {})
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("report") / "run")


def data_of(page: Path) -> dict[str, Any]:
    """The data that a page embeds."""
    found = re.search(r'id="report-data">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    return json.loads(found[1])


def items_of(data: dict[str, Any]) -> dict[str, Any]:
    return {item["id"]: item for item in data["documents"]["items"]}


@pytest.fixture(scope="module")
def page(evaluation: "Evaluation", run: Path) -> Path:
    output = run.parent / "report"
    assert evaluation("report", "--runs.one", run, "--output", output) == 0
    return output / "report.html"


@pytest.fixture(scope="module")
def data(page: Path) -> dict[str, Any]:
    return data_of(page)


def test_tables_records_and_curves(data: dict[str, Any]) -> None:
    (table,) = data["tables"]
    assert table["blocks"] == [
        {"head": ["arm", "acc"], "align": ["left", "right"], "rows": [["raw", "**25.0** ± 1.0"]]},
        {"text": "A <b>note</b>."},
    ]
    (suite,) = data["records"]["suites"]
    best = {"value": "35.0", "stderr": "1.0", "best": True}
    assert (suite["rows"][0]["model"], suite["rows"][0]["cells"]) == ("prox-d+c", [best])
    (group,) = data["curves"]
    assert [(one["name"], one["finished"], one["num_points"]) for one in group["series"]] == [
        ("prox-d+c", False, 39),
        ("raw", False, 39),
    ]
    assert group["series"][1]["columns"]["loss"][:2] == [3.0, 1.5]
    assert "tokens_per_second" not in group["series"][0]["columns"]
    assert data["problems"] == []


def test_counts_of_steps_and_programs(data: dict[str, Any]) -> None:
    steps = {step["arm"]: step for step in data["steps"]}
    assert steps["refinement/document"]["dropped"] == [["drop_doc", 1]]
    assert steps["refinement/document"]["ledger"]["decisions"] == [["keep", 6], ["drop", 1]]
    p_keep = steps["refinement/document"]["ledger"]["p_keep"]
    assert (p_keep[2], p_keep[18], sum(p_keep)) == (1, 6, 7)
    chunks = steps["refinement/chunk"]["ledger"]
    assert {("normalize", "applied", 2), ("unreadable", "fault", 2)} <= set(map(tuple, chunks["calls"]))
    assert ["rejected", "max_bad_calls", 1] in chunks["chunks"]
    assert ["dropped", "all_lines_removed", 1] in chunks["documents"]
    assert steps["refinement/ingest"]["ledger"] is None
    kept = {row["arm"]: (row["sizes"]["documents"], row["shares"]["documents"]) for row in data["retention"]}
    assert kept["refinement/ingest"] == (7, 1.0)
    assert kept["refinement/chunk"] == (5, 5 / 7)
    lengths = {one["name"]: one["bins"] for one in data["lengths"]["characters"]}
    assert sum(row[2] for row in lengths["refinement/chunk"]) == 5


def test_documents_with_their_programs(data: dict[str, Any]) -> None:
    items = items_of(data)
    assert list(items) == [example.id for example in EXAMPLES]
    removed = items["removed"]
    assert removed["removed"] == [[0, 0], [3, 3]]
    assert removed["lines"] == EXAMPLES[0].text.split("\n")
    assert (removed["outcome"], removed["domain"], removed["p_keep"]) == ("edited", "example.org", 0.9)
    assert removed["others"] == [["refinement/rules", "short"]]
    assert removed["after"] == 2 * len(PROSE) + 1
    assert items["normal"]["lines"][0] == [PROSE, [" [1]", ""], [" [edit]", " (e)"]]
    assert items["normal"]["programs"][1]["calls"] == [
        ['normalize(source_str=" [1]")', "normalize", "applied", 1],
        ['normalize(" [edit]", " (e)")', "normalize", "applied", 1],
    ]
    dropped = items["dropped"]
    assert (dropped["outcome"], dropped["reason"], dropped["after"]) == ("dropped", "drop_doc", 0)
    assert dropped["programs"][0]["calls"] == [["drop_doc()", "drop_doc", "drop", 0]]
    assert items["rejected"]["removed"] == []
    assert {"guard: max_bad_calls", "call: fault", "chunk: rejected"} <= set(items["rejected"]["tags"])
    assert items["emptied"]["removed"] == [[0, 1]]
    assert items["emptied"]["reason"] == "all_lines_removed"
    assert items["untouched"]["domain"] == "(no domain)"
    assert items["untouched"]["kinds"] == ["keep_chunk", "keep_doc", "normalize"]


def test_the_same_bytes_again_and_nothing_of_a_document_is_markup(
    evaluation: "Evaluation", run: Path, page: Path, tmp_path: Path, data: dict[str, Any]
) -> None:
    assert evaluation("report", "--runs.one", run, "--output", tmp_path / "again") == 0
    text = page.read_text(encoding="utf-8")
    assert (tmp_path / "again/report.html").read_text(encoding="utf-8") == text
    assert "\n".join(items_of(data)["hostile"]["lines"]) == HOSTILE
    assert text.count("<script") == text.count("</script") == 2
    assert "<img" not in text
    assert "\u2028" not in text
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?!#)\w+:", text), "the page refers to something outside"


def test_several_runs_and_a_sample(evaluation: "Evaluation", run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", [replace(one, id=f"{one.id}-2") for one in EXAMPLES])
    options = ("--runs.one", run, "--runs.two", other, "--num_documents", "5")
    for seed in ("0", "0", "1"):
        assert evaluation("report", *options, "--seed", seed, "--output", tmp_path / seed) == 0
    first, second = (data_of(tmp_path / seed / "report.html") for seed in "01")
    assert [item["run"] for item in first["documents"]["items"]] == ["one"] * 3 + ["two"] * 2
    assert first["documents"]["num_documents"] == 14
    assert list(items_of(first)) != list(items_of(second))
    assert [one["run"] for one in first["curves"][0]["series"]] == ["one", "one", "two", "two"]


def test_statistics_give_names_tokens_and_lengths(evaluation: "Evaluation", tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    stats = run / "refinement/stats"
    stats.mkdir()
    arms = {"raw": str(run / "refinement/ingest"), "prox-d+c": "/moved/from/run/refinement/chunk"}
    size = {"documents": 7, "tokens": 100, "words": 80, "bytes": 400}
    content = {"arms": dict.fromkeys(arms, size), "shares": dict.fromkeys(arms, dict.fromkeys(size, 1.0))}
    write_json(stats / "stats.json", content)
    header = "arm,measure,low,high,documents,percent,percent_per_doubling\n"
    (stats / "lengths.csv").write_text(f"{header}raw,tokens,0,1,1,10,0\nraw,tokens,64,91,6,90,170.1\n")
    write_snapshot(stats, "refinement stats", {"arms": arms}, "s")
    commit(stats, "s", {})
    assert evaluation("report", "--runs.one", run, "--output", tmp_path / "report") == 0
    data = data_of(tmp_path / "report/report.html")
    assert data["retention"][0]["sizes"]["tokens"] == 100
    assert data["lengths"] == {"tokens": [{"run": "one", "name": "raw", "bins": [[64, 91, 6, 170.1]]}]}
    assert {item["arm"] for item in data["documents"]["items"]} == {"prox-d+c"}


def test_broken_files_are_counted_and_stop_nothing(evaluation: "Evaluation", tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with (run / "pretraining/raw/train/metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "lo\n[1]\n')
    (run / "evaluation/lm_eval/records/raw.lm_eval.arc.json").write_text("{}")
    rows = [chunk_ledger(one)[0] for one in EXAMPLES if one.programs is not None]
    rows[0] |= {"source_hash": "0" * 16}
    rows[1] |= {"refined_hash": "0" * 16}
    write_unit(run / "refinement/chunk/ledger/00000-000000.parquet", rows, ledger.SCHEMA)
    (run / "refinement/rules/dropped/00000-000000.parquet").write_bytes(b"PAR1 cut short")
    assert evaluation("report", "--runs.one", run, "--output", tmp_path / "report") == 0
    data = data_of(tmp_path / "report/report.html")
    assert len(items_of(data)) == 5
    assert data["documents"]["broken"] == [
        ["the ledger was written for another text", 1],
        ["what its programs give is not the text that was recorded", 1],
    ]
    problems = "\n".join(data["problems"])
    assert "metrics.jsonl: 2 lines can't be read" in problems
    assert "raw.lm_eval.arc.json is not a result record" in problems
    assert "rules/dropped/00000-000000.parquet can't be read" in problems


def test_a_ledger_of_which_nothing_can_be_read_is_told(evaluation: "Evaluation", tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for path in (run / "refinement/chunk/ledger").glob("*.parquet"):
        path.write_bytes(b"PAR1 cut short")
    assert evaluation("report", "--runs.one", run, "--output", tmp_path / "report") == 0
    problems = "\n".join(data_of(tmp_path / "report/report.html")["problems"])
    assert problems.count("can't be read, nor another part of its ledger") == 1


def test_what_a_run_lacks_is_left_out(evaluation: "Evaluation", run: Path, tmp_path: Path) -> None:
    assert evaluation("report", "--runs.one", run / "pretraining", "--output", tmp_path / "report") == 0
    data = data_of(tmp_path / "report/report.html")
    assert (data["tables"], data["steps"], data["documents"]["items"]) == ([], [], [])
    assert len(data["curves"][0]["series"]) == 2


def test_long_documents_are_cut_to_fit_the_page(evaluation: "Evaluation", tmp_path: Path) -> None:
    long = [Example(f"long-{number}", f"{PROSE}\n" * 600, ["remove_lines(0, 3)"]) for number in range(4)]
    run = make_run(tmp_path / "run", [*long, EXAMPLES[0]])
    options = ("--runs.one", run, "--max_page_megabytes", "0.05")
    assert evaluation("report", *options, "--output", tmp_path / "report") == 0
    data = data_of(tmp_path / "report/report.html")
    items = items_of(data)
    assert items["long-0"]["cut"][1] == 601
    assert 20 < items["long-0"]["cut"][0] == len(items["long-0"]["lines"]) < 200
    assert items["long-0"]["after"] == 596 * (len(PROSE) + 1)
    assert "cut" not in items["removed"]
    assert len(json.dumps(data["documents"])) < 60_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--runs is empty"),
        (["--runs.one", "{tmp}/nowhere"], "is not a folder: give the folder of a run"),
        (["--runs.one", "{tmp}"], "holds nothing to show. Looked for, at any depth: records/*.json"),
        (["--runs.a/b", "{tmp}"], "--runs.a/b: use letters"),
        (["--runs.one", "{tmp}", "--num_documents", "-1"], "--num_documents -1: give a count from 0"),
        (["--runs.one", "{tmp}", "--max_characters", "5"], "--max_characters 5 shows next to nothing"),
    ],
)
def test_bad_input_is_named_before_any_work(
    evaluation: "Evaluation",
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    (tmp_path / "empty").mkdir()
    given = [option.replace("{tmp}", str(tmp_path)) for option in options]
    assert evaluation("report", *given, "--output", tmp_path / "report") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_an_unchanged_run_is_skipped_and_a_longer_training_is_not(
    evaluation: "Evaluation", tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(tmp_path / "run")
    arguments = ("report", "--runs.one", run, "--output", run / "report")
    with caplog.at_level("INFO", logger="prox"):
        assert evaluation(*arguments) == evaluation(*arguments) == 0
        assert "skipped" in caplog.text
        with (run / "pretraining/raw/train/metrics.jsonl").open("a") as file:
            file.write('{"step": 50, "loss": 1.0}\n')
        assert evaluation(*arguments) == 0
    assert data_of(run / "report/report.html")["curves"][0]["series"][1]["num_points"] == 40


def test_replaced_pieces_are_what_str_replace_gives() -> None:
    draw = random.Random(0)
    for _ in range(300):
        text = "".join(draw.choice("aab\n") for _ in range(draw.randint(0, 30)))
        pieces, after = [(text, text)], text
        for _ in range(3):
            source = "".join(draw.choice("ab") for _ in range(draw.randint(1, 3)))
            target = "".join(draw.choice("ab") for _ in range(draw.randint(0, 3)))
            pieces, after = replace_pieces(pieces, source, target), after.replace(source, target)
        assert "".join(piece[0] for piece in pieces) == text
        assert "".join(piece[1] for piece in pieces) == after


def test_small_parts() -> None:
    assert (DOCUMENTS, DROPPED, LEDGER) == (prox.units.DOCUMENTS, prox.units.DROPPED, prox.units.LEDGER)
    assert ranges([0, 1, 2, 5, 7, 8]) == [[0, 2], [5, 5], [7, 8]]
    assert ranges([]) == []
    assert even_shares([10, 2, 50], 30) == [10, 2, 18]
    assert even_shares([1, 1], 30) == [1, 1]
    assert even_shares([], 30) == []
    rows = thin([{"step": step} for step in range(5_000)])
    assert len(rows) <= 1_001
    assert (rows[0]["step"], rows[-1]["step"]) == (0, 4_999)
    hard = ["</script><!--", "\u2028", "\ud800", "a\x00b", {"__proto__": 1}]
    assert json.loads(embed(hard)) == hard
    assert not set("<>&\u2028\ud800") & set(embed(hard))
    assert parse_markdown("a | b\n\n| x |\n| - |\n| a \\| b |")[1]["rows"] == [["a | b"]]


def test_the_page_never_reads_text_as_markup() -> None:
    scripts = "".join(path.read_text(encoding="utf-8") for path in sorted(PAGE_PARTS.glob("*.js")))
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|DOMParser|createContextualFragment|srcdoc"
    assert re.findall(ways, scripts) == []


def test_a_number_that_is_none_costs_itself_alone() -> None:
    assert json.loads(embed({"p_keep": float("nan"), "losses": [1.5, float("inf")]})) == {
        "p_keep": None,
        "losses": [1.5, None],
    }
