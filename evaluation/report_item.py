"""One document as the page holds it: text with marks, programs with what became of their calls, facets to filter by."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from evaluation.report_marks import BrokenRow, Line, described_calls, mark_document, ranges
from prox.units import source_hash

if TYPE_CHECKING:
    from evaluation.report_documents import StepRows

# The browser draws an element a line and a call; more of one document than this says nothing more.
MOST_LINES = 800
MOST_CALLS = 200
LONGEST_PROGRAM = 2_000
NO_DOMAIN = "(no domain)"
Item = dict[str, Any]


def domain_of(metadata: Mapping[str, Any]) -> tuple[str, str]:
    """The address of a document and its domain, as far as its metadata tell."""
    url = str(metadata.get("url") or "")
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    return url, str(metadata.get("domain") or host.removeprefix("www.") or NO_DOMAIN)


def _metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    try:
        content = json.loads(row.get("metadata") or "{}")
    except (ValueError, RecursionError) as error:
        raise BrokenRow("its metadata are no JSON") from error
    return content if isinstance(content, dict) else {}


def describe_document(row: Mapping[str, Any], steps: Sequence["StepRows"], beside: Iterable["StepRows"]) -> Item:
    """What the page says of a document; ``BrokenRow`` where a ledger and its text don't belong together."""
    identity, text = row["id"], row["text"]
    url, domain = domain_of(_metadata(row))
    item: Item = {"id": identity, "url": url[:500], "domain": domain, "before": len(text), "p_keep": None}
    item |= {"outcome": "unchanged", "reason": "", "lines": text.split("\n"), "removed": [], "programs": []}
    item["others"] = _others(identity, beside)
    for found in steps:
        ledger, dropped = found.ledger.get(identity), found.dropped.get(identity)
        if ledger is None and dropped is None and (not found.reached or found.step.kind):
            item |= {"outcome": "not processed", "reason": f"{found.step.arm} has not come to it"}
            break
        if ledger is not None and found.step.kind == "document":
            _add_decision(item, found.step.arm, text, ledger)
        elif ledger is not None:
            text = _add_programs(item, found.step.arm, text, ledger)
        if dropped is not None:
            item |= {
                "outcome": "dropped",
                "reason": dropped["reason"] or "no reason given",
                "dropped_by": found.step.arm,
            }
            text = ""
            break
    item["after"] = len(text)
    return item | _facets(item)


def _others(identity: str, beside: Iterable["StepRows"]) -> list[list[Any]]:
    """``[arm, reason]`` of arms that only keep or drop; the reason is None for what they keep."""
    found = []
    for rows in beside:
        dropped = rows.dropped.get(identity)
        if dropped is not None or rows.reached:
            found.append([rows.step.arm, None if dropped is None else dropped["reason"] or "no reason given"])
    return found


def _add_decision(item: Item, arm: str, text: str, ledger: Mapping[str, Any]) -> None:
    """The document program of a row."""
    if ledger["source_hash"] != source_hash(text):
        raise BrokenRow("the ledger was written for another text")
    notes = [
        note
        for note, holds in (
            ("the refiner saw only a part of the document", ledger.get("truncated")),
            ("unreadable, so the document is kept", ledger.get("readable") is False),
            (f"no answer: {ledger.get('failure')}", ledger.get("failure") is not None),
        )
        if holds
    ]
    said = (ledger["program"] or "")[:LONGEST_PROGRAM]
    name = said.partition("(")[0] if ledger.get("readable") else ""
    calls = [[said, name, ledger["decision"], 0]] if name else []
    item["p_keep"] = ledger.get("p_keep")
    item["programs"].append(
        {"step": arm, "kind": "document", "raw": said, "verdict": ledger["decision"], "calls": calls, "notes": notes}
    )


