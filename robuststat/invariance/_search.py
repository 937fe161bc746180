"""What the tests of all subsets say: p-values, gaps, accepted families, intervals.

Subsets are rows of arrays, their variables bits of an integer. Section numbers: the docstring of
``robuststat.invariance``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import combinations

import numpy as np
from scipy import special, stats

from robuststat._core.errors import DataError
from robuststat._core.types import Array, BoolArray, IntArray
from robuststat.invariance._sweep import Statistics

# More minimal hitting sets than this are not listed.
_MAX_DEFINING = 20_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of the environments; all equal to the rows without weights.

    Attributes
    ----------
    weight : ndarray of shape (K,)
        Sums of the weights, scaled to the number of rows in all.
    rows : ndarray of shape (K,)
        Rows, for degrees of freedom of regressions.
    effective, rest : ndarray of shape (K,)
        (sum w)^2 / sum w^2 of each environment and of all others, for means and variances.
    """

    weight: Array
    rows: Array
    effective: Array
    rest: Array


def two_sided_f(ratio: Array, d1: Array, d2: Array) -> Array:
    """Two-sided p-value of a variance ratio, accurate in both tails with one tail evaluated."""
    low = ratio <= 1.0
    # The upper tail of F(d1, d2) is the lower tail of its reciprocal, F(d2, d1).
    with np.errstate(divide="ignore"):
        small = np.where(low, ratio, 1.0 / ratio)
    tail = special.fdtr(np.where(low, d1, d2), np.where(low, d2, d1), small)
    return np.asarray(2.0 * np.minimum(tail, 1.0 - tail))


def _two_sided_t(df: Array, t: Array) -> Array:
    return np.asarray(2.0 * special.stdtr(df, -np.abs(t)))


def _far_from_equal(ratio: Array, d1: Array, d2: Array, z: float) -> BoolArray:
    """Whether a variance ratio may be beyond ``z`` normal quantiles (Wilson and Hilferty 1931).

    From 30 degrees of freedom on their error is below .05 quantiles; a margin of .3 is left.
    """
    a, b = 2.0 / (9.0 * d1), 2.0 / (9.0 * d2)
    root = np.cbrt(ratio)
    distance = np.abs((1.0 - b) * root - (1.0 - a)) / np.sqrt(b * root**2 + a)
    small = np.minimum(d1, d2) < 30.0
    return np.asarray(small | ~(distance < z - 0.3))


def _only_where(need: BoolArray, tail: Callable[..., Array], *values: Array) -> Array:
    """Evaluate a tail probability where needed, one elsewhere."""
    out = np.ones(need.shape)
    out[need] = tail(*(np.broadcast_to(v, need.shape)[need] for v in values))
    return out


def env_pvalues(sizes: Sizes, mean: Array, ss: Array, factor: float = 1.0) -> Array:
    """Compare the residuals of each environment with all others: mean and variance (2.2, normal).

    Parameters
    ----------
    sizes : Sizes
        Of the environments.
    mean, ss : ndarray of shape (S, K)
        Mean and centred sum of squares of the residuals of each environment.
    factor : float
        What the smallest p-value is multiplied by, and then capped at one, afterwards. Statistics
        that would be capped are not turned into p-values: they count as one.

    Returns
    -------
    ndarray of shape (S, K)
        Twice the smaller of the p-values of Welch's t-test and of the F-test of equal variances,
        not capped at one; (S, 1) for two environments, which are compared once.
    """
    w = sizes.weight[None, :]
    others = w.sum() - w
    rest_mean = (np.sum(w * mean, axis=1, keepdims=True) - w * mean) / others
    spread = np.maximum(_all_but_one(w * mean**2) - others * rest_mean**2, 0.0)
    n, rest = sizes.effective[None, :], sizes.rest[None, :]
    # Without weights the factors n / w are one.
    var = ss / (n - 1.0) * (n / w)
    rest_var = (_all_but_one(ss) + spread) / (rest - 1.0) * (rest / others)
    if mean.shape[1] == 2:
        n, rest, mean, rest_mean = n[:, :1], rest[:, :1], mean[:, :1], rest_mean[:, :1]
        var, rest_var = var[:, :1], rest_var[:, :1]
    a, b = var / n, rest_var / rest
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (mean - rest_mean) / np.sqrt(a + b)
        df = (a + b) ** 2 / (a**2 / (n - 1.0) + b**2 / (rest - 1.0))
        # Below this normal quantile 2 * factor * p exceeds one; a t tail is heavier than a normal.
        z = float(stats.norm.isf(0.25 / factor))
        p_mean = _only_where(~(np.abs(t) < z), _two_sided_t, df, t)
        ratio = var / rest_var
        far = _far_from_equal(ratio, n - 1.0, rest - 1.0, z)
        p_var = _only_where(far, two_sided_f, ratio, n - 1.0, rest - 1.0)
    # Residuals without any spread (a perfect fit) are the same everywhere.
    p_mean = np.where(np.isnan(p_mean), 1.0, p_mean)
    p_var = np.where(np.isnan(p_var), 1.0, p_var)
    return np.asarray(2.0 * np.minimum(p_mean, p_var))


