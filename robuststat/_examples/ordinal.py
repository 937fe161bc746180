"""Examples of the family ordinal."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from robuststat._examples.example import COLLINEAR, EQUIVALENCE, Example, last_column
from robuststat.base import InferenceEstimator
from robuststat.ordinal import OrdinalClassifier, PrestoClassifier, RareEventClassifier


def _ordinal_data(seed: int, options: Mapping[str, Any] | None = None) -> Bunch:
    """Three ordered classes, the last one rare."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(400, 3)), columns=["x1", "x2", "x3"])
    latent = frame["x1"] - 0.5 * frame["x2"] + rng.logistic(size=400)
    frame["y"] = np.digitize(latent, [0.0, 2.5])
    return Bunch(
        frame=frame,
        covariates=["x1", "x2", "x3"],
        outcome="y",
        roles={},
        options=dict(options or {}),
    )


def _rare_event_data(seed: int) -> Bunch:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(400, 2)), columns=["x1", "x2"])
    chance = 1.0 / (1.0 + np.exp(2.0 - frame["x1"]))
    frame["y"] = (rng.random(400) < chance).astype(float)
    return Bunch(frame=frame, covariates=["x1", "x2"], outcome="y", roles={}, options={})


def _no_role(role: str, X: Any, y: Any) -> Any:
    raise AssertionError(f"{role} is not an obligatory role.")


_BOUNDARIES = dict.fromkeys(
    ("check_classifiers_train", "check_classifiers_classes"),
    "decision_function has one column a boundary (K - 1), the linear predictors of P(y <= k), not "
    "one a class",
)


EXAMPLES: dict[type[InferenceEstimator], Example] = {
    OrdinalClassifier: Example(
        _ordinal_data,
        # Scikit-learn's data are separable: without a penalty that is refused.
        ({"penalty": "elasticnet", "lam": 0.05, "l1_ratio": 0.5},),
        last_column,
        expected=_BOUNDARIES
        | {
            "check_classifiers_classes": _BOUNDARIES["check_classifiers_train"],
            EQUIVALENCE: "it has 15 rows and 30 columns: the penalised optimum exists, its "
            "standard errors do not; check_weights_duplicate_rows tests the same property",
        },
    ),
    PrestoClassifier: Example(
        partial(_ordinal_data, options={"lam": 0.01, "tol": 1e-11}),
        ({"lam": 0.01},),
        last_column,
        {"lam": "cv", "n_lambdas": 40, "lambda_min_ratio": 0.001},
        expected=_BOUNDARIES,
    ),
    RareEventClassifier: Example(
        _rare_event_data, ({"intervals": "wald"},), _no_role, expected=COLLINEAR
    ),
}
