"""Sums over rows sorted by class: log-likelihood, score and observed information.

Rows of one class lie together (a slab), so that each touches only the boundaries its probability
depends on, two of them in the cumulative family whatever the number of classes.

Parameters are phi = (tau, beta, B, zeta): thresholds theta = J tau; coefficients beta common to all
boundaries; coefficients B (q, p_v) of the columns that vary; log scale effects zeta. With u_k =
theta_k - x'beta - x_v'B_k + offset and sigma = exp(z'zeta), the predictors are d_k = u_k / sigma.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from robuststat._core.types import Array, IntArray
from robuststat.ordinal._families import Family, row_terms

# Doubles of a block of rows: a few of them fit into the second cache level.
_BLOCK_CELLS = 65_536


@dataclass(frozen=True, slots=True)
class Layout:
    """Which column of the design has which kind of coefficient.

    Attributes
    ----------
    family : Family
        Likelihood.
    n_classes : int
        K; q = K - 1 boundaries.
    common, varying, scale : ndarray of int
        Columns with one coefficient, with one a boundary, with a scale effect.
    J : ndarray of shape (q, t)
        Thresholds as a linear function of their parameters.
    """

    family: Family
    n_classes: int
    common: IntArray
    varying: IntArray
    scale: IntArray
    J: Array

    @property
    def q(self) -> int:
        """Number of boundaries."""
        return self.n_classes - 1

    @property
    def n_params(self) -> int:
        """Number of free parameters."""
        size = self.common.size + self.q * self.varying.size + self.scale.size
        return int(self.J.shape[1] + size)

    def split(self, phi: Array) -> tuple[Array, Array, Array, Array]:
        """Thresholds (q,), beta (p_c,), B (q, p_v) and zeta (s,)."""
        t, p, v = self.J.shape[1], self.common.size, self.varying.size
        ends = np.cumsum([t, p, self.q * v])
        tau, beta, B, zeta = np.split(phi, ends)
        return self.J @ tau, beta, B.reshape(self.q, v), zeta

    def coefficients(self, phi: Array, n_columns: int) -> Array:
        """Coefficients (q, p) of every column at every boundary."""
        _, beta, B, _ = self.split(phi)
        coef = np.zeros((self.q, n_columns))
        coef[:, self.common] = beta
        coef[:, self.varying] = B
        return coef


@dataclass(frozen=True, slots=True)
class Slabs:
    """Rows sorted by class.

    Attributes
    ----------
    P : ndarray of shape (n, p_c)
        Minus the columns with common coefficients.
    U : ndarray of shape (n, 1 + p_v)
        Ones, and minus the columns that vary.
    Z : ndarray of shape (n, s)
        Columns with scale effects.
    offset, weights : ndarray of shape (n,) or None
        None stands for zero and for one.
    starts : ndarray of shape (K + 1,)
        Where the slab of each class begins.
    order : ndarray of shape (n,)
        Position of each row before sorting.
    """

    P: Array
    U: Array
    Z: Array
    offset: Array | None
    weights: Array | None
    starts: IntArray
    order: IntArray

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.P)

    def blocks(self) -> Iterator[tuple[int, slice]]:
        """Class and rows of one block after the other."""
        width = self.P.shape[1] + self.U.shape[1] + self.Z.shape[1] + 4
        size = max(512, _BLOCK_CELLS // width)
        for code, (start, stop) in enumerate(zip(self.starts[:-1], self.starts[1:], strict=True)):
            for first in range(start, stop, size):
                yield code, slice(first, min(first + size, stop))

    def thinned(self, step: int) -> Slabs:
        """Every ``step``-th row of each class."""
        chosen = [np.arange(a, b, step) for a, b in zip(self.starts, self.starts[1:], strict=False)]
        rows = np.concatenate(chosen)
        starts = np.concatenate([[0], np.cumsum([len(part) for part in chosen])])
        w, offset = self.weights, self.offset
        return Slabs(
            self.P[rows],
            self.U[rows],
            self.Z[rows],
            None if offset is None else offset[rows],
            None if w is None else w[rows],
            starts,
            self.order[rows],
        )


def make_slabs(
    X: Array,
    codes: IntArray,
    layout: Layout,
    *,
    weights: Array | None = None,
    offset: Array | None = None,
    centre: Array | None = None,
    unit: Array | None = None,
) -> Slabs:
    """Sort rows by class; columns of location effects are centred and divided by ``unit``."""
    order = np.argsort(codes, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=layout.n_classes))])
    p = X.shape[1]
    centre = np.zeros(p) if centre is None else centre
    unit = np.ones(p) if unit is None else unit

    def columns(which: IntArray) -> Array:
        if which.size == p:
            part = X[order]
            part -= centre
            part /= -unit
            return part
        return (centre[which] - X[np.ix_(order, which)]) / unit[which]

    U = np.ones((len(order), 1 + layout.varying.size))
    U[:, 1:] = columns(layout.varying) if layout.varying.size else 0.0
    return Slabs(
        np.ascontiguousarray(columns(layout.common)),
        U,
        np.ascontiguousarray(X[np.ix_(order, layout.scale)] / unit[layout.scale]),
        None if offset is None else offset[order],
        None if weights is None else weights[order],
        starts.astype(np.int64),
        order,
    )


@dataclass(frozen=True, slots=True)
class _Block:
    """Terms of one block in the location parameters, weights and scale worked in."""

    touched: range
    loglik: Array
    gradient: list[Array]
    information: dict[tuple[int, int], Array]
    scale_gradient: Array | None = None
    scale_information: Array | None = None
    mixed: tuple[Array, ...] = ()


def _block(
    layout: Layout,
    slabs: Slabs,
    parts: tuple[Array, Array, Array, Array],
    code: int,
    rows: slice,
) -> _Block:
    theta, beta, B, zeta = parts
    touched = layout.family.touched(code, layout.n_classes)
    base = slabs.P[rows] @ beta
    if slabs.offset is not None:
        base += slabs.offset[rows]
    D = np.empty((len(touched), base.size))
    for a, k in enumerate(touched):
        D[a] = base + theta[k]
        if B.shape[1]:
            D[a] += slabs.U[rows, 1:] @ B[k]
    inverse = None
    if zeta.size:
        inverse = np.exp(-(slabs.Z[rows] @ zeta))
        D *= inverse
    terms = row_terms(layout.family, code, layout.n_classes, D)
    w = None if slabs.weights is None else slabs.weights[rows]
    loglik, gradient, info = terms.loglik, list(terms.gradient), dict(terms.information)
    if w is not None:
        loglik = w * loglik
        gradient = [w * g for g in gradient]
        info = {key: w * h for key, h in info.items()}
    if inverse is None:
        return _Block(touched, loglik, gradient, info)
    return _scaled(touched, loglik, gradient, info, D, inverse)


def _scaled(
    touched: range,
    loglik: Array,
    gradient: list[Array],
    info: dict[tuple[int, int], Array],
    D: Array,
    inverse: Array,
) -> _Block:
    """Chain rule of d = u exp(-z'zeta)."""
    across = [np.zeros_like(inverse) for _ in touched]  # minus sum_l l''_kl d_l
    for (a, b), h in info.items():
        across[a] += h * D[b]
        if a != b:
            across[b] += h * D[a]
    scale_gradient = -np.sum([g * d for g, d in zip(gradient, D, strict=True)], axis=0)
    scale_information = np.sum([c * d for c, d in zip(across, D, strict=True)], axis=0)
    return _Block(
        touched,
        loglik,
        [g * inverse for g in gradient],
        {key: h * inverse**2 for key, h in info.items()},
        scale_gradient,
        scale_information + scale_gradient,
        tuple(inverse * (g - c) for g, c in zip(gradient, across, strict=True)),
    )


def log_likelihood(layout: Layout, slabs: Slabs, phi: Array) -> float:
    """Weighted log-likelihood; -inf where boundaries cross."""
    parts = layout.split(phi)
    total = 0.0
    with np.errstate(all="ignore"):
        for code, rows in slabs.blocks():
            total += float(_block(layout, slabs, parts, code, rows).loglik.sum())
    return total if np.isfinite(total) else -np.inf


def likelihood_sums(layout: Layout, slabs: Slabs, phi: Array) -> tuple[float, Array, Array]:
    """Log-likelihood, score (k,) and observed information (k, k), summed over rows.

    Both are NaN where the log-likelihood is -inf.
    """
    parts = layout.split(phi)
    q, p, v, s = layout.q, layout.common.size, 1 + layout.varying.size, layout.scale.size
    total = 0.0
    g_u, g_p, g_s = np.zeros((q, v)), np.zeros(p), np.zeros(s)
    H_uu, H_up, H_pp = np.zeros((q, q, v, v)), np.zeros((q, v, p)), np.zeros((p, p))
    H_us, H_ps, H_ss = np.zeros((q, v, s)), np.zeros((p, s)), np.zeros((s, s))
    for code, rows in slabs.blocks():
        with np.errstate(all="ignore"):
            block = _block(layout, slabs, parts, code, rows)
            total += float(block.loglik.sum())
        if not np.isfinite(total):
            size = layout.n_params
            return -np.inf, np.full(size, np.nan), np.full((size, size), np.nan)
        U, P, Z = slabs.U[rows], slabs.P[rows], slabs.Z[rows]
        row_sums: dict[int, Array] = {}
        for a, k in enumerate(block.touched):
            g_u[k] += block.gradient[a] @ U
        for (a, b), h in block.information.items():
            k, j = block.touched[a], block.touched[b]
            gram = np.array([[h.sum()]]) if v == 1 else (U * h[:, None]).T @ U
            H_uu[k, j] += gram
            row_sums[k] = row_sums[k] + h if k in row_sums else h
            if a != b:
                H_uu[j, k] += gram.T
                row_sums[j] = row_sums[j] + h if j in row_sums else h
        if p:
            g_p += np.sum(block.gradient, axis=0) @ P
            everything = np.sum(list(row_sums.values()), axis=0)
            H_pp += (P * everything[:, None]).T @ P
            for k, r in row_sums.items():
                H_up[k] += (r @ P)[None, :] if v == 1 else (U * r[:, None]).T @ P
        if block.scale_gradient is not None and block.scale_information is not None:
            g_s += block.scale_gradient @ Z
            H_ss += (Z * block.scale_information[:, None]).T @ Z
            H_ps += (P * np.sum(block.mixed, axis=0)[:, None]).T @ Z
            for k, c in zip(block.touched, block.mixed, strict=True):
                H_us[k] += (U * c[:, None]).T @ Z
    gradient, info = _assemble(layout, (g_u, g_p, g_s), (H_uu, H_up, H_pp, H_us, H_ps, H_ss))
    return total, gradient, info


def _assemble(
    layout: Layout, gradients: tuple[Array, ...], blocks: tuple[Array, ...]
) -> tuple[Array, Array]:
    """Score and information of phi from those of (theta_k, B_k), beta and zeta."""
    g_u, g_p, g_s = gradients
    H_uu, H_up, H_pp, H_us, H_ps, H_ss = blocks
    q, v = g_u.shape
    J = layout.J
    t, p, s = J.shape[1], g_p.size, g_s.size
    size = layout.n_params
    b, c, d = slice(t, t + p), slice(t + p, t + p + q * (v - 1)), slice(size - s, size)
    gradient, H = np.zeros(size), np.zeros((size, size))
    gradient[:t], gradient[b], gradient[c], gradient[d] = (
        J.T @ g_u[:, 0],
        g_p,
        g_u[:, 1:].ravel(),
        g_s,
    )
    H[:t, :t] = J.T @ H_uu[:, :, 0, 0] @ J
    H[:t, b] = J.T @ H_up[:, 0]
    H[:t, c] = np.einsum("kt,kjv->tjv", J, H_uu[:, :, 0, 1:]).reshape(t, q * (v - 1))
    H[:t, d] = J.T @ H_us[:, 0]
    H[b, b] = H_pp
    H[b, c] = np.moveaxis(H_up[:, 1:], 2, 0).reshape(p, q * (v - 1))
    H[b, d] = H_ps
    H[c, c] = np.moveaxis(H_uu[:, :, 1:, 1:], 1, 2).reshape(q * (v - 1), q * (v - 1))
    H[c, d] = H_us[:, 1:].reshape(q * (v - 1), s)
    H[d, d] = H_ss
    upper = np.triu(H)
    return gradient, upper + np.triu(H, 1).T


def score_rows(layout: Layout, slabs: Slabs, phi: Array) -> Array:
    """Weighted scores (n, k) of the rows, in the order they had before sorting."""
    return class_scores(layout, slabs, phi)[1]


def class_scores(layout: Layout, slabs: Slabs, phi: Array) -> tuple[Array, Array]:
    """Weighted log-likelihoods (n,) and scores (n, k), in the order before sorting."""
    parts = layout.split(phi)
    t, p, v, s = layout.J.shape[1], layout.common.size, layout.varying.size, layout.scale.size
    loglik, psi = np.zeros(slabs.n_rows), np.zeros((slabs.n_rows, layout.n_params))
    for code, rows in slabs.blocks():
        with np.errstate(all="ignore"):
            block = _block(layout, slabs, parts, code, rows)
        U, P, Z = slabs.U[rows], slabs.P[rows], slabs.Z[rows]
        out = np.zeros((len(U), layout.n_params))
        for k, g in zip(block.touched, block.gradient, strict=True):
            out[:, :t] += g[:, None] * layout.J[k]
            if v:
                first = t + p + k * v
                out[:, first : first + v] = g[:, None] * U[:, 1:]
        out[:, t : t + p] = np.sum(block.gradient, axis=0)[:, None] * P
        if block.scale_gradient is not None:
            out[:, layout.n_params - s :] = block.scale_gradient[:, None] * Z
        places = slabs.order[rows]
        loglik[places], psi[places] = block.loglik, out
    return loglik, psi
