"""The plans of the recipes of tables and figures: steps, arms and costs at each scale."""

import dataclasses
import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from evaluation.paper_configs import FIGURES, TABLES
from evaluation.paper_rows import row_names_of_figure, row_names_of_table
from prox.command import CommandConfig, main
from tests.core.recipe_plans import REPOSITORY, SCRIPTS, Planner, library, options_of, outputs, planner

# What the paper's configs and models say by themselves, and no script runs.
WITHOUT_RECIPE = {"table8", "table9"}

SCALES = ("pico", "nano", "mini", "paper")

# The others plan the same steps with other numbers.
FAST = ("nano", "paper")

Step = tuple[str, CommandConfig]


def test_every_table_and_figure_has_a_recipe() -> None:
    expected = {f"table{number}" for number in TABLES} | {f"figure{number}" for number in FIGURES}
    assert {script.stem.removeprefix("run_") for script in SCRIPTS} == expected - WITHOUT_RECIPE
    assert all(os.access(script, os.X_OK) for script in SCRIPTS)


@pytest.mark.parametrize(
    "scale", [scale if scale in FAST else pytest.param(scale, marks=pytest.mark.slow) for scale in SCALES]
)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_dry_run_plans_commands_that_parse(script: Path, scale: str, checkout: Planner) -> None:
    plan = checkout.plan(script.stem.removeprefix("run_"), SCALE=scale)
    kind, number = re.fullmatch(r"run_(table|figure)(\d+)", script.stem).groups()
    assert f"evaluation {kind}" in [step.name for step in plan.steps]
    assert {config.number for config in outputs(plan, f"evaluation {kind}").values()} - {None} == {int(number)}
    assert plan.steps[-1].name == "evaluation report"
    assert len({step.output for step in plan.steps}) == len(plan.steps)
    for step in plan.steps:
        configs = [Path(value) for word, value in itertools.pairwise(step.arguments) if word == "--config"]
        assert all(config.is_file() for config in configs), step
    check_inputs_are_made_before(plan)
    check_scored_steps_are_saved(plan)
    for training in outputs(plan, "pretraining train").values():
        assert not dataclasses.replace(training, dry_run=True).problems()
    assert planner().render(plan.rows()).count("\n") == len(plan.steps) + 4
    assert not plan.run.exists()


def check_inputs_are_made_before(plan) -> None:
    """Whatever a step reads below the run is an earlier step's output, or lies in one."""
    made: set[Path] = set()
    for step in plan.steps:
        words = [word for word in step.arguments if word.startswith(f"{plan.run}/") and word != str(step.output)]
        for path in map(Path, words):
            is_group = path.is_relative_to(plan.run / "evaluation") and any(path in output.parents for output in made)
            assert is_group or made & {path, *path.parents}, f"{step.name} reads {path}, which nothing has made"
        made.add(step.output)


def check_scored_steps_are_saved(plan) -> None:
    """Checkpoints that are exported on the way are saved on the way, and kept."""
    for step in plan.steps:
        if step.name == "pretraining export" and (number := int(step.option("step") or 0)):
            training = plan.configs[Path(step.option("checkpoint"))]
            assert number < training.last_step()
            assert number % training.save_interval == 0
            assert training.keep_checkpoints == 0


def test_table_2_at_paper_scale(checkout: Planner) -> None:
    plan = checkout.plan("table2", SCALE="paper", REFINERS="published")
    trained = outputs(plan, "pretraining train")
    arms = ["raw", "gopher", "c4", "fineweb", "gopher+c4+fineweb", "prox-d_published", "prox-d+c_published"]
    assert list(trained) == [f"models/tlm_s/redpajama_v2/{arm}/train" for arm in arms]
    assert {(config.model, config.max_steps, config.min_learning_rate) for config in trained.values()} == {
        ("tlm-s", 12_500, 5e-6)
    }
    (chunk,) = outputs(plan, "refinement chunk").values()
    assert (chunk.refiner.checkpoint, chunk.refiner.dialogue.extra_bos) == ("gair-prox/web-chunk-refining-lm", True)
    rows = {row.output: row for row in plan.rows()}
    train = rows["models/tlm_s/redpajama_v2/raw/train"]
    assert train.flops == pytest.approx(6 * 709_830_144 * 12_500 * 2048 * 1024)
    assert train.disk == 25 * 758_982_144 * 12
    document = rows["corpora/redpajama_v2/prox-d_published"]
    assert document.flops == pytest.approx(2 * 313_324_800 * 62.5e9)  # Table 7, Equation 11
    assert rows["corpora/redpajama_v2/prox-d+c_published"].flops is None  # no count of TLM-xs's first stage
    (score,) = [step for step in plan.steps if step.name == "evaluation general"]
    assert set(options_of(score, "models")) == {"raw", *arms[1:5], "prox-d", "prox-d+c"}


