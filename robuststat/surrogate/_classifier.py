"""Logistic regression on surrogate labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin

from robuststat._core.data import RoleData
from robuststat._core.errors import DataError
from robuststat._core.params import (
    Check,
    one_of,
)
from robuststat._core.types import Array
from robuststat.surrogate._base import SurrogateRegression
from robuststat.surrogate._doc import shared_parameters
from robuststat.surrogate._outcome import class_numbers, encode_labels, not_binary


@shared_parameters
class DSLClassifier(ClassifierMixin, SurrogateRegression):
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
    >>> covered = abs(fit.coef_ - data.truth.iloc[1:]) < 4 * fit.std_error_[1:]
    >>> bool(covered.all())
    True
    """

    _labels = True
    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **SurrogateRegression._parameter_checks,
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

    def _outcome_numbers(self, values: Any) -> Array:
        return class_numbers(values, self.classes_[1])

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
