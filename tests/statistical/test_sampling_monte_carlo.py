"""Bias, standard errors and coverage of the sampling family, over seeded repetitions."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats

from robuststat import AdaptiveISCV, LawImpact, ReweightedExpectation
from robuststat.simulation import make_gaussian_moments

pytestmark = pytest.mark.slow

REPS = 120
LEVEL = 0.95
# Four binomial standard errors below the level, and 0.02 for intervals that are asymptotic.
LOWEST = LEVEL - 4 * np.sqrt(LEVEL * (1 - LEVEL) / REPS) - 0.02
LAWS = {"base": [stats.norm(), stats.norm()], "shift": [stats.norm(0.4), stats.norm(0.0, 0.9)]}


def repeat(make, truth):
    """Estimates, standard errors and whether the interval covers, (REPS, J) each."""
    rows = []
    for seed in range(REPS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            est = make(seed)
        limits = est.confint(level=LEVEL).to_numpy()
        covers = (limits[:, 0] <= truth) & (truth <= limits[:, 1])
        rows.append((est.estimate_, est.std_error_, covers))
    return tuple(np.array(part) for part in zip(*rows, strict=True))


def assert_calibrated(estimate, se, covers, truth):
    sd = estimate.std(axis=0, ddof=1)
    bias = (estimate.mean(axis=0) - truth) / (sd / np.sqrt(REPS))
    assert (np.abs(bias) < 4).all(), bias
    assert (covers.mean(axis=0) > LOWEST).all(), covers.mean(axis=0)
    # Relative error of a standard deviation: sqrt((kurtosis - 1) / 4 REPS); kurtosis up to 9.
    slack = 4 * np.sqrt(2.0 / REPS)
    ratio = np.sqrt((se**2).mean(axis=0)) / sd
    assert (np.abs(ratio - 1) < slack).all(), ratio


@pytest.mark.parametrize(
    "options",
    [{}, {"preset": "paper"}, {"sampler": "rqmc"}, {"controls": "laws", "cross_fit": 5}],
    ids=str,
)
def test_moments(options):
    data = make_gaussian_moments(3)
    weights = 1.0 / data.truth**2
    assert_calibrated(
        *repeat(
            lambda seed: AdaptiveISCV(2000, weights=weights, random_state=seed, **options).fit(
                data.func, data.law
            ),
            data.truth,
        ),
        data.truth,
    )


@pytest.mark.parametrize("options", [{}, {"controls": "surrogate", "degree": 2}], ids=str)
def test_laws(options):
    def model(X):
        return np.exp(0.3 * X[:, 0]) + X[:, 1] ** 2

    truth = np.array([np.exp(0.045) + 1.0, np.exp(0.12 + 0.045) + 0.81])
    assert_calibrated(
        *repeat(
            lambda seed: AdaptiveISCV(2000, random_state=seed, **options).fit(model, LAWS), truth
        ),
        truth,
    )


def test_functions_with_both_signs():
    def model(X):
        return np.column_stack([X[:, 0] ** 3 - X[:, 0], np.sin(X[:, 0]) + 0.2])

    truth = np.array([0.0, 0.2])
    assert_calibrated(
        *repeat(lambda seed: AdaptiveISCV(2000, random_state=seed).fit(model, stats.norm()), truth),
        truth,
    )


@pytest.mark.parametrize("options", [{}, {"normalise": True}, {"controls": True}], ids=str)
def test_reweighting(options):
    truth = np.array([0.3, 0.09 + 0.81])

    def make(seed):
        x = np.random.default_rng(seed).normal(size=800)
        Y = np.column_stack([x, x**2])
        log_f, log_q = stats.norm(0.3, 0.9).logpdf(x), stats.norm().logpdf(x)
        return ReweightedExpectation(**options).fit(Y, log_f, log_q)

    assert_calibrated(*repeat(make, truth), truth)


def test_impact_of_laws():
    truth = np.array([1.0, 1.16, 0.16, 1.16])
    assert_calibrated(
        *repeat(
            lambda seed: LawImpact(1500, random_state=seed).fit(lambda X: X[:, 0] ** 2, LAWS), truth
        ),
        truth,
    )
