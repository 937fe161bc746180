"""JSON form of values that JSON has no spelling for: infinities, NaN, arrays and tuples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from robuststat._core.errors import ParameterError

__all__ = ["decode", "encode"]

_FLOAT = "__float__"
_ARRAY = "__array__"
_TUPLE = "__tuple__"


def encode(value: Any, where: str) -> Any:
    """Turn a value into what strict JSON can hold; :func:`decode` is the exact inverse.

    Parameters
    ----------
    value : object
        None, bool, number, str, list, tuple, dict with text keys, NumPy scalar or numeric array.
    where : str
        Path of the value, for the error message.

    Returns
    -------
    object
        Infinities and NaN become ``{"__float__": "inf"}``, arrays and tuples likewise. NumPy
        scalars become Python numbers.

    Raises
    ------
    ParameterError
        If the value has no JSON form.

    Examples
    --------
    >>> encode({"a": np.float64(1.5), "b": float("inf")}, "x")
    {'a': 1.5, 'b': {'__float__': 'inf'}}
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {_FLOAT: str(value)}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        flat = encode(value.ravel().tolist(), where)
        return {_ARRAY: flat, "dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, tuple):
        return {_TUPLE: [encode(item, f"{where}[{i}]") for i, item in enumerate(value)]}
    if isinstance(value, list):
        return [encode(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: encode(item, f"{where}.{key}") for key, item in value.items()}
    raise ParameterError(
        f"{where} holds a {type(value).__name__}, which has no JSON form. Store numbers, text, "
        "arrays, lists, or dicts with text keys."
    )


def decode(value: Any) -> Any:
    """Undo :func:`encode`.

    Examples
    --------
    >>> decode(encode(((1, float("inf")), "a"), "x"))
    ((1, inf), 'a')
    """
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if _FLOAT in value:
        return float(value[_FLOAT])
    if _ARRAY in value:
        flat = np.array(decode(value[_ARRAY]), dtype=value["dtype"])
        return flat.reshape(value["shape"])
    if _TUPLE in value:
        return tuple(decode(item) for item in value[_TUPLE])
    return {key: decode(item) for key, item in value.items()}
