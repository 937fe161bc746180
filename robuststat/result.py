"""The result of a fit: estimates, their variance, and the tables and tests that follow from them.

Pure data and tables; nothing here fits a model. Every standard error, p-value and interval that a
user sees is computed from an :class:`InferenceResult`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from robuststat._core.errors import ParameterError
from robuststat._results import intervals
from robuststat._results.columns import COLUMNS
from robuststat._results.constraints import LinearMap, RowSpec, describe, is_text, linear_map
from robuststat._results.tables import INTERCEPT, TabulatedEstimates, check_level
from robuststat.wald import WaldTest, combined_vcov, wald

__all__ = ["COLUMNS", "InferenceResult", "WaldTest", "compare"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class InferenceResult(TabulatedEstimates):
    """Estimates with their variance matrix, and everything that is computed from the two.

    Arrays are copied and read-only. No data are kept, so a pickled result is small.

    Parameters
    ----------
    estimate : array-like of shape (k,)
        Point estimates.
    vcov : array-like of shape (k, k)
        Variance matrix; zero variances are allowed, NaN is not. Of shape (k,): variances only, for
        so many estimates that their covariances are not computed; joint intervals are then
        Bonferroni's, and tests and contrasts of several estimates are refused.
    names : sequence of str
        Term of each estimate; together with ``component`` and ``outcomes`` they must be unique.
    df : float, default=inf
        Degrees of freedom of the t distribution; inf = normal.
    n_obs : int
        Rows used.
    n_clusters : int, optional
        Clusters behind a cluster-robust ``vcov``.
    vcov_type : str, default="HC0"
        Kind of variance matrix, as shown to the user.
    estimand : str
        What is estimated, in words.
    method : str
        How, in words: the title of the summary.
    outcome : str
        Name of the outcome.
    diagnostics : mapping
        What happened during the fit. ``summary()`` prints ``n_dropped``, ``n_dropped_by``,
        ``counts``, ``cluster_name``, ``se_note``, ``leading``, ``lines``, ``notes``,
        ``assumptions``, ``converged`` and ``n_iter``; ``glance`` holds extra columns of
        ``glance()``; other keys are kept.
    influence : array-like of shape (n_obs, k), optional
        Influence values of the rows.
    call : str
        How the estimator was written.
    component, outcomes : sequence of str, optional
        Block and outcome of each estimate, shown in ``tidy()`` and as headings of the summary.

    Raises
    ------
    ParameterError
        If shapes, names or diagnostics do not fit together.
    DataError
        If numbers are not finite, or ``vcov`` is asymmetric or has a negative variance.

    Examples
    --------
    >>> res = InferenceResult(
    ...     estimate=[1.0, -2.0], vcov=[[0.25, 0], [0, 1]], names=["a", "b"], n_obs=50
    ... )
    >>> res.tidy().round(3)[["term", "estimate", "std_error", "p_value"]]
      term  estimate  std_error  p_value
    0    a       1.0        0.5    0.046
    1    b      -2.0        1.0    0.046
    """

    def wald_test(self, R: RowSpec | None = None, r: ArrayLike = 0.0) -> WaldTest:
        """Test the restrictions ``R b = r`` jointly.

        Parameters
        ----------
        R : array-like, mapping, DataFrame, str or list of str, optional
            Weights, or text such as ``"x1 = x2"`` or ``"x1 + 2*x2 = 3, x3 = 0"``. None: all
            coefficients except the intercept are zero.
        r : float or array-like of shape (q,)
            Right-hand side; text carries its own.

        Returns
        -------
        WaldTest
            Chi-squared if ``df`` is infinite, F(q, df) otherwise.

        Raises
        ------
        ParameterError
            For unknown names, unreadable text, wrong shapes and redundant restrictions.
        IdentificationError
            If the tested combinations have a singular variance matrix.

        Examples
        --------
        >>> res = InferenceResult(estimate=[1.0, 3.0], vcov=np.eye(2), names=["a", "b"], n_obs=9)
        >>> print(res.wald_test("a = b"))
        Wald test
        H0: a = b
        chi2(1) = 2, p-value = 0.157
        """
        if R is None:
            slopes = [i for i, name in enumerate(self.names) if name != INTERCEPT]
            if not slopes:
                raise ParameterError("There is no coefficient besides the intercept. Pass R.")
            R = np.eye(len(self.names))[slopes]
        self._need_covariances()
        rows = linear_map(R, self.labels)
        values = np.asarray(r, dtype=np.float64)
        if values.shape not in ((), (len(rows.words),)) or not np.isfinite(values).all():
            raise ParameterError(
                f"r must be a finite number or {len(rows.words)} of them, got {r!r}."
            )
        if values.any() and rows.constant.any():
            raise ParameterError("r is given twice: in the text of R and as an argument. Drop one.")
        constant = rows.constant + values
        words = rows.words
        if not is_text(R) or values.any():
            pairs = zip(rows.matrix, constant, strict=True)
            words = tuple(describe(row, float(value), self.labels) for row, value in pairs)
        rows = LinearMap(rows.matrix, constant, words)
        return wald(self.estimate, self.vcov, rows, df=self.df)

    def contrast(self, matrix: RowSpec, names: Sequence[str] | None = None) -> InferenceResult:
        """Return linear combinations of the coefficients as a result of their own.

        Parameters
        ----------
        matrix : array-like of shape (m, k) or (k,), mapping, Series, DataFrame, str or list of str
            Weights; a mapping goes from term to weight; text like ``"x1 - x2"``.
        names : sequence of str, optional
            Names of the combinations; by default the combinations in words.

        Returns
        -------
        InferenceResult

        Raises
        ------
        ParameterError
            For unknown names, unreadable text, wrong shapes, or text with a constant.

        Examples
        --------
        >>> res = InferenceResult(estimate=[1.0, 3.0], vcov=np.eye(2), names=["a", "b"], n_obs=9)
        >>> res.contrast({"b": 1, "a": -1}).tidy().round(3)[["term", "estimate", "std_error"]]
             term  estimate  std_error
        0  -a + b       2.0      1.414
        """
        self._need_covariances()
        rows = linear_map(matrix, self.labels)
        if rows.constant.any():
            raise ParameterError("A contrast is a combination of coefficients without a constant.")
        C = rows.matrix
        return InferenceResult(
            estimate=C @ self.estimate,
            vcov=combined_vcov(C, self.vcov),
            names=_contrast_names(rows) if names is None else tuple(names),
            n_obs=self.n_obs,
            df=self.df,
            n_clusters=self.n_clusters,
            vcov_type=self.vcov_type,
            estimand=self.estimand,
            method=self.method,
            outcome=self.outcome,
            diagnostics=self.diagnostics,
            influence=None if self.influence is None else self.influence @ C.T,
            call=self.call,
        )

    def _need_covariances(self) -> None:
        if self.vcov.ndim == 1:
            raise ParameterError(
                f"Only the variances of these {len(self.names):,} estimates were computed, and "
                "this needs covariances. Estimate fewer at once."
            )

    def equivalence_test(
        self, low: ArrayLike, high: ArrayLike, level: float = 0.95
    ) -> pd.DataFrame:
        """Test for each coefficient that it lies inside (low, high): two one-sided tests.

        Parameters
        ----------
        low, high : float or array-like of shape (k,)
            Bounds inside which a coefficient counts as negligible.
        level : float, default=0.95
            One minus the significance level of the test.

        Returns
        -------
        DataFrame
            ``term estimate low high p_value equivalent``; ``p_value`` is the larger of the two
            one-sided p-values.

        Raises
        ------
        ParameterError
            If a lower bound is not below its upper bound or ``level`` is not inside (0, 1).

        Examples
        --------
        >>> res = InferenceResult(estimate=[0.1], vcov=[[0.01]], names=["x"], n_obs=9)
        >>> res.equivalence_test(-0.3, 0.3).round(4)["p_value"].item()
        0.0228
        """
        check_level(level)
        shape = self.estimate.shape
        try:
            lower = np.broadcast_to(np.asarray(low, dtype=np.float64), shape)
            upper = np.broadcast_to(np.asarray(high, dtype=np.float64), shape)
        except ValueError:
            raise ParameterError(
                f"low and high must be numbers or have one bound for each of {shape[0]} terms."
            ) from None
        if not (lower < upper).all():
            raise ParameterError(f"low must be below high, got low={low!r} and high={high!r}.")
        above = intervals.lower_tail(
            -intervals.studentize(self.estimate - lower, self.std_error), self.df
        )
        below = intervals.lower_tail(
            intervals.studentize(self.estimate - upper, self.std_error), self.df
        )
        p = np.maximum(above, below)
        return pd.DataFrame(
            {
                "term": list(self.labels),
                "estimate": self.estimate,
                "low": lower,
                "high": upper,
                "p_value": p,
                "equivalent": p < 1 - level,
            }
        )


def _contrast_names(rows: LinearMap) -> tuple[str, ...]:
    # Text without a right-hand side was completed to a restriction when it was read.
    return tuple(word.removesuffix(" = 0") for word in rows.words)


def compare(results: Mapping[str, InferenceResult], level: float = 0.95) -> pd.DataFrame:
    """Stack the tidy frames of several results.

    Parameters
    ----------
    results : mapping of str to InferenceResult
        Name of the estimator -> its result.
    level : float, default=0.95
        Confidence level.

    Returns
    -------
    DataFrame
        Column ``estimator``, then those of :meth:`InferenceResult.tidy`. ``df`` appears if one of
        them is finite.

    Raises
    ------
    ParameterError
        If ``results`` is empty or ``level`` is not inside (0, 1).

    Examples
    --------
    >>> res = InferenceResult(estimate=[0.1], vcov=[[0.01]], names=["x"], n_obs=9)
    >>> compare({"naive": res, "robust": res})[["estimator", "term", "estimate"]]
      estimator term  estimate
    0     naive    x       0.1
    1    robust    x       0.1
    """
    if not results:
        raise ParameterError("results is empty. Pass a dict of estimator name -> result.")
    frames = []
    for name, result in results.items():
        frame = result.tidy(level=level)
        frame.insert(0, "estimator", name)
        frames.append(frame)
    stacked = pd.concat(frames, ignore_index=True)
    if "df" in stacked:
        stacked["df"] = stacked["df"].fillna(np.inf)
    return stacked
