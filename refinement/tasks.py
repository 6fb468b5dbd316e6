"""Running a refining pipeline over all units: one unit is one datatrove task.

A task's completion is marked after its files are renamed into place, and a task redone writes the same bytes; so a kill
costs the units under way and nothing else.
"""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from copy import deepcopy
from multiprocessing import get_context
from typing import Any

import datatrove.executor.base
import pyarrow.parquet as pq
from datatrove.executor import LocalPipelineExecutor
from datatrove.io import DataFolder
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.stats import PipelineStats
from loguru import logger as datatrove_log

from prox.command import configure_logging
from prox.progress import Progress
from prox.units import DOCUMENTS, DROPPED, unit_files
from refinement.configs import UnitsConfig
from refinement.pipeline import ReadUnit, UnitWriter

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


class UnitExecutor(LocalPipelineExecutor):
    """datatrove's local executor, with progress, a quiet console, and no process left behind by ``kill -9``.

    Its own ``run`` starts a manager process that outlives a killed parent, and waits for ever for a worker that the
    kernel killed for memory.
    """

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        datatrove.executor.base.add_task_logger = _log_to_file
        try:
            return super()._run_for_rank(rank, local_rank, node_rank)
        finally:
            datatrove_log.remove()  # closing a task's log puts datatrove's console sink back

    def run(self) -> None:
        """Runs the units that are not complete; the first error ends the run, finished units stay."""
        self.save_executor_as_json()
        ranks = self.get_incomplete_ranks()
        sizes = [pq.read_metadata(file).num_rows for file in unit_files(self.pipeline[0].artifact)]
        done = sum(sizes) - sum(sizes[rank] for rank in ranks)
        if done:
            log.info("%s: %d of %d units are complete", self.label, self.tasks - len(ranks), self.tasks)
        with Progress(self.label, sum(sizes) - done, "documents") as progress:
            for rank in self._finished(ranks):
                progress.advance(sizes[rank])

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


def _forget_lost_units(executor: LocalPipelineExecutor, writer: UnitWriter) -> None:
    """A completed task whose files were deleted since is run again."""
    for rank in range(executor.tasks):
        marker = f"completions/{rank:05d}"
        if executor.logging_dir.isfile(marker) and not all(path.is_file() for path in writer.files(rank).values()):
            executor.logging_dir.rm(marker)


def run_units(label: str, config: UnitsConfig, steps: Sequence[PipelineStep], writer: UnitWriter) -> dict[str, Any]:
    """Runs ``steps`` on every unit of ``config.documents``; returns how many documents were kept and dropped, and why.

    The counts come from the files, so that they are whole after any number of kills.
    """
    executor = UnitExecutor(
        pipeline=[ReadUnit(config.documents), *steps, writer],
        tasks=len(unit_files(config.documents)),
        workers=config.workers,
        logging_dir=str(config.output / "tasks"),
    )
    executor.label = label
    _forget_lost_units(executor, writer)
    executor.run()
    kept = sum(pq.read_metadata(file).num_rows for file in unit_files(config.output, DOCUMENTS))
    reasons: Counter[str] = Counter()
    for file in unit_files(config.output, DROPPED):
        reasons.update(pq.read_table(file, columns=["reason"])["reason"].to_pylist())
    dropped = sum(reasons.values())
    return {"documents": kept + dropped, "kept": kept, "dropped": dropped, "dropped_by_reason": dict(reasons)}
