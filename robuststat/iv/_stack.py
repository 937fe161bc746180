"""All estimating equations of the multiply robust estimator as one stacked system (2.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robuststat._core.glm import FAMILIES
from robuststat._core.types import Array
from robuststat.iv._nuisances import (
    Nuisances,
    Problem,
    nuisance_rows,
)
from robuststat.iv._scores import (
    FUNCTIONALS,
    Partials,
    Rows,
    overlap_moments,
    overlap_partials,
)

OVERLAP = "overlap"
PARTS = ("instrument", "treatment", "spread", "effect", "confounding", "direct")


@dataclass(frozen=True, slots=True)
class RowState:
    """Nuisance values of some rows with their derivatives.

    Attributes
    ----------
    values : Rows
        Nuisance values.
    pi : ndarray of shape (m,)
        P(Z = 1 | X) without bounds.
    pi_slope : ndarray of shape (m,)
        Derivative of the bounded pi with respect to its linear predictor.
    slopes : tuple of two ndarrays (m,)
        Derivative of p_0 and p_1 with respect to their linear predictors.
    v_slopes : tuple of two ndarrays (m,)
        Derivative of v_0 and v_1 with respect to the linear predictors of p_0 and p_1.
    d_slope : ndarray of shape (m,)
        1 where D is free, 0 where it was moved to its bound.
    """

    values: Rows
    pi: Array
    pi_slope: Array
    slopes: tuple[Array, Array]
    v_slopes: tuple[Array, Array]
    d_slope: Array


@dataclass(frozen=True, slots=True)
class Stack:
    """Stacked scores; an exactly identified system of the kind ``_core.moments`` works with.

    Parameters are the coefficients of pi, p, the exposure's variance, beta, omega and h, and then
    one number for each summary.

    Attributes
    ----------
    problem : Problem
        Rows and bases.
    ridge : tuple of two ndarrays
        Penalties of the models of pi and p.
    summaries : tuple of str
        Effects at the end of the stack: keys of ``FUNCTIONALS`` and "overlap".
    """

    problem: Problem
    ridge: tuple[Array, Array]
    summaries: tuple[str, ...]

    @property
    def n_obs(self) -> int:
        """Number of rows."""
        return self.problem.n_obs

    @property
    def n_moments(self) -> int:
        """Number of equations and of parameters."""
        return sum(self._sizes()) + len(self.summaries)

    def _sizes(self) -> list[int]:
        p = self.problem
        spread = 0 if p.spread is None else p.spread.size
        return [
            *(p.instrument.size, p.treatment.size, spread),
            *(p.effect.size, p.confounding.size, p.direct.size),
        ]

    def places(self) -> dict[str, slice]:
        """Where the parameters of each part are; "summaries" for the effects at the end."""
        found, start = {}, 0
        for name, size in zip(PARTS, self._sizes(), strict=True):
            found[name] = slice(start, start + size)
            start += size
        found["summaries"] = slice(start, start + len(self.summaries))
        return found

    def parameters(self, nuisances: Nuisances, summaries: Array) -> Array:
        """All parameters as one vector."""
        return np.concatenate(
            [
                nuisances.instrument.coef,
                nuisances.treatment.coef,
                nuisances.spread,
                nuisances.effect,
                nuisances.confounding,
                nuisances.direct,
                summaries,
            ]
        )

    def rows(self, theta: Array, rows: slice) -> Rows:
        """Nuisance values of some rows."""
        places = self.places()
        coefs = {name: theta[places[name]] for name in PARTS}
        return nuisance_rows(self.problem, rows, **coefs)

    def state(self, theta: Array, rows: slice) -> RowState:
        """Nuisance values of some rows, with derivatives."""
        problem, values = self.problem, self.rows(theta, rows)
        logit = FAMILIES["logit"]
        coef = theta[self.places()["instrument"]]
        raw = logit.mean(problem.instrument.linear(rows, coef)[0])
        pi_slope = logit.slope(raw) * (values.pi == raw)
        if problem.spread is None:
            slopes = (values.v0, values.v1)
            v_slopes = (
                values.v0 * (1.0 - 2.0 * values.p0),
                values.v1 * (1.0 - 2.0 * values.p1),
            )
        else:
            one, none = np.ones_like(raw), np.zeros_like(raw)
            free = [one if value is None else none for value in problem.fixed]
            slopes, v_slopes = (free[0], free[1]), (none, none)
        d_slope = (values.v1 - values.v0 == values.D).astype(np.float64)
        return RowState(values, raw, pi_slope, slopes, v_slopes, d_slope)

    def scores(self, theta: Array, rows: slice) -> Array:
        """Scores of some rows, of shape (m, n_moments)."""
        problem, state = self.problem, self.state(theta, rows)
        places, values, z = self.places(), state.values, problem.z[rows]
        psi = np.empty((values.y.size, self.n_moments))

        def fill(part: str, factor: Array) -> None:
            if places[part].start != places[part].stop:
                block = getattr(problem, part).at(rows, z)
                np.multiply(block, factor[:, None], out=psi[:, places[part]])

        fill("instrument", z - state.pi)
        fill("treatment", values.e)
        if problem.spread is not None:
            fitted = np.where(z > 0.5, values.v1, values.v0)
            fill("spread", values.e**2 - fitted)
        fill("effect", values.s * values.R * self._target_weight(values))
        fill("confounding", values.R)
        fill("direct", values.r)
        psi[:, places["summaries"]] = self._summary_scores(values, theta[places["summaries"]])
        for part, ridge in zip(PARTS, self.ridge, strict=False):
            if ridge.any():
                psi[:, places[part]] -= ridge * theta[places[part]] / self._mean_weight()
        if problem.weights is not None:
            psi *= problem.weights[rows, None]
        return psi

    def _mean_weight(self) -> float:
        weights = self.problem.weights
        return 1.0 if weights is None else float(weights.mean())

    def _target_weight(self, values: Rows) -> Array:
        return 1.0 / values.D if self.problem.targeted else np.ones_like(values.D)

    def _summary_scores(self, values: Rows, summaries: Array) -> Array:
        columns = []
        for name, estimate in zip(self.summaries, summaries, strict=True):
            if name == OVERLAP:
                f_n, f_d = overlap_moments(values)
                columns.append(f_n - estimate * f_d)
            else:
                columns.append(FUNCTIONALS[name].score(values) - estimate)
        return np.column_stack(columns)

    def sums(self, theta: Array) -> tuple[Array, Array]:
        """Average score and its average derivative."""
        total = np.zeros(self.n_moments)
        for rows in self.problem.blocks():
            total += self.scores(theta, rows).sum(axis=0)
        return total / self.n_obs, self.derivative(theta)

    def derivative(self, theta: Array) -> Array:
        """Average derivative of the scores, of shape (n_moments, n_moments)."""
        total = np.zeros((self.n_moments, self.n_moments))
        for rows in self.problem.blocks():
            state = self.state(theta, rows)
            self._add_regressions(state, rows, total)
            self._add_summaries(theta, state, rows, total)
        total /= self.n_obs
        for part, ridge in zip(PARTS, self.ridge, strict=False):
            place = self.places()[part]
            total[place, place] -= np.diag(ridge)
        return total

    def _weights(self, rows: slice) -> Array | float:
        weights = self.problem.weights
        return 1.0 if weights is None else weights[rows]

    def _add_regressions(self, state: RowState, rows: slice, out: Array) -> None:
        """Add the derivatives of the equations of all nuisance coefficients."""
        problem, at = self.problem, self.places()
        v, z, w = state.values, problem.z[rows], self._weights(rows)
        a, g, th, ta, al = (at[name] for name in PARTS if name != "spread")
        F, G = problem.instrument.at(rows, z), problem.treatment.at(rows, z)
        B, W = problem.effect.at(rows, z), problem.confounding.at(rows, z)
        Q = problem.direct.at(rows, z)
        slope = np.where(z > 0.5, state.slopes[1], state.slopes[0])
        target = self._target_weight(v)

        def add(row: slice, column: slice, left: Array, factor: Array, right: Array) -> None:
            out[row, column] += left.T @ (right * (w * factor)[:, None])

        one = np.ones_like(v.y)
        add(a, a, F, -state.pi * (1.0 - state.pi), F)
        add(g, g, G, -slope, G)
        add(th, a, B, -(v.s**2) * v.R * target * state.pi_slope, F)
        add(th, g, B, -v.s * slope * v.r * target, G)
        add(th, th, B, -v.s * v.e * v.a * target, B)
        add(th, ta, B, -v.s * target, W)
        add(th, al, B, -v.s * v.e * target, Q)
        add(ta, g, W, -slope * v.r, G)
        add(ta, th, W, -v.e * v.a, B)
        add(ta, ta, W, -one, W)
        add(ta, al, W, -v.e, Q)
        add(al, th, Q, -v.a, B)
        add(al, al, Q, -one, Q)
        if problem.spread is not None:
            V = problem.spread.at(rows, z)
            add(at["spread"], g, V, -2.0 * v.e * slope, G)
            add(at["spread"], at["spread"], V, -slope, V)
        if problem.targeted:
            weight = -w * v.s * v.R / v.D**2 * state.d_slope
            columns = B * np.asarray(weight)[:, None]
            self._add_variances(rows, state, -columns, columns, th, out)

    def _add_variances(
        self, rows: slice, state: RowState, zero: Array, one: Array, target: slice, out: Array
    ) -> None:
        """Add what goes through v_0 and v_1, given derivatives with respect to them, (m, q)."""
        problem, at = self.problem, self.places()
        if problem.spread is None:
            low, high = zero * state.v_slopes[0][:, None], one * state.v_slopes[1][:, None]
            out[target, at["treatment"]] += problem.treatment.pull(rows, low, high).T
        else:
            low, high = zero * state.slopes[0][:, None], one * state.slopes[1][:, None]
            out[target, at["spread"]] += problem.spread.pull(rows, low, high).T

    def _add_summaries(self, theta: Array, state: RowState, rows: slice, out: Array) -> None:
        """Add the derivatives of the summaries."""
        problem, at = self.problem, self.places()
        values, z = state.values, problem.z[rows]
        w = np.broadcast_to(np.asarray(self._weights(rows)), z.shape)[:, None]
        place = at["summaries"]
        partials = [
            overlap_partials(values, float(estimate))
            if name == OVERLAP
            else FUNCTIONALS[name].partials(values)
            for name, estimate in zip(self.summaries, theta[place], strict=True)
        ]

        def of(name: str) -> Array:
            return w * stacked(partials, name, z.size)

        one = z[:, None]
        pi = of("pi") * state.pi_slope[:, None]
        out[place, at["instrument"]] += problem.instrument.pull(rows, pi, np.zeros_like(pi)).T
        zero_p = ((1.0 - one) * of("p") + of("p0")) * state.slopes[0][:, None]
        one_p = (one * of("p") + of("p1")) * state.slopes[1][:, None]
        out[place, at["treatment"]] += problem.treatment.pull(rows, zero_p, one_p).T
        through_d = of("D") * state.d_slope[:, None]
        zero_v, one_v = of("v0") - through_d, of("v1") + through_d
        self._add_variances(rows, state, zero_v, one_v, place, out)
        for part, name in (("effect", "beta"), ("confounding", "omega")):
            slope = of(name)
            basis = getattr(problem, part)
            out[place, at[part]] += basis.pull(rows, slope, np.zeros_like(slope)).T
        zero_h, one_h = (1.0 - one) * of("h") + of("h0"), one * of("h") + of("h1")
        out[place, at["direct"]] += problem.direct.pull(rows, zero_h, one_h).T
        for j, name in enumerate(self.summaries):
            own = -overlap_moments(values)[1] if name == OVERLAP else -np.ones_like(z)
            out[place.start + j, place.start + j] += float(own @ w[:, 0])


def stacked(partials: list[Partials], name: str, n_rows: int) -> Array:
    """One kind of derivative of several scores, of shape (m, q)."""
    columns = [np.broadcast_to(getattr(part, name), (n_rows,)) for part in partials]
    return np.column_stack(columns)
