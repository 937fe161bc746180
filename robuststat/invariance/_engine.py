"""From moments or rows to the table of all subsets; blocks go to threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from joblib import Parallel, delayed

from robuststat._core.errors import ParameterError
from robuststat._core.types import Array, BoolArray, IntArray
from robuststat.invariance._moments import EnvMoments
from robuststat.invariance._search import (
    SetTable,
    Sizes,
    bits,
    chow_pvalues,
    correlation_pvalues,
    env_pvalues,
    join_tables,
    table_part,
)
from robuststat.invariance._sweep import (
    Statistics,
    SubsetWalk,
    Sweep,
    n_subsets,
    pooled_scatter,
    roots,
    subset_walk,
    walk_batches,
    walk_compiled,
)

# Subsets times environments from which the compiled walk pays. At p = 20, K = 5 (5e6) it takes
# 0.4 s and the NumPy walk 1.2 s; importing numba and loading compiled code takes about a second.
KERNEL_MIN_CELLS = 1 << 23
# Variables decided inside one task of the compiled walk, and from how many sets on tasks are cut.
_LAST, _CUT = 14, 1 << 13

# More sets than this are refused.
_MAX_SETS = 1 << 22
# Seconds a set and environment, tail probabilities included, for the message about too many sets.
_SECONDS = 1e-6

MOMENT_TESTS = ("normal", "chow", "exact", "correlation")


def largest_size(p: int, max_size: int | None) -> int:
    """Size of the largest subset searched; too many subsets are a ParameterError."""
    largest = p if max_size is None else min(max_size, p)
    count = n_subsets(p, largest)
    if count > _MAX_SETS or p > 62:
        raise ParameterError(
            f"{p} covariates have {count:,} subsets of up to {largest} variables (about "
            f"{_SECONDS * count:,.0f} s for each environment). Set max_size, or choose at most 20 "
            "covariates, for instance by screening='lasso' with max_candidates."
        )
    return largest


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How subsets are tested.

    Attributes
    ----------
    test : str
        One of ``MOMENT_TESTS``, or anything else when the p-values come from rows.
    max_size : int
        Largest subset.
    factor : float
        Bonferroni factor of the tests that compare each environment with the others.
    compat : bool
        Whether R's own scaling of the predictive Chow test is used.
    eps : float
        Tolerated gap psi.
    alpha : float
        Level of the invariance test of one set.
    level_gap : float
        Level of the equivalence test.
    stop_early : bool
        Whether sets that cannot change the intersection are left untested.
    """

    test: str
    max_size: int
    factor: float
    compat: bool
    eps: float
    alpha: float
    level_gap: float
    stop_early: bool


@dataclass(frozen=True, slots=True)
class Scaled:
    """Moments in standard units: pooled means zero, pooled variances one.

    Attributes
    ----------
    sizes : Sizes
        Of the environments.
    mean, scatter : ndarray of shapes (K, q), (K, q, q)
        Moments, covariates first and the outcome last.
    total : ndarray of shape (q, q)
        Pooled scatter.
    centre, unit : ndarray of shape (q,)
        Pooled means and standard deviations, in the units of the data.
    """

    sizes: Sizes
    mean: Array
    scatter: Array
    total: Array
    centre: Array
    unit: Array

    @property
    def n_obs(self) -> float:
        """Rows of all environments."""
        return float(self.sizes.rows.sum())


def scale_moments(moments: EnvMoments) -> Scaled:
    """Bring the moments to standard units, so that pivots of all columns are comparable.

    Weights are scaled to the number of rows, so that their unit does not matter.
    """
    moments = moments.scaled(moments.n_obs / float(moments.weight.sum()))
    n = moments.weight
    effective = moments.n_effective
    total_squares = moments.weight2.sum() - moments.weight2
    rest = (n.sum() - n) ** 2 / total_squares
    sizes = Sizes(n, moments.n_rows.astype(np.float64), effective, rest)
    centre, total = pooled_scatter(n, moments.mean, moments.scatter)
    unit = np.sqrt(np.diag(total) / n.sum())
    unit = np.where(unit > 0, unit, 1.0)
    scatter = moments.scatter / unit / unit[:, None]
    return Scaled(
        sizes, (moments.mean - centre) / unit, scatter, total / unit / unit[:, None], centre, unit
    )


def flat_environments(scaled: Scaled) -> int:
    """Count the environments in which some covariate has one value."""
    squares = np.einsum("ejj->ej", scaled.scatter)[:, :-1]
    return int((squares <= 1e-20 * scaled.n_obs).any(axis=1).sum())


