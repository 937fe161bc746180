"""Who carries an expert label, with which probability, and what that does to the variance.

Numbers such as (2.5) refer to the steps in the docstring of ``robuststat.surrogate``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from robuststat._core.errors import (
    DataError,
    OverlapWarning,
    RoleError,
    warn,
)
from robuststat._core.glm import FAMILIES
from robuststat._core.moments import nuisance_coefficient
from robuststat._core.optim import newton
from robuststat._core.table import Codes
from robuststat._core.types import Array, BoolArray, IntArray

DesignName = Literal["srs", "bernoulli", "stratified"]


@dataclass(frozen=True, slots=True)
class Labelling:
    """The labelled rows and the weights that make them stand for all rows.

    Attributes
    ----------
    labeled : ndarray of bool of shape (n,)
        R.
    rows : ndarray of shape (n_labeled,)
        Positions of the labelled rows, ascending.
    prob : ndarray of shape (n,)
        Labelling probability after normalisation or estimation, in (0, 1].
    ratio : ndarray of shape (n_labeled,)
        Design weight 1 / prob of the labelled rows.
    weights : ndarray of shape (n,) or None
        Sample weights.
    strata : Codes or None
        Strata with fixed numbers of labels.
    known : bool
        True when ``prob`` is used exactly as given; then nothing was estimated.
    terms : ndarray of shape (n, h) or None
        Columns of the logit model when the probabilities were estimated.
    effective : float
        Kish's effective number of labels, (sum w)^2 / sum w^2.
    n_rows : int
        Rows that the labelled ones stand for: n, or more when these rows are part of a source.
    mass : ndarray of shape (n_strata,)
        Sum of a pi over all of them, by stratum.
    information : ndarray of shape (h, h) or None
        Information of the logit model.
    range : tuple of float
        Smallest and largest probability of all rows.
    """

    labeled: BoolArray
    rows: IntArray
    prob: Array
    ratio: Array
    weights: Array | None
    strata: Codes | None
    known: bool
    terms: Array | None
    effective: float
    n_rows: int
    mass: Array
    information: Array | None
    range: tuple[float, float]

    @property
    def equal(self) -> bool:
        """Whether all rows share one probability, stored once."""
        return self.prob.strides == (0,)

    @property
    def uneven(self) -> bool:
        """Whether labelled rows have different weights."""
        return _uneven(self.ratio)

    @property
    def n_labeled(self) -> int:
        """Number of labelled rows."""
        return int(self.rows.size)

    @property
    def complete(self) -> bool:
        """Whether every row is labelled with weight one, so that surrogates play no part."""
        return self.rows.size == self.n_rows and bool((self.ratio == 1.0).all())


def read_labelled(flag: Array | None, known: dict[str, BoolArray], n_rows: int) -> BoolArray:
    """R: given by ``labeled``, otherwise rows in which every predicted column is present.

    Parameters
    ----------
    flag : ndarray of shape (n,) or None
        The role ``labeled``.
    known : dict of str to ndarray of bool
        For each predicted column, where its expert value is present.
    n_rows : int
        Number of rows.

    Raises
    ------
    RoleError
        When ``labeled`` contradicts the values, or no row is labelled.
    """
    labeled = labelled_mask(flag, known, n_rows)
    if not labeled.any():
        raise DataError(
            f"No row is labelled: {', '.join(known)} is missing in all {n_rows} rows. "
            "Pass expert labels for some rows."
        )
    return labeled


def labelled_mask(flag: Array | None, known: dict[str, BoolArray], n_rows: int) -> BoolArray:
    """R of some rows, of which none may be labelled; see ``read_labelled``."""
    if flag is None:
        labeled = np.ones(n_rows, dtype=bool)
        for present in known.values():
            labeled &= present
        return labeled
    labeled = np.asarray(flag == 1.0)
    for name, present in known.items():
        _refuse_contradiction(labeled, present, name)
    return labeled


def _refuse_contradiction(labeled: BoolArray, present: BoolArray, name: str) -> None:
    extra = np.flatnonzero(~labeled & present)
    if extra.size:
        raise RoleError(
            f"labeled is 0 but {name!r} is present in {extra.size} rows (first at row {extra[0]}). "
            f"Set {name!r} to missing there, or mark these rows as labelled."
        )
    lacking = np.flatnonzero(labeled & ~present)
    if lacking.size:
        raise RoleError(
            f"labeled is 1 but {name!r} is missing in {lacking.size} rows (first at row "
            f"{lacking[0]}). Supply the label, or set labeled to 0 there."
        )


def make_labelling(
    labeled: BoolArray,
    *,
    prob: Array | None,
    design: DesignName,
    strata: Codes | None,
    weights: Array | None,
    normalize: bool,
    terms: Array | None,
) -> Labelling:
    """Validate the labelling design and compute the weights (2.1).

    Parameters
    ----------
    labeled : ndarray of bool of shape (n,)
        R.
    prob : ndarray of shape (n,) or None
        Known probabilities; None means equal ones (within strata for ``design="stratified"``).
    design : {"srs", "bernoulli", "stratified"}
        How labels were drawn.
    strata : Codes or None
        Strata of the design.
    weights : ndarray of shape (n,) or None
        Sample weights.
    normalize : bool
        Scale the probabilities so that their mean is the share labelled (within strata).
    terms : ndarray of shape (n, h) or None
        Estimate the probabilities by a logit model in these columns with the known log-odds as
        offset.

    Returns
    -------
    Labelling

    Raises
    ------
    RoleError
        When probabilities are outside (0, 1], a stratified design has no strata, or a stratum
        has no label.
    """
    n = labeled.size
    if design == "stratified" and strata is None:
        raise RoleError("design='stratified' needs strata=: the stratum of every row.")
    cells = strata if design == "stratified" else None
    if prob is not None:
        check_probabilities(prob)
    rows = np.flatnonzero(labeled)
    refuse_weightless(weights, rows)
    a = np.ones(n) if weights is None else weights
    known = False
    if labeled.all():
        # Everyone is labelled: there is nothing to weigh, whatever the probabilities were.
        used, terms = np.broadcast_to(np.float64(1.0), (n,)), None
    elif terms is not None:
        start = np.full(n, rows.size / n) if prob is None else prob
        used = _estimated_probabilities(labeled, start, terms, a)
    elif prob is None or normalize:
        scale = label_totals(labeled, prob, cells, weights).scale(
            None if cells is None else cells.levels
        )
        used = scaled_probabilities(scale, prob, cells, n)
    else:
        # With a fixed number of labels the design itself makes up for the scale.
        used, known = prob, design == "bernoulli"
    ratio = 1.0 / used[rows]
    effective = check_weights(ratio, float(used.min()), float(used.max()), used)
    mass, information = _totals(used, weights, cells, terms)
    return Labelling(
        labeled,
        rows,
        used,
        ratio,
        weights,
        cells,
        known,
        terms,
        effective,
        n,
        mass,
        information,
        (float(used.min()), float(used.max())),
    )


def refuse_weightless(weights: Array | None, rows: IntArray) -> None:
    """Refuse labels that all have sample weight zero."""
    if weights is not None and not weights[rows].any():
        raise DataError(
            f"sample_weight is zero in all {rows.size} labelled rows. Label rows that count, or "
            "correct the weights."
        )


def _totals(
    prob: Array, weights: Array | None, strata: Codes | None, terms: Array | None
) -> tuple[Array, Array | None]:
    """Sum over all rows what the derivatives of the labelling model need (2.5)."""
    mass = prob if weights is None else weights * prob
    if terms is not None:
        return np.zeros(0), (terms.T * (mass * (1.0 - prob))) @ terms
    if strata is not None:
        return np.asarray(np.bincount(strata.codes, mass, len(strata.levels)), dtype=float), None
    if prob.strides == (0,) and weights is None:
        return np.array([prob[0] * prob.size]), None
    return np.array([mass.sum()]), None


def check_probabilities(prob: Array) -> None:
    """Refuse labelling probabilities outside (0, 1].

    Parameters
    ----------
    prob : ndarray of shape (n,)
        The role ``sample_prob``.
    """
    bad = np.flatnonzero(~((prob > 0) & (prob <= 1)))
    if bad.size:
        raise RoleError(
            f"sample_prob has {bad.size} values outside (0, 1] (min {np.nanmin(prob):g}, max "
            f"{np.nanmax(prob):g}, first at row {bad[0]}). Pass the known labelling probability "
            "of every row, or use sample_prob=None for equal-probability sampling."
        )


@dataclass(slots=True)
class LabelTotals:
    """Sums by stratum from which probabilities are scaled; those of parts of the rows add up.

    Attributes
    ----------
    drawn : ndarray of shape (n_strata,)
        Total weight of the labelled rows.
    total : ndarray of shape (n_strata,)
        Total of weight times given probability, of the weight without one.
    low, high : ndarray of shape (n_strata,)
        Range of the given probabilities.
    """

    drawn: Array
    total: Array
    low: Array
    high: Array

    def scale(self, levels: tuple[Any, ...] | None) -> Array:
        """Probability (factor) at which the labelled rows stand for all, by stratum."""
        empty = np.flatnonzero(self.drawn == 0)
        if empty.size and levels is not None:
            raise RoleError(
                f"{empty.size} strata have no labelled row: "
                f"{', '.join(str(levels[h]) for h in empty[:5])}. Label some rows there, or merge "
                "strata."
            )
        return np.asarray(self.drawn / self.total)


def label_totals(
    labeled: BoolArray, prob: Array | None, cells: Codes | None, weights: Array | None
) -> LabelTotals:
    """Add up some rows; without strata there is one stratum."""
    if cells is None:
        values = labeled if prob is None else prob
        drawn = np.count_nonzero(labeled) if weights is None else weights[labeled].sum()
        if prob is None:
            total = labeled.size if weights is None else weights.sum()
        else:
            total = prob.sum() if weights is None else weights @ prob
        low, high = (1.0, 1.0) if prob is None else (values.min(), values.max())
        return LabelTotals(*(np.array([float(v)]) for v in (drawn, total, low, high)))
    size = len(cells.levels)
    a = np.ones(labeled.size) if weights is None else weights
    low, high = np.full(size, np.inf), np.full(size, -np.inf)
    np.minimum.at(low, cells.codes, np.ones(labeled.size) if prob is None else prob)
    np.maximum.at(high, cells.codes, np.ones(labeled.size) if prob is None else prob)
    drawn = np.bincount(cells.codes, a * labeled, size)
    total = np.bincount(cells.codes, a if prob is None else a * prob, size)
    return LabelTotals(drawn.astype(float), total.astype(float), low, high)


def scaled_probabilities(
    scale: Array, prob: Array | None, cells: Codes | None, n_rows: int
) -> Array:
    """Probabilities of some rows, scaled by stratum."""
    if cells is None:
        if prob is None:
            # One number seen n times: no memory, and code downstream needs no special case.
            return np.broadcast_to(np.float64(scale[0]), (n_rows,))
        return np.asarray(prob * scale[0])
    by_row = scale[cells.codes]
    return by_row if prob is None else prob * by_row


def _estimated_probabilities(labeled: BoolArray, prob: Array, terms: Array, a: Array) -> Array:
    """Logit model of R with the known log-odds as offset: true coefficients are zero (2.5)."""
    certain = prob >= 1.0
    offset = np.log(prob / np.where(certain, 1.0, 1.0 - prob))
    mean, slope = FAMILIES["logit"].mean, FAMILIES["logit"].slope
    free = ~certain
    design, response, weight = terms[free], labeled[free].astype(np.float64), a[free]

    def score(gamma: Array) -> tuple[Array, Array]:
        mu = mean(offset[free] + design @ gamma)
        weighted = design * (weight * slope(mu))[:, None]
        return design.T @ (weight * (response - mu)) / free.sum(), -(
            weighted.T @ design
        ) / free.sum()

    gamma, _, info = newton(score, np.zeros(terms.shape[1]))
    if not info.converged:
        raise DataError(
            f"The model of the labelling probabilities did not converge ({info.message}); some "
            "terms may decide exactly who is labelled. Use fewer terms, or prob_terms=None."
        )
    used = np.ones_like(prob)
    used[free] = mean(offset[free] + design @ gamma)
    return used


def check_weights(ratio: Array, low: float, high: float, prob: Array) -> float:
    """Warn about extreme weights; returns Kish's effective number of labels."""
    effective = float(ratio.sum() ** 2 / (ratio**2).sum())
    if high > 1.0 + 1e-12:
        warn(
            f"{np.count_nonzero(prob > 1.0 + 1e-12)} labelling probabilities exceed 1 after "
            f"scaling to the share labelled (max {high:.3g}). Check sample_prob, or set "
            "normalize_prob=False.",
            OverlapWarning,
        )
    # Equal probabilities give equal weights however small they are.
    if _uneven(ratio) and (low < 0.01 or ratio.max() > 50.0 * ratio.mean()):
        warn(
            f"The smallest labelling probability is {low:.3g}; the largest weight of a "
            f"labelled row is {ratio.max():.3g} (mean {ratio.mean():.3g}), so {ratio.size} "
            f"labels are worth {effective:.0f} equally weighted ones. Label more rows where "
            "the probability is small.",
            OverlapWarning,
        )
    return effective


