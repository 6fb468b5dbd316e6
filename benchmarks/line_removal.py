"""How well a refiner removes noise lines, next to ways that need no language model, on the same lines.

    python -m benchmarks.line_removal --train weblines_train.jsonl.gz --valid weblines_valid.jsonl.gz \\
        --test weblines_test.jsonl.gz --refiner small=runs/web/adaptation/chunk/validate

Pages are JSON lines (.gz or plain) with `id`, `text`, `noise_lines` and `ambiguous_lines`; ambiguous lines count in no
score. Choosing happens on the valid split, so that is what is scored; `--score test` is for the end.

The rows: F1, precision and recall of removed lines over all lines (paper, A.3, Equations 5 to 7) with a bootstrap
interval of the F1 over documents, the mean F1 of documents, the F1 of the lines that stay, and the shares of words lost
and of noise words left. The ways are two constants, two rules of one line, the rule-based stand-in as `annotation
program` asks it, and gradient-boosted trees on features of a line and its neighbours, trained on the train split, cut
at 0.5 and, where another threshold is better on valid, also at that one.

A refiner is an artefact of `adaptation validate` for the chunk task, of which the checkpoint with the highest F1 is
shown; for `--score test` it may hold only one, for nothing is chosen there. Its chunks are put together by document,
without the guards of refinement. Lines that no prediction covers count as kept. How far a chunk goes is read from the
artefact's examples, and where they are gone taken to be up to the next chunk or the page's end.
"""

import argparse
import itertools
from collections.abc import Callable, Sequence, Set
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from adaptation.line_scores import choose_threshold
from annotation.asking import Outcome
from annotation.configs import AnnotatorConfig, ProgramConfig
from annotation.line_trees import END_OF_SENTENCE, FOLDS, LineTrees, labels_of
from annotation.program import DocumentChunk, Programmer
from annotation.stand_in import StandIn
from benchmarks.labelled_pages import Page, read_labelled, read_rows
from prox import artifact
from prox.answers import program_of
from prox.chunking import split_into_chunks
from prox.confusion import Counts, best_checkpoint, macro_f1, ratio, removed_lines
from prox.engines import Completion
from prox.errors import UserError
from prox.program import parse_program

RESAMPLES = 1_000

Removed = Sequence[Set[int]]
"""Numbers of the removed lines of each page."""


@dataclass(frozen=True)
class Row:
    """A way's scores; the interval is of ``f1``."""

    way: str
    f1: float
    interval: tuple[float, float]
    precision: float
    recall: float
    f1_macro_documents: float
    f1_kept: float
    """Of the lines that stay, the other class."""
    words_lost: float
    """Share of the words on lines to keep that are removed."""
    noise_left: float
    """Share of the words on noise lines that stay."""
    lines: int
    lines_not_covered: int = 0
    groups: dict[str, float] = field(default_factory=dict)
    """F1 of the pages of each kind (``--by``)."""


def score(way: str, pages: Sequence[Page], removed: Removed, seed: int, lines_not_covered: int = 0) -> Row:
    """The row of a way that removes these lines."""
    counts = [page.counts(lines) for page, lines in zip(pages, removed, strict=True)]
    total = sum(counts, Counts())
    kept = Counts(total.true_negatives, total.false_negatives, total.false_positives, total.true_positives)
    words = np.array([word_counts(page, lines) for page, lines in zip(pages, removed, strict=True)]).sum(axis=0)
    lost, content, left, noise = words.tolist()
    groups: dict[str, Counts] = {}
    for page, count in zip(pages, counts, strict=True):
        groups[page.group] = groups.get(page.group, Counts()) + count
    return Row(
        way,
        total.f1,
        interval_of_f1(counts, seed),
        total.precision,
        total.recall,
        macro_f1(counts),
        kept.f1,
        ratio(lost, content),
        ratio(left, noise),
        total.total,
        lines_not_covered,
        {group: count.f1 for group, count in sorted(groups.items())},
    )


def word_counts(page: Page, removed: Set[int]) -> tuple[int, int, int, int]:
    """Words (lost, to keep, of noise left, of noise) of a page."""
    content = frozenset(page.counted) - page.noise
    return (
        page.words(content & removed),
        page.words(content),
        page.words(page.noise - removed),
        page.words(page.noise),
    )


def interval_of_f1(counts: Sequence[Counts], seed: int) -> tuple[float, float]:
    """95% bootstrap interval of the F1 over all lines; documents are drawn, for a page's lines are alike."""
    table = np.array([(count.true_positives, count.errors) for count in counts])
    draws = np.random.default_rng(seed).integers(len(table), size=(RESAMPLES, len(table)))
    right, wrong = table[draws].sum(axis=1).T
    low, high = np.quantile(2 * right / np.maximum(2 * right + wrong, 1), (0.025, 0.975))
    return float(low), float(high)


