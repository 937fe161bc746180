"""Moments of every environment by one pass over the rows, and least squares from them.

An :class:`EnvMoments` holds, for each environment e, the number of rows n_e, the mean and the
centred cross-products of (x_1, ..., x_p, y): K (p+1)^2 numbers, whatever the number of rows.
Coefficients, residual means and variances, Chow statistics and gaps of any linear representation
follow from them (spec 6); only tests of whole distributions need the rows again.

Centred cross-products are merged by Chan's rule, so that large means cost no digits, chunks may
come in any order, and partitions of a Dask frame are summed where they are.

Use from other modules of the family::

    moments = env_moments(X, y, codes, levels, names, weights)  # X (n, p) without intercept
    moments.select([0, 2])  # a subset of columns   (exact, no pass over rows)
    moments.mapped(phi)  # a linear map, phi (k', p)
    moments.pooled(), moments.rest(e), moments.take([0, 1])
    A, b, c = moments.normal_equations(intercept=True)  # (K,k,k), (K,k), (K,)
    fit = least_squares(moments, intercept=True)  # every environment by itself
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from robuststat._core.types import Array, IntArray

# Eigenvalues of a correlation-scaled Gram matrix below this count as zero: the square of the
# tolerance 1e-7 that is used for a design (R's lm).
RANK_TOL = 1e-11


@dataclass(frozen=True, slots=True)
class EnvMoments:
    """First and second moments of K environments.

    Attributes
    ----------
    levels : tuple of length K
        Environments, as the user named them.
    names : tuple of str of length p
        Covariates.
    n_rows : ndarray of int of shape (K,)
        Rows n_e (those of weight zero not counted).
    weight : ndarray of shape (K,)
        Sum of the weights; ``n_rows`` without weights.
    weight2 : ndarray of shape (K,)
        Sum of the squared weights.
    mean : ndarray of shape (K, p + 1)
        Weighted means of the covariates and, last, of y.
    scatter : ndarray of shape (K, p + 1, p + 1)
        Weighted cross-products about these means, sums over rows.
    """

    levels: tuple[Any, ...]
    names: tuple[str, ...]
    n_rows: IntArray
    weight: Array
    weight2: Array
    mean: Array
    scatter: Array

    @property
    def n_env(self) -> int:
        """Number of environments K."""
        return len(self.levels)

    @property
    def n_features(self) -> int:
        """Number of covariates p."""
        return int(self.mean.shape[1]) - 1

    @property
    def n_obs(self) -> int:
        """Rows of all environments."""
        return int(self.n_rows.sum())

    @property
    def n_effective(self) -> Array:
        """Effective sizes (sum w)^2 / sum w^2 of the environments, of shape (K,)."""
        return self.weight**2 / self.weight2

    def select(self, columns: Sequence[int]) -> EnvMoments:
        """Moments of some covariates (positions, in this order) and y."""
        keep = [*columns, self.n_features]
        return replace(
            self,
            names=tuple(self.names[j] for j in columns),
            mean=self.mean[:, keep],
            scatter=self.scatter[:, keep][:, :, keep],
        )

    def mapped(self, phi: Array, names: Sequence[str] | None = None) -> EnvMoments:
        """Moments of the representation ``phi @ x``, phi of shape (k', p), and y."""
        full = np.zeros((phi.shape[0] + 1, self.n_features + 1))
        full[:-1, :-1], full[-1, -1] = phi, 1.0
        labels = [f"z{j}" for j in range(phi.shape[0])] if names is None else names
        return replace(
            self,
            names=tuple(labels),
            mean=self.mean @ full.T,
            scatter=full @ self.scatter @ full.T,
        )

    def take(self, environments: Sequence[int] | IntArray) -> EnvMoments:
        """Moments of some environments (positions)."""
        index = np.asarray(environments, dtype=np.int64)
        return EnvMoments(
            tuple(self.levels[int(e)] for e in index),
            self.names,
            self.n_rows[index],
            self.weight[index],
            self.weight2[index],
            self.mean[index],
            self.scatter[index],
        )

    def pooled(self) -> EnvMoments:
        """Moments of all rows together, as one environment."""
        total = self.weight.sum()
        mean = self.weight @ self.mean / total
        off = self.mean - mean
        scatter = self.scatter.sum(axis=0) + (off.T * self.weight) @ off
        return EnvMoments(
            ("all",),
            self.names,
            self.n_rows.sum(keepdims=True),
            np.array([total]),
            self.weight2.sum(keepdims=True),
            mean[None],
            scatter[None],
        )

    def rest(self, environment: int) -> EnvMoments:
        """Moments of all rows outside one environment, as one environment."""
        others = [e for e in range(self.n_env) if e != environment]
        return self.take(others).pooled()

    def normal_equations(
        self, *, intercept: bool, origin: Array | None = None
    ) -> tuple[Array, Array, Array]:
        """Return the sums of z z', z y and y^2 of every environment, not centred.

        Parameters
        ----------
        intercept : bool
            Whether z = (1, x) or z = x.
        origin : ndarray of shape (p + 1,), optional
            Point taken off covariates and y first; zero by default. With an intercept another
            origin changes nothing but the meaning of the intercept, and saves digits.

        Returns
        -------
        A, b, c : ndarrays of shapes (K, k, k), (K, k), (K,)
        """
        mean = self.mean if origin is None else self.mean - origin
        full = self.scatter + self.weight[:, None, None] * mean[:, :, None] * mean[:, None, :]
        A, b, c = full[:, :-1, :-1], full[:, :-1, -1], full[:, -1, -1]
        if not intercept:
            return A, b, c
        K, p = mean.shape[0], mean.shape[1] - 1
        first = self.weight[:, None] * mean
        bordered = np.empty((K, p + 1, p + 1))
        bordered[:, 0, 0], bordered[:, 1:, 1:] = self.weight, A
        bordered[:, 0, 1:] = bordered[:, 1:, 0] = first[:, :-1]
        return bordered, np.column_stack([first[:, -1], b]), c

    def scaled(self, factor: float) -> EnvMoments:
        """Moments after all weights were multiplied by a factor."""
        return replace(
            self,
            weight=self.weight * factor,
            weight2=self.weight2 * factor**2,
            scatter=self.scatter * factor,
        )


class MomentAccumulator:
    """Moments by environment of rows that come in chunks.

    Satisfies the ``Accumulator`` protocol of the streaming reader: ``update``, ``merge``,
    ``finish``. Environments are keyed by their name, so that chunks need not know one another's.
    """

    def __init__(self) -> None:
        self._parts: dict[Any, list[Any]] = {}

    def update(self, *chunk: Any) -> None:
        """Add rows: X (n, p), y (n,), codes (n,), levels, and weights (n,) or None."""
        X, y, codes, levels, weights = chunk
        for level, part in _chunk_moments(X, y, codes, levels, weights):
            self._add(level, part)

    def merge(self, other: MomentAccumulator) -> None:
        """Add what another accumulator has seen."""
        for level, part in other._parts.items():
            self._add(level, part)

    def _add(self, level: Any, part: list[Any]) -> None:
        own = self._parts.get(level)
        self._parts[level] = list(part) if own is None else _merged(own, part)

    def finish(self, names: Sequence[str] = ()) -> EnvMoments:
        """Return the moments, the environments sorted by name."""
        levels = sorted(self._parts)
        n, w, w2, mean, scatter = (
            np.array([self._parts[level][i] for level in levels]) for i in range(5)
        )
        labels = tuple(names) or tuple(f"x{j}" for j in range(mean.shape[1] - 1))
        return EnvMoments(tuple(levels), labels, n.astype(np.int64), w, w2, mean, scatter)


def env_moments(
    X: Array,
    y: Array,
    codes: IntArray,
    levels: Sequence[Any],
    names: Sequence[str],
    weights: Array | None = None,
) -> EnvMoments:
    """Moments of rows in memory.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        Covariates, without a column of ones.
    y : ndarray of shape (n,)
        Outcome.
    codes : ndarray of int of shape (n,)
        Environment of each row, a position in ``levels``.
    levels, names : sequence
        Names of the environments and of the covariates.
    weights : ndarray of shape (n,), optional
        Non-negative weights; rows of weight zero do not count.
    """
    parts = dict(_chunk_moments(X, y, codes, range(len(levels)), weights))
    used = sorted(parts)
    n, w, w2, mean, scatter = (np.array([parts[e][i] for e in used]) for i in range(5))
    found = tuple(levels[e] for e in used)
    return EnvMoments(found, tuple(names), n.astype(np.int64), w, w2, mean, scatter)


def _chunk_moments(
    X: Array, y: Array, codes: IntArray, levels: Sequence[Any], weights: Array | None
) -> list[tuple[Any, list[Any]]]:
    """Rows, weight, squared weight, mean and scatter of the environments of a chunk."""
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(levels)))
    out = []
    for e, level in enumerate(levels):
        rows = order[(ends[e - 1] if e else 0) : ends[e]]
        w = None if weights is None else weights[rows]
        if w is not None:
            rows, w = rows[w > 0], w[w > 0]
        if not len(rows):
            continue
        Z = np.column_stack([X[rows], y[rows]])
        if w is None:
            total, total2, mean = float(len(rows)), float(len(rows)), Z.mean(axis=0)
            off = Z - mean
            scatter = off.T @ off
        else:
            total, total2 = float(w.sum()), float(w @ w)
            mean = w @ Z / total
            off = Z - mean
            scatter = (off.T * w) @ off
        out.append((level, [len(rows), total, total2, mean, scatter]))
    return out


