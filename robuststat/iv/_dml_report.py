"""From out-of-fold nuisance values to effects, their variance, and the report of a fit (2.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from robuststat._core.data import RoleData
from robuststat._core.errors import IdentificationError
from robuststat._core.linalg import median_over_repetitions, solve_psd
from robuststat._core.types import Array, IntArray
from robuststat.iv import _guardrails as guard
from robuststat.iv import _words as words
from robuststat.iv._crossfit import Repetition, Sample
from robuststat.iv._intake import Roles
from robuststat.iv._multiply_robust import mean_vcov, ratio_moments, weighted
from robuststat.iv._report import (
    LEVEL,
    VCOV_TYPES,
    Report,
    as_bunch,
    common_diagnostics,
    strength,
)
from robuststat.iv._score_set import RatioMoments, score_set
from robuststat.iv._scores import FUNCTIONALS, Rows, overlap_moments
from robuststat.iv._stack import OVERLAP
from robuststat.result import InferenceResult

METHOD = "Effect of an exposure with an invalid instrument, cross-fitted"
ASSUMPTION = (
    "Products of errors of the learners vanish faster than the root of n: those of pi and omega, "
    "of p and h, and of beta with pi and p."
)


@dataclass(frozen=True, slots=True)
class Numbers:
    """Effects of one partition, or their median over partitions.

    Attributes
    ----------
    estimate : ndarray of shape (q,)
        Effects.
    influence : ndarray of shape (n, q)
        Their influence values.
    vcov : ndarray of shape (q, q)
        Their variance.
    """

    estimate: Array
    influence: Array
    vcov: Array


def effects(
    rep: Repetition, summaries: tuple[str, ...], weights: Array | None, codes: IntArray | None
) -> Numbers:
    """Effects of one partition with their influence values."""
    columns, estimate = [], []
    for name in summaries:
        if name == OVERLAP:
            moments = rep.average(_overlap_columns)
            mean = weighted(moments, weights).mean(axis=0)
            ratio = mean[0] / mean[1]
            columns.append(weighted(moments[:, 0] - ratio * moments[:, 1], weights) / mean[1])
            estimate.append(ratio)
            continue
        if not rep.rows.D.all():
            raise IdentificationError(
                f"D(x) is zero in {int((rep.rows.D == 0).sum())} rows. Set min_abs_d."
            )
        score = rep.average(FUNCTIONALS[name].score)
        centre = weighted(score, weights).mean()
        columns.append(weighted(score - centre, weights))
        estimate.append(centre)
    influence = np.column_stack(columns)
    return Numbers(np.array(estimate), influence, mean_vcov(influence, codes))


def _overlap_columns(rows: Rows) -> Array:
    return np.column_stack(overlap_moments(rows))


def projection(rep: Repetition, B: Array, weights: Array | None, codes: IntArray | None) -> Numbers:
    """Best linear approximation of beta(X): least squares of the ATE's score on a basis."""
    score = rep.average(FUNCTIONALS["ate"].score)
    weighted_B = weighted(B, weights)
    gram = B.T @ weighted_B / len(B)
    coef = solve_psd(gram, weighted_B.T @ score / len(B))
    psi = weighted_B * (score - B @ coef)[:, None]
    influence = solve_psd(gram, psi.T).T
    return Numbers(coef, influence, mean_vcov(influence, codes))


def median_of(parts: list[Numbers]) -> Numbers:
    """Median over repetitions; the influence of a row is its average."""
    if len(parts) == 1:
        return parts[0]
    estimate, vcov = median_over_repetitions(
        np.array([part.estimate for part in parts]), np.array([part.vcov for part in parts])
    )
    return Numbers(estimate, np.mean([part.influence for part in parts], axis=0), vcov)


def nuisance_frame(reps: list[Repetition]) -> pd.DataFrame:
    """Out-of-fold nuisance values of the rows, averaged over partitions."""
    names = ("pi", "p0", "p1", "v0", "v1", "D", "beta", "omega", "h0", "h1")
    return pd.DataFrame(
        {name: np.mean([getattr(rep.rows, name) for rep in reps], axis=0) for name in names}
    )


