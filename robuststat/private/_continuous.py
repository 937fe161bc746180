"""Releases in doubles: for simulations and references, not for publication.

Doubles leak through their spacing and break property (N) in their last digits, so this mode needs
``secure=False``. Scores are cut off at a public height, which keeps their sensitivity of one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from robuststat._core.types import Array
from robuststat.private._entropy import Entropy
from robuststat.private._envelopes import Envelope
from robuststat.private._loss import LayerTable

Kind: TypeAlias = Literal["step", "ramp"]
_REST_LOG = 30.0
_NO_BALL = 60.0  # stands for log C where rho = 0: layers are cut off somewhat later
_FAR = 2.0**22


class FloatRanks:
    """Order statistics of doubles, equal to lo and hi beyond the ends."""

    def __init__(self, x: Array, lo: float, hi: float) -> None:
        self.all_values = np.sort(np.clip(np.asarray(x, dtype=np.float64), lo, hi))
        self.n, self.lo, self.hi = len(x), float(lo), float(hi)

    def at(self, ranks: Any) -> Array:
        """Order statistics of an array of ranks."""
        wanted = np.asarray(ranks)
        inside = self.all_values[np.clip(wanted, 1, self.n) - 1]
        return np.asarray(np.where(wanted < 1, self.lo, np.where(wanted > self.n, self.hi, inside)))

    def block_sum(self, first: int, last: int) -> float:
        """Sum of the order statistics first..last."""
        return float(self.all_values[first - 1 : last].sum())


@dataclass(frozen=True, slots=True)
class Base:
    """Public law of the output before the data speak: uniform, or Cauchy on the whole line.

    Attributes
    ----------
    first, last : float
        Support.
    loc, scale : float
        Of the Cauchy law; scale 0 is the uniform law.
    """

    first: float
    last: float
    loc: float = 0.0
    scale: float = 0.0

    def mass(self, a: Array, b: Array) -> Array:
        """Weight of the intervals [a, b]."""
        if self.scale == 0:
            return b - a
        u, v = (a - self.loc) / self.scale, (b - self.loc) / self.scale
        return np.asarray((np.arctan(v) - np.arctan(u)) / math.pi)

    def between(self, a: float, b: float, share: float) -> float:
        """Point that has a share of the weight of [a, b] on its left."""
        if self.scale == 0:
            return a + share * (b - a)
        u = math.atan((a - self.loc) / self.scale)
        v = math.atan((b - self.loc) / self.scale)
        return self.loc + self.scale * math.tan(u + share * (v - u))

    def smallest_ball(self, rho: float) -> float:
        """Log of the total weight over that of a ball; 2**22 scales out for Cauchy."""
        if rho == 0:
            return _NO_BALL
        if self.scale == 0:
            return math.log((self.last - self.first) / (2 * rho))
        return math.log(math.pi * _FAR**2 * self.scale / (2 * rho))


def continuous_table(
    envelope: Envelope, *, epsilon: float, rho: float, base: Base, kind: Kind = "step"
) -> LayerTable:
    """Distribution of the release as pieces from left to right.

    On the right of the core, piece k is (high_(k-1) + rho, high_k + rho]. The log weight there is
    ``-epsilon k / 2`` for a step; for a ramp it falls from that of k - 1 to that of k. What lies
    outside of all intervals has the score of the layer after the last.

    Parameters
    ----------
    envelope : Envelope
        Doubles.
    epsilon, rho : float
        Privacy, and half-width of the ball of score 0.
    base : Base
        Public law.
    kind : {"step", "ramp"}
        Form of the score inside a layer; "ramp" for the uniform law only.

    Returns
    -------
    LayerTable
        Pieces of no width are left out.
    """
    low = np.append(np.maximum(envelope.low - rho, base.first), base.first)
    high = np.append(np.minimum(envelope.high + rho, base.last), base.last)
    # Rounding may have broken the nesting in the last digit.
    low, high = np.minimum.accumulate(low), np.maximum.accumulate(high)
    k = np.arange(1, len(low))
    outer, inner = -epsilon * k / 2, -epsilon * (k - 1) / 2
    if kind == "step":
        inner = outer
    edges = np.concatenate([low[::-1], high])
    left = np.concatenate([outer[::-1], [0.0], inner])
    right = np.concatenate([inner[::-1], [0.0], outer])
    width = base.mass(edges[:-1], edges[1:])
    fall = epsilon / 2
    rate = 1.0 if kind == "step" else -math.expm1(-fall) / fall
    share = np.where(np.arange(len(left)) == len(k), 1.0, rate)
    keep = width > 0
    with np.errstate(divide="ignore"):
        mass = np.log(width) + np.maximum(left, right) + np.log(share)
    edges = np.append(edges[:-1][keep], base.last)
    return LayerTable(edges, left[keep], right[keep], mass[keep], grid=False)


def table_quantile(table: LayerTable, base: Base, p: float) -> float:
    """Point with probability ``p`` on its left.

    Parameters
    ----------
    table : LayerTable
        Distribution.
    base : Base
        Public law it was made with.
    p : float
        In [0, 1).

    Returns
    -------
    float
    """
    weights = np.exp(table.log_mass - table.log_mass.max())
    total = np.cumsum(weights)
    i = min(int(np.searchsorted(total, p * total[-1], side="right")), len(weights) - 1)
    share = min(max((p * total[-1] - (total[i] - weights[i])) / weights[i], 0.0), 1.0)
    a, b = float(table.edges[i]), float(table.edges[i + 1])
    slope = float(table.log_right[i] - table.log_left[i])
    if slope != 0:
        share = math.log1p(share * math.expm1(slope)) / slope
    return base.between(a, b, share)


def draw_point(source: Entropy, table: LayerTable, base: Base) -> float:
    """Draw the output with 53 random bits."""
    return table_quantile(table, base, source.bits(53) / 2**53)


def continuous_layers_needed(epsilon: float, rho: float, base: Base, n: int) -> int:
    """Count the layers after which less than exp(-30) of the mass is left, at most n."""
    needed = 2 / epsilon * (base.smallest_ball(rho) + _REST_LOG)
    return min(n, math.ceil(needed))
