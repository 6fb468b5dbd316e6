"""Result tables of `evaluation report`: finished ``table.md`` files as they are, and the result records behind them."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from evaluation.records import Metric, Record, check_comparable, read_record
from evaluation.report_sources import TABLE, Source
from prox.errors import UserError

_RULE = re.compile(r"\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?")
_CELL_BORDER = re.compile(r"(?<!\\)\|")
# Metrics that are no share of one, and of which less is better; all others are shown in percent.
BITS = frozenset({"bits_per_byte"})


def _cells(line: str) -> list[str]:
    inside = line.strip().removeprefix("|").removesuffix("|")
    return [cell.strip().replace("\\|", "|") for cell in _CELL_BORDER.split(inside)]


def parse_markdown(text: str) -> list[dict[str, Any]]:
    """The tables and the paragraphs of a Markdown file, in order; other marks stay as they are written."""
    blocks: list[dict[str, Any]] = []
    lines = text.splitlines()
    position = 0
    while position < len(lines):
        line = lines[position]
        following = lines[position + 1] if position + 1 < len(lines) else ""
        if "|" in line and "-" in following and _RULE.fullmatch(following.strip()):
            align = ["right" if cell.endswith(":") else "left" for cell in _cells(following)]
            position += 2
            rows = []
            while position < len(lines) and "|" in lines[position]:
                rows.append(_cells(lines[position]))
                position += 1
            blocks.append({"head": _cells(line), "align": align, "rows": rows})
            continue
        if line.strip():
            blocks.append({"text": line.strip()})
        position += 1
    return blocks


def collect_tables(sources: Iterable[Source]) -> tuple[list[dict[str, Any]], list[str]]:
    """Every finished table, parsed, and sentences about those that can't be read."""
    tables, problems = [], []
    for source in sources:
        if not source.has_table():
            continue
        try:
            text = (source.folder / TABLE).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{source.run}: {source.name}/{TABLE} can't be read ({error})")
            continue
        tables.append(
            {"run": source.run, "place": source.name, "command": source.command, "blocks": parse_markdown(text)}
        )
    return tables, problems


def collect_records(sources: Iterable[Source]) -> tuple[dict[str, Any], list[str]]:
    """The records as one table a suite, with a warning where scores don't compare; and what could not be read."""
    found: dict[tuple[Any, ...], tuple[str, Record]] = {}
    problems = []
    for source in sources:
        for path in source.record_files():
            try:
                record = read_record(path)
            except (UserError, OSError) as error:
                problems.append(str(error))
                continue
            key = (source.run, record.model, record.step, record.suite, record.task, record.num_fewshot)
            if key in found:
                problems.append(f"{path}: {source.run} has this score twice; the first is shown")
            found.setdefault(key, (source.run, record))
    records = list(found.values())
    content = {"num_records": len(records), "suites": suite_tables(records), "warning": ""}
    try:
        check_comparable(record for _, record in records)
    except UserError as error:
        content["warning"] = str(error).split(". Run the evaluation again")[0]
    return content, problems


def suite_tables(records: Sequence[tuple[str, Record]]) -> list[dict[str, Any]]:
    """One table a suite: a row for each model of each run, a column for each metric of each task."""
    by_suite: dict[str, list[tuple[str, Record]]] = defaultdict(list)
    for run, record in records:
        by_suite[record.suite].append((run, record))
    return [_suite_table(suite, members) for suite, members in sorted(by_suite.items())]


def _suite_table(suite: str, members: Sequence[tuple[str, Record]]) -> dict[str, Any]:
    columns: dict[tuple[str, int, str], None] = {}
    rows: dict[tuple[str, str, int | None], dict[tuple[str, int, str], Metric]] = {}
    for run, record in sorted(members, key=lambda one: (one[1].task, one[1].num_fewshot)):
        row = rows.setdefault((run, record.model, record.step), {})
        # A headline says which of many metrics the paper shows.
        for metric in [record.headline] if record.headline in record.metrics else sorted(record.metrics):
            column = (record.task, record.num_fewshot, metric)
            columns[column] = None
            row[column] = record.metrics[metric]
    best = {
        column: _best(column[2], [row[column].value for row in rows.values() if column in row]) for column in columns
    }
    return {
        "suite": suite,
        "versions": sorted({record.suite_version for _, record in members}),
        "num_samples": sorted({(record.task, record.num_samples) for _, record in members}),
        "columns": [{"task": task, "shots": shots, "metric": metric} for task, shots, metric in columns],
        "rows": [
            {
                "run": run,
                "model": model,
                "step": step,
                "cells": [_cell(row.get(column), column[2], best[column]) for column in columns],
            }
            for (run, model, step), row in rows.items()
        ],
    }


def _best(metric: str, values: Sequence[float]) -> float | None:
    """The best of several values; of one alone nothing is said."""
    if len(values) < 2:
        return None
    return min(values) if metric in BITS else max(values)


def _cell(metric: Metric | None, name: str, best: float | None) -> dict[str, Any] | None:
    if metric is None:
        return None
    scale, digits = (1, 3) if name in BITS else (100, 1)
    error = None if metric.stderr is None else f"{metric.stderr * scale:.{digits}f}"
    return {"value": f"{metric.value * scale:.{digits}f}", "stderr": error, "best": metric.value == best}
