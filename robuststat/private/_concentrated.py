"""Releases whose noise is made for zCDP, from an (epsilon, delta) that the user gives."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from robuststat._core.errors import ParameterError
from robuststat.private._accounting import zcdp_for
from robuststat.private._base import PrivateEstimator, Release


def need_delta(est: Any, why: str) -> None:
    """Raise ParameterError without a positive delta."""
    if not est.delta > 0:
        raise ParameterError(
            f"{type(est).__name__}: {why} needs delta > 0, got {est.delta!r}. Use a probability "
            "far below 1/n, such as 1e-6."
        )


def prepare_concentrated(
    est: PrivateEstimator, *, mechanism: str, sample_weight: Any
) -> tuple[Release, Fraction]:
    """Check parameters and budget of a release with zCDP noise.

    A zCDP ledger is charged with rho itself, which is less than what (epsilon, delta) stands for;
    every other ledger with (epsilon, delta).

    Parameters
    ----------
    est : PrivateEstimator
        With ``epsilon`` and ``delta`` as parameters.
    mechanism : str
        Words for ``mechanism_``.
    sample_weight : None
        Anything else is refused.

    Returns
    -------
    tuple of Release and Fraction
        The release, and the rho with which the mechanism must run for one row.
    """
    est._check_parameters()
    rho = zcdp_for(float(est.epsilon), float(getattr(est, "delta", 0.0)))
    if est.accountant is not None and est.accountant.composition == "zcdp":
        release = est._prepare(mechanism=mechanism, rho=rho, sample_weight=sample_weight)
        return release, release.rho
    release = est._prepare(mechanism=mechanism, sample_weight=sample_weight)
    rows = int(getattr(est, "max_contributions", 1))
    return release, Fraction(rho) / rows**2
