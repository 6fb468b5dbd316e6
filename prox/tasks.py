"""datatrove's local executor as the stages run it: quiet, with progress, and safe to kill.

A task's completion is marked when its pipeline has returned, and a task redone must write the same bytes; so a kill
costs the tasks under way and nothing else.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from copy import deepcopy
from multiprocessing import get_context
from typing import Any

import datatrove.executor.base
from datatrove.executor import LocalPipelineExecutor
from datatrove.io import DataFolder
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.stats import PipelineStats
from loguru import logger as datatrove_log

from prox.command import configure_logging
from prox.progress import Progress

log = logging.getLogger("prox")


def _log_to_file(logging_dir: DataFolder, rank: int, local_rank: int = 0, node_rank: int = -1) -> Any:
    """In place of datatrove's ``add_task_logger``, which also prints to the console and has no switch for it."""
    datatrove_log.remove()
    file = logging_dir.open(f"logs/task_{rank:05d}.log", "w")
    datatrove_log.add(file, colorize=False, level="DEBUG", backtrace=False, diagnose=False)
    return file


def _start_worker(owner: int) -> None:
    """Sets up a worker process, and ends it when the process that asked for it is gone."""
    configure_logging()

    def watch() -> None:
        while True:
            time.sleep(1.0)
            try:
                os.kill(owner, 0)
            except ProcessLookupError:
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class TaskExecutor(LocalPipelineExecutor):
    """datatrove's local executor, with progress, a quiet console, and no process left behind by ``kill -9``.

    Its own ``run`` starts a manager process that outlives a killed parent, and waits for ever for a worker that the
    kernel killed for memory. ``sizes`` holds the number of documents of each task.
    """

    def __init__(self, label: str, pipeline: list[PipelineStep], sizes: Sequence[int], **options: Any) -> None:
        super().__init__(pipeline, tasks=len(sizes), **options)
        self.label, self.sizes = label, sizes

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        datatrove.executor.base.add_task_logger = _log_to_file
        try:
            return super()._run_for_rank(rank, local_rank, node_rank)
        finally:
            datatrove_log.remove()  # closing a task's log puts datatrove's console sink back

    def run(self) -> None:
        """Runs the tasks that are not complete; the first error ends the run, finished tasks stay."""
        self.save_executor_as_json()
        ranks = self.get_incomplete_ranks()
        left = sum(self.sizes[rank] for rank in ranks)
        if len(ranks) < self.tasks:
            log.info("%s: %d of %d units are complete", self.label, self.tasks - len(ranks), self.tasks)
        with Progress(self.label, left, "documents") as progress:
            for rank in self._finished(ranks):
                progress.advance(self.sizes[rank])

    def _finished(self, ranks: list[int]) -> Iterator[int]:
        """Ranks as they are finished."""
        if self.workers == 1:
            pipeline = self.pipeline
            for rank in ranks:
                self.pipeline = deepcopy(pipeline)
                self._run_for_rank(rank)
                yield rank
            return
        context = get_context("forkserver")  # a forked child could not use CUDA
        with ProcessPoolExecutor(self.workers, context, _start_worker, (os.getpid(),)) as pool:
            futures = {pool.submit(self._run_for_rank, rank): rank for rank in ranks}
            try:
                for future in as_completed(futures):
                    future.result()
                    yield futures[future]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
