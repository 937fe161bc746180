"""Examples of the family surrogate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from robuststat._examples.example import COLLINEAR, EQUIVALENCE, Example, last_column
from robuststat.base import InferenceEstimator
from robuststat.simulation import (
    make_surrogate_linear,
    make_surrogate_logit,
)
from robuststat.surrogate import DSLBlackBox, DSLClassifier, DSLMean, DSLMoment, DSLRegressor


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


_LEARNT = {"learner": "ols", "n_rep": 2}


_MOMENT: dict[str, Any] = {"moment": _LinearMoment()}


_DRAWN: dict[str, Any] = {"n_boot": 20, "random_state": 0}


_SURROGATE: tuple[dict[str, Any], ...] = ({}, {"learner": "passthrough"})


_LINEAR = partial(_surrogate_data, make_surrogate_linear)


_LOGIT = partial(_surrogate_data, make_surrogate_logit)


EXAMPLES: dict[type[InferenceEstimator], Example] = {
    DSLRegressor: Example(_LINEAR, _SURROGATE, last_column, _LEARNT, expected=COLLINEAR),
    DSLClassifier: Example(_LOGIT, _SURROGATE, last_column, _LEARNT, expected=COLLINEAR),
    DSLMean: Example(_LINEAR, _SURROGATE, last_column, _LEARNT),
    DSLMoment: Example(
        partial(_LINEAR, options=_MOMENT | {"learner": "passthrough"}),
        (_MOMENT, _MOMENT | {"learner": "passthrough"}),
        last_column,
        _MOMENT | _LEARNT,
        expected=COLLINEAR,
    ),
    DSLBlackBox: Example(
        partial(_LINEAR, options={"tuning": None, "n_boot": 40, "random_state": 0}),
        (_DRAWN, _DRAWN | {"tuning": None}),
        last_column,
        {"tuning": "scalar", "n_boot": 40},
        expected={
            EQUIVALENCE: "it fits 30 coefficients to 15 rows, which is refused as too few labels; "
            "check_weights_duplicate_rows tests the same property on an identified model"
        },
        resampled=True,
    ),
}
