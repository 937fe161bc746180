"""The PRESTO optimum: proximal Newton on a working set of columns, with an optimality certificate.

Each step minimises the quadratic model of the loss with the exact penalty and constraints, and
walks towards that minimiser as far as the objective falls. The feasible set is convex, so that
every point on the way is feasible. Optimality is measured by the violation of the stationarity
conditions over all columns (kkt), not by the change of the objective.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize

from robuststat._core.types import Array, IntArray
from robuststat.ordinal._links import get_link
from robuststat.ordinal._presto_problem import (
    Point,
    Problem,
    evaluate,
    hessian,
    outer_rows,
    reverse_sum,
)
from robuststat.ordinal._presto_quadratic import MARGIN, Constraints, Model, minimise_model

# Dense problems up to this many columns never pay for working sets.
SMALL = 40
_ARMIJO = 1e-4


@dataclass(frozen=True, slots=True)
class Penalty:
    """lam * sum_jk v_jk (a |psi| + (1 - a)/2 psi^2), v given column by column.

    Attributes
    ----------
    lam, l1_ratio : float
        Size, and share of the l1 part.
    factors : ndarray of shape (q, p)
        v.
    """

    lam: float
    l1_ratio: float
    factors: Array

    @property
    def l1(self) -> Array:
        """Weights of |psi|, (q, p)."""
        return self.lam * self.l1_ratio * self.factors

    @property
    def l2(self) -> Array:
        """Weights of psi^2 / 2, (q, p)."""
        return self.lam * (1.0 - self.l1_ratio) * self.factors

    def at(self, lam: float) -> Penalty:
        """Return the same penalty with another size."""
        return replace(self, lam=lam)


@dataclass(frozen=True, slots=True)
class Solution:
    """Optimum at one lambda, on the internal scale and sign.

    Attributes
    ----------
    alpha : ndarray of shape (q,)
        Thresholds.
    psi : ndarray of shape (q, p)
        Slopes of the first boundary, then differences.
    lam, loss, objective : float
        Penalty size, loss and loss plus penalty.
    kkt : float
        Largest violation of the optimality conditions.
    n_iter : int
        Newton steps.
    multipliers : ndarray of shape (M,)
        Of the constraints; positive where one binds.
    gradient : ndarray of shape (q, p)
        Of the loss in psi.
    constraints : Constraints or None
        Those that were imposed.
    """

    alpha: Array
    psi: Array
    lam: float
    loss: float
    objective: float
    kkt: float
    n_iter: int
    multipliers: Array
    gradient: Array
    constraints: Constraints | None = None

    @property
    def beta(self) -> Array:
        """Slopes of each boundary, (q, p)."""
        return np.cumsum(self.psi, axis=0)

    @property
    def df(self) -> int:
        """Number of non-zero psi, plus thresholds."""
        return int(np.count_nonzero(self.psi)) + self.alpha.size


def null_thresholds(problem: Problem, tol: float, max_iter: int) -> Array:
    """Thresholds of the model without covariates."""
    starts = problem.starts
    shares = np.add.reduceat(problem.w, starts[:-1])
    link = get_link(problem.link)
    alpha = np.asarray(link.quantile(np.cumsum(shares)[:-1]))
    if not problem.offset.any():
        return alpha
    # The mean offset is taken out first: with it thresholds far away would not be finite.
    alpha = alpha - float(problem.w @ problem.offset)
    ones = np.ones((len(problem.w), 1))
    for _ in range(max_iter):
        point = evaluate(problem, ones, alpha[:, None])
        g = point.gradient[:, 0]
        if np.abs(g).max() <= tol:
            break
        H = hessian(problem, ones, point.rows)[:, 0, :, 0]
        step = np.linalg.solve(H, g)
        t = 1.0
        while t > 1e-10 and not (
            evaluate(problem, ones, (alpha - t * step)[:, None]).loss <= point.loss
        ):
            t *= 0.5
        alpha = alpha - t * step
    return alpha


def start_solution(problem: Problem, tol: float, max_iter: int) -> Solution:
    """Return the model without covariates, from which every path starts."""
    alpha = null_thresholds(problem, tol, max_iter)
    q, p = alpha.size, problem.columns.n_columns
    ones = np.ones((len(problem.w), 1))
    point = evaluate(problem, ones, alpha[:, None])
    gradient = _full_gradient(problem, point)
    zero = np.zeros((q, p))
    return Solution(alpha, zero, np.inf, point.loss, point.loss, 0.0, 0, np.zeros(0), gradient)


def _full_gradient(problem: Problem, point: Point) -> Array:
    """Gradient of the loss in psi over all columns, (q, p)."""
    G = -problem.columns.crossprod(problem.starts, point.rows[0], point.rows[1])
    G[:, ~problem.columns.usable] = 0.0
    return reverse_sum(G, 0)


def _violation(slope: Array, x: Array, l1: Array) -> Array:
    """Distance of zero from the subdifferential of slope * x + l1 |x|, elementwise."""
    return np.where(x != 0.0, np.abs(slope + l1 * np.sign(x)), np.maximum(np.abs(slope) - l1, 0.0))


def _stationarity(
    slope: Array, psi: Array, penalty: Penalty, cons: Constraints | None, mu: Array, J: IntArray
) -> Array:
    """Violations of psi's optimality conditions on columns J, (q, J)."""
    l1 = penalty.l1[:, J]
    total = slope + penalty.l2[:, J] * psi
    if cons is not None and cons.count:
        l1 = l1.copy()
        np.add.at(l1, cons.boundary, mu[:, None] * cons.half[:, J])
        np.add.at(total, cons.boundary, -mu[:, None] * cons.centre[:, J])
    return _violation(total, psi, l1)


