"""Conversions between statements of privacy, and what several releases add up to.

(epsilon, delta): P[M(S) in E] <= e**epsilon P[M(S') in E] + delta for all neighbours S, S'.
rho-zCDP: the Renyi divergence of order a between M(S) and M(S') is at most a rho, all a > 1.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import gammaln, logsumexp

from robuststat._core.types import Array

# Sums are in double precision; what is reported is larger by this share, so that it is a bound.
ROUNDING = 1e-12


def pure_to_zcdp(epsilon: float) -> float:
    """Find rho of any epsilon-private mechanism: ``epsilon tanh(epsilon/2)``, which is attained."""
    return epsilon * math.tanh(epsilon / 2)


def exponential_to_zcdp(epsilon: float) -> float:
    """Find rho of an exponential mechanism, whose log ratios lie in a range of width epsilon.

    Normalisation moves all log ratios together, so that they spread over epsilon and not over
    2 epsilon: ``epsilon**2 / 8``, four times less than for a mechanism that is only pure.
    """
    return epsilon**2 / 8


def zcdp_to_epsilon(rho: float, delta: float) -> float:
    """Smallest epsilon that follows from rho-zCDP at ``delta``.

    min over a > 1 of ``a rho + [log(1/delta) - log(a-1) + a log(1 - 1/a)] / (a-1)``.
    """
    if rho == 0:
        return 0.0
    if delta == 0 or math.isinf(rho):
        return math.inf

    def bound(log_excess: float) -> float:
        excess = math.exp(log_excess)  # a - 1
        order = 1 + excess
        loss = -math.log(delta) - log_excess + order * (log_excess - math.log(order))
        return order * rho + loss / excess

    # Near the optimum of the simpler bound, 1 + sqrt(log(1/delta)/rho).
    start = 0.5 * math.log(max(-math.log(delta), 1e-3) / rho)
    found = minimize_scalar(
        bound, bounds=(start - 8, start + 8), method="bounded", options={"xatol": 1e-10}
    )
    return max(0.0, float(found.fun)) * (1 + ROUNDING)


def zcdp_for(epsilon: float, delta: float) -> float:
    """Largest rho whose conversion at ``delta`` is at most ``epsilon``."""
    if delta == 0 or epsilon == 0:
        return 0.0
    low, high = 0.0, epsilon  # a rho alone exceeds epsilon at rho = epsilon
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if zcdp_to_epsilon(middle, delta) <= epsilon else (low, middle)
    return low


def gaussian_zcdp(sensitivity: float, sd: float) -> float:
    """Find rho of normal (or discrete normal) noise: ``sensitivity**2 / (2 sd**2)``."""
    return sensitivity**2 / (2 * sd**2)


def optimal_delta(k: int, epsilon_each: float, epsilon: float) -> float:
    """Smallest delta for which k releases of ``epsilon_each`` are (epsilon, delta) private.

    Kairouz, Oh and Viswanath (2015): the worst case is randomised response k times. With l of k
    answers against, ``sum_l C(k, l) [e**((k-l) e) - e**(epsilon + l e)]+ / (1 + e**e)**k``.

    Parameters
    ----------
    k : int
        Releases.
    epsilon_each : float
        What each of them costs, delta = 0.
    epsilon : float
        Total for which delta is wanted.

    Returns
    -------
    float
    """
    against, log_weight = _responses(k, epsilon_each)
    gap = epsilon - (k - 2 * against) * epsilon_each  # negative where the term counts
    used = gap < 0
    if not used.any():
        return 0.0
    terms = log_weight[used] + (k - against[used]) * epsilon_each + np.log(-np.expm1(gap[used]))
    return float(min(1.0, math.exp(logsumexp(terms)) * (1 + ROUNDING)))


def _responses(k: int, epsilon_each: float) -> tuple[Array, Array]:
    """Return counts of answers against, and log C(k, l) - k log(1 + e**epsilon)."""
    against = np.arange(k + 1, dtype=np.float64)
    log_choose = gammaln(k + 1) - gammaln(against + 1) - gammaln(k - against + 1)
    return against, log_choose - k * np.logaddexp(0.0, epsilon_each)


def optimal_epsilon(k: int, epsilon_each: float, delta: float) -> float:
    """Smallest epsilon for which k releases of ``epsilon_each`` are (epsilon, delta) private.

    Parameters
    ----------
    k : int
        Releases.
    epsilon_each : float
        What each of them costs, delta = 0.
    delta : float
        In [0, 1).

    Returns
    -------
    float
    """
    total = k * epsilon_each
    if delta == 0 or k == 0:
        return total
    # delta(epsilon) falls; bisection from above keeps a value that is certainly enough.
    low, high = 0.0, total
    if optimal_delta(k, epsilon_each, 0.0) <= delta:
        return 0.0
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        enough = optimal_delta(k, epsilon_each, middle) <= delta
        low, high = (low, middle) if enough else (middle, high)
    return high
