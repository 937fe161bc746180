"""Mean effect of an exposure with an instrument that may be invalid: machine learners."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.base import is_regressor

from robuststat._core.data import RoleData
from robuststat._core.params import (
    Check,
    any_of,
    in_range,
    is_bool,
    is_cv,
    is_estimator,
    is_string,
    one_of,
    optional,
)
from robuststat.iv._crossfit import (
    Learners,
    cross_fitted,
    default_classifier,
    default_regressor,
)
from robuststat.iv._dml_base import CrossFittedIVEstimator
from robuststat.iv._dml_intake import check_learner, choose_vcov, learner_name, read_sample
from robuststat.iv._dml_report import dml_report
from robuststat.iv._intake import Roles
from robuststat.iv._invalid import SUMMARIES

LEARNER_PARAMETERS = (
    "learner_instrument",
    "learner_treatment",
    "learner_outcome",
    "learner_direct",
    "learner_confounding",
)
PROBABILITIES = ("learner_instrument", "learner_treatment")


class InvalidIVDML(CrossFittedIVEstimator):
    """Mean effect with an instrument that may be invalid, nuisance functions by machine learning.

    The estimand and its identification are those of :class:`InvalidIVATE`; every nuisance function
    is learnt out of fold by an estimator of the user's choice, and the score makes errors of the
    learners matter in products only.

    Parameters
    ----------
    estimand : {"ate", "overlap"}, default="ate"
        Mean effect over all rows with its companions, or the overlap-weighted effect alone.
    learner_instrument, learner_treatment : classifier, optional
        For P(Z=1|X), and for P(A=1|Z=z,X), one fit for each z. Default: penalised logit on
        splines of every covariate.
    learner_outcome, learner_direct, learner_confounding : regressor, optional
        For E(Y|Z=z,X) and for h_z, one fit for each z, and for omega. Default: ridge regression
        on splines of every covariate.
    effect_model : {"linear", "constant"} or regressor, default="linear"
        Model of beta(X): closed form, or a regressor of pseudo-outcomes with weights D^2.
    cv : int, splitter or list of (train, test), default=5
        Folds; they keep clusters together and spread the cells of (A, Z) evenly.
    n_rep : int, default=1
        Random partitions; estimates are medians over them.
    formula : str, optional
        Outcome and covariates; then ``X`` is a frame.
    vcov : {"eif", "cluster"}, optional
        Efficient influence function, or the same with cluster totals. None is "cluster" when
        ``clusters`` are given and "eif" otherwise.
    clip_pi : float, default=0.01
        Bound that keeps P(Z = 1 | X) away from 0 and 1.
    min_abs_d : float, default=0.01
        Bound that keeps D(x) away from 0, with its sign.
    missing : {"raise", "drop"}, optional
        What a missing value does. Default: "drop" with a formula, and say so; "raise" otherwise.
    keep_influence : bool, default=False
        Keep the influence values and nuisance values of the rows.
    random_state : int, Generator or None
        Seeds folds and every learner whose own seed is open.
    n_jobs : int, optional
        Parallel fits of learners; results do not depend on it.

    Attributes
    ----------
    result_ : InferenceResult
        ATE, overlap ATE, direct effect of Z, confounding covariance.
    effect_ : InferenceResult
        Best linear approximation of beta(X), from least squares of the ATE's score.
    ate_ : float
        Estimate of the estimand.
    std_error_, vcov_ : ndarray of shape (q,) and (q, q)
        Standard errors and variance of all effects in ``result_``.
    coef_, intercept_ : ndarray, float
        Coefficients of that approximation and its intercept.
    overlap_effect_, direct_effect_, confounding_, strength_ : Bunch
        As for :class:`InvalidIVATE`.
    conf_set_type_ : {"interval", "complement", "line"}
        Kind of the 95 % score set.
    losses_ : DataFrame
        Out-of-fold mean squared errors of the models of pi, p and E(Y|Z,X); one row a partition.
    repeat_params_ : DataFrame of shape (n_rep, q)
        Estimates of each partition.
    nuisances_, influence_ : DataFrame, ndarray of shape (n, q), or None
        Out-of-fold nuisance values and influence values, with ``keep_influence=True``.
    n_features_in_, feature_names_in_ : int, ndarray
        Covariates seen in fit.

    See Also
    --------
    InvalidIVATE : Parametric nuisance models, with a closed form.

    Notes
    -----
    In every training part pi, p and m = E(Y|Z,X) are learnt first; beta by the linear equations
    sum L {e (Y - m) - e^2 beta - omega} = 0 with L = (s B, B), or by the regressor from the
    pseudo-outcome beta_0 + s R_0 / D_0; then h from Y - beta A, and omega from e (Y - beta A - h).
    Residuals of one stage that the next one learns from come from folds inside the training part.
    Learners of h and omega are separate, which keeps the union of four models. The estimate is the
    mean of beta + (s/D) R over all rows, its error that of the influence function. Derived here
    and checked by simulation; not a theorem of Sun, Cui and Tchetgen Tchetgen (2022), of which only
    the abstract was available. Over partitions the median is reported, with the median of
    se^2 + (estimate - median)^2.

    References
    ----------
    Chernozhukov, V. et al. (2018). Double/debiased machine learning for treatment and structural
    parameters. The Econometrics Journal 21, C1-C68.

    Sun, B., Cui, Y. and Tchetgen Tchetgen, E. (2022). Selective Machine Learning of the Average
    Treatment Effect with an Invalid Instrumental Variable. Journal of Machine Learning Research 23.

    Examples
    --------
    >>> from robuststat import InvalidIVDML
    >>> from robuststat.simulation import make_invalid_iv
    >>> data = make_invalid_iv(n=4000, random_state=1)
    >>> fit = InvalidIVDML(cv=3, random_state=0)
    >>> _ = fit.fit(data.X, data.y, treatment=data.treatment, instruments=data.instruments)
    >>> list(fit.tidy()["term"])
    ['ATE', 'overlap ATE', 'direct effect of Z', 'confounding covariance']
    >>> bool(fit.test_exclusion().p_value < 0.01)
    True
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "estimand": one_of("ate", "overlap"),
        **{name: optional(is_estimator) for name in LEARNER_PARAMETERS},
        "effect_model": any_of(one_of("linear", "constant"), is_estimator),
        "cv": is_cv,
        "n_rep": in_range(1, np.inf, closed="left", integer=True),
        "formula": optional(is_string),
        "vcov": optional(one_of("eif", "cluster")),
        "clip_pi": in_range(0.0, 0.5, closed="left"),
        "min_abs_d": in_range(0.0, np.inf, closed="left"),
        "missing": optional(one_of("raise", "drop")),
        "keep_influence": is_bool,
        "n_jobs": optional(in_range(-64, 4096, integer=True)),
    }

    def __init__(
        self,
        estimand: str = "ate",
        *,
        learner_instrument: Any = None,
        learner_treatment: Any = None,
        learner_outcome: Any = None,
        learner_direct: Any = None,
        learner_confounding: Any = None,
        effect_model: Any = "linear",
        cv: Any = 5,
        n_rep: int = 1,
        formula: str | None = None,
        vcov: str | None = None,
        clip_pi: float = 0.01,
        min_abs_d: float = 0.01,
        missing: str | None = None,
        keep_influence: bool = False,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.estimand = estimand
        self.learner_instrument = learner_instrument
        self.learner_treatment = learner_treatment
        self.learner_outcome = learner_outcome
        self.learner_direct = learner_direct
        self.learner_confounding = learner_confounding
        self.effect_model = effect_model
        self.cv = cv
        self.n_rep = n_rep
        self.formula = formula
        self.vcov = vcov
        self.clip_pi = clip_pi
        self.min_abs_d = min_abs_d
        self.missing = missing
        self.keep_influence = keep_influence
        self.random_state = random_state
        self.n_jobs = n_jobs

    def _check_learners(self) -> None:
        self._learners()

    def _fit(self, data: RoleData, roles: Roles) -> Self:
        learners = self._learners()
        sample, effect = read_sample(
            self,
            data,
            roles,
            constant=self.effect_model == "constant",
            one_number=self.estimand == "overlap",
        )
        vcov = choose_vcov(self.vcov, data)
        reps = cross_fitted(
            sample,
            learners,
            cv=self.cv,
            n_rep=self.n_rep,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
        )
        summaries = SUMMARIES[self.estimand]
        if sample.fixed != (None, None):
            summaries = tuple(name for name in summaries if name != "confounding")
        report = dml_report(
            reps,
            sample,
            data,
            roles,
            summaries=summaries,
            effect_names=effect.names,
            estimand=self.estimand,
            vcov=vcov,
            call=self._call(),
            keep_influence=self.keep_influence,
            learner_lines=_learner_lines(learners),
            regressors=[
                name for name in PROBABILITIES if is_regressor(getattr(learners, _field(name)))
            ],
        )
        self.losses_ = pd.DataFrame([rep.losses for rep in reps])
        self.repeat_params_ = report.repeats
        return self._remember(report, data, effect)

    def _learners(self) -> Learners:
        chosen: dict[str, Any] = {}
        for name in LEARNER_PARAMETERS:
            learner = getattr(self, name)
            if learner is None:
                default = default_classifier if name in PROBABILITIES else default_regressor
                learner = default()
            check_learner(name, learner, probability=name in PROBABILITIES)
            chosen[_field(name)] = learner
        model = None if isinstance(self.effect_model, str) else self.effect_model
        if model is not None:
            check_learner("effect_model", model)
        return Learners(**chosen, effect=model)


def _field(parameter: str) -> str:
    return parameter.removeprefix("learner_")


def _learner_lines(learners: Learners) -> list[str]:
    """Say which estimators learnt what."""
    by_name: dict[str, list[str]] = {}
    for parameter in LEARNER_PARAMETERS:
        learner = getattr(learners, _field(parameter))
        by_name.setdefault(learner_name(learner), []).append(_field(parameter))
    if learners.effect is not None:
        by_name.setdefault(learner_name(learners.effect), []).append("effect")
    text = "; ".join(f"{name} for {', '.join(what)}" for name, what in by_name.items())
    return [f"Learners: {text}"]
