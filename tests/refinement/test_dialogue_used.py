"""A refining step says how it really asked."""

from dataclasses import replace
from pathlib import Path

import pytest

from prox.command import main
from prox.dialogue import Dialogue, load_dialogue
from refinement.__main__ import VERBS

NO_DIALOGUE = Dialogue(system="none was stored")
LIMITS = {"document": ["--max_prompt_tokens", "200"], "chunk": ["--window", "200", "--max_new_tokens", "4"]}


@pytest.mark.parametrize("verb", ["document", "chunk"])
def test_the_chat_template_is_stored_as_it_was_used(
    tmp_path: Path, units: Path, tiny_checkpoint: Path, verb: str
) -> None:
    options = ["--refiner.checkpoint", str(tiny_checkpoint), "--refiner.dialogue.layout", "chat", *LIMITS[verb]]
    output = tmp_path / "out"
    assert main("refinement", VERBS, [verb, "--documents", str(units), "--output", str(output), *options]) == 0
    used = load_dialogue(output, NO_DIALOGUE)
    assert used.opening == f"<s>system\n{Dialogue().system}</s>\n<s>user\n"
    assert used.closing == "</s>\nassistant"
    assert used == replace(Dialogue(layout="chat"), opening=used.opening, closing=used.closing, bos=False)
