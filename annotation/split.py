"""Train and valid sets for the two refiners out of scores and programs, and the card that describes them."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from annotation import card, seeds, sets, tables
from annotation.annotate import USAGE
from annotation.program import PROGRAMS
from annotation.score import SCORES
from annotation.set_configs import SplitConfig
from prox import artifact, units
from prox.errors import UserError

CHUNK_FIELDS = ("id", "first_line", "text", "program")


class _Scores:
    """The decisions of an annotation, and what its card says of the scores."""

    def __init__(self, config: SplitConfig, sources: card.Sources) -> None:
        self.decisions: dict[str, str] = {}
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in ("rule", "edu_score", "format_score")}
        for row in tables.iterate_rows(config.scores / SCORES):
            self.decisions[row["id"]] = row["decision"]
            for name, counter in self.counts.items():
                counter[str(row[name])] += 1
            sources.add(row)
        self.aside = Counter(card.kind_of(row["reason"]) for row in tables.iterate_rows(config.scores / tables.ASIDE))

    def facts(self, copies: int, missing: int) -> dict[str, Any]:
        """The card's part about documents."""
        kept = sum(decision == "keep" for decision in self.decisions.values())
        return {
            "scored": len(self.decisions),
            "kept_share": card.share(kept, len(self.decisions)),
            "left_out_as_copies": copies,
            **({"left_out_as_not_among_the_documents": missing} if missing else {}),
            **card.rejected(self.aside, len(self.decisions)),
            "by_rule": card.shares(self.counts["rule"]),
            "educational_scores": card.histogram(self.counts["edu_score"]),
            "format_scores": card.histogram(self.counts["format_score"]),
        }


def split(config: SplitConfig) -> dict[str, Any]:
    """Writes ``document_*.jsonl``, ``chunk_*.jsonl``, ``card.json`` and ``card.md``; returns counts."""
    sources = card.Sources()
    scores = _Scores(config, sources)
    pages, copies = _pages(config, scores.decisions)
    if not pages:
        raise UserError(
            f"no document of {config.scores / SCORES} is in {config.documents}: give the artefact it was made from"
        )
    edits, chunks = card.EditCounts(), []
    for row in tables.iterate_rows(config.programs / PROGRAMS):
        edits.add(row)
        sources.add(row)
        chunks.append(sets.ChunkLabel(row["id"], row["first_line"], row["program"] == tables.KEEP_CHUNK))
    aside = Counter(card.kind_of(row["reason"]) for row in tables.iterate_rows(config.programs / tables.ASIDE))
    members = sets.draw_sets(config, pages, sets.assign_sides(config, pages), chunks)
    domains = {page.id: page.domain for page in pages}
    written = sets.write_sets(config.output, members, domains, _document_rows(config, pages), _chunk_rows(config))
    facts = {
        "annotator": sources.annotator(),
        "prompts": sources.prompts(),
        "spending": _spending(config),
        "seed": config.seed,
        "split_by": config.split_by,
        "documents": scores.facts(copies, len(scores.decisions) - len(pages) - copies),
        "chunks": {**edits.facts(), **card.rejected(aside, edits.programs)},
        **written,
    }
    card.write(config.output, facts)
    return {"annotator": facts["annotator"]} | {name: len(keys) for name, keys in members.items()}


def _spending(config: SplitConfig) -> dict[str, Any]:
    """Tokens and cost of both steps, where a language model annotated."""
    usage = {"scores": config.scores / USAGE, "programs": config.programs / USAGE}
    return {step: artifact.read_json(path) for step, path in usage.items() if path.is_file()}


def _pages(config: SplitConfig, decisions: dict[str, str]) -> tuple[list[sets.Page], int]:
    """The scored documents, but copies of an earlier one (under another id one could land on the other side), and how
    many copies there are.
    """
    pages, seen, copies = [], set(), 0
    for document in seeds.chosen_documents(config.documents, set(decisions)):
        mark = units.source_hash(document.text)
        if mark in seen:
            copies += 1
        else:
            seen.add(mark)
            program = tables.KEEP_DOC if decisions[document.id] == "keep" else tables.DROP_DOC
            domain = sets.domain_of(document.metadata.get(config.url_column))
            pages.append(sets.Page(document.id, program, domain))
    return pages, copies


def _document_rows(config: SplitConfig, pages: list[sets.Page]) -> Iterator[tables.Row]:
    programs = {page.id: page.program for page in pages}
    for document in seeds.chosen_documents(config.documents, set(programs)):
        yield {"id": document.id, "text": document.text, "program": programs[document.id]}


def _chunk_rows(config: SplitConfig) -> Iterator[tables.Row]:
    for row in tables.iterate_rows(config.programs / PROGRAMS):
        yield {name: row[name] for name in CHUNK_FIELDS}
