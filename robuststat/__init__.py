"""Statistical inference when one of the inputs of an analysis cannot be trusted.

Public names are resolved on first use (PEP 562), so that ``import robuststat`` loads none of
numba, statsmodels, cvxpy, formulaic or matplotlib.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import Any

__version__ = version("robuststat")

# public name -> module that defines it
_ERRORS = "robuststat._core.errors"
_EXPORTS: dict[str, str] = {
    "AdaptiveISCV": "robuststat.sampling",
    "AnchorRegression": "robuststat.invariance",
    "CIIV": "robuststat.iv",
    "CollinearityError": _ERRORS,
    "DPLinearRegression": "robuststat.private",
    "DPLocation": "robuststat.private",
    "DPMeanCov": "robuststat.private",
    "DPMultivariateLocation": "robuststat.private",
    "DPNormalMean": "robuststat.private",
    "DPQuantiles": "robuststat.private",
    "DPScale": "robuststat.private",
    "DPTheilSen": "robuststat.private",
    "DPTukeyRegression": "robuststat.private",
    "DRIG": "robuststat.invariance",
    "DSLBlackBox": "robuststat.surrogate",
    "DSLClassifier": "robuststat.surrogate",
    "DSLMean": "robuststat.surrogate",
    "DSLMoment": "robuststat.surrogate",
    "DSLRegressor": "robuststat.surrogate",
    "DataError": _ERRORS,
    "DroppedRowsWarning": _ERRORS,
    "FailureProbability": "robuststat.sampling",
    "GENIUS": "robuststat.iv",
    "GaussianAnswers": "robuststat.private",
    "GroupDRO": "robuststat.invariance",
    "HiddenICP": "robuststat.invariance",
    "ICP": "robuststat.invariance",
    "IVSensitivity": "robuststat.iv",
    "IdentificationError": _ERRORS,
    "InferenceResult": "robuststat.result",
    "InvalidIVATE": "robuststat.iv",
    "InvalidIVDML": "robuststat.iv",
    "InvarianceTest": "robuststat.invariance",
    "InvariantRegressor": "robuststat.invariance",
    "InvariantSubsets": "robuststat.invariance",
    "InverseSensitivity": "robuststat.private",
    "LabelPlan": "robuststat.surrogate",
    "LawImpact": "robuststat.sampling",
    "LinearIRM": "robuststat.invariance",
    "NonlinearICP": "robuststat.invariance",
    "OneSidedNoncomplianceWarning": "robuststat.iv",
    "OrdinalClassifier": "robuststat.ordinal",
    "OutputQuantile": "robuststat.sampling",
    "OverlapWarning": _ERRORS,
    "ParameterError": _ERRORS,
    "PerturbedLawIndices": "robuststat.sampling",
    "PlausiblyExogenousIV": "robuststat.iv",
    "PrestoClassifier": "robuststat.ordinal",
    "PrivacyAccountant": "robuststat.private",
    "PrivacyBudgetError": _ERRORS,
    "PrivacyWarning": _ERRORS,
    "RareEventClassifier": "robuststat.ordinal",
    "ReusableHoldout": "robuststat.private",
    "ReweightedExpectation": "robuststat.sampling",
    "RobuststatError": _ERRORS,
    "RoleError": _ERRORS,
    "SelectiveInvalidIVDML": "robuststat.iv",
    "SeparationError": "robuststat.ordinal",
    "SisVIVE": "robuststat.iv",
    "SmallClusterWarning": _ERRORS,
    "SobolIndices": "robuststat.sampling",
    "SparseVector": "robuststat.private",
    "StabilizedRegression": "robuststat.invariance",
    "TSHT": "robuststat.iv",
    "TwoStageLeastSquares": "robuststat.iv",
    "VREx": "robuststat.invariance",
    "ValidIVATE": "robuststat.iv",
    "WaldTest": "robuststat.result",
    "WeakHeteroscedasticityWarning": "robuststat.iv",
    "aggregate_units": "robuststat.surrogate",
    "as_law": "robuststat.sampling",
    "audit_epsilon": "robuststat.private",
    "audit_one_run": "robuststat.private",
    "brant_test": "robuststat.ordinal",
    "calibration": "robuststat.ordinal",
    "chow_test": "robuststat.invariance",
    "coder_agreement": "robuststat.surrogate",
    "combine_waves": "robuststat.surrogate",
    "compare_estimators": "robuststat.surrogate",
    "compare_iv": "robuststat.iv",
    "draw_wave": "robuststat.surrogate",
    "enclosing_ball": "robuststat.invariance",
    "exact_privacy_loss": "robuststat.private",
    "feasibility": "robuststat.private",
    "hsic_test": "robuststat.invariance",
    "invariance_power": "robuststat.invariance",
    "invariance_sample_size": "robuststat.invariance",
    "plot_calibration": "robuststat.ordinal",
    "po_test": "robuststat.ordinal",
    "population_gap": "robuststat.invariance",
    "predictive_chow_test": "robuststat.invariance",
    "presto_path": "robuststat.ordinal",
    "residual_invariance_test": "robuststat.invariance",
    "warmup": "robuststat.kernels",
}
_MODULES = (
    "datasets",
    "invariance",
    "iv",
    "ordinal",
    "private",
    "sampling",
    "simulation",
    "surrogate",
    "testing",
)

__all__ = ["__version__", *_EXPORTS, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"robuststat.{name}")
    raise AttributeError(f"module 'robuststat' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
