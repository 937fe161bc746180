"""What estimators share that choose valid instruments from the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from robuststat._core.errors import DataError, IdentificationError, warn
from robuststat._core.params import Check, one_of, optional
from robuststat._core.types import Array, BoolArray, IntArray
from robuststat._core.vcov import small_sample
from robuststat.iv._classical_base import EFFECT, IVEstimator
from robuststat.iv._classical_intake import ROBUST_KINDS, IVData, dropped_rows, independence
from robuststat.iv._linear import GroupMoments, Partialled
from robuststat.report import format_p
from robuststat.result import InferenceResult


class SelectionEstimator(IVEstimator):
    """Estimators that look for a group of instruments which agree on the effect.

    When no group is found there is no estimate: ``ate_`` is NaN, ``valid_set_`` is empty, and
    whatever needs the result says why.
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **IVEstimator._parameter_checks,
        "vcov": optional(one_of("iid", *ROBUST_KINDS)),
    }

    valid_set_: list[int]
    relevant_: list[int]

    @property
    def result_(self) -> InferenceResult:
        """Estimates, variance, diagnostics.

        Raises
        ------
        IdentificationError
            When no group of instruments agreed.
        """
        if "_kept_result" in self.__dict__:
            return self.__dict__["_kept_result"]  # type: ignore[no-any-return]
        if "_failure" in self.__dict__:
            raise IdentificationError(self.__dict__["_failure"])
        raise AttributeError(f"{type(self).__name__} is not fitted yet. Call fit first.")

    @result_.setter
    def result_(self, value: InferenceResult) -> None:
        self.__dict__.pop("_failure", None)
        self.__dict__["_kept_result"] = value

    def _fail(self, data: IVData, why: str) -> None:
        """Record that there is no estimate, and warn."""
        self.__dict__.pop("_kept_result", None)
        self._failure = (
            f"{type(self).__name__} has no estimate: {why}. Look at candidates_, or use GENIUS, "
            "which needs no valid instrument."
        )
        self.design_ = data.rows.design
        self.valid_set_ = []
        self.ate_ = self.pvalue_ = np.nan
        self.conf_int_ = (np.nan, np.nan)
        self.coef_ = self.std_error_ = np.array([np.nan])
        self.vcov_ = np.array([[np.nan]])
        self.intercept_ = 0.0
        self.converged_, self.n_iter_ = False, 1
        warn(self._failure)


def check_candidates(data: IVData, owner: str, minimum: int) -> None:
    """Refuse too few instruments to compare.

    Raises
    ------
    DataError
        With the number of instruments.
    """
    J = data.Z.shape[1]
    if minimum > J:
        raise DataError(
            f"instruments has {J} column{'s' if J > 1 else ''}; {owner} compares instruments with "
            f"each other and needs at least {minimum}. Use GENIUS, or PlausiblyExogenousIV."
        )


def factor_of(part: Partialled, kind: str, n_controls: int) -> tuple[float, float]:
    """Small-sample factor and degrees of freedom with some instruments as controls."""
    if kind == "iid":
        return 1.0, np.inf
    small = small_sample(
        kind,  # type: ignore[arg-type]
        n_obs=part.n_obs,
        n_params=part.n_covariates + 1 + n_controls,
        n_clusters=part.n_clusters,
    )
    return small.factor, small.df


def selection_result(
    data: IVData,
    *,
    effect: float,
    std_error: float,
    df: float,
    kind: str,
    method: str,
    diagnostics: dict[str, Any],
    call: str,
    name: str = EFFECT,
) -> InferenceResult:
    """Make a result with the effect as its only term."""
    return InferenceResult(
        estimate=np.array([effect]),
        vcov=np.array([[std_error**2]]),
        names=(name,),
        n_obs=data.n_obs,
        df=df,
        n_clusters=data.n_clusters,
        vcov_type=kind,
        estimand=f"effect of {data.treatment} on {data.rows.outcome}, the same for all rows",
        method=method,
        outcome=data.rows.outcome,
        diagnostics={**dropped_rows(data), **diagnostics},
        call=call,
    )


def listed(names: Sequence[str], chosen: Sequence[int]) -> str:
    """Names of chosen instruments, at most twelve."""
    shown = ", ".join(names[j] for j in chosen[:12])
    more = f" and {len(chosen) - 12} more" if len(chosen) > 12 else ""
    return f"{shown}{more}" if chosen else "none"


def selection_lines(data: IVData, valid: Sequence[int], relevant: Sequence[int]) -> list[str]:
    """Which instruments were taken for valid, invalid and weak."""
    invalid = [j for j in relevant if j not in valid]
    weak = [j for j in range(data.Z.shape[1]) if j not in relevant]
    lines = [
        f"Taken for valid ({len(valid)}): {listed(data.instruments, valid)}",
        f"Taken for invalid ({len(invalid)}): {listed(data.instruments, invalid)}",
    ]
    if weak:
        lines.append(f"Too weak to vote ({len(weak)}): {listed(data.instruments, weak)}")
    return lines


def overid_line(kind: str, group: GroupMoments) -> list[str]:
    """Over-identification test of the group, in words."""
    test = group.test
    if test.df < 1:
        return []
    name = "Sargan" if kind == "iid" else "Hansen J"
    return [
        f"Over-identification of the valid group ({name}): chi2({test.df}) = "
        f"{test.statistic:.2f}, p-value {format_p(test.p_value)}"
    ]


def selection_assumptions(data: IVData, rule: str) -> list[str]:
    """Return what a selection by agreement needs."""
    return [
        rule,
        "the selection made no mistake: standard errors do not count it",
        "instruments are as good as random given the covariates; linear models, one effect",
        independence(data),
    ]


def as_mask(chosen: Sequence[int] | IntArray, size: int) -> BoolArray:
    """Boolean mask of positions."""
    mask = np.zeros(size, dtype=bool)
    mask[np.asarray(chosen, dtype=np.int64)] = True
    return mask


def ratio_variance(outcome: Array, treatment: Array, vcov: Array) -> tuple[Array, Array]:
    """Ratios outcome / treatment one by one, and their delta-method standard errors."""
    J = outcome.size
    # A first stage of exactly zero must not divide: the estimate is then huge, its error more so.
    treatment = np.where(treatment == 0.0, 1e-150, treatment)
    b = outcome / treatment
    V_G, V_g, C = np.diag(vcov[:J, :J]), np.diag(vcov[J:, J:]), np.diag(vcov[:J, J:])
    return b, np.sqrt(np.maximum(V_G + b**2 * V_g - 2.0 * b * C, 0.0)) / np.abs(treatment)
