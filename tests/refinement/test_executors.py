"""The refining steps under datatrove's executors: a real Ray cluster, and a Slurm whose four commands are scripts here.

Each gives the bytes that the local executor gives, and one finishes what another began.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prox.artifact import SUCCESS
from prox.cluster import ExecutorConfig, RayConfig, SlurmConfig
from prox.command import main, parse, settings_of
from prox.errors import UserError
from prox.ray_tasks import connect, room
from prox.tasks import make_executor
from prox.units import unit_files
from refinement.__main__ import VERBS
from refinement.configs import ChunkConfig, DocumentConfig, ReplayConfig
from refinement.rule_configs import RulesConfig, SelectConfig
from tests.core.test_tasks import Dying, Loading, said

FILTERS = '[{"name": "gopher_repetition"}, {"name": "random"}]'

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
        for option in "$@"; do case $option in --name=*) name=${option#--name=};; esac; done
        grep -lx "$name" "$SLURM_STATE"/queue.* 2> /dev/null
        exit 0 """,
    "scontrol": 'if [ "$1 $2" = "show hostnames" ]; then echo "$3"; else exit 1; fi',
}

CLUSTER = """
import ray, sys
ray.init("local", num_cpus=2, num_gpus=2, include_dashboard=False, object_store_memory=80 * 1024**2, logging_level=40)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


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
    return state


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Address of a Ray cluster that another process started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")  # what Ray 2.60 does for a cluster it starts, and not when it joins one
        command = [sys.executable, "-c", CLUSTER]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            yield process.stdout.readline().strip()
            assert process.poll() is None, "a cluster given by its address must be left running"
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.communicate("")


def rules(units: Path, output: Path, *options: str) -> int:
    arguments = ["--documents", str(units), "--filters", FILTERS, "--random_share", "0.7", "--output", str(output)]
    return main("refinement", VERBS, ["rules", *arguments, *options])


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


def by_ray(address: str, *more: str) -> list[str]:
    return ["--executor.kind", "ray", "--executor.ray.address", address, *more]


def contents(folder: Path) -> dict[str, bytes]:
    files = [file for kind in ("documents", "dropped", "ledger") for file in unit_files(folder, kind)]
    return {str(file.relative_to(folder)): file.read_bytes() for file in [*files, folder / "stats.json"]}


def marks(output: Path) -> list[str]:
    folder = output / "tasks/completions"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def damage(unit: Path) -> bytes:
    """Makes a unit unreadable behind a whole footer; returns what it held."""
    before = unit.read_bytes()
    unit.write_bytes(before[:4] + bytes(60) + before[64:])
    return before


def mend(unit: Path, content: bytes, status: os.stat_result) -> None:
    """As it was before, its time included, so that no fingerprint changes."""
    unit.write_bytes(content)
    os.utime(unit, ns=(status.st_atime_ns, status.st_mtime_ns))


def errors_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]


def ray_processes() -> list[str]:
    listing = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if re.search(r"ray::|raylet|gcs_server", line)]


def until(condition: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_ray_writes_what_one_process_writes(
    tmp_path: Path, units: Path, cluster: str, caplog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prox.progress.LOG_INTERVAL_SECONDS", 0.0)
    assert rules(units, tmp_path / "local") == 0
    assert rules(units, tmp_path / "ray", *by_ray(cluster)) == 0
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    assert marks(tmp_path / "ray") == ["00000", "00001", "00002"]
    assert sorted(path.name for path in (tmp_path / "ray/tasks/stats").iterdir()) == [f"0000{n}.json" for n in range(3)]
    assert "refinement rules: 2 workers on Ray, which has room for 2" in caplog.text
    assert "refinement rules: 10/10 documents (100%), " in caplog.text[caplog.text.index("on Ray") :]
    # A lost unit alone is made again, and by whatever executor.
    kept, _, lost = unit_files(tmp_path / "ray")
    before = kept.stat().st_mtime_ns
    lost.unlink()
    (tmp_path / "ray" / SUCCESS).unlink()
    assert rules(units, tmp_path / "ray", *by_ray(cluster, "--executor.ray.workers", "1")) == 0
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    assert kept.stat().st_mtime_ns == before
    assert "2 of 3 tasks are complete" in caplog.text


def test_a_unit_that_fails_on_ray_says_what_it_says_here(tmp_path: Path, units: Path, cluster: str, capfd) -> None:
    unit = unit_files(units)[1]
    damage(unit)
    messages = []
    for name, options in (("local", ()), ("ray", by_ray(cluster))):
        assert rules(units, tmp_path / name, *options) == 1
        messages.append(errors_of(capfd))
    assert messages[0] == messages[1]
    assert f"{unit.name} can't be read as Parquet" in messages[0][0]
    assert "00001" not in marks(tmp_path / "ray")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense"])
def test_no_cluster_at_the_address(address: str, tmp_path: Path, units: Path, capfd) -> None:
    assert rules(units, tmp_path / "out", *by_ray(address)) == 1
    assert f"--executor.ray.address: Ray gives no connection to {address} (" in capfd.readouterr().err


@pytest.mark.slow
def test_ray_replaces_a_killed_worker_and_ends_the_cluster_it_started(
    tmp_path: Path, units: Path, repository: Path
) -> None:
    before = ray_processes()
    output = tmp_path / "out"
    arguments = ["--documents", str(units), "--filters", FILTERS, "--random_share", "0.7", "--output", str(output)]
    command = [sys.executable, "-m", "refinement", "rules", *arguments, "--executor.kind", "ray"]
    process = subprocess.Popen(
        [*command, "--executor.ray.workers", "1"], cwd=repository, stderr=subprocess.PIPE, text=True
    )
    workers: list[str] = []

    def working() -> bool:
        workers[:] = [line for line in ray_processes() if "ray::Worker" in line and line not in before]
        return bool(workers)

    until(working)
    os.kill(int(workers[0].split()[0]), signal.SIGKILL)
    log = process.communicate()[1]
    assert process.returncode == 0, log
    assert "a worker was lost" in log
    assert rules(units, tmp_path / "local") == 0
    assert contents(output) == contents(tmp_path / "local")
    until(lambda: not set(ray_processes()) - set(before), 20)


def test_room_on_a_cluster(cluster: str, caplog) -> None:
    with connect(RayConfig(cluster)):  # 2 CPUs, 2 GPUs
        assert room(RayConfig()) == 2
        assert room(RayConfig(cpus_per_task=0.5)) == 4
        assert room(RayConfig(cpus_per_task=0.5, gpus_per_task=2)) == 1
        with pytest.raises(UserError, match=r"no room for a worker with 1 CPUs, 3 GPUs, 0 GB: ask for less"):
            room(RayConfig(gpus_per_task=3))
        assert room(RayConfig(cluster, gpus_per_task=3)) == 1  # it may grow
    assert "no machine of the Ray cluster has room" in caplog.text


@pytest.mark.slow
def test_a_unit_that_kills_every_worker_ends_the_run(tmp_path: Path, cluster: str, caplog) -> None:
    step = Dying(tmp_path)
    (tmp_path / "doomed").touch()
    config = ExecutorConfig("ray", ray=RayConfig(cluster))
    with pytest.raises(UserError, match="3 workers were lost with unit 1 "):
        make_executor(config, "test", [step], [1] * 3, tmp_path / "tasks").run()
    assert caplog.text.count("a worker was lost with unit 1; another takes its place") == 2
    assert marks(tmp_path)[0] == "00000"
    (tmp_path / "doomed").unlink()
    make_executor(config, "test", [step], [1] * 3, tmp_path / "tasks").run()
    assert marks(tmp_path) == ["00000", "00001", "00002"]


@pytest.mark.slow
def test_workers_on_ray_are_kept_and_have_a_gpu_each(tmp_path: Path, tiny_checkpoint: Path, cluster: str) -> None:
    step = Loading(tmp_path, str(tiny_checkpoint))
    config = ExecutorConfig(kind="ray", ray=RayConfig(address=cluster, gpus_per_task=1))
    make_executor(config, "test", [step], [1] * 6, tmp_path / "tasks").run()
    answers = said(step)
    assert len(answers) == 6
    assert len({process for process, _, _ in answers}) == 2
    assert len({(process, engine) for process, engine, _ in answers}) == 2
    seen = {process: gpus for process, _, gpus in answers}
    assert sorted(seen.values()) == ["0", "1"]
    assert all(seen[process] == gpus for process, _, gpus in answers)


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


@pytest.mark.parametrize("kind", [DocumentConfig, ChunkConfig, ReplayConfig, RulesConfig, SelectConfig])
def test_the_executor_leaves_finished_work_valid(kind: type) -> None:
    elsewhere = ExecutorConfig("slurm", SlurmConfig("gpu", workers=5), RayConfig("auto"))
    plain, other = kind(output=Path("x")), kind(output=Path("x"), executor=elsewhere, workers=3)
    assert settings_of(other) == settings_of(plain)


def test_a_time_in_yaml_is_text(tmp_path: Path, capsys) -> None:
    file = tmp_path / "cluster.yaml"
    arguments = ["rules", "--config", str(file), "--output", "x"]
    file.write_text('executor: {slurm: {time: "24:00:00", sbatch_args: {nice: 100, account: prox}}}')
    _, config = parse("refinement", VERBS, arguments)
    assert config.executor.slurm.time == "24:00:00"
    assert config.executor.slurm.sbatch_args == {"nice": 100, "account": "prox"}
    file.write_text("executor: {slurm: {time: 24:00:00}}")  # to YAML a number of seconds, to sbatch one of minutes
    with pytest.raises(SystemExit):
        parse("refinement", VERBS, arguments)
    assert 'key "executor.slurm.time"' in capsys.readouterr().err
