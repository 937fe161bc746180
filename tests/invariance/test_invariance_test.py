"""InvarianceTest: psi by two routes, representations, errors, streams, bad input, words."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.preprocessing import PolynomialFeatures

from robuststat import (
    DataError,
    IdentificationError,
    InvarianceTest,
    ParameterError,
    RoleError,
    chow_test,
    predictive_chow_test,
)
from robuststat.invariance._gap import CoefTest
from robuststat.simulation import make_environments, make_invariant_sem

# Moments and rows are summed in another order.
TOL = 1e-10


@pytest.fixture(scope="module")
def draw():
    return make_invariant_sem(3, 80, 4, random_state=5)


def fitted(draw, *args, weights=None, clusters=None, **options):
    est = InvarianceTest(*args, **options)
    return est.fit(draw.X, draw.y, env=draw.env, sample_weight=weights, clusters=clusters)


def separate(Z, y, codes):
    """Coefficients and residual sums of squares by lstsq, environment by environment."""
    coef = [np.linalg.lstsq(Z[codes == e], y[codes == e])[0] for e in np.unique(codes)]
    ssr = [((y - Z @ w)[codes == e] ** 2).sum() for e, w in enumerate(coef)]
    return np.array(coef), np.array(ssr)


def test_psi_and_gaps_from_the_definition(draw):
    fit = fitted(draw, standardize=False, measure="coef", aggregate="max")
    Z = np.column_stack([np.ones(240), draw.X])
    coef, ssr = separate(Z, draw.y, draw.env)
    common = np.linalg.lstsq(Z, draw.y)[0]
    np.testing.assert_allclose(fit.env_coef_, coef, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(fit.pooled_coef_, common, rtol=1e-9)
    sigma2 = ssr.sum() / (240 - 15)
    assert fit.sigma2_ == pytest.approx(sigma2, rel=TOL)
    M = [Z[draw.env == e].T @ Z[draw.env == e] / 80 for e in range(3)]
    off = coef - common
    risk = [d @ m @ d for d, m in zip(off, M, strict=True)]
    table = fit.env_gap_
    np.testing.assert_allclose(table["risk_gap"], risk, rtol=1e-8)
    np.testing.assert_allclose(table["coef_gap"], np.linalg.norm(off, axis=1), rtol=1e-8)
    grad = [np.linalg.norm(m @ d) for d, m in zip(off, M, strict=True)]
    np.testing.assert_allclose(table["grad_gap"], grad, rtol=1e-8)
    assert fit.gap_ == pytest.approx(np.linalg.norm(off, axis=1).max())
    F = 80 * sum(risk) / 10 / sigma2
    assert fit.chow_.statistic == pytest.approx(F, rel=1e-9)
    assert fit.psi_ == pytest.approx(max(0, 10 * (F * 223 / 225 - 1)) / 240, rel=1e-9)
    assert fitted(draw).gap_ == pytest.approx(fit.psi_ * sigma2, rel=1e-9)


def test_identities_of_the_gaps(draw):
    # g' M^-1 g is the risk gap; eigenvalues of M bound it by the squared distance; the pooled
    # coefficients minimise the average risk gap.
    table = fitted(draw, standardize=False).env_gap_
    Z = np.column_stack([np.ones(240), draw.X])
    M = np.stack([Z[draw.env == e].T @ Z[draw.env == e] / 80 for e in range(3)])
    values = np.linalg.eigvalsh(M)
    risk, square = table["risk_gap"], table["coef_gap"] ** 2
    assert (values[:, 0] * square <= risk * (1 + 1e-9)).all()
    assert (risk <= values[:, -1] * square * (1 + 1e-9)).all()
    pairwise = fitted(draw, measure="coef", aggregate="pairwise").gap_
    minimax = fitted(draw, measure="coef", aggregate="minimax").gap_
    worst = fitted(draw, measure="coef", aggregate="max").gap_
    k = 5
    # Jung's theorem, and the bound for points of the convex hull.
    assert pairwise / 2 <= minimax * (1 + 1e-6)
    assert minimax <= pairwise * np.sqrt(k / (2 * (k + 1))) * (1 + 1e-6)
    assert minimax <= worst * (1 + 1e-6)


def test_risk_gap_does_not_depend_on_the_basis(draw):
    A = np.random.default_rng(0).normal(size=(4, 4))
    plain, mixed = fitted(draw), fitted(draw, A)
    assert mixed.psi_ == pytest.approx(plain.psi_, rel=1e-9)
    np.testing.assert_allclose(mixed.env_gap_["risk_gap"], plain.env_gap_["risk_gap"], rtol=1e-8)
    assert mixed.pvalue_ == pytest.approx(plain.pvalue_, rel=1e-8)


@pytest.mark.parametrize(
    "representation",
    [["x3", "x1"], [2, 0], np.eye(4)[[2, 0]], lambda X: X[:, [2, 0]]],
    ids=["names", "positions", "matrix", "function"],
)
def test_ways_to_say_a_representation(draw, representation):
    fit = fitted(draw, representation)
    direct = InvarianceTest().fit(draw.X[["x3", "x1"]], draw.y, env=draw.env)
    assert fit.psi_ == pytest.approx(direct.psi_, rel=TOL, abs=1e-15)
    np.testing.assert_allclose(fit.result_.estimate, direct.result_.estimate, rtol=1e-9)
    np.testing.assert_allclose(
        fit.augment(draw.X)[".fitted"], direct.augment(draw.X[["x3", "x1"]])[".fitted"], rtol=1e-8
    )


def test_transformer_and_empty_representation(draw):
    squares = PolynomialFeatures(2, include_bias=False)
    assert fitted(draw, squares).result_.estimate.shape == (15,)
    empty = fitted(draw, [])
    one_way = chow_test(draw.X[[]].assign(one=1.0)[[]], draw.y, env=draw.env)
    assert empty.chow_.p_value == pytest.approx(one_way.p_value)
    assert empty.chow_.df1 == 2


def test_formula_names_dict_and_weights(draw):
    plain = fitted(draw, ["x1", "x2"])
    by_formula = InvarianceTest(formula="y ~ x1 + x2").fit(draw.frame, env="env")
    assert by_formula.psi_ == pytest.approx(plain.psi_, rel=TOL, abs=1e-15)
    rows = {f"e{e}": np.flatnonzero(draw.env == e) for e in range(3)}
    named = InvarianceTest(["x1", "x2"]).fit(draw.X, draw.y, env=rows)
    assert named.psi_ == plain.psi_
    assert list(named.env_coef_.index) == ["e0", "e1", "e2"]
    # Weights are relative; a weight of zero is no row.
    assert fitted(draw, weights=np.full(240, 7.0)).psi_ == pytest.approx(fitted(draw).psi_)
    weights = np.ones(240)
    weights[::5] = 0.0
    kept = InvarianceTest().fit(draw.X[weights > 0], draw.y[weights > 0], env=draw.env[weights > 0])
    assert fitted(draw, weights=weights).pvalue_ == pytest.approx(kept.pvalue_, rel=1e-9)


def test_without_intercept(draw):
    fit = fitted(draw, fit_intercept=False)
    coef, ssr = separate(draw.X.to_numpy(), draw.y, draw.env)
    np.testing.assert_allclose(fit.env_coef_, coef, rtol=1e-8)
    assert fit.sigma2_ == pytest.approx(ssr.sum() / (240 - 12), rel=TOL)
    with pytest.raises(ParameterError, match="Write '- 1' in the formula"):
        InvarianceTest(formula="y ~ x1", fit_intercept=False).fit(draw.frame, env="env")


def test_welch_without_environments_differences_equals_wald(draw):
    # Two environments, known formula: (w1 - w2)'(V1 + V2)^-1 (w1 - w2) before the correction.
    on = draw.env < 2
    fit = InvarianceTest(error="welch").fit(draw.X[on], draw.y[on], env=draw.env[on])
    Z = np.column_stack([np.ones(on.sum()), draw.X[on]])
    codes = draw.env[on]
    coef, ssr = separate(Z, draw.y[on], codes)
    V = [ssr[e] / 75 * np.linalg.inv(Z[codes == e].T @ Z[codes == e]) for e in range(2)]
    d = coef[0] - coef[1]
    W = d @ np.linalg.solve(V[0] + V[1], d)
    P = [np.linalg.inv(v) for v in V]
    lack = [np.eye(5) - np.linalg.solve(P[0] + P[1], p) for p in P]
    A = 0.5 * sum((np.trace(m @ m) + np.trace(m) ** 2) / 75 for m in lack)
    assert fit.chow_.statistic == pytest.approx(W / (5 + 2 * A - 6 * A / 7), rel=1e-8)
    assert fit.chow_.df2 == pytest.approx(35 / (3 * A), rel=1e-8)
    np.testing.assert_allclose(fit.env_stderr_.iloc[0], np.sqrt(np.diag(V[0])), rtol=1e-8)


def test_clusters_and_hc3(draw):
    # Singleton clusters are HC2: close to HC3 with 80 rows an environment.
    singles = fitted(draw, error="cluster", clusters=np.arange(240))
    robust = fitted(draw, error="HC3")
    assert singles.chow_.statistic == pytest.approx(robust.chow_.statistic, rel=0.25)
    np.testing.assert_allclose(singles.std_error_, robust.std_error_, rtol=0.1)
    doubled = pd.concat([draw.frame, draw.frame])
    twice = InvarianceTest(error="cluster").fit(
        doubled[["x1", "x2", "x3", "x4"]],
        doubled["y"],
        env=doubled["env"],
        clusters=np.tile(np.arange(240), 2),
    )
    # Repeating every row tells nothing new when clusters say so.
    assert twice.chow_.statistic == pytest.approx(singles.chow_.statistic, rel=1e-8)
    assert twice.chow_.p_value == pytest.approx(singles.chow_.p_value, rel=1e-6)
    crossing = fitted(draw, error="cluster", clusters=np.tile(np.arange(80), 3))
    assert crossing.chow_.df2 == 79 - 10 + 1
    assert crossing.result_.n_clusters == 80


def test_equivalence_and_relevance_are_complementary(draw):
    fit = fitted(draw)
    assert fit.pvalue_relevant_ + fit.pvalue_equivalence_ == pytest.approx(1.0)
    low, high = fit.conf_int(0.9)
    at_high = clone(fit).set_params(eps=high).fit(draw.X, draw.y, env=draw.env)
    assert at_high.pvalue_equivalence_ == pytest.approx(0.05, abs=1e-8)
    assert fit.conf_int(0.95, side="upper")[1] == pytest.approx(high, rel=1e-9)
    assert fit.conf_int(0.95, side="lower")[0] == pytest.approx(low, rel=1e-9, abs=1e-12)
    assert fit.psi_conf_int_[0] <= low <= fit.psi_ <= high <= fit.psi_conf_int_[1]


def test_interval_is_exact_for_large_noncentrality():
    found = CoefTest(50.0, 10, 5000, 5020, "homo")
    low, high = found.interval(0.95)
    assert CoefTest(50.0, 10, 5000, 5020, "homo").p_equivalence(high) == pytest.approx(0.025)
    assert found.p_relevant(low) == pytest.approx(0.025)


def test_leave_one_env_out(draw):
    table = fitted(draw).leave_one_env_out()
    Z = np.column_stack([np.ones(240), draw.X])
    for e in range(3):
        w = np.linalg.lstsq(Z[draw.env != e], draw.y[draw.env != e])[0]
        error = ((draw.y - Z @ w)[draw.env == e] ** 2).mean()
        assert table["mse_out"][e] == pytest.approx(error, rel=1e-9)
        others = InvarianceTest().fit(
            draw.X[draw.env != e], draw.y[draw.env != e], env=draw.env[draw.env != e]
        )
        assert table["psi_without"][e] == pytest.approx(others.psi_, rel=1e-8, abs=1e-14)
    assert (table["mse_own"] <= table["mse_pooled"] + 1e-12).all()
    on = draw.env < 2
    pair = InvarianceTest().fit(draw.X[on], draw.y[on], env=draw.env[on]).leave_one_env_out()
    assert pair["psi_without"].isna().all()


def test_tests_from_rows_run_and_answer_the_same_question(draw):
    for test in ("ks", "ranks", "levene_wilcoxon", "hsic", "correlation", "chow"):
        true = fitted(draw, draw.parents, test=test, random_state=0)
        assert 0 <= true.pvalue_ <= 1
        shifted = draw.y + 3.0 * (draw.env == 1)
        broken = InvarianceTest(draw.parents, test=test, random_state=0)
        assert broken.fit(draw.X, shifted, env=draw.env).pvalue_ < 0.01, test
    assert fitted(draw, test="ranks").pvalue_ == fitted(draw, test="levene_wilcoxon").pvalue_


def test_hsic_is_reproducible_and_features_agree_with_the_kernel(monkeypatch):
    from robuststat.invariance import _nulls as nulls

    draw = make_invariant_sem(2, 150, 2, random_state=1)
    y = draw.y * (1 + 0.25 * draw.env)
    exact = InvarianceTest(draw.parents, test="hsic", random_state=3).fit(draw.X, y, env=draw.env)
    again = clone(exact).fit(draw.X, y, env=draw.env)
    assert exact.pvalue_ == again.pvalue_
    monkeypatch.setattr(nulls, "HSIC_ROWS", 100)
    rough = clone(exact).fit(draw.X, y, env=draw.env)
    assert rough.statistic_ == pytest.approx(exact.statistic_, rel=0.5)


def test_user_test_and_corrections(draw):
    seen = []

    def largest_mean(resid, rest):
        seen.append((len(resid), len(rest)))
        return 0.02

    fit = fitted(draw, test=largest_mean)
    assert seen == [(80, 160)] * 3
    assert fit.pvalue_ == pytest.approx(0.04)
    assert fitted(draw, test=largest_mean, correction="K").pvalue_ == pytest.approx(0.06)
    with pytest.raises(DataError, match=r"must return a p-value in \[0, 1\]"):
        fitted(draw, test=lambda resid, rest: 2.0)


def test_binary_outcome():
    draw = make_invariant_sem(3, 150, 4, outcome="binary", random_state=2)
    with pytest.warns(UserWarning, match=r"replaced by test='logistic_lr'"):
        fit = InvarianceTest(draw.parents).fit(draw.X, draw.y, env=draw.env)
    assert fit.test_ == "logistic_lr"
    with pytest.warns(UserWarning, match=r"replaced by test='logistic_t'"):
        parity = InvarianceTest(draw.parents, compat="R").fit(draw.X, draw.y, env=draw.env)
    assert parity.test_ == "logistic_t"
    # A likelihood ratio by statsmodels, environment 0 against the others.
    from statsmodels.discrete.discrete_model import Logit

    Z = np.column_stack([np.ones(450), draw.X[draw.parents]])
    parts = [draw.env == 0, draw.env != 0]
    split = sum(Logit(draw.y[on], Z[on]).fit(disp=0).llf for on in parts)
    from scipy.stats import chi2

    p = chi2.sf(2 * (split - Logit(draw.y, Z).fit(disp=0).llf), Z.shape[1])
    assert fit.env_gap_["p_value"][0] == pytest.approx(p, rel=1e-6)
    cont = make_invariant_sem(3, 150, 4, random_state=2)
    with pytest.raises(DataError, match="y has 450"):
        InvarianceTest(test="logistic_lr").fit(cont.X, cont.y, env=cont.env)


def test_stream_equals_memory(draw, tmp_path):
    frame = draw.frame.sample(frac=1, random_state=0)
    chunks = [frame.iloc[:7], frame.iloc[7:100], frame.iloc[100:]]
    for options in ({}, {"error": "welch"}, {"test": "chow"}, {"representation": ["x2"]}):
        here = InvarianceTest(**options).fit(draw.frame, "y", env="env")
        there = InvarianceTest(**options).fit_stream(chunks, "y", env="env")
        for name in ("psi_", "pvalue_", "sigma2_", "statistic_", "pvalue_equivalence_"):
            assert getattr(there, name) == pytest.approx(getattr(here, name), rel=TOL, abs=1e-14)
        np.testing.assert_allclose(there.result_.vcov, here.result_.vcov, rtol=1e-9)
        radius = here.certificate().radius
        assert there.certificate().radius == pytest.approx(radius, rel=1e-6)
    path = tmp_path / "rows.parquet"
    frame.to_parquet(path, index=False)
    by_file = InvarianceTest().fit(str(path), "y", env="env")
    assert by_file.psi_ == pytest.approx(InvarianceTest().fit(draw.frame, "y", env="env").psi_)
    assert len(pickle.dumps(by_file)) < 50_000


def test_stream_from_dask_and_missing(draw):
    dask = pytest.importorskip("dask.dataframe")
    frame = draw.frame.copy()
    frame.loc[3, "x1"] = np.nan
    here = InvarianceTest(missing="drop")
    with pytest.warns(UserWarning, match="1 of 240 rows dropped"):
        here.fit(frame, "y", env="env")
    there = InvarianceTest(missing="drop")
    with pytest.warns(UserWarning, match="1 rows dropped for missing values: x1 1"):
        there.fit_stream(dask.from_pandas(frame, npartitions=3), "y", env="env")
    assert there.psi_ == pytest.approx(here.psi_, rel=TOL)
    assert there.result_.diagnostics["n_dropped"] == 1


def test_stream_refuses_what_needs_rows(draw):
    frames = [draw.frame]
    for options, match in (
        ({"error": "HC3"}, "needs the rows"),
        ({"test": "ks"}, "needs the rows themselves"),
        ({"representation": np.abs}, "needs a linear representation"),
        ({"formula": "y ~ x1"}, "formula= has no effect"),
    ):
        with pytest.raises(ParameterError, match=match):
            InvarianceTest(**options).fit_stream(frames, "y", env="env")
    with pytest.raises(RoleError, match="env= as a column name"):
        InvarianceTest().fit_stream(frames, "y", env=draw.env)
    with pytest.raises(ParameterError, match="clusters= needs rows in memory"):
        InvarianceTest().fit(frames, "y", env="env", clusters="x1")
    with pytest.raises(DataError, match="text columns"):
        InvarianceTest().fit_stream([draw.frame.assign(t="a")], "y", env="env")


def test_constant_within_an_environment():
    draw = make_environments(4, 40, 3, random_state=0)
    X = draw.X.copy()
    X.loc[draw.env == 2, "x1"] = 1.5
    with pytest.warns(UserWarning, match="1 of 4 environments do not identify"):
        fit = InvarianceTest().fit(X, draw.y, env=draw.env)
    assert np.isnan(fit.env_coef_.loc[2, "x1"])
    assert fit.chow_.df1 == 3 * 3 - 1
    assert "do not identify all coefficients" in str(fit.summary())
    with pytest.raises(ParameterError, match="1 environments do not identify them: 2"):
        fit.certificate()
    with pytest.raises(DataError, match=r"error='welch' needs more than 6 rows .* 1 have not: 2"):
        InvarianceTest(error="welch").fit(X, draw.y, env=draw.env)


def test_bad_data(draw):
    X, y, env = draw.X, draw.y, draw.env
    cases = [
        (dict(env=np.zeros(240)), DataError, "at least two environments"),
        (dict(env=None), RoleError, "needs env="),
        (dict(env=np.where(np.arange(240) < 3, 9, env)), DataError, r"1 of 4 environments .*: 9\."),
        (dict(env=env[:5]), RoleError, "env has 5 values"),
        (dict(env={"a": [0, 1], "b": [1, 2]}), RoleError, "another environment has already"),
        (dict(env={"a": [0, 1], "b": [2]}), RoleError, "leaves 237 of 240 rows"),
        (dict(env={"a": [0, 900]}), RoleError, "row positions in 0..239"),
    ]
    for roles, kind, match in cases:
        with pytest.raises(kind, match=match):
            InvarianceTest().fit(X, y, **roles)
    with pytest.raises(IdentificationError, match="Column 'c' is constant"):
        InvarianceTest().fit(X.assign(c=2.0), y, env=env)
    with pytest.raises(IdentificationError, match="'s' is a linear combination of 'x1', 'x2'"):
        InvarianceTest().fit(X.assign(s=X["x1"] + X["x2"]), y, env=env)
    broken = X.copy()
    broken.iloc[4, 1] = np.nan
    with pytest.raises(DataError, match="Column 'x2' has 1 missing values"):
        InvarianceTest().fit(broken, y, env=env)
    broken.iloc[4, 1] = np.inf
    with pytest.raises(DataError, match="'x2' of X holds infinity"):
        InvarianceTest().fit(broken, y, env=env)
    with pytest.raises(DataError, match=r"twice|duplicate|unique"):
        InvarianceTest().fit(pd.concat([X, X[["x1"]]], axis=1), y, env=env)


def test_small_environments_can_be_left_out(draw):
    env = np.where(np.arange(240) < 3, 9, draw.env)
    with pytest.warns(UserWarning, match=r"1 environments with at most 5 rows \(3 rows\)"):
        fit = InvarianceTest(drop_small=True).fit(draw.X, draw.y, env=env)
    on = env != 9
    rest = InvarianceTest().fit(draw.X[on], draw.y[on], env=env[on])
    assert fit.psi_ == pytest.approx(rest.psi_, rel=TOL)
    assert fit.n_env_ == 3
    assert "1 environments with too few rows" in str(fit.summary())


def test_unused_categories_are_dropped(draw):
    levels = pd.Categorical.from_codes(draw.env, categories=["a", "b", "c", "d"])
    assert InvarianceTest().fit(draw.X, draw.y, env=levels).n_env_ == 3


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"eps": -0.1}, "eps must be a number in"),
        ({"alpha": 1.0}, "alpha must be"),
        ({"test": "t"}, "test must be one of 'normal'"),
        ({"measure": "l2"}, "measure must be one of 'risk'"),
        ({"aggregate": "sum"}, "aggregate must be"),
        ({"error": "HC9"}, "error must be"),
        ({"correction": "none"}, "correction must be"),
        ({"compat": "S"}, "compat must be None or one of 'R'"),
        ({"representation": 3}, "representation must be"),
        ({"representation": ["x1", "z"]}, "'z' is not a covariate"),
        ({"representation": ["x1", 0]}, "named twice"),
        ({"representation": np.eye(3)}, r"shape \(3, 3\) for 4 covariates"),
        ({"representation": lambda X: X[:3]}, "one finite row a row of X"),
        ({"error": "cluster"}, "pass clusters exactly with"),
        ({"formula": "y ~ x1", "representation": ["x1"]}, "Write the terms in"),
    ],
)
def test_bad_options(draw, options, match):
    X, y = (draw.frame, None) if "formula" in options else (draw.X, draw.y)
    with pytest.raises(ParameterError, match=match):
        InvarianceTest(**options).fit(X, y, env=draw.env)


def test_weights_have_no_rank_test(draw):
    with pytest.raises(ParameterError, match="no weighted version"):
        fitted(draw, test="ks", weights=np.ones(240))


def test_too_few_clusters(draw):
    with pytest.raises(DataError, match="6 clusters that cross environments cannot test 10"):
        fitted(draw, error="cluster", clusters=np.arange(240) % 6)
    with pytest.raises(DataError, match="more than 6 clusters in every environment; 3 have fewer"):
        fitted(draw, error="cluster", clusters=np.arange(240) // 20)


def test_noise_free_outcome_is_infinitely_far_from_invariant(draw):
    y = draw.X["x1"].to_numpy() * (1.0 + draw.env)
    fit = InvarianceTest(["x1"], test="chow").fit(draw.X, y, env=draw.env)
    assert fit.psi_ == np.inf
    assert fit.chow_.p_value == 0.0
    assert np.isfinite(fit.gap_)


def test_a_gap_far_beyond_the_series_of_scipy():
    found = CoefTest(1e13, 10, 200, 250, "homo")
    low, high = found.interval(0.95)
    assert 0 < low < found.psi < high < np.inf
    assert found.p_equivalence(high) == pytest.approx(0.025, abs=1e-9)
    # The two formulas agree where both can be computed.
    from scipy.stats import chi2, ncf

    near = ncf.cdf(5e7, 10, 200, 4.6e8)
    assert chi2.sf(4.6e8 * 200 / (10 * 5e7), 200) == pytest.approx(near, abs=1e-4)


def test_words(draw):
    close = str(fitted(draw, draw.parents).summary())
    assert "Does it matter: no, psi is below eps = 0.05" in close
    assert "what to expect in the next environment" in close
    spread = make_environments(5, 60, 2, spread=1.0, random_state=0)
    far = InvarianceTest().fit(spread.X, spread.y, env=spread.env)
    assert "Does it matter: yes, psi is above eps = 0.05" in str(far.summary())
    assert "Assumes:" in str(far.summary())
    few = make_environments(3, 12, 2, random_state=0)
    unclear = InvarianceTest().fit(few.X, few.y, env=few.env)
    assert "Does it matter: undecided" in str(unclear.summary())
    noisy = spread.y * np.where(spread.env == 0, 9.0, 1.0)
    assert "error='welch' allows" in str(
        InvarianceTest().fit(spread.X, noisy, env=spread.env).summary()
    )
    for line in (close, str(far.summary()), str(unclear.summary())):
        assert max(map(len, line.splitlines())) <= 100


def test_plots(draw):
    fit = fitted(draw)
    assert fit.plot() is not None
    ax = fit.plot(kind="env", term="x1")
    assert len(fit.env_table("x1")) == 3
    assert ax is not None
    with pytest.raises(ParameterError, match="kind must be one of 'pooled', 'env', 'ball'"):
        fit.plot(kind="bal")
    with pytest.raises(ParameterError, match="is none of"):
        fit.plot(kind="env", term="q")


def test_r_factor_of_the_predictive_test(draw):
    ours = predictive_chow_test(draw.X, draw.y, env=draw.env)
    theirs = predictive_chow_test(draw.X, draw.y, env=draw.env, compat="R")
    np.testing.assert_allclose(
        theirs.table["statistic"], ours.table["statistic"] * 159 / 160, rtol=1e-12
    )
    assert "H0: each of the 3 environments is predicted" in str(ours)


def test_weights_that_are_inverse_variances_leave_equal_spread():
    rng = np.random.default_rng(0)
    env = np.repeat(["a", "b"], 300)
    spread = np.where(env == "a", 1.0, 3.0)
    x = rng.normal(size=(600, 2))
    y = x[:, 0] + spread * rng.normal(size=600)
    plain = InvarianceTest().fit(x, y, env=env)
    weighted = InvarianceTest().fit(x, y, env=env, sample_weight=spread**-2.0)
    assert plain.variance_pvalue_ < 1e-6
    assert weighted.variance_pvalue_ > 0.01


@pytest.mark.parametrize("centre", [[np.nan, 0.0, 0.0], [np.inf, 0.0, 0.0], ["a", "b", "c"]])
def test_centre_of_a_certificate_is_finite(centre):
    rng = np.random.default_rng(0)
    env = np.repeat(np.arange(30), 20)
    x = rng.normal(size=(600, 2))
    est = InvarianceTest().fit(x, x[:, 0] + rng.normal(size=600), env=env)
    with pytest.raises(ValueError, match="centre"):
        est.certificate(kind="split", centre=centre, radius=1.0)
