"""Declarative checks of constructor parameters, run at the start of ``fit``.

An estimator lists ``_parameter_checks = {"cv": ..., "learner": one_of("auto", "ols")}``; a check
is a function of the value that returns None when the value is fine and otherwise the words that
complete "<name> must be ...".
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from typing import Any

from robuststat._core.errors import ParameterError

Check = Callable[[Any], str | None]


def one_of(*options: Any) -> Check:
    """Value equal to one of ``options`` (same type, so that ``1`` is not ``True``)."""
    words = ", ".join(repr(option) for option in options)

    def check(value: Any) -> str | None:
        known = any(type(value) is type(option) and value == option for option in options)
        return None if known else f"one of {words}"

    return check


def in_range(low: float, high: float, *, closed: str = "both", integer: bool = False) -> Check:
    """Real number (or integer) between ``low`` and ``high``; ``closed`` as in pandas intervals."""
    left = "[" if closed in ("both", "left") else "("
    right = "]" if closed in ("both", "right") else ")"
    kind = "an integer" if integer else "a number"
    words = f"{kind} in {left}{low}, {high}{right}"
    accepted = numbers.Integral if integer else numbers.Real

    def check(value: Any) -> str | None:
        if not isinstance(value, accepted) or isinstance(value, bool):
            return words
        number = float(value)
        above = number > low or (number == low and left == "[")
        below = number < high or (number == high and right == "]")
        return None if above and below else words

    return check


def is_bool(value: Any) -> str | None:
    """Accept plain True or False."""
    return None if isinstance(value, bool) else "True or False"


def is_estimator(value: Any) -> str | None:
    """Accept an instance with scikit-learn's ``fit`` and ``get_params``, not a class."""
    works = hasattr(value, "fit") and hasattr(value, "get_params") and not isinstance(value, type)
    return None if works else "a scikit-learn estimator instance"


def is_string(value: Any) -> str | None:
    """Accept a string."""
    return None if isinstance(value, str) else "a string"


def is_cv(value: Any) -> str | None:
    """Accept an integer >= 2, a splitter with ``split``, or a list of (train, test) index pairs."""
    fine = (
        (isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= 2)
        or hasattr(value, "split")
        or isinstance(value, (list, tuple))
    )
    words = "an integer >= 2, a scikit-learn splitter, or a list of (train, test) index pairs"
    return None if fine and not isinstance(value, str) else words


def any_of(*checks: Check) -> Check:
    """Value accepted by at least one of ``checks``."""

    def check(value: Any) -> str | None:
        words = [found for found in (one(value) for one in checks) if found is not None]
        return None if len(words) < len(checks) else " or ".join(words)

    return check


def optional(check: Check) -> Check:
    """None, or a value accepted by ``check``."""

    def inner(value: Any) -> str | None:
        words = None if value is None else check(value)
        return None if words is None else f"None or {words}"

    return inner


def check_parameters(owner: str, checks: Mapping[str, Check], values: Mapping[str, Any]) -> None:
    """Raise ParameterError for the first value that its check refuses.

    Parameters
    ----------
    owner : str
        Name put in front of the message, usually the class.
    checks : mapping of str to check
        One entry a parameter.
    values : mapping of str to object
        What the user gave, for instance ``estimator.get_params(deep=False)``.
    """
    for name, check in checks.items():
        words = check(values[name])
        if words is not None:
            raise ParameterError(f"{owner}: {name} must be {words}; got {values[name]!r}.")
