"""DPNormalMean, DPMultivariateLocation and DPMeanCov as a user meets them."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from robuststat import (
    DataError,
    DPMeanCov,
    DPMultivariateLocation,
    DPNormalMean,
    ParameterError,
    PrivacyAccountant,
    audit_epsilon,
    exact_privacy_loss,
)
from robuststat.private import _mean_cov as mean_cov
from robuststat.private import _normal as normal
from robuststat.private._accounting import zcdp_to_epsilon
from robuststat.private._entropy import SeededEntropy
from robuststat.private._vectors import gram_variance

REFERENCE = Path(__file__).parents[1] / "reference" / "dp_robust"
COVERAGE = json.loads((REFERENCE / "ci_coverage.json").read_text())
RNG = np.random.default_rng(6)
X = RNG.normal([1.0, -2.0], [1.0, 3.0], size=(4000, 2))
WIDE = {"bounds": (-50.0, 50.0), "rho": 0.05}


def seeded(seed=0):
    """Reproducible noise without the warning."""
    return SeededEntropy(seed)


# ---------------------------------------------------------------------------- normal mean


@pytest.mark.parametrize("case", COVERAGE["normal_mean_known_sigma"], ids=lambda c: f"n{c['n']}")
def test_widths_are_those_of_the_reference(case):
    """Rounding to the grid and to the middle's real error widen them by 3 % at most."""
    x = RNG.normal(3, 1, size=case["n"])
    est = DPNormalMean(epsilon=case["eps"], mean_bound=50, sigma=1.0, random_state=seeded()).fit(x)
    assert np.ptp(est.conf_int_) == pytest.approx(case["width"], rel=0.03)


def test_far_bounds_cost_little():
    """The price of the bound is logarithmic."""
    x = RNG.normal(3, 1, size=2000)
    near, far = (
        DPNormalMean(epsilon=1, mean_bound=r, sigma=1.0, random_state=seeded()).fit(x)
        for r in (10, 1e6)
    )
    assert np.ptp(far.conf_int_) < 1.05 * np.ptp(near.conf_int_)


def test_upper_bound_of_sigma_holds():
    """Over 60 draws the released bound is never below the truth, and the estimate is near it."""
    found = []
    for i in range(60):
        x = np.random.default_rng(i).normal(-4, 2, size=3000)
        est = DPNormalMean(
            epsilon=2, mean_bound=50, sigma_bounds=(0.1, 20), random_state=seeded(i)
        ).fit(x)
        found.append((est.sigma_, est.sigma_upper_))
    sigma, upper = np.transpose(found)
    assert (upper >= 2).all()
    assert (upper < 4).all()
    assert abs(np.mean(sigma) - 2) < 0.05


def test_sigma_factor_is_that_of_ranks():
    """No noise and no sampling error: one over the interquartile range of the normal law."""
    assert normal.sigma_factor(10**12, 1e6, 1.0, 0.01) == pytest.approx(
        1 / (2 * norm.ppf(0.75)), rel=1e-4
    )
    assert normal.sigma_factor(20, 0.1, 10.0, 0.01) == math.inf


def test_bootstrap_interval_is_like_the_normal_one():
    x = RNG.normal(3, 1, size=3000)
    options = {"epsilon": 1, "mean_bound": 50, "sigma": 1.0, "random_state": seeded()}
    plain = DPNormalMean(**options).fit(x)
    boot = DPNormalMean(ci="bootstrap", n_boot=300, **options).fit(x)
    assert np.ptp(boot.conf_int_) == pytest.approx(np.ptp(plain.conf_int_), rel=0.2)
    none = DPNormalMean(ci=None, **options).fit(x)
    assert none.conf_int_ is None


def test_too_few_records_warn_before_the_charge():
    ledger = PrivacyAccountant(10.0)
    est = DPNormalMean(epsilon=0.1, mean_bound=50, sigma=1.0, accountant=ledger)
    with pytest.warns(UserWarning, match="too few"):
        est.fit(X[:20, 0])
    with pytest.warns(UserWarning) as caught:  # noqa: PT030
        est.set_params(epsilon=2, sigma=None, sigma_bounds=(0.1, 10)).fit(X[:240, 0])
    words = [str(warning.message) for warning in caught]
    assert "middle and the standard deviation" in words[0]
    assert "upper bound of sigma is the public one" in words[1]
    assert est.sigma_upper_ == 10.0
    assert "public one" in str(est.summary())


