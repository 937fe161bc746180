"""The exponential mechanism over a nested envelope, on a grid and in exact integer arithmetic.

Steps of every release: an envelope of integers (:mod:`._envelopes`), its layers of equal score
(:func:`make_layers`), and one draw (:func:`release_index`). The output has probability
proportional to weight(t) * exp(-epsilon * u(t) / 2), where u changes by at most one between
neighbours: epsilon-private for any public weights.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from robuststat.private._entropy import Entropy
from robuststat.private._envelopes import Envelope, ScoreKind
from robuststat.private._layers import SHIFT, Decay, decay_for, draw_layer
from robuststat.private._loss import LayerTable
from robuststat.private._measure import Measure, Uniform
from robuststat.private._noise import bernoulli

RAMP_STEPS = 16  # parts of a layer on which the score of kind="ramp" is constant in grid mode
_REST_LOG = 30.0  # layers beyond the last one that is computed have mass below exp(-30)


@dataclass(frozen=True, slots=True)
class Layers:
    """Distribution of an output: nested intervals with growing scores.

    Layer i holds the points of [lows[i], highs[i]] that are in no earlier layer; points of
    [first, last] in no layer at all have scores above the last one.

    Attributes
    ----------
    lows, highs : list of int
        Ends, lows falling and highs growing.
    scores : list of int
        Strictly increasing, in units of ``1 / unit``.
    unit : int
        Steps of the score that one record can move.
    first, last : int
        Support.
    measure : Measure
        Public weights.
    kind : {"exact", "relaxed"}
        Of the score.
    """

    lows: list[int]
    highs: list[int]
    scores: list[int]
    unit: int
    first: int
    last: int
    measure: Measure
    kind: ScoreKind

    @property
    def complete(self) -> bool:
        """Whether every point of the support is in a layer."""
        return self.lows[-1] <= self.first and self.highs[-1] >= self.last

    def weight(self, low: int, high: int) -> int:
        """Weight of the points low..high."""
        return self.measure.below(high + 1) - self.measure.below(low) if high >= low else 0

    def counts(self) -> list[int]:
        """Weight of every layer, and of the rest of the support at the end."""
        inside = [self.weight(a, b) for a, b in zip(self.lows, self.highs, strict=True)]
        ends = [0, *inside, self.weight(self.first, self.last)]
        return [b - a for a, b in pairwise(ends)]

    def all_scores(self) -> list[int]:
        """Scores of the layers, and the smallest possible score of the rest."""
        return [*self.scores, self.scores[-1] + 1]

    def score(self, t: int) -> int:
        """Score of one point, which must be in a layer."""
        i = bisect_left(range(len(self.lows)), True, key=lambda i: self._holds(i, t))
        return self.scores[i]

    def _holds(self, i: int, t: int) -> bool:
        return self.lows[i] <= t <= self.highs[i]

    def holds(self, t: int) -> bool:
        """Whether a point is in some layer."""
        return self._holds(-1, t)

    def pieces(self, i: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Left and right part of layer i (of the rest for i = number of layers), as closed ends."""
        outside = i == len(self.lows)
        low, high = (self.first, self.last) if outside else (self.lows[i], self.highs[i])
        if i == 0:
            return (low, high), (high + 1, high)
        return (low, self.lows[i - 1] - 1), (self.highs[i - 1] + 1, high)

    def point(self, i: int, source: Entropy) -> int:
        """Point of layer i with probability proportional to its weight."""
        (a, b), (c, d) = self.pieces(i)
        left = self.weight(a, b)
        u = source.below(left + self.weight(c, d))
        start = self.measure.below(a) + u if u < left else self.measure.below(c) + u - left
        return self.measure.locate(start)


