"""Average marginal effects, with the variance of the average they are.

The effect alpha = E h(D; beta) is one more design-adjusted moment: h(Dhat) + w {h(D) - h(Dhat)} -
alpha. Stacked under the moments of the coefficients its influence is

    D IF_beta + h(Dhat) + w {h(D) - h(Dhat)} - alpha,   D = E dh/dbeta,

so that the rows over which the effect is averaged are counted as random too [D]; the delta method
with D alone would take them for given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from robuststat._core.data import RoleData
from robuststat._core.design import ArrayDesign, Shares
from robuststat._core.errors import ParameterError
from robuststat._core.formula import FormulaDesign
from robuststat._core.moments import numerical_jacobian
from robuststat._core.types import Array
from robuststat.result import InferenceResult
from robuststat.surrogate._fit import Estimate, estimate
from robuststat.surrogate._labels import (
    apply_coefficient,
    nuisance_scores,
    probability_coefficient,
)
from robuststat.surrogate._options import Options
from robuststat.surrogate._problem import Problem, replacements
from robuststat.surrogate._solve import (
    RepetitionFit,
    VarianceSpec,
    aggregate,
    centred,
    finite_scale,
    influence_vcov,
)
from robuststat.surrogate._targets import OUTCOME, holds_labels
from robuststat.surrogate._words import SE_WORDS, assumptions

MeanAndSlope = Callable[[Array], tuple[Array, Array]]


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one covariate whose effect is averaged.

    Attributes
    ----------
    name : str
        Term of the effect.
    variable : str
        Covariate.
    levels : tuple or None
        Two values to compare; None for the derivative.
    """

    name: str
    variable: str
    levels: tuple[Any, Any] | None


def average_effects(
    problem: Problem,
    options: Options,
    mean: MeanAndSlope,
    *,
    variables: list[str] | None,
    dummy: bool,
    fitted_names: list[str],
    call: str,
) -> InferenceResult:
    """Average marginal effects of a model fitted to ``problem``.

    Parameters
    ----------
    problem : Problem
        Rows, labels, model.
    options : Options
        Constructor parameters of the estimator.
    mean : callable
        Linear predictor -> mean and its derivative.
    variables : list of str or None
        Covariates; all when None.
    dummy : bool
        Whether 0/1 columns are switched from 0 to 1 instead of being differentiated.
    fitted_names : list of str
        Outcome or class of each fitted column where there are several.
    call : str
        How the estimator was written.
    """
    if not isinstance(dummy, bool | np.bool_):
        raise ParameterError(f"dummy must be True or False; got {dummy!r}.")
    changes = find_changes(problem.data, variables, dummy, problem.classes)
    found = estimate(problem, replace(options, keep_influence=True))
    fits = []
    for r, fit in enumerate(found.fits):
        predictions = {name: part[r] for name, part in found.predictions.predictions.items()}
        fits.append(_effects_once(problem, predictions, fit, found.spec, changes, mean))
    theta, vcov = aggregate(fits)
    n_fitted = max(1, len(fitted_names))
    # Class after class, as the coefficients are.
    order = np.arange(theta.size).reshape(len(changes), n_fitted).T.ravel()
    names = tuple(change.name for change in changes) * n_fitted
    blocks = tuple(name for name in fitted_names for _ in changes)
    classes = bool(problem.classes.get(OUTCOME))
    return InferenceResult(
        estimate=theta[order],
        vcov=vcov[np.ix_(order, order)],
        names=names,
        outcomes=blocks or None,
        df=found.df,
        n_obs=problem.labelling.n_rows,
        n_clusters=found.spec.n_groups,
        vcov_type=found.vcov_type,
        estimand=f"average over the rows of the change of the "
        f"{'probability' if classes else 'expected outcome'}, as expert labels on every row would "
        "give it",
        method="Average marginal effects, design-based correction for surrogate labels",
        outcome=problem.data.outcome,
        diagnostics={
            "counts": {"Labelled": problem.labelling.n_labeled},
            "cluster_name": problem.data.cluster_name,
            "se_note": SE_WORDS[found.spec.kind],
            "lines": _lines(changes, found),
            "assumptions": assumptions(problem, found.spec),
            "converged": all(fit.convergence.converged for fit in found.fits),
            "n_dropped": problem.data.n_dropped,
            "n_dropped_by": dict(problem.data.n_dropped_by),
        },
        call=call,
    )


