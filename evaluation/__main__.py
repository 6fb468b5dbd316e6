"""python -m evaluation <verb> --config configs/evaluation/<verb>.yaml"""

import sys

from evaluation.agreement_config import AgreementConfig
from evaluation.configs import BitsPerByteConfig, ChoiceConfig, YardstickConfig
from evaluation.paper_configs import FigureConfig, TableConfig
from evaluation.refiner_configs import RefinersConfig
from evaluation.report_config import ReportConfig
from evaluation.suite_configs import GeneralConfig, MathConfig, MirrorConfig, SelectionConfig
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
    "mirror": Verb(
        MirrorConfig,
        "evaluation.mirror:write_mirror",
        "The questions of the general and selection suites from the hub into a folder, for offline use.",
    ),
    "general": Verb(
        GeneralConfig,
        "evaluation.suites:score_suite",
        "The paper's ten general tasks through lighteval, zero-shot (Tables 2, 6, 10, 12-18).",
    ),
    "selection": Verb(
        SelectionConfig,
        "evaluation.suites:score_suite",
        "The eight tasks of the data selection experiments through lm-eval (Tables 3 and 11).",
    ),
    "math": Verb(
        MathConfig,
        "evaluation.suites:score_suite",
        "Nine math tasks with worked examples, greedy, through lm-eval (Tables 5 and 19).",
    ),
    "agreement": Verb(
        AgreementConfig,
        "evaluation.agreement:compare_answers",
        "The same models' choices in two evaluations, question by question.",
    ),
    "table": Verb(
        TableConfig,
        "evaluation.table:make_table",
        "A table out of result records: `table 2` is the paper's Table 2 beside one's own, `table` one row an own arm.",
        positional="number",
    ),
    "figure": Verb(
        FigureConfig,
        "evaluation.figure:make_figure",
        "`figure 4` is the paper's Figure 4, its points beside one's own.",
        positional="number",
    ),
    "refiners": Verb(
        RefinersConfig,
        "evaluation.refiner_table:make_refiner_table",
        "Refiners of several sizes: F1 of both tasks and tokens kept, beside the paper's (Table 4).",
    ),
    "report": Verb(
        ReportConfig,
        "evaluation.report:make_report",
        "One HTML page of runs: tables, curves, retention, and documents before and after with their programs.",
    ),
}

if __name__ == "__main__":
    sys.exit(main("evaluation", VERBS))
