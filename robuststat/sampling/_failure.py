"""Probabilities of rare events of a model's outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from robuststat._core.errors import DataError
from robuststat._core.params import Check, is_bool, one_of
from robuststat._core.rng import RandomState
from robuststat._core.types import Array
from robuststat._results.intervals import critical_value
from robuststat._results.tables import check_level
from robuststat.sampling import _report as report
from robuststat.sampling._base import SamplingEstimator
from robuststat.sampling._events import EventRunner, Events, read_thresholds
from robuststat.sampling._final import Estimate, FinalSample
from robuststat.sampling._fit import final_options
from robuststat.sampling._rare import (
    OPTION_CHECKS,
    Levels,
    event_table,
    learn_levels,
    set_learned,
    tell_events,
)
from robuststat.sampling._tally import weight_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FailureProbability"]


def _is_thresholds(value: Any) -> str | None:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.full(1, np.nan)
    fine = array.ndim <= 2 and array.size > 0 and np.isfinite(array).all()
    return None if fine else "a finite number, or an array (T,), (m,) or (m, T) of them"


class FailureProbability(SamplingEstimator):
    """Probabilities that a model's outputs fall to thresholds or below, however rare.

    Use it for several limit states at once when one run of the model yields all of them and plain
    Monte Carlo would hardly see a failure. Estimated are P(func(X) <= threshold), X with a given
    law, for every output and threshold, and on request the probability that any of these events
    happens. Levels between where the law puts its points and each event are learnt with part of
    the budget; the rest is drawn fresh, so that the estimates are unbiased.

    Parameters
    ----------
    n_budget : int
        Model runs, learning included.
    thresholds : float or array of shape (T,), (m,) or (m, T), default=0.0
        A number for all outputs; several for a single output; one for each of m outputs; or a row
        of thresholds for each.
    union : bool, default=False
        Add the term "any": at least one of the events.
    sampler : {"mc", "rqmc"}, default="mc"
        Pseudo-random points, or scrambled Sobol' points with intervals from at least 8 scrambles.
    learn_fraction : float, default=0.5
        Part of the budget after which densities are not refined any more. Levels that have not
        reached their threshold by then may use up to 0.8.
    n_batches : int, default=5
        Learning batches within ``learn_fraction``.
    defensive : float, default=0.05
        Share of the law itself in the final density.
    space : {"auto", "normal", "physical"}, default="auto"
        Where densities live: standard normal coordinates of the law, or the input's own. "auto":
        normal where the law has such coordinates.
    start : law, optional
        Law of the first batch in place of the law itself.
    vectorized : bool, default=True
        Whether the function takes (n, d); otherwise it is called with one row (d,) at a time.
    n_jobs : int, optional
        Workers of joblib. Results do not depend on it.
    backend : str or object with ``map``, optional
        Backend of joblib, or an executor such as a dask Client or a process pool.
    batch_size : int, optional
        Rows a call of the function; also the unit of work in parallel.
    checkpoint : str or Path, optional
        File to which finished blocks are appended and from which an interrupted fit resumes.
        Needs an integer ``random_state``.
    on_error : {"raise", "nan_drop", "retry"}, default="raise"
        What a run that raises or returns NaN does, as for :class:`AdaptiveISCV`.
    keep_sample : bool, default=False
        Keep the final sample as ``X_``, ``Y_`` (outputs) and ``log_weights_``.
    callback : callable, optional
        Called with (runs so far, n_budget) after every block.
    verbose : int, default=0
        Progress bars.
    random_state : int, SeedSequence, Generator or None
        Seed.

    Attributes
    ----------
    result_ : InferenceResult
        Probabilities with their joint covariance.
    estimate_, std_error_ : ndarray of shape (J,)
        Probabilities, NaN for an event that no final run met, and standard errors.
    cov_ : ndarray of shape (J, J)
        Covariance of the estimates.
    diagnostics_ : DataFrame
        One row an event: effective sizes, tail indices, ``ess_events`` (effective number of final
        runs in the event), ``relative_error`` (standard error over estimate).
    khat_, ess_ : ndarray of shape (J,)
        Tail index of 1{event} f/q and Kish's effective number of runs in the event.
    levels_ : ndarray of shape (events,)
        Last levels, on the scale of the outputs; the thresholds where these were reached.
    reached_ : ndarray of bool
        Whether they were.
    history_ : DataFrame
        One row a learning batch, with the level of every event.
    alpha_ : ndarray of shape (events,)
        Shares of the events' densities in the final density.
    components_ : Bunch
        Their ``means`` and ``covariances`` in the space of the sampler, ``space_``.
    n_used_, n_final_, n_runs_, n_failed_ : int
        Points drawn, points of the final sample, runs in this process, runs that failed.
    space_ : str
        Space of the sampler.
    n_features_in_, feature_names_in_ : int, ndarray
        Input of the function.

    See Also
    --------
    OutputQuantile : The value that is exceeded with a given probability.

    Notes
    -----
    Multilevel cross-entropy (Rubinstein and Kroese 2004) with a level for each event: the 0.1
    quantile of its output under its own density, until the threshold is reached. The density of an
    event is a mixture: kernels (up to six, by BIC) around the points that count, twins of them no
    narrower than the law, and one density around the centre of the law that reaches as far as the
    event. Their shares among the events minimise the sum of squared relative errors. Twins, shrunk
    covariances and the joint loss are this package's. Assumed: every part of an event was met
    while learning; a part that was not is missing from the estimate, and no interval tells.

    References
    ----------
    Rubinstein, R. Y., Kroese, D. P. (2004). The cross-entropy method. Springer.

    Examples
    --------
    >>> from scipy import stats
    >>> from robuststat import FailureProbability
    >>> def margin(X):
    ...     return 3.5 - X.sum(axis=1) / 2**0.5
    >>> est = FailureProbability(2000, random_state=0).fit(margin, [stats.norm(), stats.norm()])
    >>> bool(abs(est.estimate_[0] - stats.norm.sf(3.5)) < 4 * est.std_error_[0])
    True
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **OPTION_CHECKS,
        "thresholds": _is_thresholds,
        "union": is_bool,
        "sampler": one_of("mc", "rqmc"),
    }

    def __init__(
        self,
        n_budget: int,
        *,
        thresholds: Any = 0.0,
        union: bool = False,
        sampler: Literal["mc", "rqmc"] = "mc",
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
        self.thresholds = thresholds
        self.union = union
        self.sampler = sampler
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
        """Learn where the events are, sample, and estimate.

        Parameters
        ----------
        func : callable
            Model: (n, d) -> (n,) or (n, m); a frame's columns name the outputs.
        law : law
            What :func:`as_law` reads.

        Returns
        -------
        FailureProbability

        Raises
        ------
        ParameterError
            For options or thresholds that do not go together, several laws, or a small budget.
        DataError
            For outputs of wrong shape, runs that fail, or when no final run met any event.
        """
        self._check_parameters()

        def events(names: list[str], m: int) -> Events:
            return read_thresholds(self.thresholds, names, m, self.union)

        levels = learn_levels(self, func, law, self.sampler, events)
        runner = EventRunner(levels.runner, levels.climb.events, self.keep_sample)
        options = final_options(levels.engine, levels.setup, levels.draws)
        final = FinalSample(levels.climb.learned, runner, options)  # type: ignore[arg-type]
        final.extend(self.n_budget - levels.climb.learned.n_used)
        self._remember(levels, final)
        if self.keep_sample:
            self.X_, self.Y_ = np.vstack(final.rows.X), np.vstack(runner.outputs)
            with np.errstate(divide="ignore"):
                self.log_weights_ = np.log(np.vstack(final.rows.weight))
        return self

    def _remember(self, levels: Levels, final: FinalSample) -> None:
        climb, learned = levels.climb, levels.climb.learned
        estimate, names = final.estimate(), list(climb.events.names)
        met = final.diagnostics.a_sum > 0
        dead = estimate.dead | ~met
        if dead.all():
            raise DataError(_nothing_met(levels, self.n_budget))
        mean = np.where(dead, np.nan, estimate.mean)
        std_error = np.where(dead, np.nan, np.sqrt(np.diag(estimate.covariance)))
        table = weight_table(final.diagnostics, final.problem.law_col)
        table.index = pd.Index(names, name="term")
        table = event_table(table, final.diagnostics, mean, std_error)
        notes = tell_events(climb, names, table, final.diagnostics.mass(), dead, final.n_kept)
        estimate = Estimate(mean, estimate.covariance, estimate.df, dead, estimate.facts)
        used = learned.n_used + final.n_drawn
        self._store(self._result(levels, final, estimate, table, notes, used), None)
        self.estimate_, self.cov_, self.std_error_ = mean, estimate.covariance, std_error
        self.diagnostics_ = table
        self.khat_ = table["khat_values"].to_numpy()
        self.ess_ = table["ess_events"].to_numpy()
        set_learned(self, levels)
        self.n_used_, self.n_final_ = used, final.n_drawn

    def _result(
        self,
        levels: Levels,
        final: FinalSample,
        estimate: Estimate,
        table: pd.DataFrame,
        notes: list[str],
        used: int,
    ) -> Any:
        climb, J = levels.climb, levels.climb.events.n
        n_levels = len(climb.learned.history) - 1
        words = report.Words(
            call=self._call(),
            method="Multilevel cross-entropy importance sampling"
            + (", scrambled Sobol' points" if self.sampler == "rqmc" else ""),
            estimand=f"probabilities of {J} events" + (" and of any of them" * self.union),
            lines=(
                f"Runs: {climb.learned.n_used:,} for learning in {n_levels + 1} batches, "
                f"{final.n_drawn:,} final, of {self.n_budget:,}",
                f"Largest relative standard error: {np.nanmax(table['relative_error']):.3g}",
            ),
        )
        notes = [*notes, *report.failed_note(levels.runner.n_failed)]
        return report.make_result(
            estimate,
            list(climb.events.names),
            words,
            n_obs=final.n_kept,
            n_dropped=final.n_drawn - final.n_kept,
            glance={
                "ess": float(table["ess_events"].min()),
                "khat": float(table["khat_values"].fillna(-np.inf).max()),
                "n_used": used,
            },
            notes=notes,
            converged=bool(climb.reached.all()),
            assumptions=["every part of the events was met while learning"],
        )

    def log_confint(self, level: float = 0.95) -> pd.DataFrame:
        """Intervals of the probabilities on the logarithmic scale: never below zero.

        Parameters
        ----------
        level : float, default=0.95
            Confidence level.

        Returns
        -------
        DataFrame
            ``term estimate conf_low conf_high``.
        """
        check_is_fitted(self, "result_")
        check_level(level)
        result = self.result_
        z = critical_value(level, result.df)
        factor = np.exp(z * result.std_error / result.estimate)
        return pd.DataFrame(
            {
                "term": list(result.names),
                "estimate": result.estimate,
                "conf_low": result.estimate / factor,
                "conf_high": np.minimum(result.estimate * factor, 1.0),
            }
        )

    def plot_levels(self, ax: Axes | None = None) -> Axes:
        """Draw the level of every event after each learning batch.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        matplotlib Axes
        """
        from robuststat.sampling._plots import plot_levels

        check_is_fitted(self, "result_")
        return plot_levels(self.history_, ax)

    history_: pd.DataFrame
    components_: Bunch


def _nothing_met(levels: Levels, n: int) -> str:
    climb = levels.climb
    seen = ", ".join(
        f"{name}: smallest output while learning {best:.4g}"
        for name, best in zip(climb.events.names[:5], climb.best[:5], strict=False)
    )
    return (
        f"None of {n} runs' final sample met any event ({seen}). That is no probability of zero. "
        "Raise n_budget, pass start=, or check that the events can happen."
    )
