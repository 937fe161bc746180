"""Predict-then-debias: three fits of any estimator, their joint bootstrap, the tuning matrix.

Rows i with sample weights a_i, labelled with probability pi_i; an estimator is a function of rows
and weights. theta_lab uses the expert values of the labelled rows with weights a / pi, gamma_lab
the surrogates of the same rows and weights, gamma_all the surrogates of all rows with weights a.

1  theta = theta_lab + Omega (gamma_all - gamma_lab), Omega fixed, diagonal or a full matrix (Kluger
   et al. 2025, who compare with the unlabelled rows only; with all rows [D] the same combinations
   are spanned to first order, and an Omega of one is still unbiased).
2  The three fits are computed again on resampled units, in each draw together; probabilities that
   were scaled to the share labelled are scaled again.
3  The Omega of least variance is minus the coefficient of the regression of theta_lab* on
   gamma_all* - gamma_lab* over the draws; "scalar" does so coefficient by coefficient.
   [D] With q numbers a coefficient (1 or k) estimated from B draws and m labelled units, residuals
   are too small and the noise of Omega is in the estimate: the variance is multiplied by
   (B - 1)/(B - 1 - q) (1 + q/B) and by (1 + q/m)/(1 - q/m).
4  [D] With many unlabelled units a draw uses a random m of their N. Each stands for N / m units,
   and its count c from m draws with replacement is shrunk to 1 + sqrt(m / N) (c - 1): the sum over
   the subset then has the conditional variance that the sum over all N units would have, to first
   order. Deviations are taken from the fit on the same subset.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np

from robuststat._core.errors import DataError
from robuststat._core.resample import BootstrapResult, bootstrap
from robuststat._core.types import Array, BoolArray, IntArray
from robuststat.surrogate._labels import Labelling

Tuning: TypeAlias = Literal["scalar", "matrix"] | None
# Rows, outcome, weights -> coefficients, and whether the fit converged.
FitVector: TypeAlias = Callable[[Array, Any, Array], tuple[Array, bool]]

# More failures than this are no longer a nuisance: what is left of the draws is a selection.
_MAX_FAILED = 0.1


@dataclass(frozen=True, slots=True)
class Cell:
    """Units start:stop of a plan, standing for ``size`` units of one stratum."""

    start: int
    stop: int
    size: int
    stratum: int
    labeled: bool


@dataclass(frozen=True, slots=True)
class ResamplingPlan:
    """Which units a draw uses and how often.

    Attributes
    ----------
    units : ndarray of shape (m,)
        Units in use (rows, or codes of clusters), cell after cell.
    cells : tuple of Cell
        Labelled and unlabelled units, within strata when ``fixed``.
    fixed : bool
        Whether the number of labelled units is fixed by design (in each stratum); the number of
        rows in the strata is random all the same.
    """

    units: IntArray
    cells: tuple[Cell, ...]
    fixed: bool

    @property
    def factor(self) -> Array:
        """Units that each unit in use stands for, of shape (m,)."""
        return np.concatenate([np.full(c.stop - c.start, c.size / _used(c)) for c in self.cells])

    @property
    def n_labeled(self) -> int:
        """Number of labelled units."""
        return sum(_used(c) for c in self.cells if c.labeled)

    @property
    def reduced(self) -> bool:
        """Whether some unlabelled units are left out of the draws."""
        return any(c.size != _used(c) for c in self.cells)

    def draw(self, rng: np.random.Generator) -> Array:
        """Weights (m,) of one replicate, relative to ``factor``."""
        sizes = np.array([c.size for c in self.cells])
        if self.fixed:
            stratum = np.array([c.stratum for c in self.cells])
            rows = np.bincount(stratum, sizes)
            found = rows if rows.size == 1 else rng.multinomial(int(rows.sum()), rows / rows.sum())
            drawn, scale = sizes, (found / rows)[stratum]
        else:
            drawn = rng.multinomial(int(sizes.sum()), sizes / sizes.sum())
            scale = np.ones(len(self.cells))
        weights = np.empty(self.units.size)
        for cell, total, by in zip(self.cells, drawn.tolist(), scale.tolist(), strict=True):
            used = _used(cell)
            whole = used == cell.size
            count = np.bincount(rng.integers(used, size=total if whole else used), minlength=used)
            if not whole:
                shrunk = 1.0 + np.sqrt(used / cell.size) * (count - 1.0)
                weights[cell.start : cell.stop] = by * (total / cell.size) * shrunk
            else:
                weights[cell.start : cell.stop] = by * count
        return weights


def _used(cell: Cell) -> int:
    return cell.stop - cell.start


def plan_resampling(
    labeled: BoolArray,
    strata: IntArray,
    *,
    fixed: bool,
    n_unlabeled: int | None,
    rng: np.random.Generator,
) -> ResamplingPlan:
    """Sort units into cells and choose the unlabelled ones that the draws use.

    Parameters
    ----------
    labeled : ndarray of bool of shape (N,)
        Which units have labels.
    strata : ndarray of shape (N,)
        Codes of the strata; only read when ``fixed``.
    fixed : bool
        See ``ResamplingPlan``.
    n_unlabeled : int or None
        About how many unlabelled units are used; None = all of them.
    rng : Generator
        Chooses the subset.
    """
    code = 2 * strata + labeled if fixed else labeled.astype(np.int64)
    n_open = int(np.count_nonzero(~labeled))
    share = 1.0 if n_unlabeled is None or n_unlabeled >= n_open else n_unlabeled / n_open
    units: list[IntArray] = []
    cells: list[Cell] = []
    start = 0
    for value in np.unique(code).tolist():
        members = np.flatnonzero(code == value)
        size = members.size
        if value % 2 == 0 and share < 1.0:
            kept = min(size, max(2, round(share * size)))
            members = np.sort(rng.choice(members, size=kept, replace=False))
        units.append(members)
        cells.append(Cell(start, start + members.size, size, value // 2, bool(value % 2)))
        start += members.size
    return ResamplingPlan(np.concatenate(units), tuple(cells), fixed)


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of the three fits.

    Attributes
    ----------
    X, y : ndarray of shape (n, p) and (n,)
        Surrogate rows: predicted columns replaced by surrogates.
    X_gold, y_gold : ndarray of shape (r, p) and (r,)
        Expert rows.
    labeled : ndarray of shape (r,)
        Positions of the expert rows among the n.
    unit : ndarray of shape (n,)
        Position of each row's unit among those that are drawn.
    base : ndarray of shape (n,)
        Sample weight times the units that the row's unit stands for.
    prob : ndarray of shape (n,)
        Labelling probabilities, up to a constant (in each stratum) when ``rescale``.
    strata : ndarray of shape (n,)
        Codes of the strata within which probabilities are scaled.
    rescale : bool
        Whether the probabilities are scaled to the share labelled.
    """

    X: Array
    y: Any
    X_gold: Array
    y_gold: Any
    labeled: IntArray
    unit: IntArray
    base: Array
    prob: Array
    strata: IntArray
    rescale: bool

    def weights(self, drawn: Array) -> tuple[Array, Array]:
        """Weights of all rows (n,) and of the expert rows (r,), given those of the units."""
        a = self.base * drawn[self.unit]
        gold = a[self.labeled] / self.prob[self.labeled]
        if self.rescale:
            n_strata = int(self.strata.max()) + 1
            group = self.strata[self.labeled]
            wanted = np.bincount(self.strata, a * self.prob, n_strata)
            found = np.bincount(group, a[self.labeled], n_strata)
            bare = np.count_nonzero((found == 0) & (wanted > 0))
            if bare:
                raise ValueError(f"{bare} strata of a replicate have no labelled row")
            gold = gold * (wanted / np.where(found > 0, found, 1.0))[group]
        return a, gold

    def restricted(self, plan: ResamplingPlan, unit: IntArray) -> Sample:
        """Rows of the units in a plan; ``unit`` (n,) holds the unit of every row."""
        position = np.full(int(unit.max()) + 1, -1)
        position[plan.units] = np.arange(plan.units.size)
        place = position[unit]
        kept = np.flatnonzero(place >= 0)
        whole = kept.size == unit.size
        return Sample(
            X=self.X if whole else self.X[kept],
            y=self.y if whole else self.y[kept],
            X_gold=self.X_gold,
            y_gold=self.y_gold,
            # Labelled units are all in use.
            labeled=np.searchsorted(kept, self.labeled),
            unit=place[kept],
            base=self.base[kept] * plan.factor[place[kept]],
            prob=self.prob[kept],
            strata=self.strata[kept],
            rescale=self.rescale,
        )


