"""One-dimensional laws: density and normal scores, in closed form for normal and lognormal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import special

from robuststat._core.errors import ParameterError
from robuststat._core.types import Array

__all__ = ["Marginal", "is_marginal", "read_marginal"]

_HALF_LOG_2PI = 0.5 * float(np.log(2.0 * np.pi))
# scipy's normal quantile is finite up to here; further out the score is that of the limit.
_SCORE_LIMIT = 37.5


def is_marginal(obj: Any) -> bool:
    """Whether an object is a one-dimensional frozen distribution of scipy.stats."""
    if hasattr(obj, "dist") and hasattr(obj, "ppf") and hasattr(obj, "cdf"):
        return hasattr(obj, "rvs")
    # The newer classes of scipy.stats (scipy.stats.Normal(...)).
    return all(hasattr(obj, name) for name in ("icdf", "cdf", "sample")) and not hasattr(obj, "rvs")


@dataclass(frozen=True, slots=True)
class Marginal:
    """A one-dimensional law.

    Attributes
    ----------
    law : object
        Frozen distribution of scipy.stats.
    kind : {"normal", "lognormal", "other", "discrete"}
        "normal": X = centre + scale z. "lognormal": X = shift + exp(centre + scale z).
    centre, scale, shift : float
        Parameters of the first two kinds.
    """

    law: Any
    kind: Literal["normal", "lognormal", "other", "discrete"]
    centre: float = 0.0
    scale: float = 1.0
    shift: float = 0.0

    def natural(self, x: Array) -> Array:
        """Coordinate in which a normal or lognormal law is normal; NaN outside the support."""
        if self.kind == "normal":
            return x
        inside = x > self.shift
        return np.log(np.where(inside, x - self.shift, np.nan))

    def logpdf(self, x: Array) -> Array:
        """Logarithm of the density, -inf outside the support."""
        if self.kind in ("normal", "lognormal"):
            t = self.natural(x)
            z = (t - self.centre) / self.scale
            out = -0.5 * z * z - _HALF_LOG_2PI - np.log(self.scale)
            return out if self.kind == "normal" else np.where(np.isnan(t), -np.inf, out - t)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.law.logpdf(x), dtype=np.float64)

    def to_normal(self, x: Array) -> Array:
        """Return the normal score Phi^-1(F(x))."""
        if self.kind in ("normal", "lognormal"):
            z = (self.natural(x) - self.centre) / self.scale
            return np.where(np.isnan(z), -_SCORE_LIMIT, z)  # as for the kinds below
        low, high = self.law.cdf(x), _upper_tail(self.law, x)
        # The smaller tail has the digits.
        z = np.where(low <= 0.5, special.ndtri(low), -special.ndtri(high))
        return np.clip(z, -_SCORE_LIMIT, _SCORE_LIMIT)

    def from_normal(self, z: Array) -> Array:
        """Value with a given normal score."""
        if self.kind == "normal":
            return np.asarray(self.centre + self.scale * z)
        if self.kind == "lognormal":
            return np.asarray(self.shift + np.exp(self.centre + self.scale * z))
        if hasattr(self.law, "icdf"):
            upper = self.law.iccdf(special.ndtr(-z))
            return np.asarray(np.where(z <= 0, self.law.icdf(special.ndtr(z)), upper))
        upper = self.law.isf(special.ndtr(-z))
        return np.asarray(np.where(z <= 0, self.law.ppf(special.ndtr(z)), upper))

    def rvs(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n values."""
        if self.kind in ("normal", "lognormal"):
            return self.from_normal(rng.standard_normal(n))
        if hasattr(self.law, "sample"):
            return np.asarray(self.law.sample(n, rng=rng), dtype=np.float64)
        return np.asarray(self.law.rvs(size=n, random_state=rng), dtype=np.float64)


def _upper_tail(law: Any, x: Array) -> Array:
    return np.asarray(law.ccdf(x) if hasattr(law, "ccdf") else law.sf(x))


def read_marginal(law: Any) -> Marginal:
    """Recognise the kind of a frozen distribution and read its parameters.

    Raises
    ------
    ParameterError
        If the object is no frozen one-dimensional distribution, or has several of them.
    """
    if not is_marginal(law):
        raise ParameterError(
            f"{law!r} is no frozen one-dimensional distribution. Use for instance "
            "scipy.stats.norm(0, 1)."
        )
    if np.size(law.mean()) != 1:
        raise ParameterError(
            f"A marginal distribution has parameters of shape {np.shape(law.mean())}. Freeze one "
            "distribution for every coordinate."
        )
    name = getattr(getattr(law, "dist", None), "name", type(law).__name__)
    if hasattr(law, "dist") and not hasattr(law.dist, "pdf"):
        return Marginal(law, "discrete")
    if name == "norm":
        return Marginal(law, "normal", float(law.mean()), float(law.std()))
    if name == "lognorm":
        shift = float(law.support()[0])
        centre = float(np.log(law.ppf(0.5) - shift))
        upper = float(np.log(law.isf(special.ndtr(-1.0)) - shift))
        return Marginal(law, "lognormal", centre, upper - centre, shift)
    return Marginal(law, "other")
