"""Waves combined: exact expectations by enumeration, agreement with draw_wave, adaptive designs."""

import itertools

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from robuststat import DSLMean, combine_waves, draw_wave
from robuststat._core.errors import DataError, ParameterError, RoleError
from robuststat.simulation import make_surrogate_linear, monte_carlo

ROUNDING = 1e-10  # the same sums in another order


def weights(combined):
    return np.where(combined.labeled, 1 / combined.sample_prob, 0.0)


def every_draw(gold):
    """All ways to draw one of four rows, then each other one with a chance that its label sets."""
    for first in range(4):
        later = 0.5 if gold[first] == 1 else 0.2
        others = [i for i in range(4) if i != first]
        for flags in itertools.product([True, False], repeat=3):
            wave = np.zeros(4)
            wave[first] = 1
            wave[[i for i, drawn in zip(others, flags, strict=True) if drawn]] = 2
            if not any(flags):
                continue  # one wave only: handled by the caller
            prob = np.column_stack([np.full(4, 0.25), np.full(4, later)])
            prob[first, 1] = 0.0
            chance = 0.25 * np.prod([later if drawn else 1 - later for drawn in flags])
            yield first, later, wave, prob, chance


def test_adaptive_weights_are_exactly_unbiased_and_the_product_is_not():
    gold = np.array([1, 1, 0, 0.0])
    shares = np.array([0.5, 0.5])
    own = np.zeros(4)
    naive = np.zeros(4)
    for first, later, wave, prob, chance in every_draw(gold):
        own += chance * weights(combine_waves(wave, prob, shares=shares))
        would_be = prob.copy()
        would_be[first, 1] = later
        naive += chance * weights(combine_waves(wave, would_be, adaptive=False))
    for first in range(4):  # nothing drawn in the second wave: W = .5 / .25 + .5 of one row
        later = 0.5 if gold[first] == 1 else 0.2
        own[first] += 0.25 * (1 - later) ** 3 * 2.5
        naive[first] += 0.25 * (1 - later) ** 3 / (1 - 0.75 * (1 - later))
    assert_allclose(own, 1.0, rtol=ROUNDING)
    assert abs(naive - 1).max() > 0.1
    assert naive[:2].mean() < 1 < naive[2:].mean()


def test_own_waves_are_those_of_draw_wave():
    data = make_surrogate_linear(1000, random_state=0)
    y = np.full(1000, np.nan)
    est = DSLMean(learner="passthrough")
    wave, number, prob = None, np.zeros(1000), []
    for t, size in enumerate((60, 40, 100), start=1):
        arguments = {"n_labels": size, "coef": "mean", "prediction": data.prediction}
        if wave is not None:
            again = combine_waves(number, np.column_stack(prob))
            for name in ("rows", "labeled", "prob"):
                assert_allclose(getattr(again, name), getattr(wave, name))
            assert again.sizes == wave.sizes
            arguments["earlier"] = again
        wave = draw_wave(est, None, y, random_state=t, **arguments)
        number[wave.rows] = t
        prob.append(wave.prob)
        y[wave.rows] = data.y_gold[wave.rows]
    combined = combine_waves(number, np.column_stack(prob))
    rows = wave.labeled
    assert_allclose(combined.sample_prob[rows], wave.sample_prob[rows], rtol=ROUNDING)


def test_fixed_numbers_in_strata():
    rng = np.random.default_rng(0)
    strata = np.repeat(["a", "b", "c"], [50, 30, 20])
    number = np.zeros(100)
    for t, counts in ((1, (5, 5, 5)), (2, (10, 2, 3))):
        for name, count in zip("abc", counts, strict=True):
            free = np.flatnonzero((strata == name) & (number == 0))
            number[rng.choice(free, count, replace=False)] = t
    fixed = combine_waves(number, strata=strata, adaptive=False)
    assert_allclose(fixed.sample_prob, np.repeat([15 / 50, 7 / 30, 8 / 20], [50, 30, 20]))
    combined = combine_waves(pd.Series(number), strata=pd.Series(strata))
    # With one constant in every stratum nothing is off: the weights add up to the rows.
    total = pd.Series(weights(combined)).groupby(strata).sum()
    assert_allclose(total, [50, 30, 20], rtol=ROUNDING)
    first = (number == 1) & (strata == "b")
    assert_allclose(1 / combined.sample_prob[first], 0.5 * 30 / 5 + 0.5)
    second = (number == 2) & (strata == "b")
    assert_allclose(1 / combined.sample_prob[second], 0.5 * 25 / 2)
    assert (combined.prob[number == 1] == 0).all()
    assert_allclose(combined.prob[second], 2 / 25)
    assert combined.sizes == (15, 15)
    assert (combined.rows == np.flatnonzero(number == 2)).all()
    one = combine_waves(np.where(number == 1, 1, np.nan))
    assert_allclose(one.sample_prob, 0.15)


