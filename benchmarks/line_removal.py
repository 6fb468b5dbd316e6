"""How well a refiner removes noise lines, next to ways that need no language model, on the same lines.

    python -m benchmarks.line_removal --train weblines_train.jsonl.gz --valid weblines_valid.jsonl.gz \\
        --test weblines_test.jsonl.gz --refiner small=runs/web/adaptation/chunk/validate

Pages are JSON lines (.gz or plain) with `id`, `text`, `noise_lines` and `ambiguous_lines`; ambiguous lines count in no
score. Choosing happens on the valid split, so that is what is scored; `--score test` is for the end.

The rows: F1, precision and recall of removed lines over all lines (paper, A.3, Equations 5 to 7) with a bootstrap
interval of the F1 over documents, and the mean F1 of documents. The ways are two constants, two rules of one line, the
rule-based stand-in as `annotation program` asks it, and gradient-boosted trees on features of a line and its
neighbours, trained on the train split, cut at 0.5 and, where another threshold is better on valid, also at that one.

A refiner is an artefact of `adaptation validate` for the chunk task, of which the checkpoint with the highest F1 is
shown; for `--score test` it may hold only one, for nothing is chosen there. Its chunks are put together by document,
without the guards of refinement. Lines that no prediction covers count as kept. How far a chunk goes is read from the
artefact's examples, and where they are gone taken to be up to the next chunk or the page's end.
"""

import argparse
import gzip
import importlib.util
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from annotation.asking import Outcome
from annotation.configs import AnnotatorConfig, ProgramConfig
from annotation.program import DocumentChunk, Programmer
from annotation.stand_in import StandIn
from prox import artifact
from prox.answers import program_of
from prox.chunking import split_into_chunks
from prox.confusion import Counts, macro_f1, removed_lines
from prox.engines import Completion
from prox.errors import UserError
from prox.program import parse_program

RESAMPLES = 1_000
NEIGHBOURS = 4  # lines on each side
FOLDS = 5
END_OF_SENTENCE = re.compile(r"[.!?:;…][\"'”\u2019)\]]*\s*$")
LINK_LIKE = re.compile(r"https?:|www\.|@\w|\.(?:com|org|net)\b|[\u203a»→]", re.IGNORECASE)
FOOTER_LIKE = re.compile(r"©|\(c\)|copyright|all rights reserved", re.IGNORECASE)
WORD_OR_MARK = r"\w+|[^\w\s]"  # a bag of these: marks say as much as words

Removed = Sequence[Set[int]]
"""Numbers of the removed lines of each page."""


@dataclass(frozen=True)
class Page:
    """A labelled page; lines that are in neither set are content."""

    id: str
    text: str
    noise: frozenset[int]
    ambiguous: frozenset[int]

    @property
    def lines(self) -> list[str]:
        """As the labels count them."""
        return self.text.split("\n")

    @property
    def counted(self) -> list[int]:
        """Numbers of the lines that have a label."""
        return [number for number in range(len(self.lines)) if number not in self.ambiguous]

    def counts(self, removed: Set[int]) -> Counts:
        """Lines in Equations 5 to 7."""
        removed = removed - self.ambiguous
        return Counts(
            true_positives=len(removed & self.noise),
            false_positives=len(removed - self.noise),
            false_negatives=len(self.noise - removed),
            true_negatives=len(self.counted) - len(removed | self.noise),
        )


@dataclass(frozen=True)
class Row:
    """A way's scores; the interval is of ``f1``."""

    way: str
    f1: float
    interval: tuple[float, float]
    precision: float
    recall: float
    f1_macro_documents: float
    lines: int
    lines_not_covered: int = 0


