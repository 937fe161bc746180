"""Options of InvarianceTest and of its certificate, and which of them exclude each other."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np

from robuststat._core.errors import ParameterError
from robuststat._core.params import Check, in_range, is_bool, is_string, one_of, optional
from robuststat.invariance._certificate import CertificateKind
from robuststat.invariance._fit import ErrorKind
from robuststat.invariance._gap import Aggregate, Measure
from robuststat.invariance._nulls import NullName


def _is_test(value: Any) -> str | None:
    words = ", ".join(repr(name) for name in get_args(NullName))
    known = callable(value) or (isinstance(value, str) and value in get_args(NullName))
    return None if known else f"one of {words}, or a function (residuals, rest) -> p-value"


def _depth(value: Any) -> float:
    """Return the number of axes; infinite for rows of different lengths."""
    try:
        return np.ndim(value)
    except ValueError:
        return math.inf


def _is_representation(value: Any) -> str | None:
    fine = value is None or callable(value) or hasattr(value, "transform")
    fine = fine or (isinstance(value, (list, tuple, np.ndarray)) and _depth(value) <= 2)
    return (
        None
        if fine
        else ("None, a list of covariates, an array (k', p), a function or a transformer")
    )


TEST_CHECKS: dict[str, Check] = {
    "representation": _is_representation,
    "test": _is_test,
    "measure": one_of(*get_args(Measure)),
    "aggregate": one_of(*get_args(Aggregate)),
    "eps": in_range(0, math.inf, closed="left"),
    "alpha": in_range(0, 1, closed="neither"),
    "error": one_of(*get_args(ErrorKind)),
    "fit_intercept": is_bool,
    "standardize": is_bool,
    "correction": one_of("K-1", "K"),
    "compat": optional(one_of("R")),
    "drop_small": is_bool,
    "n_perm": in_range(1, math.inf, integer=True),
    "formula": optional(is_string),
    "missing": optional(one_of("raise", "drop")),
}
CERTIFICATE_CHECKS: dict[str, Check] = {
    "delta": in_range(0, 1, closed="neither"),
    "kind": one_of(*get_args(CertificateKind)),
    "candidates": in_range(1, math.inf, integer=True),
    "d1": in_range(0, 1, closed="neither"),
    "measure": one_of(*get_args(Measure)),
    "intercept": is_bool,
    "radius": optional(in_range(0, math.inf)),
    "eta": optional(in_range(0, 0.2, closed="right")),
}


def refuse_without_effect(
    kind: str,
    measure: str,
    intercept: bool,
    scale: Any,
    centre: Any,
    radius: Any,
    eta: Any,
    random_state: Any,
) -> None:
    """Options of the certificate that this kind would ignore."""
    fixed = centre is not None or radius is not None
    if fixed and (kind != "split" or centre is None or radius is None):
        raise ParameterError("centre and radius go together, and with kind='split' only.")
    if eta is not None and kind != "random_effects":
        raise ParameterError(f"eta= is for kind='random_effects'; kind={kind!r} computes it.")
    if random_state is not None and (kind != "split" or fixed):
        raise ParameterError("random_state= is for kind='split' without centre and radius only.")
    if measure != "coef" and (scale is not None or not intercept):
        raise ParameterError("scale= and intercept=False are for measure='coef' only.")
