"""Expectations under other laws from runs that are given: no model is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.params import Check, is_bool
from robuststat._core.table import to_float
from robuststat._core.types import Array
from robuststat.sampling import _report as report
from robuststat.sampling._base import SamplingEstimator
from robuststat.sampling._controls import regress
from robuststat.sampling._final import Estimate
from robuststat.sampling._problem import Problem, pair_up
from robuststat.sampling._tally import MAX_COVARIANCE, Diagnostics, Moments, weight_table

__all__ = ["ReweightedExpectation"]


class ReweightedExpectation(SamplingEstimator):
    """Expectations under target laws from outputs at points drawn from another law.

    Use it when runs are given (a survey, an old design of experiments) and their average under
    other laws is wanted: I_j = E phi_j(X), X with density f_j, from outputs at points with density
    q. Row weights are f_j/q.

    Parameters
    ----------
    normalise : bool, default=False
        Divide by the sum of the weights (self-normalised estimator). Needed when the densities are
        known up to constants only; its bias is of order 1/n.
    controls : bool, default=False
        Regress on the ratios f_k/q, whose means are 1 (needs their constants). With it the
        estimates' bias is of order 1/n.

    Attributes
    ----------
    result_ : InferenceResult
        Estimates with their joint covariance.
    estimate_, std_error_ : ndarray of shape (J,)
        Estimates and standard errors.
    cov_ : ndarray of shape (J, J) or (J,)
        Covariance; variances only for more than 2,000 expectations.
    diagnostics_ : DataFrame
        One row an expectation: effective sizes, tail indices, largest share, mean of the weights.
    khat_, ess_ : ndarray of shape (J,)
        Tail index of abs(phi_j f_j/q) and Kish's effective size of f_j/q.
    n_final_ : int
        Rows.

    See Also
    --------
    AdaptiveISCV : When the model can be run.

    Notes
    -----
    The estimate is the mean of phi_j f_j/q, its standard error that of a mean. Self-normalised:
    sum(W Y)/sum(W), with influence W (Y - I)/mean(W). Assumed: independent rows from q, and q
    positive wherever phi_j f_j is not zero.

    References
    ----------
    Owen, A. B. (2013). Monte Carlo theory, methods and examples, chapter 9.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import stats
    >>> from robuststat import ReweightedExpectation
    >>> x = np.random.default_rng(0).normal(size=4000)
    >>> est = ReweightedExpectation(controls=True)
    >>> est = est.fit(x**2, stats.norm(0.5, 1).logpdf(x), stats.norm().logpdf(x))
    >>> bool(abs(est.estimate_[0] - 1.25) < 4 * est.std_error_[0])
    True
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {"normalise": is_bool, "controls": is_bool}

    def __init__(self, *, normalise: bool = False, controls: bool = False) -> None:
        self.normalise = normalise
        self.controls = controls

    def fit(self, func: Any, law: Any = None, log_q: Any = None) -> Self:
        """Reweight the rows.

        Parameters
        ----------
        func : array-like or DataFrame of shape (n,) or (n, m)
            Outputs at the points; the columns of a frame name them.
        law : array-like or DataFrame of shape (n,) or (n, L)
            Log-densities of the target laws at the points; -inf outside their support.
        log_q : array-like of shape (n,)
            Log-density at the points of the law that they were drawn from.

        Returns
        -------
        ReweightedExpectation

        Raises
        ------
        DataError
            For shapes that do not fit, missing outputs, or points where q is zero.
        ParameterError
            If the options or the numbers of outputs and laws do not go together.
        """
        self._check_parameters()
        if self.normalise and self.controls:
            raise ParameterError(
                "controls=True needs the constants of the densities that normalise=True divides "
                "out. Choose one."
            )
        if law is None or log_q is None:
            raise ParameterError(
                "ReweightedExpectation.fit takes outputs, log-densities of the targets, and the "
                "log-density of the law the points come from: fit(Y, log_f, log_q)."
            )
        Y, outputs = _columns(func, "the outputs")
        log_f, laws = _columns(law, "the log-densities of the targets", infinite=True)
        log_q = to_float(np.ravel(log_q), "log_q")
        weight = _weights(Y, log_f, log_q, self.normalise)
        y_col, law_col = pair_up(Y.shape[1], log_f.shape[1])
        values = weight[:, law_col] * Y[:, y_col]
        estimate, v = _estimate(weight, values, Y[:, y_col], law_col, self)
        names = _term_names(y_col, law_col, outputs, laws)
        sums = Diagnostics(len(y_col), weight.shape[1])
        sums.update(weight, values, v)
        table = weight_table(sums, law_col)
        if self.normalise:  # the weights' mean is not known to be one
            table["weight_z"] = np.nan
        table.index = pd.Index(names, name="term")
        self._report(estimate, table, names, len(Y))
        return self

    def _report(self, estimate: Estimate, table: pd.DataFrame, names: list[str], n: int) -> None:
        judgement = report.Judgement(
            heavy=report.heavy_tails(table, n),
            missed=np.zeros(len(names), dtype=bool),
            dead=estimate.dead,
            thin=np.zeros(len(names), dtype=bool),
        )
        notes = report.tell(judgement, names, table, True, given=True)
        kind = "Self-normalised importance sampling" if self.normalise else "Importance sampling"
        words = report.Words(
            call=self._call(),
            method=kind + (" with the laws' ratios as controls" if self.controls else ""),
            estimand=f"{len(names)} expectations under other laws, from given runs",
        )
        assumptions = [
            "the rows are independent draws from q",
            "q is positive wherever phi f is not zero, and the variance of phi f/q is finite",
        ]
        if self.normalise or self.controls:
            assumptions.append("n is large: the bias is of order 1/n")
        result = report.make_result(
            estimate,
            names,
            words,
            n_obs=n,
            n_dropped=0,
            glance={
                "ess": float(table["ess_weights"].min()),
                "khat": float(table["khat_values"].fillna(-np.inf).max()),
            },
            notes=notes,
            converged=True,
            assumptions=assumptions,
        )
        self._store(result, None)
        variance = estimate.covariance
        variance = variance if variance.ndim == 1 else np.diag(variance)
        self.estimate_, self.cov_ = estimate.mean, estimate.covariance
        self.std_error_ = np.where(estimate.dead, np.nan, np.sqrt(variance))
        self.diagnostics_, self.n_final_ = table, n
        self.khat_ = table["khat_values"].to_numpy()
        self.ess_ = table["ess_weights"].to_numpy()


