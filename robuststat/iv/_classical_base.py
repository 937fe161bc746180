"""What the classical estimators of this family share: roles, fit, effects that are constant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from robuststat._core.design import new_design_matrix
from robuststat._core.errors import ParameterError
from robuststat._core.params import Check, is_string, one_of, optional
from robuststat._core.types import Array
from robuststat.base import InferenceEstimator
from robuststat.iv._classical_intake import IVData, read_iv

EFFECT = "ATE"


class IVEstimator(InferenceEstimator):
    """Roles and fit that all estimators with candidate instruments share.

    A subclass computes in ``_fit`` from the rows that the intake found.
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "formula": optional(is_string),
        "missing": optional(one_of("raise", "drop")),
    }

    formula: str | None
    missing: str | None
    ate_: float
    conf_int_: tuple[float, float]
    pvalue_: float

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        treatment: Any = None,
        instruments: Any = None,
        sample_weight: Any = None,
        clusters: Any = None,
    ) -> Self:
        """Estimate the effect of the treatment on the outcome.

        Parameters
        ----------
        X : array or frame of shape (n, p), or None
            Covariates; with ``formula`` a frame holding all columns. A column named by a role is
            not a covariate. None: no covariates besides the intercept.
        y : array of shape (n,) or str, optional
            Outcome; a column name when ``X`` is a frame. None with a formula.
        treatment : array of shape (n,) or str
            Treatment (exposure) whose effect is wanted.
        instruments : array of shape (n,) or (n, J), str or list of str
            Candidate instruments.
        sample_weight : array of shape (n,) or str, optional
            Sampling weights; they multiply the estimating equations.
        clusters : array of shape (n,) or str, optional
            Groups of dependent rows.

        Returns
        -------
        self
            Fitted estimator.

        Raises
        ------
        DataError
            Missing or infinite values, a constant treatment or instrument, too few rows.
        RoleError
            Treatment or instruments missing, or columns that do not exist.
        ParameterError
            An option outside its set, or options that contradict each other.
        CollinearityError
            Linearly dependent covariates or instruments, by name.
        """
        self._check_parameters()
        data = read_iv(
            self,
            X,
            y,
            treatment=treatment,
            instruments=instruments,
            sample_weight=sample_weight,
            clusters=clusters,
            formula=self.formula,
            missing=self.missing,
        )
        return self._fit(data)

    def _fit(self, data: IVData) -> Self:
        raise NotImplementedError

    def _remember_effect(self, level: float = 0.95) -> None:
        """Take the effect from the first term of the result."""
        limits = self.result_.confint(level=level).iloc[0]
        self.ate_ = float(self.result_.estimate[0])
        self.conf_int_ = (float(limits["conf_low"]), float(limits["conf_high"]))
        self.pvalue_ = float(self.result_.p_value[0])

    def predict(self, X: Any) -> Array:
        """Effect of the treatment at covariates ``X``: the same constant for every row.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates, as in ``fit``.

        Returns
        -------
        ndarray of shape (n,)
            Effect, unit of y per unit of the treatment.
        """
        check_is_fitted(self)
        return np.full(new_design_matrix(self, self.design_, X).shape[0], self.ate_)

    def augment(self, X: Any, y: Any = None) -> pd.DataFrame:
        """Refuse: these estimators are about an effect and have no fitted outcome."""
        raise ParameterError(
            f"{type(self).__name__} estimates an effect and has no fitted outcomes to add to the "
            "rows. Use predict(X) for the effect at covariates X."
        )


def refuse(role: str, value: Any, why: str) -> None:
    """Refuse a role that would have no effect."""
    if value is not None:
        raise ParameterError(f"{role} was given, but {why}. Leave it out.")
