"""Quadratic models of PRESTO: l1 penalties, and linear constraints in the parameters' sizes.

A model is b'x + x'Ax/2 + sum(l1 |x|), solved exactly by an active-set search (few coordinates) or
by coordinate descent (many). Constraints c(theta) <= 0 are met through their multipliers, of which
there are few: the dual function is concave, and its generalised Newton method ends in a few steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from robuststat._core.types import Array, IntArray

# Coordinates up to which the active-set search in NumPy beats loading numba.
ACTIVE_SET_MAX = 96
# What a constraint may be violated by; the solver keeps this much distance besides (MARGIN).
FEASIBLE = 1e-11
MARGIN = 1e-9


@dataclass(frozen=True, slots=True)
class Constraints:
    """Boundaries k and k - 1 stay apart: sum_j half_j |psi_kj| <= gap_k + centre'psi_k.

    Attributes
    ----------
    boundary : ndarray of shape (M,)
        Boundary k >= 1 (0-based) of each constraint.
    half, centre : ndarray of shape (M, p)
        Half-width and centre of a box of standardised columns; half = 0 is a single point.
    """

    boundary: IntArray
    half: Array
    centre: Array

    def columns(self, J: IntArray) -> Constraints:
        """Only the columns J."""
        return Constraints(self.boundary, self.half[:, J], self.centre[:, J])

    def values(self, alpha: Array, psi: Array) -> Array:
        """Constraint functions, of shape (M,); feasible where <= 0."""
        k = self.boundary
        gap = alpha[k] - alpha[k - 1]
        reach = (self.half * np.abs(psi[k])).sum(axis=1)
        return np.asarray(reach - gap - (self.centre * psi[k]).sum(axis=1))

    @property
    def count(self) -> int:
        """Number of constraints M."""
        return len(self.boundary)


@dataclass(frozen=True, slots=True)
class Model:
    """Quadratic model of the loss in (alpha, psi) around a point.

    Attributes
    ----------
    g_alpha, g_psi : ndarray of shape (q,), (m,)
        Gradient; psi boundary by boundary.
    H_alpha, H_cross, H_psi : ndarray of shape (q, q), (q, m), (m, m)
        Hessian.
    alpha, psi : ndarray
        The point.
    l1, l2 : ndarray of shape (m,)
        Penalties.
    """

    g_alpha: Array
    g_psi: Array
    H_alpha: Array
    H_cross: Array
    H_psi: Array
    alpha: Array
    psi: Array
    l1: Array
    l2: Array


def minimise_model(
    model: Model, constraints: Constraints | None, multipliers: Array, tol: float
) -> tuple[Array, Array, Array]:
    """Minimiser of a model.

    Parameters
    ----------
    model : Model
        Quadratic with penalties; thresholds alpha are eliminated exactly.
    constraints : Constraints or None
        To be met by the minimiser.
    multipliers : ndarray of shape (M,)
        Start.
    tol : float
        Accuracy of the optimality conditions of the model.

    Returns
    -------
    alpha : ndarray of shape (q,)
    psi : ndarray of shape (m,)
    multipliers : ndarray of shape (M,)
    """
    factor = linalg.cho_factor(model.H_alpha, lower=True)
    solved = linalg.cho_solve(factor, model.H_cross)
    A = model.H_psi - model.H_cross.T @ solved
    A = 0.5 * (A + A.T)
    b = model.g_psi - solved.T @ model.g_alpha - A @ model.psi
    A[np.diag_indices_from(A)] += model.l2

    def thresholds(x: Array, shift: Array) -> Array:
        step = linalg.cho_solve(factor, model.g_alpha + shift) + solved @ (x - model.psi)
        return np.asarray(model.alpha - step)

    zero = np.zeros_like(model.alpha)
    x = _minimise(A, b, model.l1, model.psi, tol)
    alpha = thresholds(x, zero)
    if constraints is None or constraints.count == 0:
        return alpha, x, multipliers
    q = zero.size
    c = constraints.values(alpha, x.reshape(q, -1)) + MARGIN
    if (c <= FEASIBLE).all():
        return alpha, x, np.zeros_like(multipliers)
    return _dual(_Dual(model, constraints, A, b, factor, solved), multipliers, tol)


@dataclass(frozen=True, slots=True)
class _Dual:
    model: Model
    constraints: Constraints
    A: Array
    b: Array
    factor: tuple[Array, bool]
    solved: Array

    def parts(self) -> tuple[Array, Array, Array]:
        """Constraint gradients in alpha (M, q), linear part in psi (M, m), sizes (M, m)."""
        k, q = self.constraints.boundary, self.model.alpha.size
        M, J = self.constraints.half.shape
        E = np.zeros((M, q))
        E[np.arange(M), k] = -1.0
        E[np.arange(M), k - 1] = 1.0
        half, centre = np.zeros((M, q, J)), np.zeros((M, q, J))
        half[np.arange(M), k] = self.constraints.half
        centre[np.arange(M), k] = self.constraints.centre
        return E, -centre.reshape(M, -1) - E @ self.solved, half.reshape(M, -1)


def _dual(dual: _Dual, multipliers: Array, tol: float) -> tuple[Array, Array, Array]:
    """Maximise the dual function over multipliers >= 0."""
    model, q = dual.model, dual.model.alpha.size
    E, B, half = dual.parts()
    K_alpha = E @ linalg.cho_solve(dual.factor, E.T)

    def primal(mu: Array, start: Array) -> tuple[Array, Array, Array, float]:
        b, l1 = dual.b + B.T @ mu, model.l1 + half.T @ mu
        x = _minimise(dual.A, b, l1, start, tol)
        shift = E.T @ mu
        step = linalg.cho_solve(dual.factor, model.g_alpha + shift)
        alpha = model.alpha - step - dual.solved @ (x - model.psi)
        c = dual.constraints.values(alpha, x.reshape(q, -1)) + MARGIN
        # Dual value up to a constant: minimum over alpha, then over psi.
        value = b @ x + 0.5 * x @ dual.A @ x + l1 @ np.abs(x) + MARGIN * mu.sum()
        total = model.g_alpha + shift
        value += shift @ (model.alpha + dual.solved @ model.psi)
        value -= 0.5 * total @ linalg.cho_solve(dual.factor, total)
        return x, alpha, c, float(value)

    mu = multipliers.copy()
    x, alpha, c, value = primal(mu, model.psi)
    for _ in range(100):
        free = (mu > 0.0) | (c > 0.0)
        residual = np.where(mu > 0.0, np.abs(c), np.maximum(c, 0.0))
        if residual.max() <= FEASIBLE:
            break
        active = x != 0.0
        V = B[:, active] + half[:, active] * np.sign(x[active])
        inner = dual.A[np.ix_(active, active)]
        curvature = K_alpha + V @ _solve(inner, V.T)
        f = np.flatnonzero(free)
        step = np.zeros_like(mu)
        step[f] = _solve(curvature[np.ix_(f, f)], c[f])
        t = 1.0
        while True:
            new = np.maximum(mu + t * step, 0.0)
            found = primal(new, x)
            gain = float(c @ (new - mu))
            enough = found[3] >= value + 1e-4 * gain - 1e-15 * (1.0 + abs(value))
            better = np.where(new > 0.0, np.abs(found[2]), np.maximum(found[2], 0.0)).max()
            if enough or better < residual.max() or t < 1e-10:
                break
            t *= 0.5
        mu = new
        x, alpha, c, value = found
    return alpha, x, mu


def _solve(A: Array, b: Array) -> Array:
    """Solve a positive semidefinite system, with as little damping as it needs."""
    if A.shape[0] == 0:
        return np.zeros_like(b)
    scale = float(np.trace(A)) / A.shape[0] or 1.0
    for damping in (0.0, 1e-14, 1e-12, 1e-10, 1e-8, 1e-6):
        try:
            lower = np.linalg.cholesky(A + damping * scale * np.eye(A.shape[0]))
        except np.linalg.LinAlgError:
            continue
        return np.asarray(linalg.cho_solve((lower, True), b))
    return np.asarray(np.linalg.lstsq(A, b, rcond=None)[0])


def _minimise(A: Array, b: Array, l1: Array, start: Array, tol: float) -> Array:
    """Minimise b'x + x'Ax/2 + sum(l1 |x|) from a start."""
    if b.size <= ACTIVE_SET_MAX:
        found = active_set(A, b, l1, start, tol)
        if found is not None:
            return found
    x = start.copy()
    # Coordinates without curvature are constant columns, which stay at zero.
    dead = np.diag(A) <= 0.0
    if dead.any():
        x[dead] = 0.0
        keep = ~dead
        x[keep] = _minimise(A[np.ix_(keep, keep)], b[keep], l1[keep], start[keep], tol)
        return x
    return _descend(A, b, l1, x, tol)


def _descend(A: Array, b: Array, l1: Array, x: Array, tol: float) -> Array:
    """Coordinate descent on the coordinates that may move, then an exact solve of those that did.

    Descent only has to find the signs: it starts loosely, and is tightened while the exact solve
    changes a sign or leaves a violation.
    """
    from robuststat.kernels.ordinal import lasso_descent

    slope = b + A @ x
    level = 0.01 * float(np.abs(slope).max() + l1.max())
    inside = (x != 0.0) | (np.abs(slope) > 0.7 * l1)
    while True:
        kept = np.flatnonzero(inside)
        sub, start = np.ascontiguousarray(A[np.ix_(kept, kept)]), x[kept].copy()
        # A coordinate outside the set is zero, so that it does not enter the linear term.
        lasso_descent(sub, b[kept], l1[kept], start, level, 10_000)
        x = np.zeros_like(x)
        x[kept] = start
        x = _polished(A, b, l1, x)
        slope = b + A @ x
        excess = np.where(x != 0.0, np.abs(slope + l1 * np.sign(x)), np.abs(slope) - l1)
        if float(excess.max()) <= tol or level < 0.1 * tol:
            return x
        inside |= (np.abs(slope) > 0.7 * l1) | (x != 0.0)
        level *= 0.01


def _polished(A: Array, b: Array, l1: Array, x: Array) -> Array:
    """Solve for the coordinates that moved exactly, when that keeps their signs."""
    active = np.flatnonzero((x != 0.0) | (l1 == 0.0))
    if active.size == 0 or active.size > 1500:
        return x
    sign = np.sign(x[active])
    exact = _solve(A[np.ix_(active, active)], -(b[active] + l1[active] * sign))
    kept = (np.sign(exact) == sign) | (l1[active] == 0.0)
    if kept.all():
        x = x.copy()
        x[active] = exact
    return x


def active_set(A: Array, b: Array, l1: Array, start: Array, tol: float) -> Array | None:
    """Minimise b'x + x'Ax/2 + sum(l1 |x|) by a search over signs.

    Parameters
    ----------
    A : ndarray of shape (m, m)
        Symmetric positive semidefinite.
    b, l1, start : ndarray of shape (m,)
        Linear term, penalties, start.
    tol : float
        Violation of the optimality conditions of zero coordinates that is accepted.

    Returns
    -------
    ndarray of shape (m,), or None
        None when the search does not end (a singular system).
    """
    x = start.copy()
    sign = np.sign(x)
    free = l1 == 0.0
    sign[free] = 0.0
    active = (x != 0.0) | free
    for _ in range(20 * b.size + 50):
        while active.any():
            a = np.flatnonzero(active)
            try:
                y = np.linalg.solve(A[np.ix_(a, a)], -(b[a] + l1[a] * sign[a]))
            except np.linalg.LinAlgError:
                return None
            wrong = (y * sign[a] < 0.0) | ((y == 0.0) & ~free[a])
            if not wrong.any():
                x[a] = y
                break
            # Walk towards y until the first coordinate changes sign; it leaves.
            now = x[a]
            with np.errstate(divide="ignore", invalid="ignore"):
                reach = np.where(wrong, now / (now - y), np.inf)
            reach = np.where(np.isnan(reach), 0.0, reach)
            first = float(reach.min())
            x[a] = now + first * (y - now)
            out = a[reach <= first]
            x[out], sign[out], active[out] = 0.0, 0.0, False
        slope = b + A @ x
        excess = np.where(active, -np.inf, np.abs(slope) - l1)
        j = int(excess.argmax()) if excess.size else -1
        if j < 0 or excess[j] <= tol:
            return x
        active[j], sign[j] = True, -np.sign(slope[j])
    return None