def adaptive_design(random_state):
    """Five labels of each of 40 strata, then 200 where the first ones varied."""
    rng = np.random.default_rng(random_state)
    n_strata, size = 40, 200
    shares = np.random.default_rng(7).beta(0.4, 3, n_strata)
    strata = np.repeat(np.arange(n_strata), size)
    gold = (rng.random(strata.size) < shares[strata]).astype(float)
    machine = np.where(rng.random(strata.size) < 0.85, gold, 1 - gold)
    number = np.zeros(strata.size)
    for h in range(n_strata):
        number[h * size + rng.choice(size, 5, replace=False)] = 1
    seen = np.array([gold[(number == 1) & (strata == h)].mean() for h in range(n_strata)])
    wanted = np.sqrt(seen * (1 - seen)) + 0.05
    counts = np.maximum(1, np.round(200 * wanted / wanted.sum())).astype(int)
    for h in range(n_strata):
        free = h * size + np.flatnonzero(number[h * size : (h + 1) * size] == 0)
        number[rng.choice(free, counts[h], replace=False)] = 2
    y = np.where(number > 0, gold, np.nan)
    roles = {"y": y, "machine": machine, "number": number, "strata": strata}
    return roles | {"truth": shares.mean()}


@pytest.mark.slow
def test_adaptive_strata_need_the_averaged_weights():
    """The rare label is found where it was found before: the product forgets the others."""

    def fit(draw, adaptive, prediction):
        # The shares were planned: half of the labels in each wave.
        options = {"shares": [0.5, 0.5]} if adaptive else {}
        combined = combine_waves(
            draw["number"], strata=draw["strata"], adaptive=adaptive, **options
        )
        est = DSLMean(learner="passthrough", design="bernoulli", normalize_prob=False)
        return est.fit(None, draw["y"], prediction=prediction, sample_prob=combined.sample_prob)

    found = monte_carlo(
        adaptive_design,
        {
            "averaged": lambda draw: fit(draw, True, draw["machine"]),
            "product": lambda draw: fit(draw, False, draw["machine"]),
            "averaged, no surrogate": lambda draw: fit(draw, True, 0 * draw["machine"]),
            "product, no surrogate": lambda draw: fit(draw, False, 0 * draw["machine"]),
        },
        500,
        random_state=3,
    ).table.set_index("estimator")
    for name in ("averaged", "averaged, no surrogate"):
        line = found.loc[name]
        assert abs(line["bias"]) < 3.5 * line["bias_mcse"]
        # Fixed numbers make the standard error too large, never too small.
        assert line["se_ratio"] > 1 - 3.5 * line["se_ratio_mcse"]
        assert line["coverage"] > 0.95 - 3.5 * np.sqrt(0.95 * 0.05 / 500) - 0.01
    line = found.loc["product, no surrogate"]
    assert line["bias"] < -0.7 * line["sd"]
    line = found.loc["product"]
    assert line["bias"] < -2.5 * line["bias_mcse"]
    assert line["bias"] > -0.5 * line["sd"]


