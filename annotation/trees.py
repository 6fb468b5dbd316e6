"""`annotation trees`: a second opinion of every line of labelled pages, and a first one of pages without labels.

The labels of some hundred pages teach boosted trees in minutes (``annotation.line_trees``). What these say of a line
is a teacher for a tagger (`pairs --teacher_column`, `adaptation train --teacher_weight`): softer than a label, and had
for any page.

The labelled pages are the first unit, each unit of pages without labels is one more. A rerun keeps the finished ones.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from datatrove.data import Document

from annotation import seeds, sets, tables
from annotation.card import kind_of
from annotation.labels import Unusable, labelled_lines
from annotation.line_trees import FOLDS, LineTrees
from annotation.set_configs import TreesConfig
from prox import units
from prox.errors import UserError
from prox.logs import log_once
from prox.progress import Progress

DECIMALS = 4


@dataclass(frozen=True)
class LabelledDocument:
    """A document with its labels, as the trees read it (``annotation.line_trees.LabelledPage``)."""

    document: Document
    noise: frozenset[int]
    ambiguous: frozenset[int]

    @property
    def lines(self) -> list[str]:
        """Its text, cut at its line feeds."""
        return self.document.text.split("\n")

    @property
    def counted(self) -> list[int]:
        """Numbers of the lines that have a label."""
        return [number for number in range(len(self.lines)) if number not in self.ambiguous]


def trees(config: TreesConfig) -> dict[str, Any]:
    """Writes the documents anew, the probabilities in their metadata, and ``aside.jsonl``; returns counts."""
    assert config.documents is not None
    aside: Counter[str] = Counter()
    with tables.RowWriter(config.output / tables.ASIDE) as aside_rows:
        pages = list(_read(config, aside, aside_rows))
    if len(pages) < FOLDS or len({number in page.noise for page in pages for number in page.counted}) < 2:
        raise UserError(
            f"{config.documents} holds {len(pages)} documents whose labels can be read (set aside: {dict(aside)}): the "
            f"trees need {FOLDS} or more, with noise and content among their lines"
        )
    sites = [sets.domain_of(page.document.metadata.get(config.url_column)) or page.document.id for page in pages]
    model = LineTrees(pages, config.seed, sites)
    first = config.output / units.DOCUMENTS / units.unit_name(0)
    if not first.is_file():
        judged = zip(pages, model.probabilities_out_of_fold(), strict=True)
        rows = (_row(page.document, probabilities, config.teacher_column) for page, probabilities in judged)
        units.write_unit(first, rows, units.DOCUMENT_SCHEMA)
    unlabelled = _judge_unlabelled(config, model, {page.document.id for page in pages})
    return {"labelled": len(pages), "unlabelled": unlabelled, "aside": aside.total()}


def _judge_unlabelled(config: TreesConfig, model: LineTrees, ids: set[str]) -> int:
    """Judges the documents without labels, unit by unit; returns their number.

    An id that is in ``ids``, of another artefact, gets a suffix.
    """
    if config.unlabelled_documents is None:
        return 0
    sources = units.unit_files(config.unlabelled_documents)
    total, _ = seeds.count_documents(config.unlabelled_documents)
    with Progress("lines of documents without labels", total, "documents") as progress:
        for number, source in enumerate(sources, 1):
            target = config.output / units.DOCUMENTS / units.unit_name(number)
            if target.is_file():
                finished = [document.id for document in units.read_documents(target)]
                ids.update(finished)
                progress.advance(len(finished))
                continue
            with units.UnitFile(target, units.DOCUMENT_SCHEMA) as file:
                for document in units.read_documents(source):
                    document.id = units.unique_id(document.id, ids)
                    ids.add(document.id)
                    file.add(_row(document, model.probabilities(document.text.split("\n")), config.teacher_column))
                    progress.advance()
                file.commit()
    return total


def _read(config: TreesConfig, aside: Counter[str], rows: tables.RowWriter) -> Iterator[LabelledDocument]:
    """The documents whose labels can be read; the others go aside."""
    assert config.documents is not None
    for document in units.iterate_documents(config.documents):
        try:
            labels = labelled_lines(document, config.noise_lines_column, config.ambiguous_lines_column)
        except Unusable as reason:
            aside[kind_of(str(reason))] += 1
            rows.add({"id": document.id, "reason": str(reason)})
            continue
        yield LabelledDocument(document, *labels)


def _row(document: Document, probabilities: np.ndarray, column: str) -> dict[str, str]:
    if column in document.metadata:
        log_once(f"annotation trees: what the documents have under {column!r} is replaced", logging.WARNING)
    document.metadata[column] = np.round(probabilities.astype(float), DECIMALS).tolist()
    return units.document_row(document)
