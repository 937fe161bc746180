"""Coefficients of agreement between coders, as functions of row weights.

Labels are an (n, c) array, one column a coder, NaN where a coder did not label. Row weights count
how often a row enters: ones, or the counts of a bootstrap draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from scipy.stats import binom

from robuststat._core.types import Array, BoolArray, IntArray

Scale: TypeAlias = Literal["nominal", "ordinal", "interval"]


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of several coders in the forms that the coefficients need.

    Attributes
    ----------
    values : ndarray of shape (n, c)
        Numbers, or codes 0, 1, ... of categories; NaN where missing.
    counts : ndarray of shape (n, v) or None
        How many coders gave each category; None when labels are measured on an interval scale.
    number : ndarray of shape (n,)
        Labels of each row.
    """

    values: Array
    counts: Array | None
    number: Array

    @property
    def paired(self) -> BoolArray:
        """Rows with at least two labels: only they say something about agreement."""
        return self.number >= 2


def make_labels(values: Array, scale: Scale) -> Labels:
    """Count the labels of each row, by category unless ``scale`` is "interval".

    Parameters
    ----------
    values : ndarray of shape (n, c)
        Numbers, NaN where missing.
    scale : {"nominal", "ordinal", "interval"}
        What differences between labels mean.
    """
    number = np.isfinite(values).sum(axis=1).astype(np.float64)
    if scale == "interval":
        return Labels(values, None, number)
    levels = np.unique(values[np.isfinite(values)])
    counts = np.zeros((values.shape[0], levels.size))
    for j in range(values.shape[1]):
        rows = np.flatnonzero(np.isfinite(values[:, j]))
        counts[rows, np.searchsorted(levels, values[rows, j])] += 1.0
    return Labels(values, counts, number)


def krippendorff_alpha(labels: Labels, scale: Scale, weights: Array) -> float:
    """One minus observed over expected disagreement; NaN when all labels are the same.

    Parameters
    ----------
    labels : Labels
        Rows with fewer than two labels do not count.
    scale : {"nominal", "ordinal", "interval"}
        Squared difference between two labels: 0/1; squared number of labels between them; square.
    weights : ndarray of shape (n,)
        Row weights.
    """
    use = labels.paired
    m, w = labels.number[use], weights[use]
    if scale == "interval":
        x = labels.values[use]
        x = np.nan_to_num(x - np.nanmean(x))
        first, second = x.sum(axis=1), (x**2).sum(axis=1)
        total = float(w @ m)
        observed = float((w / (m - 1.0)) @ (m * second - first**2))
        expected = (total * float(w @ second) - float(w @ first) ** 2) / (total - 1.0)
        return _one_minus(observed, expected)
    assert labels.counts is not None
    counts = labels.counts[use]
    share = w / (m - 1.0)
    coincidences = (counts * share[:, None]).T @ counts - np.diag(share @ counts)
    margins = coincidences.sum(axis=1)
    distance = _distances(margins, scale)
    expected = float(margins @ distance @ margins) / (margins.sum() - 1.0)
    return _one_minus(float((coincidences * distance).sum()), expected)


def _distances(margins: Array, scale: Scale) -> Array:
    if scale == "nominal":
        return 1.0 - np.eye(margins.size)
    # Labels between c and k, with half of those at c and k themselves.
    middle = np.cumsum(margins) - 0.5 * margins
    return np.asarray(np.subtract.outer(middle, middle) ** 2)


def _one_minus(observed: float, expected: float) -> float:
    return 1.0 - observed / expected if expected > 0 else np.nan


def raw_agreement(labels: Labels, weights: Array) -> float:
    """Chance that two coders of a row gave the same label, averaged over rows."""
    use = labels.paired
    m, w = labels.number[use], weights[use]
    if labels.counts is None:
        same = _pairs_alike(labels.values[use])
    else:
        same = (labels.counts[use] * (labels.counts[use] - 1.0)).sum(axis=1)
    return float(w @ (same / (m * (m - 1.0))) / w.sum())


def _pairs_alike(values: Array) -> Array:
    """Ordered pairs of different coders with equal labels, of shape (n,)."""
    alike = np.zeros(values.shape[0])
    for j in range(values.shape[1]):
        alike += (values == values[:, [j]]).sum(axis=1) - np.isfinite(values[:, j])
    return alike


def kappa(labels: Labels, weights: Array) -> float:
    """Cohen's kappa for two coders, Fleiss' for more, over the rows that all of them labelled.

    Cohen's chance agreement comes from the shares of each coder, Fleiss' from the pooled shares.
    """
    n_coders = labels.values.shape[1]
    use = labels.number == n_coders
    assert labels.counts is not None
    counts, w = labels.counts[use], weights[use]
    if w.sum() == 0:
        return np.nan
    w = w / w.sum()
    pairs = n_coders * (n_coders - 1.0)
    observed = float(w @ (counts * (counts - 1.0)).sum(axis=1)) / pairs
    if n_coders == 2:
        levels = np.unique(labels.values[np.isfinite(labels.values)])
        margins = (w @ (labels.values[use][:, [j]] == levels) for j in range(2))
        first, second = margins
        chance = float(first @ second)
    else:
        chance = float(((w @ counts / n_coders) ** 2).sum())
    return (observed - chance) / (1.0 - chance) if chance < 1.0 else np.nan


def variance_parts(labels: Labels, weights: Array) -> tuple[float, float]:
    """Variance between rows and within rows: one-way random effects with unequal numbers.

    The analysis-of-variance estimates: within is the mean square within rows, between is (mean
    square between - within) / k0 with k0 = (N - sum m^2 / N) / (J - 1); it may be negative.
    """
    use = (labels.number >= 1) & (weights > 0)
    x, m, w = labels.values[use], labels.number[use], weights[use]
    total, groups = float(w @ m), float(w.sum())
    if total <= groups or groups <= 1:
        return np.nan, np.nan
    means = np.nanmean(x, axis=1)
    grand = float(w @ (m * means)) / total
    within = float(w @ np.nansum((x - means[:, None]) ** 2, axis=1)) / (total - groups)
    between = float(w @ (m * (means - grand) ** 2)) / (groups - 1.0)
    k0 = (total - float(w @ m**2) / total) / (groups - 1.0)
    return (between - within) / k0, within


def single_reliability(labels: Labels, weights: Array) -> float:
    """ICC(1): share of the variance of one label that lies between rows."""
    between, within = variance_parts(labels, weights)
    return between / (between + within) if between + within > 0 else np.nan


def mean_reliability(single: float, n_coders: Array) -> Array:
    """Reliability of the mean of m labels by Spearman and Brown, m r / (1 + (m - 1) r).

    Zero when rows are less alike than chance (r < 0): the estimated variance between them is none.
    """
    single = max(single, 0.0)
    return np.asarray(n_coders * single / (1.0 + (n_coders - 1.0) * single))


def symmetric_error(agreement: float) -> float:
    """Chance e of a wrong binary label when two labels agree with chance 1 - 2 e (1 - e).

    NaN when coders agree less than by chance: then no such error below 1/2 exists.
    """
    inside = 2.0 * agreement - 1.0
    return 0.5 * (1.0 - float(np.sqrt(inside))) if inside >= 0 else np.nan


def majority_error(error: float, n_coders: IntArray) -> Array:
    """Chance that the majority of m independent labels is wrong; NaN for even m."""
    wrong = binom.sf(n_coders // 2, n_coders, error)
    return np.where(n_coders % 2 == 1, wrong, np.nan)
