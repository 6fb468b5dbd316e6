"""The paper's suites through the real harnesses: models whose scores are known, failures, resuming, agreement."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from evaluation.answers import answers_path
from evaluation.benchmark_data import lay_down, sample, sources
from evaluation.published import GENERAL, SELECTION
from evaluation.records import Record, read_record, read_records
from tests.evaluation.suites import COUNT, Lots, Oracle, Uniform, lighteval_model, lm_eval_model, write_mirror

if TYPE_CHECKING:
    from conftest import Evaluation

SUITES = {"general": GENERAL, "selection": SELECTION}


@pytest.fixture(scope="session")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mirror(tmp_path_factory.mktemp("mirror"))


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets both harnesses ask an oracle instead of the models that are named."""

    def use(oracle: Oracle) -> None:
        import evaluation.harness_lighteval
        import evaluation.harness_lm_eval

        monkeypatch.setattr(evaluation.harness_lighteval, "load", lambda *_: lighteval_model(oracle))
        monkeypatch.setattr(evaluation.harness_lm_eval, "load", lambda *_: lm_eval_model(oracle))

    return use


def records_of(folder: Path) -> dict[str, Record]:
    records = read_records([folder])
    return {f"{record.task}.{record.num_fewshot}": record for record in records}


@pytest.mark.parametrize("suite", SUITES)
def test_a_real_model_is_asked_every_task(
    suite: str, evaluation: "Evaluation", mirror: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    output = tmp_path / "scores"
    assert evaluation(suite, "--output", output, "--data", mirror, "--models.tiny", tiny_checkpoint) == 0
    records = records_of(output)
    shots = {"general": [0], "selection": [0, 2]}[suite]
    assert set(records) == {f"{task}.{number}" for task in SUITES[suite] for number in shots}
    for record in records.values():
        assert (record.suite, record.headline in record.metrics) == (suite, True)
        answers = answers_path(output, "tiny", suite, record.task, record.num_fewshot)
        assert len(answers.read_text().splitlines()) == record.num_samples
    assert records["winogrande.0"].headline == {"general": "acc_norm", "selection": "acc"}[suite]
    if suite == "general":
        assert set(records["mmlu.0"].details["subsets"]) == {"anatomy", "world_religions"}


@pytest.mark.parametrize("suite", SUITES)
def test_who_prefers_the_right_answer_scores_one(
    suite: str, known: Any, evaluation: "Evaluation", mirror: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    known(Oracle())
    output = tmp_path / "scores"
    assert evaluation(suite, "--output", output, "--data", mirror, "--models.rigged", tiny_checkpoint) == 0
    for record in records_of(output).values():
        assert [metric.value for metric in record.metrics.values()] == [1.0] * len(record.metrics)


def test_an_item_looks_as_the_paper_asks_it(mirror: Path, tmp_path: Path) -> None:
    from evaluation.tasks.general import QUESTIONS, prompt_function

    row = {"sentence": "The _ fell.", "option1": "cup", "option2": "book", "answer": "2", "row": 5}
    document = prompt_function("winogrande")(row, "winogrande:all")
    assert (document.query, document.choices, document.gold_index) == ("The", [" cup fell.", " book fell."], 1)
    row = {"activity_label": "Baking", "ctx_a": "She [header] mixes", "ctx_b": "it is", "endings": ["x [title] y"]}
    assert QUESTIONS["hellaswag"]({**row, "label": "0"})[:2] == ("Baking: She mixes It is", ["x. y"])
    row = {"subject": "world_religions", "question": "Q?", "choices": ["a", "b"], "answer": 0}
    assert QUESTIONS["mmlu"](row)[0] == "The following are questions about world religions.\nQuestion: Q?\nAnswer:"


def test_a_failing_task_loses_no_other_and_is_asked_again(
    known: Any,
    evaluation: "Evaluation",
    mirror: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import evaluation.harness_lm_eval as harness

    known(Oracle())
    asked: list[str] = []
    ask = harness.score_task

    def break_once(model: Any, unit: Any, *others: Any) -> Any:
        asked.append(unit.name)
        if unit.name == "piqa" and asked.count("piqa") == 1:
            raise RuntimeError("out of memory")
        return ask(model, unit, *others)

    monkeypatch.setattr(harness, "score_task", break_once)
    command = ("selection", "--output", tmp_path / "scores", "--data", mirror, "--models.rigged", tiny_checkpoint)
    tasks = ("--tasks", "[piqa,sciq]", "--num_fewshot", "[0]")
    assert evaluation(*command, *tasks) == 1
    assert "rigged" in (message := capsys.readouterr().err)
    assert "on piqa: RuntimeError: out of memory" in message
    assert evaluation(*command, *tasks) == 0
    assert asked == ["piqa", "sciq", "piqa"]
    assert set(records_of(tmp_path / "scores")) == {"piqa.0", "sciq.0"}


def test_both_harnesses_choose_the_same(
    evaluation: "Evaluation",
    mirror: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks = ("--tasks", "[arc_easy,openbookqa]")
    for suite in SUITES:
        command = (suite, "--output", tmp_path / suite, "--data", mirror, "--models.tiny", tiny_checkpoint, *tasks)
        assert evaluation(*command) == 0
    both = ("--first", tmp_path / "general", "--second", tmp_path / "selection")
    assert evaluation("agreement", *both, "--output", tmp_path / "agreement") == 0
    # OpenBookQA is asked of different splits, so that there is nothing to compare.
    assert "tiny on openbookqa: no question was asked in both" in caplog.text
    rows = json.loads((tmp_path / "agreement/agreement.json").read_text())
    assert {(row["task"], row["metric"]) for row in rows} == {("arc_easy", "acc"), ("arc_easy", "acc_norm")}
    assert all(row["same_choice"] == 1.0 for row in rows)
    # lm-eval has set half of so few questions aside for worked examples.
    assert {(row["questions"], row["only_first"]) for row in rows} == {(COUNT // 2, COUNT // 2)}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--tasks", "[boolq]"), "'boolq' is no task of general: choose from arc_challenge"),
        (("--splits.sciq", "train"), "has test of sciq, but not the split train"),
        (("--limit", "-1"), "--limit -1 is negative"),
        (("--data", "/nowhere"), "--data /nowhere is not a folder"),
    ],
)
def test_what_cannot_work_is_said_before_the_start(
    arguments: tuple[str, ...],
    words: str,
    evaluation: "Evaluation",
    mirror: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "scores"
    command = ("general", "--output", output, "--data", mirror, "--models.tiny", tiny_checkpoint, *arguments)
    assert evaluation(*command) == 2
    assert words in capsys.readouterr().err
    assert not output.exists()


def test_a_mirror_without_a_task_names_the_file_that_is_missing(
    evaluation: "Evaluation", tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    command = (
        "general",
        "--output",
        tmp_path / "scores",
        "--data",
        tmp_path / "empty",
        "--models.tiny",
        tiny_checkpoint,
    )
    assert evaluation(*command, "--tasks", "[piqa]") == 2
    assert "has no lighteval__piqa/plain_text/validation.parquet for piqa" in capsys.readouterr().err


def test_the_sample_is_a_prefix_of_one_order() -> None:
    assert sample(10, 0) == list(range(10))
    assert sample(10, 99, held_back=2) == list(range(8))
    small, large = sample(1000, 10), sample(1000, 20)
    assert set(small) < set(large)
    # What is set aside leaves the others in their order.
    held_back = 1000 - max(small)
    assert sample(1000, 9, held_back) == sorted(set(small) - {max(small)})


def test_the_sample_is_what_lighteval_draws(mirror: Path, tmp_path: Path) -> None:
    from lighteval.tasks.lighteval_task import LightevalTask

    from evaluation.tasks.general import task_configs

    data = lay_down("arc_easy", "test", mirror, 0, tmp_path / "data")
    drawn = LightevalTask(task_configs("arc_easy", data.folder, data.subsets)[0]).get_docs(max_samples=3)
    assert sorted(document.specific["row"] for document in drawn) == sample(COUNT, 3)


def test_the_data_hash_is_of_the_questions_asked(mirror: Path, tmp_path: Path) -> None:
    laid_down = [lay_down("mmlu", "test", mirror, limit, tmp_path / str(limit)) for limit in (0, 2)]
    assert [data.subsets for data in laid_down] == [
        {"anatomy": 4, "world_religions": 4},
        {"anatomy": 2, "world_religions": 2},
    ]
    assert laid_down[0].digest != laid_down[1].digest
    assert lay_down("mmlu", "test", mirror, 0, tmp_path / "again").digest == laid_down[0].digest


@pytest.mark.slow
@pytest.mark.parametrize("preference", ["lots", "uniform"])
@pytest.mark.parametrize("suite", SUITES)
def test_without_preference_scores_are_at_chance_on_the_real_benchmarks(
    suite: str,
    preference: str,
    known: Any,
    evaluation: "Evaluation",
    shared: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
) -> None:
    from transformers import AutoTokenizer

    known(Lots() if preference == "lots" else Uniform(AutoTokenizer.from_pretrained(tiny_checkpoint)))
    output = tmp_path / "scores"
    command = (suite, "--output", output, "--data", shared / "data/mc", "--models.none", tiny_checkpoint)
    # Drawing up worked examples takes lm-eval minutes for all questions.
    limit = {"general": "0", "selection": "400"}[suite]
    assert evaluation(*command, "--splits.sciq", "validation", "--limit", limit) == 0
    distances = {}
    for record in records_of(output).values():
        path = answers_path(output, "none", suite, record.task, record.num_fewshot)
        choices = [len(json.loads(line)["lengths"]) for line in path.read_text().splitlines()]
        chance = sum(1 / count for count in choices) / len(choices)
        error = math.sqrt(sum(1 / count * (1 - 1 / count) for count in choices)) / len(choices)
        # MMLU's is the mean of its subjects, whose sizes differ.
        error = error if record.task != "mmlu" else record.metrics[record.headline].stderr or math.nan
        distances[record.task, record.num_fewshot] = abs(record.metrics[record.headline].value - chance) / error
    assert len(distances) == {"general": 10, "selection": 16}[suite]
    # With larger vocabularies a uniform model is not: see docs/evaluation.md.
    assert max(distances.values()) < 3, distances


def test_every_source_has_a_fixed_place() -> None:
    assert set(sources()) == {*GENERAL, *SELECTION}
    unpinned = [task for task, source in sources().items() if len(source.revision) != 40]
    assert unpinned == ["logiqa"]


def test_a_record_tells_how_it_was_measured(
    known: Any, evaluation: "Evaluation", mirror: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    known(Oracle())
    command = ("general", "--output", tmp_path / "scores", "--data", mirror, "--models.rigged@40", tiny_checkpoint)
    assert evaluation(*command, "--tasks", "[sciq]", "--limit", "3") == 0
    record = read_record(tmp_path / "scores/records/rigged@40.general.sciq.json")
    assert (record.model, record.step, record.num_samples, record.headline) == ("rigged", 40, 3, "acc_norm")
    assert record.suite_version.startswith("lighteval 0.")
    assert record.data == "a mirror of allenai/sciq, default, test"
    assert (record.settings["limit"], record.settings["dtype"]) == (3, "float32")
    example = (tmp_path / "scores/examples/rigged@40.general.sciq.txt").read_text()
    assert "\nQuestion: Which of these was seen" in f"\n{example}"
    assert example.count("\n* ") == 1
    assert record.details["prompts_cut"] == 0


def test_a_mirror_of_the_hub_serves_offline(
    known: Any,
    evaluation: "Evaluation",
    mirror: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import datasets

    asked: list[tuple[str, str]] = []

    def from_the_hub(repo: str, name: str, split: str, revision: str) -> datasets.Dataset:
        asked.append((repo, split))
        if len(asked) == 2:
            raise ConnectionError("the line is dead")
        source = next(source for source in sources().values() if (source.repo, source.config) == (repo, name))
        assert revision == source.revision
        files = source.splits(mirror)
        return datasets.Dataset.from_parquet(str(files.get(split, next(iter(files.values())))))

    known(Oracle())
    command = ("mirror", "--output", tmp_path / "mirror", "--tasks", "[openbookqa]")
    with monkeypatch.context() as patch:
        patch.setattr(datasets, "load_dataset", from_the_hub)
        assert evaluation(*command) == 1
        assert evaluation(*command) == 0
    splits = ["test", "train", "validation"]
    assert sorted(path.stem for path in (tmp_path / "mirror/allenai__openbookqa/main").iterdir()) == splits
    # What was fetched before the line went dead is not fetched again.
    assert [split for _, split in asked] == ["test", "train", "train", "validation"]
    scores = ("general", "--output", tmp_path / "scores", "--data", tmp_path / "mirror", "--tasks", "[openbookqa]")
    assert evaluation(*scores, "--models.tiny", tiny_checkpoint) == 0
