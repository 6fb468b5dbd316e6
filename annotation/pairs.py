"""The data sets of `split` out of pages that people have cleaned: before/after texts, or lines labelled as noise."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from datatrove.data import Document

from annotation import card, chunks, seeds, sets, tables
from annotation.labels import Cleaning, Unusable, chunk_programs, clean_by_lines, clean_by_pair, clean_by_teacher
from annotation.set_configs import PairsConfig
from prox import units
from prox.chunking import Chunk, split_into_chunks
from prox.errors import UserError
from prox.program import Program, render_program
from prox.progress import Progress
from prox.words import count_words

WITHOUT_MODEL = "No language model took part: programs are computed from what people have cleaned or labelled."
WITH_TEACHER = "Programs are computed from what people have labelled; beside them stand a teacher's probabilities."
WORK = "work"
"""Folder of the output that holds the examples while the sets are drawn."""


class Cleaner:
    """Turns documents into examples of both tasks, and keeps count."""

    def __init__(self, config: PairsConfig) -> None:
        self.config = config
        self.edits = card.EditCounts()
        self.counts: Counter[str] = Counter()
        self.unlabelled_too_few_words = 0
        """Of pages that only a teacher has judged."""
        self._extra = self._missing = 0.0
        self._count = chunks.line_counter(config.tokenizer, config.kind)

    def __call__(self, document: Document, has_teacher: bool) -> tuple[str, list[tables.Row]]:
        """(``keep_doc()`` or ``drop_doc()``, rows of its chunks).

        Raises:
            Unusable: the labels can't be used.
        """
        config = self.config
        if config.clean_column:
            cleaning = clean_by_pair(document, config)
        else:
            self.counts["with_ambiguous_column"] += config.ambiguous_lines_column in document.metadata
            columns = config.noise_lines_column, config.ambiguous_lines_column
            cleaning = (
                clean_by_teacher(document, config.teacher_column, *columns)
                if has_teacher
                else clean_by_lines(document, *columns)
            )
            self.counts["with_teacher"] += bool(cleaning.teacher)
        is_labelled = not (has_teacher and self.lacks_labels(document))
        if cleaning.clean_words < config.min_clean_words:
            self.counts["too_few_words"] += is_labelled
            self.unlabelled_too_few_words += not is_labelled
            return tables.DROP_DOC, []
        numbered = config.kind == "generative"
        parts = split_into_chunks(document.text, config.window, self._count, config.max_line_characters, numbered)
        programs = dict(zip(parts, chunk_programs(cleaning, parts), strict=True))
        if is_labelled:
            self._add(document.text, cleaning)
        drawn = chunks.draw_of_document(document.id, parts, config.max_chunks_per_document, config.seed)
        rows = [_chunk_row(document.id, chunk, programs[chunk], cleaning) for chunk in drawn.values()]
        if is_labelled:
            skipped = sum(chunk.skipped for chunk in parts)
            self.counts.update(skipped=skipped, not_drawn=len(parts) - skipped - len(drawn))
            for row in rows:
                self.edits.add(row)
        return tables.KEEP_DOC, rows

    def lacks_labels(self, document: Document) -> bool:
        """Whether nobody has labelled its lines."""
        return document.metadata.get(self.config.noise_lines_column) is None

    def _add(self, text: str, cleaning: Cleaning) -> None:
        words = count_words(text)
        self.counts.update(
            cleaned=1,
            lines=text.count("\n") + 1,
            noise_lines=sum(call.line_end - call.line_start + 1 for call in cleaning.removals),
            ambiguous_lines=len(cleaning.ambiguous),
            words=words,
            removed_words=words - count_words(cleaning.text),
            exact=cleaning.is_exact,
            left_out=cleaning.num_left_out,
        )
        self._extra += cleaning.extra_share
        self._missing += cleaning.missing_share

    def document_facts(self) -> dict[str, Any]:
        """The card's lines about the documents that are kept and cleaned."""
        counts = self.counts
        facts = {
            "noise_line_share": card.share(counts["noise_lines"], counts["lines"]),
            "ambiguous_line_share": card.share(counts["ambiguous_lines"], counts["lines"]),
            "removed_word_share": card.share(counts["removed_words"], counts["words"]),
        }
        if self.config.teacher_column:
            facts["judged_by_a_teacher"] = counts["with_teacher"]
        if self.config.clean_column:
            del facts["ambiguous_line_share"]
            facts |= {
                "mean_extra_word_share": card.share(self._extra, counts["cleaned"]),
                "mean_missing_word_share": card.share(self._missing, counts["cleaned"]),
                "same_characters_as_the_clean_text_share": card.share(counts["exact"], counts["cleaned"]),
                "strings_left_for_want_of_a_safe_call": counts["left_out"],
            }
        return facts


