"""Parts of `refinement stats`: frequent items in bounded memory, lengths and their picture, the equations."""

import csv
import json
import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prox import Guards, ledger, split_into_chunks
from prox.artifact import SUCCESS, run_of
from prox.assembly import DocumentGuards, join_chunks
from prox.command import main
from prox.engines import Completion
from prox.program import RemoveLines, render_program
from prox.units import DOCUMENT_SCHEMA, write_unit
from refinement import cost, lengths
from refinement.__main__ import VERBS
from refinement.counting import Sizer
from refinement.frequent import Frequent
from refinement.ledger_counts import FREQUENT, LONGEST_ITEM, count_ledger

streams = st.lists(st.tuples(st.integers(0, 30).map(lambda n: f"line {int(n**0.5)}"), st.integers(1, 5)), max_size=300)


@given(streams, streams, st.integers(1, 8))
def test_frequent_items_are_within_the_stated_error(first: list, second: list, capacity: int) -> None:
    true = Counter()
    found = Frequent(capacity)
    for number, (item, count) in enumerate(first):
        found.add(item, count, str(number))
        true[item] += count
    other = Frequent(capacity)
    for item, count in second:
        other.add(item, count, "other")
        true[item] += count
    found.merge(json.loads(json.dumps(other.to_json())))
    stored = found.to_json()
    assert len(stored["items"]) <= capacity
    assert stored["total"] == true.total()
    assert stored["error"] <= true.total() / (capacity + 1)
    held = {item: count for item, count, _ in stored["items"]}
    assert all(held.get(item, 0) <= count <= held.get(item, 0) + stored["error"] for item, count in true.items())
    assert set(held) <= set(true)
    if len(true) <= capacity:
        assert (held, stored["error"]) == (dict(true), 0)


def test_the_first_example_and_the_order_are_kept() -> None:
    found = Frequent(3)
    for item, place in (("b", "1"), ("a", "2"), ("c", "3"), ("c", "4"), ("b", "5")):
        found.add(item, 1, place)
    assert found.to_json()["items"] == [["b", 2, "1"], ["c", 2, "3"], ["a", 1, "2"]]
    found.add("d", 1, "6")  # four items for three places: everything pays with the count of the fourth
    assert found.to_json() == {"total": 6, "error": 1, "items": [["b", 1, "1"], ["c", 1, "3"]]}


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.sampled_from(["menu", "text", " text", "x y", ""]), min_size=1, max_size=9), max_size=5),
    st.lists(st.tuples(st.integers(-1, 9), st.integers(0, 9)), max_size=3),
    st.integers(1, 20),
)
@example([["menu", ""]], [(0, 0)], 1)
def test_removed_lines_are_what_the_text_lost(
    tmp_path_factory: pytest.TempPathFactory, documents: list[list[str]], ranges: list[tuple[int, int]], window: int
) -> None:
    folder = tmp_path_factory.mktemp("unit")
    program = render_program([RemoveLines(*pair) for pair in ranges])
    true, rows, sources = Counter(), [], []
    for number, lines in enumerate(documents):
        text = "\n".join(lines)
        chunks = [
            ledger.chunk_row(chunk, None if chunk.skipped else Completion(program, 9, "stop"))
            for chunk in split_into_chunks(text, window)
        ]
        result = ledger.replay(text, "calls", chunks, Guards(), DocumentGuards(0, 0.0))
        rows.append(ledger.document_row(str(number), text, "calls", chunks, result))
        sources.append({"id": str(number), "text": text, "metadata": "{}"})
        kept = join_chunks(result.executions)  # what a document guard dropped, no program removed
        left = [] if kept is None else kept.split("\n")
        lost = Counter(line.strip() for line in lines)
        lost.subtract(Counter(line.strip() for line in left))
        true.update(lost)
    write_unit(folder / "ledger.parquet", rows, ledger.SCHEMA)
    write_unit(folder / "source.parquet", sources, DOCUMENT_SCHEMA)
    frequent = {name: Frequent(100) for name in FREQUENT}
    counts = count_ledger(folder / "ledger.parquet", folder / "source.parquet", frequent)
    held = {item: count for item, count, _ in frequent["removed_lines"].to_json()["items"]}
    assert held == {line: count for line, count in true.items() if count and line}
    assert counts["edits"].get("blank_lines_removed", 0) == true[""]


