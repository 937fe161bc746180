"""How the stations of the tour are laid out."""

from __future__ import annotations

import textwrap

from robuststat._core.types import Array


def paragraph(text: str) -> str:
    """Text filled to the width of the tour."""
    return textwrap.fill(text, 92)


def interval(numbers: Array, truth: float) -> str:
    """Estimate and ends of an interval, with a star when it misses the truth."""
    estimate, low, high = numbers
    star = " " if low <= truth <= high else "*"
    return f"{estimate:5.2f} [{low:5.2f}, {high:5.2f}]{star}"
