"""Estimates and pseudo-risks of all tuples of candidate learners at once (2.6).

A tuple holds one candidate for each of (pi, p, beta, h, omega). Given candidates of pi and p the
score beta + (s/D) R is additive in the other three, so that all K^5 estimates follow from sums
that one matrix product over the pairs of (pi, p) gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robuststat._core.types import Array, IntArray
from robuststat.iv._scores import keep_sign_away_from_zero

KEYS = ("instrument", "treatment", "effect", "direct", "confounding")
# Coordinates that may be wrong while the score keeps its mean zero, by model of the union (2.1).
FREE: dict[str, tuple[int, ...]] = {
    "M1": (2, 3, 4),
    "M2": (1, 4),
    "M3": (0, 3),
    "M4": (0, 1),
}
# Rows a pass: weights of all pairs of pi and p for this many rows stay in the cache.
CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Candidates:
    """Out-of-fold nuisance values of every candidate, each of shape (number of candidates, n).

    Attributes
    ----------
    pi : ndarray
        P(Z = 1 | X).
    p0, p1 : ndarray
        P(A = 1 | Z = z, X), candidates of the same number together.
    beta : ndarray
        Conditional effect.
    h0, h1 : ndarray
        E(Y - beta A | Z = z, X).
    omega : ndarray
        Confounding covariance.
    """

    pi: Array
    p0: Array
    p1: Array
    beta: Array
    h0: Array
    h1: Array
    omega: Array

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Numbers of candidates, in the order of ``KEYS``."""
        return (
            len(self.pi),
            len(self.p0),
            len(self.beta),
            len(self.h0),
            len(self.omega),
        )


def tuple_estimates(
    values: Candidates,
    y: Array,
    a: Array,
    z: Array,
    split: IntArray,
    n_splits: int,
    *,
    clip_pi: float,
    min_abs_d: float,
    weights: Array | None = None,
) -> Array:
    """Mean effect of every tuple in every split.

    Parameters
    ----------
    values : Candidates
        Nuisance values of n rows.
    y, a, z : ndarray of shape (n,)
        Outcome, 0/1 exposure, 0/1 instrument.
    split : ndarray of int of shape (n,)
        Test part that a row is in.
    n_splits : int
        Number of test parts.
    clip_pi, min_abs_d : float
        Bounds of pi and |D|.
    weights : ndarray of shape (n,), optional
        Sample weights.

    Returns
    -------
    ndarray of shape (n_splits, K_pi, K_p, K_beta, K_h, K_omega)
    """
    k_pi, k_p, k_beta, k_h, k_omega = values.shape
    treated = z > 0.5
    h = np.where(treated, values.h1, values.h0)
    p = np.where(treated, values.p1, values.p0)
    D = values.p1 * (1.0 - values.p1) - values.p0 * (1.0 - values.p0)
    pi = np.clip(values.pi, clip_pi, 1.0 - clip_pi)
    s = np.where(treated, 1.0 / pi, -1.0 / (1.0 - pi))
    over_d = 1.0 / keep_sign_away_from_zero(D, min_abs_d)
    e_over_d = (a - p) * over_d
    w = np.ones(y.size) if weights is None else weights
    # Sums of g e times (y, h, A beta), of g times omega, and of beta: one column a candidate.
    with_e = np.column_stack([w * y, *(w * h), *(w * a * values.beta)])
    alone = np.column_stack(list(w * values.omega))
    out = np.empty((n_splits, k_pi, k_p, k_beta, k_h, k_omega))
    for part in range(n_splits):
        rows = np.flatnonzero(split == part)
        sums_e = np.zeros((k_pi * k_p, with_e.shape[1]))
        sums = np.zeros((k_pi * k_p, k_omega))
        for start in range(0, rows.size, CHUNK):
            block = rows[start : start + CHUNK]
            g_e = s[:, None, block] * e_over_d[:, block]
            g = s[:, None, block] * over_d[:, block]
            sums_e += g_e.reshape(k_pi * k_p, -1) @ with_e[block]
            sums += g.reshape(k_pi * k_p, -1) @ alone[block]
        total = w[rows].sum()
        sums_e = sums_e.reshape(k_pi, k_p, -1) / total
        beta = values.beta[:, rows] @ w[rows] / total - sums_e[..., 1 + k_h :]
        omega = sums.reshape(k_pi, k_p, k_omega) / total
        out[part] = (
            sums_e[..., 0, None, None, None]
            + beta[..., :, None, None]
            - sums_e[..., None, 1 : 1 + k_h, None]
            - omega[..., None, None, :]
        )
    return out


