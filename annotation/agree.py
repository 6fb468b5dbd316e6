"""`annotation agree`: two annotations of the same documents compared.

Kappa for keep/drop, line F1 and kappa for programs (the paper's A.3 measures refiners so), and every document they
differ on.
"""

from collections import Counter
from typing import Any

from annotation import agree_differences, agreement_report
from annotation.agree_config import AgreeConfig, kinds_of
from annotation.agree_inputs import Annotation, BadRow, Judgement, read_annotation
from annotation.agree_lines import NO_COMMON_LINES, Comparison, compare
from annotation.agree_numbers import decision_numbers, program_numbers
from annotation.tables import ASIDE, Row, write_rows
from prox import artifact
from prox.errors import UserError
from prox.progress import track

NUMBERS = "agreement.json"
REPORT = "agreement.md"
DIFFERENCES = "differences.jsonl"


def agree(config: AgreeConfig) -> dict[str, Any]:
    """Writes ``agreement.json``, ``agreement.md``, ``differences.jsonl`` and ``aside.jsonl``; returns the main numbers.

    Raises ``UserError`` where the two have no document in common, or none that can be compared.
    """
    if config.first is None or config.second is None:
        raise UserError("--first and --second must both be set")
    kinds = kinds_of(config.first).keys() & kinds_of(config.second).keys()
    first, second = read_annotation(config.first, set(kinds)), read_annotation(config.second, set(kinds))
    aside = _set_aside_by_one(first, second)
    programs, decisions = _compare_all(first, second, aside)
    _require_documents(config, first, second, aside, len(programs) + len(decisions))
    ids = agree_differences.differing(decisions, programs)
    numbers = {
        "first": _describe(first),
        "second": _describe(second),
        "coverage": {
            "decisions": _coverage(first.decisions, second.decisions, decisions),
            "programs": _coverage(first.covers, second.covers, programs),
        },
        "aside": dict(sorted(Counter(row["reason"].split(":", 1)[0] for row in aside).items())),
        "decisions": decision_numbers(list(decisions.values()), config.num_draws, config.seed) if decisions else None,
        "programs": program_numbers(list(programs.values()), config.num_draws, config.seed) if programs else None,
        "differences": len(ids),
    }
    artifact.write_json(config.output / NUMBERS, numbers)
    differences = list(agree_differences.rows(ids, decisions, programs, config.first))
    write_rows(config.output / DIFFERENCES, differences)
    write_rows(config.output / ASIDE, aside)
    report = agreement_report.render(numbers, differences, config.num_examples)
    artifact.write_atomically(config.output / REPORT, report)
    return _summary(numbers)


def _set_aside_by_one(first: Annotation, second: Annotation) -> list[Row]:
    """Rows for the documents that one annotation's own rows rule out; both forget them."""
    rows = [
        {"id": identity, "reason": reason, "annotation": name}
        for name, side in (("first", first), ("second", second))
        for identity, reason in side.aside.items()
    ]
    for row in rows:
        _forget(row["id"], first, second)
    return rows


def _forget(identity: str, *sides: Annotation) -> None:
    for side in sides:
        side.decisions.pop(identity, None)
        side.covers.pop(identity, None)


def _compare_all(
    first: Annotation, second: Annotation, aside: list[Row]
) -> tuple[dict[str, Comparison], dict[str, tuple[Judgement, Judgement]]]:
    """(programs compared, decisions compared) by document, in the order of the ids; adds to ``aside``."""
    for identity, ours in sorted(first.decisions.items(), key=lambda item: item[0]):
        theirs = second.decisions.get(identity)
        if theirs and None not in (ours.text_hash, theirs.text_hash) and ours.text_hash != theirs.text_hash:
            aside.append({"id": identity, "reason": "text_differs: the whole document", "annotation": "both"})
            _forget(identity, first, second)
    programs: dict[str, Comparison] = {}
    common = sorted(first.covers.keys() & second.covers.keys())
    for identity in track(common, "comparing", len(common), "documents"):
        try:
            programs[identity] = compare(first.covers[identity], second.covers[identity])
        except BadRow as reason:
            aside.append({"id": identity, "reason": str(reason), "annotation": "both"})
            if not str(reason).startswith(NO_COMMON_LINES):
                _forget(identity, first, second)
    decided = sorted(first.decisions.keys() & second.decisions.keys())
    return programs, {identity: (first.decisions[identity], second.decisions[identity]) for identity in decided}


def _require_documents(
    config: AgreeConfig, first: Annotation, second: Annotation, aside: list[Row], num_compared: int
) -> None:
    if num_compared:
        return
    if aside:
        reason = aside[0]["reason"]
        raise UserError(
            f"no document of --first {config.first} and --second {config.second} can be compared: {len(aside)} are set "
            f"aside, the first ({aside[0]['id']!r}) because of {reason}. Give two annotations of the same documents"
        )
    sides = (side.decisions.keys() | side.covers.keys() for side in (first, second))
    shown = [f"{len(ids)} ids" + (f" such as {min(ids)!r}" if ids else "") for ids in sides]
    raise UserError(
        f"--first {config.first} ({shown[0]}) and --second {config.second} ({shown[1]}) have no document in common: "
        "give two annotations of the same documents"
    )


def _describe(side: Annotation) -> dict[str, Any]:
    return {
        "folder": side.folder,
        "annotator": side.annotators(),
        "decisions": len(side.decisions),
        "documents_with_programs": len(side.covers),
        "programs": side.num_programs,
    }


def _coverage(first: dict[str, Any], second: dict[str, Any], compared: dict[str, Any]) -> dict[str, int]:
    """Documents compared, and those that one annotation alone has; what is aside is in neither."""
    return {
        "compared": len(compared),
        "only_first": len(first.keys() - second.keys()),
        "only_second": len(second.keys() - first.keys()),
    }


def _summary(numbers: dict[str, Any]) -> dict[str, Any]:
    """The main numbers for the log."""
    summary: dict[str, Any] = {}
    if decisions := numbers["decisions"]:
        summary |= {"decisions": decisions["documents"], "decision_kappa": _rounded(decisions["kappa"])}
    if programs := numbers["programs"]:
        summary |= {"programs": programs["documents"], "line_f1": _rounded(programs["f1"])}
        summary["line_kappa"] = _rounded(programs["kappa"])
    return summary | {"differences": numbers["differences"], "aside": sum(numbers["aside"].values())}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
