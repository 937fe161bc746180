"""Means and shares of surrogate labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from sklearn.base import RegressorMixin

from robuststat._core.columns import Terms
from robuststat._core.data import RoleData
from robuststat._core.params import (
    Check,
    any_of,
    is_string,
    optional,
)
from robuststat._core.types import Array
from robuststat.surrogate._base import SurrogateEstimator, is_names
from robuststat.surrogate._doc import shared_parameters
from robuststat.surrogate._models import RowModel, row_model
from robuststat.surrogate._outcome import (
    class_numbers,
    encode_classes,
    encode_labels,
    outcome_numbers,
)
from robuststat.surrogate._targets import OUTCOME, Classes


@shared_parameters
class DSLMean(RegressorMixin, SurrogateEstimator):
    """Mean or share of a label, overall or by group, when most labels are surrogates.

    The estimand is the mean of the expert label over all rows (of a group); for 0/1 labels, or two
    class labels as strings, the share (of the second in sorted order); for more classes the share
    of each. Confidence intervals cover it whatever the errors of the machine. Surrogates of
    several classes are labels of the same classes, or one column of probabilities a class.

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
    >>> fit.tidy()[["term", "estimate", "std_error"]].round(2)
       term  estimate  std_error
    0  mean      0.54       0.05
    """

    _labels = True
    _several_outcomes = True
    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **SurrogateEstimator._parameter_checks,
        "by": optional(any_of(is_string, is_names)),
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

    def _row_model(self, data: RoleData, classes: Classes) -> RowModel:
        columns = np.atleast_2d(data.y.T).shape[0]
        return row_model("linear", n_outcomes=columns)

    def _terms(self) -> Terms:
        by = (self.by,) if isinstance(self.by, str) else tuple(self.by or ())
        return Terms(by=by)

    def _encode_outcome(self, data: RoleData) -> tuple[RoleData, Classes]:
        self.__dict__.pop("classes_", None)  # of an earlier fit
        if data.outcomes:
            columns = [outcome_numbers(v, n) for n, v in zip(data.outcomes, data.y.T, strict=True)]
            return replace(data, y=np.column_stack(columns)), {}
        series = pd.Series(data.y).infer_objects()
        if pd.api.types.is_numeric_dtype(series) or not series.notna().any():
            return replace(data, y=outcome_numbers(series, data.outcome)), {}
        if series.nunique() > 2:
            values, levels = encode_classes(data.y, data.outcome, data.weights)
        else:
            values, levels = encode_labels(data.y, data.outcome, data.weights)
        self.classes_ = np.array(levels)
        return replace(data, y=values), {OUTCOME: levels}

    def _outcome_numbers(self, values: Any) -> Array:
        if np.ndim(values) == 2:
            return np.asarray(values, dtype=np.float64)
        if not hasattr(self, "classes_"):
            return super()._outcome_numbers(values)
        if len(self.classes_) == 2:
            return class_numbers(values, self.classes_[1])
        return np.column_stack([class_numbers(values, c) for c in self.classes_])

    def _words(self, outcome: str) -> tuple[str, str]:
        groups = "" if self.by is None else " by group"
        classes: Any = getattr(self, "classes_", ())
        what = f"mean of {outcome}"
        if len(classes) == 2:
            what = f"share of {outcome} = {classes[1]!s}"
        elif len(classes):
            what = f"share of each class of {outcome}"
        return (
            f"Mean{groups}, design-based correction for surrogate labels",
            f"{what}{groups}, as expert labels on every row would give it",
        )

    def predict(self, X: Any) -> Array:
        """Mean of the group of each new row, of shape (n,), or class shares (n, C)."""
        return self._linear_predictor(X)
