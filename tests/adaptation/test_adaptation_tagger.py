"""A tagger from examples to a refined corpus: export, training, scores, choice, refinement, other thresholds."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    BloomForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from adaptation.__main__ import VERBS
from adaptation.checkpoints import list_checkpoints
from adaptation.examples import Example
from adaptation.line_examples import LineExample, read_line_examples, verdicts_of
from adaptation.line_pages import PageReader, Reading, Variation
from adaptation.line_scores import choose_threshold
from adaptation.tagger import LineDataset, check_positions, collate, drop_out, teach_judging
from prox.chunking import Chunk
from prox.command import main
from prox.dialogue import Dialogue, load_dialogue
from prox.errors import UserError
from prox.tagging import LinePromptRenderer, cut_rows
from prox.units import LEDGER, read_rows, unit_files
from refinement.__main__ import VERBS as REFINEMENT
from tests.adaptation.conftest import NAVIGATION, SENTENCES
from tests.adaptation.killing import kill_training
from tests.adaptation.taggers import TAGGER, TRAINING, export, run


@pytest.fixture
def trained(split: Path, tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A training's artefact."""
    data = export(split, tiny_checkpoint, tmp_path / "data")
    run("train", "--data", data, "--base", tiny_checkpoint, *TRAINING, "--output", tmp_path / "train")
    return tmp_path / "train"


