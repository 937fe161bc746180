"""Small sums of a fit from which standard errors at other numbers of labels follow (2.10 [D]).

Since psi = m + (w - 1) delta, the variance of the estimate splits into that of a corpus labelled
in full, and the noise of labelling with probabilities pi':

    V(pi') = V_full + (1/n^2) sum_R w (1 - pi')/pi' (e - centre)^2,   e = (A^-1 delta)_j,

with V_full = (1/n^2) sum_R w (A^-1 m)_j^2. Both sums are never negative, unlike R dsl's
V n_R/n' correction. With pi' = min(1, c pi) only two numbers a coefficient are needed for each
distinct probability: T = sum w e^2 / pi and S = sum w e^2; the noise is max(T/c - S, 0).

With clusters V_full is the fitted variance less the noise of today's labelling, for the labels of
rows of one cluster are drawn independently. Only diagonals are kept: a fitted object stays small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robuststat._core.errors import ParameterError
from robuststat._core.types import Array, IntArray
from robuststat._core.vcov import cluster_sums
from robuststat.surrogate._labels import Labelling
from robuststat.surrogate._models import GLMRows
from robuststat.surrogate._scores import AdjustedMoments, DesignAdjusted
from robuststat.surrogate._solve import RepetitionFit, VarianceSpec, centred

# Distinct probabilities that are kept exactly, and numbers that a fitted object may hold for them.
_MAX_BINS = 50
_MIN_BINS = 5
_MAX_NUMBERS = 1500
# About so many rows, evenly spread, tell how many have which probability.
_COUNTED_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class ProbabilityBins:
    """Rows grouped by labelling probability.

    Attributes
    ----------
    codes : ndarray of shape (n_labeled,)
        Bin of each labelled row.
    counts : ndarray of shape (b,)
        Rows in each bin, labelled or not.
    sums : ndarray of shape (b,)
        Sum of their probabilities, scaled so that the total is the number of labels.
    """

    codes: IntArray
    counts: Array
    sums: Array


@dataclass(frozen=True, slots=True)
class PlanParts:
    """What a fit remembers for planning; one row a repetition.

    Attributes
    ----------
    n_obs, n_labeled : int
        Rows and labels of the fit.
    counts, sums : ndarray of shape (b,)
        See :class:`ProbabilityBins`.
    full : ndarray of shape (r, k)
        Variance with every row labelled.
    noise_slope, noise_level : ndarray of shape (r, b, k)
        T and S.
    fitted : ndarray of shape (r, k)
        Variance of the fit.
    correction : ndarray of shape (r, k)
        Part of it that R dsl scales by n_R / n'.
    finite : bool
        Whether only labelling is random.
    """

    n_obs: int
    n_labeled: int
    counts: Array
    sums: Array
    full: Array
    noise_slope: Array
    noise_level: Array
    fitted: Array
    correction: Array
    finite: bool

    def scale(self, n_labels: float) -> float:
        """Solve sum_i min(1, c pi_i) = n_labels for c; inf when every row is labelled."""
        if n_labels >= self.n_obs:
            return np.inf
        knots = np.unique(self.counts / self.sums)
        reached = np.minimum(self.counts, knots[:, None] * self.sums).sum(axis=1)
        return float(np.interp(n_labels, np.append(0.0, reached), np.append(0.0, knots)))

    def variance(self, n_labels: float) -> Array:
        """Variance at n_labels, of shape (k,): median over repetitions (2.10)."""
        slope = self.noise_slope / self.scale(n_labels)
        noise = np.maximum(slope - self.noise_level, 0.0).sum(axis=1)
        return np.asarray(np.median(self.full + noise, axis=0))

    def variance_r(self, n_labels: float) -> Array:
        """Variance by the formula of R dsl, of shape (k,); it may be negative."""
        more = self.n_labeled / n_labels - 1.0
        return np.asarray(np.median(self.fitted + more * self.correction, axis=0))

    def per_row(self, position: int) -> tuple[float, float]:
        """Numbers a, b of one coefficient: variance = a / rows + b / labels, none capped at 1."""
        level = self.noise_level[:, :, position].sum(axis=1)
        slope = self.noise_slope[:, :, position].sum(axis=1)
        a = np.median(self.full[:, position] - level) * self.n_obs
        return float(a), float(np.median(slope) * self.n_labeled)


def bin_probabilities(labelling: Labelling, n_values: int) -> ProbabilityBins:
    """Group rows by probability: exactly up to 50 distinct ones, otherwise by quantiles.

    Parameters
    ----------
    labelling : Labelling
        Probabilities.
    n_values : int
        Numbers stored for each bin; with many, there are fewer bins.
    """
    n, rows = labelling.n_rows, labelling.rows
    if labelling.equal or labelling.complete:
        codes = np.zeros(rows.size, dtype=np.int64)
        return ProbabilityBins(codes, np.array([float(n)]), np.array([float(rows.size)]))
    prob = labelling.prob[rows]
    most = int(np.clip(_MAX_NUMBERS // n_values, _MIN_BINS, _MAX_BINS))
    values = np.unique(prob)
    if values.size > most:
        values = np.unique(np.quantile(prob, np.linspace(0.0, 1.0, most + 1)[1:]))
    # A bin reaches up to halfway to the next distinct value, so that rounding splits none.
    edges = 0.5 * (values[1:] + values[:-1])
    codes = np.searchsorted(edges, prob)
    if labelling.labeled.size < n:
        # Of a source only labelled rows are at hand: each stands for 1 / pi rows.
        counts = np.bincount(codes, labelling.ratio, values.size)
        sums = np.bincount(codes, np.ones(codes.size), values.size)
    else:
        seen = labelling.prob[:: max(1, n // _COUNTED_ROWS)]
        everyone = np.searchsorted(edges, seen)
        counts = np.bincount(everyone, minlength=values.size).astype(np.float64)
        sums = np.bincount(everyone, seen, values.size)
    # A bin can be empty only where rows were left out.
    own = np.bincount(codes, minlength=values.size).astype(np.float64)
    sums = np.where(counts > 0, sums, own * values)
    counts = np.where(counts > 0, counts, own)
    filled = counts > 0
    codes = (np.cumsum(filled) - 1)[codes]
    counts, sums = counts[filled], sums[filled]
    return ProbabilityBins(codes, counts * (n / counts.sum()), sums * (rows.size / sums.sum()))


def plan_parts(
    moments: AdjustedMoments, fit: RepetitionFit, spec: VarianceSpec, bins: ProbabilityBins
) -> tuple[Array, ...]:
    """Return full, T, S, fitted and correction of one repetition, see :class:`PlanParts`."""
    labelling, n = moments.labelling, moments.n_obs
    fitted = np.diag(fit.vcov)
    n_bins = bins.counts.size
    if labelling.complete:
        nothing = np.zeros((n_bins, fitted.size))
        full = np.zeros_like(fitted) if spec.kind == "finite" else fitted
        return full, nothing, nothing, fitted, np.zeros_like(fitted)
    gold, raw = _influences(moments, fit)
    middle = centred(labelling, raw)
    unit = spec.factor / n**2
    weight, prob = labelling.ratio * unit, labelling.prob[labelling.rows]
    squares = middle**2
    slope = _bin_sums(squares, weight / prob, bins.codes, n_bins)
    level = _bin_sums(squares, weight, bins.codes, n_bins)
    used = raw if spec.kind == "robust" else middle
    groups = spec.groups
    full = weight @ gold**2
    correction = (labelling.ratio * weight) @ used**2
    if spec.kind == "finite":
        full = np.zeros_like(full)
    elif groups is not None:
        codes = groups.codes[labelling.rows]
        weighted = cluster_sums(used * labelling.ratio[:, None], codes, len(groups.levels))
        correction = unit * (weighted**2).sum(axis=0)
        today = (weight * np.maximum(1.0 - prob, 0.0) / prob) @ used**2
        # Where noise leaves nothing, rows are taken as independent.
        full = np.where(fitted > today, fitted - today, full)
    return full, slope, level, fitted, correction


def join_parts(
    parts: list[tuple[Array, ...]], labelling: Labelling, bins: ProbabilityBins, *, finite: bool
) -> PlanParts:
    """Put the sums of all repetitions together."""
    full, slope, level, fitted, correction = (np.array(part) for part in zip(*parts, strict=True))
    return PlanParts(
        n_obs=labelling.n_rows,
        n_labeled=labelling.n_labeled,
        counts=bins.counts,
        sums=bins.sums,
        full=full,
        noise_slope=slope,
        noise_level=level,
        fitted=fitted,
        correction=correction,
        finite=finite,
    )


def _influences(moments: AdjustedMoments, fit: RepetitionFit) -> tuple[Array, Array]:
    """A^-1 m and A^-1 delta of the labelled rows, each of shape (n_labeled, k)."""
    if fit.each:
        assert fit.tuning is not None
        found = [
            _influences(moments.tuned(float(fit.tuning[j])), one) for j, one in enumerate(fit.each)
        ]
        gold, raw = (
            np.column_stack([part[i][:, j] for j, part in enumerate(found)]) for i in range(2)
        )
        return gold, raw
    if fit.tuning is not None:
        moments = moments.tuned(fit.tuning)
    assert fit.bread is not None
    bread, model = fit.bread, moments.model
    in_memory = isinstance(moments, DesignAdjusted) and moments.pseudo_outcome is not None
    if not (in_memory and isinstance(model, GLMRows)):
        gold = moments.tuned(0.0).corrections(fit.theta) @ bread.T
        return gold, moments.corrections(fit.theta) @ bread.T
    assert isinstance(moments, DesignAdjusted)
    # Only the outcome differs. Coefficients come first in memory: products with one number a row
    # are several times faster so.
    rows, a = moments.labelling.rows, moments.labelling.weights
    leverage = bread @ moments.X_gold.T
    if a is not None:
        leverage *= a[rows]
    residual = moments.y_gold - model.family.mean(moments.X_gold @ fit.theta)
    error = moments.y_gold - moments.y_hat[rows]
    return (leverage * residual).T, (leverage * error).T


def _bin_sums(rows: Array, weight: Array, codes: IntArray, n_bins: int) -> Array:
    """Weighted sums of rows (r, k) by bin, of shape (b, k)."""
    if n_bins == 1:
        return np.asarray(weight @ rows)[None, :]
    columns = [np.bincount(codes, weight * column, n_bins) for column in rows.T]
    return np.column_stack(columns)


def r_errors(parts: PlanParts, numbers: list[int]) -> list[Array]:
    """Evaluate the formula of R dsl, with its fallback where the variance is negative."""
    if parts.finite:
        raise ParameterError(
            "method='r' has no finite population. Use method='psd' with population='finite'."
        )
    found = {}
    last = np.sqrt(parts.variance_r(parts.n_labeled))
    sizes = np.full(last.size, parts.n_labeled)
    for number in sorted(set(numbers)):
        variance = parts.variance_r(number)
        valid = variance >= 0
        scaled = last * np.sqrt(sizes / number)
        found[number] = np.where(valid, np.sqrt(np.maximum(variance, 0.0)), scaled)
        newer = valid & (number > sizes)
        last, sizes = np.where(newer, found[number], last), np.where(newer, number, sizes)
    return [found[number] for number in numbers]
