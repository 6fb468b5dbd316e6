"""The command line: stacked configs, faults named all at once, skipping, resuming, setting aside."""

import errno
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from prox import artifact, command
from prox.errors import UserError

CALLS: list["CopyConfig"] = []


@dataclass
class Part:
    """A nested group."""

    size: int = 1
    """How many, in pieces."""


@dataclass
class CopyConfig(command.CommandConfig):
    """Copies a file."""

    source: Path | None = None
    """File to copy."""
    part: Part = field(default_factory=Part)
    """The group."""
    fail: str = ""
    """How to fail."""

    def problems(self) -> list[str]:
        found = [] if self.source and self.source.exists() else [f"--source {self.source} does not exist: give a file"]
        return found + ([f"--part.size is {self.part.size}: it must be positive"] if self.part.size < 1 else [])

    def inputs(self) -> list[Path]:
        return [self.source] if self.source else []


def copy(config: CopyConfig) -> dict[str, int]:
    CALLS.append(config)
    if config.fail == "user":
        raise UserError("the value 7 is wrong: use 8")
    if config.fail == "disk":
        raise OSError(errno.ENOSPC, "No space left on device", "x.parquet")
    (config.output / "copy").write_text(config.source.read_text())
    return {"files": 1}


VERBS = {"copy": command.Verb(CopyConfig, f"{__name__}:copy", "Copy a file.")}


@pytest.fixture
def run(tmp_path: Path):
    CALLS.clear()
    (tmp_path / "in.txt").write_text("hello")

    def call(*options: str) -> int:
        arguments = ["copy", "--output", str(tmp_path / "out"), "--source", str(tmp_path / "in.txt"), *options]
        sys.modules.setdefault("teststage", sys.modules[__name__])
        return command.main("teststage", VERBS, arguments)

    return call


