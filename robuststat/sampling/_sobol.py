"""Which inputs the variance of a model comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from robuststat._core.errors import ParameterError
from robuststat._core.params import Check, any_of, in_range, is_bool, is_string, one_of, optional
from robuststat._core.rng import RandomState
from robuststat._core.types import Array
from robuststat.sampling._base import SamplingEstimator, check_model
from robuststat.sampling._iscv import AdaptiveISCV, _is_backend, _is_callable, _is_path
from robuststat.sampling._law_classes import EmpiricalLaw, Law, MarginalLaw, NormalLaw, PairLaw
from robuststat.sampling._laws import as_law, check_law
from robuststat.sampling._marginals import Marginal
from robuststat.sampling._pickfreeze import Plan
from robuststat.sampling._setup import _check_checkpoint
from robuststat.sampling._sobol_fit import estimate_indices
from robuststat.sampling._sobol_iscv import adaptive_indices
from robuststat.sampling._sobol_result import ALL, Layout, sobol_result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SobolIndices"]

# Options that an adaptive sampler has itself.
_RUN_OPTIONS = (
    *("vectorized", "n_jobs", "backend", "batch_size", "checkpoint", "on_error", "callback"),
    *("verbose", "controls", "degree"),
)


def _is_sampler(value: Any) -> str | None:
    return None if isinstance(value, AdaptiveISCV) else "an AdaptiveISCV"


def _is_groups(value: Any) -> str | None:
    return None if isinstance(value, Mapping) and value else "a dict from names to lists of inputs"


class SobolIndices(SamplingEstimator):
    """Sobol' indices: shares of a model's variance that its inputs explain.

    Use it to learn which uncertain input matters. For independent inputs the first-order index of
    input i is Var E(Y | X_i) / Var Y, the share that knowing X_i alone would remove; the total
    index is E Var(Y | all inputs but X_i) / Var Y, the share that involves X_i in any way; a
    second-order index is the share of the interaction of two inputs.

    Parameters
    ----------
    n_budget : int
        Model runs; used are d + 2 a point (2 d + 2 with ``order=2``), d counting groups.
    estimator : {"rqmc", "mc"} or AdaptiveISCV, default="rqmc"
        Scrambled Sobol' points with intervals from independent scrambles; pseudo-random points; or
        an adaptive sample, for outputs that heavy tails or rare events decide. The latter's
        ``n_budget``, and ``random_state`` where None, are replaced; options of running the model
        are then set on it.
    order : {1, 2}, default=1
        2 adds second-order indices.
    total : bool, default=True
        Whether total indices are reported.
    groups : dict of str to list, optional
        Inputs (names or positions) that are treated as one; the others stay alone.
    controls : {"chaos", "none"}, default="chaos"
        "chaos": polynomials of the inputs, fitted on other scrambles, whose indices are known
        exactly; runs only have to estimate what they leave over. "none": centred pick-freeze.
    degree : int, optional
        Total degree of the polynomials; None: terms chosen by cross-validation, no polynomial
        being one of the choices.
    vectorized : bool, default=True
        Whether the function takes (n, d); otherwise it is called with one row (d,) at a time.
    n_jobs : int, optional
        Workers of joblib. Results do not depend on it.
    backend : str or object with ``map``, optional
        Backend of joblib, or an executor such as a dask Client.
    batch_size : int, optional
        Rows a call of the function; also the unit of work in parallel.
    checkpoint : str or Path, optional
        File from which an interrupted fit resumes. Needs an integer ``random_state``.
    on_error : {"raise", "nan_drop", "retry"}, default="raise"
        What a run that raises or returns NaN does. "nan_drop" leaves out its point with all its
        runs, which biases the estimates when failing depends on the outcome.
    callback : callable, optional
        Called with (runs so far, all runs) after every block.
    verbose : int, default=0
        Progress bars.
    random_state : int, SeedSequence, Generator or None
        Seed.

    Attributes
    ----------
    result_ : InferenceResult
        Components "first order", "total order" and "second order", for each output and, where there
        are several, for all of them together.
    first_order_, total_order_ : ndarray of shape (d,) or (m, d)
        Indices; a row an output where there are several (constant ones are left out).
    second_order_ : ndarray of shape (d, d) or (m, d, d)
        Symmetric, NaN on the diagonal; only with ``order=2``.
    aggregated_first_order_, aggregated_total_order_, aggregated_second_order_ : ndarray
        With several outputs: sum of V_o S_o over sum of V_o, V_o the variance of output o. It
        depends on the units of the outputs.
    estimate_, std_error_ : ndarray of shape (k,)
        All indices in the order of ``result_``.
    cov_ : ndarray of shape (k, k)
        Their joint covariance.
    variance_ : ndarray of shape (m,)
        Variances of the outputs ("rqmc" and "mc").
    degree_, n_terms_, r2_ : int, int, float
        The polynomials, and the share of variance they explain out of fold ("rqmc" and "mc").
    sampler_ : AdaptiveISCV
        The adaptive sampler, if any, with ``khat_`` and ``ess_`` of its expectations.
    n_used_, n_final_, n_runs_, n_failed_ : int
        Runs used, points, runs of the function in this process, runs that failed.
    factors_ : dict of str to list of int
        Inputs behind each index.
    n_features_in_, feature_names_in_ : int, ndarray
        Input of the function.

    See Also
    --------
    LawImpact : Other means under other laws of the input.

    Notes
    -----
    With a polynomial m = sum_k c_k psi_k in orthonormal products, m_u its terms that belong to an
    index, and r = Y - m, the variance behind the index is Var m_u + 2 E m_u r + (the same of r).
    The first part is known, the second a mean over all runs, the third a pick-freeze estimate
    (Saltelli et al. 2010; Jansen 1999) of something small. Polynomials are fitted on the other
    scrambles, so that numerators and denominator are unbiased given the set of terms; their ratio
    has a bias of order 1/n. This combination is this package's, not a published theorem. Inputs
    with tails are drawn from a law whose normal scores are wider, and reweighted: polynomials err
    in the tails, and without this intervals were too short. For the same reason there are then at
    least 30 runs a term, otherwise 6. Intervals use the t distribution with
    one degree of freedom less than there are scrambles (or groups of pseudo-random points).
    Assumed: independent inputs and a finite fourth moment of the output.

    References
    ----------
    Saltelli, A., Annoni, P., Azzini, I., Campolongo, F., Ratto, M., Tarantola, S. (2010). Variance
    based sensitivity analysis of model output. Computer Physics Communications 181, 259-270.

    Gamboa, F., Janon, A., Klein, T., Lagnoux, A. (2014). Sensitivity analysis for multidimensional
    and functional outputs. Electronic Journal of Statistics 8, 575-603.

    Examples
    --------
    >>> from robuststat import SobolIndices
    >>> from robuststat.simulation import make_ishigami
    >>> data = make_ishigami()
    >>> est = SobolIndices(2560, random_state=0).fit(data.func, data.law)
    >>> est.first_order_.round(2) + 0.0
    array([0.31, 0.44, 0.  ])
    >>> bool((abs(est.first_order_ - data.first_order) < 0.001).all())
    True
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "n_budget": in_range(2, 10**12, integer=True),
        "estimator": any_of(one_of("rqmc", "mc"), _is_sampler),
        "order": one_of(1, 2),
        "total": is_bool,
        "groups": optional(_is_groups),
        "controls": one_of("chaos", "none"),
        "degree": optional(in_range(1, 15, integer=True)),
        "vectorized": is_bool,
        "n_jobs": optional(in_range(-1000, 1000, integer=True)),
        "backend": optional(_is_backend),
        "batch_size": optional(in_range(1, 10**9, integer=True)),
        "checkpoint": optional(any_of(is_string, _is_path)),
        "on_error": one_of("raise", "nan_drop", "retry"),
        "callback": optional(_is_callable),
        "verbose": in_range(0, 100, integer=True),
    }

    def __init__(
        self,
        n_budget: int,
        *,
        estimator: Any = "rqmc",
        order: Literal[1, 2] = 1,
        total: bool = True,
        groups: Mapping[str, Sequence[Any]] | None = None,
        controls: Literal["chaos", "none"] = "chaos",
        degree: int | None = None,
        vectorized: bool = True,
        n_jobs: int | None = None,
        backend: Any = None,
        batch_size: int | None = None,
        checkpoint: str | Path | None = None,
        on_error: Literal["raise", "nan_drop", "retry"] = "raise",
        callback: Callable[[int, int], Any] | None = None,
        verbose: int = 0,
        random_state: RandomState = None,
    ) -> None:
        self.n_budget = n_budget
        self.estimator = estimator
        self.order = order
        self.total = total
        self.groups = groups
        self.controls = controls
        self.degree = degree
        self.vectorized = vectorized
        self.n_jobs = n_jobs
        self.backend = backend
        self.batch_size = batch_size
        self.checkpoint = checkpoint
        self.on_error = on_error
        self.callback = callback
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, func: Callable[[Array], Any], law: Any = None) -> Self:
        """Run the model and estimate the indices.

        Parameters
        ----------
        func : callable
            Model: (n, d) -> (n,) or (n, m); a frame's columns name the outputs.
        law : law
            One law with independent inputs; see :func:`as_law`.

        Returns
        -------
        SobolIndices

        Raises
        ------
        ParameterError
            For dependent inputs, groups that do not fit, options that contradict each other, or a
            budget that is too small.
        DataError
            For outputs of wrong shape, runs that fail, or a constant function.
        """
        self._check_parameters()
        check_model(self, func, law)
        self._check_options()
        read = as_law(law)
        check_law(read, "law")
        inputs = _independent(read)
        plan = _plan(self.groups, inputs.names, self.order == 2)
        if isinstance(self.estimator, AdaptiveISCV):
            result, sampler, layout, n_runs = adaptive_indices(self, func, inputs, plan)
            self._store(result, None)
            self.sampler_ = sampler
            for name in ("khat_", "ess_", "n_final_", "n_failed_"):
                setattr(self, name, getattr(sampler, name))
            self.n_used_, self.n_runs_ = sampler.n_used_ * n_runs, sampler.n_runs_ * n_runs
        else:
            layout = self._pick_freeze(func, inputs, plan)
        self.estimate_, self.cov_ = np.array(self.result_.estimate), np.array(self.result_.vcov)
        for name, value in layout.unpack(self.estimate_).items():
            setattr(self, name, value)
        self.factors_ = dict(
            zip(plan.names, (list(map(int, f)) for f in plan.factors), strict=True)
        )
        self.n_features_in_ = inputs.dim
        self.feature_names_in_ = np.array(inputs.names, dtype=object)
        return self

    def _check_options(self) -> None:
        if self.degree is not None and self.controls != "chaos":
            raise ParameterError("degree is for controls='chaos'.")
        _check_checkpoint(self)
        if isinstance(self.estimator, AdaptiveISCV):
            defaults = type(self)(self.n_budget).get_params(deep=False)
            changed = [
                name for name in _RUN_OPTIONS if repr(getattr(self, name)) != repr(defaults[name])
            ]
            if changed:
                raise ParameterError(
                    f"{', '.join(changed)}: with estimator=AdaptiveISCV(...) set such options on "
                    "the AdaptiveISCV itself."
                )

    def _pick_freeze(self, func: Callable[[Array], Any], law: MarginalLaw, plan: Plan) -> Layout:
        found = estimate_indices(self, func, law, plan)
        m = len(found.variance)
        named = found.runner.output_names
        names = named or [f"y{j + 1}" for j in range(m)] if m > 1 else named or ["y"]
        alive = [name for name, flat in zip(names, found.constant, strict=True) if not flat]
        layout = Layout(plan, self.total, (*alive, ALL) if m > 1 else tuple(alive))
        self._store(sobol_result(self, found, layout), None)
        self.variance_ = found.variance
        self.degree_ = 0 if found.terms is None else found.terms.degree
        self.n_terms_ = 1 if found.terms is None else len(found.terms.powers)
        self.r2_ = found.r2
        self.n_used_, self.n_final_ = found.runner.n_rows, found.n_points
        self.n_runs_, self.n_failed_ = found.runner.n_runs, found.runner.n_failed
        return layout

    def plot_indices(self, ax: Axes | None = None, *, outcome: str | None = None) -> Axes:
        """Draw first-order and total indices with their intervals, side by side for each input.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw.
        outcome : str, optional
            With several outputs, which; by default all of them together.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        ParameterError
            If there is no such outcome.
        """
        from robuststat.plot import coefplot

        check_is_fitted(self, "result_")
        frame = self.tidy()
        if "outcome" in frame:
            outcome = ALL if outcome is None else outcome
            if outcome not in set(frame["outcome"]):
                raise ParameterError(
                    f"outcome={outcome!r}, but the outcomes are "
                    f"{', '.join(dict.fromkeys(frame['outcome']))}."
                )
            frame = frame[frame["outcome"] == outcome].drop(columns="outcome")
        elif outcome is not None:
            raise ParameterError("There is one outcome only; leave out outcome=.")
        frame = frame.rename(columns={"component": "index"})
        return coefplot(frame, group="index", xlabel="Share of the variance", ax=ax)