def make_layers(
    envelope: Envelope,
    *,
    first: int,
    last: int,
    margin: int = 0,
    measure: Measure | None = None,
    steps: int = 1,
    whole: bool = False,
) -> Layers:
    """Layers of the score ``min{k: t in [low_k - margin, high_k + margin]}``.

    Parameters
    ----------
    envelope : Envelope
        Integers.
    first, last : int
        Support of the output.
    margin : int
        Half-width in grid steps of the ball of score 0: rho.
    measure : Measure, optional
        Public weights; uniform by default.
    steps : int
        1 for a score that is constant in every layer. With more, the score grows linearly through
        a layer ("ramp"), rounded up to multiples of 1/steps; it still moves by at most one.
    whole : bool
        Whether the last interval is the whole support: with all records replaced, anything goes.

    Returns
    -------
    Layers
    """
    low, high = (np.asarray(end).tolist() for end in (envelope.low, envelope.high))
    if steps > 1:
        low, high = _ramp(low, -1, steps), _ramp(high, 1, steps)
    lows = [max(v - margin, first) for v in low]
    highs = [min(v + margin, last) for v in high]
    if whole:
        lows[-1], highs[-1] = first, last
    scores = list(range(len(lows)))
    # Layers that add no point only cost time.
    keep = [0] + [i for i in scores[1:] if lows[i] < lows[i - 1] or highs[i] > highs[i - 1]]
    if not whole and keep[-1] != scores[-1]:
        keep.append(scores[-1])  # the rest has scores above the last layer that was computed
    return Layers(
        [lows[i] for i in keep],
        [highs[i] for i in keep],
        keep,
        steps,
        first,
        last,
        measure or Uniform(),
        envelope.kind,
    )


def _ramp(ends: list[int], sign: int, steps: int) -> list[int]:
    """Interpolate ends at scores 0, 1/steps, 2/steps, ... and round them outward."""
    found = [ends[0]]
    for a, b in pairwise(ends):
        found += [a + sign * -(-abs(b - a) * i // steps) for i in range(1, steps + 1)]
    return found


def make_decay(epsilon: Fraction, unit: int) -> Decay:
    """Factor by which ``1 / unit`` of a score step lowers the weight, not below its exact value."""
    return decay_for(epsilon / unit, SHIFT + unit.bit_length() - 1)


def layers_needed(epsilon: Fraction, total: int, core: int) -> int:
    """Count the layers after which the rest of the support has mass below exp(-30).

    Parameters
    ----------
    epsilon : Fraction
        Of the release.
    total, core : int
        Weight of the support and smallest weight of the layer with score 0.

    Returns
    -------
    int
    """
    return math.ceil(2 / float(epsilon) * (math.log(total) - math.log(core) + _REST_LOG))


def release_index(
    source: Entropy,
    layers: Layers,
    epsilon: Fraction,
    deepen: Callable[[int], Layers] | None = None,
) -> int:
    """Draw one grid index: the release.

    Points in no layer are drawn with the weight that they would have at the smallest possible
    score, and accepted with the ratio to the weight at their own; on refusal everything starts
    again. So stopping early changes no probability.

    Parameters
    ----------
    source : Entropy
        Random bits; the charge is booked.
    layers : Layers
        Distribution.
    epsilon : Fraction
        Privacy of this draw.
    deepen : callable, optional
        Returns the layers up to a given score (in whole steps); needed when ``layers`` are not
        complete.

    Returns
    -------
    int
        Index in layers.first .. layers.last.
    """
    decay = make_decay(epsilon, layers.unit)
    counts, scores = layers.counts(), layers.all_scores()
    while True:
        i = draw_layer(source, counts, decay, scores)
        t = layers.point(i, source)
        if i < len(layers.lows):
            return t
        assert deepen is not None
        deeper = layers
        while not deeper.holds(t):
            deeper = deepen(2 * (deeper.scores[-1] // layers.unit + 1))
        # Factor by factor: most refusals come early.
        if all(bernoulli(source, decay.ratio) for _ in range(deeper.score(t) - scores[-1])):
            return t


def layer_table(layers: Layers, epsilon: float) -> LayerTable:
    """Distribution of the release as pieces of constant weight, for exact audits.

    Parameters
    ----------
    layers : Layers
        Complete layers.
    epsilon : float
        Privacy of the draw.

    Returns
    -------
    LayerTable
        Positions are grid indices.
    """
    assert layers.complete
    left: list[tuple[int, int, float, float]] = []
    right: list[tuple[int, int, float, float]] = []
    for i, score in enumerate(layers.scores):
        height = -epsilon * score / (2 * layers.unit)
        for side, (a, b) in zip((left, right), layers.pieces(i), strict=True):
            if a <= b:
                side.append((a, b + 1, height, height + math.log(layers.weight(a, b))))
    pieces = [*left[::-1], *right]
    edges = np.array([pieces[0][0], *(piece[1] for piece in pieces)], dtype=np.float64)
    heights = np.array([piece[2] for piece in pieces])
    mass = np.array([piece[3] for piece in pieces])
    return LayerTable(edges, heights, heights, mass, grid=True)


def cover_score(layers_of: Callable[[int], Layers], k: int) -> Layers:
    """Complete layers, found by doubling the number of layers."""
    layers = layers_of(k)
    while not layers.complete:
        k *= 2
        layers = layers_of(k)
    return layers
