"""Wald tests of linear restrictions."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from scipy import special

from robuststat._core.errors import IdentificationError, ParameterError
from robuststat._core.types import Array
from robuststat._results.constraints import LinearMap
from robuststat._results.export import encode
from robuststat.report import format_p

__all__ = ["WaldTest", "combined_vcov", "wald"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class WaldTest:
    """Outcome of a Wald test of ``R b = r``.

    Parameters
    ----------
    statistic : float
        Chi-squared statistic, or that divided by ``df`` for the F distribution.
    p_value : float
        Upper tail probability.
    df : int
        Number of restrictions.
    df_denom : float
        Denominator degrees of freedom; inf for the chi-squared distribution.
    distribution : {"chi2", "F"}
        Reference distribution.
    null_hypothesis : str
        The restrictions in words.
    estimate : ndarray of shape (df,)
        ``R b - r``, in the unit of the restrictions.

    Examples
    --------
    >>> rows = LinearMap(np.array([[1.0, 0.0]]), np.array([0.0]), ("x = 0",))
    >>> print(wald(np.array([2.0, 1.0]), np.eye(2), rows, df=np.inf))
    Wald test
    H0: x = 0
    chi2(1) = 4, p-value = 0.0455
    """

    statistic: float
    p_value: float
    df: int
    df_denom: float
    distribution: Literal["chi2", "F"]
    null_hypothesis: str
    estimate: Array

    def __str__(self) -> str:
        between = f"{self.df}, {self.df_denom:.6g}" if self.distribution == "F" else str(self.df)
        p = format_p(self.p_value)
        p = p if p.startswith("<") else f"= {p}"
        hypothesis = textwrap.wrap(f"H0: {self.null_hypothesis}", 88, subsequent_indent="    ")
        result = f"{self.distribution}({between}) = {self.statistic:.5g}, p-value {p}"
        return "\n".join(["Wald test", *hypothesis, result])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-able values (see ``InferenceResult.to_dict``).

        Returns
        -------
        dict
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {key: encode(value, key) for key, value in values.items()}


def _check_redundant(rows: LinearMap) -> None:
    scaled = rows.matrix / np.linalg.norm(rows.matrix, axis=1, keepdims=True)
    rank = int(np.linalg.matrix_rank(scaled))
    if rank == len(scaled):
        return
    ranks = [0, *(int(np.linalg.matrix_rank(scaled[: i + 1])) for i in range(len(scaled)))]
    extra = [word for i, word in enumerate(rows.words) if ranks[i + 1] == ranks[i]]
    raise ParameterError(
        f"The {len(scaled)} restrictions have rank {rank}: some repeat the others. "
        f"Remove: {'; '.join(extra)}."
    )


def combined_vcov(matrix: Array, vcov: Array) -> Array:
    """Variance of ``matrix @ estimate``; a variance that is only rounding error becomes zero.

    Parameters
    ----------
    matrix : ndarray of shape (q, k)
        Weights.
    vcov : ndarray of shape (k, k)
        Variance of the estimates.

    Returns
    -------
    ndarray of shape (q, q)
        Symmetric.
    """
    out = matrix @ vcov @ matrix.T
    out = 0.5 * (out + out.T)
    # Terms that cancel leave errors of this size, of either sign.
    size = np.abs(matrix)
    error = 8 * len(vcov) * np.finfo(np.float64).eps * np.diag(size @ np.abs(vcov) @ size.T)
    zero = np.abs(np.diag(out)) <= error
    out[zero, :] = 0.0
    out[:, zero] = 0.0
    return np.asarray(out, dtype=np.float64)


def _quadratic_form(difference: Array, vcov: Array, words: Sequence[str]) -> float:
    """D' V^-1 d, infinite when a restriction known without error fails."""
    sd = np.sqrt(np.diag(vcov))
    certain = sd == 0
    if certain.any():
        if difference[certain].any():
            return np.inf
        if certain.all():
            return np.nan
        names = ", ".join(word for word, flag in zip(words, certain, strict=True) if flag)
        raise IdentificationError(
            f"These restrictions have zero variance and hold exactly: {names}. "
            "Test the others alone."
        )
    correlation = vcov / np.outer(sd, sd)
    rank = int(np.linalg.matrix_rank(correlation, hermitian=True))
    if rank < len(sd):
        raise IdentificationError(
            f"The variance of the {len(sd)} tested combinations has rank {rank}, so they cannot be "
            "tested jointly. Test fewer of them (with clustered errors: fewer than clusters)."
        )
    t = difference / sd
    return float(t @ np.linalg.solve(correlation, t))


def wald(estimate: Array, vcov: Array, rows: LinearMap, *, df: float) -> WaldTest:
    """Test ``rows.matrix @ estimate = rows.constant``.

    Parameters
    ----------
    estimate : ndarray of shape (k,)
        Coefficients.
    vcov : ndarray of shape (k, k)
        Their variance matrix.
    rows : LinearMap
        The restrictions, each written out in ``words``.
    df : float
        Denominator degrees of freedom; inf gives the chi-squared test.

    Returns
    -------
    WaldTest

    Raises
    ------
    ParameterError
        If a restriction follows from the others.
    IdentificationError
        If the tested combinations have a singular variance matrix.
    """
    _check_redundant(rows)
    difference = rows.matrix @ estimate - rows.constant
    chi2 = _quadratic_form(difference, combined_vcov(rows.matrix, vcov), rows.words)
    q = len(difference)
    exact = bool(np.isfinite(df))
    statistic = chi2 / q if exact else chi2
    tail = special.fdtrc(q, df, statistic) if exact else special.chdtrc(q, statistic)
    difference.flags.writeable = False
    return WaldTest(
        statistic=statistic,
        p_value=float(tail),
        df=q,
        df_denom=df,
        distribution="F" if exact else "chi2",
        null_hypothesis=", ".join(rows.words),
        estimate=difference,
    )
