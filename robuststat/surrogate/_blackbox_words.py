"""The result of a predict-then-debias fit, and what ``summary()`` says about it."""

from __future__ import annotations

import numpy as np

from robuststat._core.errors import ParameterError
from robuststat.result import InferenceResult
from robuststat.surrogate._blackbox_fit import BlackBoxFit, Settings, Task
from robuststat.surrogate._words import effective_line, labelling_line

# In simulations with 50 labels tuned standard errors were up to 6 percent too small.
_FEW_LABELS = 100


def make_result(task: Task, settings: Settings, fit: BlackBoxFit, call: str) -> InferenceResult:
    """Build the result object with everything the reader should know."""
    data, labelling, found = task.data, task.labelling, fit.found
    k = found.theta.size
    clusters = data.clusters
    df = np.inf
    if settings.use_t:
        units = np.unique(task.unit[labelling.rows]).size
        df = float(labelling.n_labeled - k) if clusters is None else float(units - 1)
        if df <= 0:
            raise ParameterError(
                f"use_t=True needs more labelled rows ({labelling.n_labeled}) than coefficients "
                f"({k}). Set use_t=False."
            )
    name = type(settings.estimator).__name__
    lines = [labelling_line(labelling, settings.design), *_bootstrap_lines(task, settings, fit)]
    if not labelling.complete:
        effective = effective_line(fit.effect, labelling.n_labeled, data.X.shape[0])
        lines += [] if effective is None else [effective]
    return InferenceResult(
        estimate=found.theta,
        vcov=found.vcov,
        names=fit.names,
        df=df,
        n_obs=data.X.shape[0],
        n_clusters=None if clusters is None else len(clusters.levels),
        vcov_type="bootstrap",
        estimand=f"coefficients of {name} as expert labels on every row would give them",
        method=f"{name}, predict-then-debias correction for surrogate labels",
        outcome=data.outcome,
        diagnostics={
            "n_dropped": int(data.kept.size - data.kept.sum()),
            "n_dropped_by": dict(data.n_dropped_by),
            "counts": {"Labelled": labelling.n_labeled},
            "cluster_name": data.cluster_name,
            "lines": lines,
            "notes": _notes(task, settings, fit),
            "assumptions": _assumptions(clusters is None),
            "converged": found.unconverged == 0,
            "n_iter": 3,
            "n_boot": settings.n_boot,
            "n_boot_failed": found.draws.n_failed,
            "n_boot_unconverged": found.n_unconverged,
            "glance": {"n_labeled": labelling.n_labeled},
        },
        call=call,
    )


def _bootstrap_lines(task: Task, settings: Settings, fit: BlackBoxFit) -> list[str]:
    labelling = task.labelling
    if task.data.clusters is not None:
        what = "clusters"
    elif not task.fixed or labelling.complete:
        what = "rows"
    elif labelling.strata is not None:
        what = "labelled and of unlabelled rows within strata"
    else:
        what = "labelled and of unlabelled rows"
    line = f"Bootstrap: {settings.n_boot:,} draws of {what}, three fits each"
    if fit.plan.reduced:
        used, size = (
            sum(values)
            for values in zip(
                *((c.stop - c.start, c.size) for c in fit.plan.cells if c.size != c.stop - c.start),
                strict=True,
            )
        )
        line += f"; {used:,} of {size:,} unlabelled ones stand for all"
    if labelling.complete:
        return [line]
    words = {None: "none (Omega = 1)", "scalar": "one number a coefficient", "matrix": "matrix"}
    tuned = f"Tuning: {words[settings.tuning]}"
    if settings.tuning is not None:
        weight = np.diag(fit.found.tuning)
        tuned += f", diagonal {weight.min():.2f} to {weight.max():.2f}"
    return [line, tuned]


def _notes(task: Task, settings: Settings, fit: BlackBoxFit) -> list[str]:
    found, n_labeled = fit.found, task.labelling.n_labeled
    notes = []
    if n_labeled < _FEW_LABELS:
        notes.append(
            f"only {n_labeled} labels: bootstrap standard errors of few labels tend to be too "
            "small; consider use_t=True"
        )
    if found.draws.n_failed:
        notes.append(
            f"{found.draws.n_failed} of {settings.n_boot} bootstrap draws failed and are left out"
        )
    if found.n_unconverged:
        notes.append(
            f"a fit did not converge in {found.n_unconverged} of {settings.n_boot} bootstrap draws"
        )
    if task.unweighted:
        notes.append(
            f"{', '.join(map(repr, task.unweighted))} of the pipeline take no sample_weight: what "
            "they learn from data ignores the labelling probabilities and how often a row was drawn"
        )
    poor = fit.effect[np.isfinite(fit.effect)]
    if not task.labelling.complete and poor.size and poor.min() < 0.95:
        remedy = "use tuning='scalar'" if settings.tuning is None else "they add nothing"
        notes.append(
            "for some coefficients the surrogates make the estimate less precise than expert "
            f"labels alone (design effect {poor.min():.2f}); {remedy}"
        )
    return notes


def _assumptions(independent: bool) -> list[str]:
    return [
        "every row had a known, positive probability of getting an expert label, and nothing else "
        "decided who was labelled",
        "expert labels are the truth",
        f"{'rows' if independent else 'clusters'} are independent draws from the population of "
        "interest",
        "the estimator is a smooth function of the data for large samples, so that a bootstrap is "
        "valid",
        "NOT assumed: anything about the accuracy of the surrogate",
    ]
