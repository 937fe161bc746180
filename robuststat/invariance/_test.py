"""InvarianceTest: how far a regression is from being the same in all environments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from robuststat._core.design import ArrayDesign
from robuststat._core.errors import ParameterError, warn
from robuststat._core.formula import INTERCEPT
from robuststat._core.params import Check
from robuststat._core.stream import is_source
from robuststat.invariance import _fit as steps
from robuststat.invariance._answers import InvarianceAnswers
from robuststat.invariance._gap import CoefTest, EnvModel, env_model
from robuststat.invariance._nulls import NullTest, brown_forsythe
from robuststat.invariance._options import TEST_CHECKS
from robuststat.invariance._rows import (
    EnvRows,
    MappedDesign,
    check_environments,
    keep_rows,
    linear_map,
    read_chunk,
    read_rows,
)
from robuststat.invariance._stream import source_moments
from robuststat.invariance._words import diagnostics_of_test
from robuststat.result import InferenceResult


class InvarianceTest(InvarianceAnswers):
    """How far a regression is from being the same in all environments, and whether it matters.

    Use it when rows come from several environments (schools, regions, years, interventions) and
    you ask whether one set of coefficients serves them all. Exact equality is nearly always
    rejected with many rows; the estimand here is the size of the violation, psi: the average
    excess squared error of the common coefficients over those of each environment, as a share of
    the noise variance. It comes with an exact interval, a test that it exceeds ``eps``, and a test
    that it does not (equivalence). ``certificate`` is about environments to come.

    Parameters
    ----------
    representation : None, list, array of shape (k', p), callable or transformer
        Features of the regression: all covariates; some (names or positions, possibly none); a
        linear map; or any function of the covariates.
    test : str or callable
        Test of strong invariance, equal coefficients and error variances, from the residuals of
        the common fit: ``"normal"`` (means and variances; for an outcome of two values it becomes
        ``"logistic_lr"``, with a warning), ``"chow"`` (predict each environment from the others),
        ``"correlation"``, ``"ks"``, ``"ranks"`` (= ``"levene_wilcoxon"``), ``"hsic"``,
        ``"logistic_t"``, ``"logistic_lr"``, or a function of the residuals of an environment and
        of the rest.
    measure : {"risk", "coef", "grad"}
        What ``gap_`` measures: excess squared error, distance of coefficients, or norm of the
        gradient.
    aggregate : {"average", "max", "minimax", "pairwise"}
        How gaps of the environments become one number. ``"minimax"``: smallest possible maximum.
    eps : float
        Largest psi that does not matter (convention: .01 small, .05 moderate, .15 large).
    alpha : float
        Level at which the summary words its verdict.
    error : {"homo", "welch", "HC3", "cluster"}
        Errors behind psi and the standard errors: one variance (exact, the only one that works
        with many small environments); one variance an environment; any; dependent within
        ``clusters``, which may cross environments.
    fit_intercept : bool
        Whether the regression has an intercept.
    standardize : bool
        Whether ``measure="coef"`` and ``"grad"`` use covariates in units of their standard
        deviations, the intercept taken at their means.
    correction : {"K-1", "K"}
        Factor of the smallest p-value: K - 1 as in R, slightly liberal, or Bonferroni's.
    compat : {None, "R"}
        ``"R"``: R's factor n/(n - 1) in ``test="chow"`` and R's test of a binary outcome.
    drop_small : bool
        Leave out environments with no more rows than coefficients, instead of refusing them.
    n_perm : int
        Permutations of ``test="hsic"``.
    formula : str, optional
        ``"y ~ x1 + x2"`` over the columns of a frame.
    missing : {None, "raise", "drop"}
        What missing values do; None: raise for arrays, drop with a formula.
    random_state : int, Generator or None
        Seed of ``test="hsic"``.

    Attributes
    ----------
    psi_ : float
        Average risk gap over the noise variance; unbiased before negative values are set to 0.
    psi_conf_int_ : tuple of float
        Its 95% interval.
    gap_ : float
        Gap of ``measure`` and ``aggregate``; the average risk gap is free of sampling noise, the
        others are those of the estimates.
    gap_conf_int_ : tuple of float
        95% interval of the average risk gap, unit of y squared; NaN for other gaps.
    chow_ : CoefTest
        Statistic, degrees of freedom and p-value of exactly equal coefficients.
    pvalue_relevant_, pvalue_equivalence_ : float
        p-values of psi <= eps and of psi >= eps.
    pvalue_, statistic_ : float
        Of ``test``: corrected p-value, and the statistic of the decisive comparison.
    test_ : str
        Test that was run.
    variance_pvalue_ : float
        Brown-Forsythe test of equal error variances (NaN from a stream).
    env_coef_, env_stderr_ : DataFrame of shape (K, k)
        Coefficients of each environment and their standard errors; NaN where not identified.
    env_sigma2_ : Series of length K
        Error variances, unit of y squared.
    sigma2_, sigma2_ratio_ : float
        Noise variance within environments; largest over smallest of them.
    pooled_coef_ : ndarray of shape (k,)
        Common coefficients (also ``result_``).
    env_gap_ : DataFrame
        One row an environment: rows, error variance, gaps, p-value.
    n_env_ : int
        Environments used.
    moments_ : EnvMoments
        First and second moments of the representation by environment.

    See Also
    --------
    chow_test : The classical test of equal coefficients.
    invariance_sample_size : How many environments a certificate needs.
    population_gap : The gap of a known population.

    Notes
    -----
    Fixed design and independent Gaussian errors of one variance: the Chow statistic is noncentral F
    with noncentrality N psi, which gives interval and tests exactly (derived in this package, in
    the spirit of the epsilon-approximate invariance of the reference; not a theorem of it).
    ``error="welch"`` and ``"HC3"`` use the Welch-James statistic with Johansen's correction.
    Weights are inverse error variances. Coefficients not identified in an environment (a column
    constant there) are left out of the comparison, by ranks.

    References
    ----------
    Parulekar, A., Shanmugam, K. and Shakkottai, S. (2023). PAC Generalization via Invariant
    Representations. International Conference on Machine Learning.

    Peters, J., Buehlmann, P. and Meinshausen, N. (2016). Causal inference by using invariant
    prediction. Journal of the Royal Statistical Society B, 78, 947-1012.

    Johansen, S. (1980). The Welch-James approximation to the distribution of the residual sum of
    squares in a weighted linear regression. Biometrika, 67, 85-92.

    Examples
    --------
    >>> from robuststat import InvarianceTest
    >>> from robuststat.simulation import make_invariant_sem
    >>> draw = make_invariant_sem(random_state=1)
    >>> causes = InvarianceTest(draw.parents).fit(draw.X, draw.y, env=draw.env)
    >>> everything = InvarianceTest().fit(draw.X, draw.y, env=draw.env)
    >>> round(causes.psi_, 3), round(everything.psi_, 3)
    (0.0, 0.022)
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = TEST_CHECKS

    def __init__(
        self,
        representation: Any = None,
        test: Any = "normal",
        measure: str = "risk",
        eps: float = 0.05,
        alpha: float = 0.05,
        error: str = "homo",
        fit_intercept: bool = True,
        correction: str = "K-1",
        *,
        aggregate: str = "average",
        standardize: bool = True,
        compat: str | None = None,
        drop_small: bool = False,
        n_perm: int = 500,
        formula: str | None = None,
        missing: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.representation = representation
        self.test = test
        self.measure = measure
        self.eps = eps
        self.alpha = alpha
        self.error = error
        self.fit_intercept = fit_intercept
        self.correction = correction
        self.aggregate = aggregate
        self.standardize = standardize
        self.compat = compat
        self.drop_small = drop_small
        self.n_perm = n_perm
        self.formula = formula
        self.missing = missing
        self.random_state = random_state

    # ----------------------------------------------------------------------------- fit

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        env: Any = None,
        sample_weight: Any = None,
        clusters: Any = None,
    ) -> Self:
        """Compare the environments.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates; a frame may hold outcome and roles too. Or a source for ``fit_stream``.
        y : array of shape (n,) or str
            Outcome; None when the formula names it.
        env : array of shape (n,), str or dict
            Environment of each row: labels, a column name, or name -> row positions.
        sample_weight : array of shape (n,) or str, optional
            Inverse error variances, up to a factor.
        clusters : array of shape (n,) or str, optional
            Dependence groups, for ``error="cluster"``.

        Returns
        -------
        self

        Raises
        ------
        DataError
            With fewer than two environments, environments that are too small, missing values.
        IdentificationError
            For constant or collinear covariates.
        ParameterError, RoleError
            For options and roles that contradict each other.
        """
        if is_source(X):
            if clusters is not None:
                raise ParameterError(
                    "clusters= needs rows in memory; it has no effect in a stream."
                )
            return self.fit_stream(X, y, env=env, sample_weight=sample_weight)
        self._check_parameters()
        if (clusters is None) == (self.error == "cluster"):
            raise ParameterError(
                f"error={self.error!r} and clusters= do not fit: pass clusters exactly with "
                "error='cluster'."
            )
        rows = read_rows(self, X, y, env, sample_weight, clusters)
        moments, dropped = check_environments(
            rows.moments(), intercept=rows.intercept, drop_small=self.drop_small
        )
        if dropped:
            kept = np.isin(rows.codes, [i for i, v in enumerate(rows.levels) if v not in dropped])
            rows = replace(keep_rows(rows, kept), dropped=dropped)
        model = env_model(moments, intercept=rows.intercept)
        test = steps.resolve_test(self.test, rows.y, self.compat)
        resid = rows.y - rows.design() @ model.pooled.coef[0]
        if rows.weights is not None:
            resid = resid * np.sqrt(rows.weights)
        spread = brown_forsythe(resid, rows.codes, rows.n_env)
        return self._finish(model, test, rows, rows.data, dropped, spread)

    def fit_stream(  # type: ignore[override]
        self,
        source: Any,
        y: str | None = None,
        *,
        env: str | None = None,
        sample_weight: str | None = None,
    ) -> Self:
        """Compare environments in one pass over a source that does not fit in memory.

        Only moments are kept, so ``test`` must be "normal", "chow" or "correlation", ``error``
        "homo" or "welch", and the representation linear. The answer is that of ``fit``.

        Parameters
        ----------
        source : str, Path, dataset, Dask frame, list of frames or callable
            Parquet file or folder, pyarrow dataset, Dask frame, frames, or a function that
            returns a new iterator of frames; all other columns are covariates.
        y, env, sample_weight : str
            Column names.

        Returns
        -------
        self

        Raises
        ------
        ParameterError
            For options that need the rows.
        DataError, RoleError
            As in ``fit``, or for text covariates.
        """
        self._check_parameters()
        if self.error not in ("homo", "welch"):
            raise ParameterError(
                f"error={self.error!r} needs the rows; from a stream use 'homo' or 'welch'."
            )
        if callable(self.representation) or hasattr(self.representation, "transform"):
            raise ParameterError(
                "fit_stream needs a linear representation: columns or an array (k', p)."
            )
        read = partial(read_chunk, self)
        found = source_moments(read, self.formula, source, y, env, sample_weight)
        columns = found.columns
        self.feature_names_in_ = np.asarray(columns, dtype=object)
        self.n_features_in_ = len(columns)
        phi, names = linear_map(self.representation, columns)
        mapped = found.moments if phi is None else found.moments.mapped(phi, names)
        moments, dropped = check_environments(
            mapped, intercept=self.fit_intercept, drop_small=self.drop_small
        )
        model = env_model(moments, intercept=self.fit_intercept)
        full = ((INTERCEPT,) if self.fit_intercept else ()) + names
        design: Any = ArrayDesign(full, columns, self.fit_intercept)
        if phi is not None:
            design = MappedDesign(full, columns, self.fit_intercept, _Linear(phi))
        data = _StreamData(design, found.outcome, found.n_dropped, found.n_dropped_by)
        return self._finish(model, self.test, None, data, dropped, math.nan)

    def _finish(
        self,
        model: EnvModel,
        test: Any,
        rows: EnvRows | None,
        data: Any,
        dropped: tuple[Any, ...],
        spread: float,
    ) -> Self:
        error: Any = self.error
        found = steps.variances(model, error, rows)
        chow = steps.coefficient_test(model, error, found)
        options = {name: getattr(self, name) for name in ("correction", "compat")}
        options |= {"random_state": self.random_state, "n_perm": self.n_perm}
        null = steps.strong_invariance(test, model, rows, options)
        self.test_ = test if isinstance(test, str) else getattr(test, "__name__", "callable")
        self._keep(model, chow, null, found)
        self.variance_pvalue_ = spread
        self._model = model
        deficient = [
            level
            for level, rank in zip(model.moments.levels, model.fits.rank, strict=True)
            if rank < model.n_coef
        ]
        if deficient:
            warn(
                f"{len(deficient)} of {self.n_env_} environments do not identify all coefficients "
                "(columns constant or collinear there); the others are compared."
            )
        names = steps.coefficient_names(model)
        result = InferenceResult(
            estimate=model.pooled.coef[0],
            vcov=found.pooled,
            names=names,
            df=found.df,
            n_obs=model.moments.n_obs,
            n_clusters=found.n_clusters,
            vcov_type=steps.VCOV_NAMES[self.error],
            estimand="coefficients common to all environments (pooled least squares)",
            method="Invariance across environments",
            outcome=data.outcome,
            diagnostics=diagnostics_of_test(self, null, data, dropped, deficient),
            call=self._call(),
        )
        return self._store(result, data)

    def _keep(
        self, model: EnvModel, chow: CoefTest, null: NullTest, found: steps.Variances
    ) -> None:
        names, levels = list(steps.coefficient_names(model)), list(model.moments.levels)
        index = pd.Index(levels, name="env", tupleize_cols=False)
        known = np.einsum("eii->ei", model.fits.inverse) > 0
        coef = np.where(known, model.fits.coef, np.nan)
        spread = np.sqrt(np.where(known, np.einsum("eii->ei", found.environment), np.nan))
        self.env_coef_ = pd.DataFrame(coef, index=index, columns=names)
        self.env_stderr_ = pd.DataFrame(spread, index=index, columns=names)
        self.env_sigma2_ = pd.Series(model.env_sigma2, index=index, name="sigma2")
        self.sigma2_ = model.sigma2
        smallest = float(np.nanmin(model.env_sigma2))
        largest = float(np.nanmax(model.env_sigma2))
        self.sigma2_ratio_ = largest / smallest if smallest > 0 else math.inf
        self.pooled_coef_ = model.pooled.coef[0].copy()
        self.n_env_ = model.moments.n_env
        self.moments_ = model.moments
        self._env_vcov = found.environment
        self.chow_ = chow
        self.psi_, self.psi_conf_int_ = chow.psi, chow.interval(0.95)
        self.pvalue_relevant_ = chow.p_relevant(self.eps)
        self.pvalue_equivalence_ = chow.p_equivalence(self.eps)
        self.statistic_, self.pvalue_ = null.statistic, null.p_value
        measure: Any = self.measure
        aggregate: Any = self.aggregate
        self.gap_ = steps.total_gap(model, chow, measure, aggregate, self.standardize)
        exact = (self.measure, self.aggregate, self.error) == ("risk", "average", "homo")
        low, high = self.psi_conf_int_
        scale = model.sigma2 if exact else math.nan
        self.gap_conf_int_ = (low * scale, high * scale)
        self.env_gap_ = steps.gap_table(model, null, self.standardize)


class _Linear:
    """Rows times a fixed matrix; pickles."""

    def __init__(self, phi: Any) -> None:
        self.phi = phi

    def __call__(self, X: Any) -> Any:
        return X @ self.phi.T


class _StreamData:
    """What the result needs to know about rows that were only summed."""

    def __init__(self, design: Any, outcome: str, n_dropped: int, by: dict[str, int]) -> None:
        self.design, self.outcome = design, outcome
        self.n_dropped, self.n_dropped_by = n_dropped, by
