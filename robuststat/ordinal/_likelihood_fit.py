"""Maximum likelihood of an ordinal model: start, Newton, identification, variance."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from robuststat._core.errors import (
    CollinearityError,
    ConvergenceWarning,
    ParameterError,
    warn,
)
from robuststat._core.glm import row_blocks
from robuststat._core.linalg import collinear_columns
from robuststat._core.types import Array, IntArray
from robuststat._core.vcov import MeatAccumulator, meat, sandwich, small_sample
from robuststat.ordinal._families import start_thresholds
from robuststat.ordinal._newton import Maximum, Sums, maximise
from robuststat.ordinal._separation import SeparationError, ordinal_separation
from robuststat.ordinal._slabs import Layout, Slabs, likelihood_sums, make_slabs, score_rows
from robuststat.ordinal._structure import Structure

KINDS = ("hessian", "opg", "HC0", "HC1", "CR0", "CR1")
# More rows than this start from the estimate of a part of them.
_MANY = 200_000
_PART = 40_000
# An information this much smaller than at the start makes us look for separation.
_FLAT = 1e-6


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a fit; one entry a row, or a row and class for grouped counts.

    Attributes
    ----------
    X : ndarray of shape (n, p)
        Columns without intercept.
    codes : ndarray of shape (n,)
        Classes 0..K-1.
    weights : ndarray of shape (n,) or None
        Sample weights.
    counts : ndarray of shape (n,) or None
        How many units an entry stands for.
    offset : ndarray of shape (n,) or None
        Added to every predictor.
    clusters : ndarray of int of shape (n,) or None
        Dependence groups.
    """

    X: Array
    codes: IntArray
    weights: Array | None = None
    counts: Array | None = None
    offset: Array | None = None
    clusters: IntArray | None = None

    @property
    def total(self) -> Array | None:
        """Weight of an entry in the log-likelihood."""
        if self.weights is None or self.counts is None:
            return self.weights if self.counts is None else self.counts
        return self.weights * self.counts

    @property
    def n_obs(self) -> int:
        """Units observed."""
        return len(self.X) if self.counts is None else round(float(self.counts.sum()))

    def class_totals(self, n_classes: int) -> Array:
        """Weight of each class."""
        return np.bincount(self.codes, weights=self.total, minlength=n_classes).astype(float)


@dataclass(frozen=True, slots=True)
class Fit:
    """A maximum with what it was found on.

    Attributes
    ----------
    structure : Structure
        Parameters.
    maximum : Maximum
        In the parameters of ``structure.layout``.
    slabs : Slabs or None
        The rows; None for a source read in chunks.
    """

    structure: Structure
    maximum: Maximum
    slabs: Slabs | None


def column_moments(X: Array, weights: Array | None) -> tuple[Array, Array]:
    """Mean and standard deviation of columns; exactly zero for a column of one value."""
    if X.shape[1] == 0:
        return np.zeros(0), np.zeros(0)
    first = X[0] if weights is None else X[int(np.argmax(weights > 0))]
    total = np.zeros((2, X.shape[1]))
    mass, same = 0.0, np.ones(X.shape[1], dtype=bool)
    for rows in row_blocks(*X.shape):
        # Around one of the rows, so that a large mean does not eat the digits of the spread.
        Z = X[rows] - first
        if weights is None:
            w, mass = np.ones(len(Z)), mass + len(Z)
            same &= ~Z.any(axis=0)
        else:
            w, mass = weights[rows], mass + float(weights[rows].sum())
            same &= ~Z[w > 0].any(axis=0)
        total[0] += w @ Z
        total[1] += np.einsum("i,ij,ij->j", w, Z, Z)
    shift, square = total / mass
    spread = np.sqrt(np.maximum(square - shift**2, 0.0))
    # The unit of a column that does vary is a matter of rounding only.
    return first + shift, np.where(same, 0.0, np.where(spread > 0.0, spread, 1.0))


def slabs_of(rows: Rows, structure: Structure, layout: Layout | None = None) -> Slabs:
    """Sort rows by class, in the units of the structure."""
    return make_slabs(
        rows.X,
        rows.codes,
        layout or structure.layout,
        weights=rows.total,
        offset=rows.offset,
        centre=structure.centre,
        unit=structure.unit,
    )


