"""Effects with instruments that may be invalid."""

from __future__ import annotations

from robuststat.iv._tsls import TwoStageLeastSquares

__all__ = ["TwoStageLeastSquares"]
