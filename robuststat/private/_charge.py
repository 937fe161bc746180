"""One charge of privacy: what was promised, with checked numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from robuststat._core.errors import ParameterError
from robuststat._core.params import one_of
from robuststat.private import _accounting as accounting
from robuststat.private._noise import exact_ratio

Kind: TypeAlias = Literal["pure", "exponential", "approximate", "zcdp"]


@dataclass(frozen=True, slots=True)
class Charge:
    """One entry of the ledger.

    Attributes
    ----------
    kind : {"pure", "exponential", "approximate", "zcdp"}
        What was promised.
    epsilon, delta, rho : float
        Its parameters; ``rho`` is 0 unless ``kind`` is "zcdp".
    label : str
        Who spent it.
    failed : bool
        Whether the release ended in an error after it was paid.
    adjacency : {"replace", "add_remove", ""}
        Which data sets are neighbours; "" when not said.

    Examples
    --------
    >>> Charge("exponential", 2.0, 0.0, 0.0, "median").as_zcdp
    0.5
    """

    kind: Kind
    epsilon: float
    delta: float
    rho: float
    label: str
    failed: bool = False
    adjacency: str = ""

    @property
    def as_zcdp(self) -> float:
        """Rho of the charge (delta apart)."""
        if self.kind == "zcdp":
            return self.rho
        if self.kind == "exponential":
            return accounting.exponential_to_zcdp(self.epsilon)
        return accounting.pure_to_zcdp(self.epsilon)


@dataclass(frozen=True, slots=True)
class PrivacyCost:
    """A pair of privacy parameters.

    Attributes
    ----------
    epsilon : float
        Bound on the log ratio of probabilities.
    delta : float
        Probability with which the bound may fail.

    Examples
    --------
    >>> PrivacyCost(1.0, 1e-6).epsilon
    1.0
    """

    epsilon: float
    delta: float


def check_delta(delta: float, owner: str) -> None:
    """Raise ParameterError unless delta lies in [0, 1)."""
    exact_ratio(delta, f"{owner}: delta")
    if not delta < 1:
        raise ParameterError(f"{owner}: delta must be in [0, 1), got {delta!r}. Use e.g. 1e-6.")


def cost_words(charge: Charge) -> str:
    """Write what a charge costs."""
    if charge.kind == "zcdp":
        return f"rho={charge.rho:.6g}"
    words = f"epsilon={charge.epsilon:.6g}"
    return f"{words}, delta={charge.delta:.6g}" if charge.delta else words


def read_charge(
    epsilon: float | None,
    delta: float = 0.0,
    rho: float | None = None,
    kind: Kind | None = None,
    label: str = "",
    adjacency: str = "",
) -> Charge:
    """Charge with checked numbers; ParameterError says what is wrong with them."""
    if (epsilon is None) == (rho is None):
        raise ParameterError("spend needs epsilon= or rho=, and not both.")
    words = one_of("pure", "exponential")(kind)
    if kind is not None and words is not None:
        raise ParameterError(f"kind must be {words}; got {kind!r}.")
    if rho is not None:
        exact_ratio(rho, "rho", positive=True)
        if delta or kind is not None:
            raise ParameterError("rho= goes without delta= and kind=.")
        return Charge("zcdp", 0.0, 0.0, float(rho), label, adjacency=adjacency)
    assert epsilon is not None
    exact_ratio(epsilon, "epsilon", positive=True)
    check_delta(delta, "spend")
    if delta and kind is not None:
        raise ParameterError("kind= is about pure charges; drop it, or delta=.")
    found: Kind = "approximate" if delta else kind or "pure"
    return Charge(found, float(epsilon), float(delta), 0.0, label, adjacency=adjacency)
