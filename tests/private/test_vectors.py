"""Integer rows: what one of them can move, the noise made for it, and boxes of several numbers."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from robuststat.private import _vectors as vectors
from robuststat.private._boxes import make_boxes, release_point
from robuststat.private._entropy import SeededEntropy
from robuststat.private._envelopes import l_envelope, median_weights
from robuststat.private._ranks import SortedRanks

LEVELS = 64
ROWS = st.lists(
    st.lists(st.floats(allow_nan=True, allow_infinity=True, width=64), min_size=3, max_size=3),
    min_size=1,
    max_size=6,
)


def norm2(steps):
    return sum(int(v) ** 2 for v in np.ravel(steps))


# ------------------------------------------------------------------------------- clipped rows


@settings(max_examples=200, deadline=None)
@given(rows=ROWS, radius=st.floats(1e-3, 1e3))
def test_clipped_rows_are_in_the_ball_exactly(rows, radius):
    steps = vectors.clip_rows(np.array(rows), radius, LEVELS)
    assert all(norm2(row) <= LEVELS**2 for row in steps)


def test_rows_inside_are_kept_and_rows_outside_are_shortened():
    rows = np.array([[0.3, 0.4, 0.0], [3.0, 4.0, 0.0], [1e300, 1e300, 0.0], [np.inf, 0, 0]])
    steps = vectors.clip_rows(rows, 1.0, 1 << 20) / (1 << 20)
    assert np.allclose(steps[0], [0.3, 0.4, 0], atol=1e-6)
    assert np.allclose(steps[1], [0.6, 0.8, 0], atol=1e-5)
    assert np.allclose(steps[2], [0.5**0.5, 0.5**0.5, 0], atol=1e-5)
    assert (steps[3] == 0).all()


def sum_loss(clip, rho=Fraction(1, 2)):
    """Worst zCDP of a noisy sum over random and extreme neighbours, with a given clipping."""
    rng, worst = np.random.default_rng(1), Fraction(0)
    for i in range(200):
        rows = rng.normal(size=(2, 3)) * 10.0 ** rng.integers(-1, 4)
        if i % 2:
            rows[1] = -rows[0]
        a, b = clip(rows, 1.0, LEVELS)
        worst = max(worst, Fraction(norm2(a - b)) / (2 * vectors.sum_variance(LEVELS, rho)))
    return worst


def test_noise_of_a_sum_is_made_for_the_worst_pair():
    """Rho is kept by all pairs, and nearly attained by opposite rows."""
    worst = sum_loss(vectors.clip_rows)
    assert Fraction(1, 2) * Fraction(9, 10) < worst <= Fraction(1, 2)


def test_mutants_of_the_sum_are_found(monkeypatch):
    def no_clipping(rows, radius, levels):
        return np.rint(rows / radius * levels).astype(np.int64)

    assert sum_loss(no_clipping) > Fraction(1, 2)
    kept = vectors.sum_variance
    monkeypatch.setattr(vectors, "sum_variance", lambda levels, rho: kept(levels, rho) / 4)
    assert sum_loss(vectors.clip_rows) > Fraction(1, 2)


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(st.lists(st.floats(-9, 9), min_size=3, max_size=3), min_size=2, max_size=2))
def test_gram_moves_by_the_bound_at_most(rows):
    """Upper triangle of xx' - yy': at most sqrt(2) levels**2."""
    a, b = vectors.clip_rows(np.array(rows), 1.0, LEVELS)
    upper = np.triu_indices(3)
    change = (np.outer(a, a) - np.outer(b, b))[upper]
    rho = Fraction(1, 3)
    assert Fraction(norm2(change)) / (2 * vectors.gram_variance(LEVELS, rho)) <= rho


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(
        st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.3, 1.0]), min_size=3, max_size=3),
        min_size=2,
        max_size=2,
    )
)
def test_moments_move_by_the_bounds_at_most(rows):
    change = moment_change(np.array(rows))
    q = 3
    assert sum(abs(int(v)) for v in change) <= vectors.moment_sensitivity(q, LEVELS)
    assert norm2(change) <= vectors.moment_sensitivity_squared(q, LEVELS)


def moment_change(rows):
    q = rows.shape[1]
    steps = vectors.clip_box(rows, -np.ones(q), np.ones(q), LEVELS)
    full = np.column_stack([np.full(2, LEVELS), steps])
    change = np.outer(full[0], full[0]) - np.outer(full[1], full[1])
    return change[np.triu_indices(q + 1)]


@pytest.mark.parametrize("q", [1, 2, 3])
def test_moment_bounds_are_not_wasteful(q):
    """Some corner of the box comes within a third of the squared Euclidean bound."""
    corners = list(itertools.product([-1.0, -0.5, 0.0, 1.0], repeat=q))
    worst = max(norm2(moment_change(np.array(pair))) for pair in itertools.combinations(corners, 2))
    bound = vectors.moment_sensitivity_squared(q, LEVELS)
    assert bound * Fraction(2, 3) < worst <= bound


def test_box_clipping_handles_what_is_no_number():
    rows = np.array([[np.nan, np.inf, -np.inf, 0.5]])
    steps = vectors.clip_box(rows, np.zeros(4), np.full(4, 2.0), 100)
    assert steps.tolist() == [[0, 100, -100, -50]]


def test_noise_has_the_size_that_is_reported():
    source, rho = SeededEntropy(3), Fraction(1, 2)
    zero = np.zeros((1, 2), dtype=np.int64)
    sums = np.array([vectors.noisy_sum(source, zero, LEVELS, rho) for _ in range(600)])
    grams = np.array([vectors.noisy_gram(source, zero, LEVELS, rho) for _ in range(600)])
    assert (grams == grams.transpose(0, 2, 1)).all()
    checks = [(sums.ravel(), vectors.sum_variance(LEVELS, rho))]
    checks.append((grams[:, [0, 0, 1], [0, 1, 1]].ravel(), vectors.gram_variance(LEVELS, rho)))
    for eps, scale in ((Fraction(1), None), (Fraction(1), Fraction(1, 2))):
        drawn = [
            vectors.noisy_moments(source, zero, LEVELS, epsilon=eps, rho=scale) for _ in range(600)
        ]
        values = np.array([m[[0, 0, 1, 1], [1, 2, 1, 2]] for m, _ in drawn]).ravel()
        checks.append((values, drawn[0][1] ** 2))
        assert all(m[0, 0] == 1 for m, _ in drawn)
    for values, variance in checks:
        # Kurtosis 6 at most (Laplace): standard error of the variance over N draws.
        bound = 5 * math.sqrt(5 / values.size)
        assert abs(values.var() / float(variance) - 1) < bound


# --------------------------------------------------------------------------------- boxes


def boxes_of(models, last, margin=1, slow=1):
    """Boxes around the medians of small integer models; ``slow=2`` is a mutant."""
    m, sides = len(models), []
    for column in np.transpose(models):
        ranks = SortedRanks.from_sorted(np.sort(column), 0, last)
        env = l_envelope(ranks, median_weights(m), m)
        low, high = (np.asarray(end)[np.arange(m + 1) // slow] for end in (env.low, env.high))
        sides.append([(int(a) - margin, int(b) + margin) for a, b in zip(low, high, strict=True)])
    support = [(-margin, last + margin)] * len(sides)
    return make_boxes(list(zip(*sides, strict=True)), support)


def log_law(boxes, epsilon):
    axes = [range(a, b + 1) for a, b in boxes.sides[-1]]
    scores = np.array([boxes.score(t) for t in itertools.product(*axes)])
    weight = -epsilon * scores / 2
    return weight - np.log(np.exp(weight).sum()), scores


MODELS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=6)


def box_loss(models, other, epsilon, slow=1):
    first, second = (log_law(boxes_of(m, 5, slow=slow), epsilon)[0] for m in (models, other))
    return float(np.abs(first - second).max())


@settings(max_examples=60, deadline=None)
@given(models=MODELS, new=st.tuples(st.integers(0, 5), st.integers(0, 5)), at=st.integers(0, 5))
def test_box_release_keeps_epsilon(models, new, at):
    """One model replaced: exact log ratio over every output, epsilon for both coordinates."""
    other = list(models)
    other[at % len(models)] = new
    assert box_loss(models, other, 2.0) <= 2.0 * (1 + 1e-9)


def test_boxes_that_grow_too_slowly_are_found():
    """A mutant whose intervals need two steps a rank has scores that move by two."""
    pairs = [([(0, 0)] * 3 + [(5, 5)] * 2, [(0, 0)] * 2 + [(5, 5)] * 3)]
    rng = np.random.default_rng(0)
    for _ in range(40):
        first = [tuple(v) for v in rng.integers(0, 6, size=(5, 2))]
        pairs.append((first, [(0, 5), *first[1:]]))
    worst = {slow: max(box_loss(a, b, 2.0, slow) for a, b in pairs) for slow in (1, 2)}
    assert 1.0 < worst[1] <= 2.0 * (1 + 1e-9)
    assert worst[2] > 2.0


def test_box_volumes_and_draws():
    """Layer volumes are those of counted points; draws follow the exact law."""
    boxes = boxes_of([(1, 4), (2, 2), (3, 3), (2, 5), (0, 1)], 5)
    law, scores = log_law(boxes, 1.0)
    counted = np.bincount(scores, minlength=len(boxes.sides))
    assert boxes.volumes() == counted.tolist()
    axes = [range(a, b + 1) for a, b in boxes.sides[-1]]
    place = {t: i for i, t in enumerate(itertools.product(*axes))}
    source, size = SeededEntropy(5), 4000
    drawn = np.zeros(len(place))
    for _ in range(size):
        drawn[place[tuple(release_point(source, boxes, Fraction(1)))]] += 1
    assert stats.chisquare(drawn, size * np.exp(law)).pvalue > 1e-4
