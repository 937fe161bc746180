"""Surrogate estimators against R ``dsl``, ppi-python and independently derived numbers.

Origin of every file: tests/reference/dsl/README.md.
"""

import json
import re
import time
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from robuststat import DSLClassifier, DSLMean, DSLRegressor, LabelPlan, compare_estimators
from robuststat._core.errors import DataError
from robuststat.result import InferenceResult
from robuststat.surrogate._labels import make_labelling
from robuststat.surrogate._models import row_model
from robuststat.surrogate._scores import DesignAdjusted
from robuststat.surrogate._solve import VarianceSpec, fit_repetition

pytestmark = pytest.mark.reference

EXACT = 1e-8  # exact roots of the same equations; stored with 15 digits
ZERO = 1e-13  # entries of a variance matrix that are zero in exact arithmetic
OPTIMISER = 1e-4  # error of the L-BFGS-B run inside R dsl
PEER = 1e-5  # stopping rule of ppi-python's optimiser
FOLDER = Path(__file__).parents[1] / "reference" / "dsl"


@cache
def stored(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


@cache
def table(name):
    return pd.read_csv(FOLDER / f"{name}.csv.gz")


CASES = stored("r_dsl")
FIXED = [name for name in CASES if not name.startswith("crossfit")]
CROSSFIT = [name for name in CASES if name.startswith("crossfit")]
POWER = [name for name in FIXED if "power" in CASES[name]]
EXTRAS = list(stored("derived_extras")["cases"])


def hidden(case):
    """Rows of a case with the predicted columns unknown where nobody labelled them."""
    frame = table(case["data"]).copy()
    for name in case["predicted_var"]:
        frame[name] = frame[name].where(frame["R"] == 1).astype(float)
    return frame


def translated(formula):
    return formula.replace("x2^2", "x2**2").replace("year", "C(year)")


def arguments(case):
    roles = {
        "prediction": dict(zip(case["predicted_var"], case["prediction"], strict=True)),
        "labeled": "R",
        "sample_prob": "pi",
    }
    if isinstance(case.get("cluster"), str):
        roles["clusters"] = case["cluster"]
    return roles


def estimator(case, **options):
    cls = DSLRegressor if case["model"] == "lm" else DSLClassifier
    options = {"learner": "passthrough"} | options
    return cls(formula=translated(case["formula"]), **options)


def fitted(name, **options):
    case = CASES[name]
    return estimator(case, **options).fit(hidden(case), **arguments(case))


@pytest.mark.parametrize("name", FIXED)
def test_fixed_predictions_equal_r_dsl(name):
    root = CASES[name]["exact_root"]
    est = fitted(name)
    assert_allclose(est.result_.estimate, root["coefficients"], rtol=EXACT)
    assert_allclose(est.std_error_, root["standard_errors"], rtol=EXACT)
    assert_allclose(est.vcov_, root["vcov"], rtol=EXACT, atol=ZERO)
    assert est.n_labeled_ == CASES[name]["n_labeled"]
    assert est.result_.n_obs == CASES[name]["n"]
    names = [re.sub(r"year(\d+)", r"C(year)[\1]", n).replace("^", " ** ") for n in root["names"]]
    assert list(est.result_.names) == names
    assert est.converged_


@pytest.mark.parametrize("name", [n for n in FIXED if len(CASES[n]["predicted_var"]) == 1])
def test_labels_may_be_told_by_missing_values_alone(name):
    case = CASES[name]
    roles = arguments(case)
    del roles["labeled"]
    est = estimator(case).fit(hidden(case), **roles)
    assert_allclose(est.std_error_, case["exact_root"]["standard_errors"], rtol=EXACT)


@pytest.mark.parametrize("name", ["mean_only", "proportions_by_year"])
def test_means_equal_r_dsl(name):
    case = CASES[name]
    by = "year" if "year" in case["formula"] else None
    est = DSLMean(by=by, learner="passthrough").fit(hidden(case), "b", **arguments(case))
    assert_allclose(est.result_.estimate, case["exact_root"]["coefficients"], rtol=EXACT)
    assert_allclose(est.vcov_, case["exact_root"]["vcov"], rtol=EXACT, atol=ZERO)


def partitions():
    folds = table("crossfit_folds")
    return [
        [(np.flatnonzero(f != k), np.flatnonzero(f == k)) for k in range(1, 6)]
        for f in folds.to_numpy().T
    ]


def cross_fitted(name, cv, n_rep):
    case = CASES[name]
    est = estimator(case, learner="ols", cv=cv, n_rep=n_rep)
    return est.fit(hidden(case), features=case["feature"], **arguments(case))


@pytest.mark.parametrize("name", CROSSFIT)
def test_cross_fitting_equals_r_dsl(name):
    case = CASES[name]
    cuts = partitions()
    est = cross_fitted(name, cuts, len(cuts))
    assert_allclose(est.repeat_params_, case["per_split"]["coefficients"], rtol=EXACT)
    for r, pairs in enumerate(cuts):
        one = cross_fitted(name, pairs, 1)
        assert_allclose(one.std_error_, case["per_split"]["standard_errors"][r], rtol=EXACT)
    assert_allclose(est.result_.estimate, case["coefficients"], rtol=EXACT)
    assert_allclose(est.std_error_, case["standard_errors"], rtol=EXACT)
    assert_allclose(est.vcov_, case["vcov"], rtol=EXACT)
    assert list(est.result_.names) == case["names"]


@pytest.mark.parametrize("name", CROSSFIT)
def test_out_of_fold_errors_equal_r_dsl(name):
    case = CASES[name]
    cuts = partitions()
    est = cross_fitted(name, cuts, len(cuts))
    for row in case["cv_rmse"]:
        key = "y" if row["var"] == case["formula"].split()[0] else row["var"]
        squared = est.losses_[key][row["split"] - 1]
        # The package averages the root mean squared errors of the folds.
        assert_allclose(np.sqrt(squared).mean(), row["rmse"], rtol=EXACT)


VARIANCES = {
    "se_robust": {},
    "se_design_srs": {"variance": "design"},
    "se_finite_corpus_srs": {"population": "finite"},
}


@pytest.mark.parametrize("kind", VARIANCES)
@pytest.mark.parametrize("name", EXTRAS)
def test_design_and_finite_variance(name, kind):
    extra = stored("derived_extras")["cases"][name]
    est = fitted(name, **VARIANCES[kind])
    assert_allclose(est.result_.estimate, extra["coefficients"], rtol=EXACT)
    assert_allclose(est.std_error_, extra[kind], rtol=EXACT)


def test_scalar_tuning():
    extra = stored("derived_extras")["cases"]["lm_outcome"]["scalar_tuning"]
    est = fitted("lm_outcome", tuning="scalar", variance="design")
    assert_allclose(est.tuning_, extra["lam"], rtol=EXACT)
    assert_allclose(est.result_.estimate, extra["coefficients"], rtol=EXACT)
    assert_allclose(est.std_error_, extra["se_design_srs"], rtol=EXACT)
    case = CASES["lm_outcome"]
    found = compare_estimators(estimator(case), hidden(case), **arguments(case))
    assert_allclose(found.results["gold only"].estimate, extra["pilot_gold_only"], rtol=EXACT)


@pytest.mark.parametrize("name", EXTRAS)
def test_planned_standard_errors(name):
    plan = LabelPlan(fitted(name))
    planned = stored("derived_extras")["cases"][name]["plan_psd"]
    found = plan.std_error([int(number) for number in planned])
    assert_allclose(found.T, list(planned.values()), rtol=EXACT)
    # On one data set the plan for today's number is near the design-corrected standard error.
    design = fitted(name, variance="design").std_error_
    assert_allclose(plan.std_error(plan.n_labeled), design, rtol=0.09)


@pytest.mark.parametrize("name", POWER)
def test_planned_standard_errors_equal_r_dsl(name):
    power = CASES[name]["power"]
    found = LabelPlan(fitted(name)).std_error(power["labeled_size"], method="r").T.to_numpy()
    wanted = np.array(power["predicted_se"], dtype=float).reshape(found.shape)
    # NaN is stored where the package's variance is negative.
    valid = np.isfinite(wanted)
    assert_allclose(found[valid], wanted[valid], rtol=EXACT)


def test_every_planning_case_is_compared():
    assert len(POWER) == len(FIXED) == 14


# Defects of R dsl 0.1.0 that must not be ours.


@pytest.mark.parametrize("name", FIXED)
def test_root_is_exact_where_the_package_stops_short(name):
    case = CASES[name]
    exact, stopped = (
        np.atleast_1d(case[key]["coefficients"])
        for key in ("exact_root", "package_default_optimizer")
    )
    ours = np.asarray(fitted(name).result_.estimate)
    assert np.abs(ours - exact).max() < EXACT
    assert np.abs(stopped - exact).max() < OPTIMISER
    # The mean of 0/1 labels is the one case in which L-BFGS-B lands on the root.
    assert (np.abs(stopped - ours).max() > 1e-9) == (name != "mean_only")


def test_p_values_are_two_sided():
    # countyWrong of the package's PanChen example: it prints .1203 beside a two-sided interval.
    shown = InferenceResult(
        estimate=[-0.2617], vcov=[[0.2230**2]], names=["countyWrong"], n_obs=1412
    )
    p = shown.tidy()["p_value"].item()
    assert p == pytest.approx(0.2406, abs=1e-4)
    assert p / 2 == pytest.approx(0.1203, abs=1e-4)
    est = fitted("lm_outcome")
    inside = (est.confint()["conf_low"] < 0) & (est.confint()["conf_high"] > 0)
    assert ((est.tidy()["p_value"] > 0.05).to_numpy() == inside.to_numpy()).all()


@pytest.mark.parametrize("learner", ["ols", "auto", "forest"])
def test_repeated_splits_differ(learner):
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(10, max_depth=4)
    case = CASES["crossfit_lm"]
    est = estimator(
        case, learner=forest if learner == "forest" else learner, n_rep=4, random_state=1
    )
    est.fit(hidden(case), features=case["feature"], **arguments(case))
    assert len(np.unique(est.repeat_params_["x1"].round(12))) == 4
    assert len(np.unique(est.losses_["y"].mean(axis=1).round(12))) == 4


def test_gold_labels_must_be_binary():
    case = CASES["logit_outcome"]
    frame = hidden(case)
    frame["b"] = frame["b"] + 1  # a factor read as its codes
    with pytest.raises(DataError, match=r"'b' must be 0/1 .* take 2 values: 1.0, 2.0. Recode"):
        estimator(case).fit(frame, **arguments(case))


def test_aggregated_variance_is_positive_definite():
    case = CASES["crossfit_lm"]
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(len(hidden(case)), 6)))
    est = estimator(case, learner="ols", n_rep=9, random_state=2)
    est.fit(hidden(case), features=X.to_numpy(), **arguments(case))
    assert (est.vcov_ == est.vcov_.T).all()
    assert np.linalg.eigvalsh(est.vcov_).min() > 0
    assert_allclose(np.sqrt(np.diag(est.vcov_)), est.std_error_, rtol=EXACT)


