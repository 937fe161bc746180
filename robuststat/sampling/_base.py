"""What the estimators of this family share: they are fitted to a function and a law."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.types import Array
from robuststat.base import InferenceEstimator, _written
from robuststat.result import InferenceResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SamplingEstimator", "delta_method", "numerical_jacobian"]


def numerical_jacobian(fun: Callable[[Array], Any], at: Array, scale: Array) -> Array:
    """Central differences of a function, (m, k), with steps in units of ``scale``."""
    columns = []
    for j in range(len(at)):
        step = np.zeros_like(at)
        step[j] = 1e-3 * scale[j] if scale[j] > 0 else 1e-6 * max(abs(at[j]), 1.0)
        up, down = (np.atleast_1d(np.asarray(fun(x), float)) for x in (at + step, at - step))
        columns.append((up - down) / (2.0 * step[j]))
    return np.column_stack(columns)


def delta_method(
    result: InferenceResult,
    fun: Callable[[Array], Any],
    jac: Callable[[Array], Any] | None,
    names: list[str] | None,
) -> InferenceResult:
    """Apply a smooth function to the estimates.

    Raises
    ------
    ParameterError
        If only variances are known, or shapes do not fit.
    DataError
        If the function or its derivative is not finite at the estimates.
    """
    if result.vcov.ndim == 1:
        raise ParameterError(
            f"Only the variances of these {len(result.names):,} estimates were computed, and the "
            "delta method needs covariances. Estimate fewer at once."
        )
    at = np.array(result.estimate)
    value = np.atleast_1d(np.asarray(fun(at), dtype=np.float64))
    slope = numerical_jacobian(fun, at, result.std_error) if jac is None else jac(at)
    G = np.atleast_2d(np.asarray(slope, dtype=np.float64))
    if value.ndim != 1 or G.shape != (len(value), len(at)):
        raise ParameterError(
            f"fun returned shape {value.shape} and the derivative has shape {G.shape}; expected "
            f"(m,) and (m, {len(at)})."
        )
    if not (np.isfinite(value).all() and np.isfinite(G).all()):
        raise DataError("fun or its derivative is not finite at the estimates.")
    terms = [f"T{i + 1}" for i in range(len(value))] if names is None else list(names)
    return InferenceResult(
        estimate=value,
        vcov=G @ np.asarray(result.vcov) @ G.T,
        names=tuple(terms),
        n_obs=result.n_obs,
        df=result.df,
        vcov_type=result.vcov_type,
        estimand=f"function of: {result.estimand}",
        method=f"{result.method}, delta method",
        diagnostics={
            "assumptions": ["the function is differentiable, and nearly linear over the intervals"]
        },
        call=result.call,
    )


def check_model(est: Any, func: Any, law: Any) -> None:
    """Refuse what is not a function and a law, in the words of ``fit``."""
    if not callable(func) or law is None:
        raise ParameterError(
            f"{type(est).__name__}.fit takes a function and a law: fit(func, law); got "
            f"{type(func).__name__} and {type(law).__name__}."
        )


class SamplingEstimator(InferenceEstimator):
    """Base of estimators whose data are a function and a probability law."""

    _func: Any = None
    _law: Any = None
    diagnostics_: pd.DataFrame
    n_final_: int

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = True
        tags.target_tags.required = False
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the function, the law and the sampler: often they do not pickle."""
        state = dict(super().__getstate__())
        for name in ("_func", "_law", "_live"):
            state.pop(name, None)
        return state

    def _call(self) -> str:
        """Return the constructor call; parameters without default are always shown."""
        defaults = inspect.signature(type(self).__init__).parameters
        changed = [
            f"{name}={_written(value)}"
            for name, value in self.get_params(deep=False).items()
            if repr(value) != repr(defaults[name].default)
        ]
        words = ", ".join(" ".join(part.split()) for part in changed)
        return f"{type(self).__name__}({words if len(words) < 400 else words[:400] + ' ...'})"

    def transform_estimate(
        self,
        fun: Callable[[Array], Any],
        jac: Callable[[Array], Any] | None = None,
        names: list[str] | None = None,
    ) -> InferenceResult:
        """Smooth function of the estimates by the delta method.

        Parameters
        ----------
        fun : callable
            Estimates (k,) -> a number or an array (m,).
        jac : callable, optional
            Estimates (k,) -> derivative (m, k); central differences without it.
        names : list of str, optional
            Names of the m values.

        Returns
        -------
        InferenceResult
        """
        check_is_fitted(self, "result_")
        return delta_method(self.result_, fun, jac, names)

    def to_frame(self) -> pd.DataFrame:
        """Estimates with their intervals and the diagnostics of their weights.

        Returns
        -------
        DataFrame
            Columns of :meth:`tidy`, then those of ``diagnostics_``.
        """
        check_is_fitted(self, "result_")
        left = self.tidy().set_index("term")
        table = getattr(self, "diagnostics_", None)
        return left.reset_index() if table is None else left.join(table).reset_index()

    def plot_weights(self, ax: Axes | None = None) -> Axes:
        """Draw the tail index of every expectation with the limit above which it is not trusted.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw.

        Returns
        -------
        matplotlib Axes
        """
        from robuststat.sampling._plots import plot_weights

        check_is_fitted(self, "result_")
        if not hasattr(self, "diagnostics_"):
            raise ParameterError(f"{type(self).__name__} keeps no diagnostics of weights to draw.")
        return plot_weights(self.diagnostics_, self.n_final_, ax)