def is_fragment(line: str) -> bool:
    """Under 12 words that don't end as a sentence or a clause does."""
    return len(line.split()) < 12 and not END_OF_SENTENCE.search(line)


def ask_stand_in(page: Page, programmer: Programmer) -> frozenset[int]:
    """Lines that the stand-in's programs remove; those that `annotation program` would put aside remove none."""
    removed: frozenset[int] = frozenset()
    for chunk in split_into_chunks(page.text, programmer.config.window):
        if chunk.skipped:
            continue
        item, outcomes = DocumentChunk(page.id, chunk), []
        for request in programmer.requests(item):
            answer = StandIn.answer(request)
            outcomes.append(Outcome(programmer.read(request, answer), answer.text))
        row = programmer.row(item, outcomes)
        if "reason" not in row:
            program = parse_program(row["program"])
            removed |= removed_lines(program, chunk.first_line, chunk.end_line - chunk.first_line)
    return removed


def chosen_checkpoint(folder: Path, split: str) -> tuple[str, dict[str, Any]]:
    """(name of the checkpoint with the highest F1, the artefact's `metrics.json`)."""
    metrics = artifact.read_json(folder / "metrics.json")
    if metrics.get("task") != "chunk" or not metrics.get("checkpoints"):
        raise UserError(f"{folder} is no result of `adaptation validate --task chunk`: give its output folder")
    if split == "test" and len(metrics["checkpoints"]) > 1:
        raise UserError(
            f"{folder} holds {len(metrics['checkpoints'])} checkpoints, and the test split must not choose among them: "
            "choose on the valid split, then validate that one with `--checkpoint` on examples of the test split"
        )
    return best_checkpoint(metrics["checkpoints"])["name"], metrics


def read_chunk_lengths(metrics: dict[str, Any], pages: dict[str, Page]) -> dict[tuple[str, int], int]:
    """Lines of each example by (id, first line); nothing where the artefact's examples are gone."""
    path = Path(metrics.get("examples") or "") / "chunk_valid.jsonl"
    lengths: dict[tuple[str, int], int] = {}
    for row in read_rows(path, "id", "text") if path.is_file() else ():
        first, lines = row.get("first_line", 0), row["text"].split("\n")
        if row["id"] in pages and pages[row["id"]].lines[first : first + len(lines)] != lines:
            raise UserError(f"{path}: lines {first} and on of {row['id']!r} are not the page's: its lines were changed")
        lengths[row["id"], first] = len(lines)
    return lengths


def score_refiner(name: str, folder: Path, pages: Sequence[Page], split: str, seed: int) -> Row:
    """The row of the artefact's best checkpoint."""
    checkpoint, metrics = chosen_checkpoint(folder, split)
    lengths = read_chunk_lengths(metrics, {page.id: page for page in pages})
    path = folder / checkpoint / "predictions.jsonl"
    answers: dict[str, dict[int, dict[str, Any]]] = {page.id: {} for page in pages}
    for row in read_rows(path, "id", "first_line", "predicted", "style", "num_tokens", "finish_reason"):
        if row["id"] in answers:
            answers[row["id"]][row["first_line"]] = row
    if not any(answers.values()):
        raise UserError(f"{path} has no answer about a page of the {split} split: validate on that split's examples")
    removed: list[frozenset[int]] = []
    not_covered = 0
    for page in pages:
        of_page, covered = frozenset[int](), set[int]()
        for first, next_one in itertools.pairwise([*sorted(answers[page.id]), len(page.lines)]):
            row = answers[page.id][first]
            count = lengths.get((page.id, first), next_one - first)
            program = program_of(Completion(row["predicted"], row["num_tokens"], row["finish_reason"]), row["style"])
            of_page |= removed_lines(program, first, count)
            covered.update(range(first, first + count))
        removed.append(of_page)
        not_covered += sum(number not in covered for number in page.counted)
    return score(f"refiner {name} ({checkpoint})", pages, removed, seed, not_covered)


