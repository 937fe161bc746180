"""Effects with instruments that may be invalid."""

from __future__ import annotations

from robuststat.iv._ciiv import CIIV
from robuststat.iv._genius import GENIUS
from robuststat.iv._plausible import PlausiblyExogenousIV
from robuststat.iv._sensitivity import IVSensitivity
from robuststat.iv._sisvive import SisVIVE
from robuststat.iv._tsht import TSHT
from robuststat.iv._tsls import TwoStageLeastSquares
from robuststat.iv._valid import ValidIVATE

__all__ = ["CIIV", "GENIUS", "IVSensitivity", "PlausiblyExogenousIV", "SisVIVE", "TSHT", "TwoStageLeastSquares", "ValidIVATE"]
