"""Multilevel cross-entropy: from where the law puts its points to events that it hardly reaches.

[D] Level of an event: the rho-quantile of its output under its own density g_j, estimated from all
points with weights g_j/h, which the balance heuristic bounds; never above the last one. Points
beyond the level, with weights f/h, make the next density. When every event has reached its
threshold, further batches refine the densities until the predicted loss no longer falls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robuststat._core.types import Array, BoolArray, IntArray
from robuststat.sampling._alpha import solve_shares
from robuststat.sampling._controls import OwnControls, own_coefficients
from robuststat.sampling._density import Components, log_sum_exp
from robuststat.sampling._events import Events
from robuststat.sampling._learn import Learned, extend_pool
from robuststat.sampling._pilot import (
    LearnOptions,
    Pool,
    control_ratios,
    loss_weights,
    run_pilot,
    run_points,
)
from robuststat.sampling._problem import Problem
from robuststat.sampling._proposal import Proposal
from robuststat.sampling._quantiles import weighted_quantile
from robuststat.sampling._runs import Runner
from robuststat.sampling._tail_fit import fit_tails, law_frame, steepest

__all__ = ["Climb", "climb"]

_RHO = 0.1


@dataclass(slots=True)
class Climb:
    """What the levels led to.

    Attributes
    ----------
    events : Events
        The events asked for.
    learned : Learned
        Density, controls and history; its ``pilot_*`` are those of all learning points.
    levels, targets : ndarray of shape (J,)
        Last levels, on the scale of ``Events.values``, and where they were to go.
    best : ndarray of shape (J,)
        Smallest value seen.
    """

    events: Events
    learned: Learned
    levels: Array
    targets: Array
    best: Array

    @property
    def reached(self) -> BoolArray:
        """Whether the level of each event is its target."""
        return np.asarray(self.levels <= self.targets)


@dataclass(slots=True)
class _State:
    proposal: Proposal
    own: OwnControls
    variance: Array


@dataclass(slots=True)
class _Climber:
    """Points, levels and densities, batch by batch."""

    problem: Problem
    pool: Pool
    events: Events
    options: LearnOptions
    runner: Runner
    levels: Array
    targets: Array
    components: Components | None = None
    gap: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)

    def law_log_weights(self) -> Array:
        """Logarithms of f/h at all points."""
        return np.asarray(self.pool.log_f[:, 0] - self.pool.log_h)

    def own_ratios(self) -> Array:
        """Density of each event over that of the points, (n, J); the law's before there is one."""
        if self.components is None:
            return np.repeat(np.exp(self.law_log_weights())[:, None], self.events.n, axis=1)
        log_g = self.components.log_density(self.pool.points)
        return np.exp(log_g - self.pool.log_h[:, None])

    def lower(self) -> None:
        """Move the levels as far as the points can bear."""
        values = self.events.values(self.pool.Y)
        log_w = self.law_log_weights()
        weights = np.exp(log_w)
        self.targets = self.events.targets(values, weights)
        ratios = self.own_ratios()
        usable = weights > 0
        for j in range(self.events.n):
            share = ratios[usable, j] / ratios[usable, j].mean()
            level = weighted_quantile(values[usable, j], share, _RHO)
            self.levels[j] = max(self.targets[j], min(level, self.levels[j]))

    def propose(self) -> Proposal:
        """Densities of the events at their levels, with shares that make the loss small."""
        pool, options = self.pool, self.options
        log_w = self.law_log_weights()
        hit = self.events.indicators(self.events.values(pool.Y), self.levels)
        with np.errstate(divide="ignore"):
            log_a = log_w[:, None] + np.log(hit[:, : self.events.n])
        frame = law_frame(pool.points, pool.law_weights(), self.problem.normal)
        values = self.events.values(pool.Y)
        slopes = steepest(pool.points, self.own_ratios(), values, frame)
        self.components = fit_tails(pool.points, log_a, frame, options.rng, slopes)
        weights = loss_weights("relative", np.exp(log_w)[:, None] * hit)
        with np.errstate(divide="ignore"):
            log_cost = np.log(hit @ weights) + 2.0 * log_w + pool.log_h
        log_g = self.components.log_density(pool.points)
        K, share, floor = self.components.n, options.share, options.alpha_min
        with np.errstate(divide="ignore"):
            fixed = np.logaddexp(
                pool.log_f[:, 0] + np.log(share),
                log_sum_exp(log_g) + np.log((1.0 - share) * floor / K),
            )
        found = solve_shares(
            log_cost, log_g, np.full(K, 1.0 / K), log_fixed=fixed, share=(1 - share) * (1 - floor)
        )
        self.gap = found.gap
        return Proposal(self.components, floor / K + (1.0 - floor) * found.alpha, share)

    def batch(self, proposal: Proposal, n: int) -> _State:
        """Draw from the proposal; coefficients of the controls and variances come from it."""
        pool, J = self.pool, self.events.n
        points = self.options.draw(proposal, n)
        X, Y, found = run_points(
            self.problem, proposal, self.runner, points, self.options.batch_rows(J)
        )
        extend_pool(self.problem, pool, proposal, points, X, Y, found)
        keep = np.isfinite(Y).all(axis=1)
        hit = self.events.indicators(self.events.values(Y[keep]), self.levels)
        values = np.exp(found.log_f[keep, 0] - found.log_q[keep])[:, None] * hit
        ratios = control_ratios(proposal, found)[keep]
        index = _control_index(self.events)
        own = OwnControls(index, own_coefficients(values, ratios, index))
        variance = (values - own.correction(ratios)).var(axis=0, ddof=1)
        return _State(proposal, own, np.asarray(variance))

    def loss(self, variance: Array) -> float:
        """Sum of squared relative errors of one run."""
        hit = self.events.indicators(self.events.values(self.pool.Y), self.targets)
        weights = loss_weights("relative", np.exp(self.law_log_weights())[:, None] * hit)
        return float(weights @ variance)


