"""Linear and Poisson regression on surrogate labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import pandas as pd
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from robuststat._core.columns import Terms
from robuststat._core.data import RoleData
from robuststat._core.errors import ParameterError
from robuststat._core.params import Check, any_of, in_range, is_string, one_of, optional
from robuststat._core.types import Array
from robuststat.surrogate._absorb import describe_groups
from robuststat.surrogate._base import is_names
from robuststat.surrogate._doc import shared_parameters
from robuststat.surrogate._fit import Estimate
from robuststat.surrogate._models import RowModel, row_model
from robuststat.surrogate._options import Options
from robuststat.surrogate._outcome import check_counts
from robuststat.surrogate._problem import Problem
from robuststat.surrogate._regression import SurrogateRegression
from robuststat.surrogate._targets import Classes


@shared_parameters
class DSLRegressor(RegressorMixin, SurrogateRegression):
    """Linear, Poisson or quantile regression when outcome or covariates are surrogates.

    Use it when a machine labelled every row (sentiment, topic, stance, a scanned amount) and
    experts labelled a random part. The estimand is the coefficient that the same regression
    would give with expert labels on every row; confidence intervals cover it whatever the
    errors of the machine, because the expert labels correct them at a known sampling rate.

    Parameters
    ----------
    model : {"linear", "poisson", "quantile"}, default="linear"
        Least squares, Poisson regression with log link (coefficients in log units), or quantile
        regression.
    quantile : float, default=0.5
        Which conditional quantile ``model="quantile"`` describes, in (0, 1).
    formula : str, optional
        Model formula such as ``"y ~ x1 * x2 + C(region)"``; then ``X`` is a frame.
    fit_intercept : bool, default=True
        Whether to put a column of ones in front (without formula).
    absorb : str or list of str, optional
        Columns of the frame ``X`` whose groups each get an effect of their own (fixed effects of
        units, years, ...): any number of them, balanced or not. They are not covariates and
        there is no intercept. For ``model="linear"`` without ``tuning``.
    {shared}

    Attributes
    ----------
    {attributes}
    absorbed_ : DataFrame or None
        One row an absorbed column (``factor``): its ``groups``, ``singletons`` (groups of one row)
        and ``unlabelled`` (groups without any label; they are kept).

    See Also
    --------
    DSLClassifier : Logistic regression.
    DSLMean : Means and shares, overall or by group.
    compare_estimators : The same model with and without expert labels.

    Notes
    -----
    {notes}

    ``y`` may hold several outcomes (a list of columns, a frame, an array (n, m)): each has a
    regression of its own, and the joint variance serves tests across them. A row then counts as
    labelled when all predicted outcomes are known, and ``prediction`` is a dict.

    A quantile regression solves its moments, whose scores jump, at a vertex of the design-adjusted
    check loss (derived here; the usual quantile regression when every row is labelled). The
    derivative in its sandwich is Powell's (1991) kernel estimate from the labelled residuals, with
    Gaussian kernel and Hall and Sheather's (1988) bandwidth. Surrogates help it only through
    1{g <= x'b}: they should be on the scale of the outcome.

    With ``absorb``, coefficients and standard errors equal those of the same regression with one
    indicator a group, without ever forming these columns: pseudo-columns such as
    x + w (x_gold - x) are projected on the groups by conjugate gradients on group sums, and their
    projection is taken off expert and predicted values alike (derived here; verified against the
    indicators). HC1, CR1 and ``use_t`` count the absorbed parameters: G for one factor; G1 + G2
    less the connected components of the graph that rows make between groups for two; for three
    or more the rank itself while the factors but the largest have at most 500 groups together,
    beyond that an upper bound. As with indicators, HC0 is too small when groups have few rows:
    cluster by the groups, or use HC1. With a predicted *covariate* the estimate is consistent
    only as labels per group grow: the noise of the correction enters the squared group means,
    with a bias of the order of one over the rows of a group. A predicted outcome has no such
    bias. Groups of one row contribute nothing.

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

    Effects of 40 units, taken out instead of estimated:

    >>> frame = data.X.assign(y=data.y, machine=data.prediction, unit=data.X.index % 40)
    >>> fit = DSLRegressor(absorb="unit", learner="ols", n_rep=2, random_state=1)
    >>> _ = fit.fit(frame, "y", prediction="machine", clusters="unit")
    >>> fit.absorbed_
      factor  groups  singletons  unlabelled
    0   unit      40           0           0
    """

    _several_outcomes = True
    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **SurrogateRegression._parameter_checks,
        "model": one_of("linear", "poisson", "quantile"),
        "quantile": in_range(0, 1, closed="neither"),
        "absorb": optional(any_of(is_string, is_names)),
    }

    def __init__(
        self,
        model: str = "linear",
        *,
        quantile: float = 0.5,
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
        absorb: Any = None,
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
        self.quantile = quantile
        self.formula = formula
        self.fit_intercept = fit_intercept
        self.absorb = absorb

    def _check_parameters(self) -> None:
        super()._check_parameters()
        names = self._absorbed_names()
        if len(set(names)) < len(names):
            raise ParameterError(f"absorb={list(names)} names a column twice. Name each once.")
        if names and self.model != "linear":
            raise ParameterError(
                f"absorb needs model='linear'; got model={self.model!r}. Put C(...) terms in the "
                "formula for a model with few groups."
            )
        if self.model == "quantile" and self.tuning == "matrix":
            raise ParameterError(
                "tuning='matrix' has no loss to minimise with model='quantile', whose scores have "
                "no derivative. Use tuning='scalar'."
            )
        if names and self.tuning is not None:
            raise ParameterError(
                f"absorb and tuning={self.tuning!r} do not go together: the projection depends on "
                "the weight of the predictions. Use a learner other than 'passthrough' instead."
            )

    def _absorbed_names(self) -> tuple[str, ...]:
        if self.absorb is None:
            return ()
        return (self.absorb,) if isinstance(self.absorb, str) else tuple(self.absorb)

    def _terms(self) -> Terms:
        return Terms(self.formula, self.fit_intercept, absorb=self._absorbed_names())

    def _remember(self, problem: Problem, options: Options, found: Estimate) -> Self:
        super()._remember(problem, options, found)
        absorber = problem.absorber
        self.absorbed_ = None if absorber is None else describe_groups(absorber, problem.labelling)
        return self

    def _row_model(self, data: RoleData, classes: Classes) -> RowModel:
        if data.outcomes and (self.model == "quantile" or self.absorb is not None):
            what = "model='quantile'" if self.model == "quantile" else "absorb"
            raise ParameterError(
                f"{what} takes one outcome; y holds {len(data.outcomes)} "
                f"({', '.join(data.outcomes)}). Fit them one by one."
            )
        return row_model(self.model, quantile=self.quantile, n_outcomes=max(1, len(data.outcomes)))

    def _encode_outcome(self, data: RoleData) -> tuple[RoleData, Classes]:
        if self.model == "poisson":
            columns = data.y.reshape(len(data.y), -1).T
            for name, values in zip(data.outcomes or (data.outcome,), columns, strict=True):
                check_counts(values, name)
        return data, {}

    def _words(self, outcome: str) -> tuple[str, str]:
        kind = {
            "linear": "Linear model",
            "poisson": "Poisson regression (log link)",
            "quantile": f"Quantile regression ({self.quantile:g} quantile)",
        }[self.model]
        if self.absorb is not None:
            kind += f" with fixed effects of {', '.join(self._absorbed_names())}"
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
        ndarray of shape (n,) or (n, m)
            In the unit of y; for ``model="quantile"`` that quantile; m columns for m outcomes.

        Raises
        ------
        ParameterError
            With ``absorb``: the effects of the groups are not kept.
        """
        self._refuse_absorbed("predict")
        return self._mean_and_slope(self._linear_predictor(X))[0]

    def augment(self, X: Any, y: Any = None) -> pd.DataFrame:
        """Rows with fitted values; see :meth:`InferenceEstimator.augment`. Not with ``absorb``."""
        self._refuse_absorbed("augment")
        return super().augment(X, y)

    def _refuse_absorbed(self, method: str) -> None:
        check_is_fitted(self, "result_")
        if self.absorbed_ is not None:
            raise ParameterError(
                f"{method} is not available with absorb={list(self.absorbed_['factor'])}: the "
                "effects of the groups are not kept. X @ coef_ is the part that the covariates "
                "explain within groups; fit with C(...) terms for predictions of known groups."
            )
