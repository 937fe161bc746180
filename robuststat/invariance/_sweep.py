"""Regressions on every subset of the covariates, from moments of each environment.

All subsets are walked by symmetric elimination (the rows of a Cholesky factor without roots):
adding a variable to a subset is a rank-one update of the block of the later variables, and a subset
that ends in the last variable has only the outcome left. The average cost of a subset is therefore
a constant number of operations a matrix, whatever the number of rows and almost whatever p.

Eliminated matrices ("pivots"): the pooled scatter T; the scatter W_e within each environment; the
pooled scatter R_e of the other environments. Matrices that follow a pivot's coefficients: W_e with
those of T (residuals of the pooled fit in e) and W_e with those of R_e (errors in e of the fit on
the others).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import comb

import numpy as np

from robuststat._core.linalg import GRAM_TOL
from robuststat._core.types import Array, BoolArray, IntArray

# A block of the twin holds about this many doubles: larger ones leave the cache (p = 15, K = 5:
# 0.21 s at 2^15, 0.09 s at 2^20, 0.16 s at 2^24).
_BLOCK_CELLS = 1 << 20


@dataclass(frozen=True, slots=True)
class Sweep:
    """Matrices of a batch of subsets; the batch is the last axis.

    Attributes
    ----------
    pivots : ndarray of shape (G, q, q, B)
        Eliminated scatter matrices of the variables not yet decided and the outcome (last).
    squares, means : ndarray of shapes (C, q, q, B), (C, q, B)
        Centred scatter and mean of the residuals of rows that follow a pivot matrix.
    ranks : ndarray of shape (G, B)
        Variables eliminated.
    masks : ndarray of shape (B,)
        Subset as bits.
    """

    pivots: Array
    squares: Array
    means: Array
    ranks: IntArray
    masks: IntArray


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the tests need, one row a subset.

    Attributes
    ----------
    masks : ndarray of shape (S,)
        Subset as bits.
    size : ndarray of shape (S,)
        Number of variables.
    singular : ndarray of bool of shape (S,)
        Whether the variables are collinear in the pooled data.
    ssr : ndarray of shape (S,)
        Residual sum of squares of the pooled fit.
    env_mean, env_ss : ndarray of shape (S, K)
        Mean and centred sum of squares of its residuals in each environment.
    within_ssr, within_rank : ndarray of shape (S,)
        Sums over environments of the residual sums of squares and ranks (with intercept) of a fit
        of their own.
    rest_ssr, rest_rank : ndarray of shape (S, K)
        The same of a fit on all other environments.
    left_out_ss : ndarray of shape (S,)
        Squared prediction error of each environment by the fit on the others, summed over rows.
    """

    masks: IntArray
    size: IntArray
    singular: BoolArray
    ssr: Array
    env_mean: Array
    env_ss: Array
    within_ssr: Array
    within_rank: IntArray
    rest_ssr: Array
    rest_rank: IntArray
    left_out_ss: Array


@dataclass(frozen=True, slots=True)
class SubsetWalk:
    """The problem: moments of every environment, columns scaled to a common unit.

    Attributes
    ----------
    start : Sweep
        Nothing eliminated.
    floors : ndarray of shape (G, p)
        Pivots at or below count as zero.
    pivot_of : ndarray of shape (C,)
        Pivot matrix that each following matrix belongs to.
    n_env : ndarray of shape (K,)
        Rows.
    max_size : int
        Largest subset.
    """

    start: Sweep
    floors: Array
    pivot_of: IntArray
    n_env: Array
    max_size: int

    @property
    def n_variables(self) -> int:
        return int(self.floors.shape[1])

    @property
    def n_sets(self) -> int:
        return n_subsets(self.n_variables, self.max_size)


def n_subsets(p: int, max_size: int) -> int:
    """Count the subsets of p variables with at most ``max_size`` members."""
    return sum(comb(p, j) for j in range(min(p, max_size) + 1))


def pooled_scatter(n_env: Array, mean: Array, scatter: Array) -> tuple[Array, Array]:
    """Mean (q,) and centred scatter (q, q) of all environments together."""
    centre = n_env @ mean / n_env.sum()
    gap = mean - centre
    return centre, scatter.sum(axis=0) + (gap.T * n_env) @ gap