def _control_index(events: Events) -> IntArray:
    """Own density for an event, every density for the union.

    The law's share is no control: where all points of a batch are in the event, its coefficient
    is one, and the estimate would be one with an error of zero.
    """
    J = events.n
    index = np.full((len(events.names), J if events.union else 1), -1, dtype=np.int64)
    index[:J, 0] = np.arange(J)
    if events.union:
        index[J] = np.arange(J)
    return index


def climb(
    problem: Problem,
    runner: Runner,
    start: Proposal,
    points: Array,
    options_of: Callable[[int], LearnOptions],
    read_events: Callable[[list[str], int], Events],
) -> Climb:
    """Learn where the events are.

    Parameters
    ----------
    problem : Problem
        One law and the space of the sampler.
    runner : Runner
        Runs the model.
    start : Proposal
        Density of the first batch.
    points : ndarray of shape (n, d)
        Draws from it.
    options_of : callable
        Number of events -> LearnOptions.
    read_events : callable
        Names and number of the outputs -> Events.
    """

    def options_for(m: int) -> LearnOptions:
        return options_of(read_events(runner.output_names, m).n)

    problem, pool, options = run_pilot(problem, runner, start, points, options_for)
    events = read_events(runner.output_names, problem.n)
    top = np.full(events.n, np.inf)
    climber = _Climber(problem, pool, events, options, runner, top, np.full(events.n, -np.inf))
    state, reached = None, False
    _note(climber, 0, np.nan, np.nan)
    while True:
        used, n = pool.n_drawn, options.n_batch
        # The levels may use more than their share: without them there is nothing to estimate.
        limit = options.n_learn if reached else int(0.8 * options.n_budget)
        if state is not None and used + n > limit:
            break
        climber.lower()
        was, reached = reached, bool((climber.levels <= climber.targets).all())
        new = climber.batch(climber.propose(), n)
        left = options.n_budget - pool.n_drawn
        before = np.nan if state is None or not was else climber.loss(state.variance) / (left + n)
        after = climber.loss(new.variance) / left if reached else np.nan
        _note(climber, n, before, after)
        if options.stop and before <= after:
            assert state is not None
            if climber.loss(state.variance) >= climber.loss(new.variance):
                state = new
            climber.history[-1]["kept"] = state is new
            break
        state = new
    return _finish(climber, state)


def _note(climber: _Climber, n: int, before: float, after: float) -> None:
    size = climber.pool.n_drawn if n == 0 else n
    row: dict[str, Any] = {"batch": len(climber.history), "n": size, "used": climber.pool.n_drawn}
    row |= {"loss_before": before, "loss_after": after, "gap": climber.gap, "kept": True}
    known = np.isfinite(climber.levels)
    shown = np.where(known, climber.events.sign * climber.levels, np.nan)
    names = climber.events.names
    row |= {f"level[{name}]": level for name, level in zip(names, shown, strict=False)}
    climber.history.append(row)


def _finish(climber: _Climber, state: _State) -> Climb:
    pool, events = climber.pool, climber.events
    values = events.values(pool.Y)
    mass = np.exp(climber.law_log_weights())[:, None] * events.indicators(values, climber.targets)
    J = len(events.names)
    problem = Problem(
        climber.problem.laws, climber.problem.normal, np.arange(J), np.zeros(J, dtype=np.int64)
    )
    with np.errstate(invalid="ignore"):
        best = np.where(pool.log_f > -np.inf, values, np.inf).min(axis=0)
    learned = Learned(
        problem=problem,
        proposal=state.proposal,
        own=state.own,
        weights=loss_weights("relative", mass),
        pilot_mass=mass.mean(axis=0),
        pilot_se=mass.std(axis=0, ddof=1) / np.sqrt(len(mass)),
        pilot_hits=(mass > 0).sum(axis=0).astype(np.float64),
        n_used=pool.n_drawn,
        history=climber.history,
        notes=[],
        converged=climber.gap <= 1e-4,
    )
    return Climb(events, learned, climber.levels, climber.targets, best)
