"""The refining steps on a Slurm whose four commands are scripts here."""

import json
import os
import re
import sys
from pathlib import Path

import dill
import pytest
from datatrove.data import DocumentsPipeline

from prox.artifact import SNAPSHOT, SUCCESS
from prox.errors import UserError
from prox.slurm_queue import TRIES, submitted
from prox.units import unit_files
from tests.refinement.test_executors import by_ray, contents, damage, errors_of, marks, mend, rules, until

FAKE_SLURM = {
    # Queues the script, starts its array in the background, one job after another, and says the id.
    "sbatch": """
        script=${*: -1}; variables=
        for option in "$@"; do case $option in --export=ALL,*) variables=${option#--export=ALL,};; esac; done
        if [ -e "$SLURM_STATE/refuse" ]; then echo "sbatch: error: invalid partition" >&2; exit 1; fi
        id=$(($(find "$SLURM_STATE" -name 'script.*' | wc -l) + 1))
        cp "$script" "$SLURM_STATE/script.$id"
        sed -n 's/^#SBATCH --job-name=//p' "$script" > "$SLURM_STATE/queue.$id"
        array=$(sed -n 's/^#SBATCH --array=\\([0-9]*\\)-\\([0-9]*\\).*/\\1 \\2/p' "$script")
        output=$(sed -n 's/^#SBATCH --output=//p' "$script")
        (
            while [ -e "$SLURM_STATE/hold" ]; do sleep 0.05; done
            for index in $(seq $array); do
                file=${output//%A/$id}
                env $variables SLURM_JOB_ID=$id SLURM_ARRAY_TASK_ID=$index SLURM_NODELIST=here \\
                    bash "$SLURM_STATE/script.$id" > "${file//%a/$index}" 2>&1
            done
            rm "$SLURM_STATE/queue.$id"
        ) > /dev/null 2>&1 < /dev/null &
        echo "Submitted batch job $id" """,
    "srun": """
        while [ "${1#-}" != "$1" ]; do if [ "$1" = -n ]; then shift; fi; shift; done
        exec "$@" """,
    "squeue": """
        echo "$@" >> "$SLURM_STATE/asked"
        if [ -s "$SLURM_STATE/deaf" ]; then  # fails once for each of its lines
            sed -i 1d "$SLURM_STATE/deaf"; echo "squeue: error: timed out" >&2; exit 1
        fi
        cat "$SLURM_STATE"/queue.* 2> /dev/null
        exit 0 """,
    "scontrol": 'if [ "$1 $2" = "show hostnames" ]; then echo "$3"; else exit 1; fi',
}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Slurm on PATH; returns the folder of its state: ``script.<id>``, ``queue.<id>``."""
    programs, state = tmp_path / "slurm" / "bin", tmp_path / "slurm" / "state"
    programs.mkdir(parents=True)
    state.mkdir()
    for name, script in FAKE_SLURM.items():
        (programs / name).write_text(f"#!/bin/bash\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_STATE", str(state))
    monkeypatch.setattr("prox.slurm_queue.PAUSE_SECONDS", 0.0)
    return state


def by_slurm(*more: str) -> list[str]:
    return [
        "--executor.kind",
        "slurm",
        "--executor.slurm.partition",
        "cpu",
        "--executor.slurm.poll_seconds",
        "0.1",
        *more,
    ]


def test_slurm_runs_the_array_and_finishes_the_step(
    tmp_path: Path, units: Path, slurm: Path, caplog, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rules(units, tmp_path / "local") == 0
    monkeypatch.setattr("prox.progress.LOG_INTERVAL_SECONDS", 0.0)
    options = ["--executor.slurm.tasks_per_job", "2", "--executor.slurm.workers", "8", "--executor.slurm.qos", "high"]
    options += ["--executor.slurm.gpus_per_task", "1", "--executor.slurm.sbatch_args.account", "prox"]
    assert rules(units, tmp_path / "out", *by_slurm(*options)) == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "local")
    script = (tmp_path / "out/tasks/launch_script.slurm").read_text()
    directives = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", script, re.MULTILINE))
    wanted = {"partition": "cpu", "array": "0-1%8", "qos": "high", "gpus": "1", "account": "prox", "nodes": "1"}
    wanted |= {"time": "24:00:00", "cpus-per-task": "1", "mem-per-cpu": "4G"}
    assert directives.items() >= wanted.items()
    assert f"launch_pickled_pipeline {tmp_path}/out/tasks/executor.pik" in script
    assert f"export PATH={sys.prefix}/bin:$PATH" in script
    assert [file.read_text() for file in slurm.glob("script.*")] == [script]
    assert marks(tmp_path / "out") == ["00000", "00001", "00002"]
    assert "submitted 3 units as refinement-rules-" in caplog.text
    assert "refinement rules: 10/10 documents (100%), " in caplog.text[caplog.text.index("submitted") :]


@pytest.mark.slow
def test_slurm_without_waiting_is_finished_by_the_same_command(
    tmp_path: Path, units: Path, slurm: Path, capfd, caplog
) -> None:
    command = (units, tmp_path / "out", *by_slurm("--executor.slurm.tasks_per_job", "3"))
    (slurm / "hold").touch()
    assert rules(*command, "--executor.slurm.wait", "false") == 3
    assert "3 of 3 units are with Slurm" in capfd.readouterr().err
    # What a job is writing is no leftover of a killed one, and nothing is submitted twice.
    half = tmp_path / "out/documents/.unit.parquet.1.tmp"
    half.parent.mkdir()
    half.touch()
    assert rules(*command, "--executor.slurm.wait", "false") == 3
    assert half.exists()
    assert len(list(slurm.glob("script.*"))) == 1
    assert "are in the queue already" in caplog.text
    (slurm / "hold").unlink()
    until(lambda: not list(slurm.glob("queue.*")))
    assert not (tmp_path / "out" / SUCCESS).exists()
    assert rules(*command, "--executor.slurm.wait", "false") == 0
    assert rules(units, tmp_path / "local") == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "local")
    assert len(list(slurm.glob("script.*"))) == 1


@pytest.mark.slow
def test_a_unit_that_fails_on_slurm_says_what_it_says_here(tmp_path: Path, units: Path, slurm: Path, capfd) -> None:
    assert rules(units, tmp_path / "whole") == 0
    unit = unit_files(units)[1]
    status, content = unit.stat(), damage(unit)
    os.utime(unit, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert rules(units, tmp_path / "local") == 1
    here = errors_of(capfd)
    assert rules(units, tmp_path / "out", *by_slurm("--executor.slurm.max_array_size", "2")) == 1
    assert errors_of(capfd) == here
    assert len(list(slurm.glob("script.*"))) == 2
    assert marks(tmp_path / "out") == ["00000", "00002"]
    mend(unit, content, status)
    assert rules(units, tmp_path / "out", *by_slurm()) == 0
    assert json.loads((tmp_path / "out/tasks/ranks_to_run.json").read_text()) == [1]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_the_rest_of_a_job_that_failed_is_left_to_the_same_command(
    tmp_path: Path, units: Path, slurm: Path, capfd
) -> None:
    unit = unit_files(units)[0]
    status, content = unit.stat(), damage(unit)
    os.utime(unit, ns=(status.st_atime_ns, status.st_mtime_ns))
    command = (units, tmp_path / "out", *by_slurm("--executor.slurm.tasks_per_job", "2"))
    assert rules(*command) == 1
    error = capfd.readouterr().err
    assert f"error: refinement rules: {unit} can't be read as Parquet" in error
    assert "(units not finished beside it: 1; the same command goes on with what is left)" in error
    assert marks(tmp_path / "out") == ["00002"]  # unit 1 was to follow the broken one in the same job
    mend(unit, content, status)
    assert rules(*command) == 0
    assert json.loads((tmp_path / "out/tasks/ranks_to_run.json").read_text()) == [0, 1]
    assert rules(units, tmp_path / "local") == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "local")


@pytest.mark.slow
def test_jobs_in_the_queue_keep_their_output(tmp_path: Path, units: Path, slurm: Path, capfd) -> None:
    output = tmp_path / "out"
    nowait = by_slurm("--executor.slurm.wait", "false")
    (slurm / "hold").touch()
    assert rules(units, output, *nowait) == 3
    name = (slurm / "queue.1").read_text().strip()
    half = output / "documents/.unit.parquet.1.tmp"
    half.parent.mkdir()
    half.touch()
    ray = ["--executor.kind", "ray"]
    # Other executors, or other settings by any, would take from the jobs what they write, or take it for their own.
    for options, share in (([], "0.7"), (ray, "0.7"), ([], "0.1"), (nowait, "0.1")):
        assert rules(units, output, *options, share=share) == 1
        assert f"or end them with `scancel --name={name}`" in capfd.readouterr().err
        assert half.exists()
    assert marks(output) == []
    assert not list(tmp_path.glob("out.previous-*"))
    assert len(list(slurm.glob("script.*"))) == 1
    (slurm / "hold").unlink()
    until(lambda: not list(slurm.glob("queue.*")))
    # When they are done anyone may go on, and asks no more.
    assert rules(units, output) == 0
    assert not half.exists()
    asked = (slurm / "asked").read_text()
    assert rules(units, output, share="0.1") == 0
    assert (slurm / "asked").read_text() == asked
    assert rules(units, tmp_path / "local", share="0.1") == 0
    assert contents(output) == contents(tmp_path / "local")


@pytest.mark.slow
def test_a_job_writes_nothing_into_an_output_of_other_settings(
    tmp_path: Path, units: Path, slurm: Path, capfd, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    nowait = by_slurm("--executor.slurm.wait", "false")
    (slurm / "hold").touch()
    assert rules(units, output, *nowait) == 3
    name = (slurm / "queue.1").read_text().strip()
    job = dill.loads((output / "tasks/executor.pik").read_bytes())  # it has begun, and then somebody tidies up
    output.rename(tmp_path / "elsewhere")
    assert rules(units, output, *nowait, share="0.1") == 1
    assert f"`scancel --name={name}`" in capfd.readouterr().err
    monkeypatch.setenv("SLURM_NODELIST", "here")
    with pytest.raises(UserError, match="no longer the output that this job was submitted for"):
        job._run_for_rank(0)
    mine, replaced = ((folder / SNAPSHOT).read_text() for folder in (tmp_path / "elsewhere", output))

    def change(data: DocumentsPipeline, rank: int, world_size: int) -> DocumentsPipeline:
        yield from data
        (output / SNAPSHOT).write_text(replaced)

    (output / SNAPSHOT).write_text(mine)
    job.pipeline.append(change)
    with pytest.raises(UserError, match="no longer the output"):
        job._run_for_rank(0)
    assert not list((output / "tasks").glob("errors/*"))
    assert marks(output) == []
    (slurm / "hold").unlink()
    until(lambda: not list(slurm.glob("queue.*")))
    assert marks(output) == []
    assert rules(units, output, *by_slurm(), share="0.1") == 0
    assert rules(units, tmp_path / "local", share="0.1") == 0
    assert contents(output) == contents(tmp_path / "local")


def test_a_queue_that_does_not_answer_is_asked_again_and_never_guessed(
    tmp_path: Path, units: Path, slurm: Path, capfd
) -> None:
    (slurm / "deaf").write_text("\n" * TRIES)
    assert rules(units, tmp_path / "out", *by_slurm()) == 1
    assert f"squeue failed {TRIES} times, so it can't be told" in capfd.readouterr().err
    assert not list(slurm.glob("script.*"))
    (slurm / "deaf").write_text("\n" * (TRIES - 1))
    (slurm / "asked").unlink()
    nowait = by_slurm("--executor.slurm.wait", "false")
    (slurm / "hold").touch()
    assert rules(units, tmp_path / "out", *nowait) == 3
    assert len((slurm / "asked").read_text().splitlines()) == TRIES  # one answer serves the whole call
    # Here no squeue answers: jobs may be there, and the mark of it can be taken away by hand.
    (slurm / "deaf").write_text("\n" * 100)
    assert rules(units, tmp_path / "out") == 1
    mark = submitted(tmp_path / "out")
    assert f"if it is known that none does, delete {mark}" in capfd.readouterr().err
    (slurm / "queue.1").write_text("ended-by-hand-1-2\n")
    mark.unlink()
    assert rules(units, tmp_path / "out") == 0
    (slurm / "hold").unlink()
    until(lambda: not list(slurm.glob("queue.*")))


def test_slurm_that_refuses_or_is_not_there(tmp_path: Path, units: Path, slurm: Path, capfd, monkeypatch) -> None:
    (slurm / "refuse").touch()
    assert rules(units, tmp_path / "out", *by_slurm()) == 1
    error = capfd.readouterr().err
    assert "sbatch: error: invalid partition" in error
    assert "sbatch refused the jobs with status 1" in error
    python = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", f"{python}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    nothing = ["--executor.kind", "slurm", "--executor.slurm.time", "soon", "--executor.slurm.cpus_per_task", "0"]
    assert rules(units, tmp_path / "with space", *nothing) == 2
    error = capfd.readouterr().err
    for part in ("partition is not set", "time 'soon'", "cpus_per_task 0", "needs `sbatch`", "needs `squeue`"):
        assert f"--executor.slurm.{part}" in error
    assert "inside a job of an array" in error
    assert "holds spaces" in error
    # Only the executor that is used is looked at.
    assert rules(units, tmp_path / "local", *nothing, "--executor.kind", "local", "--dry_run", "true") == 0


def test_the_plan_says_what_would_run(tmp_path: Path, units: Path, slurm: Path, capsys) -> None:
    assert rules(units, tmp_path / "out", *by_slurm("--executor.slurm.tasks_per_job", "2", "--dry_run", "true")) == 0
    assert "executor: slurm, 2 jobs of up to 2 units in cpu" in capsys.readouterr().out
    assert rules(units, tmp_path / "out", *by_ray("auto", "--dry_run", "true")) == 0
    assert "executor: ray at auto, as many as fit workers" in capsys.readouterr().out
    assert rules(units, tmp_path / "out", "--workers", "9", "--dry_run", "true") == 0
    assert "executor: local, 3 processes" in capsys.readouterr().out
