"""Density of residuals at zero: what a quantile regression has for a derivative.

Powell (1991) weights rows by a kernel of their residual; the bandwidth is that of Hall and
Sheather (1988), made for tests about a quantile, translated to the scale of the residuals as in
Koenker (2005, section 3.4.2).
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from robuststat._core.errors import IdentificationError
from robuststat._core.types import Array

# A spread below this share of the outcomes is rounding.
_NO_SPREAD = 1e-12


def hall_sheather(n_effective: float, quantile: float) -> float:
    """Bandwidth in units of probability, for intervals of level .95.

    Halved until quantile +- bandwidth lies inside (0, 1).
    """
    z = norm.ppf(quantile)
    shape = 1.5 * norm.pdf(z) ** 2 / (2.0 * z**2 + 1.0)
    width = float(n_effective ** (-1 / 3) * norm.ppf(0.975) ** (2 / 3) * shape ** (1 / 3))
    while quantile - width <= 0.0 or quantile + width >= 1.0:
        width /= 2.0
    return width


def weighted_quantiles(values: Array, weights: Array, levels: Array) -> Array:
    """Smallest values whose share of the weight reaches each level."""
    order = np.argsort(values)
    share = np.cumsum(weights[order])
    position = np.searchsorted(share, np.asarray(levels) * share[-1] * (1 - 1e-12))
    return np.asarray(values[order][np.minimum(position, values.size - 1)])


def residual_bandwidth(residual: Array, quantile: float, weights: Array | None) -> float:
    """Bandwidth in the unit of the residuals (n,); weights are not negative."""
    w = np.ones(residual.size) if weights is None else weights
    total = w.sum()
    width = hall_sheather(float(total**2 / (w @ w)), quantile)
    middle = float(w @ residual / total)
    spread = float(np.sqrt(w @ (residual - middle) ** 2 / total))
    low, high = weighted_quantiles(residual, w, np.array([0.25, 0.75]))
    if high > low:
        spread = min(spread, (high - low) / 1.34)
    return float(norm.ppf(quantile + width) - norm.ppf(quantile - width)) * spread


def density_weights(
    residual: Array, quantile: float, weights: Array | None, scale: float = 0.0
) -> Array:
    """Gaussian kernel of each residual at zero over the bandwidth, of shape (n,).

    Raises
    ------
    IdentificationError
        When the residuals have no spread beyond the rounding of outcomes as large as ``scale``:
        the quantile then has no density, and its estimate no standard error.
    """
    width = residual_bandwidth(residual, quantile, weights)
    if width <= _NO_SPREAD * scale or width <= 0.0:
        raise IdentificationError(
            f"The {residual.size} labelled residuals of the quantile regression have no spread: "
            "expert labels lie on the fitted plane, so there is no density to derive a standard "
            "error from. Remove covariates that determine the outcome, or use model='linear'."
        )
    return np.asarray(norm.pdf(residual / width) / width)
