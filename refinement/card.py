"""A Hugging Face dataset card for each arm, written from what the steps recorded and what was counted; no more."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from prox.artifact import recorded, write_atomically
from refinement.provenance import Step

Size = Mapping[str, int]

# The hub's own classes: an upper limit, and the class of data sets below it.
SIZE_CLASSES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
    (10**10, "1B<n<10B"),
    (10**11, "10B<n<100B"),
    (10**12, "100B<n<1T"),
)
# Fields that say where and how a step ran: they decide nothing, and differ between equal runs.
LEFT_OUT = frozenset({"output", "documents", "ledger", "dry_run", "workers", "tracking"})
LISTED_LINES = 10
FLOPS = ("flops", "flops_of_read_and_generated")
# Of the engine's settings those that bear on what it answers.
ENGINE = ("kind", "dtype", "max_context", "batch_size")
# What a step's own stats.json counts, and what that means to who uses the corpus.
CAUTIONS = {
    "left_out": "`{step}` left out {count:,} records of the source, for the reasons above.",
    "broken_files": "{count:,} files of the source could not be read to their end; the rest is counted nowhere.",
    "duplicate_ids": "{count:,} documents of the source had the id of an earlier one; `{step}` gave them new ones.",
    "invalid_utf8": "{count:,} documents of the source held invalid UTF-8, which `{step}` replaced.",
    "truncated": "In `{step}` the refiner saw only a part of {count:,} documents, which were too long for its prompt.",
    "failed": "In `{step}` {count:,} documents got no answer; they were kept as they were.",
    "unreadable": "In `{step}` {count:,} answers of the refiner could not be read; their documents were kept.",
}
CHUNK_CAUTIONS = {
    ("programs", "skipped"): "In `{step}` {count:,} chunks were seen by no refiner and kept as they were: lines longer "
    "than the window, or a script that was not taught.",
    ("programs", "cut_off"): "In `{step}` {count:,} programs reached the token limit; what was cut off was not run.",
    ("chunks", "rejected"): "In `{step}` the guards took back the edits of {count:,} chunks.",
    ("documents", "rejected"): "In `{step}` the guards took back the edits of {count:,} documents.",
    ("statuses", "fault"): "In `{step}` {count:,} calls could not be read and were not run.",
}


def write_card(
    path: Path,
    arm: str,
    steps: Sequence[Step],
    statistics: Mapping[str, Any],
    frequent: Mapping[str, Any],
    costs: Mapping[str, Any],
) -> None:
    """Writes the card of an arm, to be put beside its ``documents`` folder.

    ``steps`` are the arm's chain; the others are the contents of ``stats.json``, ``frequent.json`` and ``cost.json``.
    """
    by_name = {row["name"]: row for row in statistics["steps"]}
    rows = [by_name[step.name] for step in steps]
    parts = [
        front_matter(rows[-1]["kept"]["documents"]),
        f"# {arm}\n",
        _contents(arm, rows, statistics["tokenizer"]),
        _steps(rows),
        _reasons(rows),
        *(_edits(row, frequent.get(row["name"], {})) for row in rows if (row["ledger"] or {}).get("calls_by_status")),
        _cost(costs, costs["arms"].get(arm)),
        _limits(steps, rows),
        _provenance(steps),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "\n".join(part for part in parts if part))


def front_matter(documents: int) -> str:
    """The card's metadata; the licence is left to who publishes the corpus."""
    size = next((name for limit, name in SIZE_CLASSES if documents < limit), "n>1T")
    metadata = {
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "documents/*.parquet"}]}],
        "size_categories": [size],
        "tags": ["pre-training", "refined-with-prox"],
    }
    reminder = "# license: to be set by who publishes the corpus; the source's licence is not recorded"
    return f"---\n{reminder}\n{yaml.safe_dump(metadata, sort_keys=False)}---\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int = 1) -> str:
    rule = ["---" if column < numbers_from else "---:" for column in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows)) + "\n"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _mean(size: Size) -> str:
    return f"{size['tokens'] / size['documents']:,.0f}" if size["documents"] else "-"


