"""Checks of PRESTO's options, and what a fitted classifier answers about its uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from robuststat._core.errors import ParameterError
from robuststat._core.params import Check, in_range, is_bool, is_cv, is_string, one_of, optional
from robuststat._core.types import Array
from robuststat.ordinal._base import OrdinalEstimator
from robuststat.ordinal._links import LINKS
from robuststat.ordinal._presto_choice import CRITERIA, SCORINGS
from robuststat.ordinal._presto_path import PrestoPath, boundary_names
from robuststat.report import Summary


def _is_penalty(value: Any) -> str | None:
    if isinstance(value, str):
        fine = value in ("cv", *CRITERIA)
    else:
        number = isinstance(value, Real) and not isinstance(value, bool)
        fine = number and 0.0 <= float(value) < np.inf
    return None if fine else 'a finite number >= 0, or one of "cv", "aic", "bic", "ebic"'


class PrestoMethods(OrdinalEstimator):
    """Option checks, tables and intervals of :class:`PrestoClassifier`."""

    link: str
    path_: PrestoPath

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **OrdinalEstimator._parameter_checks,
        "lam": _is_penalty,
        "l1_ratio": in_range(0, 1),
        "first_block_penalty": in_range(0, np.inf, closed="left"),
        "link": one_of(*LINKS),
        "crossing": one_of("box", "train", "allow"),
        "box_margin": in_range(0, np.inf, closed="left"),
        "formula": optional(is_string),
        "n_lambdas": in_range(1, 10_000, integer=True),
        "lambda_min_ratio": in_range(0, 1, closed="neither"),
        "cv": is_cv,
        "scoring": one_of(*SCORINGS),
        "selection": one_of("min", "1se"),
        "standardize": is_bool,
        "inference": one_of("debiased", "bootstrap", "none"),
        "vcov": optional(one_of("hessian", "HC0", "CR0")),
        "n_boot": in_range(2, np.inf, closed="left", integer=True),
        "tol": in_range(0, 1, closed="neither"),
        "max_iter": in_range(1, np.inf, closed="left", integer=True),
        "n_jobs": optional(in_range(-64, 4096, integer=True)),
    }

    def _has_inference(self) -> bool:
        check_is_fitted(self, "result_")
        return bool(self.result_.vcov_type != "none")

    def _boundary_inference(self, k: int) -> tuple[Array, Array]:
        self._need_inference()
        q, p = self.coef_.shape
        places = np.concatenate([[k], q + k * p + np.arange(p)])
        vcov = np.asarray(self.result_.vcov)[np.ix_(places, places)]
        return np.asarray(self.result_.estimate)[places], vcov

    def _need_inference(self) -> None:
        if not self._has_inference():
            raise ParameterError(
                "This fit has no standard errors. Fit with inference='debiased' or 'bootstrap'."
            )

    def summary(self, level: float = 0.95, **options: Any) -> Summary:
        """Readable account of the fit: outcome, penalty, PRESTO slopes, intervals, certificate."""
        text: Summary = super().summary(level=level, **options)
        if self._has_inference():
            return text
        return Summary(
            **{name: getattr(text, name) for name in Summary.__dataclass_fields__}
            | {"columns": text.columns[:1], "stars": False}
        )

    def tidy(
        self, conf_int: bool = True, level: float = 0.95, exponentiate: bool = False
    ) -> pd.DataFrame:
        """One row a threshold or slope; see :meth:`InferenceResult.tidy`.

        Without inference the columns about uncertainty are missing values.
        """
        frame = super().tidy(conf_int=conf_int, level=level, exponentiate=exponentiate)
        if not self._has_inference():
            unknown = ["std_error", "statistic", "p_value", "conf_low", "conf_high"]
            frame[[name for name in unknown if name in frame]] = np.nan
        return frame

    def confint(self, level: float = 0.95, kind: Any = "pointwise") -> pd.DataFrame:
        """Confidence intervals; see :meth:`InferenceResult.confint`."""
        self._need_inference()
        return super().confint(level=level, kind=kind)

    def odds_ratios(self) -> pd.DataFrame:
        """Ratios of the odds of a higher class per unit of a feature, ``exp(coef_)``.

        Returns
        -------
        DataFrame
            One row a feature, one column a boundary; penalised estimates.
        """
        check_is_fitted(self, "result_")
        if self.link != "logit":
            raise ParameterError(f"Odds ratios belong to link='logit'; this fit has {self.link!r}.")
        names = list(self.design_.names)
        return pd.DataFrame(
            np.exp(self.coef_.T), index=names, columns=boundary_names(self.classes_)
        )

    def plot_path(self, **options: Any) -> Any:
        """Draw the path of penalties that were tried; see :func:`robuststat.ordinal.plot_path`."""
        check_is_fitted(self, "result_")
        return self.path_.plot(**options)
