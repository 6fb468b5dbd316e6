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
from prox.corpus import CorpusConfig, is_remote, local_files, resolve_format
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
NEVER_TOO_MANY = 1
"""Broken files that don't stop a run, however few there are in all."""


def plan_parts(config: IngestConfig, corpus: CorpusConfig) -> tuple[IngestPart, list[int]]:
    """The task that reads a part, and how many files each part has.

    What the first run planned stays, and nothing is listed again: a remote folder's files may change while it is being
    read, and what is read needs it no more.
    """
    plan = config.output / TASKS / PLAN
    if not plan.is_file():
        folder, parts = _parts(config, corpus)
        plan.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(plan, "".join(json.dumps(line) + "\n" for line in ({"folder": folder}, *parts)))
    with plan.open(encoding="utf-8") as lines:
        folder = json.loads(next(lines))["folder"]
        sizes = [len(json.loads(line) or [""]) for line in lines]
    return IngestPart(config, folder, plan, len(sizes)), sizes


def _parts(config: IngestConfig, corpus: CorpusConfig) -> tuple[str, list[list[str] | None]]:
    """(folder, names of each part's files); None for a corpus that is read as a whole."""
    if not is_files(corpus):
        return corpus.path or corpus.format, [None]
    files = list_files(corpus)
    if corpus.limit >= 0:
        return files.folder, [list(files.names)]
    return files.folder, cut_into_parts(files, config.bytes_per_task)


def warn_of_unread_files(corpus: CorpusConfig) -> None:
    """Says which files of a local folder are none of the corpus: they are not read."""
    folder = Path(corpus.path.removeprefix("file://"))
    if not is_files(corpus) or is_remote(corpus.path) or not folder.is_dir():
        return
    read = set(local_files(corpus))
    unread = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file() and file not in read)
    if unread:
        names = ", ".join(unread[:5]) + (", ..." if len(unread) > 5 else "")
        log.warning("%d files of %s are not read as %s: %s", len(unread), folder, corpus.format, names)


def run_parts(config: IngestConfig, task: IngestPart, sizes: list[int]) -> None:
    """Reads the parts that are not read yet."""
    folder = config.output / TASKS
    executor = make_executor(config.executor, "refinement ingest", [task], sizes, folder, config.workers)
    executor.noun = "files"
    executor.tidy(task.files, [config.output / kind for kind in (DOCUMENTS, DROPPED, PARTS)])
    for kind in (DOCUMENTS, PARTS):
        (config.output / kind).mkdir(parents=True, exist_ok=True)
    executor.run()


def ingest(config: IngestConfig) -> dict[str, Any]:
    """Writes ``documents/``, ``dropped/`` (what became no document) and ``stats.json``.

    Raises:
        UserError: the corpus holds no document, a file is not to be had, or too many are broken.
    """
    corpus = resolve_format(config.corpus)
    warn_of_unread_files(corpus)
    task, sizes = plan_parts(dataclasses.replace(config, corpus=corpus), corpus)
    run_parts(config, task, sizes)
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    parts = {rank: read_json(task.counts_path(rank)) for rank in range(len(sizes))}
    for part in parts.values():
        counts.update(part["counts"])
        reasons.update(part["reasons"])
    if not counts["documents"]:
        _forget(config.output)
        found = f"; left out: {dict(reasons)}" if reasons else ""
        source = corpus.path or corpus.format
        raise UserError(f"the corpus {source} holds no document{found}: check corpus.path and corpus.text_column")
    if counts["documents"] == corpus.limit:
        log.info(
            "refinement ingest: %d documents are corpus.limit; what the corpus has beyond is not read", corpus.limit
        )
    broken = _check_broken(task, parts)
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


def _check_broken(task: IngestPart, parts: dict[int, dict[str, Any]]) -> int:
    """The number of broken files. Too many are a ``UserError``, and the next run reads the parts they are in again."""
    files = sum(part["files"] for part in parts.values())
    names = [name for part in parts.values() for name in part["broken_files"]]
    if len(names) > max(NEVER_TOO_MANY, task.config.max_broken_share * files):
        for rank, part in parts.items():
            if part["broken_files"]:
                task.counts_path(rank).unlink()
        raise UserError(
            f"{len(names)} of {files} files could not be read to their end, the first is {task.folder}/{names[0]} "
            f"({task.config.output / DROPPED} says where and why): mend them or leave them out, or raise "
            f"--max_broken_share {task.config.max_broken_share}; the same command reads them again"
        )
    return len(names)


def _forget(output: Path) -> None:
    """Makes the next run read everything again: nothing here is worth keeping, and what was wrong may be mended."""
    for kind in (TASKS, PARTS, DOCUMENTS, DROPPED):
        shutil.rmtree(output / kind, ignore_errors=True)
