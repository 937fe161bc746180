"""Estimators for analyses on surrogate labels with a few expert labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin, RegressorMixin

from robuststat._core.data import RoleData, Terms, read_data
from robuststat._core.errors import DataError, RoleError
from robuststat._core.glm import FAMILIES
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
from robuststat._core.types import Array
from robuststat.base import InferenceEstimator
from robuststat.surrogate._diagnostics import surrogate_report
from robuststat.surrogate._doc import shared_parameters
from robuststat.surrogate._fit import Estimate, Options, estimate, make_result, read_problem
from robuststat.surrogate._learners import LEARNER_NAMES
from robuststat.surrogate._outcome import check_counts, encode_labels, not_binary
from robuststat.surrogate._problem import Problem


def _is_names(value: Any) -> str | None:
    fine = isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value) and value
    return None if fine else "a list of column names"


def _outcome_name(y: Any, formula: str | None) -> str:
    if formula is not None and "~" in formula:
        return formula.split("~")[0].strip().strip("`") or "y"
    return y if isinstance(y, str) else "y"


class _SurrogateEstimator(InferenceEstimator):
    """Options and fit that all design-based estimators on surrogate labels share."""

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "learner": any_of(one_of(*LEARNER_NAMES), is_estimator),
        "cv": is_cv,
        "n_rep": in_range(1, np.inf, closed="left", integer=True),
        "design": one_of("srs", "bernoulli", "stratified"),
        "normalize_prob": is_bool,
        "prob_terms": optional(_is_names),
        "variance": one_of("robust", "design"),
        "population": one_of("superpopulation", "finite"),
        "tuning": optional(one_of("scalar", "matrix")),
        "vcov": optional(one_of("HC0", "HC1", "CR0", "CR1")),
        "use_t": is_bool,
        "missing": optional(one_of("raise", "drop")),
        "keep_influence": is_bool,
        "tol": in_range(0, 1, closed="neither"),
        "max_iter": in_range(1, np.inf, closed="left", integer=True),
        "n_jobs": optional(in_range(-64, 4096, integer=True)),
        "verbose": in_range(0, 10, integer=True),
    }

    def __init__(
        self,
        *,
        learner: Any = "auto",
        cv: Any = 5,
        n_rep: int = 10,
        design: str = "srs",
        normalize_prob: bool = True,
        prob_terms: Any = None,
        variance: str = "robust",
        population: str = "superpopulation",
        tuning: str | None = None,
        vcov: str | None = None,
        use_t: bool = False,
        missing: str | None = None,
        keep_influence: bool = False,
        tol: float = 1e-10,
        max_iter: int = 50,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.learner = learner
        self.cv = cv
        self.n_rep = n_rep
        self.design = design
        self.normalize_prob = normalize_prob
        self.prob_terms = prob_terms
        self.variance = variance
        self.population = population
        self.tuning = tuning
        self.vcov = vcov
        self.use_t = use_t
        self.missing = missing
        self.keep_influence = keep_influence
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    # What a subclass says about its model; ``formula``, ``fit_intercept`` and ``by`` are
    # constructor parameters where a class has them.
    _labels = False

    def _model_name(self) -> str:
        raise NotImplementedError

    def _terms(self) -> Terms:
        raise NotImplementedError

    def _words(self, outcome: str) -> tuple[str, str]:
        """Say method and estimand in words."""
        raise NotImplementedError

    def _missing_role(self, role: str, X: Array, y: Any) -> Any:
        raise RoleError(
            f"{type(self).__name__}.fit: give at least one of prediction, features. Pass an array "
            f"of {X.shape[0]} values, or a column name when X is a data frame."
        )

    def _encode_outcome(self, data: RoleData) -> tuple[RoleData, tuple[Any, Any] | None]:
        """Expert labels as numbers, and the classes they stand for."""
        return data, None

    def _remember(self, problem: Problem, options: Options, found: Estimate) -> Self:
        method, estimand = self._words(problem.data.outcome)
        call = self._call()
        self._store(
            make_result(problem, options, found, method=method, estimand=estimand, call=call),
            problem.data,
        )
        labelling = problem.labelling
        names = list(self.result_.names)
        self.n_labeled_ = labelling.n_labeled
        # One number a row would be data; its range is what a reader needs.
        prob = labelling.prob
        self.sample_prob_ = (
            float(prob[0]) if labelling.equal else (float(prob.min()), float(prob.max()))
        )
        self.surrogate_report_ = surrogate_report(problem, found.predictions)
        self.design_effect_ = pd.Series(found.effect, index=names, name="design_effect")
        self.repeat_params_ = pd.DataFrame([fit.theta for fit in found.fits], columns=names)
        tuning = [fit.tuning for fit in found.fits if fit.tuning is not None]
        self.tuning_ = np.median(tuning, axis=0) if tuning else None
        self.losses_ = {name: np.array(loss) for name, loss in found.predictions.losses.items()}
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        prediction: Any = None,
        labeled: Any = None,
        sample_prob: Any = None,
        features: Any = None,
        strata: Any = None,
        psu: Any = None,
        sample_weight: Any = None,
        clusters: Any = None,
    ) -> Self:
        """Estimate what expert labels on every row would have given.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates of the model; with ``formula`` a frame holding all columns. A column named
            by a role is not a covariate. :class:`DSLMean` also takes None.
        y : array of shape (n,) or str, optional
            Expert labels, missing (NaN, None, NA) where a row was not labelled; a column name
            when ``X`` is a frame. None with a formula.
        prediction : array of shape (n,) or (n, q), str, list of str, or dict, optional
            Surrogate(s) of the outcome, for every row: LLM annotation, classifier output, score.
            A dict such as ``{"y": ["gpt", "bert"], "x1": "x1_hat"}`` also names covariates that
            are known for labelled rows only; without "y" the outcome is observed.
        labeled : array of shape (n,) or str, optional
            1 or True where a row was labelled by experts. Default: where no predicted column is
            missing.
        sample_prob : array of shape (n,) or str, optional
            Known probability of being labelled, in (0, 1]. Default: equal probabilities.
        features : array of shape (n, q), str or list of str, optional
            Further inputs of the learner; categories are coded one-hot.
        strata : array of shape (n,) or str, optional
            Strata within which a fixed number of rows was labelled (``design="stratified"``), or
            strata of the primary sampling units.
        psu : array of shape (n,) or str, optional
            Primary sampling units of a survey; the variance is that of their totals.
        sample_weight : array of shape (n,) or str, optional
            Probability weights of the rows; they multiply the score.
        clusters : array of shape (n,) or str, optional
            Groups of dependent rows (documents of one author); also kept together in folds.

        Returns
        -------
        self
            Fitted estimator.

        Raises
        ------
        DataError
            Missing or infinite values, labels of the wrong type, too few labels.
        RoleError
            No prediction and no features, contradictions between labels and ``labeled``,
            probabilities outside (0, 1], columns that do not exist.
        ParameterError
            An option outside its set, or options that contradict each other.
        CollinearityError
            Linearly dependent columns, by name.
        """
        problem, options = self._prepare(
            X,
            y,
            prediction=prediction,
            labeled=labeled,
            sample_prob=sample_prob,
            features=features,
            strata=strata,
            psu=psu,
            sample_weight=sample_weight,
            clusters=clusters,
        )
        return self._remember(problem, options, estimate(problem, options))

    def _prepare(
        self,
        X: Any,
        y: Any = None,
        *,
        prediction: Any = None,
        labeled: Any = None,
        sample_prob: Any = None,
        features: Any = None,
        strata: Any = None,
        psu: Any = None,
        sample_weight: Any = None,
        clusters: Any = None,
    ) -> tuple[Problem, Options]:
        """Validate the arguments of ``fit`` and set up the estimating equations."""
        self._check_parameters()
        options = Options(**{name: getattr(self, name) for name in Options.__slots__})
        terms = self._terms()
        outcome_names = ("y", _outcome_name(y, terms.formula))
        mapped = list(prediction) if isinstance(prediction, dict) else ["y"]
        data = read_data(
            self,
            X,
            y,
            roles={
                "prediction": prediction,
                "labeled": labeled,
                "sample_prob": sample_prob,
                "features": features,
                "strata": strata,
                "psu": psu,
            },
            sample_weight=sample_weight,
            clusters=clusters,
            outcome_kind="labels" if self._labels else "numeric",
            outcome_may_miss=any(key in outcome_names for key in mapped),
            predicted=[key for key in mapped if key not in outcome_names],
            terms=terms,
            missing=self.missing,
        )
        data, classes = self._encode_outcome(data)
        found = data.roles.get("prediction")
        if isinstance(found, dict) and not found:
            raise RoleError("prediction is an empty dict. Name at least one predicted column.")
        if found is None and features is None:
            found = pd.DataFrame({"prediction": self._missing_role("prediction", data.X, data.y)})
        elif found is None and self.learner == "passthrough":
            raise RoleError("learner='passthrough' needs prediction=: the surrogate to be used.")
        problem = read_problem(data, FAMILIES[self._model_name()], options, found, classes)
        return problem, options


class _SurrogateRegression(_SurrogateEstimator):
    """Generalised linear models: they have a formula and an intercept."""

    model: str
    formula: str | None
    fit_intercept: bool

    def _terms(self) -> Terms:
        return Terms(self.formula, self.fit_intercept)

    def _model_name(self) -> str:
        return self.model

    def _mean_and_slope(self, eta: Array) -> tuple[Array, Array]:
        family = FAMILIES[self.model]
        mu = family.mean(eta)
        return mu, family.slope(mu)


@shared_parameters
class DSLRegressor(RegressorMixin, _SurrogateRegression):
    """Linear or Poisson regression when outcome or covariates are surrogates.

    Use it when a machine labelled every row (sentiment, topic, stance, a scanned amount) and
    experts labelled a random part. The estimand is the coefficient that the same regression
    would give with expert labels on every row; confidence intervals cover it whatever the
    errors of the machine, because the expert labels correct them at a known sampling rate.

    Parameters
    ----------
    model : {"linear", "poisson"}, default="linear"
        Least squares, or Poisson regression with log link (coefficients in log units).
    formula : str, optional
        Model formula such as ``"y ~ x1 * x2 + C(region)"``; then ``X`` is a frame.
    fit_intercept : bool, default=True
        Whether to put a column of ones in front (without formula).
    {shared}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    DSLClassifier : Logistic regression.
    DSLMean : Means and shares, overall or by group.
    compare_estimators : The same model with and without expert labels.

    Notes
    -----
    {notes}

    References
    ----------
    {references}

    Examples
    --------
    >>> from robuststat import DSLRegressor
    >>> from robuststat.simulation import make_surrogate_linear
    >>> data = make_surrogate_linear(n=2000, n_labeled=200, random_state=1)
    >>> fit = DSLRegressor(learner="ols", variance="design", random_state=1)
    >>> _ = fit.fit(data.X, data.y, prediction=data.prediction, features=data.X)
    >>> fit.tidy()[["term", "estimate", "std_error"]].round(2)
              term  estimate  std_error
    0  (Intercept)      0.28       0.04
    1           x1      0.46       0.04
    2           x2     -0.41       0.04
    3           x3      0.17       0.04
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **_SurrogateEstimator._parameter_checks,
        "model": one_of("linear", "poisson"),
        "formula": optional(is_string),
        "fit_intercept": is_bool,
    }

    def __init__(
        self,
        model: str = "linear",
        *,
        formula: str | None = None,
        learner: Any = "auto",
        cv: Any = 5,
        n_rep: int = 10,
        design: str = "srs",
        normalize_prob: bool = True,
        prob_terms: Any = None,
        variance: str = "robust",
        population: str = "superpopulation",
        tuning: str | None = None,
        vcov: str | None = None,
        use_t: bool = False,
        fit_intercept: bool = True,
        missing: str | None = None,
        keep_influence: bool = False,
        tol: float = 1e-10,
        max_iter: int = 50,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            learner=learner,
            cv=cv,
            n_rep=n_rep,
            design=design,
            normalize_prob=normalize_prob,
            prob_terms=prob_terms,
            variance=variance,
            population=population,
            tuning=tuning,
            vcov=vcov,
            use_t=use_t,
            missing=missing,
            keep_influence=keep_influence,
            tol=tol,
            max_iter=max_iter,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.model = model
        self.formula = formula
        self.fit_intercept = fit_intercept

    def _encode_outcome(self, data: RoleData) -> tuple[RoleData, tuple[Any, Any] | None]:
        if self.model == "poisson":
            check_counts(data.y, data.outcome)
        return data, None

    def _words(self, outcome: str) -> tuple[str, str]:
        kind = "Linear model" if self.model == "linear" else "Poisson regression (log link)"
        return (
            f"{kind}, design-based correction for surrogate labels",
            f"coefficients of this regression, as expert labels of {outcome} on every row "
            "would give them",
        )

    def predict(self, X: Any) -> Array:
        """Predict the expected outcome of new rows.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates, gold values throughout.

        Returns
        -------
        ndarray of shape (n,)
            In the unit of y.
        """
        return self._mean_and_slope(self._linear_predictor(X))[0]


@shared_parameters
class DSLClassifier(ClassifierMixin, _SurrogateRegression):
    """Logistic regression when outcome or covariates are surrogates.

    Use it when a machine labelled every row and experts labelled a random part. The estimand is
    the log-odds coefficient that the same logistic regression would give with expert labels on
    every row; confidence intervals cover it whatever the errors of the machine.

    Parameters
    ----------
    model : {"logit"}, default="logit"
        Logistic regression for two classes.
    formula : str, optional
        Model formula such as ``"positive ~ log_words + C(source)"``; then ``X`` is a frame.
    fit_intercept : bool, default=True
        Whether to put a column of ones in front (without formula).
    {shared}

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        Labels; coefficients are the log-odds of the second.
    {attributes}

    See Also
    --------
    DSLRegressor : Linear and Poisson regression.
    DSLMean : Means and shares, overall or by group.
    compare_estimators : The same model with and without expert labels.

    Notes
    -----
    {notes}

    References
    ----------
    {references}

    Examples
    --------
    >>> from robuststat import DSLClassifier
    >>> from robuststat.simulation import make_surrogate_logit
    >>> data = make_surrogate_logit(n=3000, n_labeled=400, random_state=1)
    >>> fit = DSLClassifier(learner="logit", n_rep=2, random_state=1)
    >>> _ = fit.fit(data.X, data.y, prediction=data.prediction, features=data.X)
    >>> bool((abs(fit.coef_ - data.truth[1:]) < 4 * fit.std_error_[1:]).all())
    True
    """

    _labels = True
    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **DSLRegressor._parameter_checks,
        "model": one_of("logit"),
    }

    def __init__(
        self,
        model: str = "logit",
        *,
        formula: str | None = None,
        learner: Any = "auto",
        cv: Any = 5,
        n_rep: int = 10,
        design: str = "srs",
        normalize_prob: bool = True,
        prob_terms: Any = None,
        variance: str = "robust",
        population: str = "superpopulation",
        tuning: str | None = None,
        vcov: str | None = None,
        use_t: bool = False,
        fit_intercept: bool = True,
        missing: str | None = None,
        keep_influence: bool = False,
        tol: float = 1e-10,
        max_iter: int = 50,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            learner=learner,
            cv=cv,
            n_rep=n_rep,
            design=design,
            normalize_prob=normalize_prob,
            prob_terms=prob_terms,
            variance=variance,
            population=population,
            tuning=tuning,
            vcov=vcov,
            use_t=use_t,
            missing=missing,
            keep_influence=keep_influence,
            tol=tol,
            max_iter=max_iter,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.model = model
        self.formula = formula
        self.fit_intercept = fit_intercept

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def _encode_outcome(self, data: RoleData) -> tuple[RoleData, tuple[Any, Any] | None]:
        values, classes = encode_labels(data.y, data.outcome, data.weights, self._refuse_numbers)
        self.classes_ = np.array(classes)
        return replace(data, y=values), classes

    def _refuse_numbers(self, name: str, values: list[float]) -> None:
        """Refuse two numeric classes other than 0 and 1; tests override this to accept them."""
        raise DataError(not_binary(name, values))

    def _words(self, outcome: str) -> tuple[str, str]:
        return (
            "Logistic regression, design-based correction for surrogate labels",
            f"log-odds coefficients of {outcome} = {self.classes_[1]!s}, as expert labels on every "
            "row would give them",
        )

    def decision_function(self, X: Any) -> Array:
        """Log-odds of the second class of new rows, of shape (n,)."""
        return self._linear_predictor(X)

    def predict_proba(self, X: Any) -> Array:
        """Class probabilities of new rows, of shape (n, 2), in the order of ``classes_``."""
        second = self._mean_and_slope(self._linear_predictor(X))[0]
        return np.column_stack([1.0 - second, second])

    def predict(self, X: Any) -> Any:
        """Most probable class of new rows, of shape (n,)."""
        second = (self._linear_predictor(X) > 0).astype(int)
        return self.classes_[second]


@shared_parameters
class DSLMean(RegressorMixin, _SurrogateEstimator):
    """Mean or share of a label, overall or by group, when most labels are surrogates.

    The estimand is the mean of the expert label over all rows (of a group); for 0/1 labels the
    share. Confidence intervals cover it whatever the errors of the machine.

    Parameters
    ----------
    by : str or list of str, optional
        Columns of ``X`` whose combinations form the groups; None for one overall mean.
    {shared}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    DSLRegressor : Regression of a label on covariates.

    Notes
    -----
    {notes}

    References
    ----------
    {references}

    Examples
    --------
    >>> from robuststat import DSLMean
    >>> from robuststat.simulation import make_surrogate_prevalence
    >>> data = make_surrogate_prevalence(random_state=1)
    >>> fit = DSLMean(learner="passthrough", variance="design")
    >>> _ = fit.fit(None, data.y, prediction=data.prediction)
    >>> abs(float(fit.coef_[0]) - data.truth.iloc[0]) < 4 * float(fit.std_error_[0])
    True
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **_SurrogateEstimator._parameter_checks,
        "by": optional(any_of(is_string, _is_names)),
    }

    def __init__(
        self,
        *,
        by: Any = None,
        learner: Any = "auto",
        cv: Any = 5,
        n_rep: int = 10,
        design: str = "srs",
        normalize_prob: bool = True,
        prob_terms: Any = None,
        variance: str = "robust",
        population: str = "superpopulation",
        tuning: str | None = None,
        vcov: str | None = None,
        use_t: bool = False,
        missing: str | None = None,
        keep_influence: bool = False,
        tol: float = 1e-10,
        max_iter: int = 50,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            learner=learner,
            cv=cv,
            n_rep=n_rep,
            design=design,
            normalize_prob=normalize_prob,
            prob_terms=prob_terms,
            variance=variance,
            population=population,
            tuning=tuning,
            vcov=vcov,
            use_t=use_t,
            missing=missing,
            keep_influence=keep_influence,
            tol=tol,
            max_iter=max_iter,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.by = by

    def _model_name(self) -> str:
        return "linear"

    def _terms(self) -> Terms:
        by = (self.by,) if isinstance(self.by, str) else tuple(self.by or ())
        return Terms(by=by)

    def _words(self, outcome: str) -> tuple[str, str]:
        groups = "" if self.by is None else " by group"
        return (
            f"Mean{groups}, design-based correction for surrogate labels",
            f"mean of {outcome}{groups}, as expert labels on every row would give it",
        )

    def predict(self, X: Any) -> Array:
        """Mean of the group of each new row, of shape (n,)."""
        return self._linear_predictor(X)
