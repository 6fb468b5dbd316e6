"""``evaluation mirror``: the multiple-choice suites' questions from the hub into a folder, for offline use."""

import logging
from collections.abc import Iterator
from typing import Any

from evaluation.benchmark_data import load_split, sources
from evaluation.records import sha256_of_files
from evaluation.suite_configs import MirrorConfig
from prox.artifact import write_json

log = logging.getLogger("prox")


def write_mirror(config: MirrorConfig) -> dict[str, Any]:
    """Writes ``<repository, / as __>/<config>/<split>.parquet`` of every task, and ``card.json``; what is there stays.

    Raises:
        UserError: a split can't be read from the hub.
    """
    card = {}
    for task, split in splits_to_fetch(config):
        source = sources()[task]
        path = source.places(config.output)[0] / f"{split}.parquet"
        if not path.is_file():
            rows = load_split(source, split, None)
            assert rows is not None  # the hub gives rows or raises
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = path.with_suffix(".partial")
            rows.to_parquet(str(aside))
            aside.rename(path)
            log.info("mirror: %s %s, %d rows", task, split, len(rows))
        name = str(path.relative_to(config.output))
        card[name] = {"repository": source.repo, "revision": source.revision, "sha256": sha256_of_files(path)}
    write_json(config.output / "card.json", card)
    return {"files": len(card)}


def splits_to_fetch(config: MirrorConfig) -> Iterator[tuple[str, str]]:
    """Task and split of every file: what the suites ask, and where worked examples come from."""
    for task in config.asked():
        source = sources()[task]
        splits = {source.evaluation_split("general"), source.evaluation_split("selection"), source.fewshot_split}
        for split in sorted(splits):
            yield task, split
