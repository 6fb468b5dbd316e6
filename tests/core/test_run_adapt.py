"""`scripts/run_adapt.sh` and `scripts/run_from_labels.sh`: what they ask the commands for, and what they refuse."""

import dataclasses
import gzip
import importlib
import json
from pathlib import Path

import pytest

from prox.command import CommandConfig, parse
from tests.core.conftest import Rehearsal

Steps = list[tuple[str, CommandConfig]]


def asked(rehearsal: Rehearsal, command: str, **environment: str) -> Steps:
    """(stage and verb, config) of each command."""
    done = rehearsal.run(command, **environment)
    assert done.returncode == 0, done.stderr
    steps = []
    for module, *arguments in rehearsal.commands():
        verbs = importlib.import_module(f"{module}.__main__").VERBS
        steps.append((f"{module} {arguments[0]}", parse(module, verbs, arguments)[1]))
    return steps


def check_refused(rehearsal: Rehearsal, command: str, message: str) -> None:
    """The recipe says so before it runs anything."""
    done = rehearsal.run(command)
    assert done.returncode == 2
    assert message in done.stderr
    assert not rehearsal.commands()


def with_cards(rehearsal: Rehearsal, *refiners: str) -> Rehearsal:
    """The cards that a recipe shows at its end, which no recorded command writes."""
    for refiner in refiners:
        card = rehearsal.folder / refiner / "README.md"
        card.parent.mkdir(parents=True)
        card.write_text("the card\n")
    return rehearsal


def test_both_refiners_of_a_base(rehearsal: Rehearsal) -> None:
    with_cards(rehearsal, "out/adaptation/document/refiner", "out/adaptation/chunk/refiner")
    command = "scripts/run_adapt.sh --examples annotated/split --base org/model --output out"
    steps = asked(rehearsal, f"{command} --config configs/adaptation/train_tlm_m.yaml -- --devices 2")
    one = ["adaptation export", "adaptation train", "adaptation validate", "adaptation select"]
    assert [name for name, _ in steps] == one * 2
    for task, (export, train, validate, select) in zip(
        ("document", "chunk"), ([config for _, config in steps[:4]], [config for _, config in steps[4:]]), strict=True
    ):
        out = rehearsal.folder / "out/adaptation" / task
        assert (export.task, export.base, train.base) == (task, "org/model", "org/model")
        assert export.examples == validate.examples == rehearsal.folder / "annotated/split"
        assert (train.micro_batch_size, train.gradient_checkpointing, train.devices) == (8, True, 2)
        assert (train.global_batch_size, train.learning_rate, train.num_epochs) == (64, 1e-5, 4)
        assert (train.data, validate.checkpoints, validate.task) == (out / "examples", out / "train", task)
        assert (select.metrics, select.output) == (out / "validate", out / "refiner")


def test_a_refiner_of_math_starts_from_the_general_one(rehearsal: Rehearsal) -> None:
    with_cards(rehearsal, "math/adaptation/chunk/refiner")
    general = "runs/quickstart/adaptation/chunk/refiner"
    (rehearsal.folder / general / "dialogue.json").write_text("{}")
    done = rehearsal.run(f"scripts/run_adapt.sh --examples annotated/split --base {general} --output math")
    assert "is a refiner: name its --task" in done.stderr
    steps = asked(
        rehearsal,
        f"scripts/run_adapt.sh --examples annotated/split --base {general} --task chunk --output math",
    )
    assert len(steps) == 4
    assert steps[1][1].base == str(rehearsal.folder / general)


def test_a_tagger_of_a_base(rehearsal: Rehearsal) -> None:
    with_cards(rehearsal, "out/adaptation/document/refiner", "out/adaptation/chunk/refiner")
    command = "scripts/run_adapt.sh --examples annotated/split --base org/model --output out --kind tagger"
    steps = asked(rehearsal, command)
    exports = [config for name, config in steps if name == "adaptation export"]
    assert [(export.task, export.dialogue.kind) for export in exports] == [
        ("document", "generative"),
        ("chunk", "tagger"),
    ]
    validated = [config for name, config in steps if name == "adaptation validate"]
    assert [(config.task, config.choose_threshold) for config in validated] == [("document", False), ("chunk", True)]
    assert steps[-1][1].output == rehearsal.folder / "out/adaptation/chunk/refiner"


