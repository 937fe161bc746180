"""Rows with named columns, and the conversion of their values to numbers, flags and codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from robuststat._core.errors import DataError
from robuststat._core.types import Array, BoolArray, IntArray


@dataclass(frozen=True, slots=True)
class Codes:
    """Group membership as integers.

    Attributes
    ----------
    codes : ndarray of shape (n,)
        0, 1, ..., in the order of ``levels``.
    levels : tuple
        The values the user gave, sorted.
    """

    codes: IntArray
    levels: tuple[Any, ...]

    def take(self, kept: BoolArray) -> Codes:
        """Codes of the rows kept, without the levels that vanish."""
        used, codes = np.unique(self.codes[kept], return_inverse=True)
        return Codes(codes.astype(np.int64), tuple(self.levels[i] for i in used))


def as_table(X: Any) -> Table | None:
    """Wrap a data frame of any library narwhals knows; None for arrays and lists."""
    try:
        frame = nw.from_native(X, eager_only=True, pass_through=True)
    except Exception as error:
        raise DataError(f"X cannot be read as a table: {error}") from error
    if not isinstance(frame, nw.DataFrame):
        if type(X).__name__ == "LazyFrame":
            raise DataError("X is a lazy frame. Pass its rows: X.collect().")
        return None
    if not all(isinstance(c, str) for c in frame.columns):
        return None
    return Table(frame)


class Table:
    """Rows with named columns, read as pandas Series whatever library holds them.

    Parameters
    ----------
    frame : narwhals.DataFrame
        The rows.
    """

    def __init__(self, frame: nw.DataFrame[Any]) -> None:
        self._frame = frame
        self.names: tuple[str, ...] = tuple(frame.columns)
        self.n_rows: int = frame.shape[0]

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def listed(self) -> str:
        """Names of the columns for a message, at most twenty."""
        more = ", ..." if len(self.names) > 20 else ""
        return ", ".join(self.names[:20]) + more

    def series(self, name: str) -> pd.Series:
        """One column; ordered categoricals keep their order, missing values become NaN."""
        column = self._frame.get_column(name)
        native = column.to_native()
        if isinstance(native, pd.Series):
            return native.reset_index(drop=True)
        if column.dtype in (nw.Categorical, nw.Enum):
            # An Enum has an order of its own; a Categorical is sorted.
            levels = getattr(column.dtype, "categories", None)
            return pd.Series(pd.Categorical(column.to_list(), categories=levels))
        if column.dtype == nw.Boolean and column.null_count() == 0:
            return pd.Series(column.to_numpy().astype(bool))
        if column.dtype == nw.String:
            return pd.Series(column.to_list(), dtype="str")
        if column.dtype.is_numeric():
            return pd.Series(column.cast(nw.Float64).to_numpy())
        return pd.Series(column.to_list())

    def numeric(self, name: str) -> bool:
        """Whether a column holds numbers or flags."""
        dtype = self._frame.get_column(name).dtype
        return bool(dtype.is_numeric() or dtype == nw.Boolean)

    def pandas(self, names: Sequence[str]) -> pd.DataFrame:
        """Several columns as a pandas frame with a plain index."""
        index = pd.RangeIndex(self.n_rows)
        return pd.DataFrame({name: self.series(name) for name in names}, index=index)


def native_values(values: Any) -> Any:
    """Values of a column of another library as NumPy array; Series and the rest as they are."""
    if type(values).__module__.split(".")[0] == "pyarrow":
        # Its own to_numpy refuses nulls and booleans.
        return values.to_pandas().to_numpy()
    if hasattr(values, "to_numpy") and not isinstance(values, pd.Series):
        return values.to_numpy()
    return values


def to_float(values: Any, name: str) -> Array:
    """Values as floats with NaN where missing.

    Raises
    ------
    DataError
        When a value is not a number; the message shows the first one.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        return np.asarray(values, dtype=np.float64)
    series = values if isinstance(values, pd.Series) else pd.Series(values)
    if getattr(series.dtype, "kind", "O") in "mM":
        raise DataError(
            f"{name} must be numeric, but holds dates or durations ({series.dtype}). Convert it to "
            "a number, such as days since a date."
        )
    try:
        return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError):
        numbers = pd.to_numeric(series.astype(object), errors="coerce")
        bad = np.flatnonzero(numbers.isna().to_numpy() & series.notna().to_numpy())
        if bad.size == 0:
            return np.asarray(numbers, dtype=np.float64)
        raise DataError(
            f"{name} must be numeric, but row {bad[0]} holds {series.iloc[bad[0]]!r} "
            f"({bad.size} such values). Convert it, or use a formula with C(...) for categories."
        ) from None


def to_codes(values: Any, name: str) -> tuple[Codes, BoolArray]:
    """Group codes and the mask of missing values."""
    series = values if isinstance(values, pd.Series) else pd.Series(np.asarray(values))
    try:
        codes, levels = pd.factorize(series, sort=True)
    except TypeError as error:
        raise DataError(f"{name} mixes types that cannot be ordered: {error}") from error
    missing = codes < 0
    return Codes(codes.astype(np.int64), tuple(levels.tolist())), missing


def to_flag(values: Any, name: str) -> Array:
    """0/1 or boolean values as floats with NaN where missing."""
    flag = to_float(values, name)
    bad = np.flatnonzero(~np.isnan(flag) & (flag != 0) & (flag != 1))
    if bad.size:
        raise DataError(
            f"{name} must hold only 0/1 or True/False, but row {bad[0]} holds {flag[bad[0]]:g} "
            f"({bad.size} such values)."
        )
    return flag