def _merged(a: list[Any], b: list[Any]) -> list[Any]:
    """Moments of two disjoint sets of rows together (Chan, Golub and LeVeque 1983)."""
    total = a[1] + b[1]
    gap = b[3] - a[3]
    return [
        a[0] + b[0],
        total,
        a[2] + b[2],
        a[3] + gap * (b[1] / total),
        a[4] + b[4] + np.outer(gap, gap) * (a[1] * b[1] / total),
    ]


@dataclass(frozen=True, slots=True)
class EnvFits:
    """Least squares in every environment by itself.

    Attributes
    ----------
    coef : ndarray of shape (K, k)
        Coefficients, intercept first when there is one; the minimum-norm solution (about the
        mean of the covariates, in standard units) where they are not identified.
    ssr : ndarray of shape (K,)
        Residual sums of squares.
    rank : ndarray of int of shape (K,)
        Identified coefficients.
    inverse : ndarray of shape (K, k, k)
        (Pseudo-)inverse of Z'Z.
    """

    coef: Array
    ssr: Array
    rank: IntArray
    inverse: Array


def least_squares(moments: EnvMoments, *, intercept: bool) -> EnvFits:
    """Fit every environment by itself; singular ones by the pseudo-inverse.

    Parameters
    ----------
    moments : EnvMoments
        Of the representation.
    intercept : bool
        Whether the model has an intercept. The covariates are then centred, environment by
        environment, before anything is solved.
    """
    K, p = moments.n_env, moments.n_features
    if intercept:
        S, r, c = (
            moments.scatter[:, :-1, :-1],
            moments.scatter[:, :-1, -1],
            moments.scatter[:, -1, -1],
        )
    else:
        S, r, c = moments.normal_equations(intercept=False)
    second = _second_moments(moments)
    slope, ssr, rank, inv = np.zeros((K, p)), np.zeros(K), np.zeros(K, int), np.zeros((K, p, p))
    for e in range(K):
        inv[e], rank[e] = pseudo_inverse(S[e], second[e])
        slope[e] = inv[e] @ r[e]
        # The quadratic form stays accurate, and non-negative, when the pseudo-inverse cuts.
        ssr[e] = max(c[e] - 2 * slope[e] @ r[e] + slope[e] @ S[e] @ slope[e], 0.0)
    if not intercept:
        return EnvFits(slope, ssr, rank.astype(np.int64), inv)
    mean = moments.mean[:, :-1]
    constant = moments.mean[:, -1] - np.einsum("ej,ej->e", mean, slope)
    full = np.empty((K, p + 1, p + 1))
    cross = -np.einsum("eij,ej->ei", inv, mean)
    full[:, 0, 0] = 1.0 / moments.weight - np.einsum("ei,ei->e", cross, mean)
    full[:, 0, 1:] = full[:, 1:, 0] = cross
    full[:, 1:, 1:] = inv
    coef = np.column_stack([constant, slope])
    return EnvFits(coef, ssr, (rank + 1).astype(np.int64), full)


