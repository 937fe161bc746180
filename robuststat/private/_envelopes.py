"""Nested envelopes: how far k replaced records can move a robust statistic.

A nested envelope is a family of intervals I_k(S) = [low_k, high_k], growing in k, with

    I_k(S) is contained in I_{k+1}(S') for all S, S' that differ in one record.               (N)

The score u(S; t) = min{k: t in I_k(S)} then changes by at most one between neighbours, which is all
that privacy needs. It is the exact path length of the statistic ("exact") when I_k is the range of
the statistic over k replacements; otherwise ("relaxed") only accuracy is lost.

Everything here works on integers (grid indices) exactly, rounding low ends down and high ends up,
which keeps (N), and on doubles for continuous releases and for looking at envelopes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

ScoreKind: TypeAlias = Literal["exact", "relaxed"]


class OrderStatistics(Protocol):
    """Order statistics of n values in [lo, hi], equal to lo and hi beyond the ends."""

    n: int
    lo: Any
    hi: Any

    def at(self, ranks: Any) -> Any:
        """Order statistics of an array of ranks."""
        ...

    def block_sum(self, first: int, last: int) -> Any:
        """Sum of the order statistics from ``first`` to ``last``, both in 1..n."""
        ...


@dataclass(frozen=True, slots=True)
class Envelope:
    """Ends of the intervals I_0, ..., I_K.

    Attributes
    ----------
    low, high : ndarray of shape (K + 1,)
        Grid indices, or doubles.
    kind : {"exact", "relaxed"}
        Whether the score is the exact path length.
    """

    low: Any
    high: Any
    kind: ScoreKind


@dataclass(frozen=True, slots=True)
class Weights:
    """Integer weights of an L-statistic ``sum_j w_j x_(j) / divisor``, constant on blocks of ranks.

    Attributes
    ----------
    blocks : tuple of (first, last, weight)
        Ranks first..last have that weight; blocks in order, disjoint, weights positive.
    divisor : int
        Positive.
    """

    blocks: tuple[tuple[int, int, int], ...]
    divisor: int

    def jumps(self) -> dict[int, int]:
        """w_j - w_(j-1) where it is not zero, by rank j."""
        found: dict[int, int] = {}
        for first, last, weight in self.blocks:
            found[first] = found.get(first, 0) + weight
            found[last + 1] = found.get(last + 1, 0) - weight
        return {rank: jump for rank, jump in sorted(found.items()) if jump}


# --------------------------------------------------------------------------- ranks and weights


def quantile_rank(q: float, n: int) -> int:
    """Rank m = 1 + round(q (n - 1)) of the sample quantile, halves up."""
    return 1 + int(np.floor(q * (n - 1) + 0.5))


def median_weights(n: int) -> Weights:
    """Middle order statistic, or the mean of the two in the middle."""
    if n % 2:
        return Weights((((n + 1) // 2, (n + 1) // 2, 1),), 1)
    return Weights(((n // 2, n // 2 + 1, 1),), 2)


def order_weights(m: int) -> Weights:
    """Order statistic of rank m."""
    return Weights(((m, m, 1),), 1)


def mean_weights(n: int) -> Weights:
    """All order statistics alike."""
    return Weights(((1, n, 1),), n)


def trimmed_count(n: int, trim: float) -> int:
    """Count the records cut at each end: the share ``trim`` of n, rounded down."""
    return int(np.floor(trim * n + 1e-9))


def trimmed_weights(n: int, g: int) -> Weights:
    """Mean without the g smallest and g largest records."""
    return Weights(((g + 1, n - g, 1),), n - 2 * g)


def winsorized_weights(n: int, g: int) -> Weights:
    """Mean with the g smallest and largest records set to the next one."""
    if n == 2 * g + 1:
        return order_weights(g + 1)
    middle = ((g + 2, n - g - 1, 1),) if n > 2 * g + 2 else ()
    return Weights(((g + 1, g + 1, g + 1), *middle, (n - g, n - g, g + 1)), n)


# ------------------------------------------------------------------------------- L-statistics


def l_envelope(x: OrderStatistics, weights: Weights, k_max: int) -> Envelope:
    """Exact envelope of an L-statistic with non-negative weights.

    ``low_k = sum_j w_j x_(j-k)`` and ``high_k = sum_j w_j x_(j+k)``. By summation by parts
    ``low_k - low_(k-1) = sum_j (w_j - w_(j-1)) x_(j-k)``: only ranks near the jumps of the weights
    are looked at, whatever n is.

    Parameters
    ----------
    x : OrderStatistics
        Data.
    weights : Weights
        Weights and divisor.
    k_max : int
        Last layer K.

    Returns
    -------
    Envelope
        K + 1 intervals.
    """
    start = sum(w * x.block_sum(first, last) for first, last, w in weights.blocks)
    steps = np.arange(1, k_max + 1)
    low, high = _long(start, x), _long(start, x)
    down, up = [low], [high]
    if k_max:
        jumps = weights.jumps()
        with np.errstate(invalid="ignore"):
            fall: Any = sum(_wide(x.at(rank - steps), x) * jump for rank, jump in jumps.items())
            rise: Any = sum(
                _wide(x.at(rank + steps - 1), x) * -jump for rank, jump in jumps.items()
            )
            down += [start + np.cumsum(fall)]
            up += [start + np.cumsum(rise)]
    return _divided(np.concatenate(down), np.concatenate(up), weights.divisor, "exact")


def _long(value: Any, x: OrderStatistics) -> Any:
    return np.array([value], dtype=np.float64 if isinstance(x.hi, float) else object)


def _wide(values: Any, x: OrderStatistics) -> Any:
    """Numbers that cannot overflow in sums over all records."""
    if isinstance(x.hi, float) or (abs(x.hi) + abs(x.lo) + 1) * (x.n + 1) < 1 << 60:
        return values
    return values.astype(object)


def _divided(low: Any, high: Any, divisor: int, kind: ScoreKind) -> Envelope:
    """Quotients, rounded outward where they are integers."""
    if low.dtype.kind == "f":
        # Without bounds: infinite minus infinite, once the replaced records have weight.
        low, high = np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)
        return Envelope(low / divisor, high / divisor, kind)
    return Envelope((low // divisor).astype(np.int64), (-(-high // divisor)).astype(np.int64), kind)


# ------------------------------------------------------------------------------------- spread


def iqr_envelope(x: OrderStatistics, j1: int, j2: int, k_max: int) -> Envelope:
    """Exact envelope of ``x_(j2) - x_(j1)``: the k records are shared between both ends.

    ``low_k = min over r + s = k of max(0, x_(j2-s) - x_(j1+r))`` and
    ``high_k = max over r + s = k of x_(j2+r) - x_(j1-s)``; costs k_max**2.

    Parameters
    ----------
    x : OrderStatistics
        Data.
    j1, j2 : int
        Ranks, j1 <= j2.
    k_max : int
        Last layer.

    Returns
    -------
    Envelope
    """
    k = np.arange(k_max + 1)
    left_up, left_down = x.at(j1 + k), x.at(j1 - k)
    right_up, right_down = x.at(j2 + k), x.at(j2 - k)
    low = np.array([np.min(right_down[i::-1] - left_up[: i + 1]) for i in range(k_max + 1)])
    high = np.array([np.max(right_up[: i + 1] - left_down[i::-1]) for i in range(k_max + 1)])
    return Envelope(np.maximum(low, 0), high, "exact")


def cheap_iqr_envelope(x: OrderStatistics, j1: int, j2: int, k_max: int) -> Envelope:
    """Relaxed envelope of ``x_(j2) - x_(j1)``: each of the k records may move both ends.

    Parameters
    ----------
    x : OrderStatistics
        Data.
    j1, j2 : int
        Ranks, j1 <= j2.
    k_max : int
        Last layer.

    Returns
    -------
    Envelope
    """
    k = np.arange(k_max + 1)
    low = np.maximum(x.at(j2 - k) - x.at(j1 + k), 0)
    return Envelope(low, x.at(j2 + k) - x.at(j1 - k), "relaxed")
