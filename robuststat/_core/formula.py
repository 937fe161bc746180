"""Formulas: the only module that imports formulaic.

What is mended here: incomplete rows are never dropped silently (the caller removes them on one
common mask before), a category unseen in training is refused instead of becoming the reference
level, unused levels get no column, and the intercept carries R's name.
"""

from __future__ import annotations

import ast
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
_COLOUR = re.compile(r"\x1b\[[0-9;]*m|[⧛⧚]")


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
        rows = _without_unused_levels(frame)
        return np.ascontiguousarray(_materialise(self.spec, rows), dtype=np.float64)

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
        if isinstance(rhs, tuple):
            raise SyntaxError(f"it has {len(rhs)} parts separated by '|'")
        columns = _variables(rhs, available)
        lhs_columns = () if sides is None else _variables(sides.lhs, available)
    except (FormulaicError, AttributeError, SyntaxError, TypeError) as error:
        words = " ".join(_COLOUR.sub("", str(error)).split()).rstrip(".")
        raise ParameterError(
            f"formula {formula!r} cannot be read: {words}. Write it as 'y ~ x1 + x2 + C(group)'."
        ) from error
    unknown = [c for c in (*lhs_columns, *columns) if c not in available]
    if unknown:
        raise ParameterError(
            f"formula {formula!r} names columns that are not in the frame: {', '.join(unknown)}. "
            f"The frame has {', '.join(map(str, available[:20]))}"
            f"{', ...' if len(available) > 20 else ''}."
        )
    outcome = None if sides is None else str(sides.lhs).strip()
    plain = outcome is not None and (
        outcome in available or _PLAIN_NAME.fullmatch(outcome) is not None
    )
    return ParsedFormula(outcome, plain, lhs_columns, columns, rhs)


def _variables(side: Any, available: tuple[str, ...]) -> tuple[str, ...]:
    """Columns one side needs; formulaic does not see those inside ``center(x)`` or ``bs(x)``."""
    found = {str(name) for name in side.required_variables}
    for term in side:
        for factor in term.factors:
            found |= _names_in(str(factor.expr)) & set(available)
    return tuple(sorted(found))


def _names_in(expression: str) -> set[str]:
    """Names an expression reads, without the functions it calls."""
    try:
        nodes = list(ast.walk(ast.parse(expression, mode="eval")))
    except SyntaxError:  # quoted with backticks, which formulaic resolves itself
        return set()
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    return {node.id for node in nodes if isinstance(node, ast.Name) and id(node) not in called}


def bind_formula(parsed: ParsedFormula, frame: pd.DataFrame) -> tuple[FormulaDesign, Array]:
    """Fix levels and states on ``frame`` and return the design with its matrix.

    Rows with missing values are kept as rows of NaN: the caller decides what they mean.
    """
    frame = _without_unused_levels(frame)
    matrix = _evaluate(parsed.rhs, frame, output="numpy")
    spec = matrix.model_spec
    names = tuple(INTERCEPT if c == "Intercept" else str(c) for c in spec.column_names)
    values = np.ascontiguousarray(np.asarray(matrix), dtype=np.float64)
    return FormulaDesign(names, parsed.columns, spec), values


def evaluate_outcome(parsed: ParsedFormula, frame: pd.DataFrame) -> Array:
    """Numbers of a left-hand side that is more than a column name, such as ``np.log(y)``."""
    from formulaic import Formula

    rhs = Formula(f"0 + {parsed.outcome}")
    values = np.asarray(_evaluate(rhs, frame, output="numpy"))
    if values.shape[1] != 1:
        raise ParameterError(
            f"The left-hand side {parsed.outcome!r} has {values.shape[1]} columns. "
            "Use one numeric outcome."
        )
    outcome = np.asarray(values[:, 0], dtype=np.float64)
    # A logarithm that fails must not turn a label into "not labelled".
    broken = np.flatnonzero(~np.isfinite(outcome) & frame.notna().all(axis=1).to_numpy())
    if broken.size:
        raise DataError(
            f"The outcome {parsed.outcome!r} is not finite in {broken.size} rows whose columns are "
            f"known (first at row {broken[0]}). Check its logarithms, roots and divisions."
        )
    return outcome


def quoted_sum(columns: tuple[str, ...], intercept: bool) -> str:
    """Right-hand side with every column as a main effect."""
    terms = ["1" if intercept else "0", *(f"`{c}`" for c in columns)]
    return "~ " + " + ".join(terms)


def _materialise(spec: Any, frame: pd.DataFrame) -> Array:
    from formulaic.errors import DataMismatchWarning

    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=DataMismatchWarning)
        try:
            return np.asarray(_evaluate(spec, frame))
        except DataMismatchWarning as error:
            found = re.search(r"\{(.*?)\}", str(error))
            levels = found.group(1).split(", ") if found else ["unknown"]
            more = ", ..." if len(levels) > 5 else ""
            raise DataError(
                f"Categories not seen when the model was fitted: {', '.join(levels[:5])}{more}. "
                "Remove these rows, or fit on data that hold every category."
            ) from error


def _evaluate(source: Any, frame: pd.DataFrame, **options: Any) -> Any:
    """Model matrix of a formula or specification; what cannot be computed is a DataError."""
    from formulaic.errors import FormulaicError

    try:
        # Non-finite results are found, and refused by name, by the caller.
        with np.errstate(all="ignore"):
            return source.get_model_matrix(frame, na_action="ignore", **options)
    except (FormulaicError, TypeError, ValueError) as error:
        kinds = ", ".join(f"{name} ({column.dtype})" for name, column in frame.items())
        raise DataError(
            f"The formula cannot be computed from the columns {kinds}: {error}. Convert them to "
            "numbers or categories, or change the term."
        ) from error


def _without_unused_levels(frame: pd.DataFrame) -> pd.DataFrame:
    unused: dict[str, pd.Series] = {
        str(name): column.cat.remove_unused_categories()
        for name, column in frame.items()
        if isinstance(column.dtype, pd.CategoricalDtype)
    }
    return frame.assign(**unused) if unused else frame
