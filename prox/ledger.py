"""The program ledger: one row a document, from which, with the source, the refined text can be made again.

A row holds what was generated and what became of it, and no text of the document but what programs quote: source and
refined text are told by their hashes. Replaying a row needs no model, and may go by other guards.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from prox.answers import is_cut_off, read_program
from prox.assembly import DocumentGuards, RefinedDocument, refine_document
from prox.chunking import Chunk
from prox.engines import Completion, Failure
from prox.errors import UserError
from prox.executor import CallResult, Guards
from prox.program import SIGNATURES, Fault, Program, Style
from prox.units import source_hash

_CALL = pa.struct(
    [
        ("call", pa.string()),  # name of the call; of a fault the reason
        ("status", pa.string()),
        ("count", pa.int64()),  # lines removed, or replacements made
    ]
)
_CHUNK = pa.struct(
    [
        ("first_line", pa.int64()),
        ("num_lines", pa.int64()),
        ("skipped", pa.bool_()),  # no refiner saw it
        ("skip_reason", pa.string()),  # longer_than_window | language_not_taught | mostly_not_shown
        ("failure", pa.string()),  # why the refiner gave no answer
        ("program", pa.string()),  # as generated
        ("finish_reason", pa.string()),  # stop | length | loop
        ("cut_off", pa.bool_()),  # the answer ends within a line, which is not run
        ("prompt_tokens", pa.int64()),  # of the refiner's tokenizer, as read and generated
        ("answer_tokens", pa.int64()),
        ("line_probabilities", pa.list_(pa.float32())),  # of removal, each line; a tagger's, else null
        ("verdict", pa.string()),
        ("reason", pa.string()),  # the guard that decided
        ("calls", pa.list_(_CALL)),  # in the order of the program, faults last
    ]
)
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source_hash", pa.string()),
        ("refined_hash", pa.string()),  # null when dropped
        ("verdict", pa.string()),  # unchanged | edited | rejected | failed | dropped
        ("reason", pa.string()),  # the document guard that decided, or the failure
        ("style", pa.string()),  # how the programs are written: calls | compact
        ("chunks", pa.list_(_CHUNK)),
    ]
)

Row = Mapping[str, Any]

_NAMES = {signature.operation: signature.names[0] for signature in SIGNATURES}


def chunk_row(chunk: Chunk, answer: Completion | Failure | None, prompt_tokens: int = 0) -> dict[str, Any]:
    """What is recorded of a chunk before its program is run; ``answer`` is None where no refiner was asked."""
    said = answer if isinstance(answer, Completion) else None
    return {
        "first_line": chunk.first_line,
        "num_lines": chunk.text.count("\n") + 1,
        "skipped": answer is None,
        "skip_reason": chunk.skip_reason if answer is None else None,
        "failure": answer.reason if isinstance(answer, Failure) else None,
        "program": said.text if said else "",
        "finish_reason": said and said.finish_reason,
        "cut_off": said is not None and is_cut_off(said),
        "prompt_tokens": prompt_tokens,
        "answer_tokens": said.num_tokens if said else 0,
        "line_probabilities": said and said.line_probabilities,
    }


def _program_of(row: Row, style: Style) -> Program | Failure | None:
    if row["failure"] is not None:
        return Failure(row["failure"])
    return None if row["skipped"] else read_program(row["program"], style, row["cut_off"])


def replay(
    text: str, style: Style, chunks: Sequence[Row], guards: Guards, document_guards: DocumentGuards
) -> RefinedDocument:
    """Runs the recorded programs of a document on its source.

    ``chunks`` are rows of ``chunk_row``, in order. The chunk stage itself runs programs through here, so that a replay
    under the same guards can't differ. Raises ``UserError`` where the chunks don't span the text.
    """
    lines = text.split("\n")
    programs: list[tuple[Chunk, Program | Failure | None]] = []
    position = 0
    for row in chunks:
        end = position + row["num_lines"]
        if row["first_line"] != position or end > len(lines):
            break
        chunk = Chunk(position, "\n".join(lines[position:end]), row["skipped"])
        if row["skip_reason"] is not None:
            chunk = replace(chunk, skip_reason=row["skip_reason"])
        programs.append((chunk, _program_of(row, style)))
        position = end
    if position != len(lines):
        raise UserError(
            f"the ledger's chunks span {position} of the document's {len(lines)} lines: it was written for another text"
        )
    return refine_document(text, programs, guards, document_guards)


def document_row(
    identity: str, text: str, style: Style, chunks: Sequence[Row], refined: RefinedDocument
) -> dict[str, Any]:
    """The ledger's row of one document."""
    return {
        "id": identity,
        "source_hash": source_hash(text),
        "refined_hash": None if refined.verdict == "dropped" else source_hash(refined.text),
        "verdict": refined.verdict,
        "reason": refined.reason,
        "style": style,
        "chunks": [
            {
                **chunk,
                "verdict": execution.verdict,
                "reason": execution.reason,
                "calls": [_call_row(call) for call in execution.calls],
            }
            for chunk, execution in zip(chunks, refined.executions, strict=True)
        ],
    }


def _call_row(result: CallResult) -> dict[str, Any]:
    operation = result.operation
    name = operation.reason if isinstance(operation, Fault) else _NAMES[type(operation)]
    return {"call": name, "status": result.status, "count": result.count}


def count_rows(rows: Iterable[Row]) -> dict[str, dict[str, int]]:
    """Counts over a ledger: documents and chunks by verdict, the guards that decided, calls by name and status."""
    names = ("documents", "chunks", "guards", "calls", "statuses", "programs")
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    for row in rows:
        counts["documents"][row["verdict"]] += 1
        if row["reason"] and row["verdict"] != "failed":  # a failure's reason is no guard's name
            counts["guards"][f"document: {row['reason']}"] += 1
        for chunk in row["chunks"]:
            counts["chunks"][chunk["verdict"]] += 1
            counts["guards"][chunk["reason"]] += bool(chunk["reason"]) and chunk["failure"] is None
            counts["statuses"].update(call["status"] for call in chunk["calls"])
            counts["calls"].update(call["call"] for call in chunk["calls"] if call["status"] != "fault")
            counts["programs"].update(flag for flag in ("skipped", "cut_off") if chunk[flag])
            counts["programs"]["failed"] += chunk["failure"] is not None
            counts["programs"]["loop"] += chunk["finish_reason"] == "loop"
            # Neither a call nor a fault, for example nothing but line breaks: not the same as keep_chunk().
            counts["programs"]["empty"] += not chunk["calls"] and chunk["finish_reason"] is not None
    return {name: dict(+counter) for name, counter in counts.items()}
