"""From public parameters to a way of drawing: on a grid (exact), or in doubles (simulations)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

from robuststat._core.errors import ParameterError, PrivacyWarning, warn
from robuststat._core.params import Check, any_of, in_range, is_bool, one_of, optional
from robuststat._core.types import Array
from robuststat.private._base import check_bounds
from robuststat.private._continuous import (
    Base,
    FloatRanks,
    Kind,
    continuous_layers_needed,
    continuous_table,
    draw_point,
)
from robuststat.private._counting import GridSample, read_sample
from robuststat.private._draws import LayersOf, count_layers, log_range, release, statistic_layers
from robuststat.private._engine import RAMP_STEPS, cover_score, layer_table
from robuststat.private._entropy import Entropy
from robuststat.private._envelopes import Envelope
from robuststat.private._grid import AUTO_BITS, Grid, make_grid, power_of_two_below
from robuststat.private._intake import read_column
from robuststat.private._loss import LayerTable
from robuststat.private._measure import Measure, Uniform, cauchy_measure
from robuststat.private._statistics import Statistic

CAUCHY_REACH = 2.0**22  # values further from the centre, in scales, are moved there
Target: TypeAlias = Statistic | Fraction  # a Fraction is a quantile under add_remove
Sample: TypeAlias = GridSample | FloatRanks

SETUP_CHECKS: dict[str, Check] = {
    "rho": any_of(one_of("auto"), in_range(0.0, math.inf, closed="left")),
    "grid": optional(any_of(one_of("auto"), in_range(0.0, math.inf, closed="neither"))),
    "kind": one_of("step", "ramp"),
    "secure": is_bool,
}


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything about a release that is public.

    Attributes
    ----------
    owner : str
        Estimator, for messages.
    lo, hi : float
        Range of the data.
    rho : float
        Half-width of the ball of score 0, unit of the data.
    kind : {"step", "ramp"}
        Form of the score.
    grid : Grid or None
        None for doubles.
    measure : Measure
        Public weights on the grid.
    base : Base
        Public law in doubles.
    """

    owner: str
    lo: float
    hi: float
    rho: float
    kind: Kind
    grid: Grid | None
    measure: Measure
    base: Base

    @property
    def log_range(self) -> float:
        """Log of the weight of the support over the smallest weight of a ball of score 0."""
        if self.grid is not None:
            return log_range(self.grid, self.measure)
        return self.base.smallest_ball(self.rho)

    @property
    def log_range_near(self) -> float:
        """The same for a ball where the public law expects it: at the centre of a Cauchy law."""
        if self.base.scale == 0 or self.rho == 0:
            return self.log_range
        return math.log1p(math.pi * self.base.scale / (2 * self.rho))

    @property
    def precision(self) -> float:
        """Most by which rounding of data and the ball of score 0 move a release."""
        if self.grid is None:
            return self.rho
        return (self.grid.margin + 0.5) * self.grid.step

    @property
    def words(self) -> str:
        """Words for ``mechanism_``."""
        law = "uniform" if self.base.scale == 0 else "Cauchy"
        where = "doubles (not secure)" if self.grid is None else "integer grid"
        return f"exponential mechanism, {self.kind} score, {law} base, {where}"

    def read(self, X: Any, nan_policy: Any) -> Sample:
        """Read the data, on the grid or clipped."""
        if self.grid is not None:
            return read_sample(X, self.grid, self.owner, nan_policy)
        middle = (self.lo + self.hi) / 2 if self.base.scale == 0 else self.base.loc
        x = read_column(X, self.owner, nan_policy=nan_policy, middle=middle)
        return FloatRanks(x, self.lo, self.hi)

    def unit(self, length: float) -> Any:
        """Length in the unit of the order statistics: whole grid steps, at least one."""
        return length if self.grid is None else max(1, round(length / self.grid.step))


def make_setup(
    owner: str,
    *,
    bounds: Any,
    rho: float | str,
    step: float | str | None,
    kind: Kind,
    secure: bool,
    base: str = "uniform",
    base_params: Any = None,
) -> Setup:
    """Read the public parameters of a release.

    Parameters
    ----------
    owner : str
        Estimator, for messages.
    bounds : tuple of float or None
        Range of the data; None for ``base="cauchy"``.
    rho, step : float, "auto" or None
        Precision, and spacing of the grid; ``step=None`` is doubles.
    kind : {"step", "ramp"}
        Form of the score.
    secure : bool
        Whether doubles are refused.
    base : {"uniform", "cauchy"}
        Public law.
    base_params : tuple of float, optional
        (loc, scale) of the Cauchy law.

    Returns
    -------
    Setup

    Raises
    ------
    ParameterError
        For bounds, precision or law that do not fit together.
    """
    on_grid = step is not None and (secure or step != "auto")
    if secure and not on_grid:
        raise ParameterError(
            f"{owner}: grid=None draws in doubles, whose digits leak. Use grid='auto', or "
            "secure=False in a simulation."
        )
    if not on_grid:
        warn(
            f"{owner}: secure=False draws in doubles, whose last digits can reveal records. Use "
            "secure=True for a release.",
            PrivacyWarning,
        )
    spacing: Any = step if on_grid else "auto"
    if base == "cauchy":
        return _cauchy_setup(owner, bounds, rho, spacing, kind, on_grid, base_params)
    if base_params is not None:
        raise ParameterError(f"{owner}: base_params go with base='cauchy'; drop them.")
    lo, hi = check_bounds(bounds, owner)
    width = (hi - lo) * 2.0**-AUTO_BITS if rho == "auto" else float(rho)
    if not on_grid:
        return Setup(owner, lo, hi, width, kind, None, Uniform(), Base(lo - width, hi + width))
    grid = make_grid(lo, hi, rho=rho, step=spacing, owner=owner)
    radius = grid.margin * grid.step
    return Setup(owner, lo, hi, radius, kind, grid, Uniform(), Base(lo - radius, hi + radius))


