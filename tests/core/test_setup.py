"""The set-up script, with an installer that only pretends: what it notices, says, remakes and leaves alone."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FAKE_PYTHON = """#!/bin/sh
case "$1 $2" in
    "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip") echo "pip $*"; [ -z "$PIP_FAILS" ] || { echo "no such wheel"; exit 1; } ;;
    "-c "*) case "$2" in *version_info*) exit "${WRONG_VERSION:-0}" ;; esac ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path, repository: Path) -> Path:
    folder = tmp_path / "check out"  # a space in the path is no reason to fail
    shutil.copytree(repository / "scripts", folder / "scripts")
    shutil.copytree(repository / "requirements", folder / "requirements")
    shutil.copy(repository / "pyproject.toml", folder)
    python = folder / "python"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    return folder


def set_up(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "scripts/setup.sh", *arguments],
        env={"PATH": os.environ["PATH"], "PROX_PYTHON": str(checkout / "python"), "PROX_DEVICE": "cpu", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_installs_once(checkout: Path) -> None:
    first = set_up(checkout)
    assert first.returncode == 0, first.stderr
    assert "cpu.lock" in first.stderr
    installed = (checkout / ".setup.log").read_text()
    assert "torch==" in installed
    assert "--no-deps -r requirements/cpu.lock" in installed
    again = set_up(checkout)
    assert (again.returncode, again.stderr) == (0, "")


def test_a_half_made_environment_is_noticed_and_remade(checkout: Path) -> None:
    failed = set_up(checkout, PIP_FAILS="1")
    assert failed.returncode == 1
    assert "no such wheel" in failed.stderr
    assert ".setup.log" in failed.stderr
    mended = set_up(checkout)
    assert mended.returncode == 0
    assert "making it anew" in mended.stderr


def test_another_lock_means_another_environment(checkout: Path) -> None:
    set_up(checkout)
    lock = checkout / "requirements/cpu.lock"
    lock.write_text(lock.read_text() + "extra==1.0\n")
    assert "making it anew" in set_up(checkout).stderr


def test_someone_elses_environment_is_left_alone(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv/precious").touch()
    done = set_up(checkout)
    assert done.returncode == 1
    assert "was not made by this script" in done.stderr
    assert (checkout / ".venv/precious").exists()


def test_the_device_is_remembered(checkout: Path) -> None:
    set_up(checkout)
    again = set_up(checkout, PROX_DEVICE="")
    assert (again.returncode, again.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--flash"], {}, "unknown argument '--flash'"),
        (["--flash-attn"], {}, "needs a CUDA machine"),
        ([], {"PROX_DEVICE": "tpu"}, "must be cpu or cuda"),
        ([], {"WRONG_VERSION": "1"}, "not Python 3.11"),
    ],
)
def test_what_can_not_work_is_said(
    checkout: Path, arguments: list[str], environment: dict[str, str], words: str
) -> None:
    done = set_up(checkout, *arguments, **environment)
    assert done.returncode == 1
    assert words in done.stderr
    assert not (checkout / ".venv").exists()
