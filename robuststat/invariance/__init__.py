"""Approximate invariance of a regression across environments: gaps, tests, certificates, search.

Rows (x, y) belong to environments e = 1..K with n_e rows, N in all; z = (1, Phi x) with a
representation Phi (a subset of the covariates or any linear map), k coefficients. Per environment
M_e = E_e[z z'], c_e = E_e[z y], w_e = M_e^-1 c_e, s2_e = E_e[(y - w_e'z)^2]; w is a common vector.
Phi is invariant when all w_e coincide, strongly invariant when the s2_e coincide too; it is
eps-invariant on a set of environments when its gap there is at most eps. The questions are those of
Parulekar, Shanmugam and Shakkottai (2023); the measures, tests and certificates marked [D] are
derived in this package and are not their theorems. [P] is what other packages compute.

1.1  Gaps [D]. risk (w - w_e)'M_e(w - w_e), the excess squared error, free of the basis of Phi; coef
     |w - w_e|; grad |M_e(w - w_e)|. Over environments: average (weights n_e/N, at the pooled least
     squares, which minimises the average risk gap), max, minimax (min over w of the max),
     pairwise max |w_e - w_f|.
2.1  psi [D], the average risk gap over the noise variance: with pooled and separate least squares,
     F = [(SSR - sum SSR_e)/d1]/[sum SSR_e/d2], d1 = (K-1)k, d2 = N - Kk, is noncentral F with
     noncentrality N psi (Gaussian errors of one variance, given the design). The test of psi = 0,
     of psi <= eps (relevant violation), of psi >= eps (equivalence) and the interval are exact.
     Unequal variances: W = sum (w_e - wt)'V_e^-1(w_e - wt), about noncentral chi-square.
2.2  Strong invariance [P]: tests of the residuals of the pooled fit, environment by environment.
2.3  Certificates [D] for environments to come, drawn like those seen. With V the chance that a new
     one is further than r from w0, V <= eta with confidence 1 - delta: (a) w0, r fixed beforehand,
     (b) the smallest ball around all of them (a convex scenario programme), (c) candidates by a
     union bound, (e) with the sampling error of each w_e, (f) random effects: the noise is taken
     out of the spread.
2.4  Sample sizes and power from 2.1 and 2.3.
2.5  Search over subsets of covariates; intersection of the accepted ones [P].
2.6  Prediction from the chosen subset.
3    Neighbours from the same moments: hidden variables, anchors, DRIG, IRM, nonlinear residuals.
6    Everything linear is computed from the moments of the environments (``_moments``).
"""

from __future__ import annotations

from robuststat.invariance._anchor import AnchorRegression
from robuststat.invariance._calculators import (
    InvariancePower,
    invariance_power,
    invariance_sample_size,
)
from robuststat.invariance._certificate import CertificateResult
from robuststat.invariance._chow import ChowTest, chow_test, predictive_chow_test
from robuststat.invariance._drig import DRIG
from robuststat.invariance._functions import (
    ResidualTest,
    enclosing_ball,
    hsic_test,
    residual_invariance_test,
)
from robuststat.invariance._hidden import HiddenICP
from robuststat.invariance._irm import GroupDRO, LinearIRM, VREx
from robuststat.invariance._nonlinear import NonlinearICP
from robuststat.invariance._population import PopulationGap, population_gap
from robuststat.invariance._regressor import InvariantRegressor
from robuststat.invariance._stabilized import StabilizedRegression
from robuststat.invariance._subsets import ICP, InvariantSubsets
from robuststat.invariance._test import InvarianceTest

__all__ = [
    "DRIG",
    "ICP",
    "AnchorRegression",
    "CertificateResult",
    "ChowTest",
    "GroupDRO",
    "HiddenICP",
    "InvariancePower",
    "InvarianceTest",
    "InvariantRegressor",
    "InvariantSubsets",
    "LinearIRM",
    "NonlinearICP",
    "PopulationGap",
    "ResidualTest",
    "StabilizedRegression",
    "VREx",
    "chow_test",
    "enclosing_ball",
    "hsic_test",
    "invariance_power",
    "invariance_sample_size",
    "population_gap",
    "predictive_chow_test",
    "residual_invariance_test",
]