def _contents(arm: str, rows: Sequence[Mapping[str, Any]], tokenizer: Mapping[str, Any]) -> str:
    units = ("documents", "tokens", "words", "bytes")
    first, last = rows[0]["kept"], rows[-1]["kept"]

    def line(name: str, size: Size) -> list[str]:
        return [name, *(f"{size[unit]:,}" for unit in units), _mean(size)]

    shares = ["share kept", *(_share(last[unit], first[unit]) for unit in units), ""]
    compared = [line(f"source (`{rows[0]['name']}`)", first)] if len(rows) > 1 else []
    lines = [*compared, line(f"this corpus (`{arm}`)", last), *([shares] if compared else [])]
    return (
        "Columns: `id`, `text`, and `metadata` (a JSON object as a string).\n\n"
        + _table(["", *units, "tokens a document"], lines)
        + f"\nTokens of `{tokenizer['name']}` ({tokenizer['vocabulary']:,} tokens, SHA-256 {tokenizer['sha256']}...), "
        "special ones not counted; a character of a script without spaces is a word; bytes of UTF-8.\n"
    )


def _steps(rows: Sequence[Mapping[str, Any]]) -> str:
    source = rows[0]["kept"]["tokens"]
    lines = []
    for row in rows:
        edited = row["edited_away"]
        cells = [
            f"{row['in']['documents']:,}" if row["in"] else "-",
            f"{row['kept']['documents']:,}",
            f"{row['dropped']['documents']:,}",
            f"{row['in']['tokens']:,}" if row["in"] else "-",
            f"{row['dropped']['tokens']:,}",
            f"{edited['tokens']:,}" if edited else "-",
            f"{row['kept']['tokens']:,}",
            _share(row["kept"]["tokens"], source),
        ]
        lines.append([f"`{row['name']}`", row["command"] or "not made by this project", *cells])
    header = ["step", "command", *(f"documents {what}" for what in ("in", "kept", "dropped"))]
    header += [f"tokens {what}" for what in ("in", "dropped", "edited away", "kept")]
    return "## Steps\n\n" + _table([*header, "of the source's tokens"], lines, numbers_from=2)


def _reasons(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        [f"`{row['name']}`", _code(reason), f"{size['documents']:,}", f"{size['tokens']:,}"]
        for row in rows
        for reason, size in sorted(row["dropped_by_reason"].items(), key=lambda one: (-one[1]["documents"], one[0]))
    ]
    if not lines:
        return ""
    header = ["step", "reason", "documents", "tokens"]
    return "## Why documents were dropped\n\n" + _table(header, lines, numbers_from=2)


def _code(text: str) -> str:
    """Text as code in a table's cell, whatever it holds."""
    fence = "``" if "`" in text else "`"
    pad = " " if "`" in text else ""
    return fence + pad + text.replace("|", "\\|").replace("\n", " ") + pad + fence


def _edits(row: Mapping[str, Any], frequent: Mapping[str, Any]) -> str:
    ledger = row["ledger"]
    calls = [
        [f"`{name}`", status, f"{count:,}"]
        for name, statuses in sorted(ledger["calls_by_status"].items())
        for status, count in sorted(statuses.items())
    ]
    text = f"## Edits of `{row['name']}`\n\n" + _table(["call", "what became of it", "calls"], calls, numbers_from=2)
    guards = [[_code(name), f"{count:,}"] for name, count in sorted(ledger["guards"].items())]
    if guards:
        text += "\nGuards and limits that decided, for chunks and documents:\n\n" + _table(["guard", "times"], guards)
    if lines := frequent.get("removed_lines"):
        text += f"\nMost frequent of {lines['total']:,} removed lines (blank ones left out, white space cut off)"
        text += f"; a count may be up to {lines['error']:,} too low" if lines["error"] else ""
        listed = [
            [_code(item["text"][:80]), f"{item['count']:,}", _code(item["document"])]
            for item in lines["items"][:LISTED_LINES]
        ]
        text += ":\n\n" + _table(["line", "times", "first seen in"], listed)
    return text


