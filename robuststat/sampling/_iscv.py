"""The estimator of several expectations from one adaptive sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from robuststat._core.errors import ParameterError
from robuststat._core.params import Check, any_of, in_range, is_bool, is_string, one_of, optional
from robuststat._core.rng import RandomState
from robuststat._core.types import Array
from robuststat.sampling import _fit
from robuststat.sampling._base import SamplingEstimator, check_model
from robuststat.sampling._fit_components import Family
from robuststat.sampling._pilot import Signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["AdaptiveISCV"]


def _is_callable(value: Any) -> str | None:
    return None if callable(value) else "a function"


def _is_backend(value: Any) -> str | None:
    fine = isinstance(value, str) or hasattr(value, "map")
    return None if fine else "a joblib backend's name or an object with map"


def _is_path(value: Any) -> str | None:
    return None if isinstance(value, (str, Path)) else "a path"


def _is_weights(value: Any) -> str | None:
    if isinstance(value, str):
        return one_of("equal", "relative")(value)
    try:
        fine = np.asarray(value, dtype=np.float64).ndim == 1
    except (TypeError, ValueError):
        fine = False
    return None if fine else "'equal', 'relative' or an array of J numbers"


def _is_user(value: Any) -> str | None:
    fine = isinstance(value, (tuple, list)) and len(value) == 2 and callable(value[0])
    return None if fine else "a pair (function, known means)"


class AdaptiveISCV(SamplingEstimator):
    """Several expectations from one sample: adaptive importance sampling with control variates.

    Use it when one run of a model yields every quantity whose expectation is wanted, or one model
    is to be averaged under many input laws, and runs are expensive. Estimated are
    I_j = E phi_j(X), X with law f_j, for all j at once: J functions under one law, one function
    under J laws, or J pairs. Part of the budget learns a mixture q of auxiliary densities g_k and
    coefficients beta_j that make the weighted sum of variances small; the rest is drawn fresh
    from q, so that the estimates are unbiased.

    Parameters
    ----------
    n_budget : int
        Model runs, learning included.
    weights : {"equal", "relative"} or array of shape (J,), default="equal"
        Weights of the loss sum_j w_j Var(I_j); "relative" is 1 / I_j^2, from the first batches.
    family : {"gaussian", "diagonal", "student", "gmm"}, default="gaussian"
        Auxiliary densities: Gaussian with full or diagonal covariance, Student with 5 degrees of
        freedom, or mixtures of 1 to 4 Gaussians chosen by BIC.
    controls : {"own", "all", "laws", "user", "surrogate"}, default="own"
        Control variates. "own": g_j/q with the coefficient learnt. The others add, by regression
        on the final sample: the g_k/q of other expectations with share above .01 ("all",
        experimental), the f_k/q ("laws"), or c(X) f_j/q with known means ("user"). "surrogate":
        a polynomial, fitted on other folds, whose expectations are exact; then nothing is learnt
        unless ``learn_fraction`` says so.
    sampler : {"mc", "rqmc"}, default="mc"
        Pseudo-random points, or scrambled Sobol' points with intervals from at least 8 scrambles.
    preset : {"robust", "paper"}, default="robust"
        "paper" follows the published algorithm in every formula.
    learn_fraction : float, optional
        Largest part of the budget for learning; default 0.5, or 0 with controls="surrogate". With
        0 points come from the law, or from the equal mixture of the laws.
    n_batches : int, default=5
        Learning batches.
    defensive : float, optional
        Share of the law, or of the equal mixture of the laws, in q, which bounds the weights
        f_j/q; f/q is then one more control. Default: 0.1 with sampler="mc" and preset="robust",
        otherwise 0.
    alpha_min : float, default=0.0
        Every component keeps at least this share divided by their number.
    signed : {"split", "abs"}, default="split"
        Functions with both signs get a component for each sign, or one for their absolute value.
    space : {"auto", "normal", "physical"}, default="auto"
        Where components live: standard normal coordinates of the (first) law, or the input's own.
        "auto": normal for one law that has such coordinates, unless preset="paper".
    stop : {"loss", "none", "target"}, default="loss"
        Learning stops when the predicted loss no longer falls, or ("none") after ``n_batches``.
        "target": as "loss", and the final sample stops when every 95 % half width is at most
        ``tol`` times the absolute estimate.
    tol : float, optional
        For stop="target".
    max_components : int, default=100
        With more expectations (and signs) than this, similar ones share a component.
    cross_fit : int, optional
        Folds for the regressions of "all", "laws" and "user": exactly unbiased estimates. Without
        it, their bias is of order 1/n.
    user_controls : tuple of (callable, array), optional
        Function (n, d) -> (n, q) and its known means, (q,) or (L, q) with a row a law.
    degree : int, optional
        Degree of the surrogate; None: chosen by cross-validation from 1 to 3.
    start : law, optional
        Law of the first batch in place of f, for functions that f hardly reaches.
    vectorized : bool, default=True
        Whether the function takes (n, d); otherwise it is called with one row (d,) at a time.
    n_jobs : int, optional
        Workers of joblib. Results do not depend on it.
    backend : str or object with ``map``, optional
        Backend of joblib, or an executor such as a dask Client or a process pool.
    batch_size : int, optional
        Rows a call of the function; also the unit of work in parallel. By default up to 4096.
    checkpoint : str or Path, optional
        File to which finished blocks are appended and from which an interrupted fit resumes
        without repeating them. Needs an integer ``random_state``.
    on_error : {"raise", "nan_drop", "retry"}, default="raise"
        What a run that raises or returns NaN does. "nan_drop" leaves it out, which biases the
        estimates when failing depends on the outcome; "retry" tries twice more.
    keep_sample : bool, default=False
        Keep the final sample as ``X_``, ``Y_`` and ``log_weights_``.
    callback : callable, optional
        Called with (runs so far, n_budget) after every block.
    verbose : int, default=0
        Progress bars.
    random_state : int, SeedSequence, Generator or None
        Seed.

    Attributes
    ----------
    result_ : InferenceResult
        Estimates with their joint covariance.
    estimate_, std_error_ : ndarray of shape (J,)
        Estimates (NaN for a law without any weight in the final sample) and standard errors.
    cov_ : ndarray of shape (J, J) or (J,)
        Covariance of the estimates; variances only for more than 2,000 expectations.
    alpha_ : ndarray of shape (K,)
        Shares of the components in q.
    beta_ : ndarray of shape (J,) or (J, 2)
        Coefficients of the own controls; two columns when some functions have both signs. Column
        s belongs to component ``own_components_[:, s]``.
    own_components_ : ndarray of shape (J, 1) or (J, 2)
        Component of each own control; -1 = none.
    beta_law_ : ndarray of shape (J,)
        Coefficients of the control f/q of the defensive share.
    components_ : Bunch
        ``means (K, d)`` and ``covariances (K, d, d)`` in the space of the sampler, ``space_``.
    history_ : DataFrame
        One row a learning batch.
    diagnostics_ : DataFrame
        One row an expectation: effective sizes, tail indices, largest share, mean of the weights.
    khat_, ess_ : ndarray of shape (J,)
        Tail index of abs(phi_j f_j/q) and Kish's effective size of f_j/q.
    n_used_, n_final_, n_runs_ : int
        Points drawn, points of the final sample, runs of the function in this process.
    n_laws_, n_outputs_ : int
        Laws, and outputs of the function.
    weights_ : ndarray of shape (J,)
        Weights of the loss.
    space_, status_ : str
        Space of the sampler; how the fit ended.
    n_features_in_, feature_names_in_ : int, ndarray
        Input of the function.

    See Also
    --------
    LawImpact : Comparisons of laws with a reference.
    ReweightedExpectation : When the runs are given.

    Notes
    -----
    With q = sum_k alpha_k g_k, the estimate is the mean of
    (phi_j f_j - beta_j g_j) / q + beta_j over the final sample; for phi_j >= 0 the choice
    g_j = phi_j f_j / I_j, beta_j = I_j has variance zero for every alpha. The schedule of batches,
    cross-entropy fits, balance heuristic and stopping rule are the paper's. The solver of the
    shares, the split by sign, roll back, defensive share, surrogate control and scrambled points
    are this package's. Assumed: each I_j and the variance under q are finite, and q is positive
    wherever phi_j f_j is not zero.

    References
    ----------
    Demange-Chryst, J., Bachoc, F., Morio, J. (2023). Efficient estimation of multiple expectations
    with the same sample by adaptive importance sampling and control variates. Statistics and
    Computing 33, 103.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import stats
    >>> from robuststat import AdaptiveISCV
    >>> def moments(X):
    ...     return np.column_stack([X[:, 0] ** 2, X[:, 0] ** 4])
    >>> est = AdaptiveISCV(4000, weights="relative", random_state=0).fit(moments, stats.norm())
    >>> bool((abs(est.estimate_ - [1, 3]) < 4 * est.std_error_).all())
    True
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "n_budget": in_range(2, 10**12, integer=True),
        "weights": _is_weights,
        "family": one_of("gaussian", "diagonal", "student", "gmm"),
        "controls": one_of("own", "all", "laws", "user", "surrogate"),
        "sampler": one_of("mc", "rqmc"),
        "preset": one_of("robust", "paper"),
        "learn_fraction": optional(in_range(0.0, 0.9)),
        "n_batches": in_range(2, 1000, integer=True),
        "defensive": optional(in_range(0.0, 1.0, closed="left")),
        "alpha_min": in_range(0.0, 1.0, closed="left"),
        "signed": one_of("split", "abs"),
        "space": one_of("auto", "normal", "physical"),
        "stop": one_of("loss", "none", "target"),
        "tol": optional(in_range(0.0, np.inf, closed="neither")),
        "max_components": in_range(1, 10_000, integer=True),
        "cross_fit": optional(in_range(2, 100, integer=True)),
        "user_controls": optional(_is_user),
        "degree": optional(in_range(1, 4, integer=True)),
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

    def __init__(
        self,
        n_budget: int,
        *,
        weights: Any = "equal",
        family: Family = "gaussian",
        controls: Literal["own", "all", "laws", "user", "surrogate"] = "own",
        sampler: Literal["mc", "rqmc"] = "mc",
        preset: Literal["robust", "paper"] = "robust",
        learn_fraction: float | None = None,
        n_batches: int = 5,
        defensive: float | None = None,
        alpha_min: float = 0.0,
        signed: Signed = "split",
        space: Literal["auto", "normal", "physical"] = "auto",
        stop: Literal["loss", "none", "target"] = "loss",
        tol: float | None = None,
        max_components: int = 100,
        cross_fit: int | None = None,
        user_controls: tuple[Callable[[Array], Any], Any] | None = None,
        degree: int | None = None,
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
        self.weights = weights
        self.family = family
        self.controls = controls
        self.sampler = sampler
        self.preset = preset
        self.learn_fraction = learn_fraction
        self.n_batches = n_batches
        self.defensive = defensive
        self.alpha_min = alpha_min
        self.signed = signed
        self.space = space
        self.stop = stop
        self.tol = tol
        self.max_components = max_components
        self.cross_fit = cross_fit
        self.user_controls = user_controls
        self.degree = degree
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
        """Learn where to sample, sample, and estimate.

        Parameters
        ----------
        func : callable
            Model: (n, d) -> (n,) or (n, J); a frame's columns name the expectations. Rows outside
            the support of every law are not passed to it.
        law : law, or list or dict of laws
            What :func:`as_law` reads. A list of one-dimensional scipy distributions is one law
            with independent coordinates; a list or dict of anything else is several laws.

        Returns
        -------
        AdaptiveISCV

        Raises
        ------
        ParameterError
            For options that contradict each other, the law, or a budget that is too small.
        DataError
            For outputs of wrong shape, runs that fail, or a function that is zero at every point of
            the first batch.
        """
        self._check_parameters()
        check_model(self, func, law)
        self._live = _fit.prepare(self, func, law)
        self._func, self._law = func, law
        _fit.run(self, self._live)
        return self._remember()

    def partial_fit(self, n_extra: int, func: Any = None, law: Any = None) -> Self:
        """Spend more runs on the final sample, from the density learnt.

        Parameters
        ----------
        n_extra : int
            Further runs; with sampler="rqmc" whole scrambles of the same size are added.
        func, law : callable, law
            Not needed in the process that called ``fit``. A fit that was unpickled cannot go on.

        Returns
        -------
        AdaptiveISCV

        Raises
        ------
        ParameterError
            If the fit cannot be continued, or ``n_extra`` is too small.
        """
        check_is_fitted(self, "result_")
        live = getattr(self, "_live", None)
        if live is None or func is not None or law is not None:
            raise ParameterError(
                "partial_fit continues a fit of this process with its own function and law. For "
                "others, or after unpickling, call fit; a checkpoint file saves its runs."
            )
        if live.final.stored and not self.keep_sample:
            raise ParameterError(
                f"controls={self.controls!r} works on the whole final sample: fit with "
                "keep_sample=True to be able to add to it."
            )
        words = in_range(1, 10**12, integer=True)(n_extra)
        if words is not None:
            raise ParameterError(f"n_extra must be {words}; got {n_extra!r}.")
        if live.final.extend(int(n_extra)) == 0:
            raise ParameterError(
                f"n_extra={n_extra} is less than one scramble of {2**live.final.log2_size} points."
            )
        return self._remember()

    def _remember(self) -> Self:
        """Set the fitted attributes from the running fit."""
        found = _fit.outcome(self, self._live)
        self._store(found.result, None)
        for name, value in found.attributes.items():
            setattr(self, name, value)
        # Where an expectation has no estimate, result_ leaves it out; these arrays do not.
        self.std_error_ = found.std_error
        return self

    def plot_history(self, ax: Axes | None = None) -> Axes:
        """Draw the predicted loss after every learning batch.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        matplotlib Axes
        """
        from robuststat.sampling._plots import plot_history

        check_is_fitted(self, "result_")
        return plot_history(self.history_, ax)

    history_: pd.DataFrame
    n_laws_: int
    n_outputs_: int
    n_features_in_: int
    feature_names_in_: Any
    components_: Bunch