def test_folds_are_not_assembled_by_comparing_all_pairs():
    rng = np.random.default_rng(3)

    def seconds(n):
        X = rng.normal(size=(n, 3))
        y = np.where(np.arange(n) % 10 == 0, X[:, 0] + rng.normal(size=n), np.nan)
        est = DSLRegressor(learner="ols", cv=5, n_rep=2, random_state=0)
        clusters = np.arange(n) // 4
        start = time.perf_counter()
        est.fit(X, y, prediction=X[:, 0], clusters=clusters)
        return time.perf_counter() - start

    seconds(2000)
    # One n x n comparison of 8-byte cells would be 3.2 GB here; ours needs some 30 ms.
    assert seconds(20_000) < 5


# ppi-python: the same estimand, with its lambda = Lambda * (1 - n_R / n), because it contrasts
# labelled with unlabelled rows and design-based weights contrast labelled with all rows.

PPI = stored("ppi_python")["results"]
OUTCOMES = {
    "mean": ("y", "s"),
    "proportion": ("b", "bs"),
    "ols": ("y", "s"),
    "logistic": ("b", "bs"),
    "poisson": ("c", "cs"),
}
FAMILY = {"ols": "linear", "logistic": "logit", "poisson": "poisson"}
COVARIATES = ["x1", "x2", "x3"]


