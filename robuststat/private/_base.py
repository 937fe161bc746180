"""Base class of the private estimators: parameters, payment, what a fit may keep.

The order inside ``fit`` is fixed. Parameters and the budget are checked first, without the data;
then the data are read, and an error there costs nothing; then the charge is booked, and from there
on nothing gives it back; then noise is drawn:

    release = self._prepare(mechanism="...", kind="exponential", sample_weight=sample_weight)
    x = read_column(X, type(self).__name__, nan_policy=self.nan_policy, middle=release.middle)
    with release as source:                    # books the charge
        ...draw with source, release.epsilon...
    self.estimate_ = ...                       # released numbers only, never data

Audits ask an estimator for ``_layers(x)``: the exact distribution of its output on data ``x`` as
one :class:`~robuststat.private._loss.LayerTable`, or a list of them for parts that draw
independently. It is private information, computed for audits on made-up data and never stored.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from types import TracebackType
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from robuststat import report
from robuststat._core.errors import ParameterError
from robuststat._core.params import Check, check_parameters, in_range, one_of
from robuststat.private._accountant import PrivacyAccountant
from robuststat.private._charge import Charge, Kind, check_delta, read_charge
from robuststat.private._entropy import Entropy, make_entropy
from robuststat.private._noise import exact_ratio
from robuststat.result import InferenceResult

Adjacency: TypeAlias = Literal["replace", "add_remove"]

_ADJACENCY_WORDS = {
    "replace": "replace (one person's record is exchanged; n is public)",
    "add_remove": "add_remove (one person's record is added or removed; n is private)",
}


def is_accountant(value: Any) -> str | None:
    """Accept None or a PrivacyAccountant."""
    fine = value is None or isinstance(value, PrivacyAccountant)
    return None if fine else "None or a PrivacyAccountant"


def check_bounds(bounds: Any, owner: str, name: str = "bounds") -> tuple[float, float]:
    """Public bounds as two floats; they are never taken from the data."""
    if bounds is None:
        raise ParameterError(
            f"{owner}: {name} must be given as (low, high) from public knowledge. They are never "
            "computed from the data, because that would reveal the extremes."
        )
    try:
        low, high = (float(value) for value in bounds)
    except (TypeError, ValueError):
        raise ParameterError(f"{owner}: {name} must be (low, high); got {bounds!r}.") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ParameterError(
            f"{owner}: {name} must be finite with low < high; got ({low:g}, {high:g})."
        )
    return low, high


class Release:
    """One payment and the noise it pays for; made by ``PrivateEstimator._prepare``.

    Attributes
    ----------
    epsilon, rho : Fraction
        Parameters with which the mechanism must run, for one row: what is charged, divided by
        ``max_contributions`` (by its square for rho), so that a person with several rows has the
        guarantee that is charged.
    bounds : tuple of float or None
        Checked bounds, where the estimator has them.
    middle : float
        Middle of the bounds, 0 without bounds.
    """

    def __init__(self, estimator: PrivateEstimator, charge: Charge, mechanism: str) -> None:
        owner = type(estimator).__name__
        rows = int(getattr(estimator, "max_contributions", 1))
        self.epsilon = exact_ratio(charge.epsilon, "epsilon") / rows
        self.rho = exact_ratio(charge.rho, "rho") / rows**2
        self.bounds = estimator._public_bounds()
        self.middle = 0.0 if self.bounds is None else sum(self.bounds) / 2
        self._estimator, self._charge, self._mechanism = estimator, charge, mechanism
        self._source = make_entropy(estimator.random_state, owner)
        self._receipt: int | None = None

    def __enter__(self) -> Entropy:
        ledger = self._estimator.accountant
        if ledger is not None:
            self._receipt = ledger.record(self._charge)
        return self._source

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        est, charge = self._estimator, self._charge
        if kind is not None:
            if self._receipt is not None and est.accountant is not None:
                est.accountant.mark_failed(self._receipt)
            return
        est.epsilon_spent_ = charge.epsilon if charge.kind != "zcdp" else math.inf
        est.delta_spent_ = charge.delta
        est.rho_spent_ = charge.rho if charge.kind == "zcdp" else None
        est.adjacency_ = charge.adjacency
        est.mechanism_ = self._mechanism
        est.secure_ = self._source.secure
        est.noise_ = self._source.words_for_summary


class PrivateEstimator(BaseEstimator):
    """Scikit-learn estimator whose fit is one differentially private release.

    Subclasses store parameters in ``__init__``, list checks in ``_parameter_checks``, and follow
    the order of the module docstring in ``fit``. Those whose errors are normal also set
    ``result_``, an :class:`~robuststat.result.InferenceResult`; tables then come from it.

    Attributes
    ----------
    epsilon_spent_, delta_spent_ : float
        What the fit cost; ``epsilon_spent_`` is inf when the cost is in ``rho_spent_`` (zCDP).
    adjacency_ : str
        Which data sets count as neighbours.
    mechanism_ : str
        How the number was drawn.
    secure_ : bool
        Whether the noise came from the operating system; False with ``random_state``.
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {}
    _shared_checks: ClassVar[Mapping[str, Check]] = {
        "adjacency": one_of("replace", "add_remove"),
        "accountant": is_accountant,
        "nan_policy": one_of("raise", "clip_mid"),
        "max_contributions": in_range(1, 10**6, integer=True),
        "level": in_range(0.0, 1.0, closed="neither"),
    }
    _title: ClassVar[str] = ""

    epsilon: float
    accountant: PrivacyAccountant | None
    random_state: Any
    estimate_: Any
    conf_int_: Any
    epsilon_spent_: float
    delta_spent_: float
    rho_spent_: float | None
    adjacency_: str
    mechanism_: str
    secure_: bool
    noise_: str
    result_: InferenceResult

    def _check_parameters(self) -> None:
        owner, values = type(self).__name__, self.get_params(deep=False)
        shared = {k: v for k, v in self._shared_checks.items() if k in values}
        check_parameters(owner, shared | dict(self._parameter_checks), values)
        if "epsilon" in values:
            exact_ratio(values["epsilon"], f"{owner}: epsilon", positive=True)
        if "delta" in values:
            check_delta(values["delta"], owner)

    def _public_bounds(self) -> tuple[float, float] | None:
        """Bounds of the one column that is released, checked; None where there are several."""
        given = getattr(self, "bounds", None)
        return None if given is None else check_bounds(given, type(self).__name__)

    def _prepare(
        self,
        *,
        mechanism: str,
        kind: Kind = "pure",
        rho: float | None = None,
        sample_weight: Any = None,
        label: str = "",
    ) -> Release:
        """Check parameters and budget before anybody looks at the data.

        Parameters
        ----------
        mechanism : str
            Words for ``mechanism_``.
        kind : {"pure", "exponential", "approximate", "zcdp"}
            What ``self.epsilon`` (and ``self.delta``) promise.
        rho : float, optional
            Cost as zCDP, in place of epsilon.
        sample_weight : None
            Anything else is refused: a weight would change how much one person matters.
        label : str
            For the history; the class by default.

        Returns
        -------
        Release
            A context manager that books the charge and gives the source of randomness.
        """
        self._check_parameters()
        if sample_weight is not None:
            raise NotImplementedError(
                f"{type(self).__name__} takes no sample_weight: a weight changes how much one "
                "person can move the result, which the noise is not made for."
            )
        delta = float(getattr(self, "delta", 0.0)) if rho is None else 0.0
        charge = read_charge(
            epsilon=self.epsilon if rho is None else None,
            delta=delta,
            rho=rho,
            kind=kind if kind in ("pure", "exponential") and not delta and rho is None else None,
            label=label or type(self).__name__,
            adjacency=getattr(self, "adjacency", "replace"),
        )
        if self.accountant is not None:
            self.accountant.check(charge)
        return Release(self, charge, mechanism)

    def _store_result(
        self,
        *,
        estimate: Any,
        vcov: Any,
        names: tuple[str, ...],
        n_obs: int,
        method: str,
        estimand: str,
        vcov_type: str = "sampling and privacy noise",
    ) -> None:
        """Keep released estimates with a released or public variance as ``result_``.

        Called after the release, for estimators whose errors are close to normal; ``tidy``,
        ``confint`` and ``summary`` are answered by the result from then on.
        """
        self.result_ = InferenceResult(
            estimate=estimate,
            vcov=vcov,
            names=names,
            n_obs=n_obs,
            vcov_type=vcov_type,
            method=method,
            estimand=estimand,
            call=self._call(),
            diagnostics={
                "lines": self._privacy_lines() + self._summary_lines(),
                "notes": self._notes(),
                "assumptions": self._assumptions(),
            },
        )

    def _privacy_lines(self) -> list[str]:
        """Say what was promised and how, for the summary."""
        cost = (
            f"rho = {self.rho_spent_:.6g} (zCDP)"
            if self.rho_spent_ is not None
            else f"epsilon = {self.epsilon_spent_:.6g}, delta = {self.delta_spent_:.3g}"
        )
        return [
            f"Privacy: {cost}",
            f"Adjacency: {_ADJACENCY_WORDS[self.adjacency_]}",
            f"Mechanism: {self.mechanism_}",
            self.noise_[0].upper() + self.noise_[1:],
        ]

    def _call(self) -> str:
        """Return the constructor call with the parameters that differ from their defaults."""
        signature = inspect.signature(type(self)).parameters
        parts = []
        for name, value in self.get_params(deep=False).items():
            if name == "accountant" or repr(value) == repr(signature[name].default):
                continue
            words = getattr(value, "__name__", "") if callable(value) else repr(value)
            parts.append(f"{name}={words or type(value).__name__}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def _terms(self) -> tuple[str, ...]:
        """Names of the estimates, in the order of ``estimate_``."""
        size = np.size(self.estimate_)
        return ("estimate",) if size == 1 else tuple(f"estimate[{j}]" for j in range(size))

    def _summary_lines(self) -> list[str]:
        """Lines on public settings (bounds, precision, kind of score), for the summary."""
        return []

    def _notes(self) -> list[str]:
        """Things to know about this fit, for the summary."""
        return []

    def _assumptions(self) -> list[str]:
        """Say what privacy and intervals assume, for the summary."""
        return []

    def tidy(self) -> pd.DataFrame:
        """One row an estimate: ``term estimate conf_low conf_high`` (NaN without an interval).

        With ``result_``: the columns of :meth:`InferenceResult.tidy`.

        Returns
        -------
        DataFrame
        """
        check_is_fitted(self, "estimate_")
        if hasattr(self, "result_"):
            return self.result_.tidy()
        estimate = np.atleast_1d(np.asarray(self.estimate_, dtype=np.float64)).ravel()
        limits = np.full((estimate.size, 2), np.nan)
        if getattr(self, "conf_int_", None) is not None:
            limits = np.asarray(self.conf_int_, dtype=np.float64).reshape(-1, 2)
        return pd.DataFrame(
            {
                "term": list(self._terms()),
                "estimate": estimate,
                "conf_low": limits[:, 0],
                "conf_high": limits[:, 1],
            }
        )

    def confint(self, level: float | None = None) -> pd.DataFrame:
        """Interval that was released with the estimate.

        Parameters
        ----------
        level : float, optional
            Must be the level of the fit; another one would be a release of its own.

        Returns
        -------
        DataFrame
            ``conf_low conf_high``, one row an estimate.

        Raises
        ------
        ParameterError
            Without an interval, or for another level.
        """
        check_is_fitted(self, "estimate_")
        if hasattr(self, "result_"):
            return self.result_.confint(0.95 if level is None else level)
        fitted = getattr(self, "level", None)
        if getattr(self, "conf_int_", None) is None:
            raise ParameterError(
                f"This fit released no interval. Ask {type(self).__name__} for one (ci=...) and "
                "fit again, which is charged again."
            )
        if level is not None and level != fitted:
            raise ParameterError(
                f"The interval was released at level {fitted}; level={level!r} would need another "
                "release. Set level= in the constructor and fit again, which is charged again."
            )
        frame = self.tidy()[["conf_low", "conf_high"]]
        return frame.set_axis(list(self._terms()), axis=0)

    def summary(self) -> Any:
        """Readable account: released numbers, guarantee, public settings, source of the noise.

        Returns
        -------
        Summary
        """
        check_is_fitted(self, "estimate_")
        if hasattr(self, "result_"):
            return self.result_.summary()
        frame = self.tidy()
        lines = report.header_lines(
            call=self._call(), method=self._title, estimand="", outcome="", n_obs=0
        )[:-1]  # the number of rows is private under add_remove
        lines += self._privacy_lines() + self._summary_lines()
        columns = [("Estimate", "estimate"), ("conf. low", "conf_low"), ("conf. high", "conf_high")]
        shown = [(head, name) for head, name in columns if frame[name].notna().any()]
        return report.Summary(
            header=tuple(lines),
            leading=(),
            footer=tuple(
                report.footer_lines(lines=[], notes=self._notes(), assumptions=self._assumptions())
            ),
            names=tuple(frame["term"]),
            columns=tuple(
                report.Column(head, [f"{v:.6g}" for v in frame[name]], "   ")
                for head, name in shown
            ),
            blocks=("",) * len(frame),
            stars=False,
            tables={"estimates": frame},
        )
