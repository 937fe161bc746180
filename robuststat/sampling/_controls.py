"""Control variates: which density ratios belong to which expectation, and their coefficients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robuststat._core.types import Array, IntArray

__all__ = ["OwnControls", "Regression", "cross_fitted", "own_coefficients", "regress"]

_TOL = 1e-10  # eigenvalues of a correlation matrix below it belong to collinear controls


@dataclass(frozen=True, slots=True)
class OwnControls:
    """Controls of every expectation with fixed coefficients.

    Attributes
    ----------
    index : ndarray of shape (J, w)
        Columns of the matrix of ratios g_k/q; -1 = none.
    beta : ndarray of shape (J, w)
        Coefficients, unit of the expectation; 0 where there is no control.
    """

    index: IntArray
    beta: Array

    @property
    def used(self) -> bool:
        """Whether any coefficient differs from zero."""
        return bool(self.beta.size) and bool(self.beta.any())

    def correction(self, ratios: Array) -> Array:
        """Return sum_s beta_js g_k(j,s)/q at every point, (n, J)."""
        index, beta = self.index, self.beta
        out = np.zeros((len(ratios), len(index)))
        for s in range(index.shape[1]):
            out += np.where(index[:, s] >= 0, beta[:, s], 0.0) * ratios[:, index[:, s]]
        return out

    def constant(self) -> Array:
        """Return sum_s beta_js, the mean of the correction, (J,)."""
        return np.asarray(self.beta.sum(axis=1))


def own_coefficients(
    values: Array, ratios: Array, index: IntArray, *, paper: bool = False
) -> Array:
    """Coefficients (B) of the controls of every expectation from one batch.

    Parameters
    ----------
    values : ndarray of shape (n, J)
        phi_j f_j / q.
    ratios : ndarray of shape (n, K)
        g_k / q.
    index : ndarray of shape (J, w)
        Columns of ``ratios``; -1 = none.
    paper : bool
        Covariances with divisor n over variances with divisor n - 1, as the authors have it.

    Returns
    -------
    ndarray of shape (J, w)
        Zero where a control has no variance (J=1, or q = g_j).
    """
    n, (J, w) = len(values), index.shape
    beta = np.zeros((J, w))
    centred, ratios = values - values.mean(axis=0), ratios - ratios.mean(axis=0)
    spread = np.sqrt(np.einsum("nk,nk->k", ratios, ratios))
    fixed = spread <= 1e-12 * np.sqrt(n)
    scaled = ratios / np.where(fixed, 1.0, spread)
    scaled[:, fixed] = 0.0
    if w == 1:
        cross = np.einsum("nj,nj->j", centred, scaled[:, index[:, 0]])
        beta[:, 0] = np.where(index[:, 0] >= 0, cross, 0.0)
    else:
        gram = scaled.T @ scaled
        safe = np.maximum(index, 0)
        active = (index >= 0) & ~fixed[safe]
        small = gram[safe[:, :, None], safe[:, None, :]]
        small = np.where(active[:, :, None] & active[:, None, :], small, 0.0)
        cross = np.stack(
            [np.einsum("nj,nj->j", centred, scaled[:, safe[:, s]]) for s in range(w)], axis=1
        )
        inverse = np.linalg.pinv(small, rcond=_TOL, hermitian=True)
        beta = np.einsum("jst,jt->js", inverse, np.where(active, cross, 0.0))
    unit = np.where(fixed, 1.0, spread)[np.maximum(index, 0)]
    beta = np.where(index >= 0, beta / unit, 0.0)
    return np.asarray(beta * ((n - 1) / n if paper else 1.0))


@dataclass(frozen=True, slots=True)
class Regression:
    """Values after regression on controls.

    Attributes
    ----------
    values : ndarray of shape (n, J)
        a_j - sum b (z - E z).
    n_controls : ndarray of shape (J,)
        Controls that were not collinear with others.
    coef : list of ndarray
        Coefficients of each expectation, in the order of its columns.
    """

    values: Array
    n_controls: IntArray
    coef: list[Array]


def regress(values: Array, controls: Array, columns: list[IntArray]) -> Regression:
    """Least squares of every expectation's values on its controls, which have mean zero.

    Parameters
    ----------
    values : ndarray of shape (n, J)
        phi_j f_j / q.
    controls : ndarray of shape (n, P)
        Controls less their known means.
    columns : list of J ndarrays
        Controls of each expectation.
    """
    centred = controls - controls.mean(axis=0)
    spread = np.sqrt(np.einsum("np,np->p", centred, centred))
    fixed = spread <= 1e-12 * np.sqrt(len(controls))
    unit = np.where(fixed, 1.0, spread)
    gram = (centred.T @ centred) / np.outer(unit, unit)
    cross = (centred.T @ (values - values.mean(axis=0))) / unit[:, None]
    out = np.array(values)
    rank = np.zeros(values.shape[1], dtype=np.int64)
    coef: list[Array] = []
    for j, chosen in enumerate(columns):
        b = np.zeros(len(chosen))
        active = chosen[~fixed[chosen]] if len(chosen) else chosen
        if len(active):
            eigenvalue, vector = np.linalg.eigh(gram[np.ix_(active, active)])
            keep = eigenvalue > _TOL * eigenvalue[-1]
            rank[j] = int(keep.sum())
            half = vector[:, keep] / eigenvalue[keep]
            b[~fixed[chosen]] = (half @ (vector[:, keep].T @ cross[active, j])) / unit[active]
            out[:, j] -= controls[:, chosen] @ b
        coef.append(b)
    return Regression(out, rank, coef)


def cross_fitted(
    values: Array, controls: Array, columns: list[IntArray], folds: IntArray
) -> Regression:
    """As :func:`regress`, with coefficients from the other folds: exactly unbiased."""
    out, rank = np.array(values), np.zeros(values.shape[1], dtype=np.int64)
    coef: list[Array] = []
    for fold in np.unique(folds):
        test = folds == fold
        fit = regress(values[~test], controls[~test], columns)
        for j, chosen in enumerate(columns):
            if len(chosen):
                out[test, j] -= controls[np.ix_(test, chosen)] @ fit.coef[j]
        rank = np.maximum(rank, fit.n_controls)
        coef = fit.coef
    return Regression(out, rank, coef)
