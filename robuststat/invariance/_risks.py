"""Mean squared errors of environments as functions of the coefficients, and their minimisers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from robuststat._core.errors import ConvergenceWarning, IdentificationError, warn
from robuststat._core.types import Array
from robuststat.invariance._rows import EnvRows

Objective = Callable[[Array], tuple[float, Array]]


@dataclass(frozen=True, slots=True)
class Risks:
    """Quadratic risks R_e(b) = b'M_e b - 2 b'c_e + v_e of z = (1, x) in standard units.

    Attributes
    ----------
    M, c, v : ndarray of shapes (K, k, k), (K, k), (K,)
        Averages of z z', z y and y^2 of each environment.
    centre, unit : ndarray of shape (p,)
        Taken off, and divided into, the covariates.
    scale : float
        Divided into the outcome.
    """

    M: Array
    c: Array
    v: Array
    centre: Array
    unit: Array
    scale: float

    def values(self, b: Array) -> Array:
        """Risk of each environment (K,)."""
        return np.asarray(np.einsum("i,eij,j->e", b, self.M, b) - 2.0 * self.c @ b + self.v)

    def gradients(self, b: Array) -> Array:
        """Their gradients (K, k)."""
        return np.asarray(2.0 * (self.M @ b - self.c))

    def original(self, b: Array) -> tuple[float, Array]:
        """Intercept and coefficients in the units of the data."""
        coef = b[1:] / self.unit * self.scale
        return float(b[0] * self.scale - self.centre @ coef), coef


def env_risks(rows: EnvRows) -> Risks:
    """Moments of the rows as risks; the function z'b does not depend on the units of x."""
    moments = rows.moments()
    pooled = moments.pooled()
    p = len(rows.names)
    origin = np.append(pooled.mean[0, :-1], 0.0)
    spread = np.sqrt(np.diag(pooled.scatter[0]) / pooled.weight[0])
    unit = np.where(spread[:-1] > 0, spread[:-1], 1.0)
    scale = float(spread[-1]) or 1.0
    A, b, c = moments.normal_equations(intercept=True, origin=origin)
    n, by = moments.weight, np.concatenate([[1.0], unit])
    return Risks(
        A / n[:, None, None] / by / by[:, None],
        b / n[:, None] / by / scale,
        c / n / scale**2,
        origin[:p],
        unit,
        scale,
    )


def irm_objective(risks: Risks, penalty: float) -> Objective:
    """Sum over e of R_e(b) + penalty (2 b'(M_e b - c_e))^2, and its gradient."""

    def value(b: Array) -> tuple[float, Array]:
        push = risks.M @ b
        gap = 2.0 * (push - risks.c) @ b
        slope = 2.0 * (2.0 * push - risks.c)
        total = risks.values(b).sum() + penalty * (gap**2).sum()
        return float(total), risks.gradients(b).sum(axis=0) + 2.0 * penalty * gap @ slope

    return value


def vrex_objective(risks: Risks, penalty: float) -> Objective:
    """Sum over e of R_e(b) + penalty times the variance of the R_e, and its gradient."""

    def value(b: Array) -> tuple[float, Array]:
        risk, slope = risks.values(b), risks.gradients(b)
        off = risk - risk.mean()
        total = risk.sum() + penalty * (off**2).mean()
        return float(total), slope.sum(axis=0) + 2.0 * penalty * off @ slope / len(risk)

    return value


@dataclass(frozen=True, slots=True)
class Minimum:
    """Best of several local minima: where, how low, whether the search ended, in how many steps."""

    b: Array
    value: float
    converged: bool
    n_iter: int
    n_distinct: int


def minimise(
    objective: Objective, risks: Risks, n_starts: int, rng: np.random.Generator, max_iter: int
) -> Minimum:
    """L-BFGS from least squares, from each environment's own, from zero and from random points."""
    pooled, common = risks.M.sum(axis=0), risks.c.sum(axis=0)
    starts = [np.linalg.lstsq(pooled, common, rcond=None)[0], np.zeros(len(common))]
    starts += [np.linalg.lstsq(M, c, rcond=None)[0] for M, c in zip(risks.M, risks.c, strict=True)][
        :n_starts
    ]
    starts += [starts[0] + rng.normal(size=len(common)) for _ in range(n_starts)]
    found = [
        optimize.minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": max_iter, "gtol": 1e-9, "ftol": 1e-15},
        )
        for start in starts
    ]
    best = min(found, key=lambda one: float(one.fun))
    near = 1e-6 * (1.0 + abs(float(best.fun)))
    distinct = len({round(float(one.fun) / near) for one in found})
    gradient = float(np.abs(best.jac).max())
    converged = bool(best.success) or gradient < 1e-6 * (1.0 + abs(float(best.fun)))
    return Minimum(best.x, float(best.fun), converged, int(best.nit), distinct)


def worst_case(risks: Risks) -> Array:
    """Minimise max_e R_e(b) as a second-order cone programme."""
    import cvxpy as cp

    b, bound = cp.Variable(risks.c.shape[1]), cp.Variable()
    point = cp.hstack([b, np.array([-1.0])])
    limits = []
    for M, c, v in zip(risks.M, risks.c, risks.v, strict=True):
        joint = np.block([[M, c[:, None]], [c[None, :], np.array([[v]])]])
        values, vectors = np.linalg.eigh(joint)
        root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
        limits.append(cp.norm(root @ point) <= bound)
    problem = cp.Problem(cp.Minimize(bound), limits)
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    if problem.status not in ("optimal", "optimal_inaccurate"):
        raise IdentificationError(
            f"The solver ended with status {problem.status!r}. Look for collinear covariates."
        )
    if problem.status == "optimal_inaccurate":
        warn("The worst-case risk is accurate to few digits only.", ConvergenceWarning)
    return np.asarray(b.value, dtype=np.float64)
