"""The problem to solve: which function meets which law, in which space points are drawn."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.types import Array, IntArray
from robuststat.sampling._law_classes import Law

__all__ = ["Problem", "pair_up"]

_LOG_2PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True, slots=True)
class Problem:
    """J expectations I_j = E phi_{y(j)}(X), X with density f_{l(j)}.

    Attributes
    ----------
    laws : tuple of Law
        f_1..f_L.
    normal : bool
        Whether points are drawn as u with x = T(u), u standard normal under the first law.
    y_col, law_col : ndarray of shape (J,)
        Output and law of each expectation; empty until the number of outputs is known.
    """

    laws: tuple[Law, ...]
    normal: bool = False
    y_col: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    law_col: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @property
    def dim(self) -> int:
        """Dimension d of the input."""
        return self.laws[0].dim

    @property
    def n(self) -> int:
        """Number J of expectations."""
        return len(self.y_col)

    def to_x(self, points: Array) -> Array:
        """Input of the model at points of the sampler."""
        return self.laws[0].from_normal(points) if self.normal else points

    def to_points(self, X: Array) -> Array:
        """Points of the sampler at inputs of the model."""
        return self.laws[0].to_normal(X) if self.normal else X

    def log_jacobian(self, points: Array, X: Array) -> Array | float:
        """Log |dx/du|, to be added to a log-density of x; 0 in the physical space."""
        if not self.normal:
            return 0.0
        return _log_normal(points) - self.laws[0].logpdf(X)

    def log_f(self, points: Array, X: Array) -> Array:
        """Log-densities of the laws in the space of the sampler, (n, L)."""
        if not self.laws[0].has_density:  # plain Monte Carlo: every weight is one
            return np.zeros((len(points), 1))
        if self.normal and len(self.laws) == 1:
            return _log_normal(points)[:, None]
        out = np.column_stack([law.logpdf(X) for law in self.laws])
        if np.isnan(out).any():
            raise DataError(
                f"logpdf is NaN at {int(np.isnan(out).any(axis=1).sum())} points. It has to be "
                "-inf outside the support."
            )
        if not self.normal:
            return out
        first = out[:, :1]
        inside = np.isfinite(first)
        ratio = np.where(inside, out - np.where(inside, first, 0.0), -np.inf)
        return np.asarray(ratio + _log_normal(points)[:, None])

    def values(self, weight: Array, Y: Array) -> Array:
        """phi_j f_j / q of every expectation, (n, J), from f_l/q (n, L) and outputs (n, m)."""
        # One law or one output is broadcast: with very many expectations copies cost most.
        if len(self.laws) == 1 or Y.shape[1] == 1:
            return np.asarray(weight * Y)
        return np.asarray(weight[:, self.law_col] * Y[:, self.y_col])

    def paired(self, n_outputs: int) -> Problem:
        """Return the same problem, with the expectations that this number of outputs makes."""
        y_col, law_col = pair_up(n_outputs, len(self.laws))
        return replace(self, y_col=y_col, law_col=law_col)


def pair_up(n_outputs: int, n_laws: int) -> tuple[IntArray, IntArray]:
    """Output and law of every expectation: m functions one law, one function L laws, or pairs.

    Raises
    ------
    ParameterError
        If several outputs meet several laws in another number.
    """
    if n_laws == 1:
        return np.arange(n_outputs), np.zeros(n_outputs, dtype=np.int64)
    if n_outputs == 1:
        return np.zeros(n_laws, dtype=np.int64), np.arange(n_laws)
    if n_outputs == n_laws:
        return np.arange(n_laws), np.arange(n_laws)
    raise ParameterError(
        f"func returns {n_outputs} outputs and there are {n_laws} laws. Use one law, one output, "
        "or one law for every output."
    )


def _log_normal(points: Array) -> Array:
    return np.asarray(-0.5 * (points * points).sum(axis=1) - 0.5 * points.shape[1] * _LOG_2PI)
