"""What all estimators on surrogate labels share: options, fit, fitted attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from robuststat._core.columns import Terms
from robuststat._core.data import RoleData, read_data
from robuststat._core.errors import DataError, ParameterError, RoleError
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
from robuststat._core.roles import columns_named_by
from robuststat._core.table import as_table
from robuststat._core.types import Array
from robuststat.base import InferenceEstimator
from robuststat.surrogate._diagnostics import surrogate_report
from robuststat.surrogate._fit import Estimate, estimate, make_result, read_problem
from robuststat.surrogate._learners import LEARNER_NAMES
from robuststat.surrogate._options import Options
from robuststat.surrogate._problem import Problem, by_target


def is_names(value: Any) -> str | None:
    fine = isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value) and value
    return None if fine else "a list of column names"


def _outcome_name(y: Any, formula: str | None) -> str:
    if formula is not None and "~" in formula:
        return formula.split("~")[0].strip().strip("`") or "y"
    if isinstance(y, str):
        return y
    name = getattr(y, "name", None)
    return name if isinstance(name, str) and name else "y"


def refuse_absorbed_roles(absorb: tuple[str, ...], used: tuple[str, ...]) -> None:
    both = [name for name in absorb if name in used]
    if both:
        raise ParameterError(
            f"absorb names {', '.join(map(repr, both))}, which is also outcome, prediction or part "
            "of the formula. A column is absorbed or in the model: name it once."
        )


class SurrogateEstimator(InferenceEstimator):
    """Options and fit that all design-based estimators on surrogate labels share."""

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "learner": any_of(one_of(*LEARNER_NAMES), is_estimator),
        "cv": is_cv,
        "n_rep": in_range(1, np.inf, closed="left", integer=True),
        "design": one_of("srs", "bernoulli", "stratified"),
        "normalize_prob": is_bool,
        "prob_terms": optional(is_names),
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

    def _refuse_no_covariate(self) -> None:
        """Refuse a frame without covariates where the model is about covariates."""

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
        low, high = float(prob.min()), float(prob.max())
        self.sample_prob_ = low if np.isclose(low, high, rtol=1e-12, atol=0.0) else (low, high)
        self.surrogate_report_ = surrogate_report(problem, found.predictions)
        self.design_effect_ = pd.Series(found.effect, index=names, name="design_effect")
        self.repeat_params_ = pd.DataFrame([fit.theta for fit in found.fits], columns=names)
        tuning = [fit.tuning for fit in found.fits if fit.tuning is not None]
        self.tuning_ = np.median(tuning, axis=0) if tuning else None
        self._plan_parts = found.plan
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
        outcome = _outcome_name(y, terms.formula)
        table = as_table(X)
        columns = () if table is None else table.names
        by_name = isinstance(y, str) or terms.formula is not None
        others = [c for c in columns if not (by_name and c == outcome)]
        prediction = by_target(prediction, outcome, others)
        refuse_absorbed_roles(terms.absorb, (outcome, *columns_named_by(prediction)))
        mapped = list(prediction) if isinstance(prediction, dict) else ["y"]
        if by_name and outcome in columns_named_by(prediction):
            raise RoleError(
                f"prediction names {outcome!r}, which is the outcome. Name the column of the "
                "machine's labels, known for every row."
            )
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
                "absorb": terms.absorb or None,
            },
            sample_weight=sample_weight,
            clusters=clusters,
            outcome_kind="labels" if self._labels else "numeric",
            outcome_may_miss="y" in mapped,
            predicted=[key for key in mapped if key != "y"],
            terms=terms,
            missing=self.missing,
        )
        refuse_absorbed_roles(terms.absorb, data.design.columns)
        if table is not None and terms.formula is None and data.design.columns == ():
            self._refuse_no_covariate()
        data, classes = self._encode_outcome(data)
        found = data.roles.get("prediction")
        if found is None and features is None:
            found = pd.DataFrame({"prediction": self._missing_role("prediction", data.X, data.y)})
        elif found is None and self.learner == "passthrough":
            raise RoleError("learner='passthrough' needs prediction=: the surrogate to be used.")
        left_side = terms.formula is not None and bool(terms.formula.split("~")[0].strip())
        transformed = left_side and outcome not in columns
        family = FAMILIES[self._model_name()]
        return read_problem(data, family, options, found, classes, transformed), options


class SurrogateRegression(SurrogateEstimator):
    """Generalised linear models: they have a formula and an intercept."""

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **SurrogateEstimator._parameter_checks,
        "formula": optional(is_string),
        "fit_intercept": is_bool,
    }

    model: str
    formula: str | None
    fit_intercept: bool

    def _terms(self) -> Terms:
        return Terms(self.formula, self.fit_intercept)

    def _refuse_no_covariate(self) -> None:
        raise DataError(
            "X has no covariate: every column is named by a role (such as features=), and a role "
            "column is no covariate. Name the covariates in a formula, pass the role as an array, "
            "or use DSLMean for a mean."
        )

    def _model_name(self) -> str:
        return self.model

    def _mean_and_slope(self, eta: Array) -> tuple[Array, Array]:
        family = FAMILIES[self.model]
        mu = family.mean(eta)
        return mu, family.slope(mu)
