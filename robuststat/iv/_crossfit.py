"""Out-of-fold nuisance values of the cross-fitted estimator (2.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler

from robuststat._core.crossfit import NuisanceTask, cross_fit, make_folds
from robuststat._core.errors import CollinearityError, IdentificationError
from robuststat._core.linalg import solve_square
from robuststat._core.rng import check_rng
from robuststat._core.types import Array, IntArray
from robuststat.iv._scores import Rows, keep_sign_away_from_zero, make_rows

# Folds inside the training part of a fold: learners of the second stage must not see residuals of
# a first stage that was fitted to the same rows.
INNER_FOLDS = 3
FIRST = ("pi", "p0", "p1", "m0", "m1")


@dataclass(frozen=True, slots=True)
class Learners:
    """Estimators of the nuisance functions.

    Attributes
    ----------
    instrument, treatment, outcome, direct, confounding : estimator
        For pi, p, E(Y|Z,X), h and omega.
    effect : estimator or None
        For beta, from pseudo-outcomes; None is a linear model.
    """

    instrument: Any
    treatment: Any
    outcome: Any
    direct: Any
    confounding: Any
    effect: Any = None


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of one fit, for learners.

    Attributes
    ----------
    X : ndarray of shape (n, q)
        Inputs of the learners.
    B : ndarray of shape (n, k)
        Basis of the linear effect model, and of the preliminary confounding model.
    y, a, z : ndarray of shape (n,)
        Outcome, 0/1 exposure, 0/1 instrument.
    weights : ndarray of shape (n,) or None
        Sample weights.
    clusters : ndarray of shape (n,) or None
        Codes of dependence groups.
    fixed : tuple of two (float or None)
        Value of the exposure in the arms where it is constant.
    clip_pi, min_abs_d : float
        Bounds of pi and |D|.
    """

    X: Array
    B: Array
    y: Array
    a: Array
    z: Array
    weights: Array | None
    clusters: IntArray | None
    fixed: tuple[float | None, float | None]
    clip_pi: float
    min_abs_d: float

    def take(self, rows: IntArray) -> Sample:
        """Return the sample of some rows."""

        def part(values: Any) -> Any:
            return None if values is None else values[rows]

        clusters = part(self.clusters)
        if clusters is not None:
            clusters = np.unique(clusters, return_inverse=True)[1].astype(np.int64)
        return Sample(
            self.X[rows],
            self.B[rows],
            self.y[rows],
            self.a[rows],
            self.z[rows],
            part(self.weights),
            clusters,
            self.fixed,
            self.clip_pi,
            self.min_abs_d,
        )

    @property
    def strata(self) -> IntArray:
        """Cell of exposure and instrument, to be spread evenly over folds."""
        return (2 * (self.z > 0.5) + (self.a > 0.5)).astype(np.int64)


def default_classifier() -> Any:
    """Penalised logit on splines of every input."""
    return make_pipeline(
        StandardScaler(),
        SplineTransformer(n_knots=5, degree=3, knots="quantile", extrapolation="linear"),
        LogisticRegression(C=1.0, max_iter=2000),
    )


def default_regressor() -> Any:
    """Ridge regression on splines of every input, its penalty chosen by cross-validation."""
    return make_pipeline(
        StandardScaler(),
        SplineTransformer(n_knots=5, degree=3, knots="quantile", extrapolation="linear"),
        RidgeCV(alphas=np.logspace(-3, 3, 13)),
    )


def arm_task(name: str, learner: Any, sample: Sample, target: Array, arm: int) -> NuisanceTask:
    """Model of a target in the rows with Z = ``arm``."""
    here = (sample.z > 0.5) == bool(arm)
    return NuisanceTask(name, learner, sample.X, target, here, sample.weights)


def whole_task(
    name: str, learner: Any, sample: Sample, target: Array, weights: Array | None = None
) -> NuisanceTask:
    """Model of a target in all rows."""
    every = np.ones(sample.y.size, dtype=bool)
    return NuisanceTask(
        name, learner, sample.X, target, every, sample.weights if weights is None else weights
    )


def first_tasks(sample: Sample, learners: Learners) -> list[NuisanceTask]:
    """Models of instrument, exposure and outcome; the last two by arm."""
    tasks = [whole_task("pi", learners.instrument, sample, sample.z)]
    for arm in (0, 1):
        if sample.fixed[arm] is None:
            tasks.append(arm_task(f"p{arm}", learners.treatment, sample, sample.a, arm))
        tasks.append(arm_task(f"m{arm}", learners.outcome, sample, sample.y, arm))
    return tasks


