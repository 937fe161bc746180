"""Exact samplers against their distributions, by chi-square; a wrong scale must be noticed."""

from __future__ import annotations

import inspect
import json
import math
from decimal import Decimal, getcontext
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import chi2

from robuststat.private import _layers, _noise
from robuststat.private._entropy import (
    Entropy,
    SeededEntropy,
    SystemEntropy,
    make_entropy,
)
from robuststat.private._layers import Decay, decay_for, draw_layer, exp_minus
from robuststat.private._noise import (
    bernoulli,
    bernoulli_exp,
    discrete_gaussian,
    discrete_laplace,
    exact_ratio,
    uniform_int,
)
from robuststat.private._normal_laplace import normal_laplace_cdf, normal_laplace_ppf

DRAWS = 8_000
# A correct sampler fails one of the about 20 tests below with probability 2e-5 at most, for an
# arbitrary seed; every mutant has a p-value far below.
SOUND = 1e-6


def p_value(draws, support, mass):
    """Chi-square p-value; values outside the support form a cell with the remaining mass."""
    mass = np.asarray(mass, dtype=float)
    counts = np.array([np.count_nonzero(draws == k) for k in support], dtype=float)
    counts = np.append(counts, len(draws) - counts.sum())
    expected = len(draws) * np.append(mass, max(1 - mass.sum(), 0.0))
    rare = expected < 5
    observed = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    used = expected > 0
    if observed[~used].any():
        return 0.0
    statistic = ((observed - expected)[used] ** 2 / expected[used]).sum()
    return chi2.sf(statistic, used.sum() - 1) if used.sum() > 1 else 1.0


def laplace_mass(scale, k):
    q = math.exp(-1 / scale)
    return (1 - q) / (1 + q) * q ** np.abs(k)


def gaussian_mass(variance, k):
    wide = np.arange(-400, 401)
    return np.exp(-(k**2) / (2 * variance)) / np.exp(-(wide**2) / (2 * variance)).sum()


@pytest.mark.parametrize("x", [Fraction(0), Fraction(1, 3), Fraction(1), Fraction(7, 3)])
def test_bernoulli_exp(x):
    source = SeededEntropy(1)
    draws = np.array([bernoulli_exp(source, x) for _ in range(DRAWS)])
    assert p_value(draws, [True, False], [math.exp(-x), 1 - math.exp(-x)]) > SOUND
    wrong = math.exp(-float(x) / 2 - 0.05)
    assert p_value(draws, [True, False], [wrong, 1 - wrong]) < SOUND


def test_a_large_exponent_is_cheap():
    class Counting(SeededEntropy):
        used = 0

        def bits(self, k):
            Counting.used += 1
            return super().bits(k)

    assert not bernoulli_exp(Counting(2), Fraction(10**9))
    assert Counting.used < 100


@pytest.mark.parametrize("scale", [Fraction(1, 3), Fraction(1), Fraction(5, 2), Fraction(12)])
def test_discrete_laplace(scale):
    source, k = SeededEntropy(3), np.arange(-60, 61)
    draws = np.array([discrete_laplace(source, scale) for _ in range(DRAWS)])
    assert p_value(draws, k, laplace_mass(scale, k)) > SOUND
    # Half the noise, the slip that an audit must find, and twice of it.
    for factor in (0.5, 2.0):
        assert p_value(draws, k, laplace_mass(float(scale) * factor, k)) < SOUND


@pytest.mark.parametrize("variance", [Fraction(1, 4), Fraction(1), Fraction(25, 2)])
def test_discrete_gaussian(variance):
    source, k = SeededEntropy(4), np.arange(-40, 41)
    draws = np.array([discrete_gaussian(source, variance) for _ in range(DRAWS)])
    assert p_value(draws, k, gaussian_mass(float(variance), k)) > SOUND
    for factor in (0.5, 2.0):
        assert p_value(draws, k, gaussian_mass(float(variance) * factor, k)) < SOUND


def test_a_large_scale_has_the_moments_of_the_laplace_law():
    scale = Fraction(10**12, 7)
    source = SystemEntropy()
    size = np.abs([discrete_laplace(source, scale) for _ in range(4_000)]) / float(scale)
    # |z| / scale is standard exponential: mean 1, sd of the mean 1/sqrt(4000); 5 of them.
    assert abs(size.mean() - 1) < 5 / math.sqrt(4_000)


def test_uniform_integers():
    source = SeededEntropy(5)
    draws = np.array([uniform_int(source, -2, 4) for _ in range(DRAWS)])
    assert p_value(draws, np.arange(-2, 5), np.full(7, 1 / 7)) > SOUND
    assert uniform_int(source, 3, 3) == 3
    assert bernoulli(source, Fraction(1))
    assert not bernoulli(source, Fraction(0))