def dml_report(
    reps: list[Repetition],
    sample: Sample,
    data: RoleData,
    roles: Roles,
    *,
    summaries: tuple[str, ...],
    effect_names: tuple[str, ...],
    estimand: str,
    vcov: str,
    call: str,
    keep_influence: bool,
    learner_lines: list[str],
    regressors: list[str],
    method: str = METHOD,
) -> Report:
    """Estimates, tests and words of a cross-fitted fit."""
    weights, codes, n = sample.weights, sample.clusters, sample.y.size
    each = [effects(rep, summaries, weights, codes) for rep in reps]
    found = median_of(each)
    moments = np.mean([rep.average(_overlap_columns) for rep in reps], axis=0)
    overlap = ratio_moments(moments, weights, codes)
    names = tuple(words.EFFECT_NAMES[name] for name in summaries)
    n_clusters = None if codes is None else int(codes.max()) + 1
    kind = VCOV_TYPES[vcov]
    spread = guard.spread_of(
        np.median([rep.D for rep in reps], axis=0), weights, unit=0.25, min_abs_d=sample.min_abs_d
    )
    guards = _guards(reps, sample, spread, overlap, regressors)
    guard.announce(guards)
    # The overlap effect alone is one number for everybody.
    effect_part = found
    if estimand == "ate":
        effect_part = median_of([projection(rep, sample.B, weights, codes) for rep in reps])
    effect = InferenceResult(
        estimate=effect_part.estimate,
        vcov=effect_part.vcov,
        names=effect_names,
        n_obs=n,
        n_clusters=n_clusters,
        vcov_type=kind,
        method="Best linear approximation of the conditional effect beta(X)",
        outcome=data.outcome,
        call=call,
    )
    parts = _parts(summaries, names, found, overlap, n)
    diagnostics = {
        **common_diagnostics(data, roles, guards),
        "converged": True,
        "n_iter": 1,
        "leading": _leading(spread, overlap, parts, estimand),
        "lines": _lines(parts, effect, estimand, reps, learner_lines),
        "assumptions": [*words.ASSUMPTIONS[:-1], ASSUMPTION],
        "weak": guard.is_weak(spread, overlap.strength),
        "share_d_negative": spread.share_negative,
        "d_low": spread.low,
        "d_high": spread.high,
        "n_d_bounded": spread.n_bounded,
        "one_sided": sample.fixed != (None, None),
        "glance": {"n_rep": len(reps)},
    }
    result = InferenceResult(
        estimate=found.estimate,
        vcov=found.vcov,
        names=names,
        n_obs=n,
        n_clusters=n_clusters,
        vcov_type=kind,
        estimand=words.ESTIMANDS[estimand],
        method=method,
        outcome=data.outcome,
        diagnostics=diagnostics,
        influence=found.influence if keep_influence else None,
        call=call,
    )
    kept = nuisance_frame(reps) if keep_influence else None
    repeats = pd.DataFrame([one.estimate for one in each], columns=list(names))
    return Report(result, effect, overlap, parts, {}, kept, repeats)


def _parts(
    summaries: tuple[str, ...],
    names: tuple[str, ...],
    found: Numbers,
    overlap: RatioMoments,
    n: int,
) -> dict[str, Bunch]:
    bare = InferenceResult(estimate=found.estimate, vcov=found.vcov, names=names, n_obs=n)
    keys = {"ate": "ate", "direct": "direct_effect_", "confounding": "confounding_"}
    parts = {
        keys.get(name, "overlap_effect_"): as_bunch(bare, j) for j, name in enumerate(summaries)
    }
    parts["overlap_effect_"]["score_set"] = score_set(overlap, LEVEL).frame()
    parts["strength_"] = strength(overlap, n)
    return parts


def _guards(
    reps: list[Repetition],
    sample: Sample,
    spread: guard.Spread,
    overlap: RatioMoments,
    regressors: list[str],
) -> list[guard.Guard]:
    guards = guard.weakness(spread, overlap.strength) + guard.one_sided(sample.fixed)
    guards += guard.extreme_probabilities(
        np.median([rep.pi for rep in reps], axis=0), sample.clip_pi
    )
    if spread.n_bounded:
        text = f"|D(x)| was raised to min_abs_d={sample.min_abs_d:g} in {spread.n_bounded} rows."
        guards.append(guard.Guard(text))
    if regressors:
        text = (
            f"{' and '.join(regressors)} predict probabilities but are regressors; their values "
            "were cut to [0, 1]. Prefer a classifier with predict_proba."
        )
        guards.append(guard.Guard(text, UserWarning))
    return guards


def _leading(
    spread: guard.Spread, overlap: RatioMoments, parts: dict[str, Bunch], estimand: str
) -> list[str]:
    lines = [
        words.strength_line(spread, overlap),
        words.set_line(score_set(overlap, LEVEL), LEVEL),
    ]
    if guard.is_weak(spread, overlap.strength) and estimand == "ate":
        lines.insert(0, words.lead_line(parts["overlap_effect_"]))
    return lines


def _lines(
    parts: dict[str, Bunch],
    effect: InferenceResult,
    estimand: str,
    reps: list[Repetition],
    learner_lines: list[str],
) -> list[str]:
    lines = []
    for name, what in (
        ("direct_effect_", "Test of exclusion (no direct effect of Z)"),
        ("confounding_", "Test of no unmeasured confounding"),
    ):
        if name in parts and parts[name].std_error > 0.0:
            lines.append(words.test_line(what, parts[name]))
    slopes = [j for j, name in enumerate(effect.names) if name != "(Intercept)"]
    if estimand == "ate" and slopes and (effect.std_error > 0).all():
        test = effect.wald_test(np.eye(len(effect.names))[slopes])
        lines.append(
            f"Test of a constant effect: chi2({test.df:g}) = {test.statistic:.4g}, p-value = "
            f"{test.p_value:.3g}"
        )
    losses: dict[str, Any] = {
        name: np.median([rep.losses[name] for rep in reps]) for name in reps[0].losses
    }
    text = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
    return [*lines, *learner_lines, f"Out-of-fold mean squared errors: {text}"]
