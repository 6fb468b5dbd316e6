"""``python -m annotation <verb> --config configs/annotation/<verb>.yaml --documents runs/NAME/ingest --output DIR``."""

import sys

from annotation.agree_config import AgreeConfig
from annotation.configs import ProgramConfig, ScoreConfig
from annotation.set_configs import PairsConfig, SplitConfig, TreesConfig
from prox.command import Verb, main

VERBS: dict[str, Verb] = {
    "score": Verb(ScoreConfig, "annotation.score:score", "Score seed documents and decide which to keep (Equation 2)."),
    "program": Verb(
        ProgramConfig, "annotation.program:program", "Write a cleaning program for every chunk of kept documents."
    ),
    "split": Verb(
        SplitConfig, "annotation.split:split", "Split the annotation into train and valid sets, by document."
    ),
    "trees": Verb(TreesConfig, "annotation.trees:trees", "Have boosted trees judge lines, as a teacher for `pairs`."),
    "pairs": Verb(PairsConfig, "annotation.pairs:pairs", "Make the same sets from pages that people have cleaned."),
    "agree": Verb(AgreeConfig, "annotation.agree:agree", "Compare two annotations of the same documents."),
}

if __name__ == "__main__":
    sys.exit(main("annotation", VERBS))
