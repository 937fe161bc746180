"""The steps of :class:`robuststat.AdaptiveISCV` in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from robuststat._core.errors import ParameterError
from robuststat._core.rng import spawn_seeds
from robuststat._core.types import Array
from robuststat._results.intervals import critical_value
from robuststat.result import InferenceResult
from robuststat.sampling import _report as report
from robuststat.sampling._checkpoint import Checkpoint, run_key
from robuststat.sampling._final import FinalOptions, FinalSample
from robuststat.sampling._learn import HISTORY_COLUMNS, Learned, learn
from robuststat.sampling._pilot import LearnOptions
from robuststat.sampling._problem import Problem
from robuststat.sampling._runs import Runner, RunOptions
from robuststat.sampling._setup import (
    Draws,
    Setup,
    batch_rows,
    learn_options,
    learn_sizes,
    nothing_learned,
    read_setup,
    read_weights,
)
from robuststat.sampling._tally import weight_table

__all__ = ["Live", "Outcome", "final_options", "make_runner", "outcome", "prepare", "run"]

# What may differ between a run and its resumption without changing a point.
_NOT_IN_KEY = {
    *("n_jobs", "backend", "checkpoint", "on_error", "keep_sample", "callback", "verbose"),
    *("vectorized", "user_controls", "start"),
}
_CHECKS = 20  # looks at the half widths with stop="target"


@dataclass(slots=True)
class Live:
    """A fit that can be continued."""

    setup: Setup
    draws: Draws
    runner: Runner
    learned: Learned
    final: FinalSample
    reached: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result and fitted attributes."""

    result: InferenceResult
    std_error: Array
    attributes: dict[str, Any]


def prepare(est: Any, func: Callable[[Array], Any], law: Any) -> Live:
    """Read the arguments and run the learning batches."""
    setup = read_setup(est, law)
    draws = Draws(int(spawn_seeds(est.random_state, 1)[0]))
    runner = make_runner(est, func, setup)
    learned = _learn(est, setup, draws, runner)
    final = FinalSample(learned, runner, final_options(est, setup, draws))
    return Live(setup, draws, runner, learned, final)


def make_runner(est: Any, func: Callable[[Array], Any], setup: Setup) -> Runner:
    """Runner of a function, as the options of an estimator have it."""
    options = RunOptions(
        vectorized=est.vectorized,
        batch_size=est.batch_size,
        n_jobs=est.n_jobs,
        backend=est.backend,
        on_error=est.on_error,
        verbose=est.verbose,
        callback=est.callback,
        total=est.n_budget,
    )
    checkpoint = None
    if est.checkpoint is not None:
        params = {k: v for k, v in est.get_params(deep=False).items() if k not in _NOT_IN_KEY}
        key = run_key(type(est).__name__, params, setup.problem.laws)
        checkpoint = Checkpoint(est.checkpoint, key)
    return Runner(func, options, checkpoint)


def _learn(est: Any, setup: Setup, draws: Draws, runner: Runner) -> Learned:
    if setup.learn_fraction == 0:
        return nothing_learned(setup.problem, setup.first, est.weights)

    def options_of(J: int) -> LearnOptions:
        sizes = learn_sizes(est, setup, J)
        return learn_options(est, setup, draws, sizes, read_weights(est.weights, J))

    guess = learn_options(est, setup, draws, learn_sizes(est, setup, 1), "equal")
    points = guess.draw(setup.first, guess.n_batch)
    return learn(setup.problem, runner, setup.first, points, options_of)


def final_options(est: Any, setup: Setup, draws: Draws) -> FinalOptions:
    user = None
    if est.user_controls is not None:
        function, means = est.user_controls
        table = np.atleast_2d(np.asarray(means, dtype=np.float64))
        L = len(setup.problem.laws)
        if table.ndim != 2 or len(table) not in (1, L) or not np.isfinite(table).all():
            raise ParameterError(
                f"user_controls: the known means have shape {np.shape(means)}; expected (q,) or "
                f"({L}, q), all finite."
            )
        user = (function, np.repeat(table, L, axis=0) if len(table) != L else table)
    return FinalOptions(
        controls=est.controls,
        sampler=est.sampler,
        keep=est.keep_sample,
        next_rng=draws.next_rng,
        batch_rows=batch_rows(est.batch_size),
        cross_fit=est.cross_fit,
        user=user,
        degree=est.degree,
        small_replicates=est.stop == "target",
    )