def _uneven(ratio: Array) -> bool:
    return bool(np.ptp(ratio) > 1e-12 * ratio.max())


def nuisance_scores(labelling: Labelling, rows: slice) -> tuple[Array, IntArray | None]:
    """Scores of the estimated probabilities on some rows, with their stratum when stratified.

    For normalised probabilities a (R - pi), one value a row; for a logit model a h (R - pi), h
    values a row.
    """
    gap = labelling.labeled[rows] - labelling.prob[rows]
    if labelling.weights is not None:
        gap = gap * labelling.weights[rows]
    if labelling.terms is not None:
        return gap[:, None] * labelling.terms[rows], None
    codes = None if labelling.strata is None else labelling.strata.codes[rows]
    return gap[:, None], codes


def probability_coefficient(labelling: Labelling, correction: Array) -> Array | None:
    """Find what estimating the probabilities takes off the scores, of shape (r, k) (2.5).

    Parameters
    ----------
    labelling : Labelling
        Probabilities; None is returned when they are known.
    correction : ndarray of shape (n_labeled, k)
        a (m - mhat) of the labelled rows.

    Notes
    -----
    ``nuisance_coefficient`` for this triangular system. With a constant c in pi = c pi0 it is
    sum(a w (m - mhat)) / sum(a pi), in each stratum when stratified; with a logit model the
    derivatives of w are -w (1 - pi) h.
    """
    if labelling.known:
        return None
    weighted = correction * labelling.ratio[:, None]
    if labelling.terms is not None:
        assert labelling.information is not None
        rows = labelling.rows
        lost = weighted * (1.0 - labelling.prob[rows])[:, None]
        return nuisance_coefficient(-lost.T @ labelling.terms[rows], -labelling.information)
    if labelling.strata is None:
        return np.asarray(weighted.sum(axis=0, keepdims=True) / labelling.mass[0])
    totals = np.zeros((labelling.mass.size, correction.shape[1]))
    np.add.at(totals, labelling.strata.codes[labelling.rows], weighted)
    return totals / labelling.mass[:, None]


def apply_coefficient(scores: Array, codes: IntArray | None, coefficient: Array) -> Array:
    """Product of nuisance scores with their coefficient, row by row, of shape (m, k)."""
    return scores @ coefficient if codes is None else scores * coefficient[codes]
