"""Running a refining pipeline over all units: one unit is one datatrove task."""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq
from datatrove.pipeline.base import PipelineStep

from prox.tasks import make_executor
from prox.units import DOCUMENTS, DROPPED, LEDGER, unit_files
from refinement.configs import RefinerStepConfig, UnitsConfig
from refinement.pipeline import ReadUnit, UnitWriter

log = logging.getLogger("prox")


def gpus_per_worker(config: UnitsConfig) -> int:
    """GPUs that a worker of this step uses, if it uses any."""
    by_vllm = isinstance(config, RefinerStepConfig) and config.engine.kind == "vllm"
    return config.engine.vllm.tensor_parallel_size if by_vllm else 1


def run_units(label: str, config: UnitsConfig, steps: Sequence[PipelineStep], writer: UnitWriter) -> dict[str, Any]:
    """Runs ``steps`` on every unit of ``config.documents``; returns how many documents were kept and dropped, and why.

    The counts come from the files, so that they are whole after any number of kills.
    """
    executor = make_executor(
        config.executor,
        label,
        [ReadUnit(writer.units), *steps, writer],
        sizes=[pq.read_metadata(file).num_rows for file in unit_files(config.documents)],
        folder=config.output / "tasks",
        workers=config.workers,
        gpus_per_worker=gpus_per_worker(config),
    )
    folders = [config.output / kind for kind in (DOCUMENTS, DROPPED, LEDGER)]
    executor.tidy(lambda rank: writer.files(rank).values(), folders)
    executor.run()
    kept = sum(pq.read_metadata(file).num_rows for file in unit_files(config.output, DOCUMENTS))
    reasons: Counter[str] = Counter()
    for file in unit_files(config.output, DROPPED):
        reasons.update(pq.read_table(file, columns=["reason"])["reason"].to_pylist())
    dropped = sum(reasons.values())
    if dropped and not kept:
        log.warning("%s: none of %d documents is kept; %s/dropped says why", label, dropped, config.output)
    return {"documents": kept + dropped, "kept": kept, "dropped": dropped, "dropped_by_reason": dict(reasons)}
