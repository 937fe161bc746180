from __future__ import annotations

import numpy as np
import pytest

from robuststat._core.errors import ParameterError
from robuststat._core.rng import (
    check_rng,
    draw_permutation,
    draw_resampling_weights,
    spawn_seeds,
)


def legacy(seed):
    return np.random.RandomState(seed)


@pytest.mark.parametrize(
    "make", [lambda: 3, lambda: np.int64(3), lambda: np.random.SeedSequence(3)]
)
def test_values_give_the_same_stream_every_time(make):
    state = make()
    first, second = check_rng(state).random(5), check_rng(state).random(5)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, np.random.default_rng(3).random(5))
    np.testing.assert_array_equal(spawn_seeds(state, 4), spawn_seeds(state, 4))


@pytest.mark.parametrize("make", [np.random.default_rng, legacy])
def test_generators_advance(make):
    state = make(3)
    assert not np.array_equal(check_rng(state).random(5), check_rng(state).random(5))
    assert not np.array_equal(spawn_seeds(state, 4), spawn_seeds(state, 4))
    np.testing.assert_array_equal(spawn_seeds(make(3), 4), spawn_seeds(make(3), 4))


def test_generator_comes_back_itself():
    rng = np.random.default_rng(0)
    assert check_rng(rng) is rng


def test_none_is_fresh():
    assert not np.array_equal(check_rng(None).random(5), check_rng(None).random(5))
    assert not np.array_equal(spawn_seeds(None, 5), spawn_seeds(None, 5))


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("state", [0, np.random.default_rng(0)])
def test_seeds_have_shape_range_and_no_repeats(state, bits):
    seeds = spawn_seeds(state, (50, 20), bits=bits)
    assert seeds.shape == (50, 20)
    assert seeds.dtype == np.int64
    assert seeds.min() >= 0
    assert seeds.max() < 2**bits
    assert seeds.max() > 2 ** (min(bits, 63) - 1)
    assert len(np.unique(seeds)) == 1_000


def test_more_seeds_keep_the_first_ones():
    np.testing.assert_array_equal(spawn_seeds(1, 10), spawn_seeds(1, 30)[:10])
    assert spawn_seeds(1, ()).shape == ()
    assert spawn_seeds(1, 0).shape == (0,)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("seed", r"random_state must be None, an int.*got 'seed' of type str.*Pass an int"),
        (1.5, r"got 1\.5 of type float"),
        (True, r"got True of type bool"),
        (-1, r"non-negative integer, got -1\. Use 0 or more"),
    ],
)
@pytest.mark.parametrize("function", [check_rng, lambda state: spawn_seeds(state, 2)])
def test_bad_random_state(function, bad, message):
    with pytest.raises(ParameterError, match=message):
        function(bad)


def test_bad_bits():
    with pytest.raises(ParameterError, match=r"bits must be 32 or 64, got 16"):
        spawn_seeds(0, 2, bits=16)


@pytest.mark.parametrize("distribution", ["exponential", "rademacher", "mammen", "normal"])
def test_multipliers_have_mean_and_variance_one(distribution):
    n = 400_000
    weights = draw_resampling_weights(check_rng(0), n, distribution)
    assert weights.dtype == np.float64
    # Five standard errors; the fourth central moment of the exponential, 9, is the largest.
    assert abs(weights.mean() - 1.0) < 5 / np.sqrt(n)
    assert abs(weights.var() - 1.0) < 5 * np.sqrt(8 / n)
    third = ((weights - 1.0) ** 3).mean()
    expected = {"exponential": 2.0, "rademacher": 0.0, "mammen": 1.0, "normal": 0.0}
    assert abs(third - expected[distribution]) < 5 * np.sqrt(265 / n)
    assert distribution == "normal" or weights.min() >= 0


def test_counts_are_a_draw_with_replacement():
    draws = np.array([draw_resampling_weights(check_rng(s), 50, "counts") for s in range(500)])
    assert (draws.sum(axis=1) == 50).all()
    np.testing.assert_array_equal(draws, np.round(draws))
    assert abs(draws.var() - (1 - 1 / 50)) < 5 * np.sqrt(3 / draws.size)


def test_permutation_stays_within_strata():
    strata = np.array([2, 0, 0, 2, 1, 2, 0])
    seen = set()
    for seed in range(200):
        perm = draw_permutation(check_rng(seed), strata)
        np.testing.assert_array_equal(np.sort(perm), np.arange(7))
        np.testing.assert_array_equal(strata[perm], strata)
        seen.add(tuple(perm))
    # 3! 1! 3! arrangements, each with probability 1/36: 200 draws miss one with 13 percent.
    assert len(seen) >= 34