def _columns(values: Any, name: str, infinite: bool = False) -> tuple[Array, list[str]]:
    labels = [str(label) for label in getattr(values, "columns", [])]
    array = np.asarray(values, dtype=np.float64)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or len(array) < 2:
        raise DataError(f"{name} have shape {np.shape(values)}; expected (n,) or (n, columns).")
    bad = np.isnan(array) | np.isposinf(array)
    bad |= np.zeros_like(bad) if infinite else np.isneginf(array)
    if bad.any():
        rows = np.flatnonzero(bad.any(axis=1))
        raise DataError(
            f"{name} have {len(rows)} rows with NaN or infinite values (first: {rows[0]}). Leave "
            "these rows out of all three arguments, if that does not depend on the outputs."
        )
    return array, labels


def _weights(Y: Array, log_f: Array, log_q: Array, normalise: bool) -> Array:
    if not len(Y) == len(log_f) == len(log_q):
        raise DataError(
            f"The outputs have {len(Y)} rows, the targets {len(log_f)}, log_q {len(log_q)}."
        )
    bad = ~np.isfinite(log_q)
    if bad.any():
        raise DataError(
            f"log_q is not finite in {int(bad.sum())} rows (first: {np.flatnonzero(bad)[0]}): no "
            "point can come from where its law has no density."
        )
    ratio = log_f - log_q[:, None]
    if normalise:
        # Any constant does; the largest weight is one, so that nothing overflows.
        top = ratio.max(axis=0)
        ratio = ratio - np.where(np.isfinite(top), top, 0.0)
    return np.asarray(np.exp(ratio))


def _estimate(
    weight: Array, values: Array, outputs: Array, law_col: Any, options: ReweightedExpectation
) -> tuple[Estimate, Array]:
    n, J = values.shape
    mean_weight = weight.mean(axis=0)[law_col]
    dead = mean_weight == 0
    df, v = np.inf, values
    rank = np.zeros(J)
    if options.normalise:
        safe = np.where(dead, 1.0, mean_weight)
        centre = values.mean(axis=0) / safe
        v = centre + weight[:, law_col] * (outputs - centre) / safe
    elif options.controls:
        L = weight.shape[1]
        if n < 2 * (L + 2):
            raise ParameterError(f"{L} laws as controls for {n} rows; at least {2 * (L + 2)} rows.")
        fit = regress(values, weight - 1.0, [np.arange(L)] * J)
        v, rank = fit.values, fit.n_controls.astype(np.float64)
        df = float(n - 1 - rank.max())
    moments = Moments(J)
    moments.update(v)
    factor = np.sqrt((n - 1) / (n - 1 - rank))
    scale = np.outer(factor, factor) if J <= MAX_COVARIANCE else factor**2
    mean = np.where(dead, np.nan, moments.mean)
    return Estimate(mean, moments.covariance * scale / n, df, dead), v


def _term_names(y_col: Any, law_col: Any, outputs: list[str], laws: list[str]) -> list[str]:
    L = int(law_col.max()) + 1
    placeholder: Any = [None] * L
    return report.term_names(Problem(tuple(placeholder), False, y_col, law_col), outputs, laws)