def ppi_frame(model):
    frame = table("data_ppi").copy()
    outcome, surrogate = OUTCOMES[model]
    frame[outcome] = frame[outcome].where(frame["R"] == 1).astype(float)
    return frame[[*COVARIATES, "R", outcome, surrogate]], outcome, surrogate


def ppi_estimator(model, **options):
    options = {"learner": "passthrough"} | options
    if model in ("mean", "proportion"):
        return DSLMean(**options)
    if model == "logistic":
        return DSLClassifier(**options)
    return DSLRegressor(FAMILY[model], **options)


def ppi_fit(model, **options):
    frame, outcome, surrogate = ppi_frame(model)
    est = ppi_estimator(model, **options)
    return est.fit(frame, outcome, prediction=surrogate, labeled="R")


def half_width(entry):
    low, high = (np.asarray(bound) for bound in entry["ci95"])
    return (high - low) / 2


@pytest.mark.parametrize("model", ["mean", "proportion"])
def test_mean_is_ppi_with_lambda_one_minus_the_share_labelled(model):
    # The PPI mean is linear in lambda, so the stored lambda 0 and 1 give every other one.
    unlabelled = 1 - 400 / 3000
    none, full = (np.asarray(PPI[f"{model} lam={lam}"]["point"]) for lam in (0, 1))
    assert_allclose(ppi_fit(model).coef_, none + unlabelled * (full - none), rtol=EXACT)


