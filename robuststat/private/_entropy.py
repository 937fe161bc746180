"""Where the randomness of a release comes from: the operating system, or a seed for tests.

Noise protects people only while nobody can predict it. A release therefore never draws from a
numerical generator; with a seed the same code runs on a reproducible source and says so.
"""

from __future__ import annotations

import os
import random
import secrets
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robuststat._core.errors import ParameterError, PrivacyWarning, warn
from robuststat._core.rng import RandomState, check_rng

SECURE_WORDS = "noise: operating system (cryptographic)"
SEEDED_WORDS = "noise: TEST SEED, NOT PRIVATE"


class Entropy(ABC):
    """Source of uniform random bits; everything else is built from them in integers.

    Attributes
    ----------
    secure : bool
        Whether nobody can predict the bits.
    """

    secure: bool

    @abstractmethod
    def bits(self, k: int) -> int:
        """Uniform integer of ``k`` bits, k >= 0."""

    @abstractmethod
    def _bytes(self, count: int) -> bytes: ...

    def below(self, n: int) -> int:
        """Uniform integer in {0, ..., n - 1}, exactly (bits that do not fit are drawn again)."""
        if n < 1:
            raise ParameterError(f"A uniform integer needs at least one value, got n={n}.")
        k = (n - 1).bit_length()
        while (value := self.bits(k)) >= n:
            pass
        return value

    def words(self, size: int) -> NDArray[np.uint64]:
        """Array of ``size`` independent uniform 64-bit integers."""
        return np.frombuffer(self._bytes(8 * size), dtype="<u8").astype(np.uint64)

    def permutation(self, n: int) -> NDArray[np.int64]:
        """Order of n rows that does not depend on them, by sorting 64-bit keys.

        The chance of equal keys, which leave two rows in place, is below ``n**2 / 2**65``.
        """
        return np.argsort(self.words(n), kind="stable").astype(np.int64)

    @property
    def words_for_summary(self) -> str:
        """Line of a summary that says where the noise came from."""
        return SECURE_WORDS if self.secure else SEEDED_WORDS


class SystemEntropy(Entropy):
    """The operating system's generator.

    Bits are not kept in a buffer: after a fork two processes would hand out the same ones.
    """

    secure = True

    def bits(self, k: int) -> int:
        """Uniform integer of ``k`` bits."""
        return secrets.randbits(k) if k else 0

    def _bytes(self, count: int) -> bytes:
        return os.urandom(count)


class SeededEntropy(Entropy):
    """Reproducible bits for tests and simulations; what is drawn from them is not private."""

    secure = False

    def __init__(self, random_state: RandomState) -> None:
        seed = int.from_bytes(check_rng(random_state).bytes(32), "little")
        self._random = random.Random(seed)

    def bits(self, k: int) -> int:
        """Uniform integer of ``k`` bits."""
        return self._random.getrandbits(k) if k else 0

    def _bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)


def make_entropy(random_state: Any, owner: str) -> Entropy:
    """Return the source that a user's ``random_state`` stands for.

    Parameters
    ----------
    random_state : int, SeedSequence, Generator, RandomState, Entropy or None
        None is the operating system. A source is handed on as it is, so that parts of one release
        share it. Everything else is a seed: reproducible, and not private.
    owner : str
        Name put in the warning.

    Returns
    -------
    Entropy

    Warns
    -----
    PrivacyWarning
        When a seed was given.
    """
    if isinstance(random_state, Entropy):
        return random_state
    if random_state is None:
        return SystemEntropy()
    source = SeededEntropy(random_state)
    warn(
        f"{owner}: random_state={random_state!r} makes the noise predictable, so the result is NOT "
        "private. Use random_state=None for a release.",
        PrivacyWarning,
    )
    return source
