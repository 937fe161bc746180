"""Root finding for estimating equations, with one record of how it went."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from robuststat._core.types import Array

GradientHessian = Callable[[Array], tuple[Array, Array]]


@dataclass(frozen=True, slots=True)
class ConvergenceInfo:
    """How an iteration ended.

    Attributes
    ----------
    converged : bool
        Whether the stopping rule was met.
    n_iter : int
        Steps taken.
    max_step : float
        Largest absolute change of a coefficient in the last step, in coefficient units.
    max_gradient : float
        Largest absolute average score before the last step.
    message : str
        What happened, in words.
    """

    converged: bool
    n_iter: int
    max_step: float
    max_gradient: float
    message: str


def newton_step(gradient: Array, jacobian: Array) -> Array:
    """Step that solves ``-jacobian @ step = gradient``, damped when the Jacobian is singular.

    Levenberg damping is raised until the system can be solved with a finite step. A design with
    exactly collinear columns must be refused before: damping would hide it.
    """
    k = gradient.size
    damping = 0.0
    scale = float(np.abs(np.diag(jacobian)).max()) or 1.0
    for _ in range(12):
        try:
            step = np.asarray(np.linalg.solve(damping * np.eye(k) - jacobian, gradient), float)
        except np.linalg.LinAlgError:
            step = np.full(k, np.nan)
        if np.isfinite(step).all():
            return step
        damping = max(10.0 * damping, 1e-8 * scale)
    return np.asarray(gradient / scale)


# A step that overshoots may overflow; it is halved, and the record says how it ended.
@np.errstate(over="ignore", invalid="ignore")
def newton(
    function: GradientHessian, start: Array, *, tol: float = 1e-10, max_iter: int = 50
) -> tuple[Array, Array, ConvergenceInfo]:
    """Solve ``g(theta) = 0`` where ``function`` returns g and its derivative.

    Stops when the largest step is below ``tol * (1 + max|theta|)``. A step that does not reduce
    the length of g is halved up to ten times.

    Parameters
    ----------
    function : callable
        Maps theta of shape (k,) to the average score (k,) and its derivative (k, k).
    start : ndarray of shape (k,)
        First value.
    tol, max_iter : float, int
        Stopping rule.

    Returns
    -------
    theta : ndarray of shape (k,)
        Root.
    jacobian : ndarray of shape (k, k)
        Derivative at the last point where it was evaluated (within the last step of the root).
    convergence : ConvergenceInfo
        Record of the iteration.
    """
    theta = np.array(start, dtype=np.float64)
    gradient, jacobian = function(theta)
    step_size = np.inf
    for iteration in range(1, max_iter + 1):
        step = newton_step(gradient, jacobian)
        step_size = float(np.abs(step).max())
        size = float(np.abs(gradient).max())
        # A damped step may be short without solving anything: then it is no sign of a root.
        solved = float(np.abs(gradient + jacobian @ step).max()) <= 1e-6 * size
        if solved and step_size <= tol * (1.0 + float(np.abs(theta).max())):
            done = ConvergenceInfo(True, iteration, step_size, size, "converged")
            return theta + step, jacobian, done
        candidate = theta + step
        new_gradient, new_jacobian = function(candidate)
        for _ in range(10):
            if np.linalg.norm(new_gradient) < np.linalg.norm(gradient):
                break
            step *= 0.5
            candidate = theta + step
            new_gradient, new_jacobian = function(candidate)
        else:
            # At rounding level the score cannot shrink any more although the step is not tiny
            # relative to tol; more halving would only stall.
            if not _at_rounding_level(gradient, jacobian, theta):
                words = "the score could not be reduced along the Newton direction"
                return theta, jacobian, ConvergenceInfo(False, iteration, step_size, size, words)
            done = ConvergenceInfo(True, iteration, step_size, size, "converged to rounding level")
            return theta, jacobian, done
        theta, gradient, jacobian = candidate, new_gradient, new_jacobian
    words = f"no convergence in {max_iter} iterations (last step {step_size:.2g})"
    size = float(np.abs(gradient).max())
    return theta, jacobian, ConvergenceInfo(False, max_iter, step_size, size, words)


def _at_rounding_level(gradient: Array, jacobian: Array, theta: Array) -> bool:
    magnitude = np.abs(jacobian) @ np.abs(theta) + np.abs(np.diag(jacobian))
    return bool((np.abs(gradient) <= 1e-12 * magnitude).all())
