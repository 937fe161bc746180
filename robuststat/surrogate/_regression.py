"""Regressions on surrogate labels: formula, intercept, marginal effects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from robuststat._core.columns import Terms
from robuststat._core.data import RoleData
from robuststat._core.errors import DataError, ParameterError
from robuststat._core.glm import FAMILIES
from robuststat._core.params import Check, is_bool, is_string, optional
from robuststat._core.types import Array
from robuststat.base import own_slopes
from robuststat.result import InferenceResult
from robuststat.surrogate._base import SurrogateEstimator
from robuststat.surrogate._margins import average_effects
from robuststat.surrogate._models import RowModel, row_model
from robuststat.surrogate._targets import Classes


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

    def _row_model(self, data: RoleData, classes: Classes) -> RowModel:
        return row_model(self.model, n_outcomes=max(1, len(data.outcomes)))

    def margins(
        self,
        X: Any,
        y: Any = None,
        *,
        variables: Any = None,
        dummy: bool = False,
        prediction: Any = None,
        labeled: Any = None,
        sample_prob: Any = None,
        features: Any = None,
        strata: Any = None,
        psu: Any = None,
        sample_weight: Any = None,
        clusters: Any = None,
    ) -> InferenceResult:
        """Average marginal effects: how much a covariate moves the expected outcome.

        Parameters
        ----------
        X, y : array or frame, array or str
            The rows of ``fit``, which are not kept.
        variables : str or list of str, optional
            Covariates; all by default. Numbers get the average derivative, categories the average
            difference to their reference level.
        dummy : bool, default=False
            Switch columns of 0 and 1 from 0 to 1 instead of differentiating.
        prediction, labeled, sample_prob, features, strata, psu, sample_weight, clusters
            Roles, as for ``fit``; roles that were column names there need not be repeated.

        Returns
        -------
        InferenceResult
            On the scale of the outcome, of the probability for classes; one block a class or
            outcome where there are several.

        Raises
        ------
        ParameterError
            For unknown variables, with absorbed effects, or when roles of ``fit`` are missing.

        Notes
        -----
        The model is fitted again, with the seed of the estimator. The effect is one more
        design-adjusted moment, stacked under those of the coefficients: the variance holds both
        that of the coefficients (delta method) and that of the average over rows, and predicted
        covariates are corrected in the average too. Derived here; checked by simulation.

        Examples
        --------
        >>> from robuststat import DSLClassifier
        >>> from robuststat.simulation import make_surrogate_logit
        >>> data = make_surrogate_logit(n=3000, n_labeled=400, random_state=1)
        >>> fit = DSLClassifier(learner="passthrough")
        >>> _ = fit.fit(data.X, data.y, prediction=data.prediction)
        >>> effects = fit.margins(data.X, data.y, prediction=data.prediction)
        >>> effects.tidy()[["term", "estimate", "std_error"]].round(3)
          term  estimate  std_error
        0   x1     0.099      0.018
        1   x2    -0.083      0.018
        2   x3     0.028      0.017
        """
        check_is_fitted(self, "result_")
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
        y, roles = self._same_roles(y, roles)
        if self._terms().absorb:
            raise ParameterError(
                "margins are not available with absorb: a linear model's effects within groups are "
                "its coefficients."
            )
        est = clone(self)
        problem, options = est._prepare(X, y, **roles)
        names = [variables] if isinstance(variables, str) else variables
        return average_effects(
            problem,
            options,
            est._mean_and_slope,
            variables=names,
            dummy=dummy,
            fitted_names=self._fitted_names(),
            call=self._call(),
        )

    def _mean_and_slope(self, eta: Array) -> tuple[Array, Array]:
        family = FAMILIES.get(self.model, FAMILIES["linear"])
        mu = family.mean(eta)
        slope = family.slope(mu)
        return mu, slope if eta.ndim == 1 else own_slopes(slope)
