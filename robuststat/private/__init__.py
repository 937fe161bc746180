"""Differentially private robust estimators.

A release is private when nobody can tell from it whether one person's record was another one:
P[M(S) in E] <= e**epsilon P[M(S') in E] + delta for all neighbouring data sets S, S'. Robust
statistics need little noise, because one record moves them little whatever its value.
"""

from __future__ import annotations

from robuststat.private._accountant import PrivacyAccountant
from robuststat.private._audit import AuditResult, audit_epsilon, audit_one_run
from robuststat.private._charge import Charge, PrivacyCost
from robuststat.private._feasibility import Feasibility, feasibility
from robuststat.private._holdout import ReusableHoldout
from robuststat.private._inverse import InverseSensitivity
from robuststat.private._linear import DPLinearRegression
from robuststat.private._location import DPLocation
from robuststat.private._loss import LayerTable, PrivacyLoss, exact_privacy_loss
from robuststat.private._mean_cov import DPMeanCov
from robuststat.private._means import GaussianAnswers
from robuststat.private._multivariate import DPMultivariateLocation
from robuststat.private._normal import DPNormalMean
from robuststat.private._quantiles import DPQuantiles
from robuststat.private._scale import DPScale
from robuststat.private._sparse import SparseVector
from robuststat.private._theil_sen import DPTheilSen
from robuststat.private._tukey import DPTukeyRegression

__all__ = [
    "AuditResult",
    "Charge",
    "DPLinearRegression",
    "DPLocation",
    "DPMeanCov",
    "DPMultivariateLocation",
    "DPNormalMean",
    "DPQuantiles",
    "DPScale",
    "DPTheilSen",
    "DPTukeyRegression",
    "Feasibility",
    "GaussianAnswers",
    "InverseSensitivity",
    "LayerTable",
    "PrivacyAccountant",
    "PrivacyCost",
    "PrivacyLoss",
    "ReusableHoldout",
    "SparseVector",
    "audit_epsilon",
    "audit_one_run",
    "exact_privacy_loss",
    "feasibility",
]
