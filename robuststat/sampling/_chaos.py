"""Orthonormal polynomials of independent inputs and least squares on them (polynomial chaos)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import linalg as scipy_linalg

from robuststat._core.errors import ParameterError
from robuststat._core.types import Array, IntArray
from robuststat.sampling._marginals import Marginal

__all__ = [
    "Axis",
    "Terms",
    "candidates",
    "choose_terms",
    "design_matrix",
    "make_axis",
    "normal_equations",
    "solve",
]

# Quadrature over the normal score: the trapezoidal rule is exact to rounding for what decays as a
# normal density, and within 1e-8 where a quantile function has kinks.
_GRID = np.linspace(-12.0, 12.0, 4801)
_LIGHT = 13.0  # standard deviations; the farthest point of the grid is 12 for a normal law
_BOUNDED = 5.0
_MOST_ATOMS = 2000
_LARGEST_DEGREE = 15
_NORMS = (1.0, 0.7, 0.5)
_MOST_TERMS = 400
_SELECTION_ROWS = 16_384  # rows on which sets of terms are compared
# Rows a term, without and with inputs that have tails. More terms fit better still, but what they
# leave over then sits in a few points of the tails, and intervals covered .80 in place of .95.
_ROWS_A_TERM, _ROWS_A_TERM_TAILS = 6, 30
_FEWEST_ROWS = 2  # a term of a degree that the user gives
_PATIENCE = 1
_NO_GAIN = 0.98


@dataclass(frozen=True, slots=True)
class Axis:
    """Polynomials of one input, orthonormal under its law.

    Attributes
    ----------
    marginal : Marginal
        Law of the input.
    score : bool
        Whether they are polynomials of the normal score rather than of the input itself.
    centre, scale : float
        The variable is standardised before the recurrence.
    bounded : bool
        Whether the law has no tails to speak of.
    a, b : ndarray of shape (degree + 1,)
        b_{k+1} p_{k+1} = (t - a_k) p_k - b_k p_{k-1}.
    """

    marginal: Marginal
    score: bool
    centre: float
    scale: float
    bounded: bool
    a: Array
    b: Array

    @property
    def degree(self) -> int:
        """Largest degree."""
        return len(self.a) - 1

    def values(self, x: Array, degree: int) -> Array:
        """Polynomials of degree 0 to ``degree`` at every point, (n, degree + 1)."""
        t = self.marginal.to_normal(x) if self.score else x
        return _recurrence((t - self.centre) / self.scale, self.a, self.b, degree)


def _recurrence(t: Array, a: Array, b: Array, degree: int) -> Array:
    out = np.ones((len(t), degree + 1))
    for k in range(degree):
        step = (t - a[k]) * out[:, k]
        if k:
            step -= b[k] * out[:, k - 1]
        out[:, k + 1] = step / b[k + 1]
    return out


def make_axis(marginal: Marginal) -> Axis:
    """Recurrence of the orthonormal polynomials of one law, by Stieltjes' procedure.

    Polynomials of x itself where the tails are no heavier than a normal law's, because models are
    mostly smooth in x; of the normal score otherwise, because heavy-tailed laws are not determined
    by their moments.
    """
    if marginal.kind == "discrete":
        x, weight = _atoms(marginal.law)
        return _stieltjes(marginal, False, True, x, weight)
    weight = np.exp(-0.5 * _GRID**2)
    weight /= weight.sum()
    x = marginal.from_normal(_GRID)
    sd = np.sqrt(weight @ (x - weight @ x) ** 2) if np.isfinite(x).all() else np.nan
    far = np.abs(x - weight @ x).max() / sd if sd > 0 else np.inf
    light, bounded = bool(far <= _LIGHT), bool(far <= _BOUNDED)
    return _stieltjes(marginal, not light, bounded, x if light else _GRID, weight)


def _atoms(law: object) -> tuple[Array, Array]:
    points = getattr(getattr(law, "dist", None), "xk", None)
    if points is None:
        low, high = float(law.ppf(1e-14)), float(law.isf(1e-14))  # type: ignore[attr-defined]
        if high - low > _MOST_ATOMS:  # left out of the polynomials
            return np.zeros(1), np.ones(1)
        points = np.arange(low, high + 1.0)
    x = np.asarray(points, dtype=np.float64)
    weight = np.asarray(law.pmf(x), dtype=np.float64)  # type: ignore[attr-defined]
    keep = weight > 0
    return x[keep], weight[keep] / weight[keep].sum()


def _stieltjes(marginal: Marginal, score: bool, bounded: bool, x: Array, weight: Array) -> Axis:
    centre = float(weight @ x)
    scale = float(np.sqrt(weight @ (x - centre) ** 2))
    if not scale > 0 or not np.isfinite(scale):
        return Axis(marginal, score, centre, 1.0, bounded, np.zeros(1), np.ones(1))
    t = (x - centre) / scale
    degree = min(_LARGEST_DEGREE, len(x) - 1)
    a, b = np.zeros(degree + 1), np.ones(degree + 1)
    before, now = np.zeros_like(t), np.ones_like(t)
    for k in range(degree):
        a[k] = weight @ (t * now * now)
        step = (t - a[k]) * now - (b[k] * before if k else 0.0)
        b[k + 1] = np.sqrt(weight @ (step * step))
        before, now = now, step / b[k + 1]
    return Axis(marginal, score, centre, scale, bounded, a, b)


@dataclass(frozen=True, slots=True)
class Terms:
    """A set of products of polynomials, one in each input; the constant comes first.

    Attributes
    ----------
    powers : ndarray of shape (P, d)
        Degrees.
    degree : int
        Largest total degree.
    norm : float
        1 = every product up to the degree; smaller = fewer interactions:
        (sum_j degree_j^norm)^(1/norm) is at most the degree.
    """

    powers: IntArray
    degree: int
    norm: float

    @property
    def label(self) -> str:
        """How the set is described to a reader."""
        few = "" if self.norm == 1.0 else f", hyperbolic {self.norm:g}"
        return f"degree {self.degree}{few}, {len(self.powers)} terms"


@lru_cache(maxsize=256)
def _products(
    limits: tuple[int, ...], degree: int, norm: float, most: int
) -> tuple[tuple[int, ...], ...] | None:
    """Every degree vector within the limits and the norm; None when there are too many."""
    room = degree**norm + 1e-9
    partial: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    for limit in limits:
        partial = [
            ((*powers, k), used + k**norm if k else used)
            for powers, used in partial
            for k in range(min(limit, degree) + 1)
            if (used + k**norm if k else used) <= room
        ]
        if len(partial) > most:
            return None
    found = sorted((powers for powers, _ in partial), key=lambda p: (sum(p), [-k for k in p]))
    return tuple(found)


def candidates(axes: list[Axis], most: int) -> list[list[Terms]]:
    """List the sets of terms to choose from, in families of growing degree.

    Parameters
    ----------
    axes : list of Axis
        Polynomials of each input.
    most : int
        Largest number of terms.

    Returns
    -------
    list of list of Terms
    """
    limits = tuple(axis.degree for axis in axes)
    families = []
    for norm in _NORMS:
        family: list[Terms] = []
        for degree in range(1, _LARGEST_DEGREE + 1):
            found = _products(limits, degree, norm, most)
            if found is None or (family and len(found) == len(family[-1].powers)):
                break
            family.append(Terms(np.array(found, dtype=np.int64), degree, norm))
        families.append(family)
    return families


def design_matrix(axes: list[Axis], powers: IntArray, X: Array) -> Array:
    """Products of polynomials at every row, (n, P)."""
    out = np.ones((len(X), len(powers)))
    for j, axis in enumerate(axes):
        used = powers[:, j]
        if used.any():
            values = axis.values(X[:, j], int(used.max()))
            active = np.flatnonzero(used)
            out[:, active] *= values[:, used[active]]
    return out


def solve(gram: Array, cross: Array) -> Array:
    """Coefficients (P, m) of least squares from B'B and B'Y; collinear columns share theirs."""
    try:
        with warnings.catch_warnings(action="error", category=scipy_linalg.LinAlgWarning):
            return np.asarray(scipy_linalg.solve(gram, cross, assume_a="pos"))
    except (np.linalg.LinAlgError, scipy_linalg.LinAlgWarning):
        return np.asarray(np.linalg.lstsq(gram, cross, rcond=None)[0])


def choose_terms(
    axes: list[Axis],
    X: list[Array],
    Y: list[Array],
    W: list[Array],
    degree: int | None = None,
) -> tuple[Terms, float]:
    """Set of terms with the smallest squared error on the folds left out.

    Parameters
    ----------
    axes : list of Axis
        Polynomials of each input.
    X : list of ndarray of shape (n_k, d)
        Inputs, fold by fold.
    Y : list of ndarray of shape (n_k, m)
        Outputs.
    W : list of ndarray of shape (n_k,)
        Weights of the rows.
    degree : int, optional
        Total degree; then nothing is chosen.

    Returns
    -------
    Terms
        The constant alone when no polynomial helps.
    float
        Share of the outputs' variance that it explains out of fold, averaged over outputs.

    Raises
    ------
    ParameterError
        If there are too few rows for the terms of ``degree``.
    """
    keep = max(_SELECTION_ROWS // len(X), 8)
    X, Y, W = ([part[:keep] for part in parts] for parts in (X, Y, W))
    total = np.vstack(Y)
    variance = total.var(axis=0)
    scale = np.where(variance > 0, variance, 1.0)
    n_train = len(total) - max(len(y) for y in Y)
    d = X[0].shape[1]
    if degree is not None:
        return _given(
            axes, degree, n_train // _FEWEST_ROWS, lambda p: _loss(axes, p, X, Y, W, scale)
        )
    bounded = all(axis.bounded for axis in axes)
    rows = _ROWS_A_TERM if bounded else _ROWS_A_TERM_TAILS
    families = candidates(axes, min(_MOST_TERMS, n_train // rows))
    best = Terms(np.zeros((1, d), dtype=np.int64), 0, 1.0)
    best_loss = _loss(axes, best.powers, X, Y, W, scale)
    for family in families:
        worse, lowest = 0, np.inf
        for terms in family:
            loss = _loss(axes, terms.powers, X, Y, W, scale)
            if loss < best_loss:
                best, best_loss = terms, loss
            worse = 0 if loss < _NO_GAIN * lowest else worse + 1
            lowest = min(lowest, loss)
            if worse > _PATIENCE:
                break
    return best, 1.0 - best_loss


def _given(
    axes: list[Axis], degree: int, most: int, loss: Callable[[IntArray], float]
) -> tuple[Terms, float]:
    """Return all terms up to a total degree, with their loss."""
    limits = tuple(axis.degree for axis in axes)
    powers = _products(limits, degree, 1.0, most)
    if powers is None or max(limits) < degree:
        raise ParameterError(
            f"degree={degree} has more than {most} terms for {len(axes)} inputs, too many for the "
            "runs, or the inputs have too few values. Use a smaller one, or None to have it chosen."
        )
    terms = Terms(np.array(powers, dtype=np.int64), degree, 1.0)
    return terms, 1.0 - loss(terms.powers)


def normal_equations(B: Array, Y: Array, weight: Array) -> tuple[Array, Array]:
    """B'WB and B'WY."""
    weighted = B * weight[:, None]
    return weighted.T @ B, weighted.T @ Y


def _loss(
    axes: list[Axis],
    powers: IntArray,
    X: list[Array],
    Y: list[Array],
    W: list[Array],
    scale: Array,
) -> float:
    B = [design_matrix(axes, powers, x) for x in X]
    sums = [normal_equations(*part) for part in zip(B, Y, W, strict=True)]
    gram, cross = (np.sum([part[i] for part in sums], axis=0) for i in (0, 1))
    error, n = np.zeros(len(scale)), 0.0
    for k, (own_gram, own_cross) in enumerate(sums):
        coef = solve(gram - own_gram, cross - own_cross)
        error += W[k] @ (Y[k] - B[k] @ coef) ** 2
        n += W[k].sum()
    return float((error / n / scale).mean())
