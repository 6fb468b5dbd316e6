"""Train and valid sets for the two refiners, split by document, and the card that describes them."""

from collections.abc import Callable
from typing import Any

from annotation import card, journal, seeds, tables
from annotation.program import PROGRAMS
from annotation.score import SCORES
from annotation.set_configs import Balance, SplitConfig
from prox import units
from prox.errors import UserError

KEEP_CHUNK = "keep_chunk()"


def split(config: SplitConfig) -> dict[str, Any]:
    """Writes ``document_*.jsonl``, ``chunk_*.jsonl``, ``card.json`` and ``card.md``; returns counts."""
    scores = tables.read_rows(config.scores / SCORES)
    documents, duplicates = _document_examples(config, scores)
    if not documents:
        raise UserError(
            f"no document of {config.scores / SCORES} is in {config.documents}: give the artefact it was made from"
        )
    valid = _valid_ids(config, [row["id"] for row in documents])
    present = {row["id"] for row in documents}
    programs = tables.read_rows(config.programs / PROGRAMS)
    chunks = [
        {key: row[key] for key in ("id", "first_line", "text", "program")} for row in programs if row["id"] in present
    ]
    sets = {
        "document_train": _balanced(
            [r for r in documents if r["id"] not in valid], config.document_balance, config.seed, _kept
        ),
        "document_valid": [row for row in documents if row["id"] in valid],
        "chunk_train": _balanced(
            [r for r in chunks if r["id"] not in valid], config.chunk_balance, config.seed, _untouched
        ),
        "chunk_valid": [row for row in chunks if row["id"] in valid],
    }
    _require_examples(config, sets)
    for name, rows in sets.items():
        tables.write_rows(config.output / f"{name}.jsonl", rows)
    facts = card.describe(config, sets, scores, programs, duplicates)
    card.write(config.output, facts)
    return {"annotator": facts["annotator"]} | {name: len(rows) for name, rows in sets.items()}


def _require_examples(config: SplitConfig, sets: dict[str, list[tables.Row]]) -> None:
    """An empty set is a ``UserError``: it would fail only after a refiner has been trained."""
    if all(sets.values()):
        return
    counts = ", ".join(f"{name} {len(rows)}" for name, rows in sets.items())
    held_out = f"--num_valid {config.num_valid}" if config.num_valid >= 0 else f"--valid_share {config.valid_share}"
    balanced = "balanced" in (config.document_balance, config.chunk_balance)
    raise UserError(
        f"a set is empty ({counts}): annotate more documents, or change {held_out} (larger for an empty valid set, "
        "smaller for an empty train set)" + ("; `balanced` empties a set that lacks one class" if balanced else "")
    )


def _document_examples(config: SplitConfig, scores: list[tables.Row]) -> tuple[list[tables.Row], int]:
    """Examples of the document task, and how many documents were left out as copies of an earlier one.

    A copy under another id could land on the other side of the split.
    """
    decisions = {row["id"]: row["decision"] for row in scores}
    examples, seen = [], set()
    for document in seeds.chosen_documents(config.documents, set(decisions)):
        mark = units.source_hash(document.text)
        if mark not in seen:
            seen.add(mark)
            program = "keep_doc()" if decisions[document.id] == "keep" else "drop_doc()"
            examples.append({"id": document.id, "text": document.text, "program": program})
    return examples, len(decisions) - len(examples)


def _valid_ids(config: SplitConfig, ids: list[str]) -> set[str]:
    """Documents of the valid set. By share, adding documents never moves one that was there to the other side."""
    if config.num_valid >= 0:
        if config.num_valid >= len(ids):
            raise UserError(
                f"--num_valid {config.num_valid} leaves none of {len(ids)} documents to train on: give a smaller number"
            )
        return seeds.draw(ids, config.num_valid, config.seed, "valid")
    return {key for key in ids if seeds.random_rank(config.seed, "valid", key) < config.valid_share * 2**64}


def _kept(row: tables.Row) -> bool:
    return row["program"] == "keep_doc()"


def _untouched(row: tables.Row) -> bool:
    return row["program"] == KEEP_CHUNK


def _balanced(
    rows: list[tables.Row], balance: Balance, seed: int, label: Callable[[tables.Row], bool]
) -> list[tables.Row]:
    """The rows, the larger class cut at random to the size of the smaller one where that is asked for."""
    if balance == "natural":
        return rows
    keys = [journal.key_of(row["id"], row.get("first_line", 0)) for row in rows]
    classes = [[key for key, row in zip(keys, rows, strict=True) if label(row) == value] for value in (True, False)]
    size = min(len(members) for members in classes)
    chosen = set().union(*(seeds.draw(members, size, seed, "balance") for members in classes))
    return [row for key, row in zip(keys, rows, strict=True) if key in chosen]