def _all_but_one(values: Array) -> Array:
    """Sum over the other columns, without subtracting from the total."""
    before = np.zeros_like(values)
    after = np.zeros_like(values)
    before[:, 1:] = np.cumsum(values, axis=1)[:, :-1]
    after[:, :-1] = np.cumsum(values[:, ::-1], axis=1)[:, -2::-1]
    return before + after


def chow_pvalues(found: Statistics, sizes: Sizes, *, compat: bool) -> Array:
    """Predict each environment from the others: p-values of F tests of shape (S, K) (2.2, chow).

    ``compat`` divides the residual variance of the others by n - 1 once more, as R does.
    """
    n = sizes.rows[None, :]
    rest = sizes.rows.sum() - n
    df = rest - found.rest_rank
    sigma2 = found.rest_ssr / df
    if compat:
        sigma2 = sigma2 * rest / (rest - 1.0)
    extra = np.maximum(found.ssr[:, None] - found.rest_ssr, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = special.fdtrc(n, df, extra / n / sigma2)
    return np.where(np.isnan(p), 1.0, p)


def correlation_pvalues(
    found: Statistics, sizes: Sizes, total: Array, scatter: Array, base: Array
) -> Array:
    """Add to the normal test that no covariate of the set correlates with the residuals.

    Parameters
    ----------
    found : Statistics
        Of S subsets.
    sizes : Sizes
        Of the environments.
    total, scatter : ndarrays of shapes (q, q), (K, q, q)
        Pooled and within scatter.
    base : ndarray of shape (S, K) or (S, 1)
        p-values of the normal test.

    Returns
    -------
    ndarray of shape (S, K)
    """
    p = np.repeat(base, len(scatter) // base.shape[1], axis=1)
    members = bits(found.masks, total.shape[0] - 1)
    for size in np.unique(found.size[~found.singular]):
        rows = np.flatnonzero((found.size == size) & ~found.singular)
        if size == 0:
            continue
        S = np.nonzero(members[rows])[1].reshape(len(rows), size)
        gram = total[S[:, :, None], S[:, None, :]]
        beta = np.linalg.solve(gram, total[S, -1][:, :, None])[:, :, 0]
        smallest = np.ones((len(rows), len(scatter)))
        for e, n in enumerate(sizes.effective):
            inner = scatter[e][S[:, :, None], S[:, None, :]]
            cross = scatter[e][S, -1] - np.einsum("bij,bj->bi", inner, beta)
            spread = scatter[e][S, S] * found.env_ss[rows, e, None]
            with np.errstate(divide="ignore", invalid="ignore"):
                r = np.clip(cross / np.sqrt(spread), -1.0, 1.0)
                t = np.abs(r) * np.sqrt((n - 2.0) / (1.0 - r**2))
            each = 2.0 * special.stdtr(n - 2.0, -np.where(np.isnan(t), 0.0, t))
            smallest[:, e] = each.min(axis=1)
        p[rows] = 2.0 * np.minimum(p[rows], size * smallest)
    return p


@dataclass(frozen=True, slots=True)
class Gap:
    """Average risk gap of every subset in units of the noise variance (2.1).

    Attributes
    ----------
    psi : ndarray of shape (S,)
        Estimate, clipped at zero.
    equivalent : ndarray of bool of shape (S,)
        Whether the test of psi >= eps rejects.
    """

    psi: Array
    equivalent: BoolArray


def gaps(found: Statistics, N: float, eps: float, alpha: float) -> Gap:
    """Estimate psi and test equivalence for every subset, from N rows.

    The equivalence test compares F with one critical value for every pair of degrees of freedom,
    so that the noncentral F distribution is not evaluated set by set.
    """
    d1 = (found.within_rank - found.size - 1).astype(np.float64)
    d2 = N - found.within_rank
    usable = (d1 > 0) & (d2 > 2) & ~found.singular
    with np.errstate(divide="ignore", invalid="ignore"):
        F = np.maximum(found.ssr - found.within_ssr, 0.0) / d1 / (found.within_ssr / d2)
        psi = np.maximum(0.0, d1 * (F * (d2 - 2.0) / d2 - 1.0)) / N
    # A perfect fit everywhere has no gap.
    psi = np.where(found.ssr <= 0.0, 0.0, psi)
    equivalent = np.zeros(len(F), dtype=bool)
    if eps > 0 and usable.any():
        pairs, which = np.unique(
            np.column_stack([d1[usable], d2[usable]]), axis=0, return_inverse=True
        )
        limit = np.atleast_1d(stats.ncf.ppf(alpha, pairs[:, 0], pairs[:, 1], N * eps))
        equivalent[usable] = F[usable] <= limit[which.ravel()]
    return Gap(np.where(usable, psi, np.nan), equivalent)


@dataclass(frozen=True, slots=True)
class SetTable:
    """One row a subset, by size and then in dictionary order.

    Attributes
    ----------
    masks, size : ndarray of int of shape (S,)
        Variables as bits; their number.
    p_value : ndarray of shape (S,)
        NaN where not tested.
    psi, equivalent : ndarray of shape (S,)
        Average risk gap over the noise variance, and whether it is certified to be below eps.
    variance_ratio : ndarray of shape (S,)
        Largest over smallest residual variance of an environment.
    mse, mse_left_out : ndarray of shape (S,)
        Mean squared residual; of each environment when predicted from the others.
    singular, tested : ndarray of bool of shape (S,)
        Whether the covariates are collinear; whether a p-value was computed.
    """

    masks: IntArray
    size: IntArray
    p_value: Array
    psi: Array
    equivalent: BoolArray
    variance_ratio: Array
    mse: Array
    mse_left_out: Array
    singular: BoolArray
    tested: BoolArray

    def take(self, index: IntArray | BoolArray) -> SetTable:
        """Return some of the rows."""
        return SetTable(*(getattr(self, item.name)[index] for item in fields(self)))


def table_part(
    found: Statistics, sizes: Sizes, p_value: Array, tested: BoolArray, eps: float, alpha: float
) -> SetTable:
    """Rows of the table for one block of subsets."""
    N = float(sizes.rows.sum())
    gap = gaps(found, N, eps, alpha)
    variance = found.env_ss / (sizes.effective - 1.0) * (sizes.effective / sizes.weight)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = variance.max(axis=1) / variance.min(axis=1)
    blank = found.singular
    return SetTable(
        masks=found.masks,
        size=found.size,
        p_value=np.where(blank | ~tested, np.nan, p_value),
        psi=gap.psi,
        equivalent=gap.equivalent,
        variance_ratio=np.where(blank | np.isnan(ratio), np.nan, ratio),
        mse=np.where(blank, np.nan, found.ssr / N),
        mse_left_out=np.where(blank, np.nan, found.left_out_ss / N),
        singular=blank,
        tested=tested & ~blank,
    )


def join_tables(parts: list[SetTable], p: int) -> SetTable:
    """All blocks in one table, sorted by size and then in dictionary order."""
    whole = SetTable(
        *(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(SetTable))
    )
    reverse = np.zeros_like(whole.masks)
    for j in range(p):
        reverse |= ((whole.masks >> j) & 1) << (p - 1 - j)
    return whole.take(np.lexsort((-reverse, whole.size)))


def bits(masks: IntArray, p: int) -> BoolArray:
    """Membership (S, p) of the variables in each subset."""
    return ((masks[:, None] >> np.arange(p, dtype=np.int64)) & 1).astype(bool)


def as_tuples(masks: IntArray, p: int) -> list[tuple[int, ...]]:
    """Subsets as tuples of positions."""
    return [members(int(mask), p) for mask in masks]


def members(mask: int, p: int) -> tuple[int, ...]:
    """Positions of one subset."""
    return tuple(j for j in range(p) if mask >> j & 1)


def variable_pvalues(table: SetTable, p: int, accept: float) -> Array:
    """Largest p-value of the sets without each variable; 1 when no set has p > ``accept`` (2.5)."""
    known = table.tested
    masks, p_value = table.masks[known], table.p_value[known]
    if not (p_value > accept).any():
        return np.ones(p)
    out = np.ones(p)
    for j in range(p):
        without = (masks >> j & 1) == 0
        out[j] = p_value[without].max(initial=0.0)
    return out


def minimal_sets(masks: IntArray) -> IntArray:
    """Those of a family of subsets that contain no other one, in the order given."""
    left = masks[np.argsort(np.bitwise_count(masks), kind="stable")]
    found = []
    while len(left):
        first = left[0]
        found.append(first)
        left = left[(left & first) != first]
    keep = np.isin(masks, np.array(found, dtype=np.int64))
    return masks[keep]


def hitting_sets(masks: IntArray, p: int) -> IntArray:
    """Smallest sets of variables of which every given subset has one (Berge's sequential method).

    An empty subset cannot be hit: then there are none.
    """
    if not len(masks) or (masks == 0).any():
        return np.zeros(0, dtype=np.int64)
    partial = np.zeros(1, dtype=np.int64)
    for mask in minimal_sets(masks):
        hit = (partial & mask) != 0
        options = np.array([1 << j for j in members(int(mask), p)], dtype=np.int64)
        grown = (partial[~hit, None] | options).ravel()
        partial = minimal_sets(np.unique(np.concatenate([partial[hit], grown])))
        if len(partial) > _MAX_DEFINING:
            raise DataError(
                f"There are more than {_MAX_DEFINING} smallest sets of variables that meet every "
                "accepted set. Look at minimal_invariant_ instead, or lower max_size."
            )
    return partial


def intervals(
    masks: IntArray, total: Array, n_obs: float, z: float, scale: Array
) -> tuple[Array, Array]:
    """Union over subsets of the intervals of the pooled fits; zero for sets without a variable.

    Parameters
    ----------
    masks : ndarray of shape (S,)
        Accepted subsets.
    total : ndarray of shape (q, q)
        Pooled scatter, scaled.
    n_obs, z : float
        Rows; half-width in standard errors.
    scale : ndarray of shape (p,)
        Divides the coefficients.

    Returns
    -------
    low, high : ndarray of shape (p,)
    """
    p = len(total) - 1
    low, high = np.full(p, np.inf), np.full(p, -np.inf)
    for S, beta, se in fits(masks, total, n_obs):
        np.minimum.at(low, S, beta - z * se)
        np.maximum.at(high, S, beta + z * se)
    absent = ~bits(masks, p).all(axis=0) if len(masks) else np.ones(p, dtype=bool)
    low, high = (
        np.where(absent, np.minimum(low, 0.0), low),
        np.where(absent, np.maximum(high, 0.0), high),
    )
    return low / scale, high / scale


def fits(
    masks: IntArray, total: Array, n_obs: float, block: int = 1 << 13
) -> Iterator[tuple[IntArray, Array, Array]]:
    """Positions, coefficients and standard errors (B, k) of pooled fits, by size and in blocks."""
    p = len(total) - 1
    size = np.bitwise_count(masks).astype(np.int64)
    for k in np.unique(size[size > 0]):
        rows = masks[size == k]
        for start in range(0, len(rows), block):
            part = rows[start : start + block]
            S = np.nonzero(bits(part, p))[1].reshape(len(part), int(k))
            inverse = np.linalg.inv(total[S[:, :, None], S[:, None, :]])
            cross = total[S, -1]
            beta = np.einsum("bij,bj->bi", inverse, cross)
            ssr = np.maximum(total[-1, -1] - np.einsum("bi,bi->b", beta, cross), 0.0)
            sigma2 = ssr / max(n_obs - k - 1, 1)
            se = np.sqrt(sigma2[:, None] * np.einsum("bii->bi", inverse))
            yield S, beta, se


def all_subsets(p: int, max_size: int) -> Iterator[tuple[int, ...]]:
    """Subsets by size, in dictionary order."""
    for size in range(min(p, max_size) + 1):
        yield from combinations(range(p), size)
