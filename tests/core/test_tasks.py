"""Tasks under the local executor, and which GPUs a worker sees; tests/refinement/ has the clusters."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from datatrove.data import DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from prox.artifact import name_aside
from prox.cluster import ExecutorConfig, RayConfig, SlurmConfig
from prox.engines import EngineConfig, load_engine
from prox.errors import UserError
from prox.gpus import gpus_of_worker, visible_gpus
from prox.tasks import Tasks, make_executor
from prox.units import UnitFile, read_rows


class Step(PipelineStep):
    """Writes one file a task, named by its rank."""

    name, type = "step", "TEST"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def path(self, rank: int) -> Path:
        return self.folder / f"{rank}.json"

    def say(self, rank: int) -> object:
        return os.getpid()

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        self.path(rank).write_text(json.dumps(self.say(rank)))
        self.stat_update("tasks")
        yield from ()


class Loading(Step):
    """Loads an engine and says by whom it was loaded, and which GPUs that process sees."""

    def __init__(self, folder: Path, checkpoint: str) -> None:
        super().__init__(folder)
        self.checkpoint = checkpoint

    def say(self, rank: int) -> object:
        engine = load_engine(EngineConfig(), self.checkpoint)
        (self.folder / f"here-{os.getpid()}").touch()
        while len(list(self.folder.glob("here-*"))) < 2:  # or one worker might do everything
            time.sleep(0.01)
        return [os.getpid(), id(engine), os.environ.get("CUDA_VISIBLE_DEVICES")]


class Dying(Step):
    """Is killed with task 1 as long as it stands under ``doomed``."""

    def say(self, rank: int) -> object:
        if rank == 1 and (self.folder / "doomed").exists():
            while not (self.folder / "tasks/completions/00000").exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()


class Failing(Step):
    """Fails with task 2."""

    def say(self, rank: int) -> object:
        if rank == 2:
            raise UserError("the value 7 is wrong: use 8")
        return os.getpid()


class FailingFirst(Step):
    """Fails with task 0; all take a while."""

    def say(self, rank: int) -> object:
        time.sleep(0.2)
        if rank == 0:
            raise UserError("the value 7 is wrong: use 8")
        return os.getpid()


class Endless(Step):
    """Never ends, but for the first tasks."""

    def say(self, rank: int) -> object:
        if rank > 1:
            (self.folder / f"begun-{rank}").touch()
            time.sleep(3600)
        return os.getpid()


def executor(step: Step, tasks: int, **options: object) -> Tasks:
    return make_executor(ExecutorConfig(), "test", [step], [1] * tasks, step.folder / "tasks", **options)


def said(step: Step) -> list:
    return [json.loads(file.read_text()) for file in sorted(step.folder.glob("*.json"))]


def marks(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "tasks/completions").iterdir())


def test_a_worker_loads_its_engine_once_and_has_its_own_gpu(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, GPU-7")
    step = Loading(tmp_path, str(tiny_checkpoint))
    executor(step, 6, workers=2).run()
    answers = said(step)
    assert len(answers) == 6
    workers = {process: (engine, gpus) for process, engine, gpus in answers}
    assert len(workers) == 2
    assert os.getpid() not in workers
    assert {(process, engine) for process, engine, _ in answers} == {(p, workers[p][0]) for p in workers}
    assert sorted(gpus for _, gpus in workers.values()) == ["4", "GPU-7"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4, GPU-7"


def test_one_worker_is_this_process_and_counts_each_task_by_itself(tmp_path: Path) -> None:
    step = Step(tmp_path)
    executor(step, 3).run()
    assert said(step) == [os.getpid()] * 3
    for rank in range(3):
        (counts,) = json.loads((tmp_path / f"tasks/stats/{rank:05d}.json").read_text())
        assert counts["stats"]["tasks"] == 1


def test_a_killed_worker_is_a_clear_error_and_the_next_run_goes_on(tmp_path: Path) -> None:
    step = Dying(tmp_path)
    (tmp_path / "doomed").touch()
    with pytest.raises(UserError, match=r"a worker process was killed.*--workers 2"):
        executor(step, 4, workers=2).run()
    first = step.path(0).stat().st_mtime_ns
    assert "00000" in marks(tmp_path)
    assert "00001" not in marks(tmp_path)
    (tmp_path / "doomed").unlink()
    executor(step, 4, workers=2).run()
    assert marks(tmp_path) == ["00000", "00001", "00002", "00003"]
    assert step.path(0).stat().st_mtime_ns == first


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_ends_the_run_and_finished_tasks_stay(tmp_path: Path, workers: int) -> None:
    with pytest.raises(UserError, match=r"^the value 7 is wrong: use 8$"):
        executor(Failing(tmp_path), 3, workers=workers).run()
    assert "00002" not in marks(tmp_path)
    executor(Step(tmp_path), 3, workers=workers).run()
    assert marks(tmp_path) == ["00000", "00001", "00002"]


TWO_WORKERS = """
import sys
from pathlib import Path
from tests.core import test_tasks

if __name__ == "__main__":
    step = getattr(test_tasks, sys.argv[2])(Path(sys.argv[1]))
    test_tasks.executor(step, 20, workers=2).run()
