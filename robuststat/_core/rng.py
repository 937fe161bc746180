"""Generators from a user's ``random_state``, seeds for parallel workers, resampling draws."""

from __future__ import annotations

from numbers import Integral
from typing import Literal, TypeAlias

import numpy as np

from robuststat._core.errors import ParameterError
from robuststat._core.types import Array, IntArray

__all__ = [
    "Multiplier",
    "RandomState",
    "Resampling",
    "check_rng",
    "draw_permutation",
    "draw_resampling_weights",
    "spawn_seeds",
]

RandomState: TypeAlias = (
    int | np.random.SeedSequence | np.random.Generator | np.random.RandomState | None
)
Multiplier: TypeAlias = Literal["exponential", "rademacher", "mammen", "normal"]
Resampling: TypeAlias = Literal["counts", "exponential", "rademacher", "mammen", "normal"]


def check_rng(random_state: RandomState) -> np.random.Generator:
    """Return the generator that a user's ``random_state`` stands for.

    Parameters
    ----------
    random_state : int, SeedSequence, Generator, RandomState or None
        An int or SeedSequence gives the same generator every time. A Generator is returned as it
        is, so that using it advances it. A legacy RandomState is advanced by one draw, which
        seeds the new generator. None takes entropy from the operating system.

    Returns
    -------
    numpy.random.Generator

    Raises
    ------
    ParameterError
        If ``random_state`` is something else, or a negative integer.
    """
    if isinstance(random_state, np.random.Generator):
        return random_state
    return np.random.default_rng(_seed_sequence(random_state))


def spawn_seeds(
    random_state: RandomState, shape: int | tuple[int, ...], *, bits: Literal[32, 64] = 64
) -> IntArray:
    """Integer seeds, one per task, so that results do not depend on how tasks are shared out.

    Parameters
    ----------
    random_state : int, SeedSequence, Generator, RandomState or None
        An int or SeedSequence gives the same seeds every time, and asking for more of them keeps
        the first ones. A Generator or RandomState is advanced: a second call gives new seeds.
    shape : int or tuple of int
        Shape of the answer, for instance (n_rep, n_folds).
    bits : {64, 32}, default 64
        64 gives seeds below 2**63 for :func:`check_rng`; 32 gives seeds below 2**32, the largest
        that the ``random_state`` of scikit-learn accepts.

    Returns
    -------
    ndarray of the given shape
        Non-negative int64 seeds.

    Raises
    ------
    ParameterError
        If ``random_state`` or ``bits`` is not one of the values above.
    """
    if bits not in (32, 64):
        raise ParameterError(f"bits must be 32 or 64, got {bits!r}. Use 32 for scikit-learn.")
    if isinstance(random_state, np.random.Generator):
        return random_state.integers(0, 2 ** min(bits, 63), size=shape, dtype=np.int64)
    size = int(np.prod(shape, dtype=np.int64))
    source = _seed_sequence(random_state)
    if bits == 32:
        return source.generate_state(size, np.uint32).astype(np.int64).reshape(shape)
    # One bit is given up so that the seeds fit int64, the integer type of the package.
    return (source.generate_state(size, np.uint64) >> np.uint64(1)).astype(np.int64).reshape(shape)


def _seed_sequence(
    random_state: int | np.random.SeedSequence | np.random.RandomState | None,
) -> np.random.SeedSequence:
    """Entropy behind every kind of ``random_state`` but a Generator."""
    if isinstance(random_state, np.random.SeedSequence):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        words = random_state.randint(0, 2**32, size=4, dtype=np.uint32)
        return np.random.SeedSequence([int(word) for word in words])
    # bool is an Integral, but True as a seed is nearly always a slip.
    if random_state is not None and (
        isinstance(random_state, bool) or not isinstance(random_state, Integral)
    ):
        raise ParameterError(
            f"random_state must be None, an int, a SeedSequence, a Generator or a RandomState, "
            f"got {random_state!r} of type {type(random_state).__name__}. Pass an int for "
            f"reproducible results."
        )
    if random_state is not None and random_state < 0:
        raise ParameterError(
            f"random_state must be a non-negative integer, got {random_state}. Use 0 or more."
        )
    return np.random.SeedSequence(None if random_state is None else int(random_state))


def draw_resampling_weights(rng: np.random.Generator, n: int, distribution: Resampling) -> Array:
    """Draw n weights of mean one: how often, or how much, each unit counts in a replicate.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness; advanced.
    n : int
        Number of units.
    distribution : {"counts", "exponential", "rademacher", "mammen", "normal"}
        "counts" draws n units with replacement. The others are independent with variance one:
        exponential; 0 or 2 with equal probability; Mammen's two points, with third central moment
        one; normal, which can be negative.
    """
    if distribution == "counts":
        return np.bincount(rng.integers(0, n, size=n), minlength=n).astype(np.float64)
    if distribution == "exponential":
        return rng.standard_exponential(n)
    if distribution == "rademacher":
        return np.multiply(2.0, rng.integers(0, 2, size=n), dtype=np.float64)
    if distribution == "mammen":
        # Values 1 + (1 +- sqrt 5)/2, the lower one with probability (sqrt 5 + 1)/(2 sqrt 5).
        root = np.sqrt(5.0)
        low = rng.random(n) < (root + 1.0) / (2.0 * root)
        return np.asarray(np.where(low, (3.0 - root) / 2.0, (3.0 + root) / 2.0))
    return 1.0 + rng.standard_normal(n)


def draw_permutation(rng: np.random.Generator, strata: IntArray) -> IntArray:
    """Draw a permutation of the rows that moves rows only within their stratum."""
    shuffled = np.lexsort((rng.random(len(strata)), strata))
    permutation = np.empty_like(shuffled)
    permutation[np.argsort(strata, kind="stable")] = shuffled
    return permutation
