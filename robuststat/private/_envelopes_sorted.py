"""Envelopes that need all sorted values: Huber location, shorth, MAD, standard deviation."""

from __future__ import annotations

import importlib
from math import isqrt
from typing import Any

import numpy as np

from robuststat.private._envelopes import Envelope

# From this many steps (values times layers) on, compiled loops are worth their start-up.
KERNEL_MIN_SIZE = 2_000_000


# -------------------------------------------------------------------------------------- Huber


class ClippedSums:
    """Sums of ``clip(x_i - t, -c, c)`` over the smallest or largest records, for many t at once."""

    def __init__(self, x: Any, c: Any, top: Any) -> None:
        self.x, self.c = x, c
        kind: Any = np.float64 if x.dtype.kind == "f" else np.int64
        if kind is np.int64 and (int(top) + 1) * (len(x) + 1) >= 1 << 61:
            kind = object
        self.prefix = np.concatenate([np.zeros(1, dtype=kind), np.cumsum(x.astype(kind))])

    def wide(self, counts: Any) -> Any:
        """Return counts in a type whose products with positions cannot overflow."""
        return counts.astype(self.prefix.dtype)

    def between(self, first: Any, last: Any, t: Any) -> Any:
        """Sum over positions first..last-1 (0-based) at t, elementwise."""
        left = np.clip(np.searchsorted(self.x, t - self.c, side="left"), first, last)
        right = np.clip(np.searchsorted(self.x, t + self.c, side="left"), left, last)
        inner = self.prefix[right] - self.prefix[left] - self.wide(right - left) * t
        return inner + self.c * self.wide((last - right) - (left - first))


def huber_envelope(x: Any, lo: Any, hi: Any, c: Any, k_max: int) -> Envelope:
    """Envelope of the Huber location with fixed corner c: root of ``sum clip(x_i - t, -c, c)``.

    The statistic falls most when the k largest records are set to lo. Where there are several
    roots it is the smallest one.

    Parameters
    ----------
    x : ndarray of shape (n,)
        Sorted values: integers, or doubles.
    lo, hi : number
        Range.
    c : number
        Corner in the unit of x; an integer of at least 1 for integers.
    k_max : int
        Last layer, at most n.

    Returns
    -------
    Envelope
    """
    n = len(x)
    c = min(c, hi - lo)  # no record is further from a point of the range
    sums = ClippedSums(x, c, hi)
    k = np.arange(k_max + 1)

    def falling(t: Any) -> Any:
        return sums.between(np.zeros_like(k), n - k, t) + sums.wide(k) * np.clip(lo - t, -c, c)

    def rising(t: Any) -> Any:
        return sums.between(k, np.full_like(k, n), t) + sums.wide(k) * np.clip(hi - t, -c, c)

    if x.dtype.kind == "f":
        low, high = (_smallest_root(f, lo, hi, len(k)) for f in (falling, rising))
        return Envelope(low, high, "exact")
    low, high = (
        _first_index(lambda t, f=function: f(t) <= 0, lo, hi, len(k))
        for function in (falling, rising)
    )
    # The sums bend at grid points only, so that a root between two of them is the only one; the
    # point below it is the lower end rounded outward.
    return Envelope(np.where(falling(low) < 0, np.maximum(low - 1, lo), low), high, "exact")


def _first_index(holds: Any, lo: int, hi: int, size: int) -> Any:
    """Smallest integer in lo..hi from which on a condition holds, elementwise (hi if never)."""
    left, right = np.full(size, lo, dtype=np.int64), np.full(size, hi, dtype=np.int64)
    while (left < right).any():
        middle = (left + right) // 2
        fine = np.asarray(holds(middle), dtype=bool)
        left, right = np.where(fine, left, middle + 1), np.where(fine, middle, right)
        left = np.minimum(left, right)
    return left


def _smallest_root(function: Any, lo: float, hi: float, size: int) -> Any:
    left, right = np.full(size, lo), np.full(size, hi)
    for _ in range(80):
        middle = (left + right) / 2
        fine = function(middle) <= 0
        left, right = np.where(fine, left, middle), np.where(fine, middle, right)
    return right


# ------------------------------------------------------------------------------ shorth and MAD


def shorth_envelope(x: Any, lo: Any, hi: Any, h: int, k_max: int) -> Envelope:
    """Envelope of the width of the shortest window of h records.

    k replaced records can stand inside a window of h - k, or stretch it to one of h + k. Low ends
    are exact, high ends relaxed.

    Parameters
    ----------
    x : ndarray of shape (n,)
        Sorted values.
    lo, hi : number
        Range.
    h : int
        Records in the window, 1 <= h <= n.
    k_max : int
        Last layer.

    Returns
    -------
    Envelope
    """
    n = len(x)
    sizes = np.arange(max(h - k_max, 1), min(h + k_max, n) + 1)
    widths = dict(zip(sizes.tolist(), window_widths(x, sizes), strict=True))
    low = [widths[h - k] if h - k > 1 else lo - lo for k in range(k_max + 1)]
    high = [widths[h + k] if h + k <= n else hi - lo for k in range(k_max + 1)]
    return Envelope(np.array(low), np.array(high), "relaxed")


