"""How good the surrogates are, and what the expert labels are worth with their help."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from robuststat._core.crossfit import CrossFit
from robuststat._core.errors import IdentificationError
from robuststat._core.types import Array
from robuststat.surrogate._learners import holds_shares, label_numbers
from robuststat.surrogate._problem import Problem
from robuststat.surrogate._scores import AdjustedMoments
from robuststat.surrogate._solve import RepetitionFit, VarianceSpec, fit_repetition
from robuststat.surrogate._targets import OUTCOME

REPORT_COLUMNS = (
    "variable",
    "surrogate",
    "bias",
    "rmse",
    "correlation",
    "accuracy",
    "sensitivity",
    "specificity",
    "calibration_intercept",
    "calibration_slope",
)


def surrogate_report(problem: Problem, predictions: CrossFit) -> pd.DataFrame:
    """Compare every surrogate, and the cross-fitted prediction, with the expert labels.

    All figures are weighted by the design weights, so they speak of all rows.

    Returns
    -------
    DataFrame
        One row a predicted variable and surrogate: ``bias`` (mean surrogate minus mean label),
        ``rmse``, ``correlation``, ``accuracy``, ``sensitivity``, ``specificity`` (both 0/1), and
        intercept and slope of the regression of the label on the surrogate (0 and 1 when
        calibrated). The row named "(prediction)" is g, averaged over repetitions.
    """
    labelling = problem.labelling
    rows, weights = labelling.rows, labelling.ratio
    if labelling.weights is not None:
        weights = weights * labelling.weights[rows]
    records = []
    for name, target in problem.targets.items():
        variable = problem.data.outcome if name == OUTCOME else name
        columns = _surrogates(problem, name)
        if predictions.losses:
            columns["(prediction)"] = predictions.predictions[name].mean(axis=0)
        for label, values in columns.items():
            for part, surrogate, gold in _by_class(problem, name, values, target):
                records.append(
                    {"variable": variable + part, "surrogate": label}
                    | _agreement(surrogate[rows], gold[rows], weights)
                )
    return pd.DataFrame(records, columns=list(REPORT_COLUMNS))


def _surrogates(problem: Problem, name: str) -> dict[str, Array]:
    """Surrogates of a column as numbers (n,) or, for classes, indicators or shares (n, C)."""
    frame = problem.surrogates.get(name, pd.DataFrame())
    classes = problem.classes.get(name)
    found: dict[str, Array] = {}
    if problem.targets[name].ndim == 2:
        assert classes is not None
        if holds_shares(frame, classes):
            return {"(shares)": frame.to_numpy(dtype=np.float64)}
        for label, column in frame.items():
            if column.isin(list(classes)).any():
                hits = [(column == value).to_numpy(dtype=np.float64) for value in classes]
                found[str(label)] = np.column_stack(hits)
        return found
    for label, column in frame.items():
        values = _numeric(column, classes)
        if values is not None:
            found[str(label)] = values
    return found


def _by_class(
    problem: Problem, name: str, values: Array, target: Array
) -> list[tuple[str, Array, Array]]:
    """Suffix, surrogate and gold values of a column, one entry a class."""
    if target.ndim == 1:
        return [("", values, target)]
    return [
        (f"[{value}]", values[:, c], target[:, c]) for c, value in enumerate(problem.classes[name])
    ]


def _numeric(column: pd.Series, classes: Any) -> Array | None:
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(dtype=np.float64)
    return label_numbers(column, classes)


def _agreement(surrogate: Array, gold: Array, weights: Array) -> dict[str, float]:
    w = weights / weights.sum()
    gap = surrogate - gold
    centred = surrogate - w @ surrogate
    centred_gold = gold - w @ gold
    variance, covariance = w @ centred**2, w @ (centred * centred_gold)
    if variance <= 1e-24 * (w @ surrogate**2):  # a constant surrogate, up to rounding
        variance = 0.0
    spread = np.sqrt(variance * (w @ centred_gold**2))
    slope = covariance / variance if variance > 0 else np.nan
    found = {
        "bias": float(w @ gap),
        "rmse": float(np.sqrt(w @ gap**2)),
        "correlation": float(covariance / spread) if spread > 0 else np.nan,
        "accuracy": np.nan,
        "sensitivity": np.nan,
        "specificity": np.nan,
        "calibration_intercept": float(w @ gold - slope * (w @ surrogate)),
        "calibration_slope": float(slope),
    }
    if np.isin(surrogate, (0.0, 1.0)).all() and np.isin(gold, (0.0, 1.0)).all():
        positive, negative = w @ gold, w @ (1.0 - gold)
        found["accuracy"] = float(w @ (surrogate == gold))
        if positive > 0:
            found["sensitivity"] = float(w @ (surrogate * gold) / positive)
        if negative > 0:
            found["specificity"] = float(w @ ((1.0 - surrogate) * (1.0 - gold)) / negative)
    return found


def gold_only(
    moments: AdjustedMoments | None, spec: VarianceSpec, tol: float, max_iter: int
) -> RepetitionFit | None:
    """Fit on expert labels alone, weighted by the design; None when they cannot carry it."""
    if moments is None:
        return None
    try:
        fit = fit_repetition(moments.tuned(0.0), spec, tol=tol, max_iter=max_iter)
    except (IdentificationError, np.linalg.LinAlgError):
        return None
    return fit if fit.convergence.converged else None


def design_effect(gold: RepetitionFit | None, vcov: Array) -> Array:
    """Variance of the gold-only estimate over that of the estimate, by coefficient.

    With n_labeled labels the predictions are worth n_labeled * (design effect) labels; NaN when
    the labels alone cannot carry the model or the variance is zero.
    """
    variance = np.diag(vcov)
    if gold is None:
        return np.full(variance.size, np.nan)
    unknown = np.full(variance.size, np.nan)
    return np.asarray(np.divide(np.diag(gold.vcov), variance, out=unknown, where=variance > 0))


def out_of_fold_r2(problem: Problem, predictions: CrossFit) -> dict[str, float]:
    """Share of the labels' variance that g explains out of fold, averaged over repetitions.

    Of classes: the share of the variance of their indicators, summed.
    """
    rows = problem.labelling.rows
    found = {}
    for name, target in problem.targets.items():
        gold = target[rows]
        total = float(np.sum(np.var(gold, axis=0)))
        if predictions.losses and total > 0:
            gaps = predictions.predictions[name][:, rows] - gold
            found[name] = float(1.0 - np.sum(gaps**2) / (gaps.shape[0] * rows.size * total))
    return found
