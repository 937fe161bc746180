"""Predictors from several environments against R, ivmodels and numeric minimisers."""

import json
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import optimize
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.utils.estimator_checks import check_estimator

from robuststat import (
    DRIG,
    AnchorRegression,
    GroupDRO,
    HiddenICP,
    InvariantRegressor,
    InvariantSubsets,
    LinearIRM,
    NonlinearICP,
    StabilizedRegression,
    VREx,
)
from robuststat._core.errors import (
    CollinearityError,
    ConvergenceWarning,
    DataError,
    IdentificationError,
    ParameterError,
)
from robuststat.invariance._intake import read_rows
from robuststat.invariance._risks import env_risks, irm_objective, vrex_objective
from robuststat.testing import with_invented_roles

EXACT = 1e-8  # the same closed form in another language
HIDDEN = 1e-7  # differences of Gram matrices can be ill-conditioned
SOLVER = 1e-5  # conic or quasi-Newton solver on either side
FOLDER = Path(__file__).parents[1] / "reference" / "invariance"
CASES = ["simA_p4_K2", "simB_p6_K3", "simC_p8_K5", "simD_p3_K2_small", "simE_p5_K4_large"]
PREDICTORS = [
    InvariantRegressor(),
    InvariantRegressor("average", alpha=1e-9),
    InvariantRegressor("intersection", alpha=1e-9),
    InvariantRegressor("minimax", eps=10),
    StabilizedRegression(n_boot=20, random_state=0),
    LinearIRM(random_state=0),
    VREx(random_state=0),
    GroupDRO(),
    HiddenICP(),
    AnchorRegression(),
    DRIG(),
]


def name_of(est):
    return f"{type(est).__name__}-{getattr(est, 'strategy', '')}"


