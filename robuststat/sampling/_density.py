"""Auxiliary densities g_k: Gaussian, Student or mixtures of Gaussians; their moments and draws."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import linalg as scipy_linalg
from scipy import special

from robuststat._core.types import Array, IntArray

__all__ = [
    "KERNEL_MIN_WORK",
    "Components",
    "log_sum_exp",
    "make_components",
    "moments",
    "squared_distances",
]

# Multiplications from which the compiled loops pay for their start (about a second), see
# robuststat.warmup().
KERNEL_MIN_WORK = 100_000_000
_LOG_2PI = float(np.log(2.0 * np.pi))


def log_sum_exp(values: Array, axis: int = -1) -> Array:
    """Logarithm of a sum of exponentials; -inf where every term is -inf."""
    top = values.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        total = np.log(np.exp(values - top).sum(axis=axis, keepdims=True)) + top
    return np.asarray(np.squeeze(total, axis=axis))


def squared_distances(points: Array, means: Array, inverse: Array) -> Array:
    """Squared Mahalanobis distances, (n, S), from inverse Cholesky factors (S, d, d)."""
    n, d = points.shape
    out = np.empty((n, means.shape[0]))
    if n * means.shape[0] * d * d >= KERNEL_MIN_WORK:
        kernels = importlib.import_module("robuststat.kernels.mixture")
        points = np.ascontiguousarray(points)
        return np.asarray(kernels.squared_distances(points, means, inverse, out))
    for s in range(means.shape[0]):
        z = (points - means[s]) @ inverse[s].T
        out[:, s] = np.einsum("ij,ij->i", z, z)
    return out


def moments(points: Array, weights: Array) -> tuple[Array, Array]:
    """Cross-entropy moments: weighted means (K, d) and covariances (K, d, d), divisor sum(a).

    Parameters
    ----------
    points : ndarray of shape (n, d)
        Points.
    weights : ndarray of shape (n, K)
        Non-negative weights a; every column has a positive sum.

    Returns
    -------
    mean, cov : ndarray of shape (K, d) and (K, d, d)
        Moments of the points under every column of weights.
    """
    (n, d), K = points.shape, weights.shape[1]
    mean, cov = np.zeros((K, d)), np.zeros((K, d, d))
    if n * K * d * d >= KERNEL_MIN_WORK:
        pooled = weights.sum(axis=1)
        shift = pooled @ points / pooled.sum()
        kernels = importlib.import_module("robuststat.kernels.mixture")
        points, weights = np.ascontiguousarray(points), np.ascontiguousarray(weights)
        kernels.weighted_moments(points, weights, shift, mean, cov)
        return mean, cov
    share = weights / weights.sum(axis=0)
    mean = share.T @ points
    for k in range(K):
        centred = points - mean[k]
        cov[k] = (centred * share[:, k][:, None]).T @ centred
    return mean, cov


@dataclass(frozen=True, slots=True)
class Components:
    """K densities g_k, each a mixture of one or more kernels of the same kind.

    Attributes
    ----------
    means : ndarray of shape (S, d)
        Centres of the kernels, in the space in which the sampler works.
    factors, inverse : ndarray of shape (S, d, d)
        Lower Cholesky factors of their scale matrices, and the inverses of these.
    log_norm : ndarray of shape (S,)
        Logarithm of the constant of each kernel's density.
    group : ndarray of shape (S,)
        Which g_k a kernel belongs to; ascending.
    weight : ndarray of shape (S,)
        Share of the kernel in its g_k.
    df : float
        Degrees of freedom; inf = Gaussian.
    """

    means: Array
    factors: Array
    inverse: Array
    log_norm: Array
    group: IntArray
    weight: Array
    df: float = np.inf

    @property
    def n(self) -> int:
        """Number K of densities."""
        return int(self.group[-1]) + 1

    @property
    def dim(self) -> int:
        """Dimension d."""
        return int(self.means.shape[1])

    @property
    def n_uniforms(self) -> int:
        """Uniform numbers that a draw takes, the choice of the component not counted."""
        return self.dim + int(np.isfinite(self.df))

    def log_density(self, points: Array) -> Array:
        """Log g_k at every point, (n, K)."""
        distance = squared_distances(points, self.means, self.inverse)
        if np.isinf(self.df):
            out = self.log_norm - 0.5 * distance
        else:
            half = (self.df + self.dim) / 2.0
            out = self.log_norm - half * np.log1p(distance / self.df)
        if len(self.group) == self.n:
            return np.asarray(out)
        out = out + np.log(self.weight)
        starts = np.searchsorted(self.group, np.arange(self.n + 1))
        parts = [log_sum_exp(out[:, a:b]) for a, b in pairwise(starts)]
        return np.column_stack(parts)

    def draw(self, choice: Array, uniforms: Array, alpha: Array) -> Array:
        """Points of the mixture sum_k alpha_k g_k made from uniform numbers.

        Parameters
        ----------
        choice : ndarray of shape (n,)
            Uniform numbers that pick the kernel.
        uniforms : ndarray of shape (n, n_uniforms)
            Uniform numbers inside (0, 1).
        alpha : ndarray of shape (K,)
            Shares, adding up to one.
        """
        shares = np.cumsum(alpha[self.group] * self.weight)
        kernel = np.searchsorted(shares / shares[-1], choice, side="right")
        kernel = np.minimum(kernel, len(shares) - 1)
        z = special.ndtri(uniforms[:, : self.dim])
        if np.isfinite(self.df):
            chi2 = special.chdtri(self.df, uniforms[:, self.dim])
            z *= np.sqrt(self.df / chi2)[:, None]
        points = np.empty_like(z)
        for s in np.unique(kernel):
            rows = kernel == s
            points[rows] = self.means[s] + z[rows] @ self.factors[s].T
        return points

    def centre_and_covariance(self) -> tuple[Array, Array]:
        """Means (K, d) and covariances (K, d, d) of the g_k themselves."""
        inflate = 1.0 if np.isinf(self.df) else self.df / (self.df - 2.0)
        scatter = inflate * self.factors @ self.factors.transpose(0, 2, 1)
        mean, cov = np.zeros((self.n, self.dim)), np.zeros((self.n, self.dim, self.dim))
        np.add.at(mean, self.group, self.weight[:, None] * self.means)
        away = self.means - mean[self.group]
        scatter = scatter + away[:, :, None] * away[:, None, :]
        np.add.at(cov, self.group, self.weight[:, None, None] * scatter)
        return mean, cov


def make_components(
    means: Array,
    covariances: Array,
    *,
    group: IntArray | None = None,
    weight: Array | None = None,
    df: float = np.inf,
) -> Components:
    """Densities with given means and covariances (of the kernels, not their scale matrices)."""
    S, d = means.shape
    scale = covariances if np.isinf(df) else covariances * (df - 2.0) / df
    factors: Array = np.asarray(np.linalg.cholesky(scale), dtype=np.float64)
    identity = np.eye(d)
    inverse = np.stack(
        [scipy_linalg.solve_triangular(factor, identity, lower=True) for factor in factors]
    )
    log_det = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
    if np.isinf(df):
        constant = -0.5 * d * _LOG_2PI
    else:
        constant = special.gammaln((df + d) / 2) - special.gammaln(df / 2)
        constant -= 0.5 * d * np.log(df * np.pi)
    return Components(
        means=np.ascontiguousarray(means),
        factors=factors,
        inverse=np.ascontiguousarray(inverse),
        log_norm=np.asarray(constant - log_det),
        group=np.arange(S) if group is None else group,
        weight=np.ones(S) if weight is None else weight,
        df=df,
    )
