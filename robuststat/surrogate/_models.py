"""Scores of one row: what a model must offer so that labels can be corrected by design.

Everything else (roots, variance, tuning, repetitions, planning) is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import softmax

from robuststat._core.glm import (
    FAMILIES,
    GLMFamily,
    block_rows,
    glm_sums,
    row_blocks,
    weighted_gram,
)
from robuststat._core.moments import numerical_jacobian
from robuststat._core.types import Array
from robuststat.surrogate._density import density_weights

# Rows that a user's moment function sees at once.
_USER_ROWS = 65_536


class RowModel(Protocol):
    """Scores m(D; theta) of rows D = (X, y) and their sums.

    Attributes
    ----------
    name : str
        For messages.
    linear : bool
        Whether the scores are linear in theta: one solve finds the root.
    linear_in_outcome : bool
        Whether they are linear in y, so that one pseudo-outcome carries the whole correction.
    smooth : bool
        Whether the scores have a derivative; otherwise that of their expectation is estimated
        from expert labels.
    """

    @property
    def name(self) -> str: ...

    @property
    def linear(self) -> bool: ...

    @property
    def linear_in_outcome(self) -> bool: ...

    @property
    def smooth(self) -> bool: ...

    def shape(self, n_columns: int) -> tuple[int, int]:
        """Count moments and parameters of a design with ``n_columns`` columns."""
        ...

    def sums(self, X: Array, y: Array, weights: Array | None, theta: Array) -> tuple[Array, Array]:
        """Sum of w m, of shape (q,), and minus its derivative, of shape (q, p)."""
        ...

    def rows(self, X: Array, y: Array, theta: Array, weights: Array | None = None) -> Array:
        """Scores w m of every row, of shape (n, q)."""
        ...


def _blocks(rows: Array, n_outcomes: int) -> Array:
    """Block-diagonal matrix that repeats ``rows`` for every outcome."""
    return np.asarray(np.kron(np.eye(n_outcomes), rows), dtype=np.float64)


def _outer_rows(residual: Array, X: Array) -> Array:
    """Products residual (n, m) x X (n, k), outcome by outcome, of shape (n, m k)."""
    return (residual[:, :, None] * X[:, None, :]).reshape(X.shape[0], -1)


@dataclass(frozen=True, slots=True)
class GLMRows:
    """x (y - mu(x'b)) of a canonical generalised linear model."""

    family: GLMFamily
    linear_in_outcome: bool = True
    smooth: bool = True

    @property
    def name(self) -> str:
        return self.family.name

    @property
    def linear(self) -> bool:
        return self.family.name == "linear"

    def shape(self, n_columns: int) -> tuple[int, int]:
        return n_columns, n_columns

    def sums(self, X: Array, y: Array, weights: Array | None, theta: Array) -> tuple[Array, Array]:
        return glm_sums(X, y, weights, theta, self.family)

    def rows(self, X: Array, y: Array, theta: Array, weights: Array | None = None) -> Array:
        residual = y - self.family.mean(X @ theta)
        if weights is not None:
            residual *= weights
        return X * residual[:, None]


@dataclass(frozen=True, slots=True)
class SeveralOutcomes:
    """The same regression for each of m outcomes y (n, m); theta holds outcome after outcome."""

    family: GLMFamily
    n_outcomes: int
    linear_in_outcome: bool = True
    smooth: bool = True

    @property
    def name(self) -> str:
        return self.family.name

    @property
    def linear(self) -> bool:
        return self.family.name == "linear"

    def shape(self, n_columns: int) -> tuple[int, int]:
        return n_columns * self.n_outcomes, n_columns * self.n_outcomes

    def sums(self, X: Array, y: Array, weights: Array | None, theta: Array) -> tuple[Array, Array]:
        k = X.shape[1]
        parts = theta.reshape(self.n_outcomes, k)
        if self.linear:
            gram = weighted_gram(X, X[:, 0], weights)[0]
            weighted = y if weights is None else y * weights[:, None]
            score = weighted.T @ X - parts @ gram
            return score.ravel(), _blocks(gram, self.n_outcomes)
        information = np.zeros((theta.size, theta.size))
        scores = []
        for j, part in enumerate(parts):
            score, own = glm_sums(X, np.ascontiguousarray(y[:, j]), weights, part, self.family)
            scores.append(score)
            information[j * k : (j + 1) * k, j * k : (j + 1) * k] = own
        return np.concatenate(scores), information

    def rows(self, X: Array, y: Array, theta: Array, weights: Array | None = None) -> Array:
        residual = y - self.family.mean(X @ theta.reshape(self.n_outcomes, -1).T)
        if weights is not None:
            residual *= weights[:, None]
        return _outer_rows(residual, X)


@dataclass(frozen=True, slots=True)
class MultinomialRows:
    """x (1{y=c} - p_c(x; theta)) of a multinomial logit model, for c = 2..C.

    The outcome holds one indicator (or predicted probability) a class but the first; theta holds
    class after class.
    """

    n_classes: int
    name: str = "multinomial"
    linear: bool = False
    linear_in_outcome: bool = True
    smooth: bool = True

    def shape(self, n_columns: int) -> tuple[int, int]:
        size = n_columns * (self.n_classes - 1)
        return size, size

    def mean(self, X: Array, theta: Array) -> Array:
        """Probabilities of all classes, of shape (n, C)."""
        eta = X @ theta.reshape(self.n_classes - 1, -1).T
        return np.asarray(softmax(np.column_stack([np.zeros(X.shape[0]), eta]), axis=1))

    def sums(self, X: Array, y: Array, weights: Array | None, theta: Array) -> tuple[Array, Array]:
        m, k = self.n_classes - 1, X.shape[1]
        score, information = np.zeros((m, k)), np.zeros((m, k, m, k))
        buffer = np.empty((block_rows(k), k))
        for rows in row_blocks(*X.shape):
            block = X[rows]
            p = self.mean(block, theta)[:, 1:]
            residual = y[rows] - p
            w = None if weights is None else weights[rows]
            score += (residual if w is None else residual * w[:, None]).T @ block
            for c in range(m):
                for d in range(c + 1):
                    slope = p[:, c] * (float(c == d) - p[:, d])
                    if w is not None:
                        slope = slope * w
                    weighted = np.multiply(block, slope[:, None], out=buffer[: block.shape[0]])
                    information[c, :, d] += weighted.T @ block
        for c in range(m):
            for d in range(c):
                information[d, :, c] = information[c, :, d]
        return score.ravel(), information.reshape(m * k, m * k)

    def rows(self, X: Array, y: Array, theta: Array, weights: Array | None = None) -> Array:
        residual = y - self.mean(X, theta)[:, 1:]
        if weights is not None:
            residual *= weights[:, None]
        return _outer_rows(residual, X)


@dataclass(frozen=True, slots=True)
class QuantileRows:
    """x (tau - 1{y <= x'b}) of a quantile regression.

    The derivative of the expected score is estimated by a Gaussian kernel with Hall and Sheather's
    bandwidth (Powell 1991), from the rows given.
    """

    quantile: float
    name: str = "quantile"
    linear: bool = False
    linear_in_outcome: bool = False
    smooth: bool = False

    def shape(self, n_columns: int) -> tuple[int, int]:
        return n_columns, n_columns

    def sums(self, X: Array, y: Array, weights: Array | None, theta: Array) -> tuple[Array, Array]:
        fitted = X @ theta
        score = self._sign(y, fitted)
        scale = float(np.abs(y).max())
        density = density_weights(y - fitted, self.quantile, weights, scale)
        if weights is not None:
            score, density = score * weights, density * weights
        return X.T @ score, (X * density[:, None]).T @ X

    def rows(self, X: Array, y: Array, theta: Array, weights: Array | None = None) -> Array:
        score = self._sign(y, X @ theta)
        if weights is not None:
            score *= weights
        return X * score[:, None]

    def _sign(self, y: Array, fitted: Array) -> Array:
        # Rows on the fitted plane count as below it, whatever the rounding of x'b.
        slack = 1e-10 * (np.abs(y) + np.abs(fitted))
        return np.where(y - fitted <= slack, self.quantile - 1.0, self.quantile)


MomentFunction = Callable[[Array, Array, Array], Array]


@dataclass(frozen=True, slots=True)
class UserRows:
    """Moments given by the user.

    Attributes
    ----------
    moment : callable
        ``moment(theta, X, y) -> (n, q)``.
    jacobian : callable or None
        ``jacobian(theta, X, y) -> (n, q, p)``, the derivative of each row's moments; central
        differences of their weighted sum when None.
    n_moments : int
        q.
    names : tuple of str
        Names of the p parameters.
    start : tuple of float
        First value of the iteration.
    """

    moment: MomentFunction
    jacobian: MomentFunction | None
    n_moments: int
    names: tuple[str, ...]
    start: tuple[float, ...]
    name: str = "user"
    linear: bool = False
    linear_in_outcome: bool = False
    smooth: bool = True

    def shape(self, n_columns: int) -> tuple[int, int]:
        return self.n_moments, len(self.names)

    def sums(self, X: Array, y: Array, weights: Array | None, theta: Array) -> tuple[Array, Array]:
        score = self._total(X, y, weights, theta)
        if self.jacobian is None:
            return score, -numerical_jacobian(lambda t: self._total(X, y, weights, t), theta)
        information = np.zeros((self.n_moments, len(self.names)))
        for rows in _user_blocks(X.shape[0]):
            derivative = np.asarray(self.jacobian(theta, X[rows], y[rows]), dtype=np.float64)
            w = np.ones(derivative.shape[0]) if weights is None else weights[rows]
            information -= np.tensordot(w, derivative, axes=1)
        return score, information

    def rows(self, X: Array, y: Array, theta: Array, weights: Array | None = None) -> Array:
        psi = np.array(self.moment(theta, X, y), dtype=np.float64)
        return psi if weights is None else psi * weights[:, None]

    def _total(self, X: Array, y: Array, weights: Array | None, theta: Array) -> Array:
        total = np.zeros(self.n_moments)
        for rows in _user_blocks(X.shape[0]):
            psi = np.asarray(self.moment(theta, X[rows], y[rows]), dtype=np.float64)
            total += psi.sum(axis=0) if weights is None else weights[rows] @ psi
        return total


def _user_blocks(n_rows: int) -> list[slice]:
    return [slice(s, min(s + _USER_ROWS, n_rows)) for s in range(0, n_rows, _USER_ROWS)]


def row_model(
    name: str, *, quantile: float = 0.5, n_outcomes: int = 1, n_classes: int = 2
) -> RowModel:
    """Model by the name the estimators use."""
    if name == "multinomial":
        return MultinomialRows(n_classes)
    if name == "quantile":
        return QuantileRows(quantile)
    if n_outcomes > 1:
        return SeveralOutcomes(FAMILIES[name], n_outcomes)
    return GLMRows(FAMILIES[name])
