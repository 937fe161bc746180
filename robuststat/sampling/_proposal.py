"""The density q that points are drawn from: auxiliary densities, and a share of the laws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special
from scipy.stats import qmc

from robuststat._core.types import Array
from robuststat.sampling._density import Components, log_sum_exp
from robuststat.sampling._law_classes import Law
from robuststat.sampling._problem import Problem

__all__ = ["Densities", "Proposal", "densities"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """q = share * mean_l f_l + (1 - share) * sum_k alpha_k g_k, or a law of the user's choice.

    Attributes
    ----------
    components : Components or None
        g_1..g_K; None when only laws are drawn from.
    alpha : ndarray of shape (K,)
        Shares of the g_k among themselves.
    share : float
        Part of the equal mixture of the laws; 1 when there are no components.
    start : Law or None
        When set, q is this law alone.
    """

    components: Components | None
    alpha: Array
    share: float = 0.0
    start: Law | None = None

    def log_laws(self, log_f: Array) -> Array:
        """Log-density of the equal mixture of the laws."""
        if log_f.shape[1] == 1:
            return np.asarray(log_f[:, 0])
        return np.asarray(log_sum_exp(log_f) - np.log(log_f.shape[1]))

    def log_density(
        self, problem: Problem, points: Array, X: Array, log_f: Array, log_g: Array | None = None
    ) -> Array:
        """Log q at points of the sampler; ``log_g`` saves evaluating the components again."""
        if self.start is not None:
            return np.asarray(self.start.logpdf(X) + problem.log_jacobian(points, X))
        parts = []
        if self.share > 0:
            parts.append(self.log_laws(log_f) + np.log(self.share))
        if self.components is not None and self.share < 1:
            if log_g is None:
                log_g = self.components.log_density(points)
            with np.errstate(divide="ignore"):
                parts.append(log_sum_exp(log_g + np.log(self.alpha)) + np.log1p(-self.share))
        return parts[0] if len(parts) == 1 else np.asarray(np.logaddexp(parts[0], parts[1]))

    def n_uniforms(self, problem: Problem) -> int:
        """Uniform numbers that one point takes."""
        wanted = 0 if self.components is None else self.components.n_uniforms
        return 1 + max(wanted, problem.dim)

    def draw(
        self, problem: Problem, n: int, rng: np.random.Generator, uniforms: Array | None = None
    ) -> Array:
        """N points of the sampler, from given uniform numbers or from ``rng``."""
        if self.start is not None:
            return problem.to_points(self.start.rvs(n, rng))
        if uniforms is None:
            if self.share == 1 and len(problem.laws) == 1:
                return problem.to_points(problem.laws[0].rvs(n, rng))
            uniforms = rng.random((n, self.n_uniforms(problem)))
        u = np.clip(uniforms, 2.0**-54, 1.0 - 2.0**-53)
        points = np.empty((n, problem.dim))
        from_laws = u[:, 0] < self.share
        if from_laws.any():
            choice = u[from_laws, 0] / self.share
            points[from_laws] = _draw_laws(problem, choice, u[from_laws, 1:], rng)
        if not from_laws.all():
            assert self.components is not None  # share < 1
            rest = ~from_laws
            choice = (u[rest, 0] - self.share) / (1.0 - self.share)
            points[rest] = self.components.draw(choice, u[rest, 1:], self.alpha)
        return points

    def sobol(self, problem: Problem, log2_n: int, rng: np.random.Generator) -> Array:
        """2**log2_n points from one scrambled Sobol' design through the mixture."""
        # The rng keyword of newer SciPy is called seed in the oldest one supported.
        design = qmc.Sobol(self.n_uniforms(problem), scramble=True, seed=rng).random_base2(log2_n)
        return self.draw(problem, len(design), rng, design + 2.0**-31)


def _draw_laws(problem: Problem, choice: Array, uniforms: Array, rng: np.random.Generator) -> Array:
    laws, d = problem.laws, problem.dim
    which = np.minimum((choice * len(laws)).astype(np.int64), len(laws) - 1)
    z = special.ndtri(uniforms[:, :d])
    if problem.normal and len(laws) == 1:
        return np.asarray(z)
    X = np.empty_like(z)
    for index in np.unique(which):
        rows, law = which == index, laws[index]
        X[rows] = law.from_normal(z[rows]) if law.transforms else law.rvs(int(rows.sum()), rng)
    return problem.to_points(X)


@dataclass(frozen=True, slots=True)
class Densities:
    """Densities at one set of points.

    Attributes
    ----------
    log_f : ndarray of shape (n, L)
        Laws.
    log_g : ndarray of shape (n, K) or None
        Components of the proposal.
    log_q : ndarray of shape (n,)
        Proposal.
    """

    log_f: Array
    log_g: Array | None
    log_q: Array


def densities(problem: Problem, proposal: Proposal, points: Array, X: Array) -> Densities:
    """Evaluate laws, components and proposal at points."""
    log_f = problem.log_f(points, X)
    log_g = None
    if proposal.components is not None:
        log_g = proposal.components.log_density(points)
    return Densities(log_f, log_g, proposal.log_density(problem, points, X, log_f, log_g))
