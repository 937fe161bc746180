"""Exceptions and warnings; every message says what is wrong, with which value, and what to do."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning, NotFittedError

__all__ = [
    "CollinearityError",
    "ConvergenceWarning",
    "DataError",
    "DroppedRowsWarning",
    "IdentificationError",
    "NotFittedError",
    "OverlapWarning",
    "ParameterError",
    "PrivacyBudgetError",
    "PrivacyWarning",
    "RobuststatError",
    "RoleError",
    "SmallClusterWarning",
    "warn",
]


class RobuststatError(Exception):
    """Mix-in carried by every error the package raises on purpose."""


class DataError(RobuststatError, ValueError):
    """The data passed to ``fit`` or ``predict`` cannot be used as they are."""


class NoCompleteRowError(DataError):
    """Every row has a missing value; ``counts`` says how many each column has."""

    def __init__(self, message: str, counts: dict[str, int]) -> None:
        super().__init__(message)
        self.counts = counts


class RoleError(RobuststatError, ValueError):
    """A role (such as ``prediction`` or ``treatment``) is missing or contradicts another one."""


class ParameterError(RobuststatError, ValueError):
    """A constructor or method argument has a value outside its allowed set."""


class IdentificationError(RobuststatError, ValueError):
    """The data do not determine the parameters."""


class CollinearityError(IdentificationError, np.linalg.LinAlgError):
    """Some columns of a design are linear combinations of others."""


class PrivacyBudgetError(RobuststatError, ValueError):
    """A release would spend more privacy budget than is left."""


class DroppedRowsWarning(UserWarning):
    """Rows with missing values were left out."""


class OverlapWarning(UserWarning):
    """Some probabilities or weights are so extreme that few rows decide the answer."""


class SmallClusterWarning(UserWarning):
    """Too few clusters for cluster-robust inference to be trusted."""


class PrivacyWarning(UserWarning):
    """A result is not private, or its guarantee is weaker than it looks."""


# As the frames spell it, with the separator: a script robuststat_analysis.py is the user's.
_PACKAGE = str(Path(__file__).parents[1]) + os.sep


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line of the user's code that called into the package."""
    # Level 1 is the call below, level 2 the package code that called this function.
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
