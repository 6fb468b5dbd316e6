"""The data card of train and valid sets: what they were made from, by whom, and what came of it."""

import statistics
from array import array
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotation import tables
from annotation.annotators import STAND_IN
from prox import artifact
from prox.executor import execute
from prox.program import Normalize, RemoveLines, parse_program
from prox.words import count_words

Table = dict[str, dict[str, float]]
"""Name -> ``count`` and ``share``."""


class EditCounts:
    """How much programs change: shares of chunks, of lines and of words, and calls by kind."""

    def __init__(self) -> None:
        self.programs = 0
        self._edited = self._lines = self._removed = self._words = self._words_left = 0
        self._calls: Counter[str] = Counter()
        self._resolved: Counter[str] = Counter()
        self._second: Counter[str] = Counter()

    def add(self, row: tables.Row) -> None:
        """Runs a chunk's program."""
        self._resolved.update(row.get("merged", {}))
        if second := row.get("second"):
            self._second.update(asked=1, unusable="reason" in second)
            self._resolved.update(second.get("merged", {}))
        execution = execute(parse_program(row["program"]), row["text"], row["first_line"])
        self.programs += 1
        self._edited += execution.verdict != "unchanged"
        self._lines += row["text"].count("\n") + 1
        self._words += count_words(row["text"])
        self._words_left += count_words(execution.text)
        for call in execution.calls:
            if isinstance(call.operation, RemoveLines):
                self._removed += call.count
                self._calls["remove_lines"] += 1
            elif isinstance(call.operation, Normalize):
                self._calls["normalize"] += 1

    def facts(self) -> dict[str, Any]:
        """For the card."""
        return {
            "programs": self.programs,
            "edited_share": share(self._edited, self.programs),
            "removed_line_share": share(self._removed, self._lines),
            "removed_word_share": share(self._words - self._words_left, self._words),
            **({f"second_annotator_{name}": count for name, count in self._second.items()}),
            **({f"resolved_{name}": count for name, count in sorted(self._resolved.items())}),
            "calls": shares(self._calls),
        }


class Sources:
    """Who annotated, and by which prompts."""

    def __init__(self) -> None:
        self._annotators: set[str] = set()
        self._prompts: dict[str, str] = {}

    def add(self, row: tables.Row) -> None:
        """Takes note of a row of `score` or `program`."""
        for part in (row, row.get("second")):
            if part:
                self._annotators.add(tables.annotator_of(part))
                if part.get("model") is None:
                    continue  # rules read no prompt
                self._prompts |= {prompt["file"]: prompt["sha256"] for prompt in part.get("prompts", {}).values()}

    def annotator(self) -> str:
        """Their names."""
        return " and ".join(sorted(self._annotators))

    def prompts(self) -> dict[str, str]:
        """SHA-256 of each prompt file, by its name."""
        return dict(sorted(self._prompts.items()))


class ExampleCounts:
    """The examples of one set; ``domains`` gives a document's domain by its id."""

    def __init__(self, domains: Mapping[str, str]) -> None:
        self._domains = domains
        self._ids: set[str] = set()
        self._words = array("L")
        self._classes: Counter[str] = Counter()

    def add(self, row: tables.Row) -> None:
        """Counts an example."""
        program = row["program"]
        self._ids.add(row["id"])
        self._words.append(count_words(row["text"]))
        self._classes[program if program.endswith("()") and "\n" not in program else "edited"] += 1

    def facts(self) -> dict[str, Any]:
        """For the card; ``domains`` only where a document has an address."""
        domains = {self._domains[key] for key in self._ids if self._domains.get(key)}
        return {
            "examples": len(self._words),
            "documents": len(self._ids),
            **({"domains": len(domains)} if domains else {}),
            "words_mean": round(statistics.fmean(self._words), 1),
            "words_median": float(statistics.median(self._words)),
            "classes": shares(self._classes),
        }


def kind_of(reason: str) -> str:
    """A reason without its detail."""
    return reason.split(":", 1)[0]


