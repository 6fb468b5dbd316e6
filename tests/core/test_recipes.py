"""The recipes of tables and figures: what they refuse, say and run; some are run for real."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.core.conftest import Rehearsal
from tests.core.recipe_plans import SCRIPTS, Planner

MOST_LINES, MOST_EQUAL_LINES = 60, 4

CONTINUED = ["TinyLlama_1-1B", "Llama-2_7B", "CodeLlama_7B", "Mistral_7B"]


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


def test_what_published_refiners_leave_out_is_said(rehearsal: Rehearsal) -> None:
    done = rehearsal.run("scripts/run_figure5.sh --dry_run", SCALE="paper", REFINERS="published")
    assert "note: the published refiners (0.3 B parameters, TLM-xs) stand in for those of every size" in done.stdout


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