@pytest.mark.parametrize("source", [SystemEntropy(), SeededEntropy(6)], ids=["system", "seeded"])
def test_words_and_permutations(source: Entropy):
    words = source.words(4_000)
    ones = sum(int(w).bit_count() for w in words)
    assert abs(ones - 32 * 4_000) < 6 * math.sqrt(16 * 4_000)
    assert sorted(source.permutation(50).tolist()) == list(range(50))
    assert source.bits(0) == 0
    assert (source.permutation(200) != source.permutation(200)).any()
    with pytest.raises(ValueError, match="at least one value, got n=0"):
        source.below(0)


def test_a_seed_is_an_int_or_what_numpy_takes():
    first, second = (SeededEntropy(np.random.SeedSequence(4)).bits(64) for _ in range(2))
    assert first == second
    assert make_entropy(source := SeededEntropy(1), "x") is source
    assert make_entropy(None, "x").secure
    with pytest.warns(UserWarning, match="NOT private"):
        assert not make_entropy(3, "DPLocation").secure
    with pytest.raises(ValueError, match="random_state must be"):
        make_entropy("today", "x")


@pytest.mark.parametrize("x", ["0", "1e-9", "0.1", "0.5", "1", "2.25", "40", "900.125"])
def test_bounds_of_the_exponential(x):
    getcontext().prec = 120
    low, high = exp_minus(Fraction(x), 200)
    exact = (-Decimal(x)).exp() * 2**200
    assert low <= exact <= high
    assert high - low <= 2


@pytest.mark.parametrize("epsilon", [1e-6, 0.1, 1.0, 3.0, 200.0])
def test_decay_is_never_faster_than_paid_for(epsilon):
    getcontext().prec = 60
    q = decay_for(Fraction(epsilon)).ratio
    exact = (-Decimal(epsilon) / 2).exp()
    assert Decimal(q.numerator) / Decimal(q.denominator) >= exact
    assert float(q) == pytest.approx(float(exact), abs=2.0**-62)


def test_an_epsilon_that_does_nothing_is_refused():
    with pytest.raises(ValueError, match="so small"):
        decay_for(Fraction(1, 2**70))


def layer_mass(counts, q, scores=None):
    scores = range(len(counts)) if scores is None else scores
    weights = [count * q**score for count, score in zip(counts, scores, strict=True)]
    return np.array([float(w / sum(weights)) for w in weights])


@pytest.mark.reference
def test_layer_probabilities_of_the_stored_medians(reference):
    stored = json.loads((reference / "dp_robust" / "grid_median.json").read_text())
    assert len(stored) >= 3
    for case in stored:
        counts = case["layer_counts"]
        decay = decay_for(Fraction(case["eps"]))
        assert_allclose(layer_mass(counts, decay.ratio), case["layer_prob"], atol=1e-11)
    source = SeededEntropy(7)
    case = stored[0]
    decay = decay_for(Fraction(case["eps"]))
    draws = np.array([draw_layer(source, case["layer_counts"], decay) for _ in range(DRAWS)])
    support = np.arange(len(case["layer_counts"]))
    assert p_value(draws, support, case["layer_prob"]) > SOUND
    # The slip of section 6: exponent epsilon instead of epsilon / 2.
    twice = layer_mass(case["layer_counts"], decay.ratio**2)
    assert p_value(draws, support, twice) < SOUND


@pytest.mark.parametrize("precision", [1, 4, 256])
def test_precision_does_not_change_the_distribution(precision):
    """With one bit nearly every draw needs more, by the same number looked at more closely."""
    source, counts, scores = SeededEntropy(8), [0, 3, 0, 10, 40, 10**6], [0, 1, 1, 2, 7, 30]
    decay = Decay(p=3, shift=2)
    draws = np.array(
        [draw_layer(source, counts, decay, scores, precision=precision) for _ in range(DRAWS)]
    )
    mass = layer_mass(counts, decay.ratio, scores)
    assert p_value(draws, np.arange(6), mass) > SOUND
    assert p_value(draws, np.arange(6), layer_mass(counts, decay.ratio)) < SOUND


def test_draws_are_the_inverse_of_the_distribution_function():
    """For u in steps of 2**-9 the layer is the one that exact arithmetic says."""

    class Fixed(SeededEntropy):
        def __init__(self, u):
            super().__init__(0)
            self.u = u

        def bits(self, k):
            # The number ...u1000...: in the middle of its cell of width 2**-9.
            shifted = (2 * self.u + 1) << 246
            self.u, value = 0, shifted >> (256 - k)
            return value

    counts, decay = [2, 5, 1, 30, 4], Decay(p=5, shift=3)
    exact = [c * decay.ratio**k for k, c in enumerate(counts)]
    ends = [sum(exact[: k + 1]) for k in range(5)]
    for u in range(512):
        point = Fraction(2 * u + 1, 1024) * ends[-1]
        expected = next(k for k in range(5) if point < ends[k])
        assert draw_layer(Fixed(u), counts, decay) == expected


