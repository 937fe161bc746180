"""Laws of the input: marginals with a copula, multivariate normal, pairs of functions, rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import linalg as scipy_linalg

from robuststat._core.errors import DataError
from robuststat._core.types import Array
from robuststat.sampling._marginals import Marginal

__all__ = [
    "EmpiricalLaw",
    "Law",
    "MarginalLaw",
    "Natural",
    "NormalLaw",
    "PairLaw",
    "draw_matrix",
]

_LOG_2PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True, slots=True)
class Natural:
    """Coordinates t(x) in which a law is Gaussian.

    Attributes
    ----------
    kinds : tuple
        Per coordinate ("normal",) or ("lognormal", shift): laws with equal kinds share t.
    mean, covariance : ndarray of shape (d,) and (d, d)
        Moments of t(X).
    """

    kinds: tuple[tuple[Any, ...], ...]
    mean: Array
    covariance: Array

    def transform(self, X: Array) -> Array:
        """t(x) of every row; NaN outside the support."""
        out = np.array(X, dtype=np.float64)
        for j, kind in enumerate(self.kinds):
            if kind[0] == "lognormal":
                inside = X[:, j] > kind[1]
                out[:, j] = np.log(np.where(inside, X[:, j] - kind[1], np.nan))
        return out


class Law:
    """What the samplers ask of a law of X in R^d; build one with :func:`as_law`.

    Attributes
    ----------
    dim : int
        d.
    names : tuple of str
        Names of the coordinates.
    transforms : bool
        Whether ``to_normal`` and ``from_normal`` map X to independent standard normal
        coordinates and back.
    has_density : bool
        Whether ``logpdf`` exists; discrete and empirical laws can only be drawn from.
    seeded : bool
        Whether draws follow the generator passed in.
    """

    dim: int
    names: tuple[str, ...]
    transforms = False
    has_density = True
    seeded = True

    def rvs(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n rows, (n, d)."""
        raise NotImplementedError

    def logpdf(self, X: Array) -> Array:
        """Logarithm of the density at every row, (n,)."""
        raise NotImplementedError

    def to_normal(self, X: Array) -> Array:
        """Independent standard normal coordinates of every row."""
        raise NotImplementedError

    def from_normal(self, U: Array) -> Array:
        """Row with given standard normal coordinates."""
        raise NotImplementedError

    def natural(self) -> Natural | None:
        """Coordinates in which the law is Gaussian, if there are any."""
        return None


@dataclass(frozen=True)
class MarginalLaw(Law):
    """Given marginals, independent or joined by a Gaussian copula."""

    marginals: tuple[Marginal, ...]
    names: tuple[str, ...]
    correlation: Array | None = None
    factor: Array | None = field(default=None, repr=False)

    @property
    def dim(self) -> int:  # type: ignore[override]
        return len(self.marginals)

    @property
    def has_density(self) -> bool:  # type: ignore[override]
        return all(marginal.kind != "discrete" for marginal in self.marginals)

    @property
    def transforms(self) -> bool:  # type: ignore[override]
        return self.has_density

    def rvs(self, n: int, rng: np.random.Generator) -> Array:
        if self.factor is not None:
            return self.from_normal(rng.standard_normal((n, self.dim)))
        return np.column_stack([marginal.rvs(n, rng) for marginal in self.marginals])

    def logpdf(self, X: Array) -> Array:
        out = np.zeros(len(X))
        for j, marginal in enumerate(self.marginals):
            out += marginal.logpdf(X[:, j])
        if self.factor is None:
            return out
        inside = np.isfinite(out)
        z = self._scores(X[inside])
        u = scipy_linalg.solve_triangular(self.factor, z.T, lower=True)
        log_det = np.log(np.diag(self.factor)).sum()
        out[inside] += 0.5 * ((z * z).sum(axis=1) - (u * u).sum(axis=0)) - log_det
        return out

    def _scores(self, X: Array) -> Array:
        columns = [marginal.to_normal(X[:, j]) for j, marginal in enumerate(self.marginals)]
        return np.column_stack(columns)

    def to_normal(self, X: Array) -> Array:
        z = self._scores(X)
        if self.factor is None:
            return z
        return np.asarray(scipy_linalg.solve_triangular(self.factor, z.T, lower=True).T)

    def from_normal(self, U: Array) -> Array:
        z = U if self.factor is None else U @ self.factor.T
        columns = [marginal.from_normal(z[:, j]) for j, marginal in enumerate(self.marginals)]
        return np.column_stack(columns)

    def natural(self) -> Natural | None:
        if any(marginal.kind not in ("normal", "lognormal") for marginal in self.marginals):
            return None
        kinds = tuple(
            ("normal",) if marginal.kind == "normal" else ("lognormal", marginal.shift)
            for marginal in self.marginals
        )
        sd = np.array([marginal.scale for marginal in self.marginals])
        corr = np.eye(self.dim) if self.correlation is None else self.correlation
        mean = np.array([marginal.centre for marginal in self.marginals])
        return Natural(kinds, mean, corr * np.outer(sd, sd))


