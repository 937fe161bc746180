"""Bases of the nuisance models: columns that may depend on the instrument, evaluated in blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from robuststat._core.data import RoleData
from robuststat._core.design import ArrayDesign, new_design_matrix
from robuststat._core.errors import DataError, ParameterError
from robuststat._core.formula import (
    INTERCEPT,
    FormulaDesign,
    bind_formula,
    parse_formula,
    quoted_sum,
)
from robuststat._core.glm import row_blocks
from robuststat._core.linalg import collinear_columns
from robuststat._core.table import as_table
from robuststat._core.types import Array

BasisName = Literal["instrument", "treatment", "effect", "direct", "confounding"]
BASES: tuple[BasisName, ...] = ("instrument", "treatment", "effect", "direct", "confounding")
USES_INSTRUMENT = ("treatment", "direct")
INSTRUMENT = "Z"


@dataclass(frozen=True, slots=True)
class Basis:
    """Columns of one nuisance model; nothing of the size of the data is made beyond the given.

    Attributes
    ----------
    names : tuple of str
        Names of the columns.
    plain : ndarray of shape (n, k0)
        The columns, or (with ``at_one``) their values where Z = 0.
    at_one : ndarray of shape (n, k) or None
        Their values where Z = 1, when the instrument enters by a formula.
    crossed : bool
        Whether Z times every plain column follows the plain columns.
    """

    names: tuple[str, ...]
    plain: Array
    at_one: Array | None = None
    crossed: bool = False

    @property
    def size(self) -> int:
        """Number of columns."""
        return len(self.names)

    def at(self, rows: slice, z: Array | float) -> Array:
        """Values (m, k) of some rows when their instrument is ``z``."""
        block = self.plain[rows]
        if self.crossed:
            k = block.shape[1]
            values = np.empty((block.shape[0], 2 * k))
            values[:, :k] = block
            np.multiply(block, z if np.ndim(z) == 0 else np.asarray(z)[:, None], out=values[:, k:])
            return values
        if self.at_one is not None:
            one = self.at_one[rows]
            return np.where((np.asarray(z) > 0.5).reshape(-1, 1), one, block)
        return block

    def linear(self, rows: slice, coef: Array) -> tuple[Array, Array]:
        """Linear predictor of some rows at Z = 0 and at Z = 1."""
        block = self.plain[rows]
        if self.crossed:
            k = block.shape[1]
            zero = block @ coef[:k]
            return zero, zero + block @ coef[k:]
        zero = block @ coef
        return zero, zero if self.at_one is None else self.at_one[rows] @ coef

    def pull(self, rows: slice, zero: Array, one: Array) -> Array:
        """Sum over rows of the values at Z = 0 times ``zero`` (m, q) plus those at 1 times ``one``.

        Of shape (k, q).
        """
        block = self.plain[rows]
        if self.crossed:
            return np.vstack([block.T @ (zero + one), block.T @ one])
        if self.at_one is not None:
            return np.asarray(block.T @ zero + self.at_one[rows].T @ one)
        return np.asarray(block.T @ (zero + one))

    def select(self, keep: Sequence[int]) -> Basis:
        """Return the basis with some of its columns."""
        keep = list(keep)
        names = tuple(self.names[j] for j in keep)
        k = self.plain.shape[1]
        if self.crossed and all(j < k for j in keep):
            return Basis(names, np.ascontiguousarray(self.plain[:, keep]))
        if self.crossed:
            whole = slice(0, len(self.plain))
            zero, one = self.at(whole, 0.0)[:, keep], self.at(whole, 1.0)[:, keep]
            return Basis(names, np.ascontiguousarray(zero), np.ascontiguousarray(one))
        at_one = None if self.at_one is None else np.ascontiguousarray(self.at_one[:, keep])
        return Basis(names, np.ascontiguousarray(self.plain[:, keep]), at_one)


def empty_basis(n_rows: int) -> Basis:
    """Return a basis without columns: the model is identically zero."""
    return Basis((), np.empty((n_rows, 0)))


def gram(basis: Basis, z: Array, weights: Array | None) -> Array:
    """Gram matrix of a basis at the observed instrument, in row blocks."""
    total = np.zeros((basis.size, basis.size))
    for rows in row_blocks(len(z), basis.size):
        block = basis.at(rows, z[rows])
        total += block.T @ (block if weights is None else block * weights[rows, None])
    return total


def without_collinear(
    basis: Basis, z: Array, weights: Array | None
) -> tuple[Basis, Array, tuple[str, ...]]:
    """Drop columns that the ones before determine.

    Returns
    -------
    basis : Basis
        Without them.
    scale : ndarray of shape (k,)
        Root mean square of the columns that are left.
    dropped : tuple of str
        Names of those left out.
    """
    if basis.size == 0:
        return basis, np.empty(0), ()
    matrix = gram(basis, z, weights)
    dependent = collinear_columns(matrix, basis.names, gram=True).dependent
    keep = [j for j, name in enumerate(basis.names) if name not in dependent]
    total = float(len(z) if weights is None else weights.sum())
    scale = np.sqrt(np.diag(matrix)[keep] / total)
    reduced = basis if len(keep) == basis.size else basis.select(keep)
    return reduced, scale, tuple(dependent)


@dataclass(frozen=True, slots=True)
class EffectDesign:
    """How the basis of the effect is made again from new rows.

    Attributes
    ----------
    kind : {"covariates", "constant", "formula"}
        All covariates of the fit, a column of ones, or a formula of its own.
    names : tuple of str
        Columns that are used.
    formula : FormulaDesign or None
        Of the last kind.
    """

    kind: Literal["covariates", "constant", "formula"]
    names: tuple[str, ...]
    formula: FormulaDesign | None = None

    def matrix(self, estimator: Any, design: Any, X: Any) -> Array:
        """Values of the columns in the rows of ``X``, of shape (n, k)."""
        # Also where only the number of rows matters: X is checked as at fit.
        base = new_design_matrix(estimator, design, X)
        if self.kind == "constant":
            return np.ones((base.shape[0], 1))
        names, values = tuple(design.names), base
        if names == ("mean",):
            names = (INTERCEPT,)
        if self.formula is not None:
            frame = _frame_of(design, base) if isinstance(design, ArrayDesign) else None
            table = as_table(X)
            if frame is None and table is not None:
                frame = table.pandas(self.formula.columns)
            assert frame is not None
            names, values = self.formula.names, self.formula.matrix(frame)
        return np.ascontiguousarray(values[:, [names.index(name) for name in self.names]])


def make_bases(
    data: RoleData, z: Array, terms: Mapping[str, Any] | None, effect_model: str, *, binary: bool
) -> tuple[dict[BasisName, Basis], EffectDesign]:
    """Bases of the five nuisance models, by default or from the user's ``terms``.

    Parameters
    ----------
    data : RoleData
        Rows with the design of the covariates.
    z : ndarray of shape (n,)
        Instrument.
    terms : mapping or None
        Formula or list of columns of some of the models.
    effect_model : {"linear", "constant"}
        Whether the effect depends on the covariates.
    binary : bool
        Whether the instrument is 0 or 1, so that models are evaluated at both values.

    Returns
    -------
    bases : dict of str to Basis
        By model.
    effect : EffectDesign
        How to evaluate the effect in new rows.

    Raises
    ------
    ParameterError
        For unknown models or columns, a formula that cannot be read, or an instrument in a model
        of covariates (or the other way round).
    """
    terms = dict(terms or {})
    _check_keys(terms, effect_model)
    names, plain = tuple(data.names), data.X
    if names == ("mean",):
        # No covariates at all: the single column of ones of a grand mean.
        names = (INTERCEPT,)
    with_z = (INSTRUMENT if c == INTERCEPT else f"{INSTRUMENT}:{c}" for c in names)
    crossed = Basis((*names, *with_z), plain, crossed=True)
    main = Basis(names, plain)
    bases: dict[BasisName, Basis] = {
        name: crossed if name in USES_INSTRUMENT else main for name in BASES
    }
    effect = EffectDesign("covariates", names)
    if effect_model == "constant":
        bases["effect"] = Basis((INTERCEPT,), np.ones((len(z), 1)))
        effect = EffectDesign("constant", (INTERCEPT,))
    if not terms:
        return bases, effect
    frame = data.frame
    if frame is None or not isinstance(data.design, FormulaDesign):
        frame = _frame_of(data.design, data.X)
    if INSTRUMENT in frame:
        raise ParameterError(
            f"terms uses the name {INSTRUMENT!r} for the instrument, but X has a covariate of that "
            "name. Rename the covariate."
        )
    for name in BASES:
        if name in terms:
            bases[name], design = _basis_of(name, terms[name], frame, z, binary)
            if name == "effect":
                effect = EffectDesign("formula", bases[name].names, design)
    return bases, effect


def _check_keys(terms: Mapping[str, Any], effect_model: str) -> None:
    unknown = [str(key) for key in terms if key not in BASES]
    if unknown:
        raise ParameterError(
            f"terms has the keys {', '.join(map(repr, unknown))}. Use {', '.join(BASES)}."
        )
    if effect_model == "constant" and "effect" in terms:
        raise ParameterError(
            "effect_model='constant' and terms['effect'] contradict each other. Give one of them."
        )


def _frame_of(design: Any, matrix: Array) -> pd.DataFrame:
    """Plain covariates as a frame."""
    if not isinstance(design, ArrayDesign):
        return pd.DataFrame(index=pd.RangeIndex(matrix.shape[0]))
    return pd.DataFrame(matrix[:, int(design.intercept) :], columns=list(design.columns))


def _basis_of(
    name: BasisName, spec: Any, frame: pd.DataFrame, z: Array, binary: bool
) -> tuple[Basis, FormulaDesign]:
    formula = _as_formula(name, spec)
    with_z = frame.assign(**{INSTRUMENT: z})
    try:
        parsed = parse_formula(formula, tuple(map(str, with_z.columns)))
    except ParameterError as error:
        raise ParameterError(f"terms[{name!r}]: {error}") from error
    if parsed.lhs is not None:
        raise ParameterError(
            f"terms[{name!r}]={spec!r} has a left-hand side. Write the right-hand side only."
        )
    uses = INSTRUMENT in parsed.columns
    if name not in USES_INSTRUMENT and uses:
        raise ParameterError(
            f"terms[{name!r}]={spec!r} uses {INSTRUMENT}, but this model is about covariates only. "
            f"{INSTRUMENT} belongs in {' and '.join(USES_INSTRUMENT)}."
        )
    if name == "treatment" and not uses:
        raise ParameterError(
            f"terms['treatment']={spec!r} does not use {INSTRUMENT}: the exposure would have the "
            f"same distribution for every value of the instrument. Add {INSTRUMENT}."
        )
    design, matrix = bind_formula(parsed, with_z)
    if not np.isfinite(matrix).all():
        bad = design.names[int(np.argmin(np.isfinite(matrix).all(axis=0)))]
        raise DataError(f"terms[{name!r}]: the term {bad!r} is not finite in every row.")
    if not (uses and binary):
        return Basis(design.names, matrix), design
    zero = design.matrix(frame.assign(**{INSTRUMENT: 0.0}))
    one = design.matrix(frame.assign(**{INSTRUMENT: 1.0}))
    return Basis(design.names, zero, one), design


def _as_formula(name: str, spec: Any) -> str:
    if isinstance(spec, str):
        return spec if "~" in spec else f"~ {spec}"
    if isinstance(spec, list | tuple) and all(isinstance(c, str) for c in spec):
        return quoted_sum(tuple(spec), True)
    raise ParameterError(
        f"terms[{name!r}] must be a right-hand side such as 'x1 + x2' or a list of column names; "
        f"got {spec!r}."
    )