def share(part: float, whole: float) -> float:
    """Rounded for the card; 0 of nothing."""
    return round(part / whole, 4) if whole else 0.0


def shares(counts: Mapping[str, int], whole: int | None = None) -> Table:
    """Counts with their shares of ``whole``, or of their sum."""
    whole = sum(counts.values()) if whole is None else whole
    return {name: {"count": count, "share": share(count, whole)} for name, count in sorted(counts.items())}


def histogram(counts: Mapping[str, int]) -> Table:
    """Counts of scores from 0 to 5, those that none got included."""
    return shares({str(score): counts.get(str(score), 0) for score in range(6)})


def rejected(reasons: Mapping[str, int], accepted: int) -> dict[str, Any]:
    """What was set aside, in all and by reason, as shares of everything there was."""
    aside = sum(reasons.values())
    return {
        "aside": aside,
        "aside_share": share(aside, aside + accepted),
        "aside_by_reason": shares(reasons, aside + accepted),
    }


def write(folder: Path, facts: dict[str, Any]) -> None:
    """Writes ``card.json`` and ``card.md``."""
    artifact.write_json(folder / "card.json", facts)
    lines = ["# Annotation", "", f"Annotator: **{facts['annotator']}**"]
    if STAND_IN in facts["annotator"]:
        lines += ["", "No language model took part: scores and programs come from rules that look at form only."]
    if "note" in facts:
        lines += ["", facts["note"]]
    if facts.get("prompts"):
        lines += ["", "Prompts (SHA-256): " + ", ".join(f"{name} {sha[:12]}" for name, sha in facts["prompts"].items())]
    if facts.get("spending"):
        lines += ["", "Spent: " + "; ".join(f"{step} {_spent(spent)}" for step, spent in facts["spending"].items())]
    for part in ("documents", "chunks"):
        lines += ["", f"## {part.capitalize()}", "", *_section(facts[part])]
    lines += ["", "## Sets", "", *_sets(facts["sets"])]
    lines += ["", f"## Sides (split by {facts['split_by']}, seed {facts['seed']})", "", *_section(facts["sides"])]
    artifact.write_atomically(folder / "card.md", "\n".join(lines) + "\n")


def _section(facts: dict[str, Any]) -> list[str]:
    """Single values in one table, each table of counts under a heading of its own."""
    lines = ["| | |", "|---|--:|"]
    lines += [f"| {_title(name)} | {_cell(name, value)} |" for name, value in facts.items() if not _is_table(value)]
    for name, table in facts.items():
        if _is_table(table) and table:
            lines += ["", f"**{_title(name).capitalize()}**", "", "| | count | share |", "|---|--:|--:|"]
            lines += [f"| {key} | {row['count']:,} | {row['share']:.1%} |" for key, row in table.items()]
    return lines


def _sets(sets: dict[str, dict[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(name for facts in sets.values() for name in facts if name != "classes"))
    lines = [
        f"| set | {' | '.join(map(_title, columns))} |",
        f"|---|{'--:|' * len(columns)}",
    ]
    for name, facts in sets.items():
        cells = [_cell(column, facts[column]) if column in facts else "" for column in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "| set | class | count | share |", "|---|---|--:|--:|"]
    for name, facts in sets.items():
        lines += [
            f"| {name} | {label} | {row['count']:,} | {row['share']:.1%} |" for label, row in facts["classes"].items()
        ]
    return lines


def _spent(usage: dict[str, Any]) -> str:
    earlier = f"{_spent(usage['first'])}, then " if "first" in usage else ""
    cost = f", cost {usage['cost']:,.2f}" if "cost" in usage else ""
    return f"{earlier}{usage['answers']:,} answers, {usage['prompt_tokens'] + usage['answer_tokens']:,} tokens{cost}"


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _title(name: str) -> str:
    return name.replace("_", " ")


def _cell(name: str, value: Any) -> str:
    if name.endswith("_share"):
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
