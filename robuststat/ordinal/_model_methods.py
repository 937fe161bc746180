"""What follows from an ordinal fit: probabilities, intervals, odds ratios, margins, tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.utils.validation import check_is_fitted

from robuststat._core.data import RoleData
from robuststat._core.design import new_design_matrix
from robuststat._core.errors import ParameterError
from robuststat._core.types import Array
from robuststat._results.tables import check_level
from robuststat.ordinal._base import OrdinalEstimator, read_rows
from robuststat.ordinal._compare import anova
from robuststat.ordinal._families import class_probabilities, make_family
from robuststat.ordinal._likelihood_fit import Rows
from robuststat.ordinal._links import get_link
from robuststat.ordinal._margins import average_effects
from robuststat.ordinal._model import ModelFit, ModelOptions
from robuststat.ordinal._predict import crossing_rows, warn_crossing
from robuststat.ordinal._profile import profile_intervals
from robuststat.ordinal._structure import CUTS
from robuststat.ordinal._uncertainty import probability_scores
from robuststat.result import InferenceResult, WaldTest


class OrdinalMethods(OrdinalEstimator):
    """Predictions and tests of a model in ``_model``; subclasses fit it."""

    _model: ModelFit
    family: str
    link: str
    reverse: bool
    formula: str | None
    missing: str | None

    def _link_name(self) -> str:
        return make_family(self.family, self.link, self.reverse).link

    def _cumulative_family(self) -> bool:
        return self.family == "cumulative"

    def _boundaries_of(self, design: Any, offset: Any = None) -> Array:
        eta = super()._boundaries_of(design, offset)
        columns = self._model.structure.layout.scale
        if columns.size:
            eta = eta * np.exp(-(design[:, columns] @ self.scale_coef_))[:, None]
        return eta

    def _checked_boundaries(self, X: Any, offset: Any) -> Array:
        eta = self._boundaries(X, offset)
        if self._cumulative_family() and self._rule() != "raise":
            warn_crossing(eta, self._rule())
        return eta

    def count_crossings(self, X: Any, offset: Any = None) -> int:
        """Count rows of X in which fitted boundaries cross (a class probability is negative).

        Zero for the other families, whose probabilities are always valid.
        """
        if not self._cumulative_family():
            return 0
        return int(crossing_rows(self._boundaries(X, offset)).sum())

    def _probabilities(self, eta: Array) -> Array:
        if self._cumulative_family():
            return super()._probabilities(eta)
        return class_probabilities(self._model.structure.layout.family, eta)

    def _log_probabilities(self, eta: Array) -> Array:
        if self._cumulative_family():
            return super()._log_probabilities(eta)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self._probabilities(eta)))

    def _cumulative(self, eta: Array) -> Array:
        if self._cumulative_family():
            return super()._cumulative(eta)
        return np.cumsum(self._probabilities(eta), axis=1)[:, :-1]

    def predict_rare(
        self, X: Any, return_ci: bool = False, level: float = 0.95, offset: Any = None
    ) -> Any:
        """Probability of the rare class (the last, or the first with ``rare_class="first"``).

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates.
        return_ci : bool, default=False
            Also return limits: a Wald interval of its log-odds by the delta method, mapped back.
        level : float, default=0.95
            Confidence level.
        offset : array of shape (n,), optional
            Added to every predictor d_k.

        Returns
        -------
        ndarray of shape (n,), or tuple of three
            Probability, lower limit, upper limit.
        """
        check_is_fitted(self, "result_")
        check_level(level)
        design = new_design_matrix(self, self.design_, X)
        eta = self._boundaries_of(design, offset)
        first = self._rare_first()
        if self._cumulative_family():
            link = get_link(self._link_name())
            risk = np.asarray(link.cdf(eta[:, 0]) if first else link.sf(eta[:, -1]))
        else:
            risk = self._probabilities(eta)[:, 0 if first else -1]
        if not return_ci:
            return risk
        model, code = self._model, 0 if first else len(self.classes_) - 1
        p, psi = probability_scores(
            model.structure, model.centre, design, code, _plain_offset(offset)
        )
        variance = np.einsum("ij,jk,ik->i", psi, model.variance.internal, psi)
        width = norm.ppf(0.5 + level / 2.0) * np.sqrt(np.maximum(variance, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            half = np.where((p > 0) & (p < 1), width / (p * (1.0 - p)), 0.0)
            centre = logit(p)
        return risk, expit(centre - half), expit(centre + half)

    def _fitted_errors(self, design: Any, offset: Any) -> Array:
        model = self._model
        errors = np.empty((design.shape[0], len(self.classes_)))
        for code in range(len(self.classes_)):
            _, psi = probability_scores(
                model.structure, model.centre, design, code, _plain_offset(offset)
            )
            variance = np.einsum("ij,jk,ik->i", psi, model.variance.internal, psi)
            errors[:, code] = np.sqrt(np.maximum(variance, 0.0))
        return errors

    def wald_test(self, R: Any = None, r: Any = 0) -> WaldTest:
        """Test linear restrictions; see :meth:`InferenceResult.wald_test`.

        Parameters
        ----------
        R : array-like, mapping, DataFrame, str or list of str, optional
            None: all coefficients and scale effects are zero; thresholds are left alone.
        r : float or array-like
            Right-hand side.

        Returns
        -------
        WaldTest
        """
        check_is_fitted(self, "result_")
        if R is None:
            component = self.result_.component or ()
            slopes = [i for i, block in enumerate(component) if block != CUTS]
            if not slopes:
                raise ParameterError("The model has thresholds only. Pass R.")
            R = np.eye(len(component))[slopes]
        return self._result_for(R).wald_test(R, r)

    def contrast(self, matrix: Any, names: Any = None) -> InferenceResult:
        """Linear combinations of coefficients; see :meth:`InferenceResult.contrast`.

        Bare terms such as ``"x1 - x2"`` may be written where they are unique.
        """
        check_is_fitted(self, "result_")
        return self._result_for(matrix).contrast(matrix, names=names)

    def _result_for(self, spec: Any) -> InferenceResult:
        """Return the result whose labels are those used in words: with or without their block."""
        result = self.result_
        unique = len(set(result.names)) == len(result.names)
        written = [spec] if isinstance(spec, str) else spec
        if not unique or not isinstance(written, list | tuple | Mapping):
            return result
        text = " ".join(str(v) for v in written)
        with_block = any(f"{block}:" in text for block in set(result.component or ()))
        return result if with_block else replace(result, component=None)

    def odds_ratios(self, level: float = 0.95) -> pd.DataFrame:
        """Odds ratios exp(coefficient), one row a column (and boundary where they vary).

        Parameters
        ----------
        level : float, default=0.95
            Confidence level.

        Returns
        -------
        DataFrame
            Columns of ``tidy()``; an odds ratio above 1 favours higher classes.

        Raises
        ------
        ParameterError
            With a link other than logit.
        """
        check_is_fitted(self, "result_")
        if self.link != "logit":
            raise ParameterError(
                f"Odds ratios belong to link='logit'; this fit has {self.link!r}. Use margins()."
            )
        frame = self.tidy(level=level, exponentiate=True)
        kept = frame["component"].str.startswith("location")
        return frame[kept].reset_index(drop=True)

    def anova(self, *others: Any) -> pd.DataFrame:
        """Likelihood-ratio tests against nested models; see :func:`robuststat.ordinal.anova`.

        Parameters
        ----------
        *others : OrdinalClassifier
            Fitted to the same rows.

        Returns
        -------
        DataFrame
        """
        return anova(self, *others)

    def margins(
        self,
        X: Any,
        *,
        variables: Sequence[str] | None = None,
        dummy: bool = True,
        at: Mapping[str, Any] | None = None,
        sample_weight: Any = None,
        offset: Any = None,
    ) -> InferenceResult:
        """Average marginal effects on the probability of every class.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Rows to average over, such as those of ``fit``.
        variables : list of str, optional
            Columns of X; all of the model if not given.
        dummy : bool, default=True
            Switch 0/1 columns from 0 to 1 instead of differentiating.
        at : dict, optional
            Values at which columns are held for all rows, such as ``{"age": 40}``.
        sample_weight : array of shape (n,), optional
            Weights of the average.
        offset : array of shape (n,), optional
            Added to every predictor d_k.

        Returns
        -------
        InferenceResult
            One effect a column and class; over the classes the effects of a column add to zero.
            Standard errors by the delta method, the rows taken for given.
        """
        check_is_fitted(self, "result_")
        return average_effects(
            self,
            self._model,
            X,
            variables=variables,
            dummy=dummy,
            at=dict(at or {}),
            sample_weight=sample_weight,
            offset=_plain_offset(offset),
        )

    def confint(
        self,
        level: float = 0.95,
        kind: Literal["pointwise", "simultaneous"] = "pointwise",
        *,
        method: str = "wald",
        X: Any = None,
        y: Any = None,
        **roles: Any,
    ) -> pd.DataFrame:
        """Confidence intervals of all parameters.

        Parameters
        ----------
        level : float, default=0.95
            Confidence level.
        kind : {"pointwise", "simultaneous"}, default="pointwise"
            As in :meth:`InferenceResult.confint`; profile intervals are pointwise.
        method : {"wald", "profile"}, default="wald"
            "profile" inverts the likelihood-ratio test of each parameter, which needs the rows of
            ``fit`` again.
        X, y, **roles
            The arguments of ``fit``, with "profile".

        Returns
        -------
        DataFrame
            ``conf_low conf_high``, indexed by term; an interval that does not end is infinite.
        """
        check_is_fitted(self, "result_")
        if method == "wald":
            if X is not None or y is not None or roles:
                raise ParameterError("X and y are needed by method='profile' only. Leave them out.")
            return super().confint(level=level, kind=kind)
        if method != "profile":
            raise ParameterError(f"method must be 'wald' or 'profile', got {method!r}.")
        if kind != "pointwise":
            raise ParameterError("Profile intervals are pointwise: kind='simultaneous' is Wald's.")
        if X is None:
            raise ParameterError("method='profile' needs X and y of fit again: pass X=, y=.")
        check_level(level)
        self._model.refuse_ratio_tests()
        rows = self._same_rows(X, y, roles)
        limits = profile_intervals(self._model, rows, level)
        index = pd.Index(self.result_.labels, name="term")
        return pd.DataFrame(limits, columns=["conf_low", "conf_high"], index=index)

    def _same_rows(self, X: Any, y: Any, roles: dict[str, Any]) -> Rows:
        """Rows of fit, read again and checked to be the same."""
        unknown = sorted(set(roles) - {"sample_weight", "clusters", "offset"})
        if unknown:
            raise ParameterError(f"Unknown arguments {', '.join(unknown)}. Pass those of fit.")
        twin = type(self)(**self.get_params(deep=False))
        data = read_rows(twin, X, y, formula=self.formula, missing=self.missing, **roles)
        rows, _ = twin._prepare(data)
        self._model.refuse_other_rows(rows)
        return rows

    def _prepare(self, data: RoleData) -> tuple[Rows, ModelOptions]:
        """Rows of a fit and options in terms of the design."""
        raise NotImplementedError

    scale_coef_: Array


def _plain_offset(offset: Any) -> Array | None:
    return None if offset is None else np.asarray(offset, dtype=np.float64)
