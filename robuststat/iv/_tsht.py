"""Two-stage hard thresholding with voting: instruments that agree on the effect are valid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from robuststat._core.errors import warn
from robuststat._core.linalg import solve_psd
from robuststat._core.params import Check, in_range, one_of, optional
from robuststat._core.types import Array, BoolArray
from robuststat._core.vcov import sandwich
from robuststat.iv._classical_intake import IVData, variance_kind
from robuststat.iv._doc import shared_parameters
from robuststat.iv._linear import Partialled, ReducedForm, partial_out, reduced_form
from robuststat.iv._selection import (
    SelectionEstimator,
    check_candidates,
    listed,
    ratio_variance,
    selection_assumptions,
    selection_lines,
    selection_result,
)


def relevant_instruments(form: ReducedForm, threshold: float) -> BoolArray:
    """Instruments whose first-stage t value exceeds the threshold."""
    se = np.sqrt(np.diag(form.blocks()[1]))
    return np.asarray(np.abs(form.treatment) > threshold * se)


def votes(form: ReducedForm, threshold: float) -> BoolArray:
    """Return agree[k, j]: instrument k is no sign of invalidity at the effect of instrument j.

    pi_kj = Gam_k - b_j gam_k, b_j = Gam_j / gam_j, is compared with ``threshold`` times its
    standard error; two instruments agree when each finds the other valid.
    """
    V_G, V_g, C = form.blocks()
    # A first stage of exactly zero, which is never relevant, must not divide.
    Gam, gam = form.outcome, np.where(form.treatment == 0.0, 1e-150, form.treatment)
    b = Gam / gam
    gap = Gam[:, None] - gam[:, None] * b
    ratio = gam[:, None] / gam
    # T_j = V_G + b_j^2 V_g - b_j (C + C'): entries kk, jj and kj, as (k, j) arrays.
    both = C + C.T
    T_kk = np.diag(V_G)[:, None] + np.outer(np.diag(V_g), b**2) - np.outer(np.diag(both), b)
    T_kj = V_G + V_g * b**2 - both * b
    T_jj = np.diag(V_G) + b**2 * np.diag(V_g) - b * np.diag(both)
    variance = T_kk + ratio**2 * T_jj - 2.0 * ratio * T_kj
    agree = np.abs(gap) <= threshold * np.sqrt(np.maximum(variance, 0.0))
    np.fill_diagonal(agree, True)
    return agree & agree.T


def largest_cliques(agree: BoolArray) -> list[tuple[int, ...]]:
    """All groups of the largest size in which every two members agree, in increasing order.

    Bron and Kerbosch's search with pivots, on bit masks, without branches that cannot reach the
    largest size found so far.
    """
    J = len(agree)
    neighbours = [
        sum(1 << int(k) for k in np.flatnonzero(agree[j]) if int(k) != j) for j in range(J)
    ]
    found: list[int] = []
    best = 0
    stack = [(0, (1 << J) - 1, 0)]
    while stack:
        chosen, possible, excluded = stack.pop()
        size = chosen.bit_count()
        if not possible and not excluded:
            if size > best:
                found, best = [], size
            if size == best:
                found.append(chosen)
            continue
        if size + possible.bit_count() < best:
            continue
        pivot = max(
            _bits(possible | excluded), key=lambda j: (possible & neighbours[j]).bit_count()
        )
        for j in _bits(possible & ~neighbours[pivot]):
            stack.append((chosen | 1 << j, possible & neighbours[j], excluded & neighbours[j]))
            possible &= ~(1 << j)
            excluded |= 1 << j
    return sorted(tuple(_bits(mask)) for mask in found)


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


@dataclass(frozen=True, slots=True)
class VoteEstimate:
    """Minimum-distance estimate of the effect from a group of valid instruments.

    Attributes
    ----------
    effect, std_error : float
        Estimate and standard error.
    distance : float
        How far the group is from agreement: chi-squared with size - 1 degrees of freedom if valid.
    """

    effect: float
    std_error: float
    distance: float


def group_estimate(part: Partialled, form: ReducedForm, group: tuple[int, ...]) -> VoteEstimate:
    """Weights of two-stage least squares first, then the inverse variance of Gam - b gam, once."""
    V = np.array(group)
    block = np.ix_(V, V)
    V_G, V_g, C = (matrix[block] for matrix in form.blocks())
    Gam, gam = form.outcome[V], form.treatment[V]
    # (R'R)^-1 is the unscaled variance of the coefficients.
    inverse_R = np.linalg.solve(part.R, np.eye(part.n_instruments))
    first = solve_psd((inverse_R @ inverse_R.T)[block], gam)
    b = float(first @ Gam) / float(first @ gam)

    def variance_at(effect: float) -> Array:
        return np.asarray(V_G + effect**2 * V_g - effect * (C + C.T))

    if not variance_at(b).any():
        return VoteEstimate(b, 0.0, 0.0)
    weighted = solve_psd(variance_at(b), gam)
    strength = float(weighted @ gam)
    b = float(weighted @ Gam) / strength
    S = np.array([[weighted @ variance_at(b) @ weighted]])
    variance = sandwich(np.array([[-strength]]), S, 1)
    left = Gam - b * gam
    distance = float(left @ solve_psd(variance_at(b), left))
    return VoteEstimate(b, float(np.sqrt(variance[0, 0])), distance)


@shared_parameters
class TSHT(SelectionEstimator):
    """Effect when most relevant instruments are valid, or the valid ones are the largest group.

    The estimand is a constant effect in a linear model. Every relevant instrument votes for those
    that agree with the effect it implies itself; the largest group that agrees is taken for valid.

    Parameters
    ----------
    voting : {"clique", "majority"}, default="clique"
        "clique": the largest group in which all agree with each other. "majority": instruments
        with votes of more than half of the relevant ones, and those with the most votes.
    vcov : {"iid", "HC0", "HC1", "CR0", "CR1"}, optional
        Variance of the reduced forms. None is HC0, or CR0 when ``clusters`` are given; "iid" uses
        RSS/(n - k).
    tuning_first, tuning_second : float, optional
        Thresholds of the first-stage t values and of the votes; sqrt(log n) by default.
    {shared}

    Attributes
    ----------
    {attributes}
    valid_set_ : list of int
        Positions (from 0) of the instruments taken for valid; empty when no two agree.
    relevant_ : list of int
        Positions of the instruments that are strong enough to vote.
    candidates_ : DataFrame
        For every instrument ``instrument relevant votes estimate std_error valid``: the effect that
        it implies alone.
    cliques_ : DataFrame or None
        All largest groups: ``members estimate std_error distance``; with "clique".

    See Also
    --------
    CIIV : Selection by confidence intervals and over-identification tests.
    GENIUS : No valid instrument needed.

    Notes
    -----
    With reduced-form coefficients Gam (outcome) and gam (treatment), instrument k votes for j when
    abs(Gam_k - gam_k Gam_j / gam_j) is below sqrt(log n) of its standard errors (Guo, Kang, Cai and
    Small 2018). Among several largest groups the one with the smallest distance from agreement is
    used, with a warning. Intervals do not account for the selection and are too short when an
    instrument is nearly valid.

    References
    ----------
    Guo, Z., Kang, H., Cai, T. T. and Small, D. S. (2018). Confidence Intervals for Causal Effects
    with Invalid Instruments by Using Two-Stage Hard Thresholding with Voting. Journal of the Royal
    Statistical Society B 80(4), 793-815.

    Examples
    --------
    >>> from robuststat import TSHT
    >>> from robuststat.simulation import make_many_iv
    >>> data = make_many_iv(n=2000, random_state=0)
    >>> est = TSHT().fit(data.X, data.y, treatment=data.treatment, instruments=data.instruments)
    >>> est.valid_set_ == data.valid, round(est.ate_, 1)
    (True, 1.0)
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **SelectionEstimator._parameter_checks,
        "voting": one_of("clique", "majority"),
        "tuning_first": optional(in_range(0, np.inf, closed="neither")),
        "tuning_second": optional(in_range(0, np.inf, closed="neither")),
    }

    def __init__(
        self,
        voting: str = "clique",
        *,
        vcov: str | None = None,
        tuning_first: float | None = None,
        tuning_second: float | None = None,
        formula: str | None = None,
        missing: str | None = None,
    ) -> None:
        self.voting = voting
        self.vcov = vcov
        self.tuning_first = tuning_first
        self.tuning_second = tuning_second
        self.formula = formula
        self.missing = missing

    def _fit(self, data: IVData) -> Self:
        check_candidates(data, "TSHT", 2)
        kind = variance_kind(self.vcov, data)
        part = partial_out(data)
        form = reduced_form(part, kind)
        default = float(np.sqrt(np.log(data.n_obs)))
        strong = relevant_instruments(form, self.tuning_first or default)
        agree = votes(form, self.tuning_second or default) & np.outer(strong, strong)
        self.relevant_ = [int(j) for j in np.flatnonzero(strong)]
        groups = self._groups(agree, strong)
        found = [group_estimate(part, form, group) for group in groups]
        best = int(np.argmin([one.distance for one in found])) if found else -1
        valid = groups[best] if found else ()
        self.cliques_ = self._clique_table(data, groups, found)
        self.candidates_ = candidate_table(data, form, strong, agree, valid)
        if len(valid) < 2:
            weak = "no instrument is strong enough to vote"
            alone = "no two relevant instruments agree on the effect"
            self._fail(data, alone if strong.any() else weak)
            return self
        self.valid_set_ = [int(j) for j in valid]
        notes = self._notes(data, groups, strong)
        self._store(self._result(data, kind, found[best], notes, form.df), data.rows)
        self._remember_effect()
        return self

    def _groups(self, agree: BoolArray, strong: BoolArray) -> list[tuple[int, ...]]:
        if not strong.any():
            return []
        if self.voting == "clique":
            members = np.flatnonzero(strong)
            small = largest_cliques(agree[np.ix_(members, members)])
            return [tuple(int(members[j]) for j in group) for group in small]
        count = agree.sum(axis=0)
        winners = (count > strong.sum() / 2) | (count == count.max())
        # The most votes an instrument can have is its own when nobody agrees with anybody.
        return [tuple(int(j) for j in np.flatnonzero(winners & strong))] if count.max() > 1 else []

    def _clique_table(
        self, data: IVData, groups: list[tuple[int, ...]], found: list[VoteEstimate]
    ) -> pd.DataFrame | None:
        if self.voting != "clique":
            return None
        members = [tuple(data.instruments[j] for j in group) for group in groups]
        return pd.DataFrame(
            {
                "members": members,
                "estimate": [one.effect for one in found],
                "std_error": [one.std_error for one in found],
                "distance": [one.distance for one in found],
            }
        )

    def _notes(self, data: IVData, groups: list[tuple[int, ...]], strong: BoolArray) -> list[str]:
        notes = []
        if len(groups) > 1:
            shown = "; ".join(listed(data.instruments, group) for group in groups[:3])
            warn(
                f"{len(groups)} groups of {len(groups[0])} instruments agree among themselves and "
                f"contradict each other ({shown}). The one nearest to agreement is used; see "
                "cliques_ for what the others say."
            )
            notes.append(
                f"{len(groups)} largest groups of {len(groups[0])} instruments; the one nearest to "
                "agreement is shown, the others are in cliques_"
            )
        if len(self.valid_set_) <= strong.sum() / 2:
            notes.append(
                f"the valid group is no majority ({len(self.valid_set_)} of {int(strong.sum())} "
                "relevant instruments)"
            )
        return notes

    def _result(
        self, data: IVData, kind: str, found: VoteEstimate, notes: list[str], df: float
    ) -> Any:
        lines = selection_lines(data, self.valid_set_, self.relevant_)
        rule = "the valid instruments are the largest group of relevant ones that agree (plurality)"
        return selection_result(
            data,
            effect=found.effect,
            std_error=found.std_error,
            df=np.inf if kind == "iid" else df,
            kind=kind,
            method=f"Two-stage hard thresholding, {data.Z.shape[1]} candidate instruments, "
            f"{self.voting} voting",
            diagnostics={
                "leading": lines,
                "notes": notes,
                "assumptions": selection_assumptions(data, rule),
            },
            call=self._call(),
        )


def candidate_table(
    data: IVData, form: ReducedForm, strong: BoolArray, agree: BoolArray, valid: tuple[int, ...]
) -> pd.DataFrame:
    """Tabulate what each instrument says alone."""
    estimate, std_error = ratio_variance(form.outcome, form.treatment, form.vcov)
    return pd.DataFrame(
        {
            "instrument": list(data.instruments),
            "relevant": strong,
            "votes": agree.sum(axis=0),
            "estimate": estimate,
            "std_error": std_error,
            "valid": np.isin(np.arange(len(strong)), valid),
        }
    )
