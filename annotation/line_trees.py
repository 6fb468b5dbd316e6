"""Gradient-boosted trees that tell noise lines by features of a line and its neighbours.

They know nothing of language, and yet find as many noise lines as a small language model that reads them, and others.
So they are a teacher for one (`annotation trees`), and what it is measured against (`benchmarks.line_removal`).
"""

import functools
import logging
import re
from collections import Counter
from collections.abc import Hashable, Sequence, Set
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from prox.errors import UserError

log = logging.getLogger("prox")

NEIGHBOURS = 4  # lines on each side
FOLDS = 5
END_OF_SENTENCE = re.compile(r"[.!?:;…][\"'”\u2019)\]]*\s*$")
LINK_LIKE = re.compile(r"https?:|www\.|@\w|\.(?:com|org|net)\b|[\u203a»→]", re.IGNORECASE)
FOOTER_LIKE = re.compile(r"©|\(c\)|copyright|all rights reserved", re.IGNORECASE)
WORD_OR_MARK = r"\w+|[^\w\s]"  # a bag of these: marks say as much as words


class LabelledPage(Protocol):
    """A page whose lines are noise, left open, or content."""

    @property
    def lines(self) -> Sequence[str]:
        """Its text, cut at its line feeds."""
        ...

    @property
    def noise(self) -> Set[int]:
        """Numbers of the noise lines, from 0 on."""
        ...

    @property
    def ambiguous(self) -> Set[int]:
        """Numbers of the lines that have no label."""
        ...


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


@dataclass(frozen=True)
class FittedTrees:
    """Boosted trees and which of the features they take: of short pages some neighbours are always missing."""

    classifier: Any
    columns: np.ndarray

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """How likely each of these lines is noise [lines]."""
        return self.classifier.predict_proba(features[:, self.columns])[:, 1]


class LineTrees:
    """Gradient-boosted trees over ``page_features``, with a linear model of a line's words as one of the features."""

    def __init__(self, train: Sequence[LabelledPage], seed: int, sites: Sequence[Hashable] | None = None) -> None:
        """``train`` are ``FOLDS`` pages or more; where some are held out, pages of one of the ``sites`` are together
        (default: each page is a site).

        Raises:
            UserError: some fold leaves no lines, or those of one kind only, to learn from.
        """
        from sklearn.feature_extraction.text import HashingVectorizer

        self._seed, self._train = seed, train
        self._vectorizer = HashingVectorizer(n_features=2**18, ngram_range=(1, 2), token_pattern=WORD_OR_MARK)
        self._folds = folds_of(range(len(train)) if sites is None else sites, seed)
        for out in range(FOLDS):
            labels, counted = labels_of([train[number] for number in np.flatnonzero(self._folds != out)])
            if len(set(labels[counted])) < 2:
                raise UserError(
                    "without the pages of some sites, the labels know noise alone, or content alone: boosted trees "
                    "need pages of more sites with lines of both kinds"
                )
        self._train_features = self._features_out_of_fold()

    def probabilities(self, lines: Sequence[str]) -> np.ndarray:
        """How likely each line of a page is noise [lines]."""
        bag, trees = self._of_all_pages
        return trees.probabilities(self._features(bag, lines))

    def probabilities_out_of_fold(self) -> list[np.ndarray]:
        """The same of each training page, by trees that have not seen its site: what they say of lines they know is but
        their labels. (The words of the pages they have seen were scored by models that may have seen the site.)
        """
        found = dict[int, np.ndarray]()
        for out in range(FOLDS):
            trees = self._fit_trees(np.flatnonzero(self._folds != out))
            for number in np.flatnonzero(self._folds == out):
                found[number] = trees.probabilities(self._train_features[number])
            log.info("annotation trees: held out %d of %d", out + 1, FOLDS)
        return [found[number] for number in range(len(self._train))]

    @functools.cached_property
    def _of_all_pages(self) -> tuple[Any, FittedTrees]:
        """The models of words and of lines for pages that are not among the training pages."""
        numbers = range(len(self._train))
        return self._fit_bag(numbers), self._fit_trees(numbers)

    def _fit_trees(self, numbers: Sequence[int]) -> FittedTrees:
        from sklearn.ensemble import HistGradientBoostingClassifier

        labels, counted = labels_of([self._train[number] for number in numbers])
        features = np.concatenate([self._train_features[number] for number in numbers])[counted]
        columns = ~np.isnan(features).all(axis=0)
        # Stopping early would hold out single lines, whose neighbours it has seen.
        settings = {"max_iter": 300, "learning_rate": 0.08, "max_leaf_nodes": 63, "min_samples_leaf": 50}
        trees = HistGradientBoostingClassifier(**settings, early_stopping=False, random_state=self._seed)
        return FittedTrees(trees.fit(features[:, columns], labels[counted]), columns)

    def _fit_bag(self, numbers: Sequence[int]) -> Any:
        from sklearn.linear_model import SGDClassifier

        pages = [self._train[number] for number in numbers]
        labels, counted = labels_of(pages)
        words = self._vectorizer.transform([line for page in pages for line in page.lines])
        model = SGDClassifier(loss="log_loss", alpha=1e-6, average=True, max_iter=10, tol=None, random_state=self._seed)
        return model.fit(words[np.flatnonzero(counted)], labels[counted])

    def _features_out_of_fold(self) -> list[np.ndarray]:
        """Words are scored by a model that has not seen the page, so that the trees don't trust them too much."""
        models = [self._fit_bag(np.flatnonzero(self._folds != out)) for out in range(FOLDS)]
        return [self._features(models[of], page.lines) for page, of in zip(self._train, self._folds, strict=True)]

    def _features(self, bag: Any, lines: Sequence[str]) -> np.ndarray:
        return page_features(lines, bag.decision_function(self._vectorizer.transform(lines)))


def folds_of(sites: Sequence[Hashable], seed: int) -> np.ndarray:
    """For each page the fold it is in; a site's pages are in one, if there are as many sites as folds."""
    if len(set(sites)) < FOLDS:
        log.warning("annotation trees: the pages are of %d sites, and held out one by one", len(set(sites)))
        sites = range(len(sites))
    number_of = {site: number for number, site in enumerate(dict.fromkeys(sites))}
    fold_of = np.random.default_rng(seed).permutation(len(number_of)) % FOLDS
    return fold_of[[number_of[site] for site in sites]]


def labels_of(pages: Sequence[LabelledPage]) -> tuple[np.ndarray, np.ndarray]:
    """(noise or not, counted or not) for the lines of all pages in order."""
    labels = [number in page.noise for page in pages for number in range(len(page.lines))]
    counted = [number not in page.ambiguous for page in pages for number in range(len(page.lines))]
    return np.array(labels), np.array(counted)
