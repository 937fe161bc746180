"""Error and coverage of rare-event probabilities, quantiles and perturbed-law indices."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats

from robuststat import FailureProbability, OutputQuantile, PerturbedLawIndices
from robuststat.simulation import make_failure_modes, make_rare_event

pytestmark = pytest.mark.slow

REPS = 60
LEVEL = 0.95
# Four binomial standard errors below the level, and 0.02 for intervals that are asymptotic.
LOWEST = LEVEL - 4 * np.sqrt(LEVEL * (1 - LEVEL) / REPS) - 0.02
PAIR = [stats.norm(), stats.norm()]


def repeat(make, truth):
    """Relative errors and whether the intervals cover, (REPS, J) each."""
    error, covers = [], []
    for seed in range(REPS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            est = make(seed)
        limits = est.confint(level=LEVEL).to_numpy()
        covers.append((limits[:, 0] <= truth) & (truth <= limits[:, 1]))
        error.append(est.estimate_ / truth - 1.0)
    return np.array(error), np.array(covers)


def assert_unbiased_and_covering(error, covers):
    bias = error.mean(axis=0) / (error.std(axis=0, ddof=1) / np.sqrt(REPS))
    assert (np.abs(bias) < 4).all(), bias
    assert (covers.mean(axis=0) > LOWEST).all(), covers.mean(axis=0)


@pytest.mark.parametrize(("event", "dim"), [("linear", 50), ("four_branches", 2)])
def test_goals_at_4000_runs(event, dim):
    data = make_rare_event(event, dim)
    error, covers = repeat(
        lambda seed: FailureProbability(4000, random_state=seed).fit(data.func, data.law),
        np.array([data.probability]),
    )
    assert_unbiased_and_covering(error, covers)
    # The goal is .06; a root mean square of REPS errors varies by 1/sqrt(2 REPS).
    assert np.sqrt((error**2).mean()) < 0.06 * (1 + 4 / np.sqrt(2 * REPS))


def test_four_causes():
    data = make_failure_modes()
    assert_unbiased_and_covering(
        *repeat(
            lambda seed: FailureProbability(3000, union=True, random_state=seed).fit(
                data.func, data.law
            ),
            np.append(data.probabilities, data.probability),
        )
    )


def test_quantiles():
    q = stats.norm.ppf([0.99, 0.999])
    beyond = stats.norm.pdf(q) / np.array([0.01, 0.001])
    _, covers = repeat(
        lambda seed: OutputQuantile(2000, probabilities=[0.99, 0.999], random_state=seed).fit(
            lambda X: X.sum(axis=1) / np.sqrt(2.0), PAIR
        ),
        np.concatenate([q, beyond]),
    )
    assert (covers.mean(axis=0) > LOWEST).all(), covers.mean(axis=0)


def test_perturbed_laws():
    p, new = stats.norm.sf(3.0), stats.norm.sf(3.0 - np.array([-0.5, 0.5]) / np.sqrt(2.0))
    truth = np.tile(np.where(new > p, new / p - 1.0, 1.0 - p / new), 2)
    _, covers = repeat(
        lambda seed: PerturbedLawIndices(
            2000, target="probability", deltas=[-0.5, 0.5], random_state=seed
        ).fit(lambda X: 3.0 - X.sum(axis=1) / np.sqrt(2.0), PAIR),
        truth,
    )
    assert (covers.mean(axis=0) > LOWEST).all(), covers.mean(axis=0)
