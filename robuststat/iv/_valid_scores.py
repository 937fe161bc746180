"""Nuisance models, estimate and stacked scores of the average effect with a valid instrument."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robuststat._core.errors import DataError
from robuststat._core.linalg import solve_square
from robuststat._core.types import Array, BoolArray
from robuststat.iv._classical_intake import IVData
from robuststat.iv._logit import fit_nuisance


@dataclass(frozen=True, slots=True)
class Arm:
    """Model of the treatment among the rows with one value of the instrument.

    Attributes
    ----------
    mean, slope : ndarray of shape (n,)
        Fitted mean for every row, and its derivative with respect to the linear predictor; the
        slope is zero when the treatment has one value in the arm, and nothing was fitted.
    constant : float or None
        That value.
    """

    mean: Array
    slope: Array
    constant: float | None


@dataclass(frozen=True, slots=True)
class ValidNuisances:
    """Fitted nuisance models.

    Attributes
    ----------
    basis : ndarray of shape (n, b)
        Columns that the effect is linear in.
    pi : ndarray of shape (n,)
        P(Z = 1 | X).
    arms : tuple of Arm
        E(A | Z = z, X) for z = 0, 1.
    effect, direct : ndarray of shape (b,) and (k,)
        Coefficients of the effect delta(X) and of h0(X) = E(Y - A delta | X).
    notes : tuple of str
        What went wrong.
    """

    basis: Array
    pi: Array
    arms: tuple[Arm, Arm]
    effect: Array
    direct: Array
    notes: tuple[str, ...]


def fit_arm(data: IVData, rows: BoolArray, value: int) -> tuple[Arm, str]:
    """Fit the treatment on the covariates among ``rows``; a constant treatment needs no fit."""
    a, w = data.a[rows], None if data.weights is None else data.weights[rows]
    used = a if w is None else a[w > 0]
    if np.ptp(used) == 0:
        constant = float(used[0])
        fixed = Arm(np.full(data.n_obs, constant), np.zeros(data.n_obs), constant)
        name = data.instruments[0]
        return fixed, f"{data.treatment} is {constant:g} in every row with {name} = {value}"
    binary = bool(np.isin(data.a, (0.0, 1.0)).all())
    family = "logit" if binary else "linear"
    what = f"model of the treatment at instrument = {value}"
    if int(rows.sum()) <= data.X.shape[1]:
        raise DataError(
            f"{what}: {int(rows.sum())} rows cannot determine {data.X.shape[1]} coefficients. Use "
            "fewer covariates."
        )
    fit = fit_nuisance(data.X[rows], a, w, family, data.covariates, what)  # type: ignore[arg-type]
    eta = data.X @ fit.coef
    if binary:
        mean = 1.0 / (1.0 + np.exp(-np.clip(eta, -700.0, 700.0)))
        return Arm(mean, mean * (1.0 - mean), None), fit.note
    return Arm(eta, np.ones_like(eta), None), fit.note


def fit_valid(data: IVData, z: BoolArray, basis: Array) -> ValidNuisances:
    """Nuisance models, then the linear system for effect and outcome coefficients.

    With B the basis of the effect and Q the design of the covariates, sum B s (Y - A B th - Q al)
    = 0 and sum Q (Y - A B th - Q al) = 0, s = (2Z - 1) / P(Z | X).

    Parameters
    ----------
    data : IVData
        The rows.
    z : ndarray of bool of shape (n,)
        Rows whose instrument is one.
    basis : ndarray of shape (n, b)
        Columns that the effect is linear in: the first columns of the covariates' design.
    """
    fit = fit_nuisance(
        data.X,
        z.astype(np.float64),
        data.weights,
        "logit",
        data.covariates,
        "model of the instrument",
    )
    arms = [fit_arm(data, z == bool(value), value) for value in (0, 1)]
    s = np.where(z, 1.0, -1.0) / np.where(z, fit.mean, 1.0 - fit.mean)
    B, Q, w = basis, data.X, np.ones(data.n_obs) if data.weights is None else data.weights
    left = np.hstack([B * data.a[:, None], Q])
    system = np.vstack([(B * (w * s)[:, None]).T @ left, (Q * w[:, None]).T @ left])
    right = np.concatenate([B.T @ (w * s * data.y), Q.T @ (w * data.y)])
    b = B.shape[1]
    names = [f"effect {n}" for n in data.covariates[:b]] + [f"outcome {n}" for n in data.covariates]
    theta = solve_square(system, right, names)
    notes = tuple(note for note in (fit.note, arms[0][1], arms[1][1]) if note)
    return ValidNuisances(B, fit.mean, (arms[0][0], arms[1][0]), theta[:b], theta[b:], notes)


@dataclass(frozen=True, slots=True)
class StackedScores:
    """Scores of all parameters: pi, the arms that were fitted, effect, outcome, average effect.

    Attributes
    ----------
    psi : ndarray of shape (n, K)
        Scores, weights included; the last column belongs to the average effect.
    jacobian : ndarray of shape (K, K)
        Average derivative.
    ate : float
        Average effect.
    effect : slice
        Where the coefficients of the effect are.
    """

    psi: Array
    jacobian: Array
    ate: float
    effect: slice


def stacked_scores(data: IVData, z: BoolArray, fit: ValidNuisances) -> StackedScores:
    """Scores and derivative of the stacked estimating equations at the estimate."""
    Q, B, n, k = data.X, fit.basis, data.n_obs, data.X.shape[1]
    w = np.ones(n) if data.weights is None else data.weights
    pi, (arm0, arm1) = fit.pi, fit.arms
    own = np.where(z, pi, 1.0 - pi)
    s = np.where(z, 1.0, -1.0) / own
    # Derivative of s with respect to the linear predictor of pi.
    ds = -(1.0 - own) / own
    gap = arm1.mean - arm0.mean
    r = data.y - data.a * (B @ fit.effect) - Q @ fit.direct
    g = s / gap
    phi = B @ fit.effect + g * r
    ate = float(np.average(phi, weights=w))
    fitted = [
        (arm, z == (sign > 0), sign)
        for arm, sign in ((arm0, -1.0), (arm1, 1.0))
        if arm.constant is None
    ]
    blocks = [Q * (z - pi)[:, None]]
    blocks += [Q * (rows * (data.a - arm.mean))[:, None] for arm, rows, _ in fitted]
    blocks += [B * (s * r)[:, None], Q * r[:, None], (phi - ate)[:, None]]
    psi = np.hstack(blocks) * w[:, None]

    def cross(left: Array, factor: Array, right: Array) -> Array:
        return (left * (w * factor)[:, None]).T @ right / n

    def mean(factor: Array, columns: Array) -> Array:
        return columns.T @ (w * factor) / n

    J = np.zeros((psi.shape[1], psi.shape[1]))
    effect = slice(k * (1 + len(fitted)), k * (1 + len(fitted)) + B.shape[1])
    direct = slice(effect.stop, effect.stop + k)
    J[:k, :k] = -cross(Q, pi * (1.0 - pi), Q)
    for j, (arm, rows, sign) in enumerate(fitted):
        block = slice(k * (1 + j), k * (2 + j))
        J[block, block] = -cross(Q, rows * arm.slope, Q)
        J[-1, block] = -sign * mean(g / gap * r * arm.slope, Q)
    J[effect, :k], J[-1, :k] = cross(B, ds * r, Q), mean(ds / gap * r, Q)
    J[effect, effect], J[effect, direct] = -cross(B, s * data.a, B), -cross(B, s, Q)
    J[direct, effect], J[direct, direct] = -cross(Q, data.a, B), -cross(Q, np.ones(n), Q)
    J[-1, effect], J[-1, direct] = mean(1.0 - g * data.a, B), -mean(g, Q)
    J[-1, -1] = -w.mean()
    return StackedScores(psi, J, ate, effect)


def influence(stack: StackedScores, *, eif: bool) -> Array:
    """Influence values (n, 1 + b): of the average effect, then of the effect's coefficients.

    Parameters
    ----------
    stack : StackedScores
        Scores of all parameters.
    eif : bool
        Take the nuisance models of the average effect for right, so that its own score is its
        influence.
    """
    K = stack.jacobian.shape[0]
    wanted = [K - 1, *range(stack.effect.start, stack.effect.stop)]
    # Rows of -J^-1 that belong to the wanted parameters.
    rows = solve_square(stack.jacobian.T, np.eye(K)[:, wanted])
    values = -stack.psi @ rows
    if eif:
        values[:, 0] = stack.psi[:, -1] / -stack.jacobian[-1, -1]
    return np.asarray(values)