def bounded(values: dict[str, Array], sample: Sample) -> dict[str, Array]:
    """First-stage predictions within their range, with the arms of constant exposure filled in."""
    out = dict(values)
    out["pi"] = np.clip(out["pi"], sample.clip_pi, 1.0 - sample.clip_pi)
    for arm, value in enumerate(sample.fixed):
        name = f"p{arm}"
        if value is not None:
            out[name] = np.full_like(out["pi"], value)
        else:
            out[name] = np.clip(out[name], 0.0, 1.0)
    return out


def effect_coefficients(sample: Sample, first: dict[str, Array]) -> tuple[Array, Array]:
    """Linear models of beta and of a preliminary omega, with E(Y|Z,X) in place of h.

    Solves the sum of L {e (Y - m) - e^2 B th - B ta} = 0 with L = (s B, B).

    Raises
    ------
    IdentificationError
        When the variance of the exposure does not differ between the arms.
    """
    s, e, outcome = residuals(sample, first)
    B, w = sample.B, 1.0 if sample.weights is None else sample.weights
    one_sided = sample.fixed != (None, None)
    left = B * (w * s)[:, None]
    right = B * (e**2)[:, None]
    k = B.shape[1]
    if not one_sided:
        left = np.hstack([left, B * np.broadcast_to(w, e.shape)[:, None]])
        right = np.hstack([right, B])
    try:
        solution = solve_square(left.T @ right, left.T @ (e * outcome))
    except CollinearityError as error:
        raise IdentificationError(
            "The equations of the effect are singular in a training part: the variance of the "
            "exposure does not differ between the values of the instrument, or the effect has too "
            "many terms. Use a constant effect ('constant'), or fewer folds."
        ) from error
    return solution[:k], np.zeros(k) if one_sided else solution[k:]


def residuals(sample: Sample, first: dict[str, Array]) -> tuple[Array, Array, Array]:
    """Return s, e = A - p and Y - m."""
    at_one = sample.z > 0.5
    s = np.where(at_one, 1.0 / first["pi"], -1.0 / (1.0 - first["pi"]))
    e = sample.a - np.where(at_one, first["p1"], first["p0"])
    return s, e, sample.y - np.where(at_one, first["m1"], first["m0"])


