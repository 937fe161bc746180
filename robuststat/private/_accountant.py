"""The ledger of privacy: what was spent, by whom, and what is left."""

from __future__ import annotations

import threading
from dataclasses import asdict, replace
from typing import Any, Self

import pandas as pd

from robuststat._core.errors import ParameterError, PrivacyBudgetError
from robuststat._core.params import one_of
from robuststat.private._charge import (
    Charge,
    Kind,
    PrivacyCost,
    check_delta,
    cost_words,
    read_charge,
)
from robuststat.private._noise import exact_ratio
from robuststat.private._sums import Composition, Sums

# 0.1 charged ten times fits a budget of 1: doubles do not add up to the last digit.
_SLACK = 1 + 1e-12


class PrivacyAccountant:
    """Budget of privacy that several releases from the same people share.

    Every private estimator takes ``accountant=`` and charges it before it looks at the data. A
    charge that does not fit raises, and nothing is spent; a release that fails later stays
    charged, because its error has told something. ``clone``, ``GridSearchCV`` and ``deepcopy``
    keep the same ledger, so every fit they make is charged too. A pickled ledger can be read but
    not charged: the copy would not know what the original spends (use ``to_dict`` to move it).

    Parameters
    ----------
    epsilon : float
        Total budget, positive.
    delta : float, default=0
        Total probability with which the bound may fail, in [0, 1).
    composition : {"basic", "zcdp", "optimal"}, default="basic"
        How charges add up. "basic": epsilons and deltas are summed (charges in rho are summed and
        converted with the delta that is left). "zcdp": every charge is turned into rho, pure ones
        by ``epsilon tanh(epsilon/2)`` and exponential mechanisms by ``epsilon**2/8``, and the sum
        is converted back, unless the plain sum is smaller; needs ``delta > 0``. "optimal": the
        exact total of equal pure charges (Kairouz, Oh and Viswanath); needs ``delta > 0``, and
        charges of one size.

    Attributes
    ----------
    history_ : DataFrame
        One row a charge: ``label kind adjacency epsilon delta rho failed``, then the total after
        it, ``total_epsilon total_delta``.

    See Also
    --------
    audit_epsilon : Look for a violation of what an estimator claims.

    Notes
    -----
    Charges may be chosen in view of earlier releases: for "basic" and "zcdp" running sums that
    stay below a fixed budget are valid then, and for "optimal" only the number of equal charges
    can depend on what was seen, which is a choice among prefixes of one fixed composition. Taking
    the smaller of two totals is valid as well [derived]: where the plain sum fits, the log ratio
    is at most epsilon; the other outcomes are outcomes of a release stopped by its rho alone, and
    what exceeds epsilon there has probability at most delta.

    References
    ----------
    Bun, M. and Steinke, T. (2016). Concentrated differential privacy. *TCC*.
    Kairouz, P., Oh, S. and Viswanath, P. (2015). The composition theorem for differential
    privacy. *ICML*.
    Rogers, R., Roth, A., Ullman, J. and Vadhan, S. (2016). Privacy odometers and filters.
    *NeurIPS*.

    Examples
    --------
    >>> ledger = PrivacyAccountant(1.0)
    >>> ledger.spend(epsilon=0.4, label="median")
    >>> ledger.remaining
    PrivacyCost(epsilon=0.6, delta=0.0)
    >>> ledger.spend(epsilon=0.7)
    Traceback (most recent call last):
    ...
    robuststat._core.errors.PrivacyBudgetError: A charge of epsilon=0.7 does not fit: epsilon=0.6, \
delta=0 is left of epsilon=1, delta=0. Spend less, or ask for a larger budget.
    """

    def __init__(
        self, epsilon: float, delta: float = 0.0, composition: Composition = "basic"
    ) -> None:
        owner = type(self).__name__
        exact_ratio(epsilon, f"{owner}: epsilon", positive=True)
        check_delta(delta, owner)
        words = one_of("basic", "zcdp", "optimal")(composition)
        if words is not None:
            raise ParameterError(f"{owner}: composition must be {words}; got {composition!r}.")
        if composition != "basic" and delta == 0:
            raise ParameterError(
                f"{owner}: composition={composition!r} needs delta > 0; with delta=0 only sums are "
                "private. Pass a small delta such as 1e-6, or composition='basic'."
            )
        self.epsilon = float(epsilon)
        self.delta = float(delta)
        self.composition: Composition = composition
        self._charges: list[Charge] = []
        self._sums = Sums()
        self._lock = threading.Lock()
        self._closed = ""

    def spend(
        self,
        *,
        epsilon: float | None = None,
        delta: float = 0.0,
        rho: float | None = None,
        kind: Kind | None = None,
        label: str = "",
    ) -> None:
        """Charge a release, before it is made.

        Parameters
        ----------
        epsilon : float, optional
            Cost as (epsilon, delta).
        delta : float, default=0
            Goes with ``epsilon``.
        rho : float, optional
            Cost as zCDP, in place of ``epsilon``.
        kind : {"pure", "exponential"}, optional
            "exponential" says that the release is an exponential mechanism, which is cheaper in
            zCDP than other pure ones. Default "pure".
        label : str, optional
            What was released, for the history.

        Raises
        ------
        PrivacyBudgetError
            When the charge does not fit, or the ledger is closed or a copy. Nothing is spent.
        ParameterError
            For a cost that is none.

        Examples
        --------
        >>> ledger = PrivacyAccountant(2.0, delta=1e-6, composition="zcdp")
        >>> ledger.spend(rho=0.01)
        >>> round(ledger.total().epsilon, 3)
        0.622
        """
        self.record(read_charge(epsilon, delta, rho, kind, label))

    def record(self, charge: Charge) -> int:
        """Charge what an estimator asks for; see ``spend``.

        Parameters
        ----------
        charge : Charge
            Checked by the estimator.

        Returns
        -------
        int
            Receipt, for ``mark_failed``.

        Examples
        --------
        >>> PrivacyAccountant(1.0).record(Charge("pure", 0.5, 0.0, 0.0, "median"))
        0
        """
        with self._lock:
            self._sums = self._check_fits(charge)
            self._charges.append(charge)
            return len(self._charges) - 1

    def check(self, charge: Charge) -> None:
        """Raise what ``record`` would raise, and spend nothing.

        Parameters
        ----------
        charge : Charge
            As for ``record``.

        Examples
        --------
        >>> PrivacyAccountant(1.0).check(Charge("pure", 0.5, 0.0, 0.0, "median"))
        """
        with self._lock:
            self._check_fits(charge)

    def total(self) -> PrivacyCost:
        """Return what all charges together cost.

        Returns
        -------
        PrivacyCost
            With "zcdp" and "optimal": the epsilon at the delta of the budget.

        Examples
        --------
        >>> ledger = PrivacyAccountant(1.0)
        >>> ledger.spend(epsilon=0.25)
        >>> ledger.total()
        PrivacyCost(epsilon=0.25, delta=0.0)
        """
        return self._sums.total(self.composition, self.delta)

    @property
    def remaining(self) -> PrivacyCost:
        """Largest pure epsilon that one more charge may cost, and delta not promised yet."""
        budget = PrivacyCost(self.epsilon, self.delta)
        return self._sums.remaining(self.composition, budget, _SLACK)

    @property
    def history_(self) -> pd.DataFrame:
        """One row a charge, with the running total."""
        rows, sums = [], Sums()
        for charge in self._charges:
            sums = sums.plus(charge)
            total = sums.total(self.composition, self.delta)
            rows.append(
                asdict(charge) | {"total_epsilon": total.epsilon, "total_delta": total.delta}
            )
        order = ["label", "kind", "adjacency", "epsilon", "delta", "rho", "failed"]
        return pd.DataFrame(rows, columns=[*order, "total_epsilon", "total_delta"])

    def to_dict(self) -> dict[str, Any]:
        """JSON-able content, to move the ledger to another process or day.

        Returns
        -------
        dict

        Examples
        --------
        >>> PrivacyAccountant.from_dict(PrivacyAccountant(1.0).to_dict())
        PrivacyAccountant(epsilon=1, delta=0, composition='basic'): spent epsilon=0, delta=0
        """
        return {
            "epsilon": self.epsilon,
            "delta": self.delta,
            "composition": self.composition,
            "charges": [asdict(charge) for charge in self._charges],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Ledger with the charges of another one, which must not be used any more.

        Parameters
        ----------
        values : dict
            From ``to_dict``.

        Returns
        -------
        PrivacyAccountant

        Examples
        --------
        >>> ledger = PrivacyAccountant(1.0)
        >>> ledger.spend(epsilon=0.5)
        >>> PrivacyAccountant.from_dict(ledger.to_dict()).remaining
        PrivacyCost(epsilon=0.5, delta=0.0)
        """
        ledger = cls(values["epsilon"], values["delta"], values["composition"])
        for charge in values["charges"]:
            ledger._charges.append(Charge(**charge))
            ledger._sums = ledger._sums.plus(ledger._charges[-1])
        return ledger

    def mark_failed(self, receipt: int) -> None:
        """Note that a release ended in an error. It stays charged.

        Parameters
        ----------
        receipt : int
            From ``record``.

        Examples
        --------
        >>> ledger = PrivacyAccountant(1.0)
        >>> ledger.mark_failed(ledger.record(Charge("pure", 0.5, 0.0, 0.0, "median")))
        >>> ledger.history_["failed"].tolist(), ledger.total().epsilon
        ([True], 0.5)
        """
        with self._lock:
            self._charges[receipt] = replace(self._charges[receipt], failed=True)

    def _check_fits(self, charge: Charge) -> Sums:
        """Return the sums with the charge, when it may be made."""
        if self._closed:
            raise PrivacyBudgetError(f"This ledger cannot be charged: {self._closed}")
        self._check_adjacency(charge)
        self._check_unit(charge)
        sums = self._sums.plus(charge)
        total = sums.total(self.composition, self.delta)
        if total.epsilon > self.epsilon * _SLACK or total.delta > self.delta * _SLACK:
            left = self.remaining
            raise PrivacyBudgetError(
                f"A charge of {cost_words(charge)} does not fit: epsilon={left.epsilon:.6g}, "
                f"delta={left.delta:.6g} is left of epsilon={self.epsilon:.6g}, "
                f"delta={self.delta:.6g}. Spend less, or ask for a larger budget."
            )
        return sums

    def _check_adjacency(self, charge: Charge) -> None:
        """Refuse sums of promises about different neighbours, which mean nothing."""
        known = self._sums.adjacency
        if known and charge.adjacency and known != charge.adjacency:
            raise ParameterError(
                f"This ledger has charges under adjacency {known!r}, the new one is under "
                f"{charge.adjacency!r}. Give all estimators the same adjacency (an epsilon "
                "under 'add_remove' is 2 epsilon under 'replace')."
            )

    def _check_unit(self, charge: Charge) -> None:
        """Refuse what the optimal composition of equal pure charges does not cover."""
        if self.composition != "optimal":
            return
        if charge.delta > 0 or charge.kind == "zcdp":
            raise ParameterError(
                f"composition='optimal' adds up pure charges, got {cost_words(charge)}. "
                "Use composition='zcdp'."
            )
        unit = self._sums.unit
        if self._charges and charge.epsilon > unit * _SLACK:
            raise ParameterError(
                f"composition='optimal' adds up charges of one size: the first was {unit:.6g}, "
                f"got {charge.epsilon:.6g}. Use composition='zcdp' for different sizes."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._closed = "its `with` block has ended. Charge inside the block."

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # clone() copies parameters this way: the budget stays one

    def __copy__(self) -> Self:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
        self._closed = (
            "it is a copy made by pickling (as parallel processes do), and what it spends would be "
            "missing in the original. Charge the original, or move it with to_dict."
        )

    def __repr__(self) -> str:
        spent = self.total()
        return (
            f"PrivacyAccountant(epsilon={self.epsilon:.6g}, delta={self.delta:.6g}, "
            f"composition={self.composition!r}): spent epsilon={spent.epsilon:.6g}, "
            f"delta={spent.delta:.6g}"
        )
