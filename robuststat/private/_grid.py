"""The public grid that data are rounded to before anything else looks at them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from robuststat._core.errors import ParameterError
from robuststat._core.types import Array, IntArray

AUTO_BITS = 20  # rho="auto" is the width of the bounds times 2**-20
MAX_INDEX = 1 << 45  # sums of offsets within 2**21 buckets stay exact for 2**38 rows


@dataclass(frozen=True, slots=True)
class Grid:
    """Points ``lo + j * step``, j = 0..last.

    Attributes
    ----------
    lo : float
        First point.
    step : float
        A power of two, unit of the data.
    last : int
        Index of the last point, the largest one that is not above the upper bound.
    margin : int
        Half-width of the score-0 ball, in steps: rho.
    """

    lo: float
    step: float
    last: int
    margin: int

    @property
    def first_output(self) -> int:
        """Smallest index that a release can have."""
        return -self.margin

    @property
    def last_output(self) -> int:
        """Largest index that a release can have."""
        return self.last + self.margin

    @property
    def middle(self) -> int:
        """Index that stands for a missing value under ``nan_policy="clip_mid"``."""
        return self.last // 2

    def index(self, x: Array) -> IntArray:
        """Nearest grid index of every value, clipped to the grid; the middle for NaN."""
        with np.errstate(over="ignore"):  # a warning would tell of a huge record
            position = (x - self.lo) / self.step + 0.5
        position = np.where(np.isnan(position), float(self.middle), position)
        return np.clip(np.floor(position), 0, self.last).astype(np.int64)

    def value(self, j: int) -> float:
        """Grid point j, also outside of 0..last."""
        return self.lo + j * self.step


def power_of_two_below(value: float) -> float:
    """Largest power of two that is not above a positive number."""
    return 2.0 ** (math.frexp(value)[1] - 1)


def make_grid(lo: float, hi: float, *, rho: float | str, step: float | str, owner: str) -> Grid:
    """Build the grid from public numbers alone.

    Parameters
    ----------
    lo, hi : float
        Public bounds.
    rho : float or "auto"
        Half-width of the ball around the estimate that has score 0.
    step : float or "auto"
        Spacing; rounded down to a power of two.
    owner : str
        Name put into messages.

    Returns
    -------
    Grid

    Raises
    ------
    ParameterError
        When the grid would be coarser than the bounds or finer than doubles are.
    """
    wanted = (hi - lo) * 2.0**-AUTO_BITS if rho == "auto" else float(rho)
    if step == "auto":
        spacing = power_of_two_below(wanted if wanted > 0 else (hi - lo) * 2.0**-AUTO_BITS)
    else:
        spacing = power_of_two_below(float(step))
    margin = round(wanted / spacing) if rho != "auto" else 1
    if step == "auto" and margin > 1:
        margin = 1  # rho rounded down to the grid
    last = math.floor((hi - lo) / spacing)
    if last < 1:
        raise ParameterError(
            f"{owner}: a grid with step {spacing:.6g} has no two points in the bounds "
            f"({lo:.6g}, {hi:.6g}). Pass a smaller rho= or grid=."
        )
    finest = float(np.spacing(max(abs(lo), abs(hi))))
    if last > MAX_INDEX or spacing < finest:
        floor = max((hi - lo) / MAX_INDEX, finest)
        raise ParameterError(
            f"{owner}: a grid with step {spacing:.6g} is finer than can be computed with in the "
            f"bounds ({lo:.6g}, {hi:.6g}). Pass rho= or grid= of at least {floor:.3g}."
        )
    return Grid(lo, spacing, last, margin)