def _add_programs(item: Item, arm: str, text: str, ledger: Mapping[str, Any]) -> str:
    """The chunk programs of a row, and what they did to the lines; returns the text after."""
    marked = mark_document(text, ledger)
    item |= {"lines": marked.lines, "removed": ranges(marked.removed)}
    item |= {"outcome": ledger["verdict"], "reason": ledger["reason"] or ""}
    left = MOST_CALLS
    probabilities: list[int | None] = []
    for chunk in ledger["chunks"]:
        probabilities += _percents(chunk)
        calls = described_calls(ledger, chunk)
        raw = chunk["program"] or ""
        notes = [
            note
            for note, holds in (
                (f"not shown to the refiner: {chunk.get('skip_reason') or chunk['reason']}", chunk["skipped"]),
                (f"no answer: {chunk['failure']}", chunk["failure"] is not None),
                ("the answer ends within a line", chunk["cut_off"]),
                ("the answer was stopped at a loop", chunk["finish_reason"] == "loop"),
                (f"{len(calls) - left} calls more are not shown", len(calls) > left),
                (f"cut after {LONGEST_PROGRAM:,} of {len(raw):,} characters", len(raw) > LONGEST_PROGRAM),
            )
            if holds
        ]
        first, last = chunk["first_line"], chunk["first_line"] + chunk["num_lines"] - 1
        program = {"step": arm, "kind": "chunk", "first": first, "last": last, "raw": raw[:LONGEST_PROGRAM]}
        program |= {"verdict": chunk["verdict"], "reason": chunk["reason"] or "", "notes": notes}
        program["calls"] = [[call[0][:500], *call[1:]] for call in calls[:left]]
        # For the facets, which count what is not shown too.
        program["all"] = sorted({(name if status != "fault" else "", status) for _, name, status, _ in calls})
        left = max(left - len(calls), 0)
        item["programs"].append(program)
    if any(value is not None for value in probabilities):
        item["probabilities"] = probabilities
    return marked.refined


def _percents(chunk: Mapping[str, Any]) -> list[int | None]:
    """A tagger's probabilities of removal, of each line, in whole percent; None for lines nobody judged."""
    found = chunk.get("line_probabilities")
    if found is None or len(found) != chunk["num_lines"]:
        return [None] * chunk["num_lines"]
    return [None if one is None else round(100 * one) for one in found]


def _facets(item: Item) -> dict[str, list[str]]:
    """The kinds of calls, and the statuses, verdicts and reasons, that the page filters by."""
    kinds: set[str] = set()
    tags: set[str] = {f"document: {item['outcome']}"}
    if item["reason"] and item["outcome"] not in ("not processed", "failed"):  # a failure says the error's own words
        tags.add(f"reason: {item['reason']}")
    for program in item["programs"]:
        if program["kind"] == "document":
            kinds.update(call[1] for call in program["calls"])
            continue
        pairs = program.pop("all")
        kinds.update(name for name, _ in pairs if name)
        tags.update(f"call: {status}" for _, status in pairs)
        tags.add(f"chunk: {program['verdict']}")
        if program["reason"] and program["verdict"] == "rejected":
            tags.add(f"guard: {program['reason']}")
    tags.update(f"{arm}: {reason or 'kept'}" for arm, reason in item["others"])
    return {"kinds": sorted(kinds), "tags": sorted(tags)}


def _length(line: Line) -> int:
    return len(line) if isinstance(line, str) else sum(len("".join(part)) for part in line)


def trim_item(item: Item, most: int) -> Item:
    """The item with its lines after ``most`` characters cut off, and a count of what is shown."""
    shown, left = [], most
    for line in item["lines"][:MOST_LINES]:
        if left <= 0:
            break
        # A line with marks is shown whole or not at all, unless it is as long as all that may be shown.
        if _length(line) > left:
            before = line if isinstance(line, str) else "".join(p if isinstance(p, str) else p[0] for p in line)
            shown.append(before[:left])
            item["cut_line"] = True
            left = 0
            break
        shown.append(line)
        left -= _length(line) + 1
    if len(shown) < len(item["lines"]) or item.get("cut_line"):
        item["cut"] = [len(shown), item.setdefault("num_lines", len(item["lines"]))]
        item["lines"] = shown
        if "probabilities" in item:
            item["probabilities"] = item["probabilities"][: len(shown)]
    return item


def _bytes(item: Item) -> int:
    return len(json.dumps(item, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def fit_items(items: Sequence[Item], max_bytes: int) -> bool:
    """Cuts the longest documents until all together take no more than ``max_bytes``; True where it had to.

    The cut is the same for all, so that short documents stay whole.
    """
    longest = max((sum(map(_length, item["lines"])) for item in items), default=0)
    fitted = False
    while longest > 200 and sum(map(_bytes, items)) > max_bytes:
        longest = int(longest * 0.75)
        fitted = True
        for item in items:
            trim_item(item, longest)
    return fitted
