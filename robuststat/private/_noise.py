"""Exact noise in integer arithmetic: no floating-point number takes part in a draw.

A double has gaps whose size depends on its value, so noise added to one reveals the value it was
added to (Mironov 2012). Here every probability is a ratio of integers or a series of such ratios,
and every draw is an integer: Bernoulli(exp(-x)), discrete Laplace and discrete Gaussian as in
Canonne, Kamath and Steinke (2020), *The discrete Gaussian for differential privacy*.

The time a draw takes is random and depends on what is drawn. Who can time single releases learns
something about the noise; that is outside the guarantee, as is every other side channel.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import isqrt
from numbers import Rational, Real
from typing import TypeAlias

from robuststat._core.errors import ParameterError
from robuststat.private._entropy import Entropy

Ratio: TypeAlias = int | float | Fraction
Noise: TypeAlias = Callable[[Entropy], int]


def exact_ratio(value: Ratio, name: str, *, positive: bool = False) -> Fraction:
    """Return a number as the ratio of integers that it is; a double is one, exactly."""
    if isinstance(value, bool) or not isinstance(value, (Rational, Real)):
        raise ParameterError(f"{name} must be a number, got {value!r}.")
    try:
        ratio = Fraction(value) if isinstance(value, Rational) else Fraction(float(value))
    except (OverflowError, ValueError):
        raise ParameterError(f"{name} must be finite, got {value!r}.") from None
    if ratio < 0 or (positive and ratio == 0):
        raise ParameterError(
            f"{name} must be {'positive' if positive else 'at least 0'}, got {value!r}."
        )
    return ratio


def bernoulli(source: Entropy, p: Fraction) -> bool:
    """Draw True with probability ``p`` (a ratio in [0, 1])."""
    return source.below(p.denominator) < p.numerator


def bernoulli_exp(source: Entropy, x: Fraction) -> bool:
    """Draw True with probability exp(-x), for a ratio x >= 0.

    For x <= 1: count K until the first False of Bernoulli(x/1), Bernoulli(x/2), ...; K is odd
    with probability 1 - x + x**2/2 - ... = exp(-x). Larger x are products of such draws.
    """
    whole, rest = divmod(x, 1)
    # One by one, so that a large x costs no more than the draws until the first False.
    if not all(_bernoulli_exp_unit(source, 1, 1) for _ in range(whole)):
        return False
    return _bernoulli_exp_unit(source, rest.numerator, rest.denominator)


def _bernoulli_exp_unit(source: Entropy, numerator: int, denominator: int) -> bool:
    k = 1
    while source.below(denominator * k) < numerator:
        k += 1
    return k % 2 == 1


def discrete_laplace(source: Entropy, scale: Fraction) -> int:
    """Draw an integer z with probability proportional to exp(-abs(z) / scale).

    Parameters
    ----------
    source : Entropy
        Random bits.
    scale : Fraction
        Positive scale b = t/s; the variance is close to 2 b**2.

    Returns
    -------
    int
    """
    t, s = scale.numerator, scale.denominator
    while True:
        # X = u + t v has P(X) proportional to exp(-X / t); its quotient by s is the magnitude.
        u = source.below(t)
        if not _bernoulli_exp_unit(source, u, t):
            continue
        v = 0
        while _bernoulli_exp_unit(source, 1, 1):
            v += 1
        magnitude = (u + t * v) // s
        negative = source.bits(1) == 1
        if not (negative and magnitude == 0):  # zero would count twice
            return -magnitude if negative else magnitude


def discrete_gaussian(source: Entropy, variance: Fraction) -> int:
    """Draw an integer z with probability proportional to exp(-z**2 / (2 variance)).

    Parameters
    ----------
    source : Entropy
        Random bits.
    variance : Fraction
        Positive parameter sigma**2; the variance of the draw is at most this.

    Returns
    -------
    int
    """
    t = isqrt(variance.numerator // variance.denominator) + 1
    while True:
        z = discrete_laplace(source, Fraction(t))
        if bernoulli_exp(source, (abs(z) - variance / t) ** 2 / (2 * variance)):
            return z


def uniform_int(source: Entropy, low: int, high: int) -> int:
    """Draw a uniform integer in {low, ..., high}."""
    return low + source.below(high - low + 1)
