"""Designs with known truth, and the Monte Carlo runner that checks estimators against it."""

from __future__ import annotations

from robuststat.simulation._holdout import holdout_reuse, make_holdout_reuse
from robuststat.simulation._invariance import (
    draw_cloud,
    make_environments,
    make_invariant_sem,
)
from robuststat.simulation._iv import make_invalid_iv, make_weak_iv
from robuststat.simulation._iv_classical import make_genius, make_many_iv
from robuststat.simulation._labels import draw_labels
from robuststat.simulation._monte_carlo import MonteCarloResult, monte_carlo
from robuststat.simulation._ordinal import make_ordinal, make_presto, make_rare_events
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
    "draw_cloud",
    "draw_labels",
    "holdout_reuse",
    "make_beam",
    "make_beam_laws",
    "make_environments",
    "make_failure_modes",
    "make_flood",
    "make_g_function",
    "make_gaussian_moments",
    "make_genius",
    "make_holdout_reuse",
    "make_invalid_iv",
    "make_invariant_sem",
    "make_ishigami",
    "make_many_iv",
    "make_ordinal",
    "make_predicted_covariate",
    "make_presto",
    "make_rare_event",
    "make_rare_events",
    "make_surrogate_linear",
    "make_surrogate_logit",
    "make_surrogate_poisson",
    "make_surrogate_prevalence",
    "make_weak_iv",
    "monte_carlo",
]
