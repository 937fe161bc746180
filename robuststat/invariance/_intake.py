"""Intake of rows with environments, and what the estimators on them share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from robuststat._core.columns import Terms
from robuststat._core.data import read_data
from robuststat._core.design import new_design_matrix
from robuststat._core.errors import DataError, ParameterError
from robuststat._core.formula import INTERCEPT
from robuststat._core.params import Check, is_string, one_of, optional
from robuststat._core.table import to_codes
from robuststat._core.types import Array, IntArray
from robuststat.base import InferenceEstimator
from robuststat.invariance._moments import EnvMoments
from robuststat.invariance._rows import EnvRows, environment_labels, keep_rows
from robuststat.report import Column, Summary, footer_lines, header_lines

# A column varies when its spread is more than this share of its size.
_CONSTANT = 1e-14

ROW_CHECKS: dict[str, Check] = {
    "formula": optional(is_string),
    "missing": optional(one_of("raise", "drop")),
}


def read_rows(
    estimator: Any,
    X: Any,
    y: Any,
    env: Any,
    sample_weight: Any = None,
    clusters: Any = None,
    *,
    chunk: bool = False,
) -> EnvRows:
    """Read covariates, outcome and environments.

    Parameters
    ----------
    estimator : estimator
        With parameters ``formula`` and ``missing``.
    X, y, sample_weight, clusters : array, frame or column name
        As passed to ``fit``.
    env : array of shape (n,), column name, or mapping of level to row positions
        Environments.
    chunk : bool
        Whether the rows are a part only, with one environment perhaps.

    Raises
    ------
    DataError, RoleError, ParameterError
        With the offending levels, columns or counts.
    """
    if isinstance(env, Mapping):
        env = environment_labels(env, X)
    roles = {} if env is None else {"env": env}
    data = read_data(
        estimator,
        X,
        y,
        roles=roles,
        sample_weight=sample_weight,
        clusters=clusters,
        terms=Terms(formula=estimator.formula),
        missing=estimator.missing,
    )
    if INTERCEPT not in data.names:
        raise ParameterError(
            "The formula leaves the intercept out. These methods compare environments with an "
            "intercept: remove '- 1' from the formula."
        )
    if len(data.X) < 2 and not chunk:
        raise DataError(
            "X has one sample (n_samples = 1). Two environments need two rows at least."
        )
    keep = [j for j, name in enumerate(data.names) if name != INTERCEPT]
    matrix, names = data.X[:, keep], tuple(data.names[j] for j in keep)
    if env is None:
        invented = estimator._missing_role("env", matrix, data.y)
        codes = to_codes(np.asarray(invented), "env")[0]
    else:
        codes = data.roles["env"]
    groups = None if data.clusters is None else data.clusters.codes
    rows = EnvRows(
        matrix, data.y, codes.codes, codes.levels, names, data.weights, groups, True, data
    )
    if rows.weights is not None and not rows.weights.all():
        # Rows of weight zero are not there, nor are environments of such rows only.
        rows = keep_rows(rows, rows.weights > 0)
    if not chunk:
        _check_levels(rows.levels, 2)
    return rows


def _check_levels(levels: tuple[Any, ...], min_env: int) -> None:
    if len(levels) < min_env:
        raise DataError(
            f"env has {len(levels)} level ({levels[0]!r}); there must be at least two "
            "environments to compare. Pass a column that varies."
        )


def refuse_constant(rows: EnvRows) -> None:
    """Raise for covariates that have one value in all rows."""
    size = np.abs(rows.X).max(axis=0, initial=0.0)
    spread = np.ptp(rows.X, axis=0) if len(rows.X) else np.zeros(len(rows.names))
    flat = [name for name, a, b in zip(rows.names, spread, size, strict=True) if a <= _CONSTANT * b]
    if flat:
        raise DataError(
            f"X has {len(flat)} constant column(s): {', '.join(flat[:5])}. Drop them: the model "
            "has an intercept already."
        )


def refuse_constant_moments(moments: EnvMoments) -> None:
    """Raise for covariates without spread, from moments."""
    pooled = moments.pooled()
    spread = np.diag(pooled.scatter[0])[:-1] / pooled.weight[0]
    flat = np.flatnonzero(spread <= (_CONSTANT * pooled.mean[0, :-1]) ** 2)
    if flat.size:
        names = ", ".join(moments.names[j] for j in flat[:5])
        raise DataError(
            f"X has {flat.size} constant column(s): {names}. Drop them: the model has an "
            "intercept already."
        )


def refuse_small(moments: EnvMoments, least: int, why: str) -> None:
    """Raise when environments have fewer than ``least`` rows, with their names."""
    small = [
        f"{level!r} ({n})"
        for level, n in zip(moments.levels, moments.n_rows, strict=True)
        if n < least
    ]
    if small:
        more = f" and {len(small) - 5} more" if len(small) > 5 else ""
        raise DataError(
            f"{len(small)} environment(s) have fewer than {least} rows: "
            f"{', '.join(small[:5])}{more}. {why} Merge or leave out these environments."
        )


class EnvEstimator(BaseEstimator):
    """Configuration, call and missing role of estimators without one variance matrix."""

    _parameter_checks: ClassVar[Mapping[str, Check]] = {}
    _check_parameters = InferenceEstimator._check_parameters
    _missing_role = InferenceEstimator._missing_role
    _call = InferenceEstimator._call

    def _header(self, method: str, estimand: str) -> tuple[str, ...]:
        """First lines of a summary."""
        about = self._about
        return tuple(
            header_lines(
                call=about["call"],
                method=method,
                estimand=estimand,
                outcome=about["outcome"],
                n_obs=about["n_obs"],
                n_dropped=about["n_dropped"],
                n_dropped_by=about["n_dropped_by"],
                counts={"Environments": len(about["levels"])},
            )
        )

    def _remember(self, rows: EnvRows) -> None:
        """Keep what a summary says about the rows; no rows are kept."""
        n_env = np.bincount(rows.codes, minlength=rows.n_env)
        self._remember_counts(rows.names, rows.levels, n_env, rows.data)

    def _remember_counts(
        self, names: tuple[str, ...], levels: tuple[Any, ...], n_env: IntArray, data: Any
    ) -> None:
        """Keep counts; ``data`` has the outcome's name and the rows left out."""
        self._about: dict[str, Any] = {
            "call": self._call(),
            "outcome": data.outcome,
            "n_obs": int(n_env.sum()),
            "n_dropped": data.n_dropped,
            "n_dropped_by": data.n_dropped_by,
            "levels": levels,
        }
        self.names_ = names
        self.env_levels_ = np.fromiter(levels, dtype=object, count=len(levels))
        self.n_env_ = n_env


