"""`refinement ingest`: a corpus -> units of bounded size, so that one giant input file never means one giant task.

The corpus is cut into parts, files that follow one another, and each part is a task with units of its own; so the units
are the same for any number of workers, and a rerun does what is left.
"""

import dataclasses
import json
import logging
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from prox.artifact import read_json, write_atomically, write_json
from prox.corpus import CorpusConfig, resolve_format
from prox.corpus_files import cut_into_parts, is_files, list_files
from prox.errors import UserError
from prox.tasks import make_executor
from prox.units import DOCUMENTS, DROPPED, unit_files
from refinement.configs import IngestConfig
from refinement.ingest_part import PARTS, IngestPart
from refinement.unique_ids import make_ids_unique

log = logging.getLogger("prox")

TASKS = "tasks"
PLAN = "plan.jsonl"


def plan_parts(config: IngestConfig, corpus: CorpusConfig) -> tuple[IngestPart, list[int]]:
    """The task that reads a part, and how many files each part has.

    What the first run planned stays: a remote folder's files may change while it is being read.
    """
    plan = config.output / TASKS / PLAN
    files = list_files(corpus) if is_files(corpus) else None
    if not plan.is_file():
        if files is None:
            parts = [None]
        elif corpus.limit >= 0:
            parts = [list(files.names)]
        else:
            parts = cut_into_parts(files, config.bytes_per_task)
        plan.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(plan, "".join(json.dumps(part) + "\n" for part in parts))
    with plan.open(encoding="utf-8") as lines:
        sizes = [len(json.loads(line) or [""]) for line in lines]
    place = corpus.path or corpus.format
    return IngestPart(config, place if files is None else files.folder, plan, len(sizes)), sizes


def run_parts(config: IngestConfig, task: IngestPart, sizes: list[int]) -> None:
    """Reads the parts that are not read yet."""
    folder = config.output / TASKS
    executor = make_executor(config.executor, "refinement ingest", [task], sizes, folder, config.workers)
    executor.noun = "files"
    if not executor.is_under_way():
        for kind in (DOCUMENTS, DROPPED, PARTS):  # what killed workers were writing
            for aside in (config.output / kind).glob(".*.tmp"):
                aside.unlink(missing_ok=True)
        executor.forget_lost(task.files)
    for kind in (DOCUMENTS, PARTS):
        (config.output / kind).mkdir(parents=True, exist_ok=True)
    executor.run()


def ingest(config: IngestConfig) -> dict[str, Any]:
    """Writes ``documents/``, ``dropped/`` (what became no document) and ``stats.json``.

    Raises:
        UserError: the corpus holds no document, or a file is broken and ``on_broken_file`` is ``stop``.
    """
    corpus = resolve_format(config.corpus)
    task, sizes = plan_parts(dataclasses.replace(config, corpus=corpus), corpus)
    run_parts(config, task, sizes)
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    broken = 0
    for rank in range(len(sizes)):
        part = read_json(task.counts_path(rank))
        counts.update(part["counts"])
        reasons.update(part["reasons"])
        broken += len(part["broken_files"])
    if not counts["documents"]:
        _forget(config.output)
        found = f"; left out: {dict(reasons)}" if reasons else ""
        source = corpus.path or corpus.format
        raise UserError(f"the corpus {source} holds no document{found}: check corpus.path and corpus.text_column")
    if broken:
        log.warning("%d files could not be read to their end; %s says where and why", broken, config.output / DROPPED)
    summary = {
        "documents": counts["documents"],
        "units": len(unit_files(config.output)),
        "left_out": sum(reasons.values()),
        "broken_files": broken,
        "duplicate_ids": make_ids_unique(config.output, config.output / TASKS),
        "invalid_utf8": counts["invalid_utf8"],
        "lone_surrogates": counts["lone_surrogates"],
        "nul_characters": counts["nul_characters"],
        "characters": counts["characters"],
    }
    write_json(config.output / "stats.json", summary | {"left_out_by_reason": reasons})
    return summary


def _forget(output: Path) -> None:
    """Makes the next run read everything again: nothing here is worth keeping, and what was wrong may be mended."""
    for kind in (TASKS, PARTS, DOCUMENTS):
        shutil.rmtree(output / kind, ignore_errors=True)
