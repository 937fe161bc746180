"""Intake: whatever the user passes becomes one frozen RoleData of plain arrays.

Frames of any library are read through narwhals; roles are arrays or column names; outcome,
covariates and roles share one complete-case mask, counted per column.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import validate_data

from robuststat._core.columns import (
    OutcomeKind,
    Terms,
    all_finite,
    covariate_names,
    read_covariates,
    read_outcome,
    read_outcomes,
)
from robuststat._core.design import ArrayDesign, Design, Shares, bind_groups, takes_sparse
from robuststat._core.errors import (
    DataError,
    DroppedRowsWarning,
    NoCompleteRowError,
    ParameterError,
    warn,
)
from robuststat._core.formula import (
    INTERCEPT,
    FormulaDesign,
    ParsedFormula,
    bind_formula,
    parse_formula,
    quoted_sum,
)
from robuststat._core.roles import ROLE_KINDS, RoleReader, columns_named_by
from robuststat._core.stream import is_source
from robuststat._core.table import Codes, Table, as_table
from robuststat._core.types import Array, BoolArray


@dataclass(frozen=True, slots=True)
class RoleData:
    """The rows an estimator works on.

    Attributes
    ----------
    X : ndarray of shape (n, k)
        Design matrix, C-contiguous; cells that depend on a predicted covariate are NaN in the
        rows where it is not known.
    names : tuple of str
        Names of the design columns.
    y : ndarray of shape (n,) or (n, m), or None
        Outcome(s) (NaN where not known), or labels of any type when the family asked for labels.
    outcome : str
        Name of the outcome.
    outcomes : tuple of str
        Names of the outcomes when ``y`` has a column for each.
    roles : dict
        Role -> float array, bool array, Codes (or a dict of them), or DataFrame, as in
        ``ROLE_KINDS``.
    weights : ndarray of shape (n,) or None
        Sample weights.
    clusters : Codes or None
        Dependence groups.
    cluster_name : str
        Name of the cluster column, "" when an array was given.
    kept : ndarray of bool of shape (n_in,)
        Which input rows are used.
    n_dropped_by : dict of str to int
        Missing values that cost rows, by column.
    design : ArrayDesign or FormulaDesign
        How to make the design matrix again from other rows.
    frame : DataFrame or None
        Columns a formula is computed from.
    n_left_out : int or None
        Rows left out of the whole source when these rows are part of one.
    """

    X: Array
    names: tuple[str, ...]
    y: Any
    outcome: str
    roles: dict[str, Any]
    weights: Array | None
    clusters: Codes | None
    cluster_name: str
    kept: BoolArray
    n_dropped_by: dict[str, int]
    design: Design
    frame: pd.DataFrame | None = field(default=None)
    outcomes: tuple[str, ...] = ()
    n_left_out: int | None = None

    @property
    def n_dropped(self) -> int:
        """Input rows that are not used, those of other parts of a source included."""
        if self.n_left_out is not None:
            return self.n_left_out
        return int(self.kept.size - self.kept.sum())

    def rebuild(self, replace: Mapping[str, Any]) -> Array:
        """Design matrix with the values of some covariates replaced, of shape (n, k).

        A covariate with :class:`Shares` gets the average of the designs that its levels would
        give, weighted by the shares.
        """
        split = next((name for name, v in replace.items() if isinstance(v, Shares)), None)
        if split is not None:
            shares: Shares = replace[split]
            total = np.zeros((self.X.shape[0], len(self.names)))
            for c, values in enumerate(shares.constants()):
                total += shares.values[:, c, None] * self.rebuild({**replace, split: values})
            return total
        if isinstance(self.design, FormulaDesign):
            assert self.frame is not None
            try:
                return self.design.matrix(self.frame.assign(**replace))
            except DataError as error:
                raise ParameterError(
                    f"A term makes categories from {', '.join(replace)}, whose predictions are "
                    "numbers. Write a 0/1 column as it is, without C(...), or use "
                    "learner='passthrough' with surrogates that are categories."
                ) from error
        matrix = self.X.copy()
        for name, values in replace.items():
            matrix[:, self.design.affected(name)[0]] = values
        return matrix


def read_data(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    roles: Mapping[str, Any],
    sample_weight: Any = None,
    clusters: Any = None,
    outcome_kind: OutcomeKind = "numeric",
    outcome_may_miss: bool | Collection[str] = False,
    predicted: Sequence[str] = (),
    terms: Terms | None = None,
    missing: str | None = None,
    several_outcomes: bool = False,
    design: Design | None = None,
    part: bool = False,
) -> RoleData:
    """Validate the arguments of ``fit`` and return the rows to work on.

    Parameters
    ----------
    estimator : estimator
        Receives ``n_features_in_`` and ``feature_names_in_``.
    X, y : array or frame, array or column name
        As passed to ``fit``; ``X`` may be None when the model has no covariates (then the roles
        say how many rows there are).
    roles : mapping
        Role -> array, column name, list of names, mapping of these, or None.
    sample_weight, clusters : array, column name or None
        Roles every family has.
    outcome_kind : {"numeric", "labels", "ordered", "none"}
        Whether the outcome is read as numbers, kept as it is, kept with the order of its
        categories (a pandas Series then), or not read.
    outcome_may_miss : bool or collection of str
        Whether a missing outcome is legitimate (not labelled) or costs the row; of several
        outcomes, those for which it is legitimate.
    predicted : sequence of str
        Covariates whose missing values are legitimate for the same reason.
    terms : Terms or None
        How the design is made from the covariates; None means as they are, with intercept.
    missing : {"raise", "drop", None}
        What a missing value in an observed column does; None means raise without and drop with a
        formula.
    several_outcomes : bool
        Whether ``y`` may be several columns (a list of names, a frame or an array (n, m)).
    design : Design or None
        Design bound to other rows of the same source, to be used for these.
    part : bool
        Whether the rows are part of a source, which as a whole must have weight.

    Returns
    -------
    RoleData

    Raises
    ------
    DataError, RoleError, ParameterError
        With the name of the argument, the offending value or count, and what to do.
    """
    terms = terms or Terms()
    X, table, n_rows = _open(estimator, X, y, roles, terms)
    reader = RoleReader(table, n_rows)
    given = {name: value for name, value in roles.items() if value is not None}
    values = {name: getattr(reader, ROLE_KINDS[name])(name, v) for name, v in given.items()}
    weights = None if sample_weight is None else reader.numeric("sample_weight", sample_weight)
    groups = None if clusters is None else reader.codes("clusters", clusters)
    taken = {v for v in (y, sample_weight, clusters, *given.values()) if isinstance(v, str)}
    if several_outcomes:
        taken |= set(columns_named_by(y))
    # A list of strings names columns only where a role may be several columns.
    several = [v for name, v in given.items() if ROLE_KINDS[name] in ("columns", "groups")]
    taken |= {c for v in several for c in columns_named_by(v)}

    parsed = _right_hand_side(table, taken, terms)
    if several_outcomes:
        outcomes, y_values = read_outcomes(estimator, reader, y, parsed, outcome_kind)
    else:
        name, y_values = read_outcome(estimator, reader, y, parsed, outcome_kind)
        outcomes = (name,)
    _note_outcomes(reader, outcomes, y_values, outcome_may_miss)
    covariates = read_covariates(estimator, reader, X, taken, parsed, terms, predicted)
    policy = missing or ("raise" if terms.formula is None else "drop")
    kept, dropped = _complete_rows(reader, n_rows, policy)
    if dropped:
        y_values, weights, groups, values, covariates = (
            _take(value, kept) for value in (y_values, weights, groups, values, covariates)
        )
    _check_weights(weights, part=part)
    n_columns = 0 if isinstance(covariates, pd.DataFrame) else covariates.shape[1]
    columns = covariate_names(estimator, n_columns)
    if design is None:
        design, matrix = _bind(columns, covariates, parsed, terms, predicted)
    else:
        matrix = design.matrix(_with_some_level(covariates, design, predicted))  # type: ignore[arg-type]
    _check_finite(matrix, design, predicted)
    return RoleData(
        X=matrix,
        names=design.names,
        y=y_values,
        outcome=", ".join(outcomes),
        outcomes=outcomes if len(outcomes) > 1 else (),
        roles=values,
        weights=weights,
        clusters=groups,
        cluster_name=clusters if isinstance(clusters, str) else "",
        kept=kept,
        n_dropped_by=dropped,
        design=design,
        frame=covariates if isinstance(covariates, pd.DataFrame) else None,
    )


def _open(
    estimator: Any, X: Any, y: Any, roles: Mapping[str, Any], terms: Terms
) -> tuple[Any, Any, int]:
    """Table or validated array, and the number of rows."""
    if X is None:
        if terms.by is None:
            raise DataError(f"{type(estimator).__name__}.fit got X=None. Pass the covariates.")
        n_rows = _rows_without_covariates(y, roles)
        return np.empty((n_rows, 0)), None, n_rows
    if is_source(X):
        raise DataError(
            f"{type(estimator).__name__} needs all rows in memory, but X is a source read in "
            f"chunks ({type(X).__name__}). Read it into a data frame first."
        )
    table = as_table(X)
    if table is not None:
        if table.n_rows == 0:
            raise DataError("Found array with 0 sample(s) while a minimum of 1 is required.")
        return X, table, table.n_rows
    try:
        array = validate_data(
            estimator,
            X,
            dtype=np.float64,
            accept_sparse="csc" if takes_sparse(estimator) else False,
            ensure_all_finite=False,
            ensure_min_samples=1,
        )
    except ValueError as error:
        if "could not convert" not in str(error):
            raise
        raise DataError(
            f"X must be numeric: {error}. Pass a data frame, in which text columns become "
            "categories, or encode them."
        ) from error
    return array, None, array.shape[0]


def _rows_without_covariates(y: Any, roles: Mapping[str, Any]) -> int:
    for value in (y, *roles.values()):
        part = next(iter(value.values()), None) if isinstance(value, Mapping) else value
        if part is not None and not isinstance(part, str):
            return int(np.shape(part)[0])
    raise DataError("X is None and no other argument says how many rows there are. Pass y.")


def _note_outcomes(
    reader: RoleReader,
    outcomes: tuple[str, ...],
    values: Any,
    may_miss: bool | Collection[str],
) -> None:
    """Count missing outcomes, where they are not merely unlabelled."""
    if values is None or may_miss is True:
        return
    missing = np.asarray(pd.isna(values))
    for j, name in enumerate(outcomes):
        if not (may_miss and name in may_miss):
            reader.note_missing(name, missing if missing.ndim == 1 else missing[:, j])


def _right_hand_side(table: Table | None, taken: set[str], terms: Terms) -> ParsedFormula | None:
    """Parse the user's formula, or write one for a frame with categorical covariates."""
    if terms.formula is not None:
        if table is None:
            raise DataError(
                "formula= needs a data frame with named columns as X; got an array or list."
            )
        if not terms.fit_intercept:
            raise ParameterError(
                "fit_intercept=False has no effect with a formula. Write '- 1' in the formula."
            )
        return parse_formula(terms.formula, table.names)
    if table is None or terms.by is not None:
        return None
    columns = tuple(c for c in table.names if c not in taken)
    if all(table.numeric(c) for c in columns):
        return None
    # Absorbed effects replace an intercept: categories keep a reference level, as with one.
    intercept = terms.fit_intercept or bool(terms.absorb)
    return parse_formula(quoted_sum(columns, intercept), table.names)


