"""Fixed effects taken out of a linear model without columns for them.

P projects on the indicators of all groups, with the sample weights a. The effects of the groups
are parameters of their own moments; taking those out of the other moments leaves, for the
pseudo-columns x~ = xhat + w (x - xhat) and y~ = yhat + w (y - yhat), exactly the design-adjusted
moments of the rows Dhat - P D~ and D - P D~ (step 2.3 FE in ``robuststat.surrogate``). The same
linear map turns the corrections of the labelling design into those of these rows, so whatever
is computed from the moments of an ordinary model holds here as it is.

P is computed from group sums: the factor with most groups is eliminated exactly, the effects of
the others solve a system as large as their number of groups, by conjugate gradients. Nothing is
larger than rows times columns, or than the cross-table of the groups.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from robuststat._core.errors import CollinearityError, ConvergenceWarning, warn
from robuststat._core.linalg import cluster_sums, solve_square
from robuststat._core.table import Codes
from robuststat._core.types import Array, IntArray
from robuststat.surrogate._labels import Labelling
from robuststat.surrogate._scores import DesignAdjusted

TOL = 1e-13  # largest group mean that may be left, relative to the largest value of the column
MAX_SWEEPS = 6
MAX_STEPS = 5000
# Up to so many groups outside the largest factor the rank of three or more factors is counted.
_DENSE_GROUPS = 500
_NULL = 1e-9
# A column with less than this share of its norm left within groups is determined by them.
_ABSORBED = 1e-7
# Noise in the group means of a predicted covariate that is worth a warning.
NOISE_LIMIT = 0.05


@dataclass(frozen=True, slots=True)
class Projection:
    """How a projection ended: conjugate gradient steps and the largest relative group mean left."""

    converged: bool
    n_iter: int
    gap: float


@dataclass(frozen=True, slots=True)
class Absorber:
    """Groups of the rows and the cross-tables their projection needs.

    Attributes
    ----------
    groups : dict of str to Codes
        Factors as given.
    weights : ndarray of shape (n,) or None
        Sample weights.
    codes : tuple of ndarray of shape (n,)
        Group codes, the factor with most groups first; the others share one numbering.
    first : ndarray of shape (G_1,)
        Total weight of each group of the first factor, 1 where it is zero.
    cross : sparse matrix of shape (G_rest, G_1) or None
        Total weight in each pair of groups of the others with the first.
    rest : sparse matrix of shape (G_rest, G_rest) or None
        The same among the others.
    rank : int
        Parameters that the groups stand for: the rank of their indicators.
    log : list of Projection
        Every projection made.
    """

    groups: dict[str, Codes]
    weights: Array | None
    codes: tuple[IntArray, ...]
    first: Array
    cross: Any
    rest: Any
    rank: int
    log: list[Projection] = field(default_factory=list)

    @property
    def converged(self) -> bool:
        """Whether every projection reached its tolerance."""
        return all(step.converged for step in self.log)

    def project(self, columns: Array) -> Array:
        """P times ``columns`` (n, q), of the same shape."""
        projected, step = project(self, columns)
        self.log.append(step)
        return projected


def make_absorber(groups: dict[str, Codes], weights: Array | None) -> Absorber:
    """Cross-tables and rank of the groups."""
    ordered = sorted(groups.values(), key=lambda factor: -len(factor.levels))
    offsets = np.cumsum([0, *(len(factor.levels) for factor in ordered[1:])])
    others = [
        factor.codes + offset for factor, offset in zip(ordered[1:], offsets[:-1], strict=True)
    ]
    n, n_first, n_rest = ordered[0].codes.size, len(ordered[0].levels), int(offsets[-1])
    mass = np.ones(n) if weights is None else weights
    first = np.asarray(np.bincount(ordered[0].codes, mass, n_first), dtype=np.float64)
    first[first == 0.0] = 1.0
    cross = rest = None
    if others:
        cross = _table(others, [ordered[0].codes], mass, (n_rest, n_first))
        rest = _table(others, others, mass, (n_rest, n_rest))
    codes = (ordered[0].codes, *others)
    return Absorber(groups, weights, codes, first, cross, rest, absorbed_rank(ordered, weights))


def _table(rows: list[IntArray], columns: list[IntArray], mass: Array, shape: Any) -> Any:
    """Total weight in each pair of groups."""
    total = sparse.csr_array(shape)
    for a in rows:
        for b in columns:
            total = total + sparse.coo_array((mass, (a, b)), shape=shape).tocsr()
    return total


def absorbed_rank(factors: list[Codes], weights: Array | None) -> int:
    """Rank of the indicators of all groups that have weight.

    One factor: its number of groups. Two: G_1 + G_2 less the connected components of the graph
    in which rows link groups. More: counted from the eigenvalues of the system of all factors
    but the first when it is small; else an upper bound, in which each further factor loses its
    largest number of components with any factor before it.
    """
    codes = [factor.codes for factor in factors]
    if weights is not None and not weights.all():
        codes = [np.unique(c[weights > 0], return_inverse=True)[1] for c in codes]
    sizes = [int(c.max()) + 1 for c in codes]
    if len(codes) > 2 and sum(sizes[1:]) <= _DENSE_GROUPS:
        return sizes[0] + _schur_rank(codes, sizes)
    rank = sizes[0]
    for f in range(1, len(codes)):
        rank += sizes[f] - max(_components(codes[g], codes[f]) for g in range(f))
    return rank


def _components(a: IntArray, b: IntArray) -> int:
    n_a, total = int(a.max()) + 1, int(a.max() + b.max()) + 2
    links = sparse.coo_array((np.ones(a.size), (a, b + n_a)), shape=(total, total))
    found: Any = connected_components(links, directed=False, return_labels=False)
    return int(found)


def _schur_rank(codes: list[IntArray], sizes: list[int]) -> int:
    offsets = np.cumsum([0, *sizes[1:]])
    others = [c + offset for c, offset in zip(codes[1:], offsets[:-1], strict=True)]
    ones, n_rest = np.ones(codes[0].size), int(offsets[-1])
    cross = _table(others, [codes[0]], ones, (n_rest, sizes[0]))
    schur = _table(others, others, ones, (n_rest, n_rest)).toarray()
    scale = 1.0 / np.sqrt(np.diag(schur))
    schur -= (cross @ sparse.diags_array(1.0 / np.bincount(codes[0])) @ cross.T).toarray()
    return int((np.linalg.eigvalsh(schur * scale * scale[:, None]) > _NULL).sum())


def project(absorber: Absorber, columns: Array) -> tuple[Array, Projection]:
    """Projection of ``columns`` (n, q) on the groups, and how it ended.

    Every sweep solves for the group effects of what is left, so that the second one removes the
    rounding of the first.
    """
    a = absorber.weights
    left = columns - columns.mean(axis=0)
    scale = np.abs(left).max(axis=0)
    scale[scale == 0.0] = 1.0
    total = float(columns.shape[0] if a is None else a.sum())
    n_iter, steps, gap = 0, 0, np.inf
    for sweep in range(MAX_SWEEPS):
        weighted = left if a is None else left * a[:, None]
        sums = [
            cluster_sums(weighted, codes, size)
            for codes, size in zip(absorber.codes, _sizes(absorber), strict=True)
        ]
        gap = _largest_mean(absorber, sums, scale)
        if (gap <= TOL and sweep > 0) or steps == MAX_STEPS:
            break
        effects, steps = _effects(absorber, sums, 1e-15 * scale * np.sqrt(total))
        n_iter += steps
        for codes, effect in zip(absorber.codes, effects, strict=True):
            left -= effect[codes]
    return columns - left, Projection(bool(gap <= TOL), n_iter, float(gap))


def _sizes(absorber: Absorber) -> list[int]:
    rest = 0 if absorber.rest is None else absorber.rest.shape[0]
    return [absorber.first.size, *[rest] * (len(absorber.codes) - 1)]


def _largest_mean(absorber: Absorber, sums: list[Array], scale: Array) -> float:
    means = [np.abs(sums[0]) / absorber.first[:, None]]
    if absorber.rest is not None:
        means.append(np.abs(sum(sums[1:])) / _mass(absorber)[:, None])
    return float(max((part / scale).max() for part in means))


def _mass(absorber: Absorber) -> Array:
    """Weight of every group outside the first factor, 1 where it is zero."""
    mass = np.array(absorber.rest.diagonal())
    mass[mass == 0.0] = 1.0
    return mass


def _effects(absorber: Absorber, sums: list[Array], floor: Array) -> tuple[list[Array], int]:
    """Group effects whose group sums are ``sums``; the factors after the first share an array."""
    first, cross, rest = absorber.first[:, None], absorber.cross, absorber.rest
    if rest is None:
        return [sums[0] / first], 0
    back = cross.T.tocsr()

    def schur(v: Array) -> Array:
        return np.asarray(rest @ v - cross @ ((back @ v) / first))

    right = sum(sums[1:]) - cross @ (sums[0] / first)
    others, steps = _conjugate_gradients(schur, _mass(absorber)[:, None], right, floor)
    return [(sums[0] - back @ others) / first, *[others] * (len(absorber.codes) - 1)], steps


def _conjugate_gradients(system: Any, mass: Array, right: Array, floor: Array) -> tuple[Array, int]:
    """Solve every column of a consistent, possibly singular system; ``mass`` preconditions."""
    solution, r = np.zeros(right.shape), np.array(right)
    p = r / mass
    rz = (r * p).sum(axis=0)
    for step in range(MAX_STEPS):
        image = system(p)
        curvature = (p * image).sum(axis=0)
        # A direction without curvature is in the null space: groups that other groups contain.
        usable = (np.sqrt(rz) > floor) & (curvature > 1e-14 * (p * p * mass).sum(axis=0))
        if not usable.any():
            return solution, step
        length = np.divide(rz, curvature, out=np.zeros(rz.shape), where=usable)
        solution += length * p
        r -= length * image
        z = r / mass
        new = (r * z).sum(axis=0)
        p = z + p * np.divide(new, rz, out=np.zeros(rz.shape), where=usable)
        rz = new
    return solution, MAX_STEPS


def within(absorber: Absorber, X: Array, names: tuple[str, ...]) -> Array:
    """``X - P X``; a column that the groups determine is a CollinearityError."""
    found = X - absorber.project(X)
    refuse_absorbed(absorber, X, found, names)
    return found


def refuse_absorbed(absorber: Absorber, X: Array, left: Array, names: tuple[str, ...]) -> None:
    lost = [names[j] for j in np.flatnonzero(absorbed_columns(X, left))]
    if lost:
        raise CollinearityError(
            f"{', '.join(lost)} {'does' if len(lost) == 1 else 'do'} not vary within the groups "
            f"of {', '.join(absorber.groups)}: the fixed effects determine "
            f"{'it' if len(lost) == 1 else 'them'}. Leave {', '.join(lost)} out, or absorb less."
        )


def absorbed_columns(X: Array, left: Array) -> Array:
    """Columns of which nothing but rounding is left within groups."""
    spread = np.linalg.norm(X - X.mean(axis=0), axis=0)
    flat = spread <= 1e-12 * np.linalg.norm(X, axis=0)
    return np.asarray(flat | (np.linalg.norm(left, axis=0) <= _ABSORBED * spread))


def absorbed_moments(
    absorber: Absorber, moments: DesignAdjusted, names: tuple[str, ...]
) -> DesignAdjusted:
    """Moments with the group effects taken out (2.3 FE).

    Moments with a pseudo-outcome hold ``X - P X`` already, which no prediction changes.
    """
    rows, ratio = moments.labelling.rows, moments.labelling.ratio
    if moments.pseudo_outcome is not None:
        effect = absorber.project(moments.pseudo_outcome[:, None])[:, 0]
        return replace(
            moments,
            y_hat=moments.y_hat - effect,
            y_gold=moments.y_gold - effect[rows],
            pseudo_outcome=moments.pseudo_outcome - effect,
        )
    k = moments.n_moments
    pseudo = np.column_stack([moments.X_hat, moments.y_hat])
    gold = np.column_stack([moments.X_gold, moments.y_gold])
    pseudo[rows] += ratio[:, None] * (gold - pseudo[rows])
    effects = absorber.project(pseudo)
    refuse_absorbed(absorber, pseudo[:, :k], pseudo[:, :k] - effects[:, :k], names)
    found = replace(
        moments,
        X_hat=moments.X_hat - effects[:, :k],
        y_hat=moments.y_hat - effects[:, k],
        X_gold=moments.X_gold - effects[rows, :k],
        y_gold=moments.y_gold - effects[rows, k],
    )
    solve_square(-found.sums(np.zeros(k))[1], np.zeros(k), names)  # says what is collinear
    return found


def group_noise(absorber: Absorber, moments: DesignAdjusted) -> float:
    """Share of a predicted covariate's variation that is noise in its squared group means.

    The correction w (x - xhat) has variance (1 - pi)/pi (x - xhat)^2; the group means keep
    rank / n of it, which is missing in the diagonal of A.
    """
    labelling, n = moments.labelling, moments.n_obs
    if moments.pseudo_outcome is not None:
        return 0.0
    rows = labelling.rows
    prob = labelling.prob[rows]
    mass = labelling.ratio * np.maximum(1.0 - prob, 0.0) / prob
    if labelling.weights is not None:
        mass = mass * labelling.weights[rows]
    noise = mass @ (moments.X_gold - moments.X_hat[rows]) ** 2 * absorber.rank / n
    diagonal = np.abs(np.diag(moments.sums(np.zeros(moments.n_moments))[1])) * n
    return float((noise / diagonal).max())


def noise_words(share: float) -> str:
    """Say what the noise of group means does."""
    return (
        f"absorbed groups have few rows for a predicted covariate: about {share:.0%} of its "
        "variation within groups is noise of the correction, which biases its coefficient by a "
        "share of that order; label more rows, improve the predictions, or absorb fewer groups"
    )


def labelled_moments(
    absorber: Absorber, moments: DesignAdjusted, X: Array, y: Array
) -> DesignAdjusted | None:
    """Moments of the labelled rows alone, their own group means taken out.

    None when the labels cannot carry groups and covariates.
    """
    labelling = moments.labelling
    rows = labelling.rows
    a = labelling.weights
    weights = labelling.ratio if a is None else labelling.ratio * a[rows]
    groups = {name: codes.take(labelling.labeled) for name, codes in absorber.groups.items()}
    own = make_absorber(groups, weights)
    columns = np.column_stack([X[rows], np.asarray(y, dtype=np.float64)[rows]])
    left = columns - own.project(columns)
    k = X.shape[1]
    if rows.size <= own.rank + k or absorbed_columns(columns[:, :k], left[:, :k]).any():
        return None
    return replace(moments, X_gold=np.ascontiguousarray(left[:, :k]), y_gold=left[:, k])


def describe_groups(absorber: Absorber, labelling: Labelling) -> pd.DataFrame:
    """One row a factor: groups, groups of one row, groups without any label."""
    records = []
    for name, factor in absorber.groups.items():
        size = len(factor.levels)
        counts = np.bincount(factor.codes, minlength=size)
        labels = np.bincount(factor.codes[labelling.rows], minlength=size)
        records.append((name, size, int((counts == 1).sum()), int((labels == 0).sum())))
    return pd.DataFrame(records, columns=["factor", "groups", "singletons", "unlabelled"])


def warn_projection(absorber: Absorber) -> None:
    """Say that group means are left."""
    if not absorber.converged:
        gap = max(step.gap for step in absorber.log)
        warn(
            f"The projection on the groups of {', '.join(absorber.groups)} did not converge: group "
            f"means of {gap:.1e} of the largest value are left. The groups are hardly connected; "
            "absorb fewer factors, or leave out groups that few rows link to the others.",
            ConvergenceWarning,
        )


def absorb_lines(absorber: Absorber, labelling: Labelling) -> list[str]:
    """Say what was absorbed."""
    parts = []
    for row in describe_groups(absorber, labelling).to_dict("records"):
        words = f"{row['factor']} ({row['groups']:,} groups"
        words += f", {row['singletons']:,} of one row" if row["singletons"] else ""
        words += f", {row['unlabelled']:,} without labels, kept" if row["unlabelled"] else ""
        parts.append(words + ")")
    steps = max(step.n_iter for step in absorber.log)
    ending = "exact" if absorber.rest is None else f"converged in {steps} steps"
    if not absorber.converged:
        gap = max(step.gap for step in absorber.log)
        ending = f"NOT converged (group means of {gap:.1e} are left)"
    return [
        f"Fixed effects: {', '.join(parts)}",
        f"Absorbed parameters: {absorber.rank:,}; projection {ending}",
    ]
