"""Examples of the family invariance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from robuststat._examples.example import COLLINEAR, Example
from robuststat.base import InferenceEstimator
from robuststat.invariance import (
    DRIG,
    AnchorRegression,
    GroupDRO,
    HiddenICP,
    InvarianceTest,
    InvariantRegressor,
    InvariantSubsets,
    LinearIRM,
    NonlinearICP,
    StabilizedRegression,
    VREx,
)
from robuststat.simulation import (
    make_invariant_sem,
)


def _invariance_data(seed: int, options: Mapping[str, Any] | None = None) -> Bunch:
    data = make_invariant_sem(n_env=3, n_rows=100, p=3, random_state=seed)
    return Bunch(
        frame=data.frame,
        covariates=["x1", "x2", "x3"],
        outcome="y",
        roles={"env": "env"},
        options=dict(options or {}),
    )


def _alternating(role: str, X: Any, y: Any) -> Any:
    """Environments of about equal size, whatever the rows."""
    return np.arange(X.shape[0]) % 2


# Classes without a variance matrix: no common checks of ours, but scikit-learn's need their roles.
INVENTIONS: dict[type, Callable[[str, Any, Any], Any]] = dict.fromkeys(
    (
        GroupDRO,
        HiddenICP,
        InvariantRegressor,
        InvariantSubsets,
        LinearIRM,
        NonlinearICP,
        StabilizedRegression,
        VREx,
    ),
    _alternating,
)


EXAMPLES: dict[type[InferenceEstimator], Example] = {
    AnchorRegression: Example(
        _invariance_data, ({}, {"gamma": 10.0}), _alternating, expected=COLLINEAR
    ),
    DRIG: Example(_invariance_data, ({},), _alternating, expected=COLLINEAR),
    # Without covariates: scikit-learn's tables have fewer rows than columns.
    InvarianceTest: Example(_invariance_data, ({"representation": []},), _alternating),
}
