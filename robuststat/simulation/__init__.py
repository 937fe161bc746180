"""Designs with known truth, and the Monte Carlo runner that checks estimators against it."""

from __future__ import annotations

from robuststat.simulation._iv import make_invalid_iv, make_weak_iv
from robuststat.simulation._iv_classical import make_genius, make_many_iv
from robuststat.simulation._labels import draw_labels
from robuststat.simulation._monte_carlo import MonteCarloResult, monte_carlo
from robuststat.simulation._sampling import (
    make_beam,
    make_beam_laws,
    make_failure_modes,
    make_flood,
    make_g_function,
    make_gaussian_moments,
    make_ishigami,
    make_rare_event,
)
from robuststat.simulation._surrogate import (
    make_predicted_covariate,
    make_surrogate_linear,
    make_surrogate_logit,
    make_surrogate_poisson,
    make_surrogate_prevalence,
)

__all__ = [
    "MonteCarloResult",
    "draw_labels",
    "make_beam",
    "make_beam_laws",
    "make_failure_modes",
    "make_flood",
    "make_g_function",
    "make_gaussian_moments",
    "make_genius",
    "make_invalid_iv",
    "make_ishigami",
    "make_many_iv",
    "make_predicted_covariate",
    "make_rare_event",
    "make_surrogate_linear",
    "make_surrogate_logit",
    "make_surrogate_poisson",
    "make_surrogate_prevalence",
    "make_weak_iv",
    "monte_carlo",
]