@dataclass(frozen=True)
class NormalLaw(Law):
    """Multivariate normal."""

    mean: Array
    covariance: Array
    factor: Array = field(repr=False)
    names: tuple[str, ...]
    transforms = True

    @property
    def dim(self) -> int:  # type: ignore[override]
        return len(self.mean)

    def rvs(self, n: int, rng: np.random.Generator) -> Array:
        return self.from_normal(rng.standard_normal((n, self.dim)))

    def logpdf(self, X: Array) -> Array:
        u = self.to_normal(X)
        log_det = np.log(np.diag(self.factor)).sum()
        return np.asarray(-0.5 * (u * u).sum(axis=1) - 0.5 * self.dim * _LOG_2PI - log_det)

    def to_normal(self, X: Array) -> Array:
        return np.asarray(
            scipy_linalg.solve_triangular(self.factor, (X - self.mean).T, lower=True).T
        )

    def from_normal(self, U: Array) -> Array:
        return np.asarray(self.mean + U @ self.factor.T)

    def natural(self) -> Natural | None:
        return Natural((("normal",),) * self.dim, self.mean, self.covariance)


@dataclass(frozen=True)
class PairLaw(Law):
    """A sampler and a log-density, given as functions or as methods of another library's object."""

    sampler: Callable[[int, np.random.Generator], Any]
    density: Callable[[Array], Any]
    dim: int
    names: tuple[str, ...]
    seeded: bool = True

    def rvs(self, n: int, rng: np.random.Generator) -> Array:
        return draw_matrix(self.sampler(n, rng), n, self.dim)

    def logpdf(self, X: Array) -> Array:
        out = np.asarray(self.density(X), dtype=np.float64)
        if out.size != len(X):
            raise DataError(
                f"logpdf returned shape {out.shape} for {len(X)} rows; expected ({len(X)},)."
            )
        return out.reshape(len(X))


@dataclass(frozen=True)
class EmpiricalLaw(Law):
    """Equal mass on the rows of a table: drawn with replacement."""

    rows: Array
    names: tuple[str, ...]
    has_density = False

    @property
    def dim(self) -> int:  # type: ignore[override]
        return int(self.rows.shape[1])

    def rvs(self, n: int, rng: np.random.Generator) -> Array:
        return np.asarray(self.rows[rng.integers(0, len(self.rows), size=n)])


def draw_matrix(values: Any, n: int, dim: int | None = None) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 1:
        array = array[:, None] if n > 1 or dim in (None, 1) else array[None, :]
    if array.ndim != 2 or len(array) != n or (dim is not None and array.shape[1] != dim):
        raise DataError(
            f"A law asked for {n} draws answered with shape {array.shape}, expected ({n}, "
            f"{'d' if dim is None else dim}). Return one row a draw."
        )
    return array
