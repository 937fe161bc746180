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
# formulaic marks the place of a syntax error with brackets and terminal colours.
_MARKS = re.compile("\x1b\\[[0-9;]*m|[\u29da\u29db]")


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
    lhs, rhs : object
        formulaic's sides; ``lhs`` is None when there is none.
    """

    outcome: str | None
    outcome_is_column: bool
    outcome_columns: tuple[str, ...]
    columns: tuple[str, ...]
    lhs: Any
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
    skipped : int or None
        Column of the specification that is left out: the intercept, when effects of groups
        replace it. Categories keep their reference level.
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]
    spec: Any
    skipped: int | None = None

    def matrix(self, frame: pd.DataFrame) -> Array:
        """Design matrix of ``frame``, of shape (n, k); refuses categories unseen in training."""
        return self.without_skipped(_materialise(self.spec, frame))

    def without_skipped(self, matrix: Array) -> Array:
        """Columns of the specification's ``matrix`` that belong to the design."""
        if self.skipped is None:
            return matrix
        return np.ascontiguousarray(np.delete(matrix, self.skipped, axis=1))

    def without_intercept(self) -> FormulaDesign:
        """Return the same design without its column of ones."""
        if INTERCEPT not in self.names:
            return self
        names = tuple(name for name in self.names if name != INTERCEPT)
        return FormulaDesign(names, self.columns, self.spec, self.names.index(INTERCEPT))

    def affected(self, column: str) -> list[int]:
        """Positions of the design columns that depend on ``column`` of the frame."""
        found = sorted(self.spec.variable_indices.get(column, []))
        if self.skipped is None:
            return found
        return [j - int(j > self.skipped) for j in found if j != self.skipped]

    def levels_of(self, column: str) -> tuple[Any, ...]:
        """Categories that the formula makes of ``column``, reference first; empty if none."""
        for factor, variables in self.spec.factor_variables.items():
            state = self.spec.encoder_state.get(factor.expr, (None, {}))[1]
            if column in {str(name) for name in variables} and "categories" in state:
                return tuple(state["categories"])
        return ()

    def first_level(self, column: str) -> Any:
        """One of the categories that the formula makes of ``column``; None if it makes none."""
        return next(iter(self.levels_of(column)), None)

    def categorical_columns(self) -> set[str]:
        """Columns of the frame that the formula makes categories of."""
        found: set[str] = set()
        for factor, variables in self.spec.factor_variables.items():
            kind = self.spec.encoder_state.get(factor.expr, (None,))[0]
            if kind is not None and kind.name == "CATEGORICAL":
                found |= {str(name) for name in variables}
        return found & set(self.columns)

    def estimated_terms(self) -> list[str]:
        """List transformations that were fitted to the data."""
        return [str(term) for term in self.spec.transform_state]

    def stateful_use(self, column: str) -> str | None:
        """Find a term in which ``column`` goes through a transformation fitted to the data."""
        # formulaic replaces what Python does not allow in a name.
        python_name = re.sub(r"\W", "_", column)
        for expression in self.spec.transform_state:
            if re.search(rf"(?<![\w.]){python_name}(?![\w.])", expression):
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
        lhs, rhs = getattr(parsed, "lhs", None), getattr(parsed, "rhs", parsed)
        for side in (lhs, rhs):
            if isinstance(side, tuple):
                raise SyntaxError(f"it has {len(side)} parts separated by '|'")
        columns = _columns(rhs)
        lhs_columns = () if lhs is None else _columns(lhs)
    except (FormulaicError, AttributeError, SyntaxError, TypeError) as error:
        raise ParameterError(
            f"formula {formula!r} cannot be read: {_words(error)}. "
            "Write it as 'y ~ x1 + x2 + C(group)'."
        ) from error
    unknown = [c for c in (*lhs_columns, *columns) if c not in available]
    if unknown:
        raise ParameterError(
            f"formula {formula!r} names columns that are not in the frame: {', '.join(unknown)}. "
            f"The frame has {', '.join(map(str, available[:20]))}"
            f"{', ...' if len(available) > 20 else ''}."
        )
    outcome = None if lhs is None else str(lhs).strip()
    return ParsedFormula(outcome, lhs_columns == (outcome,), lhs_columns, columns, lhs, rhs)


