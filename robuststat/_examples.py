"""Example data and options with which every estimator class is checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch

from robuststat.base import InferenceEstimator
from robuststat.iv import (
    CIIV,
    GENIUS,
    TSHT,
    InvalidIVATE,
    InvalidIVDML,
    IVSensitivity,
    PlausiblyExogenousIV,
    SelectiveInvalidIVDML,
    SisVIVE,
    TwoStageLeastSquares,
    ValidIVATE,
)
from robuststat.sampling import (
    AdaptiveISCV,
    LawImpact,
    ReweightedExpectation,
    SobolIndices,
    as_law,
)
from robuststat.simulation import (
    make_invalid_iv,
    make_many_iv,
    make_surrogate_linear,
    make_surrogate_logit,
)
from robuststat.surrogate import DSLBlackBox, DSLClassifier, DSLMean, DSLMoment, DSLRegressor


@dataclass(frozen=True, slots=True)
class Example:
    """What the checks need to know about an estimator class.

    Attributes
    ----------
    data : callable
        Seed -> Bunch as returned by ``example_data``.
    options : tuple of dict
        Constructor options with which scikit-learn's checks are run, once each.
    invent : callable
        (role, X, y) -> values of a missing role.
    stochastic : dict
        Constructor options, besides ``random_state`` and ``n_jobs``, with which the seed matters.
    not_applicable : dict of str to str
        Checks of ``robuststat.testing`` that cannot hold, with the reason.
    expected : dict of str to str
        Checks of scikit-learn that cannot hold, with the reason.
    resampled : bool
        Whether the variance comes from drawing rows, so that it depends on their order.
    api_only : bool
        Run scikit-learn's checks of the API only: for classes whose data are no rows. The Bunch of
        ``data`` then has ``arguments``, what ``fit`` takes, in place of frame and roles.
    """

    data: Callable[[int], Bunch]
    options: tuple[dict[str, Any], ...]
    invent: Callable[[str, Any, Any], Any]
    stochastic: dict[str, Any] = field(default_factory=dict)
    not_applicable: dict[str, str] = field(default_factory=dict)
    expected: dict[str, str] = field(default_factory=dict)
    resampled: bool = False
    api_only: bool = False


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


class _LinearMoment:
    """Normal equations of least squares; as an object it is written the same in every process."""

    def __call__(self, theta: Any, X: Any, y: Any) -> Any:
        return X * (y - X @ theta)[:, None]

    def __repr__(self) -> str:
        return "linear_moment"


def _surrogate_data(
    make: Callable[..., Bunch], seed: int, options: Mapping[str, Any] | None = None
) -> Bunch:
    data = make(n=400, n_labeled=80, random_state=seed)
    frame = pd.DataFrame(np.asarray(data.X), columns=["x1", "x2", "x3"])
    frame["y"], frame["s"] = np.asarray(data.y), np.asarray(data.prediction)
    return Bunch(
        frame=frame,
        covariates=["x1", "x2", "x3"],
        outcome="y",
        roles={"prediction": "s"},
        options=dict(options or {"learner": "passthrough"}),
    )


def _invalid_iv_data(seed: int, options: Mapping[str, Any] | None = None) -> Bunch:
    data = make_invalid_iv(n=1500, random_state=seed)
    frame = data.X.assign(y=data.y, a=data.treatment, z=data.instruments)
    return Bunch(
        frame=frame,
        covariates=list(data.X.columns),
        outcome="y",
        roles={"treatment": "a", "instruments": "z"},
        options=dict(options or {}),
    )


def _instrument_data(seed: int, n_instruments: int, options: Mapping[str, Any]) -> Bunch:
    rng = np.random.default_rng(seed)
    data = make_many_iv(
        n=400, n_instruments=n_instruments, n_invalid=0, strength=0.7, random_state=rng
    )
    frame = pd.concat([data.X, data.instruments], axis=1)
    frame["x3"] = rng.normal(size=400)
    frame["a"] = data.treatment
    if n_instruments == 1:
        # A binary instrument that also changes the spread of the treatment.
        frame["z1"] = (frame["z1"] > 0).astype(float)
        frame["a"] += 2.0 * frame["z1"] * (1.0 + rng.normal(size=400))
    frame["y"] = data.y + frame["a"]
    names = [f"z{j + 1}" for j in range(n_instruments)]
    return Bunch(
        frame=frame,
        covariates=["x1", "x2", "x3"],
        outcome="y",
        roles={"treatment": "a", "instruments": names if n_instruments > 1 else "z1"},
        options=dict(options),
    )


def _instruments_that_work(n_instruments: int, binary: bool, role: str, X: Any, y: Any) -> Any:
    n = X.shape[0]
    draws = np.random.default_rng(0).normal(size=(n, 4))
    Z = draws[:, :n_instruments]
    if binary:
        Z = (np.arange(n)[:, None] % 2).astype(np.float64)
    return Z if role == "instruments" else np.asarray(2.0 * Z.sum(axis=1) + draws[:, 3])


def _classical(
    *,
    several: bool = False,
    binary: bool = False,
    options: Mapping[str, Any] | None = None,
    not_applicable: dict[str, str] | None = None,
    expected: dict[str, str] | None = None,
) -> Example:
    """Estimators with numeric treatments; those that compare instruments need several."""
    return Example(
        partial(_instrument_data, n_instruments=4 if several else 1, options=options or {}),
        ({},),
        partial(_instruments_that_work, 3 if several else 1, binary),
        not_applicable=not_applicable or {},
        expected=_COLLINEAR | (expected or {}),
    )


def _last_column(role: str, X: Any, y: Any) -> Any:
    return X[:, -1]


def _binary_roles(role: str, X: Any, y: Any) -> Any:
    """Make exposure and instrument from the position of a row.

    Every second row has Z = 1; of ten rows one of five with Z = 0 and three of five with Z = 1 are
    exposed, so that the variance of the exposure differs. Some of scikit-learn's data have four
    different rows only, so that functions of the row could not do that.
    """
    position = np.arange(X.shape[0])
    exposed = np.isin(position % 10, [1, 4, 5, 7])
    return (position % 2 if role == "instruments" else exposed).astype(np.float64)


_LEARNT = {"learner": "ols", "n_rep": 2}
_MOMENT: dict[str, Any] = {"moment": _LinearMoment()}
_DRAWN: dict[str, Any] = {"n_boot": 20, "random_state": 0}
_SURROGATE: tuple[dict[str, Any], ...] = ({}, {"learner": "passthrough"})
# As few parameters as possible: scikit-learn's data have down to ten rows.
_SMALL_TERMS = {
    "instrument": "1",
    "treatment": "Z",
    "effect": "1",
    "direct": "Z",
    "confounding": "1",
}
_LINEAR = partial(_surrogate_data, make_surrogate_linear)
_LOGIT = partial(_surrogate_data, make_surrogate_logit)


def _learners(learner: Any) -> dict[str, Any]:
    names = ("instrument", "treatment", "outcome", "direct", "confounding")
    return {f"learner_{name}": learner for name in names}


_LEARNERS = _learners(LinearRegression()) | {
    "learner_instrument": make_pipeline(StandardScaler(), LogisticRegression()),
    "learner_treatment": make_pipeline(StandardScaler(), LogisticRegression()),
}
_EQUIVALENCE = "check_sample_weight_equivalence_on_dense_data"
_COLLINEAR = {
    _EQUIVALENCE: "it fits 31 coefficients to 15 rows, which is refused as collinear; "
    "check_weights_duplicate_rows tests the same property on an identified model"
}
_POSITION = {
    _EQUIVALENCE: "exposure and instrument are invented from the position of a row, so that "
    "repeated rows are other rows; check_weights_duplicate_rows tests the same property"
}
_FOLDS = "the folds are drawn by position, so that other rows come together"
_TINY = {
    name: "its data have 10 to 16 rows: folds, with folds inside them, leave one or two exposed "
    "rows in an arm, which is refused"
    for name in (
        "check_sample_weights_pandas_series",
        "check_sample_weights_not_an_array",
        "check_sample_weights_shape",
        "check_sample_weights_not_overwritten",
        "check_estimators_nan_inf",
        "check_fit2d_1feature",
    )
}
_LOGITS = [make_pipeline(StandardScaler(), LogisticRegression(C=c)) for c in (1.0, 0.01)]
_CANDIDATES = {
    "instrument": _LOGITS,
    "treatment": _LOGITS,
    "effect": ["linear", "constant"],
    "direct": [LinearRegression(), DummyRegressor()],
    "confounding": [LinearRegression(), DummyRegressor()],
}
_DUMMIES = {name: [DummyRegressor()] for name in _CANDIDATES} | {"effect": ["constant"]}
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
    return Example(data, (options,), _last_column, {}, _NO_ROWS, dict(_NO_FIT_X_Y), api_only=True)


_UNWEIGHTED = "it is about unweighted regressions and refuses sample_weight"
EXAMPLES: dict[type[InferenceEstimator], Example] = {
    DSLRegressor: Example(_LINEAR, _SURROGATE, _last_column, _LEARNT, expected=_COLLINEAR),
    DSLClassifier: Example(_LOGIT, _SURROGATE, _last_column, _LEARNT, expected=_COLLINEAR),
    DSLMean: Example(_LINEAR, _SURROGATE, _last_column, _LEARNT),
    DSLMoment: Example(
        partial(_LINEAR, options=_MOMENT | {"learner": "passthrough"}),
        (_MOMENT, _MOMENT | {"learner": "passthrough"}),
        _last_column,
        _MOMENT | _LEARNT,
        expected=_COLLINEAR,
    ),
    DSLBlackBox: Example(
        partial(_LINEAR, options={"tuning": None, "n_boot": 40, "random_state": 0}),
        (_DRAWN, _DRAWN | {"tuning": None}),
        _last_column,
        {"tuning": "scalar", "n_boot": 40},
        expected={
            _EQUIVALENCE: "it fits 30 coefficients to 15 rows, which is refused as too few labels; "
            "check_weights_duplicate_rows tests the same property on an identified model"
        },
        resampled=True,
    ),
    InvalidIVATE: Example(
        _invalid_iv_data, ({"terms": _SMALL_TERMS},), _binary_roles, expected=_POSITION
    ),
    InvalidIVDML: Example(
        partial(_invalid_iv_data, options=_LEARNERS | {"cv": 3, "random_state": 0}),
        (_learners(DummyRegressor()) | {"cv": 2, "effect_model": "constant", "random_state": 0},),
        _binary_roles,
        _LEARNERS | {"n_rep": 2, "cv": 3},
        {"check_permutation": _FOLDS, "check_weights_duplicate_rows": _FOLDS},
        _TINY | {_EQUIVALENCE: _FOLDS},
    ),
    TwoStageLeastSquares: _classical(),
    ValidIVATE: _classical(binary=True),
    GENIUS: _classical(),
    PlausiblyExogenousIV: _classical(),
    IVSensitivity: _classical(
        not_applicable={"check_weights_duplicate_rows": _UNWEIGHTED},
        expected=dict.fromkeys(
            (
                "check_sample_weights_pandas_series",
                "check_sample_weights_not_an_array",
                "check_sample_weights_list",
                "check_sample_weights_shape",
                "check_sample_weights_not_overwritten",
            ),
            _UNWEIGHTED,
        ),
    ),
    TSHT: _classical(
        several=True,
        not_applicable={
            "check_weights_duplicate_rows": "its second step weights by an estimated variance, in "
            "which weights are squared"
        },
    ),
    CIIV: _classical(several=True),
    SisVIVE: _classical(several=True, options={"lam": 2.0}),
    AdaptiveISCV: _sampling(_model_data, {"n_budget": 1000}),
    LawImpact: _sampling(_scenario_data, {"n_budget": 1000}),
    ReweightedExpectation: _sampling(_runs_data, {}),
    SobolIndices: _sampling(_model_data, {"n_budget": 1000}),
    SelectiveInvalidIVDML: Example(
        partial(_invalid_iv_data, options={"candidates": _CANDIDATES, "cv": 3, "random_state": 0}),
        ({"candidates": _DUMMIES, "cv": 2, "random_state": 0},),
        _binary_roles,
        {"candidates": _CANDIDATES, "cv": 3},
        {"check_permutation": _FOLDS, "check_weights_duplicate_rows": _FOLDS},
        _TINY | {_EQUIVALENCE: _FOLDS},
    ),
}


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
    raise TypeError(f"{cls.__name__} has no entry in robuststat._examples.EXAMPLES. Add one.")
