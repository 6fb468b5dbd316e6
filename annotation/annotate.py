"""What `score` and `program` share: annotator, cache, meter and tables around one run over items."""

import contextlib
import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any, TypeVar

from annotation.annotators import Annotator
from annotation.answer_cache import AnswerCache
from annotation.asking import Asking, Job, Limits
from annotation.configs import AnnotateConfig
from annotation.spending import Meter
from annotation.tables import ASIDE, Row, RowWriter
from annotation.templates import Prompt, load_prompt
from prox import artifact
from prox.exclusive import alone_in
from prox.progress import Progress

log = logging.getLogger("prox")

Item = TypeVar("Item")
USAGE = "usage.json"


def annotate(
    config: AnnotateConfig,
    table: str,
    unit: str,
    annotator: Annotator,
    job: Job[Item],
    items: Iterable[Item],
    total: int,
) -> dict[str, Any]:
    """Writes a row an item: to ``table``, or to ``aside.jsonl`` with a reason; and tokens and cost to ``usage.json``.

    Returns the number of rows set aside, and the cost where prices are known.
    """
    is_model = config.annotator.kind == "model"
    meter = Meter(config.spending, config.annotator.max_new_tokens)
    set_aside: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        stack.enter_context(alone_in(config.output))
        for leftover in config.output.glob(".*.tmp"):  # of a run that was killed
            leftover.unlink(missing_ok=True)
        cache = stack.enter_context(AnswerCache(config.cache_folder())) if is_model else None
        rows = stack.enter_context(RowWriter(config.output / table))
        aside = stack.enter_context(RowWriter(config.output / ASIDE))
        who = config.annotator.describe(config.engine)
        progress = stack.enter_context(Progress(f"{unit} annotated by {who}", total, unit))

        def write(row: Row) -> None:
            if "reason" in row:
                set_aside[row["reason"].split(":", 1)[0]] += 1
                aside.add(row)
            else:
                rows.add(row)

        reminder = load_prompt(config.reminder)
        limits = Limits(config.max_failed_share, config.max_aside_share, config.ask_again)
        asking = Asking(job, annotator, reminder, config.annotator.num_retries, cache, meter, limits)
        try:
            asking.run(items, write, progress)
        finally:
            if is_model:
                log.info("answers: %s asked for, %s from %s", f"{meter.asked:,}", f"{meter.from_cache:,}", cache.folder)
    for reason, count in set_aside.most_common():
        log.info("set aside: %d %s, %s", count, unit, reason)
    summary: dict[str, Any] = {"aside": set_aside.total()}
    if is_model:
        artifact.write_json(config.output / USAGE, meter.facts())
        summary |= {name: value for name, value in meter.facts().items() if name == "cost"}
    return summary


def attribution(config: AnnotateConfig, annotator: Annotator, prompts: dict[str, Prompt]) -> dict[str, Any]:
    """What every row says of where it comes from."""
    reminder = load_prompt(config.reminder)
    return {
        "annotator": annotator.name,
        "model": annotator.model,
        "prompts": {task: prompt.mark for task, prompt in prompts.items()},
        "reminder": reminder.mark,
        "sampling": annotator.sampling,
    }
