"""The recipes of tables and figures: what they plan at each scale, and what they refuse; one is run at the smallest."""

import dataclasses
import functools
import importlib.util
import itertools
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from evaluation.paper_configs import FIGURES, TABLES
from evaluation.paper_rows import row_names_of_figure, row_names_of_table
from prox.command import CommandConfig, main
from tests.core.conftest import Rehearsal

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path for kind in ("table", "figure") for path in (REPOSITORY / "scripts").glob(f"run_{kind}*.sh"))
# What the paper's configs and models say by themselves, and no script runs.
WITHOUT_RECIPE = {"table8", "table9"}
SCALES = ("pico", "nano", "mini", "paper")
# The others plan the same steps with other numbers.
FAST = ("nano", "paper")
MOST_LINES, MOST_EQUAL_LINES = 60, 4
CONTINUED = ["TinyLlama_1-1B", "Llama-2_7B", "CodeLlama_7B", "Mistral_7B"]
Step = tuple[str, CommandConfig]


@functools.cache
def library(name: str) -> ModuleType:
    """A Python file of `scripts/lib/`."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / f"scripts/lib/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def planner() -> ModuleType:
    """`plan.py`, which parses no two commands alike twice."""
    return library("plan")


class Planner:
    """A checkout whose Python is never started: a dry run ends with the commands it recorded."""

    def __init__(self, folder: Path) -> None:
        for name in ("scripts", "configs"):
            shutil.copytree(REPOSITORY / name, folder / name)
        (folder / "scripts/setup.sh").write_text("#!/bin/sh\n")
        python = folder / ".venv/bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\ncp "$2" {folder}/record\n')
        python.chmod(0o755)
        self.rehearsal = Rehearsal(folder)
        self.folder = folder

    @functools.cache  # noqa: B019 (one object, which lives as long as the tests)
    def record(self, name: str, **environment: str) -> list:
        """The steps of a recipe (`table2`)."""
        done = self.rehearsal.run(f"scripts/run_{name}.sh --dry_run", **environment)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        assert not done.stderr
        return planner().read_steps(self.folder / "record")

    @functools.cache  # noqa: B019
    def plan(self, name: str, **environment: str):
        """Its plan; at paper scale with the paper's corpora."""
        steps = self.record(name, **environment)
        return planner().Plan(
            steps, self.folder / f"runs/paper_{environment.get('SCALE', 'nano')}", environment.get("SCALE") == "paper"
        )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Planner:
    return Planner(tmp_path_factory.mktemp("plans") / "checkout")


def options_of(step, name: str) -> dict[str, str]:
    """Values of the options `--NAME.KEY VALUE` by key."""
    words = itertools.pairwise(step.arguments)
    return {word.removeprefix(f"--{name}."): value for word, value in words if word.startswith(f"--{name}.")}


def outputs(plan, name: str) -> dict[str, CommandConfig]:
    """Configs of a command's steps by place in the run."""
    return {plan.place(step.output): plan.configs[step.output] for step in plan.steps if step.name == name}


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


def test_a_run_does_what_was_planned(checkout: Planner, rehearsal: Rehearsal) -> None:
    environment = {"SCALE": "nano", "RUN": "runs/same"}
    planned = checkout.record("table10", **environment)
    done = rehearsal.run("scripts/run_table10.sh", JOBS="2", **environment)
    assert done.returncode == 0, done.stderr
    assert "report: " in done.stdout

    def placeless(words: Iterable[str], folder: Path) -> tuple[str, ...]:
        return tuple(word.replace(str(folder), "") for word in words)

    asked = [placeless(words, rehearsal.folder) for words in rehearsal.commands()]
    assert sorted(asked) == sorted(placeless((step.stage, *step.arguments), checkout.folder) for step in planned)


