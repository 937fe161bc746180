"""When the numbers should not be taken at face value: found, counted, and said."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robuststat._core.errors import ConvergenceWarning, OverlapWarning, warn
from robuststat._core.types import Array
from robuststat.iv._nuisances import LogitFit

# Relative to 1/4, the largest variance of a binary exposure.
SMALL_D = 0.08
# A first-stage F of 16.
WEAK_Z = 4.0
# Probabilities of the instrument beyond these are worth a word.
EXTREME = 0.02


class WeakHeteroscedasticityWarning(UserWarning):
    """The variance of the exposure differs too little between the values of the instrument."""


class OneSidedNoncomplianceWarning(UserWarning):
    """The exposure is constant for one value of the instrument, which settles the confounding."""


@dataclass(frozen=True, slots=True)
class Guard:
    """One thing to be careful about.

    Attributes
    ----------
    text : str
        What was found and what to do.
    category : type or None
        Warning to raise; None for a remark in the summary only.
    """

    text: str
    category: type[Warning] | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """What is known about D(x) over the rows.

    Attributes
    ----------
    low, high : float
        Smallest and largest D.
    share_negative : float
        Share of rows with D < 0.
    smallest : float
        Smallest absolute D, relative to 1/4 for a binary exposure and to its variance otherwise.
    n_bounded : int
        Rows whose D was moved to its bound.
    """

    low: float
    high: float
    share_negative: float
    smallest: float
    n_bounded: int

    @property
    def changes_sign(self) -> bool:
        """Whether D crosses zero, so that beta = N/D is not defined somewhere."""
        return self.low < 0.0 < self.high


def spread_of(D: Array, weights: Array | None, *, unit: float, min_abs_d: float) -> Spread:
    """Describe D over the rows that carry weight.

    Parameters
    ----------
    D : ndarray of shape (n,)
        Difference of the exposure's variances, before any bound.
    weights : ndarray of shape (n,) or None
        Sample weights.
    unit : float
        Size that |D| is compared with.
    min_abs_d : float
        Bound of |D|.
    """
    if weights is not None:
        D = D[weights > 0]
    bounded = int(np.count_nonzero(np.abs(D) < min_abs_d))
    low, high = float(D.min()), float(D.max())
    smallest = float(np.abs(D).min() / unit) if unit > 0 else 0.0
    return Spread(low, high, float(np.mean(D < 0)), smallest, bounded)


def is_weak(spread: Spread | None, strength: float) -> bool:
    """Whether the overlap effect and its score set should lead."""
    small = spread is not None and (spread.changes_sign or spread.smallest < SMALL_D)
    return small or not abs(strength) >= WEAK_Z


def weakness(spread: Spread | None, strength: float) -> list[Guard]:
    """Guards about the strength of the heteroscedasticity, at most one."""
    parts = []
    if spread is not None and spread.changes_sign:
        minority = min(spread.share_negative, 1.0 - spread.share_negative)
        parts.append(
            f"D(x) changes sign (it has the rarer sign in {100 * minority:.1f}% of the rows), so "
            "that the conditional effect is not identified in between"
        )
    elif spread is not None and spread.smallest < SMALL_D:
        parts.append(
            f"D(x) comes close to zero (range {spread.low:.3g} to {spread.high:.3g}), so that few "
            "rows decide the ATE"
        )
    if not abs(strength) >= WEAK_Z:
        parts.append(f"its overall strength is low (z = {strength:.2f}, below {WEAK_Z:g})")
    if not parts:
        return []
    text = (
        "Heteroscedasticity of the exposure is weak: " + "; ".join(parts) + ". Report the overlap "
        "effect with its score set, which stays right; do not rely on the ATE."
    )
    if spread is not None and spread.changes_sign:
        text += (
            " Its weights pi (1 - pi) D then have both signs: it is the effect if that is "
            "constant, and no average of the effects otherwise."
        )
    return [Guard(text, WeakHeteroscedasticityWarning)]


def one_sided(fixed: tuple[float | None, float | None]) -> list[Guard]:
    """Guard about an arm in which the exposure does not vary."""
    for arm, value in enumerate(fixed):
        if value is not None:
            return [
                Guard(
                    f"One-sided noncompliance: the exposure is {value:g} in every row with Z = "
                    f"{arm}. The assumptions then say that there is no confounding at all "
                    "(omega = 0): the ATE is a comparison of exposed and unexposed rows with Z = "
                    f"{1 - arm}, adjusted for covariates and carried over to everybody.",
                    OneSidedNoncomplianceWarning,
                )
            ]
    return []


def separated(name: str, fit: LogitFit | None) -> list[Guard]:
    """Guard about a logit model without a maximum."""
    if fit is None:
        return []
    if not fit.convergence.converged:
        return [
            Guard(
                f"The model of {name} did not converge: {fit.convergence.message}.",
                ConvergenceWarning,
            )
        ]
    if fit.separated:
        return [
            Guard(
                f"The covariates separate the values of {name} (its logit model has no maximum). "
                "It was fitted with a small ridge penalty; estimates lean on extrapolation. Use "
                f"fewer covariates in terms[{name!r}].",
                ConvergenceWarning,
            )
        ]
    return []


def extreme_probabilities(pi: Array, clip: float) -> list[Guard]:
    """Guard about probabilities of the instrument near zero or one, or moved away from them."""
    low, high = float(pi.min()), float(pi.max())
    found = []
    if clip > 0.0:
        count = int(np.count_nonzero((pi < clip) | (pi > 1.0 - clip)))
        if count:
            found.append(Guard(f"P(Z = 1 | X) was bounded by clip_pi={clip:g} in {count} rows."))
    if min(low, 1.0 - high) < EXTREME:
        text = (
            f"P(Z = 1 | X) ranges from {low:.2g} to {high:.3g}: few rows decide the answer where "
            "it is near 0 or 1."
        )
        found.append(Guard(text, OverlapWarning if clip == 0.0 else None))
    return found


def left_out(dropped: dict[str, tuple[str, ...]]) -> list[Guard]:
    """Guards about collinear columns."""
    by_columns: dict[tuple[str, ...], list[str]] = {}
    for name, columns in dropped.items():
        by_columns.setdefault(columns, []).append(name)
    return [
        Guard(
            f"Left out of the model of {', '.join(names)}, because the columns before determine "
            f"them: {', '.join(columns)}."
        )
        for columns, names in by_columns.items()
    ]


def announce(guards: list[Guard]) -> None:
    """Warn once for each category."""
    for category in dict.fromkeys(guard.category for guard in guards if guard.category):
        texts = [guard.text for guard in guards if guard.category is category]
        warn(" ".join(texts), category)