# Published rows that no recipe makes: other groups' selections and models; and of Table 7 those that stand for several
# arms, or repeat another's.
OTHER_SELECTIONS = {f"Pythia-410M_{name}" for name in ("dsdm", "dsir", "mates", "qurating")} | {"Pythia-1B_mates"}

MATH_REFERENCES = {
    "refinement_TinyLlama_1-1B_rho-1",
    "reference_DeepSeek-LLM_1-3B_base",
    "reference_DeepSeek-LLM_1-3B_raw",
    *(f"reference_CodeLlama_{size}_base" for size in ("7B", "34B")),
    *(f"reference_Llemma_{size}_own" for size in ("7B", "34B")),
    *(f"reference_InternLM2-{kind}" for kind in ("Base_7B_base", "Base_20B_base", "Math_7B_own", "Math_20B_own")),
}

NOT_MADE = {
    "table3": OTHER_SELECTIONS,
    "table11": OTHER_SELECTIONS,
    "table5": MATH_REFERENCES,
    "table19": MATH_REFERENCES,
    "table7": {
        "Table-2-Figure-4_redpajama_v2_rule",
        "Table-3_c4_random-prox-d-and-other-baselines",
        *(f"Table-5-7B-model_openwebmath_{arm}" for arm in ("raw", "prox-d", "prox-d+c")),
    },
}


def shown_by(script: Path, plan) -> tuple[list[str], set[str]]:
    """The published rows of a recipe's table or figure, and the rows it fills, by their names there."""
    kind, number = re.fullmatch(r"run_(table|figure)(\d+)", script.stem).groups()
    rows = (row_names_of_table if kind == "table" else row_names_of_figure)(int(number))
    filled = set()
    for step in plan.steps:
        if step.name != f"evaluation {kind}":
            continue
        names = options_of(step, "names")
        if step.option("results"):
            scores = [one for one in plan.steps if Path(step.option("results")) in one.output.parents]
            own = {name.partition("@")[0] for one in scores for name in plan.configs[one.output].models}
            filled |= {names.get(name, name) for name in own}
        else:
            (counted,) = [one for one in plan.steps if str(one.output) == step.option("statistics")]
            own = set(options_of(counted, "arms"))
            filled |= {names[name] for name in own if name in names}
        assert set(names) <= own, f"{script.stem} renames what it has not: {sorted(set(names) - own)}"
    return rows, filled


# Table 4 and Figure 7 have no rows of models or counts to be filled by name.
@pytest.mark.parametrize(
    "script",
    [script for script in SCRIPTS if script.stem not in ("run_table4", "run_figure7")],
    ids=lambda script: script.stem,
)
def test_every_published_row_is_filled(script: Path, checkout: Planner) -> None:
    name = script.stem.removeprefix("run_")
    rows, filled = shown_by(script, checkout.plan(name, SCALE="paper"))
    assert set(rows) - filled == NOT_MADE.get(name, set())
    assert filled - set(rows) == (set(row_names_of_table(18)) if name == "figure6" else set())


def test_runs_of_one_folder_share_what_they_make(checkout: Planner) -> None:
    def made(name: str) -> dict[Path, tuple[str, ...]]:
        steps = checkout.record(name, SCALE="paper", RUN="runs/shared")
        return {step.output: step.arguments for step in steps if not {"tables", "figures"} & set(step.output.parts)}

    table2, table10, figure4, table13 = (made(name) for name in ("table2", "table10", "figure4", "table13"))
    own = {path for made_by in (table2, figure4) for path in made_by if path.name.startswith("report")}
    own |= {path for path in figure4 if path.name == "export-500" or "first" in path.parts}
    assert set(table2) - own < set(table10)
    assert set(figure4) - own == set(table10) - own - {path for path in table10 if path.name.startswith("report")}
    trained = [path for path in table13 if path.parts[-3:] == ("redpajama_v2", "raw", "train")]
    assert [path.parts[-4] for path in trained] == ["tlm_xs", "tlm_s", "tlm_m"]
    for other in (table10, figure4, table13):
        assert all(other[path] == table2[path] for path in set(table2) & set(other))


