"""Resampling against analytic variances; every bound is derived from the number of replicates."""

from __future__ import annotations

from functools import partial
from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.resample import (
    bootstrap,
    jackknife,
    multiplier_bootstrap,
    permutation_test,
)
from robuststat._core.rng import check_rng, draw_resampling_weights, spawn_seeds
from robuststat._core.vcov import meat, sandwich


def weighted_mean(y, weights):
    return np.array([weights @ y / weights.sum()])


def weighted_ols(X, y, weights):
    return np.linalg.solve(X.T @ (X * weights[:, None]), X.T @ (weights * y))


def sample(n=400, seed=0):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), rng.normal(size=n)])
    groups = rng.integers(0, 60, size=n)
    y = X @ np.array([1.0, 2.0]) + rng.normal(size=60)[groups] + rng.normal(size=n)
    return X, y, groups


def se_tolerance(n_boot):
    """Four relative standard errors of a bootstrap se, near normality: 1/sqrt(2B) each."""
    return 4 / np.sqrt(2 * n_boot)


@pytest.mark.parametrize(
    ("kind", "distribution"),
    [
        ("pairs", None),
        ("multiplier", None),
        ("multiplier", "exponential"),
        ("multiplier", "rademacher"),
        ("multiplier", "mammen"),
    ],
)
def test_se_of_the_mean(kind, distribution):
    y = np.random.default_rng(0).normal(size=2_000)
    got = bootstrap(
        partial(weighted_mean, y),
        2_000,
        n_boot=2_000,
        kind=kind,
        distribution=distribution,
        random_state=1,
    )
    analytic = y.std() / np.sqrt(2_000)
    # 0.3 percent more for the second order of the ratio at n = 2000.
    assert np.sqrt(got.vcov[0, 0]) == pytest.approx(analytic, rel=se_tolerance(2_000) + 0.003)
    assert got.mean[0] == pytest.approx(y.mean(), abs=4 * analytic / np.sqrt(2_000))
    assert (got.n_boot, got.n_failed, got.kind) == (2_000, 0, kind)
    assert got.estimates.shape == (2_000, 1)
    np.testing.assert_allclose(got.estimate, [y.mean()], rtol=1e-13)


@pytest.mark.parametrize("kind", ["pairs", "cluster", "multiplier"])
def test_ols_agrees_with_the_sandwich(kind):
    X, y, groups = sample(n=1_500)
    statistic = partial(weighted_ols, X, y)
    beta = statistic(np.ones(1_500))
    psi = X * (y - X @ beta)[:, None]
    clusters = None if kind == "pairs" else groups
    robust = sandwich(X.T @ X / 1_500, meat(psi, clusters=clusters).matrix, 1_500)
    got = bootstrap(statistic, 1_500, n_boot=1_000, kind=kind, clusters=clusters, random_state=0)
    # With 60 clusters the two differ by terms of order 1/60 beside Monte Carlo error.
    extra = 0.01 if kind == "pairs" else 0.06
    ratio = np.sqrt(np.diag(got.vcov) / np.diag(robust))
    np.testing.assert_allclose(ratio, 1.0, atol=se_tolerance(1_000) + extra)
    if kind == "cluster":
        naive = sandwich(X.T @ X / 1_500, meat(psi).matrix, 1_500)
        assert np.sqrt(got.vcov[0, 0] / naive[0, 0]) > 1.5


@pytest.mark.parametrize("kind", ["percentile", "basic", "normal"])
def test_intervals(kind):
    y = np.random.default_rng(3).exponential(size=500)
    got = bootstrap(partial(weighted_mean, y), 500, n_boot=2_000, random_state=0)
    low, high = got.confint(0.9, kind=kind)[0]
    se = y.std() / np.sqrt(500)
    # A 5 percent quantile of 2000 draws has standard error 2.1 / sqrt(2000) se.
    for limit, z in ((low, -1.645), (high, 1.645)):
        assert limit == pytest.approx(y.mean() + z * se, abs=0.25 * se)
    draws, centre = got.estimates[:, 0], got.estimate[0]
    lower, upper = np.quantile(draws, [0.05, 0.95])
    half = stats.norm.ppf(0.95) * draws.std(ddof=1)
    exact = {
        "percentile": (lower, upper),
        "basic": (2 * centre - upper, 2 * centre - lower),
        "normal": (centre - half, centre + half),
    }
    np.testing.assert_allclose((low, high), exact[kind], rtol=1e-12)