def test_long_lines_are_told_by_beginning_and_hash(tmp_path: Path) -> None:
    texts = ["a" * 999 + "1", "a" * 999 + "2", "a" * 999 + "1"]
    text = "\n".join([*texts, "kept"])
    answer = Completion("remove_lines(0, 2)", 9, "stop")
    chunks = [ledger.chunk_row(chunk, answer) for chunk in split_into_chunks(text, 99)]
    result = ledger.replay(text, "calls", chunks, Guards(), DocumentGuards(0, 0.0))
    write_unit(tmp_path / "l.parquet", [ledger.document_row("d", text, "calls", chunks, result)], ledger.SCHEMA)
    write_unit(tmp_path / "s.parquet", [{"id": "d", "text": text, "metadata": "{}"}], DOCUMENT_SCHEMA)
    frequent = {name: Frequent(9) for name in FREQUENT}
    count_ledger(tmp_path / "l.parquet", tmp_path / "s.parquet", frequent)
    items = frequent["removed_lines"].to_json()["items"]
    assert [count for _, count, _ in items] == [2, 1]
    assert all(item.startswith("a" * LONGEST_ITEM + "... (1,000 characters, ") for item, _, _ in items)


def test_texts_seen_before_are_not_tokenised_again(tiny_tokenizer) -> None:
    asked: list[str] = []

    class Watched:
        def __getattr__(self, name: str):
            return getattr(tiny_tokenizer.backend_tokenizer, name)

        def encode_batch_fast(self, texts, add_special_tokens):
            asked.extend(texts)
            return tiny_tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=add_special_tokens)

    sizer = Sizer(SimpleNamespace(backend_tokenizer=Watched()))
    texts = ["Rivers flow.", "植物は", "Rivers flow."]
    expected = [len(tiny_tokenizer.encode(text, add_special_tokens=False)) for text in texts]
    assert sizer.sizes(texts) == [(expected[0], 2, 12), (expected[1], 3, 9), (expected[2], 2, 12)]
    assert sizer.tokens([texts[1], "new"])[0] == expected[1]
    assert asked == ["Rivers flow.", "植物は", "new"]


@given(st.integers(0, 2**41))
def test_every_length_has_its_bin(length: int) -> None:
    low = lengths.bin_of(length)
    position = lengths.EDGES.index(low)
    assert low <= length
    assert position == len(lengths.EDGES) - 1 or length < lengths.EDGES[position + 1]


ARMS = {
    "raw": {"tokens": {0: 1, 2: 1, 4: 2, 64: 4}, "words": {1: 8}},
    "prox, d+c": {"tokens": {4: 1, 64: 3}, "words": {2: 4}},
}


def test_histogram_by_hand() -> None:
    bins = {(one.arm, one.measure, one.low): one for one in lengths.histogram(ARMS)}
    raw = bins["raw", "tokens", 4]
    assert (raw.high, raw.documents, raw.percent) == (6, 2, 25.0)
    assert raw.per_doubling == pytest.approx(25.0 / math.log2(6 / 4))
    assert (bins["raw", "tokens", 0].documents, bins["raw", "tokens", 0].per_doubling) == (1, 0.0)
    assert bins["prox, d+c", "tokens", 2].documents == 0  # in range of the arms together
    assert ("raw", "tokens", 91) not in bins
    assert bins["prox, d+c", "words", 2].percent == 100.0


