"""Reading private data: numbers or an error that shows none of them.

What an error tells is outside every guarantee, so no message here holds a value or its position.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np

from robuststat._core.errors import DataError
from robuststat._core.table import as_table, plain_values, to_float
from robuststat._core.types import Array

NanPolicy: TypeAlias = Literal["raise", "clip_mid"]


def read_column(
    X: Any, owner: str, *, nan_policy: NanPolicy, middle: float, name: str = "x"
) -> Array:
    """One number a person.

    Parameters
    ----------
    X : array of shape (n,) or (n, 1), Series, or frame with one column
        Numbers of any type (bool, int, Decimal); an index is ignored.
    owner : str
        Name put in front of messages.
    nan_policy : {"raise", "clip_mid"}
        "clip_mid" replaces NaN by ``middle``; infinite values are left to clipping.
    middle : float
        A public value.
    name : str
        Name of the argument.

    Returns
    -------
    ndarray of shape (n,)
        The caller's own memory where possible: not to be written to.

    Raises
    ------
    DataError, TypeError
        For other shapes, no rows, NaN or infinite values (with "raise"); for text.
    """
    values = _numbers(X, owner, name)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise DataError(
            f"{owner}: {name} must have shape (n,) or (n, 1), got {values.shape}. Pass one column."
        )
    return _finite(values, owner, name, nan_policy, np.array(middle))


def read_matrix(
    X: Any, owner: str, *, nan_policy: NanPolicy, middle: Array | float, name: str = "X"
) -> Array:
    """Several numbers a person; as :func:`read_column`.

    Parameters
    ----------
    X : array of shape (n, d) or (n,), or frame
        Numbers.
    owner, nan_policy, name : str
        As in ``read_column``.
    middle : float or ndarray of shape (d,)
        Public value that replaces NaN, for each column.

    Returns
    -------
    ndarray of shape (n, d)
    """
    values = _numbers(X, owner, name)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2:
        raise DataError(f"{owner}: {name} must have shape (n, d), got {values.shape}.")
    return _finite(values, owner, name, nan_policy, np.asarray(middle, dtype=np.float64))


def _numbers(X: Any, owner: str, name: str) -> Array:
    table = as_table(X)
    if table is not None:
        columns = [_column(table.series(c), owner, name) for c in table.names]
        return np.column_stack(columns) if columns else np.empty((table.n_rows, 0))
    values = plain_values(X)
    if getattr(values, "ndim", 1) == 2 and values.dtype.kind not in "fiub":
        return np.column_stack([_column(column, owner, name) for column in values.T])
    return _column(values, owner, name)


def _column(values: Any, owner: str, name: str) -> Array:
    # Text such as "1.5" would be read as a number by pandas; it is a mistake more often than not.
    kind = getattr(values.dtype, "kind", "O")
    text = kind in "US" or (kind not in "fiub" and any(isinstance(v, (str, bytes)) for v in values))
    try:
        if not text:
            return to_float(values, name)
    except (DataError, TypeError, ValueError, OverflowError):
        # Its message shows the first value that is no number.
        text = True
    raise TypeError(
        f"{owner}: {name} must hold real numbers only, but holds text, dates or other objects. "
        "Convert it before the release; the values are not shown because they are private."
    ) from None


def _finite(values: Array, owner: str, name: str, nan_policy: NanPolicy, middle: Array) -> Array:
    if values.shape[0] == 0:
        raise DataError(f"{owner}: {name} has no rows. Pass at least one.")
    if values.size == 0:
        raise DataError(f"{owner}: {name} has no columns. Pass at least one.")
    # NaN passes through minimum and maximum: no array of flags for the usual case.
    if np.isfinite(values.min()) and np.isfinite(values.max()):
        return values
    if nan_policy == "raise":
        raise DataError(
            f"{owner}: {name} holds NaN or infinite values. No budget was spent. Remove them, or "
            "use nan_policy='clip_mid', which puts NaN in the middle of the bounds: this error "
            "itself tells something about the data."
        )
    return np.where(np.isnan(values), middle, values)
