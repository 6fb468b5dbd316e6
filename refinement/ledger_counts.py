"""What a ledger says of one unit: decisions, calls and their fate, tokens read and generated, what was taken out."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from prox import ledger
from prox.answers import read_program
from prox.errors import UserError
from prox.operations import Normalize, RemoveLines, render_program
from prox.units import check_columns, read_rows, source_hash
from refinement.document import LEDGER_SCHEMA as DOCUMENT_LEDGER
from refinement.frequent import Frequent

FREQUENT = ("removed_lines", "replaced_strings", "unreadable_calls")
# Statuses of calls that changed the text.
DONE = ("applied", "clipped")
# Longer items are told by their beginning and a hash: one line may be as long as a file.
LONGEST_ITEM = 300

Counts = dict[str, Any]


def count_ledger(path: Path, source: Path | None, frequent: Mapping[str, Frequent]) -> Counts:
    """Counts of one ledger unit, chunk or document stage; empty for a ledger of another kind.

    ``source`` is the unit the step read; without it removed lines stay uncounted, for the ledger holds no text.
    ``read`` and ``generated`` are tokens of the refiner's own tokenizer: prompts, and answers with their ends.
    Raises ``UserError`` where ledger and source don't belong together.
    """
    columns = pq.read_schema(path).names
    if "chunks" in columns:
        check_columns(path, ledger.SCHEMA)
        return _Chunks(frequent).count(path, source)
    if "decision" in columns:
        check_columns(path, DOCUMENT_LEDGER)
        return _count_documents(path)
    return {}


def _count_documents(path: Path) -> Counts:
    decisions: Counter[str] = Counter()
    flags: Counter[str] = Counter()
    tokens: Counter[str] = Counter(read=0, generated=0)
    for row in read_rows(path):
        decisions[row["decision"]] += 1
        flags["unreadable"] += not row["readable"]
        flags["truncated"] += row["truncated"]
        flags["failed"] += row["failure"] is not None
        if row["failure"] is None:
            tokens.update(read=row["prompt_tokens"], generated=row["answer_tokens"])
    return {"documents": dict(decisions), "programs": dict(flags), **tokens}


class _Chunks:
    """Counts a unit of a chunk ledger, one row at a time."""

    def __init__(self, frequent: Mapping[str, Frequent]) -> None:
        self.frequent = frequent
        self.calls: dict[str, Counter[str]] = {}
        self.edits: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter(read=0, generated=0)

    def count(self, path: Path, source: Path | None) -> Counts:
        counts: Counts = ledger.count_rows(self._watch(path, source))
        return counts | {
            "calls_by_status": {name: dict(statuses) for name, statuses in self.calls.items()},
            "edits": dict(self.edits),
            **self.tokens,
        }

    def _watch(self, path: Path, source: Path | None) -> Iterator[ledger.Row]:
        """Passes the rows on, after looking at each."""
        documents = read_rows(source) if source is not None else None
        for row in read_rows(path):
            text = None
            if documents is not None:
                document = next(documents, {"id": None, "text": ""})
                text = document["text"]
                if document["id"] != row["id"] or source_hash(text) != row["source_hash"]:
                    raise UserError(
                        f"{path} was not written for the documents now in {source}: run the step that wrote it again"
                    )
            self._look_at(row, text)
            yield row

    def _look_at(self, row: ledger.Row, text: str | None) -> None:
        removed: set[int] = set()
        for chunk in row["chunks"]:
            for call in chunk["calls"]:
                is_fault = call["status"] == "fault"
                name = "unreadable" if is_fault else call["call"]
                self.calls.setdefault(name, Counter())[call["status"]] += 1
                if is_fault:
                    self.frequent["unreadable_calls"].add(_short(call["call"]), 1, row["id"])
            if chunk["finish_reason"] is None:  # no answer
                continue
            self.tokens.update(read=chunk["prompt_tokens"], generated=chunk["answer_tokens"])
            if row["verdict"] in ("edited", "dropped") and chunk["verdict"] in ("edited", "removed"):
                removed.update(self._removed(row, chunk))
        if not removed:
            return
        self.edits[f"lines_removed_of_{row['verdict']}_documents"] += len(removed)
        if text is None:
            return
        lines = text.split("\n")
        for number in sorted(removed):
            line = lines[number].strip()
            self.edits["blank_lines_removed"] += not line
            if line:
                self.frequent["removed_lines"].add(_short(line), 1, row["id"])

    def _removed(self, row: ledger.Row, chunk: ledger.Row) -> set[int]:
        """Numbers of the chunk's lines that are gone from the document; counts the replacements on the way."""
        program = read_program(chunk["program"], row["style"], chunk["cut_off"])
        if len(chunk["calls"]) != len(program.operations) + len(program.faults):
            raise UserError(
                f"the ledger of document {row['id']!r} was written by another version of the language: "
                "run `python -m refinement replay` on it, and give its output as the arm"
            )
        first, end = chunk["first_line"], chunk["first_line"] + chunk["num_lines"]
        removed = set(range(first, end)) if chunk["verdict"] == "removed" else set()
        for operation, call in zip(program.operations, chunk["calls"], strict=False):  # faults stand last
            if call["status"] not in DONE:
                continue
            if isinstance(operation, RemoveLines):
                removed.update(range(max(operation.line_start, first), min(operation.line_end + 1, end)))
            elif isinstance(operation, Normalize):
                self.edits["strings_replaced"] += call["count"]
                item = render_program([operation], "compact")  # "source", or "source" -> "target"
                self.frequent["replaced_strings"].add(_short(item), call["count"], row["id"])
        return removed


def _short(item: str) -> str:
    """An item as it is counted: over-long ones as their beginning, their length and a hash of the whole."""
    if len(item) <= LONGEST_ITEM:
        return item
    mark = hashlib.blake2b(item.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{item[:LONGEST_ITEM]}... ({len(item):,} characters, {mark})"
