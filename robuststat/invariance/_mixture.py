"""Noncentral F distribution where SciPy's series fails."""

from __future__ import annotations

import numpy as np
from scipy import special


def poisson_mixture(x: float, d1: float, d2: float, noncentrality: float) -> tuple[float, float]:
    """Both tails of the noncentral F as a Poisson mixture of beta distributions.

    For noncentralities of thousands SciPy's series returns NaN at some points far from the mean,
    which a search for a root meets on its way (d1 = 60, d2 = 1e5, noncentrality = 8219). Terms
    beyond 12 standard deviations of the Poisson weights are below 1e-30.
    """
    mean = noncentrality / 2.0
    reach = 12.0 * np.sqrt(mean) + 40.0
    j = np.arange(max(0.0, np.floor(mean - reach)), np.ceil(mean + reach) + 1.0)
    weight = np.exp(special.xlogy(j, mean) - mean - special.gammaln(j + 1.0))
    share = d1 * x / (d1 * x + d2)
    lower = float(special.betainc(d1 / 2.0 + j, d2 / 2.0, share) @ weight)
    upper = float(special.betaincc(d1 / 2.0 + j, d2 / 2.0, share) @ weight)
    return min(lower, 1.0), min(upper, 1.0)
