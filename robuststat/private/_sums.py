"""Running sums of a ledger, exact, so that a charge costs the same however many came before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias

from robuststat.private import _accounting as accounting
from robuststat.private._charge import Charge, PrivacyCost

Composition: TypeAlias = Literal["basic", "zcdp", "optimal"]


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over the charges of a ledger.

    Attributes
    ----------
    epsilon, delta, rho : Fraction
        As they were charged.
    zcdp : Fraction
        Of every charge turned into rho.
    count : int
        Charges.
    unit : float
        Epsilon of the first charge.
    adjacency : str
        Of the charges that name one.
    """

    epsilon: Fraction = Fraction(0)
    delta: Fraction = Fraction(0)
    rho: Fraction = Fraction(0)
    zcdp: Fraction = Fraction(0)
    count: int = 0
    unit: float = 0.0
    adjacency: str = ""

    def plus(self, charge: Charge) -> Sums:
        """Add one charge more."""
        return Sums(
            epsilon=self.epsilon + Fraction(charge.epsilon),
            delta=self.delta + Fraction(charge.delta),
            rho=self.rho + Fraction(charge.rho),
            zcdp=self.zcdp + Fraction(charge.as_zcdp),
            count=self.count + 1,
            unit=self.unit if self.count else charge.epsilon,
            adjacency=self.adjacency or charge.adjacency,
        )

    @property
    def plain(self) -> float:
        """Sum of the epsilons; inf when a charge is in rho and has none."""
        return math.inf if self.rho else float(self.epsilon)

    def total(self, composition: Composition, delta: float) -> PrivacyCost:
        """Cost of the charges together, with ``delta`` to be used for conversions."""
        if not self.count:
            return PrivacyCost(0.0, 0.0)
        if composition == "optimal":
            # A smaller charge counts as a whole one, so that the total depends on the count only.
            return PrivacyCost(accounting.optimal_epsilon(self.count, self.unit, delta), delta)
        if composition == "basic" and not self.rho:
            return PrivacyCost(float(self.epsilon), float(self.delta))
        left = float(max(Fraction(delta) - self.delta, Fraction(0)))
        used = max(delta, float(self.delta))
        if composition == "basic":
            converted = accounting.zcdp_to_epsilon(float(self.rho), left)
            return PrivacyCost(float(self.epsilon) + converted, used)
        converted = accounting.zcdp_to_epsilon(float(self.zcdp), left)
        return PrivacyCost(min(converted, self.plain), used)

    def remaining(self, composition: Composition, budget: PrivacyCost, slack: float) -> PrivacyCost:
        """Largest pure charge that still fits, and delta that is not promised yet."""
        total = self.total(composition, budget.delta)
        if composition == "zcdp":
            left = max(0.0, budget.delta - float(self.delta))
            rho = accounting.zcdp_for(budget.epsilon, left) - float(self.zcdp)
            return PrivacyCost(max(_pure_of(rho), budget.epsilon - self.plain, 0.0), left)
        if composition == "optimal" and self.count:
            more = accounting.optimal_epsilon(self.count + 1, self.unit, budget.delta)
            return PrivacyCost(self.unit if more <= budget.epsilon * slack else 0.0, 0.0)
        # What is left after sums of doubles is told to the digits that mean something.
        epsilon = float(f"{budget.epsilon - total.epsilon:.12g}")
        return PrivacyCost(max(0.0, epsilon), max(0.0, budget.delta - total.delta))


def _pure_of(rho: float) -> float:
    """Epsilon with ``epsilon tanh(epsilon/2) = rho``, from below."""
    low, high = 0.0, max(rho, 0.0) + 2.0
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if accounting.pure_to_zcdp(middle) <= rho else (low, middle)
    return low
