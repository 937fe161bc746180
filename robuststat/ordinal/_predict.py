"""Class probabilities from the linear predictors of the boundaries, also where boundaries cross."""

from __future__ import annotations

import numpy as np

from robuststat._core.errors import DataError, ParameterError, warn
from robuststat._core.types import Array, BoolArray
from robuststat.ordinal._links import Link

CROSSING_RULES = ("isotonic", "clip", "raise", "ignore")


def padded(eta: Array) -> Array:
    """Boundaries (n, q) with -inf in front and +inf behind, of shape (n, q + 2)."""
    edge = np.full((eta.shape[0], 1), np.inf)
    return np.hstack([-edge, eta, edge])


def crossing_rows(eta: Array) -> BoolArray:
    """Rows in which a boundary lies below the one before it, of shape (n,)."""
    return np.asarray((np.diff(eta, axis=1) < 0.0).any(axis=1))


def isotonic_rows(values: Array) -> Array:
    """Closest non-decreasing sequence of every row (pool adjacent violators, by min-max)."""
    q = values.shape[1]
    sums = np.hstack([np.zeros((len(values), 1)), np.cumsum(values, axis=1)])
    fitted = np.full_like(values, -np.inf)
    for i in range(q):
        # max over i <= k of min over j >= k of the mean of entries i..j
        lowest = np.full(len(values), np.inf)
        for j in range(q - 1, i - 1, -1):
            lowest = np.minimum(lowest, (sums[:, j + 1] - sums[:, i]) / (j + 1 - i))
            fitted[:, j] = np.maximum(fitted[:, j], lowest)
    return fitted


def log_class_probabilities(eta: Array, link: Link) -> Array:
    """Log probabilities of the K classes, (n, K); -inf where boundaries cross."""
    bounds = padded(eta)
    with np.errstate(all="ignore"):
        columns = [
            link.log_interval(b, a) for a, b in zip(bounds.T[:-1], bounds.T[1:], strict=True)
        ]
    return np.column_stack(columns)


def cumulative(eta: Array, link: Link, rule: str) -> Array:
    """P(y <= k) of every row and boundary, (n, q), after the rule for crossing boundaries."""
    with np.errstate(over="ignore"):
        cdf = np.asarray(link.cdf(eta))
    crossed = _crossed(eta, rule)
    if crossed.any() and rule == "isotonic":
        cdf[crossed] = isotonic_rows(cdf[crossed])
    if crossed.any() and rule == "clip":
        cdf[crossed] = np.cumsum(_clipped(cdf[crossed]), axis=1)[:, :-1]
    return cdf


def class_probabilities(eta: Array, link: Link, rule: str) -> Array:
    """Probabilities of the K classes, (n, K), after the rule for crossing boundaries.

    Parameters
    ----------
    eta : ndarray of shape (n, q)
        Linear predictors of P(y <= k).
    link : Link
        Distribution.
    rule : {"isotonic", "clip", "raise", "ignore"}
        What happens in rows whose boundaries cross; "ignore" leaves negative probabilities.

    Raises
    ------
    DataError
        With "raise", when a row crosses.
    """
    crossed = _crossed(eta, rule)
    p = np.exp(log_class_probabilities(eta, link))
    if crossed.any():
        with np.errstate(over="ignore"):
            cdf = np.asarray(link.cdf(eta[crossed]))
        if rule == "clip":
            p[crossed] = _clipped(cdf)
        else:
            cdf = isotonic_rows(cdf) if rule == "isotonic" else cdf
            p[crossed] = np.diff(cdf, axis=1, prepend=0.0, append=1.0)
    return p


def log_probabilities(eta: Array, link: Link, rule: str) -> Array:
    """Log of :func:`class_probabilities`, exact in the tails where boundaries do not cross."""
    crossed = _crossed(eta, rule)
    log_p = log_class_probabilities(eta, link)
    if crossed.any():
        if rule == "ignore":
            raise ParameterError(
                f"{int(crossed.sum())} rows have a negative class probability, which has no "
                "logarithm. Use on_crossing='isotonic'."
            )
        with np.errstate(divide="ignore"):
            log_p[crossed] = np.log(class_probabilities(eta[crossed], link, rule))
    return log_p


def _clipped(cdf: Array) -> Array:
    p = np.maximum(np.diff(cdf, axis=1, prepend=0.0, append=1.0), 0.0)
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def _crossed(eta: Array, rule: str) -> BoolArray:
    crossed = crossing_rows(eta)
    if rule == "raise" and crossed.any():
        raise DataError(
            f"{int(crossed.sum())} of {len(eta)} rows have crossing boundaries (a negative class "
            f"probability), first at row {int(np.flatnonzero(crossed)[0])}. Set "
            "on_crossing='isotonic' to repair them, or fit with crossing='box'."
        )
    return crossed


def warn_crossing(eta: Array, rule: str) -> None:
    """Say how many rows were repaired, or were left with negative probabilities."""
    count = int(crossing_rows(eta).sum())
    if count:
        done = (
            "are left with a negative class probability"
            if rule == "ignore"
            else f"were repaired ({rule}); the class in between got probability 0"
        )
        warn(f"{count} of {len(eta)} rows have crossing boundaries and {done}.")