def three_fits(fit: FitVector, sample: Sample, drawn: Array) -> Array:
    """theta_lab, gamma_lab, gamma_all and the number of fits that did not converge, (3k + 1,).

    Parameters
    ----------
    fit : callable
        The estimator.
    sample : Sample
        Rows.
    drawn : ndarray
        Weights of the units.
    """
    a, gold = sample.weights(drawn)
    inside, counted = np.flatnonzero(gold), np.flatnonzero(a)
    rows = sample.labeled[inside]
    answers = [
        fit(sample.X_gold[inside], sample.y_gold[inside], gold[inside]),
        fit(sample.X[rows], sample.y[rows], gold[inside]),
        fit(sample.X[counted], sample.y[counted], a[counted]),
    ]
    lengths = {vector.size for vector, _ in answers}
    if len(lengths) > 1:
        raise ValueError(f"the three fits have {sorted(lengths)} coefficients")
    failed = sum(not converged for _, converged in answers)
    return np.concatenate([*(vector for vector, _ in answers), [float(failed)]])


@dataclass(frozen=True, slots=True)
class Debiased:
    """Predict-then-debias estimate.

    Attributes
    ----------
    theta, vcov : ndarray of shape (k,) and (k, k)
        Estimate and its bootstrap variance.
    tuning : ndarray of shape (k, k)
        Omega.
    draws : BootstrapResult
        Replicates of the estimate, spread by the allowance for tuning, for percentile intervals.
    gold, surrogate_labeled, surrogate_all : ndarray of shape (k,)
        theta_lab, gamma_lab and gamma_all.
    gold_variance : ndarray of shape (k,)
        Bootstrap variance of theta_lab.
    unconverged : int
        How many of the three fits did not converge.
    n_unconverged : int
        Replicates in which a fit did not converge.
    """

    theta: Array
    vcov: Array
    tuning: Array
    draws: BootstrapResult
    gold: Array
    surrogate_labeled: Array
    surrogate_all: Array
    gold_variance: Array
    unconverged: int
    n_unconverged: int


