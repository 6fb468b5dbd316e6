"""scripts/run_evaluate.sh: which commands it runs, and what it refuses."""

from pathlib import Path

import pytest

from evaluation.__main__ import VERBS
from prox.command import parse
from tests.core.conftest import Rehearsal

BASIC = 'scripts/run_evaluate.sh --output out --models "raw=models/raw prox-d+c@400=hub:someone/model"'


def test_suites_run_in_turn_and_the_table_lays_them_out(rehearsal: Rehearsal) -> None:
    (rehearsal.folder / "harness").mkdir()
    options = '--suites "selection math" --benchmarks mirror --math harness --table 2 -- --limit 5'
    done = rehearsal.run(f"{BASIC} {options}")
    assert done.returncode == 0, done.stderr
    configs = [parse(module, VERBS, arguments) for module, *arguments in rehearsal.commands()]
    assert [verb for verb, _ in configs] == ["selection", "selection", "math", "math", "table"]
    places = {"raw": rehearsal.folder / "models/raw", "prox-d+c@400": Path("hub:someone/model")}
    for suite in (configs[:2], configs[2:4]):
        assert {name: place for _, config in suite for name, place in config.models.items()} == places
        assert {config.output.name for _, config in suite} == set(places)
    selection, math, table = configs[0][1], configs[2][1], configs[4][1]
    assert (selection.limit, selection.num_fewshot, selection.data) == (5, [0, 2], rehearsal.folder / "mirror")
    assert (math.data, math.prompts) == (rehearsal.folder / "harness/data", rehearsal.folder / "harness/prompts/cot")
    assert (table.number, table.results) == (2, rehearsal.folder / "out/evaluation")


def test_the_hub_is_asked_where_no_mirror_is_named(rehearsal: Rehearsal) -> None:
    assert rehearsal.run(BASIC).returncode == 0
    (module, *arguments), _, (_, *table) = rehearsal.commands()
    assert module == "evaluation"
    assert "--data" not in arguments
    assert "--number" not in table


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--suites boolq", "--suites: 'boolq' is none of general, selection, math"),
        ("--suites math", "--math is missing or no folder"),
        ('--models "raw"', "--models: 'raw' is no NAME=MODEL"),
        ('--models "raw=a raw=b"', "--models names raw twice"),
        ("--table 99", "--table 99: the paper has tables 2 to 19"),
        ("--limit 3", "unknown option '--limit' (options of the commands go behind --)"),
    ],
)
def test_what_cannot_work_is_said_at_once(rehearsal: Rehearsal, options: str, words: str) -> None:
    done = rehearsal.run(f"{BASIC} {options}")
    assert (done.returncode, rehearsal.commands()) == (2, [])
    assert words in done.stderr