def read_rows(path: Path, *fields: str) -> Iterator[dict[str, Any]]:
    """Objects of a JSON-lines file, .gz or plain; one that can't be read or lacks a field is a ``UserError``."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: give a JSON-lines file, .gz or plain")
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                row = json.loads(line)
                if not isinstance(row, dict) or not row.keys() >= set(fields):
                    raise UserError(f"{path}, line {number}: a row must be an object with {', '.join(fields)}")
                yield row
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path} can't be read after line {max(0, number - 1)} ({error}): get it again") from None


def read_labelled(path: Path) -> list[Page]:
    """The labelled pages of a file; labels that fit no line, and an id that comes twice, are a ``UserError``."""
    pages: dict[str, Page] = {}
    for row in read_rows(path, "id", "text", "noise_lines", "ambiguous_lines"):
        numbers = range(row["text"].count("\n") + 1)
        for name in ("noise_lines", "ambiguous_lines"):
            if not isinstance(row[name], list) or not all(type(one) is int and one in numbers for one in row[name]):
                raise UserError(f"{path}: {name} of {row['id']!r} must be a list of numbers below {numbers.stop}")
        noise, ambiguous = frozenset(row["noise_lines"]), frozenset(row["ambiguous_lines"])
        if row["id"] in pages or noise & ambiguous:
            fault = "comes twice" if row["id"] in pages else f"has line {min(noise & ambiguous)} as noise and ambiguous"
            raise UserError(f"{path}: {row['id']!r} {fault}: mend the file")
        pages[row["id"]] = Page(row["id"], row["text"], noise, ambiguous)
    if not any(page.counted for page in pages.values()):
        raise UserError(f"{path} has no labelled line: give a file with pages")
    return list(pages.values())


def score(way: str, pages: Sequence[Page], removed: Removed, seed: int, lines_not_covered: int = 0) -> Row:
    """The row of a way that removes these lines."""
    counts = [page.counts(lines) for page, lines in zip(pages, removed, strict=True)]
    total = sum(counts, Counts())
    interval = interval_of_f1(counts, seed)
    ratios = (total.precision, total.recall, macro_f1(counts))
    return Row(way, total.f1, interval, *ratios, total.total, lines_not_covered)


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


def line_features(line: str, repeats: int) -> list[float]:
    """What a line looks like by itself; ``repeats`` is how often its page has it."""
    words, size = line.split(), max(1, len(line))
    return [
        len(line),
        len(words),
        len(line) / max(1, len(words)),
        sum(not (character.isalnum() or character.isspace()) for character in line) / size,
        sum(character.isdigit() for character in line) / size,
        sum(character.isupper() for character in line) / size,
        bool(END_OF_SENTENCE.search(line)),
        line[:1].isupper(),
        bool(LINK_LIKE.search(line)),
        "|" in line,
        bool(FOOTER_LIKE.search(line)),
        repeats,
    ]


def page_features(lines: Sequence[str], bag_scores: np.ndarray) -> np.ndarray:
    """A row a line: its place, its looks and bag-of-words score, and those of its neighbours; NaN beyond the page."""
    repeats = Counter(lines)
    looks = np.array([[*line_features(line, repeats[line]), bag] for line, bag in zip(lines, bag_scores, strict=True)])
    number, (count, width) = np.arange(len(lines)), looks.shape
    around = np.full((count + 2 * NEIGHBOURS, width), np.nan)
    around[NEIGHBOURS : NEIGHBOURS + count] = looks
    place = np.stack([number, number / count, count - 1 - number, np.full(count, count)], axis=1)
    windows = [around[begin : begin + count] for begin in range(2 * NEIGHBOURS + 1)]
    return np.concatenate([place, *windows], axis=1).astype(np.float32)


class Trees:
    """Gradient-boosted trees over ``page_features``, with a linear model of a line's words as one of the features."""

    def __init__(self, train: Sequence[Page], seed: int) -> None:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.feature_extraction.text import HashingVectorizer

        self._seed = seed
        self._vectorizer = HashingVectorizer(n_features=2**18, ngram_range=(1, 2), token_pattern=WORD_OR_MARK)
        self._bag = self._fit_bag(train)
        features = np.concatenate(self._features_out_of_fold(train))
        labels, counted = labels_of(train)
        # Stopping early would hold out single lines, whose neighbours it has seen.
        settings = {"max_iter": 300, "learning_rate": 0.08, "max_leaf_nodes": 63, "min_samples_leaf": 50}
        trees = HistGradientBoostingClassifier(**settings, early_stopping=False, random_state=seed)
        self._trees = trees.fit(features[counted], labels[counted])

    def probabilities(self, pages: Sequence[Page]) -> list[np.ndarray]:
        """How likely each line of each page is noise."""
        return [self._trees.predict_proba(self._features(self._bag, page))[:, 1] for page in pages]

    def _fit_bag(self, pages: Sequence[Page]) -> Any:
        from sklearn.linear_model import SGDClassifier

        labels, counted = labels_of(pages)
        words = self._vectorizer.transform([line for page in pages for line in page.lines])
        model = SGDClassifier(loss="log_loss", alpha=1e-6, average=True, max_iter=10, tol=None, random_state=self._seed)
        return model.fit(words[np.flatnonzero(counted)], labels[counted])

    def _features_out_of_fold(self, pages: Sequence[Page]) -> list[np.ndarray]:
        """Words are scored by a model that has not seen the page, so that the trees don't trust them too much."""
        fold = np.random.default_rng(self._seed).permutation(len(pages)) % FOLDS
        others = [[page for page, of in zip(pages, fold, strict=True) if of != out] for out in range(FOLDS)]
        models = [self._fit_bag(part) for part in others]
        return [self._features(models[of], page) for page, of in zip(pages, fold, strict=True)]

    def _features(self, bag: Any, page: Page) -> np.ndarray:
        return page_features(page.lines, bag.decision_function(self._vectorizer.transform(page.lines)))


