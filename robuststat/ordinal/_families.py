"""Log-likelihoods of the four ordinal families as functions of one predictor a boundary.

Every model has d_k = (theta_k - x'beta_k + offset) / sigma for the boundary between classes k and
k + 1; a larger theta_k makes lower classes more probable, a positive beta higher ones (the sign of
R's clm and polr). With F the link's distribution function:

    cumulative    P(y <= k) = F(d_k)
    stopping      P(y = k | y >= k) = F(d_k)
    continuation  P(y > k | y >= k) = F(-d_k)
    adjacent      P(y = k + 1 | y in {k, k + 1}) = F(-d_k)

``reverse`` applies the same definition to the classes in descending order. Because
1 - F(-d) is again one of the links (complementary log-log and log-log change places, the others are
symmetric), all of these are four shapes with a link.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit, log_softmax, softmax

from robuststat._core.types import Array
from robuststat.ordinal._links import Link, get_link, interval_terms

FAMILIES = ("cumulative", "stopping", "continuation", "adjacent")
Shape = Literal["cumulative", "forward", "backward", "adjacent"]

_MIRROR = {"cloglog": "loglog", "loglog": "cloglog"}


@dataclass(frozen=True, slots=True)
class Family:
    """One of the likelihoods above, after ``reverse`` has been worked in.

    Attributes
    ----------
    name : str
        As the user writes it.
    shape : {"cumulative", "forward", "backward", "adjacent"}
        What the link of a boundary stands for: P(y <= k), P(y = k | y >= k),
        P(y <= k | y <= k + 1), or P(y = k | y in {k, k + 1}).
    link : str
        Link of that probability.
    """

    name: str
    shape: Shape
    link: str

    @property
    def concave(self) -> bool:
        """Whether the log-likelihood is concave in the d of all boundaries."""
        return get_link(self.link).log_concave and (
            self.shape != "adjacent" or self.link == "logit"
        )

    def touched(self, code: int, n_classes: int) -> range:
        """Boundaries on which the probability of a class depends."""
        q = n_classes - 1
        if self.shape == "cumulative":
            return range(max(code - 1, 0), min(code, q - 1) + 1)
        if self.shape == "forward":
            return range(0, min(code, q - 1) + 1)
        if self.shape == "backward":
            return range(max(code - 1, 0), q)
        return range(q)


def make_family(name: str, link: str, reverse: bool) -> Family:
    """Family with ``reverse`` and the side of the link worked in."""
    mirrored = _MIRROR.get(link, link)
    if name == "cumulative":
        return Family(name, "cumulative", mirrored if reverse else link)
    if name == "adjacent":
        return Family(name, "adjacent", link if reverse else mirrored)
    if name == "stopping":
        return Family(name, "backward" if reverse else "forward", mirrored if reverse else link)
    return Family(name, "backward" if reverse else "forward", link if reverse else mirrored)


@dataclass(frozen=True, slots=True)
class RowTerms:
    """Log-likelihood of some rows of one class, with derivatives in the d they depend on.

    Attributes
    ----------
    loglik : ndarray of shape (m,)
        -inf where the predictors give the class no probability.
    gradient : list of ndarray of shape (m,)
        One a boundary of ``Family.touched``.
    information : dict of (int, int) to ndarray of shape (m,)
        Minus the second derivatives, by positions a <= b in that list; absent ones are zero.
    """

    loglik: Array
    gradient: list[Array]
    information: dict[tuple[int, int], Array]


def row_terms(family: Family, code: int, n_classes: int, D: Array) -> RowTerms:
    """Log-likelihood and derivatives of rows of class ``code``.

    Parameters
    ----------
    family : Family
        Likelihood.
    code, n_classes : int
        Class (0-based) of all these rows, number of classes.
    D : ndarray of shape (b, m)
        Predictors of the boundaries ``family.touched(code, n_classes)``.
    """
    link = get_link(family.link)
    last = n_classes - 1
    if family.shape == "cumulative":
        return _cumulative(link, code, last, D)
    if family.shape == "adjacent":
        return _adjacent(link, code, D)
    # Forward: passed every boundary below the class, stopped at its own. Backward: the mirror
    # image, stayed below every boundary from the top down, stopped above the one below.
    own = code if family.shape == "forward" else code - 1
    parts = []
    for k, d in zip(family.touched(code, n_classes), D, strict=True):
        lower_side = (k == own) if family.shape == "forward" else (k != own)
        parts.append(_one_sided(link, d, lower_side))
    loglik = np.sum([part[0] for part in parts], axis=0)
    information = {(a, a): part[2] for a, part in enumerate(parts)}
    return RowTerms(loglik, [part[1] for part in parts], information)


def _one_sided(link: Link, d: Array, lower_side: bool) -> tuple[Array, Array, Array]:
    """Log F(d) or log(1 - F(d)), its derivative, and minus the second one."""
    if link.name == "logit":
        p = expit(d)
        if lower_side:
            return -np.logaddexp(0.0, -d), 1.0 - p, p * (1.0 - p)
        return -np.logaddexp(0.0, d), -p, p * (1.0 - p)
    end = np.full(d.shape, -np.inf if lower_side else np.inf)
    if lower_side:
        terms = interval_terms(link, d, end)
        return terms.log_p, terms.upper, terms.upper2
    terms = interval_terms(link, end, d)
    return terms.log_p, terms.lower, terms.lower2


def _cumulative(link: Link, code: int, last: int, D: Array) -> RowTerms:
    if code == 0 or code == last:
        value, slope, bend = _one_sided(link, D[0], code == 0)
        return RowTerms(value, [slope], {(0, 0): bend})
    low, high = D[0], D[1]
    if link.name != "logit":
        terms = interval_terms(link, high, low)
        info = {(0, 0): terms.lower2, (0, 1): -terms.cross, (1, 1): terms.upper2}
        return RowTerms(terms.log_p, [terms.lower, terms.upper], info)
    # The general formulas, with one exponential a boundary instead of five (spec 2.2).
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        gap = np.exp(low - high)
        ea, eb = np.exp(-np.abs(high)), np.exp(-np.abs(low))
        Sa = np.where(high > 0, ea, 1.0) / (1.0 + ea)  # 1 - F(high)
        Fb = np.where(low > 0, 1.0, eb) / (1.0 + eb)
        rest = -np.expm1(low - high)
        loglik = (
            np.minimum(high, 0.0)
            - np.log1p(ea)
            - np.maximum(low, 0.0)
            - np.log1p(eb)
            + np.log(np.where(rest > 0, rest, 0.0))
        )
        r = gap / rest
        g = r / rest
    info = {(0, 0): Fb * (1.0 - Fb) + g, (0, 1): -g, (1, 1): Sa * (1.0 - Sa) + g}
    return RowTerms(loglik, [-Fb - r, Sa + r], info)


def _adjacent(link: Link, code: int, D: Array) -> RowTerms:
    """Log pi_y with log(pi_k / pi_{k+1}) = t(d_k) = log F(d_k) - log(1 - F(d_k))."""
    t, slope, bend = _log_odds(link, D)
    q = len(D)
    # Score of class c: the sum of t over the boundaries at or above it.
    scores = np.zeros((q + 1, D.shape[1]))
    scores[:q] = np.cumsum(t[::-1], axis=0)[::-1]
    p = softmax(scores, axis=0)
    loglik = log_softmax(scores, axis=0)[code]
    below = np.cumsum(p, axis=0)[:q]  # P(y <= k)
    raw = [(1.0 if k >= code else 0.0) - below[k] for k in range(q)]
    gradient = [raw[k] * slope[k] for k in range(q)]
    information = {}
    for a in range(q):
        for b in range(a, q):
            info = below[a] * (1.0 - below[b]) * slope[a] * slope[b]
            information[a, b] = info - raw[a] * bend[a] if a == b else info
    return RowTerms(loglik, gradient, information)


def _log_odds(link: Link, D: Array) -> tuple[Array, Array, Array]:
    """Log F(d) - log(1 - F(d)) with its first two derivatives."""
    if link.name == "logit":
        return D, np.ones_like(D), np.zeros_like(D)
    low, high = np.full(D.shape, -np.inf), np.full(D.shape, np.inf)
    below, above = interval_terms(link, D, low), interval_terms(link, high, D)
    return (
        below.log_p - above.log_p,
        below.upper - above.lower,
        above.lower2 - below.upper2,
    )


def class_probabilities(family: Family, D: Array) -> Array:
    """Probabilities (n, K) of all classes at the predictors D (n, q).

    In the cumulative family a class between boundaries that cross has a negative value here.
    """
    link = get_link(family.link)
    n, q = D.shape
    if family.shape == "cumulative":
        ends = np.full((n, 1), np.inf)
        bounds = np.concatenate([-ends, D, ends], axis=1)
        with np.errstate(over="ignore"):
            upper = D.sum(axis=1) > 0  # subtract in the tail where both terms are small
            F, S = link.cdf(bounds), link.sf(bounds)
        return np.where(upper[:, None], S[:, :-1] - S[:, 1:], F[:, 1:] - F[:, :-1])
    with np.errstate(over="ignore"):
        if family.shape == "adjacent":
            t = _log_odds(link, D)[0]
            scores = np.zeros((n, q + 1))
            scores[:, :q] = np.cumsum(t[:, ::-1], axis=1)[:, ::-1]
            return np.asarray(softmax(scores, axis=1))
        F, S = link.cdf(D), link.sf(D)
    p = np.empty((n, q + 1))
    if family.shape == "forward":
        left = np.ones(n)
        for k in range(q):
            p[:, k], left = left * F[:, k], left * S[:, k]
        p[:, q] = left
    else:
        left = np.ones(n)
        for k in range(q - 1, -1, -1):
            p[:, k + 1], left = left * S[:, k], left * F[:, k]
        p[:, 0] = left
    return p


def start_thresholds(family: Family, counts: Array) -> Array:
    """Thresholds (q,) of the model without covariates, exact when they are free."""
    share = counts / counts.sum()
    below, above = np.cumsum(share)[:-1], np.cumsum(share[::-1])[::-1]
    if family.shape == "cumulative":
        p = below
    elif family.shape == "forward":
        p = share[:-1] / above[:-1]
    elif family.shape == "backward":
        p = below / np.cumsum(share)[1:]
    else:
        p = share[:-1] / (share[:-1] + share[1:])
    return np.asarray(get_link(family.link).quantile(p), dtype=np.float64)
