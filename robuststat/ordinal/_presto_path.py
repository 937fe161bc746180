"""The regularisation path as one object: which features leave proportional odds, and when."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from robuststat._core.errors import ParameterError
from robuststat._core.types import Array
from robuststat.ordinal._presto_fit import raw_fit
from robuststat.ordinal._presto_problem import Problem
from robuststat.ordinal._presto_solve import Solution


def boundary_names(classes: Any) -> list[str]:
    """Names of the boundaries between classes, such as "1|2"."""
    return [f"{a}|{b}" for a, b in itertools.pairwise(classes)]


@dataclass(frozen=True, slots=True)
class PrestoPath:
    """PRESTO fits along decreasing penalties, as returned by :func:`presto_path`.

    Coefficients are on the raw scale in the clm sign: positive = towards higher classes.

    Attributes
    ----------
    lambdas : ndarray of shape (L,)
        Penalties, largest first.
    intercepts : ndarray of shape (L, q)
        Thresholds.
    coefs : ndarray of shape (L, q, p)
        Slopes of each boundary.
    psi : ndarray of shape (L, q, p)
        Slopes of the first boundary, then differences between neighbouring boundaries; exactly
        zero where a boundary shares its slope with the one below.
    loglik : ndarray of shape (L,)
        Log-likelihood.
    df : ndarray of shape (L,)
        Non-zero psi plus thresholds.
    aic, bic : ndarray of shape (L,)
        Information criteria.
    kkt : ndarray of shape (L,)
        Violation of the optimality conditions: the certificate.
    n_iter : ndarray of shape (L,)
        Newton steps.
    classes : ndarray of shape (K,)
        Labels, lowest first.
    feature_names : tuple of str
        Names of the columns.
    scale : ndarray of shape (p,)
        Standard deviations by which the plot multiplies.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import presto_path
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 2))
    >>> y = np.digitize(X[:, 0] + rng.logistic(size=300), [0.0, 2.0])
    >>> path = presto_path(X, y, n_lambdas=5)
    >>> path.entries()["feature"].iloc[0]
    'x0'
    """

    lambdas: Array
    intercepts: Array
    coefs: Array
    psi: Array
    loglik: Array
    df: Array
    aic: Array
    bic: Array
    kkt: Array
    n_iter: Array
    classes: Any
    feature_names: tuple[str, ...]
    scale: Array

    def entries(self) -> pd.DataFrame:
        """Order in which slopes and differences enter.

        Returns
        -------
        DataFrame
            One row for each psi that is non-zero somewhere, first come first: ``feature``,
            ``boundary``, ``kind`` ("slope" of the first boundary, or "difference": the feature
            leaves proportional odds there), ``lam`` at which it is non-zero first.
        """
        names = boundary_names(self.classes)
        rows = []
        for k, j in np.argwhere((self.psi != 0.0).any(axis=0)):
            first = int(np.flatnonzero(self.psi[:, k, j])[0])
            kind = "slope" if k == 0 else "difference"
            rows.append((first, self.feature_names[j], names[k], kind, self.lambdas[first]))
        columns = ["step", "feature", "boundary", "kind", "lam"]
        frame = pd.DataFrame(rows, columns=columns).sort_values("step", kind="stable")
        return frame.drop(columns="step").reset_index(drop=True)

    def at(self, lam: float) -> tuple[Array, Array]:
        """Thresholds (q,) and slopes (q, p) at a penalty, linearly between the fits in log lam.

        Between two fits of the path this is an approximation; at a fit it is exact.
        """
        low, high = float(self.lambdas.min()), float(self.lambdas.max())
        if not low <= lam <= high:
            raise ParameterError(f"lam must be between {low:.4g} and {high:.4g}, got {lam!r}.")
        x = np.log(np.maximum(self.lambdas[::-1], 1e-300))
        at = np.log(max(lam, 1e-300))
        i = int(np.clip(np.searchsorted(x, at, side="right") - 1, 0, max(len(x) - 2, 0)))
        t = 0.0 if len(x) == 1 or x[i + 1] == x[i] else (at - x[i]) / (x[i + 1] - x[i])
        j = min(i + 1, len(x) - 1)
        intercepts, coefs = self.intercepts[::-1], self.coefs[::-1]
        return (
            (1.0 - t) * intercepts[i] + t * intercepts[j],
            (1.0 - t) * coefs[i] + t * coefs[j],
        )

    def plot(self, *, ax: Any = None, max_labels: int = 7) -> Any:
        """Draw when features leave proportional odds; see :func:`robuststat.ordinal.plot_path`."""
        from robuststat.ordinal._plot import plot_path

        return plot_path(self, ax=ax, max_labels=max_labels)


def make_path(
    problem: Problem, fits: list[Solution], classes: Any, names: tuple[str, ...]
) -> PrestoPath:
    """Collect the fits of a path on the raw scale."""
    raws = [raw_fit(problem, fit) for fit in fits]
    loglik = np.array([-problem.total * fit.loss for fit in fits])
    df = np.array([float(fit.df) for fit in fits])
    return PrestoPath(
        lambdas=np.array([fit.lam for fit in fits]),
        intercepts=np.array([raw.intercept for raw in raws]),
        coefs=np.array([raw.coef for raw in raws]),
        psi=np.array([0.0 - fit.psi / problem.columns.scale for fit in fits]),
        loglik=loglik,
        df=df,
        aic=-2.0 * loglik + 2.0 * df,
        bic=-2.0 * loglik + np.log(problem.total) * df,
        kkt=np.array([fit.kkt for fit in fits]),
        n_iter=np.array([float(fit.n_iter) for fit in fits]),
        classes=classes,
        feature_names=names,
        scale=problem.columns.scale,
    )
