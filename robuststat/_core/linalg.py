"""Solves that name collinear columns, covariance repair, hat matrix pieces, group sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from robuststat._core.errors import CollinearityError, DataError
from robuststat._core.types import Array, IntArray

# Smallest distance of a unit column from the span of the others. For a design it is that of R's
# lm. In a Gram matrix the distance is squared, and rounding hides anything below about 1e-7.
DESIGN_TOL = 1e-7
GRAM_TOL = 1e-6
# Number of scores above which the compiled loop is worth loading numba for. For 1e6 x 6 scores in
# blocks the loop takes 14 ms and NumPy's column-wise add.at 26 ms (5,000 groups); importing numba
# takes about a second.
KERNEL_MIN_SIZE = 20_000_000
# Entries of a unit null vector: above the first a column takes part in a dependency, above the
# second it may be the one that is solved for.
_TAKES_PART, _CAN_LEAD = 1e-6, 1e-3
# Relative size below which an eigenvalue is rounding noise.
_EIG_TOL = 1e-10


@dataclass(frozen=True, slots=True)
class Collinearity:
    """Which columns of a matrix are linear combinations of which others.

    Attributes
    ----------
    rank : int
        Numerical rank after scaling every column to unit length.
    n_columns : int
        Number of columns.
    dependent : dict of str to tuple of str
        For each redundant column the columns that give it; empty if the column is zero.
    """

    rank: int
    n_columns: int
    dependent: dict[str, tuple[str, ...]]

    def message(self) -> str:
        """Sentence for an error message: the columns, the rank, what to do."""
        parts = [
            f"column {name!r} is a linear combination of {_listed(others)}"
            if others
            else f"column {name!r} is zero in every row"
            for name, others in list(self.dependent.items())[:5]
        ]
        more = f"; and {len(self.dependent) - 5} more" if len(self.dependent) > 5 else ""
        which = "it" if len(self.dependent) == 1 else "these columns"
        return (
            f"{'; '.join(parts)}{more} (matrix rank {self.rank} of {self.n_columns}). "
            f"Drop {which}, or leave out one category of every set of dummy variables."
        )


def collinear_columns(
    matrix: Array,
    names: Sequence[str] | None = None,
    *,
    gram: bool = False,
    tol: float | None = None,
) -> Collinearity:
    """Find the columns that the others determine, whatever the units of the columns.

    Parameters
    ----------
    matrix : ndarray of shape (n, k)
        Design matrix, or Gram matrix X'X with ``gram=True``, or any square matrix whose singular
        values are of the order of a Gram matrix.
    names : sequence of str, optional
        Column names; x0, x1, ... if not given.
    gram : bool, default False
        Whether ``matrix`` is a Gram matrix; it is then scaled on both sides.
    tol : float, optional
        Relative distance to the span of the other columns below which a column counts as
        dependent; 1e-7 for a design, 1e-6 for a Gram matrix.

    Returns
    -------
    Collinearity
        With an empty ``dependent`` if the rank is full. Among the columns of a dependency the
        last one is named as the redundant one.
    """
    k = matrix.shape[1]
    labels = [f"x{j}" for j in range(k)] if names is None else list(names)
    if gram:
        scale = _unit_scale(np.sqrt(np.maximum(np.diag(matrix), 0.0)))
        scaled, limit = matrix / scale / scale[:, None], (GRAM_TOL if tol is None else tol) ** 2
    else:
        scaled = matrix / _unit_scale(np.linalg.norm(matrix, axis=0))
        limit = DESIGN_TOL if tol is None else tol
        if matrix.shape[0] > k:
            scaled = np.asarray(np.linalg.qr(scaled, mode="r"))
    rank, null = _null_space(scaled, limit)
    return Collinearity(rank=rank, n_columns=k, dependent=_name_dependencies(null, labels))


def solve_psd(A: Array, b: Array, names: Sequence[str] | None = None) -> Array:
    """Solve A x = b for a symmetric positive definite A, whatever the units of its columns.

    A singular A is a CollinearityError that names the columns; an indefinite one is a DataError.

    Parameters
    ----------
    A : ndarray of shape (k, k)
        Symmetric positive definite matrix, such as X'WX.
    b : ndarray of shape (k,) or (k, q)
        Right-hand side.
    names : sequence of str, optional
        Column names for the error message.
    """
    _require_finite(A, "A")
    scale = _unit_scale(np.sqrt(np.maximum(np.diag(A), 0.0)))
    unit = A / scale / scale[:, None]
    try:
        factor = linalg.cho_factor(unit, lower=True)
        # The estimate of the condition costs k^2; the full report is made only when it is poor.
        suspicious = linalg.lapack.dpocon(factor[0], np.abs(unit).sum(0).max(), uplo="L")[0] < 1e-9
    except linalg.LinAlgError:
        factor, suspicious = None, True
    if suspicious:
        report = collinear_columns(A, names, gram=True)
        if report.dependent:
            raise CollinearityError(f"The system is singular: {report.message()}")
    if factor is None:
        raise DataError(
            f"A is not positive definite: its smallest eigenvalue at unit diagonal is "
            f"{np.linalg.eigvalsh(unit)[0]:.3g}. Pass a matrix of the form X'WX with W >= 0."
        )
    x = linalg.cho_solve(factor, (b.T / scale).T)
    return np.asarray((x.T / scale).T, dtype=np.float64)


def solve_square(A: Array, b: Array, names: Sequence[str] | None = None) -> Array:
    """Solve A x = b for a general square A, whatever the units of its rows and columns.

    A singular A is a CollinearityError that names the columns.

    Parameters
    ----------
    A : ndarray of shape (k, k)
        Matrix, such as the average derivative of a score.
    b : ndarray of shape (k,) or (k, q)
        Right-hand side.
    names : sequence of str, optional
        Column names for the error message.
    """
    _require_finite(A, "the Jacobian")
    row, col = _equilibrate(A)
    unit = A * row[:, None] * col
    report = collinear_columns(unit, names, tol=GRAM_TOL**2)
    if report.dependent:
        raise CollinearityError(f"The Jacobian is singular: {report.message()}")
    x = np.linalg.solve(unit, (b.T * row).T)
    return np.asarray((x.T * col).T, dtype=np.float64)


def symmetrise(V: Array) -> Array:
    """Average of a square matrix and its transpose; removes rounding asymmetry."""
    return (V + V.T) / 2.0


def is_psd(V: Array, tol: float = _EIG_TOL) -> bool:
    """Whether a symmetric matrix has no eigenvalue below ``-tol`` after scaling to unit diagonal.

    Parameters
    ----------
    V : ndarray of shape (k, k)
        Symmetric matrix; its units do not matter.
    tol : float, default 1e-10
        Rounding allowance, relative to a diagonal of ones.
    """
    scale = _unit_scale(np.sqrt(np.abs(np.diag(V))))
    return bool(np.linalg.eigvalsh(symmetrise(V / scale / scale[:, None]))[0] >= -tol)


def clip_psd(V: Array, scale: Array | None = None) -> tuple[Array, int]:
    """Set the negative eigenvalues of a symmetric matrix to zero.

    Parameters
    ----------
    V : ndarray of shape (k, k)
        Symmetric matrix.
    scale : ndarray of shape (k,), optional
        Positive units of the rows, removed before and restored after the clipping, so that the
        repair does not depend on the units of the data; square roots of |diag(V)| if not given.

    Returns
    -------
    matrix : ndarray of shape (k, k)
        V itself if no eigenvalue was negative; otherwise V plus a positive semi-definite matrix.
    n_clipped : int
        Number of eigenvalues that were negative beyond rounding.
    """
    unit = _unit_scale(np.sqrt(np.abs(np.diag(V))) if scale is None else scale)
    values, vectors = np.linalg.eigh(symmetrise(V / unit / unit[:, None]))
    n_clipped = int(np.sum(values < -_EIG_TOL * np.abs(values).max()))
    if n_clipped == 0:
        return V, 0
    fixed = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return symmetrise(fixed * unit * unit[:, None]), n_clipped


def median_over_repetitions(estimates: Array, vcovs: Array) -> tuple[Array, Array]:
    """Median of repeated estimates; the variance gains the spread between them.

    Parameters
    ----------
    estimates : ndarray of shape (S, k)
        One row a repetition of cross-fitting.
    vcovs : ndarray of shape (S, k, k)
        Their variances V_s.

    Returns
    -------
    estimate : ndarray of shape (k,)
        Coordinatewise median.
    vcov : ndarray of shape (k, k)
        Entrywise median of V_s + (estimate_s - estimate)(estimate_s - estimate)'. Entrywise medians
        need not be positive definite; the diagonal then keeps its place and the correlations are
        those of the mean of these matrices.
    """
    estimate = np.median(estimates, axis=0)
    gaps = estimates - estimate
    spread = vcovs + gaps[:, :, None] * gaps[:, None, :]
    vcov = symmetrise(np.median(spread, axis=0))
    scale = np.sqrt(np.diag(vcov))
    if len(estimates) == 1:
        return estimate, vcov
    if (scale > 0).all() and np.linalg.eigvalsh(vcov / np.outer(scale, scale))[0] > 1e-8:
        return estimate, vcov
    average = symmetrise(spread.mean(axis=0))
    ratio = scale / _unit_scale(np.sqrt(np.diag(average)))
    return estimate, average * np.outer(ratio, ratio)


def weighted_basis(X: Array, weights: Array | None = None) -> tuple[Array, Array, Array]:
    """Thin QR factors of W^1/2 X and the diagonal of W^1/2; collinearity is an error."""
    w = np.ones(len(X)) if weights is None else weights
    if not (np.isfinite(w).all() and (w >= 0).all()):
        n_bad = np.sum(~(w >= 0) | np.isinf(w))
        raise DataError(f"weights has {n_bad} negative or non-finite values. Pass weights >= 0.")
    root = np.sqrt(w)
    Q, R = np.linalg.qr(X * root[:, None])
    report = collinear_columns(R)
    if report.dependent:
        raise CollinearityError(f"X has collinear columns: {report.message()}")
    return Q, R, root


def leverage(X: Array, weights: Array | None = None) -> Array:
    """Diagonal (n,) of the hat matrix W^1/2 X (X'WX)^-1 X'W^1/2, in [0, 1]."""
    Q, _, _ = weighted_basis(X, weights)
    return np.asarray(np.einsum("ij,ij->i", Q, Q))


def complement_root(gram: Array) -> tuple[Array, Array, Array]:
    """Symmetric inverse square root of I - Z Z' from the small matrix Z'Z = V diag(s) V'.

    (I - Z Z')^(+1/2) = I + Z V diag((f - 1)/s) V' Z', where f = (1 - s)^(-1/2), and f = 0 for
    s = 1 (Moore-Penrose). No matrix with as many rows as Z is formed.

    Returns
    -------
    V, s, f : ndarray of shapes (k, k), (k,), (k,)
        Eigenvectors, eigenvalues kept within [0, 1], factors of the inverse square root.
    """
    s, V = np.linalg.eigh(gram)
    s = np.clip(s, 0.0, 1.0)
    regular = 1.0 - s > _EIG_TOL
    f = np.where(regular, 1.0 / np.sqrt(np.where(regular, 1.0 - s, 1.0)), 0.0)
    return V, s, f


def group_codes(labels: IntArray, n_obs: int, name: str = "clusters") -> tuple[IntArray, IntArray]:
    """Consecutive codes 0..G-1 of integer group labels, and the label of each code.

    Raises DataError if ``labels`` is not one non-negative integer per row.
    """
    if labels.shape != (n_obs,):
        raise DataError(f"{name} has shape {labels.shape} for {n_obs} rows. Pass one code per row.")
    if labels.dtype.kind not in "iu":
        raise DataError(f"{name} must hold integer codes, got dtype {labels.dtype}. Encode labels.")
    if n_obs and labels.min() < 0:
        raise DataError(
            f"{name} has {np.sum(labels < 0)} negative codes, the mark of a missing label (first "
            f"at row {np.argmax(labels < 0)}). Drop these rows or give them a group."
        )
    found, codes = np.unique(labels, return_inverse=True)
    return codes.astype(np.int64, copy=False), found.astype(np.int64, copy=False)


def cluster_sums(psi: Array, codes: IntArray, n_groups: int, out: Array | None = None) -> Array:
    """Sum the rows of ``psi`` within groups (G, k); a code out of range is a DataError.

    Parameters
    ----------
    psi : ndarray of shape (m, k)
        Rows to add.
    codes : ndarray of shape (m,)
        Group of each row, in 0..n_groups-1. Groups without rows are allowed.
    n_groups : int
        Number of groups G.
    out : ndarray of shape (G, k), optional
        Totals to add to, in place; zeros if not given.
    """
    totals = np.zeros((n_groups, psi.shape[1])) if out is None else out
    return add_rows(psi, codes, totals, size=psi.size)


def add_rows(psi: Array, codes: IntArray, totals: Array, *, size: int) -> Array:
    """Add rows to group totals in place; ``size`` of the whole problem picks the loop."""
    n_groups = len(totals)
    if codes.shape != (len(psi),):
        raise DataError(f"codes has shape {codes.shape} for {len(psi)} rows of psi. Pass one each.")
    if len(codes) and (codes.min() < 0 or codes.max() >= n_groups):
        n_bad = np.sum((codes < 0) | (codes >= n_groups))
        raise DataError(
            f"codes has {n_bad} values outside 0..{n_groups - 1} "
            f"(min {codes.min()}, max {codes.max()}). Encode the clusters as consecutive integers."
        )
    if size >= KERNEL_MIN_SIZE:
        from robuststat.kernels.segment import segment_sums

        segment_sums(np.ascontiguousarray(psi), np.ascontiguousarray(codes), totals)
    else:
        # As in the compiled loop, overflow is not reported here but found by whoever uses the sums.
        with np.errstate(over="ignore", invalid="ignore"):
            for j in range(psi.shape[1]):
                np.add.at(totals[:, j], codes, psi[:, j])
    return totals


def _unit_scale(norms: Array) -> Array:
    """Divisors that turn the norms into ones and leave zero columns alone."""
    return np.where(norms > 0, norms, 1.0)


def _require_finite(A: Array, what: str) -> None:
    if not np.isfinite(A).all():
        raise DataError(
            f"{what} has {np.sum(~np.isfinite(A))} non-finite entries. Check the data for missing "
            f"or infinite values and the parameters for divergence."
        )


def _equilibrate(A: Array) -> tuple[Array, Array]:
    """Row and column factors that bring the largest entry of each to about one (Ruiz 2001)."""
    row, col = np.ones(A.shape[0]), np.ones(A.shape[1])
    # Each sweep takes the square root of the imbalance: ten undo ratios of 1e32.
    for _ in range(10):
        size = np.abs(A) * row[:, None] * col
        row /= np.sqrt(_unit_scale(size.max(axis=1)))
        col /= np.sqrt(_unit_scale(size.max(axis=0)))
    return row, col


def _null_space(scaled: Array, limit: float) -> tuple[int, Array]:
    """Rank of a column-scaled matrix and a (k - rank, k) basis of its null space."""
    k = scaled.shape[1]
    R, pivot = linalg.qr(scaled, mode="r", pivoting=True)
    size = np.abs(np.diag(R))
    rank = int(np.sum(size > limit * size[0]))
    null = np.zeros((k - rank, k))
    if 0 < rank < k:
        null[:, pivot[:rank]] = -linalg.solve_triangular(R[:rank, :rank], R[:rank, rank:]).T
    if rank < k:
        null[np.arange(k - rank), pivot[rank:]] = 1.0
    return rank, null


def _name_dependencies(null: Array, labels: list[str]) -> dict[str, tuple[str, ...]]:
    """Reduce the null space to one vector per redundant column, the last columns first."""
    rows, found = null.copy(), {}
    for i in range(len(rows)):
        rest = rows[i:]
        size = np.abs(rest) / np.abs(rest).max(axis=1, keepdims=True)
        lead = int(np.flatnonzero(size.max(axis=0) > _CAN_LEAD)[-1])
        best = i + int(np.argmax(size[:, lead]))
        rows[[i, best]] = rows[[best, i]]
        rows[i] /= rows[i, lead]
        others = np.arange(len(rows)) != i
        rows[others] -= rows[others, lead][:, None] * rows[i]
        found[lead] = i
    named = {}
    for lead in sorted(found):
        size = np.abs(rows[found[lead]])
        takes_part = np.flatnonzero(size > _TAKES_PART * size.max())
        named[labels[lead]] = tuple(labels[j] for j in takes_part if j != lead)
    return named


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(repr(name) for name in names[:6])
    return shown if len(names) <= 6 else f"{shown} and {len(names) - 6} more"