def test_the_refiner_that_ships_is_made_of_clear_licences(rehearsal: Rehearsal) -> None:
    rows = {
        "web/weblines_train": ("wcxb", "cleaneval", "scrapinghub"),
        "web/weblines_valid": ("wcxb", "cleaneval"),
        "web/weblines_test": ("wcxb", "cleaneval"),
        "corpus/web_raw": ("goose3/goose3", "unknown/unknown"),
        "corpus/c4_sample": ("",),
    }
    for name, sources in rows.items():
        path = rehearsal.folder / f"{name}.jsonl.gz"
        path.parent.mkdir(exist_ok=True)
        rows_of = [
            {"text": "a", "source": one, "split": split} for one in sources for split in ("train", "valid", "test")
        ]
        kept_whole = rows_of if name == "corpus/web_raw" else rows_of[::3]
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in kept_whole).encode()))
    (rehearsal.folder / "out/adaptation/first/examples").mkdir(parents=True)
    (rehearsal.folder / "out/adaptation/first/examples/documents.jsonl").write_text("{}\n")
    with_cards(rehearsal, "out/adaptation/chunk/refiner")
    steps = asked(rehearsal, "scripts/run_web_lines.sh --web web --corpus corpus --output out")
    kept = {
        path.name.split(".")[0]: [
            json.loads(line)["source"] for line in gzip.decompress(path.read_bytes()).splitlines()
        ]
        for path in (rehearsal.folder / "out/data").iterdir()
    }
    assert kept == {
        "train": ["wcxb", "scrapinghub"],
        "valid": ["wcxb"],
        "test": ["wcxb", "cleaneval"],
        "raw_pages": ["goose3/goose3"] * 3,
        "raw": ["goose3/goose3"],  # of sites that neither choose nor test
    }
    named = {(name, config.output.name): config for name, config in steps}
    assert named["annotation trees", "trees"].unlabelled_documents == rehearsal.folder / "out/refinement/unlabelled"
    sets, tested = named["annotation pairs", "sets"], named["annotation pairs", "test_sets"]
    assert (sets.window, sets.max_line_characters, sets.kind) == (
        tested.window,
        tested.max_line_characters,
        tested.kind,
    )
    assert named["adaptation select", "refiner"].dtype == "bfloat16"
    score = named["adaptation validate", "test"]
    assert (score.checkpoint, score.choose_threshold) == (str(rehearsal.folder / "out/refiner"), False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--base b --output o", "--examples is missing"),
        ("--examples e --base b --output o --task page", "--task is 'page': document, chunk or both"),
        ("--examples e --base b --output o --kind judge", "--kind is 'judge': generative or tagger"),
        ("--examples e --base b --output o --config c.yaml", "c.yaml does not exist: give a config file"),
    ],
)
def test_adapting_with_wrong_options(rehearsal: Rehearsal, options: str, message: str) -> None:
    check_refused(rehearsal, f"scripts/run_adapt.sh {options}", message)


@pytest.fixture
def labelled(rehearsal: Rehearsal) -> Rehearsal:
    for name in ("train.jsonl", "valid.jsonl", "test.jsonl", "more/a.jsonl", "more/b.jsonl"):
        path = rehearsal.folder / "pages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"text": "A page"}\n')
    (rehearsal.folder / "out/adaptation/chunk/examples").mkdir(parents=True)
    (rehearsal.folder / "out/adaptation/chunk/examples/documents.jsonl").write_text("{}\n")
    return with_cards(rehearsal, "out/adaptation/chunk/refiner")


FROM_LABELS = "scripts/run_from_labels.sh --train pages/train.jsonl --valid pages/valid.jsonl --output out"


