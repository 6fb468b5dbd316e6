"""``python -m pretraining <verb> --config configs/pretraining/<verb>.yaml``; the verbs are the keys of ``VERBS``.

On a laptop: stack ``--config configs/scales/nano/pretraining_<verb>.yaml`` after it.
"""

import sys

from pretraining.configs import ExportConfig, ImportConfig, TokenizeConfig, TokenizerConfig
from pretraining.train_config import ThroughputConfig, TrainConfig
from prox.command import Verb, main

VERBS = {
    "tokenizer": Verb(
        TokenizerConfig, "pretraining.tokenizer_training:train_tokenizer", "Train a byte-level BPE tokenizer."
    ),
    "tokenize": Verb(TokenizeConfig, "pretraining.tokenize_corpus:tokenize", "Turn documents into token shards."),
    "import": Verb(ImportConfig, "pretraining.import_weights:import_weights", "Read a Hugging Face model to train on."),
    "train": Verb(TrainConfig, "pretraining.train:train", "Train a language model on token shards.", distributed=True),
    "export": Verb(ExportConfig, "pretraining.export:export", "Write a trained model as a Hugging Face folder."),
    "throughput": Verb(
        ThroughputConfig, "pretraining.throughput:throughput", "Measure the speed of a train config.", distributed=True
    ),
}

if __name__ == "__main__":
    sys.exit(main("pretraining", VERBS))
