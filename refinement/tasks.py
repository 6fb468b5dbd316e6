"""Running a refining pipeline over all units: one unit is one datatrove task."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datatrove.pipeline.base import PipelineStep

from prox.tasks import TaskExecutor
from prox.units import DOCUMENTS, DROPPED, LEDGER, unit_files
from refinement.configs import UnitsConfig
from refinement.pipeline import ReadUnit, UnitWriter

log = logging.getLogger("prox")


def _forget_lost_units(executor: TaskExecutor, writer: UnitWriter) -> None:
    """A completed task whose files were deleted since is run again."""
    for rank in range(executor.tasks):
        marker = f"completions/{rank:05d}"
        if executor.logging_dir.isfile(marker) and not all(path.is_file() for path in writer.files(rank).values()):
            executor.logging_dir.rm(marker)


def _remove_half_written_units(output: Path) -> None:
    """Removes what killed workers were writing; no later run takes these names, which hold a process id, again."""
    for kind in (DOCUMENTS, DROPPED, LEDGER):
        for path in (output / kind).glob(".*.tmp"):
            path.unlink(missing_ok=True)


def run_units(label: str, config: UnitsConfig, steps: Sequence[PipelineStep], writer: UnitWriter) -> dict[str, Any]:
    """Runs ``steps`` on every unit of ``config.documents``; returns how many documents were kept and dropped, and why.

    The counts come from the files, so that they are whole after any number of kills.
    """
    executor = TaskExecutor(
        label,
        [ReadUnit(config.documents), *steps, writer],
        sizes=[pq.read_metadata(file).num_rows for file in unit_files(config.documents)],
        workers=config.workers,
        logging_dir=str(config.output / "tasks"),
    )
    _remove_half_written_units(config.output)
    _forget_lost_units(executor, writer)
    executor.run()
    kept = sum(pq.read_metadata(file).num_rows for file in unit_files(config.output, DOCUMENTS))
    reasons: Counter[str] = Counter()
    for file in unit_files(config.output, DROPPED):
        reasons.update(pq.read_table(file, columns=["reason"])["reason"].to_pylist())
    dropped = sum(reasons.values())
    if dropped and not kept:
        log.warning("%s: none of %d documents is kept; %s/dropped says why", label, dropped, config.output)
    return {"documents": kept + dropped, "kept": kept, "dropped": dropped, "dropped_by_reason": dict(reasons)}