def test_the_record_of_a_step_is_no_config(run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run() == 0
    record = tmp_path / "out/config.yaml"
    for option in ([f"--config={record}"], ["--config", str(record)]):
        assert run(*option) == 2
        assert f"--config {record} is the record of a step" in capsys.readouterr().err
    own = tmp_path / "config.yaml"
    own.write_text("seed: [\n")
    with pytest.raises(SystemExit):  # as of any other file
        run("--config", str(own))
    own.write_text("seed: 3\n")
    assert run("--config", str(own)) == 0
    assert CALLS[-1].seed == 3


def test_later_configs_and_the_command_line_win(run, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("seed: 1\npart:\n  size: 2\n")
    (tmp_path / "b.yaml").write_text("seed: 2\n")
    assert run("--config", str(tmp_path / "a.yaml"), "--config", str(tmp_path / "b.yaml")) == 0
    assert (CALLS[0].seed, CALLS[0].part.size) == (2, 2)
    snapshot = (tmp_path / "out/config.yaml").read_text()
    assert "size: 2" in snapshot
    assert "torch" in snapshot


@pytest.mark.parametrize("option", [["--colour", "red"], ["--seed", "one"], ["--config", "absent.yaml"]])
def test_unknown_keys_and_wrong_types_name_the_key(run, option: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as exit_info:
        run(*option)
    assert exit_info.value.code == 2
    assert option[-1] in capsys.readouterr().err


def test_every_problem_is_reported_at_once_before_any_work(run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run("--source", "absent.txt", "--part.size", "0") == 2
    message = capsys.readouterr().err
    assert "absent.txt" in message
    assert "part.size is 0" in message
    assert not CALLS
    assert not (tmp_path / "out").exists()


def test_finished_work_is_skipped_until_config_or_input_change(run, tmp_path: Path) -> None:
    for _ in range(2):
        assert run() == 0
    assert len(CALLS) == 1
    assert run("--part.size", "3") == 0
    assert len(CALLS) == 2
    assert artifact.is_committed(tmp_path / "out.previous-1")
    (tmp_path / "in.txt").write_text("hello, world")
    assert run("--part.size", "3") == 0
    assert (tmp_path / "out/copy").read_text() == "hello, world"


@pytest.mark.parametrize(("fail", "words"), [("user", "the value 7 is wrong: use 8"), ("disk", "no space left")])
def test_failures_are_one_clear_line_and_commit_nothing(
    run, tmp_path: Path, fail: str, words: str, capsys: pytest.CaptureFixture
) -> None:
    assert run("--fail", fail) == 1
    assert words in capsys.readouterr().err
    assert not artifact.is_committed(tmp_path / "out")
    # The output is resumed, not refused, when the cause is mended.
    assert run() == 0


def test_a_wrong_flag_corrected_costs_nothing(run, tmp_path: Path) -> None:
    for size in ("1", "2", "1", "2"):
        assert run("--part.size", size) == 0
    assert [config.part.size for config in CALLS] == [1, 2]
    assert len(list(tmp_path.glob("out.previous-*"))) == 1


def test_a_kill_before_the_first_file_is_no_obstacle(run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.config.yaml.123.tmp").write_text("half")
    assert run() == 0


@pytest.mark.parametrize("content", ["", "{}", "[1]"])
def test_another_tools_mark_of_success_means_nothing(run, tmp_path: Path, content: str) -> None:
    (tmp_path / "_SUCCESS").write_text(content)
    assert run() == 0
    (tmp_path / "in.txt").write_text("changed")
    assert run() == 0
    assert len(CALLS) == 2


def test_an_output_that_is_a_file_is_named(run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "out").write_text("")
    assert run() == 1
    assert "holds what no" in capsys.readouterr().err
    assert run("--output", str(tmp_path / "out/deeper")) == 1
    assert "out" in capsys.readouterr().err


def test_someone_elses_folder_is_left_alone(run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("years of work")
    assert run() == 1
    assert "thesis" not in capsys.readouterr().out
    assert (tmp_path / "out/thesis.tex").exists()


def test_a_dry_run_plans_and_writes_nothing(run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run("--dry_run", "true") == 0
    assert "in.txt" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_the_mark_of_success_holds_the_summary(run, tmp_path: Path) -> None:
    run()
    assert json.loads((tmp_path / "out/_SUCCESS").read_text())["summary"] == {"files": 1}


@dataclass
class PlacesConfig(command.CommandConfig):
    """Names inputs in several ways."""

    checkpoint: str = ""
    """A folder, or a name on the hub."""
    models: dict[str, Path] = field(default_factory=dict)
    """Folders by name."""

    def inputs(self) -> list[Path]:
        return [path for path in (Path(self.checkpoint), *self.models.values()) if path.exists()]


def test_where_an_input_lies_is_no_setting(tmp_path: Path) -> None:
    for place in ("here/a", "here/b", "there/a", "there/b"):
        (tmp_path / place).mkdir(parents=True)
        artifact.write_json(tmp_path / place / "_SUCCESS", {"fingerprint": place[-1]})
        (tmp_path / place / "config.yaml").write_text("")

    def mark(folder: str, checkpoint: str = "a", **models: str) -> str:
        places = {name: tmp_path / folder / model for name, model in models.items()}
        config = PlacesConfig(tmp_path / "out", checkpoint=str(tmp_path / folder / checkpoint), models=places)
        return command.mark_of("test places", config)

    here = mark("here", raw="a", prox="b")
    assert mark("there", raw="a", prox="b") == here
    assert len({here, mark("here", raw="b", prox="a"), mark("here", prox="a", raw="b"), mark("here", raw="a")}) == 4
    assert mark("here", "b", raw="a", prox="b") != here
    assert mark("here", "org/name") != mark("there", "org/name")  # not there, so it is what it is called


def test_a_finished_step_is_published_once(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = []
    monkeypatch.setattr(command, "publish_step", lambda *facts: published.append(facts))
    assert run() == run() == 0
    ((name, output, config, summary),) = published
    assert (name, output, config.source, summary) == (
        "teststage copy",
        tmp_path / "out",
        tmp_path / "in.txt",
        {"files": 1},
    )


def test_a_command_line_starts_without_heavy_imports(repository: Path) -> None:
    heavy = ("torch", "transformers", "datatrove", "pandas", "litgpt", "datasets")
    code = "import sys, importlib\n" + "".join(
        f"importlib.import_module('{stage}.__main__')\n"
        for stage in ("annotation", "adaptation", "refinement", "pretraining", "evaluation")
    )
    code += f"print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=repository, check=True)
    assert done.stdout.strip() == "[]"


def test_an_output_that_holds_the_input_is_refused(run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run("--output", str(tmp_path)) == 2
    assert "holds the input" in capsys.readouterr().err


def test_help_says_what_every_field_is(capsys: pytest.CaptureFixture) -> None:
    sys.modules.setdefault("teststage", sys.modules[__name__])
    with pytest.raises(SystemExit):
        command.main("teststage", VERBS, ["copy", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "Seed of everything random" in text  # from the base class
    assert "How many, in pieces." in text
    assert "_EMPTY" not in text
