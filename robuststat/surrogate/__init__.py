"""Regressions on surrogate labels with a few expert labels (design-based supervised learning).

Rows i = 1..n; R_i = 1 where experts labelled, with known probability pi_i; D_i the row with expert
values, Dhat_i the same row with every predicted column replaced by its prediction g; m(D; beta) the
score of the model (x (y - mu(x'beta)) for the canonical models here); w_i = R_i / pi_i; a_i sample
weights, which multiply every score. Steps marked [D] are derived in this package from stacked
estimating equations and checked by simulation; the others are those of Egami, Hinck, Stewart and
Wei (2023).

2.1  Labels and probabilities. R_i from ``labeled`` or from missing values; pi_i given, or the share
     labelled; by default scaled so that its mean is the share labelled (within strata).
2.2  Predictions. g is fitted on the labelled rows outside a fold and predicts the rows inside, for
     every repetition of a random partition; "passthrough" takes the surrogate as it is.
2.3  Moments. psi_i = m(Dhat_i) + w_i {m(D_i) - m(Dhat_i)}; their expectation is that of m(D_i) for
     any g. With a predicted outcome only they are those of an ordinary model for the
     pseudo-outcome g + w (y - g).
     FE [D] Absorbed fixed effects of a linear model. With pseudo-columns x~ = xhat + w (x - xhat),
     y~ likewise, and P the a-weighted projection on the indicators of all groups, the moments
     are those of the rows Dhat - P D~ and D - P D~:
     A = sum a {(1-w) xhat xhat' + w x x'} - (P x~)' diag(a) (P x~),
     r = sum a {(1-w) xhat yhat + w x y} - (P x~)' diag(a) (P y~), beta = A^-1 r,
     psi = a {(1-w) (xhat - P x~) ehat + w (x - P x~) e} with e = y - P y~ - (x - P x~) beta:
     coefficients, variance and its corrections equal those with one indicator a group.
2.4  Variance. A^-1 B A^-T / n with A the average derivative and B the meat of psi (cluster sums).
2.5  [D] Estimated or fixed-size labelling. The scores lose s_i C, where s_i is the score of the
     labelling model: a (R - pi) (within strata), C = sum(a w (m - mhat)) / sum(a pi); or
     a h (R - pi) for a logit model with terms h and offset logit(pi). C comes from the derivatives
     of the stacked system and not from a regression of psi on s, which agrees to first order only
     and would assume independent rows.
2.5b [D] Finite corpus. Only labelling is random: B = (1/n) sum_R w (1 - pi)/pi d d', with d the
     centred a (m - mhat): less a pi C, with C as in 2.5 (the labelled mean under equal
     probabilities); nothing is taken off for independent draws with probabilities used as given.
2.7  Repetitions. Coordinatewise median; variances are medians of V_s plus the squared gap.
2.9  [D] Tuning. psi(Lambda) = w m + (1 - w) Lambda mhat; Lambda is the regression of the part that
     labels determine on the control variate (1 - w) mhat, at the gold-only pilot. A scalar tuned
     for one coefficient is PPI++ (Angelopoulos, Duchi and Zrnic 2023).
"""

from __future__ import annotations

from robuststat.surrogate._blackbox import DSLBlackBox
from robuststat.surrogate._classifier import DSLClassifier
from robuststat.surrogate._coders import CoderAgreement, coder_agreement
from robuststat.surrogate._compare import Comparison, compare_estimators
from robuststat.surrogate._mean import DSLMean
from robuststat.surrogate._moment import DSLMoment
from robuststat.surrogate._plan import LabelPlan
from robuststat.surrogate._regressor import DSLRegressor
from robuststat.surrogate._units import Units, aggregate_units
from robuststat.surrogate._wave_weights import combine_waves
from robuststat.surrogate._waves import Wave, draw_wave

__all__ = [
    "CoderAgreement",
    "Comparison",
    "DSLBlackBox",
    "DSLClassifier",
    "DSLMean",
    "DSLMoment",
    "DSLRegressor",
    "LabelPlan",
    "Units",
    "Wave",
    "aggregate_units",
    "coder_agreement",
    "combine_waves",
    "compare_estimators",
    "draw_wave",
]
