"""Every shipped YAML goes through the real command line, stacked as the recipes stack it."""

import importlib
import itertools
from pathlib import Path

import pytest
import yaml

from prox.command import Verb, parse
from tests.core.conftest import Rehearsal

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = REPOSITORY / "configs"
STAGES = ("annotation", "adaptation", "refinement", "pretraining", "evaluation")


def verbs_of(stage: str) -> dict[str, Verb]:
    return importlib.import_module(f"{stage}.__main__").VERBS


def verb_of(stage: str, name: str) -> str:
    """The verb that a config called ``<verb>`` or ``<verb>_<variant>`` belongs to."""
    found = [verb for verb in verbs_of(stage) if name == verb or name.startswith(f"{verb}_")]
    assert found, f"no verb of {stage} takes {name}.yaml"
    return max(found, key=len)


def parse_files(stage: str, verb: str, *files: Path) -> object:
    options = itertools.chain.from_iterable(("--config", str(file)) for file in files)
    return parse(stage, verbs_of(stage), [verb, "--output", "out", *options])[1]


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("corpora/*.yaml")), ids=lambda file: file.stem)
def test_corpora(file: Path) -> None:
    config = parse_files("refinement", "ingest", CONFIGS / "refinement/ingest.yaml", file)
    assert config.corpus.format in yaml.safe_load(file.read_text())["corpus"]["format"]


@pytest.mark.parametrize("stage", STAGES)
def test_stage_configs(stage: str) -> None:
    files = sorted((CONFIGS / stage).glob("*.yaml"))
    assert files
    for file in files:
        if stage == "annotation" and file.stem == "stand_in":  # stacked on both annotating verbs
            for verb in ("score", "program"):
                assert parse_files(stage, verb, file).annotator.kind == "stand_in"
        elif stage == "pretraining" and file.stem.split("_")[0] not in verbs_of(stage):  # a model's row of Table 9
            assert parse_files(stage, "train", file).resolved_shape().num_parameters() > 0
        else:
            parse_files(stage, verb_of(stage, file.stem), file)


@pytest.mark.parametrize("scale", sorted(path.name for path in (CONFIGS / "scales").iterdir()))
def test_scales_stack_on_the_paper_settings(scale: str) -> None:
    for file in sorted((CONFIGS / "scales" / scale).glob("*.yaml")):
        stage, name = file.stem.split("_", 1)
        verb = verb_of(stage, name)
        base = CONFIGS / stage / f"{verb}.yaml"
        parse_files(stage, verb, *([base] if base.exists() else []), file)


def test_every_verb_has_its_paper_settings() -> None:
    for stage in STAGES:
        for verb in verbs_of(stage):
            assert (CONFIGS / stage / f"{verb}.yaml").is_file(), f"configs/{stage}/{verb}.yaml is missing"


def test_configs_name_no_folder_of_a_run() -> None:
    for file in CONFIGS.rglob("*.yaml"):
        assert "runs/" not in str(yaml.safe_load(file.read_text(encoding="utf-8"))), (
            f"{file}: paths are given on the command line"
        )


def test_the_quickstart_asks_for_commands_that_parse(rehearsal: Rehearsal) -> None:
    done = rehearsal.run("scripts/run_quickstart.sh")
    assert done.returncode == 0, done.stderr
    assert "the table" in done.stdout
    commands = rehearsal.commands()
    assert len(commands) > 30
    for stage, *arguments in commands:
        parse(stage, verbs_of(stage), arguments)


def test_a_failing_step_ends_the_recipe_and_says_how_to_repeat_it(rehearsal: Rehearsal) -> None:
    python = rehearsal.folder / ".venv/bin/python"
    python.write_text(python.read_text() + 'case "$*" in *split*) exit 3;; esac\n')
    done = rehearsal.run("scripts/run_quickstart.sh")
    assert done.returncode == 1
    assert "annotation split failed; its log: " in done.stdout
    assert "to repeat it alone" in done.stdout
    assert not any(stage == "adaptation" for stage, *_ in rehearsal.commands())
