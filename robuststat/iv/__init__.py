"""Effects with instruments that may be invalid."""

from __future__ import annotations

from robuststat.iv._genius import GENIUS
from robuststat.iv._plausible import PlausiblyExogenousIV
from robuststat.iv._sensitivity import IVSensitivity
from robuststat.iv._tsls import TwoStageLeastSquares
from robuststat.iv._valid import ValidIVATE

__all__ = ["GENIUS", "IVSensitivity", "PlausiblyExogenousIV", "TwoStageLeastSquares", "ValidIVATE"]
