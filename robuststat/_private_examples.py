"""Example data and options with which every private estimator is checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robuststat._core.types import Array
from robuststat.private import (
    DPLocation,
    DPQuantiles,
    DPScale,
    GaussianAnswers,
    InverseSensitivity,
    ReusableHoldout,
    SparseVector,
)
from robuststat.private._base import PrivateEstimator

_RNG = np.random.default_rng(11)


@dataclass(frozen=True, slots=True)
class PrivateExample:
    """What the checks need to know about a private class.

    Attributes
    ----------
    options : dict
        Constructor options, epsilon and bounds among them.
    X : ndarray of shape (n,) or (n, d)
        Rows; values off any grid, so that a released number is none of them.
    y : ndarray of shape (n,) or None
        Outcome.
    release : callable
        (estimator, X, y) -> what becomes known; by default ``fit(X, y).estimate_``.
    delta : float
        Delta of the ledgers in the checks (zCDP charges need one).
    reads : bool
        Whether ``fit`` reads numbers itself, so that bad input must be refused by it.
    ordered : bool
        Whether the order of rows matters.
    not_applicable : dict of str to str
        Checks that cannot hold, with the reason.
    """

    options: dict[str, Any]
    X: Array
    y: Array | None = None
    release: Callable[[Any, Any, Any], Any] = field(default=lambda est, X, y: _fit(est, X, y))
    delta: float = 0.0
    reads: bool = True
    ordered: bool = False
    not_applicable: dict[str, str] = field(default_factory=dict)


def _fit(est: Any, X: Any, y: Any) -> Any:
    return (est.fit(X) if y is None else est.fit(X, y)).estimate_


def _values(size: int | tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Array:
    return low + (high - low) * _RNG.random(size)


def _ask(est: Any, X: Any, y: Any) -> Any:
    est.fit(X) if y is None else est.fit(X, y)
    return [est.query(lambda x, c=c: np.asarray(x) > c) for c in (0.3, 0.5, 0.7)]


def _ask_means(est: Any, X: Any, y: Any) -> Any:
    est.fit(X)
    return [est.query(lambda x, c=c: float(np.mean(np.asarray(x) > c))) for c in (0.9, 0.7, 0.5)]


def _median_steps(x: Any, k_max: int) -> tuple[Array, Array]:
    """Envelope of the median of grid indices in 0..32."""
    k = np.arange(k_max + 1)
    padded = np.concatenate([np.zeros(k_max, dtype=np.int64), x, np.full(k_max, 32)])
    middle = k_max + len(x) // 2
    return padded[middle - k], padded[middle + k]


_BOUNDED: dict[str, Any] = {"epsilon": 1.0, "bounds": (0.0, 1.0), "rho": 1 / 32}
_QUESTIONS = {
    "check_epsilon": "its cost follows from the noise and the number of answers",
}

PRIVATE_EXAMPLES: dict[type[PrivateEstimator], PrivateExample] = {
    DPLocation: PrivateExample(_BOUNDED | {"ci": "rank"}, _values(400)),
    DPScale: PrivateExample(_BOUNDED, _values(400)),
    DPQuantiles: PrivateExample(_BOUNDED | {"quantiles": (0.3, 0.5, 0.6)}, _values(400)),
    InverseSensitivity: PrivateExample(
        _BOUNDED | {"envelope": _median_steps, "units": "grid"}, _values(201)
    ),
    SparseVector: PrivateExample(
        {"threshold": 0.5, "epsilon": 1.0, "sensitivity": 0.005, "budget": 3},
        _values(200),
        release=_ask_means,
        reads=False,
    ),
    GaussianAnswers: PrivateExample(
        {"sd": 0.05, "budget": 3},
        _values(200),
        release=_ask,
        delta=1e-6,
        reads=False,
        not_applicable=_QUESTIONS,
    ),
    ReusableHoldout: PrivateExample(
        {"threshold": 0.05, "sigma": 0.01, "budget": 3},
        _values(200),
        _values(200) ** 3,
        release=_ask,
        reads=False,
        not_applicable=_QUESTIONS,
    ),
}


def private_example_of(cls: type[PrivateEstimator]) -> PrivateExample:
    """Return what the checks know about a class, or about the class it derives from."""
    for base in cls.__mro__:
        if base in PRIVATE_EXAMPLES:
            return PRIVATE_EXAMPLES[base]
    raise TypeError(f"{cls.__name__} has no entry in robuststat._private_examples. Add one.")
