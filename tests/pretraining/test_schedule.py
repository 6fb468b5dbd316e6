"""Learning-rate schedules against hand-computed points."""

import pytest

from pretraining.schedule import cosine, warmup_stable_decay


def test_cosine_warms_up_peaks_and_ends_at_its_minimum() -> None:
    rates = {step: cosine(step, 5e-4, 5e-5, 500, 12_500) for step in (1, 250, 500, 6_500, 12_500)}
    assert rates[1] == pytest.approx(1e-6)
    assert rates[250] == pytest.approx(2.5e-4)
    assert rates[500] == pytest.approx(5e-4)
    assert rates[6_500] == pytest.approx((5e-4 + 5e-5) / 2)
    assert rates[12_500] == pytest.approx(5e-5)


def test_wsd_is_equation_8_with_the_papers_numbers() -> None:
    rates = {step: warmup_stable_decay(step, 1e-3, 2_000, 200, 50_200) for step in (500, 2_000, 50_000, 50_050, 50_200)}
    assert rates[500] == pytest.approx(2.5e-4)
    assert rates[2_000] == rates[50_000] == 1e-3
    assert rates[50_050] == pytest.approx(5e-4)
    assert rates[50_200] == pytest.approx(6.25e-5)  # the final rate of Table 9's WSD rows
