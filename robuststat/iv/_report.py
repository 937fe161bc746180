"""From the numbers of a fit to result objects and the small attributes beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from robuststat._core.data import RoleData
from robuststat._core.types import Array
from robuststat.iv import _guardrails as guard
from robuststat.iv import _words as words
from robuststat.iv._intake import Prepared, Roles
from robuststat.iv._multiply_robust import (
    Estimate,
    eif_values,
    mean_vcov,
    nuisance_frame,
    stacked_influence,
    stacked_vcov,
    weighted,
)
from robuststat.iv._nuisances import LogitFit
from robuststat.iv._score_set import RatioMoments, score_set
from robuststat.iv._stack import OVERLAP
from robuststat.result import InferenceResult

LEVEL = 0.95
VCOV_TYPES = {"sandwich": "HC0", "cluster": "CR0", "eif": "eif"}


@dataclass(frozen=True, slots=True)
class Report:
    """All that a fitted estimator keeps.

    Attributes
    ----------
    result, effect : InferenceResult
        Effects; coefficients of the conditional effect.
    overlap : RatioMoments
        What score sets are made of.
    parts : dict of str to Bunch
        Attributes of the estimator: an estimate each, with its error, test and interval.
    nuisance_coef : dict of str to Series
        Coefficients of every nuisance model.
    nuisances : DataFrame or None
        Nuisance values of the rows, when they are kept.
    repeats : DataFrame or None
        Estimates of every partition of a cross-fitted fit.
    """

    result: InferenceResult
    effect: InferenceResult
    overlap: RatioMoments
    parts: dict[str, Bunch]
    nuisance_coef: dict[str, pd.Series]
    nuisances: pd.DataFrame | None
    repeats: pd.DataFrame | None = None


def single(name: str, estimate: float, variance: float, n_obs: int) -> InferenceResult:
    """Make a result that holds one number."""
    return InferenceResult(
        estimate=np.array([estimate]), vcov=np.array([[variance]]), names=(name,), n_obs=n_obs
    )


def as_bunch(result: InferenceResult, position: int = 0) -> Bunch:
    """One estimate of a result as a Bunch."""
    row = result.tidy(level=LEVEL).iloc[position]
    names = ("estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high")
    return Bunch(**{name: float(row[name]) for name in names})


def make_report(
    found: Estimate,
    prepared: Prepared,
    data: RoleData,
    roles: Roles,
    *,
    estimand: str,
    vcov: str,
    call: str,
    keep_influence: bool,
) -> Report:
    """Variances, tests and words of a fit with a binary instrument."""
    codes = None if data.clusters is None else data.clusters.codes
    n_clusters = None if data.clusters is None else len(data.clusters.levels)
    stack, n = found.stack, found.stack.n_obs
    whole = stacked_vcov(found, codes, n_clusters)
    places = stack.places()
    place = places["summaries"]
    covariance = mean_vcov(eif_values(found), codes) if vcov == "eif" else whole[place, place]
    names = tuple(words.EFFECT_NAMES[name] for name in stack.summaries)
    influence = None
    if keep_influence:
        influence = eif_values(found) if vcov == "eif" else stacked_influence(found)
    problem = prepared.problem
    spread = guard.spread_of(
        found.values.D,
        problem.weights,
        unit=0.25 if problem.spread is None else found.values.spread,
        min_abs_d=problem.min_abs_d,
    )
    guards = _guards(found, prepared, spread)
    guard.announce(guards)
    effect = InferenceResult(
        estimate=found.theta[places["effect"]],
        vcov=whole[places["effect"], places["effect"]],
        names=problem.effect.names,
        n_obs=n,
        n_clusters=n_clusters,
        vcov_type="HC0" if codes is None else "CR0",
        method="Conditional effect of the exposure, beta(X)",
        outcome=data.outcome,
        call=call,
    )
    bare = InferenceResult(estimate=found.summaries, vcov=covariance, names=names, n_obs=n)
    parts = _parts(found, bare, codes)
    diagnostics = _diagnostics(found, data, roles, parts, spread, guards, effect, estimand)
    result = InferenceResult(
        estimate=found.summaries,
        vcov=covariance,
        names=names,
        n_obs=n,
        n_clusters=n_clusters,
        vcov_type=VCOV_TYPES[vcov],
        estimand=words.ESTIMANDS[estimand],
        method=words.METHOD,
        outcome=data.outcome,
        diagnostics=diagnostics,
        influence=influence,
        call=call,
    )
    kept = nuisance_frame(found) if keep_influence else None
    return Report(result, effect, found.overlap, parts, _coefficients(found), kept)


def _parts(found: Estimate, bare: InferenceResult, codes: Any) -> dict[str, Bunch]:
    n, overlap = found.stack.n_obs, found.overlap
    parts = {
        {"ate": "ate", "direct": "direct_effect_", "confounding": "confounding_"}.get(
            name, "overlap_effect_"
        ): as_bunch(bare, j)
        for j, name in enumerate(found.stack.summaries)
    }
    parts["overlap_effect_"]["score_set"] = score_set(overlap, LEVEL).frame()
    parts["strength_"] = strength(overlap, n)
    if found.values.exclusion is None or "ate" not in found.stack.summaries:
        return parts
    weights = found.stack.problem.weights
    imposed = float(np.average(found.values.exclusion, weights=weights))
    position = found.stack.summaries.index("ate")
    ate = float(found.summaries[position])
    other = weighted(found.values.exclusion - imposed, weights)
    vcov = mean_vcov(np.column_stack([other, eif_values(found)[:, position]]), codes)
    gap = float(vcov[0, 0] + vcov[1, 1] - 2.0 * vcov[0, 1])
    label = "ATE with exclusion imposed"
    parts["exclusion_imposed_"] = as_bunch(single(label, imposed, vcov[0, 0], n))
    parts["exclusion_difference_"] = as_bunch(
        single(f"{label} - ATE", imposed - ate, max(gap, 0.0), n)
    )
    return parts


def strength(overlap: RatioMoments, n: int) -> Bunch:
    """Mean of f_D with its test: how much heteroscedasticity there is."""
    return as_bunch(single("strength", float(overlap.mean[1]), float(overlap.vcov[1, 1]), n))


def _guards(found: Estimate, prepared: Prepared, spread: guard.Spread) -> list[guard.Guard]:
    problem, nuisances = prepared.problem, found.nuisances
    guards = guard.weakness(spread, found.overlap.strength)
    guards += guard.one_sided(problem.fixed)
    guards += guard.separated("instrument", nuisances.instrument)
    guards += guard.separated("treatment", nuisances.treatment)
    guards += guard.extreme_probabilities(found.values.pi, problem.clip_pi)
    if spread.n_bounded:
        text = f"|D(x)| was raised to min_abs_d={problem.min_abs_d:g} in {spread.n_bounded} rows."
        guards.append(guard.Guard(text))
    guards += guard.left_out(prepared.dropped)
    if np.ptp(problem.y) == 0.0:
        guards.append(guard.Guard("The outcome is constant: every effect is zero.", UserWarning))
    return guards


def _converged(*fits: LogitFit | None) -> dict[str, Any]:
    known = [fit.convergence for fit in fits if fit is not None]
    if not known:
        return {"converged": True, "n_iter": 1}
    return {
        "converged": all(info.converged for info in known),
        "n_iter": max(info.n_iter for info in known),
    }


def common_diagnostics(data: RoleData, roles: Roles, guards: list[guard.Guard]) -> dict[str, Any]:
    """Rows, dropped rows and remarks, as ``summary()`` prints them."""
    used = np.ones(roles.a.size, bool) if data.weights is None else data.weights > 0
    counts = {}
    if roles.binary_exposure:
        counts["A = 1"] = int(np.count_nonzero(roles.a[used] == 1.0))
    if roles.binary_instrument:
        counts["Z = 1"] = int(np.count_nonzero(roles.z[used] == 1.0))
    return {
        "n_dropped": int((~data.kept).sum()),
        "n_dropped_by": data.n_dropped_by,
        "counts": counts,
        "cluster_name": data.cluster_name,
        "notes": [one.text for one in guards],
    }


def _diagnostics(
    found: Estimate,
    data: RoleData,
    roles: Roles,
    parts: dict[str, Bunch],
    spread: guard.Spread,
    guards: list[guard.Guard],
    effect: InferenceResult,
    estimand: str,
) -> dict[str, Any]:
    weak = guard.is_weak(spread, found.overlap.strength)
    leading = [
        words.strength_line(spread, found.overlap),
        words.set_line(score_set(found.overlap, LEVEL), LEVEL),
    ]
    if weak and estimand == "ate":
        leading.insert(0, words.lead_line(parts["overlap_effect_"]))
    lines = []
    for name, what in (
        ("direct_effect_", "Test of exclusion (no direct effect of Z)"),
        ("confounding_", "Test of no unmeasured confounding"),
    ):
        if name in parts and parts[name].std_error > 0.0:
            lines.append(words.test_line(what, parts[name]))
    slopes = np.eye(len(effect.names))[_slopes(effect)]
    if estimand == "ate" and len(slopes) and (effect.std_error > 0).all():
        test = effect.wald_test(slopes)
        lines.append(
            f"Test of a constant effect: chi2({test.df:g}) = {test.statistic:.4g}, p-value = "
            f"{test.p_value:.3g}"
        )
    if "exclusion_imposed_" in parts:
        lines.append(
            words.exclusion_line(parts["exclusion_imposed_"], parts["exclusion_difference_"])
        )
    fits = (found.nuisances.instrument, found.nuisances.treatment)
    return {
        **common_diagnostics(data, roles, guards),
        **_converged(*fits),
        "leading": leading,
        "lines": lines,
        "assumptions": list(words.ASSUMPTIONS),
        "weak": weak,
        "d_low": spread.low,
        "d_high": spread.high,
        "share_d_negative": spread.share_negative,
        "n_d_bounded": spread.n_bounded,
        "separated": [
            name
            for name, fit in zip(("instrument", "treatment"), fits, strict=True)
            if fit.separated
        ],
        "one_sided": any(value is not None for value in found.stack.problem.fixed),
    }


def _slopes(effect: InferenceResult) -> list[int]:
    return [j for j, name in enumerate(effect.names) if name != "(Intercept)"]


def _coefficients(found: Estimate) -> dict[str, pd.Series]:
    problem, nuisances = found.stack.problem, found.nuisances
    known = {
        "instrument": nuisances.instrument.coef,
        "treatment": nuisances.treatment.coef,
        "effect": nuisances.effect,
        "direct": nuisances.direct,
        "confounding": nuisances.confounding,
    }
    return {
        name: pd.Series(coef, index=list(getattr(problem, name).names), name=name)
        for name, coef in known.items()
    }


def numeric_report(
    moments: Array,
    overlap: RatioMoments,
    logit: LogitFit | None,
    prepared: Prepared,
    data: RoleData,
    roles: Roles,
    *,
    vcov: str,
    call: str,
    keep_influence: bool,
) -> Report:
    """Make the report of a fit with an instrument that is a number."""
    n = len(moments)
    guards = guard.weakness(None, overlap.strength) + guard.separated("treatment", logit)
    guards += guard.left_out(prepared.dropped)
    guard.announce(guards)
    clusters = data.clusters
    variance = overlap.std_error**2
    influence = None
    if keep_influence:
        residual = (moments[:, 0] - overlap.ratio * moments[:, 1]) / overlap.mean[1]
        influence = weighted(residual, data.weights)[:, None]
    leading = [
        words.strength_line(None, overlap),
        words.set_line(score_set(overlap, LEVEL), LEVEL),
    ]
    result = InferenceResult(
        estimate=np.array([overlap.ratio]),
        vcov=np.array([[variance]]),
        names=(words.OVERLAP_ATE,),
        n_obs=n,
        n_clusters=None if clusters is None else len(clusters.levels),
        vcov_type=VCOV_TYPES[vcov],
        estimand=words.ESTIMANDS[OVERLAP],
        method=words.METHOD_NUMERIC,
        outcome=data.outcome,
        diagnostics={
            **common_diagnostics(data, roles, guards),
            **_converged(logit),
            "leading": leading,
            "assumptions": list(words.NUMERIC_ASSUMPTIONS),
            "weak": guard.is_weak(None, overlap.strength),
        },
        influence=influence,
        call=call,
    )
    effect = single("(Intercept)", overlap.ratio, variance, n)
    parts = {"overlap_effect_": as_bunch(result), "strength_": strength(overlap, n)}
    parts["overlap_effect_"]["score_set"] = score_set(overlap, LEVEL).frame()
    return Report(result, effect, overlap, parts, {}, None)
