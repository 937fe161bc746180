"""Densities of rare events: few kernels around the points that count, each with a wider twin.

[D] Cross-entropy fits a Gaussian that is narrow across the border of the event, and f/g is then
unbounded along it: the estimate of P has infinite variance for a linear limit state. A twin with
the same centre, never narrower than the law in any direction, bounds f/g there. For a linear limit
state at 3.5 the squared relative error of a run is 3.9 with a shifted law, 1.0 with the pair.
[D] In high dimension a covariance from few points is shrunk to that of the law, the direction of
the centre kept: the only one in which a half space differs from the law.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from robuststat._core.types import Array
from robuststat.sampling._density import Components, make_components, moments
from robuststat.sampling._em import GaussianMixture, fit_mixture

__all__ = ["Frame", "fit_tails", "law_frame", "steepest"]

_TWIN, _RING = 0.25, 0.15  # shares of the twins, and of the density around the law's centre
_RIDGE = 1e-6
_MAX_KERNELS = 6
_POINTS_A_PARAMETER = 2.0
_STEPS = 30


@dataclass(frozen=True, slots=True)
class Frame:
    """Coordinates in which the law has mean zero and unit covariance: x = centre + factor z."""

    centre: Array
    factor: Array

    def to_unit(self, points: Array) -> Array:
        return np.asarray(np.linalg.solve(self.factor, (points - self.centre).T).T)


def law_frame(points: Array, law_weights: Array, normal: bool) -> Frame:
    """Frame of the law: known in normal coordinates, else from weighted points."""
    d = points.shape[1]
    if normal:
        return Frame(np.zeros(d), np.eye(d))
    mean, cov = moments(points, law_weights[:, None])
    cov[0][np.diag_indices(d)] *= 1.0 + _RIDGE
    return Frame(mean[0], np.asarray(np.linalg.cholesky(cov[0]), dtype=np.float64))


def fit_tails(
    points: Array,
    log_weights: Array,
    frame: Frame,
    rng: np.random.Generator,
    directions: Array,
) -> Components:
    """Fit a density to the points of each event.

    Parameters
    ----------
    points : ndarray of shape (n, d)
        Points of the sampler.
    log_weights : ndarray of shape (n, J)
        Logarithms of f/h, -inf outside the event; every column has finite values.
    frame : Frame
        Frame of the law.
    rng : Generator
        Starts of the EM.
    directions : ndarray of shape (J, d)
        Unit vectors in the frame towards which centres are pulled, from :func:`steepest`.

    Returns
    -------
    Components
        One a column, mixtures of up to six kernels, a twin of each, and one around all of them.
    """
    unit = frame.to_unit(points)
    parts: list[tuple[Array, Array, Array]] = []
    for column, direction in zip(log_weights.T, directions, strict=True):
        inside = np.isfinite(column)
        a = np.exp(column[inside] - column[inside].max())
        parts.append(_kernels(unit[inside], a, direction, rng))
    return make_components(
        frame.centre + np.concatenate([m for m, _, _ in parts]) @ frame.factor.T,
        frame.factor @ np.concatenate([S for _, S, _ in parts]) @ frame.factor.T,
        group=np.repeat(np.arange(len(parts)), [len(p) for _, _, p in parts]),
        weight=np.concatenate([p for _, _, p in parts]),
    )


def _kernels(
    points: Array, weights: Array, direction: Array, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Means, covariances and shares of the kernels of one event."""
    found = _select(points, weights, rng)
    size = weights.sum() ** 2 / (weights @ weights)
    triples = zip(found.means, found.covariances, found.share, strict=True)
    fitted = [_shrunk(m, S, size * p, direction) for m, S, p in triples]
    means, narrow = (np.stack(one) for one in zip(*fitted, strict=True))
    wide = np.stack([_widened(S) for S in narrow])
    # Parts of the event that no kernel has found yet: every direction at the same distance.
    d = points.shape[1]
    radius = float(weights @ (points * points).sum(axis=1) / weights.sum())
    return (
        np.vstack([means, means, np.zeros((1, d))]),
        np.vstack([narrow, wide, max(1.0, radius / d) * np.eye(d)[None]]),
        np.concatenate([(1 - _TWIN - _RING) * found.share, _TWIN * found.share, [_RING]]),
    )


