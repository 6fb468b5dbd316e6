"""A W&B run that fails while training goes on."""

import json
import logging
from pathlib import Path

import pytest

from prox.tracking import Tracker, TrackingConfig


class FailingRun:
    """What `wandb.init` returns, with a method that fails; counts the calls."""

    def __init__(self, failing: str) -> None:
        self.failing, self.calls = failing, []

    def log(self, metrics: dict[str, float], step: int) -> None:
        self._call("log")

    def finish(self) -> None:
        self._call("finish")

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.failing:
            raise RuntimeError("the W&B service is gone")


@pytest.mark.parametrize(("failing", "calls"), [("log", ["log"]), ("finish", ["log", "log", "finish"])])
def test_wandb_that_fails_later_is_one_warning(
    failing: str, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import wandb

    run = FailingRun(failing)
    monkeypatch.setattr(wandb, "init", lambda **_: run)
    with caplog.at_level(logging.WARNING), Tracker(TrackingConfig(wandb="offline"), tmp_path) as tracker:
        tracker.log(1, {"loss": 2.0})
        tracker.log(2, {"loss": 1.0})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
    assert sum("the W&B service is gone" in record.message for record in caplog.records) == 1
    assert run.calls == calls
