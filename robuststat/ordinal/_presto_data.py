"""What a PRESTO fit works on: rows, recipe and grid, made from data and options once."""

from __future__ import annotations

from dataclasses import dataclass
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
    recipe = Recipe(**{name: getattr(recipe, name) for name in Recipe.__slots__} | {"box": box})
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
        constant=constant,
    )
