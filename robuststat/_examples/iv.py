"""Examples of the family iv."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch

from robuststat._examples.example import COLLINEAR, EQUIVALENCE, Example
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
from robuststat.simulation import (
    make_invalid_iv,
    make_many_iv,
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


def _binary_roles(role: str, X: Any, y: Any) -> Any:
    """Make exposure and instrument from the position of a row.

    Every second row has Z = 1; of ten rows one of five with Z = 0 and three of five with Z = 1 are
    exposed, so that the variance of the exposure differs. Some of scikit-learn's data have four
    different rows only, so that functions of the row could not do that.
    """
    position = np.arange(X.shape[0])
    exposed = np.isin(position % 10, [1, 4, 5, 7])
    return (position % 2 if role == "instruments" else exposed).astype(np.float64)


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
        expected=COLLINEAR | (expected or {}),
    )


# As few parameters as possible: scikit-learn's data have down to ten rows.
_SMALL_TERMS = {
    "instrument": "1",
    "treatment": "Z",
    "effect": "1",
    "direct": "Z",
    "confounding": "1",
}


def _learners(learner: Any) -> dict[str, Any]:
    names = ("instrument", "treatment", "outcome", "direct", "confounding")
    return {f"learner_{name}": learner for name in names}


_LEARNERS = _learners(LinearRegression()) | {
    "learner_instrument": make_pipeline(StandardScaler(), LogisticRegression()),
    "learner_treatment": make_pipeline(StandardScaler(), LogisticRegression()),
}


_POSITION = {
    EQUIVALENCE: "exposure and instrument are invented from the position of a row, so that "
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


_UNWEIGHTED = "it is about unweighted regressions and refuses sample_weight"


EXAMPLES: dict[type[InferenceEstimator], Example] = {
    InvalidIVATE: Example(
        _invalid_iv_data, ({"terms": _SMALL_TERMS},), _binary_roles, expected=_POSITION
    ),
    InvalidIVDML: Example(
        partial(_invalid_iv_data, options=_LEARNERS | {"cv": 3, "random_state": 0}),
        (_learners(DummyRegressor()) | {"cv": 2, "effect_model": "constant", "random_state": 0},),
        _binary_roles,
        _LEARNERS | {"n_rep": 2, "cv": 3},
        {"check_permutation": _FOLDS, "check_weights_duplicate_rows": _FOLDS},
        _TINY | {EQUIVALENCE: _FOLDS},
    ),
    SelectiveInvalidIVDML: Example(
        partial(_invalid_iv_data, options={"candidates": _CANDIDATES, "cv": 3, "random_state": 0}),
        ({"candidates": _DUMMIES, "cv": 2, "random_state": 0},),
        _binary_roles,
        {"candidates": _CANDIDATES, "cv": 3},
        {"check_permutation": _FOLDS, "check_weights_duplicate_rows": _FOLDS},
        _TINY | {EQUIVALENCE: _FOLDS},
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
}
