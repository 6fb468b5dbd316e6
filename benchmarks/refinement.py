"""How fast refinement is, each figure as a ratio to a named alternative in the same run.

    python -m benchmarks.refinement rules                       # rule filters against plain datatrove
    python -m benchmarks.refinement rules --pages pages.jsonl.gz --documents 2000
    python -m benchmarks.refinement rules-memory                # one worker's memory over 200,000 documents
    python -m benchmarks.refinement replay-memory               # the same, running stored programs

(As a module: a script of this name would hide the package.)

rules: each of the paper's rule arms over the same units of documents with one worker, in turns in one process; the
table shows the median of the turns, in documents for each second of CPU time, so that other processes matter little.
The alternative is datatrove by itself: its executor, ParquetReader, the same filters, a ParquetWriter for what is kept
and one for what each filter drops. Both must keep the same documents with the same texts.

rules-memory: `python -m refinement rules` as its own process, watched from outside. replay-memory: the same of
`python -m refinement replay`, with a ledger of random programs for every chunk, in the paper's calls.

Documents are made of the pages (by default the project pages of the installed packages): page after page, over and
over, cut to `--lines`, with every twentieth word replaced by one that never occurs again, for new words are what fills
memories.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import yaml
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from loguru import logger as datatrove_log

from benchmarks.common import read_pages
from benchmarks.language import make_programs
from prox import Guards, ledger
from prox.artifact import commit, write_snapshot
from prox.assembly import DocumentGuards
from prox.chunking import Chunk
from prox.engines import Completion
from prox.units import DOCUMENT_SCHEMA, LEDGER, iterate_documents, read_rows, unit_files, unit_name, write_unit
from refinement.pipeline import UnitWriter
from refinement.rule_configs import RuleConfig, RulesConfig
from refinement.rules import LEDGER_SCHEMA, apply_rules, build_filter

REPOSITORY = Path(__file__).resolve().parent.parent
ARMS = ("rules", "rules_gopher", "rules_c4", "rules_fineweb")


def vary(pages: Sequence[str], number: int, lines: int, seed: int) -> Iterator[dict[str, str]]:
    """``number`` rows of ``DOCUMENT_SCHEMA``; ``lines`` is the most lines of one, 0 for whole pages."""
    rng = random.Random(seed)
    for index in range(number):
        text = [line for line in pages[index % len(pages)].split("\n") if line.strip()]
        if lines:
            begin = rng.randrange(max(1, len(text) - lines))
            text = text[begin : begin + lines]
        words = "\n".join(text).split(" ")
        for position in range(rng.randrange(20), len(words), 20):
            words[position] = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=10))
        yield {"id": f"{index}", "text": " ".join(words), "metadata": "{}"}


def write_units(folder: Path, rows: Iterator[dict[str, str]], size: int) -> None:
    """A documents artefact in units of ``size``."""
    folder.mkdir(parents=True)
    write_snapshot(folder, "benchmark", {}, "benchmark")
    unit: list[dict[str, str]] = []
    number = 0
    for row in rows:
        unit.append(row)
        if len(unit) == size:
            write_unit(folder / "documents" / unit_name(number), unit, DOCUMENT_SCHEMA)
            unit, number = [], number + 1
    if unit:
        write_unit(folder / "documents" / unit_name(number), unit, DOCUMENT_SCHEMA)
    commit(folder, "benchmark", {})


def filters_of(arm: str) -> list[RuleConfig]:
    """The filters of a shipped config."""
    content = yaml.safe_load((REPOSITORY / "configs" / "refinement" / f"{arm}.yaml").read_text())
    return [RuleConfig(**rule) for rule in content["filters"]]


def run_plain(units: Path, output: Path, filters: Sequence[RuleConfig]) -> dict[str, str]:
    """The alternative; returns the texts that were kept, by id."""
    config = RulesConfig(output, documents=units)
    writer = UnitWriter(units, output, LEDGER_SCHEMA)
    steps = [build_filter(rule, config, writer) for rule in filters]
    for step, rule in zip(steps, filters, strict=True):
        step.exclusion_writer = ParquetWriter(str(output / "dropped" / rule.name), compression="zstd")
    kept = ParquetWriter(str(output / "kept"), compression="zstd")
    LocalPipelineExecutor(
        [ParquetReader(str(units / "documents")), *steps, kept],
        tasks=len(unit_files(units)),
        workers=1,
        logging_dir=str(output / "logs"),
    ).run()
    if not any((output / "kept").glob("*.parquet")):
        return {}
    return {document.id: document.text for document in ParquetReader(str(output / "kept")).run()}


def run_ours(units: Path, output: Path, filters: Sequence[RuleConfig]) -> dict[str, str]:
    """`refinement rules`; returns the same."""
    apply_rules(RulesConfig(output, documents=units, filters=list(filters)))
    return {document.id: document.text for document in iterate_documents(output)}


Run = Callable[[Path, Path, Sequence[RuleConfig]], dict[str, str]]


def cpu_seconds(run: Run, units: Path, output: Path, filters: Sequence[RuleConfig]) -> tuple[float, dict[str, str]]:
    """CPU seconds of this process for one run, whose output is removed, and what it kept."""
    output.mkdir()
    begin = time.process_time()
    kept = run(units, output, filters)
    seconds = time.process_time() - begin
    shutil.rmtree(output)
    return seconds, kept


def rules(options: argparse.Namespace, folder: Path) -> None:
    """Prints the table of the rule arms."""
    datatrove_log.disable("datatrove")
    units = folder / "units"
    write_units(units, vary(read_pages(options.pages), options.documents, options.lines, options.seed), options.unit)
    size = sum(len(document.text.encode()) for document in iterate_documents(units))
    lines = [f"{options.documents} documents, {size / 1e6:.1f} MB, one core\n"]
    lines += ["| arm | kept | ours, documents/s | plain datatrove | ratio of times (ours / plain) |", "|---" * 5 + "|"]
    for arm in ARMS:
        filters = filters_of(arm)
        times: tuple[list[float], list[float]] = ([], [])
        for turn in range(options.repeats + 1):  # the first is not counted: it loads the word splitter
            ours, kept = cpu_seconds(run_ours, units, folder / "output", filters)
            plain, kept_by_plain = cpu_seconds(run_plain, units, folder / "output", filters)
            if kept != kept_by_plain:
                raise SystemExit(f"{arm}: the two keep different documents or texts: the comparison would be void")
            if turn:
                times[0].append(ours)
                times[1].append(plain)
        ours, plain = (statistics.median(one) for one in times)
        share = len(kept) / options.documents
        rates = f"{options.documents / ours:,.1f} | {options.documents / plain:,.1f}"
        lines.append(f"| {arm} | {share:.1%} | {rates} | {ours / plain:.2f} |")
    print("\n".join(lines))


def resident_megabytes(process: int) -> float:
    """Resident memory of a process in MB (10^6 bytes)."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def watch(verb: str, arguments: Sequence[str], output: Path, number: int) -> None:
    """Runs a verb with one worker over ``number`` units, and prints its memory at every tenth of them."""
    command = [sys.executable, "-m", "refinement", verb, *arguments, "--output", str(output)]
    begin = time.perf_counter()
    process = subprocess.Popen(command, cwd=REPOSITORY)
    print("| done | resident MB | highest so far |\n|---|---|---|")
    tenth, highest = 1, 0.0
    while process.poll() is None:
        time.sleep(0.2)
        done = len(list((output / "tasks" / "completions").glob("*")))
        try:
            now = resident_megabytes(process.pid)
        except (FileNotFoundError, IndexError):  # it has ended
            break
        highest = max(highest, now)
        if done >= tenth * number / 10:
            print(f"| {done / number:.0%} | {now:.0f} | {highest:.0f} |", flush=True)
            tenth = done * 10 // number + 1
    if process.wait():
        raise SystemExit(f"refinement {verb} failed")
    print(f"\n{time.perf_counter() - begin:.0f} s")
    print(json.dumps(json.loads((output / "stats.json").read_text()), indent=1))


