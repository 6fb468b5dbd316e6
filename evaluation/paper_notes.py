"""What stands below a table: what is odd about the paper's numbers, and how one's own were measured."""

from collections.abc import Collection, Sequence

from evaluation.published import EVERY_COLUMN, PublishedTable, load_exceptions
from evaluation.records import Record

HEADINGS = {
    "arc_challenge": "ARC-C",
    "arc_easy": "ARC-E",
    "commonsense_qa": "CSQA",
    "hellaswag": "HellaSwag",
    "mmlu": "MMLU",
    "openbookqa": "OBQA",
    "piqa": "PIQA",
    "social_iqa": "SIQA",
    "winogrande": "WinoG",
    "sciq": "SciQ",
    "logiqa": "LogiQA",
    "gsm8k": "GSM8K",
    "math": "MATH",
    "svamp": "SVAMP",
    "asdiv": "ASDiv",
    "mawps": "MAWPS",
    "tabmwp": "TAB",
    "mathqa": "MQA",
    "mmlu_stem": "MMLU STEM",
    "sat_math": "SAT MATH",
    "avg": "AVG",
    "avg_0_shot": "0-shot",
    "avg_2_shot": "2-shot",
    "wins": "#Win",
    "tokens_kept": "tokens kept (%)",
    "own_documents": "own documents",
    "own_tokens": "own tokens",
    "unique_tokens_billion": "unique tokens (B)",
    "train_tokens_billion": "train tokens (B)",
}
"""The paper's column headings."""
Marks = dict[tuple[str, str], tuple[int, ...]]
KINDS = {
    "average": "doesn't follow from the others",
    "gain": "doesn't follow from the others",
    "epochs": "doesn't follow from the others",
    "twin": "another table of the paper has it otherwise",
    "corrected": "misread in our copy of the paper, mended",
    "unreadable": "unreadable in our copy of the paper",
    "doubtful": "as printed, may be wrong",
    "note": "right, but not like its neighbours",
}


def heading(column: str) -> str:
    """A column's heading."""
    return HEADINGS.get(column, column.replace("_", " "))


def exception_notes(table: PublishedTable) -> tuple[list[str], Marks]:
    """Notes on the paper's numbers, and the notes' numbers by row and column; one note for all of one kind and reason.

    A note on all of a row's numbers stands at the row's name, under the column `*`.
    """
    places: dict[tuple[str, str], list[str]] = {}
    numbers: Marks = {}
    for entry in load_exceptions(table.number):
        texts = places.setdefault((entry.kind, entry.reason), [])
        number = list(places).index((entry.kind, entry.reason)) + 1
        numbers[entry.row, entry.column] = (*numbers.get((entry.row, entry.column), ()), number)
        where = entry.row if entry.column == EVERY_COLUMN else f"{entry.row}, {heading(entry.column)}"
        # What was read of an unreadable row is a line of noise; exceptions.csv has it.
        told = f" (printed {entry.printed})" if entry.kind == "corrected" and entry.printed else ""
        texts.append(where + told)
    notes = [f"{KINDS[kind]}: {'; '.join(texts)}: {reason}" for (kind, reason), texts in places.items()]
    return notes, numbers


def measured(records: Collection[Record], tasks: Sequence[str]) -> str:
    """How one's own scores were measured: harness and version, worked examples, items."""
    alike: dict[tuple[str, str, int, int], set[str]] = {}
    for record in records:
        key = (record.suite, record.suite_version, record.num_fewshot, record.num_samples)
        alike.setdefault(key, set()).add(record.task)
    by_version: dict[tuple[str, str], list[str]] = {}
    for (suite, version, shots, samples), found in sorted(alike.items()):
        names = ", ".join(heading(task) for task in sorted(found, key=tasks.index))
        by_version.setdefault((suite, version), []).append(f"{shots}-shot, n = {samples:,} ({names})")
    cut = sum(record.details.get("prompts_cut", 0) for record in records)
    texts = [f"suite {suite}, version {version}: {'; '.join(parts)}" for (suite, version), parts in by_version.items()]
    if cut:
        texts.append(f"{cut:,} prompts were longer than their model's context and lost their beginning")
    return ". ".join(texts)