def _lines(changes: list[Change], found: Estimate) -> list[str]:
    lines = ["The rows over which effects are averaged count as random, like the coefficients"]
    if found.spec.kind == "finite":
        lines = ["Averages over the rows of the corpus, which are given"]
    if any(change.levels is not None for change in changes):
        lines.append("Categories: difference of the expected outcome to the reference level")
    return lines


def find_changes(
    data: RoleData, variables: list[str] | None, dummy: bool, classes: dict[str, Any]
) -> list[Change]:
    """List changes of the covariates that the design is made of.

    Raises
    ------
    ParameterError
        When a variable is not a covariate, or none or one twice is named.
    """
    design = data.design
    assert isinstance(design, ArrayDesign | FormulaDesign)
    chosen = list(design.columns) if variables is None else variables
    if not isinstance(chosen, list | tuple) or len(chosen) == 0 or len(set(chosen)) < len(chosen):
        raise ParameterError(
            f"variables must name different covariates ({', '.join(design.columns) or 'none here'})"
            f"; got {chosen!r}."
        )
    unknown = [name for name in chosen if name not in design.columns]
    if unknown:
        raise ParameterError(
            f"variables names {', '.join(map(repr, unknown))}; the covariates are "
            f"{', '.join(design.columns)}."
        )
    changes = []
    for name in chosen:
        levels = classes.get(name) or _levels(data, name, dummy)
        if levels is None:
            changes.append(Change(name, name, None))
        else:
            shown = [f"{name}[{level} - {levels[0]}]" for level in levels[1:]]
            pairs = zip(shown, levels[1:], strict=True)
            changes += [Change(word, name, (levels[0], level)) for word, level in pairs]
    return changes


def _levels(data: RoleData, name: str, dummy: bool) -> tuple[Any, ...] | None:
    """Levels of a category, (0, 1) of a switch, None of a number."""
    column = _column(data, name)
    numbers = isinstance(data.design, FormulaDesign) and name in data.design.categorical_columns()
    if numbers and not holds_labels(column):  # C(year)
        return tuple(sorted(column.dropna().unique()))
    if holds_labels(column):
        if isinstance(column.dtype, pd.CategoricalDtype):
            used = set(column.dropna().unique())
            return tuple(level for level in column.cat.categories if level in used)
        return tuple(sorted(column.dropna().unique()))
    if pd.api.types.is_bool_dtype(column):
        return (False, True)
    values = column.dropna().unique()
    return (0, 1) if dummy and set(values) <= {0.0, 1.0} else None


def _column(data: RoleData, name: str) -> pd.Series:
    if data.frame is not None:
        return data.frame[name]
    return pd.Series(data.X[:, data.design.affected(name)[0]])


def _effects_once(
    problem: Problem,
    predictions: dict[str, Array],
    fit: RepetitionFit,
    spec: VarianceSpec,
    changes: list[Change],
    mean: MeanAndSlope,
) -> RepetitionFit:
    """Effects and their variance for one repetition."""
    labelling = problem.labelling
    rows, a = labelling.rows, labelling.weights
    predicted = replacements(problem.covariates, problem.classes, predictions)
    hat = [_shifted(problem.data, predicted, change) for change in changes]
    gold = None
    if predicted:
        truth = _gold_replacement(problem, predicted)
        gold = [
            tuple(part[rows] for part in _shifted(problem.data, truth, change))
            for change in changes
        ]
    ratio = labelling.ratio if a is None else labelling.ratio * a[rows]
    total = float(labelling.n_rows if a is None else a.sum())

    def average(theta: Array) -> Array:
        h = _stack(hat, changes, theta, mean)
        value = h.sum(axis=0) if a is None else a @ h
        if gold is not None:
            value = value + ratio @ (_stack(gold, changes, theta, mean) - h[rows])
        return np.asarray(value / total)

    alpha = average(fit.theta)
    derivative = numerical_jacobian(average, fit.theta)
    assert fit.influence is not None
    h = _stack(hat, changes, fit.theta, mean)
    correction = np.zeros((rows.size, alpha.size))
    if gold is not None:
        correction = _stack(gold, changes, fit.theta, mean) - h[rows]
    own = _own_influence(problem, spec, h - alpha, correction) * (labelling.n_rows / total)
    influence = fit.influence @ derivative.T + own
    vcov = influence_vcov(influence, spec, labelling.n_rows)
    return RepetitionFit(alpha, vcov, fit.convergence)