def _chunk_row(document_id: str, chunk: Chunk, program: Program, cleaning: Cleaning) -> tables.Row:
    row: tables.Row = {
        "id": document_id,
        "first_line": chunk.first_line,
        "text": chunk.text,
        "program": render_program(program.operations),
    }
    if cleaning.ambiguous:
        numbers = [number for number in range(chunk.first_line, chunk.end_line) if number in cleaning.ambiguous]
        row |= {"ambiguous_lines": numbers} if numbers else {}
    if cleaning.teacher:
        row["teacher"] = list(cleaning.teacher[chunk.first_line : chunk.end_line])
    return row


class Reader:
    """Walks through all documents once: examples go to files in ``folder``, labels and counts stay."""

    def __init__(self, config: PairsConfig, folder: Path) -> None:
        self.config = config
        self.paths = {task: folder / f"{task}s.jsonl" for task in sets.TASKS}
        self.cleaner = Cleaner(config)
        self.pages: list[sets.Page] = []
        self.unlabelled: list[sets.Page] = []
        """Those that only a teacher has judged; their chunks teach, and nothing is measured by them."""
        self.chunks: list[sets.ChunkLabel] = []
        self.counts: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()
        self.aside: Counter[str] = Counter()
        self.unlabelled_aside = 0
        self._texts: set[str] = set()
        self._ids: set[str] = set()

    def sources(self) -> list[tuple[str, Path, sets.Side | None]]:
        """(option, artefact, side) in reading order. The valid ones come first: a page that is there too leaves the
        train sets, so that these never change what the valid sets measure.
        """
        config = self.config
        found: list[tuple[str, Path | None, sets.Side | None]] = [
            ("valid_documents", config.valid_documents, "valid"),
            ("documents", config.documents, "train" if config.valid_documents else None),
            ("drop_documents", config.drop_documents, None),
        ]
        return [(name, path, side) for name, path, side in found if path is not None]

    def read(self) -> None:
        """Reads all sources."""
        total = sum(seeds.count_documents(path)[0] for _, path, _ in self.sources())
        with (
            Progress(f"programs from {self.config.annotator()}", total, "documents") as progress,
            tables.RowWriter(self.paths["document"]) as document_rows,
            tables.RowWriter(self.paths["chunk"]) as chunk_rows,
            tables.RowWriter(self.config.output / tables.ASIDE) as aside_rows,
        ):
            for source, path, side in self.sources():
                for document in units.iterate_documents(path):
                    self.counts[source] += 1
                    try:
                        self._read(document, source, side, document_rows, chunk_rows)
                    except Unusable as reason:
                        if self._lacks_labels(document, source):
                            self.unlabelled_aside += 1
                        else:
                            self.aside[card.kind_of(str(reason))] += 1
                        aside_rows.add({"id": document.id, "source": source, "reason": str(reason)})
                    progress.advance()

    def _read(
        self,
        document: Document,
        source: str,
        side: sets.Side | None,
        document_rows: tables.RowWriter,
        chunk_rows: tables.RowWriter,
    ) -> None:
        mark = units.source_hash(document.text)
        if mark in self._texts:
            self.copies[source] += 1
            return
        document.id = units.unique_id(document.id, self._ids)
        has_teacher = self._has_teacher(source)
        program, chunks = (tables.DROP_DOC, []) if source == "drop_documents" else self.cleaner(document, has_teacher)
        # Not before: the copy of a document that went aside may have better labels.
        self._texts.add(mark)
        self._ids.add(document.id)
        domain = sets.domain_of(document.metadata.get(self.config.url_column))
        page = sets.Page(document.id, program, domain, side)
        if self._lacks_labels(document, source):
            self.unlabelled.append(page)
        else:
            self.pages.append(page)
            document_rows.add({"id": document.id, "text": document.text, "program": program})
        for row in chunks:
            self.chunks.append(sets.ChunkLabel(row["id"], row["first_line"], row["program"] == tables.KEEP_CHUNK))
            chunk_rows.add(row)

    def _has_teacher(self, source: str) -> bool:
        return source == "documents" and bool(self.config.teacher_column)

    def _lacks_labels(self, document: Document, source: str) -> bool:
        """Whether nobody but a teacher can have said something of its lines."""
        return self._has_teacher(source) and self.cleaner.lacks_labels(document)