def subset_walk(n_env: Array, mean: Array, scatter: Array, max_size: int) -> SubsetWalk:
    """Set up the walk.

    Parameters
    ----------
    n_env : ndarray of shape (K,)
        Rows of each environment.
    mean, scatter : ndarray of shapes (K, q), (K, q, q)
        Mean and centred sums of squares and products of the p covariates and, last, the outcome.
    max_size : int
        Largest subset.
    """
    K, q = mean.shape
    centre, total = pooled_scatter(n_env, mean, scatter)
    rest = np.empty_like(scatter)
    gap = np.empty_like(mean)
    for e in range(K):
        others = np.arange(K) != e
        rest_mean, rest[e] = pooled_scatter(n_env[others], mean[others], scatter[others])
        gap[e] = mean[e] - rest_mean
    pivots = np.concatenate([total[None], scatter, rest])
    diagonal = np.einsum("gjj->gj", pivots)[:, :-1]
    # A column that is constant within an environment has rounding noise of the pooled scale there.
    floors = np.maximum(GRAM_TOL**2 * diagonal, 1e-20 * np.diag(total)[:-1])
    start = Sweep(
        pivots=pivots[..., None],
        squares=np.concatenate([scatter, scatter])[..., None],
        means=np.concatenate([mean - centre, gap])[..., None],
        ranks=np.zeros((2 * K + 1, 1), dtype=np.int64),
        masks=np.zeros(1, dtype=np.int64),
    )
    pivot_of = np.concatenate([np.zeros(K, dtype=np.int64), np.arange(K + 1, 2 * K + 1)])
    return SubsetWalk(start, floors, pivot_of, n_env, min(max_size, q - 1))


def eliminate(walk: SubsetWalk, batch: Sweep, variable: int) -> Sweep:
    """Add a variable, the first of those undecided, to every subset of a batch."""
    P, D, M = batch.pivots, batch.squares, batch.means
    pivot = P[:, 0, 0]
    live = pivot > walk.floors[:, variable, None]
    b = P[:, 0, 1:] * np.where(live, 1.0 / np.where(live, pivot, 1.0), 0.0)[:, None]
    follow = b[walk.pivot_of]
    shift = D[:, 0, 1:] - follow * D[:, 0, 0][:, None]
    squares = D[:, 1:, 1:] - follow[:, :, None] * D[:, 0, None, 1:]
    squares -= shift[:, :, None] * follow[:, None]
    pivots = P[:, 1:, 1:] - b[:, :, None] * P[:, 0, None, 1:]
    means = M[:, 1:] - follow * M[:, 0][:, None]
    bit = np.int64(1) << np.int64(variable)
    return Sweep(pivots, squares, means, batch.ranks + live, batch.masks | bit)


def _later(batch: Sweep) -> Sweep:
    """Return the batch without its first undecided variable, which the subsets do not get."""
    return Sweep(
        batch.pivots[:, 1:, 1:],
        batch.squares[:, 1:, 1:],
        batch.means[:, 1:],
        batch.ranks,
        batch.masks,
    )


def _take(batch: Sweep, index: BoolArray | slice) -> Sweep:
    return Sweep(
        batch.pivots[..., index],
        batch.squares[..., index],
        batch.means[..., index],
        batch.ranks[:, index],
        batch.masks[index],
    )


def _join(first: Sweep, second: Sweep) -> Sweep:
    return Sweep(
        np.concatenate([first.pivots, second.pivots], axis=-1),
        np.concatenate([first.squares, second.squares], axis=-1),
        np.concatenate([first.means, second.means], axis=-1),
        np.concatenate([first.ranks, second.ranks], axis=-1),
        np.concatenate([first.masks, second.masks]),
    )


def _sizes(masks: IntArray) -> IntArray:
    return np.bitwise_count(masks).astype(np.int64)


def step(walk: SubsetWalk, batch: Sweep, variable: int) -> tuple[Sweep, Sweep]:
    """Return the subsets with the variable, and all that can still grow after it."""
    grown = eliminate(walk, batch, variable)
    may_grow = _sizes(grown.masks) < walk.max_size
    active = grown if may_grow.all() else _take(grown, may_grow)
    return grown, _join(_later(batch), active)


