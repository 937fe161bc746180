"""Names, roles and attributes that are promised to the outside; the functions of residuals."""

from __future__ import annotations

import inspect

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import robuststat
from robuststat import (
    DRIG,
    AnchorRegression,
    HiddenICP,
    InvarianceTest,
    InvariantSubsets,
    enclosing_ball,
    hsic_test,
    residual_invariance_test,
)
from robuststat._core.errors import DataError, ParameterError, RoleError
from robuststat.simulation import make_environments, make_invariant_sem

CLASSES = [
    "InvarianceTest",
    "InvariantSubsets",
    "InvariantRegressor",
    "HiddenICP",
    "AnchorRegression",
    "DRIG",
    "StabilizedRegression",
    "LinearIRM",
    "NonlinearICP",
    "VREx",
    "GroupDRO",
]
FUNCTIONS = [
    "chow_test",
    "predictive_chow_test",
    "invariance_sample_size",
    "invariance_power",
    "population_gap",
    "residual_invariance_test",
    "hsic_test",
    "enclosing_ball",
]


@pytest.mark.parametrize("name", CLASSES)
def test_env_is_a_keyword_and_summary_is_there(name):
    cls = getattr(robuststat, name)
    parameters = inspect.signature(cls.fit).parameters
    assert parameters["env"].kind is inspect.Parameter.KEYWORD_ONLY
    assert list(parameters)[:3] == ["self", "X", "y"]
    for method in ("summary", "tidy", "get_params"):
        assert callable(getattr(cls, method))
    for role in ("sample_weight", "clusters"):
        if role in parameters:
            assert parameters[role].kind is inspect.Parameter.KEYWORD_ONLY


def test_names():
    for name in FUNCTIONS:
        assert callable(getattr(robuststat, name))
    assert robuststat.ICP is InvariantSubsets
    assert list(inspect.signature(InvarianceTest).parameters)[:8] == [
        "representation",
        "test",
        "measure",
        "eps",
        "alpha",
        "error",
        "fit_intercept",
        "correction",
    ]
    for cls in (AnchorRegression, DRIG):
        assert next(iter(inspect.signature(cls).parameters)) == "gamma"


def test_attributes_of_the_test_and_its_certificate():
    draw = make_environments(n_env=12, random_state=0)
    fit = InvarianceTest().fit(draw.X, draw.y, env=draw.env)
    for name in (
        "gap_",
        "psi_",
        "statistic_",
        "pvalue_",
        "pvalue_equivalence_",
        "pvalue_relevant_",
    ):
        assert isinstance(getattr(fit, name), float)
    low, high = fit.psi_conf_int_
    assert low <= fit.psi_ <= high
    assert fit.env_coef_.shape == (12, 2)
    parameters = inspect.signature(fit.certificate).parameters
    assert [parameters[n].default for n in ("delta", "kind", "candidates", "d1")] == [
        0.05,
        "scenario",
        1,
        0.1,
    ]
    for kind in ("scenario", "split", "wait_judge", "random_effects"):
        found = fit.certificate(kind=kind)
        assert found.kind == kind
        assert 0 <= found.eta <= 1
        # "split" looks for the ball on the other half.
        assert found.n_env == (6 if kind == "split" else 12)
        assert found.n_candidates == 1
        assert found.centre.shape == (2,)
        assert found.radius > 0
        assert found.radius_estimates > 0
        assert found.measure == "coef"
        assert found.delta == 0.05
        assert found.assumptions


def test_attributes_of_the_search():
    draw = make_invariant_sem(n_env=3, n_rows=150, p=3, random_state=0)
    fit = InvariantSubsets().fit(draw.X, draw.y, env=draw.env)
    assert {"subset", "p_value", "psi", "mse"} <= set(fit.table_.columns)
    assert len(fit.table_) == 8
    assert all(isinstance(subset, tuple) for subset in [*fit.table_["subset"], *fit.accepted_])
    assert fit.pvalues_.shape == (3,)
    assert list(fit.confint().columns) == ["conf_low", "conf_high"]
    assert isinstance(fit.model_rejected_, bool)
    assert fit.intersection_ is None or isinstance(fit.intersection_, tuple)


def test_defaults_of_drig_and_hidden_icp():
    draw = make_invariant_sem(n_env=3, n_rows=150, p=2, random_state=0)
    labels = np.array(["c", "a", "b"])[draw.env]
    fit = DRIG(gamma=2.0).fit(draw.X, draw.y, env=labels)
    assert fit.reference_ == "a"
    # Equal weights of the environments: repeating the rows of one changes nothing.
    twice = np.flatnonzero(labels == "c")
    again = np.concatenate([np.arange(len(labels)), twice])
    other = DRIG(gamma=2.0).fit(
        np.asarray(draw.X)[again], np.asarray(draw.y)[again], env=labels[again]
    )
    np.testing.assert_allclose(other.coef_, fit.coef_, rtol=1e-9)
    assert HiddenICP().get_params()["fit_intercept"] is True


