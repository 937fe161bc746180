"""Linear and Poisson regression on surrogate labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from sklearn.base import RegressorMixin

from robuststat._core.data import RoleData
from robuststat._core.params import (
    Check,
    one_of,
)
from robuststat._core.types import Array
from robuststat.surrogate._base import SurrogateRegression
from robuststat.surrogate._doc import shared_parameters
from robuststat.surrogate._outcome import check_counts


@shared_parameters
class DSLRegressor(RegressorMixin, SurrogateRegression):
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
        **SurrogateRegression._parameter_checks,
        "model": one_of("linear", "poisson"),
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