def test_normal_mean_black_box_audit(monkeypatch):
    """Draws keep epsilon on tied data at both ends; a mean without its noise does not."""
    pair = np.zeros(4), np.array([0.0, 0.0, 0.0, 1.0])
    est = DPNormalMean(epsilon=1.0, mean_bound=0.5, sigma=0.2, ci=None)
    with pytest.warns(UserWarning, match="too few"):
        fine = audit_epsilon(est, *pair, n_draws=600, random_state=1)
    assert not fine.violated
    kept = normal.draw_normal_mean
    monkeypatch.setattr(
        normal,
        "draw_normal_mean",
        lambda *args, epsilon, **kw: kept(*args, epsilon=epsilon * 40, **kw),
    )
    with pytest.warns(UserWarning, match="too few"):
        bad = audit_epsilon(est, *pair, n_draws=600, random_state=1)
    assert bad.violated


# --------------------------------------------------------------------------- multivariate


def test_columns_are_released_one_by_one():
    est = DPMultivariateLocation(
        "trimmed",
        epsilon=400,
        bounds=[(-10, 20), (-50, 50)],
        rho=[0.01, 0.05],
        random_state=seeded(),
    ).fit(pd.DataFrame(X, columns=["a", "b"]))
    trimmed = np.sort(X, axis=0)[400:-400].mean(axis=0)
    assert np.abs(est.estimate_ - trimmed).max() < 0.2
    assert est.epsilon_column_ == 200
    assert est.tidy()["term"].tolist() == ["a", "b"]
    assert "not affine equivariant" in str(est.summary())


def worst_loss(est):
    rng, worst = np.random.default_rng(0), 0.0
    for _ in range(120):
        rows = rng.choice([-50.0, 0.0, 1.0, 50.0], size=(7, 2))
        other = rows.copy()
        other[0] = rng.choice([-50.0, 50.0], size=2)
        worst = max(worst, exact_privacy_loss(est, rows, other).epsilon)
    return worst


def test_columns_share_epsilon(monkeypatch):
    """All columns together keep epsilon exactly; columns with all of it each do not."""
    est = DPMultivariateLocation(epsilon=1.0, bounds=(-50, 50), rho=5.0)
    assert worst_loss(est) <= 1 + 1e-9
    monkeypatch.setattr(DPMultivariateLocation, "_share", lambda self, columns: Fraction(4))
    assert worst_loss(est) > 1


def test_intervals_share_epsilon_too():
    """Estimate and both ends of both columns: six draws that together keep epsilon."""
    est = DPMultivariateLocation(epsilon=2.0, bounds=(-50, 50), rho=5.0, ci="rank")
    rows = np.repeat([-50.0, 50.0], [200, 201])[:, None] * np.ones(2)
    other = rows.copy()
    other[200] = -50.0
    loss = exact_privacy_loss(est, rows, other)
    assert len(loss.at) == 6
    assert 0.1 < loss.epsilon <= 2.0 * (1 + 1e-9)


def test_zcdp_shares_cost_what_is_promised():
    """d exponential mechanisms of e cost d e**2/8, which converts to (epsilon, delta)."""
    wide = np.column_stack([X, X, X])
    ledger = PrivacyAccountant(1.0, delta=1e-6, composition="zcdp")
    est = DPMultivariateLocation(
        epsilon=1.0,
        delta=1e-6,
        composition="zcdp",
        accountant=ledger,
        random_state=seeded(),
        **WIDE,
    ).fit(wide)
    rho = 6 * est.epsilon_column_**2 / 8
    assert rho <= est.rho_spent_
    assert zcdp_to_epsilon(rho, 1e-6) == pytest.approx(1.0, rel=1e-6)
    assert est.epsilon_column_ > 1 / 6


def test_multivariate_intervals_and_warning():
    est = DPMultivariateLocation(epsilon=4, ci="rank", random_state=seeded(), **WIDE).fit(X)
    assert (est.conf_int_[:, 0] < [1, -2]).all()
    assert (est.conf_int_[:, 1] > [1, -2]).all()
    with pytest.warns(UserWarning, match=r"\(x0, x1\)") as caught:
        DPMultivariateLocation(epsilon=0.1, random_state=seeded(), **WIDE).fit(X[:50])
    assert len(caught) == 1
    spoilt = X.copy()
    spoilt[0] = np.nan, np.inf
    est = DPMultivariateLocation(epsilon=4, nan_policy="clip_mid", random_state=seeded(), **WIDE)
    assert np.isfinite(est.fit(spoilt).estimate_).all()


# ------------------------------------------------------------------------------- mean_cov