def test_a_failing_arm_ends_the_recipe(rehearsal: Rehearsal) -> None:
    python = rehearsal.folder / ".venv/bin/python"
    python.write_text(python.read_text() + 'case "$*" in *train*gopher/train*) exit 3;; esac\n')
    done = rehearsal.run("scripts/run_table2.sh", JOBS="2")
    assert done.returncode == 1
    assert re.search(r"pretraining train failed; its log: \S+gopher-train.log", done.stdout)
    assert "a step failed; see the lines marked [tlm_s gopher] above" in done.stderr
    assert not any(stage == "evaluation" for stage, *_ in rehearsal.commands())


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


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SCALE": "huge"}, "SCALE is 'huge': nano, pico, mini or paper"),
        ({"SCALE": "labels"}, "SCALE is 'labels'"),
        ({"CORPUS": "absent.yaml"}, "CORPUS is 'absent.yaml', which is no file"),
        ({"EXECUTOR": "kubernetes"}, "EXECUTOR is 'kubernetes': local, slurm or ray"),
        ({"EXECUTOR": "slurm"}, "EXECUTOR is slurm: name its settings with CLUSTER"),
        ({"REFINERS": "absent"}, "REFINERS is 'absent': published, or the folder refiners/ of a run"),
        ({"BENCHMARKS": "absent"}, "BENCHMARKS is 'absent', which is no folder"),
        ({"WORKERS": "many"}, "WORKERS is 'many': a number from 1 on"),
        ({"SCALE": "paper"}, "to be named before it can run: REDPAJAMA_V2:"),
    ],
)
def test_what_a_recipe_refuses(environment: dict[str, str], message: str, rehearsal: Rehearsal) -> None:
    done = rehearsal.run("scripts/run_table2.sh", **environment)
    assert done.returncode == 2
    assert message in done.stderr
    assert not rehearsal.commands()


def test_what_named_folders_lack_is_said_before_anything_runs(rehearsal: Rehearsal) -> None:
    folder = rehearsal.folder / "empty"
    folder.mkdir()
    named = {name: "empty" for name in ("BASES", "REFINERS", "TOKENIZERS", "MATH")}
    done = rehearsal.run("scripts/run_table5.sh", SCALE="paper", **named)
    assert done.returncode == 2
    assert not rehearsal.commands()
    lacking = {
        "BASES": "mistral_7b/config.json",
        "REFINERS": "math/chunk/refiner/config.json",
        "TOKENIZERS": "llama2/tokenizer.json",
        "MATH": "prompts/cot",
    }
    for name, path in lacking.items():
        assert f"to be named before it can run: {name}: {folder / path} is not there" in done.stderr
    done = rehearsal.run("scripts/run_table2.sh --dry_run", SCALE="paper", ANNOTATION="empty")
    assert f"ANNOTATION: {folder / '_SUCCESS'} is not there" in done.stdout
    (folder / "dump_1").mkdir()
    named = {"REDPAJAMA_V2": "empty", "BENCHMARKS": "empty", "REFINERS": "published"}
    done = rehearsal.run("scripts/run_table15.sh --dry_run", SCALE="paper", **named)
    missing = [line for line in done.stdout.splitlines() if line.startswith("to be named")]
    assert [line.rpartition("/")[2].partition(" ")[0] for line in missing] == ["allenai__ai2_arc", "dump_2"]


def test_every_step_of_a_run_is_in_one_group_under_its_place(rehearsal: Rehearsal) -> None:
    python = rehearsal.folder / ".venv/bin/python"
    python.write_text(python.read_text() + 'echo "$WANDB_RUN_GROUP $WANDB_NAME" >>groups\n')
    done = rehearsal.run("scripts/run_table2.sh", RUN="runs/first", JOBS="1")
    assert done.returncode == 0, done.stderr
    groups = [line.split() for line in (rehearsal.folder / "groups").read_text().splitlines()]
    places = [command[command.index("--output") + 1] for command in rehearsal.commands()]
    assert [name for _, name in groups] == [place.partition("runs/first/")[2] for place in places]
    assert {group for group, _ in groups} == {"first"}


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


def test_commands_are_printed_as_they_are_run(rehearsal: Rehearsal) -> None:
    printed = rehearsal.run("scripts/run_table2.sh --commands", RUN="runs/same")
    done = rehearsal.run("scripts/run_table2.sh", RUN="runs/same", JOBS="1")
    assert (printed.returncode, done.returncode) == (0, 0)
    lines = [shlex.split(line) for line in printed.stdout.splitlines() if line.startswith(".venv/bin/python -m ")]
    assert [words[2:] for words in lines] == rehearsal.commands()
    printed = rehearsal.run("scripts/run_table5.sh --commands", SCALE="paper")
    assert ".venv/bin/hf download TinyLlama/" in printed.stdout
    assert "to be named before they can run: MATH" in printed.stderr


def test_what_cannot_be_read_ends_a_recipe_before_it_begins(rehearsal: Rehearsal) -> None:
    (rehearsal.folder / "pages.jsonl").write_text('{"body": "a page"}\n')
    (rehearsal.folder / "pages.yaml").write_text(f"corpus: {{path: {rehearsal.folder}/pages.jsonl}}\n")
    (rehearsal.folder / "mirror/allenai__ai2_arc").mkdir(parents=True)
    named = {"CORPUS": "pages.yaml", "BENCHMARKS": "mirror"}
    done = rehearsal.run("scripts/run_table2.sh", **named)
    assert done.returncode == 2
    assert not rehearsal.commands()
    assert "to be mended before it can run: " in done.stderr
    assert "text_column" in done.stderr
    assert "ARC-Easy" in done.stderr
    planned = rehearsal.run(
        "cd /tmp && $OLDPWD/scripts/run_table2.sh --dry_run",
        **{name: str(rehearsal.folder / place) for name, place in named.items()},
    )
    assert planned.returncode == 0
    assert "text_column" in planned.stdout


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


