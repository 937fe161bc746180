"""Read what users have as a law of the input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.table import as_table
from robuststat._core.types import Array
from robuststat.sampling._law_classes import (
    EmpiricalLaw,
    Law,
    MarginalLaw,
    NormalLaw,
    PairLaw,
    draw_matrix,
)
from robuststat.sampling._marginals import is_marginal, read_marginal

__all__ = ["Law", "as_law", "check_law", "is_law", "read_laws"]


def _names(dim: int) -> tuple[str, ...]:
    return tuple(f"x{j + 1}" for j in range(dim))


def _marginal_law(marginals: Any, correlation: Any = None) -> MarginalLaw:
    if isinstance(marginals, Mapping):
        names, values = tuple(str(key) for key in marginals), list(marginals.values())
    else:
        values = list(marginals)
        names = _names(len(values))
    read = tuple(read_marginal(value) for value in values)
    if correlation is None:
        return MarginalLaw(read, names)
    corr = np.asarray(correlation, dtype=np.float64)
    d = len(read)
    if corr.shape != (d, d) or not np.allclose(corr, corr.T) or not np.allclose(np.diag(corr), 1):
        raise ParameterError(
            f"The correlation of a Gaussian copula must be a symmetric ({d}, {d}) matrix with unit "
            f"diagonal; got shape {corr.shape}."
        )
    try:
        factor: Array = np.asarray(np.linalg.cholesky(corr), dtype=np.float64)
    except np.linalg.LinAlgError:
        raise ParameterError(
            "The correlation of a Gaussian copula is not positive definite (smallest eigenvalue "
            f"{np.linalg.eigvalsh(corr)[0]:.3g}). Correct it."
        ) from None
    law = MarginalLaw(read, names, corr, factor)
    if not law.has_density:
        raise ParameterError("A Gaussian copula needs continuous marginals; one is discrete.")
    return law


def _normal_law(mean: Any, covariance: Any) -> NormalLaw:
    cov = np.atleast_2d(np.asarray(covariance, dtype=np.float64))
    centre = np.atleast_1d(np.asarray(mean, dtype=np.float64))
    try:
        factor: Array = np.asarray(np.linalg.cholesky(cov), dtype=np.float64)
    except np.linalg.LinAlgError:
        raise ParameterError(
            "The multivariate normal law has a singular covariance and no density. Drop the "
            "coordinates that are combinations of others."
        ) from None
    return NormalLaw(mean=centre, covariance=cov, factor=factor, names=_names(len(centre)))


def _drawn_dim(sampler: Callable[[int, np.random.Generator], Any]) -> int:
    return int(draw_matrix(sampler(2, np.random.default_rng(0)), 2).shape[1])


def _pair_law(sampler: Any, density: Any, seeded: bool = True) -> PairLaw:
    dim = _drawn_dim(sampler)
    return PairLaw(sampler, density, dim, _names(dim), seeded)


@dataclass(frozen=True)
class _FrozenSampler:
    """Draws of a frozen multivariate distribution of scipy.stats; an object, so that it pickles."""

    law: Any

    def __call__(self, n: int, rng: np.random.Generator) -> Any:
        return self.law.rvs(size=n, random_state=rng)


@dataclass(frozen=True)
class _OwnSampler:
    """Draws of an object with getSample(n), which uses its library's generator."""

    law: Any

    def __call__(self, n: int, rng: np.random.Generator) -> Any:
        return np.asarray(self.law.getSample(n))


@dataclass(frozen=True)
class _OwnDensity:
    law: Any

    def __call__(self, X: Array) -> Any:
        # A list of points is what such libraries read without knowing numpy.
        return np.asarray(self.law.computeLogPDF(X.tolist()))


def is_law(obj: Any) -> bool:
    """Whether :func:`as_law` reads an object as one law rather than as several."""
    if isinstance(obj, Law) or is_marginal(obj) or as_table(obj) is not None:
        return True
    if isinstance(obj, Mapping):
        return all(is_marginal(value) for value in obj.values()) and bool(obj)
    if isinstance(obj, tuple) and len(obj) == 2:
        if callable(obj[0]) and callable(obj[1]) and not is_marginal(obj[0]):
            return True
        if isinstance(obj[0], (list, tuple, Mapping)) and is_law(obj[0]):
            return isinstance(obj[1], (np.ndarray, pd.DataFrame, list)) and np.ndim(obj[1]) == 2
    if isinstance(obj, (list, tuple)):
        return bool(obj) and all(is_marginal(value) for value in obj)
    return hasattr(obj, "logpdf") or hasattr(obj, "computeLogPDF")


