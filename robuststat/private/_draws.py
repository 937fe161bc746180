"""One release of one statistic from grid data: from counts of the data to the drawn index."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from robuststat.private._counting import GridSample
from robuststat.private._engine import (
    Layers,
    layers_needed,
    make_layers,
    release_index,
)
from robuststat.private._entropy import Entropy
from robuststat.private._grid import Grid
from robuststat.private._measure import Measure, Uniform
from robuststat.private._quantile_score import (
    lowest_score,
    quantile_layers,
    quantile_window,
    score_unit,
)
from robuststat.private._statistics import Statistic

LayersOf = Callable[[int], Layers]


def smallest_core(grid: Grid, measure: Measure) -> tuple[int, int]:
    """Weight of the support, and the smallest weight that a ball of score 0 can have."""
    first, last = grid.first_output, grid.last_output
    ball = 2 * grid.margin + 1
    total = measure.below(last + 1) - measure.below(first)
    ends = (
        measure.below(first + ball) - measure.below(first),
        measure.below(last + 1) - measure.below(last + 1 - ball),
    )
    return total, min(ends)


def statistic_layers(
    sample: GridSample,
    statistic: Statistic,
    *,
    steps: int = 1,
    measure: Measure | None = None,
    output: Grid | None = None,
) -> LayersOf:
    """Layers of a statistic as a function of how many are wanted; replaced records.

    Parameters
    ----------
    sample : GridSample
        Data.
    statistic : Statistic
        For data of this size.
    steps : int
        1 for kind="step", more for a ramp.
    measure : Measure, optional
        Public weights of the grid points.
    output : Grid, optional
        Range of the statistic; that of the data by default.

    Returns
    -------
    callable
        K -> layers 0..min(K, n).
    """
    grid = output or sample.grid

    def layers_of(k: int) -> Layers:
        k = min(k, sample.n)
        windows = statistic.windows(k)
        ranks = sample.all_ranks() if windows is None else sample.ranks(windows)
        return make_layers(
            statistic.envelope(ranks, k),
            first=grid.first_output,
            last=grid.last_output,
            margin=grid.margin,
            measure=measure,
            steps=steps,
            whole=k == sample.n,
        )

    return layers_of


def count_layers(sample: GridSample, q: Fraction, *, measure: Measure | None = None) -> LayersOf:
    """Layers of a quantile when records come and go, as a function of how many are wanted."""
    grid, unit = sample.grid, score_unit(q)

    def layers_of(k: int) -> Layers:
        near = sample.ranks([quantile_window(q, sample.n, 0)])
        score_max = min(lowest_score(near, q) + unit * k, unit * sample.n)
        return quantile_layers(
            sample.ranks([quantile_window(q, sample.n, score_max)]),
            q,
            score_max,
            first=grid.first_output,
            last=grid.last_output,
            margin=grid.margin,
            measure=measure,
        )

    return layers_of


def release(
    source: Entropy,
    layers_of: LayersOf,
    grid: Grid,
    epsilon: Fraction,
    measure: Measure | None = None,
) -> int:
    """Draw one grid index, looking only at as many layers as can matter.

    Parameters
    ----------
    source : Entropy
        Random bits; the charge is booked.
    layers_of : callable
        From ``statistic_layers`` or ``count_layers``.
    grid : Grid
        Public grid.
    epsilon : Fraction
        Privacy of this draw.
    measure : Measure, optional
        Public weights.

    Returns
    -------
    int
    """
    k = layers_needed(epsilon, *smallest_core(grid, measure or Uniform()))
    return release_index(source, layers_of(k), epsilon, layers_of)


def log_range(grid: Grid, measure: Measure | None = None) -> float:
    """Log of the weight of the support over the smallest weight of a ball of score 0."""
    total, core = smallest_core(grid, measure or Uniform())
    return math.log(total) - math.log(core)
