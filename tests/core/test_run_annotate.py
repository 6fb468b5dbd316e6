"""`scripts/run_annotate.sh`: what it asks the commands for, and what it refuses."""

import importlib

import pytest

from prox.command import CommandConfig, parse
from tests.core.conftest import Rehearsal

BASE = "scripts/run_annotate.sh --input a.jsonl --output out"


def asked(rehearsal: Rehearsal, options: str) -> dict[str, CommandConfig]:
    """The configs of the commands, by the last part of their output."""
    done = rehearsal.run(f"{BASE} {options}")
    assert done.returncode == 0, done.stderr
    configs = {}
    for module, *arguments in rehearsal.commands():
        if "--print_config" in arguments:
            continue
        verbs = importlib.import_module(f"{module}.__main__").VERBS
        config = parse(module, verbs, arguments)[1]
        configs[config.output.name] = config
    return configs


@pytest.fixture
def annotators(rehearsal: Rehearsal) -> Rehearsal:
    for name, model in (("one", "m1"), ("two", "m2")):
        text = f"annotator: {{kind: model, model: {model}}}\nengine: {{kind: server, base_url: 'http://h/v1'}}\n"
        (rehearsal.folder / f"{name}.yaml").write_text(text)
    card = rehearsal.folder / "out/split/card.md"
    card.parent.mkdir(parents=True)
    card.write_text("the card\n")
    return rehearsal


def test_the_steps_follow_each_other(annotators: Rehearsal) -> None:
    options = "--annotator one.yaml --num_documents 70 --num_chunks 80 --num_valid 9 -- --spending.budget 5 "
    steps = asked(annotators, options + "--spending.input_price 1 --spending.output_price 2")
    assert list(steps) == ["ingest", "score", "program", "split"]
    out = annotators.folder / "out"
    assert steps["score"].documents == steps["program"].documents == out / "ingest"
    assert (steps["score"].num_documents, steps["program"].num_chunks, steps["split"].num_valid) == (70, 80, 9)
    assert steps["score"].annotator.model == steps["program"].annotator.model == "m1"
    assert steps["score"].spending.budget == steps["program"].spending.budget == 5
    assert steps["program"].scores == out / "score"
    assert (steps["split"].scores, steps["split"].programs) == (out / "score", out / "program")


def test_a_second_annotator_gets_a_step_of_its_own(annotators: Rehearsal) -> None:
    steps = asked(annotators, "--annotator one.yaml --second two.yaml")
    second, out = steps["program_second"], annotators.folder / "out"
    assert (second.annotator.model, second.merge_into, second.scores) == ("m2", out / "program", None)
    assert list(second.prompts) == ["all_noise"]
    assert steps["split"].programs == out / "program_second"
    assert (steps["split"].num_valid, steps["split"].valid_share) == (-1, 0.1)
    assert (steps["score"].num_documents, steps["program"].num_chunks) == (51_000, 57_000)


def test_a_plan_reads_and_asks_nothing(annotators: Rehearsal) -> None:
    steps = asked(annotators, "--annotator one.yaml --plan")
    assert list(steps) == ["ingest", "score", "program"]
    assert [config.dry_run for config in steps.values()] == [False, True, True]


def test_each_step_may_have_a_config_of_its_own(annotators: Rehearsal) -> None:
    (annotators.folder / "s.yaml").write_text("prompts: {edu: my_edu.txt}\n")
    (annotators.folder / "p.yaml").write_text("prompts: {adverts: my_adverts.txt}\n")
    steps = asked(annotators, "--annotator one.yaml --score_config s.yaml --program_config p.yaml")
    assert (steps["score"].prompts.edu, steps["score"].prompts.format) == ("my_edu.txt", "format_score.v1.txt")
    assert steps["program"].prompts == {"adverts": "my_adverts.txt"}


def test_options_of_all_steps_are_checked_before_the_first(annotators: Rehearsal) -> None:
    assert annotators.run(f"{BASE} --annotator one.yaml --second two.yaml").returncode == 0
    commands = [arguments for _, *arguments in annotators.commands()]
    checks = [number for number, arguments in enumerate(commands) if "--print_config" in arguments]
    assert checks == [0, 1]
    assert [commands[number][0] for number in checks] == ["program", "program"]


def test_without_an_annotator_it_is_the_stand_in(annotators: Rehearsal) -> None:
    assert asked(annotators, "")["score"].annotator.kind == "stand_in"


@pytest.mark.parametrize(
    ("options", "said"),
    [("--annotator no.yaml", "no.yaml does not exist"), ("--so", "'--so'")],
)
def test_what_it_refuses(options: str, said: str, annotators: Rehearsal) -> None:
    done = annotators.run(f"{BASE} {options}")
    assert done.returncode == 2
    assert said in done.stderr
    assert not annotators.commands()