def as_law(obj: Any) -> Law:
    """Read a probability law of the input.

    Parameters
    ----------
    obj : object
        One of:

        - a frozen one-dimensional distribution of scipy.stats, or a list or dict of them:
          independent coordinates (the keys of a dict name them);
        - ``(marginals, correlation)``: the same, joined by a Gaussian copula, ``correlation`` being
          that of the normal scores, (d, d);
        - a frozen multivariate distribution with ``rvs`` and ``logpdf``;
        - an object with ``getSample(n)`` and ``computeLogPDF(points)`` such as a distribution of
          OpenTURNS, whose draws follow the generator of its own library;
        - ``(sampler, logpdf)``: functions ``sampler(n, rng)`` -> (n, d) and ``logpdf(X)`` -> (n,);
        - a data frame (pandas, polars, pyarrow): draws from its rows, without density, for plain
          Monte Carlo only;
        - a law that this function has returned.

    Returns
    -------
    Law
        With ``dim``, ``names``, ``rvs(n, rng)``, ``logpdf(X)`` and, where it ``transforms``,
        ``to_normal`` and ``from_normal``.

    Raises
    ------
    ParameterError
        If the object is none of these, or its parameters are no law.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import stats
    >>> from robuststat import as_law
    >>> law = as_law({"load": stats.gumbel_r(1013, 558), "width": stats.uniform(295, 10)})
    >>> law.names, law.rvs(3, np.random.default_rng(0)).shape
    (('load', 'width'), (3, 2))
    >>> as_law(([stats.norm(), stats.norm()], [[1.0, 0.5], [0.5, 1.0]])).transforms
    True
    """
    if isinstance(obj, Law):
        return obj
    table = as_table(obj)
    if table is not None:
        return _empirical(obj)
    if is_marginal(obj):
        return _marginal_law([obj])
    if is_law(obj) and isinstance(obj, (list, tuple, Mapping)):
        if isinstance(obj, tuple) and len(obj) == 2 and not is_marginal(obj[0]):
            first, second = obj
            return _pair_law(*obj) if callable(first) else _marginal_law(first, second)
        return _marginal_law(obj)
    if hasattr(obj, "cov") and hasattr(obj, "mean") and _is_scipy_normal(obj):
        return _normal_law(obj.mean, obj.cov)
    if hasattr(obj, "freeze"):
        raise ParameterError(
            f"law is scipy.stats.{obj.name} without parameters. Call it, as in "
            "scipy.stats.norm(0, 1)."
        )
    if hasattr(obj, "logpdf") and hasattr(obj, "rvs"):
        return _pair_law(_FrozenSampler(obj), obj.logpdf)
    if hasattr(obj, "getSample") and hasattr(obj, "computeLogPDF"):
        return _pair_law(_OwnSampler(obj), _OwnDensity(obj), seeded=False)
    raise ParameterError(
        f"law is {obj!r}, which is not understood. Pass frozen scipy.stats distributions (a list "
        "or dict of them), (marginals, correlation), an object with rvs and logpdf, a pair "
        "(sampler, logpdf), or a data frame of draws."
    )


def _is_scipy_normal(obj: Any) -> bool:
    return type(obj).__name__ == "multivariate_normal_frozen"


def _empirical(obj: Any) -> EmpiricalLaw:
    table = as_table(obj)
    assert table is not None
    frame = table.pandas(table.names)
    try:
        rows = frame.to_numpy(dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError("A data frame used as a law has columns that are no numbers.") from None
    if not len(rows) or not np.isfinite(rows).all():
        bad = int((~np.isfinite(rows)).any(axis=1).sum())
        raise DataError(
            f"A data frame used as a law has {len(rows)} rows, {bad} of them with missing or "
            "infinite values. Pass complete rows."
        )
    return EmpiricalLaw(rows, tuple(str(name) for name in frame.columns))


def check_law(law: Law, label: str) -> None:
    """Raise when a law's own draws have no finite density; 16 draws with a fixed seed.

    Raises
    ------
    DataError
        Naming the law and the count.
    """
    X = law.rvs(16, np.random.default_rng(0))
    if X.shape != (16, law.dim) or not np.isfinite(X).all():
        raise DataError(f"{label}: draws have shape {X.shape} or are not finite. Check its rvs.")
    if not law.has_density:
        return
    density = law.logpdf(X)
    bad = int((~np.isfinite(density)).sum())
    if bad:
        raise DataError(
            f"{label}: logpdf is not finite at {bad} of 16 of the law's own draws (first: "
            f"{X[~np.isfinite(density)][0]}). The sampler and the density do not belong together."
        )


def read_laws(law: Any) -> tuple[list[Law], list[str] | None, bool]:
    """Read ``fit``'s law: one, or several in a list or dict.

    Returns
    -------
    laws : list of Law
    names : list of str or None
        Keys of a dict of laws.
    several : bool
        Whether a list or dict was passed.
    """
    if is_law(law):
        return [as_law(law)], None, False
    if isinstance(law, Mapping) and law:
        return [as_law(one) for one in law.values()], [str(key) for key in law], True
    if isinstance(law, Sequence) and not isinstance(law, str) and law:
        return [as_law(one) for one in law], None, True
    return [as_law(law)], None, False
