"""A request that was answered is never made twice: every batch is on disk before the next one is sent."""

import json
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from annotation.tables import ASIDE, Row, write_rows
from prox.errors import UserError
from prox.progress import Progress

Item = TypeVar("Item")

FILE_NAME = "work.jsonl"
MAX_DEAD_BATCHES = 3
"""Batches without any answer, one after the other, after which the server is taken to be down."""


class Journal:
    """Append-only JSON lines ``[key, row]``; a line that a kill cut in half is dropped when the file is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, Row] = {}
        sound = 0
        if path.is_file():
            with path.open("rb") as file:
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    key, row = json.loads(line)
                    self.rows[key] = row
                    sound += len(line)
            os.truncate(path, sound)

    def append(self, rows: Iterable[tuple[str, Row]]) -> None:
        """Adds rows and waits until they are on disk."""
        added = list(rows)
        with self.path.open("a", encoding="utf-8") as file:
            for key, row in added:
                file.write(json.dumps([key, row], ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows.update(added)


def key_of(*parts: Hashable) -> str:
    """A journal key."""
    return json.dumps(parts, ensure_ascii=False)


def work_off(
    folder: Path,
    items: Iterable[tuple[str, Item]],
    annotate: Callable[[Sequence[Item]], list[Row]],
    batch_size: int,
    progress: Progress,
    max_failed_share: float,
) -> list[Row]:
    """Annotates every item not yet in the folder's journal; returns all rows in the order of ``items``.

    ``annotate`` gives one row an item. Rows with ``failed`` set (no answer from the server) are returned but not
    written to the journal, so that the next run asks again. Raises ``UserError`` when more than ``max_failed_share`` of
    all items failed, and early where the server seems to be down: a batch without any answer, now or earlier, before
    anything succeeded in this process, or ``MAX_DEAD_BATCHES`` of them in a row.
    """
    journal = Journal(folder / FILE_NAME)
    order: list[str] = []
    failed: dict[str, Row] = {}
    any_answer, dead_batches = False, 0
    for batch in _batches(items, batch_size):
        order += [key for key, _ in batch]
        waiting = [(key, item) for key, item in batch if key not in journal.rows]
        rows = annotate([item for _, item in waiting]) if waiting else []
        answers = list(zip([key for key, _ in waiting], rows, strict=True))
        journal.append((key, row) for key, row in answers if not row.get("failed"))
        missed = {key: row for key, row in answers if row.get("failed")}
        failed.update(missed)
        any_answer = any_answer or len(missed) < len(waiting)
        # A batch of which an earlier run has answers is not dead: what is left of it may be what no server answers.
        dead_batches = dead_batches + 1 if len(missed) == len(batch) else 0
        if dead_batches == MAX_DEAD_BATCHES or (dead_batches and not any_answer and len(batch) > 1):
            raise UserError(_failure_message(rows[0], len(missed), len(waiting), "of a batch"))
        progress.advance(len(batch))
    if failed and len(failed) > max_failed_share * len(order):
        raise UserError(_failure_message(next(iter(failed.values())), len(failed), len(order), "in all"))
    return [journal.rows.get(key) or failed[key] for key in order]


def finish(folder: Path, name: str, rows: Sequence[Row]) -> None:
    """Writes the accepted rows to ``name`` and the others to ``aside.jsonl``, then removes the journal."""
    write_rows(folder / ASIDE, [row for row in rows if "reason" in row])
    write_rows(folder / name, [row for row in rows if "reason" not in row])
    (folder / FILE_NAME).unlink(missing_ok=True)


def _batches(items: Iterable[tuple[str, Item]], size: int) -> Iterator[list[tuple[str, Item]]]:
    batch: list[tuple[str, Item]] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _failure_message(row: Row, failed: int, total: int, scope: str) -> str:
    return (
        f"{failed} of {total} items {scope} got no answer ({row['reason']}): check that the server is up, then run the "
        "same command again; answers that came are kept"
    )