def debias(
    fit: FitVector,
    sample: Sample,
    unit: IntArray,
    plan: ResamplingPlan,
    tuning: Tuning,
    *,
    n_boot: int,
    random_state: Any,
    n_jobs: int | None,
    verbose: int,
) -> Debiased:
    """Three fits, their joint bootstrap, tuning and variance (steps 1 to 4).

    Parameters
    ----------
    fit : callable
        The estimator.
    sample : Sample
        All rows; its units are those in ``unit``.
    unit : ndarray of shape (n,)
        Row number or cluster code of each row.
    plan : ResamplingPlan
        How units are drawn.
    tuning : {"scalar", "matrix", None}
        Which Omega.
    n_boot, random_state, n_jobs, verbose
        See ``bootstrap``.

    Raises
    ------
    DataError
        When a fit fails in more than a tenth of the draws.
    """
    found = three_fits(fit, sample, np.ones(int(unit.max()) + 1))
    parts = bootstrap(
        partial(three_fits, fit, sample.restricted(plan, unit)),
        plan.units.size,
        n_boot=n_boot,
        draw=plan.draw,
        random_state=random_state,
        n_jobs=n_jobs,
        verbose=verbose,
    )
    if parts.n_failed > _MAX_FAILED * n_boot:
        raise DataError(
            f"The estimator failed in {parts.n_failed} of {n_boot} bootstrap draws: labels of "
            "resampled data often cannot carry it (a class, category or stratum is missing). "
            "Label more rows, merge rare categories, or use a simpler model."
        )
    k = (found.size - 1) // 3
    gold, inside, everywhere = (found[j * k : (j + 1) * k] for j in range(3))
    moves = parts.estimates - parts.estimate
    own, gap = moves[:, :k], moves[:, 2 * k : 3 * k] - moves[:, k : 2 * k]
    omega, n_tuned = tuning_matrix(own, gap, tuning)
    theta = gold + omega @ (everywhere - inside)
    moved = own + gap @ omega.T
    # Percentile intervals need the same allowance for an estimated Omega.
    spread = np.sqrt(tuning_allowance(n_tuned, len(moved), plan.n_labeled))
    draws = BootstrapResult(theta, theta + spread * moved, n_boot, parts.n_failed, "design")
    return Debiased(
        theta=theta,
        vcov=draws.vcov,
        tuning=omega,
        draws=draws,
        gold=gold,
        surrogate_labeled=inside,
        surrogate_all=everywhere,
        gold_variance=own.var(axis=0, ddof=1),
        unconverged=int(found[-1]),
        n_unconverged=int(np.count_nonzero(parts.estimates[:, -1])),
    )


