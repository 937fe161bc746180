"""Differentially private robust estimators.

A release is private when nobody can tell from it whether one person's record was another one:
P[M(S) in E] <= e**epsilon P[M(S') in E] + delta for all neighbouring data sets S, S'. Robust
statistics need little noise, because one record moves them little whatever its value.
"""

from __future__ import annotations

from robuststat.private._accountant import PrivacyAccountant
from robuststat.private._charge import Charge, PrivacyCost
from robuststat.private._loss import LayerTable, PrivacyLoss, exact_privacy_loss

__all__ = [
    "Charge",
    "LayerTable",
    "PrivacyAccountant",
    "PrivacyCost",
    "PrivacyLoss",
    "exact_privacy_loss",
]
