"""Envelopes: against enumeration of all data sets, stored distributions, and property (N)."""

from __future__ import annotations

import csv
import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robuststat.private import _envelopes_sorted as by_value
from robuststat.private._continuous import Base, FloatRanks, continuous_table, table_quantile
from robuststat.private._counting import GridSample
from robuststat.private._envelopes import (
    mean_weights,
    median_weights,
    order_weights,
    quantile_rank,
    trimmed_weights,
    winsorized_weights,
)
from robuststat.private._feasibility import location_statistic, scale_statistic
from robuststat.private._grid import Grid
from robuststat.private._rank_interval import interval_ranks
from robuststat.private._ranks import SortedRanks
from robuststat.private._statistics import (
    Huber,
    LStatistic,
    MedianDeviation,
    RankRange,
    Shorth,
    StandardDeviation,
)

# Multiples of every divisor in use: quotients of integers are then exact.
SCALE = 60
TOL = 1e-9
HUBER_TOL = 1e-7


def from_name(name, n):
    """Statistic that a reference file calls by name."""
    parts = name.split("_")
    count = int(parts[2][1:]) if parts[0] in ("trimmed", "winsorized") else 0
    build = {
        "median": lambda: LStatistic(median_weights(n)),
        "mean": lambda: LStatistic(mean_weights(n)),
        "order": lambda: LStatistic(order_weights(int(parts[2]))),
        "trimmed": lambda: LStatistic(trimmed_weights(n, count)),
        "winsorized": lambda: LStatistic(winsorized_weights(n, count)),
        "huber": lambda: Huber(1.0),
        "iqr": lambda: RankRange(int(parts[1][1:]), int(parts[2])),
        "shorth": lambda: Shorth(int(parts[1][1:])),
        "mad": lambda: MedianDeviation(int(parts[1][1:]), int(parts[2][1:])),
    }
    return build[parts[0]]()


def load(reference, name):
    return json.loads((reference / "dp_robust" / name).read_text())


def on_integers(statistic, x, last, k):
    return statistic.envelope(SortedRanks.from_values(np.asarray(x), 0, last), k)


def test_enumerated_envelopes(reference):
    """Exact envelopes equal the range over all data sets; relaxed ones contain it."""
    cases = load(reference, "bruteforce_envelopes.json")
    assert {case["estimator"].split("_")[0] for case in cases} == {
        *("median", "order", "trimmed", "winsorized", "mean", "iqr", "shorth", "mad")
    }
    for case in cases:
        x, n = np.array(case["x"]), len(case["x"])
        statistic = from_name(case["estimator"], n)
        env = on_integers(statistic, x * SCALE, case["hi"] * SCALE, n)
        low, high = env.low / SCALE, env.high / SCALE
        if statistic.kind == "exact":
            np.testing.assert_allclose(low, case["a"], atol=TOL)
            np.testing.assert_allclose(high, case["b"], atol=TOL)
        else:
            assert (low <= np.array(case["a"]) + TOL).all()
            assert (high >= np.array(case["b"]) - TOL).all()
        doubles = statistic.envelope(FloatRanks(x, case["lo"], case["hi"]), n)
        np.testing.assert_allclose(doubles.low, low, atol=TOL)
        np.testing.assert_allclose(doubles.high, high, atol=TOL)


def test_stored_distributions(reference):
    """Envelopes, layer probabilities, normalisers and quantiles of both kinds of score."""
    cases = load(reference, "layer_distributions.json")
    assert len(cases) == 144
    for case in cases:
        n = len(case["x"])
        tol = HUBER_TOL if case["estimator"].startswith("huber") else TOL
        ranks = FloatRanks(np.array(case["x"]), case["lo"], case["hi"])
        env = from_name(case["estimator"], n).envelope(ranks, n)
        np.testing.assert_allclose(env.low, case["a"], atol=tol)
        np.testing.assert_allclose(env.high, case["b"], atol=tol)
        base = Base(*case["support"])
        table = continuous_table(
            env, epsilon=case["eps"], rho=case["rho"], base=base, kind=case["kind"]
        )
        assert table.log_total == pytest.approx(case["logZ"], abs=tol)
        layer = -np.minimum(table.log_left, table.log_right) * 2 / case["eps"]
        mass = np.exp(table.log_mass - table.log_total)
        probability = np.bincount(np.rint(layer).astype(int), mass, minlength=n + 1)
        np.testing.assert_allclose(probability[: n + 1], case["layer_prob"], atol=tol)
        points = [table_quantile(table, base, p) for p in (0.05, 0.5, 0.95)]
        np.testing.assert_allclose(points, case["q05_q50_q95"], atol=100 * tol)


