"""Steps of :class:`robuststat.PerturbedLawIndices`: design, sample, answers, indices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from robuststat._core.errors import (
    ConvergenceWarning,
    DataError,
    OverlapWarning,
    ParameterError,
    warn,
)
from robuststat._core.types import Array
from robuststat.result import InferenceResult
from robuststat.sampling import _fit
from robuststat.sampling._events import Events, read_thresholds, tail_events
from robuststat.sampling._final import Estimate, FinalSample
from robuststat.sampling._iscv import AdaptiveISCV
from robuststat.sampling._laws import Law
from robuststat.sampling._psis import khat_threshold, kish, pareto_khat
from robuststat.sampling._quantiles import tail_quantile
from robuststat.sampling._rare import learn_levels, raw_outputs
from robuststat.sampling._report import Words, _some, failed_note, make_result
from robuststat.sampling._tilt import Axis, Tilt, TiltedLaw, find_tilt, read_axes

__all__ = [
    "INDEX_COLUMNS",
    "Design",
    "Rows",
    "Targets",
    "Values",
    "estimate_targets",
    "index_table",
    "index_values",
    "make_design",
    "report_indices",
    "sample_rows",
]

INDEX_COLUMNS = ["input", "delta", "value", "index", "std_error", "khat", "ess"]
_Z95 = -float(special.ndtri(0.025))
_FEW = 10.0


@dataclass(frozen=True, slots=True)
class Design:
    """Law, its inputs and the perturbations, one an index."""

    law: Law
    axes: list[Axis]
    tilts: list[Tilt]

    @property
    def names(self) -> list[str]:
        return [f"{self.axes[t.column].name}[{t.delta:+g}]" for t in self.tilts]

    def weights(self, X: Array, base: Array) -> Array:
        """Weights of the law (first) and of every perturbed one, (n, 1 + indices)."""
        ratios = [np.zeros(len(X))] + [tilt.log_ratio(X, self.axes) for tilt in self.tilts]
        # Outside the support the base weight is zero, whatever the ratio.
        inside = base > 0
        out = np.zeros((len(X), len(ratios)))
        out[inside] = base[inside, None] * np.exp(np.column_stack(ratios)[inside])
        return out


@dataclass(frozen=True, slots=True)
class Rows:
    """Final sample: inputs, outputs and weights f/q of the law itself."""

    X: Array
    Y: Array
    base: Array
    n_used: int
    n_drawn: int
    n_runs: int
    n_failed: int
    reached: bool


@dataclass(frozen=True, slots=True)
class Targets:
    """Answers under the law (first) and the perturbed ones, with influence values (n, J)."""

    value: Array
    influence: Array
    khat: Array
    ess: Array
    what: str


@dataclass(frozen=True, slots=True)
class Values:
    """Indices with their covariance, and the answers as a result."""

    index: Array
    covariance: Array
    targets: InferenceResult


def make_design(law: Law, deltas: Any, moment: str, inputs: Any) -> Design:
    """Read the inputs and find all tilts.

    Raises
    ------
    ParameterError
        For unknown inputs or perturbations that no law has.
    """
    axes = read_axes(law)
    sizes = np.asarray(deltas, dtype=np.float64)
    if moment == "variance" and (sizes <= -1).any():
        raise ParameterError(
            f"deltas has {sizes[sizes <= -1].tolist()}: with moment='variance' the variance is "
            "multiplied by 1 + delta, which has to be positive."
        )
    names = [axis.name for axis in axes]
    columns = range(len(axes)) if inputs is None else [_column(one, names) for one in inputs]
    tilts = [find_tilt(axes, i, float(delta), moment) for i in columns for delta in sizes]
    return Design(law, axes, tilts)


def _column(one: Any, names: list[str]) -> int:
    if one in names:
        return names.index(one)
    if isinstance(one, (int, np.integer)) and 0 <= one < len(names):
        return int(one)
    raise ParameterError(f"inputs has {one!r}; the law has {', '.join(names)}.")


def sample_rows(est: Any, func: Callable[[Array], Any], design: Design) -> Rows:
    """Draw the sample that the target asks for."""
    if est.target == "mean":
        return _mixture_rows(est, func, design)

    def events(names: list[str], m: int) -> Events:
        _one_output(m)
        if est.target == "probability":
            return read_thresholds(est.threshold, names, m, False)
        # Perturbed quantiles lie on both sides of the law's: a nearer tail is covered as well.
        p, upper = est.probability, est.probability > 0.5
        near = min(4.0 * min(p, 1.0 - p), 0.5)
        pair = np.unique([p, 1.0 - near if upper else near])
        return tail_events(pair, names, m)

    levels = learn_levels(est, func, design.law, "mc", events)
    learned = levels.climb.learned
    final = FinalSample(
        raw_outputs(learned, levels.runner.n_outputs or 1),
        levels.runner,
        _fit.final_options(levels.engine.set_params(keep_sample=True), levels.setup, levels.draws),
    )
    final.extend(est.n_budget - learned.n_used)
    X, Y, base = (np.vstack(part) for part in (final.rows.X, final.rows.Y, final.rows.weight))
    used = learned.n_used + final.n_drawn
    return Rows(
        X,
        Y[:, 0],
        base[:, 0],
        used,
        final.n_drawn,
        levels.runner.n_runs,
        levels.runner.n_failed,
        bool(levels.climb.reached.all()),
    )


def _one_output(m: int) -> None:
    if m != 1:
        raise DataError(f"func returns {m} outputs; PerturbedLawIndices takes one. Fit each.")


def _mixture_rows(est: Any, func: Callable[[Array], Any], design: Design) -> Rows:
    base: Any = design.law
    laws = [base, *(TiltedLaw(base, design.axes, tilt) for tilt in design.tilts)]
    names = ("vectorized", "n_jobs", "backend", "batch_size", "checkpoint", "on_error")
    options = {name: getattr(est, name) for name in (*names, "callback", "verbose")}
    engine = AdaptiveISCV(
        est.n_budget,
        learn_fraction=0.0,
        keep_sample=True,
        random_state=est.random_state,
        **options,
    )
    engine._check_parameters()
    live = _fit.prepare(engine, func, laws)
    _fit.run(engine, live)
    _one_output(live.runner.n_outputs or 1)
    rows = live.final.rows
    weight = np.vstack(rows.weight)
    return Rows(
        np.vstack(rows.X),
        np.vstack(rows.Y)[:, 0],
        weight[:, 0],
        live.final.n_drawn,
        live.final.n_drawn,
        live.runner.n_runs,
        live.runner.n_failed,
        True,
    )


def estimate_targets(est: Any, Y: Array, weights: Array) -> Targets:
    """Answers under every law."""
    n = len(weights)
    if n < 2:
        raise DataError(f"{n} runs of the final sample succeeded; two are needed.")
    if est.target == "quantile":
        sign = -1.0 if est.probability > 0.5 else 1.0
        p = min(est.probability, 1.0 - est.probability)
        found = [tail_quantile(sign * Y, w, p, _Z95) for w in weights.T]
        value = np.array([sign * one.value for one in found])
        influence = np.column_stack([sign * one.influence for one in found])
        size = np.column_stack(
            [w * (sign * Y <= one.value) for w, one in zip(weights.T, found, strict=True)]
        )
        if not np.isfinite(influence).all():
            raise DataError(
                "The sample does not reach beyond a perturbed quantile far enough for an interval. "
                "Raise n_budget or use smaller deltas."
            )
        what = f"{est.probability:g} quantile of the output"
    else:
        phi = Y if est.target == "mean" else (est.threshold >= Y).astype(np.float64)
        values = weights * phi[:, None]
        value = values.mean(axis=0)
        influence, size = values - value, np.abs(values)
        what = "mean of the output"
        if est.target == "probability":
            what = f"P(output <= {est.threshold:g})"
    khat = np.array([pareto_khat(column) for column in size.T])
    return Targets(value, influence, khat, kish(size), what)


def index_values(targets: Targets, form: str, call: str) -> Values:
    """Compute the indices by the delta method.

    Raises
    ------
    DataError
        If the answer under the law, or one under a perturbed law, does not allow the form.
    """
    n = len(targets.influence)
    covariance = targets.influence.T @ targets.influence / (n - 1) / n
    p, new = float(targets.value[0]), targets.value[1:]
    bad = form == "symmetric" and (p <= 0 or (new <= 0).any())
    if bad or (form != "difference" and p == 0):
        raise DataError(
            f"form={form!r} needs {'positive answers' if bad else 'an answer other than 0'}; the "
            f"smallest is {min(p, float(new.min())):.4g}. No run may have met the event: raise "
            "n_budget; or use form='difference'."
        )
    J = len(new)
    up = new > p
    if form == "difference":
        index, own, reference = new - p, np.ones(J), -np.ones(J)
    elif form == "relative":
        index, own, reference = new / p - 1.0, np.full(J, 1.0 / p), -new / p**2
    else:
        index = np.where(up, new / p - 1.0, 1.0 - p / new)
        own = np.where(up, 1.0 / p, p / new**2)
        reference = np.where(up, -new / p**2, -1.0 / new)
    G = np.column_stack([reference, np.diag(own)])
    answers = InferenceResult(
        estimate=targets.value,
        vcov=covariance,
        names=("law", *(f"perturbed {j + 1}" for j in range(J))),
        n_obs=n,
        vcov_type="Final sample",
        estimand=targets.what,
        method="Importance sampling",
        call=call,
    )
    vcov = G @ covariance @ G.T
    return Values(index, 0.5 * (vcov + vcov.T), answers)


def index_table(design: Design, targets: Targets, values: Values) -> pd.DataFrame:
    """One row an index."""
    return pd.DataFrame(
        {
            "input": [design.axes[tilt.column].name for tilt in design.tilts],
            "delta": [tilt.delta for tilt in design.tilts],
            "value": targets.value[1:],
            "index": values.index,
            "std_error": np.sqrt(np.diag(values.covariance)),
            "khat": targets.khat[1:],
            "ess": targets.ess[1:],
        }
    )


def _notes(est: Any, design: Design, rows: Rows, targets: Targets) -> list[str]:
    names = ["the law itself", *design.names]
    n = len(rows.X)
    notes = []
    if not rows.reached:
        notes.append(
            "The levels did not reach the event: parts of it may be missing. Raise n_budget."
        )
        warn(notes[-1], ConvergenceWarning)
    few = targets.ess < _FEW
    if few.any():
        notes.append(
            f"Fewer than ten effective runs decide the answer under {_some(names, few)}: it is "
            "not to be trusted. Raise n_budget or use smaller deltas."
        )
        warn(notes[-1], ConvergenceWarning)
    heavy = np.nan_to_num(targets.khat, nan=-np.inf) > khat_threshold(n)
    if heavy.any():
        notes.append(
            f"Heavy tails: k-hat is above the limit (largest {np.nanmax(targets.khat):.2f}) for "
            f"{_some(names, heavy)}; their intervals are too short. Raise n_budget or use smaller "
            "deltas."
        )
        warn(notes[-1], OverlapWarning)
    return notes + failed_note(rows.n_failed)


def report_indices(
    est: Any, design: Design, rows: Rows, targets: Targets, values: Values, form: str
) -> InferenceResult:
    """Build the result of the indices."""
    J, n = len(values.index), len(rows.X)
    moved = "its mean moved" if est.moment == "mean" else "its variance multiplied"
    formula = {
        "symmetric": "P'/P - 1, or 1 - P/P' where P' < P",
        "relative": "P'/P - 1",
        "difference": "P' - P",
    }[form]
    words = Words(
        call=est._call(),
        method="Perturbed-law indices",
        estimand=f"{formula}; P: {targets.what}, P': with one input's law replaced, {moved}",
        lines=(
            f"Runs: {rows.n_used - rows.n_drawn:,} for learning, {rows.n_drawn:,} final",
            f"P under the law itself: {targets.value[0]:.6g} (standard error "
            f"{values.targets.std_error[0]:.2g})",
        ),
    )
    return make_result(
        Estimate(values.index, values.covariance, np.inf, np.zeros(J, dtype=bool)),
        design.names,
        words,
        n_obs=n,
        n_dropped=rows.n_drawn - n,
        glance={
            "ess": float(targets.ess.min()),
            "khat": float(np.nan_to_num(targets.khat, nan=-np.inf).max()),
            "n_used": rows.n_used,
        },
        notes=_notes(est, design, rows, targets),
        converged=rows.reached,
        assumptions=["the perturbed laws reach no part of the answer that the sample does not"],
    )