"""


def two_workers(step: type[Step], folder: Path, repository: Path) -> subprocess.Popen[str]:
    """A process of its own that runs 20 tasks: what it began must not go on behind its back."""
    script = folder / "script.py"
    script.write_text(TWO_WORKERS)
    return subprocess.Popen(
        [sys.executable, str(script), str(folder), step.__name__],
        env=os.environ | {"PYTHONPATH": str(repository)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_after_an_error_no_task_is_begun(tmp_path: Path, repository: Path) -> None:
    error = two_workers(FailingFirst, tmp_path, repository).communicate(timeout=120)[1]
    assert error.splitlines()[-1] == "prox.errors.UserError: the value 7 is wrong: use 8"
    assert len(marks(tmp_path)) <= 3  # what was under way, and what may have begun before it was noticed


@pytest.mark.parametrize("whole_group", [True, False], ids=["as a terminal does", "by the process's id"])
def test_an_interrupt_ends_the_tasks_under_way(tmp_path: Path, repository: Path, whole_group: bool) -> None:
    process = two_workers(Endless, tmp_path, repository)
    while len(list(tmp_path.glob("begun-*"))) < 2:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert error.count("Traceback (most recent call last)") == 1, error
    assert error.splitlines()[-1] == "KeyboardInterrupt"
    assert marks(tmp_path) == ["00000", "00001"]
    assert len(list(tmp_path.glob("begun-*"))) == 2


def test_finding_lost_files_lists_each_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Step(tmp_path)
    executor(step, 5).run()
    listed = []
    scandir = os.scandir
    monkeypatch.setattr("os.scandir", lambda path: listed.append(Path(path)) or scandir(path))
    again = executor(step, 5)
    again.tidy(lambda rank: [step.path(rank)], [])
    assert again.get_incomplete_ranks() == []
    assert listed.count(tmp_path) == 1


def test_two_writers_of_one_file_do_not_share_a_name_aside(tmp_path: Path) -> None:
    schema = pa.schema([("n", pa.int64())])
    path = tmp_path / "00000.parquet"
    # One process id here; on machines that share a file system there are equal ones too.
    with UnitFile(path, schema) as first, UnitFile(path, schema) as second:
        assert len(list(tmp_path.glob(".*.tmp"))) == 2
        for file in (first, second):
            file.add({"n": 1})
            file.commit()
            assert list(read_rows(path)) == [{"n": 1}]
    assert not list(tmp_path.glob(".*.tmp"))
    assert name_aside(path) != name_aside(path)


def test_a_task_whose_file_is_gone_is_not_complete(tmp_path: Path) -> None:
    step = Step(tmp_path)
    executor(step, 3).run()
    step.path(1).unlink()
    again = executor(step, 3)
    again.tidy(lambda rank: [step.path(rank)], [])
    assert again.get_incomplete_ranks() == [1]
    again.run()
    assert len(said(step)) == 3


@pytest.mark.parametrize(
    ("variable", "gpus"),
    [
        (None, ["0", "1", "2"]),
        ("", []),
        ("-1", []),
        ("2", ["2"]),
        ("3,1", ["3", "1"]),
        ("0,-1,1", ["0"]),  # CUDA reads no further either
        ("MIG-a, GPU-b", ["MIG-a", "GPU-b"]),
    ],
)
def test_gpus_that_may_be_used(variable: str | None, gpus: list[str], tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia3", "nvidia12", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    environment = {} if variable is None else {"CUDA_VISIBLE_DEVICES": variable}
    assert visible_gpus(environment, tmp_path) == gpus


@pytest.mark.parametrize(
    ("gpus", "each", "expected"),
    [
        (["3", "5"], 1, [["3"], ["5"], ["3"]]),
        (["3", "5", "7", "9"], 2, [["3", "5"], ["7", "9"], ["3", "5"]]),
        (["3", "5", "7"], 2, [["3", "5"], ["3", "5"], ["3", "5"]]),
        (["3"], 2, [["3"]] * 3),
        ([], 1, [[]] * 3),
    ],
)
def test_gpus_are_dealt_out_to_workers(gpus: Sequence[str], each: int, expected: list[list[str]]) -> None:
    assert [gpus_of_worker(worker, gpus, each) for worker in range(3)] == expected


@pytest.mark.parametrize("time_limit", ["90", "24:00:00", "1:30", "2-12", "2-12:30:00"])
def test_time_limits_of_slurm(time_limit: str) -> None:
    assert not [problem for problem in SlurmConfig("cpu", time=time_limit).problems() if problem.startswith("time")]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (SlurmConfig(), "partition is not set"),
        (SlurmConfig("cpu", time="one day"), "time 'one day'"),
        (SlurmConfig("cpu", cpus_per_task=0), "cpus_per_task 0"),
        (SlurmConfig("cpu", tasks_per_job=0), "tasks_per_job 0"),
        (SlurmConfig("cpu", poll_seconds=0), "poll_seconds 0"),
        (SlurmConfig("cpu", workers=0), "workers 0"),
        (SlurmConfig("cpu", env_command="a\nb"), "env_command"),
        (RayConfig(cpus_per_task=-1), "cpus_per_task -1"),
        (RayConfig(cpus_per_task=0), "both 0"),
        (RayConfig(gpus_per_task=1.5), "gpus_per_task 1.5"),
        (RayConfig(mem_per_task_gb=float("nan")), "mem_per_task_gb nan"),
        (RayConfig(workers=0), "workers 0"),
    ],
)
def test_settings_that_cannot_work(settings: SlurmConfig | RayConfig, named: str) -> None:
    assert any(named in problem for problem in settings.problems())
