"""What the estimators of rare events and of quantiles share: options, levels, words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from robuststat._core.errors import ConvergenceWarning, OverlapWarning, ParameterError, warn
from robuststat._core.params import Check, any_of, in_range, is_bool, is_string, one_of, optional
from robuststat._core.rng import spawn_seeds
from robuststat._core.types import Array, BoolArray
from robuststat.sampling._base import check_model
from robuststat.sampling._climb import Climb, climb
from robuststat.sampling._controls import OwnControls
from robuststat.sampling._events import Events
from robuststat.sampling._fit import make_runner
from robuststat.sampling._iscv import (
    AdaptiveISCV,
    _is_backend,
    _is_callable,
    _is_path,
)
from robuststat.sampling._learn import Learned
from robuststat.sampling._pilot import LearnOptions
from robuststat.sampling._psis import khat_threshold
from robuststat.sampling._report import _some
from robuststat.sampling._runs import Runner
from robuststat.sampling._setup import Draws, Setup, learn_options, learn_sizes, read_setup
from robuststat.sampling._tally import Diagnostics

__all__ = [
    "OPTION_CHECKS",
    "Levels",
    "event_table",
    "learn_levels",
    "raw_outputs",
    "set_learned",
    "tell_events",
]

_FEW = 10.0  # effective points
_FAR = 4.0  # standard errors
_FLOOR = 0.1  # part of the shares that the densities of all events have equally

OPTION_CHECKS: Mapping[str, Check] = {
    "n_budget": in_range(2, 10**12, integer=True),
    "learn_fraction": in_range(0.0, 0.8, closed="right"),
    "n_batches": in_range(2, 1000, integer=True),
    "defensive": in_range(0.0, 0.9),
    "space": one_of("auto", "normal", "physical"),
    "vectorized": is_bool,
    "n_jobs": optional(in_range(-1000, 1000, integer=True)),
    "backend": optional(_is_backend),
    "batch_size": optional(in_range(1, 10**9, integer=True)),
    "checkpoint": optional(any_of(is_string, _is_path)),
    "on_error": one_of("raise", "nan_drop", "retry"),
    "keep_sample": is_bool,
    "callback": optional(_is_callable),
    "verbose": in_range(0, 100, integer=True),
}


@dataclass(slots=True)
class Levels:
    """A finished learning part with what the final sample needs."""

    engine: AdaptiveISCV
    setup: Setup
    draws: Draws
    runner: Runner
    climb: Climb


def learn_levels(
    est: Any,
    func: Any,
    law: Any,
    sampler: str,
    read_events: Callable[[list[str], int], Events],
) -> Levels:
    """Read the arguments of ``fit`` and learn where the events are.

    Raises
    ------
    ParameterError
        For several laws, or options that do not go together.
    """
    check_model(est, func, law)
    names = ("learn_fraction", "n_batches", "defensive", "space", "start", "checkpoint")
    options = {name: getattr(est, name) for name in (*names, "batch_size", "keep_sample")}
    engine = AdaptiveISCV(
        est.n_budget,
        weights="relative",
        sampler=sampler,  # type: ignore[arg-type]
        alpha_min=_FLOOR,
        random_state=est.random_state,
        **options,
    )
    setup = read_setup(engine, law)
    if len(setup.problem.laws) > 1:
        raise ParameterError(
            f"{type(est).__name__} works under one law; got {len(setup.problem.laws)}. Fit each, "
            "or use PerturbedLawIndices."
        )
    draws = Draws(int(spawn_seeds(est.random_state, 1)[0]))
    runner = make_runner(est, func, setup)

    def options_of(J: int) -> LearnOptions:
        return learn_options(engine, setup, draws, learn_sizes(engine, setup, J), "relative")

    guess = options_of(1)
    points = guess.draw(setup.first, guess.n_batch)
    found = climb(setup.problem, runner, setup.first, points, options_of, read_events)
    return Levels(engine, setup, draws, runner, found)


def raw_outputs(learned: Learned, m: int) -> Learned:
    """Return what was learnt for a final sample that keeps the outputs themselves."""
    none = OwnControls(np.full((m, 1), -1), np.zeros((m, 1)))
    return replace(learned, problem=learned.problem.paired(m), own=none)


def event_table(
    table: pd.DataFrame, found: Diagnostics, estimate: Array, std_error: Array
) -> pd.DataFrame:
    """Add the relative standard error and the effective number of events to the diagnostics."""
    square = found.a_square
    hits = np.where(square > 0, found.a_sum**2 / np.where(square > 0, square, 1.0), 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = std_error / estimate
    return table.assign(ess_events=hits, relative_error=relative)


def tell_events(
    levels: Climb,
    names: list[str],
    table: pd.DataFrame,
    mass: tuple[Array, Array] | None,
    dead: BoolArray,
    n: int,
) -> list[str]:
    """Warn once about each kind of trouble and return the same words for the summary.

    ``mass``: means of the final sample and their variances, to be compared with those of learning.
    """
    notes: list[str] = []
    J = levels.events.n
    sign = levels.events.sign

    def say(words: str, kind: type[Warning] = ConvergenceWarning) -> None:
        notes.append(words)
        warn(words, kind)

    late = ~levels.reached
    if late.any():
        where = ", ".join(
            f"{levels.events.names[j]} at {sign[j] * levels.levels[j]:.4g}"
            for j in np.flatnonzero(late)[:5]
        )
        say(
            f"The levels did not reach {int(late.sum())} of {J} events (stopped: {where}): what "
            "the estimates rest on was never learnt, and parts of the events may be missing. "
            "Raise n_budget."
        )
    if dead.any():
        say(
            f"No run of the final sample met {_some(names, dead)}: no estimate. That is no "
            "probability of zero. Raise n_budget, or check that the event can happen."
        )
    few = (table["ess_events"].to_numpy() < _FEW) & ~dead
    if few.any():
        say(
            f"Fewer than ten effective runs of the final sample met {_some(names, few)}: estimate "
            "and interval are not to be trusted. Raise n_budget."
        )
    if mass is not None:
        learned = levels.learned
        far = _FAR * np.sqrt(learned.pilot_se**2 + mass[1])
        missed = (mass[0] < learned.pilot_mass - far) & ~dead
        if missed.any():
            say(
                f"The final sample seems to miss a part of {_some(names, missed)}: the learning "
                "runs saw more, by over 4 standard errors. Raise n_budget."
            )
    k = np.nan_to_num(table["khat_values"].to_numpy(), nan=-np.inf)
    heavy = k > khat_threshold(n)
    if heavy.any():
        say(
            f"Heavy tails: k-hat is above the limit (largest {k.max():.2f}) for "
            f"{_some(names, heavy)}; few points decide these estimates, and their intervals are "
            "too short. Raise n_budget, or its learn_fraction.",
            OverlapWarning,
        )
    return notes


def set_learned(est: Any, levels: Levels) -> None:
    """Set the attributes that describe what was learnt."""
    climb, proposal = levels.climb, levels.climb.learned.proposal
    assert proposal.components is not None  # learning always ends with densities
    means, covariances = proposal.components.centre_and_covariance()
    est.levels_, est.reached_ = climb.events.sign * climb.levels, climb.reached
    est.history_ = pd.DataFrame(climb.learned.history)
    est.alpha_ = (1.0 - proposal.share) * proposal.alpha
    est.components_ = Bunch(means=means, covariances=covariances)
    est.n_runs_, est.n_failed_ = levels.runner.n_runs, levels.runner.n_failed
    est.space_ = "normal" if climb.learned.problem.normal else "physical"
    est.n_features_in_ = climb.learned.problem.dim
    est.feature_names_in_ = np.array(climb.learned.problem.laws[0].names, dtype=object)
