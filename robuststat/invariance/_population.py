"""Gaps of a representation in a known population: a linear structural model per environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from robuststat._core.errors import ParameterError
from robuststat._core.types import Array
from robuststat.invariance._gap import (
    EnvModel,
    env_gaps,
    env_model,
    pairwise_gap,
    roots,
    smallest_ball,
)
from robuststat.invariance._moments import EnvMoments


@dataclass(frozen=True, slots=True, repr=False)
class PopulationGap:
    """Gaps of a representation in a linear structural model, without sampling error.

    Attributes
    ----------
    names : tuple of str
        Coefficients, intercept first.
    env_coef : ndarray of shape (K, k)
        Best linear coefficients in every environment.
    env_noise_var : ndarray of shape (K,)
        Their error variances, unit of y squared.
    pooled_coef : ndarray of shape (k,)
        Best coefficients with all environments weighted equally.
    risk_gap, coef_gap, grad_gap : ndarray of shape (K,)
        Gaps at the pooled coefficients.
    average_gap : float
        Average risk gap, unit of y squared.
    psi : float
        That over the mean error variance.
    pairwise_gap : float
        Largest distance between the coefficients of two environments.
    minimax_coef, minimax_risk : float
        Smallest possible maximum of the gaps, and
    centre_coef, centre_risk : ndarray of shape (k,)
        the coefficients where it is attained.
    noise_var_ratio : float
        Largest over smallest error variance.

    Examples
    --------
    >>> from robuststat import population_gap
    >>> weak, strong = [[0, 0], [1, 0]], [[0, 0], [2, 0]]
    >>> found = population_gap([weak, strong], [[1, 1], [1, 1]], None, y=1, S=[0])
    >>> found.env_coef[:, 1].round(6).tolist()
    [1.0, 2.0]
    """

    names: tuple[str, ...]
    env_coef: Array
    env_noise_var: Array
    pooled_coef: Array
    risk_gap: Array
    coef_gap: Array
    grad_gap: Array
    average_gap: float
    psi: float
    pairwise_gap: float
    minimax_coef: float
    minimax_risk: float
    centre_coef: Array
    centre_risk: Array
    noise_var_ratio: float

    def to_frame(self) -> pd.DataFrame:
        """One row an environment: coefficients, error variance and gaps."""
        frame = pd.DataFrame(self.env_coef, columns=list(self.names))
        return frame.assign(
            noise_var=self.env_noise_var,
            risk_gap=self.risk_gap,
            coef_gap=self.coef_gap,
            grad_gap=self.grad_gap,
        )

    def __repr__(self) -> str:
        return (
            f"PopulationGap(psi={self.psi:.4g}, average_gap={self.average_gap:.4g}, "
            f"minimax_coef={self.minimax_coef:.4g}, noise_var_ratio={self.noise_var_ratio:.4g})\n"
            f"{self.to_frame().round(4).to_string()}"
        )


def population_gap(
    B_list: Sequence[ArrayLike],
    Omega_list: Sequence[ArrayLike],
    mu_list: Sequence[ArrayLike] | None,
    y: int,
    S: Sequence[int],
    *,
    fit_intercept: bool = True,
) -> PopulationGap:
    """Exact gaps of a subset of nodes in linear structural equation models Z = B Z + mu + N.

    For teaching, and for choosing the effect size of a power calculation.

    Parameters
    ----------
    B_list : sequence of K array-like of shape (d, d)
        Effects in each environment: B[i, j] is the effect of node j on node i.
    Omega_list : sequence of K array-like of shape (d,) or (d, d)
        Error variances, or their covariance matrix.
    mu_list : sequence of K array-like of shape (d,), or None
        Constants of the equations; None: zero.
    y : int
        Node that is the outcome.
    S : sequence of int
        Nodes used as covariates.
    fit_intercept : bool
        Whether the regressions have an intercept.

    Returns
    -------
    PopulationGap

    Raises
    ------
    ParameterError
        For lists of different lengths, wrong shapes, a node that is not there, or a singular
        system.

    Examples
    --------
    >>> from robuststat import population_gap
    >>> weak, strong = [[0, 0], [1, 0]], [[0, 0], [2, 0]]
    >>> population_gap([weak, strong], [[1, 1], [1, 1]], None, y=1, S=[0]).average_gap
    0.25
    """
    K = len(B_list)
    if not K:
        raise ParameterError("B_list is empty. Pass one matrix an environment.")
    constants = [np.zeros(np.shape(B_list[0])[0])] * K if mu_list is None else mu_list
    if len(Omega_list) != K or len(constants) != K:
        raise ParameterError(
            f"B_list, Omega_list and mu_list have {K}, {len(Omega_list)} and {len(constants)} "
            "environments. Pass one entry an environment in each."
        )
    nodes = [*S, y]
    mean, scatter = [], []
    for e in range(K):
        m, V = _implied(B_list[e], Omega_list[e], constants[e], e)
        if not all(0 <= j < len(m) for j in nodes) or len(set(nodes)) < len(nodes):
            raise ParameterError(
                f"S={list(S)} and y={y} must be different nodes in 0..{len(m) - 1}."
            )
        mean.append(m[nodes])
        scatter.append(V[np.ix_(nodes, nodes)])
    one = np.ones(K)
    names = tuple(f"x{j}" for j in S)
    moments = EnvMoments(
        tuple(range(K)), names, one.astype(np.int64), one, one, np.array(mean), np.array(scatter)
    )
    return _gaps_of(env_model(moments, intercept=fit_intercept), names, fit_intercept)


def _implied(B: ArrayLike, Omega: ArrayLike, mu: ArrayLike, e: int) -> tuple[Array, Array]:
    """Mean and covariance of the nodes."""
    effects = np.asarray(B, dtype=np.float64)
    d = effects.shape[0]
    noise = np.asarray(Omega, dtype=np.float64)
    noise = np.diag(noise) if noise.ndim == 1 else noise
    shift = np.asarray(mu, dtype=np.float64)
    if effects.shape != (d, d) or noise.shape != (d, d) or shift.shape != (d,):
        raise ParameterError(
            f"Environment {e}: B has shape {effects.shape}, Omega {noise.shape} and mu "
            f"{shift.shape}. For d nodes they must be (d, d), (d,) or (d, d), and (d,)."
        )
    finite = all(np.isfinite(v).all() for v in (effects, noise, shift))
    if not finite or np.linalg.eigvalsh(noise)[0] < 0:
        raise ParameterError(
            f"Environment {e}: B, Omega and mu must be finite, and Omega no negative variance."
        )
    system = np.eye(d) - effects
    if np.linalg.matrix_rank(system) < d:
        raise ParameterError(f"Environment {e}: I - B is singular. The graph must have no cycle.")
    half = np.linalg.solve(system, noise)
    mean, covariance = np.linalg.solve(system, shift), np.linalg.solve(system, half.T)
    return np.asarray(mean), np.asarray(covariance)


def _gaps_of(model: EnvModel, names: tuple[str, ...], intercept: bool) -> PopulationGap:
    second = model.moments.normal_equations(intercept=intercept)[0]
    coef, pooled = model.fits.coef, model.pooled.coef[0]
    noise = model.fits.ssr
    off = coef - pooled
    # Not from the raw differences: exact zeros of an invariant subset stay at rounding level.
    average = model.ssr_between / model.moments.n_env
    ball = smallest_ball(coef, roots("coef", second))
    bowl = smallest_ball(coef, roots("risk", second))
    return PopulationGap(
        names=(("(Intercept)",) if intercept else ()) + names,
        env_coef=coef,
        env_noise_var=noise,
        pooled_coef=pooled,
        risk_gap=env_gaps("risk", off, second),
        coef_gap=env_gaps("coef", off, second),
        grad_gap=env_gaps("grad", off, second),
        average_gap=average,
        psi=average / float(noise.mean()),
        pairwise_gap=pairwise_gap("coef", coef, second),
        minimax_coef=ball.radius,
        minimax_risk=bowl.radius**2,
        centre_coef=ball.centre,
        centre_risk=bowl.centre,
        noise_var_ratio=float(noise.max() / noise.min()),
    )
