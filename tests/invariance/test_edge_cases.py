"""Input at the edge of every estimator of the family: refused by name, or said in the summary."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from robuststat import (
    DRIG,
    AnchorRegression,
    GroupDRO,
    HiddenICP,
    InvarianceTest,
    InvariantRegressor,
    InvariantSubsets,
    LinearIRM,
    NonlinearICP,
    StabilizedRegression,
    VREx,
    chow_test,
    invariance_power,
    invariance_sample_size,
)
from robuststat._core.errors import DataError, ParameterError, RoleError

ALL = {
    "test": InvarianceTest(),
    "subsets": InvariantSubsets(),
    "regressor": InvariantRegressor(eps=100.0),
    "hidden": HiddenICP(),
    "anchor": AnchorRegression(),
    "drig": DRIG(),
    "stabilized": StabilizedRegression(random_state=0),
    "irm": LinearIRM(random_state=0),
    "vrex": VREx(random_state=0),
    "dro": GroupDRO(),
    "nonlinear": NonlinearICP(random_state=0),
}
N = 120


@pytest.fixture
def est(request):
    from sklearn.base import clone

    return clone(ALL[request.param])


def rows():
    rng = np.random.default_rng(0)
    env = np.repeat(["u", "v", "w"], N // 3)
    X = pd.DataFrame(rng.normal(size=(N, 3)), columns=list("abc"))
    X["a"] *= 1 + (env == "v")
    y = X["a"] + rng.normal(size=N)
    X["b"] += y * (1 + (env == "w"))
    return X, y.rename("y"), env


every = pytest.mark.parametrize("est", ALL, indirect=True)


@every
@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda X, y, env: (X, y, np.full(N, "u")), DataError, "at least two environments"),
        (lambda X, y, env: (X, y, None), RoleError, "needs env="),
        (lambda X, y, env: (X, y, env[:-1]), RoleError, "env has 119 values but X has 120"),
        (lambda X, y, env: (X, y[:-1], env), DataError, "X has 120 rows, y has 119"),
        (lambda X, y, env: (X.mask(X["a"] > 2), y, env), DataError, "'a' has .* missing values"),
        (
            lambda X, y, env: (X, y, pd.Series(env).where(env != "u")),
            DataError,
            "'env' has 40 missing values",
        ),
        (lambda X, y, env: (X.assign(c=np.inf), y, env), DataError, "'c' of X holds infinity"),
        (
            lambda X, y, env: (X.assign(c=pd.Series([{}] * N)), y, env),
            DataError,
            r"c \(object\)",
        ),
        (lambda X, y, env: (X.assign(c=2.0), y, env), ValueError, "'?c'?"),
        (
            lambda X, y, env: (X.set_axis(["a", "b", "a"], axis=1), y, env),
            DataError,
            "(?s)unique column names.*'a' 2 times",
        ),
    ],
)
def test_refused_by_name(est, change, error, match):
    X, y, env = change(*rows())
    with pytest.raises(error, match=match):
        est.fit(X, y, env=env)


@every
def test_unused_categories_dicts_and_lists_are_environments(est):
    X, y, env = rows()
    plain = est.fit(X, y, env=env)
    found = [np.asarray(getattr(plain, "coef_", getattr(plain, "pvalues_", None)))]
    for other in (
        pd.Categorical(env, categories=["w", "u", "v", "never"]),
        {"u": np.arange(40), "v": np.arange(40, 80), "w": np.arange(80, 120)},
        list(env),
    ):
        again = est.fit(X, y, env=other)
        found.append(np.asarray(getattr(again, "coef_", getattr(again, "pvalues_", None))))
    for one in found[1:3]:
        # Another order of the environments; starting points and folds follow it.
        tol = 1e-4 if isinstance(est, (LinearIRM, VREx, GroupDRO, DRIG)) else 1e-8
        if not isinstance(est, (DRIG, StabilizedRegression, NonlinearICP)):
            np.testing.assert_allclose(one, found[0], rtol=tol, atol=tol)
    np.testing.assert_allclose(found[3], found[0], rtol=1e-12)


@every
def test_missing_rows_are_dropped_on_request(est):
    X, y, env = rows()
    with pytest.warns(UserWarning, match="dropped"):
        fit = est.set_params(missing="drop").fit(X.mask(X["a"] > 2), y, env=env)
    assert "dropped" in str(fit.summary())


@pytest.mark.parametrize("est", ["test", "anchor", "drig", "irm", "vrex", "dro"], indirect=True)
def test_collinear_covariates_are_named(est):
    X, y, env = rows()
    with pytest.raises(ValueError, match="'c' is a linear combination of 'a', 'b'"):
        est.fit(X.assign(c=X["a"] + X["b"]), y, env=env)


@pytest.mark.parametrize("est", ["test", "subsets", "nonlinear"], indirect=True)
def test_an_outcome_of_one_value_is_refused(est):
    X, _, env = rows()
    with pytest.raises(DataError, match=r"y has the same value \(2\) in all 120 rows"):
        est.fit(X, np.full(N, 2.0), env=env)


@pytest.mark.parametrize("est", ["subsets", "regressor", "stabilized"], indirect=True)
def test_environments_without_a_variance_are_named(est):
    X, y, env = rows()
    with pytest.raises(DataError, match=r"fewer than 3 rows: 'z' \(2\)"):
        est.fit(X, y, env=np.append(env[:-2], ["z", "z"]))


def test_environments_no_larger_than_the_model():
    X, y, env = rows()
    env = np.append(env[:-4], ["z"] * 4)
    with pytest.raises(DataError, match="no more rows than the 4 coefficients: 'z'"):
        InvarianceTest().fit(X, y, env=env)
    with pytest.warns(UserWarning, match="1 environments with at most 4 rows"):
        fit = InvarianceTest(drop_small=True).fit(X, y, env=env)
    assert fit.n_env_ == 3
    # The search compares what an environment identifies, and says so.
    search = InvariantSubsets().fit(X, y, env=env)
    assert "1 environments have fewer rows than the largest sets" in " ".join(
        str(search.summary()).split()
    )


def test_column_constant_within_an_environment_is_said():
    X, y, env = rows()
    X["c"] = np.where(env == "v", X["c"], 0.0)
    with pytest.warns(UserWarning, match="2 of 3 environments do not identify"):
        fit = InvarianceTest().fit(X, y, env=env)
    assert np.isnan(fit.env_coef_.loc[["u", "w"], "c"]).all()
    # 3 environments x 4 coefficients, less 2 not identified, less the 4 common ones.
    assert fit.chow_.df1 == 6
    search = InvariantSubsets().fit(X, y, env=env)
    assert "2 environments have a covariate with one value there" in " ".join(
        str(search.summary()).split()
    )
    by_set = search.table_.set_index("subset")["psi"]
    assert by_set[(0, 1, 2)] == pytest.approx(fit.psi_, rel=1e-8)


def test_outcomes_of_two_and_of_many_values():
    X, y, env = rows()
    for cls in (InvarianceTest, InvariantSubsets):
        with pytest.warns(UserWarning, match="two values"):
            cls().fit(X, (y > 0).astype(float), env=env)
        with pytest.raises(ValueError, match="two values"):
            cls(test="logistic_lr").fit(X, np.arange(N) % 3, env=env)


def test_no_accepted_set_is_not_the_empty_set():
    X, y, env = rows()
    fit = InvariantSubsets(alpha=0.9999).fit(X, y + 9 * (env == "u"), env=env)
    assert fit.model_rejected_
    assert fit.intersection_ is None
    text = str(fit.summary())
    assert "No set was accepted" in text
    assert "Least violating sets" in text
    assert () in set(fit.table_["subset"])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: InvarianceTest(eps=-1), "eps"),
        (lambda: InvarianceTest(alpha=0), "alpha"),
        (lambda: InvarianceTest(alpha=1.0), "alpha"),
        (lambda: InvariantSubsets(eps=-0.1), "eps"),
        (lambda: InvariantSubsets(alpha=1.5), "alpha"),
        (lambda: InvariantRegressor(eps=-0.1), "eps"),
        (lambda: HiddenICP(alpha=0.0), "alpha"),
        (lambda: AnchorRegression(gamma=-1), "gamma"),
        (lambda: DRIG(gamma=-1), "gamma"),
        (lambda: LinearIRM(penalty=-1), "penalty"),
        (lambda: InvarianceTest(measure="norm"), "measure"),
        (lambda: InvarianceTest(error="robust"), "error"),
    ],
)
def test_options_out_of_range(make, match):
    X, y, env = rows()
    with pytest.raises(ParameterError, match=match):
        make().fit(X, y, env=env)


def test_confidences_out_of_range():
    X, y, env = rows()
    fit = InvarianceTest(["a"]).fit(X, y, env=env)
    for delta in (0.0, 1.0, -0.1):
        with pytest.raises(ParameterError, match="delta"):
            fit.certificate(delta=delta)
        with pytest.raises(ParameterError, match="delta"):
            invariance_sample_size(0.1, delta, 2)
    with pytest.raises(ParameterError, match="psi"):
        invariance_power(n_env=5, n_rows=100, k=2, psi=-0.1)


def test_too_many_sets_are_counted_with_their_time():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 23))
    with pytest.raises(ParameterError, match=r"8,388,608 subsets .* \(about 8 s for each"):
        InvariantSubsets(screening="none").fit(X, X[:, 0], env=np.arange(200) % 2)


def test_hidden_icp_names_the_direction_without_shift():
    X, y, env = rows()
    with pytest.raises(ValueError, match="nothing shifts along 'c'"):
        HiddenICP().fit(X.assign(c=X["a"] + X["b"]), y, env=env)


def test_certificate_of_fewer_environments_than_unknowns():
    X, y, env = rows()
    found = InvarianceTest(["a", "b"]).fit(X, y, env=env).certificate()
    assert found.eta == 1.0
    assert "certify nothing: at least 4 are needed" in str(found)


@pytest.mark.parametrize(
    "est",
    ["regressor", "hidden", "anchor", "drig", "stabilized", "irm", "vrex", "dro"],
    indirect=True,
)
def test_prediction_needs_no_environment(est):
    X, y, env = rows()
    fit = est.fit(X, y, env=env)
    new = fit.predict(X.iloc[:5])
    assert new.shape == (5,)
    np.testing.assert_allclose(new, fit.intercept_ + X.iloc[:5].to_numpy() @ fit.coef_, rtol=1e-9)


def test_effective_sizes_of_the_normal_test():
    X, y, env = rows()
    w = np.tile([0.5, 1.5], N // 2)
    fit = InvarianceTest([]).fit(X, y, env=env, sample_weight=w)
    # (sum w)^2 / sum w^2 of 40 rows with weights .5 and 1.5.
    np.testing.assert_allclose(fit.moments_.n_effective, 40**2 / 50)
    with warnings.catch_warnings(action="error"):
        one = chow_test(X, y, env=env)
    assert one.p_value < 0.05