def test_norm_bound_and_plan_follow_the_source():
    """Formulas written out again, step by step."""
    d, n, rho = 3, 1000, Fraction(1, 10)
    t = math.log(100)
    g = math.sqrt(d + 2 * math.sqrt(d * t) + 2 * t)
    assert mean_cov.norm_bound(d, 0.01) == pytest.approx(g)
    plan = mean_cov.plan_mean(n, d, 40.0, rho, 2)
    clip = min(math.sqrt(40**2 + 6 * 40 + g**2), 40 + g)
    sd = 2 * clip / n / math.sqrt(2 * 0.05)
    assert (plan.radii[0], plan.sds[0]) == pytest.approx((clip, sd))
    r = math.sqrt(1 / n + sd**2) * g
    assert plan.radii[1] == pytest.approx(min(math.sqrt(r**2 + 6 * r + g**2), r + g))
    assert sum(plan.rhos) == rho


def test_gram_noise_is_that_of_the_source():
    """Variance g**4 / (rho n**2) per entry, in units of the clipping radius g."""
    levels, rho, m, g = 1 << 10, Fraction(1, 7), 500, 3.3
    sd = math.sqrt(gram_variance(levels, rho)) * (g / levels) ** 2 / m
    assert sd**2 == pytest.approx(g**4 / (float(rho) * m**2))


def test_bounds_on_errors_hold():
    """Operator norms of sampling error and noise stay below their bounds in 200 draws."""
    rng, m, d, rho = np.random.default_rng(0), 300, 4, 0.05
    sampling, noise = mean_cov.gram_error(m, d, rho)
    s = mean_cov.norm_bound(d, 0.1) ** 2 / (math.sqrt(rho) * m)
    w = rng.normal(size=(200, m, d))
    errors = np.linalg.norm(w.transpose(0, 2, 1) @ w / m - np.eye(d), 2, axis=(1, 2))
    y = np.triu(rng.normal(scale=s, size=(200, d, d)))
    y += np.triu(y, 1).transpose(0, 2, 1)
    # Each may fail with probability .01 (twice that for both tails): 10 of 200 is far above.
    assert (errors > sampling).sum() <= 10
    assert (np.linalg.norm(y, 2, axis=(1, 2)) > noise).sum() <= 10


def test_noise_of_entries():
    rng = np.random.default_rng(0)
    back = rng.normal(size=(3, 3))
    y = np.triu(rng.normal(size=(20_000, 3, 3)))
    y += np.triu(y, 1).transpose(0, 2, 1)
    drawn = (back @ y @ back.T).std(axis=0)
    assert drawn == pytest.approx(mean_cov.entry_sds(back, 1.0), rel=0.03)


OPTIONS = {"epsilon": 2.0, "delta": 1e-6, "mean_bound": 100, "cov_bounds": (0.1, 20)}


def test_mean_cov_finds_both():
    truth = np.array([[1.0, 0.8], [0.8, 2.0]])
    rng = np.random.default_rng(2)
    data = rng.multivariate_normal([5, -60], truth, size=20_000)
    est = DPMeanCov(random_state=seeded(), **OPTIONS).fit(data)
    se = np.sqrt(np.diag(est.result_.vcov))
    assert (np.abs(est.location_ - [5, -60]) < 4 * se).all()
    sampling = np.sqrt((np.outer(np.diag(truth), np.diag(truth)) + truth**2) / 10_000)
    assert (
        np.abs(est.covariance_ - truth) < 4 * np.hypot(sampling, est.covariance_noise_sd_)
    ).all()
    assert np.ptp(est.conf_int_, axis=1) == pytest.approx(2 * 1.96 * se, rel=1e-3)
    assert zcdp_to_epsilon(est.rho_zcdp_, 1e-6) == pytest.approx(2.0, rel=1e-6)
    text = str(est.summary())
    assert "Eigenvalues: (0.1, 20)" in text
    assert "rho = " in text


def test_mean_cov_outliers_are_clipped():
    rng = np.random.default_rng(3)
    data = rng.normal(size=(20_000, 2))
    data[0] = 1e308, -1e308
    est = DPMeanCov(random_state=seeded(), **OPTIONS).fit(data)
    assert np.abs(est.location_).max() < 0.1


def test_mean_cov_warns_before_the_charge_and_pays_rho():
    ledger = PrivacyAccountant(2.0, delta=1e-6, composition="zcdp")
    est = DPMeanCov(accountant=ledger, random_state=seeded(), **OPTIONS)
    with pytest.warns(UserWarning, match="100 records are too few"):
        est.fit(X[:100])
    assert math.isinf(est.epsilon_spent_)
    assert ledger.total().epsilon == pytest.approx(2.0, rel=1e-6)


# ------------------------------------------------------------------------------ bad input

