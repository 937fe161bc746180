"""Vocabulary of ``InferenceResult.diagnostics``: what ``summary()`` and ``glance()`` read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any

import numpy as np

from robuststat._core.errors import ParameterError

__all__ = ["KNOWN_KEYS", "check_diagnostics"]


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 0


def _is_counts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(key, str) and _is_count(count) for key, count in value.items()
    )


def _is_lines(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(line, str) for line in value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool | np.bool_)


def _is_named(value: Any) -> bool:
    return isinstance(value, Mapping)


_COUNT = (_is_count, "a non-negative integer")
_COUNTS = (_is_counts, "a dict of non-negative integers")
_LINES = (_is_lines, "a list of strings")
_TEXT = (_is_text, "a string")

#: key -> (test, what the value has to be)
KNOWN_KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "n_dropped": _COUNT,
    "n_dropped_by": _COUNTS,
    "counts": _COUNTS,
    "cluster_name": _TEXT,
    "se_note": _TEXT,
    "leading": _LINES,
    "lines": _LINES,
    "notes": _LINES,
    "assumptions": _LINES,
    "converged": (_is_flag, "True or False"),
    "n_iter": _COUNT,
    "glance": (_is_named, "a dict of glance columns"),
}


def check_diagnostics(diagnostics: Mapping[str, Any], glance_columns: Mapping[str, str]) -> None:
    """Raise when a known key holds something that cannot be printed.

    Parameters
    ----------
    diagnostics : mapping
        Free keys are allowed; those in ``KNOWN_KEYS`` are checked.
    glance_columns : mapping
        The vocabulary allowed under the key ``glance``.

    Raises
    ------
    ParameterError
        For a value of the wrong kind or a glance column outside the vocabulary.
    """
    for key, (accepts, expected) in KNOWN_KEYS.items():
        if key in diagnostics and not accepts(diagnostics[key]):
            raise ParameterError(
                f"diagnostics[{key!r}] must be {expected}, got {diagnostics[key]!r}. "
                "Free information belongs under a key of its own."
            )
    unknown = sorted(set(diagnostics.get("glance", {})) - set(glance_columns))
    if unknown:
        raise ParameterError(
            f"diagnostics['glance'] has columns outside the vocabulary: {', '.join(unknown)}. "
            f"Register them in result.COLUMNS['glance'] or use one of {', '.join(glance_columns)}."
        )
