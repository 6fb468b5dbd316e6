"""The refining steps on a real Ray cluster (``test_slurm.py`` has Slurm's): the bytes are those of the local executor,
and one finishes what another began.
"""

import contextlib
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

CLUSTER = """
import ray, sys
ray.init("local", num_cpus=2, num_gpus=2, include_dashboard=False, object_store_memory=80 * 1024**2, logging_level=40)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


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


def rules(units: Path, output: Path, *options: str, share: str = "0.7") -> int:
    arguments = ["--documents", str(units), "--filters", FILTERS, "--random_share", share, "--output", str(output)]
    return main("refinement", VERBS, ["rules", *arguments, *options])


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


def test_the_units_are_listed_once(tmp_path: Path, units: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = []
    monkeypatch.setattr("refinement.pipeline.unit_files", lambda *of: listed.append(of) or unit_files(*of))
    assert rules(units, tmp_path / "out") == 0
    assert listed == [(units,)]


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
