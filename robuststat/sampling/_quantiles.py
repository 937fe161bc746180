"""Quantiles and superquantiles of weighted outcomes, with influence values.

[D] Woodruff (1952): the interval of a quantile is the set of values whose distribution function,
estimated with its standard error, is compatible with p. Written through the upper tail for p above
one half: there the weights of importance sampling are small, and the estimate of the rest is not
needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robuststat._core.types import Array

__all__ = ["TailQuantile", "tail_quantile", "weighted_quantile"]


def weighted_quantile(values: Array, weights: Array, p: float) -> float:
    """Smallest value with weighted sum of weights of values up to it of at least n p.

    ``weights`` have mean one in expectation; the sum is not divided by theirs, since of a sample
    drawn for one tail only the weights of that tail are known well.

    Parameters
    ----------
    values, weights : ndarray of shape (n,)
        Outcomes and non-negative weights f/q.
    p : float
        Probability.
    """
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    position = int(np.searchsorted(below, len(values) * p * (1.0 - 1e-12)))
    return float(values[order[min(position, len(values) - 1)]])


@dataclass(frozen=True, slots=True)
class TailQuantile:
    """A quantile of the lower tail.

    Attributes
    ----------
    value : float
        Estimate.
    low, high : float
        Woodruff's interval; infinite where the sample does not reach.
    influence : ndarray of shape (n,)
        Of the quantile, scaled to the interval; its mean is zero.
    mean : float
        Superquantile: mean of the values up to the quantile, E[Y | Y <= q].
    mean_influence : ndarray of shape (n,)
        Of the superquantile.
    """

    value: float
    low: float
    high: float
    influence: Array
    mean: float
    mean_influence: Array


def tail_quantile(values: Array, weights: Array, p: float, z: float) -> TailQuantile:
    """Lower quantile and superquantile of weighted outcomes.

    Parameters
    ----------
    values, weights : ndarray of shape (n,)
        Outcomes and weights f/q; rows are independent.
    p : float
        Probability, for which the lower tail is used.
    z : float
        Normal quantile of the interval.
    """
    n = len(values)
    value = weighted_quantile(values, weights, p)
    hit = weights * (values <= value)
    centred = hit - hit.mean()
    se = float(np.sqrt(centred @ centred / (n - 1) / n))
    low, high = (_invert(values, weights, p + side * z * se) for side in (-1.0, 1.0))
    # The interval is the standard error's source: no density has to be estimated.
    half = 0.5 * (high - low) / z
    slope = half / se if se > 0 and np.isfinite(half) else np.nan
    # Expected shortfall: E[Y 1{Y <= q}]/p; moving q changes it by nothing at first order.
    excess = weights * np.where(values <= value, values - value, 0.0)
    mean = value + float(excess.mean()) / p
    return TailQuantile(
        value=value,
        low=low,
        high=high,
        influence=-slope * centred,
        mean=mean,
        mean_influence=(excess - excess.mean()) / p,
    )


def _invert(values: Array, weights: Array, p: float) -> float:
    if p <= 0:
        return -np.inf
    if p * len(values) > weights.sum():
        return np.inf
    return weighted_quantile(values, weights, p)