def _cost(costs: Mapping[str, Any], arm: Mapping[str, Any] | None) -> str:
    if arm is None:
        return ""
    names = ("parameters_without_embedding", "tokens_in", "tokens_read", "tokens_generated")
    lines = []
    for stage in costs["stages"]:
        if stage["step"] in arm["stages"]:
            numbers = ["-" if stage[name] is None else f"{stage[name]:,}" for name in names]
            flops = ["-" if stage[name] is None else f"{stage[name]:.2e}" for name in FLOPS]
            lines.append([f"`{stage['step']}`", *numbers, *flops])
    header = ["step", "N (without embedding)", "tokens in", "read", "generated", "FLOPs, 2 N tokens in"]
    text = "## Compute\n\n" + _table([*header, "FLOPs, 2 N (read + generated)"], lines)
    same = [
        f"{model['tokens_of_the_same_flops']:,} tokens for {name}"
        for name, model in arm["training"].items()
        if model["tokens_of_the_same_flops"] is not None
    ]
    return text + (f"\nTraining (6 N tokens) costs as much as refining at {', '.join(same)}.\n" if same else "")


def _limits(steps: Sequence[Step], rows: Sequence[Mapping[str, Any]]) -> str:
    found = []
    for step, row in zip(steps, rows, strict=True):
        summary = step.summary()
        counted = [(text, summary.get(name)) for name, text in CAUTIONS.items()]
        if (row["ledger"] or {}).get("calls_by_status") is not None:
            ledger = row["ledger"]
            counted += [(text, ledger.get(part, {}).get(name)) for (part, name), text in CHUNK_CAUTIONS.items()]
        found += [text.format(step=step.name, count=count) for text, count in counted if count]
        for rule, count in (summary.get("kept_because_the_rule_failed") or {}).items():
            found.append(f"In `{step.name}` the rule {rule} failed on {count:,} documents, which were kept.")
    found.append(f"What the source went through before `{steps[0].name}` is not recorded.")
    found.append("No step above removes personal data, or documents that are in the corpus twice.")
    return "## Limits\n\n" + "\n".join(f"- {text}" for text in found) + "\n"


def _provenance(steps: Sequence[Step]) -> str:
    text = ""
    packages: dict[str, list[str]] = {}
    for step in steps:
        asked = step.asked()
        for one in [step] if asked is step else [step, asked]:
            if one.record:
                name = f"`{step.name}`" if one is step else f"the run whose answers `{step.name}` holds"
                text += f"\n{name}:\n\n```yaml\n{_yaml(provenance(one))}```\n"
                packages.setdefault(_yaml(one.record.get("packages", {})), []).append(name)
    for versions, names in packages.items():
        text += f"\nPackages of {', '.join(names)}:\n\n```yaml\n{versions}```\n"
    return f"## Provenance\n{text}" if text else ""


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110)


def provenance(step: Step) -> dict[str, Any]:
    """What a step recorded of itself: command, code, settings, and the refiner it asked with its dialogue."""
    facts = {name: step.record.get(name) for name in ("command", "fingerprint", "commit")}
    config = {name: value for name, value in step.record.get("config", {}).items() if name not in LEFT_OUT}
    if "engine" in config:
        config["engine"] = {name: config["engine"][name] for name in ENGINE if name in config["engine"]}
    if refiner := (config.pop("refiner", None) or {}).get("checkpoint"):
        made = recorded(Path(refiner))
        facts["refiner"] = {"checkpoint": refiner} | {
            name: made[name] for name in ("command", "fingerprint", "commit") if name in made
        }
        facts["dialogue"] = step.dialogue()
    return facts | {"config": config}
