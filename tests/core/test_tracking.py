"""metrics.jsonl is always written; W&B mirrors it and can't stop a run."""

import json
import logging
from pathlib import Path

import pytest

from prox.tracking import Tracker, TrackingConfig, has_wandb_key, resolve_mode, run_identity

DISABLED = TrackingConfig(wandb="disabled")


def steps(output: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (output / "metrics.jsonl").read_text().splitlines()]


def test_each_log_is_one_line_at_once(tmp_path: Path) -> None:
    with Tracker(DISABLED, tmp_path) as tracker:
        tracker.log(1, {"loss": 2.5})
        assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1, "loss": 2.5}


def test_resume_drops_what_will_be_logged_again(tmp_path: Path) -> None:
    with Tracker(DISABLED, tmp_path) as tracker:
        for step in range(1, 6):
            tracker.log(step, {"loss": float(step)})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # a line that a crash cut short
    with Tracker(DISABLED, tmp_path, resume_step=3) as tracker:
        tracker.log(4, {"loss": 4.0})
    assert steps(tmp_path) == [1, 2, 3, 4]


def test_only_the_main_process_writes(tmp_path: Path) -> None:
    with Tracker(DISABLED, tmp_path, is_main=False) as tracker:
        tracker.log(1, {"loss": 1.0})
    assert not (tmp_path / "metrics.jsonl").exists()


def test_auto_needs_a_key_to_go_online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not has_wandb_key()
    assert resolve_mode(TrackingConfig()) == "offline"
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password 0123456789\n")
    (tmp_path / "netrc").chmod(0o600)
    assert resolve_mode(TrackingConfig()) == "online"
    assert resolve_mode(TrackingConfig(wandb="disabled")) == "disabled"


def test_run_identity_is_stable(tmp_path: Path) -> None:
    assert run_identity(tmp_path) == run_identity(tmp_path)


def test_offline_run_lies_in_the_artefact(tmp_path: Path) -> None:
    with Tracker(TrackingConfig(wandb="offline"), tmp_path, settings=DISABLED) as tracker:
        tracker.log(1, {"loss": 2.0})
    assert list((tmp_path / "wandb").glob("offline-run-*"))
    assert steps(tmp_path) == [1]


def test_wandb_that_cannot_start_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import wandb

    def fail(**_: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(wandb, "init", fail)
    with caplog.at_level(logging.WARNING), Tracker(TrackingConfig(wandb="offline"), tmp_path) as tracker:
        tracker.log(1, {"loss": 2.0})
        tracker.log(2, {"loss": 1.0})
    assert steps(tmp_path) == [1, 2]
    assert sum("no network here" in record.message for record in caplog.records) == 1
