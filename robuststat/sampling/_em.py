"""Mixtures of Gaussians fitted to weighted points by expectation-maximisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robuststat._core.types import Array
from robuststat.sampling._density import log_sum_exp, make_components, moments

__all__ = ["GaussianMixture", "fit_mixture", "select_mixture"]

_TOL = 1e-5
_MAX_ITER = 500
_MAX_KERNELS = 4


@dataclass(frozen=True, slots=True)
class GaussianMixture:
    """Kernels of a fitted mixture.

    Attributes
    ----------
    means, covariances, share : ndarray of shape (k, d), (k, d, d) and (k,)
        Parameters; the shares add up to one.
    loglik : float
        Weighted mean log-likelihood.
    converged : bool
        Whether its relative change fell below 1e-5.
    """

    means: Array
    covariances: Array
    share: Array
    loglik: float
    converged: bool


def _first_centres(points: Array, weights: Array, k: int, rng: np.random.Generator) -> Array:
    """k-means++ choice of centres, by weight times squared distance in standardised units."""
    centre = weights @ points / weights.sum()
    sd = np.sqrt(weights @ (points - centre) ** 2 / weights.sum())
    scaled = points / np.where(sd > 0, sd, 1.0)
    chosen = [int(rng.choice(len(points), p=weights / weights.sum()))]
    for _ in range(k - 1):
        distance = ((scaled[:, None, :] - scaled[chosen][None]) ** 2).sum(axis=2).min(axis=1)
        mass = weights * distance
        if not mass.sum() > 0:
            break
        chosen.append(int(rng.choice(len(points), p=mass / mass.sum())))
    return points[chosen]


def fit_mixture(
    points: Array,
    weights: Array,
    k: int,
    ridge: Array,
    rng: np.random.Generator,
    max_iter: int = _MAX_ITER,
) -> GaussianMixture:
    """Fit k Gaussians to weighted points; kernels that become empty are dropped.

    Parameters
    ----------
    points : ndarray of shape (n, d)
        Points.
    weights : ndarray of shape (n,)
        Non-negative weights, not all zero.
    k : int
        Kernels at the start.
    ridge : ndarray of shape (d,)
        Added to the diagonals of the covariances.
    rng : Generator
        Chooses the first centres.
    max_iter : int
        EM steps.

    Returns
    -------
    GaussianMixture
    """
    centres = _first_centres(points, weights, k, rng)
    _, pooled = moments(points, weights[:, None])
    means, share = centres, np.full(len(centres), 1.0 / len(centres))
    covs = np.repeat(pooled + np.diag(ridge), len(centres), axis=0)
    total, old = weights.sum(), -np.inf
    converged = False
    for _ in range(max_iter):
        joint = make_components(means, covs).log_density(points) + np.log(share)
        density = log_sum_exp(joint)
        loglik = float(weights @ density / total)
        converged = abs(loglik - old) <= _TOL * abs(loglik)
        if converged:
            break
        old = loglik
        mass = np.exp(joint - density[:, None]) * weights[:, None]
        # A kernel needs the weight of some points, or its covariance is the ridge alone.
        keep = mass.sum(axis=0) > 1e-10 * total
        mass = mass[:, keep]
        share = mass.sum(axis=0) / mass.sum()
        means, covs = moments(points, mass)
        covs = covs + np.diag(ridge)
    return GaussianMixture(means, covs, share, loglik, converged)


def select_mixture(
    points: Array, weights: Array, ridge: Array, rng: np.random.Generator, n_starts: int = 2
) -> GaussianMixture:
    """Mixture of 1 to 4 Gaussians with the smallest BIC; the sample size is Kish's."""
    d = points.shape[1]
    size = weights.sum() ** 2 / (weights @ weights)
    best, best_bic = None, np.inf
    for k in range(1, _MAX_KERNELS + 1):
        fits = [
            fit_mixture(points, weights, k, ridge, rng) for _ in range(1 if k == 1 else n_starts)
        ]
        fit = max(fits, key=lambda found: found.loglik)
        n_params = len(fit.share) * (1 + d + d * (d + 1) / 2) - 1
        bic = -2.0 * size * fit.loglik + n_params * np.log(max(size, 2.0))
        if bic < best_bic:
            best, best_bic = fit, bic
    assert best is not None  # one Gaussian always has a finite BIC
    return best
