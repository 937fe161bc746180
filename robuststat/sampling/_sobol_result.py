"""Shares of variance from variances, their covariance, and the words that go with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from robuststat._core.errors import ConvergenceWarning, warn
from robuststat._core.types import Array, IntArray
from robuststat.result import InferenceResult
from robuststat.sampling._pickfreeze import Plan
from robuststat.sampling._sobol_fit import Indices

__all__ = ["Layout", "ratios", "sobol_result"]

ALL = "all outputs"


@dataclass(frozen=True, slots=True)
class Layout:
    """Order of the indices in a result: by outcome, then first, total and second order.

    Attributes
    ----------
    plan : Plan
        Factors.
    total : bool
        Whether total indices are among them.
    outputs : tuple of str
        Outcomes, the aggregate last where there are several.
    """

    plan: Plan
    total: bool
    outputs: tuple[str, ...]

    @property
    def rows(self) -> IntArray:
        """Rows of the numerators that are reported."""
        G = len(self.plan.factors)
        kept = np.arange(2 * G + len(self.plan.pairs))
        return kept if self.total else kept[(kept < G) | (kept >= 2 * G)]

    @property
    def terms(self) -> tuple[str, ...]:
        """Names within one outcome."""
        names = self.plan.names
        pairs = tuple(f"{names[g]}:{names[h]}" for g, h in self.plan.pairs)
        return names + (names if self.total else ()) + pairs

    @property
    def kinds(self) -> tuple[str, ...]:
        """Components within one outcome."""
        G = len(self.plan.factors)
        second = ("second order",) * len(self.plan.pairs)
        return ("first order",) * G + ("total order",) * (G * self.total) + second

    def unpack(self, S: Array) -> dict[str, Array]:
        """Fitted attributes from indices in this order."""
        G, several = len(self.plan.factors), len(self.outputs) > 1
        table = S.reshape(len(self.outputs), -1)
        parts = {"first_order_": table[:, :G]}
        if self.total:
            parts["total_order_"] = table[:, G : 2 * G]
        if self.plan.second:
            square = np.full((len(table), G, G), np.nan)
            for (g, h), column in zip(
                self.plan.pairs, table[:, G * (1 + self.total) :].T, strict=True
            ):
                square[:, g, h] = square[:, h, g] = column
            parts["second_order_"] = square
        out = {}
        for name, part in parts.items():
            out[name] = part[:-1] if several else part[0]
            if several:
                out["aggregated_" + name] = part[-1]
        return out


def ratios(found: Indices, layout: Layout) -> tuple[Array, Array, float]:
    """Compute indices in the order of the layout, their covariance and its degrees of freedom.

    The ratio of two means over replicates, linearised: a replicate deviates by
    (numerator - index * variance) / variance.
    """
    N, V, D = found.numerators[:, layout.rows], found.variance, found.deviation
    alive = ~found.constant
    columns = [(N[:, :, j], V[j], D[:, j]) for j in np.flatnonzero(alive)]
    if len(layout.outputs) > 1:
        columns.append((N[:, :, alive].sum(axis=2), V[alive].sum(), D[:, alive].sum(axis=1)))
    estimates, deviations = [], []
    for numerator, variance, deviation in columns:
        centre = numerator.mean(axis=0)
        S = centre / variance
        estimates.append(S)
        deviations.append((numerator - centre - np.outer(deviation, S)) / variance)
    z = np.hstack(deviations)
    R = len(z)
    return np.concatenate(estimates), z.T @ z / (R - 1) / R, float(R - 1)


def sobol_result(est: Any, found: Indices, layout: Layout) -> InferenceResult:
    """Build the result of pick-freeze runs."""
    S, covariance, df = ratios(found, layout)
    several, scrambled = len(layout.outputs) > 1, est.estimator == "rqmc"
    R = len(found.numerators)
    runs = found.runner.n_rows
    lines = [
        f"Runs: {runs:,} of {est.n_budget:,}, {layout.plan.n_runs} for each of "
        f"{found.n_points + found.n_dropped:,} points in {R} "
        f"{'scrambles' if scrambled else 'groups'}"
    ]
    if found.terms is not None:
        lines.append(
            f"Control: polynomial chaos, {found.terms.label}, out-of-fold R2 {found.r2:.4f}"
        )
    elif est.controls == "chaos":
        lines.append("Control: none, no polynomial predicts runs left out")
    notes = []
    if found.n_dropped:
        notes.append(
            f"{found.runner.n_failed} runs failed, and the {found.n_dropped} points they belong to "
            "were left out; the estimates are biased if failing depends on the outcome."
        )
    if found.constant.any():
        notes.append(
            f"{int(found.constant.sum())} outputs are constant: their indices are not defined and "
            "left out."
        )
        warn(notes[-1], ConvergenceWarning)
    if (S < 0).any():
        notes.append(
            "negative estimates of indices that are near zero are left as they are: cutting them "
            "off would bias them."
        )
    repeated = len(layout.outputs)
    return InferenceResult(
        estimate=S,
        vcov=covariance,
        names=layout.terms * repeated,
        component=layout.kinds * repeated,
        outcomes=tuple(np.repeat(layout.outputs, len(layout.terms))) if several else None,
        outcome="" if several else layout.outputs[0],
        n_obs=found.n_points,
        df=df,
        vcov_type="Independent scrambles" if scrambled else "Groups of points",
        estimand="shares of the variance of the output that inputs explain (Sobol' indices)",
        method="Sobol' indices" + (", scrambled Sobol' points" if scrambled else ", Monte Carlo"),
        diagnostics={
            "n_dropped": found.n_dropped,
            "converged": True,
            "glance": {"n_used": runs, "r2": found.r2},
            "lines": lines,
            "notes": notes,
            "se_note": f"{R} {'scrambles' if scrambled else 'groups'}",
            "assumptions": [
                "the inputs are independent",
                "the output has a finite fourth moment",
                f"means of the {'scrambles' if scrambled else 'groups'} are nearly normal",
            ],
        },
        call=est._call(),
    )