def rules_memory(options: argparse.Namespace, folder: Path) -> None:
    """Memory of the rules."""
    units = folder / "units"
    write_units(units, vary(read_pages(options.pages), options.documents, options.lines, options.seed), options.unit)
    print(f"{options.documents} documents in {len(unit_files(units))} units\n")
    config = REPOSITORY / "configs" / "refinement" / "rules.yaml"
    arguments = ["--config", str(config), "--documents", str(units)]
    watch("rules", arguments, folder / "output", len(unit_files(units)))


def write_ledger(units: Path, target: Path, seed: int) -> int:
    """A chunk step's ledger for a documents artefact, with random programs; returns their number."""
    number = 0
    for file in unit_files(units):
        rows = []
        for row in read_rows(file):
            programs = make_programs([row["text"]], seed + number)
            chunks = [
                ledger.chunk_row(Chunk(first_line, text), Completion(program, 0, "stop"))
                for program, text, first_line in programs
            ]
            number += len(chunks)
            result = ledger.replay(row["text"], "calls", chunks, Guards(), DocumentGuards())
            rows.append(ledger.document_row(row["id"], row["text"], "calls", chunks, result))
        write_unit(target / LEDGER / file.name, rows, ledger.SCHEMA)
    guards = {"guards": asdict(Guards()), "document_guards": asdict(DocumentGuards())}
    write_snapshot(target, "refinement chunk", guards, "benchmark")
    commit(target, "benchmark", {})
    return number


def replay_memory(options: argparse.Namespace, folder: Path) -> None:
    """Memory of the execution of stored programs."""
    units, recorded = folder / "units", folder / "recorded"
    write_units(units, vary(read_pages(options.pages), options.documents, options.lines, options.seed), options.unit)
    programs = write_ledger(units, recorded, options.seed)
    print(f"{options.documents} documents in {len(unit_files(units))} units, {programs} programs\n")
    arguments = ["--documents", str(units), "--ledger", str(recorded)]
    watch("replay", arguments, folder / "output", len(unit_files(units)))


PARTS = {"rules": rules, "rules-memory": rules_memory, "replay-memory": replay_memory}


def main() -> None:
    """Runs one part and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--pages", type=Path, help="JSON lines with a `text` field, .gz or plain")
    parser.add_argument("--documents", type=int, help="documents made of them (rules: 500, memory: 200000)")
    parser.add_argument("--lines", type=int, help="most lines of a document, 0: all (rules: 0, memory: 12)")
    parser.add_argument("--unit", type=int, help="documents a unit (rules: 100, memory: 2000)")
    parser.add_argument("--repeats", type=int, default=3, help="turns counted")
    parser.add_argument("--seed", type=int, default=0, help="seed of the documents' variation")
    options = parser.parse_args()
    memory = options.part.endswith("-memory")
    for name, small, large in (("documents", 500, 200_000), ("lines", 0, 12), ("unit", 100, 2_000)):
        if getattr(options, name) is None:
            setattr(options, name, large if memory else small)
    with tempfile.TemporaryDirectory() as folder:
        PARTS[options.part](options, Path(folder))


if __name__ == "__main__":
    main()
