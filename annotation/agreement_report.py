"""``agreement.md``: the numbers of an agreement as tables a person can read."""

from collections.abc import Iterable, Sequence
from typing import Any

from annotation.tables import Row

BRIEF_CHARACTERS = 70
NOTE = (
    "The second annotation is the reference: precision is the share of what the first says that the second says too, "
    "recall the other way round. Kappa is agreement beyond chance, 1 at most. A number that is not defined is shown as "
    "-: kappa where both always say the same thing, F1 where neither says yes to anything. In brackets: 95% intervals "
    "over documents (bootstrap)."
)
LINES_NOTE = (
    "Compared are the lines that both annotations cover, whatever the chunks; lines that either leaves open "
    "(ambiguous) are left out. F1 is over the lines that programs remove; its mean over documents counts one from "
    "which neither removes anything as 1."
)
CALLS_NOTE = (
    "`normalize`: distinct calls of a document with the same source and target; `sources`: with the same source. Only "
    "calls that act in compared lines count. `keep_chunk`: documents that an annotation leaves as they are, in all "
    "compared lines."
)


def render(numbers: dict[str, Any], differences: Sequence[Row], num_examples: int) -> str:
    """The whole report; ``numbers`` is ``agreement.json``, ``differences`` the rows of ``differences.jsonl``."""
    lines = ["# Agreement of two annotations", "", *_sides(numbers), "", NOTE]
    if numbers["decisions"]:
        lines += _decisions(numbers["decisions"])
    if numbers["programs"]:
        lines += _programs(numbers["programs"])
    lines += _differences(numbers, differences, num_examples)
    return "\n".join(lines) + "\n"


def _sides(numbers: dict[str, Any]) -> list[str]:
    fields = ("annotator", "folder", "decisions", "documents_with_programs", "programs")
    rows = [
        [name.replace("_", " "), *(_number(numbers[side][name]) for side in ("first", "second"))] for name in fields
    ]
    lines = _table(["", "first", "second"], rows)
    coverage = [
        [kind, *(_number(found[name]) for name in ("compared", "only_first", "only_second"))]
        for kind, found in numbers["coverage"].items()
    ]
    lines += ["", *_table(["documents with", "compared", "only in first", "only in second"], coverage)]
    if numbers["aside"]:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in numbers["aside"].items())
        lines += ["", f"Set aside, by reason (`aside.jsonl`): {reasons}."]
    return lines


def _decisions(found: dict[str, Any]) -> list[str]:
    cells, kept = found["confusion"], found["share_kept"]
    lines = ["", "## Keep or drop", ""]
    lines += _table(
        ["", "second keeps", "second drops"],
        [
            ["first keeps", _number(cells["both"]), _number(cells["only_first"])],
            ["first drops", _number(cells["only_second"]), _number(cells["neither"])],
        ],
    )
    lines += ["", f"Kept: {kept['first']:.1%} by the first, {kept['second']:.1%} by the second.", ""]
    if any(share in (0, 1) for share in kept.values()):
        lines += ["**One of them decides the same of every document: this says little about how far they agree.**", ""]
    lines += _table(["", ""], [*_main_rows(found, "F1 of keep"), ["documents", _number(found["documents"])]])
    scored = {name: row for name, row in found["scores"].items() if row}
    if scored:
        header = ["score", "documents", "quadratic kappa", "mean distance", "mean of first", "mean of second"]
        rows = [
            [
                name.replace("_", " "),
                _number(row["documents"]),
                *map(_number, (row["quadratic_kappa"], row["mean_absolute_difference"])),
                *map(_number, (row["mean"]["first"], row["mean"]["second"])),
            ]
            for name, row in scored.items()
        ]
        lines += ["", *_table(header, rows)]
        for name, row in scored.items():
            lines += ["", f"{name.replace('_', ' ').capitalize()} of the first (rows) and the second (columns):", ""]
            grades = [[f"**{grade}**", *map(_number, cells)] for grade, cells in enumerate(row["table"])]
            lines += _table(["", *map(str, range(len(grades)))], grades)
    if found["by_length"]:
        rows = [
            [row["words"], *(_number(row[name]) for name in ("documents", "kappa", "f1", "accuracy"))]
            for row in found["by_length"]
        ]
        lines += ["", *_table(["words", "documents", "kappa", "F1 of keep", "accuracy"], rows)]
    return lines


