"""Several private quantiles from one budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Literal, Self

import numpy as np

from robuststat._core.errors import ParameterError, warn
from robuststat._core.params import Check, one_of
from robuststat._core.types import Array
from robuststat.private._base import PrivateEstimator
from robuststat.private._counting import GridSample
from robuststat.private._draws import smallest_core
from robuststat.private._engine import layers_needed, release_index
from robuststat.private._entropy import Entropy
from robuststat.private._feasibility import location_statistic, ranks_available, ranks_needed
from robuststat.private._grid import Grid
from robuststat.private._loss import LayerTable
from robuststat.private._measure import Uniform
from robuststat.private._quantile_score import (
    lowest_score,
    quantile_fraction,
    quantile_layers,
    score_unit,
)
from robuststat.private._ranks import CountedRanks, Ranks, SortedRanks
from robuststat.private._setup import SETUP_CHECKS, Setup, Target, distribution, draw, make_setup


@dataclass(frozen=True, slots=True)
class Step:
    """One cut of the recursion: the middle quantile of those that lie in one part of the line.

    Attributes
    ----------
    index : int
        Position of the quantile in the sorted list.
    q : Fraction
        Quantile within the part.
    level : int
        Depth, from 0.
    left, right : Step or None
        Cuts of the two halves.
    """

    index: int
    q: Fraction
    level: int
    left: Step | None
    right: Step | None


def plan_steps(quantiles: list[float]) -> Step:
    """Order of cuts: always the middle one, so that the depth is logarithmic.

    Parameters
    ----------
    quantiles : list of float
        Increasing, inside of (0, 1).

    Returns
    -------
    Step
    """

    def plan(first: int, last: int, low: float, high: float, level: int) -> Step | None:
        if first > last:
            return None
        middle = (first + last) // 2
        value = quantiles[middle]
        return Step(
            middle,
            quantile_fraction((value - low) / (high - low)),
            level,
            plan(first, middle - 1, low, value, level + 1),
            plan(middle + 1, last, value, high, level + 1),
        )

    found = plan(0, len(quantiles) - 1, 0.0, 1.0, 0)
    assert found is not None
    return found


def draw_recursively(
    source: Entropy, ranks: Ranks, grid: Grid, plan: Step, n_quantiles: int, epsilon: Fraction
) -> list[int]:
    """Cut the line at private quantiles, from the middle outward.

    Records up to a cut go left, the others right. Given the cut the halves are disjoint, so that
    a record that comes or goes costs ``epsilon`` once a level.

    Parameters
    ----------
    source : Entropy
        Random bits; the charge is booked.
    ranks : Ranks
        All records.
    grid : Grid
        Public grid.
    plan : Step
        From ``plan_steps``.
    n_quantiles : int
        Number of cuts.
    epsilon : Fraction
        Privacy of one level, for a record that comes or goes.

    Returns
    -------
    list of int
        Grid indices, in order.
    """
    found = [0] * n_quantiles

    def cut(step: Step | None, part: Ranks, low: int, high: int) -> None:
        if step is None:
            return
        if low == high:
            j = low
        else:
            support = Grid(0.0, 1.0, high - low, grid.margin)
            k = layers_needed(epsilon, *smallest_core(support, Uniform()))
            unit, lowest = score_unit(step.q), lowest_score(part, step.q)

            def layers_of(count: int) -> Any:
                return quantile_layers(
                    part,
                    step.q,
                    lowest + unit * count,
                    first=low - grid.margin,
                    last=high + grid.margin,
                    margin=grid.margin,
                )

            drawn = release_index(source, layers_of(k), epsilon, layers_of)
            j = min(max(drawn, low), high)
        found[step.index] = j
        cut(step.left, _within(part, low, j), low, j)
        upper = min(j + 1, high)
        cut(step.right, _within(part, upper, high) if j < high else _empty(high), upper, high)

    cut(plan, ranks, 0, grid.last)
    return found


def _within(ranks: Ranks, first: int, last: int) -> Ranks:
    """Restrict records to a part of the line, with order statistics of their own."""
    if isinstance(ranks, CountedRanks):
        return ranks.within(first, last)
    assert isinstance(ranks, SortedRanks)
    values = ranks.all_values
    a, b = np.searchsorted(values, [first, last + 1])
    return SortedRanks.from_sorted(values[a:b], first, last)


def _empty(at: int) -> Ranks:
    return SortedRanks.from_sorted(np.empty(0, dtype=np.int64), at, at)


class DPQuantiles(PrivateEstimator):
    """Several differentially private quantiles that share one budget.

    Cutting the line at the middle quantile and going on in the halves costs epsilon once a level
    instead of once a quantile. The released numbers are in order. The estimands are the
    quantiles of the records (moved into the bounds), and so of the population.

    Parameters
    ----------
    quantiles : sequence of float
        In (0, 1) for "recursive", in [0, 1] for "independent"; all different, in any order.
    epsilon : float
        Privacy of the fit, all quantiles together; there is no default.
    bounds : tuple of float
        Public range (low, high); values outside are moved to it.
    method : {"recursive", "independent"}, default="recursive"
        "independent": each quantile is the order statistic of rank ``1 + round(q (n - 1))``,
        halves up, at ``epsilon / len(quantiles)``; then they are sorted. Better for two or three.
    adjacency : {"replace", "add_remove"}, default="replace"
        With "recursive" a level costs ``epsilon / levels`` under "add_remove" and twice that under
        "replace", where a record can leave one half and enter the other.
    rho, grid, nan_policy, max_contributions, accountant, random_state
        As for :class:`DPLocation`; always on the grid.

    Attributes
    ----------
    estimate_ : ndarray of shape (q,)
        Released quantiles, in the order of ``quantiles``.
    levels_ : int
        Number of levels that epsilon is divided by.
    epsilon_spent_, delta_spent_, adjacency_, mechanism_, score_kind_, grid_, rho_, secure_, n_
        As for :class:`DPLocation`.

    Raises
    ------
    ParameterError
        From ``fit``, for quantiles outside of their range.

    See Also
    --------
    DPLocation : One quantile.

    Notes
    -----
    Score of a cut with L records below and G above: ``|(1 - q) L - q G| / max(q, 1 - q)``, which
    one record more or less moves by at most one. q within a part is taken as the nearest fraction
    with a denominator of at most 1000.

    References
    ----------
    Kaplan, H., Schnapp, S. and Stemmer, U. (2022). Differentially private approximate quantiles.
    *ICML*.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import DPQuantiles
    >>> x = np.random.default_rng(0).normal(size=10_000)
    >>> est = DPQuantiles([0.25, 0.5, 0.75], epsilon=1.0, bounds=(-20, 20), rho=0.01).fit(x)
    >>> bool(np.abs(est.estimate_ - [-0.67, 0, 0.67]).max() < 0.2), est.levels_
    (True, 2)
    """

    _title = "Private quantiles"
    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "rho": SETUP_CHECKS["rho"],
        "method": one_of("recursive", "independent"),
    }

    rho_: float
    n_: int

    def __init__(
        self,
        quantiles: Any,
        *,
        epsilon: float,
        bounds: Any = None,
        method: Literal["recursive", "independent"] = "recursive",
        adjacency: Literal["replace", "add_remove"] = "replace",
        rho: float | str = "auto",
        grid: float | str = "auto",
        nan_policy: Literal["raise", "clip_mid"] = "raise",
        max_contributions: int = 1,
        accountant: Any = None,
        random_state: Any = None,
    ) -> None:
        self.quantiles = quantiles
        self.epsilon = epsilon
        self.bounds = bounds
        self.method = method
        self.adjacency = adjacency
        self.rho = rho
        self.grid = grid
        self.nan_policy: Any = nan_policy
        self.max_contributions = max_contributions
        self.accountant = accountant
        self.random_state = random_state

    def _wanted(self) -> Array:
        owner = type(self).__name__
        try:
            values = np.asarray(self.quantiles, dtype=np.float64)
        except (TypeError, ValueError):
            values = np.empty((0, 0))
        if values.ndim != 1 or not values.size or len(np.unique(values)) != values.size:
            raise ParameterError(
                f"{owner}: quantiles must be a list of different numbers; got {self.quantiles!r}."
            )
        ends = (values == 0) | (values == 1)
        inside = (values >= 0) & (values <= 1)
        if not inside.all() or (self.method == "recursive" and ends.any()):
            kind = "(0, 1)" if self.method == "recursive" else "[0, 1]"
            raise ParameterError(f"{owner}: quantiles must lie in {kind}; got {self.quantiles!r}.")
        return values

    def _make_setup(self) -> Setup:
        if self.grid is None:
            raise ParameterError(
                f"{type(self).__name__}: it draws on a grid only; use grid='auto'."
            )
        return make_setup(
            type(self).__name__,
            bounds=self.bounds,
            rho=self.rho,
            step=self.grid,
            kind="step",
            secure=True,
        )

    def fit(self, X: Any, y: Any = None, *, sample_weight: Any = None) -> Self:
        """Release the quantiles. Every call is charged anew.

        Parameters
        ----------
        X : array of shape (n,) or (n, 1), frame with one column, iterator of chunks, or function
            As for :meth:`DPLocation.fit`.
        y, sample_weight : None
            As for :meth:`DPLocation.fit`.

        Returns
        -------
        self

        Raises
        ------
        ParameterError, PrivacyBudgetError, DataError, TypeError, NotImplementedError
            As for :meth:`DPLocation.fit`.
        """
        self._check_parameters()
        wanted, setup = self._wanted(), self._make_setup()
        recursive = self.method == "recursive"
        release_ = self._prepare(
            mechanism=f"{self.method} quantiles, {setup.words}",
            # Two halves that a replaced record leaves and enters are not one exponential mechanism.
            kind="pure" if recursive else "exponential",
            sample_weight=sample_weight,
        )
        sample = setup.read(X, self.nan_policy)
        assert isinstance(sample, GridSample)
        grid = sample.grid
        order = np.argsort(wanted)
        plan = plan_steps(wanted[order].tolist()) if recursive else None
        levels = _depth(plan) if plan is not None else len(wanted)
        each = release_.epsilon / levels
        if self.adjacency == "replace":
            self._check_size(wanted, sample.n, setup, each / (2 if recursive else 1))
        with release_ as source:
            if plan is not None:
                ranks = sample.ranks_of_parts()
                half = each / 2 if self.adjacency == "replace" else each
                index = draw_recursively(source, ranks, grid, plan, len(wanted), half)
            else:
                index = sorted(
                    int(draw(source, setup, sample, self._target(q, sample.n), each))
                    for q in wanted.tolist()
                )
        estimate = np.empty(len(wanted))
        estimate[order] = [grid.value(j) for j in index]
        self.estimate_, self.levels_ = estimate, levels
        self._keep(setup, grid, sample.n)
        return self

    def _keep(self, setup: Setup, grid: Grid, n: int) -> None:
        self.score_kind_ = "relaxed" if self.method == "recursive" else "exact"
        if self.method == "independent" and self.adjacency == "add_remove":
            self.score_kind_ = "relaxed"
        self.grid_ = {"lo": grid.lo, "step": grid.step}
        self.rho_ = setup.rho
        if self.adjacency == "replace":
            self.n_ = n
        elif hasattr(self, "n_"):
            del self.n_  # of an earlier fit

    def _target(self, q: float, n: int) -> Target:
        if self.adjacency == "add_remove":
            return quantile_fraction(q)
        return location_statistic("quantile", n, quantile=q)

    def _check_size(self, wanted: Array, n: int, setup: Setup, epsilon: Fraction) -> None:
        needed = ranks_needed(float(epsilon), setup.log_range)
        extreme = float(wanted[np.argmax(np.abs(wanted - 0.5))])
        outer = min(extreme, 1 - extreme)
        statistic = location_statistic("quantile", n, quantile=extreme)
        if needed > ranks_available(statistic, n):
            enough = math.ceil((needed + 2) / outer) if outer > 0 else 0
            more = f"about {enough:,} records" if enough else "quantiles away from the ends"
            warn(
                f"{type(self).__name__}: {n:,} records are too few for the quantile {extreme:.4g} "
                f"at epsilon={float(epsilon):.4g}: the noise may stand for {needed:,} records. Use "
                f"{more}, a larger epsilon or rho, or narrower bounds."
            )

    def _layers(self, x: Any) -> list[LayerTable]:
        """Exact distributions of the draws, which are independent with "independent" only."""
        self._check_parameters()
        setup, wanted = self._make_setup(), self._wanted()
        if self.method == "recursive":
            raise ParameterError(
                f"{type(self).__name__}: with method='recursive' a draw depends on earlier ones. "
                "Use audit_epsilon."
            )
        sample = setup.read(x, self.nan_policy)
        assert isinstance(sample, GridSample)
        epsilon = float(self.epsilon) / (self.max_contributions * len(wanted))
        return [
            distribution(setup, sample, self._target(q, sample.n), epsilon) for q in wanted.tolist()
        ]

    def _terms(self) -> tuple[str, ...]:
        return tuple(f"q{float(q):g}" for q in self.quantiles)

    def _summary_lines(self) -> list[str]:
        low, high = self.bounds
        assert self.grid_ is not None
        lines = [
            f"Bounds: ({float(low):.6g}, {float(high):.6g})    Precision (rho): {self.rho_:.6g}",
            f"Arithmetic: integer grid with step {self.grid_['step']:.6g}    "
            f"Score: step, {self.score_kind_}",
            f"Budget: epsilon is shared by {self.levels_} "
            + ("levels" if self.method == "recursive" else "quantiles"),
        ]
        return lines if self.adjacency_ != "replace" else [f"Observations: {self.n_:,}", *lines]

    def _assumptions(self) -> list[str]:
        return ["bounds, precision and options were chosen without looking at the data"]


def _depth(step: Step | None) -> int:
    return 0 if step is None else 1 + max(_depth(step.left), _depth(step.right))
