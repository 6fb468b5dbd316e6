"""Gradient-boosted trees that tell noise lines by features of a line and its neighbours."""

import re
from collections import Counter
from collections.abc import Sequence, Set
from typing import Any

import numpy as np

from adaptation.line_scores import choose_threshold
from benchmarks.labelled_pages import Page

NEIGHBOURS = 4  # lines on each side
FOLDS = 5
END_OF_SENTENCE = re.compile(r"[.!?:;…][\"'”\u2019)\]]*\s*$")
LINK_LIKE = re.compile(r"https?:|www\.|@\w|\.(?:com|org|net)\b|[\u203a»→]", re.IGNORECASE)
FOOTER_LIKE = re.compile(r"©|\(c\)|copyright|all rights reserved", re.IGNORECASE)
WORD_OR_MARK = r"\w+|[^\w\s]"  # a bag of these: marks say as much as words

Removed = Sequence[Set[int]]
"""Numbers of the removed lines of each page."""


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
    """The threshold that `adaptation validate` would choose: the highest F1 over all lines."""
    labels, counted = labels_of(pages)
    return choose_threshold(labels[counted], np.concatenate(probabilities)[counted])
