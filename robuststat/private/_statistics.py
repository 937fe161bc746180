"""Statistics with a nested envelope: which ranks they look at, and the envelope itself.

One object describes a statistic for data of a known size; it works on grid indices and on doubles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from robuststat.private._envelopes import (
    Envelope,
    ScoreKind,
    Weights,
    cheap_iqr_envelope,
    iqr_envelope,
    l_envelope,
)
from robuststat.private._envelopes_sorted import (
    huber_envelope,
    mad_envelope,
    shorth_envelope,
    std_envelope,
)

Window = tuple[int, int]


class Statistic(Protocol):
    """A statistic of n records with its envelope; ``spread`` if it is a width in [0, hi - lo]."""

    spread: ClassVar[bool]

    @property
    def kind(self) -> ScoreKind:
        """Whether the score is the exact path length."""
        ...

    def windows(self, k_max: int) -> list[Window] | None:
        """Ranks (first, last) that K layers look at; None for all of them."""
        ...

    def envelope(self, ranks: Any, k_max: int) -> Envelope:
        """Intervals I_0, ..., I_K from order statistics."""
        ...


@dataclass(frozen=True, slots=True)
class LStatistic:
    """Weighted mean of order statistics, weights non-negative."""

    weights: Weights

    spread: ClassVar[bool] = False

    @property
    def kind(self) -> ScoreKind:
        """Path length."""
        return "exact"

    def windows(self, k_max: int) -> list[Window] | None:
        """Ranks around the jumps of the weights."""
        return [(rank - 1 - k_max, rank + k_max) for rank in self.weights.jumps()]

    def envelope(self, ranks: Any, k_max: int) -> Envelope:
        """See :func:`l_envelope`."""
        return l_envelope(ranks, self.weights, k_max)


@dataclass(frozen=True, slots=True)
class Huber:
    """Huber location; ``corner`` in the unit of the order statistics."""

    corner: Any

    spread: ClassVar[bool] = False

    @property
    def kind(self) -> ScoreKind:
        """Path length."""
        return "exact"

    def windows(self, k_max: int) -> list[Window] | None:
        """All ranks."""
        return None

    def envelope(self, ranks: Any, k_max: int) -> Envelope:
        """See :func:`huber_envelope`."""
        return huber_envelope(ranks.all_values, ranks.lo, ranks.hi, self.corner, k_max)


@dataclass(frozen=True, slots=True)
class RankRange:
    """Difference of two order statistics; ``cheap`` for the envelope of linear cost."""

    j1: int
    j2: int
    cheap: bool = False

    spread: ClassVar[bool] = True

    @property
    def kind(self) -> ScoreKind:
        """Path length, or an upper bound of intervals."""
        return "relaxed" if self.cheap else "exact"

    def windows(self, k_max: int) -> list[Window] | None:
        """Ranks around both ends."""
        return [(j - k_max, j + k_max) for j in (self.j1, self.j2)]

    def envelope(self, ranks: Any, k_max: int) -> Envelope:
        """See :func:`iqr_envelope`."""
        build = cheap_iqr_envelope if self.cheap else iqr_envelope
        return build(ranks, self.j1, self.j2, k_max)


@dataclass(frozen=True, slots=True)
class Shorth:
    """Width of the shortest window of ``size`` records."""

    size: int

    spread: ClassVar[bool] = True

    @property
    def kind(self) -> ScoreKind:
        """Upper ends are not sharp."""
        return "relaxed"

    def windows(self, k_max: int) -> list[Window] | None:
        """All ranks."""
        return None

    def envelope(self, ranks: Any, k_max: int) -> Envelope:
        """See :func:`shorth_envelope`."""
        return shorth_envelope(ranks.all_values, ranks.lo, ranks.hi, self.size, k_max)


@dataclass(frozen=True, slots=True)
class MedianDeviation:
    """The ``rank``-th smallest distance from the order statistic ``centre``."""

    centre: int
    rank: int

    spread: ClassVar[bool] = True

    @property
    def kind(self) -> ScoreKind:
        """Centre and distances are bounded apart from each other."""
        return "relaxed"

    def windows(self, k_max: int) -> list[Window] | None:
        """All ranks."""
        return None

    def envelope(self, ranks: Any, k_max: int) -> Envelope:
        """See :func:`mad_envelope`."""
        args = (ranks.lo, ranks.hi, self.centre, self.rank, k_max)
        return mad_envelope(ranks.all_values, *args)


@dataclass(frozen=True, slots=True)
class StandardDeviation:
    """Standard deviation with divisor n; one record moves it much, so it needs many of them."""

    spread: ClassVar[bool] = True

    @property
    def kind(self) -> ScoreKind:
        """The bound on what one record does is attained at the ends only."""
        return "relaxed"

    def windows(self, k_max: int) -> list[Window] | None:
        """All ranks."""
        return None

    def envelope(self, ranks: Any, k_max: int) -> Envelope:
        """See :func:`std_envelope`."""
        return std_envelope(ranks.all_values, ranks.lo, ranks.hi, k_max)
