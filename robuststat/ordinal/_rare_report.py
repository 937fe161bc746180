"""Result, words and numbers of a rare-event fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from sklearn.utils import Bunch

from robuststat._core.data import RoleData
from robuststat._core.linalg import solve_psd
from robuststat._core.types import Array, IntArray
from robuststat._core.vcov import meat, small_sample
from robuststat.ordinal._rare_fit import LogitFit, LogitProblem, evaluate, fit_logit
from robuststat.ordinal._rare_methods import METHODS, RareFit
from robuststat.ordinal._rare_profile import ProfileCurve, ProfiledResult, profile_curve
from robuststat.ordinal._separation import Separation
from robuststat.report import format_p
from robuststat.result import InferenceResult

# Below this many events for each slope a summary says so (Peduzzi et al. 1996).
FEW_EVENTS = 10


@dataclass(frozen=True, slots=True)
class RareReport:
    """What the result of a fit is made from.

    Attributes
    ----------
    problem, found, null : LogitProblem, RareFit, LogitFit
        Rows, estimate, fit with intercept only.
    intercept : int or None
        Position of the intercept.
    shift : float
        Taken off the intercept for the share of events in the population.
    separation : Separation
        What was found.
    kind : str
        Variance.
    profile : bool
        Whether intervals come from profiles.
    clusters : ndarray of shape (n,) or None
        Codes of the clusters.
    options : mapping
        ``method, tau, correction, flic, prior_df, max_iter`` of the estimator.
    event : object
        The modelled class.
    weighted, keep_influence : bool
        Whether there were weights; whether to keep influence values.
    """

    problem: LogitProblem
    found: RareFit
    null: LogitFit
    intercept: int | None
    shift: float
    separation: Separation
    kind: str
    profile: bool
    clusters: IntArray | None
    counts: Array | None
    options: Mapping[str, Any]
    event: Any
    weighted: bool
    keep_influence: bool

    @property
    def units(self) -> Array:
        """How many observations each entry stands for."""
        return np.ones(len(self.problem.y)) if self.counts is None else self.counts

    @property
    def n_obs(self) -> int:
        """Observations."""
        return round(float(self.units.sum()))


def make_result(
    report: RareReport, data: RoleData, *, call: str
) -> tuple[InferenceResult, dict[str, Any]]:
    """Make the result and further fitted attributes of the estimator.

    Parameters
    ----------
    report : RareReport
        The fit.
    data : RoleData
        Where the rows came from.
    call : str
        How the estimator was written.

    Returns
    -------
    result : InferenceResult
        A :class:`ProfiledResult` where there are profiles.
    numbers : dict
        Fitted attributes by name.
    """
    found = report.found
    estimate = found.beta.copy()
    if report.intercept is not None:
        estimate[report.intercept] -= report.shift
    vcov, df, n_clusters = _variance(report)
    curves = _profiles(report) if report.profile else None
    test = _slopes_test(report)
    numbers = _numbers(report, test)
    diagnostics = _diagnostics(report, data, numbers, curves)
    shared: dict[str, Any] = {
        "estimate": estimate,
        "vcov": vcov,
        "names": data.names,
        "n_obs": report.n_obs,
        "df": df,
        "n_clusters": n_clusters,
        "vcov_type": report.kind,
        "estimand": f"log-odds coefficients of {data.outcome} = {report.event!s}",
        "method": _title(report.options),
        "outcome": data.outcome,
        "diagnostics": diagnostics,
        "influence": found.influence if report.keep_influence else None,
        "call": call,
    }
    if curves is None:
        return InferenceResult(**shared), numbers
    return ProfiledResult(**shared), numbers


def _title(options: Mapping[str, Any]) -> str:
    words = METHODS[options["method"]]
    if options["method"] == "logf":
        words = words.replace("log-F", f"log-F({options['prior_df']:g},{options['prior_df']:g})")
    if options["flic"]:
        words += f", {options['flic'].upper()}"
    if options["tau"] is not None:
        words += f", {options['correction']} correction to a share {options['tau']:g} of events"
    return words


def _variance(report: RareReport) -> tuple[Array, float, int | None]:
    if report.kind == "hessian":
        return report.found.vcov, np.inf, None
    n, k = report.problem.X.shape
    influence = report.found.influence
    if report.counts is not None and report.clusters is None:
        # Units of one entry are independent: their scores are squared one by one.
        influence = influence / np.sqrt(report.counts)[:, None]
    spread = meat(influence, clusters=report.clusters)
    small = small_sample(report.kind, n_obs=report.n_obs, n_params=k, n_clusters=spread.n_clusters)  # type: ignore[arg-type]
    return small.factor * spread.matrix / n, small.df, spread.n_clusters


def _profiles(report: RareReport) -> list[ProfileCurve | None]:
    found = report.found
    k_all = len(found.fit.beta)
    inverse = solve_psd(found.fit.point.information, np.eye(k_all), found.problem.names)
    curves: list[ProfileCurve | None] = []
    for j in range(len(found.beta)):
        shift = report.shift if j == report.intercept else 0.0
        curve = None
        if found.has_profile[j] and found.fit.convergence.converged:
            curve = profile_curve(
                found.problem,
                found.fit,
                j,
                vcov=inverse,
                zero=shift,
                max_iter=report.options["max_iter"],
            )
        if curve is not None and shift:
            curve = ProfileCurve(curve.root, curve.value - shift, curve.slope, curve.at_zero)
        curves.append(curve)
    return curves


def _slopes_test(report: RareReport) -> Bunch:
    """Likelihood-ratio test that all slopes are zero, with the penalty in both likelihoods."""
    nothing = Bunch(statistic=np.nan, df=0, p_value=np.nan)
    found = report.found
    slopes = np.append(report.problem.slopes, False)[: len(found.fit.beta)]
    independent = report.kind == "hessian" and report.options["method"] != "king_zeng"
    if not independent or not slopes.any() or not found.fit.convergence.converged:
        return nothing
    start = np.where(slopes, 0.0, found.fit.beta)
    if report.intercept is not None:
        start[report.intercept] = report.null.beta[report.intercept]
    rest = fit_logit(found.problem, start, fixed=slopes)
    statistic = max(0.0, 2.0 * (found.fit.point.loglik - rest.point.loglik))
    df = int(slopes.sum())
    return Bunch(statistic=statistic, df=df, p_value=float(stats.chi2.sf(statistic, df)))


def _numbers(report: RareReport, test: Bunch) -> dict[str, Any]:
    problem, found = report.problem, report.found
    events = round(float(report.units[problem.y > 0.5].sum()))
    n_slopes = int(problem.slopes.sum())
    rarer = min(events, report.n_obs - events)
    loglik = evaluate(problem, found.beta, leverages=False).plain_loglik
    return {
        "n_events_": events,
        "n_nonevents_": report.n_obs - events,
        "events_per_parameter_": rarer / n_slopes if n_slopes else np.inf,
        "loglik_": loglik,
        "null_loglik_": report.null.point.plain_loglik,
        "penalized_loglik_": found.fit.point.loglik,
        "lr_test_": test,
    }


def _diagnostics(
    report: RareReport,
    data: RoleData,
    numbers: Mapping[str, Any],
    curves: list[ProfileCurve | None] | None,
) -> dict[str, Any]:
    options, found = report.options, report.found
    k, n = len(found.beta), report.n_obs
    loglik = numbers["loglik_"]
    glance = {
        "loglik": loglik,
        "null_loglik": numbers["null_loglik_"],
        "n_params": k,
        "aic": 2.0 * k - 2.0 * loglik,
        "bic": np.log(n) * k - 2.0 * loglik,
    }
    if options["tau"] is not None:
        glance["tau"] = options["tau"]
    found_it = found.fit.convergence
    words: dict[str, Any] = {
        "counts": {"Events": numbers["n_events_"]},
        "n_dropped": data.n_dropped,
        "n_dropped_by": data.n_dropped_by,
        "cluster_name": data.cluster_name,
        "lines": _lines(report, numbers),
        "notes": _notes(report, numbers, curves),
        "assumptions": _assumptions(report),
        "converged": found_it.converged,
        "n_iter": found_it.n_iter,
        "n_params": k,
        "glance": glance,
    }
    if report.kind == "hessian":
        words["se_note"] = "inverse information"
    if curves is not None:
        words["se_note"] = "inverse information; intervals and z by likelihood profiles"
        words["profile"] = [
            None
            if curve is None
            else {name: getattr(curve, name) for name in ("root", "value", "slope", "at_zero")}
            for curve in curves
        ]
    return words


def _lines(report: RareReport, numbers: Mapping[str, Any]) -> list[str]:
    events, others = numbers["n_events_"], numbers["n_nonevents_"]
    lines = [
        f"Events: {events:,} of {events + others:,} rows "
        f"({100 * events / (events + others):.3g} %), "
        f"{numbers['events_per_parameter_']:.3g} rows of the rarer class by slope"
    ]
    found = report.separation
    lines.append(f"Separation: {found.words()}" if found.found else "Separation: none")
    test = numbers["lr_test_"]
    if np.isfinite(test.statistic):
        kind = "Penalised likelihood ratio" if _penalised(report) else "Likelihood ratio"
        lines.append(
            f"{kind}, all slopes zero: chi2({test.df}) = {test.statistic:.4g}, p-value "
            f"{format_p(test.p_value)}"
        )
    return lines


def _penalised(report: RareReport) -> bool:
    return report.found.problem.penalty != "none"


def _notes(
    report: RareReport,
    numbers: Mapping[str, Any],
    curves: list[ProfileCurve | None] | None,
) -> list[str]:
    options, names = report.options, report.problem.names
    notes = []
    if numbers["events_per_parameter_"] < FEW_EVENTS:
        few = f"fewer than {FEW_EVENTS} rows of the rarer class for each slope: "
        better = "method='firth' with its profile intervals is safer"
        penalised = options["method"] in ("firth", "logf")
        notes.append(few + ("the penalty decides much of the answer" if penalised else better))
    if curves is not None:
        without = [name for name, curve in zip(names, curves, strict=True) if curve is None]
        if without:
            notes.append(f"Wald interval and test, not by profile: {', '.join(without)}")
    elif report.separation.found:
        notes.append("under separation Wald intervals are poor; use profiles (intervals=None)")
    if options["method"] == "firth" and not options["flic"]:
        notes.append(
            "Firth's mean predicted probability is above the share of events; flic='flic' or "
            "'flac' for predictions"
        )
    if options["method"] == "logf":
        notes.append("the prior is on coefficients per unit of each column: choose the units")
    if report.weighted and report.kind == "hessian":
        notes.append("the inverse information counts sample_weight as repetitions of rows")
    return notes


def _assumptions(report: RareReport) -> list[str]:
    lines = ["the log-odds of the event are linear in the columns"]
    if report.kind.startswith("CR"):
        lines.append("rows of different clusters are independent")
    elif report.kind == "hessian":
        lines.append("rows are independent")
    else:
        lines.append("rows are independent; standard errors hold also when the model is wrong")
    tau = report.options["tau"]
    if tau is not None:
        lines.append(
            f"rows were sampled by their class only, from a population of which a share {tau:g} "
            "are events; that share is known"
        )
    return lines
