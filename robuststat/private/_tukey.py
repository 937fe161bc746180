"""Private regression from many small regressions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from robuststat._core.errors import DataError, ParameterError, warn
from robuststat._core.params import Check, any_of, in_range, one_of
from robuststat._core.types import Array, IntArray
from robuststat.private._boxes import Boxes, make_boxes, release_point
from robuststat.private._coordinates import bounds_table, per_column
from robuststat.private._draws import log_range
from robuststat.private._envelopes import l_envelope, median_weights
from robuststat.private._feasibility import ranks_needed
from robuststat.private._grid import Grid, make_grid
from robuststat.private._ranks import SortedRanks
from robuststat.private._regression import PrivateRegression


def batch_models(x: Array, y: Array, order: IntArray, n_models: int) -> Array:
    """Least squares in disjoint batches.

    Parameters
    ----------
    x : ndarray of shape (n, p)
        Regressors.
    y : ndarray of shape (n,)
        Outcome.
    order : ndarray of int of shape (n,)
        Order of the rows that is cut into batches; must not depend on the data.
    n_models : int
        Batches.

    Returns
    -------
    ndarray of shape (n_models, 1 + p)
        Intercept and slopes; NaN where a batch has no finite solution. A row of the data changes
        one row of the result.
    """
    models = np.full((n_models, x.shape[1] + 1), np.nan)
    for b, rows in enumerate(np.array_split(order, n_models)):
        design = np.column_stack([np.ones(len(rows)), x[rows]])
        outcome = y[rows]
        if not (np.isfinite(design).all() and np.isfinite(outcome).all()):
            continue
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                models[b] = np.linalg.lstsq(design, outcome, rcond=None)[0]
        except np.linalg.LinAlgError:  # the batch counts as the middle of the box
            continue
    return models


class DPTukeyRegression(PrivateRegression):
    """Differentially private regression: the middle of many regressions on small batches.

    Rows are dealt at random to ``n_models`` batches and least squares is run in each. A point in
    the space of coefficients has depth k when in every coordinate at least k models are on either
    side of it. The release is a deep point: a median of models, in all coordinates with one score,
    so that the whole of epsilon serves all of them. Neither X nor y need bounds; batches that
    outliers spoil are outvoted. The estimand is the median of the coefficients that batches of
    this size have: the population's coefficients when their errors are symmetric.

    Parameters
    ----------
    n_models : int
        Batches. More of them mean less privacy noise; each needs several rows a coefficient.
    epsilon : float
        Privacy of the fit; there is no default.
    coef_bounds : tuple of float, or array of shape (1 + p, 2)
        Public box of the coefficients: (low, high) for all, or one pair each, intercept first.
    rho : float, "auto", or sequence of length 1 + p, default="auto"
        Useful precision of the coefficients; "auto" is the width of the box times 2**-20. A
        coarser one needs fewer models.
    nan_policy : {"raise", "clip_mid"}, default="raise"
        "clip_mid": a batch with a value that is no number counts as the middle of the box.
    max_contributions : int, default=1
        Rows that one person may have.
    accountant : PrivacyAccountant, optional
        Charged with epsilon by every fit.
    random_state : int or Generator, optional
        For tests: makes the noise predictable and the release not private.

    Attributes
    ----------
    intercept_, coef_ : float, ndarray of shape (p,)
        Released coefficients.
    estimate_ : ndarray of shape (1 + p,)
        Intercept and slopes.
    batch_size_ : int
        Rows of the smallest batch.
    score_kind_ : str
        "relaxed": depth in coordinates, not the path length of a statistic.
    feature_names_in_ : tuple of str
        Names of the regressors.
    epsilon_spent_, delta_spent_, adjacency_, mechanism_, secure_, n_
        As for :class:`DPLocation`.

    Raises
    ------
    ParameterError
        From ``fit``, for options that do not fit together.

    See Also
    --------
    DPTheilSen : One regressor.
    DPLinearRegression : Fewer rows, but bounds on X and y; intervals.

    Notes
    -----
    Idea of Amin and others (2022), who estimate within a test for stability and need delta; this
    is the pure variant over a public box, derived here: score ``min{k: t in box k}`` with box k the
    product of the intervals between order statistics around the medians, weight
    exp(-epsilon score / 2). With m models and C_j the width of the box over the precision,
    ``k + 1 >= (2/epsilon) [sum_j log C_j + log(1/beta)]`` models decide.

    References
    ----------
    Amin, K., Joseph, M., Ribero, M. and Vassilvitskii, S. (2022). Easy differentially private
    linear regression. *ICLR 2023*.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import DPTukeyRegression
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(20_000, 2))
    >>> y = 1 + X @ [2, -1] + rng.normal(size=20_000)
    >>> est = DPTukeyRegression(500, epsilon=1.0, coef_bounds=(-10, 10), rho=0.02).fit(X, y)
    >>> bool(np.abs(est.coef_ - [2, -1]).max() < 0.2)
    True
    """

    _title = "Private regression (deep point among models of batches)"
    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "n_models": in_range(1, 10**6, integer=True),
    }

    def __init__(
        self,
        n_models: int,
        *,
        epsilon: float,
        coef_bounds: Any = None,
        rho: Any = "auto",
        nan_policy: Any = "raise",
        max_contributions: int = 1,
        accountant: Any = None,
        random_state: Any = None,
    ) -> None:
        self.n_models = n_models
        self.epsilon = epsilon
        self.coef_bounds = coef_bounds
        self.rho = rho
        self.nan_policy = nan_policy
        self.max_contributions = max_contributions
        self.accountant = accountant
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        owner = type(self).__name__
        bounds_table(self.coef_bounds, owner, "coef_bounds")
        each = any_of(one_of("auto"), in_range(0.0, math.inf, closed="neither"))
        values = [self.rho] if isinstance(self.rho, str) or np.ndim(self.rho) == 0 else self.rho
        for value in values:
            words = each(float(value) if isinstance(value, np.number) else value)
            if words is not None:
                raise ParameterError(f"{owner}: rho must be {words}; got {value!r}.")

    def fit(self, X: Any, y: Any = None, *, sample_weight: Any = None) -> Self:
        """Release the coefficients. Every call is charged anew.

        Parameters
        ----------
        X : array of shape (n, p) or frame
            Regressors, one row a person.
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
            For data that are no numbers, or fewer rows a batch than coefficients; nothing is
            charged.

        Warns
        -----
        UserWarning
            When there are too few models for the noise, before anything is charged.
        """
        release = self._prepare(
            mechanism="exponential mechanism on the depth among least-squares fits of disjoint "
            "random batches, step score, uniform base over a box, integer grid",
            kind="exponential",
            sample_weight=sample_weight,
        )
        table, outcome, names = self._read(X, y)
        n, m = len(table), self.n_models
        grids = self._grids(len(names) + 1)
        if n // m < len(names) + 1:
            raise DataError(
                f"{type(self).__name__}: {m:,} batches of {n:,} rows leave {n // m} rows a batch, "
                f"but there are {len(names) + 1} coefficients. Use fewer n_models."
            )
        self._check_size(m, grids, float(release.epsilon))
        with release as source:
            models = batch_models(table, outcome, source.permutation(n), m)
            point = release_point(source, self._boxes(models, grids), release.epsilon)
        self.score_kind_, self.batch_size_ = "relaxed", n // m
        values = [g.value(j) for g, j in zip(grids, point, strict=True)]
        self._keep_coefficients(values, None, names, n)
        return self

    def _grids(self, coefficients: int) -> list[Grid]:
        owner = type(self).__name__
        box = bounds_table(self.coef_bounds, owner, "coef_bounds", coefficients)
        rhos = per_column(self.rho, coefficients, owner, "rho")
        return [
            make_grid(float(low), float(high), rho=rho, step="auto", owner=owner)
            for (low, high), rho in zip(box, rhos, strict=True)
        ]

    def _boxes(self, models: Array, grids: list[Grid]) -> Boxes:
        """Boxes around the medians of the coefficients; private, for the draw and for audits."""
        m = len(models)
        weights, sides = median_weights(m), []
        for column, grid in zip(models.T, grids, strict=True):
            ranks = SortedRanks.from_sorted(np.sort(grid.index(column)), 0, grid.last)
            found = l_envelope(ranks, weights, m)
            low, high = (np.asarray(end).tolist() for end in (found.low, found.high))
            sides.append(
                [
                    (int(a) - grid.margin, int(b) + grid.margin)
                    for a, b in zip(low, high, strict=True)
                ]
            )
        support = [(g.first_output, g.last_output) for g in grids]
        return make_boxes(list(zip(*sides, strict=True)), support)

    def _check_size(self, m: int, grids: list[Grid], epsilon: float) -> None:
        """Warn when the noise may stand for more models than the medians bear."""
        needed = ranks_needed(epsilon, sum(log_range(g) for g in grids))
        if needed > (m - 1) // 2:
            warn(
                f"{type(self).__name__}: {m:,} models are too few for epsilon={epsilon:.4g} at "
                f"this precision: the noise may stand for {needed:,} changed models, and their "
                f"medians bear {(m - 1) // 2:,}. Expect noise over the whole of the box. Use about "
                f"{2 * needed + 1:,} models, a larger epsilon or rho, or a smaller box."
            )

    # ------------------------------------------------------------------------------ summary

    def _summary_lines(self) -> list[str]:
        box = bounds_table(self.coef_bounds, type(self).__name__, "coef_bounds", len(self._terms()))
        pairs = ", ".join(f"({low:.6g}, {high:.6g})" for low, high in box)
        return [
            f"Observations: {self.n_:,}    Models: {self.n_models:,} of {self.batch_size_:,} rows "
            "or more",
            f"Box of the coefficients: {pairs}",
        ]

    def _notes(self) -> list[str]:
        return ["the score is depth in coordinates, not the path length: privacy is exact"]

    def _assumptions(self) -> list[str]:
        return [
            *super()._assumptions(),
            "estimates of batches are centred at the coefficients (no bias from small batches)",
        ]
