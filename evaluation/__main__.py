"""python -m evaluation <verb> --config configs/evaluation/<verb>.yaml"""

import sys

from evaluation.configs import BitsPerByteConfig, ChoiceConfig, TableConfig, YardstickConfig
from evaluation.refiner_configs import RefinersConfig
from prox.command import Verb, main

VERBS = {
    "yardstick": Verb(
        YardstickConfig,
        "evaluation.yardstick:build_yardstick",
        "Held-back clean text, and a multiple-choice set made from it.",
    ),
    "bits_per_byte": Verb(
        BitsPerByteConfig,
        "evaluation.bits_per_byte:score_bits_per_byte",
        "Bits per byte of the yardstick's text, for any number of models.",
    ),
    "choice": Verb(
        ChoiceConfig,
        "evaluation.choice:score_choice",
        "The yardstick's multiple-choice task through lm-eval or lighteval, for any number of models.",
    ),
    "table": Verb(TableConfig, "evaluation.table:make_table", "One table out of result records and corpus statistics."),
    "refiners": Verb(
        RefinersConfig,
        "evaluation.refiner_table:make_refiner_table",
        "Refiners of several sizes: F1 of both tasks and tokens kept, beside the paper's (Table 4).",
    ),
}

if __name__ == "__main__":
    sys.exit(main("evaluation", VERBS))