@pytest.mark.parametrize("model", OUTCOMES)
def test_no_weight_on_predictions_is_the_classical_fit(model):
    stored_fit = PPI[f"{model} lam=0"]
    frame, outcome, surrogate = ppi_frame(model)
    found = compare_estimators(
        ppi_estimator(model), frame, outcome, prediction=surrogate, labeled="R"
    )
    gold = found.results["gold only"]
    labelled = frame[frame["R"] == 1]
    with pytest.warns(UserWarning, match="All 400 rows are labelled"):
        alone = ppi_estimator(model).fit(labelled.drop(columns="R"), outcome, prediction=surrogate)
    for ours in (gold, alone.result_):
        assert_allclose(ours.estimate, stored_fit["point"], atol=PEER)
    # Its Hessian is that of all 3000 rows, ours that of the labelled ones: equal without X only.
    width = 1.959964 * np.asarray(gold.std_error)
    exact = model in ("mean", "proportion")
    assert_allclose(width, half_width(stored_fit), rtol=PEER if exact else 0.1)


@pytest.mark.parametrize("model", ["mean", "proportion", "logistic", "poisson"])
def test_full_weight_on_predictions_is_ppi(model):
    # lambda = 1 is Lambda = 1 / (1 - n_R / n), which only the estimating equations can be told.
    frame, outcome, surrogate = ppi_frame(model)
    labeled = frame["R"].to_numpy() == 1
    labelling = make_labelling(
        labeled, prob=None, design="srs", strata=None, weights=None, normalize=True, terms=None
    )
    X = np.column_stack([np.ones(len(frame)), frame[COVARIATES]])
    X = X[:, :1] if model in ("mean", "proportion") else X
    moments = DesignAdjusted(
        row_model(FAMILY.get(model, "linear")),
        X,
        frame[surrogate].to_numpy(float),
        X[labeled],
        frame[outcome].to_numpy()[labeled],
        labelling,
    )
    fit = fit_repetition(moments.tuned(1 / (1 - labeled.mean())), VarianceSpec("design"))
    entry = PPI[f"{model} lam=1"]
    assert_allclose(fit.theta, entry["point"], atol=PEER)
    # Same variance up to a centring that agrees in the limit, and up to its Hessian (see above).
    assert_allclose(1.959964 * np.sqrt(np.diag(fit.vcov)), half_width(entry), rtol=0.1)


@pytest.mark.parametrize("model", ["mean", "proportion", "logistic", "poisson"])
def test_tuned_estimates_agree_within_tuning_error(model):
    # Same estimand, but lambda is estimated otherwise: ppi-python clips it to [0, 1], uses one for
    # all coefficients, and pools the variance of the predictions over both samples.
    est = ppi_fit(model, tuning="scalar", variance="design")
    entry = PPI[f"{model} tuned"]
    gap = np.abs(np.asarray(est.result_.estimate) - entry["point"]) / est.std_error_
    assert gap.max() < 0.35
    assert_allclose(1.959964 * est.std_error_, half_width(entry), rtol=0.12)
    if model in ("mean", "proportion"):
        none, full = (PPI[f"{model} lam={lam}"]["point"][0] for lam in (0, 1))
        theirs = (entry["point"][0] - none) / (full - none)
        assert est.tuning_[0] * (1 - 400 / 3000) == pytest.approx(theirs, rel=0.05)


def test_ols_of_ppi_python_is_another_estimator():
    # It adds the solutions of two normal equations instead of solving their sum.
    unlabelled = 1 - 400 / 3000
    none, full = (np.asarray(PPI[f"ols lam={lam}"]["point"]) for lam in (0, 1))
    ours = np.asarray(ppi_fit("ols").result_.estimate)
    gap = np.abs(ours - (none + unlabelled * (full - none))).max()
    assert 1e-4 < gap < 2e-2