def test_a_draw_at_a_boundary_asks_for_more_bits():
    asked = []

    class AtTheBoundary(SeededEntropy):
        def bits(self, k):
            asked.append(k)
            # 0.1000...: exactly the boundary of two equal layers, until bits beyond 2**-256 come.
            return 1 << (k - 1) if len(asked) == 1 else 0

    assert draw_layer(AtTheBoundary(0), [1, 1], Decay(1, 0), [0, 0]) == 1
    asked.clear()
    # Shares 3/5 and 2/5 with q = 2/5: u = floor(0.6 * 2**256) straddles the boundary.
    boundary = (3 * 2**256) // 5

    class NearIt(SeededEntropy):
        def bits(self, k):
            asked.append(k)
            return boundary if len(asked) == 1 else 0

    draw_layer(NearIt(0), [3, 2], Decay(1, 0), [0, 0])
    assert asked == [256, 256]


def test_layers_that_do_not_matter():
    source = SeededEntropy(9)
    assert draw_layer(source, [0, 0, 7], decay_for(Fraction(1))) == 2
    # Without its first layers the score starts late; nothing underflows.
    assert draw_layer(source, [0, 0, 5, 1], Decay(1, 64), [0, 1, 10**6, 10**6 + 9]) == 2
    huge = [10**30] + [0] * 3000 + [10**30]
    assert draw_layer(source, huge, decay_for(Fraction(2))) == 0


@pytest.mark.parametrize(
    ("counts", "scores", "match"),
    [
        ([0, 0], None, "not all zero"),
        ([-1, 2], None, "non-negative"),
        ([1, 2], [1, 0], "must not decrease"),
        ([1, 2], [0], "2 counts but 1 scores"),
        ([], None, "not all zero"),
    ],
)
def test_bad_layers(counts, scores, match):
    with pytest.raises(ValueError, match=match):
        draw_layer(SeededEntropy(0), counts, Decay(1, 1), scores)


def test_powers_by_squaring_and_step_by_step_agree():
    decay, bits = decay_for(Fraction(1, 10)), 300
    exact = decay.ratio**37 * 2**bits
    jump = _layers._power(decay, 37, bits)
    walk = _layers._weights([1] * 38, [0] + [1] * 37, decay, bits)[-1]
    for bounds in (jump, walk):
        assert bounds.low <= exact <= bounds.high
        assert bounds.high - bounds.low < 200


@pytest.mark.parametrize(
    ("value", "match"),
    [("1", "number"), (True, "number"), (None, "number"), (math.nan, "finite"), (-1, "at least 0")],
)
def test_numbers_that_are_no_ratios(value, match):
    with pytest.raises(ValueError, match=f"rho must be .*{match}"):
        exact_ratio(value, "rho")


def test_a_double_is_the_ratio_that_it_is():
    assert exact_ratio(0.1, "x") == Fraction(3602879701896397, 2**55)
    assert exact_ratio(np.float32(0.5), "x") == Fraction(1, 2)
    assert exact_ratio(Fraction(1, 3), "x") == Fraction(1, 3)


def test_no_float_and_no_numpy_generator_in_the_samplers():
    """The source of a release is integers; a generator there is the classical leak."""
    for module in (_noise, _layers):
        text = inspect.getsource(module)
        assert "numpy" not in text
        assert "import random" not in text


@pytest.mark.reference
def test_quantiles_of_normal_plus_laplace(reference):
    path = reference / "dp_robust" / "normal_plus_laplace_quantiles.json"
    stored = json.loads(path.read_text())
    for row in stored:
        found = normal_laplace_ppf(row["p"], row["sd"], row["laplace_scale"])
        assert found == pytest.approx(row["quantile"], abs=1e-9, rel=1e-9)
        assert normal_laplace_ppf(1 - row["p"], row["sd"], row["laplace_scale"]) == pytest.approx(
            -row["quantile"], rel=1e-6
        )


def test_normal_laplace_at_its_ends():
    assert_allclose(normal_laplace_cdf(np.array([-1.0, 1.0]), 0.0, 1.0), [0.18394, 0.81606], 1e-4)
    assert_allclose(normal_laplace_cdf(1.96, 1.0, 0.0), 0.975, 1e-4)
    assert normal_laplace_ppf(0.5, 1.0, 1.0) == 0.0
    with pytest.raises(ValueError, match="not both 0"):
        normal_laplace_cdf(0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="p must lie"):
        normal_laplace_ppf(1.0, 1.0, 1.0)