def test_facts_of_finished_steps(tmp_path: Path) -> None:
    facts = library("facts")
    config = {"shape": None, "model": "tlm-s", "global_batch_size": 1024, "sequence_length": None}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"config": config}))
    assert facts.model_facts(tmp_path) == (709_830_144, 2048 * 1024)
    (tmp_path / "cost.json").write_text('{"arms": {"prox-d+c": {"flops": 5}, "unread": {"flops": null}}}')
    assert facts.refining_flops(tmp_path, "prox-d+c") == 5
    with pytest.raises(SystemExit, match="has no FLOPs of unread"):
        facts.refining_flops(tmp_path, "unread")


def test_own_counts_come_before_the_papers(tmp_path: Path) -> None:
    plan = planner()
    assert plan.paper_tokens("redpajama_v2", "prox-d+c_s") == 16e9
    assert plan.paper_tokens("redpajama_v2", "prox-d+c_m") == 18e9
    assert plan.paper_tokens("redpajama_v2_two_dumps", "raw") == 123.5e9
    assert plan.paper_tokens("openwebmath", "prox-d_math") == 5.5e9
    assert plan.paper_tokens("redpajama_v2", "gopher") is None
    assert plan.paper_tokens("c4", "prox-d_xs") is None
    assert plan.paper_tokens("c4", "random") == 41.5e9
    shards = tmp_path / "tokens/c4/raw/llama2"
    shards.mkdir(parents=True)
    (shards / "stats.json").write_text('{"tokens": 5000}')
    counted = plan.Plan([], tmp_path, True)
    assert counted.size_of(str(tmp_path / "corpora/c4/raw")) == "198 B tokens (Table 7)"
    (shards / "config.yaml").write_text("fingerprint: a\n")
    (shards / "_SUCCESS").write_text('{"fingerprint": "a"}')
    assert counted.size_of(str(tmp_path / "corpora/c4/raw")) == "5 K tokens (counted)"


