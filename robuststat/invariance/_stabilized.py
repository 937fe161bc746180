"""Stabilised regression: average of the regressions on stable and predictive subsets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from robuststat._core.params import Check, in_range, one_of, optional
from robuststat._core.rng import check_rng
from robuststat._core.types import Array, BoolArray, IntArray
from robuststat.invariance._engine import (
    Scaled,
    SearchOptions,
    largest_size,
    moment_table,
    scale_moments,
)
from robuststat.invariance._intake import (
    ROW_CHECKS,
    EnvPredictor,
    read_rows,
    refuse_constant,
    refuse_small,
)
from robuststat.invariance._rows import EnvRows
from robuststat.invariance._search import SetTable, as_tuples, bits, fits, members

_TOP_SHARE = 0.1


def stable_sets(table: SetTable, alpha: float) -> tuple[BoolArray, bool]:
    """Find the sets with p >= alpha, or the top tenth by p; and whether there was none."""
    p = np.where(np.isnan(table.p_value), -np.inf, table.p_value)
    stable = p >= alpha
    if stable.any():
        return stable, False
    usable = int(np.isfinite(p).sum())
    n_top = max(1, int(np.ceil(_TOP_SHARE * usable)))
    chosen = np.zeros(len(p), dtype=bool)
    chosen[np.argsort(-p, kind="stable")[:n_top]] = True
    return chosen, True


def prediction_cutoff(
    rows: EnvRows, subset: tuple[int, ...], alpha: float, n_boot: int, rng: np.random.Generator
) -> float:
    """Upper quantile of the bootstrapped mean squared error of one regression."""
    Z = np.column_stack([np.ones(len(rows.y)), rows.X[:, list(subset)]])
    n, errors = len(rows.y), np.empty(n_boot)
    for b in range(n_boot):
        w = np.bincount(rng.integers(0, n, size=n), minlength=n).astype(np.float64)
        root = np.sqrt(w)
        beta = np.linalg.lstsq(Z * root[:, None], rows.y * root, rcond=None)[0]
        errors[b] = w @ (rows.y - Z @ beta) ** 2 / n
    return float(np.quantile(errors, 1.0 - alpha))


def average_fit(masks: IntArray, scaled: Scaled) -> tuple[float, Array]:
    """Intercept and coefficients averaged over regressions with equal weights."""
    p = len(scaled.total) - 1
    sums = np.zeros(p)
    for S, beta, _ in fits(masks, scaled.total, scaled.n_obs):
        np.add.at(sums, S, beta)
    coef = sums / len(masks) / scaled.unit[:-1] * scaled.unit[-1]
    return float(scaled.centre[-1] - scaled.centre[:-1] @ coef), coef


class StabilizedRegression(EnvPredictor):
    """Average the regressions on subsets that are stable over environments and predict well.

    A compromise between the most predictive and the invariant model: only variables whose use does
    not change between environments carry weight.

    Parameters
    ----------
    test : {"chow", "normal", "correlation"}, default="chow"
        Test of stability of a subset; see :class:`InvariantSubsets`.
    alpha_stab : float, default=0.05
        Subsets with a p-value of at least this are stable.
    alpha_pred : float or None, default=0.05
        Subsets must predict nearly as well as the best stable one: their mean squared error must
        not exceed the 1 - alpha_pred quantile of its bootstrap distribution. None: no such limit.
    n_boot : int, default=500
        Bootstrap draws.
    max_size : int, optional
        Largest subset; None for all sizes.
    compat : {None, "R"}, default=None
        "R" scales the predictive Chow test as R does.
    formula : str, optional
        Model formula; then X is the frame.
    missing : {None, "raise", "drop"}, default=None
        What a missing value does; None raises without and drops with a formula.
    random_state : int, Generator or None, default=None
        Seed of the bootstrap.
    n_jobs : int, optional
        Threads of the search.

    Attributes
    ----------
    coef_, intercept_ : ndarray of shape (p,), float
        Averaged coefficients (zero where a subset lacks the variable).
    importance_ : ndarray of shape (p,)
        Absolute averaged coefficient times the standard deviation of the variable, unit of y.
    table_ : DataFrame
        Every subset with ``p_value, mse, weight``.
    stable_ : bool
        Whether any subset was stable; otherwise the tenth with the largest p-values is used.

    See Also
    --------
    InvariantRegressor : One subset, or the same average with other options.

    Notes
    -----
    All subsets come from moments of the environments; without subsampling of large environments,
    which R's package does above 1,000 rows.

    References
    ----------
    Pfister, N., Williams, E. G., Peters, J., Aebersold, R. and Buhlmann, P. (2021). Stabilizing
    variable selection and regression. Annals of Applied Statistics, 15, 1220-1246.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import StabilizedRegression
    >>> rng = np.random.default_rng(0)
    >>> env = np.repeat([0, 1], 300)
    >>> x1 = rng.normal(size=600) * (1 + env)
    >>> y = x1 + rng.normal(size=600)
    >>> x2 = y + rng.normal(size=600) * (1 + 2 * env)
    >>> fit = StabilizedRegression(random_state=0).fit(np.column_stack([x1, x2]), y, env=env)
    >>> fit.coef_.round(1)
    array([1., 0.])
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "test": one_of("chow", "normal", "correlation"),
        "alpha_stab": in_range(0, 1, closed="neither"),
        "alpha_pred": optional(in_range(0, 1, closed="neither")),
        "n_boot": in_range(1, np.inf, closed="left", integer=True),
        "max_size": optional(in_range(0, np.inf, closed="left", integer=True)),
        "compat": optional(one_of("R")),
        "n_jobs": optional(in_range(-64, 4096, integer=True)),
        **ROW_CHECKS,
    }
    _method = "Stabilised regression"
    _estimand = "average of the regressions on stable and predictive subsets"
    _assumptions = (
        "what is stable in the environments seen is stable in those to come",
        "linear regressions; independent rows",
    )

    def __init__(
        self,
        test: str = "chow",
        *,
        alpha_stab: float = 0.05,
        alpha_pred: float | None = 0.05,
        n_boot: int = 500,
        max_size: int | None = None,
        compat: str | None = None,
        formula: str | None = None,
        missing: str | None = None,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.test = test
        self.alpha_stab = alpha_stab
        self.alpha_pred = alpha_pred
        self.n_boot = n_boot
        self.max_size = max_size
        self.compat = compat
        self.formula = formula
        self.missing = missing
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None, *, env: Any = None) -> Self:
        """Search, and average the regressions.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates.
        y : array of shape (n,) or str
            Outcome, or its column name.
        env : array of shape (n,), str, or mapping of level to row positions
            Environments, at least two.

        Returns
        -------
        StabilizedRegression
            The fitted estimator.

        Raises
        ------
        DataError, RoleError, ParameterError
            For rows, roles and options that cannot be used.
        """
        self._check_parameters()
        rows = read_rows(self, X, y, env)
        refuse_constant(rows)
        moments = rows.moments()
        refuse_small(moments, 3, "A variance needs more.")
        scaled = scale_moments(moments)
        factor = rows.n_env if self.test == "chow" else rows.n_env - 1
        options = SearchOptions(
            test=self.test,
            max_size=largest_size(len(rows.names), self.max_size),
            factor=float(factor),
            compat=self.compat == "R",
            eps=0.0,
            alpha=self.alpha_stab,
            level_gap=self.alpha_stab,
            stop_early=False,
        )
        table = moment_table(scaled, options, self.n_jobs)
        chosen, none_stable = stable_sets(table, self.alpha_stab)
        self.stable_ = not none_stable
        if self.alpha_pred is not None:
            rng = check_rng(self.random_state)
            chosen = self._predictive(rows, table, chosen, self.alpha_pred, rng)
        self._tabulate(table, chosen, len(rows.names))
        intercept, coef = average_fit(table.masks[chosen], scaled)
        n = scaled.n_obs
        self.importance_ = np.abs(coef) * scaled.unit[:-1] * np.sqrt(n / (n - 1.0))
        return self._store_fit(rows, intercept, coef)

    def _predictive(
        self,
        rows: EnvRows,
        table: SetTable,
        stable: BoolArray,
        alpha: float,
        rng: np.random.Generator,
    ) -> BoolArray:
        index = np.flatnonzero(stable)
        best = int(index[np.argmin(table.mse[index])])
        subset = members(int(table.masks[best]), len(rows.names))
        cutoff = prediction_cutoff(rows, subset, alpha, self.n_boot, rng)
        chosen = stable & (table.mse <= cutoff)
        # The best set itself may exceed a quantile of its bootstrap errors; it stays.
        chosen[best] = True
        return chosen

    def _tabulate(self, table: SetTable, chosen: BoolArray, p: int) -> None:
        self.n_sets_, self.n_chosen_ = len(chosen), int(chosen.sum())
        self._table = table, chosen, p
        self.weight_of_variable_ = bits(table.masks[chosen], p).mean(axis=0)

    @property
    def table_(self) -> pd.DataFrame:
        """Every subset with its p-value, mean squared error and weight."""
        table, chosen, p = self._table
        return pd.DataFrame(
            {
                "subset": pd.Series(as_tuples(table.masks, p), dtype=object),
                "p_value": table.p_value,
                "mse": table.mse,
                "weight": chosen / chosen.sum(),
            }
        )

    def _lines(self) -> list[str]:
        lines = [f"Subsets: {self.n_sets_:,} searched, {self.n_chosen_:,} averaged"]
        if not self.stable_:
            lines.append("No subset was stable: those with the largest p-values were averaged.")
        return lines

    def _notes(self) -> list[str]:
        return ["no standard errors: the subsets were chosen by the same data."]
