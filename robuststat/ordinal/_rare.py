"""Logistic regression for rare events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from robuststat._core.columns import Terms
from robuststat._core.data import RoleData, read_data
from robuststat._core.errors import ConvergenceWarning, DataError, ParameterError, warn
from robuststat._core.formula import INTERCEPT
from robuststat._core.linalg import solve_psd
from robuststat._core.params import Check, in_range, is_bool, one_of, optional
from robuststat._core.types import Array
from robuststat._core.vcov import check_clusters
from robuststat.ordinal._rare_fit import LogitProblem, null_fit
from robuststat.ordinal._rare_methods import (
    METHODS,
    PENALTIES,
    check_combination,
    event_weights,
    fit_rare,
    prior_shift,
)
from robuststat.ordinal._rare_predict import RareEventPredictions
from robuststat.ordinal._rare_report import RareReport, make_result
from robuststat.ordinal._response import Response, read_response
from robuststat.ordinal._separation import Separation, SeparationError, binary_separation


class RareEventClassifier(RareEventPredictions):
    """Logistic regression that can be trusted when events are few.

    Use it when one of two classes is rare, or a column separates the classes. The estimand is the
    log-odds coefficient of a logistic regression; maximum likelihood estimates of it are too far
    from zero when events are few, and infinite under separation.

    Parameters
    ----------
    method : {"firth", "king_zeng", "ml", "logf"}, default="firth"
        "firth": penalised by the root of the determinant of the information, always finite;
        "king_zeng": maximum likelihood minus its bias of order 1/n; "ml": maximum likelihood;
        "logf": log-F priors on the slopes, always finite. The last three need care: "ml" and
        "king_zeng" refuse separated data, "logf" depends on the units of the columns.
    tau : float, optional
        Share of events in the population, when cases were sampled more often than controls.
    correction : {"prior", "weighting"}, default="prior"
        What ``tau`` does: shift the intercept, or weight events by tau/ybar and others by
        (1 - tau)/(1 - ybar) with a robust variance. The second estimates the best approximation in
        the population also when the model is wrong; it is for "ml" and "king_zeng" only.
    flic : {False, "flic", "flac"}, default=False
        Firth's probabilities are too high on average. "flic" estimates the intercept again;
        "flac" gives the pseudo-data behind the penalty a level of their own.
    prior_df : float, default=1.0
        m of the log-F(m, m) prior: a slope is between -3.7 and 3.7 with probability .95 for m = 1.
    rare_class : {"last", "first"}, default="last"
        Which of the two sorted classes is the event; coefficients are log-odds of it.
    vcov : {"hessian", "HC0", "HC1", "CR0", "CR1"}, optional
        Variance. None is "hessian", the inverse information, in which ``sample_weight`` counts
        repetitions; HC0 for ``correction="weighting"``; CR0 when ``clusters`` are given.
    intervals : {"profile", "wald"}, optional
        Intervals and p-values by the profile of the (penalised) likelihood and its ratio, or by
        standard errors. None is "profile" where it exists: with ``vcov="hessian"`` and any method
        but "king_zeng". Profiles take about 40 fits a coefficient.
    formula : str, optional
        Model formula such as ``"war ~ log_gdp + C(region)"``; then ``X`` is a frame.
    fit_intercept : bool, default=True
        Whether to put a column of ones in front (without formula).
    missing : {"raise", "drop"}, optional
        What a missing value does; None is "drop" with a formula and "raise" without.
    keep_influence : bool, default=False
        Keep the influence of every row on the result, for ``refit_vcov``.
    tol : float, default=1e-10
        Steps shorter than this many standard errors stop the iteration.
    max_iter : int, default=100
        Steps.

    Attributes
    ----------
    result_ : InferenceResult
        Estimates, variance, profiles and diagnostics.
    classes_ : ndarray of shape (2,)
        Sorted classes.
    event_ : object
        The class whose log-odds are modelled.
    coef_ : ndarray of shape (p,)
        Log-odds ratios of the event; ``predict_rare(X)`` is ``expit(intercept_ + X @ coef_)``.
    intercept_ : float
        Intercept, for a population with share ``tau`` of events where that is given.
    vcov_, std_error_ : ndarray
        Variance and standard errors of intercept and slopes.
    n_events_, n_nonevents_ : int
        Rows of either class.
    events_per_parameter_ : float
        Rows of the rarer class by slope.
    class_counts_ : ndarray of shape (2,)
        Total weight of each class.
    separation_ : Separation
        Whether columns separate the classes, and which.
    loglik_, null_loglik_, penalized_loglik_ : float
        Log-likelihood of the sample, that of the intercept alone, and the maximised criterion.
    lr_test_ : Bunch
        ``statistic, df, p_value`` of the (penalised) likelihood-ratio test of all slopes; NaN for
        "king_zeng" and for weighted or clustered fits.
    converged_, n_iter_, n_features_in_, feature_names_in_
        As in scikit-learn.

    See Also
    --------
    calibration : Are predicted probabilities right on average?

    Notes
    -----
    ``method="firth"`` solves X'(w (y - p) + h (1/2 - p)) = 0 by Fisher scoring, h the leverages of
    the weighted design. Its intervals hold the values that the penalised likelihood-ratio test,
    with the determinant of the full design, does not reject (Heinze and Schemper 2002); the z
    values shown are signed roots of that statistic. Robust variances are the sandwich of the
    (adjusted) scores: derived here, since the adjustment is of smaller order.

    References
    ----------
    Firth, D. (1993). Bias reduction of maximum likelihood estimates. Biometrika 80(1), 27-38.

    Heinze, G. and Schemper, M. (2002). A solution to the problem of separation in logistic
    regression. Statistics in Medicine 21(16), 2409-2419.

    King, G. and Zeng, L. (2001). Logistic regression in rare events data. Political Analysis 9(2),
    137-163.

    Puhr, R., Heinze, G., Nold, M., Lusa, L. and Geroldinger, A. (2017). Firth's logistic
    regression with rare events. Statistics in Medicine 36(14), 2302-2317.

    Greenland, S. and Mansournia, M. A. (2015). Penalization, bias reduction, and default priors in
    logistic and related categorical and survival regressions. Statistics in Medicine 34(23),
    3133-3143.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import RareEventClassifier
    >>> x = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
    >>> fit = RareEventClassifier().fit(x, [0, 0, 0, 0, 1, 1])
    >>> fit.separation_.kind, round(fit.coef_[0], 3)
    ('complete', np.float64(1.075))
    >>> fit.confint().loc["x0"].round(3).tolist()
    [-0.617, 2.766]
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "method": one_of(*METHODS),
        "tau": optional(in_range(0.0, 1.0, closed="neither")),
        "correction": one_of("prior", "weighting"),
        "flic": one_of(False, "flic", "flac"),
        "prior_df": in_range(0.0, np.inf, closed="neither"),
        "rare_class": one_of("last", "first"),
        "vcov": optional(one_of("hessian", "HC0", "HC1", "CR0", "CR1")),
        "intervals": optional(one_of("profile", "wald")),
        "fit_intercept": is_bool,
        "missing": optional(one_of("raise", "drop")),
        "keep_influence": is_bool,
        "tol": in_range(0.0, 1.0, closed="neither"),
        "max_iter": in_range(1, np.inf, closed="left", integer=True),
    }

    def __init__(
        self,
        method: str = "firth",
        *,
        tau: float | None = None,
        correction: str = "prior",
        flic: Any = False,
        prior_df: float = 1.0,
        rare_class: str = "last",
        vcov: str | None = None,
        intervals: str | None = None,
        formula: str | None = None,
        fit_intercept: bool = True,
        missing: str | None = None,
        keep_influence: bool = False,
        tol: float = 1e-10,
        max_iter: int = 100,
    ) -> None:
        self.method = method
        self.tau = tau
        self.correction = correction
        self.flic = flic
        self.prior_df = prior_df
        self.rare_class = rare_class
        self.vcov = vcov
        self.intervals = intervals
        self.formula = formula
        self.fit_intercept = fit_intercept
        self.missing = missing
        self.keep_influence = keep_influence
        self.tol = tol
        self.max_iter = max_iter

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        offset: Any = None,
        sample_weight: Any = None,
        clusters: Any = None,
    ) -> Self:
        """Estimate the coefficients.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates; with ``formula`` a frame that also holds the outcome.
        y : array of shape (n,), or of shape (n, 2), or str
            Two classes; counts of both classes in each row (grouped data); or a column name.
        offset : array of shape (n,) or str, optional
            Added to the log-odds of the event.
        sample_weight : array of shape (n,) or str, optional
            Repetitions of a row; rows of weight zero are left out.
        clusters : array of shape (n,) or str, optional
            Dependence groups, for the variance.

        Returns
        -------
        RareEventClassifier
            The fitted estimator.

        Raises
        ------
        DataError
            When y does not have two classes, or values are missing or not finite.
        SeparationError
            For "ml" and "king_zeng" when some estimates are infinite; the columns are named.
        CollinearityError
            When columns are linear combinations of others.
        ParameterError
            For options that do not go together.
        """
        self._check_parameters()
        data = read_data(
            self,
            X,
            y,
            roles={"offset": offset},
            sample_weight=sample_weight,
            clusters=clusters,
            outcome_kind="ordered",
            several_outcomes=True,
            terms=Terms(formula=self.formula, fit_intercept=self.fit_intercept),
            missing=self.missing,
        )
        kind = self._variance_kind(clusters is not None)
        response = self._read_classes(data)
        problem, event_weight = self._problem(data, response)
        return self._estimate(data, response, problem, event_weight, kind)

    def _variance_kind(self, clustered: bool) -> str:
        check_combination(
            method=self.method,
            tau=self.tau,
            correction=self.correction,
            flic=self.flic,
            prior_df=self.prior_df,
            vcov=self.vcov,
            intervals=self.intervals,
        )
        kind = self.vcov or ("HC0" if self.correction == "weighting" else "hessian")
        kind = "CR0" if clustered and self.vcov is None else kind
        if clustered != kind.startswith("CR"):
            raise ParameterError(
                f"vcov={self.vcov!r} and clusters do not fit together. Use 'CR0' or 'CR1' with "
                "clusters, another kind without."
            )
        if clustered and self.intervals == "profile":
            raise ParameterError("Profiles take rows as independent: leave clusters out, or wald.")
        return kind

    def _read_classes(self, data: RoleData) -> Response:
        response = read_response(
            data.y,
            weights=data.weights,
            name=data.outcome,
            columns=data.outcomes,
            refuse_unordered=lambda name, levels: None,
        )
        if response.n_classes != 2:
            raise DataError(
                "Only binary classification is supported. "
                f"{data.outcome} has {response.n_classes} classes; RareEventClassifier takes two. "
                "Pass y == <rare class>, or use OrdinalClassifier or PrestoClassifier."
            )
        return response

    def _problem(self, data: RoleData, response: Response) -> tuple[LogitProblem, Array | None]:
        """Rows of the likelihood, and the weights in it that stem from ``tau``."""
        intercept = INTERCEPT in data.names
        if (self.tau is not None or self.flic) and not intercept:
            raise ParameterError("tau and flic correct the intercept, but the model has none.")
        event = 1 if self.rare_class == "last" else 0
        outcome = (response.codes == event).astype(np.float64)
        offset = data.roles.get("offset")
        weights, event_weight = response.weights, None
        if self.correction == "weighting":
            assert self.tau is not None
            event_weight = event_weights(outcome, weights, self.tau)
            weights = weights * event_weight
        problem = LogitProblem(
            X=np.ascontiguousarray(data.X[response.rows]),
            y=outcome,
            weights=weights,
            offset=None if offset is None else offset[response.rows],
            penalty=PENALTIES[self.method],  # type: ignore[arg-type]
            prior_df=self.prior_df,
            slopes=np.array([name != INTERCEPT for name in data.names]),
            names=data.names,
        )
        return problem, event_weight

    def _estimate(
        self,
        data: RoleData,
        response: Response,
        problem: LogitProblem,
        event_weight: Array | None,
        kind: str,
    ) -> Self:
        intercept = data.names.index(INTERCEPT) if INTERCEPT in data.names else None
        null = null_fit(problem, intercept)
        # Before anything else, so that collinear columns are not taken for separating ones.
        solve_psd(null.point.information, np.eye(len(data.names)), data.names)
        separation = self._separation(problem)
        flic = self.flic or None
        found = fit_rare(
            problem,
            self.method,  # type: ignore[arg-type]
            flic=flic,
            intercept=intercept,
            start=null.beta,
            event_weight=event_weight,
            tol=self.tol,
            max_iter=self.max_iter,
        )
        if not found.fit.convergence.converged:
            warn(f"RareEventClassifier: {found.fit.convergence.message}.", ConvergenceWarning)
        shift = 0.0
        if self.tau is not None and self.correction == "prior":
            shift = prior_shift(problem.y, problem.weights, self.tau)
        groups = None if data.clusters is None else data.clusters.codes[response.rows]
        if groups is not None:
            check_clusters(len(np.unique(groups)))
        counts = None
        if response.grouped:
            if self.keep_influence:
                raise ParameterError("keep_influence needs one row a unit; y holds counts.")
            counts = response.weights
            counts = counts if data.weights is None else counts / data.weights[response.rows]
        report = RareReport(
            problem=problem,
            found=found,
            null=null,
            intercept=intercept,
            shift=shift,
            separation=separation,
            kind=kind,
            profile=kind == "hessian" and self.intervals != "wald" and self.method != "king_zeng",
            clusters=groups,
            counts=counts,
            options={
                name: getattr(self, name)
                for name in ("method", "tau", "correction", "flic", "prior_df", "max_iter")
            },
            event=response.classes[1 if self.rare_class == "last" else 0],
            weighted=response.weighted,
            keep_influence=self.keep_influence,
        )
        result, numbers = make_result(report, data, call=self._call())
        self._store(result, data)
        self.classes_ = response.classes
        self.event_ = report.event
        self.class_counts_ = response.counts
        self.separation_ = separation
        for name, value in numbers.items():
            setattr(self, name, value)
        return self

    def _separation(self, problem: LogitProblem) -> Separation:
        columns = np.flatnonzero(problem.slopes)
        found = binary_separation(
            problem.X[:, columns],
            problem.y,
            names=[problem.names[j] for j in columns],
            fit_intercept=len(columns) < len(problem.names),
        )
        if found.found and self.method in ("ml", "king_zeng"):
            raise SeparationError(
                f"{found.words()} Use method='firth' (or 'logf'), whose estimates are finite, or "
                "leave out or merge these columns."
            )
        return found
