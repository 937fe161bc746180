"""Roles: arrays or column names of one call of ``fit``, resolved to arrays of n rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from robuststat._core.errors import DataError, RoleError
from robuststat._core.table import (
    Codes,
    Table,
    as_table,
    plain_values,
    to_codes,
    to_flag,
    to_float,
)
from robuststat._core.types import Array, BoolArray

# How the values of a role are read: numbers; group codes; a 0/1 flag; or a frame of columns
# (numbers or labels) that the family interprets itself.
# "groups": columns of X, each a grouping of its own.
ROLE_KINDS: dict[str, str] = {
    "prediction": "columns",
    "features": "columns",
    "labeled": "flag",
    "sample_prob": "numeric",
    "strata": "codes",
    "psu": "codes",
    "treatment": "numeric",
    "instruments": "columns",
    "env": "codes",
    "absorb": "groups",
    "offset": "numeric",
}


# Their allowed range is checked, and worded, where they are used.
_RANGE_CHECKED = ("sample_weight", "sample_prob")


def is_column_name(value: Any) -> bool:
    """Whether a role was given as a column name or a list of them."""
    if isinstance(value, str):
        return True
    return (
        isinstance(value, (list, tuple)) and bool(value) and all(isinstance(v, str) for v in value)
    )


def columns_named_by(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [name for inner in value.values() for name in columns_named_by(inner)]
    return list(value) if is_column_name(value) else []


class RoleReader:
    """Resolves arrays and column names of one call of ``fit`` to arrays of ``n`` rows."""

    def __init__(self, table: Table | None, n_rows: int) -> None:
        self.table = table
        self.n_rows = n_rows
        self.missing: dict[str, BoolArray] = {}

    def note_missing(self, name: str, mask: BoolArray) -> None:
        if mask.any():
            self.missing[name] = self.missing.get(name, False) | mask

    def column(self, role: str, name: str) -> pd.Series:
        if self.table is None or (name not in self.table and not self.table.names):
            raise RoleError(
                f"{role}={name!r} names a column, but X is an array without column names. "
                f"Pass an array of {self.n_rows} values, or a data frame as X."
            )
        if name not in self.table:
            raise RoleError(
                f"{role}={name!r} is not a column of X. Its columns are {self.table.listed()}."
            )
        return self.table.series(name)

    def vector(self, role: str, value: Any) -> Any:
        if isinstance(value, str):
            return self.column(role, value)
        values = plain_values(value)
        shape = values.shape
        if len(shape) == 2 and shape[1] == 1:
            values = values[:, 0]
        elif len(shape) != 1:
            raise RoleError(
                f"{role} must be one value a row, shape ({self.n_rows},); got shape {shape}."
            )
        if shape[0] != self.n_rows:
            raise RoleError(
                f"{role} has {shape[0]} values but X has {self.n_rows} rows. Pass one a row."
            )
        return values

    def numeric(self, role: str, value: Any) -> Array:
        values = to_float(self.vector(role, value), role)
        infinite = np.flatnonzero(np.isinf(values))
        if infinite.size and role not in _RANGE_CHECKED:
            raise DataError(
                f"{role} holds infinity (inf) in {infinite.size} rows, first at row {infinite[0]}. "
                "Recode or remove them."
            )
        self.note_missing(_label(role, value), np.isnan(values))
        return values

    def flag(self, role: str, value: Any) -> Array:
        values = to_flag(self.vector(role, value), role)
        self.note_missing(_label(role, value), np.isnan(values))
        return values

    def codes(self, role: str, value: Any) -> Codes:
        codes, missing = to_codes(self.vector(role, value), role)
        self.note_missing(_label(role, value), missing)
        return codes

    def groups(self, role: str, names: Sequence[str]) -> dict[str, Codes]:
        """Codes of several columns of X, by name."""
        if self.table is None:
            raise RoleError(
                f"{role}={list(names)} names columns, but X is an array without column names. Pass "
                "a data frame that holds them as X."
            )
        return {name: self.codes(role, name) for name in names}

    def columns(self, role: str, value: Any) -> pd.DataFrame | dict[str, pd.DataFrame]:
        if isinstance(value, Mapping):
            return {str(key): self._frame(f"{role}[{key!r}]", part) for key, part in value.items()}
        return self._frame(role, value)

    def _frame(self, role: str, value: Any) -> pd.DataFrame:
        if is_column_name(value):
            names = columns_named_by(value)
            frame = pd.DataFrame({name: self.column(role, name) for name in names})
        else:
            frame = _frame_of_array(role, value, self.n_rows)
        for name, column in frame.items():
            self.note_missing(str(name), column.isna().to_numpy())
        return frame


def _label(role: str, value: Any) -> str:
    return value if isinstance(value, str) else role


def _frame_of_array(role: str, value: Any, n_rows: int) -> pd.DataFrame:
    table = as_table(value)
    if table is not None:
        frame = table.pandas(table.names)
    else:
        values = np.asarray(plain_values(value))
        name = getattr(value, "name", None)
        single = str(name) if isinstance(name, str | int) else role
        if values.ndim == 1:
            values = values[:, None]
        if values.ndim != 2:
            raise RoleError(f"{role} must have one or two dimensions; got shape {values.shape}.")
        q = values.shape[1]
        names = [single] if q == 1 else [f"{role}{j}" for j in range(q)]
        frame = pd.DataFrame(values, columns=names, copy=False)
    if len(frame) != n_rows:
        raise RoleError(f"{role} has {len(frame)} rows but X has {n_rows}. Pass one a row.")
    return frame