def pseudo_effect(
    sample: Sample, first: dict[str, Array], coef: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Pseudo-outcome whose conditional mean is beta, and the weights D^2 it should have."""
    s, e, outcome = residuals(sample, first)
    base, omega = sample.B @ coef[0], sample.B @ coef[1]
    D = keep_sign_away_from_zero(difference(first), max(sample.min_abs_d, 1e-6))
    residual = e * outcome - base * e**2 - omega
    weights = D**2 * (1.0 if sample.weights is None else sample.weights)
    return base + s * residual / D, weights


def difference(first: dict[str, Array]) -> Array:
    """D = v_1 - v_0 of a binary exposure."""
    return np.asarray(first["p1"] * (1.0 - first["p1"]) - first["p0"] * (1.0 - first["p0"]))


@dataclass(frozen=True, slots=True)
class Folds:
    """Engine of one call: where predictions come from.

    Attributes
    ----------
    rng : numpy.random.Generator
        Source of all seeds.
    n_jobs : int or None
        Workers.
    """

    rng: np.random.Generator
    n_jobs: int | None

    def split(self, sample: Sample) -> list[tuple[IntArray, IntArray]]:
        """Folds inside a (training) sample."""
        splits, _ = make_folds(
            sample.y.size,
            INNER_FOLDS,
            1,
            self.rng,
            groups=sample.clusters,
            strata=sample.strata,
        )
        return splits[0]

    def inside(
        self,
        tasks: Sequence[NuisanceTask],
        sample: Sample,
        splits: list[tuple[IntArray, IntArray]] | None = None,
    ) -> dict[str, Array]:
        """Out-of-fold predictions of all rows of a (training) sample."""
        splits = self.split(sample) if splits is None else splits
        found = cross_fit(
            tasks, [splits], np.zeros(1, dtype=np.int64), self.rng, n_jobs=self.n_jobs
        )
        return {name: values[0] for name, values in found.predictions.items()}

    def across(
        self, tasks: Sequence[NuisanceTask], train: IntArray, test: IntArray
    ) -> dict[str, Array]:
        """Predictions of the test part by learners that saw the training part."""
        found = cross_fit(
            tasks, [[(train, test)]], np.zeros(1, dtype=np.int64), self.rng, n_jobs=self.n_jobs
        )
        return {name: values[0, test] for name, values in found.predictions.items()}


def second_stage(
    full: Sample, train: IntArray, test: IntArray, learners: Learners, folds: Folds
) -> dict[str, Array]:
    """Predict beta, h_0, h_1 and omega in the test part, from the training part alone."""
    sample, n = full.take(train), full.y.size
    first = bounded(folds.inside(first_tasks(sample, learners), sample), sample)
    coef = effect_coefficients(sample, first)
    out: dict[str, Array] = {}
    if learners.effect is None:
        beta = sample.B @ coef[0]
        out["beta"] = full.B[test] @ coef[0]
    else:
        target, weights = pseudo_effect(sample, first, coef)
        task = whole_task("beta", learners.effect, sample, target, weights)
        beta = folds.inside([task], sample)["beta"]
        out["beta"] = folds.across(spread([task], full, train, n), train, test)["beta"]
    rest = sample.y - beta * sample.a
    tasks = [arm_task(f"h{arm}", learners.direct, sample, rest, arm) for arm in (0, 1)]
    out |= folds.across(spread(tasks, full, train, n), train, test)
    if full.fixed != (None, None):
        # Zero by the assumptions when the exposure is constant in one arm.
        out["omega"] = np.zeros(test.size)
        return out
    h = folds.inside(tasks, sample)
    _, e, _ = residuals(sample, first)
    product = e * (rest - np.where(sample.z > 0.5, h["h1"], h["h0"]))
    task = whole_task("omega", learners.confounding, sample, product)
    return out | folds.across(spread([task], full, train, n), train, test)


def spread(
    tasks: Sequence[NuisanceTask], full: Sample, train: IntArray, n: int
) -> list[NuisanceTask]:
    """Put tasks on a training part into the numbering of all rows."""

    def place(values: Any, empty: Any) -> Any:
        if values is None:
            return None
        out = np.full(n, empty, dtype=values.dtype)
        out[train] = values
        return out

    return [
        NuisanceTask(
            task.name,
            task.learner,
            full.X,
            place(task.target, np.nan),
            place(task.usable, False),
            place(task.weights, 0.0),
        )
        for task in tasks
    ]


@dataclass(frozen=True, slots=True)
class Repetition:
    """Nuisance values of all rows in one partition.

    Attributes
    ----------
    rows : Rows
        Data with out-of-fold nuisance values.
    D : ndarray of shape (n,)
        D before its bound.
    pi : ndarray of shape (n,)
        P(Z = 1 | X) before its bound.
    losses : dict of str to float
        Out-of-fold mean squared errors of the learners.
    mixture : callable or None
        Weights that sum to one and rows, when scores are averaged over several sets of nuisance
        values; ``rows`` then holds average nuisance values. Called again for every use, so that
        many sets need not be held at once.
    """

    rows: Rows
    D: Array
    pi: Array
    losses: dict[str, float]
    mixture: Callable[[], Iterable[tuple[float, Rows]]] | None = None

    def average(self, score: Callable[[Rows], Array]) -> Array:
        """Score of the rows, averaged over the sets of nuisance values."""
        if self.mixture is None:
            return score(self.rows)
        parts = (weight * score(rows) for weight, rows in self.mixture())
        return reduce(np.add, parts)


def repetition(
    sample: Sample, splits: list[tuple[IntArray, IntArray]], learners: Learners, folds: Folds
) -> Repetition:
    """Out-of-fold nuisance values of one partition."""
    n = sample.y.size
    tasks = first_tasks(sample, learners)
    found = cross_fit(tasks, [splits], np.zeros(1, dtype=np.int64), folds.rng, n_jobs=folds.n_jobs)
    raw = {name: values[0] for name, values in found.predictions.items()}
    first = bounded(raw, sample)
    second = {name: np.empty(n) for name in ("beta", "omega", "h0", "h1")}
    for train, test in splits:
        part = second_stage(sample, train, test, learners, folds)
        for name, values in part.items():
            second[name][test] = values
    D = difference(first)
    p0, p1 = first["p0"], first["p1"]
    rows = make_rows(
        y=sample.y,
        a=sample.a,
        z=sample.z,
        pi=first["pi"],
        p0=p0,
        p1=p1,
        v0=p0 * (1.0 - p0),
        v1=p1 * (1.0 - p1),
        D=keep_sign_away_from_zero(D, sample.min_abs_d),
        **second,
    )
    losses = {name: float(np.nanmean(values)) for name, values in found.losses.items()}
    return Repetition(rows, D, raw["pi"], losses)


def cross_fitted(
    sample: Sample, learners: Learners, *, cv: Any, n_rep: int, random_state: Any, n_jobs: Any
) -> list[Repetition]:
    """Out-of-fold nuisance values of every partition."""
    rng = check_rng(random_state)
    partitions, _ = make_folds(
        sample.y.size, cv, n_rep, rng, groups=sample.clusters, strata=sample.strata
    )
    folds = Folds(rng, n_jobs)
    return [repetition(sample, splits, learners, folds) for splits in partitions]
