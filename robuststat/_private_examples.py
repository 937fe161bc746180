"""Example data and options with which every private estimator is checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robuststat._core.types import Array
from robuststat.private import (
    DPLinearRegression,
    DPLocation,
    DPMeanCov,
    DPMultivariateLocation,
    DPNormalMean,
    DPQuantiles,
    DPScale,
    DPTheilSen,
    DPTukeyRegression,
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
_PAIR: dict[str, Any] = {"x_bounds": (0.0, 1.0), "y_bounds": (0.0, 1.0)}
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
    DPNormalMean: PrivateExample({"epsilon": 1.0, "mean_bound": 1.0, "sigma": 0.3}, _values(400)),
    DPMultivariateLocation: PrivateExample(
        _BOUNDED | {"epsilon": 2.0, "ci": "rank"}, _values((900, 2))
    ),
    DPMeanCov: PrivateExample(
        {"epsilon": 4.0, "delta": 1e-6, "mean_bound": 2.0, "cov_bounds": (0.02, 1.0)},
        _values((2000, 2)),
        delta=1e-3,
        ordered=True,
    ),
    DPTheilSen: PrivateExample(
        _PAIR | {"epsilon": 2.0, "rho": 1 / 32}, _values(600), _values(600), ordered=True
    ),
    DPTukeyRegression: PrivateExample(
        {"n_models": 60, "epsilon": 2.0, "coef_bounds": (-2.0, 2.0), "rho": 0.125},
        _values((600, 2)),
        _values(600),
        ordered=True,
    ),
    DPLinearRegression: PrivateExample(
        _PAIR | {"epsilon": 2.0, "ci": None}, _values((1500, 2)), _values(1500)
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