# --------------------------------------------------------------------------------- functions


@pytest.fixture(scope="module")
def rows():
    draw = make_invariant_sem(n_env=3, n_rows=60, p=2, random_state=4)
    Z = np.column_stack([np.ones(len(draw.X)), draw.X])
    resid = draw.y - Z @ np.linalg.lstsq(Z, draw.y, rcond=None)[0]
    return draw, resid


@pytest.mark.parametrize("test", ["normal", "ks", "ranks", "levene_wilcoxon", "hsic"])
def test_residuals_of_least_squares_are_tested_as_by_the_estimator(rows, test):
    draw, resid = rows
    fit = InvarianceTest(test=test, random_state=0, n_perm=50)
    fit.fit(draw.X, draw.y, env=draw.env)
    found = residual_invariance_test(resid, draw.env, test=test, random_state=0, n_perm=50)
    assert found.p_value == pytest.approx(fit.pvalue_, rel=1e-8)
    assert found.statistic == pytest.approx(fit.statistic_, rel=1e-8)
    assert found.test == test
    assert list(found.table["n_obs"]) == [60, 60, 60]


def test_two_environments_are_compared_as_by_scipy(rows):
    _, resid = rows
    a, b = np.asarray(resid)[:80], np.asarray(resid)[80:]
    env = np.repeat(["a", "b"], [80, len(b)])
    welch = stats.ttest_ind(a, b, equal_var=False).pvalue
    ratio = stats.f(len(a) - 1, len(b) - 1).cdf(np.var(a, ddof=1) / np.var(b, ddof=1))
    expected = min(1.0, 2 * min(welch, 2 * min(ratio, 1 - ratio)))
    assert residual_invariance_test(resid, env).p_value == pytest.approx(expected, rel=1e-9)
    user = residual_invariance_test(
        resid, env, test=lambda r, s: stats.mannwhitneyu(r, s).pvalue, correction="K"
    )
    assert user.p_value == pytest.approx(min(1, 2 * stats.mannwhitneyu(a, b).pvalue), rel=1e-9)


def test_hsic_sees_dependence_and_keeps_its_level():
    rng = np.random.default_rng(0)
    env = np.repeat([0, 1], 40)
    with_spread = rng.normal(size=80) * (1 + 4 * env)
    found = hsic_test(with_spread, env, random_state=0, n_perm=99)
    assert found.p_value == pytest.approx(0.01)
    assert "HSIC" in str(found)
    p = [
        hsic_test(rng.normal(size=40), np.repeat([0, 1], 20), random_state=i, n_perm=39).p_value
        for i in range(200)
    ]
    # Binomial(200, .1), four standard errors.
    assert np.mean(np.array(p) <= 0.1) <= 0.1 + 4 * np.sqrt(0.09 / 200)


def test_ball_of_points_and_of_balls():
    corners = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    centre, radius = enclosing_ball(corners)
    # Right angle: the hypotenuse is the diameter.
    np.testing.assert_allclose(centre, [2.0, 1.5], atol=1e-3)
    assert radius == pytest.approx(2.5, abs=1e-6)
    centre, radius = enclosing_ball([[0.0], [10.0]], radii=[1.0, 3.0])
    assert (centre[0], radius) == (6.0, 7.0)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: residual_invariance_test([1.0, np.nan], [0, 1]), DataError, "1 values .* finite"),
        (lambda: residual_invariance_test([1.0, 2.0], [0]), RoleError, "env has 1 values"),
        (
            lambda: residual_invariance_test([1.0, 2.0, 3.0], [0, 0, 1]),
            DataError,
            "at least two environments with two rows",
        ),
        (
            lambda: residual_invariance_test(np.ones(4), pd.Series(["a", "a", None, "b"])),
            RoleError,
            "1 missing values",
        ),
        (
            lambda: residual_invariance_test(np.arange(4.0), [0, 0, 1, 1], test="t"),
            ParameterError,
            "test must be",
        ),
        (lambda: enclosing_ball([1.0, 2.0]), DataError, r"shape \(2,\)"),
        (lambda: enclosing_ball([[1.0], [2.0]], radii=[-1.0, 0.0]), DataError, "smallest -1"),
        (lambda: enclosing_ball([[np.inf]]), DataError, "finite"),
    ],
)
def test_bad_calls(call, error, match):
    with pytest.raises(error, match=match):
        call()
