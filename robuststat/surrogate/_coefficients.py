"""Fit any scikit-learn estimator with row weights and read its coefficients as a named vector."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from robuststat._core.errors import ConvergenceWarning, DataError, ParameterError, warn
from robuststat._core.formula import INTERCEPT
from robuststat._core.table import to_float
from robuststat._core.types import Array

Reader = Callable[[Any], Any]


def last_step(estimator: Any) -> Any:
    """Return the final estimator of a pipeline, any other estimator itself."""
    return estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator


def fits_intercept(estimator: Any) -> bool:
    """Whether an estimator, fitted or not, adds an intercept of its own."""
    return bool(getattr(last_step(estimator), "fit_intercept", True))


def weight_keywords(estimator: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Keywords of ``fit`` that take row weights, and the steps of a pipeline that take none.

    Raises
    ------
    ParameterError
        When the estimator (the last step of a pipeline) has no ``sample_weight``.
    """
    final = last_step(estimator)
    if not has_fit_parameter(final, "sample_weight"):
        raise ParameterError(
            f"estimator: {type(final).__name__}.fit takes no sample_weight, which the weights of "
            "labelling and bootstrap need. Use an estimator that does, or one of the other DSL "
            "classes."
        )
    if not isinstance(estimator, Pipeline):
        return ("sample_weight",), ()
    keywords, without = [], []
    for name, step in estimator.steps:
        if step is None or step == "passthrough":
            continue
        if has_fit_parameter(step, "sample_weight"):
            keywords.append(f"{name}__sample_weight")
        else:
            without.append(name)
    return tuple(keywords), tuple(without)


@dataclass(frozen=True, slots=True)
class BlackBox:
    """An estimator as a function from weighted rows to a vector.

    Attributes
    ----------
    estimator : estimator
        Never fitted itself.
    keywords : tuple of str
        Keywords of ``fit`` that take the weights.
    read : callable or None
        Takes the vector from a fitted estimator; None reads ``intercept_`` and ``coef_``.
    """

    estimator: Any
    keywords: tuple[str, ...]
    read: Reader | None

    def __call__(self, X: Array, y: Any, weights: Array) -> tuple[Array, bool]:
        """Coefficients of a fit to weighted rows, and whether it converged."""
        fitted, caught = self.fitted(X, y, weights)
        quiet = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
        return read_coefficients(fitted, self.read)[0], quiet

    def fitted(self, X: Array, y: Any, weights: Array) -> tuple[Any, list[warnings.WarningMessage]]:
        """Fitted copy of the estimator, with the warnings of its fit."""
        with warnings.catch_warnings(record=True, action="always") as caught:
            # Each step gets weights of its own: a fit may work in place.
            extra = {key: weights.copy() for key in self.keywords}
            fitted = clone(self.estimator).fit(X, y, **extra)
        return fitted, list(caught)


def repeat_warnings(caught: list[warnings.WarningMessage]) -> None:
    """Warn once of what a fit warned of, but for convergence, which is reported with the result."""
    for message in {(str(w.message), w.category) for w in caught}:
        if not issubclass(message[1], ConvergenceWarning):
            warn(*message)


def read_coefficients(fitted: Any, read: Reader | None) -> tuple[Array, tuple[str, ...] | None]:
    """Vector of a fitted estimator, and the names that come with it.

    Raises
    ------
    ParameterError
        When there is no such vector, or one for each of several classes.
    """
    if read is not None:
        found = read(fitted)
        vector = np.atleast_1d(np.asarray(found, dtype=np.float64))
        if vector.ndim != 1:
            raise ParameterError(
                f"coef returned an array of shape {vector.shape}. Return one vector: .ravel()."
            )
        named = isinstance(found, pd.Series)
        return vector, tuple(map(str, found.index)) if named else None
    final = last_step(fitted)
    if not hasattr(final, "coef_"):
        raise ParameterError(
            f"estimator: a fitted {type(final).__name__} has no coef_. Pass coef=, a function that "
            "takes the fitted estimator and returns the vector of interest."
        )
    coef = final.coef_.toarray() if hasattr(final.coef_, "toarray") else np.asarray(final.coef_)
    if coef.ndim > 1 and coef.shape[0] > 1:
        raise ParameterError(
            f"coef_ of {type(final).__name__} has shape {coef.shape}, one row for each class or "
            "output. Pass coef=, a function that returns the contrasts of interest as one vector."
        )
    vector = coef.astype(np.float64).ravel()
    if fits_intercept(final) and hasattr(final, "intercept_"):
        vector = np.concatenate([np.ravel(final.intercept_)[:1], vector])
    return vector, None


