"""Bootstrap, jackknife and permutation tests of a statistic given as a function of row weights.

Every replicate has its own seed, so results do not depend on ``n_jobs``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias, TypeVar, get_args

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from scipy.special import ndtri

from robuststat._core.errors import DataError, ParameterError, warn
from robuststat._core.progress import progress
from robuststat._core.rng import (
    Multiplier,
    RandomState,
    Resampling,
    check_rng,
    draw_permutation,
    draw_resampling_weights,
    spawn_seeds,
)
from robuststat._core.types import Array, IntArray
from robuststat._core.vcov import cluster_sums, group_codes

BootstrapKind: TypeAlias = Literal["pairs", "cluster", "multiplier"]
WeightDraw: TypeAlias = Callable[[np.random.Generator], Array]
IntervalKind: TypeAlias = Literal["percentile", "basic", "normal"]
Positive: TypeAlias = Literal["exponential", "rademacher", "mammen"]
Alternative: TypeAlias = Literal["two-sided", "greater", "less"]
WeightedStatistic: TypeAlias = Callable[[Array], Array]
PermutedStatistic: TypeAlias = Callable[[IntArray], Array | float]
T = TypeVar("T")

# Rows per block of multiplier_bootstrap: the multipliers of 999 draws then take 8 MB.
_BLOCK_ROWS = 1024


@dataclass(frozen=True, slots=True)
class BootstrapResult:
    """Replicates of a statistic.

    Attributes
    ----------
    estimate : ndarray of shape (k,)
        Statistic of the original data.
    estimates : ndarray of shape (n_boot - n_failed, k)
        Statistic of the replicates that could be computed.
    n_boot, n_failed : int
        Replicates asked for, and those whose statistic failed or was not finite.
    kind : {"pairs", "cluster", "multiplier", "design"}
        What was resampled; "design" stands for weights that the caller drew.
    """

    estimate: Array
    estimates: Array
    n_boot: int
    n_failed: int
    kind: BootstrapKind | Literal["design"]

    @property
    def mean(self) -> Array:
        """Mean of the replicates (k,); minus ``estimate`` it is the estimated bias."""
        return np.asarray(self.estimates.mean(axis=0))

    @property
    def vcov(self) -> Array:
        """Covariance matrix of the replicates (k, k)."""
        deviation = self.estimates - self.mean
        return np.asarray(deviation.T @ deviation / (len(deviation) - 1))

    def confint(self, level: float = 0.95, kind: IntervalKind = "percentile") -> Array:
        """Confidence limits (k, 2).

        Parameters
        ----------
        level : float, default 0.95
            Confidence level in (0, 1).
        kind : {"percentile", "basic", "normal"}, default "percentile"
            Quantiles of the replicates; the same mirrored at the estimate; or the estimate
            minus and plus normal quantiles of the standard deviation of the replicates.
        """
        tail = (1.0 - _check_level(level)) / 2.0
        _check_option("kind", kind, get_args(IntervalKind))
        if kind == "normal":
            half = -ndtri(tail) * np.sqrt(np.diag(self.vcov))
            return np.column_stack([self.estimate - half, self.estimate + half])
        limits = np.quantile(self.estimates, [tail, 1.0 - tail], axis=0).T
        return limits if kind == "percentile" else 2.0 * self.estimate[:, None] - limits[:, ::-1]


def bootstrap(
    statistic: WeightedStatistic,
    n_obs: int,
    *,
    n_boot: int = 999,
    kind: BootstrapKind = "pairs",
    clusters: IntArray | None = None,
    distribution: Positive | None = None,
    draw: WeightDraw | None = None,
    random_state: RandomState = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> BootstrapResult:
    """Bootstrap a statistic that takes row weights, so that no row is ever copied.

    Failures are counted and warned of; fewer than two usable replicates are a DataError.

    Parameters
    ----------
    statistic : callable
        Maps weights (n_obs,) of mean about one to estimates (k,). A replicate in which it raises
        ValueError or ArithmeticError (both include singular systems) counts as failed.
    n_obs, n_boot : int
        Number of rows and of replicates.
    kind : {"pairs", "cluster", "multiplier"}, default "pairs"
        Draw rows with replacement; draw whole clusters; or weight rows (clusters if given) by
        independent draws of mean and variance one.
    clusters : ndarray of shape (n_obs,), optional
        Integer codes, needed for "cluster", allowed for "multiplier".
    distribution : {"exponential", "rademacher", "mammen"}, optional
        Distribution of the weights of kind "multiplier"; exponential if not given.
    draw : callable, optional
        Maps a generator to weights (n_obs,), for designs that ``kind`` does not cover, such as
        resampling within strata; ``kind`` and ``clusters`` are then left at their defaults.
    random_state, n_jobs
        Seed, see ``check_rng``; workers of joblib, which do not change the result.
    verbose : int, default 0
        Draw a progress bar when positive.
    """
    _check_count(n_boot, "n_boot", 2)
    resampling = _resampling(kind, clusters, distribution)
    custom = draw is not None
    if draw is None:
        codes, n_groups = _units(clusters, n_obs)
        draw = partial(_draw_groups, codes, n_groups, resampling)
        advice = "use kind='multiplier': its weights are positive"
    elif kind != "pairs" or clusters is not None:
        raise ParameterError(f"draw is given together with {kind=} or clusters. Pass one of them.")
    else:
        advice = "give the replicates more data"
    estimate = np.atleast_1d(statistic(np.ones(n_obs)))
    task = partial(_bootstrap_once, statistic, draw)
    outcomes = _run(task, spawn_seeds(random_state, n_boot), n_jobs, verbose)
    good = [value for value in outcomes if not isinstance(value, str)]
    errors = [value for value in outcomes if isinstance(value, str)]
    if len(good) < 2:
        raise DataError(
            f"statistic failed in {len(errors)} of {n_boot} replicates; the first: {errors[0]}. "
            f"Check it on resampled data, or {advice}."
        )
    if errors:
        warn(
            f"statistic failed in {len(errors)} of {n_boot} bootstrap replicates, which are left "
            f"out; the first: {errors[0]}. {advice.capitalize()}."
        )
    resampled = "design" if custom else kind
    return BootstrapResult(estimate, np.array(good), n_boot, len(errors), resampled)


def _resampling(
    kind: BootstrapKind, clusters: IntArray | None, distribution: Positive | None
) -> Resampling:
    """Distribution of the weights, after checking that the options go together."""
    _check_option("kind", kind, get_args(BootstrapKind))
    if (kind == "cluster" and clusters is None) or (kind == "pairs" and clusters is not None):
        state = "missing" if clusters is None else "given"
        raise ParameterError(f"clusters is {state} for {kind=}. Use kind='cluster' with them.")
    if kind != "multiplier" and distribution is not None:
        raise ParameterError(f"distribution is given for kind={kind!r}. Use kind='multiplier'.")
    # Not "normal": the weights of a refit cannot be negative.
    _check_option("distribution", distribution, (None, *get_args(Positive)))
    return "counts" if kind != "multiplier" else distribution or "exponential"


def _draw_groups(
    codes: IntArray, n_groups: int, resampling: Resampling, rng: np.random.Generator
) -> Array:
    return draw_resampling_weights(rng, n_groups, resampling)[codes]


def _bootstrap_once(statistic: WeightedStatistic, draw: WeightDraw, seed: int) -> Array | str:
    """Estimates of one replicate, or the text of its failure."""
    weights = draw(check_rng(seed))
    try:
        value = np.atleast_1d(statistic(weights))
    except (ValueError, ArithmeticError) as error:
        return f"{type(error).__name__}: {error}"
    return value if np.isfinite(value).all() else f"not finite: {value}"


@dataclass(frozen=True, slots=True)
class MaxTResult:
    """Sorted draws ``max_t`` (n_boot,) of the largest absolute t statistic of all parameters."""

    max_t: Array

    def critical_value(self, level: float = 0.95) -> float:
        """Multiple of the standard errors that gives simultaneous intervals of that level."""
        return float(np.quantile(self.max_t, _check_level(level)))

    def adjusted_p_values(self, t: Array) -> Array:
        """P-values (k,) of t statistics, adjusted for testing all of them."""
        below = np.searchsorted(self.max_t, np.abs(t), side="left")
        return np.asarray((1.0 + len(self.max_t) - below) / (1.0 + len(self.max_t)))


def multiplier_bootstrap(
    influence: Array,
    *,
    clusters: IntArray | None = None,
    n_boot: int = 999,
    distribution: Multiplier = "normal",
    random_state: RandomState = None,
    n_jobs: int | None = None,
) -> MaxTResult:
    """Simultaneous critical values from influence values, without refitting.

    Draws sum_i xi_i psi_ij / sd_j with multipliers xi of mean zero and variance one, in blocks of
    rows: no n x n_boot matrix exists (Chernozhukov, Chetverikov and Kato 2013). A column that is
    zero or not finite is a DataError.

    Parameters
    ----------
    influence : ndarray of shape (n, k)
        Influence values, with columns that average to zero; their units do not matter.
    clusters : ndarray of shape (n,), optional
        Integer codes: one multiplier per cluster.
    n_boot, distribution : int and {"normal", "rademacher", "mammen", "exponential"}
        Number of draws, and distribution of the multipliers (centred at zero).
    random_state, n_jobs
        Seed, see ``check_rng``; workers of joblib, which do not change the result.
    """
    _check_count(n_boot, "n_boot", 2)
    _check_option("distribution", distribution, get_args(Multiplier))
    codes, n_groups = _units(clusters, len(influence))
    total = influence if clusters is None else cluster_sums(influence, codes, n_groups)
    scale = np.sqrt(np.einsum("ij,ij->j", total, total))
    bad = np.flatnonzero(~(np.isfinite(scale) & (scale > 0)))
    if len(bad):
        raise DataError(
            f"influence has {len(bad)} columns that are zero or not finite (first: column "
            f"{bad[0]}, norm {scale[bad[0]]}). Leave these parameters out."
        )
    starts = range(0, len(total), _BLOCK_ROWS)
    seeds = spawn_seeds(random_state, len(starts))
    draw = partial(_multiplier_block, n_boot=n_boot, distribution=distribution)
    # A generator in the order of the blocks: sums do not depend on n_jobs, and few are alive.
    parts = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(draw)(total[start : start + _BLOCK_ROWS], seed)
        for start, seed in zip(starts, seeds, strict=True)
    )
    t = np.zeros((n_boot, influence.shape[1]))
    for part in parts:
        t += part
    return MaxTResult(max_t=np.sort(np.abs(t / scale).max(axis=1)))


def _multiplier_block(rows: Array, seed: int, *, n_boot: int, distribution: Multiplier) -> Array:
    weights = draw_resampling_weights(check_rng(seed), n_boot * len(rows), distribution)
    return (weights - 1.0).reshape(n_boot, len(rows)) @ rows


@dataclass(frozen=True, slots=True)
class JackknifeResult:
    """Leave-one-out estimates, their variance and bias.

    Attributes
    ----------
    estimate, estimates : ndarray of shapes (k,) and (G, k)
        Statistic of all data, and without each row or cluster in the order of sorted codes.
    vcov : ndarray of shape (k, k)
        (G - 1)/G times the sum of squared deviations from the mean of ``estimates``.
    bias : ndarray of shape (k,)
        Estimated bias; ``estimate - bias`` is the corrected estimate.
    """

    estimate: Array
    estimates: Array
    vcov: Array
    bias: Array


def jackknife(
    statistic: WeightedStatistic,
    n_obs: int,
    *,
    clusters: IntArray | None = None,
    n_jobs: int | None = None,
) -> JackknifeResult:
    """Delete-one, or delete-one-cluster, jackknife of a statistic that takes row weights.

    Parameters
    ----------
    statistic : callable
        Maps weights (n_obs,), 0 for the rows left out and 1 for the others, to estimates (k,).
        Its exceptions propagate: the formulas need every replicate.
    n_obs, clusters, n_jobs
        Number of rows; integer codes (n_obs,) if there are clusters; workers of joblib.
    """
    codes, G = _units(clusters, n_obs)
    estimate = np.atleast_1d(statistic(np.ones(n_obs)))
    estimates = np.array(_run(partial(_without, statistic, codes), np.arange(G), n_jobs))
    _require_finite(estimates, "Check whether a single row or cluster identifies a parameter.")
    centre = estimates.mean(axis=0)
    vcov = (G - 1) / G * (estimates - centre).T @ (estimates - centre)
    return JackknifeResult(estimate, estimates, vcov=vcov, bias=(G - 1) * (centre - estimate))


def _without(statistic: WeightedStatistic, codes: IntArray, group: int) -> Array:
    return np.atleast_1d(statistic((codes != group).astype(np.float64)))


@dataclass(frozen=True, slots=True)
class PermutationResult:
    """Observed statistic (k,), its permutation draws (n_perm, k), and p-values (k,)."""

    statistic: Array
    permuted: Array
    p_value: Array


def permutation_test(
    statistic: PermutedStatistic,
    n_obs: int,
    *,
    n_perm: int = 999,
    strata: IntArray | None = None,
    alternative: Alternative = "two-sided",
    random_state: RandomState = None,
    n_jobs: int | None = None,
) -> PermutationResult:
    """Test exchangeability by comparing a statistic with its values under permuted rows.

    Parameters
    ----------
    statistic : callable
        Maps a permutation of 0..n_obs-1 to a number or an array (k,).
    n_obs, n_perm : int
        Number of rows, and of permutations; the p-value is (1 + exceedances) / (1 + n_perm).
    strata : ndarray of shape (n_obs,), optional
        Integer codes; rows are exchanged only within strata.
    alternative : {"two-sided", "greater", "less"}, default "two-sided"
        Which values are extreme: large in absolute size (for statistics centred at zero under
        the hypothesis), large, or small.
    random_state, n_jobs
        Seed, see ``check_rng``; workers of joblib, which do not change the result.
    """
    _check_count(n_perm, "n_perm", 1)
    _check_option("alternative", alternative, get_args(Alternative))
    rows = np.zeros(n_obs, np.int64) if strata is None else strata
    codes, labels = group_codes(rows, n_obs, "strata")
    if len(labels) == n_obs:
        raise DataError(f"No stratum of the {n_obs} rows has two rows to swap. Merge strata.")
    observed = np.atleast_1d(statistic(np.arange(n_obs)))
    seeds = spawn_seeds(random_state, n_perm)
    permuted = np.array(_run(partial(_permute_once, statistic, codes), seeds, n_jobs))
    _require_finite(np.vstack([observed, permuted]), "Check it on permuted rows.")
    # Values equal but for the order of summation are ties, and ties count as extreme.
    slack = 1e-12 * np.abs(observed)
    if alternative == "two-sided":
        extreme = np.abs(permuted) >= np.abs(observed) - slack
    else:
        sign = 1.0 if alternative == "greater" else -1.0
        extreme = sign * permuted >= sign * observed - slack
    return PermutationResult(observed, permuted, (1.0 + extreme.sum(axis=0)) / (1.0 + n_perm))


def _permute_once(statistic: PermutedStatistic, codes: IntArray, seed: int) -> Array:
    return np.atleast_1d(statistic(draw_permutation(check_rng(seed), codes)))


def _units(clusters: IntArray | None, n_obs: int) -> tuple[IntArray, int]:
    """Code of each row's unit of resampling, and the number of units."""
    labels = np.arange(n_obs) if clusters is None else clusters
    codes, found = group_codes(labels, n_obs)
    if len(found) < 2:
        what = "rows" if clusters is None else "clusters"
        raise DataError(f"Resampling needs at least two {what}, got {len(found)}. Add data.")
    return codes, len(found)


