"""Laws with one moment of one input moved: as near as can be in Kullback-Leibler divergence.

[D] Among laws with a given E T(X_i) the one nearest to f is f(x) exp(l'T(x_i) - psi(l)), with
psi(l) = log E_f exp(l'T(X_i)) and psi'(l) the given moment. The factor depends on x_i alone also
where inputs are dependent: the conditional law of the others given x_i stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from robuststat._core.errors import ParameterError
from robuststat._core.types import Array
from robuststat.sampling._law_classes import Law, MarginalLaw, NormalLaw

__all__ = ["Axis", "Tilt", "TiltedLaw", "find_tilt", "read_axes"]

_REACH, _CELLS = 15.0, 3001  # normal scores of the quadrature
_EDGE = 1e-9  # largest mass that the quadrature may have in its last cells
_TOL = 1e-11
_MAX_ITER = 200


@dataclass(frozen=True, slots=True)
class Axis:
    """One input on the points of a quadrature.

    Attributes
    ----------
    name : str
    mean, sd : float
        Moments of the input.
    unit : ndarray of shape (m,)
        Standardised values (x - mean)/sd.
    log_mass : ndarray of shape (m,)
        Logarithms of the masses of the points.
    score : ndarray of shape (m,)
        Normal scores of the points.
    """

    name: str
    mean: float
    sd: float
    unit: Array
    log_mass: Array
    score: Array


@dataclass(frozen=True, slots=True)
class Tilt:
    """Factor exp(l1 t + l2 t^2 - psi) of the density, t the standardised input.

    Attributes
    ----------
    column : int
        Input.
    delta : float
        Size of the perturbation.
    coef : ndarray of shape (1,) or (2,)
        l.
    psi : float
        Logarithm of its mean under the law.
    """

    column: int
    delta: float
    coef: Array
    psi: float

    def log_ratio(self, X: Array, axes: list[Axis]) -> Array:
        """Logarithm of the perturbed density over the law's, (n,)."""
        axis = axes[self.column]
        return np.asarray(
            _powers((X[:, self.column] - axis.mean) / axis.sd, len(self.coef)) @ self.coef
            - self.psi
        )


def _powers(t: Array, k: int) -> Array:
    return np.column_stack([t ** (j + 1) for j in range(k)])


def read_axes(law: Law) -> list[Axis]:
    """Read the inputs of a law.

    Raises
    ------
    ParameterError
        If its marginal laws are not known.
    """
    if not isinstance(law, (MarginalLaw, NormalLaw)) or not law.has_density:
        raise ParameterError(
            "PerturbedLawIndices needs the marginal laws of the inputs: continuous frozen "
            "marginals (with a Gaussian copula or without) or a multivariate normal; got "
            f"{type(law).__name__}."
        )
    z = np.linspace(-_REACH, _REACH, _CELLS)
    mass = -0.5 * z * z
    mass -= np.log(np.exp(mass).sum())
    if isinstance(law, NormalLaw):
        sd = np.sqrt(np.diag(law.covariance))
        columns = [m + s * z for m, s in zip(law.mean, sd, strict=True)]
    else:
        columns = [marginal.from_normal(z) for marginal in law.marginals]
    return [_axis(name, x, mass, z) for name, x in zip(law.names, columns, strict=True)]


def _axis(name: str, x: Array, log_mass: Array, score: Array) -> Axis:
    mass = np.exp(log_mass)
    mean = float(mass @ x)
    sd = float(np.sqrt(mass @ (x - mean) ** 2))
    if not np.isfinite(sd) or sd == 0:
        raise ParameterError(f"Input {name!r} has standard deviation {sd}; it cannot be perturbed.")
    return Axis(name, mean, sd, (x - mean) / sd, log_mass, score)


