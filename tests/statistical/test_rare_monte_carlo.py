"""Rare events by simulation: bias, standard errors and coverage with a dozen events.

Bounds follow from the number of repetitions: bias within 4 Monte Carlo errors, coverage between
the 1e-4 and 1 - 1e-4 quantiles of a binomial share. The seed is 0; no bound was fitted to what came
out. 15 events for two slopes: second-order bias is left, so that "no bias" is asked of the two
corrections relative to maximum likelihood, paired on the same samples.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from robuststat import RareEventClassifier, SeparationError
from robuststat.simulation import make_rare_events

pytestmark = pytest.mark.slow

R = 120
BOUND = 4.0
TAIL = 1e-4


@pytest.fixture(scope="module")
def draws() -> dict[str, np.ndarray]:
    """Slope of x1 in samples of 300 rows with about 15 events: error and cover of each method."""
    found: dict[str, list[tuple[float, float, float]]] = {m: [] for m in ("ml", "firth", "kz")}
    for seed in np.random.SeedSequence(0).spawn(R):
        data = make_rare_events(
            300, share=0.05, coef=(1.0, 0.5), dummy_share=0.4, random_state=seed
        )
        y, truth = np.asarray(data.y), float(data.truth["x1"])
        fits = {
            "ml": {"method": "ml", "intervals": "wald"},
            "firth": {"method": "firth"},
            "kz": {"method": "king_zeng"},
        }
        for name, options in fits.items():
            try:
                fit = RareEventClassifier(**options).fit(data.X, y)  # type: ignore[arg-type]
            except SeparationError:
                found[name].append((np.nan, np.nan, np.nan))
                continue
            low, high = fit.confint().loc["x1"]
            mean = float(fit.predict_rare(data.X).mean())
            found[name].append((fit.coef_[0] - truth, float(low <= truth <= high), mean - y.mean()))
    return {name: np.array(values) for name, values in found.items()}


def test_corrections_take_off_the_bias_of_maximum_likelihood(draws: dict[str, np.ndarray]) -> None:
    ml = draws["ml"][:, 0]
    fine = np.isfinite(ml)
    assert fine.sum() > 0.9 * R
    for name in ("firth", "kz"):
        error = draws[name][fine, 0]
        shift = (ml[fine] - error).mean()
        mcse = (ml[fine] - error).std() / np.sqrt(fine.sum())
        assert shift > BOUND * mcse
        assert abs(error.mean()) < abs(ml[fine].mean())
        assert error.var() < ml[fine].var()


@pytest.mark.parametrize("name", ["firth", "kz"])
def test_intervals_cover(draws: dict[str, np.ndarray], name: str) -> None:
    covered = draws[name][:, 1]
    covered = covered[np.isfinite(covered)]
    low, high = (binom.ppf(q, len(covered), 0.95) / len(covered) for q in (TAIL, 1 - TAIL))
    assert low <= covered.mean() <= high


def test_firth_predicts_too_many_events(draws: dict[str, np.ndarray]) -> None:
    assert np.nanmin(draws["firth"][:, 2]) > 0.0
    np.testing.assert_allclose(draws["ml"][np.isfinite(draws["ml"][:, 2]), 2], 0.0, atol=1e-8)