class EnvPredictor(RegressorMixin, EnvEstimator):
    """Linear predictor learnt from several environments, without a variance matrix."""

    _method: ClassVar[str] = ""
    _estimand: ClassVar[str] = ""
    _assumptions: ClassVar[tuple[str, ...]] = ()

    coef_: Array
    intercept_: float

    def _store_fit(self, rows: EnvRows, intercept: float, coef: Array) -> Self:
        self.design_ = rows.data.design
        self.intercept_ = float(intercept)
        self.coef_ = np.array(coef, dtype=np.float64)
        self._remember(rows)
        return self

    def predict(self, X: Any) -> Array:
        """Predict the outcome; no environment is needed.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates, as in ``fit``.

        Returns
        -------
        ndarray of shape (n,)
            In the unit of the outcome.
        """
        check_is_fitted(self, "coef_")
        design = new_design_matrix(self, self.design_, X)
        position = list(self.design_.names).index(INTERCEPT)
        return np.asarray(np.delete(design, position, axis=1) @ self.coef_ + self.intercept_)

    def tidy(self) -> pd.DataFrame:
        """Return one row a coefficient: ``term`` and ``estimate``.

        Returns
        -------
        DataFrame
        """
        check_is_fitted(self, "coef_")
        return pd.DataFrame(
            {
                "term": [INTERCEPT, *self.names_],
                "estimate": np.concatenate([[self.intercept_], self.coef_]),
            }
        )

    def _lines(self) -> list[str]:
        """Lines under the table."""
        return []

    def _notes(self) -> list[str]:
        return ["No standard errors: the criterion is not an estimating equation of its own."]

    def summary(self) -> Summary:
        """Readable account of the fit.

        Returns
        -------
        Summary
        """
        frame = self.tidy()
        return Summary(
            header=self._header(self._method, self._estimand),
            leading=(),
            footer=tuple(
                footer_lines(
                    lines=self._lines(), notes=self._notes(), assumptions=self._assumptions
                )
            ),
            names=tuple(frame["term"]),
            columns=(Column("Estimate", [f"{v:.4f}" for v in frame["estimate"]], "  "),),
            blocks=("",) * len(frame),
            stars=False,
            tables={"coefficients": frame},
        )
