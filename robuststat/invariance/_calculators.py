"""Numbers of environments and rows, and power (spec 2.3, 2.4).

The functions ``eta_*`` bound the chance V that a new environment is outside of what was found on m
environments, with confidence 1 - delta over these m.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from scipy import optimize, special, stats

from robuststat._core.errors import ParameterError
from robuststat._core.params import Check, check_parameters, in_range, one_of
from robuststat.invariance._gap import f_cdf, f_sf

SampleSizeKind: TypeAlias = Literal["scenario", "split", "vc", "rows"]

_PROBABILITY: Check = in_range(0, 1, closed="neither")
_COUNT: Check = in_range(1, math.inf, integer=True)


def eta_fixed(m: int, violations: int, delta: float) -> float:
    """Bound of V for a ball fixed beforehand: Clopper and Pearson's upper limit."""
    if violations >= m:
        return 1.0
    return float(special.betaincinv(violations + 1, m - violations, 1 - delta))


def eta_scenario(m: int, n_free: int, delta: float) -> float:
    """Bound of V for the smallest ball, a convex scenario programme with ``n_free`` unknowns.

    P(V > eta) <= sum_{i < D} C(m, i) eta^i (1 - eta)^(m - i), Campi and Garatti (2008); 1 when
    there are fewer environments than unknowns.
    """
    if m < n_free:
        return 1.0
    return float(special.betaincinv(n_free, m - n_free + 1, 1 - delta))


def eta_wait_judge(m: int, n_support: int, delta: float) -> float:
    """Bound of V from the number of support environments found (Campi and Garatti 2018).

    1 - t with delta/(m + 1) sum_{i = s}^{m} C(i, s) t^(i - s) = C(m, s) t^(m - s).
    """
    s = n_support
    if s >= m:
        return 1.0
    i = np.arange(s, m + 1)
    log_choose = special.gammaln(i + 1) - special.gammaln(s + 1) - special.gammaln(i - s + 1)

    def difference(log_t: float) -> float:
        left = math.log(delta / (m + 1)) + special.logsumexp(log_choose + (i - s) * log_t)
        return float(left - log_choose[-1] - (m - s) * log_t)

    # The left side wins at t -> 0, the right side at t = 1.
    low = -1.0
    while difference(low) < 0:
        low *= 2
    return 1.0 - math.exp(float(optimize.brentq(difference, low, 0.0, xtol=1e-15, rtol=1e-14)))


def vc_dimension(k: int, dim: int, sites: int, in_degree: int) -> float:
    """Smaller of the two bounds of the dimension of all linear representations (spec 2.3 d)."""
    q = sites * in_degree
    by_environment = math.comb(q + 4 * sites, 4 * sites)
    by_representation = 2 * (k * dim + k) * math.log2(72)
    return float(min(by_environment, by_representation))


def invariance_sample_size(
    eta: float = 0.1,
    delta: float = 0.05,
    k: int = 1,
    *,
    candidates: int = 1,
    kind: SampleSizeKind = "scenario",
    violations: int = 0,
    d1: float = 0.0,
    dim: int = 10,
    sites: int = 1,
    in_degree: int = 2,
    rho: float = 0.5,
    sigma2: float = 1.0,
    lambda_min: float = 1.0,
) -> int:
    """Smallest number of environments (or of rows in each) that a certificate needs.

    With that many environments, drawn independently like those to come, at most a share ``eta`` of
    new environments is outside of the certified ball, with confidence 1 - ``delta``.

    Parameters
    ----------
    eta, delta : float
        Share of new environments outside, and chance that the certificate fails; in (0, 1).
    k : int
        Number of coefficients in the gap, the intercept included when it is.
    candidates : int
        Representations that are searched on the same data; ``delta`` is divided by it.
    kind : {"scenario", "split", "vc", "rows"}
        ``"scenario"``: ball found on the same environments (k + 1 unknowns). ``"split"``: ball
        fixed beforehand or on others, with ``violations`` environments outside it. ``"vc"``: any
        linear representation, chosen by continuous search (realisable PAC bound; very large).
        ``"rows"``: not environments but rows in each, so that the sampling error of its
        coefficients is at most ``rho``.
    violations : int
        Environments outside the ball, for ``"split"``.
    d1 : float
        Miss probability of the confidence set of each environment; the bound is eta/(1 - d1)
        then. 0: the statement is about estimates from equally large samples.
    dim, sites, in_degree : int
        Covariates, nodes that interventions touch, and causes of each of them, for ``"vc"``.
    rho, sigma2, lambda_min : float
        Radius asked for, error variance, and smallest eigenvalue of the second moments of the
        covariates, for ``"rows"``; there ``d1`` must be positive.

    Returns
    -------
    int

    Raises
    ------
    ParameterError
        For a value outside its range.

    Examples
    --------
    >>> from robuststat import invariance_sample_size
    >>> invariance_sample_size(eta=0.1, delta=0.05, k=1)
    46
    >>> invariance_sample_size(eta=0.1, delta=0.05, kind="split")
    29
    """
    values = {"eta": eta, "delta": delta, "k": k, "candidates": candidates, "kind": kind}
    checks: dict[str, Check] = {"eta": _PROBABILITY, "delta": _PROBABILITY, "k": _COUNT}
    checks |= {"candidates": _COUNT, "kind": one_of(*get_args(SampleSizeKind))}
    checks["violations"] = in_range(0, math.inf, integer=True)
    checks["d1"] = in_range(0, 1, closed="neither" if kind == "rows" else "left")
    positive = in_range(0, math.inf, closed="neither")
    checks |= {"dim": _COUNT, "sites": _COUNT, "in_degree": _COUNT}
    checks |= {"rho": positive, "sigma2": positive, "lambda_min": positive}
    values |= {"violations": violations, "d1": d1, "dim": dim, "sites": sites}
    values |= {"in_degree": in_degree, "rho": rho, "sigma2": sigma2, "lambda_min": lambda_min}
    check_parameters("invariance_sample_size", checks, values)
    if kind == "rows":
        return _rows_needed(rho, k, d1, sigma2 / lambda_min)
    goal, risk = eta * (1 - d1), delta / candidates
    if kind == "vc":
        vc = vc_dimension(k, dim, sites, in_degree)
        by_risk = 4 / goal * math.log2(2 / risk)
        return math.ceil(max(by_risk, 8 * vc / goal * math.log2(13 / goal)))
    if kind == "split":
        return _smallest(lambda m: eta_fixed(m, violations, risk), violations + 1, goal)
    return _smallest(lambda m: eta_scenario(m, k + 1, risk), k + 1, goal)


