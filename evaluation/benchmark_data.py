"""The questions of the paper's benchmarks: from a mirror folder or the hub, the same rows for harnesses and models."""

import hashlib
import json
import random
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from prox.artifact import write_atomically
from prox.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

SOURCES = Path(__file__).parent / "tasks" / "sources.yaml"
SAMPLE_SEED = 42
"""lighteval draws the questions that it asks with this seed, and so the paper's."""
EVALUATION, FEWSHOT = "evaluation", "fewshot"
HELD_BACK = 20
"""Rows set aside for worked examples where there is no split to take them from."""


@dataclass(frozen=True)
class Source:
    """Where the questions of a task come from."""

    repo: str
    """Repository of the hub."""
    config: str
    revision: str
    """Commit of the repository, or a reference of it."""
    split: str
    fewshot_split: str
    selection_split: str | None = None
    """The split of the selection suite, where that is another one."""
    aliases: tuple[str, ...] = ()
    """Other names that the repository has in mirrors."""

    def evaluation_split(self, suite: str) -> str:
        """The split that a suite asks."""
        return (self.selection_split if suite == "selection" else None) or self.split

    def places(self, mirror: Path) -> list[Path]:
        """Folders of a mirror that may hold the splits."""
        return [mirror / name.replace("/", "__") / self.config for name in (self.repo, *self.aliases)]

    def splits(self, mirror: Path) -> dict[str, Path]:
        """The files of the splits that a mirror has, by name."""
        files = [path for place in self.places(mirror) for path in sorted(place.glob("*.parquet"))]
        return {path.stem: path for path in reversed(files)}


@dataclass(frozen=True)
class TaskData:
    """A task's questions, laid down for a harness."""

    folder: Path
    """`datasets.load_dataset(folder, subset)` gives the splits `evaluation` and `fewshot`; each row has its number in
    the split it was taken from as `row`."""
    subsets: dict[str, int]
    """Number of questions by subset (MMLU's subjects); one subset named `all` elsewhere."""
    description: str
    """Where they come from, in words."""
    digest: str
    """SHA-256 of all rows."""
    details: dict[str, Any] = field(default_factory=dict)


@cache
def sources() -> dict[str, Source]:
    """All sources by task."""
    content = yaml.safe_load(SOURCES.read_text(encoding="utf-8"))
    return {task: Source(**{**fields, "aliases": tuple(fields.get("aliases", ()))}) for task, fields in content.items()}


def missing_splits(task: str, split: str, mirror: Path) -> str | None:
    """What a mirror lacks of a task, with the remedy; None where nothing is missing."""
    source = sources()[task]
    found = source.splits(mirror)
    if split in found:
        return None
    wanted = source.places(mirror)[0] / f"{split}.parquet"
    if not found:
        return f"--data {mirror} has no {wanted.relative_to(mirror)} for {task}: add it, or leave {task} out of --tasks"
    return (
        f"--data {mirror} has {', '.join(sorted(found))} of {task}, but not the split {split}: add "
        f"{wanted.relative_to(mirror)}, or name another split, as --splits.{task} {sorted(found)[0]}"
    )


def load_split(source: Source, split: str, mirror: Path | None) -> "Dataset | None":
    """The rows of a split; None where the mirror has no such split. ``UserError`` where the hub can't be read."""
    from datasets import Dataset, load_dataset

    if mirror is not None:
        path = source.splits(mirror).get(split)
        return None if path is None else Dataset.from_parquet(str(path))
    try:
        return load_dataset(source.repo, source.config, split=split, revision=source.revision)
    except Exception as error:
        # The hub's libraries raise their own errors, those of the network's and of files that changed.
        raise UserError(
            f"{source.repo} ({source.config}, {split}, {source.revision}) can't be read from the hub "
            f"({type(error).__name__}: {error}): give a mirror folder with --data"
        ) from error


def digest_of(row: dict[str, Any]) -> str:
    """What tells a question from all others: a hash of its columns."""
    return hashlib.sha256(json.dumps(row, sort_keys=True, default=str).encode()).hexdigest()[:16]


