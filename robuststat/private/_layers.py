"""Draw of a score layer with exact probabilities: the heart of every grid-mode release.

Layer k holds ``counts[k]`` grid points of score ``scores[k]`` and has weight counts[k] * q**score.
The ratio q = p / 2**s is at least exp(-epsilon/2), so that the distribution drawn from is exactly
an exponential mechanism with an epsilon that is not above the one that is charged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise

from robuststat._core.errors import ParameterError
from robuststat.private._entropy import Entropy

SHIFT = 64  # bits of q
PRECISION = 256  # bits of the powers of q, doubled when a draw falls too near to a boundary


@dataclass(frozen=True, slots=True)
class Decay:
    """The factor q = p / 2**shift by which one step of the score lowers the weight."""

    p: int
    shift: int = SHIFT

    @property
    def ratio(self) -> Fraction:
        """The factor as a ratio."""
        return Fraction(self.p, 1 << self.shift)


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Integers around a number times 2**bits: low <= number <= high."""

    low: int
    high: int

    def times(self, other: _Bounds, bits: int) -> _Bounds:
        return _Bounds(self.low * other.low >> bits, -(-self.high * other.high >> bits))


def exp_minus(x: Fraction, bits: int) -> tuple[int, int]:
    """Integers ``low <= exp(-x) * 2**bits <= high`` that are close together.

    Parameters
    ----------
    x : Fraction
        Non-negative.
    bits : int
        Precision.

    Returns
    -------
    tuple of int
    """
    # exp(-x) = exp(-x / 2**r)**(2**r); with x / 2**r <= 1/2 the series alternates and shrinks, so
    # that two partial sums in a row are bounds. Guard bits pay for the r squarings.
    r = max(0, (x.numerator // x.denominator + 1).bit_length() + 1)
    work = bits + r + 32
    y = x / (1 << r)
    term = _Bounds(1 << work, 1 << work)
    low = high = 1 << work
    k = 0
    while True:
        k += 1
        scaled = y / k
        n, d = scaled.numerator, scaled.denominator
        term = _Bounds(term.low * n // d, -(-term.high * n // d))
        if k % 2:
            low, high = low - term.high, high - term.low
        else:
            low, high = low + term.low, high + term.high
        if term.high <= 1:
            break
    # What was left out is at most the last term, which is at most one unit.
    power = _Bounds(max(low - 1, 0), high + 1)
    for _ in range(r):
        power = power.times(power, work)
    drop = work - bits
    return power.low >> drop, -(-power.high >> drop)


def decay_for(epsilon: Fraction, shift: int = SHIFT) -> Decay:
    """Smallest multiple of 2**-shift that is certainly >= exp(-epsilon / 2).

    Parameters
    ----------
    epsilon : Fraction
        Positive. The mechanism drawn with this decay is ``-2 log(q) <= epsilon`` private.
    shift : int
        Bits of the factor.

    Returns
    -------
    Decay

    Raises
    ------
    ParameterError
        When the factor rounds to one, so that the data would not matter at all.
    """
    p = exp_minus(epsilon / 2, shift)[1]
    if p >= 1 << shift:
        raise ParameterError(
            f"epsilon={float(epsilon):.3g} is so small that exp(-epsilon/2) is 1 in {shift} bits."
        )
    return Decay(p, shift)


def draw_layer(
    source: Entropy,
    counts: Iterable[int],
    decay: Decay,
    scores: Sequence[int] | None = None,
    *,
    precision: int = PRECISION,
) -> int:
    """Draw index k with probability proportional to ``counts[k] * q**scores[k]``, exactly.

    Powers of q are known as intervals of ``precision`` bits. A uniform number, revealed bit by
    bit, decides; when its interval touches the interval of a boundary, more bits of both are
    computed, and the same number is looked at more closely. So rounding decides nothing.

    Parameters
    ----------
    source : Entropy
        Random bits.
    counts : iterable of int
        Non-negative, of any size; at least one positive.
    decay : Decay
        The factor q.
    scores : sequence of int, optional
        Non-decreasing, non-negative; 0, 1, 2, ... by default.
    precision : int
        First number of bits.

    Returns
    -------
    int
        Position in ``counts``.

    Raises
    ------
    ParameterError
        For negative counts, counts that are all zero, or scores that decrease.
    """
    sizes = [int(count) for count in counts]
    steps = list(range(len(sizes))) if scores is None else [int(score) for score in scores]
    _check_layers(sizes, steps)
    live = [k for k, size in enumerate(sizes) if size]
    if len(live) == 1:
        return live[0]
    gaps = [0, *(steps[b] - steps[a] for a, b in pairwise(live))]
    bits, u = 0, 0
    while True:
        u = (u << (precision - bits)) | source.bits(precision - bits)
        bits = precision
        weights = _weights([sizes[k] for k in live], gaps, decay, bits)
        lows = list(accumulate(w.low for w in weights))
        highs = list(accumulate(w.high for w in weights))
        # The point u T lies in [below, above) * 2**-bits.
        found = _locate(u * lows[-1], (u + 1) * highs[-1], lows, highs, bits)
        if found is not None:
            return live[found]
        precision *= 2


def _check_layers(sizes: list[int], steps: list[int]) -> None:
    if len(sizes) != len(steps):
        raise ParameterError(f"There are {len(sizes)} counts but {len(steps)} scores.")
    if any(size < 0 for size in sizes) or not any(sizes):
        raise ParameterError("counts must be non-negative and not all zero.")
    if steps[0] < 0 or any(a > b for a, b in pairwise(steps)):
        raise ParameterError("scores must be non-negative and must not decrease.")


def _weights(sizes: list[int], gaps: list[int], decay: Decay, bits: int) -> list[_Bounds]:
    """Intervals of count * q**(score - first score), times 2**bits."""
    power, found = _Bounds(1 << bits, 1 << bits), []
    for size, gap in zip(sizes, gaps, strict=True):
        power = power.times(_power(decay, gap, bits), bits) if gap > 1 else _step(power, decay, gap)
        found.append(_Bounds(size * power.low, size * power.high))
    return found


def _step(power: _Bounds, decay: Decay, gap: int) -> _Bounds:
    if gap == 0:
        return power
    return _Bounds(power.low * decay.p >> decay.shift, -(-power.high * decay.p >> decay.shift))


def _power(decay: Decay, exponent: int, bits: int) -> _Bounds:
    """Interval of q**exponent by squaring."""
    up = decay.p << bits
    base = _Bounds(up >> decay.shift, -(-up >> decay.shift))
    found = _Bounds(1 << bits, 1 << bits)
    while exponent:
        if exponent & 1:
            found = found.times(base, bits)
        base, exponent = base.times(base, bits), exponent >> 1
    return found


def _locate(below: int, above: int, lows: list[int], highs: list[int], bits: int) -> int | None:
    """Layer that certainly holds the point between ``below`` and ``above``, if there is one."""
    start = 0  # certified upper bound of the boundary on the left
    for k, (low, high) in enumerate(zip(lows, highs, strict=True)):
        last = k == len(lows) - 1
        if start <= below and (last or above <= low << bits):
            return k
        if below < low << bits:
            return None
        start = high << bits
    return None
