"""What a change of the input law does to the mean of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import clone

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.params import Check, any_of, in_range, is_string, optional
from robuststat._core.rng import RandomState
from robuststat._core.types import Array
from robuststat.result import InferenceResult
from robuststat.sampling._base import SamplingEstimator, delta_method
from robuststat.sampling._iscv import AdaptiveISCV
from robuststat.sampling._laws import read_laws

__all__ = ["LawImpact"]

_FAR = 4.0  # standard errors that a denominator has to be away from zero


def _is_sampler(value: Any) -> str | None:
    return None if isinstance(value, AdaptiveISCV) else "an AdaptiveISCV"


class LawImpact(SamplingEstimator):
    """Impact of the input law: means of one model under many laws, against a reference.

    Use it when the input law is uncertain, or scenarios are to be compared: one sample of model
    runs yields the mean under every law, I_j = E phi(X) with X from f_j, its difference
    I_j - I_ref and its ratio I_j / I_ref, with one joint covariance. Differences between laws are
    far more precise than two separate samples of the same size would make them.

    Parameters
    ----------
    n_budget : int
        Model runs, learning included.
    reference : str or int, optional
        Law that the others are compared with: its name or position. Default: the first.
    estimator : AdaptiveISCV, optional
        Options of the sampler; its ``n_budget``, and ``random_state`` where None, are replaced.
    random_state : int, SeedSequence, Generator or None
        Seed.

    Attributes
    ----------
    result_ : InferenceResult
        Components "mean", "difference" and "ratio".
    estimate_, std_error_ : ndarray of shape (k,)
        All of them in this order; the reference has a mean only.
    cov_ : ndarray of shape (k, k)
        Joint covariance.
    sampler_ : AdaptiveISCV
        The fitted sampler, with the diagnostics of the weights.
    reference_ : str
        Name of the reference law.
    diagnostics_ : DataFrame
        Diagnostics of the weights, one row a law.
    khat_, ess_ : ndarray of shape (J,)
        Tail index and effective size for each law.
    n_used_, n_final_ : int
        Points drawn, points of the final sample.

    See Also
    --------
    AdaptiveISCV : The sampler.

    Notes
    -----
    Variances of differences and ratios by the delta method from the joint covariance of the means.
    Ratios are left out, and this is said, when the mean of the reference is less than four
    standard errors from zero.

    References
    ----------
    Demange-Chryst, J., Bachoc, F., Morio, J. (2023). Efficient estimation of multiple expectations
    with the same sample by adaptive importance sampling and control variates. Statistics and
    Computing 33, 103.

    Examples
    --------
    >>> from scipy import stats
    >>> from robuststat import LawImpact
    >>> laws = {"now": [stats.norm(1.0, 0.2)], "later": [stats.norm(1.1, 0.2)]}
    >>> est = LawImpact(2000, random_state=0).fit(lambda X: X[:, 0] ** 2, laws)
    >>> list(est.tidy()["component"])
    ['mean', 'mean', 'difference', 'ratio']
    >>> bool(abs(est.estimate_[2] - 0.21) < 4 * est.std_error_[2])
    True
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "n_budget": in_range(2, 10**12, integer=True),
        "reference": optional(any_of(is_string, in_range(0, 10**9, integer=True))),
        "estimator": optional(_is_sampler),
    }

    def __init__(
        self,
        n_budget: int,
        *,
        reference: str | int | None = None,
        estimator: AdaptiveISCV | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.n_budget = n_budget
        self.reference = reference
        self.estimator = estimator
        self.random_state = random_state

    def fit(self, func: Callable[[Array], Any], law: Any = None) -> Self:
        """Run the model on one sample and compare the laws.

        Parameters
        ----------
        func : callable
            Model with one output: (n, d) -> (n,).
        law : list or dict of laws
            At least two; see :func:`as_law` for what a law may be.

        Returns
        -------
        LawImpact

        Raises
        ------
        ParameterError
            If there are fewer than two laws, several outputs, or no such reference.
        DataError
            As for :meth:`AdaptiveISCV.fit`, and when the reference has no estimate.
        """
        self._check_parameters()
        sampler = AdaptiveISCV(self.n_budget) if self.estimator is None else clone(self.estimator)
        sampler.set_params(n_budget=self.n_budget)
        if sampler.random_state is None:
            sampler.set_params(random_state=self.random_state)
        laws, keys, _ = read_laws(law) if law is not None else ([], None, False)
        if len(laws) > 1:  # a wrong name costs no run
            _reference_name(self.reference, keys or [f"law{j + 1}" for j in range(len(laws))])
        sampler.fit(func, law)
        if sampler.n_laws_ < 2 or sampler.n_outputs_ > 1:
            raise ParameterError(
                f"LawImpact compares one output under several laws; got {sampler.n_outputs_} "
                f"outputs and {sampler.n_laws_} laws. A list of one-dimensional scipy "
                "distributions is one law: wrap each law in a list of its own."
            )
        self.sampler_ = sampler
        self._compare(sampler)
        return self

    def _compare(self, sampler: AdaptiveISCV) -> None:
        everyone = list(sampler.diagnostics_.index)
        self.reference_ = _reference_name(self.reference, everyone)
        names = list(sampler.result_.names)
        if self.reference_ not in names:
            raise DataError(f"The reference {self.reference_!r} has no estimate: it has no weight.")
        result = impact(sampler.result_, names.index(self.reference_), self._call())
        self._store(result, None)
        self.estimate_, self.cov_ = np.array(result.estimate), np.array(result.vcov)
        for name in ("diagnostics_", "khat_", "ess_", "n_used_", "n_final_", "n_runs_"):
            setattr(self, name, getattr(sampler, name))
        self.n_features_in_ = sampler.n_features_in_
        self.feature_names_in_ = sampler.feature_names_in_


def _reference_name(reference: str | int | None, names: list[str]) -> str:
    if reference is None:
        return names[0]
    if isinstance(reference, str):
        if reference not in names:
            raise ParameterError(
                f"reference={reference!r} is no law; the laws are {', '.join(names[:8])}."
            )
        return reference
    if reference >= len(names):
        raise ParameterError(f"reference={reference}, but there are {len(names)} laws.")
    return names[int(reference)]


def impact(means: InferenceResult, reference: int, call: str) -> InferenceResult:
    """Build the result of means, differences and ratios with their joint covariance.

    Parameters
    ----------
    means : InferenceResult
        Means under all laws.
    reference : int
        Position of the reference.
    call : str
        How the estimator was written.
    """
    J = len(means.names)
    others = np.array([j for j in range(J) if j != reference])
    base = float(means.estimate[reference])
    ratios = abs(base) > _FAR * float(means.std_error[reference])

    def values(m: Array) -> Array:
        parts = [m, m[others] - m[reference]]
        return np.concatenate([*parts, m[others] / m[reference]] if ratios else parts)

    def slope(m: Array) -> Array:
        rows = np.eye(J)
        away = rows[others] - rows[reference]
        if not ratios:
            return np.vstack([rows, away])
        quotient = (rows[others] - np.outer(m[others] / m[reference], rows[reference])) / m[
            reference
        ]
        return np.vstack([rows, away, quotient])

    kinds = ["mean"] * J + ["difference"] * len(others) + ["ratio"] * (len(others) * ratios)
    terms = [*means.names] + [means.names[j] for j in others] * (1 + ratios)
    labels = [f"{kind} {term}" for kind, term in zip(kinds, terms, strict=True)]
    found = delta_method(means, values, slope, labels)
    notes = list(means.diagnostics.get("notes", ()))
    if not ratios:
        notes.append(
            f"The mean of the reference {means.names[reference]} is within {_FAR:g} standard "
            "errors of zero: ratios are left out."
        )
    diagnostics = dict(means.diagnostics) | {
        "notes": notes,
        "assumptions": [
            *means.diagnostics.get("assumptions", ()),
            "ratios are nearly linear in the means over their intervals",
        ],
    }
    return replace(
        found,
        names=tuple(terms),
        component=tuple(kinds),
        estimand=f"mean of one output under {J} laws, against {means.names[reference]}",
        method="Impact of the input law",
        diagnostics=diagnostics,
        call=call,
    )
