"""Perturbed-law indices: how much an answer depends on the assumed law of each input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from robuststat._core.params import Check, in_range, one_of
from robuststat._core.rng import RandomState
from robuststat._core.types import Array
from robuststat.sampling._base import SamplingEstimator, check_model
from robuststat.sampling._laws import as_law
from robuststat.sampling._pli_fit import (
    INDEX_COLUMNS,
    Design,
    estimate_targets,
    index_table,
    index_values,
    make_design,
    report_indices,
    sample_rows,
)
from robuststat.sampling._rare import OPTION_CHECKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PerturbedLawIndices"]


def _is_deltas(value: Any) -> str | None:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.zeros(1)
    fine = array.ndim == 1 and array.size > 0 and len(np.unique(array)) == array.size
    fine = fine and bool(np.isfinite(array).all() and (array != 0).all())
    return None if fine else "a list of different finite numbers without 0, which perturbs nothing"


def _is_inputs(value: Any) -> str | None:
    fine = isinstance(value, (list, tuple)) and len(value) > 0
    fine = fine and all(isinstance(one, (str, int, np.integer)) for one in value)
    fine = fine and len(set(value)) == len(value)
    return None if fine else "a list of different names or positions of inputs"


class PerturbedLawIndices(SamplingEstimator):
    """How a mean, probability or quantile moves when the law of one input is moved.

    Use it when the law of the input is an assumption and the answer should not hinge on it. For
    each input i and each delta the law is replaced by the nearest one (Kullback-Leibler) with the
    mean of input i moved by delta standard deviations, or its variance multiplied by 1 + delta;
    the index compares the answer P_delta under it with P. All answers come from one sample by
    reweighting, so that indices are compared without the noise that they share.

    Parameters
    ----------
    n_budget : int
        Model runs.
    target : {"mean", "probability", "quantile"}, default="mean"
        Mean of the output, P(output <= threshold), or a quantile of the output.
    deltas : sequence of float, default=(-1.0, -0.5, 0.5, 1.0)
        Perturbations, not 0.
    moment : {"mean", "variance"}, default="mean"
        What is moved: the mean by delta standard deviations, or the variance to 1 + delta times
        its value, the mean staying where it is (delta > -1).
    inputs : list of str or int, optional
        Inputs to perturb; all by default.
    threshold : float, default=0.0
        For target="probability".
    probability : float, default=0.95
        Of the quantile, for target="quantile".
    form : {"auto", "symmetric", "relative", "difference"}, default="auto"
        Index: P_delta/P - 1 where P_delta > P and 1 - P/P_delta elsewhere ("symmetric", for
        positive answers); P_delta/P - 1; or P_delta - P. "auto": symmetric for probabilities,
        relative otherwise.
    learn_fraction, n_batches, defensive, space, start
        As for :class:`FailureProbability`; used where the sample is directed to an event, with
        target="probability" and "quantile".
    vectorized, n_jobs, backend, batch_size, checkpoint, on_error, callback, verbose
        As for :class:`FailureProbability`.
    keep_sample : bool, default=False
        Keep the final sample as ``X_``, ``Y_`` and ``log_weights_`` (a column a law, the first is
        the law itself).
    random_state : int, SeedSequence, Generator or None
        Seed.

    Attributes
    ----------
    result_ : InferenceResult
        Indices with their joint covariance; terms such as "x1[+0.5]".
    indices_ : DataFrame
        ``input delta value index std_error khat ess``: answer under the perturbed law, index, tail
        index and effective number of the reweighted values.
    reference_ : float
        Answer P under the law itself.
    reference_std_error_ : float
        Its standard error.
    targets_ : InferenceResult
        The answers themselves, the first under the law itself.
    estimate_, std_error_, cov_ : ndarray
        Of the indices.
    khat_, ess_ : ndarray of shape (indices,)
        Tail index and Kish's effective number of the reweighted values.
    n_used_, n_final_, n_runs_ : int
        Points drawn, points of the final sample, runs of the function in this process.
    n_features_in_, feature_names_in_ : int, ndarray
        Input of the function.

    See Also
    --------
    FailureProbability, OutputQuantile

    Notes
    -----
    The perturbed density is f(x) exp(l1 x_i + l2 x_i^2 - psi); where inputs are dependent, the
    conditional law of the others given x_i stays. With target="mean", points come from the equal
    mixture of all laws; otherwise from a density learnt for the event under the law itself.
    Standard errors: delta method with the joint covariance. The jump of the symmetric form's
    derivative at an index of zero is none: both branches have the same slope there. Assumed: the
    perturbed laws reach no part of the event that the sample does not; k-hat tells of heavy
    weights.

    References
    ----------
    Lemaitre, P., Sergienko, E., Arnaud, A., Bousquet, N., Gamboa, F., Iooss, B. (2015). Density
    modification-based reliability sensitivity analysis. Journal of Statistical Computation and
    Simulation 85, 1200-1223.

    Examples
    --------
    >>> from scipy import stats
    >>> from robuststat import PerturbedLawIndices
    >>> def model(X):
    ...     return 5.0 + 2.0 * X[:, 0] + X[:, 1]
    >>> est = PerturbedLawIndices(2000, deltas=[-1.0, 1.0], random_state=0)
    >>> est = est.fit(model, {"a": stats.norm(), "b": stats.norm()})
    >>> bool((abs(est.estimate_ - [-0.4, 0.4, -0.2, 0.2]) < 4 * est.std_error_).all())
    True
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **OPTION_CHECKS,
        "target": one_of("mean", "probability", "quantile"),
        "deltas": _is_deltas,
        "moment": one_of("mean", "variance"),
        "inputs": lambda value: None if value is None else _is_inputs(value),
        "threshold": in_range(-np.inf, np.inf, closed="neither"),
        "probability": in_range(0.0, 1.0, closed="neither"),
        "form": one_of("auto", "symmetric", "relative", "difference"),
    }

    def __init__(
        self,
        n_budget: int,
        *,
        target: Literal["mean", "probability", "quantile"] = "mean",
        deltas: Any = (-1.0, -0.5, 0.5, 1.0),
        moment: Literal["mean", "variance"] = "mean",
        inputs: Any = None,
        threshold: float = 0.0,
        probability: float = 0.95,
        form: Literal["auto", "symmetric", "relative", "difference"] = "auto",
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
        self.target = target
        self.deltas = deltas
        self.moment = moment
        self.inputs = inputs
        self.threshold = threshold
        self.probability = probability
        self.form = form
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
        """Sample, reweight to every perturbed law, and compare.

        Parameters
        ----------
        func : callable
            Model with one output: (n, d) -> (n,).
        law : law
            What :func:`as_law` reads, with known marginals.

        Returns
        -------
        PerturbedLawIndices

        Raises
        ------
        ParameterError
            For options, inputs or perturbations that cannot be carried out.
        DataError
            For outputs of wrong shape, several outputs, runs that fail, or an answer that the form
            of the index cannot be computed for.
        """
        self._check_parameters()
        check_model(self, func, law)
        design = make_design(as_law(law), self.deltas, self.moment, self.inputs)
        rows = sample_rows(self, func, design)
        weights = design.weights(rows.X, rows.base)
        targets = estimate_targets(self, rows.Y, weights)
        form = self.form
        if form == "auto":
            form = "symmetric" if self.target == "probability" else "relative"
        values = index_values(targets, form, self._call())
        report = report_indices(self, design, rows, targets, values, form)
        self._store(report, None)
        self._remember(design, targets, values)
        self.n_used_, self.n_final_, self.n_runs_ = rows.n_used, rows.n_drawn, rows.n_runs
        if self.keep_sample:
            self.X_, self.Y_ = rows.X, rows.Y
            with np.errstate(divide="ignore"):
                self.log_weights_ = np.log(weights)
        return self

    def _remember(self, design: Design, targets: Any, values: Any) -> None:
        self.estimate_, self.cov_ = values.index, values.covariance
        self.targets_ = values.targets
        self.reference_ = float(targets.value[0])
        self.reference_std_error_ = float(values.targets.std_error[0])
        self.indices_ = index_table(design, targets, values)
        self.khat_, self.ess_ = targets.khat[1:], targets.ess[1:]
        table = pd.DataFrame({"khat_values": self.khat_, "ess": self.ess_}, index=design.names)
        table.index.name = "term"
        self.diagnostics_ = table
        self.n_features_in_ = design.law.dim
        self.feature_names_in_ = np.array(design.law.names, dtype=object)

    def plot_indices(
        self,
        ax: Axes | None = None,
        level: float = 0.95,
        kind: Literal["pointwise", "simultaneous"] = "simultaneous",
    ) -> Axes:
        """Draw the indices of every input against delta, with intervals.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw.
        level : float, default=0.95
            Confidence level.
        kind : {"simultaneous", "pointwise"}, default="simultaneous"
            Intervals that hold for all indices together, or for each by itself.

        Returns
        -------
        matplotlib Axes
        """
        from robuststat.sampling._plots import plot_indices

        check_is_fitted(self, "result_")
        bounds = self.confint(level=level, kind=kind)
        table = self.indices_.assign(
            conf_low=bounds["conf_low"].to_numpy(), conf_high=bounds["conf_high"].to_numpy()
        )
        return plot_indices(table[[*INDEX_COLUMNS, "conf_low", "conf_high"]], self.moment, ax)

    indices_: pd.DataFrame
