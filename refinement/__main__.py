"""``python -m refinement <verb>``."""

import sys

from prox.command import Verb, main
from refinement.configs import ChunkConfig, DocumentConfig, IngestConfig, RulesConfig, StatsConfig

VERBS: dict[str, Verb] = {
    "ingest": Verb(IngestConfig, "refinement.ingest:ingest", "Cut a corpus into units of documents."),
    "document": Verb(DocumentConfig, "refinement.document:refine_documents", "Keep or drop each document."),
    "chunk": Verb(ChunkConfig, "refinement.chunk:refine_chunks", "Write and run a program for each chunk."),
    "rules": Verb(RulesConfig, "refinement.rules:apply_rules", "Filter by datatrove's rules (the paper's baselines)."),
    "stats": Verb(StatsConfig, "refinement.stats:measure", "Documents, tokens, words and bytes of each arm."),
}

if __name__ == "__main__":
    sys.exit(main("refinement", VERBS))
