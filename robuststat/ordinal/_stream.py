"""Ordinal fits on sources that do not fit in memory: every Newton step is a pass over chunks."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from robuststat._core.errors import (
    warn,
)
from robuststat._core.table import Table
from robuststat._core.types import Array
from robuststat._core.vcov import MeatAccumulator, sandwich
from robuststat.ordinal._families import start_thresholds
from robuststat.ordinal._likelihood_fit import (
    Variance,
    finish_variance,
    refuse_collinear,
    report_convergence,
    sandwich_variance,
    slabs_of,
    start_point,
    suspicious,
    variance_kind,
)
from robuststat.ordinal._model import ModelFit, ModelOptions, count_crossings, structure_of
from robuststat.ordinal._newton import Maximum, maximise
from robuststat.ordinal._slabs import likelihood_sums, score_rows
from robuststat.ordinal._stream_read import Reader, Source, read_source, refuse_roles
from robuststat.ordinal._structure import Structure

# Rows of the first chunk that a first estimate is computed from.
_PART = 40_000


def fit_source(estimator: Any, source: Any, y: Any, roles: dict[str, Any]) -> tuple[ModelFit, Any]:
    """Fit an ordinal model to a source of chunks; also returns data without rows of its own."""
    refuse_roles(estimator, y, roles)
    roles = {name: value for name, value in roles.items() if value is not None}
    opened = read_source(estimator, source, y, roles)
    options: ModelOptions = estimator._model_options(opened.data)
    classes = opened.reader.classes
    estimator.classes_ = classes
    estimator.n_features_in_ = len(opened.data.design.columns)
    estimator.feature_names_in_ = np.asarray(opened.data.design.columns, dtype=object)
    structure = structure_of(options, classes, opened.data.names, opened.centre, opened.spread)
    columns = np.concatenate([structure.layout.common, structure.layout.varying])
    unit = structure.unit[columns]
    gram = opened.gram[np.ix_(columns, columns)] / unit / unit[:, None]
    refuse_collinear(gram, structure, opened.data.names)
    maximum = _maximise(opened, structure, options)
    report_convergence(maximum)
    kind = variance_kind(options.vcov, clustered="clusters" in roles, sampled=False)
    phi, n_crossing = maximum.phi, 0
    if structure.layout.varying.size and structure.layout.family.shape == "cumulative":
        with warnings.catch_warnings(action="ignore"):
            n_crossing = sum(opened.map(_crossings, structure, phi))
        if n_crossing:
            warn(f"Boundaries cross in {n_crossing} of {opened.n_obs} rows.")
    found = ModelFit(
        options,
        classes,
        structure,
        phi,
        phi,
        _variance(opened, structure, maximum, kind),
        maximum.loglik,
        _null(opened, structure, options),
        float(np.abs(maximum.gradient).max(initial=0.0)) / float(opened.totals.sum()),
        opened.n_obs,
        n_crossing,
        opened.sizes,
        maximum.convergence.converged,
        maximum.convergence.n_iter,
    )
    return found, opened.data


def _sums(table: Table, state: tuple[Reader, Structure, Any, Array]) -> Any:
    reader, structure, layout, phi = state
    rows = reader.rows(table)
    if rows is None:
        return None
    return likelihood_sums(layout, slabs_of(rows, structure, layout), phi)


def _crossings(table: Table, state: tuple[Reader, Structure, Array]) -> int:
    reader, structure, phi = state
    rows = reader.rows(table)
    return 0 if rows is None else count_crossings(structure, phi, rows)


def _scores(table: Table, state: tuple[Reader, Structure, Array]) -> MeatAccumulator | None:
    reader, structure, phi = state
    rows = reader.rows(table)
    if rows is None:
        return None
    n_clusters = len(reader.groups) if rows.clusters is not None else None
    total = MeatAccumulator(structure.layout.n_params, n_clusters=n_clusters)
    psi = score_rows(structure.layout, slabs_of(rows, structure), phi)
    total.update(psi, rows.clusters)
    return total


def _total(opened: Source, structure: Structure, layout: Any, phi: Array) -> Any:
    """Log-likelihood, score and information of all rows."""
    loglik, size = 0.0, layout.n_params
    gradient, info = np.zeros(size), np.zeros((size, size))
    for part in opened.map(_sums, structure, layout, phi):
        if part is None:
            continue
        loglik += part[0]
        gradient += part[1]
        info += part[2]
        if not np.isfinite(loglik):
            return -np.inf, np.full(size, np.nan), info
    return loglik, gradient, info


def _maximise(opened: Source, structure: Structure, options: ModelOptions) -> Maximum:
    layout = structure.layout
    start = start_point(structure, opened.totals)
    reference = None
    first = next(rows for rows in map(opened.reader.rows, opened.chunks) if rows is not None)
    slabs = slabs_of(first, structure).thinned(max(1, len(first.X) // _PART))
    if slabs.n_rows > 100 * layout.n_params and (np.diff(slabs.starts) > 0).all():
        # A first estimate from some rows saves passes; where it starts from does not matter.
        coarse = maximise(
            lambda phi: likelihood_sums(layout, slabs, phi), start, tol=1e-4, max_iter=30
        )
        info = likelihood_sums(layout, slabs, start)[2]
        reference = info * (opened.n_obs / slabs.n_rows)
        start = coarse.phi if coarse.convergence.converged else start
    here = _total(opened, structure, layout, start)
    if not np.isfinite(here[0]):
        start = start_point(structure, opened.totals)
        here = _total(opened, structure, layout, start)
    if reference is None:
        reference = here[2]

    def sums(phi: Array) -> Any:
        # A pass over the source is not repeated for the point it was just made at.
        return here if np.array_equal(phi, start) else _total(opened, structure, layout, phi)

    maximum = maximise(
        sums,
        start,
        tol=options.tol,
        max_iter=options.max_iter,
    )
    if suspicious(maximum, reference):
        warn(
            "The likelihood is nearly flat at its maximum: some classes may be separated, and "
            "estimates infinite. Fit a sample of the rows in memory, where separation is detected."
        )
    return maximum


def _variance(opened: Source, structure: Structure, maximum: Maximum, kind: str) -> Variance:
    n = opened.n_obs
    J = maximum.information / n
    if kind == "hessian":
        return finish_variance(structure, sandwich(J, J, n), kind, np.inf, None)
    total: MeatAccumulator | None = None
    for part in opened.map(_scores, structure, maximum.phi):
        if part is None:
            continue
        if total is None:
            total = part
        else:
            total.merge(part)
    assert total is not None
    return sandwich_variance(structure, J, total.finish(n), n, kind, total.n_clusters)


def _null(opened: Source, structure: Structure, options: ModelOptions) -> float:
    """Log-likelihood of the model with free thresholds only."""
    totals = opened.totals
    if "offset" not in opened.reader.roles:
        return float(np.sum(totals * np.log(totals / totals.sum())))
    none = np.zeros(0, dtype=np.int64)
    q = structure.layout.q
    bare = replace(structure.layout, common=none, varying=none, scale=none, J=np.eye(q))
    start = start_thresholds(bare.family, totals)
    return maximise(
        lambda phi: _total(opened, structure, bare, phi),
        start,
        tol=options.tol,
        max_iter=options.max_iter,
    ).loglik
