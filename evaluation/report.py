"""``evaluation report``: one HTML page of one run or of several, which opens without a server and loads nothing.

python -m evaluation report --runs.quickstart runs/quickstart --output runs/quickstart/report
"""

from collections import defaultdict
from typing import Any

from evaluation.report_chains import find_chains
from evaluation.report_config import ReportConfig
from evaluation.report_corpus import collect_corpus
from evaluation.report_curves import collect_curves
from evaluation.report_documents import sample_documents
from evaluation.report_html import render_page
from evaluation.report_sources import Source
from evaluation.report_tables import collect_records, collect_tables
from prox.artifact import run_of, write_atomically

PAGE = "report.html"


def make_report(config: ReportConfig) -> dict[str, Any]:
    """Writes ``report.html``; what can't be read is said on the page, and never stops it."""
    data = collect(config)
    write_atomically(config.output / PAGE, render_page(data))
    print(config.output / PAGE)
    return {
        "runs": len(config.runs),
        "tables": len(data["tables"]),
        "records": data["records"]["num_records"],
        "trainings": sum(len(group["series"]) for group in data["curves"]),
        "documents": len(data["documents"]["items"]),
        "left_out": sum(count for _, count in data["documents"]["broken"]),
        "problems": len(data["problems"]),
    }


def collect(config: ReportConfig) -> dict[str, Any]:
    """All that the page shows, as plain data."""
    by_run = config.sources()
    sources = [source for of_run in by_run.values() for source in of_run]
    tables, problems = collect_tables(sources)
    records, more = collect_records(sources)
    curves, most = collect_curves(sources)
    problems += more + most
    corpus, chains = _Merged(), []
    for of_run in by_run.values():
        found, more = collect_corpus(of_run)
        corpus.add(found)
        of_chains, most = find_chains(of_run)
        chains += of_chains
        problems += more + most
    size = int(config.max_page_megabytes * 1e6)
    documents = sample_documents(chains, config.num_documents, config.seed, config.max_characters, size)
    problems += documents.pop("problems")
    return {
        "runs": list(config.runs),
        "seed": config.seed,
        "artifacts": [_describe(source) for source in sources],
        "tables": tables,
        "records": records,
        "curves": curves,
        "retention": corpus.retention,
        "lengths": dict(corpus.lengths),
        "steps": corpus.steps,
        "documents": documents,
        "problems": sorted(set(problems)),
    }


class _Merged:
    """The corpora of several runs, one after the other."""

    def __init__(self) -> None:
        self.retention: list[dict[str, Any]] = []
        self.steps: list[dict[str, Any]] = []
        self.lengths: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def add(self, found: dict[str, Any]) -> None:
        self.retention += found["retention"]
        self.steps += found["steps"]
        for measure, series in found["lengths"].items():
            self.lengths[measure] += series


def _describe(source: Source) -> dict[str, Any]:
    """Where something on the page comes from."""
    return {
        "run": source.run,
        "place": source.name,
        "command": source.command,
        "commit": source.snapshot.get("commit") or "",
        "finished": source.finished,
        "seconds": run_of(source.folder).get("seconds") if source.finished else None,
    }
