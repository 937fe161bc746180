"""Levels, coverages and failure rates of the invariance family in seeded simulations.

Bounds are those of the binomial distribution: the nominal share and three standard errors.
``benchmarks/invariance_validation.py`` prints the same with 1,000 repetitions and more designs.
"""

import numpy as np
import pytest

from robuststat import InvarianceTest
from robuststat.invariance import _nulls as nulls
from robuststat.invariance._certificate import Cloud, certify
from robuststat.invariance._gap import env_model, homoscedastic_test
from robuststat.invariance._moments import env_moments
from robuststat.simulation import draw_cloud, make_environments, make_invariant_sem

pytestmark = pytest.mark.slow

SHAPES = ["normal", "t4", "two_points", "skewed"]


def slack(share, n_rep):
    return 3 * np.sqrt(share * (1 - share) / n_rep)


def four_environments(psi, rng, sd=None):
    """Fixed design of four environments whose psi is exactly the one asked for."""
    codes = np.repeat(np.arange(4), [40, 60, 80, 100])
    design = np.random.default_rng(7)
    X = design.normal(size=(280, 2)) + 0.5 * codes[:, None]
    w = design.normal(size=(4, 3))
    signal = w[codes, 0] + np.einsum("ij,ij->i", X, w[codes, 1:])
    moments = env_moments(X, signal, codes, range(4), ["x1", "x2"])
    size = env_model(moments, intercept=True).ssr_between / 280
    noise = rng.normal(size=280) * (1.0 if sd is None else np.asarray(sd)[codes])
    return X, signal * np.sqrt(psi / size) + noise, codes


@pytest.mark.parametrize("psi", [0.01, 0.15, 0.85])
def test_psi_interval_and_one_sided_tests(psi):
    rng, n_rep = np.random.default_rng(1), 400
    hits = []
    for _ in range(n_rep):
        X, y, codes = four_environments(psi, rng)
        model = env_model(env_moments(X, y, codes, range(4), ["x1", "x2"]), intercept=True)
        found = homoscedastic_test(model)
        low, high = found.interval(0.9)
        p = found.p_relevant(psi), found.p_equivalence(psi)
        hits.append((low <= psi <= high, p[0] <= 0.05, p[1] <= 0.05, found.psi))
    covered, relevant, equivalent, estimate = np.array(hits, dtype=float).T
    assert abs(covered.mean() - 0.9) <= slack(0.9, n_rep)
    assert abs(relevant.mean() - 0.05) <= slack(0.05, n_rep)
    assert abs(equivalent.mean() - 0.05) <= slack(0.05, n_rep)
    if psi > 0.1:  # below, negative values are cut
        assert abs(estimate.mean() - psi) <= 3 * estimate.std() / np.sqrt(n_rep)


