"""Logistic regression on surrogate labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from scipy.special import softmax
from sklearn.base import ClassifierMixin

from robuststat._core.data import RoleData
from robuststat._core.errors import DataError
from robuststat._core.params import (
    Check,
    one_of,
)
from robuststat._core.types import Array
from robuststat.surrogate._doc import shared_parameters
from robuststat.surrogate._models import RowModel, row_model
from robuststat.surrogate._outcome import (
    class_numbers,
    encode_classes,
    encode_labels,
    not_binary,
)
from robuststat.surrogate._regression import SurrogateRegression
from robuststat.surrogate._targets import OUTCOME, Classes


@shared_parameters
class DSLClassifier(ClassifierMixin, SurrogateRegression):
    """Logistic or multinomial regression when outcome or covariates are surrogates.

    Use it when a machine labelled every row and experts labelled a random part. The estimand is
    the log-odds coefficient that the same logistic regression would give with expert labels on
    every row; confidence intervals cover it whatever the errors of the machine.

    Parameters
    ----------
    model : {"logit", "multinomial"}, default="logit"
        Logistic regression for two classes, or multinomial logistic regression for any number;
        its coefficients are log-odds of each class against the first.
    formula : str, optional
        Model formula such as ``"positive ~ log_words + C(source)"``; then ``X`` is a frame.
    fit_intercept : bool, default=True
        Whether to put a column of ones in front (without formula).
    {shared}

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        Labels in sorted order; coefficients are log-odds against the first.
    {attributes}

    See Also
    --------
    DSLRegressor : Linear and Poisson regression.
    DSLMean : Means and shares, overall or by group.
    compare_estimators : The same model with and without expert labels.

    Notes
    -----
    {notes}

    Surrogates of more than two classes are labels of the same classes, or one column of
    probabilities a class (in the order of ``classes_``, or named by class). ``y`` may hold several
    0/1 outcomes, each with a logistic regression of its own; ``prediction`` is then a dict.

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
    _several_outcomes = True
    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **SurrogateRegression._parameter_checks,
        "model": one_of("logit", "multinomial"),
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
        tags.classifier_tags.multi_class = self.model == "multinomial"
        return tags

    def _encode_outcome(self, data: RoleData) -> tuple[RoleData, Classes]:
        if data.outcomes:
            return self._encode_several(data), {}
        if self.model == "multinomial":
            values, levels = encode_classes(data.y, data.outcome, data.weights)
        else:
            values, levels = encode_labels(data.y, data.outcome, data.weights, self._refuse_numbers)
        self.classes_ = np.array(levels)
        return replace(data, y=values), {OUTCOME: levels}

    def _encode_several(self, data: RoleData) -> RoleData:
        """Several 0/1 outcomes, one logit model each."""
        if self.model == "multinomial":
            raise DataError(
                f"model='multinomial' takes one outcome; y holds {len(data.outcomes)} "
                f"({', '.join(data.outcomes)}). Fit them one by one, or use model='logit'."
            )
        columns = []
        for name, values in zip(data.outcomes, data.y.T, strict=True):
            numbers, levels = encode_labels(values, name, data.weights)
            if levels != (0, 1):
                raise DataError(
                    f"With several outcomes each must be 0/1; {name!r} holds {levels[0]!r} and "
                    f"{levels[1]!r}. Recode it."
                )
            columns.append(numbers)
        self.classes_ = np.array([0, 1])
        return replace(data, y=np.column_stack(columns))

    def _row_model(self, data: RoleData, classes: Classes) -> RowModel:
        n_classes = len(classes.get(OUTCOME, (0, 1)))
        return row_model(self.model, n_outcomes=max(1, len(data.outcomes)), n_classes=n_classes)

    def _refuse_numbers(self, name: str, values: list[float]) -> None:
        """Refuse two numeric classes other than 0 and 1; tests override this to accept them."""
        raise DataError(not_binary(name, values))

    def _words(self, outcome: str) -> tuple[str, str]:
        kind = "Logistic" if self.model == "logit" else "Multinomial logistic"
        what = f"log-odds coefficients of {outcome} = {self.classes_[1]!s}"
        if self.model == "multinomial":
            what = f"log-odds coefficients of each class of {outcome} against {self.classes_[0]!s}"
        return (
            f"{kind} regression, design-based correction for surrogate labels",
            f"{what}, as expert labels on every row would give them",
        )

    def _outcome_numbers(self, values: Any) -> Array:
        if self.model == "multinomial":
            return np.column_stack([class_numbers(values, c) for c in self.classes_])
        if np.ndim(values) == 2:
            return np.asarray(values, dtype=np.float64)
        return class_numbers(values, self.classes_[1])

    def _fitted_names(self) -> list[str]:
        if self.model == "multinomial":
            return [str(value) for value in self.classes_]
        return super()._fitted_names()

    def _mean_and_slope(self, eta: Array) -> tuple[Array, Array]:
        if self.model != "multinomial":
            return super()._mean_and_slope(eta)
        others = eta if eta.ndim == 2 else eta[:, None]
        p = np.asarray(softmax(np.column_stack([np.zeros(len(eta)), others]), axis=1))
        return p, p[:, :, None] * (np.eye(p.shape[1])[None, :, 1:] - p[:, None, 1:])

    def decision_function(self, X: Any) -> Array:
        """Log-odds of new rows.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates.

        Returns
        -------
        ndarray of shape (n,)
            Of the second class; (n, C) against the first class for C > 2 classes; (n, m) for m
            outcomes.
        """
        eta = self._linear_predictor(X)
        if self.model == "multinomial" and eta.ndim == 2:
            return np.column_stack([np.zeros(len(eta)), eta])
        return eta

    def predict_proba(self, X: Any) -> Array:
        """Class probabilities of new rows.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates.

        Returns
        -------
        ndarray of shape (n, C)
            In the order of ``classes_``; (n, m), the probabilities of 1, for m outcomes.
        """
        mean = self._mean_and_slope(self._linear_predictor(X))[0]
        return np.column_stack([1.0 - mean, mean]) if mean.ndim == 1 else mean

    def predict(self, X: Any) -> Any:
        """Most probable class of new rows, of shape (n,), or (n, m) for m outcomes."""
        if self.model == "multinomial":
            return self.classes_[self.predict_proba(X).argmax(axis=1)]
        second = (self._linear_predictor(X) > 0).astype(int)
        return self.classes_[second]