@pytest.mark.slow
def test_waves_that_were_planned_cover():
    """Independent waves with probabilities that look at the surrogate only."""

    def design(random_state):
        rng = np.random.default_rng(random_state)
        gold = rng.random(2000) < 0.3
        machine = np.where(rng.random(2000) < 0.8, gold, ~gold).astype(float)
        prob = np.column_stack(
            [np.where(machine == 1, 0.1, 0.05), np.where(machine == 1, 0.05, 0.2)]
        )
        drawn = rng.random((2000, 2)) < prob
        number = np.where(drawn[:, 0], 1, np.where(drawn[:, 1], 2, 0))
        y = np.where(number > 0, gold, np.nan).astype(float)
        return {"y": y, "machine": machine, "number": number, "prob": prob, "truth": 0.3}

    def fit(draw, **options):
        combined = combine_waves(draw["number"], draw["prob"], **options)
        est = DSLMean(learner="passthrough", design="bernoulli", normalize_prob=False)
        sample_prob = combined.sample_prob
        return est.fit(None, draw["y"], prediction=draw["machine"], sample_prob=sample_prob)

    found = monte_carlo(
        design,
        {
            "product": lambda draw: fit(draw, adaptive=False),
            "averaged": lambda draw: fit(draw, shares=[0.4, 0.6]),
        },
        600,
        random_state=4,
    ).table.set_index("estimator")
    assert (found["bias"].abs() < 3.5 * found["bias_mcse"]).all()
    assert ((found["se_ratio"] - 1).abs() < 3.5 * found["se_ratio_mcse"]).all()
    assert ((found["coverage"] - 0.95).abs() < 3.5 * np.sqrt(0.95 * 0.05 / 600)).all()
    assert found.loc["averaged", "sd"] > found.loc["product", "sd"]


HALF = np.full((4, 2), 0.5)


@pytest.mark.parametrize(
    ("wave", "arguments", "error", "match"),
    [
        ([0, 0, 0, 0], {}, DataError, "it holds none"),
        ([0, 2, 3, 2], {}, DataError, "without gaps; it holds 2, 3"),
        ([1, -1, 0.5, 0], {}, DataError, "2 rows do not .first at row 1"),
        ([1, np.inf, 0, 0], {}, DataError, "1 rows do not"),
        (["x", 1, 0, 0], {}, DataError, "wave must be numeric"),
        ([[1, 0], [0, 2]], {}, DataError, "shape"),
        ([1, 2, 0, 0], {"prob": HALF, "strata": [1, 1, 1, 1]}, ParameterError, "not both"),
        ([1, 2, 0, 0], {"prob": HALF[:, 0]}, RoleError, r"shape \(4, 2\); got \(4, 1\)"),
        ([1, 2, 0, 0], {"prob": HALF + 0.6}, RoleError, "4 rows have a value of prob outside"),
        ([1, 2, 0, 0], {"prob": HALF * np.nan}, RoleError, "4 rows have a value of prob outside"),
        ([1, 2, 0, 0], {"prob": [["a", "b"]] * 4}, DataError, "prob must be numeric"),
        ([1, 2, 0, 0], {"prob": HALF * [1, 0]}, RoleError, "1 rows were labelled in a wave"),
        ([1, 1, 2, 0], {"strata": list("abab")}, RoleError, "1 rows could not be chosen"),
        ([1, 2, 0, 0], {"strata": [1, 1, 1]}, RoleError, "strata must be known"),
        ([1, 2, 0, 0], {"strata": [1, None, 1, 1]}, RoleError, "1 of them missing"),
        ([1, 2, 0, 0], {"shares": [0.5, 0.6]}, ParameterError, "2 positive numbers with sum 1"),
        ([1, 2, 0, 0], {"shares": [1.0]}, ParameterError, "2 positive numbers"),
        ([1, 2, 0, 0], {"shares": [0.5, 0.5], "adaptive": False}, ParameterError, "adaptive=True"),
        ([1, 2, 0, 0], {"adaptive": 1}, ParameterError, "adaptive"),
        (
            [1, 2, 0, 0],
            {"prob": HALF * [1, 1.6]},
            ParameterError,
            "1 labelled rows would weigh less than 1 .first: row 1, wave 2, prob 0.8 above",
        ),
        (
            [1, 1, 0, 0],
            {"strata": list("aabb"), "adaptive": False},
            RoleError,
            "2 rows have probability 0 in every wave",
        ),
    ],
)
def test_bad_input(wave, arguments, error, match):
    with pytest.raises(error, match=match):
        combine_waves(wave, **arguments)
