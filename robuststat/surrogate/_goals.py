"""Goals of a label plan: a largest standard error or a smallest power."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from robuststat._core.errors import ParameterError
from robuststat._core.params import in_range


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be reached.

    Attributes
    ----------
    value : float
        Standard error, or power.
    power : bool
        Which of the two.
    effect, level : float
        True coefficient and level of the test, for power.
    """

    value: float
    power: bool
    effect: float
    level: float


def make_goal(se: float | None, power: float | None, effect: Any, level: Any) -> Goal:
    """Validate what the user wants to reach."""
    if (se is None) == (power is None):
        raise ParameterError("Give exactly one of se and power.")
    inside = in_range(0, 1, closed="neither")
    check_value("level", level, inside)
    check_value("effect", effect, in_range(-np.inf, np.inf, closed="neither"))
    if se is not None:
        check_value("se", se, in_range(0, np.inf, closed="left"))
        return Goal(float(se), False, float(effect), level)
    check_value("power", power, inside)
    assert power is not None
    return Goal(float(power), True, float(effect), level)


def label_number(value: Any, least: int, most: int) -> int:
    """Check one number of labels."""
    real = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not real or not least <= value <= most or value != np.floor(value):
        raise ParameterError(
            f"n_labels must be whole numbers from {least} (coefficients plus one) to {most} (all "
            f"rows), got {value!r}."
        )
    return int(value)


def refuse(coef: str, error: float, n_obs: int, goal: Goal) -> None:
    """Raise that labelling every row does not reach the goal."""
    start = f"not reachable: with all {n_obs:,} rows labelled the standard error of {coef!r} is "
    if goal.power:
        raise ParameterError(
            f"{start}{error:.4g} and the power for an effect of {goal.effect:.4g} is "
            f"{float(power_of(error, goal)):.4g}, below {goal.value:.4g}. Collect more rows, or "
            "plan for a larger effect."
        )
    raise ParameterError(
        f"{start}{error:.4g}, above {goal.value:.4g}. Collect more rows, or choose a larger goal."
    )


def check_value(name: str, value: Any, check: Callable[[Any], str | None]) -> None:
    wanted = check(value)
    if wanted is not None:
        raise ParameterError(f"{name} must be {wanted}, got {value!r}.")


def power_of(std_error: Any, goal: Goal) -> Any:
    """Two-sided power Phi(|b|/se - z) + Phi(-|b|/se - z); one without noise (2.10)."""
    z = norm.ppf(0.5 + goal.level / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.abs(goal.effect) / np.asarray(std_error, dtype=np.float64)
    shift = np.where(np.isnan(shift), 0.0, shift)
    return norm.cdf(shift - z) + norm.cdf(-shift - z)


def is_reached(std_error: float, goal: Goal) -> bool:
    if goal.power:
        return bool(power_of(std_error, goal) >= goal.value)
    return bool(std_error <= goal.value)


def smallest(reached: Callable[[int], bool], low: int, high: int) -> int:
    """Smallest whole number in [low, high] at which a monotone condition holds; high does."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle + 1, high)
    return high


def largest_error(goal: Goal, coef: str) -> float:
    """Largest standard error that reaches the goal."""
    if not goal.power:
        if goal.value == 0:
            raise ParameterError("se must be positive: no number of rows gives zero.")
        return goal.value
    if goal.effect == 0 or goal.value <= 1 - goal.level:
        raise ParameterError(
            f"power {goal.value:.4g} for an effect of {goal.effect:.4g} of {coef!r} sets no "
            "standard error. Give an effect other than zero and a power above "
            f"{1 - goal.level:.4g}."
        )
    low, high = 0.0, np.abs(goal.effect) * 1e6
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if is_reached(middle, goal) else (low, middle)
    return low


def cheapest_numbers(
    per_row: tuple[float, float], variance: float, costs: tuple[float, float], least: int
) -> list[float]:
    """Rows and labels of least cost for a variance a / rows + b / labels.

    Parameters
    ----------
    per_row : tuple of float
        a and b.
    variance : float
        Largest variance wanted.
    costs : tuple of float
        Price of a row and of a label.
    least : int
        Fewest labels.

    Returns
    -------
    list of float
        Rows, labels, cost, standard error.
    """
    a, b = per_row
    rows = labels = (a + b) / variance
    if a > 0:
        root = (np.sqrt(a * costs[0]) + np.sqrt(b * costs[1])) / variance
        free = root * np.sqrt(a / costs[0]), root * np.sqrt(b / costs[1])
        if free[1] <= free[0]:
            rows, labels = free
    n_labels = float(max(np.ceil(labels), least))
    n_rows = max(float(np.ceil(rows)), n_labels)
    cost = n_rows * costs[0] + n_labels * costs[1]
    return [n_rows, n_labels, cost, float(np.sqrt(a / n_rows + b / n_labels))]
