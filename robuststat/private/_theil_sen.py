"""Private regression line by medians over random pairs."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, ClassVar, Literal, Self

import numpy as np

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.params import Check, any_of, in_range, one_of
from robuststat._core.types import Array, IntArray
from robuststat.private._base import check_bounds
from robuststat.private._coordinates import Coordinate, warn_of_size
from robuststat.private._entropy import Entropy, SeededEntropy
from robuststat.private._loss import LayerTable
from robuststat.private._regression import PrivateRegression

_CUTS = (0.25, 0.75)  # of the public range of x: the line is released there


def pair_lines(x: Array, y: Array, pairs: IntArray, cuts: Array, middle: float) -> Array:
    """Heights at the cuts of the line through every pair of records.

    Parameters
    ----------
    x, y : ndarray of shape (n,)
        Records within the public bounds.
    pairs : ndarray of int of shape (m, 2)
        Rows of every pair.
    cuts : ndarray of shape (2,)
        Public places.
    middle : float
        Height of pairs that have no line: equal x. Dropping them would make their number private.

    Returns
    -------
    ndarray of shape (m, 2)
    """
    i, j = pairs.T
    dx, dy = x[j] - x[i], y[j] - y[i]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        slope = dy / dx
        height = ((y[i] + y[j]) / 2)[:, None] + slope[:, None] * (
            cuts - ((x[i] + x[j]) / 2)[:, None]
        )
    return np.where(np.isnan(height) | (dx == 0)[:, None], middle, height)


def matchings(source: Entropy, n: int, runs: int) -> IntArray:
    """Random perfect matchings, one below the other; with odd n each leaves one row out."""
    half = n // 2
    orders = [source.permutation(n)[: 2 * half].reshape(half, 2) for _ in range(runs)]
    return np.concatenate(orders)


class DPTheilSen(PrivateRegression):
    """Differentially private line: medians of the lines through random pairs of records.

    Records are paired at random. The line through a pair says how high it is at a quarter and at
    three quarters of the public range of x; the private medians of these heights give the line.
    Outliers in y and far x move few pairs, so they cost little. The estimand is the line when
    errors are independent of x and symmetric; otherwise the line through both medians.

    Parameters
    ----------
    epsilon : float
        Privacy of the fit, half of it for each height; there is no default.
    x_bounds, y_bounds : tuple of float
        Public ranges (low, high); values outside are moved to them. The line must be within
        ``y_bounds`` at a quarter and three quarters of ``x_bounds``.
    runs : int, default=1
        Matchings. A record is in as many pairs, so each median has ``epsilon / (2 runs)``; what is
        gained is less dependence on the pairing, at the price of nothing but time when epsilon is
        large, and of no gain when the noise dominates.
    rho : float or "auto", default="auto"
        Useful precision of a height, unit of y; "auto" is the width of ``y_bounds`` times 2**-20.
    ci : {None, "rank"}, default=None
        "rank": intervals of both heights (Bonferroni), and from them of intercept and slope;
        needs ``runs=1``, because pairs must be independent.
    ci_share : float, default=0.5
        Share of epsilon spent on the intervals; with 1 the line goes through their middles.
    level : float, default=0.95
        Coverage of the intervals, jointly for intercept and slope.
    nan_policy : {"raise", "clip_mid"}, default="raise"
        "clip_mid": NaN count as the middle of the bounds.
    max_contributions : int, default=1
        Rows that one person may have.
    accountant : PrivacyAccountant, optional
        Charged with epsilon by every fit.
    random_state : int or Generator, optional
        For tests: makes the noise predictable and the release not private.

    Attributes
    ----------
    intercept_, coef_ : float, ndarray of shape (1,)
        Released line.
    estimate_ : ndarray of shape (2,)
        Intercept and slope.
    heights_ : ndarray of shape (2,)
        Released heights at ``cuts_``.
    cuts_ : ndarray of shape (2,)
        Places of the heights: public.
    conf_int_ : ndarray of shape (2, 2) or None
        Intervals of intercept and slope.
    conf_int_flag_ : str
        "" or what is wrong with the intervals.
    score_kind_ : str
        "exact": for the medians of the pairs.
    epsilon_spent_, delta_spent_, adjacency_, mechanism_, secure_, n_
        As for :class:`DPLocation`.

    Raises
    ------
    ParameterError
        From ``fit``, for options that do not fit together.

    See Also
    --------
    DPTukeyRegression : Several regressors.
    DPLinearRegression : Least squares.

    Notes
    -----
    Idea of Alabi and others (2022). With replaced records and a matching drawn without looking at
    them, a record changes one pair a run. When records are added or removed this is not so (a pair
    is made or broken up and the others move), which is why that adjacency is not offered. Median
    with scores as in ``DPLocation``; the intervals are derived here from its rank intervals.

    References
    ----------
    Alabi, D., McMillan, A., Sarathy, J., Smith, A. and Vadhan, S. (2022). Differentially private
    simple linear regression. *PoPETs*.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import DPTheilSen
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(0, 10, size=10_000)
    >>> y = 1 + 2 * x + rng.normal(size=10_000)
    >>> est = DPTheilSen(epsilon=1.0, x_bounds=(0, 10), y_bounds=(-10, 40), rho=0.02).fit(x, y)
    >>> bool(abs(est.coef_[0] - 2) < 0.2)
    True
    """

    _title = "Private line (medians over random pairs)"
    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "runs": in_range(1, 10**4, integer=True),
        "rho": any_of(one_of("auto"), in_range(0.0, float("inf"), closed="neither")),
        "ci": one_of(None, "rank"),
        "ci_share": in_range(0.0, 1.0, closed="right"),
    }

    def __init__(
        self,
        *,
        epsilon: float,
        x_bounds: Any = None,
        y_bounds: Any = None,
        runs: int = 1,
        rho: float | str = "auto",
        ci: Literal["rank"] | None = None,
        ci_share: float = 0.5,
        level: float = 0.95,
        nan_policy: Literal["raise", "clip_mid"] = "raise",
        max_contributions: int = 1,
        accountant: Any = None,
        random_state: Any = None,
    ) -> None:
        self.epsilon = epsilon
        self.x_bounds = x_bounds
        self.y_bounds = y_bounds
        self.runs = runs
        self.rho = rho
        self.ci = ci
        self.ci_share = ci_share
        self.level = level
        self.nan_policy = nan_policy
        self.max_contributions = max_contributions
        self.accountant = accountant
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        owner = type(self).__name__
        check_bounds(self.x_bounds, owner, "x_bounds")
        check_bounds(self.y_bounds, owner, "y_bounds")
        if self.ci == "rank" and self.runs > 1:
            raise ParameterError(
                f"{owner}: ci='rank' needs runs=1, because pairs that share records are not "
                f"independent; got runs={self.runs}."
            )

    def fit(self, X: Any, y: Any = None, *, sample_weight: Any = None) -> Self:
        """Release the line. Every call is charged anew.

        Parameters
        ----------
        X : array of shape (n,) or (n, 1), or frame with one column
            Regressor, one number a person.
        y : array of shape (n,)
            Outcome.
        sample_weight : None
            Not supported.

        Returns
        -------
        self

        Raises
        ------
        ParameterError, PrivacyBudgetError
            Before the data are looked at; nothing is charged.
        DataError, TypeError
            For data that are no numbers, or several regressors; nothing is charged.

        Warns
        -----
        UserWarning
            When there are too few records for the noise, before anything is charged.
        """
        release = self._prepare(
            mechanism="random pairs; exponential mechanism for the median heights of their lines, "
            "step score, uniform base, integer grid",
            kind="exponential",
            sample_weight=sample_weight,
        )
        x, outcome, names = self._rows(X, y)
        coordinates = self._coordinates(release.epsilon)
        warn_of_size(coordinates, len(x) // 2 * self.runs, "pairs")
        with release as source:
            pairs = matchings(source, len(x), self.runs)
            lines = self._lines(x, outcome, pairs)
            drawn = [c.draw(source, lines[:, j]) for j, c in enumerate(coordinates)]
        self.heights_ = np.array([one.estimate for one in drawn])
        self.cuts_, self.score_kind_ = self._places(), "exact"
        ends = [one.interval for one in drawn if one.interval is not None]
        flags = {
            f"height at {c.label}: {one.flag}"
            for c, one in zip(coordinates, drawn, strict=True)
            if one.flag
        }
        self._keep_coefficients(
            line_through(self.cuts_, self.heights_),
            line_intervals(self.cuts_, np.array(ends)) if ends else None,
            names,
            len(x),
            "; ".join(sorted(flags)),
        )
        return self

    def _rows(self, X: Any, y: Any) -> tuple[Array, Array, tuple[str, ...]]:
        owner = type(self).__name__
        table, outcome, names = self._read(X, y)
        if table.shape[1] != 1:
            raise DataError(
                f"{owner}: X must have one column, got {table.shape[1]}. Use DPTukeyRegression or "
                "DPLinearRegression for several."
            )
        if len(table) < 2:
            raise DataError(f"{owner} needs at least 2 rows to make a pair, got {len(table)}.")
        bounds = [check_bounds(b, owner) for b in (self.x_bounds, self.y_bounds)]
        x, outcome = (
            np.clip(np.where(np.isnan(v), sum(b) / 2, v), *b)
            for v, b in zip((table[:, 0], outcome), bounds, strict=True)
        )
        return x, outcome, names

    def _places(self) -> Array:
        low, high = check_bounds(self.x_bounds, type(self).__name__, "x_bounds")
        return low + (high - low) * np.array(_CUTS)

    def _lines(self, x: Array, y: Array, pairs: IntArray) -> Array:
        low, high = check_bounds(self.y_bounds, type(self).__name__, "y_bounds")
        return pair_lines(x, y, pairs, self._places(), (low + high) / 2)

    def _coordinates(self, epsilon: Fraction) -> list[Coordinate]:
        """Median height at each cut; a record changes ``runs`` entries of both."""
        return [
            Coordinate(
                type(self).__name__,
                f"x = {place:.6g}",
                "median",
                epsilon=epsilon / (2 * self.runs),
                bounds=check_bounds(self.y_bounds, type(self).__name__, "y_bounds"),
                rho=self.rho,
                ci=self.ci,
                ci_share=self.ci_share,
                level=(1 + self.level) / 2,
            )
            for place in self._places()
        ]

    def _layers(self, x: Any) -> list[LayerTable]:
        """Exact distribution for one matching, the same for all data; columns are x and y.

        The matching does not depend on the data, so the loss is at most the worst over matchings.
        """
        self._check_parameters()
        data = np.asarray(x, dtype=np.float64)
        values, outcome, _ = self._rows(data[:, 0], data[:, 1])
        pairs = matchings(SeededEntropy(0), len(values), self.runs)
        lines = self._lines(values, outcome, pairs)
        epsilon = Fraction(float(self.epsilon)) / self.max_contributions
        coordinates = self._coordinates(epsilon)
        return [t for j, c in enumerate(coordinates) for t in c.layers(lines[:, j])]

    # ------------------------------------------------------------------------------ summary

    def _summary_lines(self) -> list[str]:
        low, high = check_bounds(self.x_bounds, type(self).__name__, "x_bounds")
        bottom, top = check_bounds(self.y_bounds, type(self).__name__, "y_bounds")
        heights = ", ".join(
            f"{h:.6g} at x = {c:.6g}" for c, h in zip(self.cuts_, self.heights_, strict=True)
        )
        return [
            f"Observations: {self.n_:,}    Matchings: {self.runs}",
            f"x in ({low:.6g}, {high:.6g})    y in ({bottom:.6g}, {top:.6g})",
            f"Released heights: {heights}    Score: step, {self.score_kind_}",
        ]

    def _assumptions(self) -> list[str]:
        words = [
            *super()._assumptions(),
            "errors are independent of x and symmetric",
        ]
        if self.ci:
            words.append(f"intervals ({self.level:.0%}, jointly): independent records")
        return words


def line_through(cuts: Array, heights: Array) -> Array:
    """Intercept and slope of the line through two heights."""
    slope = (heights[1] - heights[0]) / (cuts[1] - cuts[0])
    return np.array([heights[0] - slope * cuts[0], slope])


def line_intervals(cuts: Array, ends: Array) -> Array:
    """Intervals of intercept and slope from intervals of both heights.

    Parameters
    ----------
    cuts : ndarray of shape (2,)
        Places.
    ends : ndarray of shape (2, 2)
        Low and high end of the height at each place.

    Returns
    -------
    ndarray of shape (2, 2)
        Ranges over all lines within both intervals.
    """
    corners = np.array([line_through(cuts, np.array([a, b])) for a in ends[0] for b in ends[1]])
    return np.column_stack([corners.min(axis=0), corners.max(axis=0)])
