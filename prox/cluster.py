"""Where a step's tasks run: on this machine, on a Slurm cluster, or on a Ray cluster."""

import importlib.util
import math
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

# What sbatch takes: minutes, M:S, H:M:S, D-H, D-H:M, D-H:M:S.
_SLURM_TIME = re.compile(r"\d+(:\d+){0,2}|\d+-\d+(:\d+){0,2}")


def _too_small(settings: Any, least: dict[str, float]) -> list[str]:
    found = []
    for name, minimum in least.items():
        value = getattr(settings, name)
        if value is not None and not value >= minimum:  # as NaN is not either
            found.append(f"{name} {value}: must be at least {minimum}")
    return found


@dataclass(frozen=True)
class SlurmConfig:
    """Jobs of executor `slurm`: one array of them, each in a fresh process."""

    partition: str = ""
    """Partition that the jobs go to."""
    time: str = "24:00:00"
    """Time limit of a job, as sbatch takes it: hours:minutes:seconds (in quotes in a YAML file), or days-hours."""
    qos: str = ""
    """Quality of service; empty takes the cluster's default."""
    cpus_per_task: int = 1
    """CPUs of a job."""
    mem_per_cpu_gb: int = 4
    """Memory for each of them, in GB."""
    gpus_per_task: int = 0
    """GPUs of a job; 1 for a refiner, or as many as `engine.vllm.tensor_parallel_size`."""
    tasks_per_job: int = 1
    """Units that a job works on, one after another: a refiner is loaded once a job."""
    max_array_size: int = 1_001
    """Most jobs in an array that the cluster takes; beyond, several arrays are submitted, one behind the other."""
    workers: int | None = None
    """Most jobs at once; unset: as many as the cluster lets."""
    env_command: str = ""
    """Command that makes the environment in a job, on one line; empty: this Python's own `bin` comes first in PATH."""
    sbatch_args: dict[str, str | int] = field(default_factory=dict)
    """Other options of sbatch by their long names without dashes: `{account: my-project, exclude: node7}`."""
    wait: bool = True
    """Wait for the jobs and finish the step; false: submit them only, and the same command finishes it later."""
    poll_seconds: float = 10.0
    """Time between two looks at the queue, in seconds."""

    def problems(self) -> list[str]:
        """Reasons why nothing can be submitted."""
        least = ("cpus_per_task", "mem_per_cpu_gb", "tasks_per_job", "max_array_size", "workers")
        found = _too_small(self, dict.fromkeys(least, 1) | {"gpus_per_task": 0, "poll_seconds": 0.1})
        if not self.partition:
            found.append("partition is not set: name one (`sinfo` lists them)")
        if not _SLURM_TIME.fullmatch(self.time):
            found.append(f"time {self.time!r}: give hours:minutes:seconds, such as 24:00:00, or days-hours")
        if "\n" in self.env_command:
            found.append("env_command has several lines: join them with `&&`")
        found += [
            f"needs `{tool}`, which is not on PATH: run it where jobs are submitted"
            for tool in ("sbatch", "squeue")
            if shutil.which(tool) is None
        ]
        if "SLURM_ARRAY_TASK_ID" in os.environ:
            found.append("can't be used inside a job of an array: run it where jobs are submitted")
        return found


@dataclass(frozen=True)
class RayConfig:
    """Workers of executor `ray`: actors that live as long as the step."""

    address: str = ""
    """A running cluster's (`auto`, `host:port` or `ray://host:port`), which is left running; empty: a local cluster is
    started for the step and ended with it."""
    cpus_per_task: float = 1.0
    """CPUs of a worker."""
    gpus_per_task: float = 0.0
    """GPUs of a worker; 1 for a refiner, or as many as `engine.vllm.tensor_parallel_size`. With 0 it sees none."""
    mem_per_task_gb: float = 0.0
    """Memory of a worker, in GB; 0 asks for none in particular."""
    workers: int | None = None
    """Units worked on at once, each by its own worker; unset: as many as the cluster has room for when the step
    starts."""

    def problems(self) -> list[str]:
        """Reasons why no cluster can be used."""
        found = _too_small(self, {"cpus_per_task": 0, "gpus_per_task": 0, "mem_per_task_gb": 0, "workers": 1})
        if not self.cpus_per_task and not self.gpus_per_task:
            found.append("cpus_per_task and gpus_per_task are both 0: a worker needs one of them")
        for name in ("cpus_per_task", "gpus_per_task"):
            value = getattr(self, name)
            if value > 1 and not value.is_integer():
                found.append(f"{name} {value}: above 1 Ray takes whole numbers")
        if importlib.util.find_spec("ray") is None:
            found.append("needs the package ray: install the lock (scripts/setup.sh)")
        return found


@dataclass(frozen=True)
class ExecutorConfig:
    """How tasks are run. None of it decides what they make."""

    kind: Literal["local", "slurm", "ray"] = "local"
    """`local` (processes on this machine), `slurm` (an array of jobs) or `ray`. Both clusters need a file system that
    every machine sees at the same paths."""
    slurm: SlurmConfig = field(default_factory=SlurmConfig)
    """Settings of kind `slurm`."""
    ray: RayConfig = field(default_factory=RayConfig)
    """Settings of kind `ray`."""

    def problems(self, output: Path) -> list[str]:
        """Reasons why it can't be used for a step that writes ``output``, as far as they show before it is; settings of
        other kinds are not looked at.
        """
        if self.kind == "local":
            return []
        settings = self.slurm if self.kind == "slurm" else self.ray
        found = [f"--executor.{self.kind}.{problem}" for problem in settings.problems()]
        if self.kind == "slurm" and len(str(output.resolve()).split()) > 1:
            found.append(f"--output {output} holds spaces, which datatrove's launch script can't: give another folder")
        return found

    def describe(self, tasks: int, workers: int) -> str:
        """For the plan: what ``tasks`` tasks are run by; ``workers`` is the local executor's."""
        if self.kind == "slurm":
            jobs = math.ceil(tasks / self.slurm.tasks_per_job)
            most = f", at most {self.slurm.workers} at once" if self.slurm.workers else ""
            return f"slurm, {jobs} jobs of up to {self.slurm.tasks_per_job} units in {self.slurm.partition}{most}"
        if self.kind == "ray":
            where = self.ray.address or "a cluster of its own"
            return f"ray at {where}, {self.ray.workers or 'as many as fit'} workers"
        return f"local, {min(workers, max(tasks, 1))} processes"
