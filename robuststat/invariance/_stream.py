"""Moments of a source that is read chunk by chunk."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from robuststat._core.design import ArrayDesign
from robuststat._core.errors import (
    DataError,
    DroppedRowsWarning,
    ParameterError,
    RoleError,
    warn,
)
from robuststat._core.stream import ChunkSource
from robuststat._core.table import Table
from robuststat.invariance._moments import EnvMoments, MomentAccumulator

# (chunk, y, env, sample_weight) -> rows with X, y, codes, levels, weights, names and data
Reader = Callable[[Any, str, str, str | None], Any]


@dataclass(frozen=True, slots=True)
class SourceMoments:
    """What one pass over a source leaves.

    Attributes
    ----------
    moments : EnvMoments
        Of all covariates.
    columns : tuple of str
        Covariates.
    outcome : str
        Outcome.
    n_dropped : int
        Rows left out for missing values.
    n_dropped_by : dict of str to int
        The same by column.
    """

    moments: EnvMoments
    columns: tuple[str, ...]
    outcome: str
    n_dropped: int
    n_dropped_by: dict[str, int]


def source_moments(
    read: Reader, formula: str | None, source: Any, y: Any, env: Any, sample_weight: Any
) -> SourceMoments:
    """Read a source in one pass; roles are column names.

    Raises
    ------
    RoleError
        For roles that are not column names.
    ParameterError
        For a formula.
    DataError
        For text covariates, chunks with other columns, or no complete row.
    """
    for role, value in (("y", y), ("env", env)):
        if not isinstance(value, str):
            raise RoleError(f"fit_stream needs {role}= as a column name; got {value!r}.")
    if sample_weight is not None and not isinstance(sample_weight, str):
        raise RoleError("fit_stream needs sample_weight= as a column name.")
    if formula is not None:
        raise ParameterError(
            "fit_stream takes numeric columns as they are; formula= has no effect there. Make the "
            "columns in the source, or use fit."
        )
    add = _OnChunk(read, y, env, sample_weight)
    total, n_dropped = MomentAccumulator(), 0
    names: tuple[str, ...] = ()
    counts: dict[str, int] = {}
    for part, found, lost, by in ChunkSource(source).map(add, repeat(None)):
        if found and names and found != names:
            raise DataError(
                f"A chunk of the source has the covariates {', '.join(found)}, the first one "
                f"{', '.join(names)}. All chunks need the same columns."
            )
        names = names or found
        total.merge(part)
        n_dropped += lost
        for name, count in by.items():
            counts[name] = counts.get(name, 0) + count
    if not names:
        raise DataError(f"The source has no complete row; missing values by column: {counts}.")
    if n_dropped:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        warn(f"{n_dropped} rows dropped for missing values: {listed}.", DroppedRowsWarning)
    return SourceMoments(total.finish(names), names, y, n_dropped, counts)


@dataclass(frozen=True, slots=True)
class _OnChunk:
    """Picklable function of a chunk and its (unused) state."""

    read: Reader
    y: str
    env: str
    weight: str | None

    def __call__(
        self, table: Table, state: None
    ) -> tuple[MomentAccumulator, tuple[str, ...], int, dict[str, int]]:
        total = MomentAccumulator()
        if not table.n_rows:
            return total, (), 0, {}
        with warnings.catch_warnings(action="ignore", category=DroppedRowsWarning):
            try:
                rows = self.read(table.native, self.y, self.env, self.weight)
            except DataError as error:
                if "No complete row is left" not in str(error):
                    raise
                return total, (), table.n_rows, {}
        if not isinstance(rows.data.design, ArrayDesign):
            raise DataError(
                "fit_stream needs numeric covariates: the source has text columns. Turn them into "
                "numbers in the source, or leave them out."
            )
        total.update(rows.X, rows.y, rows.codes, rows.levels, rows.weights)
        return total, rows.names, rows.data.n_dropped, rows.data.n_dropped_by