@pytest.mark.timeout(300)
def test_a_tagger_is_trained_chosen_and_used(
    trained: Path, split: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored, refiner = tmp_path / "validate", tmp_path / "refiner"
    run("validate", "--checkpoints", trained, "--examples", split, "--choose_threshold", "true", "--output", scored)
    run("select", "--metrics", scored, "--output", refiner)
    metrics = json.loads((scored / "metrics.json").read_text())["checkpoints"]
    best = max(metrics, key=lambda row: row["f1"])
    assert best["f1"] == 1.0  # navigation against sentences; `remove_all` has less
    assert best["baselines"]["remove_all"]["f1"] < 0.6
    assert best["mean_generated_tokens"] == 0
    assert best["calibration"]["brier_score"] < 0.1
    dialogue = load_dialogue(refiner, Dialogue())
    threshold = dialogue.remove_threshold
    assert 0.3 < dialogue.max_tokens_per_letter < 0.6
    assert dialogue.max_new_tokens is None
    assert threshold == best["dialogue"]["remove_threshold"]
    card = (refiner / "README.md").read_text()
    assert "probability of removing a line" in card
    assert f"letters take more than {dialogue.max_tokens_per_letter:g} tokens each are left" in card
    assert dialogue.min_shown_share is None  # every line is shown as it is

    # As refinement, it leaves pages alone whose letters take more tokens than it was taught.
    strict = shutil.copytree(refiner, tmp_path / "strict")
    dataclasses.replace(dialogue, max_tokens_per_letter=0.05).save(strict)
    run("validate", "--checkpoint", strict, "--examples", split, "--output", tmp_path / "alone")
    (alone,) = json.loads((tmp_path / "alone/metrics.json").read_text())["checkpoints"]
    assert (alone["share_prompt_cut"], alone["f1"]) == (1, 0)

    pages = [{"id": "a", "text": f"{NAVIGATION}\n{SENTENCES[1]}\n{SENTENCES[2]}"}, {"id": "b", "text": SENTENCES[0]}]
    long = " ".join(SENTENCES * 100)  # a line that no prompt has room for
    pages.append({"id": "c", "text": f"{SENTENCES[0]}\n{long}"})
    (tmp_path / "pages.jsonl").write_text("".join(json.dumps(page) + "\n" for page in pages))
    ingest = ["ingest", "--corpus.path", str(tmp_path / "pages.jsonl"), "--output", str(tmp_path / "ingest")]
    options = ["--documents", str(tmp_path / "ingest"), "--refiner.checkpoint", str(refiner)]
    guards = ["--document_guards.min_words_left", "0"]
    chunk = ["chunk", *options, *guards, "--output", str(tmp_path / "chunk")]
    assert [main("refinement", REFINEMENT, command) for command in (ingest, chunk)] == [0, 0]
    rows = list(read_rows(unit_files(tmp_path / "chunk", LEDGER)[0]))
    first = rows[0]["chunks"][0]
    assert first["program"] == "remove_lines(line_start=0, line_end=0)"
    assert [probability >= threshold for probability in first["line_probabilities"]] == [True, False, False]
    assert first["answer_tokens"] == 0
    assert rows[1]["chunks"][0]["program"] == "keep_chunk()"
    assert [(one["skip_reason"], one["line_probabilities"] is None) for one in rows[2]["chunks"]] == [
        (None, False),
        ("longer_than_window", True),
    ]

    # Another threshold needs no model.
    replay = ["replay", "--documents", str(tmp_path / "ingest"), "--ledger", str(tmp_path / "chunk"), *guards]
    lowest = min(one for row in rows for chunk in row["chunks"] for one in chunk["line_probabilities"] or ())
    thresholds = {"again": None, "own": threshold, "high": 0.9999999, "low": lowest}
    texts = {}
    for name, value in {"chunk": None, **thresholds}.items():
        more = [] if value is None else ["--remove_threshold", repr(value)]
        if name != "chunk":
            assert main("refinement", REFINEMENT, [*replay, *more, "--output", str(tmp_path / name)]) == 0
        texts[name] = {row["id"]: row["text"] for row in read_rows(unit_files(tmp_path / name, "documents")[0])}
    whole = {page["id"]: page["text"] for page in pages}
    assert texts["chunk"] == texts["again"] == texts["own"] == whole | {"a": f"{SENTENCES[1]}\n{SENTENCES[2]}"}
    assert texts["high"] == whole
    assert texts["low"] == {"c": long}  # of the others no line was left
    # The same asked at that threshold in the first place.
    asked = [*chunk, "--remove_threshold", "0.9999999"]
    assert main("refinement", REFINEMENT, [*asked[:-3], str(tmp_path / "asked"), *asked[-2:]]) == 0
    assert {row["id"]: row["text"] for row in read_rows(unit_files(tmp_path / "asked", "documents")[0])} == whole

    # What it can't do is said before work starts.
    document = ["document", *options, "--output", str(tmp_path / "document")]
    server = ["--engine.kind", "server", "--engine.base_url", "http://localhost:1/v1"]
    assert main("refinement", REFINEMENT, document) == 2
    assert main("refinement", REFINEMENT, [*chunk[:-1], str(tmp_path / "other"), *server]) == 2
    said = capsys.readouterr().err
    assert "it has no say of documents" in said
    assert "set engine.kind local" in said


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("save_every", "step"), [(0, 6), (4, 8)])  # at an epoch's end, and within one
def test_a_killed_training_ends_with_the_same_weights(
    split: Path, tiny_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, save_every: int, step: int
) -> None:
    data = export(split, tiny_checkpoint, tmp_path / "data")
    varied = ["--dropout", "0.1", "--shift_chunks", "true", "--line_dropout", "0.2", "--token_noise", "0.1"]
    options = ["--data", data, "--base", tiny_checkpoint, *TRAINING, *varied]
    run("train", *options, "--save_every", 0, "--output", tmp_path / "whole")
    killed = tmp_path / "killed"
    options += ["--save_every", save_every, "--output", killed]
    step = kill_training(options, killed, step)
    with caplog.at_level("INFO", logger="prox"):
        run("train", *options)
    assert f"going on from {killed}/checkpoints/checkpoint-{step}" in caplog.text
    names = [f"checkpoint-{6 * epoch}" for epoch in range(1, 7)]
    for folder in (tmp_path / "whole", killed):
        assert [path.name for path in list_checkpoints(folder / "checkpoints")] == names
    for name in names:
        file = Path("checkpoints", name, "model.safetensors")
        assert (killed / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_train_like_one(split: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """At the same global batch size; over gloo on CPU."""
    data = export(split, tiny_checkpoint, tmp_path / "data")
    options = ["--data", data, "--base", tiny_checkpoint, *TRAINING, "--group_by_length", "false"]
    curves = []
    for devices in (1, 2):
        output = tmp_path / f"on-{devices}"
        run("train", *options, "--learning_rate", "1e-3", "--devices", devices, "--output", output)
        curves.append([json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()])
    assert [row["step"] for row in curves[0]] == [row["step"] for row in curves[1]]
    for one, two in zip(*curves, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=2e-2)
        assert two["learning_rate"] == one["learning_rate"]


@pytest.fixture
def taught(tiny_checkpoint: Path) -> Callable[[float], PreTrainedModel]:
    """A model whose forward pass gives the loss of verdicts (ids 5 and 6), with this weight of the text's."""

    def load(lm_weight: float) -> PreTrainedModel:
        model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint, dtype=torch.float32)
        teach_judging(model, (5, 6), lm_weight)
        return model

    return load


def items(tiny_tokenizer: PreTrainedTokenizerBase, *targets: list[float]) -> list[dict]:
    renderer = LinePromptRenderer(Dialogue(kind="tagger", layout="plain", system=""), tiny_tokenizer, 512)
    texts = ["\n".join(f"line {'x' * number}" for number in range(len(one))) for one in targets]
    prompts = [renderer.chunk(Chunk(0, text)) for text in texts]
    return [{"reading": Reading(prompt, one, prompt.ids)} for prompt, one in zip(prompts, targets, strict=True)]


def gradients(model: PreTrainedModel) -> list[torch.Tensor]:
    found = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
    model.zero_grad()
    return found


def test_every_judged_line_of_a_batch_counts_the_same(
    taught: Callable[[float], PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    model = taught(0.0)
    both = items(tiny_tokenizer, [0, 1, -100, 1], [1])
    whole = model(**collate(both, 2))
    whole.loss.backward()
    expected = gradients(model)
    logits = whole.logits.float()
    assert whole.loss.item() == pytest.approx(cross_entropy(logits, torch.tensor([0, 1, 1, 1])).item())
    for one in both:
        model(**collate([one], 2), num_items_in_batch=4).loss.backward()
    for first, second in zip(expected, gradients(model), strict=True):
        torch.testing.assert_close(first, second, atol=1e-6, rtol=1e-4)


def test_a_line_may_be_noise_in_part(
    taught: Callable[[float], PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    model = taught(0.0)
    answer = model(**collate(items(tiny_tokenizer, [0, 0.3, -100, 1]), 2))
    kept, removed = answer.logits.float().log_softmax(dim=1).T
    wanted = torch.tensor([0, 0.3, 1])
    assert answer.loss.item() == pytest.approx(-((1 - wanted) * kept + wanted * removed).mean().item())


def test_the_text_s_loss_is_that_of_a_language_model(
    taught: Callable[[float], PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerBase, tiny_checkpoint: Path
) -> None:
    (item,) = items(tiny_tokenizer, [0, 1])
    batch = collate([item], 2)
    text = batch["input_ids"][:, : -item["reading"].prompt.num_lines]
    plain = AutoModelForCausalLM.from_pretrained(tiny_checkpoint, dtype=torch.float32)(input_ids=text, labels=text).loss
    difference = taught(0.5)(**batch).loss - taught(0.0)(**batch).loss
    assert difference.item() == pytest.approx(0.5 * plain.item(), rel=1e-4)


@pytest.mark.parametrize("lm_weight", [0.0, 0.5])
def test_a_batch_without_a_verdict_breaks_nothing(
    taught: Callable[[float], PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerBase, lm_weight: float
) -> None:
    model = taught(lm_weight)
    loss = model(**collate(items(tiny_tokenizer, [-100, -100]), 2)).loss
    loss.backward()
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(model))


def read_pages(tiny_tokenizer: PreTrainedTokenizerBase, variation: Variation) -> PageReader:
    """One page of ten lines in chunks of six and four, another of one line; their verdicts tell lines apart."""
    renderer = LinePromptRenderer(Dialogue(kind="tagger", layout="plain", system=""), tiny_tokenizer, 512)
    lines = [f"line {'x' * number}" for number in range(10)]
    chunks = [("b", 6, lines[6:]), ("a", 0, ["alone"]), ("b", 0, lines[:6])]
    examples = [
        LineExample(name, Chunk(first, "\n".join(text)), ("=-?-=-=-=-"[first:])[: len(text)])
        for name, first, text in chunks
    ]
    return PageReader(iter(examples), renderer, variation, seed=0)


def test_chunks_are_read_as_they_are(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    reader = read_pages(tiny_tokenizer, Variation())
    assert len(reader) == 3
    readings = [reader.read(number, epoch=0) for number in range(3)]
    assert [reading.targets for reading in readings] == [[0], [0, 1, -100, 1, 0, 1], [0, 1, 0, 1]]
    assert [len(reading.prompt.ids) for reading in readings] == reader.lengths
    assert readings[1].text == readings[1].prompt.ids
    assert "line xxxxxx\nline xxxxxxx\n" in tiny_tokenizer.decode(readings[2].text)


def test_each_epoch_reads_a_page_otherwise_and_a_resumed_one_the_same(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    variation = Variation(shift_chunks=True, line_dropout=0.2, token_noise=0.1)
    reader, again = read_pages(tiny_tokenizer, variation), read_pages(tiny_tokenizer, variation)
    label_of_line = {6 + number: label for number, label in enumerate([0, 1, -100, 1, 0, 1, 0, 1, 0, 1])}
    seen, starts = set(), set()
    for epoch in range(40):
        reading = reader.read(1, epoch)
        assert reading == again.read(1, epoch)
        assert len(reading.targets) == reading.prompt.num_lines
        text = tiny_tokenizer.decode(reading.text[: len(reading.text) - reading.prompt.num_lines])
        lengths = [len(line) + 1 for line in text.splitlines() if line.startswith("line")]
        assert [label_of_line[length] for length in lengths] == reading.targets  # each line keeps its own verdict
        assert len(reading.prompt.ids) <= max(reader.lengths)
        places = reading.prompt.ids[-reading.prompt.num_lines :]
        assert set(places) == {tiny_tokenizer.eos_token_id}
        seen.add(tuple(reading.prompt.ids))
        starts.add(lengths[0])
        assert reader.read(0, epoch).targets == [0]  # a page of one line has nothing to leave out
    assert len(seen) > 35
    assert len(starts) > 3


def test_batches_of_an_epoch_are_those_of_that_epoch(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    dataset = LineDataset(read_pages(tiny_tokenizer, Variation(line_dropout=0.3)))
    dataset.epoch = 7
    reader = read_pages(tiny_tokenizer, Variation(line_dropout=0.3))
    assert [dataset[number]["reading"] for number in range(3)] == [reader.read(number, 7) for number in range(3)]
    assert len(dataset[1]["input_ids"]) == reader.lengths[1]


def test_dropout_is_for_training_only(tiny_checkpoint: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint, dtype=torch.float32).eval()
    ids = torch.arange(5, 15)[None]
    plain = model(input_ids=ids).logits
    drop_out(model, 0.3)
    assert torch.equal(model(input_ids=ids).logits, plain)
    model.train()
    assert not torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


def test_a_base_must_read_positions(tiny_checkpoint: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    check_positions(model, "tiny")
    alibi = BloomForCausalLM(BloomConfig(vocab_size=64, hidden_size=32, n_layer=1, n_head=2))
    with pytest.raises(UserError, match="base 'bloom' reads no positions"):
        check_positions(alibi, "bloom")


def test_what_a_tagger_has_no_use_for_is_refused(
    trained: Path, split: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["validate", "--checkpoints", str(trained), "--examples", str(split), "--output", str(tmp_path / "x")]
    wrong = (["--task", "document"], ["--keep_penalties", "[1]"], ["--engine.kind", "vllm"])
    for more in wrong:
        assert main("adaptation", VERBS, [*options, *more]) == 1
    said = capsys.readouterr().err
    assert all(part in said for part in ("no say of documents", "for what writes programs", "set engine.kind local"))


def test_verdicts_of_an_example() -> None:
    program = "remove_lines(line_start=5, line_end=6)\nremove_lines(line_start=9, line_end=12)"
    example = Example("x", "a\nb\nc\nd\ne", program, 5, frozenset({6, 8}))
    assert verdicts_of(example) == "-?=?-"


def test_a_tagger_may_be_taught_another_language(split: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_checkpoint, tmp_path / "base"))
    export(split, tiny_checkpoint, tmp_path / "english")
    dialogue = load_dialogue(tmp_path / "english", Dialogue())
    dataclasses.replace(dialogue, max_tokens_per_letter=0.2, max_prompt_tokens=None).save(base)
    text = "Реки питаются дождями и талым снегом.\n" * 3 + "Войти"
    row = {"id": "ru", "text": text, "program": "remove_lines(line_start=3, line_end=3)"}
    for side in ("train", "valid"):
        (split / f"chunk_{side}.jsonl").write_text(json.dumps(row))
    run("export", "--examples", split, "--base", base, "--context", 400, "--output", tmp_path / "data")
    assert json.loads((tmp_path / "data/report.json").read_text())["splits"]["train"]["num_examples"] == 1


def test_a_file_without_a_verdict_a_line_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"first_line": 0, "text": "a\\nb", "verdicts": "="}\n')
    with pytest.raises(UserError, match=r"train\.jsonl line 1 is not what adaptation export writes"):
        list(read_line_examples(path))


def test_a_tagger_is_for_lines(
    split: Path, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [
        "--examples",
        split,
        "--base",
        tiny_checkpoint,
        "--task",
        "document",
        *TAGGER,
        "--output",
        tmp_path / "x",
    ]
    assert main("adaptation", VERBS, ["export", *map(str, options)]) == 1
    assert "give --task chunk" in capsys.readouterr().err


def test_the_threshold_with_the_highest_f1() -> None:
    assert choose_threshold([True, True, False, False], [0.9, 0.3, 0.25, 0.1]) == 0.3
    assert choose_threshold([True, False], [0.9, 0.1]) == 0.5  # of equal ones the middle
    rows = [{"line_probabilities": [0.2, 0.7, 0.9], "first_line": 4, "predicted": ""}]
    rows.append({"predicted": "keep_chunk()", "first_line": 9})
    cut = cut_rows(rows, 0.7, "predicted")
    assert cut[0]["predicted"] == "remove_lines(line_start=5, line_end=6)"
    assert cut[1] == rows[1]
