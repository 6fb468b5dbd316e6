"""The fuzz run in small, and that it sees what it is there to see."""

from dataclasses import replace

import pytest

from prox import Execution, executor
from tests import fuzz, fuzz_inputs


def test_three_thousand_programs_keep_every_invariant() -> None:
    summary = fuzz.fuzz(3000, seed=0)
    assert not summary.failure
    assert summary.programs == 3000
    assert set(summary.verdicts) == {"unchanged", "edited", "rejected", "removed"}
    assert {"applied", "clipped", "reversed", "out_of_range", "not_found", "fault", "misplaced"} <= set(
        summary.statuses
    )
    assert summary.operations > 3000
    assert summary.faults > 1000


def test_programs_depend_on_the_seed_alone() -> None:
    def programs(seed: int) -> list[str]:
        maker = fuzz_inputs.ProgramMaker(seed)
        return [maker.program("calls") for _ in range(50)]

    assert programs(1) == programs(1) != programs(2)


def wrong_text(execution: Execution) -> Execution:
    return replace(execution, text=execution.text + " and more")


def wrong_calls(execution: Execution) -> Execution:
    return replace(execution, calls=execution.calls[:-1])


def crash(execution: Execution) -> Execution:
    raise ZeroDivisionError


@pytest.mark.parametrize("break_it", [wrong_text, wrong_calls, crash])
def test_a_broken_executor_ends_the_run_with_seed_and_program(
    break_it, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def execute(program, text, *settings):
        execution = executor.execute(program, text, *settings)
        return break_it(execution) if execution.calls else execution

    monkeypatch.setattr(fuzz, "execute", execute)
    assert fuzz.main(["--programs", "200", "--seed", "7"]) == 1
    shown = capsys.readouterr()
    assert "seed 7, program" in shown.err
    assert "parse_program(" in shown.err
    assert "verdicts" in shown.out


def test_growing_memory_fails_the_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = iter(range(0, 10**12, fuzz.MAX_GROWTH // 2 + 1))
    monkeypatch.setattr(fuzz, "_resident_bytes", lambda: next(sizes))
    assert fuzz.main(["--programs", "20"]) == 1
    assert "memory grew" in capsys.readouterr().err