def test_result_is_frozen_and_seeded():
    statistic = partial(weighted_mean, np.arange(20.0))
    first = bootstrap(statistic, 20, n_boot=15, random_state=4)
    np.testing.assert_array_equal(
        first.estimates, bootstrap(statistic, 20, n_boot=30, random_state=4).estimates[:15]
    )
    rng = np.random.default_rng(0)
    draws = [bootstrap(statistic, 20, n_boot=15, random_state=rng).estimates for _ in range(2)]
    assert not np.array_equal(*draws)
    with pytest.raises(AttributeError):
        first.n_boot = 3


def test_n_jobs_does_not_change_results():
    X, y, groups = sample()

    # Nested, because a worker process cannot import this module.
    def statistic(weights):
        return np.array([weights @ y / weights.sum()])

    def slope_of(order):
        return X[:, 1] @ y[order]

    one, two = (
        bootstrap(
            statistic,
            400,
            n_boot=25,
            kind="cluster",
            clusters=groups,
            random_state=0,
            n_jobs=n_jobs,
        ).estimates
        for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(one, two)
    influence = np.random.default_rng(0).normal(size=(3_000, 4))
    one, two = (
        multiplier_bootstrap(influence, n_boot=50, random_state=0, n_jobs=n_jobs).max_t
        for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(one, two)
    one, two = (
        jackknife(statistic, 400, clusters=groups, n_jobs=n_jobs).estimates for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(one, two)
    one, two = (
        permutation_test(slope_of, 400, n_perm=25, random_state=0, n_jobs=n_jobs)
        for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(one.permuted, two.permuted)


def fails_without_row_zero(y, weights):
    if weights[0] == 0:
        raise np.linalg.LinAlgError("row zero is needed")
    return weighted_mean(y, weights)


def nan_without_row_zero(y, weights):
    return np.array([np.nan]) if weights[0] == 0 else weighted_mean(y, weights)


@pytest.mark.parametrize(
    ("statistic", "text"),
    [
        (fails_without_row_zero, "LinAlgError: row zero is needed"),
        (nan_without_row_zero, "not finite: \\[nan\\]"),
    ],
)
def test_failures_are_counted_and_warned_of(statistic, text):
    message = rf"statistic failed in \d+ of 200 bootstrap replicates.*first: {text}\. Use"
    with pytest.warns(UserWarning, match=message):
        got = bootstrap(partial(statistic, np.arange(30.0)), 30, n_boot=200, random_state=0)
    expected = sum(
        draw_resampling_weights(check_rng(int(seed)), 30, "counts")[0] == 0
        for seed in spawn_seeds(0, 200)
    )
    assert got.n_failed == expected > 0
    assert len(got.estimates) == 200 - expected


def test_hopeless_statistic_and_bugs_are_raised():
    def hopeless(weights):
        if not (weights == 1).all():
            raise ZeroDivisionError("never")
        return np.zeros(1)

    with pytest.raises(DataError, match=r"failed in 50 of 50 replicates; the first: ZeroDivisionE"):
        bootstrap(hopeless, 30, n_boot=50, random_state=0)

    def buggy(weights):
        return np.array([undefined_name])  # noqa: F821

    with pytest.raises(NameError):
        bootstrap(buggy, 30, n_boot=50, random_state=0)


def ones(weights):
    return np.ones(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "wild"}, r"kind is 'wild'\. Use one of 'pairs', 'cluster', 'multiplier'"),
        ({"kind": "cluster"}, r"clusters is missing for kind='cluster'"),
        ({"clusters": np.arange(9)}, r"clusters is given for kind='pairs'\. Use kind='cluster'"),
        ({"distribution": "mammen"}, r"distribution is given for kind='pairs'"),
        (
            {"kind": "multiplier", "distribution": "normal"},
            r"distribution is 'normal'\. Use one of None, 'exponential', 'rademacher', 'mammen'",
        ),
        ({"n_boot": 1}, r"n_boot must be at least 2, got 1"),
    ],
)
def test_bootstrap_options(options, message):
    with pytest.raises(ParameterError, match=message):
        bootstrap(ones, 9, **options)


def test_too_few_units():
    with pytest.raises(DataError, match=r"at least two clusters, got 1"):
        bootstrap(ones, 9, kind="cluster", clusters=np.zeros(9, np.int64))
    with pytest.raises(DataError, match=r"at least two rows, got 1"):
        jackknife(ones, 1)
    with pytest.raises(DataError, match=r"clusters has shape \(9,\) for 8 rows"):
        jackknife(ones, 8, clusters=np.arange(9))


def test_interval_options():
    got = bootstrap(partial(weighted_mean, np.arange(9.0)), 9, n_boot=10, random_state=0)
    with pytest.raises(ParameterError, match=r"level must lie in \(0, 1\), got 95\. Use 0\.95"):
        got.confint(95)
    with pytest.raises(ParameterError, match=r"kind is 'bca'\. Use one of 'percentile'"):
        got.confint(kind="bca")


# multiplier bootstrap --------------------------------------------------------------------------


@pytest.mark.parametrize("distribution", ["normal", "rademacher", "mammen", "exponential"])
def test_max_t_of_independent_columns(distribution):
    influence = np.random.default_rng(0).normal(size=(5_000, 5)) * [1e-6, 1, 1e6, 3, 4]
    got = multiplier_bootstrap(influence, n_boot=4_000, distribution=distribution, random_state=0)
    exact = stats.norm.ppf((1 + 0.95 ** (1 / 5)) / 2)
    # Density of the maximum at its 95 percent point is about 0.13: se 0.026 with 4000 draws.
    assert got.critical_value(0.95) == pytest.approx(exact, abs=0.11)
    assert got.max_t.shape == (4_000,)
    p = got.adjusted_p_values(np.array([0.0, -exact, 50.0]))
    assert p[0] == 1.0
    assert p[1] == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 4_000))
    assert p[2] == 1 / 4_001