def roots(walk: SubsetWalk, n_last: int) -> Iterator[tuple[Sweep, int, list[Statistics]]]:
    """Decide the first variables; what is left are independent walks over the last ones.

    Yields
    ------
    batch : Sweep
        One subset of the first variables.
    first : int
        First undecided variable.
    done : list of Statistics
        Of subsets that cannot grow; with the first root only.
    """
    first = max(walk.n_variables - n_last, 0) if walk.max_size else walk.n_variables
    if not walk.max_size:
        yield walk.start, first, []
        return
    batch, done = walk.start, []
    for j in range(first):
        grown, batch = step(walk, batch, j)
        full = _sizes(grown.masks) == walk.max_size
        if full.any():
            done.append(statistics(walk, _take(grown, full)))
    for i in range(len(batch.masks)):
        yield _take(batch, slice(i, i + 1)), first, done if i == 0 else []


def walk_batches(walk: SubsetWalk, batch: Sweep, first: int) -> Iterator[Statistics]:
    """Statistics of every subset that grows out of a batch (and of the batch), in blocks."""
    yield statistics(walk, batch)
    yield from _grow(walk, batch, first)


def _grow(walk: SubsetWalk, batch: Sweep, first: int) -> Iterator[Statistics]:
    for j in range(first, walk.n_variables):
        if batch.pivots.size + batch.squares.size > _BLOCK_CELLS and len(batch.masks) > 1:
            half = len(batch.masks) // 2
            for part in (slice(None, half), slice(half, None)):
                yield from _grow(walk, _take(batch, part), j)
            return
        grown, batch = step(walk, batch, j)
        yield statistics(walk, grown)


def walk_compiled(walk: SubsetWalk, batch: Sweep, first: int) -> Statistics:
    """Return the same statistics for one root, by the compiled depth-first walk."""
    from robuststat.kernels.subsets import walk_subsets

    left = walk.n_variables - first
    room = walk.max_size - int(_sizes(batch.masks)[0])
    n = n_subsets(left, room)
    G, C = len(batch.pivots), len(batch.squares)
    masks = np.empty(n, dtype=np.int64)
    pivots, ranks = np.empty((n, G)), np.empty((n, G), dtype=np.int64)
    squares, means = np.empty((n, C)), np.empty((n, C))
    walk_subsets(
        np.ascontiguousarray(batch.pivots[..., 0]),
        np.ascontiguousarray(batch.squares[..., 0]),
        np.ascontiguousarray(batch.means[..., 0]),
        walk.pivot_of,
        np.ascontiguousarray(walk.floors[:, first:]),
        room,
        masks,
        pivots,
        ranks,
        squares,
        means,
    )
    masks = (masks << first) | batch.masks[0]
    return _statistics(walk, masks, pivots.T, ranks.T + batch.ranks, squares.T, means.T)


def statistics(walk: SubsetWalk, batch: Sweep) -> Statistics:
    """Read the statistics of a batch off the entries of the outcome."""
    return _statistics(
        walk,
        batch.masks,
        batch.pivots[:, -1, -1],
        batch.ranks,
        batch.squares[:, -1, -1],
        batch.means[:, -1],
    )


def _statistics(
    walk: SubsetWalk, masks: IntArray, pivots: Array, ranks: IntArray, squares: Array, means: Array
) -> Statistics:
    K, n = len(walk.n_env), walk.n_env[:, None]
    size = _sizes(masks)
    # Elimination leaves rounding errors below zero where the fit is perfect.
    pivots, squares = np.maximum(pivots, 0.0), np.maximum(squares, 0.0)
    return Statistics(
        masks=masks,
        size=size,
        singular=ranks[0] < size,
        ssr=pivots[0],
        env_mean=means[:K].T,
        env_ss=squares[:K].T,
        within_ssr=pivots[1 : K + 1].sum(axis=0),
        within_rank=ranks[1 : K + 1].sum(axis=0) + K,
        rest_ssr=pivots[K + 1 :].T,
        rest_rank=ranks[K + 1 :].T + 1,
        left_out_ss=(squares[K:] + n * means[K:] ** 2).sum(axis=0),
    )
