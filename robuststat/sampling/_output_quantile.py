"""Quantiles of a model's output, and means beyond them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from scipy import special
from sklearn.utils import Bunch

from robuststat._core.errors import DataError
from robuststat._core.params import Check, is_bool
from robuststat._core.rng import RandomState
from robuststat._core.types import Array
from robuststat.sampling import _report as report
from robuststat.sampling._base import SamplingEstimator
from robuststat.sampling._events import Events, tail_events
from robuststat.sampling._final import Estimate, FinalSample
from robuststat.sampling._fit import final_options
from robuststat.sampling._quantiles import TailQuantile, tail_quantile
from robuststat.sampling._rare import (
    OPTION_CHECKS,
    Levels,
    event_table,
    learn_levels,
    raw_outputs,
    set_learned,
    tell_events,
)
from robuststat.sampling._tally import Diagnostics, weight_table

__all__ = ["OutputQuantile"]

_Z95 = -float(special.ndtri(0.025))


def _is_probabilities(value: Any) -> str | None:
    try:
        array = np.atleast_1d(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError):
        array = np.zeros(1)
    fine = array.ndim == 1 and array.size > 0 and len(np.unique(array)) == array.size
    fine = fine and bool(((array > 0) & (array < 1)).all())
    return None if fine else "a number inside (0, 1), or a list of different ones"


class OutputQuantile(SamplingEstimator):
    """Quantiles of a model's outputs, and the means beyond them (superquantiles).

    Use it for values that are exceeded with a small probability: design loads, value at risk,
    expected shortfall. Estimated are q with P(output <= q) = p for each output and p, and the mean
    of the output beyond q: E[output | output >= q] for p above one half, E[output | output <= q]
    otherwise. Runs are directed to these tails as for :class:`FailureProbability`.

    Parameters
    ----------
    n_budget : int
        Model runs, learning included.
    probabilities : float or sequence of float, default=(0.95, 0.99)
        p.
    superquantile : bool, default=True
        Estimate the means beyond the quantiles too: terms "sq[...]".
    learn_fraction, n_batches, defensive, space, start
        As for :class:`FailureProbability`.
    vectorized, n_jobs, backend, batch_size, checkpoint, on_error, callback, verbose
        As for :class:`FailureProbability`.
    keep_sample : bool, default=False
        Keep the final sample as ``X_``, ``Y_`` and ``log_weights_``.
    random_state : int, SeedSequence, Generator or None
        Seed.

    Attributes
    ----------
    result_ : InferenceResult
        Quantiles, then superquantiles, with their joint covariance.
    intervals_ : DataFrame
        ``term estimate conf_low conf_high``: Woodruff's 95 % intervals of the quantiles, which
        need not be symmetric.
    estimate_, std_error_, cov_ : ndarray
        As in ``result_``.
    diagnostics_ : DataFrame
        One row a quantile: effective sizes and tail indices in its tail.
    khat_, ess_ : ndarray
        Tail index and effective number of the weights in the tails.
    levels_, reached_, history_, alpha_, components_, space_
        As for :class:`FailureProbability`.
    n_used_, n_final_, n_runs_, n_failed_ : int
        Points drawn, points of the final sample, runs in this process, runs that failed.
    n_features_in_, feature_names_in_ : int, ndarray
        Input of the function.

    See Also
    --------
    FailureProbability : The probability of a given value.

    Notes
    -----
    q is the smallest value whose weighted tail sum, mean of 1{tail} f/q, reaches the tail's
    probability. Woodruff's interval holds the values at which the tail sum, give or take its
    standard error, crosses it; the standard error of q is the interval's half length over 1.96, so
    that no density is estimated. The superquantile is q plus the mean excess over it, at whose
    optimum the error of q does not count at first order. Assumed: the output has a positive
    density at q, and a finite variance beyond it.

    References
    ----------
    Woodruff, R. S. (1952). Confidence intervals for medians and other position measures. Journal
    of the American Statistical Association 47, 635-646.

    Rockafellar, R. T., Uryasev, S. (2000). Optimization of conditional value-at-risk. Journal of
    Risk 2, 21-41.

    Examples
    --------
    >>> from scipy import stats
    >>> from robuststat import OutputQuantile
    >>> est = OutputQuantile(2000, probabilities=0.999, random_state=0)
    >>> est = est.fit(lambda X: X.sum(axis=1), [stats.norm(0, 0.6), stats.norm(0, 0.8)])
    >>> bool(abs(est.estimate_[0] - stats.norm.ppf(0.999)) < 4 * est.std_error_[0])
    True
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **OPTION_CHECKS,
        "probabilities": _is_probabilities,
        "superquantile": is_bool,
    }

    def __init__(
        self,
        n_budget: int,
        *,
        probabilities: Any = (0.95, 0.99),
        superquantile: bool = True,
        learn_fraction: float = 0.5,
        n_batches: int = 5,
        defensive: float = 0.05,
        space: Literal["auto", "normal", "physical"] = "auto",
        start: Any = None,
        vectorized: bool = True,
        n_jobs: int | None = None,
        backend: Any = None,
        batch_size: int | None = None,
        checkpoint: str | Path | None = None,
        on_error: Literal["raise", "nan_drop", "retry"] = "raise",
        keep_sample: bool = False,
        callback: Callable[[int, int], Any] | None = None,
        verbose: int = 0,
        random_state: RandomState = None,
    ) -> None:
        self.n_budget = n_budget
        self.probabilities = probabilities
        self.superquantile = superquantile
        self.learn_fraction = learn_fraction
        self.n_batches = n_batches
        self.defensive = defensive
        self.space = space
        self.start = start
        self.vectorized = vectorized
        self.n_jobs = n_jobs
        self.backend = backend
        self.batch_size = batch_size
        self.checkpoint = checkpoint
        self.on_error = on_error
        self.keep_sample = keep_sample
        self.callback = callback
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, func: Callable[[Array], Any], law: Any = None) -> Self:
        """Learn where the tails are, sample, and estimate.

        Parameters
        ----------
        func : callable
            Model: (n, d) -> (n,) or (n, m); a frame's columns name the outputs.
        law : law
            What :func:`as_law` reads.

        Returns
        -------
        OutputQuantile

        Raises
        ------
        ParameterError
            For options that do not go together, several laws, or a small budget.
        DataError
            For outputs of wrong shape, runs that fail, or a sample that does not reach a quantile.
        """
        self._check_parameters()
        p = np.sort(np.atleast_1d(np.asarray(self.probabilities, dtype=np.float64)))
        levels = learn_levels(self, func, law, "mc", lambda names, m: tail_events(p, names, m))
        learned = raw_outputs(levels.climb.learned, levels.runner.n_outputs or 1)
        levels.engine.set_params(keep_sample=True)
        options = final_options(levels.engine, levels.setup, levels.draws)
        final = FinalSample(learned, levels.runner, options)
        final.extend(self.n_budget - learned.n_used)
        rows = final.rows
        X, Y, weight = (np.vstack(part) for part in (rows.X, rows.Y, rows.weight))
        self._remember(levels, final, Y, weight[:, 0])
        if self.keep_sample:
            self.X_, self.Y_ = X, Y
            with np.errstate(divide="ignore"):
                self.log_weights_ = np.log(weight)
        return self

    def _remember(self, levels: Levels, final: FinalSample, Y: Array, weight: Array) -> None:
        events, n = levels.climb.events, len(Y)
        if n < 2:
            raise DataError(f"{n} runs of the final sample succeeded; two are needed.")
        assert events.tail is not None  # tail_events made them
        values = events.values(Y)
        found = [
            tail_quantile(v, weight, float(p), _Z95)
            for v, p in zip(values.T, events.tail, strict=True)
        ]
        names, estimate, influence = _terms(events, found, self.superquantile)
        lost = np.asarray(~np.isfinite(influence).all(axis=0))
        if lost.any():
            raise DataError(
                f"The sample does not reach beyond {report._some(names, lost)} far enough for an "
                "interval. Raise n_budget."
            )
        vcov = influence.T @ influence / (n - 1) / n
        table = _diagnostics(events, found, values, weight)
        dead = np.zeros(events.n, dtype=bool)
        notes = tell_events(levels.climb, list(events.names), table, None, dead, n)
        used = levels.climb.learned.n_used + final.n_drawn
        result = self._result(levels, final, (names, estimate, vcov), table, notes)
        self._store(result, None)
        self.estimate_, self.cov_ = estimate, vcov
        self.diagnostics_ = table
        self.khat_, self.ess_ = table["khat_values"].to_numpy(), table["ess_events"].to_numpy()
        self.intervals_ = _intervals(events, found)
        set_learned(self, levels)
        self.n_used_, self.n_final_ = used, final.n_drawn

    def _result(
        self,
        levels: Levels,
        final: FinalSample,
        found: tuple[list[str], Array, Array],
        table: pd.DataFrame,
        notes: list[str],
    ) -> Any:
        names, estimate, vcov = found
        learned, J = levels.climb.learned, levels.climb.events.n
        notes = [*notes, *report.failed_note(levels.runner.n_failed)]
        words = report.Words(
            call=self._call(),
            method="Quantiles by multilevel importance sampling",
            estimand=f"{J} quantiles" + (" and the means beyond them" * self.superquantile),
            lines=(
                f"Runs: {learned.n_used:,} for learning in {len(learned.history)} batches, "
                f"{final.n_drawn:,} final, of {self.n_budget:,}",
            ),
        )
        return report.make_result(
            Estimate(estimate, vcov, np.inf, np.zeros(len(names), dtype=bool)),
            names,
            words,
            n_obs=final.n_kept,
            n_dropped=final.n_drawn - final.n_kept,
            glance={
                "ess": float(table["ess_events"].min()),
                "khat": float(table["khat_values"].fillna(-np.inf).max()),
                "n_used": learned.n_used + final.n_drawn,
            },
            notes=notes,
            converged=bool(levels.climb.reached.all()),
            assumptions=[
                "every part of the tails was met while learning",
                "the output has a positive density at the quantile",
            ],
        )

    history_: pd.DataFrame
    components_: Bunch


