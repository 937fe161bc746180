"""Effects of an exposure when the instrument may be invalid.

Rows i = 1..n; Y outcome, A exposure, Z candidate instrument, X covariates, U unmeasured; a_i sample
weights, which multiply every score. pi = P(Z=1|X), pi_z = P(Z=z|X), p_z = E(A|Z=z,X), p = p_Z,
v_z = var(A|Z=z,X), c_z = cov(A,Y|Z=z,X), D = v_1 - v_0, s = (2Z-1)/pi_Z. The exclusion restriction
is not assumed: Z may act on Y directly. Only the abstract of Sun, Cui and Tchetgen Tchetgen (2022)
was available: every formula of sections 2.1 to 2.9 is derived in this package and checked by
simulation [D]; none is quoted as a theorem of that paper.

2.1  [D] Identification. beta(X) = (c_1 - c_0)/D is the conditional effect, omega = c_z - beta v_z
     the confounding covariance (the same for both z), h_z = E(Y - beta A | Z=z, X) the rest of the
     outcome, psi = E beta(X). With R = (A - p)(Y - beta A - h_Z) - omega the influence function is
     beta - psi + (s/D) R. It has mean zero when one of {pi, p}, {pi, beta, h}, {p, beta, omega},
     {beta, omega, h} is right.
2.2  [D] Closed form. logit pi = F a and logit p = G g by maximum likelihood; then one linear system
     in beta = B th, omega = W ta, h = Q al: sum B s R = 0, sum W R = 0, sum Q (Y - beta A - h) = 0;
     psi is the mean of beta + (s/D) R. ``targeted`` uses B s/D, so that psi = mean(B th).
2.3  [D] Variance. The scores of all steps are stacked; V = J^-1 B J^-T / n.
2.4  [D] Companions. Mean direct effect of Z, E(h_1 - h_0): a test of exclusion with one instrument.
     Mean confounding covariance, E(omega): a test of no unmeasured confounding that needs no
     exclusion. th without its intercept: heterogeneity of the effect.
2.5  [D] Cross-fitting. pi, p, E(Y|Z,X), then beta, then h and omega are learnt in the training part
     of every fold (their targets out of fold inside it); psi is the mean of beta + (s/D) R.
2.6  [D] Selection. The four models of the union name learners that may be exchanged without harm;
     the tuple whose estimate changes least is chosen. All K^5 tuples from one matrix product.
2.7  [D] Overlap. tau = E(w N)/E(w D), w = pi (1 - pi), from moments that never divide by D(x):
     f_N = (Z - pi){(A - p)(Y - m) - omega - beta vbar}, f_D = (Z - pi){(A - p)^2 - vbar},
     vbar = pi v_1 + (1 - pi) v_0, m = h + beta p. Inverting the test of E(f_N - t f_D) = 0 gives a
     set that is right however weak the heteroscedasticity: interval, complement of one, or line.
2.8a [D] The effect that imposes exclusion (Wang and Tchetgen Tchetgen 2018): the comparison.
2.8b  GENIUS: (G - E(G|X)) (A - E(A|G, X)) (Y - beta A); [D] moments corrected for what is estimated
      inside them weight the equations, so that the over-identification statistic is chi-squared.
2.8c  Plausibly exogenous: union of intervals (UCI) and local-to-zero (LTZ). [D] The ends of the
      interval are concave and convex in the direct effects: corners suffice. [D] Breakdown value.
2.8d  Sensitivity to omitted variables: robustness values and adjusted Anderson-Rubin sets.
2.8e  TSHT: votes among instruments; largest cliques.
2.8f  CIIV: intervals shrink until the largest group passes its over-identification test.
2.8g  SisVIVE: lasso on direct effects, from second moments.
2.8h  k-class estimators, first-stage strength, over-identification, exogeneity.
2.9  [D] Exposures that are not binary have a model of their own for v_z; instruments that are not
     binary allow the overlap effect with Z - pi replaced by Z - E(Z|X), for a constant effect.
"""

from __future__ import annotations

from robuststat.iv._ciiv import CIIV
from robuststat.iv._compare import IVComparison, compare_iv
from robuststat.iv._dml import InvalidIVDML
from robuststat.iv._genius import GENIUS
from robuststat.iv._guardrails import (
    OneSidedNoncomplianceWarning,
    WeakHeteroscedasticityWarning,
)
from robuststat.iv._invalid import InvalidIVATE
from robuststat.iv._plausible import PlausiblyExogenousIV
from robuststat.iv._selective import SelectiveInvalidIVDML
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
    "InvalidIVATE",
    "InvalidIVDML",
    "OneSidedNoncomplianceWarning",
    "PlausiblyExogenousIV",
    "SelectiveInvalidIVDML",
    "SisVIVE",
    "TwoStageLeastSquares",
    "ValidIVATE",
    "WeakHeteroscedasticityWarning",
    "compare_iv",
]
