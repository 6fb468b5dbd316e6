"""What the benchmarks share: pages to work on, and timing in turns."""

import gzip
import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prox.package_pages import read_package_pages


def read_pages(path: Path | None, limit: int | None = None) -> list[str]:
    """Texts of the ``text`` field of a JSON-lines file (.gz or plain), or of the installed packages' project pages."""
    if path is None:
        return [page.text for page in read_package_pages(lambda reject: None)][:limit]
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines][:limit]


def seconds(
    tasks: Mapping[str, Callable[[], Any]], repeats: int, prepare: Callable[[str], object] = lambda name: None
) -> tuple[dict[str, float], dict[str, Any]]:
    """Median seconds of each task, run in turns after one turn that is not counted, and what they gave.

    ``prepare`` is called with a task's name before each of its runs, untimed.
    """
    times: dict[str, list[float]] = {name: [] for name in tasks}
    made: dict[str, Any] = {}
    for _ in range(repeats + 1):
        for name, task in tasks.items():
            prepare(name)
            begin = time.perf_counter()
            made[name] = task()
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(found[1:]) for name, found in times.items()}, made