def find_tilt(axes: list[Axis], column: int, delta: float, moment: str) -> Tilt:
    """Factor that moves the mean by ``delta`` standard deviations, or the variance by 1 + delta.

    Raises
    ------
    ParameterError
        If no law nearest to f has this moment.
    """
    axis = axes[column]
    goal = np.array([delta]) if moment == "mean" else np.array([0.0, 1.0 + delta])
    powers = _powers(axis.unit, len(goal))
    coef, gradient = _solve_dual(powers, axis.log_mass, goal)
    log_mass = axis.log_mass + powers @ coef
    psi = float(np.logaddexp.reduce(log_mass))
    mass = np.exp(log_mass - psi)
    # Mass at the edge: the law has no exponential moment of this size, and the quadrature cut it.
    edge = float(mass[:3].sum() + mass[-3:].sum())
    if np.abs(gradient).max() > 1e-7 or edge > _EDGE:
        low, high = axis.unit.min(), axis.unit.max()
        raise ParameterError(
            f"delta={delta:g} for the {moment} of input {axis.name!r} cannot be reached: no law "
            f"nearest to it has this {moment} (its standardised range is {low:.3g} to {high:.3g}; "
            "a law without exponential moments, such as the lognormal, cannot be moved upwards). "
            "Use smaller deltas, or write the model in a transformed input."
        )
    return Tilt(column, delta, coef, psi)


def _solve_dual(powers: Array, log_mass: Array, goal: Array) -> tuple[Array, Array]:
    """Minimise psi(l) - l'goal, convex, by damped Newton steps; returns l and the gradient."""
    coef = np.zeros(len(goal))

    def value(at: Array) -> float:
        return float(np.logaddexp.reduce(log_mass + powers @ at) - at @ goal)

    gradient = goal
    for _ in range(_MAX_ITER):
        log_p = log_mass + powers @ coef
        p = np.exp(log_p - np.logaddexp.reduce(log_p))
        mean = p @ powers
        gradient = mean - goal
        if np.abs(gradient).max() <= _TOL:
            break
        centred = powers - mean
        H = (centred * p[:, None]).T @ centred
        H[np.diag_indices_from(H)] += 1e-14 * max(np.trace(H), 1e-300)
        step = np.linalg.solve(H, gradient)
        now, slope, length = value(coef), float(gradient @ step), 1.0
        while length > 1e-8 and value(coef - length * step) > now - 1e-4 * length * slope:
            length *= 0.5
        coef = coef - length * step
        if length <= 1e-8:
            break
    return coef, np.asarray(gradient)


@dataclass(frozen=True)
class TiltedLaw(Law):
    """A law with one input tilted."""

    base: MarginalLaw | NormalLaw
    axes: list[Axis] = field(repr=False)
    tilt: Tilt
    transforms = False

    @property
    def dim(self) -> int:  # type: ignore[override]
        return self.base.dim

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.base.names

    def logpdf(self, X: Array) -> Array:
        out = self.base.logpdf(X)
        inside = np.isfinite(out)
        out[inside] += self.tilt.log_ratio(X[inside], self.axes)
        return np.asarray(out)

    def rvs(self, n: int, rng: np.random.Generator) -> Array:
        i, axis = self.tilt.column, self.axes[self.tilt.column]
        log_mass = axis.log_mass + _powers(axis.unit, len(self.tilt.coef)) @ self.tilt.coef
        mass = np.exp(log_mass - log_mass.max())
        # Mass of the cells between the points, so that draws are continuous.
        share = np.concatenate([[0.0], np.cumsum(0.5 * (mass[1:] + mass[:-1]))])
        new = np.interp(rng.random(n) * share[-1], share, axis.score)
        corr = self._correlation()
        z = rng.standard_normal((n, self.dim)) @ np.linalg.cholesky(corr).T
        # The others follow their conditional law: z + r (new - z_i).
        z += np.outer(new - z[:, i], corr[i])
        if isinstance(self.base, NormalLaw):
            return np.asarray(self.base.mean + z * np.sqrt(np.diag(self.base.covariance)))
        columns = [m.from_normal(z[:, j]) for j, m in enumerate(self.base.marginals)]
        return np.column_stack(columns)

    def _correlation(self) -> Array:
        if isinstance(self.base, NormalLaw):
            sd = np.sqrt(np.diag(self.base.covariance))
            return np.asarray(self.base.covariance / np.outer(sd, sd))
        return np.eye(self.dim) if self.base.correlation is None else self.base.correlation