@cache
def stored(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


@cache
def table(case):
    return pd.read_csv(FOLDER / f"{case}.csv")


def example(n=600, seed=0):
    rng = np.random.default_rng(seed)
    env = rng.integers(0, 3, size=n)
    x = rng.normal(size=(n, 3)) * (1 + env[:, None]) + env[:, None] * [1, 0, -1]
    y = x @ [1.0, -0.5, 0.0] + rng.normal(size=n)
    return x, y, env


# ------------------------------------------------------------------------ other packages


@pytest.mark.reference
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("ones", [True, False])
def test_hidden_icp_equals_r(case, ones):
    expected = stored(f"{case}.r")["hiddenICP_intercept" if ones else "hiddenICP"]
    fit = HiddenICP(fit_intercept=ones).fit(table(case), "y", env="env")
    limits = fit.confint()
    assert_allclose(fit.coef_, expected["betahat"], rtol=HIDDEN, atol=HIDDEN)
    assert_allclose(fit.pvalues_, expected["pvalues"], rtol=0, atol=HIDDEN)
    # R turns an empty intersection round; ours is NaN.
    empty = limits["conf_low"].isna().to_numpy()
    for column, name in (("conf_low", "ConfInt_lower"), ("conf_high", "ConfInt_upper")):
        theirs = np.array(expected[name])
        assert_allclose(limits[column][~empty], theirs[~empty], rtol=HIDDEN, atol=HIDDEN)


@pytest.mark.reference
@pytest.mark.parametrize("case", CASES)
def test_anchor_regression_equals_ivmodels(case):
    expected = stored(f"{case}.py")
    for one in expected["anchor"]:
        fit = AnchorRegression(one["gamma"]).fit(table(case), "y", env="env")
        assert_allclose(fit.coef_, one["coef"], rtol=EXACT, atol=EXACT)
        assert fit.intercept_ == pytest.approx(one["intercept"], abs=EXACT)
    within = AnchorRegression(0.0).fit(table(case), "y", env="env")
    assert_allclose(within.coef_, expected["within"], rtol=EXACT, atol=EXACT)


@pytest.mark.reference
@pytest.mark.parametrize("case", [c for c in CASES if "StabilizedRegression" in stored(f"{c}.r")])
def test_stabilised_regression_equals_r(case):
    expected = stored(f"{case}.r")["StabilizedRegression"]
    fit = StabilizedRegression(alpha_pred=None, compat="R").fit(table(case), "y", env="env")
    ours = fit.table_.set_index("subset")
    weights = dict(zip(fit.table_["subset"], fit.table_["weight"], strict=True))
    for one, weight in zip(expected["learners"], expected["weighting"], strict=True):
        subset = tuple(j - 1 for j in one["S"])
        row = ours.loc[[subset]].iloc[0]
        assert row["p_value"] == pytest.approx(one["p_stab"], abs=EXACT)
        assert row["mse"] == pytest.approx(one["mse"], rel=EXACT)
        assert weights[subset] == pytest.approx(weight, abs=EXACT)
    assert_allclose([fit.intercept_, *fit.coef_], expected["coef"], rtol=EXACT, atol=EXACT)
    assert_allclose(fit.importance_, expected["importance"], rtol=EXACT, atol=EXACT)


# -------------------------------------------------------------------- closed forms


def test_anchor_limits():
    x, y, env = example()
    ols = AnchorRegression(1.0, vcov="HC1").fit(x, y, env=env)
    plain = LinearRegression().fit(x, y)
    assert_allclose(ols.coef_, plain.coef_)
    resid = y - plain.predict(x)
    Z = np.column_stack([np.ones(len(y)), x])
    bread = np.linalg.inv(Z.T @ Z)
    hc1 = bread @ (Z.T * resid**2) @ Z @ bread * len(y) / (len(y) - 4)
    assert_allclose(ols.vcov_, hc1)
    # Two covariates, three environments: gamma to infinity is two-stage least squares.
    D = np.eye(3)[env]
    fitted = D @ np.linalg.lstsq(D, x[:, :2], rcond=None)[0]
    first = np.column_stack([np.ones(len(y)), fitted])
    tsls = np.linalg.solve(first.T @ np.column_stack([np.ones(len(y)), x[:, :2]]), first.T @ y)
    limit = AnchorRegression(1e9).fit(x[:, :2], y, env=env)
    assert_allclose([limit.intercept_, *limit.coef_], tsls, rtol=1e-5)


def drig_criterion(x, y, env, gamma, weights):
    mean = np.append(x, y[:, None], axis=1)[env == 0].mean(axis=0)
    centred, response = x - mean[:-1], y - mean[-1]

    def value(b):
        risk = [((response - centred @ b)[env == e] ** 2).mean() for e in range(3)]
        return risk[0] + gamma * sum(w * (r - risk[0]) for w, r in zip(weights, risk, strict=True))

    return value


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 5.0])
@pytest.mark.parametrize("weights", [(1 / 3, 1 / 3, 1 / 3), (0.2, 0.5, 0.3)])
def test_drig_minimises_its_criterion(gamma, weights):
    x, y, env = example()
    fit = DRIG(gamma, env_weight=dict(enumerate(weights))).fit(x, y, env=env)
    value = drig_criterion(x, y, env, gamma, weights)
    best = optimize.minimize(value, np.zeros(3), method="BFGS", options={"gtol": 1e-9})
    assert_allclose(fit.coef_, best.x, atol=SOLVER)
    assert value(fit.coef_) <= best.fun + 1e-12
    if gamma == 0:
        alone = LinearRegression().fit(x[env == 0], y[env == 0])
        assert_allclose([fit.intercept_, *fit.coef_], [alone.intercept_, *alone.coef_])


def test_drig_without_minimum_is_refused():
    x, y, env = example()
    x[env != 0] *= 0.01
    with pytest.raises(IdentificationError, match="no minimum: the smallest eigenvalue"):
        DRIG(10.0).fit(x, y, env=env)
    with pytest.raises(ParameterError, match="reference='z' is not an environment"):
        DRIG(reference="z").fit(x, y, env=env)
    with pytest.raises(ParameterError, match="no weight for 1, 2"):
        DRIG(env_weight={0: 1.0}).fit(x, y, env=env)
    with pytest.raises(DataError, match="not negative"):
        DRIG(env_weight={0: 1.0, 1: -1.0, 2: 0.0}).fit(x, y, env=env)


