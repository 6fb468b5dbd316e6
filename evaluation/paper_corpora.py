"""Sizes of one's own corpora beside the paper's, out of `refinement stats` (Tables 6 and 7)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.paper_rows import check_names, rename
from evaluation.paper_scores import TOKENS_KEPT, TableRow
from evaluation.published import Cell, PublishedTable
from evaluation.records import Metric
from prox.artifact import read_json
from prox.errors import UserError

BASELINE_ARM = "raw"
DOCUMENTS, TOKENS = "documents", "tokens"
OWN_COUNTS = {"own_documents": DOCUMENTS, "own_tokens": TOKENS}
Arms = dict[str, dict[str, int]]


def read_arms(statistics: Path | None) -> Arms:
    """Counts by arm from `refinement stats`; empty without statistics, ``UserError`` where the file has none."""
    if statistics is None:
        return {}
    path = statistics / "stats.json" if statistics.is_dir() else statistics
    content: Any = read_json(path)
    arms = content.get("arms") if isinstance(content, dict) else None
    if not isinstance(arms, dict) or not all({DOCUMENTS, TOKENS} <= set(counts) for counts in arms.values()):
        raise UserError(f"{path} has no `arms` with `documents` and `tokens`: run `refinement stats` again")
    return arms


def shares_of(arms: Arms) -> dict[str, float]:
    """Tokens of each arm, in percent of the raw arm's; empty without a raw arm."""
    base = arms.get(BASELINE_ARM, {}).get(TOKENS)
    return {arm: 100 * counts[TOKENS] / base for arm, counts in arms.items()} if base else {}


def add_tokens_kept(
    table: PublishedTable, rows: Sequence[TableRow], statistics: Path, names: Mapping[str, str]
) -> None:
    """Puts the share of the corpus's tokens that an arm keeps into the row of the arm's name (Table 6)."""
    shares = {rename(arm, names): share for arm, share in shares_of(read_arms(statistics)).items()}
    for row in rows:
        if row.name in shares:
            row.ours[TOKENS_KEPT] = Metric(shares[row.name], None)


def add_corpora(table: PublishedTable, rows: list[TableRow], statistics: Path, names: Mapping[str, str]) -> None:
    """Puts own arms' sizes beside the rows that ``names`` gives them, else into rows of their own (Table 7).

    Sizes of unlike corpora don't compare, but what a step left of the raw corpus does: the paper's share is the ratio
    of its printed sizes.
    """
    arms = read_arms(statistics)
    check_names(names, arms)
    shares = shares_of(arms)
    add_published_shares(rows)
    by_name = {row.name: row for row in rows}
    for arm, counts in sorted(arms.items(), key=lambda item: item[0] != BASELINE_ARM):
        row = by_name.get(rename(arm, names))
        if row is None:
            labels: list[Cell] = ["own" if key == "experiment" else None for key in table.keys]
            labels[table.keys.index("method")] = arm
            row = TableRow(labels, arm, None, {})
            rows.append(row)
        row.ours |= {column: Metric(counts[name], None) for column, name in OWN_COUNTS.items()}
        if arm in shares:
            row.ours[TOKENS_KEPT] = Metric(shares[arm], None)


def add_published_shares(rows: Sequence[TableRow]) -> None:
    """What each of the paper's corpora is of the raw one of its experiment, in percent."""
    size, place = "unique_tokens_billion", ("experiment", "corpus")
    raw = {tuple(row.paper[key] for key in place): row.paper[size] for row in rows if row.paper["method"] == "raw"}
    for row in rows:
        base = raw.get(tuple(row.paper[key] for key in place))
        if base:
            row.paper = row.paper | {TOKENS_KEPT: 100 * row.paper[size] / base}
