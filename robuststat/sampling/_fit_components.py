"""Cross-entropy fits of the auxiliary densities, and their number kept below a limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from robuststat._core.types import Array, IntArray
from robuststat.sampling._density import Components, make_components, moments
from robuststat.sampling._em import select_mixture

__all__ = ["Family", "Fitted", "fit_components", "select_representatives"]

Family: TypeAlias = Literal["gaussian", "diagonal", "student", "gmm"]
_STUDENT_DF = 5.0


@dataclass(frozen=True, slots=True)
class Fitted:
    """Fitted components.

    Attributes
    ----------
    components : Components
        One g_k a column of weights.
    n_shrunk : int
        Components whose covariance was shrunk to that of the law, for lack of points.
    n_failed : int
        Mixtures whose EM did not converge.
    """

    components: Components
    n_shrunk: int = 0
    n_failed: int = 0


def fit_components(
    points: Array,
    weights: Array,
    family: Family,
    ridge: Array,
    rng: np.random.Generator,
    *,
    law_weights: Array | None = None,
) -> Fitted:
    """Fit one density to the points under every column of weights.

    Parameters
    ----------
    points : ndarray of shape (n, d)
        Points.
    weights : ndarray of shape (n, K)
        Non-negative weights a, columns with positive sums.
    family : {"gaussian", "diagonal", "student", "gmm"}
        Kind of density.
    ridge : ndarray of shape (d,)
        Added to the diagonal of every covariance.
    rng : Generator
        Starts of the EM.
    law_weights : ndarray of shape (n,), optional
        Weights under which the points follow the law: a covariance from fewer than 2 (d + 2)
        effective points is pulled to that of the law. None: no covariance is.

    Returns
    -------
    Fitted
    """
    if family == "gmm":
        fits = [
            select_mixture(points[a > 0], a[a > 0], ridge, rng)
            for a in np.ascontiguousarray(weights.T)
        ]
        sizes = [len(fit.share) for fit in fits]
        components = make_components(
            np.concatenate([fit.means for fit in fits]),
            np.concatenate([fit.covariances for fit in fits]),
            group=np.repeat(np.arange(len(fits)), sizes),
            weight=np.concatenate([fit.share for fit in fits]),
        )
        return Fitted(components, n_failed=sum(not fit.converged for fit in fits))
    mean, cov, n_shrunk = gaussian_fits(points, weights, ridge, law_weights)
    if family == "diagonal":
        cov = cov * np.eye(cov.shape[1])
    df = _STUDENT_DF if family == "student" else np.inf
    return Fitted(make_components(mean, cov, df=df), n_shrunk)


def gaussian_fits(
    points: Array, weights: Array, ridge: Array, law_weights: Array | None
) -> tuple[Array, Array, int]:
    """Weighted means and covariances with ridge, shrunk where too few points carry the weight.

    They are shrunk to the covariance of the law, not to one pooled over the components: with one
    expectation that would be its own, and a density around two or three points misses the rest of
    the mass without a sign of it in the standard error.
    """
    mean, cov = moments(points, weights)
    need = 2 * (points.shape[1] + 2)
    n_shrunk = 0
    if law_weights is not None:
        ess = weights.sum(axis=0) ** 2 / np.einsum("nk,nk->k", weights, weights)
        lack = np.clip((need - ess) / need, 0.0, 1.0)
        n_shrunk = int((lack > 0).sum())
        if n_shrunk:
            _, common = moments(points, law_weights[:, None])
            cov = (1 - lack)[:, None, None] * cov + lack[:, None, None] * common
    return mean, cov + np.diag(ridge), n_shrunk


def select_representatives(
    mean: Array, cov: Array, importance: Array, limit: int
) -> tuple[IntArray, IntArray]:
    """Few densities that stand for many: greedy choice by Kullback-Leibler divergence.

    Parameters
    ----------
    mean, cov : ndarray of shape (K, d) and (K, d, d)
        Gaussian fits.
    importance : ndarray of shape (K,)
        The largest is chosen first.
    limit : int
        Largest number of representatives.

    Returns
    -------
    chosen : ndarray of at most ``limit`` integers
        Representatives.
    nearest : ndarray of shape (K,)
        Position in ``chosen`` of the representative of each density.
    """
    K, d = mean.shape
    if limit >= K:
        return np.arange(K), np.arange(K)
    log_det = np.linalg.slogdet(cov)[1]
    chosen = [int(np.argmax(importance))]
    closest, nearest = np.full(K, np.inf), np.zeros(K, dtype=np.int64)
    while True:
        s = chosen[-1]
        inverse = np.linalg.inv(cov[s])
        away = mean - mean[s]
        kl = np.einsum("kab,ba->k", cov, inverse) + np.einsum("ka,ab,kb->k", away, inverse, away)
        kl = 0.5 * (kl - d + log_det[s] - log_det)
        better = kl < closest
        nearest[better], closest[better] = len(chosen) - 1, kl[better]
        if len(chosen) == limit or closest.max() <= 1e-9:
            return np.array(chosen), nearest
        chosen.append(int(np.argmax(closest)))