def coefficient_names(
    fitted: Any, vector: Array, given: tuple[str, ...] | None, columns: tuple[str, ...], own: bool
) -> tuple[str, ...]:
    """Names of the vector: those that came with it, else those of the columns behind it.

    Parameters
    ----------
    fitted : estimator
        Fitted estimator; the steps before the last of a pipeline may rename columns.
    vector, given : ndarray, tuple of str or None
        As returned by ``read_coefficients``.
    columns : tuple of str
        Columns of the design.
    own : bool
        Whether the vector is the default one, which starts with the estimator's intercept.
    """
    if given is not None:
        if len(set(given)) < len(given):
            raise ParameterError(f"coef returned a Series with repeated names: {given}.")
        return given
    if own and isinstance(fitted, Pipeline) and len(fitted.steps) > 1:
        try:
            columns = tuple(map(str, fitted[:-1].get_feature_names_out(np.array(columns))))
        except (AttributeError, ValueError):
            columns = ()
    lead = (INTERCEPT,) if own and vector.size > 0 and _leads(fitted) else ()
    names = (*lead, *columns)
    if len(names) == vector.size:
        return names
    rest = vector.size - len(lead)
    return (*lead, *(f"coef{j}" for j in range(rest)))


def _leads(fitted: Any) -> bool:
    final = last_step(fitted)
    return fits_intercept(final) and hasattr(final, "intercept_")


def with_coefficients(fitted: Any, vector: Array) -> Any | None:
    """Put a vector into a fitted estimator; None when it does not let its coefficients be set."""
    final = last_step(fitted)
    has_intercept = _leads(final)
    slopes = vector[1:] if has_intercept else vector
    try:
        final.coef_ = slopes.reshape(np.shape(final.coef_))
        if has_intercept:
            shape = np.shape(final.intercept_)
            final.intercept_ = vector[:1].reshape(shape) if shape else float(vector[0])
    except (AttributeError, ValueError):
        return None
    return fitted


def surrogate_values(name: str, frame: pd.DataFrame, classes: Any) -> Array:
    """Take the single surrogate of a column as numbers: positions among ``classes`` if given.

    Raises
    ------
    ParameterError
        When there is not exactly one surrogate.
    DataError
        When it holds something other than finite numbers, or than the classes.
    """
    if frame.shape[1] != 1:
        raise ParameterError(
            f"DSLBlackBox puts one surrogate in the place of {name!r}, but prediction has "
            f"{frame.shape[1]} ({', '.join(map(str, frame.columns))}). Choose one, or combine them."
        )
    column = frame.iloc[:, 0]
    if classes is not None:
        values = np.full(len(column), np.nan)
        for position, label in enumerate(classes):
            values[(column == label).to_numpy(dtype=bool, na_value=False)] = position
        odd = np.flatnonzero(np.isnan(values))
        if odd.size:
            raise DataError(
                f"The prediction of {name!r} holds {odd.size} values that are none of the classes "
                f"{', '.join(map(repr, classes))} (first at row {odd[0]}: "
                f"{column.iloc[odd[0]]!r}). A classifier is fitted to predicted classes: turn "
                "scores into classes first."
            )
        return values
    numbers = to_float(column, f"prediction of {name!r}")
    if np.isinf(numbers).any():
        raise DataError(
            f"The prediction of {name!r} holds infinity (inf) in {np.isinf(numbers).sum()} rows. "
            "Recode or remove them."
        )
    return numbers
