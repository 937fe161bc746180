"""Exact privacy loss of an estimator on two data sets, from the distribution it draws from.

A statistical test can miss a rare event; the distribution itself cannot hide one. An estimator
answers ``_layers(x)`` with one :class:`LayerTable` (or a list of them, for parts that draw
independently); the worst log ratio over both tables is its loss on that pair of data sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import logsumexp

from robuststat._core.errors import ParameterError
from robuststat._core.types import Array

# Pieces of a continuous output that are narrower than this share of the range come from rounding
# of breakpoints in floating point. Grid mode has none, and nothing is left out there.
_SLIVER = 1e-9


@dataclass(frozen=True, slots=True)
class LayerTable:
    """Distribution of one drawn number, as pieces on which the log weight is linear.

    Attributes
    ----------
    edges : ndarray of shape (m + 1,)
        Increasing. Piece i is [edges[i], edges[i + 1]): an interval, or with ``grid`` the whole
        numbers in it, as positions on the public grid.
    log_left, log_right : ndarray of shape (m,)
        Log of the weight (density with respect to the public base measure, up to a constant) at
        the left edge and its limit at the right edge; equal where the weight is constant.
    log_mass : ndarray of shape (m,)
        Log of the total weight of the piece, base measure included; -inf for none.
    grid : bool
        Whether the outputs are whole numbers.

    Examples
    --------
    >>> import numpy as np
    >>> edges = np.array([0.0, 1.0, 3.0])
    >>> weight = np.log([0.5, 0.25])
    >>> LayerTable(edges, weight, weight, weight + np.log([1.0, 2.0]), grid=False).log_total.round(
    ...     3
    ... )
    np.float64(0.0)
    """

    edges: Array
    log_left: Array
    log_right: Array
    log_mass: Array
    grid: bool

    def __post_init__(self) -> None:
        m = len(self.edges) - 1
        fits = all(len(part) == m for part in (self.log_left, self.log_right, self.log_mass))
        if m < 1 or not fits or not (np.diff(self.edges) > 0).all():
            raise ParameterError("A LayerTable needs increasing edges and one weight a piece.")

    @property
    def log_total(self) -> float:
        """Log of the sum of all weights, the normalising constant."""
        return logsumexp(self.log_mass)

    def log_density(self, points: Array, side: Literal["left", "right"]) -> Array:
        """Log density at points inside pieces, or at edges seen from the left or the right."""
        piece = np.searchsorted(self.edges, points, side) - 1
        piece = np.clip(piece, 0, len(self.log_left) - 1)
        left, right = self.edges[piece], self.edges[piece + 1]
        with np.errstate(invalid="ignore"):  # unbounded pieces have constant weight
            share = np.nan_to_num((points - left) / (right - left))
            slope = np.nan_to_num(self.log_right[piece] - self.log_left[piece])
        return np.asarray(self.log_left[piece] + share * slope - self.log_total)


@dataclass(frozen=True, slots=True)
class PrivacyLoss:
    """Worst log ratio of an estimator on one pair of data sets.

    Attributes
    ----------
    epsilon : float
        Supremum of ``abs(log p_S - log p_S2)`` over all outputs; log ratios of independent parts
        add up.
    claimed : float
        What the estimator charges for one row: epsilon divided by ``max_contributions``.
    at : tuple of float
        Where it is attained, one point a part (grid positions in grid mode).

    Examples
    --------
    >>> PrivacyLoss(epsilon=0.9, claimed=1.0, at=(3.0,)).holds
    True
    """

    epsilon: float
    claimed: float
    at: tuple[float, ...]

    @property
    def holds(self) -> bool:
        """Whether the loss is within the claim (up to 1e-9 of it, for rounding of logarithms)."""
        return self.epsilon <= self.claimed * (1 + 1e-9)


def exact_privacy_loss(est: Any, S: Any, S2: Any) -> PrivacyLoss:
    """Compute the privacy loss of an estimator on two neighbouring data sets exactly.

    Parameters
    ----------
    est : estimator
        Private estimator that draws from score layers (``DPLocation``, ``DPScale``,
        ``InverseSensitivity`` and relatives), or any object with ``_layers(x)`` and ``epsilon``.
        Nothing is released and nothing is charged.
    S, S2 : array of shape (n,)
        Made-up data sets that are neighbours. The answer says much about both: never use people's.

    Returns
    -------
    PrivacyLoss

    Raises
    ------
    ParameterError
        When the estimator has no layers, or its parts do not match between the data sets.

    See Also
    --------
    audit_epsilon : For mechanisms of which only draws can be had.

    Examples
    --------
    >>> import numpy as np
    >>> class TwoAnswers:
    ...     epsilon = 1.0
    ...
    ...     def _layers(self, x):
    ...         weight = np.log([np.exp(0.5 * x[0]), 1.0])
    ...         return LayerTable(np.array([0.0, 1.0, 2.0]), weight, weight, weight, grid=True)
    >>> loss = exact_privacy_loss(TwoAnswers(), [0], [1])
    >>> round(loss.epsilon, 3), loss.holds
    (0.281, True)
    """
    if not hasattr(est, "_layers"):
        raise ParameterError(
            f"{type(est).__name__} does not expose the layers it draws from. Use audit_epsilon, "
            "which needs draws only."
        )
    parts = [_parts(est._layers(np.asarray(data))) for data in (S, S2)]
    if len(parts[0]) != len(parts[1]):
        raise ParameterError("The number of parts depends on the data, which is itself a leak.")
    pairs = list(zip(*parts, strict=True))
    # Log ratios of independent parts add up, separately in the two directions.
    ways = [
        [_worst(first, second) for first, second in pairs],
        [_worst(second, first) for first, second in pairs],
    ]
    worst = max(ways, key=lambda way: sum(loss for loss, _ in way))
    return PrivacyLoss(
        epsilon=float(sum(loss for loss, _ in worst)),
        claimed=float(est.epsilon) / getattr(est, "max_contributions", 1),
        at=tuple(at for _, at in worst),
    )


def _parts(layers: LayerTable | Sequence[LayerTable]) -> list[LayerTable]:
    return [layers] if isinstance(layers, LayerTable) else list(layers)


def _worst(first: LayerTable, second: LayerTable) -> tuple[float, float]:
    """Find the largest log ratio; between common edges it is monotone, so ends are enough."""
    same = first.grid == second.grid and (first.edges[[0, -1]] == second.edges[[0, -1]]).all()
    if not same:
        raise ParameterError("The range of the output depends on the data, which is itself a leak.")
    edges = np.union1d(first.edges, second.edges)
    if first.grid:
        # The last whole number of a piece is one below its right edge.
        points = np.unique(np.concatenate([edges[:-1], edges[1:] - 1]))
        ends: list[tuple[Array, Literal["left", "right"]]] = [(points, "right")]
    else:
        finite = edges[np.isfinite(edges)]
        wide = np.diff(edges) > _SLIVER * (finite[-1] - finite[0])
        ends = [(edges[:-1][wide], "right"), (edges[1:][wide], "left")]
    found = (-np.inf, np.nan)
    for points, side in ends:
        ratio = _log_ratio(first.log_density(points, side), second.log_density(points, side))
        k = int(np.argmax(ratio))
        found = max(found, (float(ratio[k]), float(points[k])))
    return found


def _log_ratio(a: Array, b: Array) -> Array:
    """Difference of logs; no ratio where both probabilities are zero."""
    with np.errstate(invalid="ignore"):
        difference = a - b
    return np.where(np.isneginf(a) & np.isneginf(b), -np.inf, difference)
