"""Ordered outcomes and rare events.

Rows i = 1..n, classes 1..K, boundaries k = 1..K-1 between them. P(y <= k | x) = F(eta_k) with
eta_k = intercept_[k] - coef_[k] @ x on the raw scale of X: the sign of R's clm and polr, in which
a positive coefficient moves probability towards higher classes. An offset is added to every eta_k.
"""

from __future__ import annotations

from robuststat.ordinal._calibration import Calibration, calibration, plot_calibration
from robuststat.ordinal._rare import RareEventClassifier
from robuststat.ordinal._separation import SeparationError, SeparationWarning

__all__ = [
    "Calibration",
    "RareEventClassifier",
    "SeparationError",
    "SeparationWarning",
    "calibration",
    "plot_calibration",
]
