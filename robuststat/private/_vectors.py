"""Sums of clipped rows in integers, with normal or Laplace noise calibrated to one row.

Rows are clipped in doubles and rounded to whole numbers; the bound that the noise is made for is
then checked on the whole numbers, exactly. So no rounding error enters the guarantee.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from robuststat._core.types import Array, IntArray
from robuststat.private._entropy import Entropy
from robuststat.private._noise import discrete_gaussian, discrete_laplace

MEAN_LEVELS = 1 << 20  # steps in the clipping radius of a mean: squares sum up in 64 bits
GRAM_LEVELS = 1 << 15  # the same for products, which must sum up over 2**33 rows


def clip_rows(rows: Array, radius: float, levels: int) -> IntArray:
    """Move rows into a ball, and count in steps of ``radius / levels``.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        Rows; one that is not finite becomes the origin.
    radius : float
        Public.
    levels : int
        Steps in the radius.

    Returns
    -------
    ndarray of int64 of shape (n, d)
        Rows with Euclidean norm at most ``levels``, exactly.
    """
    largest = np.abs(rows).max(axis=1)
    usable = np.isfinite(largest) & (largest > 0)
    safe = np.where(usable, largest, 1.0)
    unit = np.where(usable[:, None], rows, 0.0) / safe[:, None]  # squares cannot overflow
    norm = np.maximum(np.linalg.norm(unit, axis=1), 1e-300)
    with np.errstate(over="ignore"):  # a warning would tell of a huge record
        length = np.minimum(safe / radius, 1.0 / norm)
    scaled = unit * (length * levels)[:, None]
    steps = np.rint(scaled).astype(np.int64)
    beyond = _squares(steps) > levels**2  # rounding up at the edge
    steps[beyond] = np.trunc(scaled[beyond] * (1 - 1e-12)).astype(np.int64)
    steps[_squares(steps) > levels**2] = 0
    return np.asarray(steps, dtype=np.int64)


def _squares(steps: IntArray) -> IntArray:
    return np.asarray((steps * steps).sum(axis=1))


def clip_box(rows: Array, low: Array, high: Array, levels: int) -> IntArray:
    """Move every column into its bounds, and count from -levels (low) to levels (high).

    Parameters
    ----------
    rows : ndarray of shape (n, q)
        Rows; NaN becomes the middle.
    low, high : ndarray of shape (q,)
        Public bounds.
    levels : int
        Steps in half of the width.

    Returns
    -------
    ndarray of int64 of shape (n, q)
    """
    with np.errstate(over="ignore"):
        share = (rows - (low + high) / 2) / ((high - low) / 2)
    share = np.clip(np.where(np.isnan(share), 0.0, share), -1.0, 1.0)
    return np.rint(share * levels).astype(np.int64)


def noisy_sum(source: Entropy, steps: IntArray, levels: int, rho: Fraction) -> Array:
    """Sum of clipped rows plus normal noise: rho-zCDP.

    Replacing a row moves the sum by at most ``2 levels`` in Euclidean norm.

    Parameters
    ----------
    source : Entropy
        Random bits; the charge is booked.
    steps : ndarray of int64 of shape (n, d)
        From ``clip_rows``.
    levels : int
        Bound on their norm.
    rho : Fraction
        zCDP of this sum.

    Returns
    -------
    ndarray of shape (d,)
    """
    variance = sum_variance(levels, rho)
    total = [int(v) for v in steps.sum(axis=0)]
    return np.array([float(v + discrete_gaussian(source, variance)) for v in total])


def sum_variance(levels: int, rho: Fraction) -> Fraction:
    """Variance of each entry of a noisy sum: ``(2 levels)**2 / (2 rho)``."""
    return Fraction((2 * levels) ** 2) / (2 * rho)


def noisy_gram(source: Entropy, steps: IntArray, levels: int, rho: Fraction) -> Array:
    """Matrix of second moments plus symmetric normal noise: rho-zCDP.

    ``norm(x x' - y y')**2 = |x|**4 + |y|**4 - 2 (x'y)**2 <= 2 levels**4`` in Frobenius norm, which
    is not below the norm of the upper triangle, the part that is released.

    Parameters
    ----------
    source : Entropy
        Random bits; the charge is booked.
    steps : ndarray of int64 of shape (n, d)
        From ``clip_rows``.
    levels : int
        Bound on their norm.
    rho : Fraction
        zCDP of the matrix.

    Returns
    -------
    ndarray of shape (d, d)
        Symmetric.
    """
    variance = gram_variance(levels, rho)
    return _mirror(steps.T @ steps, lambda: discrete_gaussian(source, variance))


def gram_variance(levels: int, rho: Fraction) -> Fraction:
    """Variance of each entry of a noisy Gram matrix: ``2 levels**4 / (2 rho)``."""
    return Fraction(levels**4) / rho


def noisy_moments(
    source: Entropy, steps: IntArray, levels: int, *, epsilon: Fraction, rho: Fraction | None
) -> tuple[Array, float]:
    """First and second moments of box-clipped rows, with a row of ones in front.

    Parameters
    ----------
    source : Entropy
        Random bits; the charge is booked.
    steps : ndarray of int64 of shape (n, q)
        From ``clip_box``.
    levels : int
        Bound on every entry.
    epsilon : Fraction
        Privacy with Laplace noise.
    rho : Fraction or None
        zCDP with normal noise; None for Laplace noise.

    Returns
    -------
    tuple of ndarray of shape (1 + q, 1 + q) and float
        Moments in units of one (entries of the box lie in [-1, 1]), not divided by n; standard
        deviation of the noise of an entry. The number of rows, at the top left, is exact.
    """
    n, q = steps.shape
    full = np.column_stack([np.full(n, levels, dtype=np.int64), steps])
    if rho is None:
        scale = moment_sensitivity(q, levels) / epsilon
        found = _mirror(full.T @ full, lambda: discrete_laplace(source, scale))
        sd = float(scale) * 2**0.5
    else:
        variance = moment_sensitivity_squared(q, levels) / (2 * rho)
        found = _mirror(full.T @ full, lambda: discrete_gaussian(source, variance))
        sd = float(variance) ** 0.5
    found /= float(levels**2)
    found[0, 0] = n  # public; its noise protected nothing
    return found, sd / levels**2


def moment_sensitivity(q: int, levels: int) -> Fraction:
    """Most by which a row moves the moments in sum of absolute values.

    Products move by at most 2, squares by at most 1: ``2 q (q + 1) / 2 + q``, times levels**2.
    """
    return Fraction((q * (q + 1) + q) * levels**2)


def moment_sensitivity_squared(q: int, levels: int) -> Fraction:
    """Most by which a row moves the moments in Euclidean norm, squared.

    The upper triangle holds half of the squared Frobenius norm and half of that of the diagonal:
    ``(2 (1 + q)**2 + q) / 2``, because the rows have norm at most sqrt(1 + q); times levels**4.
    """
    return Fraction((2 * (1 + q) ** 2 + q) * levels**4, 2)


def _mirror(gram: IntArray, noise: object) -> Array:
    """Add one draw to every entry of the upper triangle, and copy it to the lower one."""
    assert callable(noise)
    d = len(gram)
    found = np.empty((d, d))
    for i in range(d):
        for j in range(i, d):
            found[i, j] = found[j, i] = float(int(gram[i, j]) + noise())
    return found
