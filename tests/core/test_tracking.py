"""metrics.jsonl is always written; W&B mirrors it and can't stop a run."""

import json
import logging
from pathlib import Path

import pytest

from prox.tracking import Tracker, TrackingConfig, has_wandb_key, publish_step, resolve_mode, run_identity

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


class FakeRun:
    """What `wandb.init` gives, as far as a step without curves uses it."""

    def __init__(self, **asked: object) -> None:
        self.asked, self.summary, self.finished = asked, {}, False

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[FakeRun]:
    """The W&B runs that were begun; nobody has set W&B up yet."""
    import wandb

    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_RUN_GROUP", "WANDB_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", "/nonexistent")
    runs: list[FakeRun] = []

    def begin(**asked: object) -> FakeRun:
        runs.append(FakeRun(**asked))
        return runs[-1]

    monkeypatch.setattr(wandb, "init", begin)
    return runs


def test_a_step_without_curves_is_published_in_its_runs_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: list[FakeRun]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_RUN_GROUP", "paper_nano")
    monkeypatch.setenv("WANDB_NAME", "corpora/c4/raw")
    corpus = {"paths": ["https://user:word@host/a.jsonl?X-Signature=b", "s3://pages/*.gz"]}
    publish_step("refinement ingest", tmp_path, {"seed": 1, "path": tmp_path, "corpus": corpus}, {"documents": 7})
    (run,) = begun
    shown = {"paths": ["https://host/a.jsonl", "s3://pages/*.gz"]}
    assert run.asked["config"] == {"seed": 1, "path": str(tmp_path), "corpus": shown}
    assert (run.asked["group"], run.asked["name"], run.asked["settings"].run_job_type, run.asked["mode"]) == (
        "paper_nano",
        "corpora/c4/raw",
        "refinement ingest",
        "offline",
    )
    assert run.summary == {"documents": 7}
    assert run.finished


def test_only_who_has_set_wandb_up_gets_runs_without_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: list[FakeRun]
) -> None:
    publish_step("refinement ingest", tmp_path, {}, {})
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789")
    publish_step("refinement ingest", tmp_path, {}, {})
    assert not begun
    monkeypatch.delenv("WANDB_MODE")
    output = tmp_path / "arm/ingest"
    output.mkdir(parents=True)
    publish_step("refinement ingest", output, {}, {})
    (run,) = begun
    assert (run.asked["mode"], run.asked["group"], run.asked["name"]) == ("online", "arm", "ingest")


def test_a_finished_step_stays_finished_when_wandb_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: list[FakeRun], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(FakeRun, "finish", lambda self: 1 / 0)
    with caplog.at_level(logging.WARNING):
        publish_step("refinement ingest", tmp_path, {}, {})
    assert "W&B has not got" in caplog.text