@pytest.mark.parametrize("cls", [AnchorRegression, DRIG])
def test_standard_errors_are_the_jackknife_ones(cls):
    x, y, env = example(n=300)
    fit = cls(3.0, keep_influence=True).fit(x, y, env=env)
    draws = np.array(
        [
            np.append(f.intercept_, f.coef_)
            for i in range(300)
            for f in [cls(3.0).fit(np.delete(x, i, 0), np.delete(y, i), env=np.delete(env, i))]
        ]
    )
    pseudo = 300 * np.append(fit.intercept_, fit.coef_) - 299 * draws
    # First order: influence and pseudo-values differ by terms of order 1/n.
    jackknife = pseudo.std(axis=0, ddof=1) / np.sqrt(300)
    assert_allclose(fit.std_error_, jackknife, rtol=0.06)
    if cls is AnchorRegression:
        correlation = [
            np.corrcoef(a, b)[0, 1] for a, b in zip(fit.result_.influence.T, pseudo.T, strict=True)
        ]
        assert min(correlation) > 0.999


@pytest.mark.parametrize("cls", [AnchorRegression, DRIG])
def test_vcov_and_clusters_must_fit(cls):
    x, y, env = example()
    with pytest.raises(ParameterError, match="do not fit"):
        cls(vcov="CR1").fit(x, y, env=env)
    groups = np.arange(600) // 6
    fit = cls(vcov="CR1").fit(x, y, env=env, clusters=groups)
    assert fit.result_.n_clusters == 100
    assert "cluster-robust" in str(fit.summary())


def test_anchor_with_collinear_columns_names_them():
    x, y, env = example()
    x[:, 2] = x[:, 0] + x[:, 1]
    with pytest.raises(CollinearityError, match="'x2' is a linear combination of 'x0', 'x1'"):
        AnchorRegression().fit(x, y, env=env)


# ---------------------------------------------------------------------- hidden, IRM, DRO


def test_hidden_icp_finds_the_effect_that_least_squares_misses():
    rng = np.random.default_rng(1)
    env = np.repeat([0, 1, 2], 3000)
    hidden = rng.normal(size=9000)
    x = np.column_stack([hidden, -hidden]) + rng.normal(size=(9000, 2)) * (1 + env[:, None])
    y = x @ [1.0, 0.5] + 2 * hidden + rng.normal(size=9000)
    fit = HiddenICP(fit_intercept=False).fit(x, y, env=env)
    limits = fit.confint().to_numpy()
    assert np.ptp(limits, axis=1).max() < 0.5
    assert ((limits[:, 0] < [1, 0.5]) & (limits[:, 1] > [1, 0.5])).all()
    assert (np.abs(LinearRegression().fit(x, y).coef_ - [1, 0.5]) > 0.1).all()
    assert "no environment acts on the outcome or on the hidden variables" in str(fit.summary())


def test_hidden_icp_with_ones_says_that_means_do_not_shift():
    x, y, env = example()
    fit = HiddenICP().fit(x - env[:, None] * [1, 0, -1], y, env=env)
    text = " ".join(str(fit.summary()).split())
    assert "identified by shifts of means, and those are weak here" in text
    # Environment 1 lies midway between the others until all means move apart.
    moved = x + np.array([0.0, 3.0, 9.0])[env][:, None] * [1, 2, 3]
    assert "shifts of means" not in str(HiddenICP().fit(moved, y, env=env).summary())
    centred = x - np.array([x[env == e].mean(axis=0) for e in range(3)])[env]
    with pytest.raises(IdentificationError, match=r"along '.Intercept.'.*means must shift"):
        HiddenICP().fit(centred, y, env=env)


