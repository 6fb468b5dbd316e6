"""The five stages end to end at the smallest scale, run as a user runs them; killed, resumed, and run again."""

import csv
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

pytestmark = [pytest.mark.chain, pytest.mark.timeout(1500)]
ARMS = ("raw", "rules", "prox-d", "prox-d+c")


def start(repository: Path, run: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [repository / "scripts/run_quickstart.sh"],
        env=os.environ | {"SCALE": "pico", "RUN": str(run), "WANDB_MODE": "offline"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    output = process.communicate()[0]
    assert process.returncode == 0, output[-4000:]
    return output


@pytest.fixture(scope="module")
def finished(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An undisturbed run and what it printed."""
    run = tmp_path_factory.mktemp("chain") / "run"
    return run, finish(start(repository, run))


def results(run: Path) -> dict[str, bytes]:
    """What two runs must agree on: the table, the kept documents, every ledger."""
    files = [run / "evaluation/table.md", *sorted((run / "refinement").glob("*/documents/*.parquet"))]
    files += sorted((run / "refinement").glob("*/ledger/*.parquet"))
    return {str(file.relative_to(run)): file.read_bytes() for file in files}


def test_every_arm_is_in_the_table_with_every_score(finished: tuple[Path, str]) -> None:
    run, _ = finished
    with (run / "evaluation/table/table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["arm"] for row in rows] == list(ARMS)
    assert all(value for row in rows for value in row.values())
    text = (run / "evaluation/table.md").read_text()
    assert all(f"| {arm} " in text for arm in ARMS)
    assert "lm-eval" in text
    assert "lighteval" in text


def test_no_document_is_lost_on_the_way(finished: tuple[Path, str]) -> None:
    run, _ = finished

    def count(step: str, kind: str) -> int:
        return sum(pq.read_metadata(file).num_rows for file in (run / "refinement" / step / kind).glob("*.parquet"))

    ingested = count("ingest", "documents")
    assert ingested > 0
    assert count("document", "documents") + count("document", "dropped") == ingested
    assert count("chunk", "documents") + count("chunk", "dropped") == count("document", "documents")
    assert count("rules", "documents") + count("rules", "dropped") == ingested


def test_every_step_has_its_run_in_wandb(finished: tuple[Path, str]) -> None:
    run, _ = finished
    steps = {path.parent for path in run.glob("**/_SUCCESS")}
    assert len(steps) > 30
    assert {path.parents[1] for path in run.glob("**/wandb/offline-run-*")} == steps


def test_a_second_call_skips_every_step_and_says_so(finished: tuple[Path, str], repository: Path) -> None:
    run, first = finished
    before = results(run)
    steps = len(re.findall(r"^(?:\[.*\] )?== ", first, re.MULTILINE))
    again = finish(start(repository, run))
    assert len(re.findall("skipped", again)) == steps > 30
    assert results(run) == before


def test_killed_at_several_moments_a_rerun_ends_with_the_same_results(
    finished: tuple[Path, str], repository: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for seconds in (9, 23, 38):
        process = start(repository, run)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    finish(start(repository, run))
    assert results(run) == results(finished[0])