def window_widths(x: Any, sizes: Any) -> Any:
    """Width of the shortest window of sorted values, for windows of given numbers of values.

    Parameters
    ----------
    x : ndarray of shape (n,)
        Sorted.
    sizes : ndarray of int
        Values in a window, in 1..n.

    Returns
    -------
    ndarray
        One width a size.
    """
    if len(x) * len(sizes) >= KERNEL_MIN_SIZE:
        kernel = importlib.import_module("robuststat.kernels.windows")
        return kernel.window_widths(
            x, np.asarray(sizes, dtype=np.int64), np.zeros_like(x, shape=len(sizes))
        )
    n = len(x)
    return np.array([np.min(x[p - 1 :] - x[: n - p + 1]) for p in sizes], dtype=x.dtype)


def mad_envelope(x: Any, lo: Any, hi: Any, m: int, h: int, k_max: int) -> Envelope:
    """Relaxed envelope of the h-th smallest distance from the order statistic x_(m).

    With k replaced records the centre lies in [a, b] = [x_(m-k), x_(m+k)], and the distance is
    between the smallest (h-k)-th and the largest (h+k)-th distance from a point there. Written for
    doubled values, so that midpoints of integers are integers; integers are rounded outward.

    Parameters
    ----------
    x : ndarray of shape (n,)
        Sorted values.
    lo, hi : number
        Range.
    m, h : int
        Rank of the centre and of the distance, in 1..n.
    k_max : int
        Last layer.

    Returns
    -------
    Envelope
    """
    n = len(x)
    k = np.arange(k_max + 1)
    a = _padded(x, lo, hi, m - k)
    b = _padded(x, lo, hi, m + k)
    if n * len(k) >= KERNEL_MIN_SIZE:
        kernel = importlib.import_module("robuststat.kernels.windows")
        out = np.zeros_like(x, shape=(2, len(k)))
        low, high = kernel.mad_ends(x, a, b, h, hi - lo, out)
    else:
        low = np.array([_mad_low(x, a[i], b[i], h - i) for i in range(len(k))])
        high = np.array([_mad_high(x, a[i], b[i], h + i, hi - lo) for i in range(len(k))])
    if x.dtype.kind == "f":
        return Envelope(low / 2, high / 2, "relaxed")
    return Envelope(low // 2, -(-high // 2), "relaxed")


def _padded(x: Any, lo: Any, hi: Any, ranks: Any) -> Any:
    inside = np.clip(ranks, 1, len(x)) - 1
    return np.where(ranks < 1, lo, np.where(ranks > len(x), hi, x[inside])).astype(x.dtype)


def _mad_low(x: Any, a: Any, b: Any, p: int) -> Any:
    """Twice the smallest p-th distance from a point of [a, b]."""
    if p < 1:
        return x[0] - x[0]
    first, last = x[: len(x) - p + 1], x[p - 1 :]
    return np.min(np.maximum(last - first, 2 * np.maximum(last - b, a - first)))


def _mad_high(x: Any, a: Any, b: Any, p: int, width: Any) -> Any:
    """Twice the largest p-th distance from a point of [a, b]; twice the range if p > n."""
    n = len(x)
    if p > n:
        return 2 * width
    first, last = x[: n - p + 1], x[p - 1 :]
    ends = [2 * np.min(np.maximum(c - first, last - c)) for c in (a, b)]
    # Between x_(i) and x_(i+p) the p-th distance is largest half way.
    left, right = x[: n - p], x[p:]
    inside = (left + right >= 2 * a) & (left + right <= 2 * b)
    return max(*ends, np.max((right - left)[inside])) if inside.any() else max(ends)


# -------------------------------------------------------------------------- standard deviation


def std_envelope(x: Any, lo: Any, hi: Any, k_max: int) -> Envelope:
    """Relaxed envelope of the standard deviation (divisor n).

    ``n sum x**2 - (sum x)**2`` is the sum of squared differences over all pairs; one record is in
    n - 1 pairs, so replacing it moves the sum by at most ``(n-1) (hi-lo)**2``.

    Parameters
    ----------
    x : ndarray of shape (n,)
        Values.
    lo, hi : number
        Range.
    k_max : int
        Last layer.

    Returns
    -------
    Envelope
        In [0, hi - lo].
    """
    n = len(x)
    if x.dtype.kind == "f":
        spread = n * float(np.sum((x - x.mean()) ** 2))
        move = np.arange(k_max + 1) * ((n - 1) * (hi - lo) ** 2)
        low = np.sqrt(np.maximum(spread - move, 0.0)) / n
        return Envelope(low, np.minimum(np.sqrt(spread + move) / n, hi - lo), "relaxed")
    numbers, times = np.unique(x, return_counts=True)
    first = sum(int(v) * int(t) for v, t in zip(numbers, times, strict=True))
    second = sum(int(v) ** 2 * int(t) for v, t in zip(numbers, times, strict=True))
    pairs, step = n * second - first**2, (n - 1) * int(hi - lo) ** 2
    low = [isqrt(max(pairs - k * step, 0)) // n for k in range(k_max + 1)]
    high = [min(_ceil_sqrt(pairs + k * step, n), int(hi - lo)) for k in range(k_max + 1)]
    return Envelope(np.array(low, dtype=np.int64), np.array(high, dtype=np.int64), "relaxed")


def _ceil_sqrt(value: int, n: int) -> int:
    """Smallest integer r with n r >= sqrt(value)."""
    root = isqrt(value)
    root += root * root < value
    return -(-root // n)
