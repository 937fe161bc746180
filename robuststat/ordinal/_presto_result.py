"""The result object of a PRESTO fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from robuststat._core.data import RoleData
from robuststat._core.types import Array
from robuststat.ordinal._predict import crossing_rows
from robuststat.ordinal._presto_data import Ready
from robuststat.ordinal._presto_fit import raw_fit
from robuststat.ordinal._presto_inference import Inference
from robuststat.ordinal._presto_path import boundary_names
from robuststat.ordinal._presto_solve import Solution
from robuststat.ordinal._presto_words import (
    class_line,
    coefficient_lines,
    crossing_line,
    notes,
    penalty_line,
    vcov_words,
)
from robuststat.result import InferenceResult


@dataclass(frozen=True, slots=True)
class Chosen:
    """Fits at all penalties, and the one used.

    Attributes
    ----------
    fits : list of Solution
        Along decreasing penalties.
    position : int
        The one used.
    how : str
        How it was chosen, in words.
    scores, spread : ndarray of shape (L,) or (0,)
        Score of each penalty, and its standard error.
    """

    fits: list[Solution]
    position: int
    how: str
    scores: Array
    spread: Array

    @property
    def solution(self) -> Solution:
        """The fit used."""
        return self.fits[self.position]


def describe(
    ready: Ready,
    data: RoleData,
    chosen: Chosen,
    inference: Inference | None,
    *,
    call: str,
    rare: int,
) -> InferenceResult:
    """Put a fit into the result that tables and tests are made from.

    Parameters
    ----------
    ready : Ready
        Data and options.
    data : RoleData
        As read.
    chosen : Chosen
        Fits.
    inference : Inference or None
        Estimates with a variance; without, the penalised estimates have none.
    call : str
        How the estimator was written.
    rare : int
        Number of the rare class.
    """
    problem, solution = ready.problem, chosen.solution
    raw, classes = raw_fit(problem, solution), ready.response.classes
    boundaries, names = boundary_names(classes), data.names
    q, p = raw.coef.shape
    kind = "none" if inference is None else inference.kind
    if inference is None:
        estimate = np.concatenate([raw.intercept, raw.coef.ravel()])
        vcov = np.zeros((estimate.size, estimate.size))
    else:
        estimate, vcov = inference.estimate, inference.vcov
    total = float(problem.total)
    n_obs = round(total) if ready.response.grouped else len(ready.rows.codes)
    loglik = -total * solution.loss
    glance = {
        "n_params": solution.df,
        "loglik": loglik,
        "null_loglik": -total * ready.null.loss,
        "aic": -2.0 * loglik + 2.0 * solution.df,
        "bic": -2.0 * loglik + float(np.log(total)) * solution.df,
        "lam": solution.lam,
    }
    what = "penalised" if inference is None else kind
    word = {"bootstrap": "PRESTO", "penalised": "PRESTO"}.get(what, "debiased")
    return InferenceResult(
        estimate=estimate,
        vcov=vcov,
        names=(*boundaries, *(names * q)),
        component=(
            *[f"thresholds ({word})"] * q,
            *(f"slopes at {b} ({word})" for b in boundaries for _ in range(p)),
        ),
        n_obs=n_obs,
        n_clusters=None if inference is None else inference.n_clusters,
        vcov_type=kind,
        estimand=(
            f"P({data.outcome} = {classes[rare]} | x), class probabilities, and slopes of each "
            "boundary"
        ),
        method=f"PRESTO: cumulative {ready.recipe.link} model, shrunk towards one slope a feature",
        outcome=data.outcome,
        diagnostics=_diagnostics(ready, data, chosen, inference, rare) | {"glance": glance},
        call=call,
    )


def _diagnostics(
    ready: Ready, data: RoleData, chosen: Chosen, inference: Inference | None, rare: int
) -> dict[str, Any]:
    problem, solution, recipe = ready.problem, chosen.solution, ready.recipe
    raw, response = raw_fit(problem, solution), ready.response
    pooled = ~(solution.psi[1:] != 0.0).any(axis=0)
    boundaries = boundary_names(response.classes)
    eta = raw.intercept - np.asarray(ready.rows.X @ raw.coef.T)
    n_crossing = int(crossing_rows(eta).sum())
    cons = solution.constraints
    binding = solution.multipliers > 0.0
    active = [] if cons is None else [boundaries[k] for k in np.unique(cons.boundary[binding])]
    lines = [
        class_line(response.classes, response.counts, rare),
        penalty_line(solution.lam, ready.top, chosen.how, recipe.l1_ratio),
        f"Optimality: KKT violation {solution.kkt:.1e} (objective {solution.objective:.8g})",
        f"Proportional odds: {int(pooled.sum())} of {pooled.size} features keep one slope at all "
        "boundaries",
    ]
    if len(boundaries) > 1:
        lines.append(crossing_line(recipe.crossing, n_crossing, active, len(eta)))
    found = notes(response.counts, response.classes, rare, response.dropped)
    if ready.constant:
        found.append(f"columns that do not vary have coefficient 0: {', '.join(ready.constant)}")
    kind = "none" if inference is None else inference.kind
    if inference is not None and inference.n_failed:
        found.append(f"{inference.n_failed} bootstrap replicates could not be fitted")
    assumes = [
        "rows (or clusters) are independent, and P(y <= k | x) = F(eta_k) at every boundary",
        "intervals treat the penalty as given; far fewer parameters than rows",
    ]
    return {
        "n_dropped": data.n_dropped,
        "n_dropped_by": dict(data.n_dropped_by),
        "cluster_name": data.cluster_name,
        "se_note": vcov_words(kind),
        "leading": coefficient_lines(raw.coef, solution.psi, response.classes, data.names, pooled),
        "lines": lines,
        "notes": found,
        "assumptions": assumes,
        "converged": bool(solution.kkt <= max(10.0 * recipe.tol, 1e-9)),
        "n_iter": sum(fit.n_iter for fit in chosen.fits),
    }
