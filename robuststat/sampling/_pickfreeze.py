"""Pick-freeze designs and the statistics of one replicate of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import special
from scipy.stats import qmc

from robuststat._core.types import Array, BoolArray, IntArray
from robuststat.sampling._law_classes import MarginalLaw

__all__ = ["Plan", "Points", "Replicate", "draw_points", "masks", "replicate", "stretch"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Which inputs are exchanged together, and which runs that takes.

    The runs of one point are a, b, then for every factor g the point a with the inputs of g taken
    from b, and for second-order indices b with those of g taken from a.

    Attributes
    ----------
    factors : tuple of ndarray
        Columns of each factor: one each, or those of a group.
    names : tuple of str
        Names of the factors.
    second : bool
        Whether second-order indices are wanted.
    """

    factors: tuple[IntArray, ...]
    names: tuple[str, ...]
    second: bool = False

    @property
    def n_runs(self) -> int:
        """Runs a point."""
        return 2 + len(self.factors) * (2 if self.second else 1)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Pairs of factors with a second-order index."""
        return list(combinations(range(len(self.factors)), 2)) if self.second else []

    def points(self, a: Array, b: Array) -> Array:
        """Put the runs of all points one after the other, (n n_runs, d)."""
        n, d = a.shape
        out = np.empty((n, self.n_runs, d))
        out[:, 0], out[:, 1] = a, b
        for position, (base, other) in enumerate(((a, b), (b, a))[: 1 + self.second]):
            for g, columns in enumerate(self.factors):
                run = 2 + position * len(self.factors) + g
                out[:, run] = base
                out[:, run, columns] = other[:, columns]
        return out.reshape(n * self.n_runs, d)


@dataclass(frozen=True, slots=True)
class Points:
    """Runs of the points of one replicate.

    Attributes
    ----------
    X : ndarray of shape (n n_runs, d)
        Inputs.
    weight : ndarray of shape (n n_runs,)
        Density of the law over that of the points, run by run.
    pair_weight : ndarray of shape (n,)
        The same for both halves a and b of a point.
    """

    X: Array
    weight: Array
    pair_weight: Array

    def rows(self, fine: BoolArray, n_runs: int) -> Points:
        """Keep some of the points."""
        runs = np.repeat(fine, n_runs)
        return Points(self.X[runs], self.weight[runs], self.pair_weight[fine])


def stretch(unbounded: BoolArray) -> Array:
    """Factor by which the normal scores of unbounded inputs are widened, (d,).

    The mean square of the weight of a pair is 2: each of 2 d factors has s^2 / sqrt(2 s^2 - 1).
    What polynomials fit badly lies in the tails, where the law itself hardly draws; a few such
    points would decide the estimate, and intervals would not know.
    """
    count = int(unbounded.sum())
    if not count:
        return np.ones(len(unbounded))
    c = 2.0 ** (1.0 / count)  # square of the factor: s^4 = c (2 s^2 - 1)
    return np.where(unbounded, np.sqrt(c + np.sqrt(c * c - c)), 1.0)


def draw_points(
    plan: Plan, law: MarginalLaw, n: int, rng: np.random.Generator, scrambled: bool, s: Array
) -> Points:
    """Draw the runs of n points; n is a power of two where they are scrambled."""
    d = law.dim
    if scrambled:
        # The rng keyword of newer SciPy is called seed in the oldest one supported.
        design = qmc.Sobol(2 * d, scramble=True, seed=rng).random_base2(int(np.log2(n)))
        z = special.ndtri(design + 2.0**-31)  # designs hold zeros
    else:
        z = rng.standard_normal((n, 2 * d))
    a, b = z[:, :d] * s, z[:, d:] * s
    log_a, log_b = (np.log(s) - 0.5 * half**2 * (1.0 - 1.0 / s**2) for half in (a, b))
    return Points(
        X=plan.points(law.from_normal(a), law.from_normal(b)),
        weight=np.exp(plan.points(log_a, log_b).sum(axis=1)),
        pair_weight=np.exp((log_a + log_b).sum(axis=1)),
    )


def masks(plan: Plan, powers: IntArray) -> BoolArray:
    """Terms of a polynomial that belong to each index, (2 G + pairs, P).

    First order: terms in the inputs of one factor only. Total: terms in which the factor occurs.
    Second order: terms in exactly two factors.
    """
    active = np.column_stack([(powers[:, columns] > 0).any(axis=1) for columns in plan.factors])
    count = active.sum(axis=1)
    first = active & (count == 1)[:, None]
    second = [active[:, g] & active[:, h] & (count == 2) for g, h in plan.pairs]
    return np.vstack([first.T, active.T, *second])


@dataclass(frozen=True, slots=True)
class Replicate:
    """Statistics of one replicate; expectations of all of them are what is wanted.

    Attributes
    ----------
    numerators : ndarray of shape (2 G + pairs, m)
        Variances of first, total and second order, of each output.
    square, mean : ndarray of shape (m,)
        The variance of an output is E square - (E mean)^2.
    """

    numerators: Array
    square: Array
    mean: Array


def replicate(
    plan: Plan, chosen: BoolArray, B: Array, points: Points, Y: Array, coef: Array
) -> Replicate:
    """Correct the indices of a polynomial m by the residuals r = y - m of independent runs.

    With m_u the terms of m that belong to an index, its variance is
    Var m_u + 2 E m_u r + (the same index of r). The first part is known; the second is a mean over
    all runs, not only over pairs; the third is pick-freeze applied to r, which is small where m is
    good. All three together are unbiased whatever m is, as long as other runs decided it.

    Parameters
    ----------
    plan : Plan
        Runs of a point.
    chosen : ndarray of shape (q, P)
        Terms of each index, from :func:`masks`.
    B : ndarray of shape (n n_runs, P)
        Terms of m at the runs, orthonormal, the constant first.
    points : Points
        Weights of the runs.
    Y : ndarray of shape (n n_runs, m)
        Outputs.
    coef : ndarray of shape (P, m)
        Coefficients of m.

    Returns
    -------
    Replicate
    """
    resid = Y - B @ coef
    weighted = points.weight[:, None] * resid
    known = coef * coef + 2.0 * coef * (B.T @ weighted / len(B))
    known[0] = 0.0
    r = resid.reshape(-1, plan.n_runs, Y.shape[1])
    return Replicate(
        numerators=chosen @ known + _exchange(plan, r, points.pair_weight),
        square=known.sum(axis=0) + (weighted * resid).mean(axis=0),
        mean=weighted.mean(axis=0),
    )


def _exchange(plan: Plan, r: Array, weight: Array) -> Array:
    """Pick-freeze: Saltelli et al. (2010) for first, Jansen (1999) for total order."""
    G = len(plan.factors)

    def mean(values: Array) -> Array:
        return np.asarray(np.tensordot(weight, values, axes=(0, 0)) / len(weight))

    a, b = r[:, 0], r[:, 1]
    mixed = r[:, 2 : 2 + G]
    first = mean(b[:, None] * (mixed - a[:, None]))
    total = 0.5 * mean((a[:, None] - mixed) ** 2)
    if not plan.second:
        return np.vstack([first, total])
    other = r[:, 2 + G :]
    first = 0.5 * (first + mean(a[:, None] * (other - b[:, None])))
    total = 0.5 * (total + 0.5 * mean((b[:, None] - other) ** 2))
    product = mean(a * b)
    rows = []
    for g, h in plan.pairs:
        # Both runs have the inputs of g from b and those of h from a, and no other in common.
        one, two = mean(mixed[:, g] * other[:, h]), mean(mixed[:, h] * other[:, g])
        rows.append(0.5 * (one + two) - product - first[g] - first[h])
    return np.vstack([first, total, *rows])
