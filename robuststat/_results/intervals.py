"""p-values, critical values and bands of estimates with a normal or t reference distribution."""

from __future__ import annotations

import numpy as np
from scipy import optimize, special
from scipy.stats import qmc

from robuststat._core.types import Array

__all__ = [
    "critical_value",
    "lower_tail",
    "simultaneous_critical_value",
    "studentize",
    "two_sided_p",
]

_N_DRAWS = 2**18
_CHUNK = 2**22  # numbers held at once


def lower_tail(statistic: Array, df: float) -> Array:
    """P(T <= statistic); T is t with ``df`` degrees of freedom, normal for ``df=inf``."""
    tail = special.ndtr(statistic) if np.isinf(df) else special.stdtr(df, statistic)
    return np.asarray(tail, dtype=np.float64)


def two_sided_p(statistic: Array, df: float) -> Array:
    """Two-sided p-values, from the lower tail so that tiny values keep their digits.

    Examples
    --------
    >>> float(two_sided_p(np.array(-1.959963984540054), np.inf).round(12))
    0.05
    """
    return 2 * lower_tail(-np.abs(statistic), df)


def studentize(difference: Array, std_error: Array) -> Array:
    """``difference / std_error``; a zero standard error gives an infinity, or NaN for 0/0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(difference / std_error, dtype=np.float64)


def critical_value(level: float, df: float) -> float:
    """Two-sided pointwise critical value.

    Examples
    --------
    >>> round(critical_value(0.95, np.inf), 4), round(critical_value(0.95, 10), 4)
    (1.96, 2.2281)
    """
    tail = (1 - level) / 2
    return -float(special.ndtri(tail) if np.isinf(df) else special.stdtrit(df, tail))


def _largest_coordinate(root: Array, rng: np.random.Generator) -> Array:
    """Return the largest coordinate of abs(root @ u) for quasi-random unit vectors u."""
    dim = root.shape[1]
    size = max(2**10, 2 ** int(np.log2(_CHUNK / max(root.shape))))
    # The rng keyword of newer SciPy is called seed in the oldest one supported.
    sobol = qmc.Sobol(dim, scramble=True, seed=rng)
    out = np.empty(_N_DRAWS)
    for start in range(0, _N_DRAWS, size):
        stop = min(start + size, _N_DRAWS)
        # Sobol points are multiples of 2^-30: half a cell keeps the normal quantile finite.
        z = special.ndtri(sobol.random(stop - start) + 2.0**-31)
        z /= np.linalg.norm(z, axis=1, keepdims=True)
        out[start:stop] = np.abs(z @ root.T).max(axis=1)
    return out


def simultaneous_critical_value(
    vcov: Array, level: float, df: float, random_state: int | np.random.Generator | None = None
) -> float:
    """Quantile of the largest absolute t statistic (max-t, "sup-t" band).

    A normal vector is a direction on the sphere times an independent radius. The radius is
    integrated out exactly (chi, or the root of an F for the t case) and only the direction is
    simulated, with 262,144 scrambled Sobol points. Measured on independent normals at level .95,
    the error is 3e-4 for 20, 4e-4 for 50 and 9e-4 for 200 estimates; 3e-3 for 20 at level .999.

    Parameters
    ----------
    vcov : ndarray of shape (k, k)
        Variance matrix of the estimates; rows with zero variance are left out.
    level : float
        Joint coverage probability.
    df : float
        Degrees of freedom, inf = normal.
    random_state : int, Generator or None
        Scrambling of the points; None is a fixed seed, so that results repeat.

    Returns
    -------
    float
        Between the pointwise and the Bonferroni critical value.

    Examples
    --------
    >>> round(simultaneous_critical_value(np.eye(2), 0.95, np.inf), 3)
    2.236
    """
    pointwise = critical_value(level, df)
    sd = np.sqrt(np.diag(vcov))
    keep = sd > 0
    k = int(keep.sum())
    if k < 2:
        return pointwise
    eigenvalue, vector = np.linalg.eigh(vcov[np.ix_(keep, keep)] / np.outer(sd[keep], sd[keep]))
    positive = eigenvalue > k * np.finfo(np.float64).eps * eigenvalue[-1]
    root = vector[:, positive] * np.sqrt(eigenvalue[positive])
    rank = root.shape[1]
    if rank < 2:
        return pointwise
    rng = np.random.default_rng(0 if random_state is None else random_state)
    largest = _largest_coordinate(root, rng)

    def excess(c: float) -> float:
        square = (c / largest) ** 2
        if np.isinf(df):
            return (1 - level) - float(special.gammaincc(rank / 2, square / 2).mean())
        return (1 - level) - float(special.fdtrc(rank, df, square / rank).mean())

    bonferroni = critical_value(1 - (1 - level) / k, df)
    if excess(pointwise) >= 0:  # all but collinear: rounding decides the sign
        return pointwise
    if excess(bonferroni) <= 0:  # no difference that the points resolve
        return bonferroni
    return float(optimize.brentq(excess, pointwise, bonferroni, xtol=1e-7))
