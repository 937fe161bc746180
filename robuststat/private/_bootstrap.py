"""Parametric bootstrap of a private estimator: everything after the release is public."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from robuststat._core.errors import ParameterError
from robuststat._core.types import Array
from robuststat.private._continuous import (
    Base,
    FloatRanks,
    Kind,
    continuous_layers_needed,
    continuous_table,
    table_quantile,
)
from robuststat.private._entropy import Entropy
from robuststat.private._statistics import Statistic

Simulate = Callable[[np.random.Generator], Array]


def bootstrap_draws(
    simulate: Simulate,
    statistic: Statistic,
    *,
    source: Entropy,
    n_boot: int,
    lo: float,
    hi: float,
    rho: float,
    base: Base,
    epsilon: float,
    kind: Kind,
) -> Array:
    """Repeat simulation and private estimation.

    The data are simulated from released numbers, so that a numerical generator and doubles do.

    Parameters
    ----------
    simulate : callable
        Generator -> n values from the fitted model.
    statistic : Statistic
        For n records, in the unit of the data.
    source : Entropy
        Seeds the generator.
    n_boot : int
        Repetitions.
    lo, hi, rho : float
        Range and precision.
    base : Base
        Public law of the release.
    epsilon : float
        Privacy of the repeated mechanism.
    kind : {"step", "ramp"}
        Score.

    Returns
    -------
    ndarray of shape (n_boot,)

    Raises
    ------
    ParameterError
        When the simulated data are no finite numbers.
    """
    rng = np.random.default_rng(source.bits(128))
    found = np.empty(n_boot)
    for b in range(n_boot):
        x = np.asarray(simulate(rng), dtype=np.float64)
        if x.ndim != 1 or not np.isfinite(x).all():
            raise ParameterError("model must return a one-dimensional array of finite numbers.")
        ranks = FloatRanks(x, lo, hi)
        k = continuous_layers_needed(epsilon, rho, base, ranks.n)
        table = continuous_table(
            statistic.envelope(ranks, k), epsilon=epsilon, rho=rho, base=base, kind=kind
        )
        found[b] = table_quantile(table, base, float(rng.random()))
    return found


def basic_interval(estimate: float, draws: Array, level: float) -> tuple[float, float]:
    """Subtract quantiles of the errors of the repetitions: the basic bootstrap interval.

    Parameters
    ----------
    estimate : float
        Released.
    draws : ndarray of shape (n_boot,)
        Repetitions, simulated with the estimate as truth.
    level : float
        Coverage.

    Returns
    -------
    tuple of float
    """
    low, high = np.quantile(draws - estimate, [(1 - level) / 2, (1 + level) / 2])
    return float(estimate - high), float(estimate - low)


def ratio_interval(estimate: float, draws: Array, level: float) -> tuple[float, float]:
    """Interval of a scale: the estimate over quantiles of the relative errors.

    Parameters
    ----------
    estimate : float
        Released.
    draws : ndarray of shape (n_boot,)
        Repetitions.
    level : float
        Coverage.

    Returns
    -------
    tuple of float
        The upper end is inf where repetitions of zero make it so.
    """
    if estimate <= 0:
        return 0.0, float("inf")
    ratios = np.quantile(np.maximum(draws, 0.0) / estimate, [(1 - level) / 2, (1 + level) / 2])
    ends: Any = [estimate / r if r > 0 else float("inf") for r in ratios]
    return float(ends[1]), float(ends[0])
