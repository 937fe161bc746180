"""Whether there are enough records for a private release, from public numbers alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from robuststat._core.params import any_of, check_parameters, in_range, one_of
from robuststat.private._base import check_bounds
from robuststat.private._envelopes import (
    mean_weights,
    median_weights,
    order_weights,
    quantile_rank,
    trimmed_count,
    trimmed_weights,
    winsorized_weights,
)
from robuststat.private._grid import AUTO_BITS
from robuststat.private._noise import exact_ratio
from robuststat.private._statistics import (
    Huber,
    LStatistic,
    MedianDeviation,
    RankRange,
    Shorth,
    StandardDeviation,
    Statistic,
)

LOCATIONS = ("median", "trimmed", "winsorized", "huber", "mean", "quantile")
SCALES = ("iqr", "mad", "shorth", "std")
NOT_ROBUST = ("mean", "std")
BETA = 0.05


def location_statistic(
    estimator: str, n: int, *, quantile: float = 0.5, trim: float = 0.1, corner: Any = 1
) -> Statistic:
    """Statistic behind ``DPLocation(estimator)`` for n records; ``corner`` is Huber's."""
    if estimator == "huber":
        return Huber(corner)
    if estimator == "median":
        return LStatistic(median_weights(n))
    if estimator == "quantile":
        return LStatistic(order_weights(quantile_rank(quantile, n)))
    if estimator == "mean":
        return LStatistic(mean_weights(n))
    build = trimmed_weights if estimator == "trimmed" else winsorized_weights
    return LStatistic(build(n, trimmed_count(n, trim)))