def _own_influence(
    problem: Problem, spec: VarianceSpec, centred_h: Array, correction: Array
) -> Array:
    """Influence of the averaging itself, corrected for the labelling design as ``spec`` says."""
    labelling = problem.labelling
    rows, a = labelling.rows, labelling.weights
    weighted = correction if a is None else correction * a[rows, None]
    if spec.kind == "finite":
        psi = np.zeros(centred_h.shape)
        psi[rows] = centred(labelling, weighted) * finite_scale(labelling)[:, None]
        return psi
    psi = centred_h.copy() if a is None else centred_h * a[:, None]
    psi[rows] += weighted * labelling.ratio[:, None]
    if spec.kind == "design":
        coefficient = probability_coefficient(labelling, weighted)
        if coefficient is not None:
            everything = nuisance_scores(labelling, slice(0, labelling.n_rows))
            psi -= apply_coefficient(*everything, coefficient)
    return psi


def _gold_replacement(problem: Problem, predicted: dict[str, Any]) -> dict[str, Any]:
    """Expert values on labelled rows, predictions elsewhere."""
    rows = problem.labelling.rows
    found: dict[str, Any] = {}
    for name, value in predicted.items():
        values = np.array(value.values if isinstance(value, Shares) else value)
        values[rows] = problem.targets[name][rows]
        found[name] = Shares(value.levels, values) if isinstance(value, Shares) else values
    return found


def _shifted(data: RoleData, values: dict[str, Any], change: Change) -> tuple[Array, Array]:
    """Designs to compare: at two levels, or the design and its derivative in the variable."""
    if change.levels is not None:
        n = data.X.shape[0]
        low, high = (
            data.rebuild({**values, change.variable: _constant(data, change, level, n)})
            for level in change.levels
        )
        return low, high
    base = values.get(change.variable)
    column = _column(data, change.variable).to_numpy(float) if base is None else np.asarray(base)
    spread = float(np.nanstd(column))
    step = 1e-4 * (spread if spread > 0 else 1.0)
    up = data.rebuild({**values, change.variable: column + step})
    down = data.rebuild({**values, change.variable: column - step})
    here = data.rebuild(values) if values else data.X
    return here, (up - down) / (2.0 * step)


def _constant(data: RoleData, change: Change, level: Any, n: int) -> Any:
    """Column of one level, of the type the design was made from."""
    if isinstance(level, bool | np.bool_):
        return np.full(n, level)
    if isinstance(level, int | float | np.number):
        return np.full(n, float(level))
    return pd.Series(pd.Categorical([level] * n))


def _stack(designs: list[Any], changes: list[Change], theta: Array, mean: MeanAndSlope) -> Array:
    """Effects of all changes on every row, of shape (n, changes x fitted columns)."""
    parts = []
    for (first, second), change in zip(designs, changes, strict=True):
        blocks = theta.reshape(-1, first.shape[1])
        one = blocks[0] if len(blocks) == 1 else blocks.T
        if change.levels is not None:
            effect = mean(second @ one)[0] - mean(first @ one)[0]
        else:
            slope, move = mean(first @ one)[1], second @ one
            effect = slope * move if slope.ndim == 1 else _chain(slope, move)
        parts.append(effect if effect.ndim == 2 else effect[:, None])
    return np.column_stack(parts)


def _chain(slope: Array, move: Array) -> Array:
    moves = move if move.ndim == 2 else move[:, None]
    return np.asarray(np.einsum("nfb,nb->nf", slope, moves))
