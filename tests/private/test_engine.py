"""Layers and draws on the grid: exact probabilities, early stopping, chunks, public laws."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from robuststat import exact_privacy_loss
from robuststat.private import _counting as counting
from robuststat.private import _engine as engine
from robuststat.private._counting import GridSample, read_sample
from robuststat.private._draws import count_layers, release, statistic_layers
from robuststat.private._engine import layer_table, make_layers, release_index
from robuststat.private._entropy import SeededEntropy
from robuststat.private._envelopes import Envelope, median_weights, order_weights
from robuststat.private._feasibility import location_statistic, scale_statistic
from robuststat.private._grid import Grid, make_grid
from robuststat.private._measure import Knots, Uniform, cauchy_measure
from robuststat.private._quantile_score import quantile_fraction, quantile_layers, score_unit
from robuststat.private._ranks import CountedRanks, SortedRanks
from robuststat.private._statistics import LStatistic

# A chi-squared test of a right draw fails with this probability; the seed is fixed.
P_VALUE = 1e-4


def sample_of(x, step=0.5, rho=0, lo=0.0, hi=10.0):
    grid = make_grid(lo, hi, rho=rho, step=step, owner="test")
    return GridSample([np.asarray(x, dtype=float)], grid)


def probabilities(layers, epsilon):
    """Probability of every grid point, in doubles."""
    points = np.arange(layers.first, layers.last + 1)
    score = np.array([layers.score(int(t)) for t in points]) / layers.unit
    weight = np.array([layers.weight(int(t), int(t)) for t in points], dtype=float)
    mass = weight / weight.max() * np.exp(-epsilon * score / 2)
    return mass / mass.sum()


def test_stored_grid_counts(reference):
    """Rounded data, points a layer, and probabilities of the grid median."""
    cases = json.loads((reference / "dp_robust" / "grid_median.json").read_text())
    for case in cases:
        sample = sample_of(case["x"], case["grid"], lo=case["lo"], hi=case["hi"])
        assert sample.all_ranks().all_values.tolist() == case["x_int"]
        layers = statistic_layers(sample, LStatistic(order_weights(case["order_stat"])))(sample.n)
        counts = [0] * (sample.n + 1)
        for score, count in zip(layers.scores, layers.counts(), strict=False):
            counts[score] = count
        assert counts == case["layer_counts"]
        weight = np.array(counts) * np.exp(-case["eps"] / 2 * np.arange(sample.n + 1))
        np.testing.assert_allclose(weight / weight.sum(), case["layer_prob"], atol=1e-9)
        table = layer_table(layers, case["eps"])
        assert math.exp(table.log_total) == pytest.approx(weight.sum(), rel=1e-12)


def test_opendp_candidates(reference):
    """The add/remove score of the median is OpenDP's: exp(-abs(L - G) / (2 scale))."""
    cases = json.loads((reference / "dp_robust" / "opendp_candidate_frequencies.json").read_text())
    for case in cases:
        sample = sample_of(case["x"], 2.0**-12)
        layers = count_layers(sample, Fraction(1, 2))(sample.n)
        score = np.array([layers.score(int(c * 2**12)) for c in case["candidates"]])
        weight = np.exp(-score / (2 * case["scale"]))
        np.testing.assert_allclose(weight / weight.sum(), case["closed_form"], atol=1e-9)
        spread = np.sqrt(weight / weight.sum() / case["draws"])
        assert (np.abs(case["freq"] - weight / weight.sum()) < 5 * spread + 1e-4).all()


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("measure", [Uniform(), cauchy_measure(-1, 21, 8, 4)])
def test_draws_follow_the_layers(steps, measure):
    """2,500 draws against the exact probability of every point."""
    sample = sample_of([1, 3, 3.5, 4, 7, 9, 9], rho=0.5)
    statistic = location_statistic("trimmed", 7, trim=0.2)
    layers = statistic_layers(sample, statistic, steps=steps, measure=measure)(7)
    source = SeededEntropy(1)
    draws = [release_index(source, layers, Fraction(2)) for _ in range(2500)]
    seen = np.bincount(np.array(draws) - layers.first, minlength=layers.last - layers.first + 1)
    assert chisquare(seen, probabilities(layers, 2.0) * 2500).pvalue > P_VALUE


