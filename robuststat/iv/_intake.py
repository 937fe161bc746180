"""From one call of ``fit`` to the rows and models of a problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from robuststat._core.data import RoleData
from robuststat._core.errors import DataError, RoleError
from robuststat._core.table import to_float
from robuststat._core.types import Array, BoolArray
from robuststat.iv._bases import (
    BASES,
    Basis,
    EffectDesign,
    empty_basis,
    make_bases,
    without_collinear,
)
from robuststat.iv._nuisances import Problem

# Each nuisance model needs this many rows for each of its parameters.
ROWS_PER_PARAMETER = 5


@dataclass(frozen=True, slots=True)
class Roles:
    """Outcome, exposure and instrument as numbers.

    Attributes
    ----------
    y, a, z : ndarray of shape (n,)
        Outcome, exposure, instrument.
    exposure, instrument : str
        Their names.
    binary_exposure, binary_instrument : bool
        Whether they take the values 0 and 1 only.
    """

    y: Array
    a: Array
    z: Array
    exposure: str
    instrument: str
    binary_exposure: bool
    binary_instrument: bool


@dataclass(frozen=True, slots=True)
class Prepared:
    """A problem and what is to be said about how it was made.

    Attributes
    ----------
    problem : Problem
        Rows and models.
    effect : EffectDesign
        How to evaluate the effect in new rows.
    dropped : dict of str to tuple of str
        Columns left out of each model because others determine them.
    """

    problem: Problem
    effect: EffectDesign
    dropped: dict[str, tuple[str, ...]]


def read_roles(estimator: Any, data: RoleData) -> Roles:
    """Outcome, exposure and instrument of one call of ``fit``.

    Raises
    ------
    RoleError
        When a role is missing, or several instruments are given.
    DataError
        When one of them is constant or codes two groups by other numbers than 0 and 1.
    """
    if data.X.shape[0] < 2 * ROWS_PER_PARAMETER:
        raise DataError(
            f"n_samples={data.X.shape[0]} rows are too few for an effect: {2 * ROWS_PER_PARAMETER} "
            "are the least, for the smallest models."
        )
    found: dict[str, Any] = {}
    for role in ("treatment", "instruments"):
        value = data.roles.get(role)
        found[role] = estimator._missing_role(role, data.X, data.y) if value is None else value
    frame = found["instruments"]
    if not isinstance(frame, pd.DataFrame):
        frame = pd.DataFrame({"instruments": np.asarray(frame)})
    if frame.shape[1] != 1:
        raise RoleError(
            f"{type(estimator).__name__} takes one instrument; instruments has {frame.shape[1]} "
            "columns. Pass one of them, or use GENIUS or TSHT for several."
        )
    name = str(frame.columns[0])
    a, z = np.asarray(found["treatment"], dtype=np.float64), to_float(frame.iloc[:, 0], name)
    used = np.ones(a.size, bool) if data.weights is None else data.weights > 0
    if np.isinf(z).any():
        raise DataError(f"instruments holds infinity (inf) in {int(np.isinf(z).sum())} rows.")
    binary_a = _is_binary(a[used], "treatment", "exposure")
    binary_z = _is_binary(z[used], "instruments", "instrument")
    return Roles(np.asarray(data.y), a, z, "treatment", name, binary_a, binary_z)


def _is_binary(values: Array, role: str, what: str) -> bool:
    levels = np.unique(values[:64]) if values.size > 64 else np.unique(values)
    if levels.size <= 2:
        levels = np.unique(values)
    if levels.size < 2:
        only = f" ({levels[0]:g})" if levels.size else ""
        raise DataError(
            f"{role} has one value{only} in every row: an {what} that does not vary has no effect "
            "that could be seen. Check the column, or the rows selected."
        )
    if levels.size == 2 and not np.array_equal(levels, [0.0, 1.0]):
        raise DataError(
            f"{role} has the two values {levels[0]:g} and {levels[1]:g}. Recode them as 0 and 1."
        )
    return levels.size == 2


def constant_arms(a: Array, z: Array, used: BoolArray) -> tuple[float | None, float | None]:
    """Value of the exposure in the arms Z = 0 and Z = 1 where it is constant.

    Raises
    ------
    DataError
        When it is constant in both: the instrument determines the exposure.
    """
    found: list[float | None] = []
    for arm in (False, True):
        values = a[((z > 0.5) == arm) & used]
        low, high = float(values.min()), float(values.max())
        found.append(low if low == high else None)
    if None not in found:
        raise DataError(
            "The instrument determines the exposure: it is constant for each value of Z, so that "
            "v_1 = v_0 = 0 and an effect of the exposure cannot be told from a direct effect of Z."
        )
    return found[0], found[1]


def prepare(
    data: RoleData,
    roles: Roles,
    *,
    terms: Any,
    effect_model: str,
    targeted: bool,
    clip_pi: float,
    min_abs_d: float,
) -> Prepared:
    """Rows and bases of a fit; columns that others determine are left out and remembered."""
    z, weights = roles.z, data.weights
    used = np.ones(z.size, bool) if weights is None else weights > 0
    fixed: tuple[float | None, float | None] = (None, None)
    if roles.binary_instrument:
        fixed = constant_arms(roles.a, z, used)
    bases, effect = make_bases(data, z, terms, effect_model, binary=roles.binary_instrument)
    active = used
    if fixed != (None, None):
        # Nobody can be confounded in an arm where the exposure is constant, and the covariance is
        # the same in both arms.
        bases["confounding"] = empty_basis(z.size)
        active = used & ((z > 0.5) == (fixed[1] is None))
    dropped: dict[str, tuple[str, ...]] = {}
    scales: dict[str, Array] = {}
    # The default bases share their columns: each is looked at once.
    shared: dict[tuple[bool, bool], tuple[Basis, Array, tuple[str, ...]]] = {}
    for name in BASES:
        only_active = name == "treatment" and active is not used
        key, basis = (bases[name].crossed, only_active), bases[name]
        if basis.plain is data.X and key in shared:
            result = shared[key]
        else:
            rows = np.where(active, 1.0 if weights is None else weights, 0.0)
            result = without_collinear(basis, z, rows if only_active else weights)
        if basis.plain is data.X:
            shared[key] = result
        bases[name], scales[name], gone = result
        if gone:
            dropped[name] = gone
        count = int((active if name == "treatment" else used).sum())
        _check_size(name, bases[name].size, count)
    if effect.kind != "constant":
        effect = EffectDesign(effect.kind, bases["effect"].names, effect.formula)
    problem = Problem(
        y=roles.y,
        a=roles.a,
        z=z,
        weights=weights,
        spread=None if roles.binary_exposure else bases["treatment"],
        scales=scales,
        fixed=fixed,
        targeted=targeted,
        clip_pi=clip_pi,
        min_abs_d=min_abs_d,
        **bases,
    )
    return Prepared(problem, effect, dropped)


def _check_size(name: str, size: int, n_rows: int) -> None:
    if n_rows < ROWS_PER_PARAMETER * size:
        raise DataError(
            f"The model of {name!r} has {size} parameters for n_samples={n_rows} rows; "
            f"{ROWS_PER_PARAMETER} rows a parameter are the least. Use fewer covariates, or a "
            f"smaller terms[{name!r}]."
        )
