"""Several expectations from one sample of model runs.

2.1  Estimator. q = sum_k alpha_k g_k; v_j = (phi_j f_j - beta_j g_j)/q + beta_j; the estimate is
     the mean of v_j over points from q.
2.2  Adaptive algorithm: batches, cross-entropy fits, shares, coefficients, stopping rule.
2.3  [D] What differs from the paper: scale-free solver of the shares with a bound, ridge in units
     of each coordinate, roll back, split by sign, defensive share, standard normal coordinates.
2.4  Joint covariance and the delta method.
2.6  [D] Cross-fitted surrogate control: v_j = (f_j/q)(phi - m) + E_j m with exact E_j m.
4.1  Sobol' indices: pick-freeze on scrambled points; [D] polynomial chaos as control, corrected.
4.2  Impact of the input laws: differences and ratios from one joint covariance.
4.3  Perturbed-law indices.
4.4  Failure probabilities by multilevel cross-entropy, quantiles and superquantiles.
5    Diagnostics: Pareto k-hat, effective sizes, comparison with the pilot.
"""

from __future__ import annotations

from robuststat.sampling._failure import FailureProbability
from robuststat.sampling._impact import LawImpact
from robuststat.sampling._iscv import AdaptiveISCV
from robuststat.sampling._laws import as_law
from robuststat.sampling._output_quantile import OutputQuantile
from robuststat.sampling._pli import PerturbedLawIndices
from robuststat.sampling._reweighted import ReweightedExpectation
from robuststat.sampling._sobol import SobolIndices

__all__ = [
    "AdaptiveISCV",
    "FailureProbability",
    "LawImpact",
    "OutputQuantile",
    "PerturbedLawIndices",
    "ReweightedExpectation",
    "SobolIndices",
    "as_law",
]
