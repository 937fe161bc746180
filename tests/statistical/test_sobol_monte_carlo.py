"""Coverage and standard errors of Sobol' indices over seeded repetitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from robuststat import SobolIndices

pytestmark = pytest.mark.slow

REPS = 200
LEVEL = 0.95
# Four binomial standard errors below the level, and 0.02 for intervals that are asymptotic.
LOWEST = LEVEL - 4 * np.sqrt(LEVEL * (1 - LEVEL) / REPS) - 0.02
LAW = [stats.norm(1.0, 0.1), stats.norm(2.0, 0.2), stats.lognorm(0.1)]


def model(X):
    """x3 x2 / x1^3: tails where polynomials err."""
    return X[:, 2] * X[:, 1] / X[:, 0] ** 3


def truth():
    """The model is a product of independent factors: 1 + V = prod (1 + cv_j^2)."""
    z, w = np.polynomial.hermite_e.hermegauss(24)
    w = w / w.sum()
    x1, x2, x3 = 1.0 + 0.1 * z, 2.0 + 0.2 * z, np.exp(0.1 * z)
    cv2 = np.array([w @ f**2 / (w @ f) ** 2 - 1.0 for f in (x1**-3.0, x2, x3)])
    V = np.prod(1.0 + cv2) - 1.0
    return np.concatenate([cv2, cv2 * np.prod(1.0 + cv2) / (1.0 + cv2)]) / V


@pytest.mark.parametrize(
    "options",
    [{}, {"degree": 2}, {"estimator": "mc", "degree": 2}, {"controls": "none"}],
    ids=str,
)
def test_intervals_cover(options):
    true = truth()
    estimates, errors, covers = [], [], []
    for seed in range(REPS):
        est = SobolIndices(1280, random_state=seed, **options).fit(model, LAW)
        limits = est.confint(level=LEVEL).to_numpy()
        covers.append((limits[:, 0] <= true) & (true <= limits[:, 1]))
        estimates.append(est.estimate_)
        errors.append(est.std_error_)
    E, se = np.array(estimates), np.array(errors)
    sd = E.std(axis=0, ddof=1)
    assert (np.abs(E.mean(axis=0) - true) < 4 * sd / np.sqrt(REPS) + 1e-3 * true).all()
    assert (np.mean(covers, axis=0) > LOWEST).all(), np.mean(covers, axis=0)
    # Relative error of a standard deviation: sqrt((kurtosis - 1) / 4 REPS); kurtosis up to 9.
    ratio = np.sqrt((se**2).mean(axis=0)) / sd
    assert (np.abs(ratio - 1) < 4 * np.sqrt(2.0 / REPS)).all(), ratio
