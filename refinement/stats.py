"""`refinement stats`: what each step and each arm left of the corpus, what programs did, and what that cost.

Every unit is counted once, by as many processes as there are workers, and its counts are kept; the rest is adding up.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prox.artifact import write_json
from prox.engines.local import load_tokenizer
from prox.errors import UserError
from prox.tasks import TaskExecutor
from prox.units import DOCUMENTS, DROPPED, LEDGER, unit_files
from refinement import cost, lengths
from refinement.card import write_card
from refinement.counting import COUNTS, SIZE, Counts, CountUnit, add_counts, read_counts
from refinement.frequent import Frequent
from refinement.ledger_counts import FREQUENT
from refinement.provenance import Step, chain, trace
from refinement.stats_config import StatsConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

KINDS = (DOCUMENTS, DROPPED, LEDGER)
Size = dict[str, int]


def measure(config: StatsConfig) -> dict[str, Any]:
    """Counts every arm and the steps behind it, and prints the arms' sizes.

    Writes ``stats.json``, ``lengths.csv``, ``lengths.svg``, ``lengths.png``, ``frequent.json``, ``cost.json`` (no other
    file holds times) and ``cards/<arm>/README.md``.
    """
    steps, last = trace(config.arms)
    tokenizer = describe_tokenizer(config.tokenizer, load_tokenizer(config.tokenizer))
    counts, frequent = count_units(config, steps)
    rows = [describe_step(step, counts) for step in steps]
    by_name = {row["name"]: row for row in rows}
    arms = {arm: by_name[name]["kept"] for arm, name in last.items()}
    base = arms.get("raw") or next(iter(arms.values()))
    shares = {arm: share(size, base) for arm, size in arms.items()}
    statistics = {"arms": arms, "shares": shares, "tokenizer": tokenizer, "steps": rows}
    costs = describe_cost(config, steps, last, counts)
    write_json(config.output / "stats.json", statistics)
    write_json(config.output / "frequent.json", frequent)
    write_json(config.output / "cost.json", costs)
    write_lengths(config.output, {arm: counts[name]["lengths"] for arm, name in last.items()}, arms)
    for arm, name in last.items():
        card = config.output / "cards" / arm.replace("/", "_") / "README.md"
        write_card(card, arm, chain(steps, name), statistics, frequent, costs)
    print(table(arms, shares))
    return {arm: f"{shares[arm]['tokens']:.1%} of tokens" for arm in arms}


def describe_tokenizer(name: str, tokenizer: "PreTrainedTokenizerBase") -> dict[str, Any]:
    """What identifies the tokenizer, wherever it lies."""
    content = tokenizer.backend_tokenizer.to_str()
    mark = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return {"name": Path(name).name if Path(name).exists() else name, "vocabulary": len(tokenizer), "sha256": mark}


def unit_names(steps: Sequence[Step]) -> list[str]:
    """Names of the units of all steps; steps made from one another name theirs alike."""
    return sorted({file.name for step in steps for kind in KINDS for file in unit_files(step.folder, kind)})


def count_units(config: StatsConfig, steps: Sequence[Step]) -> tuple[dict[str, Counts], dict[str, Any]]:
    """Counts the units that are not counted yet, then adds all up, in the units' order: counts by step, and the most
    frequent items by step and kind.
    """
    units = unit_names(steps)
    task = CountUnit(config, steps, units)
    sizes = [task.size(rank) for rank in range(len(units))]
    folder = str(config.output / "tasks")
    executor = TaskExecutor("refinement stats", [task], sizes, workers=config.workers, logging_dir=folder)
    executor.tidy(lambda rank: [task.path(rank)], [config.output / COUNTS])
    executor.run()
    counts: dict[str, Counts] = {step.name: {"kept": {}, "dropped": {}, "lengths": {}} for step in steps}
    items = {step.name: {kind: Frequent(config.capacity) for kind in FREQUENT} for step in steps}
    for rank in range(len(units)):
        for name, found in read_counts(task.path(rank)).items():
            add_counts(counts[name], found["counts"])
            for kind, stored in found["frequent"].items():
                items[name][kind].merge(stored)
    frequent = {
        name: {kind: top_items(one, config.top) for kind, one in kinds.items() if one.total}
        for name, kinds in items.items()
    }
    return counts, {name: kinds for name, kinds in frequent.items() if kinds}


def top_items(found: Frequent, number: int) -> dict[str, Any]:
    """The most frequent items, each of which occurs at least ``count`` and at most ``count + error`` times.

    ``document`` is the id of the first document it was seen in; ``distinct`` is None where items were let go.
    """
    stored = found.to_json()
    listed = [{"text": item, "count": count, "document": example} for item, count, example in stored["items"][:number]]
    distinct = len(stored["items"]) if stored["error"] == 0 else None
    return {"total": stored["total"], "error": stored["error"], "distinct": distinct, "items": listed}


def describe_step(step: Step, counts: Mapping[str, Counts]) -> dict[str, Any]:
    """Documents, tokens, words and bytes in and out of a step, and by the reason for dropping.

    ``edited_away`` is what edits took from the documents that are kept. ``in`` and ``edited_away`` are None at the
    beginning of a chain. Raises ``UserError`` where a step's input is no longer what the step read.
    """
    own = counts[step.name]
    kept = whole(own["kept"])
    reasons = {reason: whole(size) for reason, size in sorted(own["dropped"].items())}
    dropped = {unit: sum(size[unit] for size in reasons.values()) for unit in SIZE}
    row = {"name": step.name, "command": step.command or None, "input": step.source, "kept": kept, "dropped": dropped}
    row |= {"dropped_by_reason": reasons, "in": None, "edited_away": None, "ledger": own.get("ledger")}
    if step.source is not None:
        row["in"] = whole(counts[step.source]["kept"])
        row["edited_away"] = {unit: row["in"][unit] - kept[unit] - dropped[unit] for unit in SIZE}
        if row["edited_away"].pop("documents"):
            held = kept["documents"] + dropped["documents"]
            raise UserError(
                f"{step.folder} holds {held} documents, kept and dropped, but `{step.source}`, which it was made from, "
                f"has {row['in']['documents']}: run `python -m {step.command}` again"
            )
    return row


def whole(size: Mapping[str, int]) -> Size:
    """A size with every unit in it."""
    return {unit: size.get(unit, 0) for unit in SIZE}


def share(size: Mapping[str, int], of: Mapping[str, int]) -> dict[str, float]:
    """What ``size`` is of another, by unit; 0 of nothing."""
    return {unit: size[unit] / of[unit] if of[unit] else 0.0 for unit in SIZE}


def describe_cost(
    config: StatsConfig, steps: Sequence[Step], last: Mapping[str, str], counts: Mapping[str, Counts]
) -> dict[str, Any]:
    """FLOPs and seconds by stage, FLOPs by arm; only arms that a refiner had a part in."""
    sizes = {refiner: cost.count_parameters(refiner) for refiner in {step.refiner() for step in steps} if refiner}
    stages: dict[str, dict[str, Any]] = {}
    for step in steps:
        if step.refiner() and counts[step.name].get("ledger"):
            tokens_in = counts[step.source]["kept"].get("tokens", 0) if step.source else None
            stages[step.name] = cost.stage_cost(step, tokens_in, counts[step.name], sizes[step.refiner()])
    arms = {}
    for arm, name in last.items():
        passed = [stages[step.name] for step in chain(list(steps), name) if step.name in stages]
        if passed:
            arms[arm] = cost.arm_cost(passed, counts[name]["kept"].get("tokens", 0), config.trained_models)
    return {"stages": list(stages.values()), "arms": arms, "notes": cost.NOTES}


def write_lengths(output: Path, found: Mapping[str, Counts], arms: Mapping[str, Size]) -> None:
    """The arms' length histograms: ``lengths.csv``, ``lengths.svg``, ``lengths.png``."""
    filled = {
        arm: {measure: {int(low): n for low, n in counts.get(measure, {}).items()} for measure in lengths.MEASURES}
        for arm, counts in found.items()
    }
    means = {
        arm: {measure: size[measure] / size["documents"] if size["documents"] else 0.0 for measure in lengths.MEASURES}
        for arm, size in arms.items()
    }
    bins = lengths.histogram(filled)
    lengths.write_csv(output / "lengths.csv", bins)
    lengths.save(lengths.draw(bins, means), output / "lengths")


def table(arms: Mapping[str, Size], shares: Mapping[str, Mapping[str, float]]) -> str:
    """The arms as plain text, one a line."""
    width = max(len("arm"), *(len(name) for name in arms))
    lines = [f"{'arm':<{width}}  " + "  ".join(f"{unit:>20}" for unit in SIZE)]
    for name, size in arms.items():
        cells = (f"{size[unit]:,} ({shares[name][unit]:.1%})" for unit in SIZE)
        lines.append(f"{name:<{width}}  " + "  ".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)
