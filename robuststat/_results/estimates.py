"""The checked, frozen numbers of a fit: what every table and test of a result starts from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.linalg import symmetrise
from robuststat._core.types import Array
from robuststat._core.vcov import sandwich
from robuststat._results import intervals
from robuststat._results.columns import COLUMNS
from robuststat._results.diagnostics import check_diagnostics
from robuststat._results.export import decode, encode

__all__ = ["Estimates"]

_FORMAT = 1  # version of to_dict()


def _frozen(value: ArrayLike, shape: tuple[int, ...], name: str) -> Array:
    """Read-only float copy of a finite array of known shape."""
    array = np.array(value, dtype=np.float64)
    if array.shape != shape:
        raise ParameterError(f"{name} has shape {array.shape}, expected {shape}.")
    bad = int((~np.isfinite(array)).sum())
    if bad:
        raise DataError(
            f"{name} has {bad} values that are NaN or infinite. "
            "Look for collinear columns or a fit that did not converge."
        )
    array.flags.writeable = False
    return array


def _checked_vcov(value: ArrayLike, names: tuple[str, ...]) -> Array:
    if np.ndim(value) == 1:
        variances = _frozen(value, (len(names),), "vcov")
        if (variances < 0).any():
            raise DataError(f"vcov has {int((variances < 0).sum())} negative variances.")
        return variances
    vcov = _frozen(value, (len(names), len(names)), "vcov")
    sd = np.sqrt(np.abs(np.diag(vcov)))
    if (np.abs(vcov - vcov.T) > 1e-8 * np.outer(sd, sd) + 1e-300).any():
        raise DataError("vcov is not symmetric. Pass 0.5 * (V + V.T) if that is only rounding.")
    if (np.diag(vcov) < 0).any():
        worst = int(np.argmin(np.diag(vcov)))
        raise DataError(
            f"vcov gives {names[worst]!r} the negative variance {vcov[worst, worst]:.3g}. "
            "Use another variance estimator or repair the matrix to be positive semi-definite."
        )
    vcov = symmetrise(vcov)
    vcov.flags.writeable = False
    return vcov


def _checked_labels(values: Sequence[str] | None, k: int, name: str) -> tuple[str, ...] | None:
    if values is None:
        return None
    out = tuple(str(value) for value in values)
    if isinstance(values, str) or len(out) != k:
        raise ParameterError(
            f"{name} needs one text for each of the {k} estimates, got {values!r}."
        )
    return out


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Estimates:
    """Fields, checks, standard errors and JSON form of an ``InferenceResult``.

    Parameters, errors and examples are documented there; this base holds no table and no test.
    """

    estimate: Array
    vcov: Array
    names: tuple[str, ...]
    n_obs: int
    df: float = math.inf
    n_clusters: int | None = None
    vcov_type: str = "HC0"
    estimand: str = ""
    method: str = ""
    outcome: str = ""
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    influence: Array | None = None
    call: str = ""
    component: tuple[str, ...] | None = None
    outcomes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        k = len(self.names)
        names = _checked_labels(self.names, k, "names")
        if not names:
            raise ParameterError("names is empty: a result needs at least one estimate.")
        if not self.df > 0:
            raise ParameterError(f"df must be positive (inf = normal), got {self.df}.")
        for name, count in (("n_obs", self.n_obs), ("n_clusters", self.n_clusters)):
            if count is not None and count < 1:
                raise ParameterError(f"{name} must be at least 1, got {count}.")
        check_diagnostics(self.diagnostics, COLUMNS["glance"])
        checked: dict[str, Any] = {
            "names": names,
            "estimate": _frozen(self.estimate, (k,), "estimate"),
            "vcov": _checked_vcov(self.vcov, names),
            "df": float(self.df),
            "diagnostics": dict(self.diagnostics),
            "component": _checked_labels(self.component, k, "component"),
            "outcomes": _checked_labels(self.outcomes, k, "outcomes"),
        }
        if self.influence is not None:
            checked["influence"] = _frozen(self.influence, (self.n_obs, k), "influence")
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        repeated = sorted(label for label, times in Counter(self.labels).items() if times > 1)
        if repeated:
            raise ParameterError(
                f"names are not unique: {', '.join(repeated)}. Tell the terms apart by name or "
                "with component= or outcomes=."
            )

    def __reduce__(self) -> tuple[Any, ...]:
        # Unpickled arrays are writable: going through the constructor freezes them again.
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return _rebuild, (type(self), values)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__}: {len(self.names)} estimates, n_obs={self.n_obs}, "
            f"vcov_type={self.vcov_type!r}>"
        )

    @classmethod
    def from_scores(
        cls,
        *,
        estimate: ArrayLike,
        jacobian: ArrayLike,
        meat: ArrayLike,
        names: Sequence[str],
        n_obs: int,
        df: float = math.inf,
        factor: float = 1.0,
        n_clusters: int | None = None,
        vcov_type: str = "HC0",
        estimand: str = "",
        method: str = "",
        outcome: str = "",
        diagnostics: Mapping[str, Any] | None = None,
        influence: ArrayLike | None = None,
        call: str = "",
        component: Sequence[str] | None = None,
        outcomes: Sequence[str] | None = None,
    ) -> Self:
        """Build the result of estimating equations ``mean psi(theta) = 0``.

        The variance is ``factor * J^-1 M J^-T / n_obs``.

        Parameters
        ----------
        estimate : array-like of shape (k,)
            The solution.
        jacobian : array-like of shape (k, k)
            Average derivative of the scores, J.
        meat : array-like of shape (k, k)
            Variance of the scores on the scale of one row, M.
        names, n_obs, df
            See the class.
        factor : float, default=1.0
            Small-sample factor, such as n / (n - k).
        n_clusters, vcov_type, estimand, method, outcome, diagnostics, influence, call
            See the class.
        component, outcomes
            See the class.

        Returns
        -------
        InferenceResult

        Raises
        ------
        CollinearityError
            If the Jacobian is singular.
        ParameterError, DataError
            As for the class.

        Examples
        --------
        >>> from robuststat.result import InferenceResult
        >>> y = np.array([1.0, 2.0, 3.0, 6.0])
        >>> psi = y - y.mean()
        >>> res = InferenceResult.from_scores(
        ...     estimate=[y.mean()],
        ...     jacobian=[[-1.0]],
        ...     meat=[[psi @ psi / 4]],
        ...     names=["mean"],
        ...     n_obs=4,
        ... )
        >>> float(res.std_error[0] ** 2)
        0.875
        """
        k = len(names)
        J, M = _frozen(jacobian, (k, k), "jacobian"), _frozen(meat, (k, k), "meat")
        return cls(
            estimate=np.asarray(estimate, dtype=np.float64),
            vcov=sandwich(J, M, n_obs, factor, names=names),
            names=tuple(names),
            n_obs=n_obs,
            df=df,
            n_clusters=n_clusters,
            vcov_type=vcov_type,
            estimand=estimand,
            method=method,
            outcome=outcome,
            diagnostics=diagnostics or {},
            influence=None if influence is None else np.asarray(influence, dtype=np.float64),
            call=call,
            component=None if component is None else tuple(component),
            outcomes=None if outcomes is None else tuple(outcomes),
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Unique name of each estimate: the term, after its component and outcome if any."""
        parts = [part for part in (self.component, self.outcomes, self.names) if part is not None]
        return tuple(":".join(values) for values in zip(*parts, strict=True))

    @property
    def std_error(self) -> Array:
        """Standard errors, shape (k,)."""
        return np.sqrt(self.vcov if self.vcov.ndim == 1 else np.diag(self.vcov))

    @property
    def statistic(self) -> Array:
        """Estimate over its standard error, shape (k,); infinite or NaN where that is zero."""
        return intervals.studentize(self.estimate, self.std_error)

    @property
    def p_value(self) -> Array:
        """Two-sided p-values of "the coefficient is zero", shape (k,)."""
        return intervals.two_sided_p(self.statistic, self.df)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values of strict JSON; :meth:`from_dict` restores it exactly.

        Returns
        -------
        dict
            Fields by name plus ``format``. Infinities and NaN are ``{"__float__": "inf"}``.

        Raises
        ------
        ParameterError
            If a free key of ``diagnostics`` holds something without a JSON form.

        Examples
        --------
        >>> from robuststat.result import InferenceResult
        >>> import json
        >>> res = InferenceResult(estimate=[0.1], vcov=[[0.01]], names=["x"], n_obs=9)
        >>> InferenceResult.from_dict(json.loads(json.dumps(res.to_dict()))).estimate
        array([0.1])
        """
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        for name in ("estimate", "vcov"):  # finite, so plain lists are exact
            values[name] = values[name].tolist()
        for name in ("names", "component", "outcomes"):
            values[name] = None if values[name] is None else list(values[name])
        return {"format": _FORMAT} | {key: encode(value, key) for key, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Restore a result from :meth:`to_dict`.

        Parameters
        ----------
        values : mapping
            The dictionary, perhaps after a trip through JSON.

        Returns
        -------
        InferenceResult

        Raises
        ------
        ParameterError
            If the dictionary is not one of ``to_dict`` or comes from a newer format.
        """
        expected = {item.name for item in fields(cls)} | {"format"}
        if set(values) != expected or values["format"] != _FORMAT:
            odd = ", ".join(sorted(expected ^ set(values))) or f"format {values['format']!r}"
            raise ParameterError(
                f"This is not a dictionary of InferenceResult.to_dict(), format {_FORMAT}: {odd} "
                "differ. Write it again with the installed version."
            )
        return cls(**{key: decode(value) for key, value in values.items() if key != "format"})


def _rebuild(cls: type[Estimates], values: dict[str, Any]) -> Estimates:
    return cls(**values)
