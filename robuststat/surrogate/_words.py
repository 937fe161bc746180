"""What ``summary()`` says about a surrogate-label fit, in words."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from robuststat._core.crossfit import CrossFit
from robuststat._core.types import Array
from robuststat.report import format_p
from robuststat.surrogate._diagnostics import out_of_fold_r2
from robuststat.surrogate._labels import Labelling
from robuststat.surrogate._learners import learner_words, resolve_learner
from robuststat.surrogate._models import QuantileRows
from robuststat.surrogate._problem import Problem
from robuststat.surrogate._solve import VarianceSpec
from robuststat.surrogate._targets import OUTCOME

DESIGN_WORDS = {
    "srs": "simple random sampling",
    "bernoulli": "independent draws",
    "stratified": "stratified random sampling",
}
SE_WORDS = {
    "robust": "",
    "design": "corrected for the labelling design",
    "finite": "finite corpus: only the labelling is random",
}


def labelling_line(labelling: Labelling, design: str) -> str:
    """How the labels came about."""
    prob = labelling.prob[labelling.rows]
    low, high = float(prob.min()), float(prob.max())
    chance = f"{low:.4g}" if np.isclose(low, high) else f"{low:.4g} to {high:.4g}"
    words = f"Labels: {DESIGN_WORDS[design]}, probability {chance}"
    if labelling.terms is not None:
        words += f", estimated by a logit model with {labelling.terms.shape[1]} terms"
    elif labelling.known:
        words += ", used as given"
    if labelling.effective < 0.99 * labelling.n_labeled:
        words += f"; with unequal weights worth {labelling.effective:,.0f} equal ones"
    return words


def prediction_line(problem: Problem, learner: Any, predictions: CrossFit) -> str:
    """Where the predictions come from and how good they are."""
    if isinstance(learner, str) and learner == "passthrough":
        names = [str(f.columns[0]) for f in problem.surrogates.values()]
        return f"Predictions: {', '.join(names)}, used as given (no learner, no folds)"
    target = problem.targets[next(iter(problem.targets))][problem.labelling.rows]
    used = learner_words(resolve_learner(learner, target, target.size))
    n_rep, n_folds = next(iter(predictions.losses.values())).shape
    quality = ", ".join(
        f"R2 {value:.2f}" + ("" if len(problem.targets) == 1 else f" for {_name(problem, name)}")
        for name, value in out_of_fold_r2(problem, predictions).items()
    )
    times = "repetition" if n_rep == 1 else "repetitions"
    return f"Cross-fitting: {n_folds} folds x {n_rep} {times} ({used}), out-of-fold {quality}"


def model_lines(problem: Problem, tests: list[tuple[float, int]]) -> list[str]:
    """Say what the variance of the model rests on, and whether all its moments can hold."""
    if tests:
        statistic, p_value, df = overidentification(tests)
        return [
            f"Over-identification: J({df}) = {statistic:.2f}, p-value = {format_p(p_value)} "
            "(small: the moments contradict each other)"
        ]
    if not isinstance(problem.model, QuantileRows):
        return []
    n = problem.labelling.n_labeled
    return [
        f"Density at the quantile: Gaussian kernel of the {n:,} labelled residuals (Powell), "
        "Hall-Sheather bandwidth"
    ]


def tie_notes(problem: Problem, theta: Array) -> list[str]:
    """Say when a point mass of the outcome sits at a quantile, where there is no density."""
    if not isinstance(problem.model, QuantileRows):
        return []
    rows = problem.labelling.rows
    y, fitted = problem.data.y[rows], problem.X_gold @ theta
    count = int((np.abs(y - fitted) <= 1e-10 * (np.abs(y) + np.abs(fitted))).sum()) - theta.size
    if count <= 0.1 * rows.size:
        return []
    return [
        f"{count + theta.size} of {rows.size} expert labels lie exactly on the fitted plane: the "
        "outcome is rounded or has a point mass there, and standard errors, which assume a "
        "density, are rough"
    ]


def overidentification(tests: list[tuple[float, int]]) -> tuple[float, float, int]:
    """Return J, its p-value and degrees of freedom, the median over repetitions."""
    if not tests:
        return float("nan"), float("nan"), 0
    statistic, df = float(np.median([j for j, _ in tests])), tests[0][1]
    return statistic, float(stats.chi2.sf(statistic, df)), df


def effective_labels(effect: Array, n_labeled: int, n_obs: int) -> Array:
    """Return labels that alone would give the same precision, at most one a row."""
    return np.minimum(effect * n_labeled, float(n_obs))


def effective_line(effect: Array, n_labeled: int, n_obs: int) -> str | None:
    """Say what the labels are worth with the help of the predictions."""
    known = effect[np.isfinite(effect)]
    if known.size == 0:
        return None
    labels = effective_labels(known, n_labeled, n_obs)
    low, high = f"{labels.min():,.0f}", f"{labels.max():,.0f}"
    span = low if low == high else f"{low} to {high}"
    return f"Effective labels: {n_labeled:,} with these predictions are worth {span} alone"


def assumptions(problem: Problem, spec: VarianceSpec) -> list[str]:
    """Say what was assumed, and what was not."""
    groups = "rows" if spec.groups is None else "clusters"
    said = [
        "every row had a known, positive probability of getting an expert label, and nothing "
        "else decided who was labelled",
        "expert labels are the truth",
    ]
    if spec.kind == "finite":
        said.append("the rows are the whole population: intervals do not reach beyond them")
    else:
        said.append(f"{groups} are independent draws from the population of interest")
    said.append("NOT assumed: anything about the accuracy of the surrogate or of the learner")
    return said


def _name(problem: Problem, name: str) -> str:
    return problem.data.outcome if name == OUTCOME else name
