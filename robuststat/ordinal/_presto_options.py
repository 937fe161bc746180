"""Options of PRESTO as arrays: relative penalties, box, grid of penalties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robuststat._core.errors import ParameterError
from robuststat._core.table import to_float
from robuststat._core.types import Array


@dataclass(frozen=True, slots=True)
class PathOptions:
    """Options that a path and a classifier share; see :class:`PrestoClassifier`."""

    l1_ratio: float
    first_block_penalty: float
    penalty_factors: Any
    link: str
    crossing: str
    box: Any
    box_margin: float
    n_lambdas: int
    lambda_min_ratio: float
    lambdas: Any
    standardize: bool
    tol: float
    max_iter: int


def relative_penalties(options: PathOptions, names: Sequence[str], q: int) -> Array:
    """v_jk of the objective, of shape (q, p)."""
    given, p = options.penalty_factors, len(names)
    factors = np.ones(p)
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in names]
        if unknown:
            raise ParameterError(
                f"penalty_factors names {unknown[0]!r}, which is not a column of the design. Its "
                f"columns are {', '.join(list(names)[:20])}."
            )
        factors = to_float([given.get(name, 1.0) for name in names], "penalty_factors")
    elif given is not None:
        factors = to_float(given, "penalty_factors")
        if factors.shape != (p,):
            raise ParameterError(
                f"penalty_factors must hold {p} numbers, one a column of the design; got shape "
                f"{factors.shape}."
            )
    bad = np.flatnonzero(~(factors >= 0.0) | np.isinf(factors))
    if bad.size:
        raise ParameterError(
            f"penalty_factors must be finite and >= 0; that of {names[bad[0]]!r} is "
            f"{factors[bad[0]]:g}."
        )
    v = np.tile(factors, (q, 1))
    v[0] *= options.first_block_penalty
    return v


def box_limits(options: PathOptions, names: Sequence[str], low: Array, high: Array) -> Any:
    """Limits of every column, in its own unit, before ``box_margin`` widens them."""
    given = options.box
    if given is None:
        return low, high
    if isinstance(given, Mapping):
        low, high = low.copy(), high.copy()
        for name, limits in given.items():
            if name not in names:
                raise ParameterError(
                    f"box names {name!r}, which is not a column of the design. Its columns are "
                    f"{', '.join(list(names)[:20])}."
                )
            pair = to_float(limits, f"box[{name!r}]")
            if pair.shape != (2,):
                raise ParameterError(f"box[{name!r}] must be (low, high); got {limits!r}.")
            low[list(names).index(name)], high[list(names).index(name)] = pair
    else:
        array = np.asarray(given, dtype=np.float64)
        if array.shape != (2, len(names)):
            raise ParameterError(
                f"box must be (low, high) with {len(names)} numbers each, or a dict of column -> "
                f"(low, high); got shape {array.shape}."
            )
        low, high = array
    bad = np.flatnonzero(~(low <= high) | ~np.isfinite(low) | ~np.isfinite(high))
    if bad.size:
        j = bad[0]
        raise ParameterError(
            f"box of {names[j]!r} must be finite with low <= high; got ({low[j]:g}, {high[j]:g})."
        )
    return low, high


def given_lambdas(lambdas: Any) -> Array:
    """Penalties of the user, largest first."""
    grid = to_float(lambdas, "lambdas") if np.ndim(lambdas) == 1 else np.zeros(0)
    if grid.size == 0 or not (np.isfinite(grid) & (grid >= 0.0)).all():
        raise ParameterError(f"lambdas must be a list of finite numbers >= 0; got {lambdas!r}.")
    return np.unique(grid)[::-1]
