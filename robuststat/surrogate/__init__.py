"""Regressions on surrogate labels with a few expert labels (design-based supervised learning)."""

from __future__ import annotations

from robuststat.surrogate._classifier import DSLClassifier
from robuststat.surrogate._compare import Comparison, compare_estimators
from robuststat.surrogate._mean import DSLMean
from robuststat.surrogate._regressor import DSLRegressor

__all__ = ["Comparison", "DSLClassifier", "DSLMean", "DSLRegressor", "compare_estimators"]