def pairs(config: PairsConfig) -> dict[str, Any]:
    """Writes the four sets, ``aside.jsonl``, ``card.json`` and ``card.md``; returns counts."""
    work = config.output / WORK
    work.mkdir(exist_ok=True)
    try:
        reader = Reader(config, work)
        reader.read()
        if not reader.cleaner.counts["cleaned"]:
            raise UserError(_nothing_kept(config, reader))
        if config.ambiguous_lines_column and not reader.cleaner.counts["with_ambiguous_column"]:
            raise UserError(
                f"--ambiguous_lines_column {config.ambiguous_lines_column!r}: no document of {config.documents} has it "
                "in its metadata: correct the name, or leave it out"
            )
        if config.teacher_column and not reader.cleaner.counts["with_teacher"]:
            raise UserError(
                f"--teacher_column {config.teacher_column!r}: no document of {config.documents} has it: "
                "give the output of annotation trees, correct the name, or leave it out"
            )
        members, facts = _make_sets(config, reader)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    card.write(config.output, facts)
    return {"annotator": config.annotator(), "aside": reader.aside.total() + reader.unlabelled_aside} | {
        name: len(keys) for name, keys in members.items()
    }


def _nothing_kept(config: PairsConfig, reader: Reader) -> str:
    reasons = reader.aside | {
        "fewer words than min_clean_words": reader.cleaner.counts["too_few_words"],
        "without labels": len(reader.unlabelled) + reader.unlabelled_aside,
    }
    counts = ", ".join(f"{name} {count}" for name, count in sorted(reasons.items()) if count)
    column = config.clean_column or config.noise_lines_column
    return (
        f"no document of {config.documents} can be kept ({counts or 'it holds none'}): correct the column of the "
        f"labels ({column!r}), or see {config.output / tables.ASIDE}"
    )


def _make_sets(config: PairsConfig, reader: Reader) -> tuple[sets.Members, dict[str, Any]]:
    """Draws and writes the sets; (which examples they hold, the facts of the card)."""
    sides = sets.assign_sides(config, reader.pages)
    num_without_side = len(reader.pages) - len(sides)
    held_out = {page.domain for page in reader.pages if sides.get(page.id) == "valid" and page.domain}
    kept = [page for page in reader.unlabelled if page.program == tables.KEEP_DOC]
    taught = [page for page in kept if config.split_by == "document" or page.domain not in held_out]
    sides |= {page.id: "train" for page in taught}
    num_held_out = len(kept) - len(taught)
    members = sets.draw_sets(config, reader.pages, sides, reader.chunks)
    domains = {page.id: page.domain for page in [*reader.pages, *reader.unlabelled]}
    rows = {task: tables.iterate_rows(path) for task, path in reader.paths.items()}
    written = sets.write_sets(config.output, members, domains, rows["document"], rows["chunk"])
    counts = reader.cleaner.counts
    facts = {
        "annotator": config.annotator(),
        "note": WITH_TEACHER if config.teacher_column else WITHOUT_MODEL,
        "seed": config.seed,
        "split_by": config.split_by,
        "documents": _document_facts(config, reader, num_without_side)
        | _unlabelled_facts(config, reader, members, num_held_out),
        "chunks": {
            **reader.cleaner.edits.facts(),
            **({"max_line_characters": config.max_line_characters} if config.max_line_characters else {}),
            "cut_for": config.kind,
            "skipped_as_longer_than_the_window": counts["skipped"],
            "left_out_by_max_chunks_per_document": counts["not_drawn"],
        },
        **written,
    }
    return members, facts


def _unlabelled_facts(config: PairsConfig, reader: Reader, members: sets.Members, num_held_out: int) -> dict[str, Any]:
    """The card's lines about pages that only a teacher has judged, which are in no count of labels, chunks or edits."""
    if not config.teacher_column:
        return {}
    aside = reader.unlabelled_aside
    taught = {key[0] for key in members["chunk_train"]} & {page.id for page in reader.unlabelled}
    return {
        "taught_by_the_teacher_alone": len(taught),
        "without_labels": len(reader.unlabelled) + aside,
        "without_labels_and_set_aside": aside,
        "without_labels_and_dropped_for_fewer_words": reader.cleaner.unlabelled_too_few_words,
        "without_labels_and_left_out_with_a_domain_of_the_valid_side": num_held_out,
    }


def _document_facts(config: PairsConfig, reader: Reader, num_without_side: int) -> dict[str, Any]:
    kept = sum(page.program == tables.KEEP_DOC for page in reader.pages)
    facts = {
        **{f"read_from_{source}": reader.counts[source] for source, *_ in reader.sources()},
        "examples": len(reader.pages),
        "kept_share": card.share(kept, len(reader.pages)),
        "dropped_for_fewer_words_than_min_clean_words": reader.cleaner.counts["too_few_words"],
        "left_out_as_copies": reader.copies.total(),
    }
    if config.split_by == "domain" and config.valid_documents:
        facts["left_out_with_a_domain_of_the_valid_side"] = num_without_side
    facts |= reader.cleaner.document_facts() | card.rejected(reader.aside, len(reader.pages))
    return facts | {"copies_by_source": card.shares(reader.copies, reader.counts.total())}
