"""What makes a score stale, and what doesn't."""

import shutil
from pathlib import Path

import pytest

from evaluation import configs
from evaluation.configs import BitsPerByteConfig, ChoiceConfig
from prox.command import settings_of

OUTPUT = Path("x")


def test_where_a_model_is_scored_leaves_work_valid() -> None:
    for kind in (BitsPerByteConfig, ChoiceConfig):
        assert settings_of(kind(output=OUTPUT, device="cuda", batch_size=3)) == settings_of(kind(output=OUTPUT))
        assert settings_of(kind(output=OUTPUT, dtype="bfloat16")) != settings_of(kind(output=OUTPUT))


def test_another_definition_of_the_measure_makes_scores_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    before = BitsPerByteConfig(output=OUTPUT).input_marks()
    monkeypatch.setattr(configs, "DEFINITION_VERSION", "next")
    assert BitsPerByteConfig(output=OUTPUT).input_marks() != before


@pytest.mark.parametrize("name", ["continuation.yaml", "continuation.py"])
def test_an_edited_task_makes_scores_stale(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = shutil.copytree(configs.TASK_DEFINITIONS, tmp_path / "tasks")
    monkeypatch.setattr(configs, "TASK_DEFINITIONS", tasks)
    before = ChoiceConfig(output=OUTPUT).input_marks()
    (tasks / "__pycache__").mkdir(exist_ok=True)
    (tasks / "__pycache__" / "continuation.pyc").write_bytes(b"compiled")
    assert ChoiceConfig(output=OUTPUT).input_marks() == before
    with (tasks / name).open("a") as file:
        file.write("# edited\n")
    assert ChoiceConfig(output=OUTPUT).input_marks() != before


def test_another_version_of_the_harness_makes_scores_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ChoiceConfig(output=OUTPUT).input_marks()
    assert ChoiceConfig(output=OUTPUT, harness="lighteval").input_marks() != before
    monkeypatch.setattr(configs.importlib.metadata, "version", lambda package: "99.0")
    assert ChoiceConfig(output=OUTPUT).input_marks() != before