def test_the_plan_is_printed(repository: Path, tmp_path: Path) -> None:
    environment = os.environ | {"RUN": str(tmp_path / "run"), "SCALE": "paper"}
    command = [repository / "scripts/run_table2.sh", "--dry_run"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    document = r"refinement document +corpora/redpajama_v2/prox-d_s +reads 62.5 B tokens \(Table 7\) +8.87e\+19 +49.82"
    assert re.search(document, done.stdout)
    assert re.search(r"still to do +\d+ steps", done.stdout)
    assert "at 50% of an H100's 989 TFLOP/s" in done.stdout
    assert "to be named before it can run: REDPAJAMA_V2:" in done.stdout
    assert not (tmp_path / "run").exists()


def test_a_corpus_under_any_file_name(checkout: Planner) -> None:
    config = checkout.folder / "my forum.v2.yaml"
    shutil.copy(REPOSITORY / "configs/corpora/package_pages.yaml", config)
    plan = checkout.plan("table15", CORPUS="my forum.v2.yaml")
    for score in outputs(plan, "evaluation bits_per_byte").values():
        assert {name.partition("@")[0] for name in score.models} == {"my_forum_v2_raw", "my_forum_v2_prox-d+c"}
        assert not [problem for problem in score.problems() if "letters" in problem]


def test_counts_of_other_corpora_get_rows_of_their_own(checkout: Planner) -> None:
    plan = checkout.plan("table7", SCALE="mini")
    tables = [step for step in plan.steps if step.name == "evaluation table"]
    assert len(tables) > 3
    assert not any(options_of(step, "names") for step in tables)


def test_a_plan_tells_finished_steps_from_those_that_would_be_made_anew(tmp_path: Path) -> None:
    from evaluation.__main__ import VERBS as REPORTS
    from refinement.__main__ import VERBS

    pages, run = tmp_path / "pages.jsonl", tmp_path / "run"
    pages.write_text('{"text": "a page of some words"}\n')
    plan = planner()

    def steps(*options: str) -> list:
        ingest = ("ingest", "--output", str(run / "raw"), "--corpus.path", str(pages), *options)
        draw = ("rules", "--config", str(REPOSITORY / "configs/refinement/rules_random.yaml"))
        rules = (*draw, "--documents", str(run / "raw"), "--output", str(run / "random"))
        return [plan.Step("refinement", arguments) for arguments in (ingest, rules)]

    def states(*options: str) -> list[str]:
        return [row.state for row in plan.Plan(steps(*options), run, False).rows()]

    assert states() == ["", ""]
    assert main("refinement", VERBS, steps()[0].arguments) == 0
    assert states() == ["done", ""]
    assert main("refinement", VERBS, steps()[1].arguments) == 0
    assert states() == ["done", "done"]
    assert states("--corpus.limit", "5") == ["changed", "changed"]
    report = plan.Step("evaluation", ("report", "--runs.first", str(run), "--output", str(run / "report")))
    assert main("evaluation", REPORTS, report.arguments) == 0
    first, second = steps()
    again = plan.Step("refinement", (*second.arguments[:-1], str(run / "again")))
    assert [row.state for row in plan.Plan([first, second, report], run, False).rows()] == ["done"] * 3
    assert [row.state for row in plan.Plan([first, again, report], run, False).rows()] == ["done", "", "changed"]
    pages.write_text('{"text": "another page of some words"}\n')
    assert states() == ["changed", "changed"]


def test_the_readmes_gpu_hours_are_the_plans(checkout: Planner) -> None:
    def hours(name: str) -> float:
        rows = checkout.plan(name, SCALE="paper").rows()
        return planner().gpu_hours(sum(row.flops or 0 for row in rows))

    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`run_(?:table|figure).*?) \| .* \| (\d[\d,to ]*) \|$", text, re.MULTILINE)
    assert len(rows) == 7
    for scripts, cost in rows:
        first_last = re.sub(r"`run_table(\d+)` to `run_table(\d+)`", lambda found: named(*found.groups()), scripts)
        counted = [hours(name) for name in re.findall(r"`run_(\w+)`", first_last)]
        said = [float(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", cost)]
        if " to " in cost:
            counted = [min(counted), max(counted)]
        elif len(said) == 1:
            said *= len(counted)
        assert [round(number) for number in counted] == said, scripts


def named(first: str, last: str) -> str:
    """The tables from one to another as the README would name them singly."""
    return ", ".join(f"`run_table{number}`" for number in range(int(first), int(last) + 1))


def test_figure_4_begins_before_the_tables_do(checkout: Planner) -> None:
    plan = checkout.plan("figure4", SCALE="paper")
    scored = {place: config.models for place, config in outputs(plan, "evaluation general").items()}
    assert set(scored["evaluation/filtering/first/general"]) == {
        f"{arm}@500" for arm in ("raw", "gopher", "c4", "fineweb", "gopher+c4+fineweb", "prox-d", "prox-d+c")
    }
    assert set(scored) == {f"evaluation/filtering/{part}/general" for part in ("final", "earlier", "first")}


@pytest.mark.parametrize("executor", ["slurm", "ray"])
def test_an_executor_runs_what_is_made_of_units(executor: str, checkout: Planner) -> None:
    cluster = checkout.folder / f"{executor}.yaml"
    cluster.write_text(f"executor: {{kind: {executor}, slurm: {{partition: gpu, gpus_per_task: 1}}}}\n")
    environment = {"SCALE": "paper", "REFINERS": "published", "EXECUTOR": executor, "CLUSTER": str(cluster)}
    plan = checkout.plan("table2", **environment)
    for step in plan.steps:
        config = plan.configs.get(step.output)
        if hasattr(config, "executor"):
            is_refining = step.name in ("refinement document", "refinement chunk")
            assert config.executor.kind == executor
            assert getattr(config.executor, executor).gpus_per_task == int(is_refining), step.name
            assert config.executor.slurm.partition == "gpu"


def test_benchmarks_that_are_named_are_asked_at_every_scale(checkout: Planner) -> None:
    mirror, harness = checkout.folder / "mirror", checkout.folder / "harness"
    mirror.mkdir()
    harness.mkdir()
    plan = checkout.plan("table2", BENCHMARKS="mirror")
    (general,) = outputs(plan, "evaluation general").values()
    assert general.data == mirror
    assert not outputs(plan, "evaluation bits_per_byte")
    plan = checkout.plan("table5", MATH="harness")
    (math,) = outputs(plan, "evaluation math").values()
    assert (math.data, math.prompts) == (harness / "data", harness / "prompts/cot")
