"""Pictures of ordinal fits; matplotlib is imported by the functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.types import Array

# Okabe and Ito's colours without the pale yellow.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")


def _axes(ax: Any, width: float = 6.4, height: float = 4.2) -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            'Plots need matplotlib, which is not installed: pip install "robuststat[plot]"'
        ) from error
    return pyplot.subplots(figsize=(width, height))[1] if ax is None else ax


def _clean(ax: Any) -> None:
    ax.grid(axis="y", color="0.92", linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def plot_path(path: Any, *, ax: Any = None, max_labels: int = 7) -> Any:
    """Draw how slopes and differences between boundaries enter as the penalty falls.

    Parameters
    ----------
    path : PrestoPath
        Regularisation path.
    ax : matplotlib Axes, optional
        Where to draw.
    max_labels : int, default 7
        Features that get a colour and a place in the legend: those that leave proportional odds
        first. The others are grey.

    Returns
    -------
    matplotlib Axes
        Solid lines are differences between neighbouring boundaries (per standard deviation of the
        feature; not zero = the feature leaves proportional odds), dashed lines the slopes of the
        first boundary.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat.ordinal import plot_path, presto_path
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 2))
    >>> y = np.digitize(X[:, 0] + rng.logistic(size=300), [0.0, 2.0])
    >>> plot_path(presto_path(X, y, n_lambdas=5)).get_xlabel()
    'Penalty (log scale, decreasing)'
    """
    ax = _axes(ax)
    lambdas = np.asarray(path.lambdas)
    shown = lambdas > 0.0
    if shown.sum() < 2:
        raise DataError("The path has fewer than two positive penalties, so there is no curve.")
    psi = path.psi[shown] * path.scale
    entries = path.entries()
    leaving = entries.loc[entries["kind"] == "difference", "feature"]
    named = list(dict.fromkeys([*leaving, *entries["feature"]]))[: min(max_labels, len(_COLORS))]
    x = lambdas[shown]
    for j, name in enumerate(path.feature_names):
        color = _COLORS[named.index(name)] if name in named else "0.8"
        order = 3 if name in named else 1
        ax.plot(x, psi[:, 0, j], color=color, linestyle=(0, (3, 2)), linewidth=1.1, zorder=order)
        for k in range(1, psi.shape[1]):
            ax.plot(x, psi[:, k, j], color=color, linewidth=1.8, zorder=order)
    for name in named:
        ax.plot([], [], color=_COLORS[named.index(name)], linewidth=2.2, label=name)
    ax.plot([], [], color="0.3", linewidth=1.8, label="difference between boundaries")
    ax.plot([], [], color="0.3", linestyle=(0, (3, 2)), linewidth=1.1, label="first boundary")
    ax.axhline(0.0, color="0.55", linewidth=0.9, zorder=2)
    ax.set_xscale("log")
    ax.set_xlim(float(x.max()), float(x.min()))
    ax.set_xlabel("Penalty (log scale, decreasing)")
    ax.set_ylabel("Coefficient per standard deviation")
    _clean(ax)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    ax.figure.tight_layout()
    return ax


def plot_boundaries(
    estimator: Any,
    X: Any,
    feature: str | int,
    *,
    n_points: int = 101,
    scale: str = "probability",
    ax: Any = None,
) -> Any:
    """Draw the cumulative probabilities of all boundaries along one covariate.

    Parameters
    ----------
    estimator : fitted ordinal classifier
        Any estimator with ``decision_function``, ``classes_`` and ``predict_cumulative``.
    X : array or data frame of shape (n, p)
        Rows that give the range of the covariate; the others are held at their medians.
    feature : str or int
        Name of the column (data frame) or its position.
    n_points : int, default 101
        Points of each curve.
    scale : {"probability", "link"}, default "probability"
        P(y <= class), or its linear predictor, on which the boundaries of rare classes can be told
        apart and a crossing is seen.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Axes
        One curve P(y <= k) a boundary. Curves that cross would give a class between them a
        negative probability.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat.ordinal import PrestoClassifier, plot_boundaries
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 2))
    >>> y = np.digitize(X[:, 0] + rng.logistic(size=300), [0.0, 2.0])
    >>> fit = PrestoClassifier(lam=0.01).fit(X, y)
    >>> plot_boundaries(fit, X, 0).get_ylabel()
    'P(y <= class)'
    """
    rows, grid, label = _profile(X, feature, n_points)
    if scale not in ("probability", "link"):
        raise ParameterError(f"scale must be 'probability' or 'link', got {scale!r}.")
    on_link = scale == "link"
    curves = estimator.decision_function(rows) if on_link else estimator.predict_cumulative(rows)
    # With two classes the decision function has one dimension and the opposite sign.
    cumulative = -np.asarray(curves)[:, None] if np.ndim(curves) == 1 else np.asarray(curves)
    if cumulative.shape[1] > len(_COLORS):
        raise ParameterError(
            f"There are {cumulative.shape[1]} boundaries; at most {len(_COLORS)} can be told apart."
        )
    ax = _axes(ax)
    for k, c in enumerate(estimator.classes_[:-1]):
        ax.plot(grid, cumulative[:, k], color=_COLORS[k], linewidth=1.8, label=f"{c} or lower")
    ax.set_xlabel(label)
    ax.set_ylabel("Linear predictor of P(y <= class)" if on_link else "P(y <= class)")
    if not on_link:
        ax.set_ylim(-0.02, 1.02)
    _clean(ax)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    ax.figure.tight_layout()
    return ax


def _profile(X: Any, feature: str | int, n_points: int) -> tuple[Any, Array, str]:
    """Rows at the medians of all covariates but one, which runs over its range."""
    if hasattr(X, "columns"):
        if feature not in X.columns:
            raise ParameterError(f"feature={feature!r} is not a column of X.")
        numeric = X.select_dtypes("number").columns
        if feature not in numeric:
            raise ParameterError(f"feature={feature!r} is not numeric.")
        values = X[feature].to_numpy(dtype=np.float64)
        grid = np.linspace(np.nanmin(values), np.nanmax(values), n_points)
        base = X.iloc[[0] * n_points].reset_index(drop=True)
        for name in X.columns:
            typical = X[name].median() if name in numeric else X[name].mode().iloc[0]
            base[name] = [typical] * n_points
        base[feature] = grid
        return base, grid, str(feature)
    array = np.asarray(X, dtype=np.float64)
    if not isinstance(feature, int) or not 0 <= feature < array.shape[1]:
        raise ParameterError(f"feature must be a column number below {array.shape[1]}.")
    grid = np.linspace(array[:, feature].min(), array[:, feature].max(), n_points)
    base = np.tile(np.median(array, axis=0), (n_points, 1))
    base[:, feature] = grid
    return base, grid, f"x{feature}"
