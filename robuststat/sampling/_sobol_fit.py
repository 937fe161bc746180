"""The steps of :class:`robuststat.SobolIndices` with pick-freeze runs, in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.rng import spawn_seeds
from robuststat._core.types import Array, BoolArray
from robuststat.sampling._chaos import (
    Axis,
    Terms,
    choose_terms,
    design_matrix,
    make_axis,
    normal_equations,
    solve,
)
from robuststat.sampling._checkpoint import Checkpoint, run_key
from robuststat.sampling._final import replicate_sizes
from robuststat.sampling._law_classes import MarginalLaw
from robuststat.sampling._pickfreeze import (
    Plan,
    Points,
    Replicate,
    draw_points,
    masks,
    replicate,
    stretch,
)
from robuststat.sampling._runs import Runner, RunOptions
from robuststat.sampling._setup import Draws, batch_rows

__all__ = ["Indices", "estimate_indices"]

_GROUPS = 32  # groups of pseudo-random points whose means give the covariance
_SELECTION_FOLDS = 5
_MOST_FOLDS = 16
_ZERO = 1e-20  # variance in units of the mean square below which an output is constant
# What may differ between a run and its resumption without changing a point.
_NOT_IN_KEY = {
    *("n_jobs", "backend", "checkpoint", "on_error", "callback", "verbose", "vectorized"),
    *("total", "controls", "degree"),
}


@dataclass(frozen=True, slots=True)
class Indices:
    """Indices with what their covariance needs.

    Attributes
    ----------
    numerators : ndarray of shape (R, q, m)
        Variances of first, total and second order of every output, replicate by replicate.
    variance : ndarray of shape (m,)
        Variances of the outputs.
    deviation : ndarray of shape (R, m)
        Deviation of each replicate's variance, to first order.
    constant : ndarray of shape (m,)
        Outputs that do not vary.
    terms : Terms or None
        Polynomial.
    r2 : float
        Share of the outputs' variance that it explains out of fold.
    n_points, n_dropped : int
        Points used; points of which a run failed.
    runner : Runner
        Its counts.
    """

    numerators: Array
    variance: Array
    deviation: Array
    constant: BoolArray
    terms: Terms | None
    r2: float
    n_points: int
    n_dropped: int
    runner: Runner


def sizes(n_budget: int, plan: Plan, scrambled: bool) -> tuple[int, int]:
    """Points of a replicate, and number of replicates.

    Raises
    ------
    ParameterError
        If the budget is too small; the message has the smallest one.
    """
    n = n_budget // plan.n_runs
    if n < 64:
        raise ParameterError(
            f"n_budget={n_budget} gives {n} points of {plan.n_runs} runs each (two, and "
            f"{2 if plan.second else 1} for each of {len(plan.factors)} inputs or groups); 64 "
            f"points are needed. Use n_budget >= {64 * plan.n_runs}."
        )
    if scrambled:
        log2_size, count = replicate_sizes(n)
        return 2**log2_size, count
    count = _GROUPS if n >= 8 * _GROUPS else 8
    return n // count, count


def estimate_indices(
    est: Any, func: Callable[[Array], Any], law: MarginalLaw, plan: Plan
) -> Indices:
    """Draw the points, run the model, fit the polynomial fold by fold, and correct it."""
    scrambled = est.estimator == "rqmc"
    size, count = sizes(est.n_budget, plan, scrambled)
    draws = Draws(int(spawn_seeds(est.random_state, 1)[0]))
    axes = [make_axis(marginal) for marginal in law.marginals]
    s = np.ones(law.dim)
    if est.controls == "chaos":
        s = stretch(np.array([not axis.bounded for axis in axes]))
    points = [draw_points(plan, law, size, draws.next_rng(), scrambled, s) for _ in range(count)]
    runner = _runner(est, func, law, size * count * plan.n_runs)
    Y = _evaluate(runner, [part.X for part in points], est.batch_size)
    points, Y, dropped = _complete(plan, points, Y)
    mean_square = np.mean([(y * y).mean(axis=0) for y in Y], axis=0)
    spread = np.vstack(Y).var(axis=0)
    constant = np.asarray(spread <= _ZERO * mean_square)
    if constant.all():
        raise DataError(
            "func is constant over all runs: its variance is zero, and shares of it are not "
            "defined."
        )
    # Systems of a few hundred terms: on a busy machine several threads wait for each other, up to
    # fifty times longer than one takes.
    with threadpool_limits(1):
        found, terms, r2 = _corrected(est, plan, axes, points, Y)
    numerators = np.stack([one.numerators for one in found])
    square, mean = np.stack([one.square for one in found]), np.stack([one.mean for one in found])
    centre = mean.mean(axis=0)
    # The square of an estimated mean is too large by the variance of the estimate.
    variance = square.mean(axis=0) - centre**2 + mean.var(axis=0, ddof=1) / len(found)
    deviation = square - square.mean(axis=0) - 2.0 * centre * (mean - centre)
    return Indices(
        numerators=numerators,
        variance=np.where(constant, 0.0, variance),
        deviation=deviation,
        constant=constant,
        terms=terms,
        r2=r2,
        n_points=sum(len(y) for y in Y) // plan.n_runs,
        n_dropped=dropped,
        runner=runner,
    )


def _runner(est: Any, func: Callable[[Array], Any], law: MarginalLaw, total: int) -> Runner:
    options = RunOptions(
        vectorized=est.vectorized,
        batch_size=est.batch_size,
        n_jobs=est.n_jobs,
        backend=est.backend,
        on_error=est.on_error,
        verbose=est.verbose,
        callback=est.callback,
        total=total,
    )
    checkpoint = None
    if est.checkpoint is not None:
        params = {k: v for k, v in est.get_params(deep=False).items() if k not in _NOT_IN_KEY}
        # Inputs with tails are drawn wider for the polynomials.
        params["wider"] = est.controls == "chaos" and any(
            not make_axis(marginal).bounded for marginal in law.marginals
        )
        checkpoint = Checkpoint(est.checkpoint, run_key(type(est).__name__, params, [law]))
    return Runner(func, options, checkpoint)


def _evaluate(runner: Runner, X: list[Array], batch_size: int | None) -> list[Array]:
    rows = np.vstack(X)
    # The number of outputs is not known before the first run.
    first = runner.evaluate(rows[:64], min(batch_size or 64, 64))
    batch = batch_rows(batch_size)(runner.n_outputs or 1)
    values = np.vstack([first, runner.evaluate(rows[64:], batch)])
    if runner.n_outputs is None:
        raise DataError("func failed at every run. Mend it.")
    ends = np.cumsum([len(x) for x in X])[:-1]
    return list(np.split(values, ends))


def _complete(
    plan: Plan, points: list[Points], Y: list[Array]
) -> tuple[list[Points], list[Array], int]:
    """Leave out the points of which a run failed."""
    kept, outputs, dropped = [], [], 0
    for part, y in zip(points, Y, strict=True):
        fine = np.asarray(np.isfinite(y).all(axis=1).reshape(-1, plan.n_runs).all(axis=1))
        if fine.sum() < 2:
            raise DataError(
                "Fewer than two points of a replicate have all their runs. Mend func, or raise "
                "n_budget."
            )
        dropped += int((~fine).sum())
        kept.append(part.rows(fine, plan.n_runs))
        outputs.append(y[np.repeat(fine, plan.n_runs)])
    return kept, outputs, dropped


def _corrected(
    est: Any, plan: Plan, axes: list[Axis], points: list[Points], Y: list[Array]
) -> tuple[list[Replicate], Terms | None, float]:
    count = len(points)
    terms, r2 = Terms(np.zeros((1, len(axes)), dtype=np.int64), 0, 1.0), 0.0
    if est.controls == "chaos":
        parts = np.array_split(np.arange(count), min(_SELECTION_FOLDS, count))
        X, W = (
            [np.concatenate([getattr(points[i], name) for i in part]) for part in parts]
            for name in ("X", "weight")
        )
        terms, r2 = choose_terms(
            axes, X, [np.vstack([Y[i] for i in part]) for part in parts], W, est.degree
        )
    chosen = masks(plan, terms.powers)
    fold = np.arange(count) * min(count, _MOST_FOLDS) // count
    P, m, K = len(terms.powers), Y[0].shape[1], int(fold[-1]) + 1
    grams, crosses = np.zeros((K, P, P)), np.zeros((K, P, m))
    for part, y, k in zip(points, Y, fold, strict=True):
        gram, cross = normal_equations(design_matrix(axes, terms.powers, part.X), y, part.weight)
        grams[k] += gram
        crosses[k] += cross
    found = []
    coef = np.empty((P, m))
    for i in range(count):
        if i == 0 or fold[i] != fold[i - 1]:
            coef = solve(np.sum(grams, axis=0) - grams[fold[i]], crosses.sum(0) - crosses[fold[i]])
        B = design_matrix(axes, terms.powers, points[i].X)
        found.append(replicate(plan, chosen, B, points[i], Y[i], coef))
    return found, terms if terms.degree else None, r2
