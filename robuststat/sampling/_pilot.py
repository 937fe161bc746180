"""The first batch, and what it decides: expectations, components, weights of the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from robuststat._core.errors import DataError
from robuststat._core.types import Array, IntArray
from robuststat.sampling._fit_components import Family
from robuststat.sampling._problem import Problem
from robuststat.sampling._proposal import Densities, Proposal, densities
from robuststat.sampling._runs import Runner

__all__ = [
    "LearnOptions",
    "Plan",
    "Pool",
    "Signed",
    "control_ratios",
    "loss_weights",
    "plan_components",
    "run_pilot",
    "run_points",
]

Signed: TypeAlias = Literal["split", "abs"]
_SIDE_SHARE = 0.01  # a sign with less of the absolute mass gets no component of its own


@dataclass(frozen=True, slots=True)
class LearnOptions:
    """Tuning of the adaptive part; see :class:`robuststat.AdaptiveISCV`."""

    n_budget: int
    n_learn: int
    n_batch: int
    max_batches: int
    paper: bool
    family: Family
    weights: Array | str
    signed: Signed
    share: float
    alpha_min: float
    max_components: int
    stop: bool
    halves: bool
    draw: Callable[[Proposal, int], Array]
    batch_rows: Callable[[int], int]
    rng: np.random.Generator


@dataclass(slots=True)
class Pool:
    """All points so far with the density h of the batches together (balance heuristic)."""

    points: Array
    Y: Array
    log_f: Array
    log_mass: Array  # log sum_b n_b q_b
    n_drawn: int
    proposals: list[tuple[Proposal, int]] = field(default_factory=list)

    @property
    def log_h(self) -> Array:
        """Logarithm of h at every point."""
        return np.asarray(self.log_mass - np.log(self.n_drawn))

    def law_weights(self) -> Array:
        """Weights under which the points follow the equal mixture of the laws, (n,)."""
        return np.asarray(np.exp(self.log_f - self.log_h[:, None]).mean(axis=1))

    def values(self, problem: Problem) -> Array:
        """phi_j f_j / h, (n, J)."""
        ratio = np.exp(self.log_f - self.log_h[:, None])
        return problem.values(ratio, self.Y)


@dataclass(slots=True)
class Plan:
    """Components of each expectation: sides (expectation, sign) and their representatives."""

    owner: IntArray
    sign: IntArray
    chosen: IntArray | None = None

    def mass(self, values: Array) -> Array:
        """Non-negative weights of every side, (n, sides)."""
        picked = values[:, self.owner]
        return np.where(
            self.sign == 0, np.abs(picked), np.maximum(picked * np.where(self.sign < 0, -1, 1), 0.0)
        )

    def index(self, nearest: IntArray, J: int, extra: int | None) -> IntArray:
        """Return the controls of each expectation, (J, w), given those of its sides."""
        out = np.full((J, 2), -1, dtype=np.int64)
        for owner, k in zip(self.owner, nearest, strict=True):
            if k in out[owner]:
                continue
            out[owner, 0 if out[owner, 0] < 0 else 1] = k
        out = out if (out[:, 1] >= 0).any() else out[:, :1]
        return out if extra is None else np.hstack([out, np.full((J, 1), extra)])


def run_points(
    problem: Problem, proposal: Proposal, runner: Runner, points: Array, batch: int
) -> tuple[Array, Array, Densities]:
    """Run the model at points of the sampler; failed rows are NaN in the outputs."""
    X = problem.to_x(points)
    found = densities(problem, proposal, points, X)
    inside = np.asarray(np.isfinite(found.log_f).any(axis=1))
    Y = runner.evaluate_inside(X, inside, batch)
    return X, Y, found


def control_ratios(proposal: Proposal, found: Densities) -> Array:
    """g_k/q, and as last column the laws' mixture over q where q has a share of it."""
    columns = []
    if found.log_g is not None:
        columns.append(np.exp(found.log_g - found.log_q[:, None]))
    if 0 < proposal.share < 1:
        columns.append(np.exp(proposal.log_laws(found.log_f) - found.log_q)[:, None])
    return np.hstack(columns) if columns else np.empty((len(found.log_q), 0))


def run_pilot(
    problem: Problem,
    runner: Runner,
    start: Proposal,
    points: Array,
    options_of: Callable[[int], LearnOptions],
) -> tuple[Problem, Pool, LearnOptions]:
    """First batch; a few runs come first, to learn how many outputs there are."""
    n_first = min(64, len(points))
    first = min(runner.options.batch_size or n_first, n_first)
    parts = [run_points(problem, start, runner, points[:n_first], first)]
    if runner.n_outputs is None:
        raise DataError(f"func failed at every one of its first {n_first} runs. Mend it.")
    problem = problem.paired(runner.n_outputs)
    options = options_of(problem.n)
    points = points[: options.n_batch]
    n = len(points)
    if n > n_first:
        batch = options.batch_rows(problem.n)
        parts.append(run_points(problem, start, runner, points[n_first:], batch))
    Y = np.vstack([part for _, part, _ in parts])[:n]
    log_f = np.vstack([found.log_f for *_, found in parts])[:n]
    log_q = np.concatenate([found.log_q for *_, found in parts])[:n]
    keep = np.isfinite(Y).all(axis=1)
    pool = Pool(points[keep], Y[keep], log_f[keep], (log_q + np.log(n))[keep], n, [(start, n)])
    return problem, pool, options


def plan_components(values: Array, signed: Signed, names: Callable[[int], str]) -> Plan:
    """Which signs of which expectations get a component."""
    plus, minus = np.maximum(values, 0).sum(axis=0), np.maximum(-values, 0).sum(axis=0)
    total = plus + minus
    if (total == 0).any():
        empty = np.flatnonzero(total == 0)
        raise DataError(
            f"No mass seen: {len(empty)} of {len(total)} expectations are zero at every point of "
            f"the first batch (first: {names(int(empty[0]))}). Raise n_budget, pass start=, a law "
            "that reaches where func is not zero."
        )
    owner, sign = [], []
    for j in range(values.shape[1]):
        both = min(plus[j], minus[j]) >= _SIDE_SHARE * total[j]
        if both and signed == "abs":
            sides = [0]
        elif both:
            sides = [1, -1]
        else:
            sides = [1 if plus[j] >= minus[j] else -1]
        owner += [j] * len(sides)
        sign += sides
    return Plan(np.array(owner), np.array(sign))


def loss_weights(weights: Array | str, values: Array) -> Array:
    if not isinstance(weights, str):
        return weights
    J = values.shape[1]
    if weights == "equal":
        return np.ones(J)
    mean = values.mean(axis=0)
    se = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    size = np.maximum(np.abs(mean), se)
    return 1.0 / np.where(size > 0, size, 1.0) ** 2
