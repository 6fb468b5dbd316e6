"""Tasks as an array of Slurm jobs: submitted by datatrove, then waited for, or finished by a later call.

The launch script and the pickled pipeline lie beside the tasks' marks, as ``launch_script.slurm`` and ``executor.pik``.
A job knows its paths and the output's fingerprint; where another output has taken its
place, what it does never counts.
"""

import logging
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from datatrove.executor.slurm import SlurmPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.stats import PipelineStats
from loguru import logger as datatrove_log

from prox.artifact import started_fingerprint, write_atomically
from prox.cluster import SlurmConfig
from prox.command import configure_logging
from prox.errors import Pending, UserError
from prox.slurm_queue import job_name, queued, refuse, submitted, surely_queued
from prox.tasks import Tasks

log = logging.getLogger("prox")


class SlurmTaskExecutor(Tasks, SlurmPipelineExecutor):
    """datatrove's Slurm executor, which also waits, and which never submits what is in the queue already."""

    def __init__(
        self, label: str, pipeline: list[PipelineStep], sizes: Sequence[int], settings: SlurmConfig, logging_dir: str
    ) -> None:
        super().__init__(
            pipeline,
            tasks=len(sizes),
            time=settings.time,
            partition=settings.partition,
            cpus_per_task=settings.cpus_per_task,
            mem_per_cpu_gb=settings.mem_per_cpu_gb,
            gpus_per_task=settings.gpus_per_task,
            workers=settings.workers or -1,
            qos=settings.qos,
            env_command=settings.env_command or f"export PATH={shlex.quote(sys.prefix)}/bin:$PATH",
            sbatch_args=settings.sbatch_args,
            max_array_size=settings.max_array_size,
            logging_dir=logging_dir,
            tasks_per_job=settings.tasks_per_job,
        )
        self.label, self.sizes, self.settings = label, sizes, settings
        self.artifact = self.output
        self.fingerprint = started_fingerprint(self.artifact)
        self.job_name = job_name(label, self.artifact, self.fingerprint)

    def run(self) -> None:
        """Submits what is not complete and waits for it; inside a job, runs the job's tasks."""
        if "SLURM_ARRAY_TASK_ID" in os.environ:
            configure_logging()
            SlurmPipelineExecutor.run(self)
        else:
            super().run()
            submitted(self.artifact).unlink(missing_ok=True)

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        self._check_output()
        try:
            return super()._run_for_rank(rank, local_rank, node_rank)
        except UserError as error:
            self._check_output()
            with self.logging_dir.open(f"errors/{rank:05d}", "w") as file:
                file.write(str(error))
            raise

    def mark_rank_as_completed(self, rank: int) -> None:
        """Marks a task, unless the output was replaced while it ran."""
        self._check_output()
        super().mark_rank_as_completed(rank)

    def _check_output(self) -> None:
        if started_fingerprint(self.artifact) != self.fingerprint:
            raise UserError(
                f"{self.artifact} is no longer the output that this job was submitted for: its config or inputs "
                f"changed, or it was moved; end the jobs with `scancel --name={self.job_name}`"
            )

    def launch_merge_stats(self) -> None:
        """Nothing: datatrove's own job for this would stay in the queue for ever when a task has failed."""

    def _find_under_way(self) -> bool:
        jobs = surely_queued(self.artifact)
        refuse(self.artifact, (name for name in jobs if not name.endswith(f"-{self.fingerprint}")))
        return self.job_name in jobs

    def _finished(self, ranks: list[int]) -> Iterator[int]:
        if self.is_under_way():
            log.info("%s: jobs %s are in the queue already; none is submitted", self.label, self.job_name)
        else:
            self._submit(ranks)
        if not self.settings.wait:
            raise Pending(
                f"{len(ranks)} of {self.tasks} units are with Slurm (`squeue --name={self.job_name}`): run the same "
                "command again when they are done, which finishes the step"
            )
        yield from self._wait(ranks)

    def _submit(self, ranks: list[int]) -> None:
        failed = self._errors(ranks)
        if failed:
            log.warning("%s: %d units failed before: %s", self.label, len(failed), next(iter(failed.values())))
        for rank in failed:
            self.logging_dir.rm(f"errors/{rank:05d}")
        datatrove_log.remove()  # it would tell the console the same
        submitted(self.artifact).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(submitted(self.artifact), f"{self.job_name}\n")
        try:
            self.launch_job()
        except subprocess.CalledProcessError as error:
            script = self.logging_dir.resolve_paths("launch_script.slurm")
            raise UserError(
                f"sbatch refused the jobs with status {error.returncode} (its message stands above; the script is "
                f"{script}): correct --executor.slurm"
            ) from None
        log.info("%s: submitted %d units as %s, job %s", self.label, len(ranks), self.job_name, self.job_id)

    def _wait(self, ranks: list[int]) -> Iterator[int]:
        left = list(ranks)
        gone = 0
        while True:
            # First the queue, then the marks: a job that ends in between has left its mark.
            jobs = queued(self.artifact)
            gone = gone + 1 if jobs is not None and self.job_name not in jobs else 0
            incomplete = set(self.get_incomplete_ranks(left))
            yield from (rank for rank in left if rank not in incomplete)
            left = sorted(incomplete)
            if not left:
                return
            if gone > 1:  # not at once: a shared file system may show marks late
                raise self._failure(left)
            time.sleep(self.settings.poll_seconds)

    def _errors(self, ranks: Sequence[int]) -> dict[int, str]:
        """The messages of the tasks that ended with one."""
        found = {}
        for rank in ranks:
            if self.logging_dir.isfile(f"errors/{rank:05d}"):
                with self.logging_dir.open(f"errors/{rank:05d}", "r") as file:
                    found[rank] = file.read()
        return found

    def _failure(self, left: Sequence[int]) -> UserError:
        log.error("%s: the jobs ended without %d of %d units", self.label, len(left), self.tasks)
        errors = self._errors(left)
        if errors:
            message = next(iter(errors.values()))
            unseen = len(left) - len(errors)
            if unseen:  # a job ends with its first unit that fails
                message += f" (units not finished beside it: {unseen}; the same command goes on with what is left)"
            return UserError(message)
        return UserError(
            f"{self.label}: {len(left)} of {self.tasks} units were not finished by their jobs, the first is unit "
            f"{left[0]} (time, memory, or a fault): {self.slurm_logs_folder} holds the jobs' output; the same command "
            "runs them again, and finished units are kept"
        )
