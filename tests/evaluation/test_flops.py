"""FLOPs by Equations 9 to 14, against the numbers that the paper's text gives."""

import pytest

from evaluation import figure_flops, flops
from evaluation.published import load_table
from prox.flops import inference_flops, training_flops

SIZES = figure_flops.published_parameters()
RAW, AFTER_DOCUMENTS = 62.5e9, 19.0e9
"""Tokens of RedPajama-V2's dump before refining, and after the document stage (Table 7)."""


def test_equations_by_hand() -> None:
    assert training_flops(10, 100) == 6000
    assert inference_flops(10, 100, 5) == 2100
    assert flops.document_stage_flops(10, 100) == inference_flops(10, 100)
    assert flops.chunk_stage_flops(10, 40) == 800
    assert flops.refining_flops(100, 40, document_parameters=10, chunk_parameters=20) == 2000 + 1600
    assert flops.tokens_at(2) == 2 * 2**21
    assert flops.tokens_at(3, 10) == 30


@pytest.mark.parametrize("parameters", [1.0, 3.1e8])
@pytest.mark.parametrize(("raw", "kept"), [(100.0, 100.0), (6e10, 2e10)])
def test_equation_14_is_equation_13_with_one_size(parameters: float, raw: float, kept: float) -> None:
    both = flops.refining_flops(raw, kept, parameters, parameters)
    assert flops.refining_flops_of_one_size(raw, kept, parameters) == pytest.approx(both)
    assert both == pytest.approx(2 * parameters * (raw + kept))
    assert both < training_flops(parameters, raw)


def test_refining_takes_5e19_flops() -> None:
    """Section 4.2: 5e19 with TLM-xs in both stages, as much as 12 B tokens of TLM-s or 5 B of TLM-m."""
    refining = flops.refining_flops_of_one_size(RAW, AFTER_DOCUMENTS, SIZES["TLM-xs"])
    assert refining == figure_flops.whole_refining() == pytest.approx(5e19, rel=0.025)
    assert refining / (6 * SIZES["TLM-s"]) == pytest.approx(12e9, rel=0.01)
    assert refining / (6 * SIZES["TLM-m"]) == pytest.approx(5e9, rel=0.02)


def test_totals_of_figure_8() -> None:
    """Section 4.2: 6.7e19 without and 6.3e19 with ProX for the 0.7B model, 58 % for the 1.7B model.

    The printed total with ProX comes out 3 % lower than ours, and the printed share 2 points.
    """
    totals: dict[tuple[str, str], float] = {}
    for point in figure_flops.published_costs():
        key = (point.panel.split()[0], str(point.x))
        totals[key] = totals.get(key, 0.0) + point.y
    assert totals["0.7B", "raw"] == pytest.approx(6.7e19, rel=0.001)
    assert totals["0.7B", "prox-d+c"] == pytest.approx(6.51e19, rel=0.001)
    assert totals["0.7B", "prox-d+c"] == pytest.approx(6.3e19, rel=0.035)
    assert totals["1.7B", "prox-d+c"] / totals["1.7B", "raw"] == pytest.approx(0.58, abs=0.018)
    # "For the 0.7B model, the total is already lower": for the smallest it is not.
    assert totals["0.3B", "prox-d+c"] > totals["0.3B", "raw"]


def test_figure_8_compares_the_steps_of_comparable_averages() -> None:
    points = {(point.panel.split()[0], point.x, point.series): point.y for point in figure_flops.published_costs()}
    for model, raw_step in (("TLM-xs", 10_000), ("TLM-s", 7_500), ("TLM-m", 10_000)):
        size = figure_flops.SIZES[model]
        for bar, step in (("raw", raw_step), ("prox-d+c", 5_000)):
            assert points[size, bar, "training"] == training_flops(SIZES[model], flops.tokens_at(step))
        assert points[size, "raw", "refining"] == 0
        assert points[size, "prox-d+c", "refining"] == pytest.approx(figure_flops.whole_refining() * 0.4)


def test_other_statements_of_the_text() -> None:
    """TinyLlama took about 60 times the tokens and 40 times the FLOPs of TLM-m on 50 B (section 3.3): 57 and 35."""
    tokens = flops.tokens_at(25_000)
    assert tokens == pytest.approx(52.4e9, rel=0.001)
    assert 3e12 / tokens == pytest.approx(57, abs=0.5)
    ratio = training_flops(SIZES["TinyLlama-1.1B"], 3e12) / training_flops(SIZES["TLM-m"], tokens)
    assert ratio == pytest.approx(35, abs=0.5)
    trained = {row["train_tokens_billion"] for row in load_table(7).rows if row["experiment"] == "Figure 5"}
    assert trained == {round(flops.tokens_at(12_500) / 1e9, 1)}


def test_first_step_of_a_comparable_average() -> None:
    curve = [(1, 40.0), (2, 41.0), (3, 40.9)]
    assert figure_flops.first_step(curve, 41.1) == 2
    assert figure_flops.first_step(curve, 41.2) is None
    assert figure_flops.refining_share(10.0, 2, 5) == 4.0
