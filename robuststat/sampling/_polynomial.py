"""Polynomials of Gaussian coordinates, least squares on them, and their exact expectations."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np
from scipy import linalg as scipy_linalg

from robuststat._core.types import Array, IntArray

__all__ = ["Basis", "choose_degree", "gaussian_means", "make_basis"]


@lru_cache(maxsize=64)
def exponents(d: int, degree: int) -> tuple[tuple[int, ...], ...]:
    """Exponents of all monomials in d variables up to a total degree, the constant first."""
    out = []
    for total in range(degree + 1):
        for chosen in combinations_with_replacement(range(d), total):
            powers = [0] * d
            for j in chosen:
                powers[j] += 1
            out.append(tuple(powers))
    return tuple(out)


@dataclass(frozen=True, slots=True)
class Basis:
    """Monomials of standardised coordinates.

    Attributes
    ----------
    centre, scale : ndarray of shape (d,)
        z = (t - centre) / scale.
    degree : int
        Largest total degree.
    """

    centre: Array
    scale: Array
    degree: int

    @property
    def powers(self) -> tuple[tuple[int, ...], ...]:
        """Exponents of the monomials."""
        return exponents(len(self.centre), self.degree)

    def matrix(self, t: Array) -> Array:
        """Monomials at every row, (n, P)."""
        z = (t - self.centre) / self.scale
        powers = self.powers
        position = {alpha: i for i, alpha in enumerate(powers)}
        out = np.ones((len(z), len(powers)))
        for i, alpha in enumerate(powers[1:], start=1):
            # Every monomial is one of lower degree times one coordinate.
            j = next(k for k, power in enumerate(alpha) if power)
            lower = tuple(power - (k == j) for k, power in enumerate(alpha))
            np.multiply(out[:, position[lower]], z[:, j], out=out[:, i])
        return out

    def means(self, mean: Array, covariance: Array) -> Array:
        """Exact expectations of the monomials when t is Gaussian, (P,)."""
        m = (mean - self.centre) / self.scale
        return gaussian_means(m, covariance / np.outer(self.scale, self.scale), self.degree)


def make_basis(t: Array, degree: int) -> Basis:
    """Basis standardised by the points it will be fitted to."""
    scale = t.std(axis=0)
    return Basis(t.mean(axis=0), np.where(scale > 0, scale, 1.0), degree)


def gaussian_means(mean: Array, cov: Array, degree: int) -> Array:
    """E z^alpha for all monomials, z ~ N(mean, cov), by Isserlis' recursion.

    E z_i h(z) = mean_i E h(z) + sum_j cov_ij E d h(z) / d z_j.
    """
    powers = exponents(len(mean), degree)
    value = {powers[0]: 1.0}
    for alpha in powers[1:]:
        i = next(k for k, power in enumerate(alpha) if power)
        lower = tuple(power - (k == i) for k, power in enumerate(alpha))
        total = mean[i] * value[lower]
        for j, power in enumerate(lower):
            if power and cov[i, j] != 0.0:
                rest = tuple(p - (k == j) for k, p in enumerate(lower))
                total += cov[i, j] * power * value[rest]
        value[alpha] = total
    return np.array([value[alpha] for alpha in powers])


def least_squares(B: Array, Y: Array) -> Array:
    """Coefficients (P, m) of least squares; collinear columns share theirs."""
    gram, cross = B.T @ B, B.T @ Y
    try:
        with warnings.catch_warnings(action="error", category=scipy_linalg.LinAlgWarning):
            return np.asarray(scipy_linalg.solve(gram, cross, assume_a="pos"))
    except (np.linalg.LinAlgError, scipy_linalg.LinAlgWarning):
        return np.asarray(np.linalg.lstsq(B, Y, rcond=None)[0])


def choose_degree(
    t: Array, Y: Array, folds: IntArray, largest: int
) -> tuple[int, dict[int, float]]:
    """Degree with the smallest squared error out of fold, as a share of the outcomes' variance.

    Parameters
    ----------
    t : ndarray of shape (n, d)
        Coordinates.
    Y : ndarray of shape (n, m)
        Outcomes.
    folds : ndarray of shape (n,)
        Fold of each row.
    largest : int
        Largest degree tried; degrees with more than a third as many coefficients as rows to fit
        them are not.
    """
    losses: dict[int, float] = {}
    variance = Y.var(axis=0)
    variance = np.where(variance > 0, variance, 1.0)
    n_train = int(len(t) * (1 - 1 / len(np.unique(folds))))
    for degree in range(1, largest + 1):
        basis = make_basis(t, degree)
        if degree > 1 and 3 * len(basis.powers) > n_train:
            break
        B = basis.matrix(t)
        error = np.empty_like(Y)
        for fold in np.unique(folds):
            test = folds == fold
            error[test] = Y[test] - B[test] @ least_squares(B[~test], Y[~test])
        losses[degree] = float(((error**2).mean(axis=0) / variance).mean())
    return min(losses, key=lambda degree: losses[degree]), losses