def test_interval_ranks(reference):
    with (reference / "dp_robust" / "quantile_ci_ranks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48
    for row in rows:
        ranks = interval_ranks(
            int(row["n"]),
            float(row["q"]),
            epsilon=float(row["eps_total"]),
            log_range=math.log(float(row["C"])),
            level=1 - float(row["alpha"]),
        )
        assert ranks == (int(row["m_lower"]), int(row["m_upper"])), row


@pytest.mark.parametrize(
    ("q", "n", "rank"), [(0.5, 4, 3), (0.25, 6, 2), (0.75, 6, 5), (0, 9, 1), (1, 9, 9), (0.5, 1, 1)]
)
def test_rank_of_a_quantile_rounds_halves_up(q, n, rank):
    assert quantile_rank(q, n) == rank


# ----------------------------------------------------------------------- enumeration of our own


def huber_root(x, c):
    """Smallest root of the clipped score on a fine lattice of candidates."""
    points = sorted({v + s for v in x for s in (-c, 0, c)} | {0, 12})
    total = [sum(max(-c, min(c, v - t)) for v in x) for t in points]
    for (a, fa), (b, fb) in itertools.pairwise(zip(points, total, strict=True)):
        if fa >= 0 >= fb and fa != fb:
            return a if fa == 0 else a + (b - a) * fa / (fa - fb)
    return points[0] if total[0] <= 0 else points[-1]


VALUES = {
    "huber": lambda x: huber_root(x, 2),
    "std": lambda x: float(np.std(x)),
}


@pytest.mark.parametrize("name", ["huber", "std"])
def test_enumerated_here(name):
    """All data sets of four integers in 0..5: Huber's envelope is the range, std's holds it."""
    n, last = 4, 5
    sets = list(itertools.combinations_with_replacement(range(last + 1), n))
    value = {x: VALUES[name](x) for x in sets}
    statistic = Huber(2) if name == "huber" else StandardDeviation()
    for x in sets[::9]:
        env = on_integers(statistic, x, last, n)
        doubles = statistic.envelope(FloatRanks(np.array(x), 0, last), n)
        for k in range(n + 1):
            inside = [v for y, v in value.items() if distance(x, y) <= k]
            low, high = min(inside), max(inside)
            if name == "huber":
                assert doubles.low[k] == pytest.approx(low, abs=1e-9)
                assert doubles.high[k] == pytest.approx(high, abs=1e-9)
                assert env.low[k] == math.floor(low + 1e-9)
                assert env.high[k] == math.ceil(high - 1e-9)
            else:
                assert doubles.low[k] <= low + TOL
                assert high <= doubles.high[k] + TOL
                assert env.low[k] <= low + TOL
                assert high <= env.high[k] + TOL


def distance(x, y):
    """Records that have to be replaced to turn one multiset into the other."""
    rest = list(y)
    for v in x:
        if v in rest:
            rest.remove(v)
    return len(rest)


# -------------------------------------------------------------------------- nestedness


def statistics_for(n):
    """Every statistic that the estimators use, and corner cases of their ranks."""
    found = [
        location_statistic("median", n),
        location_statistic("quantile", n, quantile=0.1),
        location_statistic("quantile", n, quantile=1.0),
        location_statistic("trimmed", n, trim=0.2),
        location_statistic("winsorized", n, trim=0.2),
        location_statistic("mean", n),
        location_statistic("huber", n, corner=3),
        *(scale_statistic(name, n) for name in ("iqr", "mad", "shorth", "std")),
        scale_statistic("iqr", n, cheap=True),
    ]
    assert {type(s) for s in found} == {
        *(LStatistic, Huber, RankRange, MedianDeviation, Shorth, StandardDeviation)
    }
    return found


@st.composite
def neighbours(draw):
    n, last = draw(st.integers(1, 12)), draw(st.sampled_from([1, 4, 20, 1000]))
    x = draw(st.lists(st.integers(0, last), min_size=n, max_size=n))
    other = list(x)
    other[draw(st.integers(0, n - 1))] = draw(st.integers(0, last))
    return x, other, last


def not_nested(first, second):
    """Layers in which I_k(S) is not inside of I_(k+1)(S')."""
    return (second.low[1:] > first.low[:-1]) | (second.high[1:] < first.high[:-1])


@settings(max_examples=150, deadline=None)
@given(case=neighbours())
def test_nested_on_integers(case):
    x, other, last = case
    n = len(x)
    for statistic in statistics_for(n):
        a, b = (on_integers(statistic, v, last, n) for v in (x, other))
        assert a.low.dtype == a.high.dtype == np.int64
        assert not not_nested(a, b).any(), statistic
        assert not not_nested(b, a).any(), statistic
        for env in (a, b):
            assert (np.diff(env.low) <= 0).all(), statistic
            assert (np.diff(env.high) >= 0).all(), statistic
            assert (env.low <= env.high).all(), statistic
            # A spread need not reach the range; the engine then adds what is left to layer n.
            if isinstance(statistic, LStatistic | Huber):
                assert (env.low[-1], env.high[-1]) == (0, last), statistic


@pytest.mark.parametrize(
    "shift",
    [lambda env: (env.low + 3, env.high), lambda env: (env.low[::-1], env.high)],
)
def test_the_property_is_not_empty(shift):
    """An envelope off by one, or in the wrong order, is caught by the same comparison."""
    env = on_integers(location_statistic("median", 5), [1, 3, 5, 7, 9], 10, 5)
    low, high = shift(env)
    wrong = type(env)(low, high, env.kind)
    assert not_nested(env, wrong).any()


def test_large_sums_do_not_overflow():
    """Sums beyond 2**63 are exact."""
    last = (1 << 45) - 1
    x = np.full(300_000, last)
    env = on_integers(LStatistic(mean_weights(len(x))), x, last, 2)
    assert env.high.tolist() == [last] * 3
    assert env.low[0] == last
    assert env.low[1] == (last * (len(x) - 1)) // len(x)
    small = on_integers(Huber(1 << 44), x, last, 1)
    assert small.low[0] == last
    # All records far from the ends, so that counts times positions pass 2**63 on the way.
    x = np.full(1 << 19, 1 << 44)
    env = on_integers(Huber(1 << 10), x, last, 2)
    assert (env.low - (1 << 44)).tolist() == [0, -1, -1]
    assert (env.high - (1 << 44)).tolist() == [0, 1, 1]


def test_sums_of_indices_do_not_overflow():
    top = (1 << 45) - 1
    sample = GridSample([np.full(1 << 20, 2.0**43)], Grid(0.0, 1.0, top, 1))
    assert sample.clipped_sum(0, top) == 1 << 63


def test_kernels_give_the_same_as_arrays(monkeypatch):
    rng = np.random.default_rng(3)
    for x in (np.sort(rng.integers(0, 50, 90)), np.sort(rng.random(90) * 50)):
        lo, hi = (0, 50) if x.dtype.kind == "i" else (0.0, 50.0)
        calls = [
            lambda x=x, lo=lo, hi=hi: by_value.shorth_envelope(x, lo, hi, 46, 90),
            lambda x=x, lo=lo, hi=hi: by_value.mad_envelope(x, lo, hi, 45, 45, 90),
        ]
        for call in calls:
            monkeypatch.setattr(by_value, "KERNEL_MIN_SIZE", 1 << 60)
            arrays = call()
            monkeypatch.setattr(by_value, "KERNEL_MIN_SIZE", 0)
            kernel = call()
            np.testing.assert_array_equal(arrays.low, kernel.low)
            np.testing.assert_array_equal(arrays.high, kernel.high)
