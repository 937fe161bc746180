"""InvariantSubsets against R, causalicp and brute force; families of sets; bad input."""

import json
import pickle
import subprocess
import sys
import warnings
from functools import cache
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

from robuststat import (
    ICP,
    InvarianceTest,
    InvariantRegressor,
    InvariantSubsets,
    NonlinearICP,
)
from robuststat._core.errors import DataError, ParameterError, RoleError
from robuststat.invariance import _engine
from robuststat.invariance._search import (
    Sizes,
    env_pvalues,
    hitting_sets,
    minimal_sets,
    two_sided_f,
)
from robuststat.testing import with_invented_roles

EXACT = 1e-8  # the same formulas in another language
KS = 1e-4  # R truncates the series of the limiting law
BINARY = 1e-5  # R stops its iterations for the logit model early
FOLDER = Path(__file__).parents[1] / "reference" / "invariance"
CASES = ["simA_p4_K2", "simB_p6_K3", "simC_p8_K5", "simD_p3_K2_small", "simE_p5_K4_large"]
SHARED = Path(__file__).parents[3] / "shared" / "reference" / "invariance"


@cache
def stored(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


@cache
def table(case):
    return pd.read_csv(FOLDER / f"{case}.csv")


def search(case, test="normal", **options):
    return InvariantSubsets(test, **options).fit(table(case), "y", env="env")


def pvalues(fit):
    frame = fit.table_
    return dict(zip(frame["subset"], frame["p_value"], strict=True))


@pytest.mark.reference
@pytest.mark.parametrize(
    ("test", "name", "tol"),
    [
        ("normal", "normal", EXACT),
        ("correlation", "correlation", EXACT),
        ("chow", "exact", EXACT),
        ("ks", "ks", KS),
    ],
)
@pytest.mark.parametrize("case", CASES)
def test_every_set_variable_and_interval_equals_r(case, test, name, tol):
    expected = stored(f"{case}.r")
    if name not in expected["ICP"]:
        pytest.skip("R subsamples environments above 200 rows for this test")
    fit = search(case, test, compat="R")
    ours = pvalues(fit)
    assert len(ours) == len(expected["sets"]) == 2 ** len(fit.names_)
    for one in expected["sets"]:
        assert ours[tuple(j - 1 for j in one["S"])] == pytest.approx(one[name], rel=0, abs=tol)
    icp = expected["ICP"][name]
    assert fit.model_rejected_ == icp["modelReject"]
    assert_allclose(fit.pvalues_, icp["pvalues"], rtol=0, atol=tol)
    limits = fit.confint()
    assert_allclose(limits["conf_low"], icp["ConfInt_lower"], rtol=0, atol=EXACT)
    assert_allclose(limits["conf_high"], icp["ConfInt_upper"], rtol=0, atol=EXACT)
    assert set(fit.accepted_) == {tuple(j - 1 for j in S) for S in icp["acceptedSets"]}


@pytest.mark.reference
@pytest.mark.parametrize("case", CASES)
def test_equals_causalicp(case):
    expected = stored(f"{case}.py")["causalicp"]
    fit = search(case)
    assert set(fit.accepted_) == {tuple(S) for S in expected["accepted"]}
    assert_allclose(fit.pvalues_, expected["pvalues"], rtol=0, atol=EXACT)
    assert fit.intersection_ == tuple(expected["estimate"])
    limits = fit.confint()
    assert_allclose(limits["conf_low"], expected["lower"], rtol=0, atol=EXACT)
    assert_allclose(limits["conf_high"], expected["upper"], rtol=0, atol=EXACT)


@pytest.mark.reference
@pytest.mark.parametrize("case", CASES)
def test_psi_mse_and_predictive_chow_equal_statsmodels(case):
    frame = search(case, "chow").table_.set_index("subset")
    n, K = len(table(case)), table(case)["env"].nunique()
    for one in stored(f"{case}.py")["tests"]:
        row = frame.loc[[tuple(one["S"])]].iloc[0]
        F, d1, d2 = one["chow_F"], one["df1"], one["df2"]
        assert row["psi"] == pytest.approx(max(0, d1 * (F * (d2 - 2) / d2 - 1)) / n, abs=EXACT)
        assert row["mse"] == pytest.approx(one["pooled_ssr"] / n, rel=EXACT)
        expected = min(1.0, K * min(one["predictive_chow_p"]))
        assert row["p_value"] == pytest.approx(expected, abs=EXACT)


def union_of_intervals(frame, accepted, tol):
    """Intervals of logit models by iteratively reweighted least squares, as R runs them."""
    y, p = frame["y"].to_numpy(), frame.shape[1] - 2
    low, high = np.full(p, np.inf), np.full(p, -np.inf)
    z = stats.norm.ppf(1 - 0.05 / 4)
    for S in accepted:
        columns = [j - 1 for j in S]
        Z = np.column_stack([np.ones(len(y)), frame.iloc[:, columns]])
        mu, deviance = (y + 0.5) / 2, np.inf
        eta = np.log(mu / (1 - mu))
        for _ in range(30):
            w = mu * (1 - mu)
            gram = (Z.T * w) @ Z
            beta = np.linalg.solve(gram, Z.T @ (w * eta + y - mu))
            eta = Z @ beta
            mu = 1 / (1 + np.exp(-eta))
            old, deviance = deviance, -2 * np.log(np.where(y == 1, mu, 1 - mu)).sum()
            if abs(deviance - old) / (abs(deviance) + 0.1) < tol:
                break
        half = z * np.sqrt(np.diag(np.linalg.inv(gram)))
        ends = np.zeros((2, p))
        ends[:, columns] = (beta - half)[1:], (beta + half)[1:]
        low, high = np.minimum(low, ends[0]), np.maximum(high, ends[1])
    return low, high


@pytest.mark.reference
def test_binary_outcome_equals_r():
    case = "simF_binary_p4_K3"
    fit = search(case, "logistic_t")
    ours, expected = pvalues(fit), stored(f"{case}.r")
    for one in expected["sets"]:
        found = ours[tuple(j - 1 for j in one["S"])]
        assert found == pytest.approx(one["normal"], rel=0, abs=BINARY)
    icp = expected["ICP"]["normal"]
    assert_allclose(fit.pvalues_, icp["pvalues"], rtol=0, atol=BINARY)
    # R's interval is that of iterations stopped early, with the weights of the step before.
    stopped = union_of_intervals(table(case), icp["acceptedSets"], tol=1e-6)
    assert_allclose(stopped[0], icp["ConfInt_lower"], rtol=0, atol=EXACT)
    assert_allclose(stopped[1], icp["ConfInt_upper"], rtol=0, atol=EXACT)
    complete = union_of_intervals(table(case), icp["acceptedSets"], tol=1e-15)
    assert_allclose(fit.confint().to_numpy().T, complete, rtol=0, atol=EXACT)
    with pytest.raises(ParameterError, match=r"kept for level 0\.95 only"):
        fit.confint(0.9)


@pytest.mark.reference
def test_sachs_rejects_every_set():
    path = SHARED / "sachs.parquet"
    if not path.exists():
        pytest.skip("sachs.parquet may not be committed")
    cases = json.loads((SHARED / "real_causalicp.json").read_text())
    data = pd.read_parquet(path)
    for case in (c for c in cases if c["name"].startswith("Sachs")):
        frame = data[[*case["x"], case["y"], "env"]]
        frame = frame.astype(dict.fromkeys([*case["x"], case["y"]], float))
        fit = ICP(alpha=case["alpha"]).fit(frame, case["y"], env="env")
        assert fit.model_rejected_
        assert fit.accepted_ == case["accepted"] == []
        assert_allclose(fit.pvalues_, case["pvalues"])


def example(n=400, K=4, p=5, seed=0):
    rng = np.random.default_rng(seed)
    env = np.sort(np.arange(n) % K)
    x = rng.normal(size=(n, p)) * (1 + env[:, None] / 2) + 0.5 * env[:, None]
    y = x[:, 0] - x[:, 1] + rng.normal(size=n)
    x[:, -1] = y + rng.normal(size=n) * (1 + env)
    return x, y, env


def test_compiled_search_is_the_same(monkeypatch):
    x, y, env = example()
    plain = InvariantSubsets().fit(x, y, env=env).table_
    monkeypatch.setattr(_engine, "KERNEL_MIN_CELLS", 1)
    compiled = InvariantSubsets(n_jobs=2).fit(x, y, env=env).table_
    pd.testing.assert_frame_equal(plain, compiled, rtol=1e-9)


@pytest.mark.parametrize("p", [5, 13])
def test_n_jobs_changes_nothing(p):
    x, y, env = example(p=p)
    one, two = (InvariantSubsets(n_jobs=j).fit(x, y, env=env).table_ for j in (1, 2))
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_small_search_does_not_import_numba():
    code = (
        "import sys, numpy as np; from robuststat import InvariantSubsets; "
        "x = np.random.default_rng(0).normal(size=(60, 9)); "
        "InvariantSubsets().fit(x, x.sum(1) + x[::-1, 0], env=np.arange(60) % 2); "
        "sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("test", ["normal", "ks"])
@pytest.mark.parametrize("seed", range(4))
def test_stop_early_finds_the_same_intersection(test, seed):
    x, y, env = example(seed=seed, K=2)
    whole = InvariantSubsets(test).fit(x, y, env=env)
    early = InvariantSubsets(test, stop_early=True).fit(x, y, env=env)
    assert early.intersection_ == whole.intersection_
    assert early.model_rejected_ == whole.model_rejected_
    assert early.pvalues_ is None
    statuses = set(early.table_["status"])
    assert ("not tested" in statuses) == (not whole.model_rejected_)
    with pytest.raises(ParameterError, match="stop_early=False"):
        early.confint()
    assert "not tested" in str(early.table_["status"].tolist()) or whole.model_rejected_


def test_families_by_brute_force():
    x, y, env = example(K=2, seed=2)
    fit = InvariantSubsets(alpha=1e-4).fit(x, y, env=env)
    accepted = [set(s) for s in fit.accepted_]
    minimal = [s for s in accepted if not any(t < s for t in accepted)]
    assert [set(s) for s in fit.minimal_invariant_] == minimal
    every = [set(c) for k in range(6) for c in combinations(range(5), k)]
    hits = [h for h in every if all(h & s for s in accepted)]
    smallest = [h for h in hits if not any(g < h for g in hits)]
    assert sorted(map(sorted, fit.defining_sets_)) == sorted(map(sorted, smallest))
    assert set(fit.intersection_) == set.intersection(*accepted)
    near = fit.table_[fit.table_["psi"] <= 0.05]
    assert fit.eps_invariant_ == list(near["subset"])
    assert fit.best_ == near.loc[near["mse_left_out"].idxmin(), "subset"]
    certified = clone(fit).set_params(eps_rule="equivalence").fit(x, y, env=env)
    assert certified.eps_invariant_ == list(near.loc[near["equivalent"], "subset"])


def test_families_of_random_sets():
    rng = np.random.default_rng(0)
    for _ in range(50):
        masks = np.unique(rng.integers(1, 64, size=rng.integers(1, 8)))
        sets = [{j for j in range(6) if m >> j & 1} for m in masks]
        found = minimal_sets(masks)
        assert [not any(t < s for t in sets) for s in sets] == [m in found for m in masks]
        hits = [m for m in range(64) if all(m & int(s) for s in masks)]
        smallest = {h for h in hits if not any((g & h) == g and g != h for g in hits)}
        assert set(hitting_sets(masks, 6).tolist()) == smallest
    assert len(hitting_sets(np.array([0, 3]), 6)) == 0


def test_two_sided_f_in_both_tails():
    for ratio, d1, d2 in product([1e-3, 0.4, 0.99, 1.0, 1.2, 30.0], [3.0, 50.0], [4.0, 90.0]):
        low = stats.f.cdf(ratio, d1, d2)
        expected = 2 * min(low, stats.f.sf(ratio, d1, d2))
        found = two_sided_f(np.array([ratio]), np.array([d1]), np.array([d2]))[0]
        assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("K", [2, 3, 12])
@pytest.mark.parametrize("rows", [4, 12, 40, 400])
def test_tails_that_would_be_capped_are_left_out(K, rows):
    rng = np.random.default_rng(K * rows)
    n, factor = np.full(K, float(rows)), K - 1.0
    mean = rng.normal(size=(4000, K)) / np.sqrt(rows)
    ss = rng.chisquare(rows - 1, size=(4000, K))
    # With a factor of 1/4 nothing is capped, so that every tail is evaluated.
    sizes = Sizes(n, n, n, n.sum() - n)
    whole = env_pvalues(sizes, mean, ss, 0.25)
    short = env_pvalues(sizes, mean, ss, factor)
    final = [np.minimum(1.0, factor * p.min(axis=1)) for p in (short, whole)]
    assert_allclose(final[0], final[1], rtol=0, atol=0)
    assert 0 < (final[0] == 1).mean() < 1


def test_equivalence_is_that_of_the_noncentral_f():
    from robuststat.invariance._gap import env_model, homoscedastic_test
    from robuststat.invariance._moments import env_moments

    x, y, env = example()
    fit = InvariantSubsets(eps=0.1, alpha=0.1).fit(x, y, env=env)
    moments = env_moments(x, y, env, range(4), list("abcde"))
    for row in fit.table_.itertuples():
        test = homoscedastic_test(env_model(moments.select(row.subset), intercept=True))
        assert row.psi == pytest.approx(test.psi, abs=1e-9)
        assert row.equivalent == (test.p_equivalence(0.1) <= 0.1)


def test_psi_interval_at_large_noncentrality():
    from robuststat.invariance._gap import CoefTest
    from robuststat.invariance._mixture import poisson_mixture

    # SciPy's series is NaN on the way to this root.
    test = CoefTest(68.48823268957126, 60, 99_925, 100_000, "homo")
    low, high = test.interval(0.95)
    assert low < test.psi < high
    for bound, probability in ((low, 0.975), (high, 0.025)):
        found = poisson_mixture(test.statistic, 60, 99_925, 100_000 * bound)
        assert_allclose(found, [probability, 1 - probability], atol=1e-9)
    for case in ((2.0, 3, 50, 4.0), (1.3, 20, 4000, 30.0), (30.0, 10, 100, 250.0)):
        expected = [stats.ncf.cdf(*case), stats.ncf.sf(*case)]
        assert_allclose(poisson_mixture(*case), expected, rtol=1e-9, atol=1e-12)


def test_gap_of_the_chosen_set_and_its_selection():
    x, y, env = example()
    plain = InvariantSubsets().fit(x, y, env=env)
    corrected = InvariantSubsets(selection="bonferroni").fit(x, y, env=env)
    assert plain.gap_.subset == corrected.gap_.subset == plain.best_
    assert corrected.gap_.conf_high > plain.gap_.conf_high
    split = InvariantSubsets(selection="split", random_state=0).fit(x, y, env=env)
    assert split.gap_.psi != plain.gap_.psi
    again = InvariantSubsets(selection="split", random_state=0).fit(x, y, env=env)
    assert again.gap_ == split.gap_
    assert "ignores that the set was chosen" in str(plain.summary())
    assert "corrected for 32 sets" in str(corrected.summary())
    assert "not searched" in str(split.summary())
    many = InvariantSubsets(selection="split", random_state=0).fit(x, y, env=np.arange(400) % 20)
    assert many.gap_.conf_low <= many.gap_.psi <= many.gap_.conf_high


def test_strict_intervals_are_wider_and_levels_nest():
    x, y, env = example(K=2)
    loose = InvariantSubsets().fit(x, y, env=env)
    strict = InvariantSubsets(ci_split="strict").fit(x, y, env=env)
    assert set(loose.accepted_) <= set(strict.accepted_)
    low, high = loose.confint(0.9), loose.confint(0.99)
    assert (low["conf_low"] >= high["conf_low"]).all()
    assert (low["conf_high"] <= high["conf_high"]).all()
    pd.testing.assert_frame_equal(loose.confint(), loose.confint(0.95))


def test_correction_k_multiplies_by_k():
    x, y, env = example()
    ours = InvariantSubsets(correction="K").fit(x, y, env=env).table_["p_value"]
    base = InvariantSubsets().fit(x, y, env=env).table_["p_value"]
    small = base < 0.5
    assert_allclose(ours[small], base[small] * 4 / 3)


def test_max_size_and_screening():
    x, y, env = example(p=8)
    small = InvariantSubsets(max_size=2).fit(x, y, env=env)
    whole = InvariantSubsets().fit(x, y, env=env).table_
    assert_allclose(small.table_["p_value"], whole.loc[whole["size"] <= 2, "p_value"])
    for how in ("lasso", "correlation", "boosting"):
        fit = InvariantSubsets(screening=how, max_candidates=3, random_state=0).fit(x, y, env=env)
        assert {0, 1, 7} == set(fit.candidates_)
        assert fit.pvalues_[3] == 1.0
        assert np.isnan(fit.confint().iloc[3]).all()
        assert "5 covariates were screened out" in str(fit.summary())
        assert all(set(s) <= {0, 1, 7} for s in fit.accepted_)


def test_collinear_sets_are_skipped_and_named_singular():
    x, y, env = example(p=4)
    x[:, 2] = x[:, 0] + x[:, 1]
    fit = InvariantSubsets().fit(x, y, env=env)
    singular = fit.table_.set_index("subset")["status"] == "singular"
    assert set(singular.index[singular]) == {(0, 1, 2), (0, 1, 2, 3)}
    assert "2 sets with collinear covariates were skipped" in str(fit.summary())
    assert fit.table_["p_value"].isna().sum() == 2


def test_no_accepted_set_is_not_an_empty_set():
    rng = np.random.default_rng(0)
    env = np.repeat([0, 1], 200)
    x = rng.normal(size=(400, 2))
    y = x[:, 0] + 5 * env + rng.normal(size=400)
    fit = InvariantSubsets().fit(x, y, env=env)
    assert fit.model_rejected_
    assert fit.intersection_ is None
    assert fit.accepted_ == []
    assert (fit.pvalues_ == 1).all()
    assert fit.confint().isna().all(axis=None)
    assert fit.defining_sets_ == fit.minimal_invariant_ == []
    text = str(fit.summary())
    assert "the model is rejected" in text
    assert "Least violating sets" in text


def test_units_and_order_do_not_matter():
    x, y, env = example()
    base = InvariantSubsets().fit(x, y, env=env).table_["p_value"]
    scaled = InvariantSubsets().fit(x * 1e6 + 1e7, y * 1e-5 + 3, env=env).table_["p_value"]
    assert_allclose(base, scaled, rtol=1e-6, atol=1e-9)
    order = np.random.default_rng(0).permutation(len(y))
    moved = InvariantSubsets().fit(x[order], y[order], env=env[order]).table_["p_value"]
    assert_allclose(base, moved, rtol=1e-9)


def test_env_may_be_column_labels_or_mapping():
    x, y, env = example()
    frame = pd.DataFrame(x, columns=list("abcdf")).assign(
        y=y, e=pd.Categorical.from_codes(env, list("wxyzq"))
    )
    by_name = InvariantSubsets().fit(frame, "y", env="e")
    formula = InvariantSubsets(formula="y ~ a + b + c + d + f").fit(
        frame.rename(columns={"e": "place"}), env="place"
    )
    rows = {level: np.flatnonzero(env == level) for level in range(4)}
    mapping = InvariantSubsets().fit(x, y, env=rows)
    assert list(by_name.env_levels_) == list("wxyz")  # the unused category is gone
    for other in (formula, mapping):
        assert_allclose(by_name.table_["p_value"], other.table_["p_value"])


def test_fit_holds_no_rows():
    x, y, env = example(n=4000)
    fit = InvariantSubsets().fit(x, y, env=env)
    blob = pickle.dumps(fit)
    assert len(blob) < 50_000
    back = pickle.loads(blob)
    pd.testing.assert_frame_equal(back.table_, fit.table_)
    pd.testing.assert_frame_equal(back.confint(), fit.confint())


def test_distribution_tests_agree_on_the_truth():
    x, y, env = example(K=2, p=3, n=300)
    for test in ("ks", "ranks", "levene_wilcoxon", "hsic", lambda a, b: float(a.mean() < b.mean())):
        one, two = (
            InvariantSubsets(test, random_state=1, n_permutations=99, n_jobs=j).fit(x, y, env=env)
            for j in (1, 2)
        )
        pd.testing.assert_frame_equal(one.table_, two.table_, check_exact=True)
    assert (0, 1) in InvariantSubsets("ks").fit(x, y, env=env).accepted_


def test_binary_outcome_is_noticed():
    x, y, env = example()
    with pytest.warns(UserWarning, match="two values: test='normal' is replaced by 'logistic_lr'"):
        fit = InvariantSubsets().fit(x[:, :2], (y > 0).astype(float), env=env)
    assert "logistic_lr" in str(fit.summary())
    with pytest.raises(ParameterError, match="needs an outcome with two values; 'y' has 400"):
        InvariantSubsets("logistic_t").fit(x, y, env=env)


def bad(match, error=DataError, **change):
    x, y, env = example()
    options = change.pop("options", {})
    arguments = {"X": x, "y": y, "env": env} | change
    with pytest.raises(error, match=match):
        InvariantSubsets(**options).fit(arguments["X"], arguments["y"], env=arguments["env"])


def test_bad_input_is_named():
    x, y, env = example()
    flat, holes = x.copy(), x.copy()
    flat[:, 1], holes[3, 2] = 7.0, np.nan
    lonely = env.copy()
    lonely[:2] = 9
    bad("env has 1 level .* at least two", env=np.zeros(400))
    bad("1 environment.s. have fewer than 3 rows: 9 .2.", env=lonely)
    bad("constant column.s.: x1", X=flat)
    bad("'x2' has 1 missing values", X=holes)
    bad("needs env=", RoleError, env=None)
    bad("env has 3 values", RoleError, env=[0, 1, 2])
    bad("rows without an environment", RoleError, env={"a": [0, 1], "b": [2]})
    bad("row positions in 0..399", RoleError, env={"a": [0, 400]})
    bad("alpha must be a number", ParameterError, options={"alpha": 1.0})
    bad("eps must be a number", ParameterError, options={"eps": -0.1})
    bad("test must be one of", ParameterError, options={"test": "anova"})
    bad("compat must be", ParameterError, options={"compat": "r"})
    bad(
        "leaves the intercept out",
        ParameterError,
        options={"formula": "y ~ a - 1"},
        X=pd.DataFrame({"a": x[:, 0], "y": y}),
        y=None,
    )


def test_too_many_sets_are_counted():
    rng = np.random.default_rng(0)
    x, env = rng.normal(size=(200, 30)), np.arange(200) % 2
    with pytest.raises(ParameterError, match="30 covariates have 1,073,741,824 subsets"):
        InvariantSubsets(screening="none").fit(x, x[:, 0], env=env)
    y = x[:, 0] + rng.normal(size=200)
    fit = InvariantSubsets(max_candidates=4).fit(x, y, env=env)
    assert len(fit.candidates_) == 4
    assert 0 in fit.candidates_
    wide = InvariantSubsets(screening="none", max_size=1).fit(x, y, env=env)
    assert len(wide.table_) == 31


def test_summary_and_frames():
    x, y, env = example(K=2)
    fit = InvariantSubsets().fit(pd.DataFrame(x, columns=list("abcde")), y, env=env)
    text = str(fit.summary())
    for words in ("Assumes:", "no cause is hidden", "InvariantSubsets()", "joint coverage"):
        assert words in text
    assert list(fit.tidy().columns) == ["term", "p_value", "conf_low", "conf_high", "in_every_set"]
    assert fit.glance()["n_sets"].item() == 32
    assert "32 searched" in fit.summary()._repr_html_()
    ax = fit.plot()
    assert ax.get_xlabel().startswith("psi")


@pytest.mark.parametrize("cls", [InvariantSubsets, NonlinearICP], ids=lambda c: c.__name__)
def test_scikit_learn_checks(cls):
    options, expected = {"max_size": 1}, {}
    if cls is InvariantSubsets:
        # The checks' outcomes have two values at times, and the logit test takes no weights.
        options |= {"screening": "none", "test": "chow"}
    with warnings.catch_warnings(action="ignore"):
        outcomes = check_estimator(
            with_invented_roles(cls)(**options), on_fail=None, expected_failed_checks=expected
        )
    failed = [(o["check_name"], str(o["exception"])) for o in outcomes if o["status"] == "failed"]
    assert not failed


# ------------------------------------------------------------------------------ weights, streams


def weighted_rows(n=300, p=4):
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(rng.normal(size=(n, p)) * 3 + 1, columns=[f"x{j}" for j in range(p)])
    frame["env"] = np.array(["a", "b", "c"])[rng.choice(3, size=n, p=[0.5, 0.3, 0.2])]
    frame["y"] = frame["x0"] - frame["x1"] + rng.normal(size=n) + (frame["env"] == "a")
    frame["w"] = rng.uniform(0.2, 3, size=n)
    return frame


@pytest.mark.parametrize("test", ["normal", "chow", "correlation"])
def test_weights_do_in_every_set_what_they_do_in_the_test_of_one(test):
    frame = weighted_rows()
    fit = InvariantSubsets(test).fit(frame, "y", env="env", sample_weight="w")
    for row in fit.table_.itertuples():
        one = InvarianceTest([f"x{j}" for j in row.subset], test).fit(
            frame, "y", env="env", sample_weight="w"
        )
        assert row.p_value == pytest.approx(one.pvalue_, rel=1e-8)
        assert row.psi == pytest.approx(one.psi_, rel=1e-7, abs=1e-12)
    in_other_units = InvariantSubsets(test).fit(
        frame.assign(w=1e3 * frame["w"]), "y", env="env", sample_weight="w"
    )
    assert_allclose(in_other_units.confint(), fit.confint(), rtol=1e-10)
    assert_allclose(in_other_units.table_["mse"], fit.table_["mse"], rtol=1e-10)


def test_equal_weights_are_no_weights():
    frame = weighted_rows()
    plain = InvariantSubsets().fit(frame.drop(columns="w"), "y", env="env")
    fit = InvariantSubsets().fit(frame.assign(w=2.0), "y", env="env", sample_weight="w")
    for name in ("p_value", "psi", "mse", "mse_left_out", "variance_ratio"):
        assert_allclose(fit.table_[name], plain.table_[name], rtol=1e-10)
    assert_allclose(fit.confint(), plain.confint(), rtol=1e-10)


def test_weights_of_the_predictor_are_those_of_least_squares():
    frame = weighted_rows()
    fit = InvariantRegressor(eps=10.0).fit(frame, "y", env="env", sample_weight="w")
    Z = np.column_stack([np.ones(300), frame[[f"x{j}" for j in fit.get_support(indices=True)]]])
    root = np.sqrt(frame["w"].to_numpy())
    expected = np.linalg.lstsq(Z * root[:, None], frame["y"] * root, rcond=None)[0]
    assert fit.intercept_ == pytest.approx(expected[0], rel=1e-8)
    assert_allclose(fit.coef_[fit.support_], expected[1:], rtol=1e-8)


@pytest.mark.parametrize("weight", [None, "w"])
def test_stream_equals_memory(tmp_path, weight):
    frame = weighted_rows() if weight else weighted_rows().drop(columns="w")
    fit = InvariantSubsets().fit(frame, "y", env="env", sample_weight=weight)
    ordered = frame.sort_values("env")
    # Chunks of one environment, of one row, and one of no row.
    parts = [ordered.iloc[:100], ordered.iloc[100:101], ordered.iloc[101:101], ordered.iloc[101:]]
    path = tmp_path / "rows.parquet"
    frame.to_parquet(path)
    for source in (parts, lambda: iter(parts), path):
        found = InvariantSubsets().fit(source, "y", env="env", sample_weight=weight)
        assert_allclose(found.table_["p_value"], fit.table_["p_value"], rtol=1e-10, atol=1e-12)
        assert_allclose(found.table_["psi"], fit.table_["psi"], rtol=1e-10, atol=1e-12)
        assert_allclose(found.confint(), fit.confint(), rtol=1e-10)
        assert str(found.summary()) == str(fit.summary())
        assert list(found.feature_names_in_) == list(fit.feature_names_in_)


def test_stream_from_dask():
    dask = pytest.importorskip("dask.dataframe", reason="dask is not installed")
    frame = weighted_rows()
    fit = InvariantSubsets("chow").fit(frame, "y", env="env", sample_weight="w")
    source = dask.from_pandas(frame, npartitions=3)
    found = InvariantSubsets("chow").fit_stream(source, "y", env="env", sample_weight="w")
    assert_allclose(found.table_["p_value"], fit.table_["p_value"], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "roles", "match"),
    [
        ({"test": "ks"}, {}, "test='ks' needs the rows"),
        ({"selection": "split"}, {}, "selection='split' needs the rows"),
        ({"screening": "boosting"}, {}, "screening='boosting' needs the rows"),
        ({"formula": "y ~ x0"}, {}, "formula= has no effect"),
        ({}, {"env": None}, "env= as a column name"),
        ({}, {"sample_weight": np.ones(300)}, "sample_weight= as a column name"),
    ],
)
def test_stream_refuses_what_needs_rows(options, roles, match):
    source = [weighted_rows()]
    with pytest.raises((ParameterError, RoleError), match=match):
        InvariantSubsets(**options).fit_stream(source, "y", **({"env": "env"} | roles))


def test_stream_of_one_environment_and_of_constants_is_refused():
    frame = weighted_rows()
    with pytest.raises(DataError, match="at least two environments"):
        InvariantSubsets().fit_stream([frame.assign(env="a")], "y", env="env")
    with pytest.raises(DataError, match=r"1 constant column\(s\): x2"):
        InvariantSubsets().fit_stream([frame.assign(x2=1e6)] * 2, "y", env="env")


def test_tests_of_distributions_take_no_weights():
    frame = weighted_rows()
    with pytest.raises(ParameterError, match="'ks' has no weighted version"):
        InvariantSubsets("ks").fit(frame, "y", env="env", sample_weight="w")
