"""datatrove's executors as the stages run them: quiet, with progress, and safe to kill.

A task's completion is marked when its pipeline has returned, and a task redone must write the same bytes; so a kill
costs the tasks under way and nothing else. The marks are the same under every executor, so that one finishes what
another began.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from copy import deepcopy
from multiprocessing import current_process, get_context
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import datatrove.executor.base
from datatrove.executor import LocalPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from datatrove.io import DataFolder
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.stats import PipelineStats
from loguru import logger as datatrove_log

from prox.cluster import ExecutorConfig
from prox.command import configure_logging
from prox.engines import close_engines
from prox.errors import UserError
from prox.gpus import VARIABLE, gpus_of_worker, visible_gpus
from prox.progress import Progress

log = logging.getLogger("prox")


def _log_to_file(logging_dir: DataFolder, rank: int, local_rank: int = 0, node_rank: int = -1) -> Any:
    """In place of datatrove's ``add_task_logger``, which also prints to the console and has no switch for it."""
    datatrove_log.remove()
    file = logging_dir.open(f"logs/task_{rank:05d}.log", "w")
    datatrove_log.add(file, colorize=False, level="DEBUG", backtrace=False, diagnose=False)
    return file


class Tasks(PipelineExecutor):
    """What our executors share; comes before one of datatrove's in a class's bases.

    ``sizes`` holds the number of documents, or of whatever ``noun`` says, of each task.
    """

    label: str
    sizes: Sequence[int]
    noun = "documents"
    """What ``sizes`` counts."""

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        datatrove.executor.base.add_task_logger = _log_to_file
        pipeline = self.pipeline
        self.pipeline = deepcopy(pipeline)  # a task's counts are its own, however many a process runs
        try:
            return PipelineExecutor._run_for_rank(self, rank, local_rank, node_rank)
        finally:
            self.pipeline = pipeline
            datatrove_log.remove()  # closing a task's log puts datatrove's console sink back

    def is_under_way(self) -> bool:
        """True while tasks that an earlier call handed out may still be running: their files must be left alone."""
        return False

    def forget_lost(self, files: Callable[[int], Iterable[Path]]) -> None:
        """A completed task one of whose ``files`` was deleted since is run again."""
        if self.is_under_way():
            return
        for rank in range(self.world_size):
            marker = f"completions/{rank:05d}"
            if self.logging_dir.isfile(marker) and not all(path.is_file() for path in files(rank)):
                self.logging_dir.rm(marker)

    def run(self) -> None:
        """Runs the tasks that are not complete; the first error ends the run, finished tasks stay."""
        self.save_executor_as_json()
        ranks = self.get_incomplete_ranks()
        left = sum(self.sizes[rank] for rank in ranks)
        if len(ranks) < self.world_size:
            done = self.world_size - len(ranks)
            log.info("%s: %d of %d tasks are complete", self.label, done, self.world_size)
        with Progress(self.label, left, self.noun) as progress:
            for rank in self._finished(ranks) if ranks else ():
                progress.advance(self.sizes[rank])

    def _finished(self, ranks: list[int]) -> Iterator[int]:
        """Runs ``ranks``; yields each when it is complete."""
        raise NotImplementedError


class TaskExecutor(Tasks, LocalPipelineExecutor):
    """datatrove's local executor, with progress, a quiet console, and no process left behind by ``kill -9``.

    Its own ``run`` starts a manager process that outlives a killed parent, and waits for ever for a worker that the
    kernel killed for memory. Workers live as long as the run, so what they load they load once; each of several sees
    its own ``gpus_per_worker`` GPUs.
    """

    def __init__(
        self, label: str, pipeline: list[PipelineStep], sizes: Sequence[int], gpus_per_worker: int = 1, **options: Any
    ) -> None:
        super().__init__(pipeline, tasks=len(sizes), **options)
        self.label, self.sizes, self.gpus_per_worker = label, sizes, gpus_per_worker

    def _finished(self, ranks: list[int]) -> Iterator[int]:
        if self.workers == 1:
            for rank in ranks:
                self._run_for_rank(rank)
                yield rank
            return
        context = get_context("forkserver")  # a forked child could not use CUDA
        arguments = (os.getpid(), visible_gpus(), self.gpus_per_worker)
        with ProcessPoolExecutor(self.workers, context, _start_worker, arguments) as pool:
            futures = {pool.submit(self._run_for_rank, rank): rank for rank in ranks}
            try:
                for future in as_completed(futures):
                    future.result()
                    yield futures[future]
            except BrokenProcessPool:
                raise UserError(
                    f"{self.label}: a worker process was killed, as the kernel does when memory runs out: run the same "
                    f"command again, with fewer than --workers {self.workers} if memory was short; finished units are "
                    "kept"
                ) from None
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _start_worker(owner: int, gpus: Sequence[str], gpus_each: int) -> None:
    """Sets up a worker process: its GPUs, and its end when the process that asked for it is gone."""
    configure_logging()
    if gpus:
        number = int(current_process().name.rsplit("-", 1)[1])  # the workers of a pool have consecutive ones
        os.environ[VARIABLE] = ",".join(gpus_of_worker(number, gpus, gpus_each))
    Finalize(None, close_engines, exitpriority=100)  # a worker process ends without ``atexit``

    def watch() -> None:
        while True:
            time.sleep(1.0)
            try:
                os.kill(owner, 0)
            except ProcessLookupError:
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def make_executor(
    config: ExecutorConfig,
    label: str,
    pipeline: list[PipelineStep],
    sizes: Sequence[int],
    folder: Path,
    workers: int = 1,
    gpus_per_worker: int = 1,
) -> Tasks:
    """The executor that ``config`` asks for, with its marks and logs in ``folder``.

    ``workers`` and ``gpus_per_worker`` are the local executor's.
    """
    if config.kind == "slurm":
        from prox.slurm_tasks import SlurmTaskExecutor

        return SlurmTaskExecutor(label, pipeline, sizes, config.slurm, str(folder))
    if config.kind == "ray":
        from prox.ray_tasks import RayTaskExecutor

        return RayTaskExecutor(label, pipeline, sizes, config.ray, str(folder))
    return TaskExecutor(label, pipeline, sizes, gpus_per_worker, workers=workers, logging_dir=str(folder))
