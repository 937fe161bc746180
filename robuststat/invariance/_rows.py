"""Intake of the family: rows with an environment each, and the representation of the covariates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone

from robuststat._core.columns import Terms
from robuststat._core.data import RoleData, read_data
from robuststat._core.design import ArrayDesign
from robuststat._core.errors import (
    CollinearityError,
    DataError,
    DroppedRowsWarning,
    IdentificationError,
    ParameterError,
    RoleError,
    warn,
)
from robuststat._core.formula import INTERCEPT
from robuststat._core.linalg import collinear_columns
from robuststat._core.table import Codes, as_table
from robuststat._core.types import Array, IntArray
from robuststat.invariance._moments import EnvMoments, env_moments


@dataclass(frozen=True, slots=True)
class MappedDesign:
    """Design of a representation: ones, and a function of the covariates.

    Attributes
    ----------
    names : tuple of str
        Names of the design columns.
    columns : tuple of str
        Covariates it is made from.
    intercept : bool
        Whether there is a column of ones.
    function : callable
        Covariates (n, p) -> representation (n, k').
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]
    intercept: bool
    function: Callable[[Array], Array]

    def matrix(self, X: Array) -> Array:
        """Design matrix of covariates (n, p), of shape (n, k)."""
        mapped = self.function(X)
        if not self.intercept:
            return np.ascontiguousarray(mapped)
        return np.column_stack([np.ones(len(mapped)), mapped])


@dataclass(frozen=True, slots=True)
class EnvRows:
    """Rows the tests work on.

    Attributes
    ----------
    X : ndarray of shape (n, k')
        Representation, without a column of ones.
    y : ndarray of shape (n,)
        Outcome.
    codes : ndarray of int of shape (n,)
        Environment of each row.
    levels : tuple
        Names of the environments.
    names : tuple of str
        Names of the columns of ``X``.
    weights, clusters : ndarray of shape (n,) or None
        Weights, cluster codes.
    intercept : bool
        Whether the model has an intercept.
    data : RoleData
        As read, with the design of the representation.
    dropped : tuple
        Environments left out because they were too small.
    """

    X: Array
    y: Array
    codes: IntArray
    levels: tuple[Any, ...]
    names: tuple[str, ...]
    weights: Array | None
    clusters: IntArray | None
    intercept: bool
    data: RoleData
    dropped: tuple[Any, ...] = ()

    @property
    def n_env(self) -> int:
        """Number of environments."""
        return len(self.levels)

    def design(self) -> Array:
        """Return the representation with its column of ones, of shape (n, k)."""
        return np.column_stack([np.ones(len(self.X)), self.X]) if self.intercept else self.X

    def moments(self) -> EnvMoments:
        """Moments of the environments."""
        return env_moments(self.X, self.y, self.codes, self.levels, self.names, self.weights)


def environment_labels(env: Mapping[Any, Any], X: Any) -> Any:
    """Turn a mapping from environment to row positions into one label a row."""
    table = as_table(X)
    shape = np.shape(X) if table is None else (table.n_rows,)
    if not shape:
        raise DataError(f"env= gives row positions, but X={X!r} has no rows.")
    n_rows = shape[0]
    labels = np.full(n_rows, -1)
    for code, (name, rows) in enumerate(env.items()):
        index = np.asarray(rows)
        if (
            index.dtype.kind not in "iu"
            or index.ndim != 1
            or (index.size and not -1 < index.min() <= index.max() < n_rows)
        ):
            raise RoleError(
                f"env[{name!r}] must hold row positions in 0..{n_rows - 1}; got {rows!r}."
            )
        if (labels[index] >= 0).any():
            raise RoleError(f"env[{name!r}] holds rows that another environment has already.")
        labels[index] = code
    if (labels < 0).any():
        raise RoleError(
            f"env leaves {int((labels < 0).sum())} of {n_rows} rows without an environment (first: "
            f"row {int(np.argmax(labels < 0))}). Give each row one."
        )
    # Not np.array(list(env)): tuples would become rows.
    return np.fromiter(env, dtype=object, count=len(env))[labels]


def read_rows(
    estimator: Any, X: Any, y: Any, env: Any, sample_weight: Any, clusters: Any
) -> EnvRows:
    """Read the arguments of ``fit`` of an estimator with the family's options."""
    if isinstance(env, Mapping):
        env = environment_labels(env, X)
    terms = Terms(formula=estimator.formula, fit_intercept=estimator.fit_intercept)

    def read(value: Any) -> RoleData:
        return read_data(
            estimator,
            X,
            y,
            roles={"env": value},
            sample_weight=sample_weight,
            clusters=clusters,
            terms=terms,
            missing=estimator.missing,
        )

    data = read(env)
    if env is None:
        data = read(estimator._missing_role("env", data.X, data.y))
    return _represented(estimator, data)


