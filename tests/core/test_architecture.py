"""The rules of the house that a machine can check."""

import ast
import re
from pathlib import Path

import pytest

STAGES = ("annotation", "adaptation", "refinement", "pretraining", "evaluation")


def imported_packages(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.update(re.findall(r"^(\w+)\.\w+:\w+$", node.value))  # a verb's "package.module:function"
    return names


@pytest.mark.parametrize("room", ["prox", *STAGES])
def test_stages_meet_only_in_files(room: str, repository: Path) -> None:
    files = list((repository / room).rglob("*.py"))
    assert files
    for path in files:
        strangers = imported_packages(path) & set(STAGES) - {room}
        assert not strangers, f"{path} imports {strangers}"


def test_every_stage_has_a_command_line(repository: Path) -> None:
    for stage in STAGES:
        assert (repository / stage / "__main__.py").is_file()
