"""The adaptive part: batches that learn where to draw the final sample (2.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from robuststat._core.errors import DataError
from robuststat._core.types import Array, IntArray
from robuststat.sampling._alpha import solve_shares, solve_shares_slsqp
from robuststat.sampling._controls import OwnControls, own_coefficients
from robuststat.sampling._density import Components, log_sum_exp
from robuststat.sampling._fit_components import (
    fit_components,
    gaussian_fits,
    select_representatives,
)
from robuststat.sampling._pilot import (
    LearnOptions,
    Pool,
    control_ratios,
    loss_weights,
    plan_components,
    run_pilot,
    run_points,
)
from robuststat.sampling._problem import Problem
from robuststat.sampling._proposal import Densities, Proposal
from robuststat.sampling._runs import Runner

__all__ = ["HISTORY_COLUMNS", "Learned", "extend_pool", "learn"]

HISTORY_COLUMNS = ["batch", "n", "used", "loss_before", "loss_after", "entropy", "gap", "kept"]

_RIDGE = 1e-6


@dataclass(frozen=True, slots=True)
class Learned:
    """What the final sample needs.

    Attributes
    ----------
    problem : Problem
        With the expectations paired.
    proposal : Proposal
        Density q of the final sample.
    own : OwnControls
        Controls with coefficients learnt.
    weights : ndarray of shape (J,)
        Weights of the loss.
    pilot_mass, pilot_se, pilot_hits : ndarray of shape (J,)
        Mean of |phi_j f_j/h| in the first batch, its standard error, and the number of points
        where it is not zero.
    n_used : int
        Runs used.
    history : list of dict
        One entry a batch.
    notes : list of str
        What is to be known.
    converged : bool
        Whether the solver of the shares reached its bound.
    """

    problem: Problem
    proposal: Proposal
    own: OwnControls
    weights: Array
    pilot_mass: Array
    pilot_se: Array
    pilot_hits: Array
    n_used: int
    history: list[dict[str, Any]]
    notes: list[str]
    converged: bool


@dataclass(slots=True)
class _State:
    """Current proposal with its controls and the variances of one draw."""

    proposal: Proposal
    own: OwnControls
    variance: Array


class _Learner:
    """One pass through the batches; holds what changes from batch to batch."""

    def __init__(self, problem: Problem, pool: Pool, options: LearnOptions) -> None:
        self.problem, self.pool, self.options = problem, pool, options
        self.notes: list[str] = []
        self.converged = True
        values = pool.values(problem)
        self.plan = plan_components(values, options.signed, self._name)
        self.weights = loss_weights(options.weights, values)
        points = pool.points
        self.ridge = np.full(problem.dim, _RIDGE)
        if not options.paper:
            # Each coordinate has its own unit.
            self.ridge = self.ridge * points.var(axis=0)
        self.alpha: Array | None = None
        self.beta: Array | None = None

    def _name(self, j: int) -> str:
        several = len(self.problem.laws) > 1
        return f"law {self.problem.law_col[j]}" if several else f"output {self.problem.y_col[j]}"

    def components(self, values: Array) -> tuple[Components, IntArray]:
        """Fit the densities to all points; return them and the one of each side."""
        options, plan, points = self.options, self.plan, self.pool.points
        mass = plan.mass(values)
        empty = mass.sum(axis=0) <= 0
        if empty.any():
            raise DataError(f"{int(empty.sum())} expectations lost all mass while learning.")
        nearest = np.arange(mass.shape[1])
        law_weights = None if options.paper else self.pool.law_weights()
        if mass.shape[1] > options.max_components:
            mean, cov, _ = gaussian_fits(points, mass, self.ridge, law_weights)
            if plan.chosen is None:
                importance = np.sqrt(self.weights[plan.owner]) * mass.mean(axis=0)
                plan.chosen, _ = select_representatives(
                    mean, cov, importance, options.max_components
                )
            order = np.concatenate([plan.chosen, np.arange(len(mean))])
            nearest = _nearest(mean[order], cov[order], len(plan.chosen))
            mass = mass[:, plan.chosen]
        fitted = fit_components(
            points, mass, options.family, self.ridge, options.rng, law_weights=law_weights
        )
        self._remember(fitted.n_shrunk, fitted.n_failed, mass.shape[1])
        return fitted.components, nearest

    def _remember(self, n_shrunk: int, n_failed: int, K: int) -> None:
        if n_shrunk:
            self._note(
                f"{n_shrunk} of {K} covariances were shrunk to that of the law: too few learning "
                "points carry their weight."
            )
        if n_failed:
            self._note(f"{n_failed} of {K} mixtures did not converge in 500 EM steps.")

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def start(self, values: Array, nearest: IntArray, index: IntArray) -> tuple[Array, Array]:
        """First shares, sqrt(w_j) I_j, and coefficients, I_j, from the pilot."""
        side_mean = self.plan.mass(values).mean(axis=0)
        alpha = np.zeros(nearest.max() + 1)
        np.add.at(alpha, nearest, np.sqrt(self.weights[self.plan.owner]) * side_mean)
        beta = np.zeros(index.shape)
        signed = np.where(self.plan.sign == 0, values.mean(axis=0)[self.plan.owner], 0.0)
        signed = np.where(self.plan.sign > 0, side_mean, signed)
        signed = np.where(self.plan.sign < 0, -side_mean, signed)
        for side, owner in enumerate(self.plan.owner):
            slot = int(np.flatnonzero(index[owner] == nearest[side])[0])
            beta[owner, slot] += signed[side]
        return alpha / alpha.sum(), beta

    def shares(self, values: Array, components: Components, index: IntArray) -> Proposal:
        """Minimise the joint loss over the shares, given components and coefficients."""
        options, pool = self.options, self.pool
        assert self.alpha is not None
        assert self.beta is not None
        log_g, log_h = components.log_density(pool.points), pool.log_h
        ratios = np.exp(log_g - log_h[:, None])
        fixed, rest = None, 1.0
        if options.share > 0 or options.alpha_min > 0:
            start = Proposal(components, np.ones(components.n), options.share)
            laws = start.log_laws(pool.log_f)
            rest = (1.0 - options.share) * (1.0 - options.alpha_min)
            level = (1.0 - options.share) * options.alpha_min / components.n
            with np.errstate(divide="ignore"):
                fixed = np.logaddexp(
                    laws + np.log(options.share), log_sum_exp(log_g) + np.log(level)
                )
            if options.share > 0:
                ratios = np.hstack([ratios, np.exp(laws - log_h)[:, None]])
        resid = values - OwnControls(index, self.beta).correction(ratios)
        with np.errstate(divide="ignore"):
            log_cost = np.log(resid**2 @ self.weights) + log_h
        if options.paper:
            found = solve_shares_slsqp(log_cost, log_g, self.alpha)
        else:
            found = solve_shares(log_cost, log_g, self.alpha, log_fixed=fixed, share=rest)
            self.converged = found.gap <= 1e-4
        self.gap = found.gap
        self.alpha = found.alpha
        mixed = options.alpha_min / components.n + (1.0 - options.alpha_min) * found.alpha
        return Proposal(components, mixed, options.share)

    def batch(self, n: int) -> tuple[_State, int]:
        """Fit, optimise, draw a batch, and judge what was learnt on it."""
        problem, pool = self.problem, self.pool
        values = pool.values(problem)
        components, nearest = self.components(values)
        extra = components.n if self.options.share > 0 else None
        index = self.plan.index(nearest, problem.n, extra)
        if self.alpha is None:
            self.alpha, self.beta = self.start(values, nearest, index)
        elif self.beta is not None and self.beta.shape != index.shape:
            # Two signs may come to share a component, or part; the law's control stays last.
            last = int(extra is not None)
            wider = np.zeros(index.shape)
            width = min(index.shape[1], self.beta.shape[1]) - last
            wider[:, :width] = self.beta[:, :width]
            if last:
                wider[:, -1] = self.beta[:, -1]
            self.beta = wider
        proposal = self.shares(values, components, index)
        points = self.options.draw(proposal, n)
        return self._judge(proposal, index, points), len(points)

    def _judge(self, proposal: Proposal, index: IntArray, points: Array) -> _State:
        problem, pool, options = self.problem, self.pool, self.options
        batch = options.batch_rows(problem.n)
        X, Y, found = run_points(problem, proposal, self.runner, points, batch)
        extend_pool(problem, pool, proposal, points, X, Y, found)
        keep = np.isfinite(Y).all(axis=1)
        weight = np.exp(found.log_f - found.log_q[:, None])[keep]
        last = problem.values(weight, Y[keep])
        ratios = control_ratios(proposal, found)[keep]
        self.beta = own_coefficients(last, ratios, index, paper=options.paper)
        own = OwnControls(index, self.beta)
        variance = (last - own.correction(ratios)).var(axis=0, ddof=1)
        if len(pool.proposals) == 2 and isinstance(options.weights, str):
            # Frozen from here on: the loss must not change under the stopping rule again.
            self.weights = loss_weights(options.weights, pool.values(problem))
        return _State(proposal, own, np.asarray(variance))

    runner: Runner
    gap: float = 0.0


def extend_pool(
    problem: Problem,
    pool: Pool,
    proposal: Proposal,
    points: Array,
    X: Array,
    Y: Array,
    found: Densities,
) -> None:
    """Append a batch: the old proposals at its points, the new one at the old points."""
    n = len(points)
    log_mass = found.log_q + np.log(n)
    for old, size in pool.proposals:
        term = old.log_density(problem, points, X, found.log_f) + np.log(size)
        log_mass = np.logaddexp(log_mass, term)
    old_X = problem.to_x(pool.points)
    at_old = proposal.log_density(problem, pool.points, old_X, pool.log_f) + np.log(n)
    keep = np.isfinite(Y).all(axis=1)
    pool.log_mass = np.concatenate([np.logaddexp(pool.log_mass, at_old), log_mass[keep]])
    pool.points = np.vstack([pool.points, points[keep]])
    pool.Y = np.vstack([pool.Y, Y[keep]])
    pool.log_f = np.vstack([pool.log_f, found.log_f[keep]])
    pool.n_drawn += n
    pool.proposals.append((proposal, n))


def _nearest(mean: Array, cov: Array, n_chosen: int) -> IntArray:
    """Find the representative of every density; the first ``n_chosen`` are themselves these."""
    d = mean.shape[1]
    log_det = np.linalg.slogdet(cov)[1]
    kl = np.empty((n_chosen, len(mean) - n_chosen))
    for s in range(n_chosen):
        inverse = np.linalg.inv(cov[s])
        away = mean[n_chosen:] - mean[s]
        kl[s] = np.einsum("kab,ba->k", cov[n_chosen:], inverse)
        kl[s] += np.einsum("ka,ab,kb->k", away, inverse, away)
        kl[s] += log_det[s] - log_det[n_chosen:] - d
    return np.asarray(np.argmin(kl, axis=0))


def learn(
    problem: Problem,
    runner: Runner,
    start: Proposal,
    points: Array,
    options_of: Callable[[int], LearnOptions],
) -> Learned:
    """Run the learning batches.

    Parameters
    ----------
    problem : Problem
        Laws and space; the expectations are paired here.
    runner : Runner
        Runs the model.
    start : Proposal
        Density of the first batch.
    points : ndarray of shape (n, d)
        Draws from it; as many are run as the options say.
    options_of : callable
        Number of expectations -> LearnOptions.

    Returns
    -------
    Learned

    Raises
    ------
    DataError
        If an expectation is zero at every point of the first batch.
    """
    problem, pool, options = run_pilot(problem, runner, start, points, options_of)
    used = pool.n_drawn
    values = pool.values(problem)
    learner = _Learner(problem, pool, options)
    learner.runner = runner
    pilot_var, mass = values.var(axis=0, ddof=1), np.abs(values)
    pilot_mass, pilot_se = mass.mean(axis=0), mass.std(axis=0, ddof=1) / np.sqrt(len(mass))
    none = OwnControls(np.full((problem.n, 1), -1), np.zeros((problem.n, 1)))
    state = _State(start, none, pilot_var)
    history: list[dict[str, Any]] = [_row(0, used, used, np.nan, np.nan, start, 0.0)]
    N = options.n_budget
    while used < options.n_learn and len(history) < options.max_batches:
        if (
            options.stop
            and options.halves
            and _smaller_scrambles(N, used, options.n_batch, len(history))
        ):
            break
        new, n = learner.batch(options.n_batch)
        used += n
        before = float(learner.weights @ state.variance) / (N - used + n)
        after = float(learner.weights @ new.variance) / (N - used)
        history.append(_row(len(history), n, used, before, after, new.proposal, learner.gap))
        if options.stop and before <= after:
            worse = float(learner.weights @ state.variance) < float(learner.weights @ new.variance)
            # Both have N - used runs left; the final sample is fresh, so choosing does not bias.
            if options.paper or not worse or state.proposal.start is not None:
                state = new
            history[-1]["kept"] = state is new
            break
        state = new
    return Learned(
        problem=problem,
        proposal=state.proposal,
        own=state.own,
        weights=learner.weights,
        pilot_mass=pilot_mass,
        pilot_se=pilot_se,
        pilot_hits=(mass > 0).sum(axis=0).astype(np.float64),
        n_used=used,
        history=history,
        notes=learner.notes,
        converged=learner.converged,
    )


def _smaller_scrambles(N: int, used: int, n: int, done: int) -> bool:
    """Whether another batch would halve the final scrambles; the first two are worth it."""
    return done > 2 and int(np.log2(N - used)) > int(np.log2(max(N - used - n, 1)))


def _row(
    batch: int, n: int, used: int, before: float, after: float, proposal: Proposal, gap: float
) -> dict[str, Any]:
    alpha = proposal.alpha[proposal.alpha > 0]
    entropy = float(-(alpha * np.log(alpha)).sum()) if proposal.components is not None else np.nan
    values = (batch, n, used, before, after, entropy, gap, True)
    return dict(zip(HISTORY_COLUMNS, values, strict=True))
