"""Regressions on surrogate labels with a few expert labels (design-based supervised learning)."""

from __future__ import annotations

from robuststat.surrogate._compare import Comparison, compare_estimators
from robuststat.surrogate._estimator import DSLClassifier, DSLMean, DSLRegressor

__all__ = ["Comparison", "DSLClassifier", "DSLMean", "DSLRegressor", "compare_estimators"]