def test_hidden_icp_without_shift_names_the_direction():
    x, y, env = example()
    x[:, 2] = x[:, 0]
    with pytest.raises(IdentificationError, match="nothing shifts along 'x2'"):
        HiddenICP(fit_intercept=False).fit(x, y, env=env)


def test_hidden_icp_reports_contradiction_as_nan():
    rng = np.random.default_rng(0)
    env = np.repeat([0, 1, 2], 30_000)
    x = rng.normal(size=(90_000, 1)) * np.array([1.0, 3.0, 9.0])[env][:, None]
    x += np.array([0.0, 5.0, 20.0])[env][:, None]
    y = x[:, 0] * np.array([1.0, 2.0, 2.5])[env] + 0.1 * rng.normal(size=90_000)
    fit = HiddenICP(fit_intercept=False).fit(x, y, env=env)
    b, se = fit.env_coef_["x0"], fit.env_stderr_["x0"]
    assert np.ptp(b) > 10 * se.max()  # they cannot agree
    assert fit.confint().isna().all(axis=None)
    assert "contradict one another for x0" in str(fit.summary())


@pytest.mark.parametrize("objective", [irm_objective, vrex_objective])
def test_gradients(objective):
    x, y, env = example()
    risks = env_risks(read_rows(LinearIRM(), x, y, env))
    value = objective(risks, 3.0)
    b = np.array([0.3, 1.0, -2.0, 0.5])
    numeric = optimize.approx_fprime(b, lambda v: value(v)[0], 1e-7)
    assert_allclose(value(b)[1], numeric, rtol=1e-5, atol=1e-4)


def test_risks_are_mean_squared_errors():
    x, y, env = example()
    for fit in (LinearIRM(2.0, random_state=0), VREx(2.0, random_state=0), GroupDRO()):
        fit.fit(x * 100 + 1e3, y * 10 - 7, env=env)
        error = (y * 10 - 7 - fit.predict(x * 100 + 1e3)) ** 2
        assert_allclose(fit.env_risk_, [error[env == e].mean() for e in range(3)], rtol=1e-6)


def test_penalty_zero_is_least_squares_with_equal_environments():
    x, y, env = example()
    w = 1 / np.bincount(env)[env]
    plain = LinearRegression().fit(x, y, sample_weight=w)
    for cls in (LinearIRM, VREx):
        fit = cls(0.0, random_state=0).fit(x, y, env=env)
        assert_allclose(fit.coef_, plain.coef_, atol=SOLVER)
        assert fit.intercept_ == pytest.approx(plain.intercept_, abs=SOLVER)


def test_penalties_do_what_they_say():
    x, y, env = example()
    y = y + x[:, 2] * np.array([0.0, 0.5, 1.0])[env]
    spread = [np.ptp(VREx(p, random_state=0).fit(x, y, env=env).env_risk_) for p in (0, 1, 100)]
    assert spread[0] > spread[1] > spread[2]
    worst = GroupDRO().fit(x, y, env=env).env_risk_.max()
    for other in (VREx(random_state=0), LinearIRM(random_state=0), LinearIRM(0, random_state=0)):
        assert worst <= other.fit(x, y, env=env).env_risk_.max() + 1e-6


def test_no_convergence_is_said():
    x, y, env = example()
    with pytest.warns(ConvergenceWarning, match="LinearIRM did not converge in"):
        fit = LinearIRM(1e4, max_iter=1, n_starts=0).fit(x, y, env=env)
    assert not fit.converged_
    assert "NOT converged" in str(fit.summary())


# ---------------------------------------------------------------------- subsets


