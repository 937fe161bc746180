"""Elastic-net penalties for every family, solved to their optimality conditions.

With W the total weight, minimise over thresholds and coefficients of standardised columns

    -loglik / W + lam * sum_j v_j { a |c_j| + (1 - a)/2 c_j^2 },

thresholds free. Forms: "parallel" penalises one coefficient a column, "nonparallel" one a boundary,
"semiparallel" writes those of a boundary as common plus deviation, B_k = b + D_k, with weights rho
on b and 1 on D (Wurm, Rathouz and Hanlon 2021). Proximal Newton on the exact information: every
quadratic model is solved by coordinate descent until the signs settle, then exactly on the
coefficients that are not zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from robuststat._core.errors import CollinearityError, IdentificationError
from robuststat._core.linalg import solve_square
from robuststat._core.optim import ConvergenceInfo
from robuststat._core.types import Array
from robuststat.ordinal._likelihood_fit import Fit, Rows, report_convergence, slabs_of, start_point
from robuststat.ordinal._newton import Maximum
from robuststat.ordinal._slabs import Slabs, likelihood_sums
from robuststat.ordinal._structure import Structure

FORMS = ("parallel", "nonparallel", "semiparallel")
_SWEEPS = 200


@dataclass(frozen=True, slots=True)
class Penalty:
    """Options of the penalty; see the module."""

    lam: float
    l1_ratio: float
    form: str
    rho: float


@dataclass(frozen=True, slots=True)
class PenalisedFit:
    """A penalised optimum.

    Attributes
    ----------
    fit : Fit
        In the parameters of the layout; gradient and information are those of the likelihood.
    debiased : ndarray of shape (k,)
        One Newton step of the likelihood away from it.
    kkt : float
        Largest violation of the optimality conditions.
    """

    fit: Fit
    debiased: Array
    kkt: float


@dataclass(frozen=True, slots=True)
class _Problem:
    """Penalised parameters psi, with phi = M psi; arrays l1 and l2 hold the penalty of each."""

    structure: Structure
    slabs: Slabs
    mass: float
    M: Array
    l1: Array
    l2: Array

    def penalty(self, psi: Array) -> float:
        return float(self.l1 @ np.abs(psi) + 0.5 * self.l2 @ psi**2)

    def smooth(self, psi: Array) -> tuple[float, Array, Array]:
        """Value, gradient and Hessian of -loglik / W."""
        loglik, gradient, info = likelihood_sums(self.structure.layout, self.slabs, self.M @ psi)
        value = -loglik / self.mass
        return value, -(self.M.T @ gradient) / self.mass, self.M.T @ info @ self.M / self.mass

    def violation(self, psi: Array, gradient: Array) -> float:
        """Largest violation of the optimality conditions."""
        slope = gradient + self.l2 * psi
        moving = np.abs(slope + self.l1 * np.sign(psi))
        resting = np.maximum(np.abs(slope) - self.l1, 0.0)
        return float(np.where(psi != 0.0, moving, resting).max(initial=0.0))


def fit_penalised(
    rows: Rows, structure: Structure, penalty: Penalty, *, tol: float, max_iter: int
) -> PenalisedFit:
    """Minimise the penalised likelihood of rows in memory.

    Raises
    ------
    IdentificationError
        When the likelihood alone does not identify the coefficients: then there is no variance.
    """
    layout = structure.layout
    slabs = slabs_of(rows, structure)
    totals = rows.class_totals(layout.n_classes)
    M, v = _map(structure, penalty)
    lam, a = penalty.lam, penalty.l1_ratio
    problem = _Problem(structure, slabs, float(totals.sum()), M, lam * a * v, lam * (1.0 - a) * v)
    start = np.zeros(M.shape[1])
    start[: layout.q] = start_point(structure, totals)[: layout.q]
    psi, record, kkt = _proximal_newton(problem, start, tol, max_iter)
    phi = M @ psi
    loglik, gradient, info = likelihood_sums(layout, slabs, phi)
    maximum = Maximum(phi, loglik, gradient, info, record)
    report_convergence(replace(maximum, convergence=replace(record, max_gradient=kkt)))
    try:
        step = solve_square(info, gradient, structure.inner_names)
    except CollinearityError as error:
        raise IdentificationError(
            "A penalised optimum exists, but its standard errors need a likelihood that identifies "
            f"every coefficient: {error} PrestoClassifier(inference='none') has no such need."
        ) from error
    return PenalisedFit(Fit(structure, maximum, slabs), phi + step, kkt)


def _map(structure: Structure, penalty: Penalty) -> tuple[Array, Array]:
    """Map M from penalised to layout parameters, and weights v (zero: free)."""
    layout = structure.layout
    q, size = layout.q, layout.n_params
    if penalty.form != "semiparallel":
        v = np.ones(size)
        v[:q] = 0.0
        return np.eye(size), v
    p = layout.varying.size
    M = np.zeros((size, q + p + q * p))
    M[:q, :q] = np.eye(q)
    for k in range(q):
        rows = slice(q + k * p, q + (k + 1) * p)
        M[rows, q : q + p] = np.eye(p)
        M[rows, q + p + k * p : q + p + (k + 1) * p] = np.eye(p)
    v = np.ones(M.shape[1])
    v[:q] = 0.0
    v[q : q + p] = penalty.rho
    return M, v


def _proximal_newton(
    problem: _Problem, start: Array, tol: float, max_iter: int
) -> tuple[Array, ConvergenceInfo, float]:
    psi = start
    value, gradient, H = problem.smooth(psi)
    size = np.inf
    for iteration in range(1, max_iter + 1):
        kkt = problem.violation(psi, gradient)
        if kkt <= tol:
            return psi, ConvergenceInfo(True, iteration, size, kkt, "converged"), kkt
        step = _quadratic_step(problem, psi, gradient, _convex(H), 1e-2 * min(kkt, 1.0) + 1e-14)
        promise = float(gradient @ step) + problem.penalty(psi + step) - problem.penalty(psi)
        here = value + problem.penalty(psi)
        factor = 1.0
        while True:
            candidate = psi + factor * step
            found = problem.smooth(candidate)
            reached = found[0] + problem.penalty(candidate)
            if reached <= here + 1e-4 * factor * promise + 1e-14 * abs(here):
                break
            factor *= 0.5
            if factor < 1e-12:
                words = "the objective could not be lowered along the Newton direction"
                return psi, ConvergenceInfo(False, iteration, size, kkt, words), kkt
        psi, size = candidate, float(np.abs(step).max())
        value, gradient, H = found
    kkt = problem.violation(psi, gradient)
    words = f"no convergence in {max_iter} iterations (optimality violated by {kkt:.2g})"
    return psi, ConvergenceInfo(kkt <= tol, max_iter, size, kkt, words), kkt


def _convex(H: Array) -> Array:
    """H, raised where it is not convex (links that are not log-concave)."""
    lowest = float(np.linalg.eigvalsh(H)[0])
    floor = 1e-12 * float(np.abs(np.diag(H)).max(initial=0.0))
    return H if lowest > -floor else H + (1e-8 - lowest) * np.eye(len(H))


def _quadratic_step(
    problem: _Problem, psi: Array, gradient: Array, H: Array, precision: float
) -> Array:
    """Minimise g's + s'Hs/2 + penalty(psi + s) over s."""
    x, slope = psi.copy(), gradient.copy()  # slope of the smooth part at x
    curve = np.diag(H) + problem.l2
    l1, l2 = problem.l1, problem.l2
    coordinates = [j for j in range(psi.size) if curve[j] > 0]
    for _ in range(_SWEEPS):
        before = np.sign(x)
        for j in coordinates:
            target = x[j] * curve[j] - slope[j] - l2[j] * x[j]
            new = np.sign(target) * max(abs(target) - l1[j], 0.0) / curve[j]
            if new != x[j]:
                slope += H[:, j] * (new - x[j])
                x[j] = new
        if problem.violation(x, slope) <= precision:
            break
        if (np.sign(x) == before).all():
            exact = _exact(problem, psi, gradient, H, x)
            if exact is not None:
                x = exact
                slope = gradient + H @ (x - psi)
                if problem.violation(x, slope) <= precision:
                    break
    return x - psi


def _exact(problem: _Problem, psi: Array, gradient: Array, H: Array, x: Array) -> Array | None:
    """Minimiser with the signs of x; None when it has other signs or does not exist."""
    moving = np.flatnonzero((x != 0.0) | (problem.l1 == 0.0))
    sign = np.sign(x[moving])
    A = H[np.ix_(moving, moving)] + np.diag(problem.l2[moving])
    right = (H @ psi - gradient)[moving] - problem.l1[moving] * sign
    try:
        values = np.linalg.solve(A, right)
    except np.linalg.LinAlgError:
        return None
    kept = (np.sign(values) == sign) | (problem.l1[moving] == 0.0)
    if not (kept.all() and np.isfinite(values).all()):
        return None
    out = np.zeros_like(x)
    out[moving] = values
    return out
