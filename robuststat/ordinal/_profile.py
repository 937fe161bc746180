"""Profile-likelihood intervals: the values that a likelihood-ratio test does not reject."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from robuststat._core.types import Array
from robuststat.ordinal._likelihood_fit import Rows, slabs_of
from robuststat.ordinal._model import ModelFit
from robuststat.ordinal._newton import maximise
from robuststat.ordinal._slabs import Slabs, likelihood_sums

# A limit further out than this many standard errors is called infinite.
_FAR = 60.0


@dataclass(frozen=True, slots=True)
class _Line:
    """Likelihood maximised over everything but one linear function c'phi."""

    model: ModelFit
    slabs: Slabs
    c: Array
    rest: Array

    def at(self, value: float, start: Array) -> tuple[Array, float, float]:
        """Maximiser with c'phi = value, its log-likelihood, and d loglik / d value."""
        layout, N = self.model.structure.layout, self.rest
        base = start + self.c * ((value - self.c @ start) / (self.c @ self.c))

        def sums(z: Array) -> tuple[float, Array, Array]:
            loglik, gradient, info = likelihood_sums(layout, self.slabs, base + N @ z)
            return loglik, N.T @ gradient, N.T @ info @ N

        zero = np.zeros(N.shape[1])
        if not np.isfinite(sums(zero)[0]):
            return base, -np.inf, np.nan
        found = maximise(sums, zero, tol=1e-7, max_iter=self.model.options.max_iter)
        phi = base + N @ found.phi
        gradient = likelihood_sums(layout, self.slabs, phi)[1]
        return phi, found.loglik, float(self.c @ gradient / (self.c @ self.c))


def profile_intervals(model: ModelFit, rows: Rows, level: float) -> Array:
    """Limits (k, 2) of every shown parameter, infinite where a profile does not fall enough."""
    structure = model.structure
    slabs = slabs_of(rows, structure)
    z = float(norm.ppf(0.5 + level / 2.0))
    V = model.variance.internal
    limits = np.empty((len(structure.names), 2))
    for i, c in enumerate(structure.to_raw):
        # Directions that leave c'phi alone.
        rest = np.linalg.svd(c[None, :])[2][1:].T
        line = _Line(model, slabs, c, rest)
        move = V @ c / np.sqrt(c @ V @ c)
        for side, sign in enumerate((-1.0, 1.0)):
            limits[i, side] = _limit(line, move, sign, z)
    return limits


def _limit(line: _Line, move: Array, sign: float, z: float) -> float:
    """Value at which the signed root of the likelihood ratio reaches z.

    Newton's method on the root, inside a bracket that every evaluation makes smaller.
    """
    best = line.model.phi
    centre, se = float(line.c @ best), float(line.c @ move)
    inside, outside = 0.0, np.inf  # distances in standard errors
    step, phi = z, best
    for _ in range(60):
        value = centre + sign * step * se
        trial, loglik, slope = line.at(value, phi + sign * (step - inside) * move)
        root = np.sqrt(max(2.0 * (line.model.loglik - loglik), 0.0))
        if np.isfinite(root) and abs(root - z) < 1e-8:
            return value
        if np.isfinite(root) and root < z:
            inside, phi = step, trial
        else:
            outside = step
        pace = -sign * slope * se / root if root > 0 and np.isfinite(root) else np.nan
        step = step + (z - root) / pace if np.isfinite(pace) and pace > 0 else np.nan
        high = min(outside, 3.0 * inside + z)
        if not inside < step < high:
            step = 0.5 * (inside + outside) if np.isfinite(outside) else high
        if step > _FAR:
            return sign * np.inf
        if outside - inside < 1e-12 * max(1.0, inside):
            break
    return centre + sign * step * se