def _run(task: Callable[[int], T], keys: IntArray, n_jobs: int | None, verbose: int = 0) -> list[T]:
    """Results of a task for each key, in order; each worker unpickles the task a few times."""
    # A progress bar that moves four times is none.
    batches = np.array_split(keys, max(4 * effective_n_jobs(n_jobs), 20 * (verbose > 0)))
    parts = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(_run_batch)(task, batch.tolist()) for batch in batches
    )
    shown = progress(parts, len(batches), "bootstrap", enabled=verbose > 0)
    return [value for part in shown for value in part]


def _run_batch(task: Callable[[int], T], keys: list[int]) -> list[T]:
    return [task(key) for key in keys]


def _require_finite(estimates: Array, advice: str) -> None:
    bad = np.flatnonzero(~np.isfinite(estimates).all(axis=1))
    if len(bad):
        raise DataError(
            f"statistic is not finite in {len(bad)} of {len(estimates)} evaluations (first: number "
            f"{bad[0]}). {advice}"
        )


def _check_level(level: float) -> float:
    if not 0.0 < level < 1.0:
        raise ParameterError(f"level must lie in (0, 1), got {level}. Use 0.95 for 95 percent.")
    return level


def _check_count(value: int, name: str, minimum: int) -> None:
    if value < minimum:
        raise ParameterError(f"{name} must be at least {minimum}, got {value}. Use 999 or more.")


def _check_option(name: str, value: str | None, allowed: tuple[str | None, ...]) -> None:
    if value not in allowed:
        raise ParameterError(f"{name} is {value!r}. Use one of {', '.join(map(repr, allowed))}.")