def test_strategies():
    rng = np.random.default_rng(5)
    env = np.repeat([0, 1, 2], 300)
    x1 = rng.normal(size=900) * (1 + env)
    y = x1 + rng.normal(size=900)
    x2 = y * (1 - env) + rng.normal(size=900)
    x = np.column_stack([x1, x2])
    search = InvariantSubsets().fit(x, y, env=env)
    assert search.best_ == search.intersection_ == (0,)
    average = InvariantRegressor("average").fit(x, y, env=env)
    assert search.accepted_ == [(0,), (0, 1)]
    both = [LinearRegression().fit(x[:, list(S)], y).coef_ for S in search.accepted_]
    assert_allclose(average.coef_, [(both[0][0] + both[1][0]) / 2, both[1][1] / 2])
    for strategy in ("best", "intersection", "minimax"):
        fit = InvariantRegressor(strategy).fit(x, y, env=env)
        assert fit.get_support(indices=True).tolist() == [0]
        assert fit.coef_[1] == 0
        assert fit.coef_[0] == pytest.approx(1, abs=0.1)
        assert fit.score(x, y) > 0.5
        assert "Variables used: x0" in str(fit.summary())
    plain = LinearRegression().fit(x[:, :1], y)
    assert InvariantRegressor().fit(x, y, env=env).coef_[0] == pytest.approx(plain.coef_[0])


def test_minimax_minimises_the_largest_excess_risk():
    x, y, env = example()
    y = y + x[:, 1] * np.array([0.0, 0.2, 0.4])[env]
    fit = InvariantRegressor("minimax", eps=100.0).fit(x, y, env=env)
    S = fit.get_support(indices=True)
    Z = np.column_stack([np.ones(len(y)), x[:, S]])
    least = [
        ((y - Z @ np.linalg.lstsq(Z[env == e], y[env == e], rcond=None)[0])[env == e] ** 2).mean()
        for e in range(3)
    ]

    def excess(b):
        error = (y - Z @ b) ** 2
        return max(error[env == e].mean() - least[e] for e in range(3))

    ours = np.append(fit.intercept_, fit.coef_[S])
    best = min(
        optimize.minimize(excess, ours + s, method="Nelder-Mead", options={"xatol": 1e-9}).fun
        for s in (0.0, 0.05, -0.05)
    )
    assert excess(ours) <= best + SOLVER


def test_no_suitable_set_is_an_error():
    rng = np.random.default_rng(0)
    env = np.repeat([0, 1], 200)
    x = rng.normal(size=(400, 1))
    y = 5 * env * (1 + x[:, 0]) + rng.normal(size=400)
    with pytest.raises(IdentificationError, match=r"No set has psi <= eps = 0\.01; the smallest"):
        InvariantRegressor(eps=0.01).fit(x, y, env=env)
    with pytest.raises(IdentificationError, match=r"No set is accepted at alpha = 0\.05"):
        InvariantRegressor("average").fit(x, y, env=env)


def test_stabilised_regression_without_stable_set_takes_the_top_tenth():
    rng = np.random.default_rng(0)
    env = np.repeat([0, 1], 200)
    x = rng.normal(size=(400, 3))
    y = 5 * env * (1 + x[:, 0]) + rng.normal(size=400)
    fit = StabilizedRegression(random_state=0).fit(x, y, env=env)
    assert not fit.stable_
    assert (fit.table_["weight"] > 0).sum() == 1
    assert "No subset was stable" in str(fit.summary())


def test_prediction_limit_removes_poor_sets():
    x, y, env = example()
    loose = StabilizedRegression(alpha_pred=None).fit(x, y, env=env)
    strict = StabilizedRegression(random_state=0).fit(x, y, env=env)
    kept, before = (set(f.table_.loc[f.table_["weight"] > 0, "subset"]) for f in (strict, loose))
    assert kept < before or kept == before
    assert strict.table_.loc[strict.table_["weight"] > 0, "mse"].max() < 1.3
    again = StabilizedRegression(random_state=0).fit(x, y, env=env)
    assert_allclose(again.coef_, strict.coef_, rtol=0, atol=0)


# ---------------------------------------------------------------------- nonlinear


