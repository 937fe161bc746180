"""Maximum of a log-likelihood by Newton's method on the exact observed information.

The core's root finder looks at the length of the score only; a likelihood is -inf where boundaries
cross and need not be concave (Cauchy link, scale effects), so steps are judged by its value here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from robuststat._core.optim import ConvergenceInfo
from robuststat._core.types import Array

Sums = Callable[[Array], tuple[float, Array, Array]]


@dataclass(frozen=True, slots=True)
class Maximum:
    """Where a log-likelihood is largest.

    Attributes
    ----------
    phi : ndarray of shape (k,)
        Parameters.
    loglik : float
        Value there.
    gradient : ndarray of shape (k,)
        Score at ``phi``, summed over rows.
    information : ndarray of shape (k, k)
        Minus the second derivative at ``phi``, summed over rows.
    convergence : ConvergenceInfo
        ``max_gradient`` is the largest score in units of its standard deviation.
    """

    phi: Array
    loglik: float
    gradient: Array
    information: Array
    convergence: ConvergenceInfo


def ascent_step(gradient: Array, information: Array) -> Array:
    """Newton step, the information raised until it is positive definite."""
    scale = np.sqrt(np.maximum(np.abs(np.diag(information)), 1e-300))
    unit = information / scale / scale[:, None]
    damping = 0.0
    for _ in range(40):
        try:
            factor = linalg.cho_factor(unit + damping * np.eye(len(scale)), lower=True)
            step = np.asarray(linalg.cho_solve(factor, gradient / scale) / scale)
            if np.isfinite(step).all():
                return step
        except linalg.LinAlgError:
            pass
        damping = max(1e-10, 4.0 * damping)
    return np.asarray(gradient / scale**2)


def maximise(sums: Sums, start: Array, *, tol: float = 1e-8, max_iter: int = 100) -> Maximum:
    """Climb from ``start`` until the Newton step is short against the standard errors.

    Parameters
    ----------
    sums : callable
        phi -> log-likelihood, score, observed information, all summed over rows; the first is
        -inf outside the domain.
    start : ndarray of shape (k,)
        A point with finite log-likelihood.
    tol : float
        Stop when the length of the step in standard errors is below it, after taking that step.
    max_iter : int
        Steps at most.

    Returns
    -------
    Maximum
    """
    phi = np.array(start, dtype=np.float64)
    loglik, gradient, info = sums(phi)
    length, size = np.inf, np.inf
    for iteration in range(1, max_iter + 1):
        step = ascent_step(gradient, info)
        length = float(np.sqrt(max(float(gradient @ step), 0.0)))
        size = float(np.abs(step).max(initial=0.0))
        # Sums of this size cannot tell a smaller gain from rounding.
        slack = 1e-13 * (1.0 + abs(loglik))
        factor = 1.0
        found = sums(phi + step)
        while not found[0] >= loglik + 1e-4 * factor * length**2 - slack:
            factor *= 0.5
            if factor < 1e-10:
                words = "the log-likelihood could not be raised along the Newton direction"
                return _result(phi, loglik, gradient, info, False, iteration, size, words)
            found = sums(phi + factor * step)
        phi = phi + factor * step
        loglik, gradient, info = found
        if length <= tol and factor == 1.0:
            return _result(phi, loglik, gradient, info, True, iteration, size, "converged")
    words = f"no convergence in {max_iter} iterations (last step {length:.2g} standard errors)"
    return _result(phi, loglik, gradient, info, False, max_iter, size, words)


def _result(
    phi: Array,
    loglik: float,
    gradient: Array,
    info: Array,
    converged: bool,
    n_iter: int,
    size: float,
    words: str,
) -> Maximum:
    scale = np.sqrt(np.maximum(np.abs(np.diag(info)), 1e-300))
    largest = float(np.abs(gradient / scale).max(initial=0.0))
    record = ConvergenceInfo(converged, n_iter, size, largest, words)
    return Maximum(phi, loglik, gradient, info, record)