def _penalty_value(psi: Array, l1: Array, l2: Array) -> float:
    return float((l1 * np.abs(psi)).sum() + 0.5 * (l2 * psi**2).sum())


def _threshold_violation(g: Array, cons: Constraints | None, mu: Array) -> float:
    total = g.copy()
    if cons is not None and cons.count:
        np.add.at(total, cons.boundary, -mu)
        np.add.at(total, cons.boundary - 1, mu)
    return float(np.abs(total).max())


def _model(
    problem: Problem, Z: Array, point: Point, alpha: Array, psi: Array, l1: Array, l2: Array
) -> Model:
    H = hessian(problem, Z, point.rows)
    if not get_link(problem.link).log_concave:
        k = H.shape[0] * H.shape[1]
        try:
            np.linalg.cholesky(H.reshape(k, k))
        except np.linalg.LinAlgError:
            H = hessian(problem, Z, outer_rows(problem, point.rows))
    q, m = H.shape[0], H.shape[1] - 1
    cross = reverse_sum(H[:, 0, :, 1:], 1)
    inner = reverse_sum(reverse_sum(H[:, 1:, :, 1:], 0), 2)
    return Model(
        g_alpha=point.gradient[:, 0],
        g_psi=reverse_sum(point.gradient[:, 1:], 0).ravel(),
        H_alpha=H[:, 0, :, 0],
        H_cross=cross.reshape(q, q * m),
        H_psi=inner.reshape(q * m, q * m),
        alpha=alpha,
        psi=psi.ravel(),
        l1=l1.ravel(),
        l2=l2.ravel(),
    )


def _theta(alpha: Array, psi: Array) -> Array:
    return np.hstack([alpha[:, None], np.cumsum(psi, axis=0)])


def newton_on(
    problem: Problem,
    J: IntArray,
    start: Solution,
    penalty: Penalty,
    constraints: Constraints | None,
    tol: float,
    max_iter: int,
) -> tuple[Solution, Point]:
    """Minimise over thresholds and the columns J, others kept at zero."""
    Z = problem.columns.take(J)
    l1, l2 = penalty.l1[:, J], penalty.l2[:, J]
    cons = None if constraints is None else constraints.columns(J)
    mu = start.multipliers
    if cons is not None and mu.size != cons.count:
        mu = np.zeros(cons.count)
    alpha, psi = start.alpha, start.psi[:, J]
    point = evaluate(problem, Z, _theta(alpha, psi))
    value = point.loss + _penalty_value(psi, l1, l2)
    n_iter = 0
    everything = np.arange(J.size)
    local = replace(penalty, factors=penalty.factors[:, J])
    for n_iter in range(max_iter + 1):
        slope = reverse_sum(point.gradient[:, 1:], 0)
        if n_iter:
            stationary = _stationarity(slope, psi, local, cons, mu, everything)
            worst = float(stationary.max()) if stationary.size else 0.0
            if max(worst, _threshold_violation(point.gradient[:, 0], cons, mu)) <= tol:
                break
        if n_iter == max_iter:
            break
        model = _model(problem, Z, point, alpha, psi, l1, l2)
        new_alpha, flat, mu = minimise_model(model, cons, mu, 0.01 * tol)
        d_alpha, d_psi = new_alpha - alpha, flat.reshape(psi.shape) - psi
        change = _penalty_value(psi + d_psi, l1, l2) - _penalty_value(psi, l1, l2)
        decrease = float(point.gradient[:, 0] @ d_alpha + (slope * d_psi).sum()) + change
        step = 1.0
        while True:
            trial = alpha + step * d_alpha, psi + step * d_psi
            found = evaluate(problem, Z, _theta(*trial))
            objective = found.loss + _penalty_value(trial[1], l1, l2)
            if objective <= value + _ARMIJO * step * decrease + 1e-15 * (1.0 + abs(value)):
                break
            step *= 0.5
            if step < 1e-12:
                break
        if step < 1e-12:
            break
        (alpha, psi), point, value = trial, found, objective
    full = np.zeros((alpha.size, problem.columns.n_columns))
    full[:, J] = psi
    return (
        Solution(
            alpha,
            full,
            penalty.lam,
            point.loss,
            value,
            np.inf,
            n_iter,
            mu,
            start.gradient,
            constraints,
        ),
        point,
    )