def targets(folder: Path) -> list[str]:
    return sorted(path.resolve().name for path in folder.iterdir())


@pytest.mark.parametrize("kind", ["tagger", "generative"])
def test_a_refiner_from_labelled_pages_alone(labelled: Rehearsal, kind: str) -> None:
    options = "" if kind == "tagger" else "--kind generative"
    steps = asked(labelled, f"{FROM_LABELS} --test pages/test.jsonl --raw 'pages/more/*.jsonl' {options}")
    assert [name for name, _ in steps] == [
        *["refinement ingest"] * 4,
        "pretraining tokenizer",
        "annotation pairs",
        "adaptation export",
        "refinement ingest",
        "pretraining tokenize",
        "pretraining train",
        "pretraining export",
        *["adaptation train", "adaptation validate", "adaptation select"],
        "annotation pairs",
        "adaptation validate",
    ]
    configs = {(name, config.output.name): config for name, config in steps}
    out = labelled.folder / "out"
    assert targets(out / "files/raw") == ["a.jsonl", "b.jsonl", "train.jsonl"]
    assert targets(out / "files/base") == ["a.jsonl", "b.jsonl", "documents.jsonl"]
    pairs, export = configs["annotation pairs", "sets"], configs["adaptation export", "examples"]
    assert (pairs.documents, pairs.valid_documents) == (out / "refinement/train", out / "refinement/valid")
    assert pairs.noise_lines_column == "noise_lines"
    assert pairs.max_line_characters == export.dialogue.max_line_characters == 60
    assert export.write_documents
    assert export.base == str(out / "pretraining/tokenizer")
    train, tokenizer = configs["pretraining train", "train"], configs["pretraining tokenizer", "tokenizer"]
    assert train.resolved_shape().context == export.context == tokenizer.model_max_length == 768
    assert train.resolved_shape().vocab_size == tokenizer.vocab_size
    chosen, tested = configs["adaptation validate", "validate"], configs["adaptation validate", "test"]
    assert chosen.examples == out / "annotation/sets"
    assert (tested.examples, tested.checkpoint) == (out / "annotation/test_sets", str(out / "adaptation/chunk/refiner"))
    assert (pairs.kind, export.dialogue.kind) == (kind, kind)
    assert pairs == dataclasses.replace(
        configs["annotation pairs", "test_sets"], valid_documents=pairs.valid_documents, output=pairs.output
    )
    is_tagger = kind == "tagger"
    assert (chosen.choose_threshold, tested.choose_threshold) == (is_tagger, False)
    assert (len(chosen.keep_penalties), tested.keep_penalties) == (0 if is_tagger else 4, [])
    if not is_tagger:
        assert chosen.max_new_tokens == tested.max_new_tokens == export.max_new_tokens


def test_a_teacher_teaches_a_tagger_once_more(labelled: Rehearsal) -> None:
    out = labelled.folder / "out"
    (out / "adaptation/first/examples").mkdir(parents=True)
    (out / "adaptation/first/examples/documents.jsonl").write_text("{}\n")
    raw = "--raw pages/more/a.jsonl --unlabelled pages/more/b.jsonl"
    steps = asked(labelled, f"{FROM_LABELS} --teacher trees --ambiguous_lines_column open {raw}")
    assert [name for name, _ in steps][-10:] == [
        "pretraining export",
        *["adaptation train", "adaptation validate", "adaptation select"],
        "annotation trees",
        "annotation pairs",
        *["adaptation export", "adaptation train", "adaptation validate", "adaptation select"],
    ]
    (trees,) = [config for name, config in steps if name == "annotation trees"]
    assert (trees.documents, trees.unlabelled_documents) == (out / "refinement/train", out / "refinement/unlabelled")
    assert targets(out / "files/raw") == ["a.jsonl", "train.jsonl"]  # what the base reads
    first, second = [config for name, config in steps if name == "annotation pairs"]
    assert second == dataclasses.replace(
        first, documents=out / "annotation/trees", teacher_column=trees.teacher_column, output=second.output
    )
    before, after = [config for name, config in steps if name == "adaptation train"]
    assert (before.data, before.base) == (out / "adaptation/first/examples", str(out / "pretraining/base/export"))
    assert (after.data, after.base) == (out / "adaptation/chunk/examples", str(out / "adaptation/first/refiner"))
    assert (before.teacher_weight, after.teacher_weight) == (0, 0.5)
    assert (before.learning_rate, after.learning_rate) == (1e-3, 5e-4)
    assert (before.line_dropout, after.line_dropout) == (0.1, 0.1)  # the rest is as before


