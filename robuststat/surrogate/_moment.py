"""Any moment function on surrogate labels."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from robuststat._core.columns import Terms
from robuststat._core.data import RoleData
from robuststat._core.errors import DataError, ParameterError
from robuststat._core.params import Check, in_range, is_string, optional
from robuststat._core.types import Array, IntArray
from robuststat.surrogate._base import SurrogateEstimator, is_names
from robuststat.surrogate._doc import shared_parameters
from robuststat.surrogate._fit import Estimate
from robuststat.surrogate._models import RowModel, UserRows
from robuststat.surrogate._options import Options
from robuststat.surrogate._problem import Problem
from robuststat.surrogate._targets import Classes
from robuststat.surrogate._words import overidentification

_ARGUMENTS = ("theta", "X", "y")


def is_function(value: Any) -> str | None:
    return None if callable(value) else "a function of (theta, X, y)"


@shared_parameters
class DSLMoment(SurrogateEstimator):
    """Parameters of any moment function when outcome or covariates are surrogates.

    The estimand is the parameter at which the average of ``moment(theta, X, y)`` is zero, as expert
    labels on every row would give it: instrumental variables, nonlinear least squares, ratios,
    robust location, whatever is written as a moment. With more moments than parameters it is the
    two-step generalised method of moments, with Hansen's test that all moments can hold.

    Parameters
    ----------
    moment : callable
        ``moment(theta, X, y)`` for rows of covariates (m, p) and outcome (m,), returning their
        moments (m, q). Arguments are matched by name where they are called theta, X and y, in any
        order; by position otherwise. Plain NumPy or compiled by numba. It sees blocks of rows, so
        the moments of a row may depend on that row only.
    jacobian : callable, optional
        ``jacobian(theta, X, y)`` returning the derivative of every row's moments, of shape
        (m, q, n_params). None: central differences.
    n_params : int, optional
        Number of parameters; the number of columns of the design when None.
    param_names : list of str, optional
        Names of the parameters; those of the design where the numbers agree, theta0, theta1, ...
        otherwise.
    start : array-like of shape (n_params,), optional
        First value of the iteration; zeros when None.
    formula : str, optional
        Formula of the columns of ``X`` that the moments see, such as ``"y ~ x + z1 + z2 - 1"``.
    {shared}

    Attributes
    ----------
    {attributes}
    j_statistic_, j_pvalue_ : float
        Hansen's test of over-identified moments, the median over repetitions; NaN when there are
        as many moments as parameters.
    j_df_ : int
        Its degrees of freedom.

    See Also
    --------
    DSLRegressor : Linear, Poisson and quantile regression.
    DSLBlackBox : Any estimator that cannot be written as a moment.

    Notes
    -----
    {notes}

    ``coef_`` holds all parameters and ``intercept_`` is 0.0; there is no ``predict``. ``X`` is
    passed as it is, without a column of ones: put one into the frame or the formula, or
    let the moment function add it. With q > n_params, ``V = (G' M^-1 G)^-1 / n`` with G the average
    derivative and M the meat of the design-adjusted scores, which respects clusters, surveys and
    the labelling design (Hansen 1982, applied to these scores; the combination is derived here).

    References
    ----------
    {references}

    Hansen, L. P. (1982). Large Sample Properties of Generalized Method of Moments Estimators.
    Econometrica 50(4), 1029-1054.

    Examples
    --------
    Two instruments for one regressor, the outcome labelled by a machine:

    >>> import numpy as np
    >>> from robuststat import DSLMoment
    >>> rng = np.random.default_rng(0)
    >>> z, u = rng.normal(size=(4000, 2)), rng.normal(size=4000)
    >>> x = z @ [1.0, 0.5] + u + rng.normal(size=4000)
    >>> y = 2 * x + u + rng.normal(size=4000)
    >>> machine = y + rng.normal(size=4000)
    >>> y[rng.permutation(4000)[400:]] = np.nan
    >>> def moment(theta, X, y):
    ...     return X[:, 1:] * (y - theta[0] * X[:, 0])[:, None]
    >>> fit = DSLMoment(moment, n_params=1, param_names=["x"], learner="passthrough")
    >>> _ = fit.fit(np.column_stack([x, z]), y, prediction=machine)
    >>> fit.tidy()[["term", "estimate", "std_error"]].round(2)
      term  estimate  std_error
    0    x      1.98       0.04
    >>> bool(fit.j_pvalue_ > 0.05), fit.j_df_
    (True, 1)
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **SurrogateEstimator._parameter_checks,
        "moment": is_function,
        "jacobian": optional(is_function),
        "n_params": optional(in_range(1, np.inf, closed="left", integer=True)),
        "param_names": optional(is_names),
        "formula": optional(is_string),
    }

    def __init__(
        self,
        moment: Any = None,
        jacobian: Any = None,
        *,
        n_params: int | None = None,
        param_names: Any = None,
        start: Any = None,
        formula: str | None = None,
        learner: Any = "auto",
        cv: Any = 5,
        n_rep: int = 10,
        design: str = "srs",
        normalize_prob: bool = True,
        prob_terms: Any = None,
        variance: str = "robust",
        population: str = "superpopulation",
        tuning: str | None = None,
        vcov: str | None = None,
        use_t: bool = False,
        missing: str | None = None,
        keep_influence: bool = False,
        tol: float = 1e-10,
        max_iter: int = 50,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            learner=learner,
            cv=cv,
            n_rep=n_rep,
            design=design,
            normalize_prob=normalize_prob,
            prob_terms=prob_terms,
            variance=variance,
            population=population,
            tuning=tuning,
            vcov=vcov,
            use_t=use_t,
            missing=missing,
            keep_influence=keep_influence,
            tol=tol,
            max_iter=max_iter,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.moment = moment
        self.jacobian = jacobian
        self.n_params = n_params
        self.param_names = param_names
        self.start = start
        self.formula = formula

    def _terms(self) -> Terms:
        return Terms(self.formula, fit_intercept=self.formula is not None)

    def _row_model(self, data: RoleData, classes: Classes) -> RowModel:
        k = data.X.shape[1] if self.n_params is None else self.n_params
        names = self._names(data, k)
        start = _start(self.start, k)
        moment = by_name(self.moment, "moment")
        jacobian = None if self.jacobian is None else by_name(self.jacobian, "jacobian")
        # Rows without labels hold NaN: a moment is tried where everything is known.
        rows = _complete_rows(data)
        X, y = data.X[rows], np.asarray(data.y, dtype=np.float64)[rows]
        q = _count_moments(moment, start, X, y)
        if q < k:
            raise ParameterError(
                f"moment returns {q} moments for {k} parameters. Return at least {k} columns, or "
                "set n_params."
            )
        if q > k and self.tuning is not None:
            raise ParameterError(
                f"tuning={self.tuning!r} is for as many moments as parameters; here are {q} for "
                f"{k}. Leave tuning out."
            )
        if q > k and self.population == "finite":
            raise ParameterError(
                f"population='finite' is for as many moments as parameters; here are {q} for {k}: "
                "in given rows more moments do not hold exactly, so that their root and Hansen's "
                "test have no meaning. Use population='superpopulation', or fewer moments."
            )
        if jacobian is not None:
            shape = np.shape(jacobian(start, X, y))
            if shape != (rows.size, q, k):
                raise ParameterError(
                    f"jacobian must return shape (m, {q}, {k}) for m rows; for {rows.size} rows it "
                    f"returned {shape}."
                )
        return UserRows(moment, jacobian, q, names, tuple(start))

    def _names(self, data: RoleData, k: int) -> tuple[str, ...]:
        if self.param_names is not None:
            if len(self.param_names) != k:
                raise ParameterError(
                    f"param_names holds {len(self.param_names)} names for {k} parameters. Give one "
                    "each."
                )
            twice = [name for name in self.param_names if list(self.param_names).count(name) > 1]
            if twice:
                raise ParameterError(f"param_names holds {twice[0]!r} twice. Name each once.")
            return tuple(self.param_names)
        return data.names if len(data.names) == k else tuple(f"theta{j}" for j in range(k))

    def _words(self, outcome: str) -> tuple[str, str]:
        return (
            f"Moments {_function_name(self.moment)}, design-based correction for surrogate labels",
            f"parameters at which the average moments are zero, as expert labels of {outcome} on "
            "every row would give them",
        )

    def _remember(self, problem: Problem, options: Options, found: Estimate) -> Self:
        super()._remember(problem, options, found)
        tests = [fit.overidentification for fit in found.fits if fit.overidentification is not None]
        self.j_statistic_, self.j_pvalue_, self.j_df_ = overidentification(tests)
        return self

    def augment(self, X: Any, y: Any = None) -> pd.DataFrame:
        """Refuse: moments have no fitted values.

        Raises
        ------
        ParameterError
            Always.
        """
        raise ParameterError(
            "DSLMoment knows moments, not fitted values. Compute them from coef_ and your model."
        )


def by_name(function: Callable[..., Any], role: str) -> Callable[[Array, Array, Array], Array]:
    """Return ``function`` with arguments (theta, X, y), whatever their order in it.

    Raises
    ------
    ParameterError
        When it does not take three arguments.
    """
    plain = getattr(function, "py_func", function)
    try:
        parameters = inspect.signature(plain).parameters.values()
    except (TypeError, ValueError):
        return function
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return function
    names = tuple(p.name for p in parameters)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    if len(names) < 3 or len(needed) > 3:
        raise ParameterError(
            f"{role} must take three arguments (theta, X, y); it takes {len(names)} "
            f"({', '.join(names)})."
        )
    first = names[:3]
    if set(first) == set(_ARGUMENTS) and first != _ARGUMENTS:
        order = [_ARGUMENTS.index(name) for name in first]
        return lambda *values: function(*(values[i] for i in order))
    return function


def _function_name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _start(start: Any, k: int) -> Array:
    if start is None:
        return np.zeros(k)
    try:
        values = np.asarray(start, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape != (k,) or not np.isfinite(values).all():
        raise ParameterError(f"start must be {k} finite numbers, one a parameter; got {start!r}.")
    return values


def _complete_rows(data: RoleData) -> IntArray:
    known = np.isfinite(data.X).all(axis=1) & np.isfinite(np.asarray(data.y, dtype=np.float64))
    rows = np.flatnonzero(known)
    if rows.size == 0:
        raise DataError(f"No row has both {data.outcome!r} and all covariates. Label some rows.")
    # Two rows tell a moment of every row from one of all rows.
    return rows[:2]


def _count_moments(moment: Callable[..., Any], theta: Array, X: Array, y: Array) -> int:
    """Return q, tried out on some rows.

    Raises
    ------
    ParameterError
        When the shape is wrong or the values are not finite numbers.
    """
    value = moment(theta, X, y)
    try:
        found = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterError(
            f"moment must return an array of numbers; it returned {type(value).__name__} ({error})."
        ) from error
    m = X.shape[0]
    if found.ndim != 2 or found.shape[0] != m:
        raise ParameterError(
            f"moment must return shape (m, q) for m rows; for {m} rows it returned {found.shape}. "
            "Give a single moment the shape (m, 1)."
        )
    if not np.isfinite(found).all():
        raise ParameterError(
            f"moment returned {found[0].tolist()} at the first value {theta.tolist()}. Pass start= "
            "where it is finite."
        )
    return int(found.shape[1])