def score_rules(pages: Sequence[Page], seed: int) -> list[Row]:
    """The rows of the ways that learn nothing."""
    programmer = Programmer(ProgramConfig(Path(), annotator=AnnotatorConfig(kind="stand_in")), StandIn())
    rules: dict[str, Callable[[str], bool]] = {
        "remove nothing": lambda line: False,
        "remove all": lambda line: True,
        "fewer than 8 words": lambda line: len(line.split()) < 8,
        "under 12 words and no end punctuation": is_fragment,
    }
    ways: dict[str, Removed] = {
        way: [{number for number, line in enumerate(page.lines) if rule(line)} for page in pages]
        for way, rule in rules.items()
    }
    ways[StandIn.name] = [ask_stand_in(page, programmer) for page in pages]
    return [score(way, pages, removed, seed) for way, removed in ways.items()]


def score_trees(train: Sequence[Page], valid: Sequence[Page], pages: Sequence[Page], seed: int) -> list[Row]:
    """The rows of the trees; a second threshold only where it differs."""
    trees = LineTrees(train, seed)
    on_valid = [trees.probabilities(page.lines) for page in valid]
    threshold = best_threshold(valid, on_valid)
    probabilities = on_valid if pages is valid else [trees.probabilities(page.lines) for page in pages]
    rows = [score("boosted trees", pages, above(0.5, probabilities), seed)]
    if threshold != 0.5:
        way = f"boosted trees, threshold {threshold:.2f} chosen on valid"
        rows.append(score(way, pages, above(threshold, probabilities), seed))
    return rows


def above(threshold: float, probabilities: Sequence[np.ndarray]) -> Removed:
    """Lines whose probability reaches the threshold."""
    return [set(np.flatnonzero(of_page >= threshold).tolist()) for of_page in probabilities]


def best_threshold(pages: Sequence[Page], probabilities: Sequence[np.ndarray]) -> float:
    """The threshold that `adaptation validate` would choose: the highest F1 over all lines."""
    labels, counted = labels_of(pages)
    return choose_threshold(labels[counted], np.concatenate(probabilities)[counted])


def compare(options: argparse.Namespace) -> list[Row]:
    """All rows of the table."""
    train, valid, test = (read_labelled(path, options.by) for path in (options.train, options.valid, options.test))
    if len(train) < FOLDS or len({number in page.noise for page in train for number in page.counted}) < 2:
        raise UserError(f"{options.train} must hold {FOLDS} pages or more, with lines of both kinds")
    pages, seed = {"valid": valid, "test": test}[options.score], options.seed
    refiners = [score_refiner(name, folder, pages, options.score, seed) for name, folder in options.refiner]
    return score_rules(pages, seed) + score_trees(train, valid, pages, seed) + refiners


def named_folder(value: str) -> tuple[str, Path]:
    """The two halves of ``NAME=FOLDER``."""
    name, _, folder = value.partition("=")
    if not name or not folder:
        raise argparse.ArgumentTypeError(f"{value!r} is not of the form NAME=FOLDER")
    return name, Path(folder)


def main() -> None:
    """Runs the comparison and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for split in ("train", "valid", "test"):
        parser.add_argument(f"--{split}", type=Path, required=True, help="labelled pages, JSON lines, .gz or plain")
    parser.add_argument("--score", choices=("valid", "test"), default="valid", help="the split that is scored")
    parser.add_argument("--refiner", type=named_folder, action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--by", default="", metavar="FIELD", help="also the F1 by this field, as page_type or source")
    parser.add_argument("--output", type=Path, help="JSON file that gets the rows")
    parser.add_argument("--seed", type=int, default=0, help="seed of the trees, their folds and the intervals")
    options = parser.parse_args()
    try:
        rows = compare(options)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    if options.output:
        artifact.write_json(options.output, {**vars(options), "rows": [asdict(row) for row in rows]})
    print(f"{options.score} split, lines removed; intervals: 95%, {RESAMPLES:,} resamples of documents\n")
    names = ["F1", "interval", "precision", "recall", "F1, mean of documents", "F1 of kept lines"]
    names += ["words lost", "noise words left", "lines", "not covered"]
    print(f"| way | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for row in rows:
        print(
            f"| {row.way} | {row.f1:.4f} | {row.interval[0]:.3f}-{row.interval[1]:.3f} | {row.precision:.4f} "
            f"| {row.recall:.4f} | {row.f1_macro_documents:.4f} | {row.f1_kept:.4f} | {row.words_lost:.1%} "
            f"| {row.noise_left:.1%} | {row.lines:,} | {row.lines_not_covered:,} |"
        )
    if options.by:
        groups = sorted(rows[0].groups)
        print(f"\nF1 by {options.by}\n\n| way | {' | '.join(groups)} |\n|---|{'---|' * len(groups)}")
        for row in rows:
            print(f"| {row.way} | " + " | ".join(f"{row.groups[group]:.4f}" for group in groups) + " |")


if __name__ == "__main__":
    main()
