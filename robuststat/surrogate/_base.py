"""What all estimators on surrogate labels share: options, fit, fitted attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from robuststat._core.columns import Terms
from robuststat._core.data import RoleData, read_data
from robuststat._core.errors import DataError, ParameterError, RoleError
from robuststat._core.formula import INTERCEPT
from robuststat._core.params import (
    Check,
    any_of,
    in_range,
    is_bool,
    is_cv,
    is_estimator,
    one_of,
    optional,
)
from robuststat._core.roles import columns_named_by
from robuststat._core.stream import is_source
from robuststat._core.table import Table, as_table
from robuststat._core.types import Array
from robuststat.base import InferenceEstimator
from robuststat.surrogate._diagnostics import surrogate_report
from robuststat.surrogate._fit import (
    Estimate,
    estimate,
    make_result,
    read_problem,
)
from robuststat.surrogate._learners import LEARNER_NAMES
from robuststat.surrogate._models import RowModel
from robuststat.surrogate._options import Options
from robuststat.surrogate._problem import Problem
from robuststat.surrogate._stream_fit import (
    read_source,
    refuse_in_memory_options,
    stream_problem,
)
from robuststat.surrogate._targets import (
    Classes,
    by_target,
    outcome_names,
    refuse_absorbed_roles,
)


def is_names(value: Any) -> str | None:
    fine = isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value) and value
    return None if fine else "a list of column names"


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

    # What a subclass says about its model.
    _labels = False
    _several_outcomes = False

    def _row_model(self, data: RoleData, classes: Classes) -> RowModel:
        """Scores of a row."""
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

    def _encode_outcome(self, data: RoleData) -> tuple[RoleData, Classes]:
        """Expert labels as numbers, and the classes they stand for."""
        return data, {}

    def _remember(self, problem: Problem, options: Options, found: Estimate) -> Self:
        method, estimand = self._words(problem.data.outcome)
        call = self._call()
        self._store(
            make_result(problem, options, found, method=method, estimand=estimand, call=call),
            problem.data,
        )
        labelling = problem.labelling
        self._shape_coefficients(problem)
        names = list(problem.labels)
        self.n_labeled_ = labelling.n_labeled
        # One number a row would be data; its range is what a reader needs.
        low, high = labelling.range
        self.sample_prob_ = low if np.isclose(low, high, rtol=1e-12, atol=0.0) else (low, high)
        self.surrogate_report_ = surrogate_report(problem, found.predictions)
        self.design_effect_ = pd.Series(found.effect, index=names, name="design_effect")
        self.repeat_params_ = pd.DataFrame([fit.theta for fit in found.fits], columns=names)
        tuning = [fit.tuning for fit in found.fits if fit.tuning is not None]
        self.tuning_ = np.median(tuning, axis=0) if tuning else None
        self._plan_parts = found.plan
        self.losses_ = {name: np.array(loss) for name, loss in found.predictions.losses.items()}
        return self

    def _shape_coefficients(self, problem: Problem) -> None:
        """One row of ``coef_`` and one intercept for each of several outcomes or classes."""
        if problem.blocks is None:
            return
        table = np.array(self.result_.estimate).reshape(len(problem.blocks), -1)
        position = problem.data.names.index(INTERCEPT) if INTERCEPT in problem.data.names else None
        self.coef_ = table if position is None else np.delete(table, position, axis=1)
        zeros = np.zeros(table.shape[0])
        self.intercept_ = zeros if position is None else table[:, position]

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
            by a role is not a covariate. :class:`DSLMean` also takes None. A source read in
            chunks goes to :meth:`fit_stream`.
        y : array of shape (n,) or (n, m), frame, str or list of str, optional
            Expert labels, missing (NaN, None, NA) where a row was not labelled; column name(s)
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
        roles = {
            "prediction": prediction,
            "labeled": labeled,
            "sample_prob": sample_prob,
            "features": features,
            "strata": strata,
            "psu": psu,
            "sample_weight": sample_weight,
            "clusters": clusters,
        }
        if is_source(X):
            return self.fit_stream(X, y, **roles)
        problem, options = self._prepare(X, y, **roles)
        self._remember_roles(y, roles)
        return self._remember(problem, options, estimate(problem, options))

    def fit_stream(  # type: ignore[override]
        self,
        source: Any,
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
        """Fit on rows that need not fit in memory; the result is that of ``fit``.

        Parameters
        ----------
        source : path, pyarrow dataset, Dask frame, list of frames, or callable
            A Parquet file or folder; an open pyarrow dataset or Parquet file; a Dask data frame,
            whose partitions are worked on where they are; a list of frames; or a function that
            returns a new iterator of frames. It is read several times.
        y : str or list of str, optional
            Name of the outcome column(s); None with a formula.
        prediction, labeled, sample_prob, features, strata, psu, sample_weight, clusters
            Roles as for ``fit``, by column name.

        Returns
        -------
        self
            Fitted estimator, equal to that of ``fit`` up to rounding.

        Raises
        ------
        ParameterError
            For options that need all rows at once: ``absorb``, ``tuning``, ``prob_terms``,
            ``keep_influence``, quantile regression, folds given as rows.
        RoleError
            When a role is not given by column name.
        DataError
            As for ``fit``; also when the source changes between two passes.

        Notes
        -----
        Memory holds one chunk, the labelled rows, and sums. A pass finds labelled rows and totals
        (one more finds the levels of text columns), Newton's method takes two to six, the variance
        one, for each repetition of cross-fitting: ``n_rep=1`` or 2 is enough for many rows.
        """
        roles = {
            "prediction": prediction,
            "labeled": labeled,
            "sample_prob": sample_prob,
            "features": features,
            "strata": strata,
            "psu": psu,
            "sample_weight": sample_weight,
            "clusters": clusters,
        }
        self._check_parameters()
        options = Options(**{name: getattr(self, name) for name in Options.__slots__})
        refuse_in_memory_options(self, options)
        rows, gold, sums = read_source(self, source, y, roles)
        problem = stream_problem(self, rows, gold, sums, options)
        self._remember_roles(y, roles)
        return self._remember(problem, options, estimate(problem, options))

    def _remember_roles(self, y: Any, roles: dict[str, Any]) -> None:
        """Keep column names, which are no data, for methods that need the rows again."""
        given = {"y": y, **roles}
        self._role_names = {n: v for n, v in given.items() if v is not None and columns_named_by(v)}
        self._role_arrays = tuple(
            n for n, v in given.items() if v is not None and n not in self._role_names
        )

    def _same_roles(self, y: Any, roles: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Fill in roles that were column names in ``fit``; ask for those that were arrays."""
        given = {n: v for n, v in {"y": y, **roles}.items() if v is not None}
        lacking = [n for n in self._role_arrays if n not in given]
        if lacking:
            raise ParameterError(
                f"fit was given {', '.join(lacking)} as arrays, which are not kept. Pass "
                f"{', '.join(f'{n}=' for n in lacking)} again."
            )
        full = {**self._role_names, **given}
        return full.pop("y", None), {name: full.get(name) for name in roles}

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
        roles = {
            "prediction": prediction,
            "labeled": labeled,
            "sample_prob": sample_prob,
            "features": features,
            "strata": strata,
            "psu": psu,
        }
        data = self._read(X, y, roles, sample_weight=sample_weight, clusters=clusters)
        data, classes = self._encode_outcome(data)
        found = data.roles.get("prediction")
        if found is None and features is None:
            found = pd.DataFrame({"prediction": self._missing_role("prediction", data.X, data.y)})
        elif found is None and self.learner == "passthrough":
            raise RoleError("learner='passthrough' needs prediction=: the surrogate to be used.")
        model = self._row_model(data, classes)
        transformed = self._transformed(as_table(X))
        return read_problem(data, model, options, found, classes, transformed), options

    def _transformed(self, table: Table | None) -> bool:
        """Whether the outcome is more than a column."""
        formula = self._terms().formula
        if formula is None or "~" not in formula or table is None:
            return False
        left = formula.split("~")[0].strip()
        return bool(left) and left.strip("`") not in table.names

    def _read(
        self,
        X: Any,
        y: Any,
        roles: dict[str, Any],
        *,
        sample_weight: Any = None,
        clusters: Any = None,
        design: Any = None,
        part: bool = False,
    ) -> RoleData:
        """Rows of a call of ``fit``, or of one part of a source, as plain arrays."""
        terms = self._terms()
        table = as_table(X)
        outcomes = outcome_names(y, terms.formula, table)
        if len(outcomes) > 1 and not self._several_outcomes:
            raise DataError(
                f"{type(self).__name__} takes one outcome; y holds {len(outcomes)} "
                f"({', '.join(outcomes)}). Fit them one by one."
            )
        columns = () if table is None else table.names
        by_name = isinstance(y, str) or terms.formula is not None or len(outcomes) > 1
        others = [c for c in columns if not (by_name and c in outcomes)]
        prediction = by_target(roles["prediction"], outcomes, others)
        refuse_absorbed_roles(terms.absorb, (*outcomes, *columns_named_by(prediction)))
        mapped = list(prediction) if isinstance(prediction, dict) else ["y"]
        named = [name for name in outcomes if by_name and name in columns_named_by(prediction)]
        if named:
            raise RoleError(
                f"prediction names {named[0]!r}, which is the outcome. Name the column of the "
                "machine's labels, known for every row."
            )
        keys = ("y",) if len(outcomes) == 1 else outcomes
        data = read_data(
            self,
            X,
            y,
            roles={**roles, "prediction": prediction, "absorb": terms.absorb or None},
            sample_weight=sample_weight,
            clusters=clusters,
            outcome_kind="labels" if self._labels else "numeric",
            outcome_may_miss="y" in mapped if len(outcomes) == 1 else mapped,
            predicted=[key for key in mapped if key not in keys],
            terms=terms,
            missing=self.missing,
            several_outcomes=self._several_outcomes,
            design=design,
            part=part,
        )
        refuse_absorbed_roles(terms.absorb, data.design.columns)
        if table is not None and terms.formula is None and data.design.columns == ():
            self._refuse_no_covariate()
        return data
