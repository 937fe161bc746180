"""Link functions of ordinal models, with differences of probabilities that are safe in the tails.

P(y <= k) = F(eta_k). The probability of a class is F(a) - F(b) with a > b, where b = -inf for the
first class and a = +inf for the last one. Its logarithm and derivatives are computed without ever
subtracting two numbers close to one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from robuststat._core.types import Array

LINKS = ("logit", "probit", "cloglog", "loglog", "cauchit")

ArrayMap = Callable[[Array], Array]


@dataclass(frozen=True, slots=True)
class Link:
    """One distribution function F and what is needed of it.

    Attributes
    ----------
    name : str
        As the user writes it.
    cdf, sf, logcdf, logsf : callable
        F, 1 - F and their logarithms.
    logpdf : callable
        Logarithm of the density f.
    slope : callable
        f'/f, the derivative of the log density.
    quantile : callable
        Inverse of F.
    log_interval : callable
        log(F(a) - F(b)) of two arrays; -inf where a <= b.
    log_concave : bool
        Whether the log-likelihood is concave.
    """

    name: str
    cdf: ArrayMap
    sf: ArrayMap
    logcdf: ArrayMap
    logsf: ArrayMap
    logpdf: ArrayMap
    slope: ArrayMap
    quantile: ArrayMap
    log_interval: Callable[[Array, Array], Array]
    log_concave: bool = True


@dataclass(frozen=True, slots=True)
class IntervalTerms:
    """log(F(a) - F(b)) of every row with its derivatives.

    Attributes
    ----------
    log_p : ndarray of shape (n,)
        -inf where a <= b; the derivatives are then zero.
    upper, lower : ndarray of shape (n,)
        Derivatives in a and in b; zero where a or b is infinite.
    upper2, lower2, cross : ndarray of shape (n,)
        Minus the second derivatives in (a, a) and (b, b), and *plus* the mixed one.
    """

    log_p: Array
    upper: Array
    lower: Array
    upper2: Array
    lower2: Array
    cross: Array


def log1mexp(x: Array) -> Array:
    """log(1 - exp(-x)) for x > 0; -inf for x <= 0."""
    positive = np.maximum(x, 1e-300)
    small = np.log(-np.expm1(-positive))
    # For large x, where 1 - exp(-x) rounds to one, its logarithm is that of log1p.
    with np.errstate(divide="ignore"):
        large = np.log1p(-np.exp(-positive))
    value = np.where(positive > 0.6931471805599453, large, small)
    return np.where(x > 0, value, -np.inf)


def _by_tails(logcdf: ArrayMap, logsf: ArrayMap) -> Callable[[Array, Array], Array]:
    """log(F(a) - F(b)) from the tail in which the interval lies."""

    def log_interval(a: Array, b: Array) -> Array:
        upper_tail = a + b > 0
        # F(a) - F(b) = S(b) - S(a): the larger term and the smaller one, both in logs.
        large = np.where(upper_tail, logsf(b), logcdf(a))
        less = np.where(upper_tail, logsf(a), logcdf(b))
        return np.asarray(np.where(a > b, large + log1mexp(large - less), -np.inf))

    return log_interval


def _logit_interval(a: Array, b: Array) -> Array:
    log_p = -np.logaddexp(0.0, -a) - np.logaddexp(0.0, b) + log1mexp(a - b)
    return np.asarray(np.where(a > b, log_p, -np.inf))


def _cloglog_interval(a: Array, b: Array) -> Array:
    # S(b) - S(a) = exp(-e^b) (1 - exp(-(e^a - e^b)))
    width = np.where(np.isinf(b), np.exp(a), np.exp(b) * np.expm1(a - np.where(b > -np.inf, b, 0)))
    return np.asarray(np.where(a > b, -np.exp(b) + log1mexp(width), -np.inf))


def _loglog_interval(a: Array, b: Array) -> Array:
    return _cloglog_interval(-b, -a)


def _cauchit_interval(a: Array, b: Array) -> Array:
    # The difference of two arc tangents is the angle of the product of complex numbers.
    both = np.isfinite(a) & np.isfinite(b)
    a0, b0 = np.where(both, a, 1.0), np.where(both, b, 0.0)
    angle = np.arctan2(a0 - b0, 1.0 + a0 * b0) / np.pi
    first = np.where(np.isinf(b), _cauchy_cdf(a), _cauchy_cdf(-b))
    p = np.where(both, angle, first)
    return np.log(np.where(a > b, np.maximum(p, 1e-320), 0.0))


def _cauchy_cdf(x: Array) -> Array:
    # For negative x the arc tangent of 1/x keeps the relative precision of the tail.
    with np.errstate(divide="ignore"):
        tail = np.arctan2(1.0, -x) / np.pi
    return np.asarray(np.where(x < 0, tail, 0.5 + np.arctan(x) / np.pi))


def _normal_slope(x: Array) -> Array:
    return -x


def _logistic_logpdf(x: Array) -> Array:
    magnitude = np.abs(x)
    return -magnitude - 2.0 * np.log1p(np.exp(-magnitude))


def _make_links() -> dict[str, Link]:
    half_log_2pi = 0.5 * np.log(2.0 * np.pi)
    logit = Link(
        "logit",
        cdf=special.expit,
        sf=lambda x: special.expit(-x),
        logcdf=lambda x: -np.logaddexp(0.0, -x),
        logsf=lambda x: -np.logaddexp(0.0, x),
        logpdf=_logistic_logpdf,
        slope=lambda x: -np.tanh(0.5 * x),
        quantile=special.logit,
        log_interval=_logit_interval,
    )
    probit = Link(
        "probit",
        cdf=special.ndtr,
        sf=lambda x: special.ndtr(-x),
        logcdf=special.log_ndtr,
        logsf=lambda x: special.log_ndtr(-x),
        logpdf=lambda x: -0.5 * x * x - half_log_2pi,
        slope=_normal_slope,
        quantile=special.ndtri,
        log_interval=_by_tails(special.log_ndtr, lambda x: special.log_ndtr(-x)),
    )
    cloglog = Link(
        "cloglog",
        cdf=lambda x: -np.expm1(-np.exp(x)),
        sf=lambda x: np.exp(-np.exp(x)),
        logcdf=lambda x: log1mexp(np.exp(x)),
        logsf=lambda x: -np.exp(x),
        logpdf=lambda x: x - np.exp(x),
        slope=lambda x: -np.expm1(x),
        quantile=lambda p: np.log(-np.log1p(-p)),
        log_interval=_cloglog_interval,
    )
    loglog = Link(
        "loglog",
        cdf=lambda x: np.exp(-np.exp(-x)),
        sf=lambda x: -np.expm1(-np.exp(-x)),
        logcdf=lambda x: -np.exp(-x),
        logsf=lambda x: log1mexp(np.exp(-x)),
        logpdf=lambda x: -x - np.exp(-x),
        slope=lambda x: np.expm1(-x),
        quantile=lambda p: -np.log(-np.log(p)),
        log_interval=_loglog_interval,
    )
    cauchit = Link(
        "cauchit",
        cdf=_cauchy_cdf,
        sf=lambda x: _cauchy_cdf(-x),
        logcdf=lambda x: np.log(_cauchy_cdf(x)),
        logsf=lambda x: np.log(_cauchy_cdf(-x)),
        logpdf=lambda x: -np.log(np.pi) - np.log1p(x * x),
        slope=lambda x: -2.0 * x / (1.0 + x * x),
        quantile=lambda p: np.tan(np.pi * (p - 0.5)),
        log_interval=_cauchit_interval,
        log_concave=False,
    )
    return {link.name: link for link in (logit, probit, cloglog, loglog, cauchit)}


_BY_NAME = _make_links()


def get_link(name: str) -> Link:
    """Return the link called ``name``, one of :data:`LINKS`."""
    return _BY_NAME[name]


def interval_terms(link: Link, a: Array, b: Array) -> IntervalTerms:
    """log(F(a) - F(b)) and its derivatives, row by row.

    Parameters
    ----------
    link : Link
        Distribution.
    a, b : ndarray of shape (n,)
        Upper boundary (+inf in the last class) and lower boundary (-inf in the first class).

    Returns
    -------
    IntervalTerms
        Finite for every a > b, however far out in a tail.
    """
    with np.errstate(all="ignore"):
        log_p = link.log_interval(a, b)
        valid = np.isfinite(log_p)
        base = np.where(valid, log_p, 0.0)
        has_a, has_b = valid & np.isfinite(a), valid & np.isfinite(b)
        x, z = np.where(has_a, a, 0.0), np.where(has_b, b, 0.0)
        ra = np.where(has_a, np.exp(link.logpdf(x) - base), 0.0)
        rb = np.where(has_b, np.exp(link.logpdf(z) - base), 0.0)
        upper2 = ra * (ra - link.slope(x))
        lower2 = rb * (rb + link.slope(z))
        upper2, lower2 = np.where(has_a, upper2, 0.0), np.where(has_b, lower2, 0.0)
        if link.name == "logit":
            # Without cancellation when the interval is short or far out.
            gap = np.where(has_a & has_b, a - b, 1.0)
            g = np.where(has_a & has_b, np.exp(-gap) / np.expm1(-gap) ** 2, 0.0)
            upper2 = np.where(has_a, special.expit(x) * special.expit(-x) + g, 0.0)
            lower2 = np.where(has_b, special.expit(z) * special.expit(-z) + g, 0.0)
    return IntervalTerms(log_p, ra, -rb, upper2, lower2, ra * rb)
