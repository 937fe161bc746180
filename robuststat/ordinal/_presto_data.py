"""What a PRESTO fit works on: rows, recipe and grid, made from data and options once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from robuststat._core.data import RoleData
from robuststat._core.errors import warn
from robuststat._core.types import Array, IntArray
from robuststat.ordinal._presto_choice import Rows
from robuststat.ordinal._presto_fit import (
    Recipe,
    lambda_grid,
    largest_lambda,
    null_solution,
    padded_box,
)
from robuststat.ordinal._presto_options import (
    PathOptions,
    box_limits,
    given_lambdas,
    relative_penalties,
)
from robuststat.ordinal._presto_problem import Problem
from robuststat.ordinal._presto_solve import Solution
from robuststat.ordinal._response import Response
from robuststat.ordinal._separation import SeparationError, ordinal_separation

# Slopes per standard deviation below this are no sign of separation.
_FINITE = 8.0


@dataclass(frozen=True, slots=True)
class Ready:
    """Data and options, ready to fit.

    Attributes
    ----------
    rows : Rows
        Entries of the response in their own order.
    response : Response
        Classes.
    problem : Problem
        Sorted and standardised.
    recipe : Recipe
        Options.
    null : Solution
        Fit without penalised differences.
    top : float
        Smallest penalty that keeps all differences at zero.
    clusters : ndarray of shape (m,) or None
        Cluster of every entry.
    constant : tuple of str
        Columns that do not vary.
    """

    rows: Rows
    response: Response
    problem: Problem
    recipe: Recipe
    null: Solution
    top: float
    clusters: IntArray | None
    counts: Array | None
    constant: tuple[str, ...]

    def grid(self, options: PathOptions) -> Array:
        """Penalties, largest first."""
        if options.lambdas is not None:
            return given_lambdas(options.lambdas)
        return lambda_grid(self.top, options.n_lambdas, options.lambda_min_ratio)


def make_ready(data: RoleData, response: Response, options: PathOptions) -> Ready:
    """Put data and options together.

    Parameters
    ----------
    data : RoleData
        As read by ``read_rows``.
    response : Response
        Classes of the rows with weight.
    options : PathOptions
        Options.
    """
    same = response.rows.size == data.X.shape[0] and not response.grouped
    X: Any = data.X if same else data.X[response.rows]
    offset = data.roles.get("offset")
    clusters = None if data.clusters is None else data.clusters.codes[response.rows]
    if clusters is not None:
        clusters = np.unique(clusters, return_inverse=True)[1].astype(np.int64)
    counts = None
    if response.grouped:
        counts = response.weights
        counts = counts if data.weights is None else counts / data.weights[response.rows]
    # Entries of one row of counts stay together in folds.
    groups = response.rows if response.grouped and clusters is None else clusters
    if groups is not None:
        groups = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    rows = Rows(
        X,
        response.codes,
        response.weights,
        None if offset is None else offset[response.rows],
        groups,
    )
    recipe = Recipe(
        link=options.link,
        crossing=options.crossing,
        l1_ratio=float(options.l1_ratio),
        factors=relative_penalties(options, data.names, response.n_classes - 1),
        standardize=options.standardize,
        box=None,
        tol=options.tol,
        max_iter=options.max_iter,
        names=data.names,
    )
    problem = recipe.problem(rows.X, rows.codes, rows.weights, rows.offset)
    columns = problem.columns
    low, high = box_limits(options, data.names, columns.low, columns.high)
    box = padded_box(low, high, options.box_margin)
    recipe = replace(recipe, box=box)
    constant = tuple(n for n, fine in zip(data.names, columns.usable, strict=True) if not fine)
    if constant:
        warn(
            f"{len(constant)} columns do not vary and get coefficient 0: "
            f"{', '.join(constant[:5])}{', ...' if len(constant) > 5 else ''}."
        )
    null = null_solution(problem, recipe)
    return Ready(
        rows=rows,
        response=response,
        problem=problem,
        recipe=recipe,
        null=null,
        top=largest_lambda(null, recipe),
        clusters=clusters,
        counts=counts,
        constant=constant,
    )


def refuse_separation(ready: Ready, fits: list[Solution]) -> None:
    """Refuse unpenalised slopes that have no finite estimate, naming their columns.

    Parameters
    ----------
    ready : Ready
        Data and options.
    fits : list of Solution
        Fits; only unpenalised slopes that are large, or did not settle, are looked at.

    Raises
    ------
    SeparationError
        When a linear programme finds that the classes are separated.
    """
    columns, usable = ready.problem.columns, ready.problem.columns.usable
    # Without standardisation the half range stands for the standard deviation.
    spread = 0.5 * (columns.high - columns.low)
    for fit in fits:
        free = (ready.recipe.factors * fit.lam == 0.0) & usable
        J = np.flatnonzero(free.any(axis=0))
        large = np.abs(fit.beta[:, J] * (1.0 if ready.recipe.standardize else spread[J]))
        settled = fit.kkt <= max(10.0 * ready.recipe.tol, 1e-9)
        if J.size == 0 or (settled and large.max() < _FINITE):
            continue
        part: Any = ready.rows.X[:, J]
        found = ordinal_separation(
            part.toarray() if hasattr(part, "toarray") else part,
            ready.rows.codes,
            ready.response.n_classes,
            # Differences that are penalised cannot diverge: these columns move all boundaries.
            parallel=~free[1:, J].all(axis=0),
            weights=ready.rows.weights,
            names=[ready.recipe.names[j] for j in J],
        )
        if found.found:
            raise SeparationError(
                f"{found.words()} Use a positive lam and first_block_penalty, or "
                "RareEventClassifier(method='firth') for one class against the rest."
            )