@pytest.mark.parametrize("k", [0, 2])
def test_stopping_early_changes_no_probability(k):
    """With the list cut after k layers the rest cell is hit often, and the law stays the same."""
    sample = sample_of([1, 3, 3.5, 4, 7, 9, 9], rho=0.5)
    layers_of = statistic_layers(sample, LStatistic(median_weights(7)))
    assert not layers_of(k).complete
    source, epsilon = SeededEntropy(2), Fraction(1, 2)
    draws = [release_index(source, layers_of(k), epsilon, layers_of) for _ in range(2500)]
    full = layers_of(7)
    seen = np.bincount(np.array(draws) - full.first, minlength=full.last - full.first + 1)
    assert chisquare(seen, probabilities(full, 0.5) * 2500).pvalue > P_VALUE


def test_forgetting_to_accept_is_noticed(monkeypatch):
    """The test above is not empty: without the acceptance step the law is another one."""
    sample = sample_of([1, 3, 3.5, 4, 7, 9, 9], rho=0.5)
    layers_of = statistic_layers(sample, LStatistic(median_weights(7)))
    monkeypatch.setattr(engine, "bernoulli", lambda *_: True)
    source = SeededEntropy(2)
    draws = [release_index(source, layers_of(0), Fraction(1), layers_of) for _ in range(2500)]
    full = layers_of(7)
    seen = np.bincount(np.array(draws) - full.first, minlength=full.last - full.first + 1)
    assert chisquare(seen, probabilities(full, 1.0) * 2500).pvalue < P_VALUE