MEAN = {"epsilon": 1.0, "mean_bound": 10.0, "sigma": 1.0}
MULTI = {"epsilon": 1.0} | WIDE
BAD = [
    (DPNormalMean, MEAN | {"mean_bound": 0.0}, ParameterError, "mean_bound"),
    (DPNormalMean, MEAN | {"sigma": None}, ParameterError, "sigma="),
    (DPNormalMean, MEAN | {"sigma_bounds": (1, 2)}, ParameterError, "one of them"),
    (DPNormalMean, MEAN | {"sigma": -1.0}, ParameterError, "sigma"),
    (DPNormalMean, MEAN | {"sigma": None, "sigma_bounds": (2, 1)}, ParameterError, "sigma_bounds"),
    (DPNormalMean, MEAN | {"sigma": None, "sigma_bounds": (0, 1)}, ParameterError, "positive"),
    (DPNormalMean, MEAN | {"ci": "rank"}, ParameterError, "ci"),
    (DPMultivariateLocation, MULTI | {"bounds": None}, ParameterError, "bounds must be given"),
    (DPMultivariateLocation, MULTI | {"bounds": [(0, 1)] * 3}, ParameterError, "has 3 pairs"),
    (DPMultivariateLocation, MULTI | {"bounds": (2, 1)}, ParameterError, "low < high"),
    (DPMultivariateLocation, MULTI | {"rho": "fine"}, ParameterError, "rho must be"),
    (DPMultivariateLocation, MULTI | {"rho": [0.1] * 3}, ParameterError, "rho has 3 values"),
    (DPMultivariateLocation, MULTI | {"delta": 0.1}, ParameterError, "composition='zcdp'"),
    (DPMultivariateLocation, MULTI | {"composition": "zcdp"}, ParameterError, "delta > 0"),
    (DPMultivariateLocation, MULTI | {"estimator": "huber"}, ParameterError, "scale="),
    (DPMultivariateLocation, MULTI | {"estimator": "mean", "ci": "rank"}, ParameterError, "ci="),
    (DPMultivariateLocation, MULTI | {"trim": 0.5}, ParameterError, "trim"),
    (DPMeanCov, OPTIONS | {"delta": 0.0}, ParameterError, "delta > 0"),
    (DPMeanCov, OPTIONS | {"cov_bounds": (0, 1)}, ParameterError, "cov_bounds"),
    (DPMeanCov, OPTIONS | {"cov_bounds": None}, ParameterError, "cov_bounds"),
    (DPMeanCov, OPTIONS | {"method": "mcd"}, ParameterError, "method"),
    (DPMeanCov, OPTIONS | {"n_steps": 0}, ParameterError, "n_steps"),
    (DPMeanCov, OPTIONS | {"cov_share": 1.0}, ParameterError, "cov_share"),
]


@pytest.mark.parametrize(
    ("cls", "options", "error", "words"), BAD, ids=[f"{b[0].__name__}-{b[3]}" for b in BAD]
)
def test_bad_options_are_refused_without_a_charge(cls, options, error, words):
    ledger = PrivacyAccountant(100.0, delta=0.5)
    data = X[:, 0] if cls is DPNormalMean else X
    with pytest.raises(error, match=words):
        cls(**options, accountant=ledger).fit(data)
    assert not len(ledger.history_)


def test_one_row():
    with pytest.raises(ParameterError, match="at least 2 rows"):
        DPMeanCov(**OPTIONS).fit(X[:1])
    with pytest.raises(DataError, match="no rows"):
        DPMeanCov(**OPTIONS).fit(X[:0])
    with pytest.warns(UserWarning, match="too few"):
        est = DPMultivariateLocation(epsilon=1.0, random_state=seeded(), **WIDE).fit(X[:1])
    assert est.n_ == 1


# ------------------------------------------------------------------------------- coverage


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, False])
def test_normal_mean_coverage(known):
    """Three Monte Carlo errors below the level at most; unknown sigma is conservative."""
    rng, reps, hits = np.random.default_rng(5), 400, 0
    sigma = {"sigma": 1.0} if known else {"sigma_bounds": (0.1, 10.0)}
    for i in range(reps):
        est = DPNormalMean(epsilon=1.0, mean_bound=50, random_state=seeded(i), **sigma)
        low, high = est.fit(rng.normal(3, 1, size=2000)).conf_int_
        hits += low <= 3 <= high
    assert hits / reps >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / reps)


@pytest.mark.slow
def test_mean_cov_coverage():
    rng, reps, hits = np.random.default_rng(5), 60, np.zeros(2)
    for i in range(reps):
        data = rng.normal([3, -3], [1, 2], size=(8000, 2))
        est = DPMeanCov(random_state=seeded(i), **(OPTIONS | {"n_steps": 3})).fit(data)
        hits += (est.conf_int_[:, 0] <= [3, -3]) & (est.conf_int_[:, 1] >= [3, -3])
    assert (hits / reps >= 0.95 - 3.5 * math.sqrt(0.95 * 0.05 / reps)).all()