def start_point(structure: Structure, class_totals: Array) -> Array:
    """Parameters of the model without covariates."""
    layout = structure.layout
    phi = np.zeros(layout.n_params)
    theta = start_thresholds(layout.family, class_totals)
    phi[: layout.J.shape[1]] = np.linalg.lstsq(layout.J, theta, rcond=None)[0]
    return phi


def fit_rows(
    rows: Rows, structure: Structure, names: tuple[str, ...], *, tol: float, max_iter: int
) -> Fit:
    """Maximise the likelihood of rows in memory.

    Raises
    ------
    CollinearityError
        When columns depend on each other.
    SeparationError
        When estimates are infinite.
    """
    layout = structure.layout
    slabs = slabs_of(rows, structure)
    refuse_collinear(column_gram(slabs), structure, names)
    start = start_point(structure, rows.class_totals(layout.n_classes))
    reference = None
    if slabs.n_rows > _MANY:
        part = slabs.thinned(slabs.n_rows // _PART)
        if (np.diff(part.starts) > 0).all():
            coarse = maximise(_sums(structure, part), start, tol=1e-4, max_iter=max_iter)
            share = part.n_rows / slabs.n_rows
            reference = _sums(structure, part)(start)[2] / share
            start = coarse.phi if coarse.convergence.converged else start
    sums = _sums(structure, slabs)
    if reference is None:
        reference = sums(start)[2]
    maximum = maximise(sums, start, tol=tol, max_iter=max_iter)
    if suspicious(maximum, reference):
        refuse_separation(rows, structure, names)
    report_convergence(maximum)
    return Fit(structure, maximum, slabs)


def _sums(structure: Structure, slabs: Slabs) -> Sums:
    return lambda phi: likelihood_sums(structure.layout, slabs, phi)


def column_gram(slabs: Slabs) -> Array:
    """Gram matrix of the centred columns, common ones first."""
    parts = [slabs.P, slabs.U[:, 1:]]
    p = sum(part.shape[1] for part in parts)
    gram = np.zeros((p, p))
    for _, rows in slabs.blocks():
        block = np.hstack([part[rows] for part in parts])
        w = None if slabs.weights is None else slabs.weights[rows]
        gram += (block if w is None else block * w[:, None]).T @ block
    return gram


def refuse_collinear(gram: Array, structure: Structure, names: tuple[str, ...]) -> None:
    """Refuse columns, constants included, of which some determine others."""
    columns = [*structure.layout.common, *structure.layout.varying]
    if not columns:
        return
    # In the order of the user's columns, so that the later one of a pair is named.
    order = np.argsort(columns)
    report = collinear_columns(
        gram[np.ix_(order, order)], [names[columns[i]] for i in order], gram=True
    )
    if report.dependent:
        raise CollinearityError(
            f"The unpenalised fit is not identified (thresholds stand for a constant): "
            f"{report.message()}"
        )


def suspicious(maximum: Maximum, reference: Array) -> bool:
    """Whether the likelihood is so flat at its end that estimates may be infinite."""
    if not maximum.convergence.converged:
        return True
    try:
        lowest = linalg.eigh(maximum.information, reference, eigvals_only=True)[0]
    except linalg.LinAlgError:
        return True
    return bool(lowest < _FLAT)


def refuse_separation(rows: Rows, structure: Structure, names: tuple[str, ...]) -> None:
    """Refuse estimates that are infinite, naming the columns."""
    layout = structure.layout
    last = layout.n_classes - 1
    # The backward families are the forward ones with the classes in descending order.
    flip = layout.family.shape == "backward"
    kept = np.union1d(layout.common, layout.varying)
    found = ordinal_separation(
        rows.X[:, kept],
        last - rows.codes if flip else rows.codes,
        layout.n_classes,
        family=layout.family.name,  # type: ignore[arg-type]
        parallel=np.isin(kept, layout.common),
        weights=rows.total,
        names=[names[j] for j in kept],
    )
    if found.found:
        raise SeparationError(
            f"{found.words()} Use PrestoClassifier, penalty='elasticnet', RareEventClassifier("
            "method='firth') for one class against the rest, or leave the column out."
        )


def report_convergence(maximum: Maximum) -> None:
    """Warn when the maximum was not reached."""
    record = maximum.convergence
    if not record.converged:
        warn(
            f"The fit did not converge: {record.message}; the largest score is "
            f"{record.max_gradient:.2g} standard deviations. Rescale the columns, raise max_iter, "
            "or use a simpler model.",
            ConvergenceWarning,
        )


@dataclass(frozen=True, slots=True)
class Variance:
    """Variance of the shown parameters.

    Attributes
    ----------
    kind : str
        One of ``KINDS``.
    internal : ndarray of shape (k, k)
        Of the parameters of the layout.
    raw : ndarray of shape (k, k)
        Of the shown parameters.
    df : float
        Degrees of freedom, inf for normal.
    n_clusters : int or None
        Clusters.
    """

    kind: str
    internal: Array
    raw: Array
    df: float
    n_clusters: int | None


def variance_kind(vcov: str | None, *, clustered: bool, sampled: bool) -> str:
    """Kind of variance that an option stands for; refuses what does not fit.

    Parameters
    ----------
    vcov : str or None
        Option.
    clustered : bool
        Whether clusters were given.
    sampled : bool
        Whether classes were sampled at different rates, which the information does not know.
    """
    kind = vcov or ("CR0" if clustered else "HC0" if sampled else "hessian")
    if kind.startswith("CR") != clustered:
        raise ParameterError(
            f"vcov={kind!r} and clusters do not fit: CR0 and CR1 need clusters=, the others take "
            "rows for independent."
        )
    if sampled and kind in ("hessian", "opg"):
        raise ParameterError(
            f"vcov={kind!r} is wrong for classes sampled at different rates (tau). Use 'HC0', or "
            "'CR0' with clusters."
        )
    return kind


def variance(fit: Fit, rows: Rows, kind: str, *, psi: Array | None = None) -> Variance:
    """Variance of the estimates from the core's sandwich.

    ``psi`` replaces the scores of the entries, per unit of ``counts``.
    """
    structure, info, n = fit.structure, fit.maximum.information, rows.n_obs
    if kind == "hessian":
        V = sandwich(info / n, info / n, n, names=structure.inner_names)
        return finish_variance(structure, V, kind, np.inf, None)
    if psi is None:
        assert fit.slabs is not None
        psi = score_rows(structure.layout, fit.slabs, fit.maximum.phi)
        if rows.counts is not None:
            psi = psi / rows.counts[:, None]
    n_clusters = None
    if kind.startswith("CR"):
        assert rows.clusters is not None
        entries = psi if rows.counts is None else psi * rows.counts[:, None]
        found = meat(entries, clusters=rows.clusters)
        B, n_clusters = found.matrix * len(psi) / n, found.n_clusters
    else:
        # Units of one entry are independent: their scores are squared one by one.
        entries = psi if rows.counts is None else psi * np.sqrt(rows.counts)[:, None]
        total = MeatAccumulator(psi.shape[1])
        total.update(entries)
        B = total.finish(n)
    return sandwich_variance(structure, info / n, B, n, kind, n_clusters)


def sandwich_variance(
    structure: Structure, J: Array, B: Array, n: int, kind: str, n_clusters: int | None
) -> Variance:
    """Variance from average information J and meat B."""
    if kind == "opg":
        return finish_variance(
            structure, sandwich(B, B, n, names=structure.inner_names), kind, np.inf, None
        )
    small = small_sample(
        kind,  # type: ignore[arg-type]
        n_obs=n,
        n_params=structure.layout.n_params,
        n_clusters=n_clusters,
    )
    V = sandwich(J, B, n, small.factor, names=structure.inner_names)
    return finish_variance(structure, V, kind, small.df, n_clusters)


def finish_variance(
    structure: Structure, V: Array, kind: str, df: float, n_clusters: int | None
) -> Variance:
    """Variance in both parametrisations."""
    return Variance(kind, V, structure.to_raw @ V @ structure.to_raw.T, df, n_clusters)


def null_loglik(rows: Rows, structure: Structure, tol: float, max_iter: int) -> float:
    """Log-likelihood of the model with free thresholds only."""
    layout = structure.layout
    totals = rows.class_totals(layout.n_classes)
    if rows.offset is None:
        return float(np.sum(totals * np.log(totals / totals.sum())))
    none = np.zeros(0, dtype=np.int64)
    bare = replace(layout, common=none, varying=none, scale=none, J=np.eye(layout.q))
    slabs = make_slabs(
        np.zeros((len(rows.X), 0)), rows.codes, bare, weights=rows.total, offset=rows.offset
    )
    start = start_thresholds(layout.family, totals)
    return maximise(
        lambda phi: likelihood_sums(bare, slabs, phi), start, tol=tol, max_iter=max_iter
    ).loglik
