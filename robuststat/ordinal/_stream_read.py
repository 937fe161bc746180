"""Sources of chunks read as ``fit`` reads rows: categories, classes, clusters and moments first."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from robuststat._core.columns import Terms
from robuststat._core.data import RoleData, read_data
from robuststat._core.design import Design
from robuststat._core.errors import (
    DataError,
    DroppedRowsWarning,
    NoCompleteRowError,
    ParameterError,
    RoleError,
    warn,
)
from robuststat._core.formula import FormulaDesign, bind_formula, parse_formula, quoted_sum
from robuststat._core.stream import ChunkSource
from robuststat._core.table import Table, sorted_levels
from robuststat._core.types import Array
from robuststat.ordinal._base import _without_intercept
from robuststat.ordinal._likelihood_fit import (
    Rows,
)
from robuststat.ordinal._response import read_response

ROLES = ("sample_weight", "clusters", "offset")


@dataclass(frozen=True, slots=True)
class Reader:
    """What turns a chunk into rows; small and picklable.

    Attributes
    ----------
    estimator : estimator
        Unfitted copy, which receives what reading remembers.
    y : str or None
        Outcome column.
    roles : dict
        Role -> column name.
    design : Design or None
        Bound to the whole source.
    classes : ndarray or None
        Labels of the whole source.
    groups : dict
        Level of a cluster -> its number.
    """

    estimator: Any
    y: str | None
    roles: dict[str, Any]
    design: Design | None = None
    classes: Any = None
    groups: dict[Any, int] = field(default_factory=dict)

    def data(self, table: Table) -> RoleData:
        """Complete rows of a chunk."""
        with warnings.catch_warnings(action="ignore", category=DroppedRowsWarning):
            data = read_data(
                self.estimator,
                table.native,
                self.y,
                roles={"offset": self.roles.get("offset")},
                sample_weight=self.roles.get("sample_weight"),
                clusters=self.roles.get("clusters"),
                outcome_kind="ordered",
                terms=Terms(formula=self.estimator.formula),
                missing=self.estimator.missing,
                design=self.design,
                part=True,
            )
        return _without_intercept(data) if self.design is None else data

    def rows(self, table: Table) -> Rows | None:
        """Rows with weight, classes and clusters as numbers of the whole source; None without."""
        if not table.n_rows:
            return None
        try:
            data = self.data(table)
        except NoCompleteRowError:
            return None
        codes = pd.Index(self.classes.tolist()).get_indexer(
            pd.Index(pd.Series(data.y).astype(object))
        )
        w, offset, clusters = data.weights, data.roles.get("offset"), None
        if data.clusters is not None:
            numbers = np.array([self.groups[level] for level in data.clusters.levels])
            clusters = numbers[data.clusters.codes]
        kept = codes >= 0 if w is None else (codes >= 0) & (w > 0)
        if kept.all():
            return Rows(data.X, codes, w, None, offset, clusters)
        if not kept.any():
            return None
        w, offset, clusters = (None if v is None else v[kept] for v in (w, offset, clusters))
        return Rows(data.X[kept], codes[kept], w, None, offset, clusters)


@dataclass(slots=True)
class Scan:
    """What one chunk says about the source.

    Attributes
    ----------
    n_rows, n_used : int
        Rows of the chunk, and complete ones.
    dropped : dict of str to int
        Missing values by column.
    levels : list
        Classes of rows with weight.
    order : list or None
        Declared order of a categorical outcome.
    totals, sizes : list of float
        Weight and rows of each of the levels.
    clusters : tuple
        Levels of the clusters.
    exemplars : DataFrame or None
        Rows that show every category of the design.
    moments : tuple or None
        Weight, first and second moments around a shift, smallest and largest value of the columns.
    """

    n_rows: int
    n_used: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    levels: list[Any] = field(default_factory=list)
    order: list[Any] | None = None
    totals: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)
    clusters: tuple[Any, ...] = ()
    exemplars: pd.DataFrame | None = None
    moments: tuple[float, Array, Array, Array, Array] | None = None


def _scan(table: Table, state: tuple[Reader, Array | None]) -> Scan:
    reader, shift = state
    found = Scan(table.n_rows)
    if not table.n_rows:
        return found
    try:
        data = reader.data(table)
    except NoCompleteRowError as error:
        found.dropped = error.counts
        return found
    found.n_used, found.dropped = len(data.X), data.n_dropped_by
    w = np.ones(len(data.X)) if data.weights is None else data.weights
    kept = w > 0
    series = pd.Series(data.y)
    if isinstance(series.dtype, pd.CategoricalDtype) and series.cat.ordered:
        found.order = series.cat.categories.tolist()
    codes, levels = pd.factorize(series[kept].astype(object))
    found.levels = levels.tolist()
    found.totals = np.bincount(codes, weights=w[kept], minlength=len(levels)).tolist()
    found.sizes = np.bincount(codes, minlength=len(levels)).astype(float).tolist()
    found.clusters = () if data.clusters is None else data.clusters.levels
    if isinstance(data.design, FormulaDesign) and data.frame is not None:
        columns = sorted(data.design.categorical_columns())
        frame = data.frame
        found.exemplars = frame.drop_duplicates(subset=columns) if columns else frame.iloc[:1]
    if shift is not None and kept.any():
        Z = data.X[kept] - shift
        weighted = Z * w[kept, None]
        X = data.X[kept]
        found.moments = (
            float(w[kept].sum()),
            weighted.sum(axis=0),
            weighted.T @ Z,
            X.min(axis=0),
            X.max(axis=0),
        )
    return found


@dataclass(frozen=True, slots=True)
class Source:
    """A source with what is known of all its rows."""

    chunks: ChunkSource
    reader: Reader
    totals: Array
    sizes: Array
    centre: Array
    spread: Array
    gram: Array
    data: RoleData

    @property
    def n_obs(self) -> int:
        return round(float(self.sizes.sum()))

    def map(self, function: Any, *state: Any) -> Iterator[Any]:
        """Call ``function`` on every chunk."""
        return self.chunks.map(function, repeat((self.reader, *state)))


def refuse_roles(estimator: Any, y: Any, roles: dict[str, Any]) -> None:
    if estimator.penalty is not None or estimator.tau is not None:
        name = "penalty" if estimator.penalty is not None else "tau"
        raise ParameterError(
            f"{name} is not available for a source read in chunks. Leave it out, or pass the rows "
            "as one frame."
        )
    unknown = sorted(set(roles) - set(ROLES))
    if unknown:
        raise RoleError(f"Unknown roles {', '.join(unknown)}; there are {', '.join(ROLES)}.")
    for name, value in {"y": y, **roles}.items():
        if value is not None and not isinstance(value, str):
            raise RoleError(
                f"{name} must be given by column name for a source read in chunks; got "
                f"{type(value).__name__}. Put the column into the source and pass its name."
            )


def read_source(estimator: Any, source: Any, y: str | None, roles: dict[str, Any]) -> Source:
    """Find categories, classes, clusters and moments."""
    first = next(iter(ChunkSource(source)), None)
    if first is None:
        raise DataError("The source has no row.")
    columns, formula = None, estimator.formula
    taken = [*([] if y is None else [y]), *roles.values()]
    covariates = tuple(c for c in first.names if c not in taken)
    if formula is not None:
        parsed = parse_formula(formula, first.names)
        columns = list(dict.fromkeys([*taken, *parsed.columns, *parsed.outcome_columns]))
    chunks = ChunkSource(source, columns)
    reader = Reader(clone(estimator), y, roles)
    if formula is not None or not all(first.numeric(c) for c in covariates):
        scans = chunks.map(_scan, repeat((reader, None)))
        design = _bind(scans, formula or quoted_sum(covariates, True), first.names)
        reader = replace(reader, design=design)
    data = None
    for chunk in chunks:
        try:
            data = reader.data(chunk)
            break
        except NoCompleteRowError:
            continue
    if data is None:
        raise DataError("No chunk of the source has a complete row.")
    reader = replace(reader, design=data.design)
    shift = data.X.mean(axis=0)
    known = list(chunks.map(_scan, repeat((reader, shift))))
    return _join(known, chunks, reader, data, shift)


def _bind(scans: Iterator[Scan], formula: str, available: tuple[str, ...]) -> Design | None:
    """Design with the categories of the whole source."""
    parts = [scan.exemplars for scan in scans if scan.exemplars is not None]
    if not parts:
        return None
    rows = pd.concat(parts, ignore_index=True).drop_duplicates(ignore_index=True)
    design, _ = bind_formula(parse_formula(formula, available), rows)
    estimated = design.estimated_terms()
    if estimated:
        raise ParameterError(
            f"The term {estimated[0]!r} estimates a transformation from the data, which a source "
            "read in chunks cannot do. Use a fixed one such as I(x / 10)."
        )
    return design.without_intercept()


def _join(
    scans: list[Scan], chunks: ChunkSource, reader: Reader, data: RoleData, shift: Array
) -> Source:
    dropped: dict[str, int] = {}
    totals: dict[Any, float] = {}
    sizes: dict[Any, float] = {}
    for scan in scans:
        for name, count in scan.dropped.items():
            dropped[name] = dropped.get(name, 0) + count
        for level, total, size in zip(scan.levels, scan.totals, scan.sizes, strict=True):
            totals[level] = totals.get(level, 0.0) + total
            sizes[level] = sizes.get(level, 0.0) + size
    n_left = sum(scan.n_rows - scan.n_used for scan in scans)
    if n_left:
        listed = ", ".join(f"{name} {count}" for name, count in dropped.items())
        n = sum(scan.n_rows for scan in scans)
        warn(f"{n_left} of {n} rows dropped for missing values: {listed}.", DroppedRowsWarning)
    levels = list(totals)
    orders = [scan.order for scan in scans if scan.order is not None]
    series: Any = pd.Series(levels, dtype=object).infer_objects()
    if orders:
        if any(order != orders[0] for order in orders):
            raise DataError("The chunks declare different orders of the classes. Use categories=.")
        series = pd.Series(pd.Categorical(levels, categories=orders[0], ordered=True))
    estimator = reader.estimator
    response = read_response(
        series,
        weights=np.array([totals[level] for level in levels]),
        categories=estimator.categories,
        drop_empty=estimator.drop_empty,
        name=data.outcome,
    )
    classes = response.classes.tolist()
    groups = sorted_levels((g for scan in scans for g in scan.clusters), "clusters")
    mass, sums, second, low, high = _joined_moments(scans)
    mean = sums / mass
    gram = second - mass * np.outer(mean, mean)
    variance = np.maximum(np.diag(gram) / mass, 0.0)
    return Source(
        chunks,
        replace(
            reader, classes=response.classes, groups={level: i for i, level in enumerate(groups)}
        ),
        np.array([totals[c] for c in classes]),
        np.array([sizes[c] for c in classes]),
        mean + shift,
        np.where(low == high, 0.0, np.sqrt(variance)),
        gram,
        replace(data, n_dropped_by=dropped, n_left_out=n_left),
    )


def _joined_moments(scans: list[Scan]) -> tuple[float, Array, Array, Array, Array]:
    parts = [scan.moments for scan in scans if scan.moments is not None]
    if not parts:
        raise DataError("sample_weight is zero for every row.")
    return (
        sum(part[0] for part in parts),
        np.sum([part[1] for part in parts], axis=0),
        np.sum([part[2] for part in parts], axis=0),
        np.min([part[3] for part in parts], axis=0),
        np.max([part[4] for part in parts], axis=0),
    )