def labels_of(pages: Sequence[Page]) -> tuple[np.ndarray, np.ndarray]:
    """(noise or not, counted or not) for the lines of all pages in order."""
    labels = [number in page.noise for page in pages for number in range(len(page.lines))]
    counted = [number not in page.ambiguous for page in pages for number in range(len(page.lines))]
    return np.array(labels), np.array(counted)


def above(threshold: float, probabilities: Sequence[np.ndarray]) -> Removed:
    """Lines whose probability reaches the threshold."""
    return [set(np.flatnonzero(of_page >= threshold).tolist()) for of_page in probabilities]


def best_threshold(pages: Sequence[Page], probabilities: Sequence[np.ndarray]) -> float:
    """The threshold, in hundredths, with the highest F1 over all lines; of equal ones that nearest 0.5."""
    labels, counted = labels_of(pages)
    actual, given = labels[counted], np.concatenate(probabilities)[counted]

    def f1(hundredths: int) -> float:
        predicted = given >= hundredths / 100
        return 2 * (predicted & actual).sum() / max(1, predicted.sum() + actual.sum())

    return max(sorted(range(5, 96), key=lambda hundredths: abs(hundredths - 50)), key=f1) / 100


def best_checkpoint(folder: Path, split: str) -> tuple[str, dict[str, Any]]:
    """(name of the checkpoint with the highest F1, the artefact's `metrics.json`)."""
    metrics = artifact.read_json(folder / "metrics.json")
    if metrics.get("task") != "chunk" or not metrics.get("checkpoints"):
        raise UserError(f"{folder} is no result of `adaptation validate --task chunk`: give its output folder")
    if split == "test" and len(metrics["checkpoints"]) > 1:
        raise UserError(
            f"{folder} holds {len(metrics['checkpoints'])} checkpoints, and the test split must not choose among them: "
            "choose on the valid split, then validate that one with `--checkpoint` on examples of the test split"
        )
    return max(metrics["checkpoints"], key=lambda one: one["f1"])["name"], metrics


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
    checkpoint, metrics = best_checkpoint(folder, split)
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
    trees = Trees(train, seed)
    on_valid = trees.probabilities(valid)
    threshold = best_threshold(valid, on_valid)
    probabilities = on_valid if pages is valid else trees.probabilities(pages)
    rows = [score("boosted trees", pages, above(0.5, probabilities), seed)]
    if threshold != 0.5:
        way = f"boosted trees, threshold {threshold:.2f} chosen on valid"
        rows.append(score(way, pages, above(threshold, probabilities), seed))
    return rows


def compare(options: argparse.Namespace) -> list[Row]:
    """All rows of the table."""
    if importlib.util.find_spec("sklearn") is None:
        raise UserError("scikit-learn, which the trees need, is not installed: run scripts/setup.sh, or install it")
    train, valid, test = (read_labelled(path) for path in (options.train, options.valid, options.test))
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
    print("| way | F1 | interval | precision | recall | F1, mean of documents | lines | not covered |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.way} | {row.f1:.4f} | {row.interval[0]:.3f}-{row.interval[1]:.3f} | {row.precision:.4f} "
            f"| {row.recall:.4f} | {row.f1_macro_documents:.4f} | {row.lines:,} | {row.lines_not_covered:,} |"
        )


if __name__ == "__main__":
    main()
