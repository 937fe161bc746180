"""Size of the tests of proportional odds, coverage of intervals, population shares put back.

Seeds are 0, 1, ... and no bound was fitted to what came out. With R draws, shares (rejections,
coverages) lie between the 1e-4 and 1 - 1e-4 quantiles of a binomial share; biases are within four
Monte Carlo standard errors, ratios of standard error and deviation within four of theirs.
"""

import numpy as np
import pytest
from scipy.stats import binom

from robuststat import OrdinalClassifier, brant_test, po_test

pytestmark = pytest.mark.slow

R = 150
TAIL = 1e-4
# Rejections at 5 % by a chi-squared approximation of samples of this size: what it may be off by.
DRIFT = 0.01


def bounds(share, n_rep=R):
    return binom.ppf([TAIL, 1 - TAIL], n_rep, share) / n_rep


def ordinal_draw(seed, n=600, p=2, cuts=(-1.0, 0.5, 2.0)):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    beta = np.linspace(1.0, -0.5, p)
    return x, np.digitize(x @ beta + rng.logistic(size=n), cuts)


@pytest.mark.parametrize("kind", ["brant", "lr", "score"])
@pytest.mark.filterwarnings("ignore:Boundaries cross")
def test_size_of_the_tests_of_proportional_odds(kind):
    rejected, single, statistic = [], [], []
    for seed in range(R):
        found = po_test(*ordinal_draw(seed), kind=kind)
        rejected.append(found.p_value < 0.05)
        single.append(found.table["p_value"][0] < 0.05)
        statistic.append(found.statistic)
    low, high = bounds(0.05)
    assert low - DRIFT <= np.mean(rejected) <= high + DRIFT
    assert low - DRIFT <= np.mean(single) <= high + DRIFT
    # A chi-squared variable with 4 degrees of freedom has mean 4 and variance 8.
    assert abs(np.mean(statistic) - 4.0) < 4.0 * np.sqrt(8.0 / R) + 0.1


def test_power_against_a_slope_that_changes():
    hits = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(800, 1))
        spread = np.exp(0.4 * x[:, 0])
        y = np.digitize(x[:, 0] + spread * rng.logistic(size=800), [-1.0, 0.5, 2.0])
        hits += brant_test(x, y).p_value < 0.05
    assert hits >= 45


def test_coverage_of_wald_and_profile():
    n_rep, truth = 100, np.array([1.0, -1.0, 0.5, 2.0])
    inside, estimates, errors = {"wald": [], "profile": []}, [], []
    for seed in range(n_rep):
        x, y = ordinal_draw(seed, n=150, p=1)
        est = OrdinalClassifier().fit(x, y)
        estimates.append(est.result_.estimate)
        errors.append(est.std_error_)
        for method, roles in (("wald", {}), ("profile", {"X": x, "y": y})):
            limits = est.confint(method=method, **roles).to_numpy()
            inside[method].append((limits[:, 0] < truth) & (truth < limits[:, 1]))
    for found in inside.values():
        assert (np.mean(found, axis=0) >= bounds(0.95, n_rep)[0]).all()
    # The share of so few intervals has no useful upper bound: errors must have the right size too.
    ratio = np.mean(errors, axis=0) / np.std(estimates, axis=0, ddof=1)
    assert (np.abs(ratio - 1.0) < 4.0 / np.sqrt(2 * n_rep)).all(), ratio


def adjacent_draw(rng, n):
    """Rows of a population with adjacent logits, and its shares by class."""
    x = rng.normal(size=n)
    scores = np.column_stack([np.zeros(n), -1.0 + 0.5 * x, -3.0 + x])
    p = np.exp(scores)
    p /= p.sum(axis=1, keepdims=True)
    y = (rng.random(n)[:, None] > np.cumsum(p, axis=1)[:, :2]).sum(axis=1)
    return x[:, None], y


@pytest.mark.parametrize("correction", ["weighting", "prior"])
def test_population_shares_put_back(correction):
    shares = np.bincount(adjacent_draw(np.random.default_rng(10**6), 4_000_000)[1]) / 4e6
    truth = np.array([0.5, 1.0, 2.0])
    estimates, errors = [], []
    for seed in range(R):
        rng = np.random.default_rng(seed)
        x, y = adjacent_draw(rng, 8000)
        rows = np.concatenate([np.flatnonzero(y == c)[:200] for c in range(3)])
        est = OrdinalClassifier("adjacent", tau=shares, correction=correction)
        est.fit(x[rows], y[rows])
        estimates.append(est.result_.estimate)
        errors.append(est.std_error_)
    estimates, errors = np.array(estimates), np.array(errors)
    sd = estimates.std(axis=0, ddof=1)
    # Maximum likelihood is biased by about sd^2; that is what a bias may be beside chance.
    assert (np.abs(estimates.mean(axis=0) - truth) < 4.0 * sd / np.sqrt(R) + sd**2).all()
    ratio = errors.mean(axis=0) / sd
    assert (np.abs(ratio - 1.0) < 4.0 / np.sqrt(2 * R)).all()
    coverage = (np.abs(estimates - truth) < 1.96 * errors).mean(axis=0)
    assert (coverage >= bounds(0.95)[0]).all()


def test_cumulative_slopes_need_weights():
    """Sampling by class changes the slopes of proportional odds: no shift can repair that."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400_000, 1))
    y = np.digitize(1.5 * x[:, 0] + rng.logistic(size=len(x)), [0.0, 4.0])
    rows = np.concatenate([np.flatnonzero(y == c)[:12_000] for c in range(3)])
    shares = np.bincount(y) / len(y)
    plain = OrdinalClassifier().fit(x[rows], y[rows])
    weighted = OrdinalClassifier(tau=shares).fit(x[rows], y[rows])
    assert abs(plain.coef_[0, 0] - 1.5) > 4.0 * plain.std_error_[0]
    assert abs(weighted.coef_[0, 0] - 1.5) < 4.0 * weighted.std_error_[0]
    z = (weighted.intercept_ - [0.0, 4.0]) / weighted.std_error_[1:]
    assert (np.abs(z) < 4.0).all()
