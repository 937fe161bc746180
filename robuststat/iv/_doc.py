"""Docstring parts that the classical estimators of this family share, written once."""

from __future__ import annotations

import textwrap
from typing import TypeVar

C = TypeVar("C", bound=type)

SHARED = """
formula : str, optional
    Model formula of the covariates, such as ``"wage ~ exper + C(region)"``; then X is a frame,
    treatment and instruments are column names, and y stays None.
missing : {"raise", "drop"}, optional
    What a missing value does. Default: "drop" with a formula, and say so; "raise" otherwise.
"""

ATTRIBUTES = """
result_ : InferenceResult
    Estimates, variance, diagnostics.
ate_ : float
    Effect, unit of y per unit of the treatment.
std_error_, vcov_ : ndarray of shape (k,) and (k, k)
    Standard errors and variance of all terms, in the order of ``result_.names``.
conf_int_ : tuple of float
    95 % interval of the effect.
pvalue_ : float
    Two-sided p-value of "no effect".
coef_ : ndarray of shape (p,)
    Coefficients without the intercept, in the order of ``result_.names``.
intercept_ : float
    Intercept, 0.0 when the result has none.
converged_, n_iter_ : bool, int
    How the computation ended; True and 1 for closed forms.
n_features_in_, feature_names_in_ : int, ndarray
    Covariates seen in fit.
"""


def shared_parameters(cls: C) -> C:
    """Fill the placeholders of a class docstring with the shared parts."""
    doc = cls.__doc__ or ""
    for mark, part in {"{shared}": SHARED, "{attributes}": ATTRIBUTES}.items():
        doc = doc.replace(f"    {mark}", textwrap.indent(part.strip(), "    "))
    cls.__doc__ = doc
    return cls
