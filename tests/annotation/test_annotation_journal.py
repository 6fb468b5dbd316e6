"""What stops a run of requests, and what is kept aside."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from annotation import journal, tables
from prox.errors import UserError
from prox.progress import Progress


class Server:
    """Answers every item but the failing ones, and counts what it was asked."""

    def __init__(self, *failing: int) -> None:
        self.failing, self.asked = set(failing), []

    def __call__(self, items: Sequence[int]) -> list[tables.Row]:
        self.asked += items
        return [{"id": n, "reason": "refused", "failed": True} if n in self.failing else {"id": n} for n in items]


def work_off(folder: Path, server: Server, size: int, batch_size: int = 2, max_failed_share: float = 0.5) -> list[int]:
    """Ids of the items that failed."""
    items = [(str(number), number) for number in range(size)]
    with Progress("test", size, "items") as progress:
        rows = journal.work_off(folder, items, server, batch_size, progress, max_failed_share)
    assert [row["id"] for row in rows] == list(range(size))
    return [row["id"] for row in rows if "failed" in row]


@pytest.mark.parametrize("failing", [(3,), (3, 4), (1, 3, 5, 6), (6,)])
def test_a_resume_that_has_only_hopeless_items_left_finishes(tmp_path: Path, failing: tuple[int, ...]) -> None:
    answered = [(str(number), {"id": number}) for number in range(7) if number not in failing]
    journal.Journal(tmp_path / journal.FILE_NAME).append(answered)  # what a kill left
    server = Server(*failing)
    assert work_off(tmp_path, server, 7, max_failed_share=0.6) == list(failing)
    assert server.asked == list(failing)


def test_a_batch_that_fails_after_answers_is_kept_aside(tmp_path: Path) -> None:
    assert work_off(tmp_path, Server(2, 3, 4, 5), 9) == [2, 3, 4, 5]


def test_a_server_that_is_down_from_the_start_stops_the_run_at_once(tmp_path: Path) -> None:
    server = Server(*range(20))
    with pytest.raises(UserError, match="2 of 2 items of a batch got no answer"):
        work_off(tmp_path, server, 20)
    assert len(server.asked) == 2


def test_a_server_that_goes_down_stops_the_run_after_three_batches(tmp_path: Path) -> None:
    server = Server(*range(4, 40))
    with pytest.raises(UserError, match="of a batch"):
        work_off(tmp_path, server, 40, max_failed_share=1.0)
    assert server.asked == list(range(4 + 2 * journal.MAX_DEAD_BATCHES))
    assert sorted(map(int, journal.Journal(tmp_path / journal.FILE_NAME).rows)) == [0, 1, 2, 3]


def test_too_many_failures_in_all_are_an_error_at_the_end(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="3 of 8 items in all"):
        work_off(tmp_path, Server(1, 3, 5), 8, max_failed_share=0.3)
