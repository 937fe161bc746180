"""Scores of the effects with an invalid instrument, as functions of data and nuisance values.

Everything here takes plain arrays of one value a row, whoever made the nuisance values: parametric
fits, or learners out of fold. The equation numbers are those of the package docstring.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from robuststat._core.types import Array


@dataclass(frozen=True, slots=True)
class Rows:
    """Data and nuisance values of some rows, each an array of shape (m,).

    Attributes
    ----------
    y, a, z : ndarray
        Outcome, exposure, binary instrument.
    pi : ndarray
        P(Z = 1 | X).
    p0, p1 : ndarray
        E(A | Z = z, X).
    v0, v1 : ndarray
        var(A | Z = z, X).
    D : ndarray
        v1 - v0, perhaps kept away from zero.
    beta, omega : ndarray
        Conditional effect and confounding covariance.
    h0, h1 : ndarray
        E(Y - beta A | Z = z, X).
    p, e, r, R, s : ndarray
        p_Z; A - p; Y - beta A - h_Z; e r - omega; (2Z - 1) / P(Z | X).
    """

    y: Array
    a: Array
    z: Array
    pi: Array
    p0: Array
    p1: Array
    v0: Array
    v1: Array
    D: Array
    beta: Array
    omega: Array
    h0: Array
    h1: Array
    p: Array
    e: Array
    r: Array
    R: Array
    s: Array


def make_rows(
    *,
    y: Array,
    a: Array,
    z: Array,
    pi: Array,
    p0: Array,
    p1: Array,
    v0: Array,
    v1: Array,
    D: Array,
    beta: Array,
    omega: Array,
    h0: Array,
    h1: Array,
) -> Rows:
    """Put nuisance values together with the residuals that all scores are made of."""
    treated = z > 0.5
    p = np.where(treated, p1, p0)
    e = a - p
    r = y - beta * a - np.where(treated, h1, h0)
    s = np.where(treated, 1.0 / pi, -1.0 / (1.0 - pi))
    R = e * r - omega
    return Rows(y, a, z, pi, p0, p1, v0, v1, D, beta, omega, h0, h1, p, e, r, R, s)


def keep_sign_away_from_zero(D: Array, min_abs: float) -> Array:
    """D with absolute value at least ``min_abs``, its sign kept; zero counts as positive."""
    if min_abs == 0.0:
        return D
    return np.where(D < 0, np.minimum(D, -min_abs), np.maximum(D, min_abs))


def ate_score(rows: Rows) -> Array:
    """Uncentred influence value of the mean effect, beta + (s/D) R (2.1)."""
    return rows.beta + rows.s / rows.D * rows.R


def direct_score(rows: Rows) -> Array:
    """Uncentred influence value of the mean direct effect of Z, E(h_1 - h_0) (2.4)."""
    correction = rows.s * rows.r - (rows.p1 - rows.p0) * rows.s / rows.D * rows.R
    return rows.h1 - rows.h0 + correction


def confounding_score(rows: Rows) -> Array:
    """Uncentred influence value of the mean confounding covariance, E(omega) (2.4)."""
    return rows.omega + rows.R * _confounding_weight(rows)


def overlap_moments(rows: Rows) -> tuple[Array, Array]:
    """f_N and f_D, whose means have the overlap-weighted effect as their ratio (2.7)."""
    residual = rows.z - rows.pi
    vbar = rows.pi * rows.v1 + (1.0 - rows.pi) * rows.v0
    # Y - m with m = h + beta p.
    outcome = rows.r + rows.beta * rows.e
    f_n = residual * (rows.e * outcome - rows.omega - rows.beta * vbar)
    f_d = residual * (rows.e**2 - vbar)
    return f_n, f_d


def _confounding_weight(rows: Rows) -> Array:
    numerator = np.where(rows.z > 0.5, -rows.v0 / rows.pi, rows.v1 / (1.0 - rows.pi))
    return np.asarray(numerator / rows.D)


@dataclass(frozen=True, slots=True)
class Partials:
    """Derivative of a score with respect to the nuisance values of its row, (m,) or zero.

    ``p`` and ``h`` are the values at the observed Z; ``p0``, ``p1``, ``h0``, ``h1`` are further
    uses of the values at a given z. ``v0`` and ``v1`` leave out what goes through ``D``.
    """

    pi: Array | float = 0.0
    p: Array | float = 0.0
    p0: Array | float = 0.0
    p1: Array | float = 0.0
    v0: Array | float = 0.0
    v1: Array | float = 0.0
    D: Array | float = 0.0
    beta: Array | float = 0.0
    omega: Array | float = 0.0
    h: Array | float = 0.0
    h0: Array | float = 0.0
    h1: Array | float = 0.0


def slope_of_s(rows: Rows) -> Array:
    """Return the derivative of s with respect to pi."""
    return -(rows.s**2)


def ate_partials(rows: Rows) -> Partials:
    """Partial derivatives of ``ate_score``."""
    g = rows.s / rows.D
    return Partials(
        pi=slope_of_s(rows) * rows.R / rows.D,
        p=-g * rows.r,
        D=-g * rows.R / rows.D,
        beta=1.0 - g * rows.e * rows.a,
        omega=-g,
        h=-g * rows.e,
    )


def direct_partials(rows: Rows) -> Partials:
    """Partial derivatives of ``direct_score``."""
    g, change = rows.s / rows.D, rows.p1 - rows.p0
    return Partials(
        pi=slope_of_s(rows) * (rows.r - change * rows.R / rows.D),
        p=change * g * rows.r,
        p1=-g * rows.R,
        p0=g * rows.R,
        D=change * g * rows.R / rows.D,
        beta=-rows.s * rows.a + change * g * rows.e * rows.a,
        omega=change * g,
        h=-rows.s + change * g * rows.e,
        h1=np.ones_like(g),
        h0=-np.ones_like(g),
    )


def confounding_partials(rows: Rows) -> Partials:
    """Partial derivatives of ``confounding_score``."""
    k = _confounding_weight(rows)
    one, other = rows.z / rows.pi, (1.0 - rows.z) / (1.0 - rows.pi)
    slope = (other**2 * rows.v1 + one**2 * rows.v0) / rows.D
    return Partials(
        pi=rows.R * slope,
        p=-rows.r * k,
        v1=rows.R * other / rows.D,
        v0=-rows.R * one / rows.D,
        D=-rows.R * k / rows.D,
        beta=-rows.e * rows.a * k,
        omega=1.0 - k,
        h=-rows.e * k,
    )


def overlap_partials(rows: Rows, tau: float) -> Partials:
    """Partial derivatives of f_N - tau f_D."""
    residual = rows.z - rows.pi
    f_n, f_d = overlap_moments(rows)
    vbar = rows.pi * rows.v1 + (1.0 - rows.pi) * rows.v0
    inner = np.where(rows.z > 0.5, 1.0 / (1.0 - rows.pi), -1.0 / rows.pi) * (f_n - tau * f_d)
    outcome = rows.r + rows.beta * rows.e
    gap = rows.beta - tau
    return Partials(
        pi=-inner - residual * gap * (rows.v1 - rows.v0),
        p=residual * (-outcome - rows.e * rows.beta + 2.0 * tau * rows.e),
        v1=-residual * gap * rows.pi,
        v0=-residual * gap * (1.0 - rows.pi),
        beta=-residual * (rows.e * rows.p + vbar),
        omega=-residual,
        h=-residual * rows.e,
    )


@dataclass(frozen=True, slots=True)
class Functional:
    """An effect that is the mean of a score: its uncentred influence value and derivatives."""

    score: Callable[[Rows], Array]
    partials: Callable[[Rows], Partials]


#: Functionals whose estimate is the mean of the score; the overlap effect is a ratio of two.
FUNCTIONALS: dict[str, Functional] = {
    "ate": Functional(ate_score, ate_partials),
    "direct": Functional(direct_score, direct_partials),
    "confounding": Functional(confounding_score, confounding_partials),
}


def exclusion_score(rows: Rows, delta: Array, h: Array) -> Array:
    """Uncentred influence value of the mean effect when exclusion is imposed (2.8a).

    ``delta`` is the conditional effect (E(Y|1,X) - E(Y|0,X)) / (p_1 - p_0) and ``h`` is
    E(Y - delta A | X); Wang and Tchetgen Tchetgen (2018).
    """
    return delta + rows.s / (rows.p1 - rows.p0) * (rows.y - rows.a * delta - h)
