"""Out-of-fold nuisance values of every candidate learner (2.6).

Learners are fitted once a fold, not once a tuple. What later stages learn from (pi, p and m, then
beta, then h) takes, inside every training part, the candidate of smallest out-of-fold loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from robuststat._core.crossfit import NuisanceTask
from robuststat._core.types import Array, IntArray
from robuststat.iv._crossfit import (
    Folds,
    Sample,
    arm_task,
    bounded,
    effect_coefficients,
    pseudo_effect,
    residuals,
    spread,
    whole_task,
)
from robuststat.iv._scores import Rows, keep_sign_away_from_zero, make_rows
from robuststat.iv._tuples import KEYS, Candidates

Split = tuple[IntArray, IntArray]
Values = dict[str, Array]


@dataclass(frozen=True, slots=True)
class Menu:
    """Candidate learners of every nuisance function.

    Attributes
    ----------
    instrument, treatment, outcome, direct, confounding : tuple of estimators
        For pi, p, E(Y|Z,X), h and omega.
    effect : tuple of estimators, "linear" or "constant"
        For beta.
    """

    instrument: tuple[Any, ...]
    treatment: tuple[Any, ...]
    effect: tuple[Any, ...]
    direct: tuple[Any, ...]
    confounding: tuple[Any, ...]
    outcome: tuple[Any, ...]

    def only(self, chosen: tuple[int, ...]) -> Menu:
        """Menu with one candidate for each coordinate of a tuple."""
        return replace(
            self,
            **{key: (getattr(self, key)[k],) for key, k in zip(KEYS, chosen, strict=True)},
        )


@dataclass(frozen=True, slots=True)
class Learnt:
    """Nuisance values of all rows in one partition.

    Attributes
    ----------
    values : Candidates
        Out-of-fold values of all candidates; pi before its bound.
    split : ndarray of int of shape (n,)
        Test part of each row.
    losses : dict of str to ndarray of shape (K,)
        Out-of-fold mean squared errors of the candidates, by nuisance function.
    """

    values: Candidates
    split: IntArray
    losses: dict[str, Array]


def learn(sample: Sample, splits: list[Split], menu: Menu, folds: Folds) -> Learnt:
    """Out-of-fold nuisance values of all candidates in one partition."""
    n = sample.y.size
    if all(isinstance(model, str) and model == "constant" for model in menu.effect):
        # Nothing then needs a linear effect, not even to make pseudo-outcomes.
        sample = _with_basis(sample, "constant")
    counts = _counts(sample, menu)
    values = {name: np.empty((count, n)) for name, count in counts.items()}
    losses: dict[str, Array] = {}
    split = np.empty(n, dtype=np.int64)
    for k, (train, test) in enumerate(splits):
        part, loss = _learn_part(sample, train, test, menu, folds)
        for name, found in part.items():
            values[name][:, test] = found
        for name, each in loss.items():
            losses[name] = losses.get(name, 0.0) + each * (test.size / n)
        split[test] = k
    return Learnt(Candidates(**values), split, losses)


def _counts(sample: Sample, menu: Menu) -> dict[str, int]:
    one_sided = sample.fixed != (None, None)
    return {
        "pi": len(menu.instrument),
        "p0": len(menu.treatment),
        "p1": len(menu.treatment),
        "beta": len(menu.effect),
        "h0": len(menu.direct),
        "h1": len(menu.direct),
        # Zero by the assumptions when the exposure is constant in one arm.
        "omega": 1 if one_sided else len(menu.confounding),
    }


def _learn_part(
    full: Sample, train: IntArray, test: IntArray, menu: Menu, folds: Folds
) -> tuple[Values, dict[str, Array]]:
    """Predictions of all candidates in a test part, and their losses there."""
    sample, held_out = full.take(train), full.take(test)
    inner = folds.split(sample)
    counts = _counts(full, menu)

    def predict(tasks: list[NuisanceTask]) -> Values:
        return folds.across(spread(tasks, full, train, full.y.size), train, test)

    # Models of instrument, exposure and outcome.
    tasks = _first_tasks(sample, menu)
    inside = folds.inside(tasks, sample, inner)
    best = {key: int(np.argmin(_first_loss(inside, key, sample, menu))) for key in _FIRST}
    first = _first_values(inside, sample, best)
    wanted = [t for t in tasks if t.name[0] != "m" or t.name.endswith(f"/{best['outcome']}")]
    found = predict(wanted)
    out = {name: _stack(found, name, counts[name]) for name in ("pi", "p0", "p1")}
    for arm, fixed in enumerate(full.fixed):
        if fixed is not None:
            out[f"p{arm}"] = np.full((len(menu.treatment), test.size), fixed)
    out["p0"], out["p1"] = (np.clip(out[name], 0.0, 1.0) for name in ("p0", "p1"))
    loss = {key: _first_loss(found, key, held_out, menu) for key in ("instrument", "treatment")}
    first_test = _first_values(found, held_out, best)

    # The effect, from pseudo-outcomes.
    coef = effect_coefficients(sample, first)
    target, weights = pseudo_effect(sample, first, coef)
    inside_beta, out["beta"] = _effects(sample, held_out, first, menu, inner, folds, predict)
    beta = int(np.argmin(_mean_squares(target - inside_beta, weights)))
    loss["effect"] = _mean_squares(
        *_against(out["beta"], *pseudo_effect(held_out, first_test, coef))
    )

    # The rest of the outcome.
    rest = sample.y - inside_beta[beta] * sample.a
    tasks = [
        arm_task(f"h{arm}/{k}", learner, sample, rest, arm)
        for k, learner in enumerate(menu.direct)
        for arm in (0, 1)
    ]
    found = predict(tasks)
    out |= {name: _stack(found, name, counts[name]) for name in ("h0", "h1")}
    rest_test = held_out.y - out["beta"][beta] * held_out.a
    at_test = np.where(held_out.z > 0.5, out["h1"], out["h0"])
    loss["direct"] = _mean_squares(rest_test - at_test, held_out.weights)
    if full.fixed != (None, None):
        out["omega"] = np.zeros((1, test.size))
        return out, loss | {"confounding": np.zeros(1)}
    found = folds.inside(tasks, sample, inner)
    inside_h = np.where(
        sample.z > 0.5, *(_stack(found, name, counts[name]) for name in ("h1", "h0"))
    )
    h = int(np.argmin(_mean_squares(rest - inside_h, sample.weights)))

    # The confounding covariance.
    product = residuals(sample, first)[1] * (rest - inside_h[h])
    tasks = [
        whole_task(f"omega/{k}", learner, sample, product)
        for k, learner in enumerate(menu.confounding)
    ]
    out["omega"] = _stack(predict(tasks), "omega", counts["omega"])
    product_test = residuals(held_out, first_test)[1] * (rest_test - at_test[h])
    loss["confounding"] = _mean_squares(product_test - out["omega"], held_out.weights)
    return out, loss


_FIRST = ("instrument", "treatment", "outcome")


def _first_tasks(sample: Sample, menu: Menu) -> list[NuisanceTask]:
    tasks = [
        whole_task(f"pi/{k}", learner, sample, sample.z)
        for k, learner in enumerate(menu.instrument)
    ]
    for arm in (0, 1):
        if sample.fixed[arm] is None:
            tasks += [
                arm_task(f"p{arm}/{k}", learner, sample, sample.a, arm)
                for k, learner in enumerate(menu.treatment)
            ]
        tasks += [
            arm_task(f"m{arm}/{k}", learner, sample, sample.y, arm)
            for k, learner in enumerate(menu.outcome)
        ]
    return tasks


def _stack(found: Values, name: str, count: int) -> Array:
    """Predictions of all candidates; none when the arm is constant."""
    rows = [found[f"{name}/{k}"] for k in range(count) if f"{name}/{k}" in found]
    return np.array(rows) if rows else np.empty((0, 0))


def _first_loss(found: Values, key: str, sample: Sample, menu: Menu) -> Array:
    """Mean squared errors of the candidates of pi, p or m."""
    count = len(getattr(menu, key))
    if key == "instrument":
        return _mean_squares(sample.z - _stack(found, "pi", count), sample.weights)
    name, target = ("p", sample.a) if key == "treatment" else ("m", sample.y)
    error = np.zeros((count, sample.y.size))
    for arm in (0, 1):
        here = (sample.z > 0.5) == bool(arm)
        if name == "m" or sample.fixed[arm] is None:
            error[:, here] = target[here] - _stack(found, f"{name}{arm}", count)[:, here]
    return _mean_squares(error, sample.weights)


def _first_values(found: Values, sample: Sample, best: dict[str, int]) -> Values:
    """Return pi, p and m of the candidates with the smallest losses."""
    values = {"pi": found[f"pi/{best['instrument']}"]}
    for arm in (0, 1):
        values[f"m{arm}"] = found[f"m{arm}/{best['outcome']}"]
        if sample.fixed[arm] is None:
            values[f"p{arm}"] = found[f"p{arm}/{best['treatment']}"]
    return bounded(values, sample)


def _mean_squares(error: Array, weights: Array | None) -> Array:
    """Weighted mean squares along the rows, one a candidate."""
    return np.asarray(np.average(error**2, axis=-1, weights=weights))


def _against(values: Array, target: Array, weights: Array) -> tuple[Array, Array]:
    return target - values, weights


def _effects(
    sample: Sample,
    held_out: Sample,
    first: Values,
    menu: Menu,
    inner: list[Split],
    folds: Folds,
    predict: Any,
) -> tuple[Array, Array]:
    """Effects of all candidates: out of fold inside the training part, and in the test part."""
    target, weights = pseudo_effect(sample, first, effect_coefficients(sample, first))
    tasks = [
        whole_task(f"beta/{k}", model, sample, target, weights)
        for k, model in enumerate(menu.effect)
        if not isinstance(model, str)
    ]
    inside = folds.inside(tasks, sample, inner) if tasks else {}
    outside = predict(tasks) if tasks else {}
    for k, model in enumerate(menu.effect):
        if not isinstance(model, str):
            continue
        own, other = (_with_basis(part, model) for part in (sample, held_out))
        values = np.empty(sample.y.size)
        for train, test in inner:
            part = {name: value[train] for name, value in first.items()}
            values[test] = own.B[test] @ effect_coefficients(own.take(train), part)[0]
        inside[f"beta/{k}"] = values
        outside[f"beta/{k}"] = other.B @ effect_coefficients(own, first)[0]
    count = len(menu.effect)
    return _stack(inside, "beta", count), _stack(outside, "beta", count)


def _with_basis(sample: Sample, model: str) -> Sample:
    return sample if model == "linear" else replace(sample, B=np.ones((sample.y.size, 1)))


def rows_of(sample: Sample, values: Candidates, weights: Sequence[Array]) -> Rows:
    """Rows whose nuisance values are averages over candidates.

    ``weights`` has one vector that sums to one for each coordinate of a tuple.
    """
    pi, p, beta, h, omega = weights
    v0, v1 = (p @ (value * (1.0 - value)) for value in (values.p0, values.p1))
    return make_rows(
        y=sample.y,
        a=sample.a,
        z=sample.z,
        pi=pi @ np.clip(values.pi, sample.clip_pi, 1.0 - sample.clip_pi),
        p0=p @ values.p0,
        p1=p @ values.p1,
        v0=v0,
        v1=v1,
        D=keep_sign_away_from_zero(v1 - v0, sample.min_abs_d),
        beta=beta @ values.beta,
        omega=omega @ values.omega,
        h0=h @ values.h0,
        h1=h @ values.h1,
    )


def unit_weights(values: Candidates, chosen: Sequence[int]) -> list[Array]:
    """All weight on one tuple."""
    return [np.eye(count)[k] for count, k in zip(values.shape, chosen, strict=True)]
