"""``python -m refinement <verb>``."""

import sys

from prox.command import Verb, main
from refinement.configs import ChunkConfig, DocumentConfig, IngestConfig, ReplayConfig
from refinement.rule_configs import RulesConfig, SelectConfig
from refinement.stats_config import StatsConfig

VERBS: dict[str, Verb] = {
    "ingest": Verb(IngestConfig, "refinement.ingest:ingest", "Cut a corpus into units of documents."),
    "document": Verb(DocumentConfig, "refinement.document:refine_documents", "Keep or drop each document."),
    "chunk": Verb(ChunkConfig, "refinement.chunk:refine_chunks", "Write and run a program for each chunk."),
    "replay": Verb(
        ReplayConfig, "refinement.replay:replay_ledger", "Make the refined text again from source and ledger."
    ),
    "select": Verb(SelectConfig, "refinement.select:select", "Keep the best documents within a budget."),
    "rules": Verb(RulesConfig, "refinement.rules:apply_rules", "Filter by rules, by a classifier or at random."),
    "stats": Verb(StatsConfig, "refinement.stats:measure", "Sizes, lengths, edits and cost of the arms; their cards."),
}

if __name__ == "__main__":
    sys.exit(main("refinement", VERBS))