def _first_columns(problem: Problem, start: Solution, penalty: Penalty) -> IntArray:
    """Columns to begin with: those in use, free of penalty, or kept by the strong rule."""
    usable = problem.columns.usable
    every = np.flatnonzero(usable)
    l1 = penalty.l1
    dense = not isinstance(problem.columns.matrix, list)
    if (dense and every.size <= SMALL) or penalty.l1_ratio == 0.0 or penalty.lam == 0.0:
        return every
    active = (start.psi != 0.0).any(axis=0) | ((l1 == 0.0) & usable).any(axis=0)
    before = l1 if not np.isfinite(start.lam) else penalty.at(start.lam).l1
    strong = (np.abs(start.gradient) - (2.0 * l1 - before)).max(axis=0)
    chosen = (strong > 0.0) & usable & ~active
    room = max(100, 2 * int(active.sum()))
    if chosen.sum() > room:
        chosen &= strong >= np.sort(strong[chosen])[-room]
    return np.flatnonzero(active | chosen)


def solve(
    problem: Problem,
    penalty: Penalty,
    start: Solution,
    *,
    constraints: Constraints | None,
    tol: float,
    max_iter: int,
) -> Solution:
    """Minimise the objective at one lambda from a feasible start.

    Parameters
    ----------
    problem : Problem
        Data.
    penalty : Penalty
        Penalty.
    start : Solution
        Feasible start, usually the optimum of a larger lambda.
    constraints : Constraints or None
        Boundaries that must not cross.
    tol : float
        Accepted violation of the optimality conditions.
    max_iter : int
        Newton steps for each working set.

    Returns
    -------
    Solution
        With ``kkt`` over all columns, whatever the working set.
    """
    J = _first_columns(problem, start, penalty)
    every = np.arange(problem.columns.n_columns)
    steps, now = 0, start
    while True:
        now, point = newton_on(problem, J, now, penalty, constraints, tol, max_iter)
        steps += now.n_iter
        gradient = _full_gradient(problem, point)
        away = _stationarity(gradient, now.psi, penalty, constraints, now.multipliers, every)
        away[:, ~problem.columns.usable] = 0.0
        outside = away.max(axis=0) if away.size else np.zeros(0)
        worst = float(outside.max()) if outside.size else 0.0
        kkt = max(worst, _threshold_violation(point.gradient[:, 0], constraints, now.multipliers))
        if constraints is not None and constraints.count:
            kkt = max(kkt, float(constraints.values(now.alpha, now.psi).max()))
        now = replace(now, kkt=kkt, n_iter=steps, gradient=gradient)
        outside[J] = 0.0
        missed = np.flatnonzero(outside > tol)
        if missed.size == 0:
            return now
        # Grow geometrically, worst first: few rounds, and never all columns for a few violations.
        room = max(50, J.size)
        missed = missed[np.argsort(-outside[missed], kind="stable")[:room]]
        J = np.union1d(J, missed)


def pulled_inside(solution: Solution, null: Solution, constraints: Constraints) -> Solution:
    """Point between a solution and the model without covariates that meets the constraints."""
    ahead = constraints.values(solution.alpha, solution.psi) + MARGIN
    if (ahead <= 0.0).all():
        return solution

    def worst(t: float) -> float:
        alpha = null.alpha + t * (solution.alpha - null.alpha)
        return float(constraints.values(alpha, t * solution.psi).max()) + 2.0 * MARGIN

    t = float(optimize.brentq(worst, 0.0, 1.0, xtol=1e-12)) * (1.0 - 1e-9)
    return replace(
        solution, alpha=null.alpha + t * (solution.alpha - null.alpha), psi=t * solution.psi
    )
