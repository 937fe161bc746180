"""Neyman-type labelling probabilities for one coefficient."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import PoissonRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from robuststat._core.crossfit import CrossFit
from robuststat._core.errors import ParameterError, RoleError
from robuststat._core.linalg import solve_square
from robuststat._core.rng import spawn_seeds
from robuststat._core.types import Array
from robuststat.surrogate._learners import input_matrix
from robuststat.surrogate._models import GLMRows
from robuststat.surrogate._options import Options
from robuststat.surrogate._problem import Problem, moments_of
from robuststat.surrogate._scores import DesignAdjusted
from robuststat.surrogate._solve import fit_repetition
from robuststat.surrogate._variance import variance_spec

# Below this many labels a boosted ensemble has too little to learn from.
_BOOSTING_LABELS = 200


def allocation_problem(est: Any, X: Any, y: Any, **roles: Any) -> tuple[Problem, Options]:
    """Rows as for ``est.fit``; features inform the allocation even when the learner has none."""
    est, learner = clone(est), est.learner
    if isinstance(learner, str) and learner == "passthrough":
        if roles.get("prediction") is None:
            raise RoleError("learner='passthrough' needs prediction=: the surrogate to be used.")
        est.set_params(learner="ols")
    problem, options = est._prepare(X, y, **roles)
    missing = int((~problem.data.kept).sum())
    if missing:
        raise ParameterError(
            f"{missing} rows have missing values and would get no probability. Leave them out "
            "before."
        )
    return problem, replace(options, learner=learner)


def second_moments(
    problem: Problem, options: Options, predictions: CrossFit, theta: Array, position: int
) -> Array:
    """E[(a'(m - mhat))^2] of every row, of shape (n,), learnt from the labelled ones.

    Parameters
    ----------
    problem : Problem
        Rows and labels.
    options : Options
        With the seed.
    predictions : CrossFit
        The first repetition is used.
    theta : ndarray of shape (k,)
        Coefficients.
    position : int
        Which of them.
    """
    columns = {name: found[0] for name, found in predictions.predictions.items()}
    moments = moments_of(problem, columns)
    bread = _bread(problem, options, moments, theta)[position]
    squared = (moments.corrections(theta) @ bread) ** 2
    rows = problem.labelling.rows
    known = np.ones(moments.n_obs)
    if moments.pseudo_outcome is not None and isinstance(moments.model, GLMRows):
        # Only the error of the prediction is to be learnt; the other factor is known.
        known = (moments.X_hat @ bread) ** 2
        if problem.labelling.weights is not None:
            known = known * problem.labelling.weights**2
        squared = (moments.y_gold - moments.y_hat[rows]) ** 2
    inputs = [moments.X_hat, *columns.values()]
    if problem.surrogates or problem.features is not None:
        inputs.append(input_matrix(problem.surrogates, problem.features, problem.classes))
    seed = int(spawn_seeds(options.random_state, 1, bits=32)[0])
    return np.asarray(known * _learn(np.column_stack(inputs), rows, squared, seed))


def _bread(problem: Problem, options: Options, moments: DesignAdjusted, theta: Array) -> Array:
    """Return what a unit of each average score moves, of shape (p, q)."""
    if moments.n_moments == moments.n_params:
        return solve_square(-moments.sums(theta)[1], np.eye(theta.size))
    spec = variance_spec(problem, options)[0]
    fit = fit_repetition(moments, spec, start=theta, tol=options.tol, max_iter=options.max_iter)
    assert fit.bread is not None
    return fit.bread


def _learn(inputs: Array, rows: Any, squared: Array, seed: int) -> Array:
    """Predict a non-negative mean: boosted, or log-linear with squares for few labels."""
    mean = float(squared.mean())
    if mean == 0.0:
        return np.ones(inputs.shape[0])
    if rows.size >= _BOOSTING_LABELS:
        model: Any = HistGradientBoostingRegressor(
            loss="poisson", max_iter=60, learning_rate=0.08, max_leaf_nodes=6, random_state=seed
        )
    else:
        inputs = np.column_stack([inputs, inputs**2])
        model = make_pipeline(StandardScaler(), PoissonRegressor(alpha=0.1, max_iter=500))
    model.fit(inputs[rows], squared / mean)
    # Extrapolated log-linear means are kept within what was seen.
    seen = model.predict(inputs[rows])
    return np.asarray(np.clip(model.predict(inputs), seen.min(), seen.max()))


def neyman_probabilities(size: Array, total: float, floor: float, cap: float = 1.0) -> Array:
    """Probabilities proportional to ``size``, mixed with uniform ones, that sum to ``total``.

    Parameters
    ----------
    size : ndarray of shape (n,)
        Non-negative.
    total : float
        Sum wanted, at most ``n * cap``.
    floor : float
        Share of the uniform probability ``total / n``.
    cap : float
        Largest probability.
    """
    n = size.size
    return (1.0 - floor) * _capped(size, total, cap) + floor * total / n


def _capped(size: Array, total: float, cap: float) -> Array:
    """Scale ``size`` by the constant for which min(cap, scaled) sums to ``total``."""
    n = size.size
    if total >= n * cap:
        return np.full(n, cap)
    # Rows of size zero share what the others cannot take.
    size = np.maximum(size, 1e-6 * float(size.max()) or 1.0)
    order = np.argsort(size)[::-1]
    left = np.cumsum(size[order][::-1])[::-1]  # sum of the sizes from a position on
    # With the first j rows at the cap the constant is (total - j cap) / (sum of the others).
    constants = (total - cap * np.arange(n)) / left
    first = int(np.argmax(constants * size[order] <= cap * (1.0 + 1e-12)))
    return np.asarray(np.minimum(cap, constants[first] * size))
