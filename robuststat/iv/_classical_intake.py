"""Rows of an instrumental-variable problem: covariates, treatment, instruments as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from robuststat._core.columns import Terms
from robuststat._core.data import RoleData, read_data
from robuststat._core.errors import DataError, ParameterError, RoleError, warn
from robuststat._core.formula import INTERCEPT
from robuststat._core.roles import columns_named_by
from robuststat._core.table import to_float
from robuststat._core.types import Array, BoolArray, IntArray
from robuststat._core.vcov import check_clusters

ROBUST_KINDS = ("HC0", "HC1", "CR0", "CR1")


@dataclass(frozen=True, slots=True)
class IVData:
    """Complete rows of an instrumental-variable problem.

    Attributes
    ----------
    y, a : ndarray of shape (n,)
        Outcome and treatment.
    Z : ndarray of shape (n, J)
        Candidate instruments.
    X : ndarray of shape (n, k)
        Design of the covariates, with a column of ones unless a formula removed it.
    treatment : str
        Name of the treatment.
    instruments, covariates : tuple of str
        Names of the columns of Z and X.
    weights : ndarray of shape (n,) or None
        Sampling weights.
    clusters : ndarray of shape (n,) or None
        Codes 0, 1, ... of dependent rows.
    n_clusters : int or None
        Number of clusters.
    rows : RoleData
        What the intake found: names, counts of dropped rows, how to make the design again.
    """

    y: Array
    a: Array
    Z: Array
    X: Array
    treatment: str
    instruments: tuple[str, ...]
    covariates: tuple[str, ...]
    weights: Array | None
    clusters: IntArray | None
    n_clusters: int | None
    rows: RoleData

    @property
    def n_obs(self) -> int:
        """Number of rows."""
        return self.y.size


def read_iv(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    treatment: Any,
    instruments: Any,
    sample_weight: Any,
    clusters: Any,
    formula: str | None,
    missing: str | None,
) -> IVData:
    """Validate the arguments of ``fit`` and return plain arrays.

    Raises
    ------
    DataError, RoleError, ParameterError
        Missing or infinite values, a role that is missing or constant, too few rows.
    """
    _refuse_shared_columns(treatment, instruments, y)
    terms = Terms(formula, True)
    if X is None:
        if formula is not None:
            raise DataError("formula= needs a data frame as X; got X=None.")
        terms = Terms(by=())
    rows = read_data(
        estimator,
        X,
        y,
        roles={"treatment": treatment, "instruments": instruments},
        sample_weight=sample_weight,
        clusters=clusters,
        terms=terms,
        missing=missing,
    )
    a = rows.roles.get("treatment")
    if a is None:
        a = np.asarray(estimator._missing_role("treatment", rows.X, rows.y), dtype=np.float64)
    frame = rows.roles.get("instruments")
    if frame is None:
        invented = np.asarray(estimator._missing_role("instruments", rows.X, rows.y))
        frame = pd.DataFrame(invented.reshape(len(invented), -1)).add_prefix("instruments")
    names = tuple(str(name) for name in frame.columns)
    Z = _instrument_columns(frame)
    named = _name_of(treatment)
    data = IVData(
        y=np.asarray(rows.y, dtype=np.float64),
        a=a,
        Z=Z,
        X=rows.X,
        treatment="treatment" if named is None else named,
        instruments=names,
        covariates=tuple(INTERCEPT if X is None else name for name in rows.names),
        weights=rows.weights,
        clusters=None if rows.clusters is None else rows.clusters.codes,
        n_clusters=None if rows.clusters is None else len(rows.clusters.levels),
        rows=rows,
    )
    _check_variation(data)
    return data


def _name_of(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    name = getattr(value, "name", None)
    return name if isinstance(name, str) and name else None


def _refuse_shared_columns(treatment: Any, instruments: Any, y: Any) -> None:
    roles = {"treatment": treatment, "y": y}
    for role, value in roles.items():
        if isinstance(value, str) and value in columns_named_by(instruments):
            raise RoleError(
                f"The column {value!r} is both {role} and one of the instruments. Name it once."
            )
    named = columns_named_by(instruments)
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise RoleError(f"instruments names {', '.join(twice)} more than once. Name it once.")
    if isinstance(treatment, str) and treatment == y:
        raise RoleError(f"The column {y!r} is both outcome and treatment. Name it once.")


def _instrument_columns(frame: pd.DataFrame) -> Array:
    names = [str(name) for name in frame.columns]
    Z = np.empty((len(frame), len(names)))
    for j, name in enumerate(names):
        Z[:, j] = to_float(frame.iloc[:, j], f"instruments ({name})")
    infinite = ~np.isfinite(Z)
    if infinite.any():
        j = int(np.argmax(infinite.any(axis=0)))
        raise DataError(
            f"instruments ({names[j]}) holds infinity (inf) in {int(infinite[:, j].sum())} rows, "
            f"first at row {int(np.argmax(infinite[:, j]))}. Recode or remove them."
        )
    return Z


def _check_variation(data: IVData) -> None:
    used = np.ones(data.n_obs, dtype=bool) if data.weights is None else data.weights > 0
    n_params = data.X.shape[1] + data.Z.shape[1] + 1
    if int(used.sum()) <= n_params:
        raise DataError(
            f"{int(used.sum())} sample(s) cannot estimate {n_params} coefficients "
            f"({data.Z.shape[1]} instruments, {data.X.shape[1]} covariates with intercept, the "
            "treatment). Use more rows, or fewer instruments and covariates."
        )
    columns = {"treatment": data.a}
    columns |= {f"instruments ({name})": data.Z[:, j] for j, name in enumerate(data.instruments)}
    for name, values in columns.items():
        if np.ptp(values[used]) == 0:
            raise DataError(
                f"{name} is {values[used][0]:g} in all {int(used.sum())} rows. A constant column "
                "tells nothing about an effect: pass one that varies, or leave it out."
            )
    if np.ptp(data.y[used]) == 0:
        warn(f"y is {data.y[used][0]:g} in every row: the estimate is 0 with standard error 0.")


def variance_kind(vcov: str | None, data: IVData, *, minimum: int = 10) -> str:
    """Kind of variance: what was asked for, or HC0 without and CR0 with clusters.

    Raises
    ------
    ParameterError
        When the kind and the roles contradict each other.
    """
    clustered = data.clusters is not None
    kind = vcov or ("CR0" if clustered else "HC0")
    if clustered and not kind.startswith("CR"):
        raise ParameterError(
            f"vcov={kind!r} ignores clusters, which were given. Use vcov='CR0' or 'CR1', or leave "
            "clusters out."
        )
    if kind.startswith("CR") and not clustered:
        raise ParameterError(f"vcov={kind!r} needs clusters=. Pass them, or use vcov='HC0'.")
    if kind == "iid" and data.weights is not None:
        raise ParameterError(
            "vcov='iid' takes all errors for equally variable, which sampling weights contradict. "
            "Use vcov='HC0' with sample_weight."
        )
    if clustered:
        assert data.n_clusters is not None
        J = data.Z.shape[1]
        if J > 1 and data.n_clusters <= J:
            raise DataError(
                f"{data.n_clusters} clusters cannot weight {J} moments, one an instrument. Use "
                "fewer instruments than clusters, or cluster at a finer level."
            )
        # A single cluster is refused where its variance would be computed.
        check_clusters(data.n_clusters, minimum if data.n_clusters > 1 else 0)
    return kind


def binary_values(values: Array, name: str, advice: str) -> BoolArray:
    """Rows where a 0/1 column is one.

    Raises
    ------
    DataError
        When there are other values.
    """
    found = np.unique(values)
    if not np.isin(found, (0.0, 1.0)).all():
        shown = ", ".join(f"{v:g}" for v in found[:5]) + (", ..." if found.size > 5 else "")
        raise DataError(
            f"{name} must be 0 or 1, but has {found.size} distinct values ({shown}). {advice}"
        )
    return np.asarray(values == 1.0)


def dropped_rows(data: IVData) -> dict[str, Any]:
    """Entries of ``InferenceResult.diagnostics`` about rows and clusters."""
    lost = int(data.rows.kept.size - data.n_obs)
    found: dict[str, Any] = {"n_dropped": lost, "n_dropped_by": data.rows.n_dropped_by}
    if data.rows.cluster_name:
        found["cluster_name"] = data.rows.cluster_name
    return found


def independence(data: IVData) -> str:
    """Return the assumption about the sample, in words."""
    return f"{'rows' if data.clusters is None else 'clusters'} are independent draws"