def scale_statistic(estimator: str, n: int, *, cheap: bool = False) -> Statistic:
    """Statistic behind ``DPScale(estimator)`` for n records."""
    if estimator == "iqr":
        return RankRange(quantile_rank(0.25, n), quantile_rank(0.75, n), cheap)
    if estimator == "mad":
        half = -(-n // 2)
        return MedianDeviation(half, half)
    if estimator == "shorth":
        return Shorth(n // 2 + 1)
    return StandardDeviation()


def ranks_available(statistic: Statistic, n: int) -> int:
    """How many records can be replaced before the statistic can be anything, less one."""
    match statistic:
        case LStatistic(weights):
            first, last = weights.blocks[0][0], weights.blocks[-1][1]
            return max(min(first - 1, n - last), 0)
        case Huber():
            return (n - 1) // 2
        case RankRange(j1, j2):
            return max(min(j1 - 1, n - j2, (j2 - j1 - 1) // 2), 0)
        case Shorth(size):
            return max(min(size - 2, n - size), 0)
        case MedianDeviation(centre, rank):
            return max(min(centre - 1, n - centre, rank - 2, n - rank), 0)
    return 0


def ranks_needed(epsilon: float, log_range: float, beta: float = BETA) -> int:
    """Smallest k with ``k + 1 >= (2/epsilon) [log C + log(1/beta)]``: see ``feasibility``."""
    return max(math.ceil(2 / epsilon * (log_range - math.log(beta))) - 1, 0)


@dataclass(frozen=True, slots=True)
class Feasibility:
    """Answer of :func:`feasibility`.

    Attributes
    ----------
    estimator : str
        Name.
    n : int
        Records.
    ranks_needed : int
        The release is, with probability ``1 - beta``, within rho of what the estimator gives after
        some change of this many records.
    ranks_available : int
        Records that can be changed while the estimator stays inside of the other ones.
    feasible : bool
        Whether needed <= available; for "mean" and "std", which no record leaves alone, whether
        fewer records are needed than there are.
    error_bound : float
        For "mean": bound on the error, unit of the data; otherwise NaN.
    n_needed : int
        Smallest n that is feasible.

    Examples
    --------
    >>> feasibility("median", n=1000, epsilon=0.5, bounds=(-50, 50), rho=0.02).feasible
    True
    """

    estimator: str
    n: int
    ranks_needed: int
    ranks_available: int
    feasible: bool
    error_bound: float
    n_needed: int


def feasibility(
    estimator: str = "median",
    *,
    n: int,
    epsilon: float,
    bounds: Any,
    rho: float | str = "auto",
    beta: float = BETA,
    quantile: float = 0.5,
    trim: float = 0.1,
) -> Feasibility:
    """Tell before any budget is spent whether a release can be accurate.

    Privacy at epsilon costs as much as letting an adversary change k records. When the robust
    estimator does not bear k changes, the release is noise over the whole of the bounds. No data
    are needed: everything here is public (n too, under ``adjacency="replace"``).

    Parameters
    ----------
    estimator : str
        "median", "trimmed", "winsorized", "huber", "mean", "quantile", "iqr", "mad", "shorth" or
        "std".
    n : int
        Number of records.
    epsilon : float
        Privacy of the release.
    bounds : tuple of float
        Public range (low, high).
    rho : float or "auto"
        Precision; "auto" is the width of the bounds times 2**-20.
    beta : float, default=0.05
        Probability with which the statement may fail.
    quantile, trim : float
        As for ``DPLocation``.

    Returns
    -------
    Feasibility

    Raises
    ------
    ParameterError
        For arguments outside of their range.

    See Also
    --------
    DPLocation : Warns by itself when this says no.

    Notes
    -----
    Derived here, for one dimension: the mechanism with weight exp(-epsilon u / 2) gives scores
    above k with probability at most ``exp(-epsilon (k+1) / 2) C``, C = (range + 2 rho) / (2 rho).
    So ``k + 1 >= (2/epsilon) [log C + log(1/beta)]`` records decide.

    Examples
    --------
    >>> answer = feasibility("median", n=100, epsilon=0.2, bounds=(-50, 50), rho=0.02)
    >>> answer.feasible, answer.ranks_needed, answer.ranks_available, answer.n_needed
    (False, 108, 49, 217)
    """
    check_parameters(
        "feasibility",
        {
            "estimator": one_of(*LOCATIONS, *SCALES),
            "n": in_range(1, 2**62, integer=True),
            "rho": any_of(one_of("auto"), in_range(0.0, math.inf, closed="neither")),
            "beta": in_range(0.0, 1.0, closed="neither"),
            "quantile": in_range(0.0, 1.0),
            "trim": in_range(0.0, 0.5, closed="left"),
        },
        {
            "estimator": estimator,
            "n": n,
            "rho": rho,
            "beta": beta,
            "quantile": quantile,
            "trim": trim,
        },
    )
    exact_ratio(epsilon, "feasibility: epsilon", positive=True)
    low, high = check_bounds(bounds, "feasibility")
    radius = (high - low) * 2.0**-AUTO_BITS if rho == "auto" else float(rho)
    log_range = math.log((high - low + 2 * radius) / (2 * radius))

    def statistic_of(size: int) -> Statistic:
        if estimator in SCALES:
            return scale_statistic(estimator, size)
        return location_statistic(estimator, size, quantile=quantile, trim=trim)

    needed = ranks_needed(float(epsilon), log_range, beta)
    return assess(estimator, n, needed, statistic_of, high - low)


def assess(
    estimator: str, n: int, needed: int, statistic_of: Callable[[int], Statistic], width: float
) -> Feasibility:
    """Compare the records that noise may stand for with those the statistic bears.

    Parameters
    ----------
    estimator : str
        Name.
    n : int
        Records.
    needed : int
        From ``ranks_needed``.
    statistic_of : callable
        n -> Statistic.
    width : float
        Width of the range.

    Returns
    -------
    Feasibility
    """
    robust = estimator not in NOT_ROBUST

    def available(size: int) -> int:
        return ranks_available(statistic_of(size), size) if robust else size - 1

    return Feasibility(
        estimator=estimator,
        n=n,
        ranks_needed=needed,
        ranks_available=available(n),
        feasible=needed <= available(n),
        error_bound=needed * width / n if estimator == "mean" else math.nan,
        n_needed=_smallest(lambda size: needed <= available(size)),
    )


def _smallest(holds: Callable[[int], bool]) -> int:
    """Smallest n from which on a condition holds (0 if for none below 2**60)."""
    high = 1
    while not holds(high):
        high *= 2
        if high > 1 << 60:
            return 0
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