def bind_formula(parsed: ParsedFormula, frame: pd.DataFrame) -> tuple[FormulaDesign, Array]:
    """Fix levels and states on ``frame`` and return the design with its matrix.

    Rows with missing values are kept as rows of NaN: the caller decides what they mean.
    """
    values, spec = _evaluate(parsed.rhs, frame)
    names = tuple(INTERCEPT if c == "Intercept" else str(c) for c in spec.column_names)
    if not names:
        raise ParameterError("The formula leaves no term: the design would have no column.")
    return FormulaDesign(names, parsed.columns, spec), values


def evaluate_outcome(parsed: ParsedFormula, frame: pd.DataFrame) -> Array:
    """Numbers of a left-hand side that is more than a column name, such as ``np.log(y)``.

    NaN where a column it needs is missing; any other value that is not finite is refused.
    """
    values, _ = _evaluate(parsed.lhs, frame)
    if values.shape[1] != 1:
        raise ParameterError(
            f"The left-hand side {parsed.outcome!r} has {values.shape[1]} columns. "
            "Use one numeric outcome."
        )
    complete = frame.notna().all(axis=1).to_numpy()
    bad = np.flatnonzero(~np.isfinite(values[:, 0]) & complete)
    if bad.size:
        raise DataError(
            f"The outcome {parsed.outcome!r} is not finite in {bad.size} rows whose columns are "
            f"known (first at row {bad[0]}). Check its logarithms, roots and divisions."
        )
    return values[:, 0]


def quoted_sum(columns: tuple[str, ...], intercept: bool) -> str:
    """Right-hand side with every column as a main effect."""
    terms = ["1" if intercept else "0", *(f"`{c}`" for c in columns)]
    return "~ " + " + ".join(terms)


def _materialise(spec: Any, frame: pd.DataFrame) -> Array:
    from formulaic.errors import DataMismatchWarning

    with warnings.catch_warnings(action="error", category=DataMismatchWarning):
        try:
            return _evaluate(spec, frame)[0]
        except DataMismatchWarning as error:
            found = re.search(r"\{(.*?)\}", str(error))
            words = re.sub(r"np\.\w+\((.*?)\)", r"\1", found.group(1) if found else "unknown")
            levels = words.split(", ")
            more = ", ..." if len(levels) > 5 else ""
            raise DataError(
                f"Categories not seen when the model was fitted: {', '.join(levels[:5])}{more}. "
                "Remove these rows, or fit on data that hold every category."
            ) from error


def _columns(side: Any) -> tuple[str, ...]:
    """Columns that a side needs.

    formulaic's own list lacks those inside ``bs(x)`` or ``scale(x)`` and cuts names at a dot.
    """
    from formulaic.transforms import TRANSFORMS

    found: set[str] = set()
    for factor in (factor for term in side for factor in term.factors):
        if factor.eval_method == factor.EvalMethod.LOOKUP:
            found.add(factor.expr)
        elif factor.eval_method == factor.EvalMethod.PYTHON:
            tree = ast.parse(re.sub("`[^`]*`", "0", factor.expr), mode="eval")
            names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            found |= names - TRANSFORMS.keys()
            found.update(re.findall("`([^`]*)`", factor.expr))
    return tuple(sorted(found))


def _evaluate(source: Any, frame: pd.DataFrame) -> tuple[Array, Any]:
    """Matrix of a side of a formula or of a specification, and its specification."""
    from formulaic.errors import FormulaicError

    try:
        # Values that are not finite are found, and named, by the callers.
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            matrix = source.get_model_matrix(_prepared(frame), output="numpy", na_action="ignore")
            values = np.ascontiguousarray(np.asarray(matrix), dtype=np.float64)
    except (FormulaicError, TypeError, ValueError) as error:
        kinds = ", ".join(f"{name} ({column.dtype})" for name, column in frame.items())
        raise DataError(
            f"The formula cannot be computed from the columns {kinds}: {_words(error)}. Convert "
            "them to numbers or categories, or change the term."
        ) from error
    return values, matrix.model_spec


def _words(error: Exception) -> str:
    return " ".join(_MARKS.sub("", str(error)).split()).rstrip(".")


def _prepared(frame: pd.DataFrame) -> pd.DataFrame:
    """Categories without unused levels, and flags that formulaic takes for numbers."""
    changed: dict[str, pd.Series] = {}
    for name, column in frame.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            changed[str(name)] = column.cat.remove_unused_categories()
        elif column.dtype == "boolean":
            changed[str(name)] = column.astype("float64" if column.hasnans else "bool")
    return frame.assign(**changed) if changed else frame
