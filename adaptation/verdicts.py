"""Training chunks as text with a verdict behind every line: what a base model too small to learn from programs alone is
pre-trained on.

A chunk's program is a handful of tokens, from which a model that has read little learns little. One token behind each
line says much more, and says it where it belongs: what the model works out at the end of a line to foretell the verdict
is what a program looks up there later.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from adaptation.examples import Example
from adaptation.metrics import is_unparsable
from prox.confusion import removed_lines
from prox.dialogue import Dialogue
from prox.operations import line_marker

DOCUMENTS = "documents.jsonl"


def with_verdicts(example: Example, dialogue: Dialogue) -> str:
    """The chunk as its prompt shows it, each line followed by the dialogue's token for keeping or removing it.

    It stands at the next line's beginning, before its number; of a tagger, whose lines have none, on a line of its own.
    A line that was left open has no verdict.
    """
    lines = dialogue.shown(example.text).split("\n")
    removed = removed_lines(example.reference, example.first_line, len(lines))
    parts = [dialogue.frame()[0], dialogue.chunk_before]
    shift = dialogue.first_number(example.first_line) - example.first_line
    for number, line in enumerate(lines, example.first_line):
        mark = dialogue.remove_token if number in removed else dialogue.keep_token
        if number in example.ambiguous_lines:
            mark = ""
        if dialogue.kind == "tagger":
            parts += [line, "\n", f"{mark}\n" if mark else ""]
        else:
            parts += [line_marker(number + shift), line, "\n", mark]
    return "".join(parts)


def write_verdicts(examples: Iterable[Example], dialogue: Dialogue, target: Path) -> None:
    """Writes a JSON line with the `text` of each chunk, for `refinement ingest`; a program that can't be read says
    nothing of its lines."""
    with target.open("w", encoding="utf-8") as out:
        for example in examples:
            if is_unparsable(example.reference):
                continue
            out.write(json.dumps({"text": with_verdicts(example, dialogue)}, ensure_ascii=False) + "\n")
