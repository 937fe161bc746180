"""Tail index of importance weights (Pareto k-hat) and effective sample sizes."""

from __future__ import annotations

import numpy as np

from robuststat._core.types import Array

__all__ = ["fit_pareto", "khat_threshold", "kish", "pareto_khat", "smooth_weights"]

_MIN_TAIL = 5


def kish(weights: Array) -> Array:
    """Kish's effective sample size of every column of weights, (sum w)^2 / sum w^2."""
    total, square = weights.sum(axis=0), (weights * weights).sum(axis=0)
    return np.asarray(np.where(square > 0, total**2 / np.where(square > 0, square, 1.0), 0.0))


def khat_threshold(n: float) -> float:
    """Tail index above which n weights are not to be trusted: min(1 - 1/log10 n, 0.7)."""
    return float(min(1.0 - 1.0 / np.log10(max(n, 11.0)), 0.7))


def tail_length(n: int) -> int:
    """Return the number of largest weights to which the generalised Pareto law is fitted."""
    return int(np.ceil(min(0.2 * n, 3.0 * np.sqrt(n))))


def fit_pareto(excess: Array) -> tuple[float, float]:
    """Shape k and scale of a generalised Pareto law by Zhang and Stephens' (2009) estimator.

    Parameters
    ----------
    excess : ndarray of shape (m,)
        Positive excesses over a threshold, ascending.

    Returns
    -------
    k, scale : float
        The shape is pulled towards 0.5 by a prior worth ten observations (Vehtari et al. 2024).
    """
    m = len(excess)
    n_grid = 30 + int(np.sqrt(m))
    quartile = excess[int(m / 4 + 0.5) - 1]
    grid = 1.0 - np.sqrt(n_grid / (np.arange(1, n_grid + 1) - 0.5))
    grid = grid / (3.0 * quartile) + 1.0 / excess[-1]
    shape = np.log1p(-grid[:, None] * excess).mean(axis=1)
    profile = m * (np.log(-(grid / shape)) - shape - 1.0)
    weight = 1.0 / np.exp(profile - profile[:, None]).sum(axis=1)
    keep = weight >= 10 * np.finfo(np.float64).eps
    weight = weight[keep] / weight[keep].sum()
    theta = float(grid[keep] @ weight)
    k = float(np.log1p(-theta * excess).mean())
    scale = -k / theta
    return (m * k + 10 * 0.5) / (m + 10), scale


def pareto_khat(weights: Array) -> float:
    """Tail index of non-negative weights; NaN when fewer than five differ, -inf for equal ones.

    Parameters
    ----------
    weights : ndarray of shape (n,)
        Importance weights, on any scale.
    """
    n = len(weights)
    length = tail_length(n)
    top = weights.max() if n else 0.0
    if not top > 0 or length < _MIN_TAIL:
        return np.nan
    if np.ptp(weights) <= 1e-12 * top:
        return -np.inf
    largest = np.partition(weights, n - length - 1)[n - length - 1 :] / top
    # Weights that are equal to the threshold carry no tail.
    threshold = max(float(largest.min()), float(np.finfo(np.float64).tiny))
    tail = np.sort(largest[largest > threshold])
    if len(tail) < _MIN_TAIL:
        return np.nan
    with np.errstate(all="ignore"):
        return fit_pareto(tail - threshold)[0]


def smooth_weights(log_weights: Array) -> tuple[Array, float]:
    """Pareto-smoothed log weights, normalised to add up to one, and k-hat.

    The largest weights are replaced by quantiles of the fitted law, which bounds them; this biases
    estimates, so nothing here uses it by default.

    Parameters
    ----------
    log_weights : ndarray of shape (n,)
        Logarithms of the weights.
    """
    x = np.array(log_weights, dtype=np.float64)
    x -= x.max()
    n = len(x)
    length = tail_length(n)
    order = np.argsort(x)
    cutoff = max(float(x[order[-length - 1]]), float(np.log(np.finfo(np.float64).tiny)))
    tail = np.flatnonzero(x > cutoff)
    k = np.inf
    if len(tail) >= _MIN_TAIL:
        ranked = tail[np.argsort(x[tail], kind="stable")]
        base = np.exp(cutoff)
        k, scale = fit_pareto(np.exp(x[ranked]) - base)
        if np.isfinite(k):
            p = (np.arange(len(ranked)) + 0.5) / len(ranked)
            quantile = -np.log1p(-p) if abs(k) < 1e-12 else np.expm1(-k * np.log1p(-p)) / k
            x[ranked] = np.log(scale * quantile + base)
            x[x > 0] = 0.0
    return x - np.log(np.exp(x).sum()), k
