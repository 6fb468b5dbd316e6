"""datatrove's executors as the stages run them: quiet, with progress, and safe to kill.

A task's completion is marked when its pipeline has returned, and a task redone must write the same bytes; so a kill
costs the tasks under way and nothing else. The marks are the same under every executor, so that one finishes what
another began.
"""

import contextlib
import itertools
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from copy import deepcopy
from itertools import islice
from multiprocessing import active_children, current_process, get_context
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

from prox import slurm_queue
from prox.artifact import started_fingerprint
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


def _files_in(folder: Path) -> set[str]:
    """Names of the files in a folder, which may be absent."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_file()}


class Tasks(PipelineExecutor):
    """What our executors share; comes before one of datatrove's in a class's bases.

    ``sizes`` holds the number of documents, or of whatever ``noun`` says, of each task.
    """

    label: str
    sizes: Sequence[int]
    noun = "documents"
    """What ``sizes`` counts."""
    _under_way: bool | None = None

    @property
    def output(self) -> Path:
        """The artefact that the tasks are for: the nearest folder above their marks that a command started."""
        folder = Path(self.logging_dir.path)
        return next((parent for parent in folder.parents if started_fingerprint(parent) is not None), folder.parent)

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
        """True while tasks that an earlier call handed out are running: their files must be left alone.

        Asked once, so that all that a run does goes by one answer. Raises ``UserError`` where jobs are writing into the
        output that this executor can't wait for.
        """
        if self._under_way is None:
            self._under_way = self._find_under_way()
        return self._under_way

    def _find_under_way(self) -> bool:
        slurm_queue.require_none(self.output)
        return False

    def tidy(self, files: Callable[[int], Iterable[Path]], folders: Iterable[Path]) -> None:
        """Before a run: a completed task one of whose ``files`` was deleted since is run again, and what killed tasks
        were writing into ``folders`` is removed. Nothing is touched while tasks are under way.
        """
        if self.is_under_way():
            return
        for aside in itertools.chain.from_iterable(folder.glob(".*.tmp") for folder in folders):
            aside.unlink(missing_ok=True)
        incomplete = set(self.get_incomplete_ranks())
        present: dict[Path, set[str]] = {}  # by folder, each listed once
        for rank in range(self.world_size):
            for path in files(rank) if rank not in incomplete else ():
                if path.parent not in present:
                    present[path.parent] = _files_in(path.parent)
                if path.name not in present[path.parent]:
                    self.logging_dir.rm(f"completions/{rank:05d}")
                    break

    def run(self) -> None:
        """Runs the tasks that are not complete; the first error ends the run, and finished tasks stay."""
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
    its own ``gpus_per_worker`` GPUs. After an error the tasks under way are finished; an interrupt ends them too.
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
        arguments = (self, os.getpid(), visible_gpus(), self.gpus_per_worker)
        others = set(active_children())
        waiting = iter(ranks)
        running: dict[Future[None], int] = {}
        with ProcessPoolExecutor(self.workers, context, _start_worker, arguments) as pool:

            def hand_out(number: int) -> None:
                running.update({pool.submit(_run_task, rank): rank for rank in islice(waiting, number)})

            try:
                # One task a worker: what is queued for workers already can't be called back.
                hand_out(self.workers)
                while running:
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        rank = running.pop(future)
                        future.result()
                        hand_out(1)
                        yield rank
            except BrokenProcessPool:
                raise UserError(
                    f"{self.label}: a worker process was killed, as the kernel does when memory runs out: run the same "
                    f"command again, with fewer than --workers {self.workers} if memory was short; finished units are "
                    "kept"
                ) from None
            except Exception:
                log.info("%s: an error; the tasks under way are finished, then it is told", self.label)
                raise
            except BaseException:
                for worker in set(active_children()) - others:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(worker.pid, signal.SIGINT)
                raise


class _Worker:
    """The state of a worker process: what it runs, and whether it is at it."""

    executor: Tasks
    busy = stopped = False


def _run_task(rank: int) -> None:
    """Runs one task in a worker process."""
    if _Worker.stopped:
        raise KeyboardInterrupt
    _Worker.busy = True
    try:
        _Worker.executor._run_for_rank(rank)
    finally:
        _Worker.busy = False


def _interrupt(*_: object) -> None:
    """Ends a worker's task once, however often the interrupt is sent; an idle worker's end is the pool's affair."""
    _Worker.stopped = True
    if _Worker.busy:
        _Worker.busy = False
        raise KeyboardInterrupt


def _start_worker(executor: Tasks, owner: int, gpus: Sequence[str], gpus_each: int) -> None:
    """Sets up a worker process: its tasks, its GPUs, and its end when the process that asked for it is gone."""
    configure_logging()
    _Worker.executor = executor
    signal.signal(signal.SIGINT, _interrupt)
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