def _independent(law: Law) -> MarginalLaw:
    """Return the law as independent marginals.

    Raises
    ------
    ParameterError
        If its inputs are dependent, or not known to be independent.
    """
    words = (
        "Sobol' indices split the variance between independent inputs; for dependent ones shares "
        "of single inputs are not defined. Put what depends on each other into the model, as a "
        "function of independent inputs, or compare laws with LawImpact."
    )
    if isinstance(law, MarginalLaw):
        R = law.correlation
        if R is not None and np.abs(R - np.eye(law.dim)).max() > 0:
            raise ParameterError(f"The law has a copula with correlations. {words}")
        return MarginalLaw(law.marginals, law.names)
    if isinstance(law, NormalLaw):
        if np.count_nonzero(law.covariance - np.diag(np.diag(law.covariance))):
            raise ParameterError(f"The normal law has correlated coordinates. {words}")
        from scipy import stats

        pairs = zip(law.mean, np.sqrt(np.diag(law.covariance)), strict=True)
        marginals = [Marginal(stats.norm(m, s), "normal", float(m), float(s)) for m, s in pairs]
        return MarginalLaw(tuple(marginals), law.names)
    if isinstance(law, (EmpiricalLaw, PairLaw)):
        kind = "rows of a table" if isinstance(law, EmpiricalLaw) else "a sampler and a density"
        raise ParameterError(
            f"The law is given as {kind}, so that its inputs are not known to be independent; pass "
            f"a list or dict of one-dimensional distributions. {words}"
        )
    raise ParameterError(f"A law of class {type(law).__name__} is not supported. {words}")