def steepest(points: Array, weights: Array, values: Array, frame: Frame) -> Array:
    """Direction in which outcomes fall: regression of their normal scores, unit vectors (J, d).

    Parameters
    ----------
    points : ndarray of shape (n, d)
        Points of the sampler.
    weights : ndarray of shape (n, J)
        Where the regression is to hold, for each outcome.
    values : ndarray of shape (n, J)
        Outcomes; only their order counts.
    frame : Frame
        Frame of the law.
    """
    unit = frame.to_unit(points)
    out = np.zeros((values.shape[1], unit.shape[1]))
    for j, (w, v) in enumerate(zip(weights.T, values.T, strict=True)):
        order = np.argsort(v, kind="stable")
        rank = np.empty(len(v))
        rank[order] = np.cumsum(w[order]) - 0.5 * w[order]
        score = special.ndtri(np.clip(rank / w.sum(), 1e-12, 1.0 - 1e-12))
        share = w / w.sum()
        X = unit - share @ unit
        gram = (X * share[:, None]).T @ X
        gram[np.diag_indices_from(gram)] += _RIDGE * np.trace(gram) / len(gram)
        slope = np.linalg.solve(gram, X.T @ (share * (score - share @ score)))
        length = float(np.linalg.norm(slope))
        out[j] = -slope / length if length > 0 else 0.0
    return out


def _select(points: Array, weights: Array, rng: np.random.Generator) -> GaussianMixture:
    """Mixture with the smallest BIC among those that the effective size can bear."""
    d = points.shape[1]
    size = weights.sum() ** 2 / (weights @ weights)
    ridge = np.full(d, _RIDGE)
    # A density to draw from need not be the optimum: few steps do.
    best = fit_mixture(points, weights, 1, ridge, rng, max_iter=1)
    best_bic = np.inf
    for k in range(1, _MAX_KERNELS + 1):
        n_params = k * (1 + d + d * (d + 1) / 2) - 1
        if k > 1 and size < _POINTS_A_PARAMETER * n_params:
            break
        fit = fit_mixture(points, weights, k, ridge, rng, max_iter=_STEPS)
        bic = -2.0 * size * fit.loglik + n_params * np.log(max(size, 2.0))
        if bic < best_bic:
            best, best_bic = fit, bic
        elif k > len(best.share) + 1:
            break
    return best


def _shrunk(mean: Array, cov: Array, size: float, direction: Array) -> tuple[Array, Array]:
    """Mean and covariance from few points, pulled to what a half space would have.

    The part of the mean across ``direction`` is shrunk as James and Stein do, by the ratio of its
    variance to its squared length. The covariance is pulled to one variance along the mean and one
    across it, the latter 1 when that is within its error.
    """
    d = len(mean)
    along = float(direction @ mean) * direction
    across = mean - along
    length = float(across @ across)
    if d > 1 and length > 0:
        mean = along + max(0.0, 1.0 - (d - 1) / (size * length)) * across
    size = max(size, 2.0)
    cov = cov * (size / (size - 1.0))
    norm = float(np.linalg.norm(mean))
    u = mean / norm if norm > 0 else np.eye(d)[0]
    v = float(u @ cov @ u)
    rest = (float(np.trace(cov)) - v) / (d - 1) if d > 1 else 1.0
    if abs(rest - 1.0) < 2.0 * np.sqrt(2.0 / (max(d - 1, 1) * size)):
        rest = 1.0
    target = rest * np.eye(d) + (v - rest) * np.outer(u, u)
    lack = min(1.0, d * (d + 1) / 2.0 / size)
    return mean, np.asarray((1.0 - lack) * cov + lack * target)


def _widened(cov: Array) -> Array:
    """Return the covariance with every variance at least that of the law."""
    value, vector = np.linalg.eigh(cov)
    return np.asarray((vector * np.maximum(value, 1.0)) @ vector.T)
