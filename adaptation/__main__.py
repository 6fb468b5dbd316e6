"""Command line of the adaptation stage."""

import sys

from adaptation.configs import ExportConfig, SelectConfig, TrainConfig, ValidateConfig
from prox.command import Verb, main

VERBS: dict[str, Verb] = {
    "export": Verb(
        ExportConfig, "adaptation.export:export_examples", "Write annotated examples as LLaMA-Factory's ShareGPT files."
    ),
    "train": Verb(TrainConfig, "adaptation.train:train", "Fine-tune a base model (full parameters, LLaMA-Factory)."),
    "validate": Verb(
        ValidateConfig, "adaptation.validate:validate", "Score checkpoints on the valid split (F1, paper's A.3)."
    ),
    "select": Verb(
        SelectConfig, "adaptation.select:select_best", "Copy the best checkpoint into a folder of its own, with a card."
    ),
}

if __name__ == "__main__":
    sys.exit(main("adaptation", VERBS))