def _programs(found: dict[str, Any]) -> list[str]:
    cells, share, covered = found["confusion"], found["share_removed"], found["lines"]
    lines = ["", "## Programs", "", LINES_NOTE, ""]
    lines += _table(
        ["lines", "second removes", "second keeps"],
        [
            ["first removes", _number(cells["both"]), _number(cells["only_first"])],
            ["first keeps", _number(cells["only_second"]), _number(cells["neither"])],
        ],
    )
    lines += [
        "",
        f"Removed: {share['first']:.1%} of the lines by the first, {share['second']:.1%} by the second. Compared "
        f"{covered['compared']:,} lines, ambiguous {covered['ambiguous']:,}, only in the first "
        f"{covered['only_first']:,}, only in the second {covered['only_second']:,}.",
        "",
    ]
    rows = [
        *_main_rows(found, "line F1"),
        ["line F1, mean over documents", _number(found["f1_macro_documents"])],
        ["documents with the same lines", f"{found['share_same_lines']:.1%}"],
        ["documents with the same edits", f"{found['share_same_edits']:.1%}"],
        ["documents", _number(found["documents"])],
    ]
    lines += [*_table(["", ""], rows), "", "### By call", "", CALLS_NOTE, "", *_by_call(found["by_call"])]
    rows = [
        [
            row["words"],
            _number(row["documents"]),
            _number(sum(row["confusion"].values())),
            *(_number(row[name]) for name in ("f1", "f1_macro_documents", "kappa")),
            f"{row['share_same_lines']:.1%}",
        ]
        for row in found["by_length"]
    ]
    header = ["words", "documents", "lines", "line F1", "mean over documents", "kappa", "same lines"]
    return [*lines, "", "### By length", "", *_table(header, rows)]


def _by_call(found: dict[str, Any]) -> list[str]:
    lines, untouched = found["remove_lines"], found["keep_chunk"]
    cells = {
        "remove_lines (lines)": lines["confusion"] | lines,
        "normalize (calls)": found["normalize"],
        "normalize (sources)": found["normalize"]["sources"],
        "keep_chunk (documents)": untouched["confusion"] | untouched,
    }
    names = ("both", "only_first", "only_second", "precision", "recall", "f1", "kappa")
    rows = [[call, *(_number(row.get(name)) for name in names)] for call, row in cells.items()]
    header = ["call", "both", "only first", "only second", "precision", "recall", "F1", "kappa"]
    return _table(header, rows)


def _main_rows(found: dict[str, Any], f1: str) -> list[list[str]]:
    intervals = found["intervals"] or {}
    return [
        ["kappa", _number(found["kappa"]) + _interval(intervals.get("kappa"))],
        [f1, _number(found["f1"]) + _interval(intervals.get("f1"))],
        *([name, _number(found[name])] for name in ("precision", "recall", "accuracy")),
    ]


def _differences(numbers: dict[str, Any], rows: Sequence[Row], num_examples: int) -> list[str]:
    lines = [
        "",
        "## Differences",
        "",
        f"{numbers['differences']:,} documents differ: `differences.jsonl` has them all.",
    ]
    edited = [row for row in rows if row["lines"] and (row["lines"]["differing"] or any(row["normalize"].values()))]
    if shown := edited[:num_examples]:
        lines += ["", f"The {len(shown)} with most differing lines:", ""]
        cells = [
            [
                _code(row["id"]),
                f"{row['lines']['differing']:,} of {row['lines']['compared']:,}",
                *(_brief(row, side) for side in ("only_first", "only_second")),
            ]
            for row in shown
        ]
        lines += _table(["document", "lines", "only the first edits", "only the second edits"], cells)
    decided = [row for row in rows if row["decision"] and len(set(row["decision"].values())) > 1]
    if shown := decided[:num_examples]:
        lines += ["", f"Of {len(decided):,} with other decisions, {len(shown)}:", ""]
        cells = [
            [_code(row["id"]), *(_decision(row, number, side) for number, side in enumerate(("first", "second")))]
            for row in shown
        ]
        lines += _table(["document", "first", "second"], cells)
    return lines


def _decision(row: Row, number: int, side: str) -> str:
    scores = [
        f"{name.split('_')[0]} {pair[number]}" for name, pair in row["scores"].items() if pair[number] is not None
    ]
    return row["decision"][side] + (f" ({', '.join(scores)})" if scores else "")


def _brief(row: Row, side: str) -> str:
    """The first range and the first replacement of one side, and how many more there are."""
    ranges, calls = row["lines"][side], row["normalize"][side]
    parts = []
    if ranges:
        begin, end = ranges[0]["line_start"], ranges[0]["line_end"]
        place = f"{begin}-{end}" if end > begin else f"{begin}"
        more = f" and {len(ranges) - 1:,} more" if len(ranges) > 1 else ""
        parts.append(f"{place} {_code(ranges[0]['text'])}{more}")
    if calls:
        more = f" and {len(calls) - 1:,} more" if len(calls) > 1 else ""
        parts.append(f"normalize {_code(calls[0]['source_str'])}{more}")
    return "; ".join(parts)


def _code(text: str) -> str:
    """Text of a document in one table cell: no markup of it takes effect."""
    plain = " ".join(text.split()).replace("`", "'").replace("|", "¦")
    return (
        f"`{plain if len(plain) <= BRIEF_CHARACTERS else plain[: BRIEF_CHARACTERS - 1] + '…'}`" if plain else "(blank)"
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [_row(header), "|" + "---|" * len(header), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _interval(bounds: Sequence[float] | None) -> str:
    return f" ({bounds[0]:.3f} to {bounds[1]:.3f})" if bounds else ""


def _number(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "¦")