def test_ramp_is_nested_in_sixteenths():
    """Neighbours differ by at most one whole step of the refined score, everywhere."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        x = rng.integers(0, 21, 6) / 2
        other = x.copy()
        other[rng.integers(6)] = rng.integers(0, 21) / 2
        both = []
        for data in (x, other):
            sample = sample_of(data)
            layers = statistic_layers(sample, location_statistic("mean", 6), steps=16)(6)
            both.append([layers.score(t) for t in range(21)])
        assert np.abs(np.diff(both, axis=0)).max() <= 16


def test_layers_without_points_are_dropped_and_pieces_fit():
    env = Envelope(np.array([5, 5, 3, 3]), np.array([5, 5, 5, 9]), "exact")
    layers = make_layers(env, first=0, last=10)
    assert layers.scores == [0, 2, 3]
    assert layers.counts() == [1, 2, 4, 4]
    assert [layers.pieces(i) for i in (1, 2, 3)] == [
        ((3, 4), (6, 5)),
        ((3, 2), (6, 9)),
        ((0, 2), (10, 10)),
    ]
    assert not layers.complete
    assert make_layers(env, first=0, last=10, whole=True).complete


# ------------------------------------------------------------------------------------- counts


@st.composite
def quantile_case(draw):
    n, last = draw(st.integers(0, 9)), draw(st.sampled_from([1, 6, 40]))
    x = draw(st.lists(st.integers(0, last), min_size=n, max_size=n))
    return x, last, quantile_fraction(draw(st.sampled_from([0.0, 0.1, 1 / 3, 0.5, 0.75, 1.0])))


@settings(max_examples=150, deadline=None)
@given(case=quantile_case())
def test_count_layers_are_the_score(case):
    """Score of every point by counting; and one record more moves it by at most ``unit``."""
    x, last, q = case
    data = np.sort(np.array(x, dtype=np.int64))
    ranks = SortedRanks.from_sorted(data, 0, last)
    p, d, unit = q.numerator, q.denominator, score_unit(q)
    layers = quantile_layers(ranks, q, unit * len(x), first=0, last=last, margin=0)
    t = np.arange(last + 1)
    below, above = (data[:, None] < t).sum(axis=0), (data[:, None] > t).sum(axis=0)
    score = np.abs((d - p) * below - p * above)
    if len(x):
        assert [layers.score(int(v)) for v in t] == score.tolist()
    assert layers.complete
    more = np.abs((d - p) * (below + (last // 2 < t)) - p * (above + (last // 2 > t)))
    assert np.abs(more - score).max() <= unit


@pytest.mark.parametrize("q", [0.1, 0.5])
def test_counts_and_windows_agree_with_sorting(q, monkeypatch):
    """Three ways to the same layers: sorted values, counts of all indices, windows of buckets."""
    rng = np.random.default_rng(5)
    x = np.concatenate([rng.normal(5, 1, 3000), np.full(500, 4.25), rng.uniform(0, 10, 500)])
    ways = []
    for rows, bits in ((1 << 60, 20), (1, 20), (1, 4)):
        monkeypatch.setattr(counting, "KERNEL_MIN_ROWS", rows)
        monkeypatch.setattr(counting, "BUCKET_BITS", bits)
        sample = sample_of(x, 2.0**-6)
        fraction = quantile_fraction(q)
        found = [count_layers(sample, fraction)(30)]
        for statistic in (
            location_statistic("quantile", 4000, quantile=q),
            location_statistic("trimmed", 4000, trim=q / 2),
            location_statistic("winsorized", 4000, trim=q / 2),
            scale_statistic("iqr", 4000),
            scale_statistic("std", 4000),
        ):
            found.append(statistic_layers(sample, statistic)(30))
        ways.append([(f.lows, f.highs, f.scores) for f in found])
        assert sample.clipped_sum(100, 400) == int(np.clip(sample.grid.index(x), 100, 400).sum())
    assert ways[0] == ways[1] == ways[2]


@pytest.mark.parametrize("bits", [20, 4])
def test_chunks_are_the_whole(bits, monkeypatch):
    monkeypatch.setattr(counting, "BUCKET_BITS", bits)
    rng = np.random.default_rng(6)
    x = rng.normal(5, 2, 1000)
    grid = make_grid(0, 10, rho=0.01, step="auto", owner="test")
    whole = GridSample([x], grid).all_ranks().all_values
    for source in (iter(np.split(x, 4)), lambda: iter(np.split(x, 4)), (c for c in [x])):
        sample = read_sample(source, grid, "test", "raise")
        np.testing.assert_array_equal(sample.all_ranks().all_values, whole)
        assert sample.n == 1000


def test_counted_ranks_answer_what_sorted_ones_do():
    rng = np.random.default_rng(7)
    x = rng.integers(3, 20, 200)
    ordered = SortedRanks.from_values(x, 0, 25)
    counted = CountedRanks(np.bincount(x, minlength=26), 0, 25)
    ranks = np.arange(-3, 205)
    np.testing.assert_array_equal(counted.at(ranks), ordered.at(ranks))
    for first, last in ((1, 200), (7, 31), (50, 50)):
        assert counted.block_sum(first, last) == ordered.block_sum(first, last)
    for ours in (counted, ordered):
        below, upto = ours.counts_around(np.unique(x))
        np.testing.assert_array_equal(below, [(x < v).sum() for v in np.unique(x)])
        np.testing.assert_array_equal(upto, [(x <= v).sum() for v in np.unique(x)])
    part, own = counted.within(5, 12), x[(x >= 5) & (x <= 12)]
    assert part.n == len(own)
    np.testing.assert_array_equal(part.at(np.arange(1, part.n + 1)), np.sort(own))
    assert part.block_sum(2, part.n) == int(np.sort(own)[1:].sum())
    np.testing.assert_array_equal(counted.sorted().all_values, ordered.all_values)


# ------------------------------------------------------------------------------- grid and laws


def test_grid_rounds_clips_and_reports():
    grid = make_grid(-1.0, 1.0, rho=0.3, step="auto", owner="test")
    assert (grid.step, grid.last, grid.margin) == (0.25, 8, 1)
    assert grid.index(np.array([-5, -0.9, 0.0, 0.124, 0.126, 9, np.nan])).tolist() == [
        *(0, 0, 4, 4, 5, 8, 4)
    ]
    assert grid.value(3) == -0.25
    fine = make_grid(0.0, 1.0, rho=0.5, step=0.1, owner="test")
    assert (fine.step, fine.margin) == (0.0625, 8)
    assert make_grid(0.0, 1.0, rho=0, step="auto", owner="test").margin == 0


@pytest.mark.parametrize(
    ("lo", "hi", "rho", "match"),
    [
        (0.0, 1.0, 4.0, "no two points"),
        (0.0, 1e9, 1e-9, "finer than can be computed"),
        (1e15, 1e15 + 8, 1e-3, "finer than can be computed"),
    ],
)
def test_grid_refuses(lo, hi, rho, match):
    with pytest.raises(ValueError, match=match):
        make_grid(lo, hi, rho=rho, step="auto", owner="test")


def test_cauchy_weights_are_positive_integers_close_to_the_law():
    measure = cauchy_measure(-1, 4001, 1000, 40)
    below = [measure.below(j) for j in range(-1, 4003)]
    assert min(np.diff(np.array(below, dtype=object))) > 0
    for j in (-1, 0, 999, 1000, 1001, 2500, 4001):
        assert measure.locate(measure.below(j)) == j
        assert measure.locate(measure.below(j + 1) - 1) == j
    share = (measure.below(1041) - measure.below(960)) / 2**160
    assert share == pytest.approx(2 / math.pi * math.atan(40.5 / 40), rel=0.02)
    far = measure.below(3000) - measure.below(2000)
    exact = (math.atan(2000 / 40) - math.atan(1000 / 40)) / math.pi
    assert far / 2**160 == pytest.approx(exact, rel=1e-3)
    assert isinstance(measure, Knots)


def test_a_draw_of_a_large_sample_looks_at_few_ranks(monkeypatch):
    """The lazy path never asks for all records."""
    monkeypatch.setattr(counting, "BUCKET_BITS", 8)
    x = np.random.default_rng(8).normal(size=250_000)
    grid = make_grid(-50, 50, rho="auto", step="auto", owner="test")
    sample = GridSample([x], grid)
    monkeypatch.setattr(GridSample, "all_ranks", lambda self: pytest.fail("sorted everything"))
    layers_of = statistic_layers(sample, LStatistic(median_weights(len(x))))
    value = grid.value(release(SeededEntropy(0), layers_of, grid, Fraction(1)))
    assert abs(value - np.median(x)) < 0.01


# ------------------------------------------------------------------------------------- mutants


class OnGrid:
    """Any layers function as an estimator that can be audited."""

    def __init__(self, layers, epsilon=1.0, charged=1.0):
        self.layers, self.used, self.epsilon = layers, epsilon, charged

    def _layers(self, x):
        return layer_table(self.layers(sample_of(x)), self.used)


def median_layers(sample):
    return statistic_layers(sample, LStatistic(median_weights(sample.n)))(sample.n)


def data_bounds(sample):
    """Bounds from the data: the support moves with the extremes."""
    ranks = sample.all_ranks()
    ends = (int(ranks.all_values[0]), int(ranks.all_values[-1]))
    env = LStatistic(median_weights(sample.n)).envelope(
        SortedRanks.from_sorted(ranks.all_values, *ends), sample.n
    )
    return make_layers(env, first=ends[0], last=ends[1], whole=True)


def off_by_one(sample):
    """Envelope of an adversary with one record less than k on one side."""
    ranks, n = sample.all_ranks(), sample.n
    k = np.arange(n + 1)
    env = Envelope(ranks.at((n + 1) // 2 - 2 * k), ranks.at((n + 1) // 2 + 2 * k), "exact")
    return make_layers(env, first=0, last=sample.grid.last, whole=True)


def pairs_of_medians():
    rng = np.random.default_rng(1)
    yield [5.0] * 7, [5.0] * 6 + [10.0]
    yield [0.0] * 3 + [10.0] * 4, [0.0] * 4 + [10.0] * 3
    for _ in range(150):
        x = rng.choice(rng.integers(0, 21, 4) / 2, size=rng.integers(3, 9))
        other = x.copy()
        other[rng.integers(len(x))] = rng.choice([0.0, 10.0, rng.integers(0, 21) / 2])
        yield x, other


def worst(est):
    return max(exact_privacy_loss(est, x, y).epsilon for x, y in pairs_of_medians())


def test_the_engine_passes_its_audit():
    assert 0.7 < worst(OnGrid(median_layers)) <= 1 + 1e-9


def test_twice_the_exponent_is_found():
    """exp(-epsilon u) instead of exp(-epsilon u / 2)."""
    assert worst(OnGrid(median_layers, epsilon=2.0)) > 1.05


def test_bounds_from_the_data_are_found():
    with pytest.raises(ValueError, match="range of the output depends on the data"):
        worst(OnGrid(data_bounds))


def test_an_envelope_that_skips_ranks_is_found():
    # Two records move it as fast as one should: the score changes by one half, which is private;
    # the other way round, ranks counted half as fast, it changes by two.
    assert worst(OnGrid(off_by_one)) <= 1 + 1e-9

    def half_as_fast(sample):
        ranks, n = sample.all_ranks(), sample.n
        k = np.arange(2 * n + 1)
        env = Envelope(ranks.at((n + 1) // 2 - k // 2), ranks.at((n + 1) // 2 + k // 2), "exact")
        return make_layers(env, first=0, last=sample.grid.last, whole=True)

    assert worst(OnGrid(half_as_fast)) > 1.05


def test_a_neighbour_off_by_one_is_found():
    """x_(m-k) at k and x_(m+k-1) on the right: not nested at the core."""

    def lagging(sample):
        ranks, n = sample.all_ranks(), sample.n
        k, m = np.arange(n + 1), (n + 1) // 2
        high = np.concatenate([[ranks.at([m])[0]], ranks.at(m + np.maximum(k[1:] - 2, 0))])
        env = Envelope(ranks.at(m - k), np.maximum.accumulate(high), "exact")
        return make_layers(env, first=0, last=sample.grid.last, whole=True)

    assert worst(OnGrid(lagging)) > 1.05


def test_grid_needs_a_range():
    with pytest.raises(ValueError, match="no two points"):
        make_grid(0.0, 1.0, rho="auto", step=2.0, owner="x")
    assert Grid(0.0, 1.0, 4, 1).last_output == 5