def _represented(estimator: Any, data: RoleData) -> EnvRows:
    intercept, matrix, names = _without_intercept(data)
    function, labels = bind_representation(estimator.representation, matrix, names)
    design: Any = data.design
    if function is not None:
        if not isinstance(data.design, ArrayDesign):
            raise ParameterError(
                "representation= needs numeric covariates, taken as they are. Write the terms in "
                "the formula instead, or leave out text columns."
            )
        matrix = function(matrix)
        full = (INTERCEPT, *labels) if intercept else labels
        design = MappedDesign(full, data.design.columns, intercept, function)
    env: Codes = data.roles["env"]
    rows = EnvRows(
        X=matrix,
        y=data.y,
        codes=env.codes,
        levels=env.levels,
        names=labels,
        weights=data.weights,
        clusters=None if data.clusters is None else data.clusters.codes,
        intercept=intercept,
        data=replace(data, design=design),
    )
    if rows.weights is not None and not rows.weights.all():
        rows = keep_rows(rows, rows.weights > 0)
    return rows


def _without_intercept(data: RoleData) -> tuple[bool, Array, tuple[str, ...]]:
    """Whether there is an intercept, and the design without it."""
    if INTERCEPT not in data.names:
        return False, data.X, data.names
    at = data.names.index(INTERCEPT)
    keep = [j for j in range(len(data.names)) if j != at]
    if at == 0:
        return True, data.X[:, 1:], data.names[1:]
    return True, data.X[:, keep], tuple(data.names[j] for j in keep)


def keep_rows(rows: EnvRows, kept: Any) -> EnvRows:
    """Rows of a mask, without the environments that vanish."""
    env = Codes(rows.codes, rows.levels).take(kept)
    return replace(
        rows,
        X=rows.X[kept],
        y=rows.y[kept],
        codes=env.codes,
        levels=env.levels,
        weights=None if rows.weights is None else rows.weights[kept],
        clusters=None if rows.clusters is None else rows.clusters[kept],
    )


# ---------------------------------------------------------------------- representation


def _chosen(X: Array, positions: Sequence[int]) -> Array:
    return X[:, list(positions)]


def _mapped(X: Array, phi: Array) -> Array:
    return X @ phi.T


def _called(X: Array, function: Callable[[Array], Any]) -> Array:
    found = np.asarray(function(X), dtype=np.float64)
    found = found[:, None] if found.ndim == 1 else found
    if found.ndim != 2 or found.shape[0] != X.shape[0] or not np.isfinite(found).all():
        raise ParameterError(
            f"representation= returned an array of shape {found.shape} for {X.shape[0]} rows, or "
            "values that are not finite. It must return one finite row a row of X."
        )
    return found


def linear_map(representation: Any, names: Sequence[str]) -> tuple[Array | None, tuple[str, ...]]:
    """Matrix (k', p) of a representation given as names, positions or an array; None: all.

    Raises
    ------
    ParameterError
        For an unknown column, a column named twice, or a matrix of the wrong width.
    """
    p = len(names)
    if representation is None:
        return None, tuple(names)
    array = np.asarray(representation)
    if array.ndim == 2 and array.size:
        if array.dtype.kind not in "fiub":
            raise ParameterError("representation= as an array (k', p) must hold numbers.")
        phi = np.asarray(array, dtype=np.float64)
        if phi.shape[1] != p or not np.isfinite(phi).all():
            raise ParameterError(
                f"representation has shape {phi.shape} for {p} covariates. Pass a finite array "
                f"with {p} columns, one row a feature."
            )
        return phi, tuple(f"z{j}" for j in range(len(phi)))
    chosen = list(representation)
    positions = [list(names).index(c) if c in names else c for c in chosen]
    # Booleans are no positions: a mask would pick the columns 0 and 1.
    bad = [
        c
        for c in positions
        if isinstance(c, bool) or not isinstance(c, (int, np.integer)) or not 0 <= c < p
    ]
    if bad or len(set(positions)) < len(positions):
        what = f"{bad[0]!r} is not a covariate" if bad else "a covariate is named twice"
        raise ParameterError(
            f"representation={representation!r}: {what}. The covariates are {', '.join(names)} "
            f"(or positions 0..{p - 1})."
        )
    return np.eye(p)[[int(c) for c in positions]], tuple(names[int(c)] for c in positions)


