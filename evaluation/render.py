"""Tables of text cells as Markdown, LaTeX (booktabs) and CSV. A cell says what it shows, not how."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

MISSING = "-"
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "†": r"\dag{}",
    "|": r"$|$",
} | {character: f"\\{character}" for character in "&%$#_{}"}
_LATEX_CHARACTER = re.compile("|".join(map(re.escape, _LATEX)))


@dataclass(frozen=True)
class Text:
    """A piece of a cell: bold or not, with the numbers of the notes that belong to it."""

    text: str
    bold: bool = False
    marks: tuple[int, ...] = ()


Pieces = tuple[Text, ...]


@dataclass(frozen=True)
class TextTable:
    """A table to be written out."""

    title: str
    headings: Sequence[str]
    labels: int
    """Leading columns that name a row: they stand at the left, the others at the right."""
    rows: Sequence[Sequence[Pieces]]
    rules: frozenset[int]
    """Rows that LaTeX draws a line above."""
    legend: str
    notes: Sequence[str]
    """Notes 1, 2, ..."""


def plain(text: str) -> Pieces:
    """A cell of one plain piece."""
    return (Text(text),)


def pad_markdown(cells: Sequence[Sequence[str]], labels: int = 1) -> str:
    """A Markdown table out of lines of cells, the first of them headings; padded to read well on a terminal too."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(texts: Sequence[str]) -> str:
        padded = [
            text.ljust(width) if index < labels else text.rjust(width)
            for index, (text, width) in enumerate(zip(texts, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * width if index < labels else "-" * (width - 1) + ":" for index, width in enumerate(widths)]
    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])


def markdown_cell(pieces: Pieces) -> str:
    """A cell in Markdown; marks in square brackets."""
    words = []
    for piece in pieces:
        text = piece.text.replace("|", "\\|")
        mark = f" [{', '.join(map(str, piece.marks))}]" if piece.marks else ""
        words.append((f"**{text}**" if piece.bold else text) + mark)
    return "".join(words)


def to_markdown(table: TextTable) -> str:
    """Title, table, legend and numbered notes."""
    cells = [list(table.headings), *([markdown_cell(cell) for cell in row] for row in table.rows)]
    notes = [f"- [{number}] {note}" for number, note in enumerate(table.notes, start=1)]
    parts = [table.title, pad_markdown(cells, table.labels), table.legend, "\n".join(notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def escape_latex(text: str) -> str:
    """``text`` as LaTeX prints it literally."""
    return _LATEX_CHARACTER.sub(lambda match: _LATEX[match.group()], text)


def latex_cell(pieces: Pieces) -> str:
    """A cell in LaTeX; marks are raised."""
    words = []
    for piece in pieces:
        text = escape_latex(piece.text)
        mark = rf"\textsuperscript{{{','.join(map(str, piece.marks))}}}" if piece.marks else ""
        words.append((rf"\textbf{{{text}}}" if piece.bold else text) + mark)
    return "".join(words)


def to_latex(table: TextTable) -> str:
    """A floating table with booktabs' lines, as wide as the page; its notes stand below it in small print."""
    columns = "l" * table.labels + "r" * (len(table.headings) - table.labels)
    lines = [
        r"% \usepackage{booktabs,graphicx}",
        r"\begin{table*}[t]",
        r"\centering",
        rf"\caption{{{escape_latex(table.title)}}}",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(escape_latex, table.headings)) + r" \\",
        r"\midrule",
    ]
    for index, row in enumerate(table.rows):
        if index and index in table.rules:
            lines.append(r"\midrule")
        lines.append(" & ".join(map(latex_cell, row)) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}}", "", r"\footnotesize\raggedright", escape_latex(table.legend)]
    for number, note in enumerate(table.notes, start=1):
        lines += ["", rf"\textsuperscript{{{number}}} {escape_latex(note)}"]
    return "\n".join([*lines, r"\end{table*}"]) + "\n"


def to_csv(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Lines of values, empty where there is None."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows(rows)
    return output.getvalue()
