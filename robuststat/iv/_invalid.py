"""Mean effect of an exposure with an instrument that may be invalid: parametric nuisance models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np

from robuststat._core.columns import Terms
from robuststat._core.data import RoleData, read_data
from robuststat._core.errors import DataError, ParameterError
from robuststat._core.params import Check, in_range, is_bool, is_string, one_of, optional
from robuststat._core.resample import BootstrapResult, bootstrap
from robuststat._core.types import Array
from robuststat._core.vcov import check_clusters
from robuststat.iv._base import InvalidIVEstimator
from robuststat.iv._intake import Prepared, Roles, prepare, read_roles
from robuststat.iv._multiply_robust import (
    estimate,
    point_estimates,
    ratio_moments,
    reweighted,
)
from robuststat.iv._overlap import numeric_instrument_moments
from robuststat.iv._report import make_report, numeric_report

SUMMARIES: dict[str, tuple[str, ...]] = {
    "ate": ("ate", "overlap", "direct", "confounding"),
    "overlap": ("overlap",),
}


def _is_terms(value: Any) -> str | None:
    return None if isinstance(value, Mapping) else "a dict of formulas or lists of column names"


class InvalidIVATE(InvalidIVEstimator):
    """Mean effect of an exposure when its only instrument may act on the outcome directly.

    The exclusion restriction is not assumed. What identifies the effect instead is that the
    *variance* of the exposure differs between the values of the instrument while the confounding
    covariance does not. Estimates are right if the nuisance models of {pi, p}, or of
    {pi, beta, h}, or of {p, beta, omega}, or of {beta, omega, h} are right (see Notes).

    Parameters
    ----------
    estimand : {"ate", "overlap"}, default="ate"
        Mean effect over all rows, with the direct effect of the instrument, the confounding
        covariance and the overlap-weighted effect beside it; or the overlap-weighted effect alone,
        which never divides by D(x).
    effect_model : {"linear", "constant"}, default="linear"
        Whether the conditional effect beta(X) is linear in the covariates or a constant.
    targeted : bool, default=False
        Weight the equations of beta by 1/D, so that the ATE is the mean of beta(X).
    terms : dict, optional
        Basis of some of the nuisance models: keys "instrument" (pi), "treatment" (p), "effect"
        (beta), "direct" (h) and "confounding" (omega); values a right-hand-side formula over the
        covariates and ``Z``, or a list of columns. Default: main effects everywhere, and their
        products with Z for treatment and direct.
    formula : str, optional
        Outcome and covariates, such as ``"y ~ x1 + C(region)"``; then ``X`` is a frame.
    vcov : {"sandwich", "cluster", "eif"}, optional
        Stacked sandwich, valid whichever of the four sets of models is right; the same with
        cluster totals; or the efficient influence function, valid when all models are right. None
        is "cluster" when ``clusters`` are given and "sandwich" otherwise. The overlap effect has
        the same error under "sandwich" and "eif": its moments are orthogonal to all models.
    clip_pi : float, default=0.0
        Bound that keeps P(Z = 1 | X) away from 0 and 1.
    min_abs_d : float, default=0.0
        Bound that keeps D(x) away from 0, with its sign.
    missing : {"raise", "drop"}, optional
        What a missing value does. Default: "drop" with a formula, and say so; "raise" otherwise.
    keep_influence : bool, default=False
        Keep the influence values and nuisance values of the rows.
    tol, max_iter : float, int
        Stopping rule of the logit models.

    Attributes
    ----------
    result_ : InferenceResult
        ATE, overlap ATE, direct effect of Z, confounding covariance.
    effect_ : InferenceResult
        Coefficients of the conditional effect beta(X), with stacked-sandwich errors.
    ate_ : float
        Estimate of the estimand.
    std_error_, vcov_ : ndarray of shape (q,) and (q, q)
        Standard errors and variance of all effects in ``result_``.
    coef_, intercept_ : ndarray, float
        Coefficients of beta(X) and its intercept.
    overlap_effect_, direct_effect_, confounding_ : Bunch
        With estimate, std_error, statistic, p_value, conf_low, conf_high (95 %); the first also
        with ``score_set``, a frame. The last two are there with ``estimand="ate"``, and the
        confounding covariance only when the exposure varies in both arms.
    strength_ : Bunch
        The same for the mean of f_D: the statistic is the strength of the heteroscedasticity.
    exclusion_imposed_, exclusion_difference_ : Bunch
        ATE that imposes exclusion, and its difference to the ATE; absent when the instrument does
        not move the mean of the exposure.
    conf_set_type_ : {"interval", "complement", "line"}
        Kind of the 95 % score set.
    nuisance_coef_ : dict of str to Series
        Coefficients of the nuisance models.
    nuisances_ : DataFrame or None
        pi, p0, p1, v0, v1, D, beta, omega, h0, h1 of every row, with ``keep_influence=True``.
    influence_ : ndarray of shape (n, q) or None
        Influence values of the effects, with ``keep_influence=True``.
    converged_, n_iter_ : bool, int
        How the logit models ended.
    n_features_in_, feature_names_in_ : int, ndarray
        Covariates seen in fit.

    See Also
    --------
    robuststat.simulation.make_invalid_iv : Data with known truth.

    Notes
    -----
    With pi = P(Z=1|X), p = E(A|Z,X), s = (2Z-1)/P(Z|X), D = var(A|1,X) - var(A|0,X) and
    R = (A - p)(Y - beta A - h) - omega, the ATE is the mean of beta + (s/D) R. Assumed: exposure
    and instrument are as good as random given covariates and unmeasured causes; the covariance of
    exposure and outcome due to unmeasured causes, omega(X), is the same for both values of Z; the
    effect interacts neither with Z nor with unmeasured causes of the exposure; D is not zero.
    abs(D) is at most 1/4 for a binary exposure: errors are large when it is small, and where D(x)
    changes sign the ATE is not usable. The overlap effect, the ratio E(w N)/E(w D) with
    w = pi (1 - pi), never divides by D(x); it equals the effect if that is constant, and is an
    average of effects where D has one sign. Its score set is right however weak the
    heteroscedasticity; it may be the whole line.

    The idea is that of Sun, Cui and Tchetgen Tchetgen (2022), of which only the abstract was
    available: all formulas are derived here, checked by simulation, and not theorems of that paper.
    The companion estimands, their tests, the overlap effect and its score set are derived here too.
    Numeric exposures have a linear model of their conditional variance, with the basis of the
    treatment. A numeric instrument allows the overlap effect only, under a constant effect.

    References
    ----------
    Sun, B., Cui, Y. and Tchetgen Tchetgen, E. (2022). Selective Machine Learning of the Average
    Treatment Effect with an Invalid Instrumental Variable. Journal of Machine Learning Research 23.

    Wang, L. and Tchetgen Tchetgen, E. (2018). Bounded, efficient and multiply robust estimation of
    average treatment effects using instrumental variables. Journal of the Royal Statistical
    Society B 80, 531-550.

    Examples
    --------
    >>> from robuststat import InvalidIVATE
    >>> from robuststat.simulation import make_invalid_iv
    >>> data = make_invalid_iv(n=8000, random_state=1)
    >>> fit = InvalidIVATE().fit(
    ...     data.X, data.y, treatment=data.treatment, instruments=data.instruments
    ... )
    >>> fit.tidy()[["term", "estimate", "std_error"]].round(2)
                         term  estimate  std_error
    0                     ATE      1.28       0.16
    1             overlap ATE      1.13       0.13
    2      direct effect of Z      0.76       0.07
    3  confounding covariance      0.02       0.03
    >>> bool(fit.test_exclusion().p_value < 0.001)
    True
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "estimand": one_of("ate", "overlap"),
        "effect_model": one_of("linear", "constant"),
        "targeted": is_bool,
        "terms": optional(_is_terms),
        "formula": optional(is_string),
        "vcov": optional(one_of("sandwich", "cluster", "eif")),
        "clip_pi": in_range(0.0, 0.5, closed="left"),
        "min_abs_d": in_range(0.0, np.inf, closed="left"),
        "missing": optional(one_of("raise", "drop")),
        "keep_influence": is_bool,
        "tol": in_range(0, 1, closed="neither"),
        "max_iter": in_range(1, np.inf, closed="left", integer=True),
    }

    def __init__(
        self,
        estimand: str = "ate",
        *,
        effect_model: str = "linear",
        targeted: bool = False,
        terms: Any = None,
        formula: str | None = None,
        vcov: str | None = None,
        clip_pi: float = 0.0,
        min_abs_d: float = 0.0,
        missing: str | None = None,
        keep_influence: bool = False,
        tol: float = 1e-10,
        max_iter: int = 100,
    ) -> None:
        self.estimand = estimand
        self.effect_model = effect_model
        self.targeted = targeted
        self.terms = terms
        self.formula = formula
        self.vcov = vcov
        self.clip_pi = clip_pi
        self.min_abs_d = min_abs_d
        self.missing = missing
        self.keep_influence = keep_influence
        self.tol = tol
        self.max_iter = max_iter

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        treatment: Any = None,
        instruments: Any = None,
        sample_weight: Any = None,
        clusters: Any = None,
    ) -> Self:
        """Estimate the effect of the exposure.

        Parameters
        ----------
        X : array or frame of shape (n, p), or None
            Covariates; with ``formula`` a frame holding all columns. A column named by a role is
            not a covariate. None: no covariates.
        y : array of shape (n,) or str, optional
            Outcome; a column name when ``X`` is a frame. None with a formula.
        treatment : array of shape (n,) or str
            Exposure: 0/1, or any numeric exposure.
        instruments : array of shape (n,) or str
            One candidate instrument: 0/1, or numeric with ``estimand="overlap"``.
        sample_weight : array of shape (n,) or str, optional
            Sampling weights of the rows; they multiply every score.
        clusters : array of shape (n,) or str, optional
            Groups of dependent rows.

        Returns
        -------
        self
            Fitted estimator.

        Raises
        ------
        DataError
            Missing or infinite values, roles that do not vary or are coded by other numbers than
            0 and 1, too few rows.
        RoleError
            A missing role, or several instruments.
        ParameterError
            An option outside its set, or options that contradict each other.
        IdentificationError
            D(x) is zero.
        """
        data, roles, prepared = self._prepare(X, y, treatment, instruments, sample_weight, clusters)
        vcov = self._vcov(data, roles)
        codes = None if data.clusters is None else data.clusters.codes
        call, keep = self._call(), self.keep_influence
        if roles.binary_instrument:
            summaries = self._summaries(prepared)
            found = estimate(
                prepared.problem, summaries, clusters=codes, tol=self.tol, max_iter=self.max_iter
            )
            report = make_report(
                found,
                prepared,
                data,
                roles,
                estimand=self.estimand,
                vcov=vcov,
                call=call,
                keep_influence=keep,
            )
        else:
            moments, logit = numeric_instrument_moments(
                prepared.problem, tol=self.tol, max_iter=self.max_iter
            )
            overlap = ratio_moments(moments, data.weights, codes)
            report = numeric_report(
                moments,
                overlap,
                logit,
                prepared,
                data,
                roles,
                vcov=vcov,
                call=call,
                keep_influence=keep,
            )
        if data.clusters is not None:
            check_clusters(len(data.clusters.levels))
        return self._remember(report, data, prepared.effect)

    def _prepare(
        self, X: Any, y: Any, treatment: Any, instruments: Any, sample_weight: Any, clusters: Any
    ) -> tuple[RoleData, Roles, Prepared]:
        self._check_parameters()
        if self.estimand == "overlap" and self.min_abs_d:
            raise ParameterError("min_abs_d has no use with estimand='overlap': leave it out.")
        if X is None and self.formula is not None:
            raise DataError("formula= needs a data frame as X; got None.")
        data = read_data(
            self,
            X,
            y,
            roles={"treatment": treatment, "instruments": instruments},
            sample_weight=sample_weight,
            clusters=clusters,
            terms=Terms(by=()) if X is None else Terms(self.formula),
            missing=self.missing,
        )
        roles = read_roles(self, data)
        if not roles.binary_instrument:
            self._check_numeric_instrument(roles)
        prepared = prepare(
            data,
            roles,
            terms=self.terms,
            effect_model=self.effect_model,
            targeted=self.targeted,
            clip_pi=self.clip_pi,
            min_abs_d=self.min_abs_d,
        )
        return data, roles, prepared

    def _check_numeric_instrument(self, roles: Roles) -> None:
        if self.estimand == "ate" or self.effect_model == "linear" or self.targeted:
            raise DataError(
                f"instruments ({roles.instrument}) has {np.unique(roles.z).size} values; the ATE "
                "needs a 0/1 instrument. Use InvalidIVATE('overlap', effect_model='constant') if "
                "the effect may be taken as constant, GENIUS for several instruments, or code the "
                "instrument as 0/1."
            )
        if self.clip_pi:
            raise ParameterError("clip_pi has no use with a numeric instrument: leave it out.")

    def _vcov(self, data: RoleData, roles: Roles) -> str:
        clustered = data.clusters is not None
        default = "sandwich" if roles.binary_instrument else "eif"
        chosen = self.vcov or ("cluster" if clustered else default)
        if (chosen == "cluster") != clustered:
            raise ParameterError(
                f"vcov={chosen!r} and clusters={'given' if clustered else 'None'} do not fit: "
                "'cluster' needs clusters, the others ignore dependence within them."
            )
        if chosen == "sandwich" and not roles.binary_instrument:
            raise ParameterError(
                "vcov='sandwich' is for a 0/1 instrument. With a numeric one the moments are "
                "orthogonal: use vcov='eif', or 'cluster'."
            )
        return chosen

    def _summaries(self, prepared: Prepared) -> tuple[str, ...]:
        names = SUMMARIES[self.estimand]
        if prepared.problem.fixed != (None, None):
            # Zero by the assumptions: there is nothing to estimate.
            names = tuple(name for name in names if name != "confounding")
        return names

    def bootstrap(
        self,
        X: Any,
        y: Any = None,
        *,
        treatment: Any = None,
        instruments: Any = None,
        sample_weight: Any = None,
        clusters: Any = None,
        n_boot: int = 999,
        kind: Literal["pairs", "cluster", "multiplier"] | None = None,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> BootstrapResult:
        """Bootstrap all effects, refitting every nuisance model.

        Parameters
        ----------
        X, y, treatment, instruments, sample_weight, clusters
            As passed to ``fit``; fitted objects keep no rows.
        n_boot : int, default=999
            Replicates.
        kind : {"pairs", "cluster", "multiplier"}, optional
            Draw rows, draw clusters, or weight rows (clusters) by exponential draws. None is
            "cluster" when ``clusters`` are given and "pairs" otherwise.
        random_state : int, Generator or None
            Seed.
        n_jobs : int, optional
            Workers; results do not depend on it.

        Returns
        -------
        BootstrapResult
            Replicates of the effects in the order of ``result_.names``, with ``vcov`` and
            ``confint(level, kind="percentile" | "basic" | "normal")``.
        """
        data, roles, prepared = self._prepare(X, y, treatment, instruments, sample_weight, clusters)
        codes = None if data.clusters is None else data.clusters.codes
        problem, tol, max_iter = prepared.problem, self.tol, self.max_iter
        summaries = self._summaries(prepared)

        def statistic(weights: Array) -> Array:
            again = reweighted(problem, weights)
            if roles.binary_instrument:
                return point_estimates(again, summaries, tol=tol, max_iter=max_iter)
            moments, _ = numeric_instrument_moments(again, tol=tol, max_iter=max_iter)
            return np.array([ratio_moments(moments, again.weights, None).ratio])

        return bootstrap(
            statistic,
            data.X.shape[0],
            n_boot=n_boot,
            kind=kind or ("pairs" if codes is None else "cluster"),
            clusters=codes,
            random_state=random_state,
            n_jobs=n_jobs,
        )
