"""Metrics of a run: one JSON line each in ``<output>/metrics.jsonl``, always, and Weights & Biases as its mirror.

W&B sits behind a null object, so no caller ever asks whether it is there, and a W&B that can't start, or fails later,
is one warning: ``metrics.jsonl`` is the record, and training goes on.
"""

import json
import logging
import netrc
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlparse

from prox.artifact import read_json, to_plain, write_atomically, write_json

log = logging.getLogger("prox")

METRICS = "metrics.jsonl"
RUN_IDENTITY = "wandb_run.json"
LONGEST_START = 20.0
"""Seconds that a step without curves waits for W&B's server: a machine without a network waits so at each of them."""


@dataclass
class TrackingConfig:
    """Where metrics are mirrored to, besides ``metrics.jsonl``."""

    wandb: Literal["auto", "online", "offline", "disabled"] = "auto"
    """`auto` is `online` when a W&B key is configured (WANDB_API_KEY or netrc), else `offline` (files in `wandb/`)."""
    project: str = ""
    """W&B project. Empty: WANDB_PROJECT, or `prox`."""
    group: str = ""
    """W&B group. Empty: WANDB_RUN_GROUP, which recipes set, or the name of the folder around the output."""
    name: str = ""
    """W&B run name. Empty: WANDB_NAME, which recipes set, or the output folder's name."""


class Mirror(Protocol):
    """What receives a copy of the metrics."""

    def log(self, metrics: dict[str, float], step: int) -> None: ...

    def finish(self) -> None: ...


class NullMirror:
    """Receives metrics and does nothing."""

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Ignores the metrics."""

    def finish(self) -> None:
        """Nothing to close."""


def _warn(error: Exception, output: Path) -> None:
    log.warning("W&B is off for this run (%s: %s); metrics are in %s", type(error).__name__, error, output / METRICS)


class GuardedMirror:
    """A mirror that may fail: its first error is one warning, and it is not asked again."""

    def __init__(self, mirror: Mirror, output: Path) -> None:
        self._mirror, self._output = mirror, output

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Passes the metrics on."""
        try:
            self._mirror.log(metrics, step=step)
        except Exception as error:  # as in start_wandb
            self._give_up(error)

    def finish(self) -> None:
        """Closes the mirror."""
        try:
            self._mirror.finish()
        except Exception as error:  # as in start_wandb
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        _warn(error, self._output)
        self._mirror = NullMirror()


def has_wandb_key() -> bool:
    """True when W&B would find a key without asking: the environment variable, or an entry in netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or "api.wandb.ai"
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def resolve_mode(config: TrackingConfig) -> str:
    """``online``, ``offline`` or ``disabled``; WANDB_MODE, W&B's own switch, decides where the config says ``auto``."""
    if config.wandb != "auto":
        return config.wandb
    asked = os.environ.get("WANDB_MODE", "")
    if asked in ("online", "offline", "disabled"):
        return asked
    return "online" if has_wandb_key() else "offline"


def run_identity(output: Path) -> str:
    """The W&B run id of this artefact: made once, then read, so that a resumed run continues the same curve."""
    path = output / RUN_IDENTITY
    if not path.is_file():
        write_json(path, {"id": uuid.uuid4().hex[:12]})
    return read_json(path)["id"]


def _init_wandb(config: TrackingConfig, output: Path, settings: Any, mode: str, **options: Any) -> Any:
    """A W&B run; ``options`` are W&B's own settings."""
    import wandb

    quiet = wandb.Settings(
        silent=True, console="off", disable_git=True, save_code=False, x_disable_stats=True, **options
    )
    return wandb.init(
        mode=mode,
        dir=str(output),
        project=config.project or os.environ.get("WANDB_PROJECT") or "prox",
        group=config.group or os.environ.get("WANDB_RUN_GROUP") or output.resolve().parent.name,
        name=config.name or os.environ.get("WANDB_NAME") or output.resolve().name,
        id=run_identity(output),
        resume="allow",
        config=without_credentials(to_plain(settings)),
        settings=quiet,
    )


def without_credentials(value: Any) -> Any:
    """The value with every URL in it cut to what names its place: no user, no password, no signature."""
    if isinstance(value, dict):
        return {name: without_credentials(one) for name, one in value.items()}
    if isinstance(value, list):
        return [without_credentials(one) for one in value]
    if isinstance(value, str) and "://" in value:
        scheme, _, rest = value.partition("://")
        return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"
    return value


def start_wandb(config: TrackingConfig, output: Path, settings: Any) -> Mirror:
    """A W&B run, guarded against its own failures, or the null mirror when W&B is disabled or can't start."""
    mode = resolve_mode(config)
    if mode == "disabled":
        return NullMirror()
    try:
        run = _init_wandb(config, output, settings, mode)
    except Exception as error:  # whatever W&B's process, disk or network does, the training is worth more
        _warn(error, output)
        return NullMirror()
    return GuardedMirror(run, output)


def publish_step(command: str, output: Path, settings: Any, summary: dict[str, Any]) -> None:
    """A finished step without curves: its config and what came out, in one group with the trainings of its run; only
    where somebody has set W&B up, by a key or by WANDB_MODE.
    """
    mode = resolve_mode(TrackingConfig())
    if mode == "disabled" or (mode == "offline" and not os.environ.get("WANDB_MODE")):
        return
    try:
        run = _init_wandb(TrackingConfig(), output, settings, mode, run_job_type=command, init_timeout=LONGEST_START)
        run.summary.update(to_plain(summary))
        run.finish()
    except Exception as error:  # as in start_wandb
        log.warning("W&B has not got %s (%s: %s); it is in %s", output, type(error).__name__, error, output)


def truncate_metrics(path: Path, step: int) -> None:
    """Drops the lines after ``step``, and a last line that a crash cut short."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if record["step"] <= step:
            kept.append(line + "\n")
    write_atomically(path, "".join(kept))


class Tracker:
    """Writes metrics of one artefact; use as a context manager.

    Args:
        config: where to mirror to.
        output: the artefact's folder; must exist.
        resume_step: the step training continues from; metrics of later steps, which will be logged again, are dropped.
        settings: the run's config, shown by W&B.
        is_main: False on all but one process of a distributed run; such a tracker writes nothing.
    """

    def __init__(
        self, config: TrackingConfig, output: Path, resume_step: int = 0, settings: Any = None, is_main: bool = True
    ) -> None:
        self._config, self._output, self._resume_step = config, output, resume_step
        self._settings, self._is_main = settings, is_main
        self._mirror: Mirror = NullMirror()
        self._file = None

    def __enter__(self) -> "Tracker":
        if self._is_main:
            path = self._output / METRICS
            truncate_metrics(path, self._resume_step)
            self._file = path.open("a", encoding="utf-8")
            self._mirror = start_wandb(self._config, self._output, self._settings)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        self._mirror.finish()

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Appends ``{"step": step, **metrics}`` to the file, at once, and passes it on."""
        if self._file is None:
            return
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        self._file.flush()
        self._mirror.log(metrics, step=step)