def tuning_allowance(n_tuned: int, n_draws: int, n_labeled: int) -> float:
    """Return what the variance is multiplied by because Omega was estimated (step 3).

    Parameters
    ----------
    n_tuned : int
        Numbers estimated for each coefficient.
    n_draws, n_labeled : int
        Usable draws and labelled units.
    """
    draws = (n_draws - 1) / (n_draws - 1 - n_tuned) * (1 + n_tuned / n_draws)
    return draws * (1 + n_tuned / n_labeled) / (1 - n_tuned / n_labeled)


def tuning_matrix(own: Array, gap: Array, tuning: Tuning) -> tuple[Array, int]:
    """Omega (k, k) of least variance, and how many numbers a row of it were estimated (step 3).

    Parameters
    ----------
    own, gap : ndarray of shape (B, k)
        Replicates of theta_lab and of gamma_all - gamma_lab, up to constants.
    tuning : {"scalar", "matrix", None}
        Diagonal, full, or one.
    """
    k = own.shape[1]
    if tuning is None:
        return np.eye(k), 0
    own, gap = own - own.mean(axis=0), gap - gap.mean(axis=0)
    # Coefficients that surrogates do not move (all rows labelled) have nothing to be tuned.
    spread = np.sqrt(np.mean(gap**2, axis=0))
    moving = spread > 1e-12 * np.sqrt(np.mean(own**2, axis=0))
    scaled = np.where(moving, gap / np.where(moving, spread, 1.0), 0.0)
    if tuning == "scalar":
        slope = np.where(moving, np.mean(own * scaled, axis=0), 0.0)
        omega, n_tuned = -np.diag(slope / np.where(moving, spread, 1.0)), int(moving.any())
    else:
        slopes, _, rank, _ = np.linalg.lstsq(scaled, own, rcond=1e-10)
        omega, n_tuned = -(slopes / np.where(moving, spread, 1.0)[:, None]).T, int(rank)
    return omega, n_tuned


def even_chances(labelling: Labelling, prob: Array | None) -> bool:
    """Whether rows (of a stratum) had the same chance, so that their number can be held fixed."""
    if prob is None or labelling.complete:
        return True
    codes = np.zeros(prob.size, np.int64) if labelling.strata is None else labelling.strata.codes
    low, high = np.full(codes.max() + 1, np.inf), np.zeros(codes.max() + 1)
    np.minimum.at(low, codes, prob)
    np.maximum.at(high, codes, prob)
    return bool((high <= low * (1 + 1e-12)).all())