def _bind(
    columns: tuple[str, ...],
    covariates: Array | pd.DataFrame,
    parsed: ParsedFormula | None,
    terms: Terms,
    predicted: Sequence[str],
) -> tuple[Design, Array]:
    if not isinstance(covariates, pd.DataFrame):
        intercept = terms.fit_intercept and not terms.absorb
        names = (INTERCEPT, *columns) if intercept else columns
        plain = ArrayDesign(names, columns, intercept)
        return plain, plain.matrix(covariates)
    if parsed is None:
        groups = bind_groups(terms.by or (), covariates)
        for name in predicted:
            groups.affected(name)
        return groups, groups.matrix(covariates)
    design, matrix = bind_formula(parsed, covariates)
    if terms.absorb:
        design = design.without_intercept()
        matrix = design.without_skipped(matrix)
    for name in predicted:
        term = design.stateful_use(name)
        if term is not None:
            raise ParameterError(
                f"The term {term!r} estimates a transformation from {name!r}, which is known for "
                "labelled rows only. Use a fixed transformation such as I(x / 10)."
            )
    return design, matrix


def _with_some_level(
    covariates: Array | pd.DataFrame, design: Design, predicted: Sequence[str]
) -> Array | pd.DataFrame:
    """Predicted categories that are not known, as some category: these cells are never used."""
    if not isinstance(design, FormulaDesign) or not isinstance(covariates, pd.DataFrame):
        return covariates
    levels = {name: design.first_level(name) for name in predicted}
    filled = {
        name: covariates[name].astype(object).where(covariates[name].notna(), level)
        for name, level in levels.items()
        if level is not None
    }
    return covariates.assign(**filled)


