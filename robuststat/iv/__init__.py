"""Effects with instruments that may be invalid.

Y outcome, A treatment, Z (or G) candidate instruments, X covariates, U unmeasured. Steps marked [D]
are derived in this package and checked by simulation; the others are those of the papers named in
the classes.

2.7   Sets by inverting a test: quadratic for one moment; [D] for several robust moments the
      boundary is the real spectrum of a quadratic eigenvalue problem.
2.8a  Valid instrument: multiply robust average effect (Wang and Tchetgen Tchetgen 2018); [D] the
      stacked sandwich of its parametric version.
2.8b  GENIUS: (G - E(G|X)) (A - E(A|G, X)) (Y - beta A); [D] moments corrected for what is estimated
      inside them weight the equations, so that the over-identification statistic is chi-squared.
2.8c  Plausibly exogenous: union of intervals (UCI) and local-to-zero (LTZ). [D] The ends of the
      interval are concave and convex in the direct effects: corners suffice. [D] Breakdown value.
2.8d  Sensitivity to omitted variables: robustness values and adjusted Anderson-Rubin sets.
2.8e  TSHT: votes among instruments; largest cliques.
2.8f  CIIV: intervals shrink until the largest group passes its over-identification test.
2.8g  SisVIVE: lasso on direct effects, from second moments.
2.8h  k-class estimators, first-stage strength, over-identification, exogeneity.
"""

from __future__ import annotations

from robuststat.iv._ciiv import CIIV
from robuststat.iv._compare import IVComparison, compare_iv
from robuststat.iv._genius import GENIUS
from robuststat.iv._plausible import PlausiblyExogenousIV
from robuststat.iv._sensitivity import IVSensitivity
from robuststat.iv._sisvive import SisVIVE
from robuststat.iv._tsht import TSHT
from robuststat.iv._tsls import TwoStageLeastSquares
from robuststat.iv._valid import ValidIVATE

__all__ = [
    "CIIV",
    "GENIUS",
    "TSHT",
    "IVComparison",
    "IVSensitivity",
    "PlausiblyExogenousIV",
    "SisVIVE",
    "TwoStageLeastSquares",
    "ValidIVATE",
    "compare_iv",
]