def test_how_much_a_teacher_counts(labelled: Rehearsal) -> None:
    out = labelled.folder / "out"
    (out / "adaptation/first/examples").mkdir(parents=True)
    (out / "adaptation/first/examples/documents.jsonl").write_text("{}\n")
    steps = asked(labelled, f"{FROM_LABELS} --teacher trees --teacher_weight 0.3 -- --lm_weight 0.2")
    trained = [config for name, config in steps if name == "adaptation train"]
    assert [(config.teacher_weight, config.lm_weight) for config in trained] == [(0, 0.2), (0.3, 0.2)]


def test_pages_to_drop_make_a_document_refiner(labelled: Rehearsal) -> None:
    with_cards(labelled, "out/adaptation/document/refiner")
    steps = asked(labelled, f"{FROM_LABELS} --drop pages/more/a.jsonl")
    tasks = [config.task for name, config in steps if name in ("adaptation export", "adaptation validate")]
    assert tasks == ["chunk", "chunk", "document", "document"]
    sets = [config.drop_documents for name, config in steps if name == "annotation pairs"]
    assert sets == [None, labelled.folder / "out/refinement/drop"]
    trained = [config.base for name, config in steps if name == "adaptation train"]
    assert trained == [str(labelled.folder / "out/pretraining/base/export")] * 2


def test_without_test_pages_nothing_is_tested(labelled: Rehearsal) -> None:
    steps = asked(labelled, f"{FROM_LABELS} --clean_column clean -- --num_epochs 7", SCALE="labels_pico")
    assert [config.num_epochs for name, config in steps if name == "adaptation train"] == [7]
    assert [name for name, _ in steps].count("adaptation validate") == 1
    (pairs,) = [config for name, config in steps if name == "annotation pairs"]
    assert (pairs.clean_column, pairs.noise_lines_column) == ("clean", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--train 'pages/*.parquet'", "--train pages/*.parquet: no such file"),
        ("--raw pages/more", "--raw pages/more is a folder: give its files"),
        ("--raw ../*.sh", "no such file"),
        ("--raw scripts/setup.sh", "--raw scripts/setup.sh: give JSON lines"),
        ("--raw 'pages/*.jsonl'", "valid.jsonl is named under --raw, and to score with"),
        ("--test pages/valid.jsonl", "valid.jsonl is named under --valid and --test"),
        ("--clean_column clean --noise_lines_column noise", "--clean_column is given: leave the columns"),
        ("--teacher trees --clean_column clean", "--teacher trees learns from labelled lines"),
        ("--teacher trees --kind generative", "--teacher trees judges lines, and --kind is generative"),
        ("--teacher forest", "--teacher is 'forest': none or trees"),
        ("--unlabelled pages/more/a.jsonl", "--unlabelled is given, and no teacher"),
        ("--teacher_weight 0.3", "--teacher_weight is given, and no teacher"),
        ("--teacher trees --teacher_weight 2", "--teacher_weight is '2': a number above 0, up to 1"),
        ("--teacher trees --teacher_weight 0.0", "--teacher_weight is 0, and a teacher is made"),
        (
            "--teacher trees --unlabelled pages/valid.jsonl",
            "valid.jsonl is named under --unlabelled, and to score with",
        ),
    ],
)
def test_labels_that_are_not_there(labelled: Rehearsal, options: str, message: str) -> None:
    check_refused(labelled, f"{FROM_LABELS} {options}", message)
