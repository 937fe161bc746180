"""Ordered outcomes and rare events.

Rows i = 1..n, classes 1..K, boundaries k = 1..K-1 between them. P(y <= k | x) = F(eta_k) with
eta_k = intercept_[k] - coef_[k] @ x on the raw scale of X: the sign of R's clm and polr, in which
a positive coefficient moves probability towards higher classes. An offset is added to every eta_k.
"""

from __future__ import annotations

from robuststat.ordinal._calibration import Calibration, calibration, plot_calibration
from robuststat.ordinal._classifier import OrdinalClassifier
from robuststat.ordinal._compare import anova
from robuststat.ordinal._plot import plot_boundaries, plot_path
from robuststat.ordinal._po_tests import ParallelTest, brant_test, po_test
from robuststat.ordinal._presto import PrestoClassifier
from robuststat.ordinal._presto_function import presto_path
from robuststat.ordinal._presto_path import PrestoPath
from robuststat.ordinal._rare import RareEventClassifier
from robuststat.ordinal._separation import SeparationError

__all__ = [
    "Calibration",
    "OrdinalClassifier",
    "ParallelTest",
    "PrestoClassifier",
    "PrestoPath",
    "RareEventClassifier",
    "SeparationError",
    "anova",
    "brant_test",
    "calibration",
    "plot_boundaries",
    "plot_calibration",
    "plot_path",
    "po_test",
    "presto_path",
]
