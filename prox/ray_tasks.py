"""Tasks on a Ray cluster, by actors that are kept.

datatrove's own Ray executor makes a new actor and process for every task, so that a refiner would be loaded once a unit
(``docs/benchmarks.md`` has what that costs); it also passes over the error of a failed task.
"""

import contextlib
import logging
import math
import os
import socket
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any

from datatrove.executor import RayPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from loguru import logger as datatrove_log

from prox.cluster import RayConfig
from prox.command import configure_logging
from prox.engines import close_engines
from prox.errors import UserError
from prox.tasks import Tasks

log = logging.getLogger("prox")

GIB = 1024**3
OBJECT_STORE_BYTES = 80 * 1024**2
"""Shared memory of a local cluster: little more than the least Ray takes, for only the pipeline goes through it."""
MOST_LOSSES = 3
"""Workers that may be lost over one task."""
CLOSING_SECONDS = 30
KNOCK_SECONDS = 10
STARTING, CLOSING = -1, -2


class Worker:
    """The actor: it keeps what its tasks load."""

    def __init__(self, executor: Tasks, folder: str) -> None:
        os.chdir(folder)  # paths of a config may be relative
        configure_logging()
        self.executor = executor

    def ready(self) -> None:
        """Returns as soon as the actor has found a place and started."""

    def run(self, rank: int) -> None:
        """Runs one task."""
        self.executor._run_for_rank(rank)

    def close(self) -> None:
        """Gives back what a killed actor could not."""
        close_engines()


@contextlib.contextmanager
def connect(settings: RayConfig) -> Iterator[None]:
    """Joins the cluster, or starts one of our own; only what was joined or started here is left or ended."""
    import ray
    from ray.exceptions import RayError

    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"address": settings.address}
    if not settings.address:
        cpus = math.ceil(settings.workers * settings.cpus_per_task) if settings.workers else None
        options = {"address": "local", "num_cpus": cpus, "object_store_memory": OBJECT_STORE_BYTES}
        options["include_dashboard"] = False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        _knock(settings.address)
        ray.init(logging_level=logging.ERROR, **options)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        where = settings.address or "a local cluster"
        raise UserError(f"--executor.ray.address: Ray gives no connection to {where} ({error})") from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """``OSError`` where nobody listens at ``address``: Ray itself asks for two minutes and then ends the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()


def room(settings: RayConfig) -> int:
    """Workers that the cluster's machines have room for together, at least 1.

    Where none has room for one, a cluster of our own is a ``UserError``; another may still grow, and is waited for.
    """
    import ray

    wanted = {
        "CPU": settings.cpus_per_task,
        "GPU": settings.gpus_per_task,
        "memory": settings.mem_per_task_gb * GIB,
    }
    found = 0
    for node in ray.nodes():
        has = node["Resources"] if node["Alive"] else {}
        found += min(int(has.get(name, 0) / amount) for name, amount in wanted.items() if amount)
    if not found:
        asked = f"{settings.cpus_per_task:g} CPUs, {settings.gpus_per_task:g} GPUs, {settings.mem_per_task_gb:g} GB"
        if not settings.address:
            raise UserError(f"--executor.ray: this machine has no room for a worker with {asked}: ask for less")
        log.warning("no machine of the Ray cluster has room for a worker with %s: waiting for one", asked)
    return max(found, 1)


class RayTaskExecutor(Tasks, RayPipelineExecutor):
    """datatrove's Ray executor with workers of our own; the marks, logs and statistics are datatrove's."""

    def __init__(
        self, label: str, pipeline: list[PipelineStep], sizes: Sequence[int], settings: RayConfig, logging_dir: str
    ) -> None:
        datatrove_log.remove()  # it would warn that the folder is local, which it must be
        super().__init__(
            pipeline,
            tasks=len(sizes),
            workers=settings.workers or -1,
            logging_dir=logging_dir,
            cpus_per_task=settings.cpus_per_task,
            gpus_per_task=settings.gpus_per_task,
        )
        self.label, self.sizes, self.settings = label, sizes, settings

    def _finished(self, ranks: list[int]) -> Iterator[int]:
        with connect(self.settings):
            fitting = room(self.settings)
            workers = min(self.settings.workers or fitting, len(ranks))
            log.info("%s: %d workers on Ray, which has room for %d", self.label, workers, fitting)
            pool = Pool(self, ranks, workers)
            try:
                yield from pool.finished()
            finally:
                pool.end()


class Pool:
    """Workers, each with one call under way: starting, then one task after another, then closing."""

    def __init__(self, executor: RayTaskExecutor, ranks: Sequence[int], workers: int) -> None:
        import ray

        settings = executor.settings
        self.label = executor.label
        self._options = {
            "num_cpus": settings.cpus_per_task,
            "num_gpus": settings.gpus_per_task,
            "memory": int(settings.mem_per_task_gb * GIB) or None,
        }
        self._executor = ray.put(executor)
        self._waiting = deque(ranks)
        self._losses: Counter[int] = Counter()
        self._workers: list[Any] = []
        self._calls: dict[Any, tuple[Any, int]] = {}  # call -> its worker, and its task or STARTING or CLOSING
        for _ in range(workers):
            self._hire()

    def _hire(self) -> None:
        import ray

        worker = ray.remote(Worker).options(**self._options).remote(self._executor, os.getcwd())
        self._workers.append(worker)
        self._calls[worker.ready.remote()] = (worker, STARTING)

    def finished(self) -> Iterator[int]:
        """Tasks as they are finished. A worker that was lost is replaced, and its task begun again."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        while self._waiting or any(rank >= 0 for _, rank in self._calls.values()):
            (call,), _ = ray.wait(list(self._calls), num_returns=1)
            worker, rank = self._calls.pop(call)
            try:
                ray.get(call)
            except RayTaskError as error:
                raise error.cause from None
            except RayError as error:
                if rank != CLOSING:
                    self._replace(rank, error)
                continue
            if self._waiting:
                following = self._waiting.popleft()
                self._calls[worker.run.remote(following)] = (worker, following)
            elif rank >= 0:
                self._calls[worker.close.remote()] = (worker, CLOSING)
            if rank >= 0:
                yield rank
        # A worker that is still looking for a place is not waited for.
        closing = [call for call, (_, rank) in self._calls.items() if rank == CLOSING]
        if closing:
            ray.wait(closing, num_returns=len(closing), timeout=CLOSING_SECONDS)

    def end(self) -> None:
        """Ends the workers, whatever they are at, so that the cluster has their room again."""
        import ray

        for worker in self._workers:
            ray.kill(worker)

    def _replace(self, rank: int, error: Exception) -> None:
        """Puts another worker in a lost one's place. The third loss over one task is a ``UserError``."""
        self._losses[rank] += 1
        what = "while it started" if rank == STARTING else f"with unit {rank}"
        if self._losses[rank] >= MOST_LOSSES:
            raise UserError(
                f"{self.label}: {MOST_LOSSES} workers were lost {what} (killed, for memory say, or their machine went "
                "away): the same command goes on, and finished units are kept; for more memory raise "
                "--executor.ray.mem_per_task_gb"
            ) from error
        log.warning("%s: a worker was lost %s; another takes its place", self.label, what)
        if rank >= 0:
            self._waiting.appendleft(rank)
        self._hire()
