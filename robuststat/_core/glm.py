"""Sums over the rows of a generalised linear model with canonical link, in cache-sized blocks.

Measured at a million rows and six columns, blocked NumPy takes as long as a compiled row loop
(its vectorised exp outweighs the extra pass), so there is no kernel here and nothing to compile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit

from robuststat._core.types import Array

FamilyName = Literal["linear", "logit", "poisson"]

# Doubles per block: about 200 kB, which stays in the second cache level.
_BLOCK_CELLS = 24_576


@dataclass(frozen=True, slots=True)
class GLMFamily:
    """Mean function of a canonical generalised linear model.

    Attributes
    ----------
    name : str
        "linear", "logit" or "poisson".
    mean : callable
        Linear predictor -> mean, elementwise.
    slope : callable
        Mean -> derivative of the mean with respect to the linear predictor, elementwise.
    """

    name: FamilyName
    mean: Callable[[Array], Array]
    slope: Callable[[Array], Array]


def _identity(eta: Array) -> Array:
    return eta


def _exp(eta: Array) -> Array:
    # exp(709) is the largest finite double: a Newton step that overshoots must come back with a
    # huge score (and be halved), not with inf - inf.
    return np.exp(np.minimum(eta, 700.0))


def _expit(eta: Array) -> Array:
    return np.asarray(expit(eta))


def _bernoulli_slope(mu: Array) -> Array:
    return mu * (1.0 - mu)


FAMILIES: dict[str, GLMFamily] = {
    "linear": GLMFamily("linear", _identity, np.ones_like),
    "logit": GLMFamily("logit", _expit, _bernoulli_slope),
    "poisson": GLMFamily("poisson", _exp, _identity),
}


def block_rows(n_columns: int) -> int:
    """Rows of ``n_columns`` doubles that make one cache-sized block."""
    return max(256, _BLOCK_CELLS // max(n_columns, 1))


def row_blocks(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Slices that cut ``n_rows`` rows of ``n_columns`` doubles into cache-sized blocks."""
    size = block_rows(n_columns)
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def glm_sums(
    X: Array, y: Array, weights: Array | None, theta: Array, family: GLMFamily
) -> tuple[Array, Array]:
    """Score and information of a weighted GLM, summed over rows.

    Parameters
    ----------
    X : ndarray of shape (n, k)
        Design.
    y : ndarray of shape (n,)
        Outcome; any real number (a design-adjusted outcome may leave the range of the model).
    weights : ndarray of shape (n,) or None
        Weight of each row, of any sign; None is one everywhere.
    theta : ndarray of shape (k,)
        Coefficients.
    family : GLMFamily
        Mean function.

    Returns
    -------
    score : ndarray of shape (k,)
        Sum of w x (y - mu).
    information : ndarray of shape (k, k)
        Sum of w mu' x x'.
    """
    if family.name == "linear":
        gram, moment = weighted_gram(X, y, weights)
        return moment - gram @ theta, gram
    k = X.shape[1]
    score, information = np.zeros(k), np.zeros((k, k))
    buffer = np.empty((block_rows(k), k))
    for rows in row_blocks(*X.shape):
        block = X[rows]
        mu = family.mean(block @ theta)
        residual, slope = y[rows] - mu, family.slope(mu)
        if weights is not None:
            residual, slope = residual * weights[rows], slope * weights[rows]
        score += block.T @ residual
        weighted = np.multiply(block, slope[:, None], out=buffer[: block.shape[0]])
        information += weighted.T @ block
    return score, information


def weighted_gram(X: Array, y: Array, weights: Array | None) -> tuple[Array, Array]:
    """``X' W X`` and ``X' W y`` without a weighted copy of X."""
    if weights is None:
        return X.T @ X, X.T @ y
    k = X.shape[1]
    gram, moment = np.zeros((k, k)), np.zeros(k)
    buffer = np.empty((block_rows(k), k))
    for rows in row_blocks(*X.shape):
        block = X[rows]
        weighted = np.multiply(block, weights[rows, None], out=buffer[: block.shape[0]])
        gram += weighted.T @ block
        moment += weighted.T @ y[rows]
    return gram, moment