def _plan(groups: Mapping[str, Sequence[Any]] | None, names: tuple[str, ...], second: bool) -> Plan:
    members: dict[str, list[int]] = {}
    taken: dict[int, str] = {}
    for name, inputs in (groups or {}).items():
        listed: list[Any] = (
            list(inputs) if isinstance(inputs, (list, tuple, np.ndarray)) else [inputs]
        )
        for one in listed:
            known = names.index(one) if isinstance(one, str) and one in names else one
            if isinstance(known, (str, bool)) or known not in range(len(names)):
                raise ParameterError(
                    f"groups: {one!r} in group {name!r} is no input; the inputs are "
                    f"{', '.join(names[:8])}."
                )
            if known in taken:
                raise ParameterError(
                    f"groups: input {names[known]!r} is in {taken[known]!r} and in {name!r}."
                )
            taken[int(known)] = str(name)
        if not listed:
            raise ParameterError(f"groups: group {name!r} is empty.")
        members[str(name)] = [i for i in taken if taken[i] == str(name)]
    for i, name in enumerate(names):
        if i not in taken:
            if name in members:
                raise ParameterError(f"groups: {name!r} is a group and an input outside of it.")
            members[name] = [i]
    # In the order of the inputs, so that tables without and with groups are read alike.
    ordered = sorted(members.items(), key=lambda item: min(item[1]))
    factors = tuple(np.array(sorted(columns), dtype=np.int64) for _, columns in ordered)
    if second and len(factors) < 2:
        raise ParameterError("order=2 needs at least two inputs or groups.")
    return Plan(factors, tuple(name for name, _ in ordered), second)
