"""Filters of our own beside datatrove's: a random share of the documents, and a classifier's score."""

import functools
import hashlib
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter

from prox.errors import UserError
from refinement.pipeline import UnitWriter
from refinement.rule_configs import ClassifierConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger("prox")

DRAWS = 2**64
# Forward passes whose documents are tokenised together and sorted by length, so that little is padded.
PASSES = 16

Verdict = bool | tuple[bool, str]


def draw(seed: int, identity: str) -> int:
    """A number below ``DRAWS``, even over documents, and the same for a document wherever and whenever it is drawn."""
    content = f"{seed}:{identity}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())


class RandomFilter(BaseFilter):
    """Keeps about a share of the documents (the paper's "random" rows in Tables 3 and 11)."""

    name = "random"

    def __init__(self, share: float, seed: int) -> None:
        super().__init__()
        self.share, self.seed = share, seed

    def filter(self, document: Document) -> Verdict:
        """Depends on the seed and the document's id alone."""
        return draw(self.seed, document.id) < self.share * DRAWS or (False, "not_drawn")


class ClassifierFilter(BaseFilter):
    """Keeps documents by a classifier's score, which goes to the ledger (FineWeb-Edu; the paper's Table 6)."""

    name = "classifier"

    def __init__(self, config: ClassifierConfig, writer: UnitWriter) -> None:
        super().__init__(batch_size=config.batch_size * PASSES)
        self.config, self.writer = config, writer

    def filter(self, document: Document) -> Verdict:
        """The verdict on one document."""
        return self.filter_batch([document])[0]

    def filter_batch(self, batch: Sequence[Document]) -> list[Verdict]:
        """Verdicts in the documents' order. A score that is no number is a ``ValueError``, and nothing is recorded."""
        scores = load_classifier(self.config)([document.text for document in batch])
        for document, score in zip(batch, scores, strict=True):
            if not math.isfinite(score):
                raise ValueError(f"the score of {document.id} is {score}")
        for document, score in zip(batch, scores, strict=True):
            self.writer.record({"id": document.id, "rule": self.name, "score": score, "fault": None})
        return [self._keeps(score) or (False, f"score_below_{self.config.threshold:g}") for score in scores]

    def _keeps(self, score: float) -> bool:
        return (round(score) if self.config.rounded else score) >= self.config.threshold


class Classifier:
    """A loaded sequence-classification model."""

    def __init__(self, config: ClassifierConfig) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        cuda = torch.cuda.is_available()
        self.device = torch.device(("cuda" if cuda else "cpu") if config.device == "auto" else config.device)
        dtype = {"auto": "bfloat16" if self.device.type == "cuda" else "float32"}.get(config.dtype, config.dtype)
        try:
            self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(config.model)
            model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
                config.model, dtype=getattr(torch, dtype)
            )
        except (OSError, ValueError) as error:
            raise UserError(f"--classifier.model {config.model!r} can't be loaded ({error})") from error
        self.model = model.to(self.device).eval()
        self.batch_size = config.batch_size
        self.output = self._output(config)
        self.pad = self.tokenizer.pad_token_id or 0
        most = min(self.tokenizer.model_max_length, model.config.max_position_embeddings)
        self.max_tokens = min(config.max_tokens or most, most)

    def _output(self, config: ClassifierConfig) -> int | None:
        """Number of the output that is asked for; None for a regression model's only one."""
        labels = self.model.config.id2label
        if config.label:
            numbers = [number for number, label in labels.items() if label == config.label]
            if numbers and len(labels) > 1:
                return numbers[0]
        elif len(labels) == 1:
            return None
        raise UserError(
            f"--classifier.label {config.label!r}: {config.model} has the outputs {', '.join(labels.values())}: "
            + ("leave the label empty" if len(labels) == 1 else "name one of them")
        )

    def __call__(self, texts: Sequence[str]) -> list[float]:
        """Scores in the texts' order; of a text as many tokens are read as the model can."""
        import torch

        encoded = self.tokenizer(list(texts), truncation=True, max_length=self.max_tokens, verbose=False)["input_ids"]
        order = sorted(range(len(texts)), key=lambda index: (-len(encoded[index]), index))
        scores = [0.0] * len(texts)
        for begin in range(0, len(order), self.batch_size):
            indices = order[begin : begin + self.batch_size]
            rows = [torch.tensor(encoded[index]) for index in indices]
            ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.pad)  # [b, t]
            mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
            with torch.inference_mode():
                outputs = self.model(input_ids=ids.to(self.device), attention_mask=mask.to(self.device)).logits.float()
            chosen = outputs[:, 0] if self.output is None else outputs.softmax(-1)[:, self.output]
            for index, score in zip(indices, chosen.tolist(), strict=True):
                scores[index] = score
        return scores


@functools.lru_cache(1)
def load_classifier(config: ClassifierConfig) -> Classifier:
    """The classifier, loaded once a process. Raises ``UserError`` where it can't be."""
    return Classifier(config)