def _terms(
    events: Events, found: list[TailQuantile], beyond: bool
) -> tuple[list[str], Array, Array]:
    """Names, estimates and influence values of quantiles and superquantiles."""
    names = list(events.names)
    estimate = [one.value for one in found]
    influence = [one.influence for one in found]
    sign = list(events.sign)
    if beyond:
        names += [name.replace("q[", "sq[") for name in names]
        estimate += [one.mean for one in found]
        influence += [one.mean_influence for one in found]
        sign += sign
    return names, np.array(sign) * estimate, np.column_stack(influence) * np.array(sign)


def _diagnostics(
    events: Events, found: list[TailQuantile], values: Array, weight: Array
) -> pd.DataFrame:
    hit = weight[:, None] * (values <= np.array([one.value for one in found]))
    sums = Diagnostics(events.n, 1)
    sums.update(weight[:, None], hit, hit)
    table = weight_table(sums, np.zeros(events.n, dtype=np.int64))
    table.index = pd.Index(events.names, name="term")
    mean, variance = sums.mass()
    return event_table(table, sums, mean, np.sqrt(variance))


def _intervals(events: Events, found: list[TailQuantile]) -> pd.DataFrame:
    ends = np.array([[one.low, one.high] for one in found]) * events.sign[:, None]
    return pd.DataFrame(
        {
            "term": list(events.names),
            "estimate": events.sign * np.array([one.value for one in found]),
            "conf_low": ends.min(axis=1),
            "conf_high": ends.max(axis=1),
        }
    )
