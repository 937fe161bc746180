"""Score of a quantile when a neighbour has one record more or less, so that n is private.

With L records below t and G above it, u(t) = abs((1 - q) L - q G) / max(q, 1 - q) moves by at most
one when a record comes or goes. It is zero at the q-quantile, and for the median it is the number
of records that would have to come or go.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from robuststat._core.types import IntArray
from robuststat.private._engine import Layers
from robuststat.private._envelopes import ScoreKind
from robuststat.private._measure import Measure, Uniform

_LARGEST_DENOMINATOR = 1000


def quantile_fraction(q: float) -> Fraction:
    """Return q as a ratio with a denominator of at most 1000."""
    return Fraction(q).limit_denominator(_LARGEST_DENOMINATOR)


def score_unit(q: Fraction) -> int:
    """Count the steps of ``abs((d - p) L - p G)``, q = p/d, that one record can move."""
    return max(q.numerator, q.denominator - q.numerator)


def quantile_window(q: Fraction, n: int, score_max: int) -> tuple[int, int]:
    """Ranks that points with a score of at most ``score_max`` lie between."""
    p, d = q.numerator, q.denominator
    return (p * n - score_max) // d - 1, -(-(p * n + score_max) // d) + 2


def lowest_score(ranks: Any, q: Fraction) -> int:
    """Score of the quantile itself, which is above zero where it falls into ties.

    Parameters
    ----------
    ranks : Ranks
        Order statistics; those of ``quantile_window`` with ``score_max=0`` are looked at.
    q : Fraction
        Quantile.

    Returns
    -------
    int
    """
    p, d, n = q.numerator, q.denominator, ranks.n
    j = p * n // d
    middle = [int(v) for v in ranks.at([i for i in (j, j + 1) if 1 <= i <= n])]
    found = [abs(_at(ranks, q, v)) for v in middle]
    # Between neighbouring order statistics there may be a point without a record.
    found += [abs(d * i - p * n) for i in (j, j + 1) if i in (0, n)]
    if len(middle) == 2 and middle[1] - middle[0] > 1:
        found.append(abs(d * j - p * n))
    return min(found)


def quantile_layers(
    ranks: Any,
    q: Fraction,
    score_max: int,
    *,
    first: int,
    last: int,
    margin: int,
    measure: Measure | None = None,
) -> Layers:
    """Layers of the integer score, up to ``score_max``.

    Parameters
    ----------
    ranks : Ranks
        Order statistics; those of ``quantile_window`` are looked at.
    q : Fraction
        Quantile in [0, 1].
    score_max : int
        Largest score of a layer, not below ``lowest_score``.
    first, last : int
        Support.
    margin : int
        Half-width of the ball around the quantile with its score.
    measure : Measure, optional
        Public weights; uniform by default.

    Returns
    -------
    Layers
        Complete when ``score_max`` is at least ``max(p, d - p) n``.
    """
    unit, n = score_unit(q), ranks.n
    score_max = min(score_max, unit * n)
    table = _Window.of(ranks, q, score_max)
    levels = table.levels(score_max)
    low, high = (
        table.left_ends(levels, int(ranks.lo)),
        table.right_ends(levels, int(ranks.hi)),
    )
    some = low <= high  # among ties there may be no point with a score this low
    low, high = np.maximum(low - margin, first), np.minimum(high + margin, last)
    low, high, levels = low[some], high[some], levels[some]
    grows = np.ones(len(levels), dtype=np.bool_)
    grows[1:] = (low[1:] < low[:-1]) | (high[1:] > high[:-1])
    lows, highs, scores = (part[grows].tolist() for part in (low, high, levels))
    if score_max == unit * n:
        lows[-1], highs[-1] = first, last
    elif scores[-1] < score_max:
        lows.append(lows[-1])
        highs.append(highs[-1])
        scores.append(score_max)
    # At the median the score is the path length.
    kind: ScoreKind = "exact" if q == Fraction(1, 2) else "relaxed"
    return Layers(lows, highs, scores, unit, first, last, measure or Uniform(), kind)


def _at(ranks: Any, q: Fraction, value: int) -> int:
    """Signed score of an order statistic."""
    p, d = q.numerator, q.denominator
    below, upto = ranks.counts_around(np.array([value]))
    return (d - p) * int(below[0]) - p * (int(ranks.n) - int(upto[0]))


@dataclass(frozen=True, slots=True)
class _Window:
    """Order statistics of neighbouring ranks with their signed scores, which grow along the line.

    Attributes
    ----------
    start : int
        First rank.
    values, scores : ndarray
        Order statistics and their signed scores.
    n, p, d : int
        Records, and q = p / d.
    """

    start: int
    values: IntArray
    scores: IntArray
    n: int
    p: int
    d: int

    @classmethod
    def of(cls, ranks: Any, q: Fraction, score_max: int) -> _Window:
        """Ranks that points with a score of at most ``score_max`` lie between."""
        p, d, n = q.numerator, q.denominator, int(ranks.n)
        left, right = quantile_window(q, n, score_max)
        start = max(left, 1)
        values = ranks.at(np.arange(start, min(right, n) + 1))
        below, upto = ranks.counts_around(values)
        return cls(start, values, (d - p) * below - p * (n - upto), n, p, d)

    def levels(self, score_max: int) -> IntArray:
        """Scores that occur at these order statistics and between them, in order."""
        gaps = np.arange(self.start - 1, self.start + len(self.values))
        between = np.abs(self.d * gaps - self.p * self.n)
        found = np.concatenate([between, np.abs(self.scores), [score_max]])
        return np.unique(found[found <= score_max])

    def right_ends(self, levels: IntArray, hi: int) -> IntArray:
        """Largest points with signed scores of at most ``levels``."""
        # With at most j records below, a point between records is fine.
        j = (levels + self.p * self.n) // self.d
        return self._ends(j + 1, j >= self.n, hi, lambda s, v: np.where(s <= levels, v, v - 1))

    def left_ends(self, levels: IntArray, lo: int) -> IntArray:
        """Smallest points with signed scores of at least ``-levels``."""
        j = -((levels - self.p * self.n) // self.d)
        return self._ends(j, j <= 0, lo, lambda s, v: np.where(s >= -levels, v, v + 1))

    def _ends(self, ranks: IntArray, outside: Any, end: int, choose: Any) -> IntArray:
        if not len(self.values):
            return np.full(len(ranks), end)
        position = np.clip(ranks - self.start, 0, len(self.values) - 1)
        inside = choose(self.scores[position], self.values[position])
        return np.asarray(np.where(outside, end, inside))
