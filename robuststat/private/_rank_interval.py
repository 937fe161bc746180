"""Interval of a population quantile from two private order statistics."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import binom

from robuststat._core.errors import ParameterError


def lower_rank(n: int, q: float, epsilon: float, log_range: float, alpha: float) -> int:
    """Largest rank m whose private release lies above the q-quantile with small probability.

    With j ~ Bin(n, q) records below the quantile, a release of x_(m) above it has a score of at
    least j - m + 1, so that its probability is at most ``C exp(-epsilon (j - m + 1) / 2)``, and
    ``sum_j P(j) [1 if j < m else min(1, C exp(-epsilon (j - m + 1) / 2))] <= alpha`` decides.

    Parameters
    ----------
    n : int
        Records.
    q : float
        Quantile in (0, 1).
    epsilon : float
        Privacy of this end.
    log_range : float
        log C: weight of the support over that of a ball of score 0.
    alpha : float
        Probability with which this end may fail.

    Returns
    -------
    int
        In 0..n; 0 when no rank will do, so that the end is the public bound.

    References
    ----------
    Drechsler, J., Globus-Harris, I., McMillan, A., Sarathy, J. and Smith, A. (2022). Nonparametric
    differentially private confidence intervals for the median. *Journal of Survey Statistics and
    Methodology*.
    """
    spread = 12 * math.sqrt(n * q * (1 - q)) + 50
    j = np.arange(max(0, math.floor(n * q - spread)), min(n, math.ceil(n * q + spread)) + 1)
    weight = binom.pmf(j, n, q)
    # What lies outside of the window counts as failure.
    outside = float(max(0.0, 1.0 - weight.sum()))

    def failure(m: int) -> float:
        log_miss = np.minimum(log_range - epsilon / 2 * (j - m + 1), 0.0)
        return outside + float(weight @ np.where(j < m, 1.0, np.exp(log_miss)))

    low, high = 0, n
    while low < high:  # failure grows with m
        middle = (low + high + 1) // 2
        low, high = (middle, high) if failure(middle) <= alpha else (low, middle - 1)
    return low


def interval_ranks(
    n: int, q: float, *, epsilon: float, log_range: float, level: float
) -> tuple[int, int]:
    """Ranks (lower, upper) whose private releases, half of epsilon each, cover the q-quantile.

    Parameters
    ----------
    n : int
        Records.
    q : float
        Quantile in (0, 1).
    epsilon : float
        Privacy of both ends together.
    log_range : float
        log C, as in ``lower_rank``.
    level : float
        Coverage.

    Returns
    -------
    tuple of int
        The lower one is 0 and the upper one n + 1 where that end is the public bound.

    Raises
    ------
    ParameterError
        When q is 0 or 1.
    """
    if not 0 < q < 1:
        raise ParameterError(
            f"ci='rank' needs a quantile in (0, 1), got {q!r}: ends of the range have no interval."
        )
    alpha = (1 - level) / 2
    lower = lower_rank(n, q, epsilon / 2, log_range, alpha)
    return lower, n + 1 - lower_rank(n, 1 - q, epsilon / 2, log_range, alpha)
