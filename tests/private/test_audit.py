"""Audits find what is wrong and accuse nobody else."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import binom

from robuststat import PrivacyAccountant, audit_epsilon, audit_one_run, exact_privacy_loss
from robuststat.private import LayerTable
from robuststat.private._audit import _lower_bound, one_run_bound
from robuststat.private._base import PrivateEstimator
from robuststat.private._entropy import SeededEntropy
from robuststat.private._layers import decay_for, draw_layer
from robuststat.private._noise import discrete_laplace


class GridMedian(PrivateEstimator):
    """Order statistic on {0, ..., top} by layers: the smallest member of the engine's family."""

    top = 40

    def __init__(self, *, epsilon, adjacency="replace", accountant=None, random_state=None):
        self.epsilon = epsilon
        self.adjacency = adjacency
        self.accountant = accountant
        self.random_state = random_state

    def _envelope(self, x):
        x, n = np.sort(np.asarray(x)), len(x)
        padded = np.concatenate([np.zeros(n, int), x, np.full(n, self.top)])
        m, k = n + (n - 1) // 2, np.arange(n + 1)
        return np.append(padded[m - k[:-1]], 0), np.append(padded[m + k[:-1]], self.top)

    def _scores(self, x):
        a, b = self._envelope(x)
        points = np.arange(self.top + 1)
        inside = (a[:, None] <= points) & (points <= b[:, None])
        return inside.argmax(axis=0)

    def _decay(self):
        return decay_for(Fraction(self.epsilon))

    def _layers(self, x):
        weight = self._scores(x) * math.log(self._decay().ratio)
        edges = np.arange(self.top + 2, dtype=float)
        return LayerTable(edges, weight, weight, weight, grid=True)

    def fit(self, X, y=None):
        release = self._prepare(mechanism="layers", kind="exponential")
        with release as source:
            scores = self._scores(X)
            layer = draw_layer(source, np.bincount(scores), self._decay())
            points = np.flatnonzero(scores == layer)
            self.estimate_ = int(points[source.below(points.size)])
        return self


class TwiceTheExponent(GridMedian):
    """The slip of section 6: exp(-epsilon u) where exp(-epsilon u / 2) is right."""

    def _decay(self):
        return decay_for(Fraction(2 * self.epsilon))