def test_one_column_gives_the_normal_quantile_and_repeated_columns_cost_nothing():
    column = np.random.default_rng(0).normal(size=(3_000, 1))
    one = multiplier_bootstrap(column, n_boot=4_000, random_state=0)
    assert one.critical_value(0.95) == pytest.approx(1.96, abs=0.12)
    many = multiplier_bootstrap(np.tile(column, 3), n_boot=4_000, random_state=0)
    np.testing.assert_allclose(one.max_t, many.max_t, rtol=1e-12, atol=1e-12)


def test_clusters_of_influence_are_their_totals():
    influence = np.random.default_rng(0).normal(size=(500, 2))
    groups = np.arange(500) % 50
    totals = np.array([influence[groups == g].sum(axis=0) for g in range(50)])
    got = multiplier_bootstrap(influence, clusters=groups * 7, n_boot=30, random_state=2)
    expected = multiplier_bootstrap(totals, n_boot=30, random_state=2)
    np.testing.assert_allclose(got.max_t, expected.max_t, rtol=1e-11)


def test_multiplier_errors():
    influence = np.ones((6, 3))
    influence[:, 1] = 0.0
    with pytest.raises(DataError, match=r"1 columns that are zero or not finite \(first: column 1"):
        multiplier_bootstrap(influence)
    influence[:, 1] = [1, 2, 3, np.nan, 5, 6]
    with pytest.raises(DataError, match=r"first: column 1, norm nan\)\. Leave these parameters"):
        multiplier_bootstrap(influence)
    with pytest.raises(
        ParameterError, match=r"distribution is 'counts'\. Use one of 'exponential'"
    ):
        multiplier_bootstrap(influence, distribution="counts")
    with pytest.raises(DataError, match=r"at least two clusters, got 1"):
        multiplier_bootstrap(np.ones((6, 3)), clusters=np.zeros(6, np.int64))
    with pytest.raises(ParameterError, match=r"n_boot must be at least 2, got 0"):
        multiplier_bootstrap(np.ones((6, 3)), n_boot=0)


# jackknife -------------------------------------------------------------------------------------


def test_jackknife_of_the_mean_and_variance_is_exact():
    y = np.random.default_rng(0).normal(size=40)

    def mean_and_variance(weights):
        mean = weights @ y / weights.sum()
        return np.array([mean, weights @ (y - mean) ** 2 / weights.sum()])

    got = jackknife(mean_and_variance, 40)
    assert got.vcov[0, 0] == pytest.approx(y.var(ddof=1) / 40, rel=1e-10)
    # The jackknife removes the 1/n bias of the plug-in variance completely.
    np.testing.assert_allclose(got.estimate - got.bias, [y.mean(), y.var(ddof=1)], rtol=1e-10)
    assert got.estimates.shape == (40, 2)


def test_cluster_jackknife_equals_its_definition():
    X, y, groups = sample()
    got = jackknife(partial(weighted_ols, X, y), 400, clusters=groups * 3)
    parts = np.array(
        [np.linalg.lstsq(X[groups != g], y[groups != g])[0] for g in np.unique(groups)]
    )
    G = len(parts)
    np.testing.assert_allclose(got.estimates, parts, rtol=1e-9)
    np.testing.assert_allclose(got.vcov, (G - 1) ** 2 / G * np.cov(parts.T), rtol=1e-8)


