"""Sobol' indices as functions of expectations from one adaptive sample (4.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.types import Array, IntArray
from robuststat.result import InferenceResult
from robuststat.sampling._base import delta_method
from robuststat.sampling._iscv import AdaptiveISCV
from robuststat.sampling._law_classes import MarginalLaw
from robuststat.sampling._pickfreeze import Plan
from robuststat.sampling._runs import _outputs
from robuststat.sampling._sobol_result import ALL, Layout

__all__ = ["adaptive_indices"]


@dataclass(frozen=True)
class _Products:
    """y(x) y(x_u, x'_{-u}) for every set u, y and y^2, output by output; an object: it pickles."""

    func: Callable[[Array], Any]
    vectorized: bool
    dim: int
    sets: tuple[IntArray, ...]

    def __call__(self, Z: Array) -> Array:
        x, other = Z[:, : self.dim], Z[:, self.dim :]
        runs = [x]
        for kept in self.sets:
            point = other.copy()
            point[:, kept] = x[:, kept]
            runs.append(point)
        Y, _ = _outputs(self.func, np.vstack(runs), self.vectorized)
        Y = Y.reshape(len(runs), len(Z), Y.shape[1])
        columns = [*(Y[0] * Y[1:]), Y[0], Y[0] ** 2]
        return np.stack(columns, axis=2).reshape(len(Z), -1)


def _sets(plan: Plan, dim: int, total: bool) -> tuple[IntArray, ...]:
    out = list(plan.factors)
    if total:
        out += [np.setdiff1d(np.arange(dim), columns) for columns in plan.factors]
    return tuple(out + [np.union1d(plan.factors[g], plan.factors[h]) for g, h in plan.pairs])


def _shares(theta: Array, layout: Layout, m: int) -> Array:
    """Turn expectations, output by output, into indices in the order of the layout."""
    G, total = len(layout.plan.factors), layout.total
    table = theta.reshape(m, -1)
    mean2 = table[:, -2] ** 2
    V = table[:, -1] - mean2
    closed = table[:, :-2] - mean2[:, None]
    parts = [closed[:, :G]]
    if total:
        parts.append(V[:, None] - closed[:, G : 2 * G])
    rest = closed[:, G * (1 + total) :]
    for k, (g, h) in enumerate(layout.plan.pairs):
        parts.append((rest[:, k] - closed[:, g] - closed[:, h])[:, None])
    numerators = np.hstack(parts)
    rows = [numerators / V[:, None]]
    if m > 1:
        rows.append(numerators.sum(axis=0, keepdims=True) / V.sum())
    return np.vstack(rows).ravel()


def _described(est: Any, result: InferenceResult, layout: Layout, n_runs: int) -> InferenceResult:
    """Name the indices and say how they came about."""
    several = len(layout.outputs)
    found = result.diagnostics
    return replace(
        delta_method(
            result,
            partial(_shares, layout=layout, m=max(several - 1, 1)),
            None,
            [f"T{i}" for i in range(len(layout.terms) * several)],
        ),
        names=layout.terms * several,
        component=layout.kinds * several,
        outcomes=tuple(np.repeat(layout.outputs, len(layout.terms))) if several > 1 else None,
        estimand="shares of the variance of the output that inputs explain (Sobol' indices)",
        method="Sobol' indices, adaptive importance sampling with control variates",
        diagnostics=dict(found)
        | {
            "lines": [
                *found.get("lines", ()),
                f"Each of these is a pair of points with {n_runs} runs of the model",
            ],
            "assumptions": [
                *found.get("assumptions", ()),
                "the inputs are independent",
                "indices are nearly linear in the expectations over their intervals",
            ],
        },
        call=est._call(),
    )


def adaptive_indices(
    est: Any, func: Callable[[Array], Any], law: MarginalLaw, plan: Plan
) -> tuple[InferenceResult, AdaptiveISCV, Layout, int]:
    """Sample (x, x') adaptively and turn the expectations into indices by the delta method.

    Raises
    ------
    ParameterError
        If the law has no density, or the budget is too small.
    DataError
        If the output does not vary.
    """
    if not law.has_density:
        raise ParameterError(
            "An adaptive sample needs a density, and some input is discrete. Use estimator='rqmc'."
        )
    sets = _sets(plan, law.dim, est.total)
    sampler: AdaptiveISCV = clone(est.estimator)
    names = (*law.names, *(f"{name}'" for name in law.names))
    sampler.set_params(n_budget=max(est.n_budget // (1 + len(sets)), 2), vectorized=True)
    if sampler.random_state is None:
        sampler.set_params(random_state=est.random_state)
    model = _Products(func, est.estimator.vectorized, law.dim, sets)
    sampler.fit(model, MarginalLaw(law.marginals * 2, names))
    m = int(sampler.n_outputs_) // (len(sets) + 2)
    outputs = (*(f"y{j + 1}" for j in range(m)), ALL) if m > 1 else ("y",)
    layout = Layout(plan, est.total, outputs)
    theta = sampler.estimate_.reshape(m, -1)
    if not (theta[:, -1] - theta[:, -2] ** 2 > 1e-20 * theta[:, -1]).all():
        raise DataError(
            "The variance of an output is estimated as zero or less: it is constant, or n_budget "
            "is too small."
        )
    return _described(est, sampler.result_, layout, 1 + len(sets)), sampler, layout, 1 + len(sets)
