"""Constructor parameters of the family as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    """Constructor parameters that the computation needs, as plain values."""

    learner: Any
    cv: Any
    n_rep: int
    design: Any
    normalize_prob: bool
    prob_terms: Any
    variance: Any
    population: str
    tuning: Any
    vcov: Any
    use_t: bool
    keep_influence: bool
    tol: float
    max_iter: int
    random_state: Any
    n_jobs: int | None
    verbose: int
