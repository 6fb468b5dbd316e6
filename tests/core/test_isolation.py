"""Work in batches: one bad item costs itself, and the next batch is made while this one is used."""

import threading

import pytest

from prox.engines import Failure
from prox.errors import UserError
from prox.isolation import isolated
from prox.overlap import one_ahead


def test_one_bad_item_costs_itself(caplog: pytest.LogCaptureFixture) -> None:
    found = isolated(lambda items: [10 // item for item in items], [1, 0, 5], lambda item: f"item {item}")
    assert found == [10, Failure("ZeroDivisionError: integer division or modulo by zero"), 2]
    assert "item 0 is left as it is" in caplog.text


def test_a_fault_of_the_settings_is_no_items() -> None:
    def refuse(items):
        raise UserError("no room")

    with pytest.raises(UserError, match="no room"):
        isolated(refuse, [1, 2], str)


def test_the_next_item_is_made_while_this_one_is_used() -> None:
    made = [threading.Event() for _ in range(3)]

    def items():
        for number, event in enumerate(made):
            event.set()
            yield number, threading.current_thread()

    for number, maker in one_ahead(items()):
        assert maker is not threading.current_thread()
        assert all(event.wait(10) for event in made[: number + 2])
        assert not any(event.is_set() for event in made[number + 2 :])


def test_an_error_is_raised_where_the_item_was_due() -> None:
    def items():
        yield 1
        raise OverflowError("two")

    found = one_ahead(items())
    assert next(found) == 1
    with pytest.raises(OverflowError, match="two"):
        next(found)
    assert list(one_ahead([])) == []
