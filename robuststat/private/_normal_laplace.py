"""Distribution of a normal error plus Laplace noise: the reference law of private means."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_ndtr

from robuststat._core.errors import ParameterError
from robuststat._core.types import Array


def normal_laplace_cdf(t: float | Array, sd: float, scale: float) -> Array:
    """Distribution function of N(0, sd**2) + Laplace(scale).

    Parameters
    ----------
    t : float or ndarray
        Points.
    sd, scale : float
        Non-negative, not both zero.

    Returns
    -------
    ndarray
    """
    points = np.asarray(t, dtype=np.float64)
    _check(sd, scale)
    if scale == 0:
        return np.asarray(np.exp(log_ndtr(points / sd)))
    if sd == 0:
        tail = 0.5 * np.exp(-np.abs(points) / scale)
        return np.asarray(np.where(points < 0, tail, 1 - tail))
    z, r = points / sd, sd / scale
    # Phi(z) + [e^(r^2/2 + t/b) Phi(-z-r) - e^(r^2/2 - t/b) Phi(z-r)] / 2, in logs.
    up = np.exp(r**2 / 2 + points / scale + log_ndtr(-z - r))
    down = np.exp(r**2 / 2 - points / scale + log_ndtr(z - r))
    return np.asarray(np.clip(np.exp(log_ndtr(z)) + 0.5 * (up - down), 0.0, 1.0))


def normal_laplace_ppf(p: float, sd: float, scale: float) -> float:
    """Quantile of N(0, sd**2) + Laplace(scale) at probability ``p`` in (0, 1)."""
    _check(sd, scale)
    if not 0 < p < 1:
        raise ParameterError(f"p must lie in (0, 1), got {p!r}.")
    if p == 0.5:
        return 0.0
    # The lower tail is computed without cancellation; the law is symmetric.
    tail, sign = (p, 1.0) if p < 0.5 else (1 - p, -1.0)
    reach = sd + scale
    while normal_laplace_cdf(-reach, sd, scale) > tail:
        reach *= 2
    root = brentq(
        lambda t: float(normal_laplace_cdf(t, sd, scale)) - tail,
        -reach,
        0.0,
        xtol=1e-14,
        rtol=1e-14,
    )
    return sign * float(root)


def _check(sd: float, scale: float) -> None:
    if not (0 <= sd < np.inf and 0 <= scale < np.inf and sd + scale > 0):
        raise ParameterError(
            f"sd and scale must be finite, at least 0 and not both 0; got {sd!r}, {scale!r}."
        )