def _complete_rows(
    reader: RoleReader, n_rows: int, policy: str
) -> tuple[BoolArray, dict[str, int]]:
    kept = np.ones(n_rows, dtype=bool)
    if not reader.missing:
        return kept, {}
    counts = {name: int(mask.sum()) for name, mask in reader.missing.items()}
    for mask in reader.missing.values():
        kept &= ~mask
    if policy == "raise":
        name, count = next(iter(counts.items()))
        first = int(np.flatnonzero(reader.missing[name])[0])
        more = f" ({len(counts) - 1} more columns have some)" if len(counts) > 1 else ""
        raise DataError(
            f"Column {name!r} has {count} missing values (NaN), first at row {first}{more}. "
            "Fill or remove these rows, or set missing='drop' to leave them out."
        )
    if not kept.any():
        raise NoCompleteRowError(
            f"No complete row is left; missing values by column: {counts}.", counts
        )
    n_dropped = int(n_rows - kept.sum())
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    warn(f"{n_dropped} of {n_rows} rows dropped for missing values: {listed}.", DroppedRowsWarning)
    return kept, counts


def _take(value: Any, kept: BoolArray) -> Any:
    if value is None:
        return None
    if isinstance(value, Codes):
        return value.take(kept)
    if isinstance(value, dict):
        return {key: _take(inner, kept) for key, inner in value.items()}
    if isinstance(value, pd.DataFrame):
        return value[kept].reset_index(drop=True)
    return value[kept]


def _check_weights(weights: Array | None, *, part: bool) -> None:
    if weights is None:
        return
    bad = np.flatnonzero((weights < 0) | np.isinf(weights))
    if bad.size:
        raise DataError(
            f"sample_weight has {bad.size} negative or infinite values (first at row {bad[0]}: "
            f"{weights[bad[0]]:g}). Weights must be finite and >= 0."
        )
    if not part and not weights.any():
        raise DataError("sample_weight is zero for every row.")


def _check_finite(matrix: Array, design: Design, predicted: Sequence[str]) -> None:
    """Refuse non-finite values that a formula made (log of zero) out of complete columns."""
    if isinstance(design, ArrayDesign) or all_finite(matrix):
        return
    legitimate = {j for name in predicted for j in design.affected(name)}
    for j, name in enumerate(design.names):
        bad = np.flatnonzero(~np.isfinite(matrix[:, j]))
        if bad.size and j not in legitimate:
            raise DataError(
                f"The term {name!r} has {bad.size} values that are not finite (first at used row "
                f"{bad[0]}). Check its logarithms, roots and divisions."
            )
