"""Selection of valid instruments by confidence intervals that overlap."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from robuststat._core.linalg import symmetrise
from robuststat._core.params import Check, in_range, is_bool, optional
from robuststat._core.types import Array, BoolArray, IntArray
from robuststat.iv._classical_intake import IVData, variance_kind
from robuststat.iv._doc import shared_parameters
from robuststat.iv._linear import (
    GroupMoments,
    group_fit,
    group_moments,
    partial_out,
    reduced_form,
)
from robuststat.iv._selection import (
    SelectionEstimator,
    as_mask,
    check_candidates,
    factor_of,
    overid_line,
    ratio_variance,
    selection_assumptions,
    selection_lines,
    selection_result,
)


@dataclass(frozen=True, slots=True)
class DownwardSearch:
    """Outcome of the downward testing procedure.

    Attributes
    ----------
    group : ndarray of int or None
        Positions of the group that is not rejected; None when there is none of two or more.
    moments : GroupMoments or None
        Its estimates and test.
    tests : tuple of (int, float)
        Size and p-value of every group that was tested.
    """

    group: IntArray | None
    moments: GroupMoments | None
    tests: tuple[tuple[int, float], ...]


def breakpoints(estimate: Array, std_error: Array) -> Array:
    """Multiples of the standard errors (J, J) at which two intervals just touch."""
    gap = np.abs(estimate[:, None] - estimate)
    width = std_error[:, None] + std_error
    # Without variation in the outcome both are zero: the intervals touch at once.
    touch = np.divide(gap, width, out=np.where(gap > 0, np.inf, 0.0), where=width > 0)
    return symmetrise(touch)


def overlapping_groups(lower: Array, touch: Array, limit: float) -> list[IntArray]:
    """Largest groups of intervals with a common point when breakpoints below ``limit`` overlap.

    On a line, intervals that overlap pairwise have a common point: the lower end of one of them.
    Comparing breakpoints rather than ends leaves no room for rounding.
    """
    overlap = touch < limit
    np.fill_diagonal(overlap, True)
    # Column j: intervals that hold the lower end of j. Equal lower ends belong together.
    holds = overlap & (lower[:, None] <= lower)
    size = holds.sum(axis=0)
    found = {tuple(np.flatnonzero(holds[:, j])) for j in np.flatnonzero(size == size.max())}
    return [np.array(group, dtype=np.int64) for group in sorted(found)]


def downward_search(
    estimate: Array,
    std_error: Array,
    test: Callable[[IntArray], GroupMoments],
    threshold: float,
) -> DownwardSearch:
    """Shrink intervals b_j +/- Psi sd_j until the largest overlapping group passes its test.

    Psi starts where all intervals overlap. After a rejection it falls to the largest breakpoint
    inside the group tested (the smallest of these if several groups tie), which removes a member.
    """
    touch = breakpoints(estimate, std_error)
    psi = float(np.nextafter(touch.max(), np.inf))
    tests: list[tuple[int, float]] = []
    while True:
        below = touch[touch < psi]
        width = float(below.max()) if below.size else 0.0
        groups = overlapping_groups(estimate - width * std_error, touch, psi)
        if groups[0].size < 2:
            return DownwardSearch(None, None, tuple(tests))
        results = [test(group) for group in groups]
        best = int(np.argmax([one.test.p_value for one in results]))
        p = results[best].test.p_value
        tests.append((int(groups[best].size), p))
        if p > threshold:
            return DownwardSearch(groups[best], results[best], tuple(tests))
        psi = min(float(touch[np.ix_(group, group)].max()) for group in groups)


@shared_parameters
class CIIV(SelectionEstimator):
    """Effect when the valid instruments are the largest group that agrees, found by intervals.

    The estimand is a constant effect in a linear model. Each instrument alone gives an interval
    for the effect; the intervals are shrunk until the largest group that overlaps passes an
    over-identification test. Two-stage least squares with that group, the others as controls,
    is the estimate.

    Parameters
    ----------
    vcov : {"iid", "HC0", "HC1", "CR0", "CR1"}, optional
        Variance. None is HC0, or CR0 when ``clusters`` are given. "iid" goes with Sargan's test,
        the others with Hansen's.
    tuning : float, optional
        Significance level of the tests; 0.1 / log(n) by default.
    first_stage : bool, default=False
        Take instruments whose first-stage t value is below sqrt(2.01 log J) for controls before
        the search.
    {shared}

    Attributes
    ----------
    {attributes}
    valid_set_ : list of int
        Positions (from 0) of the instruments taken for valid; empty when no two agree.
    relevant_ : list of int
        Positions of the instruments in the search.
    candidates_ : DataFrame
        For every instrument ``instrument relevant estimate std_error valid``: the effect that it
        implies alone.
    gmm_ : Bunch
        ``estimate, std_error`` of the two-step GMM with the same group.
    j_statistic_, j_pvalue_, j_df_ : float, float, int
        Over-identification test of the group.
    path_ : DataFrame
        ``size p_value`` of each group tested, in order.

    See Also
    --------
    TSHT : Selection by votes.
    GENIUS : No valid instrument needed.

    Notes
    -----
    Windmeijer, Liang, Hartwig and Bowden (2021). Searching, reduced forms and Sargan tests use
    second moments only; a Hansen test costs one weighted Gram matrix for each group tested.
    Standard errors do not account for the selection.

    References
    ----------
    Windmeijer, F., Liang, X., Hartwig, F. P. and Bowden, J. (2021). The Confidence Interval Method
    for Selecting Valid Instrumental Variables. Journal of the Royal Statistical Society B 83(4),
    752-776.

    Examples
    --------
    >>> from robuststat import CIIV
    >>> from robuststat.simulation import make_many_iv
    >>> data = make_many_iv(n=2000, random_state=0)
    >>> est = CIIV().fit(data.X, data.y, treatment=data.treatment, instruments=data.instruments)
    >>> est.valid_set_ == data.valid, round(est.ate_, 1)
    (True, 1.0)
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **SelectionEstimator._parameter_checks,
        "tuning": optional(in_range(0, 1, closed="neither")),
        "first_stage": is_bool,
    }

    def __init__(
        self,
        *,
        vcov: str | None = None,
        tuning: float | None = None,
        first_stage: bool = False,
        formula: str | None = None,
        missing: str | None = None,
    ) -> None:
        self.vcov = vcov
        self.tuning = tuning
        self.first_stage = first_stage
        self.formula = formula
        self.missing = missing

    def _fit(self, data: IVData) -> Self:
        check_candidates(data, "CIIV", 2)
        kind = variance_kind(self.vcov, data)
        strong, kept = self._relevant(data, kind)
        self.relevant_ = [int(j) for j in np.flatnonzero(strong)]
        part = partial_out(kept)
        form = reduced_form(part, kind)
        estimate, std_error = ratio_variance(form.outcome, form.treatment, form.vcov)
        J = estimate.size
        threshold = self.tuning or 0.1 / np.log(data.n_obs)
        if J > 1:
            search = downward_search(
                estimate, std_error, lambda g: group_moments(part, as_mask(g, J), kind), threshold
            )
        else:
            search = DownwardSearch(None, None, ())
        self.path_ = pd.DataFrame(list(search.tests), columns=["size", "p_value"])
        self.valid_set_ = (
            [] if search.group is None else [self.relevant_[int(j)] for j in search.group]
        )
        self.candidates_ = self._candidates(data, strong, estimate, std_error)
        if search.group is None or search.moments is None:
            self.gmm_ = Bunch(estimate=np.nan, std_error=np.nan)
            self.j_statistic_, self.j_pvalue_, self.j_df_ = np.nan, np.nan, 0
            self._fail(data, "no two instruments agree on the effect")
            return self
        factor, df = factor_of(part, kind, J - search.group.size)
        fit = group_fit(part, search.moments, kind, factor)
        test = search.moments.test
        self.j_statistic_, self.j_pvalue_, self.j_df_ = test.statistic, test.p_value, test.df
        self.gmm_ = Bunch(estimate=fit.gmm_effect, std_error=fit.gmm_std_error)
        result = selection_result(
            data,
            effect=fit.effect,
            std_error=fit.std_error,
            df=df,
            kind=kind,
            method=f"Confidence interval method, {data.Z.shape[1]} candidate instruments, "
            "post-selection two-stage least squares",
            diagnostics=self._words(data, kind, search.moments, threshold),
            call=self._call(),
        )
        self._store(result, data.rows)
        self._remember_effect()
        return self

    def _relevant(self, data: IVData, kind: str) -> tuple[BoolArray, IVData]:
        """Instruments in the search, and the rows with the others among the covariates."""
        J = data.Z.shape[1]
        strong = np.ones(J, dtype=bool)
        if not self.first_stage:
            return strong, data
        form = reduced_form(partial_out(data), kind)
        t = np.abs(form.treatment) / np.sqrt(np.diag(form.blocks()[1]))
        strong = t >= np.sqrt(2.01 * np.log(J))
        if strong.all() or not strong.any():
            # Without a strong instrument the search is over all of them; strength is in summary().
            return np.ones(J, dtype=bool), data
        names = np.asarray(data.instruments)
        kept = replace(
            data,
            Z=data.Z[:, strong],
            X=np.hstack([data.X, data.Z[:, ~strong]]),
            instruments=tuple(names[strong]),
            covariates=(*data.covariates, *names[~strong]),
        )
        return strong, kept

    def _candidates(
        self, data: IVData, strong: BoolArray, estimate: Array, std_error: Array
    ) -> pd.DataFrame:
        J = data.Z.shape[1]
        columns = np.full((2, J), np.nan)
        columns[:, strong] = estimate, std_error
        return pd.DataFrame(
            {
                "instrument": list(data.instruments),
                "relevant": strong,
                "estimate": columns[0],
                "std_error": columns[1],
                "valid": np.isin(np.arange(J), self.valid_set_),
            }
        )

    def _words(
        self, data: IVData, kind: str, group: GroupMoments, threshold: float
    ) -> dict[str, object]:
        lines = overid_line(kind, group)
        lines.append(f"Groups tested: {len(self.path_)} at level {threshold:.4g}")
        if kind != "iid":
            lines.append(
                f"Two-step GMM with the same group: {self.gmm_.estimate:.4f} "
                f"({self.gmm_.std_error:.4f})"
            )
        notes = []
        if len(self.valid_set_) <= len(self.relevant_) / 2:
            notes.append(
                f"the valid group is no majority ({len(self.valid_set_)} of "
                f"{len(self.relevant_)} instruments)"
            )
        rule = "the valid instruments are the largest group that agrees (plurality)"
        return {
            "leading": selection_lines(data, self.valid_set_, self.relevant_),
            "lines": lines,
            "notes": notes,
            "assumptions": selection_assumptions(data, rule),
            "glance": {"j_statistic": self.j_statistic_, "j_p_value": self.j_pvalue_},
        }
