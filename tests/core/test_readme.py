"""The README's commands run, with the heavy calls replaced; its Python runs as it is."""

import contextlib
import importlib
import io
import re
from pathlib import Path

import pytest

from prox.command import parse
from tests.core.conftest import Rehearsal

# What users have before a block, or its commands write where they are not merely recorded.
FILES_OF_THE_COMMANDS = (
    *(f"{name}.jsonl.gz" for name in ("train", "valid", "test", "raw")),
    *(f"adapted/adaptation/{task}/refiner/README.md" for task in ("document", "chunk")),
    "from_labels/adaptation/chunk/refiner/README.md",
    "from_labels/adaptation/chunk/examples/documents.jsonl",
)


def blocks(repository: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (repository / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def test_the_two_commands_come_first(repository: Path) -> None:
    assert [block.strip() for block in blocks(repository, "bash")[:2]] == [
        "scripts/run_quickstart.sh",
        "scripts/run_tests.sh",
    ]


def test_shell_commands_ask_for_what_the_command_line_takes(repository: Path, rehearsal: Rehearsal) -> None:
    (rehearsal.folder / "my_corpus.yaml").write_text("corpus: {format: jsonl, path: pages.jsonl}\n")
    for name in FILES_OF_THE_COMMANDS:
        path = rehearsal.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    parsed = set()
    for block in blocks(repository, "bash"):
        done = rehearsal.run(block)
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        for module, *arguments in rehearsal.commands():
            # Recipes repeat themselves; a command that differs in folders only is read once.
            shape = (module, *(Path(argument).name if "/" in argument else argument for argument in arguments))
            if module != "pytest" and "--print_config" not in arguments and shape not in parsed:
                parsed.add(shape)
                parse(module, importlib.import_module(f"{module}.__main__").VERBS, arguments)


def test_python_prints_what_its_comments_say(repository: Path) -> None:
    for block in blocks(repository, "python"):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(block, {})
        assert output.getvalue().splitlines() == re.findall(r"print\(.*\)  # (.*)", block)


@pytest.mark.parametrize("stage", ["annotation", "adaptation", "refinement", "pretraining", "evaluation"])
def test_the_table_of_verbs_is_complete(stage: str, repository: Path) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    row = next(line for line in text.split("## Every command")[1].splitlines() if line.startswith(f"| `{stage}`"))
    listed = re.findall(r"`(\w+)`", row)[1:]
    assert listed == list(importlib.import_module(f"{stage}.__main__").VERBS)


def test_files_it_names_exist(repository: Path) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    for name in re.findall(r"`((?:configs|docs|scripts|requirements)/[\w./-]+)`", text):
        assert (repository / name).exists(), name