def sample(count: int, limit: int, held_back: int = 0) -> list[int]:
    """Numbers of the rows to ask, ascending: all of them for ``limit`` 0, else the first of lighteval's order.

    The last ``held_back`` rows are left out, without a change of the order of the others.
    """
    numbers = list(range(count))
    if 0 < limit < count:
        random.Random(SAMPLE_SEED).shuffle(numbers)
    numbers = [number for number in numbers if number < count - held_back]
    return sorted(numbers[:limit] if limit else numbers)


def lay_down(
    task: str, split: str, mirror: Path | None, limit: int, folder: Path, with_fewshot: bool = False
) -> TaskData:
    """Writes a task's questions to ``folder``.

    Args:
        task: name of a source.
        split: name of the split to ask.
        mirror: mirror folder; None asks the hub.
        limit: most questions of each subset; 0 for all.
        folder: new folder for the files.
        with_fewshot: lay down a split of worked examples, too.

    Raises:
        UserError: the split is not there.
    """
    source = sources()[task]
    rows = load_split(source, split, mirror)
    if rows is None:
        assert mirror is not None
        raise UserError(missing_splits(task, split, mirror) or f"{task} has no split {split}")
    digests = [digest_of(row) for row in rows]
    rows = rows.add_column("row", list(range(len(rows)))).add_column("question_digest", digests)
    pool = load_split(source, source.fewshot_split, mirror) if with_fewshot else None
    details: dict[str, Any] = {"split": split}
    held_back = 0
    if with_fewshot and pool is not None:
        details["fewshot_pool"] = source.fewshot_split
    elif with_fewshot:
        held_back = min(HELD_BACK, len(rows) // 2)
        pool = rows.select(range(len(rows) - held_back, len(rows)))
        details["fewshot_pool"] = f"the last {held_back} rows of {split}, which are not asked"
    numbers = [
        members[number] for members in by_subset(rows).values() for number in sample(len(members), limit, held_back)
    ]
    place = f"{source.repo} at {source.revision}" if mirror is None else f"a mirror of {source.repo}"
    return write_data(rows.select(numbers), pool, folder, f"{place}, {source.config}, {split}", details)


def write_data(
    rows: "Dataset", pool: "Dataset | None", folder: Path, description: str, details: dict[str, Any]
) -> TaskData:
    """Writes questions, and worked examples where there are any, as harnesses load them."""
    # What an attempt that failed half-way left.
    shutil.rmtree(folder, ignore_errors=True)
    subsets = {}
    digest = hashlib.sha256()
    for name, numbers in by_subset(rows).items():
        chosen = rows.select(numbers)
        subsets[name] = len(chosen)
        (folder / name).mkdir(parents=True)
        chosen.to_parquet(str(folder / name / f"{EVALUATION}.parquet"))
        for row in chosen:
            digest.update(json.dumps(row, sort_keys=True, default=str).encode())
    if pool is not None:
        pool.to_parquet(str(folder / f"{FEWSHOT}.parquet"))
        for row in pool:
            digest.update(json.dumps(row, sort_keys=True, default=str).encode())
    write_atomically(folder / "README.md", card(subsets, pool is not None))
    return TaskData(folder, subsets, description, digest.hexdigest(), details)


def by_subset(rows: "Dataset") -> dict[str, list[int]]:
    """Numbers of the rows by subject of MMLU, in order; everything else as one."""
    if "subject" not in rows.column_names:
        return {"all": list(range(len(rows)))}
    numbers: dict[str, list[int]] = {}
    for number, subject in enumerate(rows["subject"]):
        numbers.setdefault(subject, []).append(number)
    return numbers


def card(subsets: Iterable[str], with_fewshot: bool) -> str:
    """What makes ``datasets`` find the splits of each subset."""
    shared = [{"split": FEWSHOT, "path": f"{FEWSHOT}.parquet"}] if with_fewshot else []
    configs = [
        {
            "config_name": name,
            "data_files": [{"split": EVALUATION, "path": f"{name}/{EVALUATION}.parquet"}, *shared],
        }
        for name in subsets
    ]
    return f"---\n{yaml.safe_dump({'configs': configs})}---\n"
