"""Examples of the family sampling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import norm
from sklearn.utils import Bunch

from robuststat._examples.example import Example, last_column
from robuststat.base import InferenceEstimator
from robuststat.sampling import (
    AdaptiveISCV,
    FailureProbability,
    LawImpact,
    OutputQuantile,
    PerturbedLawIndices,
    ReweightedExpectation,
    SobolIndices,
    as_law,
)


class _Squares:
    """Model with two outputs; as an object it is written the same in every process."""

    def __call__(self, X: Any) -> Any:
        return np.column_stack([X[:, 0] ** 2, X[:, 0] ** 2 * X[:, 1] ** 4])

    def __repr__(self) -> str:
        return "squares"


def _model_data(seed: int) -> Bunch:
    law = as_law({"a": norm(), "b": norm(1.0, 0.5)})
    return Bunch(arguments=(_Squares(), law), options={"n_budget": 1000, "random_state": seed})


class _FirstSquare:
    """Model with one output; as an object it is written the same in every process."""

    def __call__(self, X: Any) -> Any:
        return X[:, 0] ** 2

    def __repr__(self) -> str:
        return "first_square"


def _scenario_data(seed: int) -> Bunch:
    laws = {"now": as_law([norm()]), "later": as_law([norm(0.2)])}
    options = {"n_budget": 1000, "random_state": seed}
    return Bunch(arguments=(_FirstSquare(), laws), options=options)


def _runs_data(seed: int) -> Bunch:
    x = np.random.default_rng(seed).normal(size=(400, 1))
    targets = np.hstack([norm(m, 0.7).logpdf(x) for m in (0.2, -0.3)])
    return Bunch(arguments=(x[:, 0] ** 2, targets, norm().logpdf(x[:, 0])), options={})


class _Margin:
    """Model with one output that is seldom below zero."""

    def __call__(self, X: Any) -> Any:
        return 3.0 - X[:, 0] - 0.5 * X[:, 1]

    def __repr__(self) -> str:
        return "margin"


def _margin_data(seed: int, options: Mapping[str, Any]) -> Bunch:
    law = as_law({"a": norm(), "b": norm()})
    options = {"n_budget": 1000, "random_state": seed} | dict(options)
    return Bunch(arguments=(_Margin(), law), options=options)


_FUNCTION = "fit takes a function and a law, not rows"


_NO_ROWS = dict.fromkeys(
    (
        "check_data_unchanged",
        "check_arrays_equal_frames",
        "check_permutation",
        "check_scaling",
        "check_weights_duplicate_rows",
    ),
    _FUNCTION,
)


_NO_FIT_X_Y = dict.fromkeys(
    (
        "check_fit_score_takes_y",
        "check_estimators_overwrite_params",
        "check_dont_overwrite_parameters",
        "check_estimators_fit_returns_self",
        "check_readonly_memmap_input",
        "check_n_features_in_after_fitting",
        "check_positive_only_tag_during_fit",
    ),
    _FUNCTION,
)


def _sampling(data: Callable[[int], Bunch], options: dict[str, Any]) -> Example:
    """Estimators that are fitted to a function and a law."""
    return Example(data, (options,), last_column, {}, _NO_ROWS, dict(_NO_FIT_X_Y), api_only=True)


EXAMPLES: dict[type[InferenceEstimator], Example] = {
    AdaptiveISCV: _sampling(_model_data, {"n_budget": 1000}),
    FailureProbability: _sampling(partial(_margin_data, options={}), {"n_budget": 1000}),
    OutputQuantile: _sampling(
        partial(_margin_data, options={"probabilities": (0.05,)}), {"n_budget": 1000}
    ),
    PerturbedLawIndices: _sampling(
        partial(_margin_data, options={"target": "probability", "deltas": (-0.5, 0.5)}),
        {"n_budget": 1000},
    ),
    LawImpact: _sampling(_scenario_data, {"n_budget": 1000}),
    ReweightedExpectation: _sampling(_runs_data, {}),
    SobolIndices: _sampling(_model_data, {"n_budget": 1000}),
}
