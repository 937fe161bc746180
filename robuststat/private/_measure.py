"""Public base measures on the grid, in integers: uniform, and Cauchy for unbounded ranges."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

_MASS_BITS = 160


class Measure(Protocol):
    """Positive integer weights of grid points, by their cumulative sums."""

    def below(self, j: int) -> int:
        """Weight of all points before j, up to a constant."""
        ...

    def locate(self, weight: int) -> int:
        """Point j with below(j) <= weight < below(j + 1)."""
        ...


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every grid point has weight one."""

    def below(self, j: int) -> int:
        """Weight of all points before j, up to a constant."""
        return j

    def locate(self, weight: int) -> int:
        """Point that holds a cumulative weight."""
        return weight


@dataclass(frozen=True, slots=True)
class Knots:
    """Weights that are almost constant between public knots.

    Attributes
    ----------
    points : tuple of int
        Increasing grid indices; the support is points[0] .. points[-1] - 1.
    weights : tuple of int
        Cumulative weight before each knot; the weight of a cell is at least its number of points,
        so that every point has a positive weight.
    """

    points: tuple[int, ...]
    weights: tuple[int, ...]

    def below(self, j: int) -> int:
        """Weight of all points before j."""
        i = min(max(bisect_right(self.points, j) - 1, 0), len(self.points) - 2)
        inside, width = j - self.points[i], self.points[i + 1] - self.points[i]
        return self.weights[i] + inside * (self.weights[i + 1] - self.weights[i]) // width

    def locate(self, weight: int) -> int:
        """Point that holds a cumulative weight."""
        left, right = self.points[0], self.points[-1]
        while right - left > 1:
            middle = (left + right) // 2
            left, right = (middle, right) if self.below(middle) <= weight else (left, middle)
        return left


def cauchy_measure(first: int, last: int, centre: int, unit: int) -> Knots:
    """Cauchy law on the points first..last: knots 1/32 apart near the centre, 1/32 in ratio beyond.

    Between knots the mass of the Cauchy law is spread evenly. Any public law gives exact privacy;
    the shape matters for accuracy only.

    Parameters
    ----------
    first, last : int
        Ends of the support.
    centre : int
        Index of the location.
    unit : int
        Scale, in grid steps.

    Returns
    -------
    Knots
    """
    offsets, step = [0], max(unit // 32, 1)
    reach = max(centre - first, last + 1 - centre)
    while offsets[-1] < reach:
        offsets.append(offsets[-1] + max(step, offsets[-1] // 32))
    inner = {centre + s * o for o in offsets for s in (-1, 1)}
    points = sorted({p for p in inner if first < p < last + 1} | {first, last + 1})
    weights = [0]
    for a, b in pairwise(points):
        u, v = (a - centre) / unit, (b - centre) / unit
        mass = math.atan((v - u) / (1 + u * v)) / math.pi if 1 + u * v > 0 else 0.5
        weights.append(weights[-1] + max(int(mass * 2.0**_MASS_BITS), b - a))
    return Knots(tuple(points), tuple(weights))
