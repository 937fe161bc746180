"""Moments of G-estimation under no interaction with unmeasured selection (GENIUS).

G instruments (n, J), D design of the covariates, A treatment, Y outcome, w weights.
Gt = G - E(G | X) by least squares on D; e = A - E(A | G, X) for the additive models, or
E - mean(E) with E = A exp(-G'q) for a multiplicative exposure. The moments are Gt e r(beta) with
r = Y - beta A, or Y exp(-beta A) for a multiplicative outcome. Each moment is corrected for the
estimation of what is inside it; the corrections average to zero, so that they change the variance
and the weighting, not the equations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from robuststat._core.errors import ConvergenceWarning, DataError, warn
from robuststat._core.linalg import solve_psd
from robuststat._core.moments import stack_nuisance
from robuststat._core.optim import newton
from robuststat._core.types import Array
from robuststat.iv._classical_intake import IVData
from robuststat.iv._linear import basis
from robuststat.iv._logit import fit_nuisance


@dataclass(frozen=True, slots=True)
class GeniusParts:
    """Everything that does not depend on the effect.

    Attributes
    ----------
    product : ndarray of shape (n, J)
        w Gt e: a moment is this times r.
    corrected : callable
        Maps r of shape (n,) to the corrected moments (n, J), linear in r.
    exposure : str
        Model of the treatment, in words.
    notes : tuple of str
        What went wrong on the way.
    n_iter : int
        Steps of the exposure model.
    """

    product: Array
    corrected: Callable[[Array], Array]
    exposure: str
    notes: tuple[str, ...]
    n_iter: int


def _weights(data: IVData) -> Array:
    return np.ones(data.n_obs) if data.weights is None else data.weights


def residual_instruments(data: IVData) -> tuple[Array, Array]:
    """Return G minus its weighted least-squares projection on D, and the Gram matrix D'wD."""
    w, D = _weights(data), data.X
    gram = (D * w[:, None]).T @ D
    coef = solve_psd(gram, (D * w[:, None]).T @ data.Z, data.covariates)
    return data.Z - D @ coef, gram


def additive_parts(data: IVData, link: str) -> GeniusParts:
    """Treatment minus its mean given instruments and covariates (logit or least squares).

    Raises
    ------
    DataError
        When nothing is left of the treatment.
    """
    w = _weights(data)
    Gt, gram = residual_instruments(data)
    design = np.hstack([data.X, data.Z])
    names = (*data.covariates, *data.instruments)
    family = "logit" if link == "logit" else "linear"
    fit = fit_nuisance(design, data.a, data.weights, family, names, "model of the treatment")  # type: ignore[arg-type]
    e = data.a - fit.mean
    if np.linalg.norm(e) <= 1e-8 * np.linalg.norm(data.a - data.a.mean()):
        raise DataError(
            f"The instruments determine {data.treatment!r} (its variance given them is zero), so "
            "there is no heteroscedasticity to use. GENIUS needs a treatment with other causes."
        )
    information = (design * (w * fit.slope)[:, None]).T @ design
    product = Gt * (w * e)[:, None]

    def corrected(r: Array) -> Array:
        # dmu/dGamma: the projection of e r on D, times Gt.
        projected = data.X @ solve_psd(gram, data.X.T @ (w * e * r))
        cross = (Gt * (w * fit.slope * r)[:, None]).T @ design
        influence = design @ solve_psd(information, cross.T)
        return product * r[:, None] - Gt * (w * projected)[:, None] - influence * (w * e)[:, None]

    words = "logit" if family == "logit" else "least squares"
    notes = (fit.note,) if fit.note else ()
    return GeniusParts(product, corrected, words, notes, fit.n_iter)


def multiplicative_parts(data: IVData, tol: float, max_iter: int) -> GeniusParts:
    """Treatment divided by exp(G'q), q from mean{A exp(-G'q)(G - Gbar)} = 0.

    Raises
    ------
    DataError
        For negative treatments.
    """
    if (data.a < 0).any():
        raise DataError(
            f"treatment has {int((data.a < 0).sum())} negative values (min {data.a.min():g}). A "
            "multiplicative exposure model needs a non-negative treatment: use model='additive'."
        )
    w = _weights(data)
    n, J = data.Z.shape
    columns = np.hstack([data.X, data.Z]) * np.sqrt(w)[:, None]
    basis(columns, (*data.covariates, *data.instruments), "instruments are collinear")
    Gt = data.Z - np.average(data.Z, axis=0, weights=w)
    scale = np.sqrt(np.average(Gt**2, axis=0, weights=w))
    H = Gt / scale

    # exp(-Gt'q): the centring multiplies E by a constant, which cancels from the equations.
    def equation(q: Array) -> tuple[Array, Array]:
        E = w * data.a * np.exp(np.minimum(-H @ q, 700.0))
        return H.T @ E / n, -(H * E[:, None]).T @ H / n

    q, _, info = newton(equation, np.zeros(J), tol=tol, max_iter=max_iter)
    notes: tuple[str, ...] = ()
    if not info.converged:
        note = f"multiplicative exposure model: {info.message}"
        warn(
            f"{note}. Do not report this fit; check for instruments with rare values.",
            ConvergenceWarning,
        )
        notes = (note,)
    E = data.a * np.exp(np.minimum(-H @ q, 700.0))
    centre = float(np.average(E, weights=w))
    e = E - centre
    product = Gt * (w * e)[:, None]
    nuisance = np.hstack([Gt, Gt * E[:, None], e[:, None]]) * w[:, None]
    # Rows: scores of Gbar, q (in units of Gt), mean of E; columns: their parameters.
    wE = (w * E)[:, None]
    derivative = np.zeros((2 * J + 1, 2 * J + 1))
    derivative[:J, :J] = -np.eye(J) * w.mean()
    derivative[J : 2 * J, :J] = -np.eye(J) * float(wE.mean())
    derivative[J : 2 * J, J : 2 * J] = -(Gt * wE).T @ Gt / n
    derivative[-1, J : 2 * J] = -(Gt * wE).mean(axis=0)
    derivative[-1, -1] = -w.mean()

    def corrected(r: Array) -> Array:
        cross = np.zeros((J, 2 * J + 1))
        cross[:, :J] = -np.eye(J) * float((w * e * r).mean())
        cross[:, J : 2 * J] = -(Gt * (w * E * r)[:, None]).T @ Gt / n
        cross[:, -1] = -(Gt * (w * r)[:, None]).mean(axis=0)
        return stack_nuisance(product * r[:, None], nuisance, cross, derivative)

    return GeniusParts(product, corrected, "exp(G'q) times the other causes", notes, info.n_iter)


def breusch_pagan(data: IVData) -> tuple[float, int]:
    """Studentised Breusch-Pagan statistic n R^2 of squared least-squares residuals, and its df."""
    w = _weights(data)
    root = np.sqrt(w)[:, None]
    design = np.hstack([data.X, data.Z])
    Q, _ = np.linalg.qr(design * root)
    a = data.a * root[:, 0]
    e = np.divide(a - Q @ (Q.T @ a), root[:, 0], out=np.zeros_like(a), where=root[:, 0] > 0)
    square = e * e
    centred = (square - np.average(square, weights=w)) * root[:, 0]
    total = float(centred @ centred)
    explained = float(np.sum((Q.T @ centred) ** 2))
    used = int((w > 0).sum())
    return (used * explained / total if total > 0 else 0.0), design.shape[1] - 1