def test_jackknife_needs_every_replicate():
    with pytest.raises(DataError, match=r"not finite in 1 of 5 evaluations \(first: number 0\)"):
        jackknife(partial(nan_without_row_zero, np.arange(5.0)), 5)
    with pytest.raises(np.linalg.LinAlgError, match="row zero is needed"):
        jackknife(partial(fails_without_row_zero, np.arange(5.0)), 5)


# permutation -----------------------------------------------------------------------------------


def slope(x, y, permutation):
    return float(np.mean((x - x.mean()) * y[permutation]))


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_permutation_p_value_against_all_permutations(alternative):
    x, y = np.array([1.0, 2, 3, 4, 5, 6]), np.array([1.0, 3, 2, 5, 7, 4])
    draws = np.array([slope(x, y, np.array(p)) for p in permutations(range(6))])
    observed = slope(x, y, np.arange(6))
    exact = {
        "two-sided": np.mean(np.abs(draws) >= abs(observed) - 1e-12),
        "greater": np.mean(draws >= observed - 1e-12),
        "less": np.mean(draws <= observed + 1e-12),
    }[alternative]
    got = permutation_test(
        partial(slope, x, y), 6, n_perm=4_000, alternative=alternative, random_state=0
    )
    bound = 4 * np.sqrt(exact * (1 - exact) / 4_000) + 1 / 4_001
    assert got.p_value[0] == pytest.approx(exact, abs=bound)
    assert got.statistic[0] == observed
    assert got.permuted.shape == (4_000, 1)


def test_ties_count_as_extreme():
    got = permutation_test(lambda p: np.array([1.0, 0.1 + 0.2 * (p[0] == 0)]), 5, n_perm=99)
    assert got.p_value[0] == 1.0
    shifted = permutation_test(lambda p: 0.3 if p[0] == 0 else 0.1 + 0.2, 5, alternative="less")
    assert shifted.p_value[0] == 1.0


def test_strata_restrict_the_permutations():
    strata = np.array([0, 0, 1, 1, 1])
    got = permutation_test(lambda p: p.astype(float), 5, n_perm=50, strata=strata, random_state=0)
    assert (strata[got.permuted.astype(int)] == strata).all()


def test_permutation_errors():
    with pytest.raises(DataError, match=r"No stratum of the 4 rows has two rows to swap"):
        permutation_test(ones, 4, strata=np.arange(4))
    with pytest.raises(ParameterError, match=r"alternative is 'both'\. Use one of 'two-sided'"):
        permutation_test(ones, 4, alternative="both")
    with pytest.raises(ParameterError, match=r"n_perm must be at least 1, got 0"):
        permutation_test(ones, 4, n_perm=0)
    with pytest.raises(DataError, match=r"not finite in 10 of 10 evaluations"):
        permutation_test(lambda p: np.nan, 4, n_perm=9)
    with pytest.raises(DataError, match=r"strata has shape \(3,\) for 4 rows"):
        permutation_test(ones, 4, strata=np.zeros(3, np.int64))


# draws of the caller ---------------------------------------------------------------------------


def test_weights_drawn_by_the_caller():
    y = np.arange(8.0)
    rows = [np.full(8, 0.5), np.r_[np.zeros(4), np.full(4, 2.0)]]

    def draw(rng):
        return rows[int(rng.integers(2))]

    got = bootstrap(partial(weighted_mean, y), 8, n_boot=40, draw=draw, random_state=0)
    assert got.kind == "design"
    # Means of 0..7 and of 4..7.
    expected = [(3.5, 5.5)[int(check_rng(seed).integers(2))] for seed in spawn_seeds(0, 40)]
    np.testing.assert_allclose(got.estimates.ravel(), expected, rtol=1e-14)
    np.testing.assert_allclose(got.estimate, [3.5])


def test_own_draws_exclude_the_other_options():
    def draw(rng):
        return np.ones(4)

    for options in ({"kind": "cluster", "clusters": np.arange(4)}, {"kind": "multiplier"}):
        with pytest.raises(ParameterError, match="draw is given together with kind="):
            bootstrap(np.mean, 4, n_boot=5, draw=draw, **options)


def test_failures_of_own_draws_get_other_advice():
    def draw(rng):
        return np.full(4, float(rng.integers(2)))

    def statistic(weights):
        return np.log(weights.sum()) if weights.any() else np.nan

    with pytest.warns(UserWarning, match="which are left out.*Give the replicates more data"):
        got = bootstrap(statistic, 4, n_boot=30, draw=draw, random_state=0)
    assert 0 < got.n_failed < 30


def test_progress_of_a_bootstrap(capsys):
    bootstrap(partial(weighted_mean, np.arange(9.0)), 9, n_boot=40, random_state=0, verbose=1)
    assert "bootstrap" in capsys.readouterr().err
