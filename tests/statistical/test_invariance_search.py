"""Level, coverage and standard errors of the methods on several environments, seeded and reduced.

Bounds: a rejection or error rate may exceed its nominal level by three binomial standard errors;
coverage of a two-sided interval lies within four of its level. None was fitted to what came out.
"""

import numpy as np
import pytest

from robuststat import DRIG, AnchorRegression, HiddenICP, InvariantSubsets, NonlinearICP

pytestmark = pytest.mark.slow

ALPHA = 0.05
PARENTS = (0, 1)


def structural(seed, n_env=3, rows=150, p=6):
    """First two of six are parents of y; the last three its children; interventions on the rest."""
    rng = np.random.default_rng(seed)
    beta = rng.choice([-1.0, 1.0], 2) * rng.uniform(0.5, 1.0, 2)
    weight = rng.uniform(0.4, 1.0, 3)
    parts = []
    for e in range(n_env):
        touched = (rng.random(p) < 0.5) | (np.arange(p) == 0)
        touched &= e > 0
        shift = np.where(touched, rng.normal(size=p), 0.0)
        scale = np.where(touched, rng.uniform(0.7, 2.0, p), 1.0)
        noise = shift + scale * rng.normal(size=(rows, p))
        x = noise.copy()
        x[:, 1] += 0.5 * x[:, 0]
        y = x[:, :2] @ beta + rng.normal(size=rows)
        factor = np.where(touched[3:], rng.uniform(0, 1.5, 3), 1.0)
        x[:, 3:] += factor * weight * y[:, None]
        parts.append(np.column_stack([x, y, np.full(rows, e)]))
    data = np.concatenate(parts)
    return data[:, :p], data[:, p], data[:, p + 1].astype(int), beta


def at_most(rate, level, n):
    return rate <= level + 3 * np.sqrt(level * (1 - level) / n)


def near(rate, level, n):
    return abs(rate - level) <= 4 * np.sqrt(level * (1 - level) / n)


@pytest.mark.parametrize(
    ("test", "correction"), [("normal", "K"), ("chow", "K-1"), ("correlation", "K")]
)
def test_level_intersection_and_coverage(test, correction):
    n, rejected, wrong, uncovered = 1000, 0, 0, 0
    for seed in range(n):
        x, y, env, beta = structural(seed)
        fit = InvariantSubsets(test, correction=correction, ci_split="strict")
        fit.fit(x, y, env=env)
        whole = fit.table_.set_index("subset")["p_value"]
        rejected += whole.loc[[PARENTS]].iloc[0] <= ALPHA
        loose = InvariantSubsets(test, correction=correction).fit(x, y, env=env)
        wrong += not set(loose.intersection_ or ()) <= set(PARENTS)
        if not fit.model_rejected_:
            limits, truth = fit.confint().to_numpy(), np.append(beta, np.zeros(4))
            uncovered += not ((limits[:, 0] <= truth) & (truth <= limits[:, 1])).all()
        else:
            uncovered += 1
    assert at_most(rejected / n, ALPHA, n)
    assert at_most(wrong / n, ALPHA, n)
    assert at_most(uncovered / n, ALPHA, n)


def test_factor_k_minus_1_is_exact_for_two_environments():
    n, rejected = 1000, 0
    for seed in range(n):
        x, y, env, _ = structural(seed, n_env=2)
        frame = InvariantSubsets(max_size=2).fit(x, y, env=env).table_.set_index("subset")
        rejected += frame["p_value"].loc[[PARENTS]].iloc[0] <= ALPHA
    assert at_most(rejected / n, ALPHA, n)


def confounded(rng, n=1500):
    env = rng.integers(0, 3, size=n)
    hidden = rng.normal(size=n)
    x = np.column_stack([hidden, -hidden]) + rng.normal(size=(n, 2)) * (1 + env[:, None])
    x += env[:, None] * [1.0, -0.5]
    y = x @ [1.0, 0.5] + 1.5 * hidden + rng.normal(size=n) * (1 + 0.5 * (x[:, 0] > 0))
    return x, y, env


def test_hidden_icp_covers():
    n, covered = 400, 0
    for seed in range(n):
        x, y, env = confounded(np.random.default_rng(seed))
        limits = HiddenICP(fit_intercept=False).fit(x, y, env=env).confint().to_numpy()
        covered += bool(((limits[:, 0] <= [1, 0.5]) & (limits[:, 1] >= [1, 0.5])).all())
    # Two intervals of level .95 with a Bonferroni factor over the comparisons.
    assert covered / n >= 0.90 - 3 * np.sqrt(0.1 * 0.9 / n)


@pytest.mark.parametrize("est", [AnchorRegression(5.0), AnchorRegression(0.0), DRIG(3.0)])
def test_standard_errors_and_coverage(est):
    big = [confounded(np.random.default_rng(10_000 + i), 200_000) for i in range(20)]
    truth = np.mean([est.fit(x, y, env=env).result_.estimate for x, y, env in big], axis=0)
    n, estimates, errors, inside = 500, [], [], []
    for seed in range(n):
        x, y, env = confounded(np.random.default_rng(seed))
        result = est.fit(x, y, env=env).result_
        limits = result.confint().to_numpy()
        estimates.append(result.estimate)
        errors.append(result.std_error)
        inside.append((limits[:, 0] <= truth) & (truth <= limits[:, 1]))
    ratio = np.mean(errors, axis=0) / np.std(estimates, axis=0, ddof=1)
    assert np.abs(ratio - 1).max() <= 4 / np.sqrt(2 * n)
    for share in np.mean(inside, axis=0):
        assert near(share, 0.95, n)


@pytest.mark.parametrize("test", ["levene_wilcoxon", "ks", "env_prediction", "target_prediction"])
def test_nonlinear_level(test):
    n, rejected = 100, 0
    for seed in range(n):
        rng = np.random.default_rng(seed)
        env = np.repeat([0, 1], 150)
        x = rng.normal(size=300) * (1 + env)
        y = np.sin(x) + 0.5 * rng.normal(size=300)
        fit = NonlinearICP(test, random_state=seed).fit(x[:, None], y, env=env)
        rejected += fit.table_["p_value"].iloc[1] <= ALPHA
    assert at_most(rejected / n, ALPHA, n)
