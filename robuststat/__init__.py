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
    "CIIV": "robuststat.iv",
    "CollinearityError": _ERRORS,
    "DSLBlackBox": "robuststat.surrogate",
    "DSLClassifier": "robuststat.surrogate",
    "DSLMean": "robuststat.surrogate",
    "DSLMoment": "robuststat.surrogate",
    "DSLRegressor": "robuststat.surrogate",
    "DataError": _ERRORS,
    "DroppedRowsWarning": _ERRORS,
    "GENIUS": "robuststat.iv",
    "IVSensitivity": "robuststat.iv",
    "IdentificationError": _ERRORS,
    "InferenceResult": "robuststat.result",
    "InvalidIVATE": "robuststat.iv",
    "InvalidIVDML": "robuststat.iv",
    "LabelPlan": "robuststat.surrogate",
    "LawImpact": "robuststat.sampling",
    "OneSidedNoncomplianceWarning": "robuststat.iv",
    "OverlapWarning": _ERRORS,
    "ParameterError": _ERRORS,
    "PlausiblyExogenousIV": "robuststat.iv",
    "ReweightedExpectation": "robuststat.sampling",
    "RobuststatError": _ERRORS,
    "RoleError": _ERRORS,
    "SelectiveInvalidIVDML": "robuststat.iv",
    "SisVIVE": "robuststat.iv",
    "SmallClusterWarning": _ERRORS,
    "SobolIndices": "robuststat.sampling",
    "TSHT": "robuststat.iv",
    "TwoStageLeastSquares": "robuststat.iv",
    "ValidIVATE": "robuststat.iv",
    "WaldTest": "robuststat.result",
    "WeakHeteroscedasticityWarning": "robuststat.iv",
    "as_law": "robuststat.sampling",
    "aggregate_units": "robuststat.surrogate",
    "coder_agreement": "robuststat.surrogate",
    "combine_waves": "robuststat.surrogate",
    "compare_estimators": "robuststat.surrogate",
    "compare_iv": "robuststat.iv",
    "draw_wave": "robuststat.surrogate",
    "warmup": "robuststat.kernels",
}
_MODULES = ("datasets", "iv", "sampling", "simulation", "surrogate", "testing")

__all__ = ["__version__", *_EXPORTS, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"robuststat.{name}")
    raise AttributeError(f"module 'robuststat' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
