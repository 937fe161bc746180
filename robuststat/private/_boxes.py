"""The exponential mechanism over nested boxes: several coordinates, one score, one epsilon.

Each coordinate has a nested envelope I_0, I_1, ...; box k is the product of the I_k. A replaced
record moves every envelope by at most one step, so that box k of one data set lies in box k + 1 of
its neighbour, and the score ``min{k: t in box k}`` moves by at most one: the whole of epsilon
serves all coordinates together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import prod

from robuststat.private._engine import make_decay
from robuststat.private._entropy import Entropy
from robuststat.private._layers import draw_layer

Interval = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Boxes:
    """Nested boxes of whole numbers.

    Attributes
    ----------
    sides : list of list of (int, int)
        ``sides[k][j]``: closed interval of coordinate j in box k; growing in k, and the last box
        is the support.
    """

    sides: list[list[Interval]]

    def volumes(self) -> list[int]:
        """Points of every layer: box k without box k - 1."""
        whole = [prod(b - a + 1 for a, b in box) for box in self.sides]
        return [whole[0], *(v - u for u, v in pairwise(whole))]

    def score(self, t: Sequence[int]) -> int:
        """Score of a point of the support."""
        return next(
            k
            for k, box in enumerate(self.sides)
            if all(a <= v <= b for v, (a, b) in zip(t, box, strict=True))
        )

    def point(self, k: int, source: Entropy) -> list[int]:
        """Uniform point of layer k.

        The layer falls into parts by the first coordinate that is outside of box k - 1: those
        before it are inside of their smaller interval, those after it anywhere in the larger one.
        """
        outer = self.sides[k]
        if k == 0:
            return [_inside(source, side) for side in outer]
        inner = self.sides[k - 1]
        sizes = [b - a + 1 for a, b in outer]
        smaller = [b - a + 1 for a, b in inner]
        parts = [
            prod(smaller[:j]) * (sizes[j] - smaller[j]) * prod(sizes[j + 1 :])
            for j in range(len(outer))
        ]
        u, first = source.below(sum(parts)), 0
        while u >= parts[first]:
            u -= parts[first]
            first += 1
        return [
            _inside(source, inner[j])
            if j < first
            else _between(source, inner[j], outer[j])
            if j == first
            else _inside(source, outer[j])
            for j in range(len(outer))
        ]


def _inside(source: Entropy, side: Interval) -> int:
    return side[0] + source.below(side[1] - side[0] + 1)


def _between(source: Entropy, inner: Interval, outer: Interval) -> int:
    """Uniform point of the larger interval that is not in the smaller one."""
    left = inner[0] - outer[0]
    u = source.below(left + outer[1] - inner[1])
    return outer[0] + u if u < left else inner[1] + 1 + u - left


def make_boxes(sides: Sequence[Sequence[Interval]], support: Sequence[Interval]) -> Boxes:
    """Boxes from the envelopes of the coordinates, cut to the support.

    Parameters
    ----------
    sides : sequence over k of sequence over j of (int, int)
        Nested intervals.
    support : sequence of (int, int)
        Public range of every coordinate; becomes the last box.

    Returns
    -------
    Boxes
    """
    cut = [
        [(max(a, first), min(b, last)) for (a, b), (first, last) in zip(box, support, strict=True)]
        for box in sides
    ]
    return Boxes([*cut[:-1], list(support)])


def release_point(source: Entropy, boxes: Boxes, epsilon: Fraction) -> list[int]:
    """Draw a point with probability proportional to exp(-epsilon score / 2): the release.

    Parameters
    ----------
    source : Entropy
        Random bits; the charge is booked.
    boxes : Boxes
        Distribution.
    epsilon : Fraction
        Privacy of the draw.

    Returns
    -------
    list of int
    """
    layer = draw_layer(source, boxes.volumes(), make_decay(epsilon, 1))
    return boxes.point(layer, source)