@pytest.mark.parametrize("test", ["levene_wilcoxon", "ks", "hsic", "env_prediction"])
def test_nonlinear_icp_keeps_the_cause_and_drops_the_effect(test):
    rng = np.random.default_rng(0)
    env = np.repeat([0, 1], 300)
    x1 = rng.normal(size=600) * (1 + env)
    y = x1**2 + rng.normal(size=600)
    x2 = y + rng.normal(size=600) * (1 + 6 * env)
    x = np.column_stack([x1, x2])
    fit = NonlinearICP(test, random_state=0, n_permutations=200).fit(x, y, env=env)
    assert (0,) in fit.accepted_
    assert (1,) not in fit.accepted_
    early = clone(fit).set_params(stop_early=True).fit(x, y, env=env)
    assert early.intersection_ == fit.intersection_
    assert early.pvalues_ is None


@pytest.mark.parametrize("test", ["target_prediction", "quantile_prediction"])
def test_prediction_tests_see_a_direct_effect_of_the_environment(test):
    rng = np.random.default_rng(0)
    env = np.repeat([0, 1, 2], 200)
    x = rng.normal(size=(600, 1))
    same = x[:, 0] ** 2 + rng.normal(size=600)
    moved = same + 2 * env
    fit = NonlinearICP(test, random_state=0)
    assert clone(fit).fit(x, moved, env=env).model_rejected_
    kept = clone(fit).fit(x, same, env=env)
    assert not kept.model_rejected_
    assert "Assumes:" in str(kept.summary())
    assert kept.defining_sets_ == [] or kept.intersection_ == (0,)


# ---------------------------------------------------------------------- all of them


@pytest.mark.parametrize("est", PREDICTORS, ids=name_of)
def test_units_names_and_prediction(est):
    x, y, env = example()
    frame = pd.DataFrame(x, columns=list("abc")).assign(y=y, place=env)
    plain = clone(est).fit(frame, "y", env="place")
    assert_allclose(plain.predict(frame), plain.predict(frame[["a", "b", "c"]]))
    fitted = x @ plain.coef_ + plain.intercept_
    assert_allclose(plain.predict(frame), fitted)
    scaled = clone(est).fit(x * [1e3, 1, 1], y, env=env)
    assert_allclose(scaled.coef_ * [1e3, 1, 1], plain.coef_, rtol=1e-5, atol=1e-5)
    text = str(plain.summary())
    assert type(est).__name__ in text
    assert "Assumes:" in text
    assert list(plain.tidy()["term"])[-3:] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "est",
    [e for e in PREDICTORS if type(e) not in (AnchorRegression, DRIG, HiddenICP)],
    ids=name_of,
)
def test_scikit_learn_checks(est):
    options = est.get_params()
    if "eps" in options:
        options["eps"] = 1e6
    if "max_size" in options:
        options["max_size"] = 1
    if options.get("strategy") in ("average", "intersection"):
        options["alpha"] = 1e-300
    expected = {}
    if isinstance(est, (LinearIRM, VREx, GroupDRO, InvariantRegressor)):
        expected["check_sample_weight_equivalence_on_dense_data"] = (
            "environments are invented from the position of a row, so that repeated rows are others"
        )
    if options.get("strategy") in ("best", "minimax"):
        expected["check_estimators_dtypes"] = (
            "its outcome is the parity of the row, as is the invented environment: psi is infinite"
        )
    with warnings.catch_warnings(action="ignore"):
        outcomes = check_estimator(
            with_invented_roles(type(est))(**options),
            expected_failed_checks=expected,
            on_fail=None,
        )
    failed = [(o["check_name"], str(o["exception"])) for o in outcomes if o["status"] == "failed"]
    assert not failed


def test_sample_weights_repeat_rows():
    x, y, env = example(n=200)
    times = np.random.default_rng(1).integers(0, 4, size=200)
    again = [np.repeat(v, times, axis=0) for v in (x, y)]
    for est in (
        GroupDRO(),
        LinearIRM(random_state=0),
        VREx(random_state=0),
        InvariantRegressor(eps=1e6),
        InvariantRegressor("minimax", eps=1e6),
    ):
        one = clone(est).fit(x, y, env=env, sample_weight=times)
        two = clone(est).fit(*again, env=np.repeat(env, times))
        assert_allclose(one.coef_, two.coef_, atol=SOLVER)