def moment_table(scaled: Scaled, options: SearchOptions, n_jobs: int | None) -> SetTable:
    """Test all subsets from moments; the mean squared errors are in units of y squared."""
    n = scaled.sizes.weight
    walk = subset_walk(n, scaled.mean, scaled.scatter, options.max_size)
    p = walk.n_variables
    compiled = walk.n_sets * len(n) >= KERNEL_MIN_CELLS
    last = _LAST if compiled else (p - 3 if walk.n_sets >= _CUT else p)
    tasks = roots(walk, last)
    if options.stop_early:
        table = _sequential(walk, tasks, scaled, options, compiled)
    else:
        done = Parallel(n_jobs=n_jobs, prefer="threads")(
            delayed(_task)(walk, task, scaled, options, compiled) for task in tasks
        )
        table = join_tables([part for parts in done for part in parts], p)
    factor = scaled.unit[-1] ** 2
    return replace(table, mse=table.mse * factor, mse_left_out=table.mse_left_out * factor)


def _blocks(
    walk: SubsetWalk, task: tuple[Sweep, int, list[Statistics]], compiled: bool
) -> list[Statistics]:
    batch, first, done = task
    grown = [walk_compiled(walk, batch, first)] if compiled else walk_batches(walk, batch, first)
    return [*done, *grown]


def _task(
    walk: SubsetWalk,
    task: tuple[Sweep, int, list[Statistics]],
    scaled: Scaled,
    options: SearchOptions,
    compiled: bool,
) -> list[SetTable]:
    parts = []
    for found in _blocks(walk, task, compiled):
        if options.test in MOMENT_TESTS:
            p_value = set_pvalues(found, scaled, options)
            tested = np.ones(len(p_value), dtype=bool)
        else:
            p_value, tested = np.full(len(found.masks), np.nan), np.zeros(len(found.masks), bool)
        parts.append(
            table_part(found, scaled.sizes, p_value, tested, options.eps, options.level_gap)
        )
    return parts


def _sequential(
    walk: SubsetWalk,
    tasks: object,
    scaled: Scaled,
    options: SearchOptions,
    compiled: bool,
) -> SetTable:
    """Test block after block, leaving out sets that hold the intersection so far."""
    parts = []
    common = np.int64(-1)
    for task in tasks:  # type: ignore[attr-defined]
        for found in _blocks(walk, task, compiled):
            p_value = np.full(len(found.masks), np.nan)
            tested = (found.masks & common) != common
            if common < 0:
                tested[:] = True
            if options.test not in MOMENT_TESTS:
                tested[:] = False
            if tested.any():
                p_value[tested] = set_pvalues(_some(found, tested), scaled, options)
                usable = tested & ~found.singular & (p_value > options.alpha)
                if usable.any():
                    common &= np.bitwise_and.reduce(found.masks[usable])
            parts.append(
                table_part(found, scaled.sizes, p_value, tested, options.eps, options.level_gap)
            )
    return join_tables(parts, walk.n_variables)


def _some(found: Statistics, index: BoolArray) -> Statistics:
    return Statistics(*(getattr(found, name)[index] for name in Statistics.__slots__))


def set_pvalues(found: Statistics, scaled: Scaled, options: SearchOptions) -> Array:
    """p-value of the invariance of each subset (2.2)."""
    if options.test in ("chow", "exact"):
        each = chow_pvalues(found, scaled.sizes, compat=options.compat)
    else:
        each = env_pvalues(scaled.sizes, found.env_mean, found.env_ss, options.factor)
        if options.test == "correlation":
            each = correlation_pvalues(found, scaled.sizes, scaled.total, scaled.scatter, each)
    return np.asarray(np.minimum(1.0, options.factor * each.min(axis=1)), dtype=np.float64)


def row_pvalues(
    masks: IntArray,
    p: int,
    p_of_set: Callable[[IntArray], float],
    *,
    alpha: float,
    stop_early: bool,
    n_jobs: int | None,
) -> Array:
    """p-values that need the residuals of every row; NaN where a set was not tested.

    Parameters
    ----------
    masks : ndarray of shape (S,)
        Subsets to test, in order of size.
    p : int
        Number of variables.
    p_of_set : callable
        Positions of the variables -> p-value.
    alpha, stop_early
        With ``stop_early``, sets that hold the intersection so far are not tested.
    n_jobs : int or None
        Threads; with ``stop_early`` the sets are tested one after the other.
    """
    sets = [np.flatnonzero(row) for row in bits(masks, p)]
    if not stop_early:
        found = Parallel(n_jobs=n_jobs, prefer="threads")(delayed(p_of_set)(S) for S in sets)
        return np.array(found, dtype=np.float64)
    out, common = np.full(len(masks), np.nan), -1
    for i, (mask, S) in enumerate(zip(masks.tolist(), sets, strict=True)):
        if common >= 0 and mask & common == common:
            continue
        out[i] = p_of_set(S)
        if out[i] > alpha:
            common &= mask
    return out