@dataclass(frozen=True, slots=True)
class PseudoRisk:
    """Pseudo-risks of all tuples.

    Attributes
    ----------
    diameters : dict of str to ndarray
        For each model of the union the largest mean squared change of the estimate between two
        tuples that differ in its free coordinates only; length one along those coordinates.
    mixed : ndarray of shape (K_pi, K_p, K_beta, K_h, K_omega)
        Sum of the diameters.
    minimax : ndarray of the same shape
        Largest mean squared change, over models, from the tuple itself.
    """

    diameters: dict[str, Array]
    mixed: Array
    minimax: Array


def pseudo_risk(psi: Array) -> PseudoRisk:
    """Pseudo-risks from the estimates of all tuples in all splits.

    Parameters
    ----------
    psi : ndarray of shape (n_splits, K_pi, K_p, K_beta, K_h, K_omega)
        As from ``tuple_estimates``.

    Returns
    -------
    PseudoRisk
    """
    shape = psi.shape[1:]
    diameters: dict[str, Array] = {}
    mixed, minimax = np.zeros(shape), np.zeros(shape)
    for model, free in FREE.items():
        rest = tuple(axis for axis in range(5) if axis not in free)
        order = (*rest, *free)
        moved = np.moveaxis(psi, 0, -1).transpose((*order, 5))
        groups = moved.reshape(int(np.prod([shape[axis] for axis in rest])), -1, psi.shape[0])
        farthest = _farthest(groups)
        radius = farthest.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))
        diameters[model] = radius.max(axis=free, keepdims=True)
        mixed += diameters[model]
        np.maximum(minimax, radius, out=minimax)
    return PseudoRisk(diameters, mixed, minimax)


def _farthest(groups: Array) -> Array:
    """Largest mean squared distance of every point from the others of its group.

    Parameters
    ----------
    groups : ndarray of shape (n_groups, n_points, n_splits)

    Returns
    -------
    ndarray of shape (n_groups, n_points)
    """
    n_groups, n_points, n_splits = groups.shape
    # Distances from inner products are exact to rounding relative to the diameter, once centred.
    centred = groups - groups.mean(axis=1, keepdims=True)
    norm = np.einsum("gps,gps->gp", centred, centred)
    out = np.empty((n_groups, n_points))
    size = max(1, 1_000_000 // n_points**2)
    for start in range(0, n_groups, size):
        x, own = centred[start : start + size], norm[start : start + size]
        product = x @ np.swapaxes(x, 1, 2)
        product *= -2.0
        product += own[:, None, :]
        out[start : start + size] = product.max(axis=2) + own
    return np.asarray(np.maximum(out, 0.0) / n_splits)


def softmax_weights(risk: Array, rate: float) -> Array:
    """Weights exp(-rate u), u the rank of the risk scaled to [0, 1]; equal risks, equal weights."""
    _, inverse, counts = np.unique(risk, return_inverse=True, return_counts=True)
    # Middle ranks, so that ties do not depend on the order of the tuples.
    ranks = np.cumsum(counts) - (counts + 1) / 2
    scaled = ranks[inverse].reshape(risk.shape) / max(risk.size - 1, 1)
    weight = np.exp(-rate * (scaled - scaled.min()))
    return np.asarray(weight / weight.sum())