def test_the_picture_draws_the_data_file(tmp_path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.image import imread
    from matplotlib.patches import StepPatch

    bins = lengths.histogram(ARMS)
    lengths.write_csv(tmp_path / "lengths.csv", bins)
    figure = lengths.draw(bins, {arm: {"tokens": 40.0, "words": 2.0} for arm in ARMS})
    lengths.save(figure, tmp_path / "lengths")
    with (tmp_path / "lengths.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for axes, measure in zip(figure.axes, lengths.MEASURES, strict=True):
        assert measure in axes.get_xlabel()
        assert axes.get_xscale() == "log"
        outlines = [patch for patch in axes.patches if isinstance(patch, StepPatch) and patch.get_label() in ARMS]
        assert [patch.get_label() for patch in outlines] == list(ARMS)
        for patch in outlines:
            own = [row for row in rows if (row["arm"], row["measure"]) == (patch.get_label(), measure)]
            values, edges, _ = patch.get_data()
            assert list(values) == [float(row["percent_per_doubling"]) for row in own if row["low"] != "0"]
            assert list(edges) == [int(row["low"]) for row in own if row["low"] != "0"] + [int(own[-1]["high"])]
            assert max(values) < axes.get_ylim()[1]
    root = ElementTree.parse(tmp_path / "lengths.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    words = {node.text for node in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"document length (tokens)", "document length (words)", *ARMS} <= words
    assert imread(tmp_path / "lengths.png").shape[:2] == (720, 1650)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    for axes in figure.axes:
        labels = [axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()]
        low, high = axes.get_xlim()
        drawn = [text for text in labels if text.get_text() and text.get_visible()]
        boxes = [
            text.get_window_extent(renderer)
            for text in drawn
            if low <= text.get_position()[0] <= high or text in labels[:2]
        ]
        assert not any(
            one.overlaps(other) for n, one in enumerate(boxes) for other in boxes[:n] if one.width and other.width
        )
        assert all(text.get_fontsize() >= 10 for text in drawn)


def test_the_same_picture_has_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        figure = lengths.draw(lengths.histogram(ARMS), {arm: {"tokens": 40.0, "words": 2.0} for arm in ARMS})
        lengths.save(figure, tmp_path / name / "lengths")
    for name in ("lengths.svg", "lengths.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_arms_without_documents_can_be_drawn(tmp_path: Path) -> None:
    empty = {"raw": {"tokens": {}, "words": {}}, "none": {"tokens": {0: 2}, "words": {0: 2}}}
    figure = lengths.draw(lengths.histogram(empty), {arm: {"tokens": 0.0, "words": 0.0} for arm in empty})
    lengths.save(figure, tmp_path / "lengths")
    assert (tmp_path / "lengths.png").read_bytes().startswith(b"\x89PNG")


def test_the_papers_own_example() -> None:
    # 4.2: two stages of PROX-xs over 62.5B and 19.0B tokens cost C = 5e19, as much as training TLM-s on 12B tokens more
    # and TLM-m on 5B.
    tokens = {"document": 62_500_000_000, "chunk": 19_000_000_000}
    stages = [{"step": name, "flops": cost.inference_flops(313_324_800, read)} for name, read in tokens.items()]
    arm = cost.arm_cost(stages, 16_000_000_000, {"TLM-s": 709_830_144, "TLM-m": 1_676_249_088})
    assert arm["flops"] == 2 * 313_324_800 * 81_500_000_000
    assert f"{arm['flops']:.1e}" == "5.1e+19"
    trained = {name: model["tokens_of_the_same_flops"] / 1e9 for name, model in arm["training"].items()}
    assert {name: round(tokens) for name, tokens in trained.items()} == {"TLM-s": 12, "TLM-m": 5}


@pytest.mark.parametrize(
    ("settings", "total", "without_embedding"),
    [
        # Table 8; its key/value heads are not printed there (docs/deviations.md).
        (
            {"hidden_size": 1280, "intermediate_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 1},
            354_284_800,
            313_324_800,
        ),
        (
            {"hidden_size": 1536, "intermediate_size": 4864, "num_attention_heads": 24, "num_key_value_heads": 2},
            758_982_144,
            709_830_144,
        ),
        (
            {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 32},
            1_741_785_088,
            1_676_249_088,
        ),
    ],
    ids=["TLM-xs", "TLM-s", "TLM-m"],
)
def test_parameters_are_counted_as_table_8_does(
    tmp_path: Path, settings: dict, total: int, without_embedding: int
) -> None:
    from transformers import LlamaConfig

    LlamaConfig(vocab_size=32_000, num_hidden_layers=24, tie_word_embeddings=False, **settings).save_pretrained(
        tmp_path
    )
    assert cost.count_parameters(str(tmp_path)) == cost.Parameters(total, without_embedding)


def test_tied_matrices_are_counted_once(tmp_path: Path) -> None:
    from transformers import LlamaConfig

    sizes = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 0,
        "num_attention_heads": 1,
        "vocab_size": 10,
    }
    LlamaConfig(tie_word_embeddings=True, **sizes).save_pretrained(tmp_path)
    assert cost.count_parameters(str(tmp_path)) == cost.Parameters(80 + 8, 8)


def test_a_run_records_its_time_and_whether_it_was_resumed(units: Path, corpus: Path) -> None:
    assert set(run_of(units)) == {"seconds", "resumed"}
    assert run_of(units)["resumed"] is False
    (units / SUCCESS).unlink()
    arguments = ["ingest", "--corpus.path", str(corpus), "--documents_per_unit", "4", "--output", str(units)]
    assert main("refinement", VERBS, arguments) == 0
    assert run_of(units)["resumed"] is True