def bind_representation(
    representation: Any, X: Array, names: tuple[str, ...]
) -> tuple[Callable[[Array], Array] | None, tuple[str, ...]]:
    """Return the function of the covariates that a representation stands for, and its names."""
    if representation is None:
        return None, names
    if hasattr(representation, "transform"):
        fitted = clone(representation).fit(X)
        function = partial(_called, function=fitted.transform)
        return function, _numbered(function(X[:1]))
    if callable(representation):
        function = partial(_called, function=representation)
        return function, _numbered(function(X))
    phi, labels = linear_map(representation, names)
    assert phi is not None
    if np.asarray(representation).ndim == 2 and phi.size:
        return partial(_mapped, phi=phi), labels
    return partial(
        _chosen, positions=[int(j) for j in phi.argmax(axis=1)] if len(phi) else []
    ), labels


def _numbered(found: Array) -> tuple[str, ...]:
    return tuple(f"z{j}" for j in range(found.shape[1]))


# ----------------------------------------------------------------------------- checks


def check_environments(
    moments: EnvMoments, *, intercept: bool, drop_small: bool
) -> tuple[EnvMoments, tuple[Any, ...]]:
    """Refuse, or leave out, environments with too few rows; refuse collinear covariates.

    Returns
    -------
    moments, dropped : EnvMoments, tuple
        Of the environments that are used, and the names of those that are not.
    """
    k = moments.n_features + int(intercept)
    if moments.n_env < 2:
        raise DataError(
            f"at least two environments are needed, but env has {moments.n_env} (n_samples = "
            f"{moments.n_obs}). Pass an env that varies."
        )
    small = moments.n_rows <= k
    dropped = tuple(level for level, on in zip(moments.levels, small, strict=True) if on)
    if dropped and not drop_small:
        shown = ", ".join(f"{v!r}" for v in dropped[:8]) + (", ..." if len(dropped) > 8 else "")
        raise DataError(
            f"{len(dropped)} of {moments.n_env} environments have no more rows than the {k} "
            f"coefficients: {shown}. Merge them, use fewer covariates, or set drop_small=True."
        )
    if dropped:
        lost = int(moments.n_rows[small].sum())
        warn(
            f"{len(dropped)} environments with at most {k} rows ({lost} rows) are left out.",
            DroppedRowsWarning,
        )
        moments = moments.take(np.flatnonzero(~small))
    if moments.n_env < 2:
        raise DataError(
            f"at least two environments are needed, but only {moments.n_env} has more than {k} "
            "rows. Use fewer covariates, or merge environments."
        )
    check_columns(moments, intercept=intercept)
    if intercept:
        check_outcome(moments)
    return moments, dropped


def check_outcome(moments: EnvMoments) -> None:
    """Refuse an outcome with one value, which every regression predicts."""
    pooled = moments.pooled()
    spread = pooled.scatter[0, -1, -1] / pooled.weight[0]
    if spread <= (1e-14 * pooled.mean[0, -1]) ** 2:
        raise DataError(
            f"y has the same value ({pooled.mean[0, -1]:g}) in all {moments.n_obs} rows, so that "
            "there is nothing to compare. Pass an outcome that varies."
        )


def check_columns(moments: EnvMoments, *, intercept: bool) -> None:
    """Refuse constant and collinear covariates, by name."""
    pooled = moments.pooled()
    if not moments.n_features:
        return
    gram = pooled.scatter[0, :-1, :-1]
    if not intercept:
        gram = pooled.normal_equations(intercept=False)[0][0]
    size = np.diag(gram) + pooled.weight[0] * pooled.mean[0, :-1] ** 2
    flat = np.flatnonzero(np.diag(gram) <= 1e-14 * size)
    if flat.size:
        names = ", ".join(repr(moments.names[j]) for j in flat[:5])
        raise IdentificationError(
            f"Column {names} is constant, so it has no coefficient of its own. Leave it out."
        )
    report = collinear_columns(gram, moments.names, gram=True)
    if report.dependent:
        raise CollinearityError(f"X has collinear columns: {report.message()}")


def read_chunk(estimator: Any, native: Any, y: str, env: str, weight: str | None) -> EnvRows:
    """Read one chunk of a source, with all its covariates."""
    bare = clone(estimator).set_params(representation=None)
    return read_rows(bare, native, y, env, weight, None)
