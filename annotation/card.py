"""The data card of an annotation: what was annotated by whom, and what came of it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from annotation import tables
from annotation.annotators import STAND_IN
from annotation.set_configs import SplitConfig
from prox import artifact
from prox.executor import execute
from prox.program import Normalize, RemoveLines, parse_program
from prox.words import count_words


def describe(
    config: SplitConfig,
    sets: dict[str, list[tables.Row]],
    scores: Sequence[tables.Row],
    programs: Sequence[tables.Row],
    duplicates: int,
) -> dict[str, Any]:
    """The facts of the card, as JSON."""
    aside_scores = tables.read_rows(config.scores / tables.ASIDE)
    aside_programs = tables.read_rows(config.programs / tables.ASIDE)
    return {
        "annotator": _names(scores, programs),
        "seed": config.seed,
        "documents": {
            "scored": len(scores),
            "kept_share": _share(sum(row["decision"] == "keep" for row in scores), len(scores)),
            "by_rule": _counts(row["rule"] for row in scores),
            "edu_scores": _histogram(row["edu_score"] for row in scores),
            "format_scores": _histogram(row["format_score"] for row in scores),
            "left_out_as_copies": duplicates,
            "aside_by_reason": _counts(_kind(row["reason"]) for row in aside_scores),
        },
        "chunks": {
            "programs": len(programs),
            **_edits(programs),
            "aside_share": _share(len(aside_programs), len(aside_programs) + len(programs)),
            "aside_by_reason": _counts(_kind(row["reason"]) for row in aside_programs),
        },
        "sets": {name: {"examples": len(rows), "classes": _classes(rows)} for name, rows in sets.items()},
    }


def write(folder: Path, facts: dict[str, Any]) -> None:
    """Writes ``card.json`` and ``card.md``."""
    artifact.write_json(folder / "card.json", facts)
    lines = ["# Annotation", "", f"Annotator: **{facts['annotator']}**"]
    if STAND_IN in facts["annotator"]:
        lines += ["", "No language model took part: scores and programs come from rules that look at form only."]
    for part in ("documents", "chunks"):
        lines += ["", f"## {part.capitalize()}", "", "| | |", "|---|---|"]
        lines += [f"| {name.replace('_', ' ')} | {_cell(value)} |" for name, value in facts[part].items()]
    lines += ["", "## Sets", "", "| set | examples | classes |", "|---|---|---|"]
    lines += [f"| {name} | {row['examples']:,} | {_cell(row['classes'])} |" for name, row in facts["sets"].items()]
    artifact.write_atomically(folder / "card.md", "\n".join(lines) + "\n")


def _names(*parts: Sequence[tables.Row]) -> str:
    rows = [row for part in parts for row in part]
    names = {row["annotator"] if row["model"] is None else f"{row['model']} ({row['annotator']})" for row in rows}
    return " and ".join(sorted(names))


def _edits(programs: Sequence[tables.Row]) -> dict[str, Any]:
    """How much the programs change: shares of chunks, of lines and of words, and calls by kind."""
    lines = removed = words = words_left = edited = 0
    calls: Counter[str] = Counter()
    for row in programs:
        execution = execute(parse_program(row["program"]), row["text"], row["first_line"])
        edited += execution.verdict != "unchanged"
        lines += row["text"].count("\n") + 1
        words += count_words(row["text"])
        words_left += count_words(execution.text)
        for call in execution.calls:
            if isinstance(call.operation, RemoveLines):
                removed += call.count
                calls["remove_lines"] += 1
            elif isinstance(call.operation, Normalize):
                calls["normalize"] += 1
    return {
        "edited_share": _share(edited, len(programs)),
        "removed_line_share": _share(removed, lines),
        "removed_word_share": _share(words - words_left, words),
        "calls": dict(sorted(calls.items())),
    }


def _classes(rows: Sequence[tables.Row]) -> dict[str, float]:
    names = [
        row["program"] if row["program"].endswith("()") and "\n" not in row["program"] else "edited" for row in rows
    ]
    return {name: _share(count, len(names)) for name, count in sorted(Counter(names).items())}


def _kind(reason: str) -> str:
    return reason.split(":", 1)[0]


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _histogram(values: Iterable[int]) -> dict[str, int]:
    counts = Counter(values)
    return {str(score): counts[score] for score in range(6)}


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items()) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
