"""A second annotator (paper, A.1: Llama-3.1-405B-Instruct with one prompt for all noise).

Asked for everything at once it removes too much, so only the head and the tail of its programs is kept, and merged into
the first annotator's. Chunks in the middle of a document are not asked about.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from annotation import merging, seeds, tables
from annotation.annotate import USAGE, annotate
from annotation.annotators import Request, load_annotator
from annotation.asking import Outcome, Unreadable
from annotation.configs import ProgramConfig
from annotation.program import PROGRAMS, Programmer, chunk_requests
from annotation.tables import Row
from prox import artifact
from prox.errors import UserError
from prox.program import parse_program, render_program


@dataclass(frozen=True)
class EdgeChunk:
    """A row of the first annotator, and whether its chunk begins or ends the document."""

    row: Row
    is_head: bool
    is_tail: bool


class SecondProgrammer(Programmer):
    """Adds head and tail of the annotator's programs to rows that have a program already."""

    def requests(self, item: EdgeChunk) -> list[Request]:
        """See ``Job.requests``: none in the middle of a document."""
        if not (item.is_head or item.is_tail):
            return []
        return chunk_requests(self.prompts, item.row["text"], item.row["first_line"])

    def row(self, item: EdgeChunk, outcomes: Sequence[Outcome]) -> Row:
        """See ``Job.row``. Where the second annotator is of no use the first one's program stands, with the reason."""
        if not outcomes:
            return self._count(item.row, "inner")
        answers = {task: outcome.answer for task, outcome in zip(self.prompts, outcomes, strict=True)}
        second: Row = {"answers": answers, **self.attribution}
        try:
            program, facts = self._merged(item, outcomes)
        except Unreadable as reason:
            return self._count(item.row | {"second": second | {"reason": str(reason)}}, "first_alone")
        row = item.row | {"program": program, "second": second | {"merged": facts}}
        return self._count(row, "extended" if program != item.row["program"] else "same")

    def _count(self, row: Row, what: str) -> Row:
        if "reason" not in row:
            self.counts[what] += 1
            self.counts["untouched"] += row["program"] == tables.KEEP_CHUNK
        return row

    def _merged(self, item: EdgeChunk, outcomes: Sequence[Outcome]) -> tuple[str, Row]:
        for outcome in outcomes:
            if outcome.value is None:
                raise Unreadable(outcome.reason)
        text, first_line = item.row["text"], item.row["first_line"]
        edges = [
            merging.head_and_tail(
                outcome.value, text, first_line, self.config.edge_gap, head=item.is_head, tail=item.is_tail
            )
            for outcome in outcomes
        ]
        merged = merging.merge([parse_program(item.row["program"]), *edges], text, first_line)
        merging.check(merged.program, text, first_line, self.config.max_removed_share)
        return render_program(merged.program.operations), merged.facts()


def merge_edges(config: ProgramConfig) -> dict[str, Any]:
    """Merges a second annotator's head and tail into an earlier artefact of `program`; returns counts."""
    first = config.merge_into
    annotator = load_annotator(config.annotator, config.engine, config.batch_size)
    programmer = SecondProgrammer(config, annotator)
    edges = EdgeChunks(config)
    summary = annotate(config, PROGRAMS, "chunks", annotator, programmer, edges, edges.num_rows)
    if (first / USAGE).is_file() and (config.output / USAGE).is_file():
        usage = artifact.read_json(config.output / USAGE)
        artifact.write_json(config.output / USAGE, usage | {"first": artifact.read_json(first / USAGE)})
    counts = programmer.counts
    untouched = counts.pop("untouched")
    return {
        "annotator": annotator.name,
        "edited": edges.num_programs - untouched,
        "untouched": untouched,
        **counts,
        **summary,
    }


class EdgeChunks:
    """The first annotator's rows, those that are aside included, each with its place in its document.

    Ids and numbers of lines are held, rows are read again.
    """

    def __init__(self, config: ProgramConfig) -> None:
        self.config = config
        ids = [row["id"] for row in tables.iterate_rows(config.merge_into / PROGRAMS)]
        self.num_programs = len(ids)
        self.num_rows = len(ids) + sum(1 for _ in tables.iterate_rows(config.merge_into / tables.ASIDE))
        self._num_lines = {
            document.id: document.text.count("\n") + 1
            for document in seeds.chosen_documents(config.documents, set(ids))
        }

    def __iter__(self) -> Iterator[EdgeChunk]:
        for row in tables.iterate_rows(self.config.merge_into / PROGRAMS):
            if row["id"] not in self._num_lines:
                raise UserError(
                    f"{self.config.documents} has no document {row['id']!r} of {self.config.merge_into / PROGRAMS}: "
                    "give the documents that it was made from"
                )
            end = row["first_line"] + row["text"].count("\n") + 1
            yield EdgeChunk(row, row["first_line"] == 0, end == self._num_lines[row["id"]])
        for row in tables.iterate_rows(self.config.merge_into / tables.ASIDE):
            yield EdgeChunk(row, is_head=False, is_tail=False)
