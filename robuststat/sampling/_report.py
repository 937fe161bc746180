"""What a fit says about itself: the result, the table of weights, warnings and notes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from robuststat._core.errors import ConvergenceWarning, DataError, OverlapWarning, warn
from robuststat._core.types import BoolArray
from robuststat.result import InferenceResult
from robuststat.sampling._final import Estimate
from robuststat.sampling._learn import Learned
from robuststat.sampling._problem import Problem
from robuststat.sampling._psis import khat_threshold
from robuststat.sampling._tally import Diagnostics

__all__ = ["Judgement", "Words", "judge", "make_result", "tell", "term_names"]

_FAR = 4.0  # standard errors
_FEW = 10  # points


@dataclass(frozen=True, slots=True)
class Words:
    """Fixed texts of a summary."""

    call: str
    method: str
    estimand: str
    notes: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the diagnostics say about each expectation.

    Attributes
    ----------
    heavy : ndarray of bool
        Tail index above the threshold.
    missed : ndarray of bool
        The final sample seems to miss mass.
    dead : ndarray of bool
        No point of the final sample had any weight under the law.
    thin : ndarray of bool
        Fewer than ten points of the first batch saw any mass.
    """

    heavy: BoolArray
    missed: BoolArray
    dead: BoolArray
    thin: BoolArray


def term_names(problem: Problem, outputs: list[str], laws: list[str] | None) -> list[str]:
    """Name of every expectation: the output's, the law's, or both."""
    by_output = [outputs[j] if outputs else f"phi{j + 1}" for j in problem.y_col]
    if len(problem.laws) == 1:
        return by_output
    by_law = [laws[j] if laws else f"law{j + 1}" for j in problem.law_col]
    if len(set(problem.y_col)) == 1:
        return by_law
    return [f"{y}:{law}" for y, law in zip(by_output, by_law, strict=True)]


def judge(
    learned: Learned, estimate: Estimate, table: pd.DataFrame, sums: Diagnostics
) -> Judgement:
    """Compare tail indices with their limit, and the mass of |phi f| with that of the pilot.

    The mean of f_j/q tells of missed mass only where phi is not zero: for an event, q need not
    cover the rest of the law. The pilot is drawn from the laws themselves. When it saw more mass of
    |phi_j f_j| than the final sample, by more than four standard errors, q misses some. (Less is
    no sign: a heavy tail is mostly underestimated by the pilot.)
    """
    heavy = heavy_tails(table, sums.n)
    missed = np.zeros(len(heavy), dtype=bool)
    if learned.pilot_mass.size:
        mass, variance = sums.mass()
        far = _FAR * np.sqrt(learned.pilot_se**2 + variance) + 1e-9 * learned.pilot_mass
        missed = mass < learned.pilot_mass - far
    thin = learned.pilot_hits < _FEW if learned.pilot_mass.size else np.zeros_like(missed)
    return Judgement(heavy, missed & ~estimate.dead, estimate.dead, np.asarray(thin))


def heavy_tails(table: pd.DataFrame, n: int) -> BoolArray:
    """Whether the tail index of abs(phi_j f_j/q) is above the limit for n points."""
    k = np.nan_to_num(table["khat_values"].to_numpy(), nan=-np.inf)
    return np.asarray(k > khat_threshold(n))


def _some(names: list[str], chosen: BoolArray) -> str:
    picked = [name for name, flag in zip(names, chosen, strict=True) if flag]
    return ", ".join(picked[:5]) + (f" and {len(picked) - 5} more" if len(picked) > 5 else "")


def failed_note(n_failed: int) -> list[str]:
    """Say that runs failed; no line when none did."""
    if not n_failed:
        return []
    return [
        f"{n_failed} runs failed and were left out; the estimates are biased if failing depends on "
        "the outcome."
    ]


def tell(
    found: Judgement,
    names: list[str],
    table: pd.DataFrame,
    converged: bool,
    *,
    given: bool = False,
) -> list[str]:
    """Warn once about each kind of trouble and return the same words for the summary.

    ``given``: the runs are given, so that no advice on how to draw others would help.
    """
    notes = []
    if found.dead.any():
        notes.append(
            f"No point of the final sample has weight under the law of {_some(names, found.dead)}: "
            "the estimate is NaN. "
            + ("Treat" if given else "Learn with more points, or treat")
            + " that law separately."
        )
        warn(notes[-1], ConvergenceWarning)
    if found.missed.any():
        notes.append(
            f"The final sample seems to miss mass of {_some(names, found.missed)}: the first batch "
            "saw more, by over 4 standard errors. Raise n_budget or defensive."
        )
        warn(notes[-1], ConvergenceWarning)
    if found.thin.any():
        notes.append(
            f"Few points of the first batch saw mass of {_some(names, found.thin)} (fewer than "
            "ten): what they did not see may be missing from the estimate, and its "
            "interval would not tell. Raise n_budget or pass start=."
        )
        warn(notes[-1], ConvergenceWarning)
    if found.heavy.any():
        worst = float(np.nanmax(table["khat_values"].to_numpy()))
        notes.append(
            f"Heavy tails: k-hat is above the limit (largest {worst:.2f}) for "
            f"{_some(names, found.heavy)}; few points decide these estimates, and their intervals "
            "are too short. "
            + (
                "Draw from a law nearer to the target."
                if given
                else "Raise n_budget or defensive, or use space='physical' or family='student'."
            )
        )
        warn(notes[-1], OverlapWarning)
    if not converged:
        notes.append("The shares of the components are not optimal to the bound of 1e-4.")
    return notes


def make_result(
    estimate: Estimate,
    names: list[str],
    words: Words,
    *,
    n_obs: int,
    n_dropped: int,
    glance: dict[str, Any],
    notes: list[str],
    converged: bool,
    assumptions: list[str],
) -> InferenceResult:
    """Build the result of all expectations that have an estimate.

    Raises
    ------
    DataError
        If none has.
    """
    alive = np.flatnonzero(~estimate.dead)
    if not len(alive):
        raise DataError("No expectation has an estimate: no point has weight under any law.")
    full = estimate.covariance.ndim == 2
    chosen = np.ix_(alive, alive) if full else alive
    diagnostics: dict[str, Any] = {
        "n_dropped": n_dropped,
        "converged": converged,
        "glance": glance,
        "notes": [*words.notes, *notes],
        "lines": list(words.lines),
        "assumptions": assumptions,
    }
    scrambles = estimate.facts.get("scrambles")
    if scrambles is not None:
        diagnostics["se_note"] = f"{scrambles} scrambles"
    return InferenceResult(
        estimate=estimate.mean[alive],
        vcov=estimate.covariance[chosen],
        names=tuple(names[j] for j in alive),
        n_obs=n_obs,
        df=estimate.df,
        vcov_type="Independent scrambles" if scrambles is not None else "Final sample",
        estimand=words.estimand,
        method=words.method,
        outcome="",
        diagnostics=diagnostics,
        call=words.call,
    )
