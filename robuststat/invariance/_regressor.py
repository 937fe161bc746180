"""Prediction from a searched subset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from robuststat._core.errors import IdentificationError
from robuststat._core.params import Check, in_range, one_of, optional
from robuststat._core.types import Array, BoolArray, IntArray
from robuststat.invariance._engine import (
    MOMENT_TESTS,
    SearchOptions,
    largest_size,
    moment_table,
    scale_moments,
)
from robuststat.invariance._gap import env_model, roots, smallest_ball
from robuststat.invariance._intake import (
    ROW_CHECKS,
    EnvPredictor,
    read_rows,
    refuse_constant,
    refuse_small,
)
from robuststat.invariance._moments import EnvMoments
from robuststat.invariance._search import SetTable, members
from robuststat.invariance._stabilized import average_fit

STRATEGIES = ("best", "intersection", "average", "minimax")


def minimax_fit(moments: EnvMoments, subset: tuple[int, ...]) -> tuple[float, Array]:
    """Coefficients whose largest excess risk over the environments is smallest (2.3b)."""
    model = env_model(moments.select(subset), intercept=True)
    second = model.gram / model.moments.weight[:, None, None]
    ball = smallest_ball(model.deviation, roots("risk", second))
    # Deviations are w_e - wbar in standard units.
    coef = model.pooled.coef[0] + np.linalg.solve(model.basis.matrix, ball.centre)
    return float(coef[0]), np.asarray(coef[1:], dtype=np.float64)


def allowed_sets(table: SetTable, eps: float) -> BoolArray:
    """Find the sets within eps, with a known error on environments left out."""
    near = np.nan_to_num(table.psi, nan=np.inf) <= eps
    return np.asarray(near & ~np.isnan(table.mse_left_out))


class InvariantRegressor(EnvPredictor):
    """Linear predictor on a subset of covariates that is (nearly) invariant over environments.

    Parameters
    ----------
    strategy : {"best", "intersection", "average", "minimax"}, default="best"
        "best" takes, of all sets within ``eps``, the one that predicts left-out environments
        best, and its pooled least squares; "minimax" takes the same set with the coefficients
        whose largest excess risk in an environment is smallest; "average" averages the pooled
        least squares of all accepted sets; "intersection" uses the variables in every accepted
        set.
    test : {"normal", "chow" (or "exact"), "correlation"}, default="normal"
        Test of exact invariance, for "average" and "intersection".
    alpha : float, default=0.05
        Its level.
    eps : float, default=0.05
        Tolerated violation psi, as a fraction of the noise variance, for "best" and "minimax".
    max_size : int, optional
        Largest subset; None for all sizes.
    formula : str, optional
        Model formula; then X is the frame.
    missing : {None, "raise", "drop"}, default=None
        What a missing value does; None raises without and drops with a formula.
    n_jobs : int, optional
        Threads of the search.

    Attributes
    ----------
    coef_ : ndarray of shape (p,)
        Coefficients, zero for variables that are not used; unit of y per unit of x.
    intercept_ : float
        Unit of y.
    support_ : ndarray of bool of shape (p,)
        Variables used.
    psi_ : float
        Violation of the chosen set; NaN for "average".
    mse_left_out_ : float
        Mean squared error of environments predicted from the others; NaN for "average".

    See Also
    --------
    InvariantSubsets : The search itself, with tests and intervals.
    StabilizedRegression : "average" with a limit on the prediction error.

    Notes
    -----
    Choosing a set by the same data makes its psi and errors look better than they are; judge the
    predictor on environments that were not used.

    References
    ----------
    Parulekar, A., Shanmugam, K. and Shakkottai, S. (2023). PAC generalization via invariant
    representations. International Conference on Machine Learning.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import InvariantRegressor
    >>> rng = np.random.default_rng(0)
    >>> env = np.repeat([0, 1], 300)
    >>> x1 = rng.normal(size=600) * (1 + env)
    >>> y = x1 + rng.normal(size=600)
    >>> x2 = y + rng.normal(size=600) * (1 + 2 * env)
    >>> fit = InvariantRegressor().fit(np.column_stack([x1, x2]), y, env=env)
    >>> fit.get_support(indices=True)
    array([0])
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "strategy": one_of(*STRATEGIES),
        "test": one_of(*MOMENT_TESTS),
        "alpha": in_range(0, 1, closed="neither"),
        "eps": in_range(0, np.inf, closed="left"),
        "max_size": optional(in_range(0, np.inf, closed="left", integer=True)),
        "n_jobs": optional(in_range(-64, 4096, integer=True)),
        **ROW_CHECKS,
    }
    _method = "Regression on a subset chosen for invariance"
    _estimand = "linear prediction that carries over to new environments"
    _assumptions = (
        "what is invariant in the environments seen is invariant in those to come",
        "linear regressions; independent rows",
    )

    def __init__(
        self,
        strategy: str = "best",
        *,
        test: str = "normal",
        alpha: float = 0.05,
        eps: float = 0.05,
        max_size: int | None = None,
        formula: str | None = None,
        missing: str | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.strategy = strategy
        self.test = test
        self.alpha = alpha
        self.eps = eps
        self.max_size = max_size
        self.formula = formula
        self.missing = missing
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None, *, env: Any = None, sample_weight: Any = None) -> Self:
        """Search for subsets and fit on the chosen one.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates.
        y : array of shape (n,) or str
            Outcome, or its column name.
        env : array of shape (n,), str, or mapping of level to row positions
            Environments, at least two.
        sample_weight : array of shape (n,) or str, optional
            Inverse error variances, up to a factor.

        Returns
        -------
        InvariantRegressor
            The fitted estimator.

        Raises
        ------
        IdentificationError
            When no set is accepted, or none is within ``eps``.
        DataError, RoleError, ParameterError
            For rows, roles and options that cannot be used.
        """
        self._check_parameters()
        rows = read_rows(self, X, y, env, sample_weight)
        refuse_constant(rows)
        moments = rows.moments()
        refuse_small(moments, 3, "A variance needs more.")
        scaled = scale_moments(moments)
        predictive = self.test in ("chow", "exact")
        options = SearchOptions(
            test=self.test,
            max_size=largest_size(len(rows.names), self.max_size),
            factor=float(rows.n_env if predictive else rows.n_env - 1),
            compat=False,
            eps=0.0,
            alpha=self.alpha,
            level_gap=self.alpha,
            stop_early=False,
        )
        table = moment_table(scaled, options, self.n_jobs)
        chosen = self._choose(table)
        p = len(rows.names)
        if self.strategy == "minimax":
            subset = members(int(chosen[0]), p)
            coef = np.zeros(p)
            intercept, coef[list(subset)] = minimax_fit(moments, subset)
        else:
            intercept, coef = average_fit(chosen, scaled)
        union = int(np.bitwise_or.reduce(chosen))
        self.support_ = np.isin(np.arange(p), members(union, p))
        at = np.flatnonzero(table.masks == chosen[0])[0] if len(chosen) == 1 else None
        single = at is not None and self.strategy != "average"
        self.psi_ = float(table.psi[at]) if single else float("nan")
        self.mse_left_out_ = float(table.mse_left_out[at]) if single else float("nan")
        self.n_sets_, self.n_chosen_ = len(table.masks), len(chosen)
        return self._store_fit(rows, intercept, coef)

    def _choose(self, table: SetTable) -> IntArray:
        if self.strategy in ("best", "minimax"):
            allowed = np.flatnonzero(allowed_sets(table, self.eps))
            if not len(allowed):
                raise IdentificationError(
                    f"No set has psi <= eps = {self.eps:g}; the smallest is "
                    f"{np.nanmin(table.psi):.3g}. Raise eps, or look at InvariantSubsets."
                )
            best = allowed[np.argmin(table.mse_left_out[allowed])]
            return table.masks[best : best + 1]
        accepted = table.masks[np.nan_to_num(table.p_value) > self.alpha]
        if not len(accepted):
            raise IdentificationError(
                f"No set is accepted at alpha = {self.alpha:g} (largest p-value "
                f"{np.nanmax(table.p_value):.3g}), as in most large samples. Use strategy='best', "
                "which tolerates violations up to eps."
            )
        if self.strategy == "average":
            return accepted
        return np.array([np.bitwise_and.reduce(accepted)], dtype=np.int64)

    def get_support(self, indices: bool = False) -> Any:
        """Variables used.

        Parameters
        ----------
        indices : bool, default=False
            Return positions rather than a mask.

        Returns
        -------
        ndarray
            Booleans of shape (p,), or positions.
        """
        return np.flatnonzero(self.support_) if indices else self.support_

    def _lines(self) -> list[str]:
        named = [name for name, on in zip(self.names_, self.support_, strict=True) if on]
        lines = [f"Sets: {self.n_sets_:,} searched, {self.n_chosen_:,} used ({self.strategy})"]
        lines.append(f"Variables used: {', '.join(named) if named else 'none (the mean)'}")
        if np.isfinite(self.psi_):
            lines.append(
                f"Violation psi {self.psi_:.4f} of the noise variance; mean squared error on "
                f"left-out environments {self.mse_left_out_:.4g}"
            )
        return lines

    def _notes(self) -> list[str]:
        return ["no standard errors: the set was chosen by the same data."]
