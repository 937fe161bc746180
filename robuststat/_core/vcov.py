"""Sandwich variances: meat of scores, clusters, survey designs, small-sample factors.

With scores psi_i, J the average derivative of psi and B = (1/n) sum of psi psi' (over rows or over
cluster totals), V = factor * J^-1 B J^-T / n. Weights are already inside psi.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from robuststat._core.errors import DataError, ParameterError, SmallClusterWarning, warn
from robuststat._core.linalg import (
    add_rows,
    clip_psd,
    complement_root,
    solve_square,
    symmetrise,
    weighted_basis,
)
from robuststat._core.linalg import cluster_sums as cluster_sums
from robuststat._core.linalg import group_codes as group_codes
from robuststat._core.linalg import leverage as leverage
from robuststat._core.types import Array, IntArray

HCKind: TypeAlias = Literal["HC0", "HC1", "HC2", "HC3"]
VcovKind: TypeAlias = Literal["HC0", "HC1", "HC2", "HC3", "CR0", "CR1", "CR2"]
Lonely: TypeAlias = Literal["raise", "centre"]


class MeatAccumulator:
    """Meat of scores that arrive in blocks of rows.

    Parameters
    ----------
    n_params : int
        Number of columns k of the scores.
    n_clusters : int, optional
        Number of cluster codes G. Without it rows are independent (HC); with it the totals of
        the clusters, a (G, k) array, are independent (CR).
    """

    def __init__(self, n_params: int, *, n_clusters: int | None = None) -> None:
        self.n_obs = 0
        self._n_params = n_params
        self._seen = None if n_clusters is None else np.zeros(n_clusters, dtype=np.bool_)
        self._sums = np.zeros((n_params if n_clusters is None else n_clusters, n_params))

    @property
    def n_clusters(self) -> int | None:
        """Clusters with at least one row so far; None without clusters."""
        return None if self._seen is None else int(np.count_nonzero(self._seen))

    @property
    def totals(self) -> Array:
        """Totals of the clusters so far, of shape (G, k); only with ``n_clusters``."""
        if self._seen is None:
            raise ParameterError("Totals of clusters need n_clusters: pass it when creating this.")
        return self._sums

    def update(self, psi: Array, codes: IntArray | None = None) -> None:
        """Add a block of scores (m, k), with codes (m,) exactly if ``n_clusters`` was given.

        Scores that are not finite, or shapes or codes that do not fit, are a DataError.
        """
        if psi.ndim != 2 or psi.shape[1] != self._n_params:
            raise DataError(f"psi has shape {psi.shape}. Pass {self._n_params} columns of scores.")
        _require_finite_scores(psi, first_row=self.n_obs)
        if (codes is None) != (self._seen is None):
            which = "codes" if codes is None else "n_clusters"
            raise ParameterError(f"{which} is missing. Pass n_clusters and codes, or neither.")
        self.n_obs += len(psi)
        if codes is None or self._seen is None:
            # An overflow here is found in finish(), where it can be explained.
            with np.errstate(over="ignore", invalid="ignore"):
                self._sums += psi.T @ psi
            return
        # The size of everything so far decides: many small blocks are one large problem.
        add_rows(psi, codes, self._sums, size=self.n_obs * self._n_params)
        self._seen[codes] = True

    def merge(self, other: MeatAccumulator) -> None:
        """Add what another accumulator, with the same columns and cluster codes, has seen."""
        if self._sums.shape != other._sums.shape or (self._seen is None) != (other._seen is None):
            raise ParameterError(
                f"Accumulators of different layout cannot be merged (totals {self._sums.shape} and "
                f"{other._sums.shape}). Create both with the same n_params and n_clusters."
            )
        self.n_obs += other.n_obs
        self._sums += other._sums
        if self._seen is not None and other._seen is not None:
            self._seen |= other._seen

    def finish(self, n_obs: int | None = None) -> Array:
        """Meat B (k, k), divided by ``n_obs`` (the rows seen if not given).

        No row, a single cluster, or overflow of the products is a DataError.
        """
        n = self.n_obs if n_obs is None else n_obs
        if n < 1:
            raise DataError(f"The meat needs at least one row of scores, got {n}. Check the data.")
        if self.n_clusters is not None:
            _require_clusters(self.n_clusters)
        with np.errstate(over="ignore", invalid="ignore"):
            total = self._sums if self._seen is None else self._sums.T @ self._sums
        if not np.isfinite(total).all():
            raise DataError("Products of scores overflow. Rescale the columns to moderate units.")
        return total / n


@dataclass(frozen=True, slots=True)
class Meat:
    """Meat of scores and what it was made of.

    Attributes
    ----------
    matrix : ndarray of shape (k, k)
        B, units of the scores squared.
    n_obs, n_clusters, n_strata : int or None
        Rows; clusters (the smaller number if two-way) or primary sampling units; survey strata.
        A survey design has n_clusters - n_strata degrees of freedom.
    n_clipped : int
        Negative eigenvalues of the two-way formula that were set to zero.
    """

    matrix: Array
    n_obs: int
    n_clusters: int | None = None
    n_strata: int | None = None
    n_clipped: int = 0


def meat(psi: Array, *, clusters: IntArray | tuple[IntArray, ...] | None = None) -> Meat:
    """Meat of scores in memory, with independent rows, clusters or two-way clusters.

    A score that is not finite, a negative code or a single cluster is a DataError.

    Parameters
    ----------
    psi : ndarray of shape (n, k)
        Scores.
    clusters : ndarray of shape (n,) or tuple of two such arrays, optional
        Non-negative integer codes, in any order and with gaps. A pair gives M1 + M2 - M12
        (Cameron, Gelbach and Miller 2011); should that have negative eigenvalues they are set to
        zero, which can only raise variances, and are counted in ``n_clipped``.
    """
    n = len(psi)
    if clusters is None:
        whole = MeatAccumulator(psi.shape[1])
        whole.update(psi)
        return Meat(matrix=whole.finish(), n_obs=n)
    if not isinstance(clusters, tuple):
        matrix, G = _one_way(psi, *group_codes(clusters, n))
        return Meat(matrix=matrix, n_obs=n, n_clusters=G)
    if len(clusters) != 2:
        raise ParameterError(f"clusters holds {len(clusters)} arrays. Pass one array or a pair.")
    first, second = (group_codes(codes, n, f"clusters[{i}]") for i, codes in enumerate(clusters))
    # No overflow: both factors are at most n after the recoding.
    both = group_codes(first[0] * len(second[1]) + second[0], n)
    (M1, G1), (M2, G2), (M12, _) = (_one_way(psi, *part) for part in (first, second, both))
    scale = np.sqrt(np.diag(M1) + np.diag(M2))
    matrix, n_clipped = clip_psd(M1 + M2 - M12, np.where(scale > 0, scale, 1.0))
    return Meat(matrix=matrix, n_obs=n, n_clusters=min(G1, G2), n_clipped=n_clipped)


def _one_way(psi: Array, codes: IntArray, labels: IntArray) -> tuple[Array, int]:
    part = MeatAccumulator(psi.shape[1], n_clusters=len(labels))
    part.update(psi, codes)
    return part.finish(), len(labels)


def survey_meat(
    psi: Array,
    *,
    strata: IntArray | None = None,
    psu: IntArray | None = None,
    fpc: Array | None = None,
    lonely: Lonely = "raise",
) -> Meat:
    """Meat of a stratified multi-stage sample, first stage drawn with replacement.

    B = (1/n) sum_h (1 - f_h) n_h/(n_h - 1) sum_c (z_hc - zbar_h)(z_hc - zbar_h)', where z_hc are
    the score totals of the n_h primary sampling units of stratum h. A stratum of one unit is a
    DataError that names it, unless ``lonely`` says otherwise.

    Parameters
    ----------
    psi : ndarray of shape (n, k)
        Scores, already multiplied by the sampling weights.
    strata : ndarray of shape (n,), optional
        Integer codes; one stratum if not given.
    psu : ndarray of shape (n,), optional
        Integer codes, nested: the same code in two strata means two units. Rows if not given.
    fpc : ndarray of shape (H,), optional
        Sampling fraction f_h of each stratum in [0, 1], in the order of sorted codes, default 0.
    lonely : {"raise", "centre"}, default "raise"
        Refuse a stratum of one unit, or take its deviation from the mean of all units. A unit
        sampled with certainty (f_h = 1) is never lonely: it adds nothing.
    """
    if lonely not in get_args(Lonely):
        raise ParameterError(f"lonely must be 'raise' or 'centre', got {lonely!r}. Choose one.")
    n = len(psi)
    _require_finite_scores(psi)
    stratum, labels = group_codes(np.zeros(n, np.int64) if strata is None else strata, n, "strata")
    unit, units = group_codes(np.arange(n) if psu is None else psu, n, "psu")
    pair, pairs = group_codes(stratum * len(units) + unit, n)
    z, home = cluster_sums(psi, pair, len(pairs)), pairs // len(units)
    count = np.bincount(home, minlength=len(labels))
    fraction = np.zeros(len(labels)) if fpc is None else fpc
    if fraction.shape != labels.shape or not np.all((fraction >= 0) & (fraction <= 1)):
        raise ParameterError(
            f"fpc must hold {len(labels)} sampling fractions in [0, 1], one per stratum, got "
            f"{fraction}. Divide sampled by existing units."
        )
    _require_clusters(len(pairs), "psu")
    single = (count == 1) & (fraction < 1)
    if lonely == "raise" and single.any():
        raise DataError(
            f"{single.sum()} of {len(labels)} strata have a single psu (stratum "
            f"{labels[single][0]} first). Merge them with others, or use lonely='centre'."
        )
    centre = cluster_sums(z, home, len(labels)) / count[:, None]
    centre[single] = z.mean(axis=0)
    factor = (1.0 - fraction) * count / np.maximum(count - 1, 1)
    deviation = (z - centre[home]) * np.sqrt(factor)[home, None]
    matrix = deviation.T @ deviation / n
    return Meat(matrix=matrix, n_obs=n, n_clusters=len(pairs), n_strata=len(labels))


@dataclass(frozen=True, slots=True)
class SmallSample:
    """Factor on the variance, and degrees of freedom of the t distribution (inf: normal)."""

    factor: float
    df: float


def small_sample(
    kind: VcovKind, *, n_obs: int, n_params: int, n_clusters: int | tuple[int, int] | None = None
) -> SmallSample:
    """Finite-sample factor and degrees of freedom of a variance estimator.

    Parameters
    ----------
    kind : {"HC0", "HC1", "HC2", "HC3", "CR0", "CR1", "CR2"}
        HC0, CR0: factor 1, normal. HC1: n/(n-k). HC2, HC3: factor 1, the correction is in the
        scores. CR1: G/(G-1) (n-1)/(n-k). CR2: factor 1. HC kinds have n-k degrees of freedom,
        CR kinds G-1.
    n_obs, n_params : int
        n and k.
    n_clusters : int or pair of int, optional
        Number of clusters G, needed by the CR kinds, without meaning for the HC kinds; the
        smaller of a pair counts. Fewer than two, or no more rows than parameters, is a DataError.
    """
    if kind not in get_args(VcovKind):
        raise ParameterError(f"kind must be one of {', '.join(get_args(VcovKind))}, got {kind!r}.")
    if n_obs <= n_params:
        raise DataError(
            f"{n_obs} rows cannot estimate the variance of {n_params} parameters. Use more rows or "
            f"fewer columns."
        )
    if kind.startswith("HC"):
        df = math.inf if kind == "HC0" else float(n_obs - n_params)
        return SmallSample(factor=n_obs / df if kind == "HC1" else 1.0, df=df)
    if n_clusters is None:
        raise ParameterError(f"kind={kind!r} needs n_clusters. Pass clusters, or use 'HC1'.")
    G = min(n_clusters) if isinstance(n_clusters, tuple) else n_clusters
    _require_clusters(G)
    factor = G / (G - 1) * (n_obs - 1) / (n_obs - n_params) if kind == "CR1" else 1.0
    return SmallSample(factor=factor, df=math.inf if kind == "CR0" else G - 1.0)


def sandwich(
    jacobian: Array,
    meat: Array,
    n_obs: int,
    factor: float = 1.0,
    *,
    names: Sequence[str] | None = None,
) -> Array:
    """Variance factor * J^-1 B J^-T / n; a singular J is a CollinearityError naming columns."""
    half = solve_square(jacobian, meat, names)
    return symmetrise(solve_square(jacobian, half.T, names)) * (factor / n_obs)


def hc_scores(X: Array, resid: Array, weights: Array | None = None, kind: HCKind = "HC2") -> Array:
    """Scores (n, k) of (weighted) least squares, residuals corrected for leverage h.

    Parameters
    ----------
    X : ndarray of shape (n, k)
        Design matrix.
    resid : ndarray of shape (n,)
        Residuals y - X b, unit of y.
    weights : ndarray of shape (n,), optional
        Weights of the fit; HC2 is unbiased if they are inverse error variances.
    kind : {"HC0", "HC1", "HC2", "HC3"}, default "HC2"
        Residuals are divided by (1 - h)^(1/2) for HC2 and by 1 - h for HC3. A row of leverage 1
        has residual zero whatever y; it is left out of the meat, with a warning.
    """
    if kind not in get_args(HCKind):
        raise ParameterError(f"kind must be one of {', '.join(get_args(HCKind))}, got {kind!r}.")
    psi = X * (resid if weights is None else weights * resid)[:, None]
    if kind in ("HC0", "HC1"):
        return psi
    slack = 1.0 - leverage(X, weights)
    fitted = slack < 1e-10
    if fitted.any():
        warn(
            f"{fitted.sum()} rows have leverage 1 (first: row {np.argmax(fitted)}): the fit passes "
            f"through them, and {kind} leaves them out. Use HC1, or drop their dummy variables."
        )
    power = np.where(fitted, 1.0, slack) ** (-0.5 if kind == "HC2" else -1.0)
    return psi * np.where(fitted, 0.0, power)[:, None]


def cr2_scores(X: Array, resid: Array, clusters: IntArray, weights: Array | None = None) -> Array:
    """Scores (n, k) whose cluster meat is CR2 (Bell and McCaffrey 2002; arguments: hc_scores).

    The residuals of a cluster are multiplied by (I - H_gg)^(+1/2), symmetric, in the metric of the
    weights; working model: independent errors with variance 1/w. Clusters of one row give HC2.
    """
    Z, _, root = weighted_basis(X, weights)
    u = root * resid
    for rows, Z_g, V, s, f in _cluster_blocks(Z, clusters):
        # As s -> 0 the ratio goes to 1/2, in a direction where the cluster has nothing.
        ratio = np.divide(f - 1.0, s, out=np.full_like(s, 0.5), where=s > 1e-14)
        u[rows] += Z_g @ (V @ (ratio * (V.T @ (Z_g.T @ u[rows]))))
    return X * (root * u)[:, None]


def cr2_df(X: Array, clusters: IntArray, contrast: Array, weights: Array | None = None) -> Array:
    """Satterthwaite degrees of freedom (q,) of t tests with CR2 (Bell and McCaffrey 2002).

    Parameters
    ----------
    X, clusters, weights
        As in :func:`cr2_scores`.
    contrast : ndarray of shape (k,) or (q, k)
        Linear combinations of the coefficients.
    """
    Z, R, _ = weighted_basis(X, weights)
    C = np.atleast_2d(contrast)
    if C.ndim != 2 or C.shape[1] != X.shape[1]:
        raise ParameterError(f"contrast has shape {contrast.shape}. Pass {X.shape[1]} columns.")
    # The variance estimate is e' B e, B = diag(d) - U U' over clusters: tr(B)^2 / tr(B^2).
    direction = np.linalg.solve(R.T, C.T)
    blocks = [(V, s, f, V.T @ direction) for _, _, V, s, f in _cluster_blocks(Z, clusters)]
    d = np.array([(s * f**2) @ t**2 for _, s, f, t in blocks])
    U = np.array([V @ ((s * f)[:, None] * t) for V, s, f, t in blocks])
    size = (U**2).sum(axis=1)
    trace = (d - size).sum(axis=0)
    lost = trace <= 1e-8 * (direction**2).sum(axis=0)
    if lost.any():
        raise DataError(
            f"contrast row {np.argmax(lost)} is estimated from one cluster alone, so CR2 has "
            f"no variance for it. Leave it out, or cluster at a finer level."
        )
    square = (d**2 - 2.0 * d * size).sum(axis=0)
    cross = np.einsum("giq,gjq->qij", U, U, optimize=True)
    return np.asarray(trace**2 / (square + (cross**2).sum(axis=(1, 2))), dtype=np.float64)


def check_clusters(n_clusters: int, minimum: int = 10) -> None:
    """Warn (SmallClusterWarning) if there are fewer than ``minimum`` clusters."""
    if n_clusters < minimum:
        warn(
            f"Only {n_clusters} clusters (fewer than {minimum}): cluster-robust standard errors "
            f"tend to be too small. Use vcov='CR2', or a cluster bootstrap.",
            SmallClusterWarning,
        )


def _require_clusters(n_clusters: int, name: str = "clusters") -> None:
    if n_clusters < 2:
        raise DataError(
            f"{name} has {n_clusters} distinct values, so variation between them cannot be "
            f"estimated. Cluster at a finer level, or use vcov='HC1'."
        )


def _require_finite_scores(psi: Array, first_row: int = 0) -> None:
    # One sum finds NaN and inf without a boolean array; only a bad block is looked at closely.
    with np.errstate(over="ignore", invalid="ignore"):
        total = psi.sum()
    if not np.isfinite(total) and not (finite := np.isfinite(psi)).all():
        row = first_row + int(np.argmin(finite.all(axis=1)))
        raise DataError(
            f"psi has {np.sum(~finite)} non-finite values (first at row {row}). Check the data for "
            f"missing or infinite values, and the parameters for divergence."
        )


def _cluster_blocks(
    Z: Array, clusters: IntArray
) -> Iterator[tuple[IntArray, Array, Array, Array, Array]]:
    """Rows, basis rows, and complement_root of each cluster."""
    codes, labels = group_codes(clusters, len(Z))
    _require_clusters(len(labels))
    order = np.argsort(codes, kind="stable")
    for rows in np.split(order, np.cumsum(np.bincount(codes))[:-1]):
        yield rows, Z[rows], *complement_root(Z[rows].T @ Z[rows])