def _smallest(bound: Any, start: int, goal: float) -> int:
    """Smallest integer m >= start with bound(m) <= goal; bound decreases in m."""
    high = max(start, 2)
    while bound(high) > goal:
        high *= 2
    low = start
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if bound(middle) <= goal else (middle + 1, high)
    return low


def radius_of_errors(n_rows: float, k: int, d1: float) -> float:
    """Squared radius k F_{k, n - k; 1 - d1} / n in units of s2 / lambda_min(M)."""
    return float(k * stats.f.isf(d1, k, n_rows - k) / n_rows)


def _rows_needed(rho: float, k: int, d1: float, ratio: float) -> int:
    return _smallest(lambda n: ratio * radius_of_errors(n, k, d1), k + 1, rho**2)


@dataclass(frozen=True, slots=True)
class InvariancePower:
    """Power of the three tests of psi.

    Attributes
    ----------
    chow : float
        Chance to reject equal coefficients (psi = 0).
    relevant : float
        Chance to reject psi <= eps, a violation that matters.
    equivalence : float
        Chance to reject psi >= eps, that is, to certify eps-invariance.
    psi, eps, alpha : float
        True value, bound and level.
    n_env, n_obs : int
        Environments and rows in all.

    Examples
    --------
    >>> from robuststat import invariance_power
    >>> invariance_power(4, 200, 3, psi=0.1).n_obs
    800
    """

    chow: float
    relevant: float
    equivalence: float
    psi: float
    eps: float
    alpha: float
    n_env: int
    n_obs: int


def invariance_power(
    n_env: int,
    n_rows: int | Sequence[int],
    k: int,
    *,
    psi: float,
    eps: float = 0.05,
    alpha: float = 0.05,
) -> InvariancePower:
    """Power of the tests of equal, relevantly different and equivalent coefficients.

    Exact for Gaussian errors of one variance, given the design: the statistic is noncentral F with
    noncentrality N psi.

    Parameters
    ----------
    n_env : int
        Number of environments K, at least 2.
    n_rows : int or sequence of K int
        Rows in each.
    k : int
        Number of coefficients, the intercept included.
    psi : float
        True average risk gap, in units of the noise variance.
    eps : float
        Gap that would not matter, in the same unit.
    alpha : float
        Level of the tests.

    Returns
    -------
    InvariancePower

    Raises
    ------
    ParameterError
        For a value outside its range, or fewer rows than coefficients.

    Examples
    --------
    >>> from robuststat import invariance_power
    >>> round(invariance_power(4, 200, 3, psi=0.0, eps=0.02).equivalence, 2)
    0.77
    """
    values = {"n_env": n_env, "k": k, "psi": psi, "eps": eps, "alpha": alpha}
    checks: dict[str, Check] = {"n_env": in_range(2, math.inf, integer=True), "k": _COUNT}
    not_negative = in_range(0, math.inf, closed="left")
    checks |= {"psi": not_negative, "eps": not_negative, "alpha": _PROBABILITY}
    check_parameters("invariance_power", checks, values)
    sizes = np.atleast_1d(np.asarray(n_rows))
    sizes = np.repeat(sizes, n_env) if np.ndim(n_rows) == 0 else sizes
    if len(sizes) != n_env or int(sizes.min()) <= k:
        raise ParameterError(
            f"n_rows must be an integer above k = {k}, or {n_env} of them; got {n_rows!r}."
        )
    total = int(np.sum(sizes))
    d1, d2 = (n_env - 1) * k, total - n_env * k
    bounds = float(stats.f.isf(alpha, d1, d2)), _upper(d1, d2, total * eps, alpha)
    lower = _quantile(d1, d2, total * eps, alpha)
    chow, relevant = (f_sf(x, d1, d2, total * psi) for x in bounds)
    equivalence = f_cdf(lower, d1, d2, total * psi)
    return InvariancePower(chow, relevant, equivalence, psi, eps, alpha, n_env, total)


def _quantile(d1: float, d2: float, noncentrality: float, probability: float) -> float:
    """Quantile of the noncentral F, by bisection of its distribution function."""
    high = 1.0
    while f_cdf(high, d1, d2, noncentrality) < probability:
        high *= 2
    return float(
        optimize.brentq(
            lambda x: f_cdf(x, d1, d2, noncentrality) - probability, 0.0, high, xtol=1e-14
        )
    )


def _upper(d1: float, d2: float, noncentrality: float, alpha: float) -> float:
    return _quantile(d1, d2, noncentrality, 1 - alpha)
