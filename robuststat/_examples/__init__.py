"""Example data and options with which every estimator class is checked, one module a family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from robuststat._examples import invariance, iv, ordinal, sampling, surrogate
from robuststat._examples.example import Example
from robuststat._examples.invariance import INVENTIONS
from robuststat.base import InferenceEstimator

__all__ = ["EXAMPLES", "INVENTIONS", "Example", "example_of", "invention_of"]

EXAMPLES: dict[type[InferenceEstimator], Example] = {
    cls: example
    for family in (surrogate, iv, ordinal, sampling, invariance)
    for cls, example in family.EXAMPLES.items()
}


def invention_of(cls: type) -> Callable[[str, Any, Any], Any]:
    """Return the function that invents missing roles for a class.

    Parameters
    ----------
    cls : type
        Estimator class.

    Returns
    -------
    callable
        (role, X, y) -> values.
    """
    for base in cls.__mro__:
        if base in INVENTIONS:
            return INVENTIONS[base]
    return example_of(cls).invent


def example_of(cls: type[InferenceEstimator]) -> Example:
    """Return what the checks know about a class, or about the class it derives from.

    Parameters
    ----------
    cls : type
        Estimator class.

    Returns
    -------
    Example
    """
    for base in cls.__mro__:
        if base in EXAMPLES:
            return EXAMPLES[base]
    raise TypeError(f"{cls.__name__} has no entry in robuststat/_examples. Add one.")