@pytest.mark.parametrize("kind", ["welch", "HC3", "nested", "crossing"])
def test_level_under_unequal_variances(kind):
    # Johansen's correction [literature] is checked here. Clusters: pairs of rows of one
    # environment, or groups with rows in every environment, that share an error.
    rng, n_rep = np.random.default_rng(2), 400
    rejected = []
    for _ in range(n_rep):
        X, y, codes = four_environments(0.0, rng, sd=[0.5, 1.0, 1.5, 2.0])
        clusters = {"nested": np.arange(280) // 2, "crossing": np.arange(280) % 40}.get(kind)
        y = y if clusters is None else y + 0.7 * rng.normal(size=140)[clusters]
        fit = InvarianceTest(error=kind if clusters is None else "cluster", test="chow")
        fit.fit(X, y, env=codes, clusters=clusters)
        rejected.append(fit.chow_.p_value <= 0.05)
    assert np.mean(rejected) <= 0.05 + slack(0.05, n_rep)


def test_level_of_the_nulls_at_the_true_causes():
    rng, n_rep = np.random.default_rng(3), 400
    names = ("normal K", "chow", "correlation K", "ks K")
    rejected = {name: 0 for name in names}
    for _ in range(n_rep):
        draw = make_invariant_sem(3, 150, 4, random_state=rng)
        X, codes = draw.X[draw.parents].to_numpy(), draw.env
        moments = env_moments(X, draw.y, codes, range(3), draw.parents)
        coef = env_model(moments, intercept=True).pooled.coef[0]
        resid = draw.y - coef[0] - X @ coef[1:]
        # With Bonferroni's factor K; R's factor K - 1 is liberal for K > 2.
        found = (
            nulls.normal_test(moments, coef, intercept=True, correction="K"),
            nulls.chow_null(moments, intercept=True),
            nulls.correlation_test(moments, coef, intercept=True, correction="K"),
            nulls.ks_test(resid, codes, 3, "K"),
        )
        for name, result in zip(names, found, strict=True):
            rejected[name] += result.p_value <= 0.05
    for name, count in rejected.items():
        assert count / n_rep <= 0.05 + slack(0.05, n_rep), name


def test_level_of_binary_tests():
    rng, n_rep = np.random.default_rng(4), 200
    rejected = np.zeros(2)
    for _ in range(n_rep):
        draw = make_invariant_sem(3, 200, 4, outcome="binary", random_state=rng)
        Z = np.column_stack([np.ones(600), draw.X[draw.parents]])
        found = (
            nulls.logistic_lr(Z, draw.y, draw.env, 3),
            nulls.logistic_t(Z, draw.y, draw.env, 3, correction="K"),
        )
        rejected += [result.p_value <= 0.05 for result in found]
    assert (rejected / n_rep <= 0.05 + slack(0.05, n_rep)).all()


def certificate_of(cloud, kind, d1=0.1):
    m, k = cloud.coef.shape
    return certify(
        cloud,
        kind=kind,
        measure="coef",
        delta=0.05,
        candidates=1,
        d1=d1,
        names=tuple(f"w{j}" for j in range(k)),
        fixed=None,
        order=np.arange(m),
        eta=None,
        fixed_scale=True,
    )


def cloud_of(coef, noise, df):
    k = coef.shape[1]
    vcov = noise[:, None, None] / k * np.eye(k)
    return Cloud(coef, vcov, np.broadcast_to(np.eye(k), vcov.shape), df)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("k", [1, 2])
def test_scenario_and_wait_and_judge(k, shape):
    # Wait and judge [literature] is checked here too.
    rng, n_rep, m = np.random.default_rng(5), 60, 50
    new = draw_cloud(20_000, k, shape, 9)
    failed = {"scenario": 0, "wait_judge": 0, "split": 0}
    for _ in range(n_rep):
        cloud = cloud_of(draw_cloud(m, k, shape, rng), np.zeros(m), np.full(m, 100.0))
        for kind in failed:
            found = certificate_of(cloud, kind)
            gap = np.linalg.norm(new - found.centre_estimates, axis=1)
            failed[kind] += (gap > found.radius_estimates).mean() > found.eta
    for kind, count in failed.items():
        assert count / n_rep <= 0.05 + slack(0.05, n_rep), kind


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("m", "k", "noise"), [(20, 1, 4.0), (40, 2, 1.0), (160, 1, 1.0)])
def test_random_effects_and_the_inflated_ball(m, k, noise, shape):
    """The failure rate stays below delta, and the radius is far below the inflated one."""
    rng, n_rep = np.random.default_rng(6), 60
    new = draw_cloud(20_000, k, shape, 9) / np.sqrt(k)
    failed, missed, ratio = 0, 0, []
    for _ in range(n_rep):
        rows = rng.integers(20, 81, size=m)
        variance = noise * 45 / rows
        w = draw_cloud(m, k, shape, rng) / np.sqrt(k)
        coef = w + rng.normal(size=(m, k)) * np.sqrt(variance / k)[:, None]
        cloud = cloud_of(coef, variance * rng.chisquare(rows - k) / (rows - k), rows - k)
        found, safe = (certificate_of(cloud, kind) for kind in ("random_effects", "scenario"))
        failed += (np.linalg.norm(new - found.centre, axis=1) > found.radius).mean() > found.eta
        outside = (np.linalg.norm(new - safe.centre, axis=1) > safe.radius).mean()
        missed += outside > safe.eta_coefficients
        ratio.append(found.radius / safe.radius)
    assert failed / n_rep <= 0.05 + slack(0.05, n_rep)
    assert missed == 0
    assert np.mean(ratio) < 0.7


def test_certificate_from_rows():
    """DGP 2: w_e = w + .15 t5, n_e = 60, k = 2, m = 40; the public path."""
    rng, n_rep = np.random.default_rng(7), 40
    new = np.array([1.0, 0.5]) + 0.15 * draw_cloud(20_000, 2, "t5", 11)
    failed = {"scenario": 0, "random_effects": 0}
    for _ in range(n_rep):
        draw = make_environments(random_state=rng)
        fit = InvarianceTest().fit(draw.X, draw.y, env=draw.env)
        for kind in failed:
            found = fit.certificate(kind=kind)
            outside = (np.linalg.norm(new - found.centre, axis=1) > found.radius).mean()
            failed[kind] += outside > found.eta_coefficients
    assert failed["scenario"] == 0
    assert failed["random_effects"] / n_rep <= 0.05 + slack(0.05, n_rep)