def test_what_published_refiners_leave_out_is_said(rehearsal: Rehearsal) -> None:
    done = rehearsal.run("scripts/run_figure5.sh --dry_run", SCALE="paper", REFINERS="published")
    assert "note: the published refiners (0.3 B parameters, TLM-xs) stand in for those of every size" in done.stdout


def test_figure_4_begins_before_the_tables_do(checkout: Planner) -> None:
    plan = checkout.plan("figure4", SCALE="paper")
    scored = {place: config.models for place, config in outputs(plan, "evaluation general").items()}
    assert set(scored["evaluation/filtering/first/general"]) == {
        f"{arm}@500" for arm in ("raw", "gopher", "c4", "fineweb", "gopher+c4+fineweb", "prox-d", "prox-d+c")
    }
    assert set(scored) == {f"evaluation/filtering/{part}/general" for part in ("final", "earlier", "first")}


def test_a_folder_belongs_to_one_scale(rehearsal: Rehearsal) -> None:
    (rehearsal.folder / "shared").mkdir()
    (rehearsal.folder / "shared/.scale").write_text("mini\n")
    done = rehearsal.run("scripts/run_table2.sh --dry_run", SCALE="paper", RUN="shared")
    assert done.returncode == 2
    assert "is a run of 'mini', and this is 'paper' (scale and corpus): give another folder" in done.stderr
    (rehearsal.folder / "forum.yaml").write_text("corpus: {path: a}\n")
    done = rehearsal.run("scripts/run_table2.sh --dry_run", SCALE="mini", RUN="shared", CORPUS="forum.yaml")
    assert f"is a run of 'mini', and this is 'mini {rehearsal.folder}/forum.yaml'" in done.stderr


def test_the_usage(rehearsal: Rehearsal) -> None:
    done = rehearsal.run("scripts/run_table2.sh --help")
    assert done.returncode == 0
    assert done.stdout.startswith("Table 2: ")
    assert "--dry_run" in done.stdout
    for arguments in ("--fast", "--dry_run --fast"):
        done = rehearsal.run(f"scripts/run_table2.sh {arguments}")
        assert done.returncode == 2
        assert "error: unknown argument '--fast'" in done.stderr


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


def lines_of(script: Path) -> list[str]:
    """A script's lines without comments."""
    lines = [line.strip() for line in script.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def test_recipes_are_thin_and_copy_nothing_from_each_other() -> None:
    blocks: dict[tuple[str, ...], str] = {}
    for script in SCRIPTS:
        lines = lines_of(script)
        assert len(lines) < MOST_LINES, script
        size = MOST_EQUAL_LINES + 1
        for block in {tuple(lines[start : start + size]) for start in range(len(lines) - size + 1)}:
            assert block not in blocks, f"{script.name} and {blocks[block]} share {block}"
            blocks[block] = script.name


FILTERING = ["raw", "gopher", "c4", "fineweb", "gopher+c4+fineweb", "prox-d", "prox-d+c"]
CONTINUAL = [
    *(f"refinement_{model}_{arm}" for model in CONTINUED for arm in ("base", "raw", "prox-d+c")),
    f"refinement_{CONTINUED[0]}_rule",
]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("name", "scale", "group", "models"),
    [
        ("table2", "pico", "filtering_final", FILTERING),
        ("table2", "nano", "filtering_final", FILTERING),
        ("table5", "nano", "continual_both_stages", CONTINUAL),
    ],
)
def test_a_recipe_runs_for_real(
    name: str, scale: str, group: str, models: list[str], repository: Path, tmp_path: Path
) -> None:
    environment = os.environ | {"SCALE": scale, "RUN": str(tmp_path / "run")}

    def run() -> str:
        done = subprocess.run(
            [repository / f"scripts/run_{name}.sh"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    first = run()
    own = (tmp_path / f"run/tables/own_{group}/table.md").read_text(encoding="utf-8")
    for model in models:
        assert re.search(rf"^\| {re.escape(model)} +\| +[*\d]", own, re.MULTILINE), own
    assert own in first
    published = (tmp_path / f"run/tables/{name.removeprefix('table')}/table.md").read_text(encoding="utf-8")
    assert published in first
    again = run()
    assert again.count("skipped") == len(re.findall(r"^(?:\[.*\] )?== ", again, re.MULTILINE)) > 40