def _cauchy_setup(
    owner: str, bounds: Any, rho: float | str, step: Any, kind: Kind, on_grid: bool, params: Any
) -> Setup:
    if bounds is not None:
        raise ParameterError(f"{owner}: base='cauchy' has no bounds. Drop bounds=.")
    try:
        loc, scale = (float(v) for v in params)
    except (TypeError, ValueError):
        scale = math.nan
    if not (0 < scale < math.inf and math.isfinite(loc)):
        raise ParameterError(
            f"{owner}: base='cauchy' needs base_params=(loc, scale) from public knowledge, with "
            f"scale > 0; got {params!r}."
        )
    width = scale * 2.0**-AUTO_BITS if rho == "auto" else float(rho)
    if not on_grid:
        if kind == "ramp":
            raise ParameterError(
                f"{owner}: kind='ramp' with base='cauchy' is for the grid; use secure=True."
            )
        base = Base(-math.inf, math.inf, loc, scale)
        return Setup(owner, -math.inf, math.inf, width, kind, None, Uniform(), base)
    lo, hi = loc - CAUCHY_REACH * scale, loc + CAUCHY_REACH * scale
    spacing = power_of_two_below(width or scale * 2.0**-AUTO_BITS) if step == "auto" else step
    grid = make_grid(lo, hi, rho=width, step=spacing, owner=owner)
    centre, unit = round((loc - lo) / grid.step), max(round(scale / grid.step), 1)
    measure = cauchy_measure(grid.first_output, grid.last_output, centre, unit)
    base = Base(-math.inf, math.inf, loc, scale)
    return Setup(owner, lo, hi, grid.margin * grid.step, kind, grid, measure, base)


# -------------------------------------------------------------------------------------- draws


def _layers_of(setup: Setup, sample: GridSample, target: Target) -> LayersOf:
    if isinstance(target, Fraction):
        return count_layers(sample, target, measure=setup.measure)
    steps = RAMP_STEPS if setup.kind == "ramp" else 1
    output = _output(sample, target)
    return statistic_layers(sample, target, steps=steps, measure=setup.measure, output=output)


def _output(sample: GridSample, target: Target) -> Grid:
    """Grid of the output, where it is not that of the data."""
    found: Grid | None = getattr(target, "output", None)
    return found or sample.grid


def draw(source: Entropy, setup: Setup, sample: Sample, target: Target, epsilon: Fraction) -> float:
    """Draw one number: the release.

    Parameters
    ----------
    source : Entropy
        Random bits; the charge is booked.
    setup : Setup
        Public parameters.
    sample : GridSample or FloatRanks
        Data.
    target : Statistic, or Fraction
        What is estimated; a Fraction is a quantile with n private.
    epsilon : Fraction
        Privacy of this draw.

    Returns
    -------
    float
        On the scale of the statistic, counted from the start of the grid.
    """
    if isinstance(sample, GridSample):
        layers_of, grid = _layers_of(setup, sample, target), _output(sample, target)
        return float(release(source, layers_of, grid, epsilon, setup.measure))
    table = _table(setup, sample, target, float(epsilon))
    return draw_point(source, table, _base_of(setup, target))


def _table(setup: Setup, sample: FloatRanks, target: Target, epsilon: float) -> LayerTable:
    assert not isinstance(target, Fraction)
    base = _base_of(setup, target)
    k = continuous_layers_needed(epsilon, setup.rho, base, sample.n)
    return continuous_table(
        target.envelope(sample, k), epsilon=epsilon, rho=setup.rho, base=base, kind=setup.kind
    )


def _base_of(setup: Setup, target: Any) -> Base:
    """Law of the output: of a location, or of a width in [0, hi - lo]."""
    if getattr(target, "spread", False):
        return Base(-setup.rho, setup.hi - setup.lo + setup.rho)
    return setup.base


def distribution(setup: Setup, sample: Sample, target: Target, epsilon: float) -> LayerTable:
    """Exact distribution of a draw, for audits on made-up data.

    Parameters
    ----------
    setup, sample, target
        As for ``draw``.
    epsilon : float
        Privacy of the draw.

    Returns
    -------
    LayerTable
    """
    if isinstance(sample, GridSample):
        layers = cover_score(_layers_of(setup, sample, target), max(sample.n, 1))
        return layer_table(layers, epsilon)
    return _table(setup, sample, target, epsilon)


def real_envelope(
    x: Any, lo: float, hi: float, statistic: Statistic, k_max: int
) -> tuple[Array, Array]:
    """Intervals I_0, ..., I_K of a statistic in real arithmetic; I_n from k = n on.

    Parameters
    ----------
    x : ndarray of shape (n,)
        Data, clipped to the range.
    lo, hi : float
        Range.
    statistic : Statistic
        In the unit of the data.
    k_max : int
        Last k.

    Returns
    -------
    tuple of ndarray of shape (k_max + 1,)
        Low and high ends.
    """
    ranks = FloatRanks(x, lo, hi)
    found: Envelope = statistic.envelope(ranks, min(k_max, ranks.n))
    more = max(k_max - ranks.n, 0)
    return tuple(  # type: ignore[return-value]
        np.pad(np.asarray(end, dtype=np.float64), (0, more), mode="edge")
        for end in (found.low, found.high)
    )
