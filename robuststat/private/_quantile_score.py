"""Score of a quantile when a neighbour has one record more or less, so that n is private.

With L records below t and G above it, u(t) = abs((1 - q) L - q G) / max(q, 1 - q) moves by at most
one when a record comes or goes. It is zero at the q-quantile, and for the median it is the number
of records that would have to come or go.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

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
    levels = sorted(v for v in _levels(ranks, q, score_max) if v <= score_max)
    lows: list[int] = []
    highs: list[int] = []
    scores: list[int] = []
    for level in levels:
        low, high = _left_end(ranks, q, level), _right_end(ranks, q, level)
        if low > high:
            continue
        ends = (max(low - margin, first), min(high + margin, last))
        if not lows or ends[0] < lows[-1] or ends[1] > highs[-1]:
            lows.append(ends[0])
            highs.append(ends[1])
            scores.append(level)
    if score_max == unit * n:
        lows[-1], highs[-1] = first, last
    elif scores[-1] < score_max:
        lows.append(lows[-1])
        highs.append(highs[-1])
        scores.append(score_max)
    # At the median the score is the path length.
    kind: ScoreKind = "exact" if q == Fraction(1, 2) else "relaxed"
    return Layers(lows, highs, scores, unit, first, last, measure or Uniform(), kind)


def _levels(ranks: Any, q: Fraction, score_max: int) -> set[int]:
    """Scores that occur at order statistics and between them."""
    p, d, n = q.numerator, q.denominator, ranks.n
    left, right = quantile_window(q, n, score_max)
    found = {score_max} if n == 0 else {score_unit(q) * n}
    for j in range(max(left, 0), min(right, n) + 1):
        found.add(abs(d * j - p * n))
        if j >= 1:
            found.add(abs(_at(ranks, q, int(ranks.at([j])[0]))))
    return found


def _at(ranks: Any, q: Fraction, value: int) -> int:
    """Signed score of an order statistic."""
    p, d = q.numerator, q.denominator
    below, above = int(ranks.count_below(value)), int(ranks.n - ranks.count_upto(value))
    return (d - p) * below - p * above


def _right_end(ranks: Any, q: Fraction, level: int) -> int:
    """Largest point with a signed score of at most ``level``; the score grows along the line."""
    p, d, n = q.numerator, q.denominator, ranks.n
    j = (level + p * n) // d  # with at most j records below, a point between records is fine
    if j >= n:
        return int(ranks.hi)
    value = int(ranks.at([j + 1])[0])
    return value if _at(ranks, q, value) <= level else value - 1


def _left_end(ranks: Any, q: Fraction, level: int) -> int:
    """Smallest point with a signed score of at least ``-level``."""
    p, d, n = q.numerator, q.denominator, ranks.n
    j = -((level - p * n) // d)  # smallest j with d j - p n >= -level
    if j <= 0:
        return int(ranks.lo)
    value = int(ranks.at([j])[0])
    return value if _at(ranks, q, value) >= -level else value + 1