def _second_moments(moments: EnvMoments) -> Array:
    """Size of each column, against which its spread about the mean is judged (K, p)."""
    spread = np.einsum("ejj->ej", moments.scatter[:, :-1, :-1])
    return np.asarray(spread + moments.weight[:, None] * moments.mean[:, :-1] ** 2)


def pseudo_inverse(S: Array, size: Array | None = None) -> tuple[Array, int]:
    """Pseudo-inverse and rank of a Gram matrix after scaling it to unit diagonal.

    Parameters
    ----------
    S : ndarray of shape (k, k)
        Symmetric and positive semi-definite.
    size : ndarray of shape (k,), optional
        Uncentred sums of squares: a column whose spread is 1e-14 of it is constant.
    """
    diagonal = np.maximum(np.diag(S), 0.0)
    alive = diagonal > (0.0 if size is None else 1e-14 * size)
    inverse = np.zeros_like(S)
    if not alive.any():
        return inverse, 0
    scale = np.sqrt(diagonal[alive])
    part = S[np.ix_(alive, alive)] / scale / scale[:, None]
    values, vectors = np.linalg.eigh(part)
    good = values > RANK_TOL * values[-1]
    part = (vectors[:, good] / values[good]) @ vectors[:, good].T
    inverse[np.ix_(alive, alive)] = part / scale / scale[:, None]
    return inverse, int(good.sum())