class OffByOne(GridMedian):
    """The envelope lags: it opens one rank for every two steps."""

    def _envelope(self, x):
        a, b = super()._envelope(x)
        k = np.append((np.arange(len(a) - 1) + 1) // 2, len(a) - 1)
        return a[k], b[k]


class FourTimesTheExponent(GridMedian):
    top = 3

    def _decay(self):
        return decay_for(Fraction(4 * self.epsilon))


class RangeOfTheData(GridMedian):
    """Bounds from the data."""

    def _layers(self, x):
        edges = np.arange(np.min(x), np.max(x) + 2, dtype=float)
        weight = self._scores(x)[np.min(x) : np.max(x) + 1] * math.log(self._decay().ratio)
        return LayerTable(edges, weight, weight, weight, grid=True)


def neighbours(count, seed=0):
    """Random pairs, and the adversarial ones of section 6: ties, halves, swaps of the ends."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        n = int(rng.integers(1, 12))
        kind = rng.integers(4)
        x = rng.integers(0, 41, size=n)
        if kind == 1:
            x = np.full(n, rng.integers(0, 41))
        elif kind == 2:
            x = np.where(np.arange(n) < n // 2, 0, 40)
        other = x.copy()
        other[rng.integers(n)] = rng.choice([0, 40, int(rng.integers(0, 41))])
        yield x, other


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_exact_loss_of_a_sound_estimator(epsilon):
    est = GridMedian(epsilon=epsilon)
    losses = [exact_privacy_loss(est, S, S2) for S, S2 in neighbours(500)]
    assert all(loss.holds for loss in losses)
    # Tight enough that a slip by a factor of two shows.
    assert max(loss.epsilon for loss in losses) > 0.6 * epsilon


@pytest.mark.parametrize("mutant", [TwiceTheExponent, OffByOne])
def test_exact_loss_finds_mutants(mutant):
    est = mutant(epsilon=1.0)
    losses = [exact_privacy_loss(est, S, S2) for S, S2 in neighbours(300)]
    worst = max(losses, key=lambda loss: loss.epsilon)
    assert not worst.holds
    assert worst.epsilon > 1.2


def test_a_range_from_the_data_is_a_leak_by_itself():
    with pytest.raises(ValueError, match="range of the output depends on the data"):
        exact_privacy_loss(RangeOfTheData(epsilon=1.0), [3, 5, 9], [3, 5, 20])


def test_loss_is_the_ratio_of_frequencies():
    """The table and the draws are one distribution."""
    x = np.array([3, 9, 9, 30, 31])
    est = GridMedian(epsilon=1.0, random_state=SeededEntropy(1))
    table = est._layers(x)
    draws = np.bincount([est.fit(x).estimate_ for _ in range(2_000)], minlength=41) / 2_000
    mass = np.exp(table.log_mass - table.log_total)
    assert np.abs(draws - mass).max() < 6 * math.sqrt(0.25 / 2_000)


class Ramp:
    """Continuous output with a density that is linear in the log, shifted by the data."""

    def __init__(self, epsilon, slope):
        self.epsilon = epsilon
        self.slope = slope

    def _layers(self, x):
        edges = np.array([0.0, 0.5 + 1e-12 * x[0], 1.0])
        left = np.array([0.0, self.slope * x[0]])
        right = np.array([self.slope * x[0], 0.0])
        steps = right - left
        flat = np.abs(steps) < 1e-12
        mass = np.where(flat, 1.0, np.expm1(steps) / np.where(flat, 1.0, steps)) * np.exp(left)
        return [LayerTable(edges, left, right, np.log(mass * np.diff(edges)), grid=False)] * 2


def test_parts_add_up_and_slivers_do_not_count():
    loss = exact_privacy_loss(Ramp(1.0, 0.4), [0.0], [1.0])
    normaliser = math.log(math.expm1(0.4) / 0.4)
    # Twice the larger of log(normaliser) at the ends and 0.4 - log(normaliser) at the top.
    assert loss.epsilon == pytest.approx(2 * max(normaliser, 0.4 - normaliser), rel=1e-6)
    assert loss.holds
    assert len(loss.at) == 2


def test_zero_probability_on_one_side_is_an_infinite_loss():
    class Reveals:
        epsilon = 1.0

        def _layers(self, x):
            weight = np.where(np.arange(3) == x[0], -np.inf, 0.0)
            return LayerTable(np.arange(4.0), weight, weight, weight, grid=True)

    assert exact_privacy_loss(Reveals(), [0], [1]).epsilon == math.inf
    assert exact_privacy_loss(Reveals(), [0], [0]).epsilon == 0.0


def test_exact_loss_needs_layers():
    class Silent:
        epsilon = 1.0

    with pytest.raises(ValueError, match="Silent does not expose the layers"):
        exact_privacy_loss(Silent(), [0], [1])

    class Counts:
        epsilon = 1.0

        def _layers(self, x):
            one = LayerTable(np.arange(2.0), np.zeros(1), np.zeros(1), np.zeros(1), grid=True)
            return [one] * x[0]

    with pytest.raises(ValueError, match="number of parts depends on the data"):
        exact_privacy_loss(Counts(), [1], [2])
    with pytest.raises(ValueError, match="increasing edges"):
        LayerTable(np.zeros(2), np.zeros(1), np.zeros(1), np.zeros(1), grid=True)


def laplace_count(epsilon, seed):
    source = SeededEntropy(seed)
    return lambda x: sum(x) + discrete_laplace(source, 1 / Fraction(epsilon))


def test_draws_tell_twice_the_epsilon():
    found = audit_epsilon(laplace_count(2.0, 1), [0, 1], [1, 1], epsilon=1.0, n_draws=6_000)
    assert found.violated
    assert 1.5 < found.epsilon_lower <= 2.0
    fair = audit_epsilon(laplace_count(1.0, 2), [0, 1], [1, 1], epsilon=1.0, n_draws=6_000)
    assert not fair.violated
    assert 0.7 < fair.epsilon_lower <= 1.0


def test_draws_of_an_estimator_without_its_ledger():
    ledger = PrivacyAccountant(1.0)
    S, S2 = [0] * 3 + [40] * 2, [0] * 2 + [40] * 3
    fair = audit_epsilon(
        GridMedian(epsilon=1.0, accountant=ledger), S, S2, n_draws=1_000, random_state=1
    )
    assert fair.claimed == 1.0
    assert not fair.violated
    assert ledger.history_.empty
    broken = FourTimesTheExponent(epsilon=1.0)
    assert audit_epsilon(broken, [0], [3], n_draws=1_000, random_state=1).violated


def test_delta_is_taken_off():
    """A mechanism that publishes everything with probability 0.2 is (0, 0.2)-private."""
    source = SeededEntropy(3)

    def leaky(x):
        return x[0] if source.below(5) == 0 else 5

    assert audit_epsilon(leaky, [0], [1], epsilon=0.1, n_draws=2_000).violated
    fair = audit_epsilon(leaky, [0], [1], epsilon=0.1, delta=0.25, n_draws=2_000)
    assert fair.epsilon_lower == 0.0


def test_several_outputs_and_exchanged_data_sets():
    source = SeededEntropy(4)

    def two(x):
        return [source.below(3), x[0] + discrete_laplace(source, Fraction(1, 2))]

    found = audit_epsilon(two, [1], [0], n_draws=3_000)
    assert "output 1 in" in found.event
    assert found.epsilon_lower > 1.2
    assert not found.violated  # nothing is claimed


def test_bounds_cover():
    """400 audits of a coin with known probabilities: the bound is above the truth rarely."""
    rng = np.random.default_rng(6)
    first, second = rng.binomial(500, 0.6, size=400), rng.binomial(500, 0.3, size=400)
    wrong = (_lower_bound(first, second, 500, 0.0, 0.95) > math.log(2)).sum()
    assert wrong <= binom.ppf(1 - 1e-6, 400, 0.05)
    ends = _lower_bound(np.array([0, 500]), np.array([500, 0]), 500, 0.0, 0.95)
    assert ends[0] == 0.0
    assert 4 < ends[1] < math.inf


def test_one_run_bound_is_the_binomial_test():
    for right, made in [(60, 80), (75, 80), (41, 80)]:
        epsilon = one_run_bound(right, made, 0.95)
        q = 1 / (1 + math.exp(-epsilon))
        if epsilon > 0:
            assert binom.sf(right - 1, made, q) == pytest.approx(0.05, rel=1e-6)
    assert one_run_bound(0, 10) == 0.0
    assert one_run_bound(40, 80) == 0.0


def test_one_run_audit_of_randomised_response():
    """Each row is flipped with probability 1/(1 + e): epsilon = 1, and no guess does better."""
    source = SeededEntropy(7)

    def response(flip):
        def mechanism(x):
            keep = (source.words(len(x)) / 2.0**64) > flip
            return np.where(keep, x, 1 - x)

        return mechanism

    def guess(output, canaries):
        return output - 0.5

    def audit(epsilon, seed):
        flip = 1 / (1 + math.exp(epsilon))
        return audit_one_run(
            response(flip), np.ones(400), guess, without=0.0, epsilon=1.0, random_state=seed
        )

    accused = sum(audit(1.0, seed).violated for seed in range(100))
    assert accused <= binom.ppf(1 - 1e-6, 100, 0.05)
    assert all(audit(2.0, seed).violated for seed in range(10))


def test_guesses_may_be_withheld_and_rows_may_be_vectors():
    found = audit_one_run(
        lambda x: x[:, 0],
        np.ones((6, 2)),
        lambda output, canaries: np.where(np.arange(6) < 4, output - 0.5, 0.0),
        without=np.zeros(2),
        random_state=1,
    )
    assert found.counts == (4, 4)
    with pytest.raises(ValueError, match=r"one score a canary: shape \(6,\), got \(2,\)"):
        audit_one_run(lambda x: x, np.ones(6), lambda o, c: [1, 1], without=0.0)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_draws": 10}, "n_draws must be at least 100"),
        ({"level": 1.0}, r"level must lie in \(0, 1\)"),
        ({"delta": 1.0}, "delta must be in"),
        ({"random_state": 1}, "a callable has its own"),
    ],
)
def test_impossible_audits(options, match):
    with pytest.raises(ValueError, match=match):
        audit_epsilon(lambda x: 0.0, [0], [1], **options)


def test_outputs_of_one_shape():
    sizes = iter(np.tile([1, 2], 500))
    with pytest.raises(ValueError, match="arrays of one shape"):
        audit_epsilon(lambda x: np.zeros(next(sizes)), [0], [1], n_draws=200)
