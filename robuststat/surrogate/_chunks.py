"""Rows of a source, chunk by chunk, read exactly as ``fit`` reads rows in memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from robuststat._core.columns import Terms
from robuststat._core.data import RoleData
from robuststat._core.design import Design, GroupDesign, bind_groups
from robuststat._core.errors import (
    DroppedRowsWarning,
    NoCompleteRowError,
    ParameterError,
    RoleError,
)
from robuststat._core.formula import bind_formula, parse_formula, quoted_sum
from robuststat._core.roles import columns_named_by
from robuststat._core.table import Codes, Table, sorted_levels
from robuststat._core.types import Array, BoolArray, IntArray
from robuststat.surrogate._labels import LabelTotals, label_totals, labelled_mask
from robuststat.surrogate._targets import OUTCOME, holds_labels

FRAME_ROLES = ("prediction", "features")


@dataclass(frozen=True, slots=True)
class ChunkReader:
    """What turns a table into the rows of an estimator; small and picklable.

    Attributes
    ----------
    estimator : estimator
        Unfitted; says which terms and roles there are.
    y : str or list of str or None
        Outcome column(s).
    roles : dict
        Role -> column name(s), ``sample_weight`` and ``clusters`` included.
    levels : dict of str to list
        Levels of the text columns among surrogates and features.
    design : Design or None
        Bound to the levels of the whole source.
    """

    estimator: Any
    y: Any
    roles: dict[str, Any]
    levels: dict[str, list[Any]] = field(default_factory=dict)
    design: Design | None = None

    def read(self, table: Table) -> RoleData:
        """Rows of one chunk; outcome as it is in the source."""
        roles = {n: v for n, v in self.roles.items() if n not in ("sample_weight", "clusters")}
        with warnings.catch_warnings(action="ignore", category=DroppedRowsWarning):
            data = self.estimator._read(
                table.native,
                self.y,
                roles,
                sample_weight=self.roles.get("sample_weight"),
                clusters=self.roles.get("clusters"),
                design=self.design,
                part=True,
            )
        found = {
            name: _with_levels(value, self.levels) if name in FRAME_ROLES else value
            for name, value in data.roles.items()
        }
        return replace(data, roles=found)  # type: ignore[no-any-return]


def _with_levels(value: Any, levels: dict[str, list[Any]]) -> Any:
    """Text columns as categories with the levels of the whole source."""
    if isinstance(value, dict):
        return {key: _with_levels(frame, levels) for key, frame in value.items()}
    changed = {
        name: pd.Categorical(value[name].astype(object), categories=levels[name])
        for name in value.columns
        if name in levels
    }
    return value.assign(**changed) if changed else value


@dataclass(slots=True)
class Levels:
    """Levels of text columns in a chunk, and rows that show every category of the design.

    Attributes
    ----------
    columns : dict of str to list
        Levels that occur.
    order : dict of str to list
        Declared order of the levels of categorical columns.
    exemplars : DataFrame or None
        One row for every category that the design makes.
    """

    columns: dict[str, list[Any]]
    order: dict[str, list[Any]]
    exemplars: pd.DataFrame | None


def scan_levels(table: Table, reader: ChunkReader) -> Levels:
    """Levels of the complete rows of one chunk."""
    if not table.n_rows:
        return Levels({}, {}, None)
    try:
        data = reader.read(table)
    except NoCompleteRowError:
        return Levels({}, {}, None)
    columns: dict[str, list[Any]] = {}
    order: dict[str, list[Any]] = {}
    for role in FRAME_ROLES:
        value = data.roles.get(role)
        frames = value.values() if isinstance(value, dict) else [] if value is None else [value]
        for frame in frames:
            for name, column in frame.items():
                if holds_labels(column):
                    columns[str(name)] = list(column.dropna().unique())
                if isinstance(column.dtype, pd.CategoricalDtype):
                    order[str(name)] = list(column.cat.categories)
    exemplars = None
    if data.frame is not None:
        exemplars = _exemplars(data.frame, data.design)
    return Levels(columns, order, exemplars)


def _exemplars(frame: pd.DataFrame, design: Any) -> pd.DataFrame:
    """One row for every category that the design makes of these rows."""
    if isinstance(design, GroupDesign):
        return frame.drop_duplicates()
    categorical = design.categorical_columns()
    return frame.drop_duplicates(subset=sorted(categorical)) if categorical else frame.iloc[:1]


def merge_levels(scans: Iterator[Levels]) -> Levels:
    """Levels of all chunks, in order."""
    columns: dict[str, set[Any]] = {}
    order: dict[str, list[Any]] = {}
    exemplars: list[pd.DataFrame] = []
    for scan in scans:
        for name, declared in scan.order.items():
            # Dictionaries that differ from chunk to chunk are a way of storing text.
            if order.setdefault(name, declared) != declared:
                order[name] = []
        for name, values in scan.columns.items():
            columns.setdefault(name, set()).update(values)
        if scan.exemplars is not None:
            joined = pd.concat([*exemplars, scan.exemplars], ignore_index=True)
            exemplars = [joined.drop_duplicates(ignore_index=True)]
    rows = exemplars[0] if exemplars else None
    if rows is not None:
        # A predicted category is missing where it was not labelled; any level will do there.
        known = {c: rows[c].dropna() for c in rows.columns if holds_labels(rows[c])}
        rows = rows.fillna({c: part.iloc[0] for c, part in known.items() if len(part)})
    found = {
        name: [v for v in order.get(name, ()) if v in values] or [*sorted_levels(values, name)]
        for name, values in columns.items()
    }
    return Levels(found, order, rows)


def bind_source(
    levels: Levels, terms: Terms, available: tuple[str, ...], covariates: tuple[str, ...]
) -> Design | None:
    """Design with the levels of the whole source; None when there is nothing to bind.

    Raises
    ------
    ParameterError
        When a term estimates a transformation, which needs all rows at once.
    """
    if levels.exemplars is None:
        return None
    if terms.by is not None:
        return bind_groups(terms.by, levels.exemplars)
    formula = terms.formula or quoted_sum(covariates, terms.fit_intercept)
    design, _ = bind_formula(parse_formula(formula, available), levels.exemplars)
    estimated = design.estimated_terms()
    if estimated:
        raise ParameterError(
            f"The term {estimated[0]!r} estimates a transformation from the data, which a source "
            "read in chunks cannot do. Use a fixed one such as I(x / 10), or put the transformed "
            "column into the source."
        )
    return design


@dataclass(slots=True)
class ChunkScan:
    """What is kept of one chunk: its labelled rows, and sums over all.

    Attributes
    ----------
    n_rows, n_used : int
        Rows of the chunk, and those used.
    dropped : dict of str to int
        Missing values that cost rows.
    gold : RoleData or None
        The labelled rows.
    totals : dict
        Stratum -> (drawn, total, low, high) of ``LabelTotals``; the key is None without strata.
    gram : ndarray of shape (k, k) or None
        ``X' diag(a) X``.
    low, high : ndarray of shape (k,)
        Range of the columns of the design.
    groups : dict
        Level of every cluster or sampling unit seen -> its stratum.
    """

    n_rows: int
    n_used: int
    dropped: dict[str, int]
    gold: RoleData | None
    totals: dict[Any, tuple[float, float, float, float]]
    gram: Array | None
    low: Array
    high: Array
    groups: dict[Any, Any]


def scan_chunk(table: Table, reader: ChunkReader) -> ChunkScan:
    """Read one chunk and keep what the fit needs of it."""
    empty = np.zeros(0)
    if not table.n_rows:
        return ChunkScan(0, 0, {}, None, {}, None, empty, empty, {})
    try:
        data = reader.read(table)
    except NoCompleteRowError as error:
        return ChunkScan(table.n_rows, 0, error.counts, None, {}, None, empty, empty, {})
    labeled = chunk_labels(data)
    strata, prob = data.roles.get("strata"), data.roles.get("sample_prob")
    cells = strata if reader.estimator.design == "stratified" else None
    totals = label_totals(labeled, prob, cells, data.weights)
    keys = (None,) if cells is None else cells.levels
    with np.errstate(over="ignore", invalid="ignore"):
        a = data.weights
        gram = (data.X if a is None else data.X * a[:, None]).T @ data.X
    return ChunkScan(
        table.n_rows,
        data.X.shape[0],
        data.n_dropped_by,
        take_rows(data, labeled) if labeled.any() else None,
        {key: _numbers(totals, h) for h, key in enumerate(keys)},
        gram,
        data.X.min(axis=0),
        data.X.max(axis=0),
        _groups(data),
    )


def _numbers(totals: LabelTotals, h: int) -> tuple[float, float, float, float]:
    return totals.drawn[h], totals.total[h], totals.low[h], totals.high[h]


def _groups(data: RoleData) -> dict[Any, Any]:
    """Level of every cluster or sampling unit -> its stratum (None without strata)."""
    psu, strata = data.roles.get("psu"), data.roles.get("strata")
    units = psu if psu is not None else data.clusters
    if units is None:
        return {}
    if psu is None or strata is None:
        return dict.fromkeys(units.levels)
    found: dict[Any, Any] = {}
    pairs = np.unique(np.column_stack([units.codes, strata.codes]), axis=0)
    for unit, stratum in pairs:
        level, home = units.levels[unit], strata.levels[stratum]
        if level in found and found[level] != home:
            raise RoleError(
                f"psu {level!r} lies in more than one of the strata. Give units of different "
                "strata different psu labels."
            )
        found[level] = home
    return found


def chunk_labels(data: RoleData) -> BoolArray:
    """R of the rows of a chunk."""
    prediction = data.roles.get("prediction")
    names = list(prediction) if isinstance(prediction, dict) else [OUTCOME]
    known: dict[str, BoolArray] = {}
    for name in names:
        values = _raw(data, name)
        known[data.outcome if name == OUTCOME else name] = ~np.asarray(pd.isna(values))
    return labelled_mask(data.roles.get("labeled"), known, data.X.shape[0])


def _raw(data: RoleData, name: str) -> Any:
    if name == OUTCOME and not data.outcomes:
        return data.y
    if name in data.outcomes:
        return data.y[:, data.outcomes.index(name)]
    if data.frame is not None:
        if name not in data.frame:
            raise RoleError(
                f"prediction names {name!r}, which is neither the outcome nor a column of the "
                f"formula. Its columns are {', '.join(map(str, data.frame.columns))}."
            )
        return data.frame[name]
    return data.X[:, data.design.affected(name)[0]]


def take_rows(data: RoleData, rows: BoolArray) -> RoleData:
    """Copy some rows of a chunk."""

    def take(value: Any) -> Any:
        if isinstance(value, Codes):
            return value.take(rows)
        if isinstance(value, dict):
            return {key: take(inner) for key, inner in value.items()}
        if isinstance(value, pd.DataFrame):
            return value[rows].reset_index(drop=True)
        return None if value is None else value[rows]

    return replace(
        data,
        X=data.X[rows],
        y=take(data.y),
        roles={name: take(value) for name, value in data.roles.items()},
        weights=take(data.weights),
        clusters=take(data.clusters),
        frame=take(data.frame),
    )


def join_rows(parts: list[RoleData]) -> RoleData:
    """Labelled rows of all chunks, in order."""

    def join(values: list[Any]) -> Any:
        first = values[0]
        if first is None:
            return None
        if isinstance(first, Codes):
            levels = sorted_levels((v for value in values for v in value.levels), "A group column")
            return Codes(np.concatenate([recode(value, levels) for value in values]), levels)
        if isinstance(first, dict):
            return {key: join([value[key] for value in values]) for key in first}
        if isinstance(first, pd.DataFrame):
            return pd.concat(values, ignore_index=True)
        return np.concatenate(values)

    first = parts[0]
    return replace(
        first,
        X=np.concatenate([part.X for part in parts]),
        y=join([part.y for part in parts]),
        roles={name: join([part.roles[name] for part in parts]) for name in first.roles},
        weights=join([part.weights for part in parts]),
        clusters=join([part.clusters for part in parts]),
        frame=join([part.frame for part in parts]),
    )


def recode(codes: Codes, levels: tuple[Any, ...]) -> IntArray:
    """Codes of the rows in another, larger set of sorted levels."""
    position = {level: i for i, level in enumerate(levels)}
    table = np.array([position[level] for level in codes.levels], dtype=np.int64)
    return np.asarray(table[codes.codes])


def source_columns(
    estimator: Any, available: tuple[str, ...], y: Any, roles: dict[str, Any]
) -> list[str] | None:
    """Columns that are read; None when all are covariates or roles.

    Raises
    ------
    RoleError
        When a role is not given by column names.
    """
    for name, value in {"y": y, **roles}.items():
        if value is not None and not columns_named_by(value):
            raise RoleError(
                f"{name} must be given by column name for a source read in chunks; got "
                f"{type(value).__name__}. Put the column into the source and pass its name."
            )
    terms: Terms = estimator._terms()
    if terms.formula is None and terms.by is None:
        return None
    named = [c for value in (y, *roles.values()) for c in columns_named_by(value)]
    if terms.by is not None:
        named += terms.by
    if terms.formula is not None:
        parsed = parse_formula(terms.formula, available)
        named += [*parsed.columns, *parsed.outcome_columns]
    return list(dict.fromkeys(named))
