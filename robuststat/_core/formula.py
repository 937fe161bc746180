"""Formulas: the only module that imports formulaic.

What is mended here: incomplete rows are never dropped silently (the caller removes them on one
common mask before), a category unseen in training is refused instead of becoming the reference
level, unused levels get no column, and the intercept carries R's name.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.types import Array

INTERCEPT = "(Intercept)"
_PLAIN_NAME = re.compile(r"[A-Za-z_.][\w.]*")


@dataclass(frozen=True, slots=True)
class ParsedFormula:
    """A formula split in its parts, before it has seen data.

    Attributes
    ----------
    outcome : str or None
        Left-hand side as written; None when there is none.
    outcome_is_column : bool
        Whether the left-hand side is just the name of a column.
    outcome_columns, columns : tuple of str
        Columns the left- and the right-hand side need.
    rhs : object
        formulaic's right-hand side.
    """

    outcome: str | None
    outcome_is_column: bool
    outcome_columns: tuple[str, ...]
    columns: tuple[str, ...]
    rhs: Any


@dataclass(frozen=True, slots=True)
class FormulaDesign:
    """A right-hand side bound to the levels and states of the training rows.

    Attributes
    ----------
    names : tuple of str
        Column names of the design matrix.
    columns : tuple of str
        Columns of the frame it is computed from.
    spec : object
        formulaic's model specification.
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]
    spec: Any

    def matrix(self, frame: pd.DataFrame) -> Array:
        """Design matrix of ``frame``, of shape (n, k); refuses categories unseen in training."""
        return np.ascontiguousarray(_materialise(self.spec, frame), dtype=np.float64)

    def affected(self, column: str) -> list[int]:
        """Positions of the design columns that depend on ``column`` of the frame."""
        return sorted(self.spec.variable_indices.get(column, []))

    def stateful_use(self, column: str) -> str | None:
        """Find a term in which ``column`` goes through a transformation fitted to the data."""
        for expression in self.spec.transform_state:
            if re.search(rf"(?<![\w.]){re.escape(column)}(?![\w.])", expression):
                return str(expression)
        return None


def parse_formula(formula: str, available: tuple[str, ...]) -> ParsedFormula:
    """Split ``formula`` and check that every column it names is in ``available``.

    Raises
    ------
    ParameterError
        When the formula cannot be parsed, has several parts, or names an unknown column.
    """
    from formulaic import Formula
    from formulaic.errors import FormulaicError

    try:
        parsed = Formula(formula)
        sides = parsed if hasattr(parsed, "lhs") else None
        rhs = parsed if sides is None else parsed.rhs
        columns = tuple(sorted(str(v) for v in rhs.required_variables))
        lhs_columns = () if sides is None else tuple(sorted(sides.lhs.required_variables))
    except (FormulaicError, AttributeError, SyntaxError, TypeError) as error:
        raise ParameterError(
            f"formula {formula!r} cannot be read: {error}. Write it as 'y ~ x1 + x2 + C(group)'."
        ) from error
    unknown = [c for c in (*lhs_columns, *columns) if c not in available]
    if unknown:
        raise ParameterError(
            f"formula {formula!r} names columns that are not in the frame: {', '.join(unknown)}. "
            f"The frame has {', '.join(map(str, available[:20]))}"
            f"{', ...' if len(available) > 20 else ''}."
        )
    outcome = None if sides is None else str(sides.lhs).strip()
    plain = outcome is not None and _PLAIN_NAME.fullmatch(outcome) is not None
    return ParsedFormula(outcome, plain, lhs_columns, columns, rhs)


def bind_formula(parsed: ParsedFormula, frame: pd.DataFrame) -> tuple[FormulaDesign, Array]:
    """Fix levels and states on ``frame`` and return the design with its matrix.

    Rows with missing values are kept as rows of NaN: the caller decides what they mean.
    """
    frame = _without_unused_levels(frame)
    matrix = parsed.rhs.get_model_matrix(frame, output="numpy", na_action="ignore")
    spec = matrix.model_spec
    names = tuple(INTERCEPT if c == "Intercept" else str(c) for c in spec.column_names)
    values = np.ascontiguousarray(np.asarray(matrix), dtype=np.float64)
    return FormulaDesign(names, parsed.columns, spec), values


def evaluate_outcome(parsed: ParsedFormula, frame: pd.DataFrame) -> Array:
    """Numbers of a left-hand side that is more than a column name, such as ``np.log(y)``."""
    from formulaic import Formula

    rhs = Formula(f"0 + {parsed.outcome}")
    values = np.asarray(rhs.get_model_matrix(frame, output="numpy", na_action="ignore"))
    if values.shape[1] != 1:
        raise ParameterError(
            f"The left-hand side {parsed.outcome!r} has {values.shape[1]} columns. "
            "Use one numeric outcome."
        )
    return np.asarray(values[:, 0], dtype=np.float64)


def quoted_sum(columns: tuple[str, ...], intercept: bool) -> str:
    """Right-hand side with every column as a main effect."""
    terms = ["1" if intercept else "0", *(f"`{c}`" for c in columns)]
    return "~ " + " + ".join(terms)


def _materialise(spec: Any, frame: pd.DataFrame) -> Array:
    from formulaic.errors import DataMismatchWarning

    with warnings.catch_warnings(action="error", category=DataMismatchWarning):
        try:
            return np.asarray(spec.get_model_matrix(frame, na_action="ignore"))
        except DataMismatchWarning as error:
            found = re.search(r"\{(.*?)\}", str(error))
            levels = found.group(1) if found else "unknown"
            raise DataError(
                f"Categories not seen when the model was fitted: {levels}. Remove these rows, "
                "or fit on data that hold every category."
            ) from error


def _without_unused_levels(frame: pd.DataFrame) -> pd.DataFrame:
    unused: dict[str, pd.Series] = {
        str(name): column.cat.remove_unused_categories()
        for name, column in frame.items()
        if isinstance(column.dtype, pd.CategoricalDtype)
    }
    return frame.assign(**unused) if unused else frame