def run(est: Any, live: Live) -> None:
    """Draw the final sample, to the end of the budget or to the precision asked for."""
    budget = est.n_budget - live.learned.n_used
    final = live.final
    if est.stop != "target":
        final.extend(budget)
        return
    if est.sampler == "rqmc":
        from robuststat.sampling._final import replicate_sizes

        log2_size, _ = replicate_sizes(budget, small=True)
        final.log2_size = max(log2_size, 3)
        step = first = 2**final.log2_size
        first = 8 * step
        if first > budget:
            raise ParameterError(
                f"sampler='rqmc' has {budget} points left for the final sample and needs at least "
                f"{first}. Raise n_budget."
            )
    else:
        step = first = max(budget // _CHECKS, 2)
    final.extend(first)
    while not (live_done := _precise(est, live)) and final.n_drawn + step <= budget:
        final.extend(step)
    live.reached = live_done


def _precise(est: Any, live: Live) -> bool:
    found = live.final.estimate()
    variance = found.covariance if found.covariance.ndim == 1 else np.diag(found.covariance)
    z = critical_value(0.95, found.df)
    half = z * np.sqrt(variance)
    return bool((half[~found.dead] <= est.tol * np.abs(found.mean[~found.dead])).all())


def outcome(est: Any, live: Live) -> Outcome:
    """Estimates, diagnostics and words of the fit as it stands."""
    final, learned = live.final, live.learned
    estimate = final.estimate()
    problem = final.problem
    names = report.term_names(problem, live.runner.output_names, live.setup.law_names)
    table = weight_table(final.diagnostics, problem.law_col)
    table.index = pd.Index(names, name="term")
    judgement = report.judge(learned, estimate, table, final.diagnostics)
    notes = report.tell(judgement, names, table, learned.converged)
    variance = estimate.covariance
    variance = variance if variance.ndim == 1 else np.diag(variance)
    weights = learned.weights if learned.weights.size else _plain_weights(est, estimate.mean)
    used = learned.n_used + final.n_drawn
    glance = {
        "ess": float(np.nanmin(table["ess_weights"])),
        "khat": float(np.nanmax(table["khat_values"].fillna(-np.inf))),
        "n_used": used,
        "loss": float(weights @ np.where(estimate.dead, 0.0, variance)),
    }
    result = report.make_result(
        estimate,
        names,
        _words(est, live, estimate.facts),
        n_obs=final.n_kept,
        n_dropped=final.n_drawn - final.n_kept,
        glance=glance,
        notes=[*notes, *_run_notes(est, live)],
        converged=learned.converged,
        assumptions=_assumptions(est),
    )
    attributes = _attributes(live, table, weights, used)
    attributes |= {"estimate_": estimate.mean, "cov_": estimate.covariance}
    attributes["status_"] = _status(est, live)
    if est.keep_sample:
        attributes |= _sample(live)
    std_error = np.where(estimate.dead, np.nan, np.sqrt(variance))
    return Outcome(result, std_error, attributes)


def _plain_weights(est: Any, mean: Array) -> Array:
    weights = read_weights(est.weights, len(mean))
    if not isinstance(weights, str):
        return weights
    if weights == "equal":
        return np.ones(len(mean))
    return np.asarray(1.0 / np.where(mean != 0, mean, 1.0) ** 2)


def _attributes(live: Live, table: pd.DataFrame, weights: Array, used: int) -> dict[str, Any]:
    final, learned, problem = live.final, live.learned, live.final.problem
    proposal, own = learned.proposal, learned.own
    d = problem.dim
    means, covariances = np.empty((0, d)), np.empty((0, d, d))
    if proposal.components is not None:
        means, covariances = proposal.components.centre_and_covariance()
    # The control of the defensive share has no component and comes last.
    law = 0 < proposal.share < 1
    beta, index = (own.beta[:, :-1], own.index[:, :-1]) if law else (own.beta, own.index)
    beta = beta[:, 0] if beta.shape[1] == 1 else beta
    return {
        "alpha_": (1.0 - proposal.share) * proposal.alpha,
        "beta_": beta if own.beta.size else np.zeros(problem.n),
        "beta_law_": own.beta[:, -1] if law else np.zeros(problem.n),
        "own_components_": index if len(index) else np.full((problem.n, 1), -1),
        "components_": Bunch(means=means, covariances=covariances),
        "history_": pd.DataFrame(learned.history, columns=HISTORY_COLUMNS),
        "diagnostics_": table,
        "khat_": table["khat_values"].to_numpy(),
        "ess_": table["ess_weights"].to_numpy(),
        "n_used_": used,
        "n_final_": final.n_drawn,
        "n_runs_": live.runner.n_runs,
        "n_failed_": live.runner.n_failed,
        "n_laws_": len(problem.laws),
        "n_outputs_": live.runner.n_outputs,
        "weights_": weights,
        "space_": "normal" if problem.normal else "physical",
        "n_features_in_": d,
        "feature_names_in_": np.array(problem.laws[0].names, dtype=object),
    }


def _sample(live: Live) -> dict[str, Any]:
    rows = live.final.rows
    with np.errstate(divide="ignore"):
        log_weights = np.log(np.vstack(rows.weight))
    return {"X_": np.vstack(rows.X), "Y_": np.vstack(rows.Y), "log_weights_": log_weights}


def _status(est: Any, live: Live) -> str:
    if est.stop == "target":
        return "target reached" if live.reached else "budget used up before the target"
    return "budget used"


def _run_notes(est: Any, live: Live) -> list[str]:
    notes = list(live.learned.notes)
    notes += report.failed_note(live.runner.n_failed)
    if est.stop == "target":
        notes.append(
            f"stopped by a look at the intervals: {_status(est, live)}. Such intervals are "
            "slightly too short."
        )
    if not all(law.seeded for law in live.setup.problem.laws):
        notes.append(
            "a law draws with its own library's generator; random_state does not reach it."
        )
    J = live.final.problem.n
    K = len(live.learned.proposal.alpha)
    if 0 < K < J and est.max_components == K:
        notes.append(f"{J:,} expectations share {K} components (max_components).")
    return notes


def _assumptions(est: Any) -> list[str]:
    out = [
        "every expectation, and the variance of phi f/q, is finite",
        "q is positive wherever phi f is not zero",
    ]
    if est.controls in ("all", "laws", "user") and est.cross_fit is None:
        out.append("n is large beside the number of controls: the bias is of order 1/n")
    if est.sampler == "rqmc":
        out.append("the means of the scrambles are nearly normal")
    return out


def _outputs(problem: Problem) -> str:
    m = len(set(problem.y_col.tolist()))
    return f"{m} outputs" if m > 1 else "one output"


def _words(est: Any, live: Live, facts: dict[str, Any]) -> report.Words:
    problem, learned, final = live.final.problem, live.learned, live.final
    plain = learned.proposal.components is None
    where = "the law itself" if len(problem.laws) == 1 else "the equal mixture of the laws"
    if not plain:
        where = f"a mixture of {len(learned.proposal.alpha)} {est.family} components"
    elif learned.proposal.start is not None:
        where = "the start law"
    lines = [
        f"Runs: {learned.n_used:,} for learning, {final.n_drawn:,} final, of {est.n_budget:,}; "
        f"final sample from {where}"
    ]
    if "degree" in facts:
        lines.append(
            f"Surrogate control: polynomial of degree {facts['degree']}, out-of-fold R2 "
            f"{facts['r2']:.4f}"
        )
    elif "n_controls" in facts:
        lines.append(f"Controls: up to {facts['n_controls']} by regression on the final sample")
    laws = f"{len(problem.laws)} laws" if len(problem.laws) > 1 else "one law"
    kind = "Adaptive importance sampling with control variates" if not plain else "Monte Carlo"
    if plain and (len(problem.laws) > 1 or learned.proposal.start is not None):
        kind = "Importance sampling"
    if plain and est.controls != "own":
        kind += " with control variates"
    return report.Words(
        call=est._call(),
        method=kind + (", scrambled Sobol' points" if est.sampler == "rqmc" else ""),
        estimand=f"{problem.n} expectations ({_outputs(problem)} under {laws})",
        lines=tuple(lines),
    )
