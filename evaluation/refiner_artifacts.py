"""What `evaluation refiners` reads of other stages' artefacts. Imports no heavy library."""

from pathlib import Path
from typing import Any

from prox.artifact import is_committed, read_json, require
from prox.errors import UserError

# What the table of refiners reads of each task's checkpoints.
REFINER_SCORES = {
    "document": ("f1",),
    "chunk": ("f1", "f1_macro_documents", "precision", "recall", "share_unparsable"),
}
CORPUS_ARM = "raw"


def read_artifact(folder: Path, option: str, file: str, made_by: str) -> dict[str, Any]:
    """A JSON object of a finished artefact; a ``UserError`` that names the option where there is none."""
    found = require(folder, option, made_by)
    if not found and not is_committed(folder):
        found = [f"--{option} {folder} is no artefact: give the folder that {made_by} writes"]
    if not found and not (folder / file).is_file():
        found = [f"--{option} {folder} has no {file}: give the folder that {made_by} writes"]
    if found:
        raise UserError(found[0])
    try:
        content = read_json(folder / file)
    except UserError as error:
        raise UserError(f"--{option}: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"--{option} {folder}: {file} is not what {made_by} writes: run it again")
    return content


def read_metrics(folder: Path, option: str, task: str) -> dict[str, Any]:
    """What `adaptation validate` wrote for this task; a ``UserError`` for any other folder."""
    made_by = f"`adaptation validate --task {task}`"
    metrics = read_artifact(folder, option, "metrics.json", made_by)
    if metrics.get("task") != task:
        raise UserError(
            f"--{option} {folder} holds scores of the task {metrics.get('task')!r}, not {task!r}: "
            f"give the folder that {made_by} writes"
        )
    needed = {"name", "checkpoint", "num_examples", *REFINER_SCORES[task]}
    rows = metrics.get("checkpoints")
    if not isinstance(rows, list) or not rows:
        raise UserError(f"--{option} {folder} holds no scored checkpoint: run {made_by} again")
    for row in rows:
        if missing := sorted(needed - set(row)):
            raise UserError(f"--{option} {folder}: a checkpoint has no {', '.join(missing)}: run {made_by} again")
    return metrics


def read_tokens_kept(folder: Path, option: str, arm: str) -> float:
    """Share of the raw corpus's tokens that an arm kept, by `refinement stats`; else a ``UserError``."""
    made_by = "`refinement stats`"
    arms = read_artifact(folder, option, "stats.json", made_by).get("arms")
    if not isinstance(arms, dict) or not all(isinstance(size, dict) and "tokens" in size for size in arms.values()):
        raise UserError(f"--{option} {folder} has no `arms` with `tokens`: give the folder that {made_by} writes")
    if arm not in arms:
        raise UserError(f"--{option} {folder} has no arm {arm!r}: give one of {', '.join(sorted(arms))} as --arm")
    if not arms.get(CORPUS_ARM, {}).get("tokens"):
        raise UserError(
            f"--{option} {folder} counts no tokens of the arm {CORPUS_ARM!r}, of which shares are shown: "
            f"run {made_by} with --arms.{CORPUS_ARM}"
        )
    return arms[arm]["tokens"] / arms[CORPUS_ARM]["tokens"]
